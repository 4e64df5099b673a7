"""Single and plural scattering of low-loss spectra."""
