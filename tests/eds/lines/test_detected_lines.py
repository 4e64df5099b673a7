"""Lines as detectors record them: peaks, tails, escape peaks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from hyperspy_assb.eds.eds_map import XRayLine
from hyperspy_assb.eds.lines.detected_lines import (
    SI_JUMP,
    SI_KA,
    SI_YIELD,
    LineShapes,
    channel_edges,
    escape_share,
    gaussians,
    peaks,
)
from hyperspy_assb.eds.lines.x_ray_lines import FWHM_PER_SIGMA, line_width
from hyperspy_assb.reference import LineComponent
from hyperspy_assb.signals.eds.map_reading import MassAbsorption

EDGES = np.linspace(0.0, 12.0, 2401)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


def mean_and_width(shape):
    mean = np.average(CENTRES, weights=shape)
    return mean, FWHM_PER_SIGMA * np.sqrt(np.average((CENTRES - mean) ** 2, weights=shape))


def one_gaussian(energy, resolution=130.0):
    at = np.array([energy])
    return gaussians(EDGES, at, line_width(at, resolution) / FWHM_PER_SIGMA)[0]


def one_line(escaped=0.0, lost=0.0, components=()):
    line, at = XRayLine("Fe", "Ka", 6.4, 1.0, components), np.array([6.4])
    return LineShapes.of(EDGES, [line], at, 130.0, lost=np.array([lost]), escaped=np.array([escaped])).whole()[0]


def test_edges_lie_half_a_channel_beside_centres():
    edges = channel_edges(np.array([0.1, 0.3, 0.5]))
    np.testing.assert_allclose(edges, [0.0, 0.2, 0.4, 0.6], atol=1e-15)


@settings(max_examples=25, deadline=None)
@given(st.floats(1.0, 11.0), st.floats(110.0, 180.0))
def test_line_has_one_count_its_energy_and_its_width(energy, resolution):
    shape = one_gaussian(energy, resolution)
    mean, width = mean_and_width(shape)
    assert shape.sum() == pytest.approx(1.0, abs=2e-6)
    assert mean == pytest.approx(energy, abs=1e-6)
    # A channel of 5 meV adds its own variance.
    expected = np.hypot(line_width(energy, resolution), FWHM_PER_SIGMA * 0.005 / np.sqrt(12))
    assert width == pytest.approx(expected, rel=1e-4)


def test_line_ends_at_five_standard_deviations():
    shape = one_gaussian(6.4)
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
    shape = one_line(escaped=0.02)
    below = np.where(CENTRES < 5.5, shape, 0.0)
    assert shape.sum() - below.sum() == pytest.approx(1.0, abs=2e-6)
    assert below.sum() / shape.sum() == pytest.approx(0.02, rel=1e-5)
    mean, width = mean_and_width(below)
    assert mean == pytest.approx(6.4 - SI_KA, abs=1e-6)
    assert width == pytest.approx(line_width(6.4 - SI_KA, 130.0), rel=1e-3)
    np.testing.assert_array_equal(one_line(), one_gaussian(6.4))


def test_many_lines_are_each_as_alone():
    broad = (LineComponent(-0.004, 0.6, 0.002), LineComponent(0.006, 0.4, 0.003))
    lines = [
        XRayLine("Fe", "Ka", e, 1.0, c) for e, c in ((6.4, broad), (0.01, ()), (11.99, broad), (6.5, ()), (14.0, ()))
    ]
    at = np.array([line.energy for line in lines])
    together = peaks(EDGES, lines, at, 130.0)
    for k, line in enumerate(lines):
        np.testing.assert_array_equal(together[k], peaks(EDGES, [line], at[k : k + 1], 130.0)[0])


def test_line_moves_without_steps():
    # What a small move changes does not depend on which channels the line reaches before and after.
    line = [XRayLine("Ge", "Ka", 9.88, 1.0, (LineComponent(0.0, 1.0, 0.003),))]
    moved = [peaks(EDGES, line, np.array([9.88 + d]), 130.0)[0] for d in np.linspace(0.0, 0.006, 61)]
    far = np.abs(CENTRES - 9.88) > 4.0 * line_width(9.88, 130.0) / FWHM_PER_SIGMA
    assert np.abs(np.diff(moved, axis=0))[:, far].max() < 0.05 * np.max(moved[0][far])
