"""Patterns without a lattice: diffuse rings, and how much of a column is amorphous."""
