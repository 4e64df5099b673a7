"""Profiles against the distance from a boundary: bins, and what was fitted in them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eds.composition.atoms import Composition
from hyperspy_assb.eds.interfaces.profiles import Profile, bin_pixels, profile_of


def composition(n, good=None):
    amounts = np.arange(3.0 * n).reshape(n, 3)
    if good is not None:
        amounts[~good] = np.nan
    return Composition(
        elements=("Fe", "Ge", "O"),
        atoms=amounts,
        unclipped=amounts,
        covariance=np.arange(n)[:, None, None] + np.eye(3),
        calibration=np.zeros(3),
        status=np.zeros(n, dtype=np.int8),
    )


def test_pixels_of_equal_spacing_are_a_bin_each():
    # In floating point: 0.1 n is now above, now below the edge.
    distance = 0.1 * np.arange(-20, 21) + 3.7
    bins, members = bin_pixels(distance, 0.1)
    np.testing.assert_array_equal(bins, np.arange(41))
    np.testing.assert_allclose(np.concatenate(members), distance)


def test_bins_by_hand():
    distance = np.array([[0.0, 1.9, 2.0, 3.9], [np.nan, 4.1, 6.0, 8.5], [10.0, 12.0, 14.0, 17.0]])
    bins, members = bin_pixels(distance, 2.0)
    np.testing.assert_array_equal(bins, [0, 0, 1, 1, -1, 2, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(members[1], [2.0, 3.9])
    assert len(members) == 9


def test_empty_bins_are_left_out():
    distance = np.append(np.arange(8.0), [100.0, 101.0])
    bins, members = bin_pixels(distance, 1.0)
    assert bins[-2:].tolist() == [8, 9]
    assert all(m.size for m in members)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 3.0), st.floats(-1e3, 1e3))
def test_every_pixel_lies_in_one_bin_of_the_width(seed, width, origin):
    rng = np.random.default_rng(seed)
    distance = origin + rng.uniform(0.0, 60.0, 400)
    distance[rng.random(400) < 0.1] = np.nan
    bins, members = bin_pixels(distance, width)
    np.testing.assert_array_equal(bins == -1, np.isnan(distance))
    assert sorted(np.unique(bins[bins >= 0])) == list(range(len(members)))
    for b, inside in enumerate(members):
        np.testing.assert_array_equal(inside, distance[bins == b])
        assert np.ptp(inside) <= width * (1.0 + 1e-9)
    # In order, and without overlap.
    assert all(one.max() < other.min() for one, other in pairwise(members))


@pytest.mark.parametrize(
    ("distance", "width"),
    [([], 1.0), ([np.nan, np.nan], 1.0), (range(20), 0.0), (range(20), -1.0), (range(20), np.nan)],
)
def test_no_profile_at_all(distance, width):
    with pytest.raises(ValueError, match="bin width must be above 0, with pixels on both sides of the boundary"):
        bin_pixels(np.array(distance, dtype=float), width)


def test_too_few_bins_are_counted():
    with pytest.raises(ValueError, match=r"profile has 7 bins of 2\.5 nm; a fit needs 8 or more"):
        bin_pixels(2.5 * np.arange(7), 2.5)
    assert len(bin_pixels(2.5 * np.arange(8), 2.5)[1]) == 8


def test_profile_keeps_the_bins_that_were_fitted():
    good = np.ones(12, dtype=bool)
    good[[0, 5]] = False
    members = [np.array([2.0 * b, 2.0 * b + 1.0]) for b in range(12)]
    profile = profile_of(composition(12, good), members)
    np.testing.assert_array_equal(profile.distance, 2.0 * np.flatnonzero(good) + 0.5)
    np.testing.assert_array_equal(profile.amount, composition(12).unclipped[good])
    np.testing.assert_array_equal(profile.covariance, composition(12).covariance[good])
    np.testing.assert_array_equal(profile.pixels, 2.0)
    assert profile.spacing == 2.0


def test_too_few_fitted_bins_are_counted():
    good = np.arange(12) < 7
    with pytest.raises(ValueError, match="Only 7 bins of the profile hold enough counts; 8 are needed"):
        profile_of(composition(12, good), [np.array([float(b)]) for b in range(12)])


def test_subset_keeps_what_belongs_together():
    found = composition(9)
    found.covariance[:] = np.arange(9.0).reshape(3, 3)
    profile = profile_of(found, [np.array([float(b)]) for b in range(9)])
    some = profile.subset([2, 0])
    assert isinstance(some, Profile)
    assert some.elements == ("O", "Fe")
    np.testing.assert_array_equal(some.amount, profile.amount[:, [2, 0]])
    np.testing.assert_array_equal(some.covariance[0], [[8.0, 6.0], [2.0, 0.0]])
    np.testing.assert_array_equal(some.distance, profile.distance)
