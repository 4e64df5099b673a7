"""Batched fits of many spectra, and their statistics."""

import hyperspy_assb.compiled_code  # noqa: F401 - before anything is compiled
