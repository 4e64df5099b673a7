"""Patterns on the detector: geometry, direct beam, polar coordinates, spots."""
