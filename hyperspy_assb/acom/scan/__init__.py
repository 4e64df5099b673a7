"""Whole scans, block by block."""
