"""Phases in every column by stoichiometry."""
