"""Lines of elements: energies, widths, overlaps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.eds_map import XRayLine
from hyperspy_assb.eds.lines.x_ray_lines import (
    CELL_ELEMENTS,
    FOREIGN_ELEMENTS,
    find_overlaps,
    in_range,
    line_width,
)
from hyperspy_assb.signals.eds.map_reading import element_tables


@pytest.mark.parametrize(
    ("name", "energy"),
    [
        # J. A. Bearden, Rev. Mod. Phys. 39, 78 (1967): the alpha 1 line, to which these are unresolved from alpha 2.
        ("C_Ka", 0.2770),
        ("O_Ka", 0.5249),
        ("Al_Ka", 1.4867),
        ("Si_Ka", 1.7400),
        ("P_Ka", 2.0137),
        ("V_Ka", 4.9522),
        ("Fe_Ka", 6.4038),
        ("Cu_Ka", 8.0478),
        ("Ga_Ka", 9.2517),
        ("Ge_Ka", 9.8864),
        ("Ge_La", 1.1880),
        ("Ga_La", 1.0979),
        ("Pt_Ma", 2.0505),
        ("Au_Ma", 2.1229),
    ],
)
def test_energies_of_main_lines(name, energy):
    lines = {line.full_name: line for line in element_tables().lines_of((*CELL_ELEMENTS, *FOREIGN_ELEMENTS))}
    strongest = max(lines[name].components, key=lambda part: part.share)
    assert lines[name].energy + strongest.offset == pytest.approx(energy, abs=6e-4)
    assert lines[name].weight == 1.0


def test_family_and_name_of_a_line():
    line = XRayLine("Ge", "Lb1", 1.2191, 0.17)
    assert (line.family, line.full_name) == ("La", "Ge_Lb1")


@pytest.mark.parametrize(("energy", "width"), [(5.8987, 130.0), (0.5249, 58.868), (9.8864, 163.918)])
def test_width_by_hand(energy, width):
    # Square of 130 eV, and 2.5 eV for each eV from Mn Ka.
    assert 1000 * line_width(energy, 130.0) == pytest.approx(width, abs=0.001)


def test_width_does_not_vanish_at_low_energy():
    assert line_width(0.1, 110.0) == pytest.approx(0.03)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 20.0), st.floats(125.0, 200.0), st.floats(0.01, 5.0))
def test_width_grows_with_energy_and_resolution(energy, resolution, more):
    assert line_width(energy + more, resolution) > line_width(energy, resolution)
    assert line_width(energy, resolution + more) > line_width(energy, resolution)


def test_gallium_and_germanium_overlap_and_iron_and_copper_do_not():
    lines = element_tables().lines_of(("Ga", "Ge", "Fe", "Cu"))
    pairs = {(o.first, o.second): o for o in find_overlaps(lines, 130.0)}
    pair = pairs["Ga_La", "Ge_La"]
    assert pair.distance == pytest.approx(90.0, abs=0.1)
    assert pair.energy == pytest.approx(1.098, abs=2e-4)
    assert pair.width == pytest.approx(1000 * line_width(1.098, 130.0))
    assert ("Fe_Ka", "Cu_Ka") not in pairs
    assert list(pairs.values()) == sorted(pairs.values(), key=lambda o: o.energy)


@pytest.mark.parametrize(("distance", "found"), [(1.99, 1), (2.01, 0)])
def test_lines_overlap_within_twice_their_width(distance, found):
    width = float(line_width(2.0, 130.0))
    lines = [XRayLine("P", "Ka", 2.0, 1.0), XRayLine("Pt", "Ma", 2.0 + distance * width, 1.0)]
    assert len(find_overlaps(lines, 130.0)) == found
    assert len(find_overlaps(lines[::-1], 130.0)) == found


def test_overlaps_leave_out_weak_lines_and_those_of_one_element():
    lines = [XRayLine("Fe", "Ka", 6.40, 1.0), XRayLine("Fe", "Kx", 6.41, 1.0), XRayLine("V", "Kb", 6.42, 0.15)]
    assert find_overlaps(lines, 130.0) == []
    names = {(o.first, o.second) for o in find_overlaps(lines, 130.0, minimum_weight=0.1)}
    assert names == {("Fe_Ka", "V_Kb"), ("Fe_Kx", "V_Kb")}


def test_range_is_that_of_main_lines():
    lines = element_tables().lines_of(("Fe", "Pt"))
    found = {line.full_name for line in in_range(lines, 0.65, 10.0, 200.0)}
    assert {"Fe_Ka", "Fe_Kb", "Fe_La", "Fe_Ll", "Pt_La", "Pt_Lb1", "Pt_Ma"} <= found
    assert not any(name.startswith("Pt_K") for name in found)
    assert not any(name.startswith("Fe_L") for name in {line.full_name for line in in_range(lines, 0.71, 10.0, 200.0)})


def test_beam_excites_no_line_above_its_energy():
    found = {line.full_name for line in in_range(element_tables().lines_of(("Fe",)), 0.2, 20.0, 7.0)}
    assert "Fe_Ka" in found
    assert "Fe_Kb" not in found


def test_no_such_element():
    with pytest.raises(ValueError, match="'Xx' is not a chemical element"):
        element_tables().lines_of(("Fe", "Xx"))
