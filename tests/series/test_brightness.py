"""What is added to frames is told from a beam that changes, and from content that does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.series.brightness import fit_brightness, steady_course

CELLS = np.linspace(15.0, 25.0, 30)


def scene(gain: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Levels of cells in frames whose beam and offset change, without noise."""
    return gain[:, None] * (CELLS[None, :] + added[:, None])


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(-5.0, 10.0))
def test_beam_and_offset_are_exact_without_noise(gain: float, added: float) -> None:
    gains, offsets = np.linspace(1.0, gain, 5), np.linspace(0.0, added, 5)
    found = fit_brightness(scene(gains, offsets), np.full((5, 30), 1e-6))
    # As a share of the mean brightness, of which each frame may be scaled: their course is straight in it.
    share = offsets / (CELLS.mean() + offsets.mean())
    scaled = found.additive[:, 0] - found.additive[0, 0]
    if abs(added) > 0.01:
        assert np.all(np.diff(scaled) * added > 0.0)
        assert abs(scaled[-1]) == pytest.approx(abs(share[-1]), rel=0.5)
    else:
        np.testing.assert_allclose(scaled, 0.0, atol=1e-3)


def test_a_beam_that_changes_adds_nothing() -> None:
    found = fit_brightness(scene(np.linspace(1.0, 0.5, 6), np.zeros(6)), np.full((6, 30), 1e-6))
    np.testing.assert_allclose(found.additive, 0.0, atol=1e-9)
    np.testing.assert_allclose(found.gain / found.gain[0], np.linspace(1.0, 0.5, 6), rtol=1e-9)


def test_cells_that_change_by_themselves_are_left_out(rng: np.random.Generator) -> None:
    levels = scene(np.ones(8), np.zeros(8)) + rng.normal(0.0, 0.1, (8, 30))
    levels[4:, 25:] *= 1.15
    found = fit_brightness(levels, np.full((8, 30), 0.01))
    assert np.all(np.abs(found.additive[:, 0]) < 4.0 * found.additive_std[:, 0])


def test_error_is_that_of_the_scatter(rng: np.random.Generator) -> None:
    pulls = []
    for _ in range(30):
        levels = scene(np.ones(6), np.zeros(6)) + rng.normal(0.0, 0.2, (6, 30))
        found = fit_brightness(levels, np.full((6, 30), 0.04))
        pulls.append(found.additive[:, 0] / found.additive_std[:, 0])
    # The mean of six frames is taken off.
    assert np.std(pulls) / np.sqrt(5.0 / 6.0) == pytest.approx(1.0, abs=0.15)


def test_groups_have_their_own_and_share_the_beam(rng: np.random.Generator) -> None:
    groups = np.arange(30) % 2
    levels = scene(np.linspace(1.0, 0.8, 6), np.zeros(6))
    levels += np.where(groups == 1, np.linspace(0.0, 2.0, 6)[:, None], 0.0) * np.linspace(1.0, 0.8, 6)[:, None]
    levels += rng.normal(0.0, 0.1, levels.shape)
    found = fit_brightness(levels, np.full((6, 30), 0.01), groups)
    more = found.additive[-1] - found.additive[0]
    assert more[1] - more[0] == pytest.approx(2.0 / 20.5, rel=0.15)
    # Of the difference, the error of the beam is no part.
    difference = found.covariance[0, 0, 0] + found.covariance[0, 1, 1] - 2.0 * found.covariance[0, 0, 1]
    assert difference < found.covariance[0, 0, 0]


def test_one_brightness_tells_nothing() -> None:
    levels = np.full((4, 30), 20.0)
    assert not fit_brightness(levels, np.full((4, 30), 1.0)).known
    assert not fit_brightness(np.empty((4, 0)), np.empty((4, 0))).known


def test_course_is_a_line_where_it_is_one() -> None:
    count, std = np.arange(10.0), np.full(10, 0.03)
    line, covariance = steady_course(0.03 * (count - 4.5), std)
    np.testing.assert_allclose(line, 0.03 * (count - 4.5), atol=1e-6)
    assert 0.0 < covariance[0, 0] < std[0] ** 2
    # What is added is told against its mean.
    np.testing.assert_allclose(covariance.sum(axis=0), 0.0, atol=1e-12)
    # Noise alone is nothing, and known better than a line that is there.
    flat, of_flat = steady_course(0.01 * (-1.0) ** count, std)
    np.testing.assert_allclose(flat, 0.0, atol=0.001)
    assert 0.0 < of_flat[0, 0] < 0.5 * covariance[0, 0]
    # A step is no line.
    step = np.where(count < 5, -0.2, 0.2)
    np.testing.assert_array_equal(steady_course(step, std)[0], step)
    np.testing.assert_array_equal(steady_course(np.full(10, np.nan), std)[0], 0.0)


def test_error_of_a_course_is_that_of_series_with_and_without_one() -> None:
    rng = np.random.default_rng(4)
    count, std = np.arange(12.0) - 5.5, np.full(12, 0.03)
    error, stated = [], []
    for number in range(2000):
        of_slope = 0.03 / np.sqrt(np.square(count).sum())
        slope = (number % 2) * np.sqrt(12.0) * of_slope * rng.normal()
        course = slope * count + rng.normal(0.0, std)
        line, covariance = steady_course(course - course.mean(), std)
        if np.ptp(np.diff(line)) < 1e-9:
            error.append(line[-1] - slope * count[-1])
            stated.append(covariance[-1, -1])
    assert np.mean(np.square(error)) == pytest.approx(np.mean(stated), rel=0.15)
    assert abs(np.mean(error)) < 4.0 * np.std(error) / np.sqrt(len(error))
