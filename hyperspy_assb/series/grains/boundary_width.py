"""Width, depth and area of the boundaries between grains, frame by frame.

The brightness against the distance to the middle of the nearest line is a box, of the width and depth of the boundary,
blurred by the probe and by the error of the line. Depth and blur are the same in all frames, the width is each frame's
own: what the boundary takes away, width times depth, does not depend on blur, and the shape tells the depth. Dark
pixels are never counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize, special

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus
from hyperspy_assb.series.frame_series import FloatArray, FrameSeries
from hyperspy_assb.series.grains.grain_labels import GrainMap

_REACH = 6.0
"""Pixels from a line up to which the profile is fitted; beyond the smoothing, distances are not straight."""
_STEP = 0.25
_LEAST_OF_RING = 0.02
"""Share of the pixels of a usual ring that a ring needs."""
_FEWEST = 400
"""Pixels near lines that a frame needs."""


@dataclass(frozen=True, eq=False)
class BoundaryWidths:
    """Boundaries in each frame; NaN of frames without a position.

    Parameters
    ----------
    width, width_std
        Pixels, shape (T,).
    area, area_std
        Share of the field that boundaries take, shape (T,).
    covariance
        Of the areas: errors of depth and blur are common to all frames, shape (T, T).
    depth, depth_std
        Share of the brightness that boundaries take.
    blur, blur_std
        Standard deviation of the probe and of the line, pixels.
    profile, fit
        Brightness against distance, and the fit, shape (T, B).
    distance
        Pixels, shape (B,).
    misfit
        Mean square of the residuals in units of their errors.
    """

    width: FloatArray
    width_std: FloatArray
    area: FloatArray
    area_std: FloatArray
    covariance: FloatArray
    depth: float
    depth_std: float
    blur: float
    blur_std: float
    profile: FloatArray
    fit: FloatArray
    distance: FloatArray
    misfit: float


def fit_boundaries(series: FrameSeries, drift: Drift, grains: GrainMap) -> BoundaryWidths:
    """Fit the boundaries of all frames.

    Raises
    ------
    AssbValueError
        If too few pixels lie near lines.
    """
    edges = np.arange(0.0, _REACH + _STEP / 2.0, _STEP)
    sums, expected, variance = _profiles(series, drift, grains, edges)
    placed = np.flatnonzero(np.isfinite(sums).all(axis=1))
    if placed.size == 0 or expected[placed].sum(axis=1).min() <= 0.0:
        raise AssbValueError("Too few pixels lie near lines between grains: widths cannot be fitted.")
    good = expected[placed].min(axis=0) > _LEAST_OF_RING * np.median(expected[placed])
    middle = ((edges[:-1] + edges[1:]) / 2.0)[good]
    y, m = sums[placed][:, good], expected[placed][:, good]
    error = np.sqrt(np.maximum(variance[placed][:, good], 1e-12)) / m
    ratio = y / m
    solution, covariance, misfit = _solve(middle, ratio, error)
    count = placed.size
    depth, blur, widths = solution[0], solution[1], solution[2 : 2 + count]
    inside = _areas(grains, widths)
    jacobian = (_areas(grains, widths + 0.05) - _areas(grains, widths - 0.05)) / 0.1
    of_width = covariance[2 : 2 + count, 2 : 2 + count]
    of_area = of_width * np.outer(jacobian, jacobian)
    total = sums.shape[0]
    return BoundaryWidths(
        width=_spread(widths, placed, total),
        width_std=_spread(np.sqrt(np.diag(of_width)), placed, total),
        area=_spread(inside, placed, total),
        area_std=_spread(np.sqrt(np.diag(of_area)), placed, total),
        covariance=_spread_square(of_area, placed, total),
        depth=float(depth),
        depth_std=float(np.sqrt(covariance[0, 0])),
        blur=float(blur),
        blur_std=float(np.sqrt(covariance[1, 1])),
        profile=_spread(ratio, placed, total),
        fit=_spread(_model(solution, middle, count), placed, total),
        distance=middle,
        misfit=misfit,
    )


def _profiles(
    series: FrameSeries, drift: Drift, grains: GrainMap, edges: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sums of counts, of the levels of the grains, and of the variance, over rings of distance, shape (T, B)."""
    shape = (series.count, edges.size - 1)
    sums, expected, variance = (np.full(shape, np.nan) for _ in range(3))
    level = np.where(np.isfinite(grains.level), grains.level, 0.0)
    valid = ((grains.labels > 0) & np.isfinite(drift.mean)).astype(float)
    for number, frame in enumerate(series):
        if drift.status[number] != FrameStatus.PLACED:
            continue
        by = drift.shift[number] - drift.origin
        distance = grains.distance_at(by)
        moved = ndimage.shift(level, by, order=0, mode="constant")
        inside = (
            (ndimage.shift(valid, by, order=0, mode="constant", cval=0.0) > 0.5) & (distance < _REACH) & (moved > 0)
        )
        if inside.sum() < _FEWEST:
            continue
        ring = np.digitize(distance[inside], edges) - 1
        kept = (ring >= 0) & (ring < edges.size - 1)
        ring = ring[kept]
        # Not with the gain and offset of the drift: frames whose boundaries are wider have other ones for it.
        clean = frame[inside][kept]
        size = edges.size - 1
        sums[number] = np.bincount(ring, clean, minlength=size)
        expected[number] = np.bincount(ring, moved[inside][kept], minlength=size)
        slope, floor = drift.noise
        pixel = np.maximum(slope * moved[inside][kept] + floor, 1e-12)
        variance[number] = np.bincount(ring, pixel, minlength=size)
    return sums, expected, variance


def _box(distance: FloatArray, width: FloatArray, blur: float) -> FloatArray:
    half = width[:, None] / 2.0
    return special.ndtr((half - distance) / blur) - special.ndtr((-half - distance) / blur)


def _model(parameters: FloatArray, distance: FloatArray, count: int) -> FloatArray:
    depth, blur = parameters[:2]
    widths, levels = parameters[2 : 2 + count], parameters[2 + count :]
    return levels[:, None] * (1.0 - depth * _box(distance, widths, blur))


def _solve(distance: FloatArray, ratio: FloatArray, error: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    count = len(ratio)

    def residual(parameters: FloatArray) -> FloatArray:
        return ((ratio - _model(parameters, distance, count)) / error).ravel()

    level = np.average(ratio[:, distance > 0.7 * _REACH], axis=1)
    start = np.concatenate([[0.3, 1.2], np.full(count, 2.5), level])
    low = np.concatenate([[0.0, 0.2], np.full(count, 0.0), np.zeros(count)])
    high = np.concatenate([[1.0, 4.0], np.full(count, 2.0 * _REACH), np.full(count, np.inf)])
    solved = optimize.least_squares(residual, start, bounds=(low, high), x_scale=np.maximum(np.abs(start), 0.1))
    freedom = max(ratio.size - start.size, 1)
    misfit = 2.0 * solved.cost / freedom
    covariance = np.linalg.pinv(solved.jac.T @ solved.jac) * max(misfit, 1.0)
    return solved.x, covariance, float(misfit)


def _areas(grains: GrainMap, widths: FloatArray) -> FloatArray:
    """Share of the field within half a width of a line; pixels at the rim count in part."""
    near = grains.distance[grains.labels > 0]
    near = near[near < 2.0 * _REACH]
    return np.array([np.clip(w / 2.0 - near + 0.5, 0.0, 1.0).sum() for w in widths]) / float((grains.labels > 0).sum())


def _spread(values: FloatArray, placed: np.ndarray, total: int) -> FloatArray:
    full = np.full((total, *values.shape[1:]), np.nan)
    full[placed] = values
    return full


def _spread_square(values: FloatArray, placed: np.ndarray, total: int) -> FloatArray:
    full = np.full((total, total), np.nan)
    full[np.ix_(placed, placed)] = values
    return full
