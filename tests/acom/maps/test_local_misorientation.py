"""Kernel average misorientation, and texture."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kstest

from hyperspy_assb.acom.crystals.crystal_phase import load_phase
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.acom.maps.local_misorientation import kernel_average_misorientation
from hyperspy_assb.acom.maps.texture import pole_densities

LFP = load_phase("lfp")


def bent(rng, angles):
    half = np.radians(np.asarray(angles)) / 2.0
    turn = np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=-1)
    return multiply(upper(rng.normal(size=4)), turn)


def test_a_crystal_that_bends_evenly(rng):
    orientation = bent(rng, 0.5 * np.arange(8)[None] + np.zeros((5, 1)))
    scan = SimpleNamespace(phase=np.zeros((5, 8), dtype=int), orientation=orientation, phases=(LFP,))
    found = kernel_average_misorientation(scan)
    # Of eight neighbours six are a column away, two in the same column.
    np.testing.assert_allclose(found[1:-1, 1:-1], 6 * 0.5 / 8, atol=1e-6)
    np.testing.assert_allclose(found[0, 0], 2 * 0.5 / 3, atol=1e-6)
    wide = kernel_average_misorientation(scan, reach=2)
    np.testing.assert_allclose(wide[2, 2:-2], (10 * 1.0 + 10 * 0.5) / 24, atol=1e-6)


def test_boundaries_phases_and_holes_are_left_out(rng):
    orientation = bent(rng, np.array([[0.0, 0.0, 20.0, 20.0, 20.0, 0.0]]))
    phase = np.array([[0, 0, 0, 0, 1, -1]])
    orientation[0, 5] = np.nan
    scan = SimpleNamespace(phase=phase, orientation=orientation, phases=(LFP, load_phase("fp")))
    found = kernel_average_misorientation(scan)
    np.testing.assert_allclose(found[0, :4], 0.0, atol=1e-6)
    assert np.isnan(found[0, 4:]).all()
    with pytest.raises(ValueError, match="reach"):
        kernel_average_misorientation(scan, reach=0)
    with pytest.raises(ValueError, match="threshold"):
        kernel_average_misorientation(scan, threshold=0.0)


def test_share_of_random_crystals_is_that_of_the_caps():
    found = {(row.direction, row.axis): row for row in pole_densities([[1.0, 0.0, 0.0, 0.0]], LFP, cone=15.0)}
    # One axis: two caps of the sphere.
    assert found[(0, 0, 1), "z"].random == pytest.approx(1.0 - np.cos(np.radians(15.0)), rel=0.02)
    assert found[(0, 0, 1), "z"].within == 1
    assert found[(0, 0, 1), "x"].within == 0
    assert found[(0, 0, 1), "x"].p == 1.0


@pytest.mark.slow
def test_p_is_not_small_for_random_grains():
    rng = np.random.default_rng(4)
    p = []
    for _ in range(400):
        rows = pole_densities(upper(rng.normal(size=(60, 4))), LFP, directions=[(1, 1, 0)], cone=20.0)
        p.append(rows[2].p)
    # Of a count: never too small, whatever the level.
    for alpha in (0.01, 0.05, 0.1, 0.3):
        assert np.mean(np.array(p) <= alpha) <= alpha + 3.0 * np.sqrt(alpha * (1 - alpha) / 400)
    assert kstest(p, "uniform", alternative="greater").pvalue > 1e-3
