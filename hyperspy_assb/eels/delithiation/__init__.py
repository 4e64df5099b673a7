"""Lithium content x from spectra calibrated on pure pixels or by cross-sections."""
