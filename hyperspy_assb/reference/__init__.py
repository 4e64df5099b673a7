"""Edges, bands, X-rays and phases: numbers with their sources, and the code that reads them."""

from hyperspy_assb.reference.amorphous_rings import Ring, RingMaterial, ring_material, ring_materials
from hyperspy_assb.reference.crystal_files import crystal_file
from hyperspy_assb.reference.data_files import UnknownReferenceError
from hyperspy_assb.reference.electron_scattering import electron_scattering_factor, electron_scattering_table
from hyperspy_assb.reference.ionisation_edges import Edge, edge, edges, oscillator_strength
from hyperspy_assb.reference.low_loss_bands import COMPARED, Band, band, bands
from hyperspy_assb.reference.materials import Phase, phase, phases
from hyperspy_assb.reference.near_edge_shapes import check_element, near_edge
from hyperspy_assb.reference.x_ray_lines import Atom, Subshell, x_ray_atom, x_ray_elements

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
