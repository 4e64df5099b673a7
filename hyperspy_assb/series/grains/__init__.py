"""Grains of a series, and the boundaries between them."""
