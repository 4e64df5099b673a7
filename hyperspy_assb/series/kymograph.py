"""Brightness along a line in every frame: what moves is a slope in it, what appears a step."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus
from hyperspy_assb.series.frame_series import FloatArray, FrameSeries

_FEWEST = 2.0
"""Pixels that a line is long at least."""


def points_along(line: FloatArray) -> FloatArray:
    """Points of a line of straight pieces, one pixel apart, shape (P, 2).

    Parameters
    ----------
    line
        Rows and columns of its corners, shape (N, 2).

    Raises
    ------
    AssbValueError
        If there are fewer than two corners, or the line has no length.
    """
    corners = np.asarray(line, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 2 or not np.all(np.isfinite(corners)):
        raise AssbValueError(f"line must hold rows and columns of two points or more, not the shape {corners.shape}.")
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    if along[-1] < _FEWEST:
        raise AssbValueError(f"line is {along[-1]:.2g} pixels long: a kymograph needs at least {_FEWEST:g}.")
    at = np.arange(0.0, along[-1] + 1e-9)
    return np.stack([np.interp(at, along, corners[:, axis]) for axis in range(2)], axis=1)


def brightness_along(series: FrameSeries, drift: Drift, points: FloatArray, width: float) -> FloatArray:
    """Brightness along points that follow the drift, in each frame over its median, shape (T, P).

    Parameters
    ----------
    series, drift
        Frames and their positions; NaN of frames without one, and of points out of view.
    points
        Rows and columns in the place of the first frame, one pixel apart, shape (P, 2).
    width
        Pixels across the line that are averaged.
    """
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    count = max(1, int(np.ceil(width)))
    offsets = (np.arange(count) - (count - 1) / 2.0) * width / count
    places = points[None] + offsets[:, None, None] * normal[None]
    found = np.full((series.count, len(points)), np.nan)
    for number, frame in enumerate(series):
        if drift.status[number] != FrameStatus.PLACED:
            continue
        at = (places + (drift.shift[number] - drift.origin)).transpose(2, 0, 1)
        values = ndimage.map_coordinates(frame, at, order=1, mode="constant", cval=np.nan)
        found[number] = values.mean(axis=0) / np.median(frame)
    return found
