"""Edges, bands and phases: numbers with their sources, and the code that reads them."""

from hyperspy_assb.reference._bands import COMPARED, Band, band, bands
from hyperspy_assb.reference._crystals import crystal_file
from hyperspy_assb.reference._edges import Edge, edge, edges, oscillator_strength
from hyperspy_assb.reference._files import UnknownReferenceError
from hyperspy_assb.reference._near_edges import check_element, near_edge
from hyperspy_assb.reference._phases import Phase, phase, phases
from hyperspy_assb.reference._rings import Ring, RingMaterial, ring_material, ring_materials
from hyperspy_assb.reference._scattering import electron_scattering_factor, electron_scattering_table

__all__ = [
    "COMPARED",
    "Band",
    "Edge",
    "Phase",
    "Ring",
    "RingMaterial",
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
]
