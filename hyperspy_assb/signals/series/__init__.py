"""Image series as HyperSpy signals, and their results."""
