"""How far a line reaches along its path in each frame.

Single frames of few electrons break a line into pieces. The part of the path that is dark in a frame is one interval,
which holds that of the frame before: a line that has come stays. Of all such intervals those are taken under which the
darkness of all points in all frames is most likely (dynamic programming).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.series.frame_series import FloatArray

_MOST = 2e7
"""Intervals of all frames together; beyond, points are taken together."""
_ROUNDS = 3
"""Darkness and intervals are found in turn."""


def dark_intervals(excess: FloatArray, first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First point of the dark interval of each frame, and the one after its last.

    Parameters
    ----------
    excess
        Brightness of each point less that before the line came, below 0 where it is dark, shape (K, P).
    first
        Points that are dark from the first of these frames on, shape (P,).

    Returns
    -------
    numpy.ndarray
        Shape (K, 2), each interval within the next.
    """
    frames, points = excess.shape
    together = max(1, int(np.ceil(points / np.sqrt(_MOST / frames))))
    starts = np.arange(0, points, together)
    ends = np.append(starts[1:], points)
    depth = -float(excess[:, first].mean())
    intervals = np.tile([0, points], (frames, 1))
    for _ in range(_ROUNDS):
        if not depth > 0.0:
            break
        # Log likelihood of dark against not, but for a factor.
        gain = np.add.reduceat(-excess - depth / 2.0, starts, axis=1)
        found = _nested(gain)
        intervals = np.stack([starts[found[:, 0]], ends[found[:, 1]]], axis=1)
        inside = np.concatenate([row[a:b] for row, (a, b) in zip(excess, intervals, strict=True)])
        depth = -float(inside.mean())
    return intervals


def _nested(gain: FloatArray) -> NDArray[np.int64]:
    """First and last point of intervals with the largest sum, each within the next, shape (K, 2)."""
    frames, points = gain.shape
    total = np.concatenate([np.zeros((frames, 1)), np.cumsum(gain, axis=1)], axis=1)
    held = np.empty((frames, points, points))
    within = np.zeros((points, points))
    for number in range(frames):
        # Rows: first point, columns: last.
        held[number] = total[number, None, 1:] - total[number, :-1, None] + within
        held[number][np.tril_indices(points, -1)] = -np.inf
        within = np.maximum.accumulate(held[number], axis=1)
        within = np.maximum.accumulate(within[::-1], axis=0)[::-1]
    found = np.empty((frames, 2), dtype=np.int64)
    low, high = 0, points
    for number in range(frames - 1, -1, -1):
        part = held[number, low:high, low:high]
        a, b = np.unravel_index(int(part.argmax()), part.shape)
        low, high = low + int(a), low + int(b) + 1
        found[number] = low, high - 1
    return found
