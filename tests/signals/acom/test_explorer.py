"""Patterns under the pointer, driven by code and by events that are made up."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import MouseEvent


@pytest.fixture
def explored(make_scan, make_maps):
    phase = np.array([[0, 1, 2], [0, -1, 1]])
    maps = make_maps(make_scan(phase, np.tile([1.0, 0.0, 0.0, 0.0], (2, 3, 1))))
    patterns = hs.signals.Signal2D(np.random.default_rng(1).poisson(5.0, (2, 3, 128, 128)).astype(float))
    patterns.set_signal_type("ACOM")
    yield maps, patterns
    plt.close("all")


def test_the_pattern_of_a_pixel_has_its_answer_and_the_next_one(explored):
    maps, patterns = explored
    explorer = maps.explore(patterns)
    explorer.show(0, 0)
    assert explorer.place == (0, 0)
    assert "LiFePO$_{4}$" in explorer.axes[1].get_title(loc="left")
    other = explorer.second_answer(0, 0)
    assert int(other.found.phase[0, 0]) != 0
    assert (other.found.phase.ravel()[1:] == maps.found.phase.ravel()[1:]).all()
    explorer.show(1, 1)
    assert explorer.axes[2].get_title(loc="left") == "No second answer"


def test_a_click_shows_the_pixel_under_it(explored):
    maps, patterns = explored
    explorer = maps.explore(patterns)
    ax = explorer.axes[0]
    ax.figure.canvas.draw()
    left, right, bottom, top = ax.images[0].get_extent()
    place = (left + 2.5 / 3 * (right - left), min(bottom, top) + 0.25 * abs(top - bottom))
    x, y = ax.transData.transform(place)
    ax.figure.canvas.callbacks.process(
        "button_press_event", MouseEvent("button_press_event", ax.figure.canvas, x, y, 1)
    )
    assert explorer.place == (0, 2)


def test_other_patterns_are_named(explored):
    maps, patterns = explored
    with pytest.raises(ValueError, match="not the same scan"):
        maps.explore(patterns.inav[:2])
    with pytest.raises(IndexError, match="no pixel 5, 0 in 2 x 3"):
        maps.explore(patterns).show(5, 0)
