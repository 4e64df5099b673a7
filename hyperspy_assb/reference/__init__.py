"""Materials, elements, edges, bands and X-rays: numbers with their sources, and the code that reads them.

All materials together are ``hyperspy_assb.materials``; the name here is that of the module which holds them.
"""

from hyperspy_assb.reference.amorphous_rings import Ring
from hyperspy_assb.reference.computed_optics import ComputedOptics, computed_materials, computed_optics
from hyperspy_assb.reference.crystal_cells import read_cif_text
from hyperspy_assb.reference.data_files import MaterialError, MissingFactError, UnknownReferenceError
from hyperspy_assb.reference.electron_scattering import electron_scattering_factor, electron_scattering_table
from hyperspy_assb.reference.elements import Element, element, elements
from hyperspy_assb.reference.formulas import parse_formula
from hyperspy_assb.reference.ionisation_edges import Edge, edge, edges, oscillator_strength
from hyperspy_assb.reference.low_loss_bands import COMPARED, Band, band, bands
from hyperspy_assb.reference.material_facts import Electrode, Material
from hyperspy_assb.reference.materials import electrode, material, materials_files, shown_names
from hyperspy_assb.reference.near_edge_shapes import check_element, near_edge
from hyperspy_assb.reference.x_ray_absorption import added_lines, lines_by_levels, mass_absorption
from hyperspy_assb.reference.x_ray_lines import (
    Atom,
    LineComponent,
    Subshell,
    line_components,
    x_ray_atom,
    x_ray_elements,
)

__all__ = [
    "COMPARED",
    "Atom",
    "Band",
    "ComputedOptics",
    "Edge",
    "Electrode",
    "Element",
    "LineComponent",
    "Material",
    "MaterialError",
    "MissingFactError",
    "Ring",
    "Subshell",
    "UnknownReferenceError",
    "added_lines",
    "band",
    "bands",
    "check_element",
    "computed_materials",
    "computed_optics",
    "edge",
    "edges",
    "electrode",
    "electron_scattering_factor",
    "electron_scattering_table",
    "element",
    "elements",
    "line_components",
    "lines_by_levels",
    "mass_absorption",
    "material",
    "materials_files",
    "near_edge",
    "oscillator_strength",
    "parse_formula",
    "read_cif_text",
    "shown_names",
    "x_ray_atom",
    "x_ray_elements",
]
