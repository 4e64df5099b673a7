"""EELS signals and their results."""
