"""Brightness of each grain against the distance to its nearest line, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus
from hyperspy_assb.series.frame_series import BoolArray, FloatArray, FrameSeries
from hyperspy_assb.series.grains.frame_means import mean_groups
from hyperspy_assb.series.grains.grain_labels import GrainMap
from hyperspy_assb.series.grains.line_course import distance_at, line_distances

REACH = 6.0
"""Pixels from a line up to which the profile is fitted; beyond the smoothing, distances are not straight."""
_STEP = 0.25
_FEWEST = 400
"""Pixels near lines that a frame needs."""
_PROBE = 1.2
"""Standard deviation in pixels of a probe with the width of a pixel: how far light reaches over a line."""
_DIFFERS = 3.0
"""Standard errors by which the level of a grain in a frame is another one than in the mean."""
_CELL = 12
"""Pixels of the inside of a grain that tell its brightness."""


@dataclass(frozen=True, eq=False)
class RingSums:
    """Sums over rings of distance within grains; of grain 0 nothing.

    Parameters
    ----------
    distance
        Middle of each ring, pixels, shape (B,).
    counts, expected, variance
        Sums of counts, of the levels of the grains in the same frame, and of the variance of counts, shape (T, G + 1,
        B).
    inside, inside_variance
        Mean brightness of what lies beyond all rings, and its variance, shape (T, G + 1); NaN of few pixels.
    measured
        Frames with a position and enough pixels near lines, shape (T,).
    """

    distance: FloatArray
    counts: NDArray[np.float32]
    expected: NDArray[np.float32]
    variance: NDArray[np.float32]
    inside: FloatArray
    inside_variance: FloatArray
    measured: BoolArray


def sum_rings(series: FrameSeries, drift: Drift, grains: GrainMap) -> RingSums:
    """Sum the frames, as they were counted, over rings."""
    edges = np.arange(0.0, REACH + _STEP / 2.0, _STEP)
    rings, labels = edges.size - 1, int(grains.labels.max()) + 1
    shape = (series.count, labels, rings)
    counts, expected, variance = (np.zeros(shape, dtype=np.float32) for _ in range(3))
    inside, inside_variance = (np.full((series.count, labels), np.nan) for _ in range(2))
    measured = np.zeros(series.count, dtype=bool)
    usual = grains.levels()
    courses = _courses(series, drift, grains)
    judged = np.where(np.isfinite(drift.mean), grains.labels, 0)
    slope, floor = drift.noise
    for number, frame in enumerate(series):
        if drift.status[number] != FrameStatus.PLACED:
            continue
        by = drift.shift[number] - drift.origin
        distance = distance_at(courses[number], by)
        grain = ndimage.shift(judged, by, order=0, mode="constant", cval=0)
        far = (grain > 0) & (distance >= REACH)
        size = np.bincount(grain[far], minlength=labels)
        enough = size >= _CELL
        own = np.bincount(grain[far], frame[far], minlength=labels)[enough] / size[enough]
        inside[number, enough] = own
        error = np.sqrt(np.maximum(slope * own + floor, 1e-12) / size[enough])
        moved = _expected(grain, enough, own, error, usual)
        told = ndimage.shift(grains.told, by, order=0, mode="constant", cval=False)
        near = told & (grain > 0) & (moved > 0) & (distance < REACH)
        if near.sum() < _FEWEST:
            continue
        measured[number] = True
        ring = np.clip(np.digitize(distance[near], edges) - 1, 0, rings - 1)
        place = grain[near] * rings + ring
        # Not with the gain and offset of the drift: frames whose boundaries are wider have other ones for it.
        pixel = np.maximum(slope * moved + floor, 1e-12)
        for sums, values in ((counts, frame), (expected, moved), (variance, pixel)):
            sums[number] = np.bincount(place, values[near], minlength=labels * rings).reshape(labels, rings)
        noise = np.bincount(grain[far], pixel[far], minlength=labels)
        inside_variance[number, enough] = noise[enough] / np.square(size[enough])
    inside[~measured] = np.nan
    middle = (edges[:-1] + edges[1:]) / 2.0
    return RingSums(middle, counts, expected, variance, inside, inside_variance, measured)


def _courses(series: FrameSeries, drift: Drift, grains: GrainMap) -> dict[int, FloatArray]:
    """Distances to lines for each frame, placed by frames that it is not among.

    A line that is placed where the noise of a frame is dark looks deep and narrow in it: each of two halves of the
    frames is measured along the lines of the other.
    """
    placed = np.flatnonzero(drift.status == FrameStatus.PLACED).tolist()
    if len(placed) < 2 or not grains.placed:
        return dict.fromkeys(placed, grains.lines)
    half = {number: k % 2 for k, number in enumerate(placed)}
    means, _ = mean_groups(series, drift, half)
    lines = [line_distances(grains.labels, np.where(np.isfinite(mean), mean, np.nanmean(mean))) for mean in means]
    return {number: lines[1 - k] for number, k in half.items()}


def _expected(
    grain: NDArray[np.int32], enough: BoolArray, own: FloatArray, error: FloatArray, usual: FloatArray
) -> FloatArray:
    """Brightness without boundaries, as a probe sees it.

    Levels are those of the mean, but of grains that differ from it in this frame: where a neighbour becomes brighter,
    its light reaches over the line, and would else pass for a boundary that moved.
    """
    known = usual[enough]
    scale = float(np.median(own / known)) if own.size and np.all(known > 0.0) else 1.0
    levels = usual * scale
    told = np.abs(own - levels[enough]) > _DIFFERS * error
    levels[enough] = np.where(told, own, levels[enough])
    levels[0] = 0.0
    judged = (grain > 0).astype(np.float64)
    share = ndimage.gaussian_filter(judged, _PROBE)
    return np.asarray(ndimage.gaussian_filter(levels[grain], _PROBE) / np.maximum(share, 1e-3) * judged)
