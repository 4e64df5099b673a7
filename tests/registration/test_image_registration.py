"""Images of two signals registered: exact cases, other contrasts, covariance, and pairs that share nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from hyperspy_assb.registration.affine import Affine, ImageFrame, turn
from hyperspy_assb.registration.image_registration import register_images
from hyperspy_assb.registration.shared_structure import _beyond_others

FINE = ImageFrame((72, 72), (8.0, 8.0), (100.0, -50.0))
COARSE = ImageFrame((26, 26), (18.0, 18.0), (-30.0, 70.0))


class Grains:
    """Grains of some 60 nm, each of one of four materials; brightness of a material depends on the signal."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.tree = cKDTree(rng.uniform(-400.0, 400.0, (160, 2)))
        self.material = rng.integers(0, 4, 160)

    def image(self, frame, to_scene, levels, counts, seed):
        """Counts, each pixel the mean of 16 points."""
        total = np.zeros(frame.shape)
        for down in (np.arange(4) - 1.5) / 4:
            for right in (np.arange(4) - 1.5) / 4:
                _, grain = self.tree.query(to_scene(frame.positions() + np.array([down, right]) * frame.pixel))
                total += np.asarray(levels)[self.material[grain]]
        return np.random.default_rng(seed).poisson(counts * total / 16.0).astype(float)


HERE = Affine(np.eye(2), np.zeros(2), FINE.centre)
SHEARED = Affine(turn(9.0) @ np.array([[1.0, 0.0], [0.02, 1.01]]), np.array([12.0, -20.0]), COARSE.centre)
TRUE = SHEARED.then(HERE.inverse)
LEVELS = (0.3, 0.6, 1.0, 1.4)


def error(found, true=TRUE):
    """Root mean square of the distance over the field, in coarse pixels."""
    points = COARSE.positions()
    return np.sqrt(((found(points) - true(points)) ** 2).sum(axis=-1).mean()) / COARSE.coarseness


@pytest.mark.parametrize(
    "levels", [LEVELS, tuple(1.7 - level for level in LEVELS), (1.0, 0.3, 1.4, 0.5)], ids=["same", "inverted", "other"]
)
def test_rotation_shear_and_shift_are_found_whatever_the_contrast(levels):
    scene = Grains(1)
    fine, coarse = scene.image(FINE, HERE, LEVELS, 100, 2), scene.image(COARSE, SHEARED, levels, 400, 3)
    found = register_images(fine, FINE, coarse, COARSE)
    assert found.p < 1e-3
    assert error(found.transform) < 0.15
    # The other way round is the transform back.
    back = register_images(coarse, COARSE, fine, FINE)
    assert np.allclose(back.transform.inverse(COARSE.centre), found.transform(COARSE.centre), atol=1e-6)


def test_missing_pixels_are_left_out():
    scene = Grains(1)
    fine, coarse = scene.image(FINE, HERE, LEVELS, 100, 2), scene.image(COARSE, SHEARED, LEVELS, 400, 3)
    fine[:10], coarse[:, :3] = np.nan, np.nan
    assert error(register_images(fine, FINE, coarse, COARSE).transform) < 0.25


def test_images_of_two_specimens_are_refused():
    one, other = Grains(1), Grains(5)
    fine, coarse = one.image(FINE, HERE, LEVELS, 100, 2), other.image(COARSE, SHEARED, LEVELS, 400, 3)
    with pytest.raises(ValueError, match="haadf and eels share nothing that chance would not"):
        register_images(fine, FINE, coarse, COARSE, names=("haadf", "eels"))


def test_what_boundaries_leave_open_the_ways_that_cannot_be_right_decide():
    """A place whose evidence lies far above that of mirrored and turned images is accepted; one among them is not."""
    others = np.array([141.0, 126.0, 163.0, 153.0, 130.0, 148.0, 165.0] * 2 + [146.0])
    assert _beyond_others(300.0, others) < 1e-3
    assert _beyond_others(150.0, others) > 0.2
    assert _beyond_others(130.0, others) > 0.5


def test_maxima_of_one_law_are_found_beyond_the_others_as_often_as_stated():
    drawn = np.random.default_rng(4).gumbel(100.0, 12.0, (20000, 16))
    p = np.array([_beyond_others(one[0], one[1:]) for one in drawn])
    for alpha in (0.2, 0.05, 0.01):
        assert np.mean(p < alpha) == pytest.approx(alpha, rel=0.25)


def test_a_mirrored_frame_is_named():
    scene = Grains(1)
    fine, coarse = scene.image(FINE, HERE, LEVELS, 100, 2), scene.image(COARSE, SHEARED, LEVELS, 400, 3)
    with pytest.raises(ValueError, match="only when mirrored left to right"):
        register_images(fine, FINE, coarse[:, ::-1], COARSE)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.ones((72, 72)), "the image is flat"),
        (np.full((72, 72), np.nan), "the image is flat"),
        (np.ones((5, 5)), "has shape"),
    ],
)
def test_images_that_cannot_be_registered_are_named(image, match):
    with pytest.raises(ValueError, match=match):
        register_images(image, FINE, np.ones(COARSE.shape), COARSE)


@pytest.fixture(scope="module")
def registered():
    """Errors of 24 scenes in coarse pixels, and those of the middle in standard errors."""
    z, errors = [], []
    for seed in range(24):
        scene = Grains(100 + seed)
        fine, coarse = scene.image(FINE, HERE, LEVELS, 50, seed), scene.image(COARSE, SHEARED, LEVELS[::-1], 200, seed)
        found = register_images(fine, FINE, coarse, COARSE).transform
        errors.append(error(found))
        std = np.sqrt(np.diag(found.position_covariance(COARSE.centre)))
        z += list((found(COARSE.centre) - TRUE(COARSE.centre)) / std)
    return np.array(errors), np.array(z)


@pytest.mark.slow
def test_registration_is_within_half_a_coarse_pixel(registered):
    assert np.mean(registered[0] < 0.5) >= 0.95


@pytest.mark.slow
def test_the_interval_of_68_percent_holds_the_truth_in_68_percent(registered):
    # Binomial 95 % interval of 48.
    assert 0.54 <= np.mean(np.abs(registered[1]) < 1.0) <= 0.81
