"""Ionisation edges as terms of a spectrum: a cross-section behind a smooth step, with one maximum on top."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from hyperspy_assb import reference
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry, edge_table
from hyperspy_assb.eels.lineshapes import ionisation_edge
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Term

EDGES = {
    "K": ("Li",),
    "M2,3": ("Ti", "V", "Mn", "Fe", "Co", "Ni", "Ge"),
    "L2,3": ("Na", "Mg", "Al", "Si", "P", "S", "Cl", "V", "Fe"),
    "M4,5": ("Ge", "Sr", "Zr"),
    "N4,5": ("La",),
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


def edge_constants(relative_energy: FloatArray, cross_section: FloatArray, *, window: float = 20.0) -> FloatArray:
    """Pack a table of a differential cross-section for the edge kernel.

    Parameters
    ----------
    relative_energy
        Energies above the onset in eV, shape (K,), increasing from 0.
    cross_section
        Differential cross-section in nm^2/eV, shape (K,).
    window
        Range above the onset, in eV, whose integral is the unit of the fine-structure peak.

    Returns
    -------
    constants
        ``[K, integral over the window, energies, values, slopes]``, shape (2 + 3 K,).
    """
    table = PchipInterpolator(relative_energy, cross_section)
    area = float(table.integrate(relative_energy[0], relative_energy[0] + window))
    slopes = table.derivative()(relative_energy)
    return np.concatenate([[relative_energy.size, area], relative_energy, cross_section, slopes]).astype(np.float64)
