"""Lines of elements: energies, widths, escape peaks, shapes, overlaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from hyperspy_assb.eds.eds_map import XRayLine
from hyperspy_assb.eds.lines.x_ray_lines import (
    CELL_ELEMENTS,
    FOREIGN_ELEMENTS,
    FWHM_PER_SIGMA,
    SI_JUMP,
    SI_KA,
    SI_YIELD,
    channel_edges,
    escape_share,
    find_overlaps,
    gaussian,
    in_range,
    line_shape,
    line_width,
)
from hyperspy_assb.signals.eds.map_reading import MassAbsorption, element_tables

EDGES = np.linspace(0.0, 12.0, 2401)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


def mean_and_width(shape):
    mean = np.average(CENTRES, weights=shape)
    return mean, FWHM_PER_SIGMA * np.sqrt(np.average((CENTRES - mean) ** 2, weights=shape))


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


def test_edges_lie_half_a_channel_beside_centres():
    edges = channel_edges(np.array([0.1, 0.3, 0.5]))
    np.testing.assert_allclose(edges, [0.0, 0.2, 0.4, 0.6], atol=1e-15)


@settings(max_examples=25, deadline=None)
@given(st.floats(1.0, 11.0), st.floats(110.0, 180.0))
def test_line_has_one_count_its_energy_and_its_width(energy, resolution):
    shape = gaussian(EDGES, energy, resolution)
    mean, width = mean_and_width(shape)
    assert shape.sum() == pytest.approx(1.0, abs=2e-6)
    assert mean == pytest.approx(energy, abs=1e-6)
    # A channel of 5 meV adds its own variance.
    expected = np.hypot(line_width(energy, resolution), FWHM_PER_SIGMA * 0.005 / np.sqrt(12))
    assert width == pytest.approx(expected, rel=1e-4)


def test_line_ends_at_five_standard_deviations():
    shape = gaussian(EDGES, 6.4, 130.0)
    sigma = line_width(6.4, 130.0) / FWHM_PER_SIGMA
    np.testing.assert_array_equal(shape > 0, np.abs(CENTRES - 6.4) < 5 * sigma)


def escape_by_geometry(absorbed, own):
    """Photons are absorbed along the depth; silicon emits evenly into all directions, half of them to the surface."""
    leaves = integrate.quad(lambda cosine: absorbed / (absorbed + own / cosine), 0.0, 1.0)[0]
    return 0.5 * SI_YIELD * (1.0 - 1.0 / SI_JUMP) * leaves


@pytest.mark.parametrize("absorbed", [30.0, 350.0, 3000.0])
def test_escape_share_is_that_of_a_half_space(absorbed):
    share = escape_share(np.array([absorbed]), 350.0, np.array([5.0]))
    assert share[0] == pytest.approx(escape_by_geometry(absorbed, 350.0), rel=1e-8)


def test_escape_share_of_known_lines():
    # J. I. Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis, 3rd ed. (2003): escape peaks are
    # from below 2 % of their line for P K alpha down to 0.01 % for Zn K alpha.
    coefficients = MassAbsorption()
    energies = np.array([2.0133, 6.4039, 8.0478])
    own = float(coefficients("Si", np.array([SI_KA]))[0])
    phosphorus, iron, copper = escape_share(coefficients("Si", energies), own, energies)
    assert 0.010 < phosphorus < 0.019
    assert 0.001 < iron < 0.005
    assert copper < iron < phosphorus


def test_nothing_escapes_below_the_edge_of_silicon():
    np.testing.assert_array_equal(escape_share(np.full(2, 1e3), 350.0, np.array([0.5, 1.83])), 0.0)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e6), st.floats(10.0, 1e4))
def test_escape_share_is_below_half_the_fluorescence(absorbed, own):
    share = escape_share(np.array([absorbed]), own, np.array([5.0]))[0]
    assert 0.0 <= share < 0.5 * SI_YIELD * (1.0 - 1.0 / SI_JUMP)


def test_escape_peak_lies_below_its_line_by_that_of_silicon():
    shape = line_shape(EDGES, XRayLine("Fe", "Ka", 6.4, 1.0), 130.0, escape=0.02)
    below = np.where(CENTRES < 5.5, shape, 0.0)
    assert shape.sum() - below.sum() == pytest.approx(1.0, abs=2e-6)
    assert below.sum() / shape.sum() == pytest.approx(0.02, rel=1e-5)
    mean, width = mean_and_width(below)
    assert mean == pytest.approx(6.4 - SI_KA, abs=1e-6)
    assert width == pytest.approx(line_width(6.4 - SI_KA, 130.0), rel=1e-3)
    np.testing.assert_array_equal(line_shape(EDGES, XRayLine("Fe", "Ka", 6.4, 1.0), 130.0), gaussian(EDGES, 6.4, 130.0))


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
