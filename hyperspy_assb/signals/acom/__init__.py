"""Signals of 4D-STEM patterns, and their results."""
