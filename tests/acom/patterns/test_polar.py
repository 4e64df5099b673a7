"""Unwrapping: rings, ellipses, shifts; integer images against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hyperspy_assb.acom.matching.search import LEVELS, to_integers
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.polar import PolarGrid, flatten, gaussian, polar_grid, unwrap

SHAPE = (96, 112)
GRID = PolarGrid(0.1, 0.02, 40, 96)


def spot_pattern(geometry, radius, azimuth, shape=SHAPE, centre=None, sigma=1.5):
    """One Gaussian spot at a place of the specimen's axes in 1/Å."""
    azimuth = azimuth + geometry.scan_rotation
    place = geometry.to_pixels(radius * np.array([np.cos(azimuth), np.sin(azimuth)]))
    place = place if centre is None else place - geometry.centre + centre
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 100.0 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2))


def peak(polar, grid):
    """Radius and azimuth of the brightest sample."""
    r, a = np.unravel_index(np.nanargmax(polar), polar.shape)
    return grid.radius[r], grid.azimuth[a]


geometries = st.builds(
    PatternGeometry,
    scale=st.floats(0.015, 0.03),
    centre=st.tuples(st.floats(50.0, 60.0), st.floats(44.0, 52.0)),
    ellipticity=st.floats(0.0, 0.08),
    ellipse_azimuth=st.floats(-3.0, 3.0),
    scan_rotation=st.floats(-3.0, 3.0),
    mirrored=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(geometry=geometries, radius=st.floats(0.3, 0.6), azimuth=st.floats(0.0, 6.2))
def test_a_spot_is_found_where_it_was_put_whatever_the_geometry(geometry, radius, azimuth):
    polar = unwrap(spot_pattern(geometry, radius, azimuth)[None], geometry, GRID, threads=1)[0]
    r, a = peak(polar, GRID)
    assert abs(r - radius) <= 1.01 * GRID.radial_step
    turn = np.angle(np.exp(1j * (a - azimuth)))
    assert abs(turn) <= 1.01 * 2 * np.pi / GRID.azimuths


def test_a_ring_is_the_same_at_all_azimuths():
    geometry = PatternGeometry(scale=0.02, centre=(56.3, 47.6), ellipticity=0.06, ellipse_azimuth=0.5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    q = np.linalg.norm(geometry.to_reciprocal(np.stack([x, y], axis=-1)), axis=-1)
    ring = 100.0 * np.exp(-((q - 0.5) ** 2) / (2 * 0.06**2))
    polar = unwrap(ring[None], geometry, GRID, smoothing=0.0)[0]
    assert np.nanstd(polar, axis=1).max() < 1.0
    assert GRID.radius[np.nanmean(polar, axis=1).argmax()] == pytest.approx(0.5, abs=0.011)
    round_geometry = PatternGeometry(scale=0.02, centre=(56.3, 47.6))
    assert np.nanstd(unwrap(ring[None], round_geometry, GRID, smoothing=0.0)[0], axis=1).max() > 5.0


def test_each_pattern_may_have_its_own_centre():
    geometry = PatternGeometry(scale=0.02, centre=(56.0, 48.0))
    centres = np.array([[54.2, 46.1], [56.0, 48.0], [58.7, 50.4]])
    patterns = np.array([spot_pattern(geometry, 0.5, 1.0, centre=centre) for centre in centres])
    polar = unwrap(patterns, geometry, GRID, centres=centres)
    np.testing.assert_allclose(polar[0], polar[1], atol=4.0)
    np.testing.assert_allclose(polar[2], polar[1], atol=4.0)
    shifted = unwrap(patterns, geometry, GRID)
    assert np.abs(shifted[0] - shifted[1]).max() > 20.0


def test_outside_of_the_frame_is_nan():
    geometry = PatternGeometry(scale=0.02, centre=(10.0, 48.0))
    polar = unwrap(np.ones((1, *SHAPE)), geometry, GRID)[0]
    x = 10.0 + GRID.radius[:, None] / 0.02 * np.cos(GRID.azimuth)
    y = 48.0 + GRID.radius[:, None] / 0.02 * np.sin(GRID.azimuth)
    inward = np.minimum(np.minimum(x, SHAPE[1] - 1 - x), np.minimum(y, SHAPE[0] - 1 - y))
    assert (inward < -1e-3).any()
    assert np.isnan(polar[inward < -1e-3]).all()
    np.testing.assert_allclose(polar[inward > 1e-3], 1.0, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "f2", "f4", "f8", "?"])
def test_any_real_type(dtype):
    geometry = PatternGeometry(scale=0.02, centre=(56.0, 48.0))
    pattern = np.rint(spot_pattern(geometry, 0.5, 1.0) / (100.0 if dtype == "?" else 1.0))
    expected = unwrap(pattern[None], geometry, GRID)
    np.testing.assert_allclose(unwrap(pattern[None].astype(dtype), geometry, GRID), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.3, 4.0, 9.0])
def test_smoothing_is_a_gaussian(sigma):
    geometry = PatternGeometry(scale=0.02, centre=(56.0, 48.0))
    pattern = np.random.default_rng(0).poisson(5.0, SHAPE).astype(np.uint8)
    reach = len(gaussian(sigma)) - 1
    expected = gaussian_filter(pattern.astype(float), sigma, mode="nearest", radius=reach) if sigma else pattern * 1.0
    np.testing.assert_allclose(
        unwrap(pattern[None], geometry, GRID, smoothing=sigma),
        unwrap(expected[None], geometry, GRID, smoothing=0.0),
        rtol=1e-4,
    )


def test_integer_images_are_the_flattened_pattern():
    rng = np.random.default_rng(1)
    polar = rng.poisson(3.0, (GRID.radii, GRID.azimuths)).astype(np.float32)
    polar[3:6, :10] = np.nan
    flat, means = np.empty_like(polar), np.empty(GRID.radii, dtype=np.float32)
    power = flatten(polar, flat, means)
    root = np.sqrt(polar)
    np.testing.assert_allclose(means, np.nanmean(root, axis=1), rtol=1e-5)
    np.testing.assert_allclose(flat, np.nan_to_num(root - np.nanmean(root, axis=1, keepdims=True)), atol=1e-5)
    assert power == pytest.approx((flat.astype(float) ** 2).sum(), rel=1e-5)
    images = np.empty((2, GRID.radii * 2 * GRID.azimuths), dtype=np.int8)
    norm = to_integers(flat, power, images)
    rows = images.reshape(2, GRID.radii, 2, GRID.azimuths)
    assert np.abs(rows.astype(int)).max() <= LEVELS
    np.testing.assert_array_equal(rows[:, :, 0], rows[:, :, 1])
    np.testing.assert_array_equal(rows[1, :, 0], np.roll(rows[0, :, 0, ::-1], 1, axis=1))
    assert norm == pytest.approx(np.linalg.norm(rows[0, :, 0].astype(float)))
    assert np.corrcoef(rows[0, :, 0].ravel(), flat.ravel())[0, 1] > 0.995


def test_a_flat_pattern_gives_no_image():
    flat = np.zeros((4, 32), dtype=np.float32)
    images = np.ones((2, 4 * 64), dtype=np.int8)
    assert to_integers(flat, 0.0, images) == 0.0
    assert not images.any()


def test_the_grid_reaches_the_farthest_corner_and_no_farther():
    geometry = PatternGeometry(scale=0.02, centre=(20.0, 48.0))
    corner = np.hypot(111 - 20, 48) * 0.02
    grid = polar_grid(SHAPE, geometry, max_radius=9.0)
    assert corner - 2 * grid.radial_step <= grid.radius[-1] <= corner + 1e-9
    assert polar_grid(SHAPE, geometry, max_radius=0.8).radius[-1] <= 0.8 + 1e-9
    assert grid.radial_step >= geometry.scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patterns": np.ones(SHAPE)}, "patterns: shape"),
        ({"patterns": np.ones((2, 8, 8))}, "at least 16 x 16"),
        ({"patterns": np.ones((1, *SHAPE), dtype=complex)}, "real numbers"),
        ({"patterns": np.full((1, *SHAPE), np.nan)}, "pattern 0 holds NaN"),
        ({"patterns": np.full((1, *SHAPE), np.inf)}, "pattern 0 holds NaN or infinite"),
        ({"centres": np.ones((3, 2))}, "centres: column and row for each of 1 patterns"),
        ({"centres": [[np.nan, 3.0]]}, "centres: the direct beam of pattern 0"),
        ({"centres": [[30.0, 96.0]]}, "outside of the frame of 112 columns and 96 rows"),
        ({"geometry": PatternGeometry(scale=0.02, centre=(-7.0, 9.0))}, "centre: the direct beam of pattern 0"),
        ({"smoothing": -1.0}, "smoothing"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"patterns": np.ones((1, *SHAPE)), "geometry": PatternGeometry(scale=0.02, centre=(56.0, 48.0))}
    arguments |= {"grid": GRID} | change
    with pytest.raises(ValueError, match=message):
        unwrap(arguments.pop("patterns"), arguments.pop("geometry"), arguments.pop("grid"), **arguments)


def test_a_grid_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        PolarGrid(0.1, 0.02, 40, 100)
    with pytest.raises(ValueError, match="radial_step"):
        PolarGrid(0.1, 0.0, 40, 96)
    with pytest.raises(ValueError, match="scale: patterns of 96 x 112 pixels"):
        polar_grid(SHAPE, PatternGeometry(scale=1e-5, centre=(50.0, 50.0)), max_radius=1.0)
