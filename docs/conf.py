"""Sphinx configuration."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import hyperspy_assb

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import public_api  # noqa: E402 - lies beside this file

project = "hyperspy-assb"
author = "The hyperspy-assb developers"
copyright = author
release = version = hyperspy_assb.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# Written by tools/make_inventories.py: the build needs no network.
intersphinx_mapping = {
    name: (site, str(HERE / "inventories" / f"{name}.inv"))
    for name, site in {
        "numpy": "https://numpy.org/doc/stable/",
        "hyperspy": "https://hyperspy.org/hyperspy-doc/current/",
        "exspy": "https://hyperspy.org/exspy/",
        "orix": "https://orix.readthedocs.io/en/stable/",
    }.items()
}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Run once, and again only when they change; NB_EXECUTION_MODE=off builds the pages without outputs.
nb_execution_mode = os.environ.get("NB_EXECUTION_MODE", "cache")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
# Figures of notebooks are drawn by the backend of the kernel, whatever the environment sets.
os.environ.pop("MPLBACKEND", None)
# What other packages say of missing widgets.
nb_output_stderr = "remove"
numpydoc_show_class_members = False
exclude_patterns = [
    "_build",
    "gallery",
    "**/sg_execution_times.rst",
    "sg_execution_times.rst",
    "examples/*.ipynb",
    "examples/*.py",
    "examples/*.json",
]

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"plot_\d",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    # Results show themselves; axes and arrays of axes do not.
    "capture_repr": ("_repr_html_",),
    "show_memory": False,
    "min_reported_time": 1e9,
}

html_theme = "pydata_sphinx_theme"
html_title = "hyperspy-assb"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
# Pages that have none below them need no list of these.
html_sidebars = {path.stem: [] for path in HERE.glob("*.md") if path.stem != "notebooks"}
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2, "secondary_sidebar_items": ["page-toc"]}

nitpicky = True
nitpick_ignore_regex = [
    # Other packages: no inventory of theirs lies in inventories.
    (
        r"py:.*",
        r"(matplotlib|pandas|lmfit|dask|scipy|collections|os|pathlib|enum|datetime|typing)\..*",
    ),
    # What numpy.typing.ArrayLike is made of, which autodoc writes out.
    (r"py:class", r"numpy\._typing\..*"),
    # Aliases of types.
    (r"py:class", r"hyperspy_assb\.(reference\.material_facts\.Number|eds\.lines\.sensitivity\.Sensitivities)"),
    (r"py:class", r"hyperspy_assb\.acom\.crystals\.kinematical\.Spots"),
    # Short names of other packages in annotations, and pieces of annotations that autodoc cuts apart.
    (r"py:.*", r"NDArray|pd\.DataFrame|BaseSignal|Signal2D|Axes|ArrayLike|CrystalMap|Structure|Structure\..*"),
    (r"py:.*", r"[a-z]+ \||.*\[.*|.* \| .*"),
]


# numpy.typing.ArrayLike as autodoc writes it out, over several lines.
_ARRAY_LIKE = re.compile(r"[\w.~]*Buffer \| [\w.~]*_SupportsArray\[.*?_NestedSequence\[complex \| bytes \| str\]")


def name_array_like(*event: Any) -> tuple[Any, ...]:
    """Signature and annotation of what is returned, the last two of the event, with ``ArrayLike`` by its name."""
    return tuple(text and _ARRAY_LIKE.sub("ArrayLike", text) for text in event[-2:])


def setup(app: Any) -> None:
    """Write the reference pages before anything is read."""
    public_api.write(HERE / "reference")
    app.connect("autodoc-process-signature", name_array_like)
