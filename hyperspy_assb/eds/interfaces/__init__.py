"""Profiles across interfaces."""
