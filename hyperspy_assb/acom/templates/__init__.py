"""Simulated patterns of every orientation of every phase."""
