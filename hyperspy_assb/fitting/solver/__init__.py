"""Batched fits of many spectra."""
