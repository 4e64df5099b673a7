"""Electron energy losses: arrays in, arrays out."""

import hyperspy_assb.compiled_code  # noqa: F401 - before anything is compiled
