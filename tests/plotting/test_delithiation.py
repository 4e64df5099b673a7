"""The histogram of x."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.plotting import plot_distribution


def test_every_value_is_counted_and_those_beyond_the_axis_at_its_ends():
    ax = plot_distribution([-9.0, 0.02, 0.98, 0.98, 9.0, np.nan], [0.1] * 6)
    heights = np.array([patch.get_height() for patch in ax.patches])
    assert heights.sum() == 5
    assert heights[[0, -1]].tolist() == [1, 1]
    assert ax.get_title(loc="left") == "5 pixels, median uncertainty 0.100"


def test_no_value_is_no_error():
    ax = plot_distribution(np.full((3, 3), np.nan), np.full((3, 3), np.nan))
    assert ax.get_title(loc="left") == "0 pixels"
