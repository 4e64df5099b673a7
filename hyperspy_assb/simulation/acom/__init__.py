"""Diffraction patterns of the virtual lamella."""
