"""Automated crystal orientation mapping of 4D-STEM scans: arrays in, arrays out.

Public names stand in ``__init__.pyi`` and are imported when they are first used.
"""

import lazy_loader as _lazy

import hyperspy_assb.compiled_code  # noqa: F401 - before anything is compiled

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
