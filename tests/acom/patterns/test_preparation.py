"""Direct beams, background, exposure and virtual bright field."""

from __future__ import annotations

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.acom.patterns.direct_beam import find_centres, smooth_centres
from hyperspy_assb.acom.patterns.preparation import (
    estimate_exposure,
    fill_masked,
    find_symmetry_centre,
    remove_background,
    virtual_bright_field,
)


def disc(shape, centre, radius, height=100.0, edge=0.6):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return height / (1.0 + np.exp((np.hypot(x - centre[0], y - centre[1]) - radius) / edge))


def spot(shape, centre, sigma, height):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return height * np.exp(-0.5 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / sigma**2)


def load(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files
        return hs.load(path)


# Exact cases


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("radius", [0.8, 2.5, 9.0])
def test_disc_is_found_to_a_hundredth_of_a_pixel(dtype, radius):
    pattern = disc((96, 80), (37.3, 52.6), radius, 200.0).astype(dtype)
    centre = find_centres(pattern[None])[0]
    # Integers cut the foot of the disc off on one side more than on the other.
    assert np.abs(centre - (37.3, 52.6)).max() < (0.02 if dtype in (np.float32, np.float64) else 0.05)


def test_saturated_beam_is_found_by_its_outline():
    pattern = np.minimum(disc((96, 96), (50.25, 40.75), 5.0, 4000.0, 0.8), 255.0).astype(np.uint8)
    assert (pattern == 255).sum() > 60
    assert np.abs(find_centres(pattern[None])[0] - (50.25, 40.75)).max() < 0.05


def test_beam_that_the_frame_cuts_is_completed():
    pattern = disc((96, 96), (2.4, 40.0), 7.0, 100.0)
    assert np.abs(find_centres(pattern[None])[0] - (2.4, 40.0)).max() < 0.4


def test_hot_pixel_is_no_beam():
    pattern = disc((64, 64), (30.0, 33.0), 2.5, 100.0)
    pattern[10, 50] = 1e6
    assert np.abs(find_centres(pattern[None])[0] - (30.0, 33.0)).max() < 0.05


def test_spot_brighter_than_the_beam_does_not_win_in_a_scan():
    rng = np.random.default_rng(3)
    patterns = []
    for _ in range(24):
        pattern = disc((128, 128), (61.0, 66.0), 2.5, 100.0)
        for _ in range(4):
            angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(10, 45)
            pattern += spot((128, 128), (61 + radius * np.cos(angle), 66 + radius * np.sin(angle)), 1.5, 180.0)
        patterns.append(rng.poisson(pattern))
    centres = find_centres(np.array(patterns))
    assert np.abs(centres - (61.0, 66.0)).max() < 0.2


def test_no_beam_is_nan():
    rng = np.random.default_rng(0)
    empty = np.zeros((64, 64))
    noise = rng.poisson(4.0, (64, 64))
    few = rng.poisson(0.003, (64, 64))
    y, x = np.mgrid[:64, :64]
    ring = rng.poisson(50.0 * np.exp(-0.5 * ((np.hypot(x - 32, y - 32) - 20) / 2) ** 2) * (np.abs(x - 32) > 4))
    assert np.isnan(find_centres(np.array([empty, noise, few, ring], dtype=np.float32))).all()


def test_centre_in_noise_has_the_error_of_its_electrons(rng):
    sigma, electrons = 1.2, 150.0
    clean = spot((64, 64), (30.4, 33.7), sigma, electrons / (2 * np.pi * sigma**2)) + 0.01
    found = find_centres(rng.poisson(clean, (300, 64, 64)))
    error = np.sqrt(((found - (30.4, 33.7)) ** 2).mean(axis=0))
    # The centre of mass of N electrons scatters by sigma / sqrt(N); background and pixels add to it.
    assert (error < 2.0 * sigma / np.sqrt(electrons)).all()
    assert np.abs(found.mean(axis=0) - (30.4, 33.7)).max() < 0.03


def test_plane_of_centres_is_exact_and_not_moved_by_outliers():
    rows, columns = np.mgrid[:12, :9]
    truth = np.stack([60 + 0.2 * columns - 0.1 * rows, 55 + 0.05 * columns + 0.3 * rows], axis=-1)
    measured = truth.copy()
    measured[::4, ::3] += (25.0, -14.0)
    measured[1, 1] = np.nan
    np.testing.assert_allclose(smooth_centres(measured), truth, atol=1e-6)
    np.testing.assert_allclose(smooth_centres(truth[:1]), truth[:1], atol=1e-9)
    np.testing.assert_allclose(smooth_centres(measured[:, :], degree=2), truth, atol=1e-6)


def test_ring_centre_behind_a_beam_stop():
    y, x = np.mgrid[:160, :160]
    distance = np.hypot(x - 84.3, y - 77.8)
    pattern = 100 * np.exp(-0.5 * ((distance - 40) / 6) ** 2) + 30 * np.exp(-distance / 25)
    mask = (np.abs(x - 80) < 8) & (y < 85)
    pattern[mask] = 0.0
    assert np.abs(find_symmetry_centre(pattern, mask=mask) - (84.3, 77.8)).max() < 0.15
    assert np.abs(find_symmetry_centre(pattern, mask=mask, expected=(80, 75)) - (84.3, 77.8)).max() < 0.15
    filled = fill_masked(pattern[None], (84.3, 77.8), mask)[0]
    clean = 100 * np.exp(-0.5 * ((distance - 40) / 6) ** 2) + 30 * np.exp(-distance / 25)
    assert np.abs(filled - clean)[mask & (distance > 12)].max() < 6.0


def test_counts_in_a_circle():
    pattern = np.full((40, 50), 3.0)
    counts = virtual_bright_field(pattern[None].astype(np.uint8), (20.0, 18.0), 6.0)
    assert counts[0] == pytest.approx(3.0 * np.pi * 36.0, rel=0.01)
    each = virtual_bright_field(np.stack([pattern, pattern]), [(20.0, 18.0), (np.nan, np.nan)], 6.0)
    assert each[0] == counts[0]
    assert np.isnan(each[1])


def test_exposure():
    patterns = np.full((4, 64, 64), 1, dtype=np.uint8)
    patterns[:, 28:36, 28:36] = 255  # the direct beam
    patterns[1] = 0
    patterns[1, 28:36, 28:36] = 255
    patterns[2, 10:16, 10:16] = 255
    centres = np.full((4, 2), 31.5)
    centres[3] = np.nan
    empty, saturated = estimate_exposure(patterns, centres, beam_radius=8.0)
    assert empty.tolist() == [False, True, False, False]
    # Where the centre is not known, the direct beam counts too.
    assert saturated.tolist() == [False, False, True, True]
    six_bits = np.minimum(np.random.default_rng(0).poisson(5, (1, 64, 64)), 63).astype(np.uint8)
    assert not estimate_exposure(six_bits, [[32, 32]], beam_radius=5.0)[1][0]
    six_bits[0, :8, :8] = 63
    assert estimate_exposure(six_bits, [[32, 32]], beam_radius=5.0)[1][0]


WEAK = ((90, 66), (40, 90), (62, 30), (100, 100))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["radial", "mesh"])
def test_background_goes_and_weak_spots_stay(method):
    y, x = np.mgrid[:128, :128]
    if method == "radial":
        ground = 400 * np.exp(-np.hypot(x - 62, y - 66) / 18) + 20
    else:
        ground = 60 + 0.3 * x - 0.2 * y + 40 * np.exp(-(((x - 100) / 60) ** 2) - ((y - 20) / 40) ** 2)
    spots = sum(spot((128, 128), place, 1.4, 6.0) for place in WEAK)
    found, bare = remove_background(np.stack([ground + spots, ground]).astype(np.float32), (62.0, 66.0), method=method)
    for i, j in WEAK:
        around = (found - bare)[j - 4 : j + 5, i - 4 : i + 5].sum()
        assert around == pytest.approx(6.0 * 2 * np.pi * 1.4**2, rel=0.1 if method == "radial" else 0.3)
    quiet = (np.hypot(x - 62, y - 66) > 8) & (spots < 0.01)
    quiet[:8] = quiet[-8:] = quiet[:, :8] = quiet[:, -8:] = False
    assert np.abs(found[quiet]).mean() < (0.3 if method == "radial" else 0.015 * np.ptp(ground))


def test_few_counts_are_not_rounded_away(rng):
    # Where most pixels hold no count, the median is 0 but the background is not.
    patterns = rng.poisson(0.3, (4, 128, 128)).astype(np.uint8)
    found = remove_background(patterns, (64.0, 64.0))
    assert abs(found.mean()) < 0.02


# Properties


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.floats(25.0, 70.0),
    st.floats(25.0, 70.0),
    st.floats(1.0, 6.0),
    st.integers(0, 2**31),
)
def test_centre_moves_with_the_pattern(x, y, radius, seed):
    rng = np.random.default_rng(seed)
    pattern = rng.poisson(disc((96, 96), (x, y), radius, 300.0) + 1.0)
    centre = find_centres(pattern[None])[0]
    assert np.abs(centre - (x, y)).max() < 0.15
    np.testing.assert_allclose(find_centres(pattern[None, ::-1, :])[0], (centre[0], 95 - centre[1]), atol=0.02)
    np.testing.assert_allclose(find_centres(pattern.T[None])[0], centre[::-1], atol=0.02)


# Bad input


def test_errors_name_what_is_wrong():
    patterns = np.zeros((2, 32, 32))
    with pytest.raises(ValueError, match="expected"):
        find_centres(patterns, expected=(40.0, 3.0))
    with pytest.raises(ValueError, match="patterns"):
        find_centres(patterns[0])
    with pytest.raises(ValueError, match="real numbers"):
        find_centres(patterns.astype(complex))
    with pytest.raises(ValueError, match="search_radius"):
        find_centres(patterns, search_radius=0.0)
    with pytest.raises(ValueError, match="give the centre"):
        smooth_centres(np.full((4, 4, 2), np.nan))
    with pytest.raises(ValueError, match="radius"):
        virtual_bright_field(patterns, (16.0, 16.0), 0.0)
    with pytest.raises(ValueError, match="method"):
        remove_background(patterns, (16.0, 16.0), method="rolling")
    with pytest.raises(ValueError, match="centres"):
        remove_background(patterns, (np.nan, 16.0))
    with pytest.raises(ValueError, match="mask"):
        find_symmetry_centre(patterns[0], mask=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="every pixel"):
        fill_masked(patterns, (16.0, 16.0), np.ones((32, 32)))


def test_no_pattern_at_all():
    assert find_centres(np.zeros((0, 32, 32))).shape == (0, 2)


# Real files


def test_centres_of_real_files(shared_data):
    folder = shared_data / "diffraction"
    block = load(folder / "blockfile" / "test1.blo").data.reshape(-1, 144, 144)
    # Its direct beam is saturated; the camera centre of that file is near 73, 72 by eye.
    centres = find_centres(block)
    assert np.abs(centres - (73.2, 72.1)).max() < 0.5
    assert np.ptp(centres, axis=0).max() < 0.3
    sped = load(folder / "sped_austenite" / "subset_data.hspy").data.reshape(-1, 256, 256)
    # The brightest spot, by eye at 132, 128.6; patterns that are 2 nm apart have it at one place.
    assert np.abs(find_centres(sped) - (132.3, 128.6)).max() < 0.5
    gold = load(folder / "single_patterns" / "au_xgrating_20cm.tif").data
    assert np.abs(find_centres(gold[None])[0] - find_symmetry_centre(gold)).max() < 0.3


def test_merlin_is_found_or_flagged(shared_data):
    folder = shared_data / "diffraction" / "merlin"
    for name in ("001_4x2_6bit.mib", "002_4x2_6bit_roi128.mib"):
        data = load(folder / name).data
        patterns = data.reshape(-1, *data.shape[-2:])
        centres = find_centres(patterns)
        known = np.isfinite(centres).all(axis=1)
        # A large saturated disc left of the middle, which another bright area touches in the cut frames.
        assert (np.abs(centres[known, 0] - 25.0) < 4.0).all()
        saturated = estimate_exposure(patterns, centres, beam_radius=8.0)[1]
        assert saturated.all()
