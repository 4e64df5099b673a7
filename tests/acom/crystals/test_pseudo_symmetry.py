"""Half turns that patterns hardly show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.crystals.crystal_phase import cell_axes, load_phase
from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of, turn_about_beam
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.acom.crystals.kinematical import Diffraction, simulate_spots
from hyperspy_assb.acom.crystals.pseudo_symmetry import (
    crystal_mean,
    half_turns,
    pseudo_symmetric_angle,
    zone_axes_of,
)
from hyperspy_assb.acom.templates.zone_axes import towards

PHASE = load_phase("lfp")
SYMMETRY = symmetry_of(PHASE)
AXES = zone_axes_of(PHASE)


def along(indices, tilt=0.0, azimuth=0.0):
    """The beam along a zone axis, tilted away from it by some degrees."""
    direction = np.asarray(indices, dtype=float) @ cell_axes(PHASE)
    base = towards((direction / np.linalg.norm(direction))[None])[0]
    half = np.radians(tilt) / 2.0
    return multiply(base, np.array([np.cos(half), np.sin(half) * np.cos(azimuth), np.sin(half) * np.sin(azimuth), 0.0]))


def axis(indices):
    direction = np.asarray(indices, dtype=float) @ cell_axes(PHASE)
    return direction / np.linalg.norm(direction)


def test_two_fold_axes_are_none_of_them():
    for symmetric in ([1, 0, 0], [0, 1, 0], [0, 0, 1]):
        assert np.abs(AXES @ axis(symmetric)).max() < 1.0 - 1e-9
    for other in ([0, 1, 1], [1, -1, 0], [1, 2, 3]):
        assert np.abs(AXES @ axis(other)).max() == pytest.approx(1.0)
    np.testing.assert_allclose(np.linalg.norm(AXES, axis=1), 1.0)
    # Each once: no axis is another one or its opposite.
    assert (np.abs(AXES @ AXES.T) - np.eye(len(AXES))).max() < 1.0 - 1e-6


def test_half_a_turn_keeps_the_zero_order_zone():
    first = along([0, 1, 1], tilt=2.0, azimuth=0.4)
    second = multiply(half_turns(axis([0, 1, 1])), first)
    spots = simulate_spots(PHASE, np.stack([first, second]), diffraction=Diffraction(max_radius=0.8))
    one, other = (
        {
            (round(x, 6) + 0.0, round(y, 6) + 0.0): i
            for x, y, i in zip(spots.x[k], spots.y[k], spots.intensity[k], strict=True)
            if i > 0
        }
        for k in (0, 1)
    )
    strong = [place for place, value in one.items() if value > 0.01 * max(one.values())]
    assert len(strong) > 10
    shared = [place for place in strong if place in other]
    assert len(shared) >= 0.95 * len(strong)
    np.testing.assert_allclose([one[p] for p in shared], [other[p] for p in shared], rtol=1e-6)
    assert disorientation(first, second, SYMMETRY) > 30.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tilt=st.floats(0.0, 8.0), off=st.floats(0.0, 2.0))
def test_half_turns_are_known_whatever_equivalent_they_are_given_as(seed, tilt, off):
    rng = np.random.default_rng(seed)
    first = along([0, 1, 1], tilt=tilt, azimuth=rng.uniform(0, 2 * np.pi))
    bent = multiply(first, np.array([np.cos(np.radians(off) / 2), np.sin(np.radians(off) / 2), 0.0, 0.0]))
    second = multiply(half_turns(axis([0, 1, 1])), bent)
    second = multiply(SYMMETRY[rng.integers(len(SYMMETRY))], second)
    first = multiply(SYMMETRY[rng.integers(len(SYMMETRY))], first)
    angle = pseudo_symmetric_angle(first[None], second[None], SYMMETRY, AXES)[0]
    assert angle <= off + 1e-6


def test_what_no_half_turn_connects_is_far(rng):
    first = upper(rng.normal(size=(500, 4)))
    second = upper(rng.normal(size=(500, 4)))
    near = pseudo_symmetric_angle(first, second, SYMMETRY, AXES) < 5.0
    assert near.sum() <= 4
    none = np.zeros((0, 3))
    expected = disorientation(turn_about_beam(first), second, SYMMETRY)
    np.testing.assert_array_equal(pseudo_symmetric_angle(first, second, SYMMETRY, none), expected)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_mean_of_a_bent_crystal_is_that_of_the_more_frequent_kind(rng, share):
    tilts = np.linspace(1.0, 7.0, 60)
    bent = np.array([along([0, 1, 1], tilt=t) for t in tilts])
    turned = rng.permutation(60) < share * 60
    seen = np.where(turned[:, None], multiply(half_turns(axis([0, 1, 1])), bent), bent)
    found = crystal_mean(upper(seen), SYMMETRY, AXES)
    expected = along([0, 1, 1], tilt=4.0)
    if share > 0.5:
        expected = multiply(half_turns(axis([0, 1, 1])), expected)
    assert disorientation(found.orientation, expected, SYMMETRY) < 0.5
    assert found.spread == pytest.approx(1.5, abs=0.2)
    assert found.twinned == pytest.approx(min(share, 1.0 - share), abs=0.02)
