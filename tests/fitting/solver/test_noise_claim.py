"""Recorded noise against the scatter of counts of known gain, read noise and point spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hyperspy_assb.fitting.solver.detector import estimate_noise, numerical_rank
from hyperspy_assb.fitting.solver.noise_claim import NoiseSource, judge_noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector

ENERGY = 0.1 * np.arange(400)


def counts_of(rng, *, gain=1.0, read_noise=0.0, blur=0.0, count=128, dose=1.0):
    """Spectra of two shapes whose amounts vary, and their expectation."""
    one, two = rng.uniform(0.5, 1.5, (2, count, 1))
    mean = dose * (800 * one * np.exp(-0.5 * ((ENERGY - 10) / 2) ** 2) + 60 * two * np.exp(-ENERGY / 14) + 5)
    counts = gain * rng.poisson(mean / gain).astype(float)
    if blur:
        counts = gaussian_filter1d(counts, blur, axis=1, mode="reflect")
    return counts + rng.normal(0.0, 1.0, counts.shape) * read_noise, mean


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("gain", "read_noise", "blur", "dose"),
    [
        (1.0, 0.0, 0.0, 1.0),
        (0.1, 0.0, 0.0, 1.0),
        (10.0, 3.0, 0.0, 1.0),
        (1.0, 10.0, 0.0, 1.0),
        (1.0, 0.0, 1.0, 1.0),
        (7.8, 0.0, 2.0, 10.0),
        (1.0, 0.0, 2.0, 0.1),
    ],
)
def test_gain_and_point_spread_come_back(rng, gain, read_noise, blur, dose, known):
    counts, mean = counts_of(rng, gain=gain, read_noise=read_noise, blur=blur, dose=dose)
    # A model that misses the data smoothly is none the less no noise.
    found = estimate_noise(counts, mean * (1 + 0.02 * np.sin(ENERGY / 2)) if known else None)
    # A blur after the counting moves noise to neighbours, and leaves that of broad features as it was.
    assert found.detector.gain * found.inflation == pytest.approx(gain, rel=0.15)
    assert found.detector.read_noise == pytest.approx(read_noise, abs=0.1 * read_noise + 0.5 * np.sqrt(gain * dose))
    if blur:
        expected = np.exp(-(np.arange(1, 4) ** 2) / (4 * blur**2))
        wanted = min(found.correlation.size, 3)
        np.testing.assert_allclose(found.correlation[:wanted], expected[:wanted], atol=0.1)
        assert wanted >= 2
    else:
        assert found.correlation.size == 0


@pytest.mark.parametrize("blur", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("gain", [0.1, 1.0, 7.8])
@pytest.mark.parametrize("what", ["none", "right", "inverse", "wrong"])
def test_whatever_was_recorded_the_gain_is_right(rng, gain, blur, what):
    claim = {"none": None, "right": Detector(gain), "inverse": Detector(1 / gain), "wrong": Detector(3 * gain)}[what]
    counts, _ = counts_of(rng, gain=gain, blur=blur, dose=10.0)
    noise = judge_noise(counts, claim)
    assert noise.broad.gain == pytest.approx(gain, rel=0.2)
    wrong = what == "wrong" or (what == "inverse" and gain != 1.0)
    assert noise.contradicted == wrong
    if what == "inverse" and wrong:
        assert noise.source is NoiseSource.INVERSE
        assert "electrons per count" in noise.sentence


@pytest.mark.slow
def test_right_claims_are_not_doubted():
    """Null test: of 100 maps with a right claim at most 3 % are contradicted, or called correlated."""
    doubted = correlated = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        gain, dose = (0.3, 1.0, 5.0)[seed % 3], (0.05, 1.0, 20.0)[seed % 7 % 3]
        counts, mean = counts_of(rng, gain=gain, dose=dose, count=48)
        noise = judge_noise(counts[:, ::2], Detector(gain), mean[:, ::2])
        doubted += noise.contradicted
        correlated += noise.correlation.size > 0
    assert doubted <= 3
    assert correlated <= 3


def test_few_spectra_overrule_only_what_cannot_be(rng):
    counts, _ = counts_of(rng, gain=4.0, count=1)
    trusted, doubted = judge_noise(counts, Detector(5.0)), judge_noise(counts, Detector(0.25))
    assert trusted.source is NoiseSource.TRUSTED
    assert "a single spectrum" in trusted.sentence
    assert doubted.contradicted
    assert doubted.detector.gain == pytest.approx(4.0, rel=0.3)


def test_interpolated_spectra_keep_the_noise_of_broad_features(rng):
    """Half-way interpolation halves the variance of a channel, and correlates neighbours by a half."""
    counts, _ = counts_of(rng)
    noise = judge_noise(0.5 * (counts[:, 1:] + counts[:, :-1]), None)
    assert noise.correlation[0] == pytest.approx(0.5, abs=0.05)
    assert noise.detector.gain == pytest.approx(0.5, rel=0.1)
    assert noise.broad.gain == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_few_spectra_are_no_counts(rng, dtype):
    counts, _ = counts_of(rng)
    left, values, right = np.linalg.svd(counts, full_matrices=False)
    few = ((left[:, :25] * values[:25]) @ right[:25]).astype(dtype)
    assert numerical_rank(few) == 25
    assert numerical_rank(counts) == 0
    noise = judge_noise(few, None)
    assert noise.source is NoiseSource.NOT_COUNTS
    assert not noise.is_counting
    assert "PCA" in noise.sentence
