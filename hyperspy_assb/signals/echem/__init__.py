"""Voltammograms as HyperSpy signals, and their results."""
