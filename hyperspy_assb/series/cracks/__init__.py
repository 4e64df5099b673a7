"""Cracks of a series."""
