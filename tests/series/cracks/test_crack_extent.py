"""The dark part of a path is found although single frames break it into pieces."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.series.cracks.crack_extent import dark_intervals

TRUE = np.array([[30, 40], [25, 40], [25, 52], [25, 60], [20, 60]])


def scene(noise: float, points: int, rng: np.random.Generator) -> np.ndarray:
    number = np.arange(points)
    dark = (number >= TRUE[:, :1]) & (number < TRUE[:, 1:])
    return np.where(dark, -0.35, 0.0) + rng.normal(0.0, noise, dark.shape)


def first(points: int) -> np.ndarray:
    number = np.arange(points)
    return (number >= 30) & (number < 40)


def test_without_noise_it_is_exact(rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(dark_intervals(scene(0.0, 80, rng), first(80)), TRUE)


def test_noise_as_large_as_the_line_does_not_break_or_shorten_it(rng: np.random.Generator) -> None:
    found = np.array([dark_intervals(scene(0.3, 80, rng), first(80)) for _ in range(60)])
    length = (found[..., 1] - found[..., 0]).mean(axis=0)
    np.testing.assert_allclose(length, TRUE[:, 1] - TRUE[:, 0], atol=3.0)
    assert np.all(np.diff(found[..., 0], axis=1) <= 0)
    assert np.all(np.diff(found[..., 1], axis=1) >= 0)


def test_many_points_are_taken_together(rng: np.random.Generator) -> None:
    excess = np.repeat(scene(0.05, 80, rng), 40, axis=1)
    found = dark_intervals(np.repeat(excess, 20, axis=0), np.repeat(first(80), 40))
    np.testing.assert_allclose(found[::20], TRUE * 40, atol=80)


def test_nothing_dark_takes_all() -> None:
    np.testing.assert_array_equal(dark_intervals(np.ones((2, 20)), np.ones(20, dtype=bool)), [[0, 20]] * 2)
