"""What an electron is worth, found from the patterns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.intensity_units import IntensityUnits, estimate_units

NO_MASK = np.zeros((96, 96), dtype=bool)


@pytest.fixture(scope="module")
def patterns() -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    radius = np.hypot(x - 48, y - 47)
    mean = 20.0 * np.exp(-radius / 15.0) + 0.3 + 900.0 * np.exp(-0.5 * (radius / 1.3) ** 2)
    for r, azimuth in zip(rng.uniform(8, 44, 14), rng.uniform(0, 2 * np.pi, 14), strict=True):
        u, v = 48 + r * np.cos(azimuth), 47 + r * np.sin(azimuth)
        mean += 40.0 * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / 0.9**2)
    return rng.poisson(mean, (24, 96, 96)).astype(np.uint16)


def test_counts_are_taken_as_they_are(patterns: NDArray[np.uint16]) -> None:
    for dtype in (np.uint8, np.uint16, np.int32, np.float32):
        assert estimate_units(np.minimum(patterns, 255).astype(dtype), NO_MASK) == IntensityUnits()
    dim = np.random.default_rng(1).poisson(0.02, (24, 96, 96)).astype(np.uint16)
    assert estimate_units(dim, NO_MASK) == IntensityUnits()
    assert estimate_units(np.zeros((3, 96, 96), dtype=np.uint16), NO_MASK).plain
    assert IntensityUnits().in_words() == ()


@pytest.mark.parametrize("gain", [1e-6, 0.01, 1 / 900, 37.5, 1000.0])
@pytest.mark.parametrize("zero", [0.0, -3.0])
def test_scaled_counts_have_the_step_as_gain(patterns: NDArray[np.uint16], gain: float, zero: float) -> None:
    found = estimate_units(((patterns + zero) * gain).astype(np.float32), NO_MASK)
    assert found.gain == pytest.approx(gain, rel=1e-3)
    assert found.zero == pytest.approx(zero * gain, rel=1e-3)
    assert found.quantum == pytest.approx(1.0)
    back = found.to_electrons(((patterns + zero) * gain).astype(np.float32))
    np.testing.assert_allclose(back, patterns, atol=0.05)
    assert f"{found.gain:.3g} for an electron" in found.in_words()[0]


def test_patterns_of_sum_one_have_the_mean_gain(patterns: NDArray[np.uint16]) -> None:
    sums = patterns.sum(axis=(1, 2), dtype=float)
    found = estimate_units((patterns / sums[:, None, None]).astype(np.float32), NO_MASK)
    assert found.gain == pytest.approx(1 / sums.mean(), rel=0.02)


@pytest.mark.parametrize("offset", [-1, -7, -100])
def test_a_dark_reference_that_was_too_high(patterns: NDArray[np.uint16], offset: int) -> None:
    found = estimate_units(patterns.astype(np.int32) + offset, NO_MASK)
    assert (found.gain, found.zero) == (1.0, offset)


@pytest.mark.parametrize("gain", [3, 10, 37])
def test_whole_multiples(patterns: NDArray[np.uint16], gain: int) -> None:
    found = estimate_units(patterns.astype(np.uint32) * gain, NO_MASK)
    assert found.gain == gain


@pytest.mark.parametrize("gain", [0.02, 50.0])
def test_values_without_a_step_have_the_gain_of_their_noise(patterns: NDArray[np.uint16], gain: float) -> None:
    # Read-out noise of 0.3 electrons.
    noise = np.random.default_rng(2).normal(0.0, 0.3, patterns.shape)
    found = estimate_units(((patterns + noise) * gain).astype(np.float32), NO_MASK)
    assert found.gain == pytest.approx(gain, rel=0.5)
    assert found.quantum == 0.0
    assert abs(found.zero) < 0.2 * gain


def test_pixels_that_are_left_out_do_not_count(patterns: NDArray[np.uint16]) -> None:
    damaged = patterns.astype(np.float32)
    mask = NO_MASK.copy()
    mask[10:14], mask[40, 40] = True, True
    damaged[:, mask] = -1e4
    assert estimate_units(damaged, mask) == IntensityUnits()
