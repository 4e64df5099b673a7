"""Batched fits of spectra that are sums of fixed shapes."""
