"""Blocks of pixels, and how far pixels are correlated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hyperspy_assb.fitting.statistics.blocks import (
    Correlation,
    choose_block_size,
    estimate_correlation,
    split_into_blocks,
)


def grid(*shape):
    return np.stack(np.indices(shape), axis=-1).reshape(-1, len(shape))


def test_an_image_falls_into_squares():
    label = split_into_blocks(grid(16, 16), 16).reshape(16, 16)
    assert np.unique(label).size == 16
    for number in range(16):
        rows, columns = np.nonzero(label == number)
        assert np.ptp(rows) == np.ptp(columns) == 3


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 30), shape=st.sampled_from([(40,), (9, 13), (1, 30)]))
def test_any_mask_falls_into_blocks_of_like_size(seed, size, shape):
    mask = np.random.default_rng(seed).random(shape) < 0.6
    position = grid(*shape)[mask.ravel()]
    label = split_into_blocks(position, size)
    counts = np.bincount(label) if label.size else np.array([size])
    assert (counts > 0).all()
    if label.size >= size:
        assert counts.min() >= size
        assert counts.max() < 2 * size + 1


def test_one_spectrum_is_one_block():
    assert split_into_blocks(np.zeros((1, 0), dtype=int), 4).tolist() == [0]


@pytest.mark.parametrize("width", [0.0, 1.0, 2.0])
def test_correlation_of_known_fields(rng, width):
    # A Gaussian filter of width w leaves a correlation of exp(-d**2 / 4 w**2), which is below 0.02 beyond 4 w.
    fields = np.stack([gaussian_filter(rng.normal(size=(48, 48)), width, mode="wrap").ravel() for _ in range(3)], -1)
    found = estimate_correlation(fields, grid(48, 48))
    if width == 0:
        assert found.length == 0
        assert found.inflation == 1.0
    else:
        assert 2 * width <= found.length <= 6 * width
        # The inflation is the integral of the correlation.
        assert found.inflation == pytest.approx(4 * np.pi * width**2, rel=0.4)


def test_what_cannot_be_correlated():
    assert estimate_correlation(np.ones((1, 2)), np.zeros((1, 0), dtype=int)) == Correlation(0, 1.0)
    assert estimate_correlation(np.ones((25, 2)), grid(5, 5)) == Correlation(0, 1.0)


def test_block_size():
    assert choose_block_size(Correlation(0, 1.0), 256, 2) == 1
    assert choose_block_size(Correlation(1, 2.0), 256, 2) == 9
    assert choose_block_size(Correlation(5, 9.0), 256, 2) == 21
    assert choose_block_size(Correlation(2, 2.0), 256, 1) == 6
    # No more blocks than are of use: each is a spectrum in memory.
    assert choose_block_size(Correlation(0, 1.0), 4096, 2) == 1
    assert choose_block_size(Correlation(0, 1.0), 512 * 512, 2) == 64
