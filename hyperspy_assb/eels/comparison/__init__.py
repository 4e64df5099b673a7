"""Low-loss spectra of two or more states against each other."""
