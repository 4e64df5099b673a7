"""The direct beam is followed through a scan, and where it cannot be, that is said."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.beam_path import BeamPath, follow_beam

FRAME = 96


def draw(
    places: NDArray[np.float64], *, seed: int = 0, beam: float = 400.0, spots: float = 120.0
) -> NDArray[np.uint16]:
    """Patterns with a beam at places (N, 2) of column and row, and Bragg spots that differ from pattern to pattern."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:FRAME, :FRAME]
    drawn = []
    for u, v in places:
        mean = 0.2 + 400.0 * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / 1.3**2)
        for r, azimuth in zip(rng.uniform(12, 40, 8), rng.uniform(0, 2 * np.pi, 8), strict=True):
            a, b = u + r * np.cos(azimuth), v + r * np.sin(azimuth)
            mean += rng.uniform(0.1, 1.0) * spots * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.0**2)
        drawn.append(rng.poisson(mean))
    return np.asarray(drawn, dtype=np.uint16)


def grid(rows: int = 8, columns: int = 9) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    y, x = np.mgrid[:rows, :columns]
    return np.arange(rows) * 4, np.arange(columns) * 4, np.stack([x / (columns - 1) - 0.5, y / (rows - 1) - 0.5], -1)


@pytest.mark.parametrize(
    ("kind", "reach"), [("wander", 5.0), ("far", 5.0), ("jump", 5.0), ("curve", 5.0), ("bright spots", 5.0)]
)
def test_the_beam_is_followed(kind: str, reach: float) -> None:
    rows, columns, at = grid()
    moved = {
        "wander": at * [16.0, 10.0],
        "far": at * [36.0, 28.0],
        "jump": np.where(at[..., :1] > 0.0, [11.0, 3.0], [0.0, 0.0]),
        "curve": np.stack([20.0 * at[..., 1], 30.0 * at[..., 0] ** 2], axis=-1),
        "bright spots": at * [16.0, 10.0],
    }[kind]
    truth = moved + 47.0
    # Spots that outshine the beam lie anywhere, and not where those of the next pattern do.
    patterns = draw(truth.reshape(-1, 2), spots=700.0 if kind == "bright spots" else 120.0)
    path = follow_beam(patterns, rows, columns, start=truth[4, 4], reach=reach)
    assert path is not None
    np.testing.assert_allclose(path.places, truth, atol=0.5)
    found, seen = path.find(patterns, np.repeat(rows, len(columns)), np.tile(columns, len(rows)))
    assert seen.all()
    np.testing.assert_allclose(found, truth.reshape(-1, 2), atol=0.3)


def test_patterns_between_those_of_the_sample() -> None:
    rows, columns, at = grid()
    truth = at * [24.0, 20.0] + 47.0
    path = BeamPath(rows, columns, truth, 5.0)
    wanted = np.array([2, 13, 27]), np.array([1, 18, 30])
    between = np.stack([24.0 * (wanted[1] / 32 - 0.5), 20.0 * (wanted[0] / 28 - 0.5)], axis=-1) + 47.0
    found, seen = path.find(draw(between, seed=4), *wanted)
    assert seen.all()
    np.testing.assert_allclose(found, between, atol=0.3)


def test_what_is_not_seen_is_said() -> None:
    rows, columns, at = grid()
    truth = at * [16.0, 10.0] + 47.0
    path = BeamPath(rows, columns, truth, 5.0)
    dark = np.random.default_rng(0).poisson(0.2, (2, FRAME, FRAME)).astype(np.uint16)
    found, seen = path.find(dark, np.array([0, 4]), np.array([8, 12]))
    assert not seen.any()
    np.testing.assert_allclose(found, truth[[0, 1], [2, 3]])


def test_spots_beside_a_beam_stop_are_not_followed() -> None:
    rows, columns, _ = grid()
    patterns = draw(np.full((72, 2), 47.0), spots=300.0)
    patterns[:, 38:57, 38:57] = 0
    assert follow_beam(patterns, rows, columns, start=np.array([47.0, 47.0]), reach=5.0) is None


def test_few_patterns_make_no_path() -> None:
    patterns = draw(np.full((9, 2), 47.0))
    assert follow_beam(patterns, np.arange(3), np.arange(3), start=np.array([47.0, 47.0]), reach=5.0) is None
