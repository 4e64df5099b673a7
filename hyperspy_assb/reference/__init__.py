"""Edges, bands, X-rays and phases: numbers with their sources, and the code that reads them."""

from hyperspy_assb.reference._bands import COMPARED, Band, band, bands
from hyperspy_assb.reference._crystals import crystal_file
from hyperspy_assb.reference._edges import Edge, edge, edges, oscillator_strength
from hyperspy_assb.reference._files import UnknownReferenceError
from hyperspy_assb.reference._near_edges import check_element, near_edge
from hyperspy_assb.reference._phases import Phase, phase, phases
from hyperspy_assb.reference._rings import Ring, RingMaterial, ring_material, ring_materials
from hyperspy_assb.reference._scattering import electron_scattering_factor, electron_scattering_table
from hyperspy_assb.reference._x_rays import Atom, Subshell, x_ray_atom, x_ray_elements

__all__ = [
    "COMPARED",
    "Atom",
    "Band",
    "Edge",
    "Phase",
    "Ring",
    "RingMaterial",
    "Subshell",
    "UnknownReferenceError",
    "band",
    "bands",
    "check_element",
    "crystal_file",
    "edge",
    "edges",
    "electron_scattering_factor",
    "electron_scattering_table",
    "near_edge",
    "oscillator_strength",
    "phase",
    "phases",
    "ring_material",
    "ring_materials",
    "x_ray_atom",
    "x_ray_elements",
]
