"""Area fractions and their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from hyperspy_assb.acom.maps.area_fractions import (
    LEFT_OUT,
    ClassMap,
    FractionOptions,
    area_fractions,
    classify_pixels,
)
from hyperspy_assb.acom.maps.variogram import find_correlation
from hyperspy_assb.acom.matching.indexed import PatternStatus


def field(rng, width, size=64):
    """A smooth random field of mean 0 and variance 1, without an edge."""
    if width == 0:
        return rng.normal(size=(size, size))
    margin = 4 * width
    wide = gaussian_filter(rng.normal(size=(size + 2 * margin,) * 2), width)
    return 2 * np.sqrt(np.pi) * width * wide[margin:-margin, margin:-margin]


def two_classes(mask):
    return ClassMap(("a", "b"), np.asarray(mask).astype(int), 2)


def test_classes_of_every_status(make_scan, rng):
    phase = np.array([[0, 1, 2, -1, -1, -1]])
    ring = np.array([[-1, -1, 0, 0, 1, -1]])
    orientation = np.tile([1.0, 0.0, 0.0, 0.0], (1, 6, 1))
    scan = make_scan(phase, orientation, ring=ring)
    found = classify_pixels(scan)
    assert found.names == ("LiFePO4", "FePO4", "LAGP", "carbon", "amorphous_LAGP")
    np.testing.assert_array_equal(found.index, [[0, 1, 2, 3, 4, LEFT_OUT]])
    np.testing.assert_array_equal(found.amorphous, [[False, False, False, True, True, False]])
    np.testing.assert_array_equal(found.is_("LAGP", "carbon"), [[False, False, True, True, False, False]])
    # Amorphous material whose rings fit none of those known.
    untold = replace(scan, ring_amounts=np.full_like(scan.ring_amounts, np.nan))
    found = classify_pixels(untold)
    assert found.names[-1] == "amorphous"
    np.testing.assert_array_equal(found.index, [[0, 1, 2, 5, 5, LEFT_OUT]])
    saturated = replace(scan, status=np.full((1, 6), PatternStatus.SATURATED))
    np.testing.assert_array_equal(classify_pixels(saturated).index, [[0, 1, 2, LEFT_OUT, LEFT_OUT, LEFT_OUT]])


def test_fractions_are_shares_of_what_was_classified():
    index = np.full((8, 10), LEFT_OUT)
    index[:4], index[4:6] = 0, 2
    found = area_fractions(ClassMap(("a", "b", "c"), index, 2))
    np.testing.assert_allclose(found.fraction, [2 / 3, 0.0, 1 / 3])
    assert found.pixels == 60
    assert found.left_out == 20
    assert (found.low <= found.fraction).all()
    assert (found.fraction <= found.high).all()
    assert found.low[1] == 0.0
    assert 0.0 < found.high[1] < 1.0
    assert np.isnan(found.classification_std).all()
    half = area_fractions(ClassMap(("a", "b", "c"), index, 2), region=np.arange(8)[:, None] < 2 + np.zeros(10))
    np.testing.assert_array_equal(half.fraction, [1.0, 0.0, 0.0])
    assert half.left_out == 0


def test_independent_pixels_scatter_as_a_binomial(rng):
    found = area_fractions(two_classes(rng.random((60, 60)) < 0.2))
    assert found.std[1] == pytest.approx(np.sqrt(0.16 / 3600), rel=0.12)
    assert found.effective[1] == pytest.approx(3600, rel=0.25)


@pytest.mark.parametrize("width", [1, 3])
def test_intervals_cover_the_truth_where_pixels_are_correlated(rng, width):
    truth, looks = 0.3, 40
    threshold = norm.ppf(truth)
    options = FractionOptions(resamples=99)
    covered, errors, quoted, effective = 0, [], [], []
    for _ in range(looks):
        found = area_fractions(two_classes(field(rng, width) < threshold), options=options)
        covered += found.low[1] <= truth <= found.high[1]
        errors.append(found.fraction[1] - truth)
        quoted.append(found.std[1])
        effective.append(found.effective[1])
    # 95 % of 40 are 38 +- 1.4.
    assert covered >= 34
    assert np.sqrt(np.mean(np.square(quoted))) == pytest.approx(np.std(errors), rel=0.4)
    # Single pixels would claim 4096.
    assert np.median(effective) < 1000


@pytest.mark.parametrize("length", [2.0, 5.0])
def test_correlation_of_a_mosaic_is_exponential_in_its_cells(rng, length):
    # Pixels of one cell of a Poisson line mosaic are the same; the chance to be in one cell falls as exp(-d / length).
    size, found = 80, []
    y, x = np.mgrid[:size, :size].astype(float) - size / 2
    reach = size / np.sqrt(2)
    for _ in range(6):
        # Lines hit a segment of length d with the mean number d / length.
        count = rng.poisson(np.pi * reach / length)
        angle, place = rng.uniform(0, np.pi, count), rng.uniform(-reach, reach, count)
        key = np.zeros((size, size))
        for a, p in zip(angle, place, strict=True):
            key += (x * np.cos(a) + y * np.sin(a) > p) * rng.normal()
        value = (np.sin(1e4 * key) > 0).astype(float)
        found.append(find_correlation(value, np.ones((size, size), dtype=bool)))
    distance = float(np.mean([f.length * np.log(2) ** (1 / f.power) for f in found]))
    assert distance == pytest.approx(length * np.log(2), rel=0.3)


def test_uncertain_phases_widen_the_interval(make_scan, rng):
    phase = (field(rng, 2) < 0).astype(int)
    orientation = np.tile([1.0, 0.0, 0.0, 0.0], (*phase.shape, 1))
    found = {}
    for certainty in (1.0, 0.9, 0.6):
        scan = make_scan(phase, orientation, certainty=certainty)
        found[certainty] = area_fractions(classify_pixels(scan), posterior=scan.posterior)
    assert found[1.0].classification_std.max() == 0.0
    np.testing.assert_allclose(found[1.0].expected[:3], found[1.0].fraction[:3])
    widths = [f.high[0] - f.low[0] for f in found.values()]
    assert widths[0] < widths[1] < widths[2]
    assert found[0.6].expected[2] == pytest.approx(0.2)
    assert found[0.6].classification_std[0] > found[0.9].classification_std[0] > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 5))
def test_fractions_add_up_and_lie_within_their_intervals(seed, classes):
    rng = np.random.default_rng(seed)
    index = rng.integers(-1, classes, (9, 12))
    index[0, 0] = 0
    names = tuple("abcde"[:classes])
    found = area_fractions(ClassMap(names, index, classes), options=FractionOptions(resamples=19))
    assert found.fraction.sum() == pytest.approx(1.0)
    assert (found.low <= found.fraction).all()
    assert (found.fraction <= found.high).all()
    assert (found.low >= 0).all()
    assert (found.high <= 1).all()
    assert found.pixels + found.left_out == index.size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"posterior": np.zeros((2, 3, 1))}, "posterior: shape"),
        ({"region": np.ones((3, 2), dtype=bool)}, "region: shape"),
        ({"region": np.zeros((2, 3), dtype=bool)}, "No pixel has a class"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        area_fractions(two_classes(np.ones((2, 3))), **change)


@pytest.mark.parametrize("options", [{"confidence": 95.0}, {"resamples": 1}, {"block_pixels": 0}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FractionOptions(**options)
