"""Ionisation edges as terms of a spectrum: a cross-section behind a smooth step, with one maximum on top."""

from __future__ import annotations

from hyperspy_assb import reference
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry, edge_table
from hyperspy_assb.eels.lineshapes import edge_constants, ionisation_edge
from hyperspy_assb.fitting.spectra.line_shape import Term

EDGES = {
    "K": ("Li",),
    "M2,3": ("V", "Mn", "Fe", "Co", "Ni", "Ge"),
    "L2,3": ("Al", "P", "V", "Fe"),
    "M4,5": ("Ge",),
}
"""Elements whose edge is known, by shell."""
FIXED_AT_FIRST = ("onset_energy", "onset_width", "peak_ratio", "peak_energy", "peak_fwhm")
"""Parameters of an edge that a fit holds until they are freed: most spectra do not tell them."""


def edge_name(element: str, shell: str) -> str:
    """Name of an edge in a model."""
    return f"{element}_{shell.replace(',', '')}"


def edge_term(element: str, shell: str, geometry: ScatteringGeometry) -> Term:
    """The edge of an element for the given beam energy and angles; its defaults are those of the near-edge tables."""
    shape = ionisation_edge(f"{element} {shell}", **reference.near_edge(element, shell))
    return Term(shape, edge_constants(*edge_table(element, shell, geometry)))
