"""Where the direct beam is in every pattern of a scan in which it wanders far, or jumps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.direct_beam import locate_beams
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

WIDE = 2.5
"""Times the reach within which a beam that jumped is looked for."""
BRIGHTER = 2.0
"""A place farther away is the direct beam if it is so many times as bright as the one that is near."""
FOLLOWED_SHARE = 0.8
"""Share of the patterns in which the beam must be where the patterns about have it, or it is not followed."""
FEWEST = 16
"""Patterns from which on a path can be told from Bragg spots."""


@dataclass(frozen=True, eq=False)
class BeamPath:
    """Places of the direct beam in a sample of a scan, from which those in all patterns are found.

    Parameters
    ----------
    rows, columns
        Of the scan, of the sample, ascending, shapes (R,) and (C,).
    places
        Column and row of the direct beam in pixels, shape (R, C, 2).
    reach
        Pixels within which it is looked for first.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    places: FloatArray
    reach: float

    def find(
        self, patterns: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Column and row of the direct beam, and whether it was seen; where not, it is where the sample has it.

        Parameters
        ----------
        patterns
            Shape (B, ny, nx).
        rows, columns
            Places of the patterns in the scan, shape (B,).
        """
        near = self.places[_nearest(self.rows, rows), _nearest(self.columns, columns)]
        found = np.array([_beam_near(pattern, at, self.reach) for pattern, at in zip(patterns, near, strict=True)])
        found = found.reshape(-1, 2)
        seen = np.asarray(np.isfinite(found).all(axis=1))
        found[~seen] = near[~seen]
        return found, seen


def follow_beam(
    patterns: NDArray[Any],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    *,
    start: FloatArray,
    reach: float,
) -> BeamPath | None:
    """Follow the direct beam through a sample of a scan, from pattern to pattern; None if it cannot be followed.

    A Bragg spot may be brighter than the beam, but it does not go on from grain to grain.

    Parameters
    ----------
    patterns
        Of a grid of the scan, row by row, shape (R C, ny, nx).
    rows, columns
        Of the grid, shapes (R,) and (C,).
    start
        Column and row of the beam where most patterns have it, in pixels.
    reach
        Pixels by which the beam moves between patterns of the sample; it may jump by more.
    """
    shape = len(rows), len(columns)
    if len(patterns) < FEWEST or len(patterns) != shape[0] * shape[1]:
        return None
    centre = (0.5 * (patterns.shape[2] - 1), 0.5 * (patterns.shape[1] - 1))
    alone = locate_beams(patterns, expected=centre, search_radius=float(sum(patterns.shape[1:]))).reshape(*shape, 2)
    away = np.linalg.norm(alone - start, axis=-1)
    if not np.isfinite(away).any():
        return None
    first = np.unravel_index(int(np.nanargmin(away)), shape)
    places, seen = np.full((*shape, 2), np.nan), np.zeros(shape, dtype=bool)
    places[first], seen[first] = alone[first], True
    waiting = deque([(int(first[0]), int(first[1]))])
    while waiting:
        y, x = waiting.popleft()
        for v, u in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
            if 0 <= v < shape[0] and 0 <= u < shape[1] and np.isnan(places[v, u, 0]):
                found = _beam_near(patterns[v * shape[1] + u], places[y, x], reach)
                seen[v, u] = bool(np.isfinite(found).all())
                places[v, u] = found if seen[v, u] else places[y, x]
                waiting.append((v, u))
    about = _median_about(places)
    steady = seen & (np.linalg.norm(places - about, axis=-1) <= reach)
    if steady.mean() < FOLLOWED_SHARE:
        return None
    places[~steady] = about[~steady]
    return BeamPath(rows, columns, places, reach)


def _beam_near(pattern: NDArray[Any], expected: FloatArray, reach: float) -> FloatArray:
    """Column and row of the direct beam near a place; farther away, if it is much brighter there."""
    ny, nx = pattern.shape
    at = (float(np.clip(expected[0], 0.0, nx - 1.0)), float(np.clip(expected[1], 0.0, ny - 1.0)))
    near, wide = (locate_beams(pattern[None], expected=at, search_radius=r)[0] for r in (reach, WIDE * reach))
    if np.isnan(near).any() or np.isnan(wide).any():
        return wide if np.isnan(near).any() else near
    return wide if _height(pattern, wide) > BRIGHTER * _height(pattern, near) else near


def _height(pattern: NDArray[Any], place: FloatArray) -> float:
    """Mean of the pixels about a place."""
    x, y = np.rint(place).astype(int)
    return float(pattern[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean(dtype=float))


def _median_about(places: FloatArray) -> FloatArray:
    """Median of each place and those about it in the grid."""
    padded = np.pad(places, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    rows, columns = places.shape[:2]
    parts = [padded[v : v + rows, u : u + columns] for v in range(3) for u in range(3)]
    return np.asarray(np.nanmedian(parts, axis=0))


def _nearest(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.abs(known[None, :] - np.asarray(wanted)[:, None]).argmin(axis=1))
