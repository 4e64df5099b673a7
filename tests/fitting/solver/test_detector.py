"""Gain and read noise from residuals: simulation with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.fitting.solver.detector import estimate_detector

ENERGY = np.linspace(0.0, 10.0, 400)
MEAN = 5.0 + 800.0 * np.exp(-0.5 * ((ENERGY - 3.0) / 0.4) ** 2) + 60.0 * np.exp(-ENERGY / 4.0)


def draw(rng, n, gain, read_noise):
    counts = gain * rng.poisson(MEAN / gain, (n, MEAN.size)).astype(float)
    return counts + rng.normal(0.0, read_noise, counts.shape)


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "read_noise"), [(1.0, 0.0), (4.0, 0.0), (0.3, 0.0), (5.0, 3.0), (1.0, 10.0)])
def test_gain_and_read_noise_come_back(rng, gain, read_noise):
    found = estimate_detector(draw(rng, 2000, gain, read_noise), np.broadcast_to(MEAN, (2000, MEAN.size)))
    # 800,000 squares: the gain to less than 1 %, read noise where it is not far below the counting noise.
    assert found.gain == pytest.approx(gain, rel=0.03)
    assert found.read_noise**2 == pytest.approx(read_noise**2, abs=0.05 * (read_noise**2 + 10.0 * gain))


def test_a_model_that_misses_the_data_smoothly_is_not_noise(rng):
    counts = draw(rng, 200, 2.0, 1.0)
    wrong = MEAN * (1.0 + 0.2 * np.sin(ENERGY))
    assert estimate_detector(counts, np.broadcast_to(wrong, counts.shape)).gain == pytest.approx(2.0, rel=0.05)


def test_spikes_are_not_noise(rng):
    counts = draw(rng, 200, 2.0, 1.0)
    counts[rng.integers(0, 200, 50), rng.integers(0, 400, 50)] += 5e3
    assert estimate_detector(counts, np.broadcast_to(MEAN, counts.shape)).gain == pytest.approx(2.0, rel=0.05)


def test_rows_that_are_not_finite_are_left_out(rng):
    counts = draw(rng, 200, 2.0, 1.0)
    counts[3, 7] = np.nan
    assert estimate_detector(counts, np.broadcast_to(MEAN, counts.shape)).gain == pytest.approx(2.0, rel=0.05)


def test_too_little_to_go_by(rng):
    counts = draw(rng, 2, 1.0, 0.0)
    with pytest.raises(ValueError, match="at least ten channels"):
        estimate_detector(counts[:, :5], np.broadcast_to(MEAN[:5], (2, 5)))
    with pytest.raises(ValueError, match="do not scatter"):
        estimate_detector(np.broadcast_to(MEAN, (2, 400)), np.broadcast_to(MEAN, (2, 400)))
