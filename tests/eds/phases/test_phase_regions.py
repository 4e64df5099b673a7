"""Phases of regions: fractions of volume, mass and area, and their errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.eds.phases.phase_regions import share_interval, summarise_region

GOOD, EMPTY, VACUUM = PhaseStatus.GOOD, PhaseStatus.EMPTY, PhaseStatus.VACUUM
UNEXPLAINED, RESIDUAL = PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL


def test_fractions_by_hand(make_mixture):
    # 60 nm of one and 40 nm of the other, twice as dense: 60 and 80 of mass; one of two pixels is mostly the first.
    found = summarise_region(make_mixture([[50.0, 10.0], [10.0, 30.0]], 1.0, density=[1.0, 2.0]))
    assert found.phases == ("olivine", "LAGP")
    np.testing.assert_allclose(found.volume, [0.6, 0.4])
    np.testing.assert_allclose(found.mass, [60 / 140, 80 / 140])
    np.testing.assert_allclose(found.area, [0.5, 0.5])
    # Variance 2 of each sum: (40^2 + 60^2) * 2 / 100^4.
    np.testing.assert_allclose(found.volume_std, np.sqrt(2 * (40**2 + 60**2)) / 100**2)
    # In mass: 2 and 8.
    np.testing.assert_allclose(found.mass_std, np.sqrt(2 * 80**2 + 8 * 60**2) / 140**2)
    assert found.pixels == (2, 2)
    assert found.unexplained == 0.0


def test_calibration_of_an_element_moves_its_phase(make_mixture):
    # One per cent more sensitivity to Fe: one per cent less olivine. d f = -f (1 - f) for a relative change.
    by = np.zeros((2, 2, 2))
    by[:, 0, 0] = [-50.0, -10.0]
    found = summarise_region(make_mixture([[50.0, 10.0], [10.0, 30.0]], by_calibration=by, density=[1.0, 2.0]))
    np.testing.assert_allclose(found.volume_systematic, 0.1 * 0.6 * 0.4)
    np.testing.assert_allclose(found.mass_systematic, 0.1 * 60 * 80 / 140**2)


def test_calibration_errors_of_pixels_are_the_same_error(make_mixture):
    by = np.zeros((100, 2, 2))
    by[:, 0, 0] = -50.0
    one, many = (summarise_region(make_mixture(np.tile([50.0, 50.0], (n, 1)), by_calibration=by[:n])) for n in (1, 100))
    np.testing.assert_allclose(many.volume_systematic, one.volume_systematic)
    np.testing.assert_allclose(many.volume_std, one.volume_std / 10)


def test_amounts_below_zero_count(make_mixture):
    found = summarise_region(make_mixture([[50.0, -2.0], [50.0, 2.0]]))
    np.testing.assert_allclose(found.volume, [1.0, 0.0], atol=1e-12)


def test_only_pixels_of_the_region(make_mixture):
    mixture = make_mixture([[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]])
    found = summarise_region(mixture, np.array([True, True, False]))
    np.testing.assert_allclose(found.volume, [0.5, 0.5])
    assert found.pixels == (2, 2)


def test_pixels_without_an_answer_are_left_out(make_mixture):
    mixture = make_mixture(
        [[50.0, 0.0], [0.0, 50.0], [900.0, 0.0], [900.0, 0.0], [np.nan, np.nan]],
        status=[GOOD, GOOD, UNEXPLAINED, RESIDUAL, EMPTY],
    )
    found = summarise_region(mixture)
    np.testing.assert_allclose(found.volume, [0.5, 0.5])
    # Of four pixels with material, two are explained.
    np.testing.assert_allclose(found.area, [0.25, 0.25])
    assert found.unexplained == pytest.approx(0.5)
    assert found.pixels == (2, 5)


def test_pixels_with_little_of_everything_count(make_mixture):
    # Noise that lifts some pixels above their error lowers others.
    mixture = make_mixture([[60.0, 0.0], [2.0, 1.0], [-2.0, 1.0], [0.0, 18.0]], status=[GOOD, VACUUM, VACUUM, GOOD])
    found = summarise_region(mixture)
    np.testing.assert_allclose(found.volume, [0.75, 0.25])
    np.testing.assert_allclose(found.area, [0.5, 0.5])
    assert found.unexplained == 0.0


def test_area_of_what_is_not_sure(make_mixture):
    # Half and half: each pixel is a toss of a coin.
    found = summarise_region(make_mixture(np.tile([50.0, 50.0], (100, 1)), 5.0))
    np.testing.assert_allclose(found.area_std, 0.05)
    sure = summarise_region(make_mixture(np.tile([90.0, 10.0], (100, 1)), 5.0))
    assert sure.area_std.max() < 1e-6


def test_errors_are_the_scatter(make_mixture, rng):
    truth, std = rng.uniform(10.0, 60.0, (40, 3)), np.array([6.0, 9.0, 12.0])
    density = [3.6, 3.4, 1.8]
    drawn = [summarise_region(make_mixture(rng.normal(truth, std), std, density=density)) for _ in range(300)]
    for kind in ("volume", "mass", "area"):
        scatter = np.std([getattr(found, kind) for found in drawn], axis=0)
        told = np.mean([getattr(found, f"{kind}_std") for found in drawn], axis=0)
        # The largest of the phases is noisy itself: rivals seem nearer or further than they are.
        np.testing.assert_allclose(told, scatter, rtol=0.35 if kind == "area" else 0.12)
    volume = truth.sum(axis=0) / truth.sum()
    mean = np.mean([found.volume for found in drawn], axis=0)
    np.testing.assert_allclose(mean, volume, atol=4 * drawn[0].volume_std.max() / np.sqrt(300))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000), st.floats(0.1, 10.0))
def test_fractions_add_up_and_have_no_scale(make_mixture, n, seed, factor):
    thickness = np.random.default_rng(seed).uniform(0.1, 100.0, (n, 3))
    density = [3.6, 3.4, 1.8]
    one = summarise_region(make_mixture(thickness, 2.0, density=density))
    other = summarise_region(make_mixture(factor * thickness, 2.0 * factor, density=density))
    for kind in ("volume", "mass", "area"):
        assert getattr(one, kind).sum() == pytest.approx(1.0)
        np.testing.assert_allclose(getattr(other, kind), getattr(one, kind), rtol=1e-9)
        np.testing.assert_allclose(getattr(other, f"{kind}_std"), getattr(one, f"{kind}_std"), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("status", [EMPTY, VACUUM, UNEXPLAINED, PhaseStatus.NOT_FITTED])
def test_region_without_an_answer_is_told(make_mixture, status):
    with pytest.raises(ValueError, match="No pixel of the region is explained by the phases"):
        summarise_region(make_mixture([[50.0, 10.0]], status=status))


def test_empty_region_is_told(make_mixture):
    with pytest.raises(ValueError, match="No pixel of the region"):
        summarise_region(make_mixture([[50.0, 10.0]]), np.array([False]))


@pytest.mark.parametrize("std", [1e-3, 0.02, 0.3])
@pytest.mark.parametrize("value", [-0.3, -0.01, 0.0, 0.004, 0.3, 0.5, 0.98, 1.0, 1.03])
def test_interval_of_a_share_has_a_width_within_its_bounds(value, std):
    low, high = share_interval(value, std)
    assert 0.0 <= low < high <= 1.0
    # Of the normal distribution between 0 and 1, as drawn.
    if value < -30.0 * std:
        return
    drawn = stats.truncnorm(-value / std, (1.0 - value) / std, value, std)
    assert drawn.cdf(high) - drawn.cdf(low) == pytest.approx(0.6827, abs=1e-3)
    if 2.0 * std < value < 1.0 - 2.0 * std:
        assert (low, high) == pytest.approx((value - std, value + std), rel=0.05)


def test_pure_phase_has_an_interval(make_mixture):
    pure = make_mixture([[102.0, -2.0]], 3.0)
    rows = summarise_region(pure).rows()
    assert rows[0]["volume high"] == 1.0
    assert 0.9 < rows[0]["volume low"] < 0.99
    assert rows[1]["volume low"] == 0.0 < rows[1]["volume high"] < 0.1
