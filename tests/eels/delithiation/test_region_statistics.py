"""Regions: sums by hand, errors that do not average away, finds under control."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eels.delithiation.lithiated_fraction import LithiatedFraction
from hyperspy_assb.eels.delithiation.region_statistics import find_excess, region_statistics


def content_of(maps):
    """The fraction in some pixels, and their t/lambda."""
    own = {name: values for name, values in maps.items() if name != "t_over_lambda"}
    nothing = np.full(maps["t_over_lambda"].size, np.nan)
    content = LithiatedFraction(
        **own, significance=nothing, detection_limit=nothing, status=np.zeros(nothing.size, dtype=np.int8)
    )
    return content, maps["t_over_lambda"]


MAPS = {
    "fraction": np.array([0.0, 1.0, 1.2, np.nan, 0.5]),
    "fraction_std": np.array([0.1, 0.2, 0.1, np.nan, 0.3]),
    "fraction_systematic": np.array([0.02, 0.04, 0.05, np.nan, 0.03]),
    "electrode_share": np.array([0.5, 1.0, 0.8, 0.0, np.nan]),
    "t_over_lambda": np.array([0.4, 0.6, 0.5, 0.3, np.nan]),
}


def test_a_region_by_hand():
    found = region_statistics(np.array([True, True, False, True, False]), *content_of(MAPS))
    # Formula units: 0.2 and 0.6.
    assert (found.n_pixels, found.n_answered) == (3, 2)
    assert found.fraction == pytest.approx(0.75)
    assert found.fraction_std == pytest.approx(np.hypot(0.25 * 0.1, 0.75 * 0.2))
    assert found.fraction_systematic == pytest.approx(0.25 * 0.02 + 0.75 * 0.04)
    assert found.best == pytest.approx((100 * 0.0 + 25 * 1.0) / 125)
    assert found.best_std == pytest.approx(125**-0.5)
    assert found.t_over_lambda == pytest.approx(0.4)
    assert found.electrode_share == pytest.approx(0.8 / 1.3)


def test_pixels_may_be_named_by_index():
    assert region_statistics([0, 1, 3], *content_of(MAPS)) == region_statistics(
        np.array([1, 1, 0, 1, 0], dtype=bool), *content_of(MAPS)
    )


def test_a_fraction_without_host_is_left_out():
    assert region_statistics([0, 4], *content_of(MAPS)).n_answered == 1


def test_a_region_without_x_has_none():
    found = region_statistics([3], *content_of(MAPS))
    assert (found.n_pixels, found.n_answered, found.electrode_share) == (1, 0, 0.0)
    assert np.isnan([found.fraction, found.fraction_std, found.fraction_systematic, found.best, found.spread]).all()


def scene(rng, size, *, spread=0.0):
    std = rng.uniform(0.05, 0.3, size)
    return {
        "fraction": 0.6 + spread * rng.standard_normal(size) + std * rng.standard_normal(size),
        "fraction_std": std,
        "fraction_systematic": np.full(size, 0.03),
        "electrode_share": rng.uniform(0.3, 1.0, size),
        "t_over_lambda": rng.uniform(0.3, 0.9, size),
    }


def test_counting_averages_down_and_the_systematic_does_not(rng):
    few, many = (region_statistics(np.arange(size), *content_of(scene(rng, size))) for size in (25, 2500))
    assert many.fraction_std == pytest.approx(few.fraction_std / 10, rel=0.25)
    assert few.fraction_systematic == pytest.approx(0.03)
    assert many.fraction_systematic == pytest.approx(0.03)


def test_the_errors_of_a_region_cover_its_truth():
    z = []
    for seed in range(400):
        found = region_statistics(np.arange(60), *content_of(scene(np.random.default_rng(seed), 60)))
        z.append([(found.fraction - 0.6) / found.fraction_std, (found.best - 0.6) / found.best_std])
    # 400 draws tell the root mean square to 1 / sqrt(800).
    assert np.all(np.abs(np.sqrt(np.mean(np.square(z), axis=0)) - 1) < 3 / np.sqrt(800))


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_the_spread_has_the_errors_taken_out(rng, spread):
    found = region_statistics(np.arange(20000), *content_of(scene(rng, 20000, spread=spread)))
    assert found.spread == pytest.approx(spread, abs=0.03)


# ----------------------------------------------------------------------------------------------------------- finds


def test_finds_by_hand():
    # Of four pixels, sorted p values are compared with 0.05 times 1/4, 2/4, ... (Benjamini and Hochberg).
    found = find_excess(np.array([[4.0, -1.0], [np.nan, 1.9], [2.3, np.nan]]))
    p = found.p_value[np.isfinite(found.p_value)]
    np.testing.assert_allclose(p, [3.167e-5, 0.841345, 0.028717, 0.010724], rtol=1e-4)
    np.testing.assert_allclose(found.adjusted[0, 0], 4 * p[0])
    np.testing.assert_allclose(found.adjusted[2, 0], 2 * p[3])
    np.testing.assert_allclose(found.adjusted[1, 1], 4 / 3 * p[2])
    np.testing.assert_array_equal(found.found, [[True, False], [False, True], [True, False]])
    assert np.isnan(found.adjusted[[1, 2], [0, 1]]).all()


def test_any_dependence_finds_less():
    z = np.linspace(0.0, 5.0, 50)
    positive, anything = find_excess(z), find_excess(z, dependence="any")
    assert np.all(anything.adjusted >= positive.adjusted)
    assert 0 < anything.found.sum() < positive.found.sum()


@pytest.mark.parametrize("dependence", ["positive", "any"])
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_nothing_is_found_where_nothing_is(shared, dependence):
    """Null images whose pixels are off together by their calibration: any find in at most 5 % of them."""
    rng = np.random.default_rng(1)
    images = 1000
    common = rng.standard_normal((images, 1))
    z = np.sqrt(shared) * common + np.sqrt(1.0 - shared) * rng.standard_normal((images, 256))
    hits = sum(find_excess(row, dependence=dependence).found.any() for row in z)
    assert hits <= 50 + 3 * np.sqrt(1000 * 0.05 * 0.95)  # binomial error


def test_the_share_of_false_finds_is_kept(rng):
    """Half of the pixels hold something: of what is found, 5 % times one half may be false."""
    shares = []
    for _ in range(200):
        z = rng.standard_normal(400) + np.where(np.arange(400) < 200, 3.0, 0.0)
        found = find_excess(z).found
        shares.append(found[200:].sum() / max(found.sum(), 1))
    assert np.mean(shares) == pytest.approx(0.025, abs=4 * np.std(shares) / np.sqrt(200))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_does_not_matter_for_finds_and_sums(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(40)
    z = 2.0 * rng.standard_normal(40)
    np.testing.assert_allclose(find_excess(z[order]).adjusted, find_excess(z).adjusted[order])
    maps = scene(rng, 40)
    one = region_statistics(np.arange(40), *content_of(maps))
    two = region_statistics(np.arange(40), *content_of({name: values[order] for name, values in maps.items()}))
    assert (two.fraction, two.fraction_std, two.best) == pytest.approx((one.fraction, one.fraction_std, one.best))


def test_nothing_measured_is_nothing_found():
    found = find_excess(np.full((2, 3), np.nan))
    assert found.found.shape == (2, 3)
    assert not found.found.any()
    assert np.isnan(found.p_value).all()


def test_wrong_arguments_of_finds():
    with pytest.raises(ValueError, match="fdr"):
        find_excess([1.0], fdr=0.0)
    with pytest.raises(ValueError, match="'positive' or 'any', not 'none'"):
        find_excess([1.0], dependence="none")
