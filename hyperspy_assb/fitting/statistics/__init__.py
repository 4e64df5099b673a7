"""Statistics that several techniques use."""
