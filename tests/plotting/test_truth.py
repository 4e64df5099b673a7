"""Truth against result: the numbers on the plot are those of the arrays."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hyperspy_assb.plotting import plot_truth_result


@pytest.fixture
def maps(rng):
    truth = rng.uniform(0, 1, (40, 40))
    return truth, truth + 0.1 * rng.normal(size=truth.shape)


def test_both_maps_have_the_same_colours_and_the_difference_is_centred(maps):
    truth, result, difference, _ = plot_truth_result(*maps, label="x")
    assert truth.images[0].get_clim() == result.images[0].get_clim()
    low, high = difference.images[0].get_clim()
    assert low == -high
    np.testing.assert_allclose(difference.images[0].get_array(), maps[1] - maps[0])


def test_stated_uncertainty_is_held_against_the_truth(maps):
    ax = plot_truth_result(*maps, std=np.full(maps[0].shape, 0.1))[3]
    covered = int(re.search(r"in (\d+) %", ax.get_title(loc="left"))[1])
    assert 64 <= covered <= 72


def test_bias_and_scatter_are_written(maps):
    ax = plot_truth_result(maps[0], maps[0] + 0.25)[3]
    assert "mean +0.25, rms 0.25" in ax.get_title(loc="left")


def test_only_pixels_with_both_are_compared(maps):
    truth, result = maps
    truth[:10], result[:, :10] = np.nan, np.nan
    ax = plot_truth_result(truth, result)[3]
    (points,) = [entry for entry in ax.get_lines() if entry.get_marker() == "."]
    assert points.get_xdata().size == 30 * 30


def test_no_pixel_with_a_value_is_said(maps):
    ax = plot_truth_result(maps[0], np.full(maps[0].shape, np.nan))[3]
    assert ax.get_title(loc="left") == "no pixel with a value"


def test_different_shapes_are_refused(maps):
    with pytest.raises(ValueError, match="shape"):
        plot_truth_result(maps[0], maps[1][:5])
