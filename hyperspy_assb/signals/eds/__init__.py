"""EDX signals and their results."""
