"""Spots below the pixel, and patterns drawn from them."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb.acom.patterns.direct_beam import find_centres
from hyperspy_assb.acom.patterns.spots import PeakOptions, find_peaks, reconstruct

CENTRE = (63.4, 61.8)
PLACES = np.array([(30.2, 40.7), (90.6, 50.1), (75.0, 100.3), (40.45, 85.5), (100.9, 96.2)])


def pattern(heights, sigma=1.3, ground=0.0):
    y, x = np.mgrid[:128, :128]
    image = ground * np.exp(-np.hypot(x - CENTRE[0], y - CENTRE[1]) / 30.0)
    image = image + 20 * heights[0] * np.exp(-0.5 * ((x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2) / sigma**2)
    for place, height in zip(PLACES, heights, strict=True):
        image += height * np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / sigma**2)
    return image


@pytest.mark.slow
def test_places_sizes_and_intensities_without_noise():
    heights = np.array([100.0, 50.0, 30.0, 20.0, 10.0])
    peaks = find_peaks(pattern(heights)[None].astype(np.float32), CENTRE, options=PeakOptions(window=5.0))
    assert peaks.count.tolist() == [5]
    order = np.argsort(-peaks.intensity)
    np.testing.assert_allclose(peaks.position[order], PLACES, atol=0.02)
    np.testing.assert_allclose(peaks.intensity[order], heights * 2 * np.pi * 1.3**2, rtol=0.02)
    np.testing.assert_allclose(peaks.radius[order], 1.3, rtol=0.05)
    assert peaks.of(0) == slice(0, 5)


@pytest.mark.slow
def test_spots_of_few_electrons_on_diffuse_background(rng):
    heights = np.full(5, 40.0 / (2 * np.pi * 1.3**2))  # 40 electrons each
    patterns = rng.poisson(pattern(heights, ground=1.0), (20, 128, 128)).astype(np.uint16)
    peaks = find_peaks(patterns, CENTRE)
    distance = np.linalg.norm(peaks.position[:, None] - PLACES, axis=-1).min(axis=1)
    found = [(np.linalg.norm(PLACES[k] - peaks.position, axis=1) < 1.0).sum() for k in range(5)]
    assert min(found) >= 18
    # Noise makes no spots: at most one in ten patterns.
    assert (distance > 2.0).sum() <= 2
    near = distance < 2.0
    # 1.3 / sqrt(40) = 0.2 pixels along each axis, background besides.
    assert np.sqrt((distance[near] ** 2).mean()) < 0.5


@pytest.mark.slow
def test_noise_has_no_spots(rng):
    for mean in (0.02, 0.5, 20.0):
        peaks = find_peaks(rng.poisson(mean, (6, 128, 128)).astype(np.uint16), CENTRE)
        assert peaks.count.sum() <= 1


def test_threshold_does_not_depend_on_the_gain(rng):
    heights = np.full(5, 60.0 / (2 * np.pi * 1.3**2))
    counts = rng.poisson(pattern(heights, ground=2.0), (3, 128, 128))
    plain = find_peaks(counts.astype(np.float32), CENTRE)
    amplified = find_peaks((counts * 17.0).astype(np.float32), CENTRE)
    assert plain.count.tolist() == amplified.count.tolist()
    np.testing.assert_allclose(amplified.intensity, 17.0 * plain.intensity, rtol=1e-3)


def test_shoulder_is_one_spot_and_two_spots_are_two():
    y, x = np.mgrid[:128, :128]
    near = 100 * np.exp(-0.5 * ((x - 30) ** 2 + (y - 40) ** 2) / 1.69)
    near += 60 * np.exp(-0.5 * ((x - 31.5) ** 2 + (y - 40) ** 2) / 1.69)
    far = 100 * np.exp(-0.5 * ((x - 90) ** 2 + (y - 40) ** 2) / 1.69)
    far += 60 * np.exp(-0.5 * ((x - 97) ** 2 + (y - 40) ** 2) / 1.69)
    assert find_peaks((near + far)[None].astype(np.float32), CENTRE).count.tolist() == [3]


def test_reconstruction_is_the_pattern_without_noise(rng):
    heights = np.array([100.0, 60.0, 40.0, 30.0, 20.0])
    noisy = rng.poisson(pattern(heights, ground=3.0))[None].astype(np.uint16)
    drawn = reconstruct(find_peaks(noisy, CENTRE), (128, 128))[0]
    y, x = np.mgrid[:128, :128]
    clean = pattern(heights)
    clean[np.hypot(x - CENTRE[0], y - CENTRE[1]) < 12] = 0.0
    r = np.corrcoef(drawn.ravel(), clean.ravel())[0, 1]
    assert r > 0.98
    assert drawn.sum() == pytest.approx(clean.sum(), rel=0.08)
    root = reconstruct(find_peaks(noisy, CENTRE), (128, 128), radius=1.0, power=0.5)[0]
    assert root.sum() == pytest.approx(np.sqrt(heights * 2 * np.pi * 1.69).sum(), rel=0.1)


def test_errors():
    with pytest.raises(ValueError, match="centres"):
        find_peaks(np.zeros((2, 32, 32)), (np.nan, 3.0))
    with pytest.raises(ValueError, match="prominence"):
        PeakOptions(prominence=0.0)
    peaks = find_peaks(np.zeros((2, 32, 32)), (16.0, 16.0))
    assert peaks.count.tolist() == [0, 0]
    with pytest.raises(ValueError, match="radius"):
        reconstruct(peaks, (32, 32), radius=0.0)
    assert reconstruct(peaks, (32, 32)).shape == (2, 32, 32)


def test_spots_of_a_real_block_file(shared_data):
    patterns = hs.load(shared_data / "diffraction" / "blockfile" / "test1.blo").data.reshape(-1, 144, 144)
    centres = find_centres(patterns)
    peaks = find_peaks(patterns, centres)
    assert (peaks.count >= 8).all()
    assert (peaks.count <= 25).all()
    # The six patterns are neighbours in one grain: what is a spot in one is a spot in the others.
    first = peaks.position[peaks.of(0)] - centres[0]
    for b in range(1, len(patterns)):
        distance = np.linalg.norm(peaks.position[peaks.of(b)] - centres[b] - first[:, None], axis=-1).min(axis=1)
        assert (distance < 1.0).mean() > 0.8
