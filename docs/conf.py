"""Sphinx configuration."""

from __future__ import annotations

import hyperspy_assb

project = "hyperspy-assb"
author = "The hyperspy-assb developers"
copyright = "The hyperspy-assb developers"
release = version = hyperspy_assb.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "myst_parser"]
myst_enable_extensions = ["dollarmath"]
numpydoc_show_class_members = False
exclude_patterns = ["_build"]
html_theme = "alabaster"
