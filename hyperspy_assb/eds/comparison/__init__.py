"""Composition of two states against each other."""
