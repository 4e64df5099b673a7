"""Areas that pixels of two frames share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.registration.affine import Affine, ImageFrame, turn
from hyperspy_assb.registration.area_overlap import away_from_others, overlap_of, within_margin

UNIT = ImageFrame((4, 5), (1.0, 1.0))


def test_half_a_pixel_beside():
    moved = overlap_of(UNIT, UNIT, Affine(np.eye(2), np.array([0.0, 0.5])))
    assert np.allclose(moved.mean(np.arange(20.0).reshape(4, 5))[:, :4], np.arange(20.0).reshape(4, 5)[:, :4] + 0.5)
    assert np.allclose(moved.covered, [[1, 1, 1, 1, 0.5]] * 4)


def test_a_square_that_is_turned_by_45_degrees():
    """A unit square about the middle of a cell: what the cell holds of it is 2 (sqrt(2) - 1)."""
    one = ImageFrame((1, 1), (1.0, 1.0))
    many = ImageFrame((3, 3), (1.0, 1.0), (-1.0, -1.0))
    found = overlap_of(one, many, Affine(turn(45.0), np.zeros(2))).area.toarray()[0]
    assert found[4] == pytest.approx(2.0 * (np.sqrt(2.0) - 1.0))
    assert found.sum() == pytest.approx(1.0)
    assert np.allclose(found[[1, 3, 5, 7]], (1.0 - found[4]) / 4.0)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(0.3, 3.0),
    st.floats(-0.2, 0.2),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.integers(0, 99),
)
def test_counts_are_neither_made_nor_lost(angle, scale, shear, down, right, seed):
    matrix = turn(angle) @ np.array([[1.0, shear], [0.0, 1.0]])
    target = ImageFrame((60, 60), (scale, scale), (-30 * scale, -30 * scale))
    source = ImageFrame((5, 6), (1.0, 1.4), (-2.0, -3.0))
    overlap = overlap_of(target, source, Affine(matrix, np.array([down, right])))
    counts = np.random.default_rng(seed).poisson(5.0, source.shape).astype(float)
    reach = np.abs(source.positions()).max() + 5
    if reach < 28 * scale:
        assert overlap.counts(counts, least=0.0).sum() == pytest.approx(counts.sum())
    constant = overlap.mean(np.ones(source.shape))
    assert np.allclose(constant[np.isfinite(constant)], 1.0)


def test_missing_pixels_are_left_out_and_majorities_are_of_the_whole_pixel():
    coarse = ImageFrame((2, 2), (2.0, 2.0), (0.5, 0.5))
    fine = ImageFrame((4, 4), (1.0, 1.0))
    overlap = overlap_of(coarse, fine, Affine(np.eye(2), np.zeros(2)))
    values = np.arange(16.0).reshape(4, 4)
    values[0, 0] = np.nan
    assert overlap.mean(values)[0, 0] == pytest.approx((1 + 4 + 5) / 3)
    assert np.isnan(overlap.mean(np.where(np.isfinite(values) & (values > 4), values, np.nan))[0, 0])
    labels = np.array([[1, 1, 2, 3], [1, 2, 2, 3], [5, 5, 7, 7], [6, 6, 7, 7]])
    assert overlap.majority(labels).tolist() == [[1, -1], [-1, 7]]


def test_distances_to_other_labels():
    frame = ImageFrame((3, 6), (10.0, 10.0))
    mask = np.repeat([[False, False, True, True, True, True]], 3, axis=0)
    assert away_from_others(mask.astype(int), frame)[1].tolist() == [15.0, 5.0, 5.0, 15.0, 25.0, 35.0]
    assert within_margin(mask, frame, 12.0)[1].tolist() == [False, False, False, True, True, True]
    assert np.isinf(away_from_others(np.ones((2, 2), dtype=int), frame)).all()
