"""Patterns against templates: search, refinement, posterior."""
