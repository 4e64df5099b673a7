"""Atoms in every column."""
