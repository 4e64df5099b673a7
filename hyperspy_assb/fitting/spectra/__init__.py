"""The expected spectrum: line shapes, their sums, and how they are tied to channels and parameters."""
