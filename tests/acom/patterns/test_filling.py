"""Pixels that are left out are filled from those about them."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.acom.patterns.detector import Detector
from hyperspy_assb.acom.patterns.filling import PixelFiller, neighbours_across
from hyperspy_assb.acom.patterns.intensity_units import IntensityUnits


def test_a_slope_goes_on_across_a_gap() -> None:
    y, x = np.mgrid[:20, :24].astype(float)
    pattern = 3.0 + 0.5 * x - 0.2 * y
    mask = np.zeros((20, 24), dtype=bool)
    mask[8:12], mask[3, 5], mask[15, 20] = True, True, True
    filled = PixelFiller(mask).fill(pattern[None])[0]
    np.testing.assert_array_equal(filled[~mask], pattern[~mask])
    np.testing.assert_allclose(filled[3, 5], pattern[3, 5])
    np.testing.assert_allclose(filled[15, 20], pattern[15, 20])
    np.testing.assert_allclose(filled[8:12, 4:-4], pattern[8:12, 4:-4], atol=0.35)


def test_weights_add_up_and_come_from_good_pixels() -> None:
    mask = np.random.default_rng(0).random((16, 17)) < 0.4
    pixels, sources, weights = neighbours_across(mask)
    assert pixels.tolist() == np.flatnonzero(mask).tolist()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    used = sources[weights > 0]
    assert not mask.ravel()[used].any()


@pytest.mark.parametrize("level", [0.05, 0.4, 3.0])
def test_whole_counts_are_filled_by_whole_counts_of_the_same_mean(level: float) -> None:
    patterns = np.random.default_rng(1).poisson(level, (400, 24, 24)).astype(np.uint16)
    mask = np.zeros((24, 24), dtype=bool)
    mask[4::5, 3::4] = True
    filled = PixelFiller(mask).fill(patterns)
    assert filled.dtype == np.uint16
    inside = filled[:, mask].astype(float)
    assert inside.mean() == pytest.approx(level, abs=4 * np.sqrt(level / inside.size) + 0.03 * level)


def test_the_same_pattern_is_filled_alike_wherever_it_stands() -> None:
    patterns = np.random.default_rng(2).poisson(0.7, (50, 20, 20)).astype(np.uint16)
    filler = PixelFiller(np.random.default_rng(3).random((20, 20)) < 0.1)
    whole = filler.fill(patterns)
    for k in (0, 17, 49):
        np.testing.assert_array_equal(filler.fill(patterns[k : k + 1])[0], whole[k])


def test_a_pattern_without_a_good_pixel_is_dark() -> None:
    filled = PixelFiller(np.ones((16, 16), dtype=bool)).fill(np.full((1, 16, 16), np.nan))
    assert (filled == 0.0).all()


def test_single_values_that_are_no_numbers_are_filled() -> None:
    patterns = np.random.default_rng(4).poisson(5.0, (2, 3, 16, 16)).astype(np.float32)
    damaged = patterns.copy()
    damaged[0, 1, 4, 5], damaged[1, 2, 8, 8] = np.nan, np.inf
    detector = Detector(np.zeros((16, 16), dtype=bool), IntensityUnits())
    right = detector.put_right(damaged)
    assert np.isfinite(right).all()
    same = np.isfinite(damaged)
    np.testing.assert_array_equal(right[same], patterns[same])
    assert right[0, 1, 4, 5] == pytest.approx(patterns[0, 1, 3:6, 4:7].mean(), abs=2.5)
    assert np.isnan(damaged[0, 1, 4, 5])
