"""Automated crystal orientation mapping of 4D-STEM scans: arrays in, arrays out."""
