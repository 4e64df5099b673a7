"""Transforms: inverse, one after another, and what their covariance says."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.registration.affine import Affine, ImageFrame, turn


def drawn(rng):
    root = rng.normal(size=(6, 6)) * np.array([1.0, 1.0, *[1e-3] * 4])[:, np.newaxis]
    matrix = turn(rng.uniform(-15, 15)) @ (np.eye(2) + 0.03 * rng.normal(size=(2, 2)))
    return Affine(matrix, rng.normal(size=2) * 50, rng.normal(size=2) * 50, root @ root.T)


def parameters(affine):
    return np.concatenate([affine.shift, affine.matrix.ravel()])


def moved(affine, change):
    return Affine(affine.matrix + change[2:].reshape(2, 2), affine.shift + change[:2], affine.centre)


def test_inverse_and_composition_of_points():
    rng = np.random.default_rng(1)
    one, other = drawn(rng), drawn(rng)
    points = rng.normal(size=(5, 2)) * 100
    assert np.allclose(one.inverse(one(points)), points)
    assert np.allclose(one.then(other)(points), other(one(points)))


@pytest.mark.parametrize("which", ["inverse", "then"])
def test_position_errors_are_those_of_small_changes(which):
    """Covariances against sampling: the parameters of the transforms are drawn, and points are sent through."""
    rng = np.random.default_rng(2)
    one, other = drawn(rng), drawn(rng)
    point = np.array([120.0, -40.0])
    found = one.inverse if which == "inverse" else one.then(other)
    ends = []
    for _ in range(4000):
        changes = [
            1e-2 * np.linalg.cholesky(t.covariance + 1e-18 * np.eye(6)) @ rng.normal(size=6) for t in (one, other)
        ]
        first, second = (moved(t, c) for t, c in zip((one, other), changes, strict=True))
        ends.append(first.inverse(point) if which == "inverse" else second(first(point)))
    sampled = np.cov(np.array(ends).T) * 1e4
    assert np.allclose(found.position_covariance(point), sampled, rtol=0.12, atol=0.05 * np.trace(sampled))


def test_rotation_is_that_of_the_matrix():
    assert Affine(turn(12.0), np.zeros(2)).rotation == pytest.approx(12.0)
    assert np.allclose(Affine(turn(12.0), np.zeros(2)).stretch, np.eye(2))


def test_frames_of_blocks_lie_in_the_middle_of_their_pixels():
    frame = ImageFrame((7, 6), (2.0, 3.0), (1.0, 2.0))
    assert np.allclose(frame.binned(2, 3).positions()[0, 0], frame.positions()[:2, :3].mean(axis=(0, 1)))
    assert np.allclose(frame.indices(frame.positions()), np.moveaxis(np.indices((7, 6)), 0, -1))
