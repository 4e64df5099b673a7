"""Diffraction patterns of the virtual lamella."""

import hyperspy_assb.compiled_code  # noqa: F401 - before anything is compiled
