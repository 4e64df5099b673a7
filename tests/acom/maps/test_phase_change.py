"""Registration of two scans, and what became of every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hyperspy_assb.acom.maps.area_fractions import LEFT_OUT, ClassMap, FractionOptions
from hyperspy_assb.acom.maps.phase_change import compare_classes, register_scans


def scene(seed, size=90):
    return gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 2) * 10 + 3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), y=st.integers(-9, 9), x=st.integers(-9, 9))
def test_known_shift(seed, y, x):
    world = scene(seed)
    rng = np.random.default_rng(seed + 1)
    before = world[20:65, 20:70] + rng.normal(0, 0.2, (45, 50))
    # Pixel (y, x) of the earlier scan is (y + shift) of the later one: that began `shift` earlier.
    after = world[20 - y : 65 - y, 20 - x : 70 - x] + rng.normal(0, 0.2, (45, 50))
    found = register_scans(before, after)
    assert found.shift == (y, x)
    assert found.correlation > 0.8
    np.testing.assert_allclose(before[found.before], after[found.after], atol=2.5)


def test_scans_of_different_size_and_with_gaps():
    world = scene(3)
    before, after = world[10:60, 10:60].copy(), world[15:70, 5:75].copy()
    after[3, 4] = np.nan
    found = register_scans(before, after)
    assert found.shift == (-5, 5)
    assert before[found.before].shape == after[found.after].shape == (45, 50)


def test_a_shift_that_is_given():
    found = register_scans(np.zeros((10, 12)), np.zeros((10, 12)), shift=(2, -3))
    assert found.before == (slice(0, 8), slice(3, 12))
    assert found.after == (slice(2, 10), slice(0, 9))


@pytest.mark.parametrize("seed", range(5))
def test_stripes_and_even_images_are_not_registered_by_rounding(seed):
    rng = np.random.default_rng(seed)
    stripes = np.tile(0.1 * rng.integers(0, 10, 40), (30, 1))
    nearly = stripes * (1.0 + np.finfo(float).eps * rng.integers(-1, 2, stripes.shape))
    assert register_scans(stripes, nearly).shift == (0, 0)  # along the stripes, any shift is as good
    even = 0.1 * (1.0 + np.finfo(float).eps * rng.integers(-1, 2, (20, 20)))
    assert register_scans(even, even).correlation == 0.0


def test_scans_that_have_little_in_common():
    with pytest.raises(ValueError, match="less than 30 %"):
        register_scans(scene(0), scene(1), shift=(80, 80))
    with pytest.raises(ValueError, match="two dimensions"):
        register_scans(np.zeros(4), np.zeros((4, 4)))


def test_transitions_are_counted():
    before = ClassMap(("a", "b", "amorphous"), np.array([[0, 0, 1, 1, 2, LEFT_OUT]] * 20), 2)
    after = ClassMap(("b", "a", "soot"), np.array([[1, 0, 0, 2, LEFT_OUT, 1]] * 20), 2)
    found = compare_classes(before, after, options=FractionOptions(resamples=49))
    assert found.names == ("a", "b", "amorphous", "soot")
    assert found.pixels == 80
    expected = np.zeros((4, 4))
    expected[0, 0], expected[0, 1], expected[1, 1], expected[1, 3] = 0.25, 0.25, 0.25, 0.25
    np.testing.assert_allclose(found.transitions, expected)
    np.testing.assert_allclose(found.before, [0.5, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(found.after, [0.25, 0.5, 0.0, 0.25])
    np.testing.assert_allclose(found.change, found.after - found.before)
    with pytest.raises(ValueError, match="the same pixels"):
        compare_classes(before, ClassMap(("a",), np.zeros((3, 3), dtype=int), 1))
    with pytest.raises(ValueError, match="No pixel"):
        compare_classes(before, ClassMap(("a",), np.full((20, 6), LEFT_OUT), 1))


def test_nothing_changed_is_known_exactly_and_noise_is_covered(rng):
    index = (gaussian_filter(rng.normal(size=(40, 40)), 3) > 0).astype(int)
    same = ClassMap(("a", "b"), index, 2)
    found = compare_classes(same, same)
    assert np.abs(found.change).max() == 0.0
    assert found.change_std.max() == 0.0
    covered = 0
    for _ in range(20):
        flip = rng.random((40, 40)) < 0.1
        noisy = ClassMap(("a", "b"), np.where(flip, 1 - index, index), 2)
        back = ClassMap(("a", "b"), np.where(rng.random((40, 40)) < 0.1, 1 - index, index), 2)
        found = compare_classes(noisy, back, options=FractionOptions(resamples=49))
        covered += found.low[0] <= 0.0 <= found.high[0]
    assert covered >= 17
