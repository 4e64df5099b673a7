"""EELS of the virtual lamella."""
