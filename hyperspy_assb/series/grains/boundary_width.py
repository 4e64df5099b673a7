"""Width, depth and area of the boundaries between grains, frame by frame.

The brightness against the distance to the middle of the nearest line is a box, of the width and depth of the boundary,
blurred by the probe and by the error of the line. Depth and blur are the same in all frames, the width is each frame's
own: what the boundary takes away, width times depth, does not depend on blur, and the shape tells the depth. Dark
pixels are never counted. What is added to the brightness of a frame (carbon, dark level) makes boundaries less deep
against it: it is told by grains of different brightness, and its error is in that of the area.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.brightness import Brightness, fit_brightness, steady_course
from hyperspy_assb.series.drift.mean_alignment import Drift
from hyperspy_assb.series.frame_series import FloatArray, FrameSeries
from hyperspy_assb.series.grains.grain_labels import GrainMap
from hyperspy_assb.series.grains.ring_sums import REACH, RingSums, sum_rings

_LEAST_OF_RING = 0.02
"""Share of the pixels of a usual ring that a ring needs."""
_ITERATIONS = 60
_OF_GRAIN = 6
"""Steps of the fit of one grain in one frame: nearly a straight line."""
_LONGEST_STEP = 1.5
_FINE = np.arange(-REACH, 2.0 * REACH + 0.01, 0.25)
"""Widths at which areas are counted; between them they are interpolated."""


@dataclass(frozen=True, eq=False)
class BoundaryWidths:
    """Boundaries in each frame; NaN of frames without a position.

    Parameters
    ----------
    width, width_std
        Pixels, shape (T,).
    area, area_std
        Share of the field, but for its rim, that boundaries take, shape (T,).
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
    brightness
        What is added to the frames, told by the grains; NaN where they do not tell it.
    grain_area, grain_area_std
        Pixels inside each grain, and its error of counting, shape (T, G); NaN where they cannot be told.
    per_additive
        By how much that grows with what is added to the frame, shape (T, G).
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
    brightness: Brightness
    grain_area: FloatArray = field(repr=False)
    grain_area_std: FloatArray = field(repr=False)
    per_additive: FloatArray = field(repr=False)


def fit_boundaries(series: FrameSeries, drift: Drift, grains: GrainMap) -> BoundaryWidths:
    """Fit the boundaries of all frames, and of each grain.

    Raises
    ------
    AssbValueError
        If too few pixels lie near lines.
    """
    sums = sum_rings(series, drift, grains)
    placed = np.flatnonzero(sums.measured)
    if placed.size == 0:
        raise AssbValueError("Too few pixels lie near lines between grains: widths cannot be fitted.")
    brightness = fit_brightness(sums.inside[:, 1:], sums.inside_variance[:, 1:])
    counts, expected, variance = (
        np.asarray(v[placed].sum(axis=1), dtype=np.float64) for v in (sums.counts, sums.expected, sums.variance)
    )
    good = expected.min(axis=0) > _LEAST_OF_RING * np.median(expected)
    distance = sums.distance[good]
    m = expected[:, good]
    ratio, error = counts[:, good] / m, np.sqrt(np.maximum(variance[:, good], 1e-12)) / m
    added, of_added = steady_course(brightness.additive[placed, 0], brightness.additive_std[placed, 0])
    solved = _solve(distance, ratio, error, 1.0 / np.maximum(1.0 + added, 0.1))
    table = _share_table(grains)
    area, per_width = _at(table, solved.width), _slope(table, solved.width)
    # Where boundaries are made less deep, the width that takes as much away is larger by the same share.
    of_width = solved.covariance + of_added * np.outer(solved.width, solved.width)
    covariance = of_width * np.outer(per_width, per_width)
    by_grain = _fit_grains(sums, placed, good, solved, added, grains)
    total = series.count
    return BoundaryWidths(
        width=_spread(solved.width, placed, total),
        width_std=_spread(np.sqrt(np.diag(of_width)), placed, total),
        area=_spread(area, placed, total),
        area_std=_spread(np.sqrt(np.diag(covariance)), placed, total),
        covariance=_spread_square(covariance, placed, total),
        depth=solved.depth,
        depth_std=float(np.sqrt(solved.of_shared[0, 0])),
        blur=solved.blur,
        blur_std=float(np.sqrt(solved.of_shared[1, 1])),
        profile=_spread(ratio, placed, total),
        fit=_spread(solved.fit, placed, total),
        distance=distance,
        misfit=solved.misfit,
        brightness=brightness,
        grain_area=_spread(by_grain[0], placed, total),
        grain_area_std=_spread(by_grain[1], placed, total),
        per_additive=_spread(by_grain[2], placed, total),
    )


@dataclass(frozen=True, eq=False)
class _Solution:
    depth: float
    blur: float
    width: FloatArray
    covariance: FloatArray
    of_shared: FloatArray
    shallow: FloatArray
    fit: FloatArray
    misfit: float


def _box(distance: FloatArray, width: FloatArray, blur: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A blurred box, and how it changes with its width and with the blur."""
    half = np.asarray(width)[..., None] / 2.0
    right, left = (half - distance) / blur, (-half - distance) / blur
    density = [np.exp(-0.5 * np.square(v)) / np.sqrt(2.0 * np.pi) for v in (right, left)]
    return (
        special.ndtr(right) - special.ndtr(left),
        (density[0] + density[1]) / (2.0 * blur),
        (left * density[1] - right * density[0]) / blur,
    )


def _solve(distance: FloatArray, ratio: FloatArray, error: FloatArray, shallow: FloatArray) -> _Solution:
    """Least squares (Levenberg and Marquardt): depth and blur of all, width and level of each frame.

    Frames know of each other by depth and blur alone, which keeps the normal equations small (Schur complement).

    Parameters
    ----------
    distance, ratio, error
        Of the rings, shapes (B,), (T, B), (T, B).
    shallow
        Share of the depth that is left where something was added to the frame, shape (T,).
    """
    shared = np.array([0.3, 1.2])
    own = np.stack([np.full(len(ratio), 2.5), np.average(ratio[:, distance > 0.7 * REACH], axis=1)], axis=1)
    low, high = np.array([1e-3, 0.2]), np.array([1.0, 4.0])

    def model(s: FloatArray, o: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        box, by_width, by_blur = _box(distance, o[:, 0], s[1])
        deep = (s[0] * shallow)[:, None]
        level = o[:, 1:]
        of_shared = np.stack([-level * shallow[:, None] * box, -level * deep * by_blur], axis=-1)
        of_own = np.stack([-level * deep * by_width, 1.0 - deep * box], axis=-1)
        return level * (1.0 - deep * box), of_shared / error[..., None], of_own / error[..., None]

    fit, a, c = model(shared, own)
    cost = float(np.square((ratio - fit) / error).sum())
    damping = 1e-3
    for _ in range(_ITERATIONS):
        left = (ratio - fit) / error
        step_shared, step_own, _ = _step(a, c, left, damping)
        new_shared = np.clip(shared + step_shared, low, high)
        new_own = own + step_own
        new_own[:, 0] = np.clip(new_own[:, 0], 0.0, 2.0 * REACH)
        trial = model(new_shared, new_own)
        new_cost = float(np.square((ratio - trial[0]) / error).sum())
        if new_cost <= cost:
            settled = cost - new_cost < 1e-9 * cost
            shared, own, cost, (fit, a, c) = new_shared, new_own, new_cost, trial
            damping = max(damping / 5.0, 1e-9)
            if settled:
                break
        else:
            damping *= 4.0
            if damping > 1e9:
                break
    freedom = max(ratio.size - 2 - own.size, 1)
    misfit = cost / freedom
    _, _, (of_shared, inverse, across) = _step(a, c, np.zeros_like(ratio), 0.0)
    factor = max(misfit, 1.0)
    lever = np.einsum("kij,ksj->kis", inverse, across)[:, 0]
    covariance = lever @ of_shared @ lever.T + np.diag(inverse[:, 0, 0])
    return _Solution(
        depth=float(shared[0]),
        blur=float(shared[1]),
        width=own[:, 0],
        covariance=covariance * factor,
        of_shared=of_shared * factor,
        shallow=shallow,
        fit=fit,
        misfit=float(misfit),
    )


def _step(
    a: FloatArray, c: FloatArray, left: FloatArray, damping: float
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """Step of the shared and of the own parameters, and the parts of their covariance."""
    whole = np.einsum("kbi,kbj->ij", a, a)
    across = np.einsum("kbi,kbj->kij", a, c)
    own = np.einsum("kbi,kbj->kij", c, c)
    whole = whole + damping * np.diag(np.diag(whole))
    own = own + damping * own * np.eye(own.shape[-1])
    inverse = np.linalg.pinv(own, hermitian=True)
    reduced = np.linalg.pinv(whole - np.einsum("kij,kjl,kml->im", across, inverse, across), hermitian=True)
    gradient, of_own = np.einsum("kbi,kb->i", a, left), np.einsum("kbi,kb->ki", c, left)
    shared = reduced @ (gradient - np.einsum("kij,kjl,kl->i", across, inverse, of_own))
    rest = of_own - np.einsum("kij,i->kj", across, shared)
    return shared, np.einsum("kij,kj->ki", inverse, rest), (reduced, inverse, across)


def _fit_grains(
    sums: RingSums,
    placed: NDArray[np.intp],
    good: NDArray[np.bool_],
    solved: _Solution,
    added: FloatArray,
    grains: GrainMap,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Area of each grain in each frame, its error of counting, and its change with what is added, shape (K, G).

    Width and level of the boundary inside the grain are fitted, depth and blur are those of all.
    """
    chosen = np.ix_(placed, np.arange(1, sums.counts.shape[1]), np.flatnonzero(good))
    m = sums.expected[chosen].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(m > 0.0, sums.counts[chosen] / m, 0.0)
        weight = np.where(m > 0.0, np.square(m) / np.maximum(sums.variance[chosen], 1e-12), 0.0)
    # Of a dark grain, what is added is a larger share.
    levels = grains.levels()[1:]
    share = added[:, None] * (np.median(levels[levels > 0.0]) / np.maximum(levels, 1e-12) if levels.any() else 1.0)
    distance, deep = sums.distance[good], (solved.depth / np.maximum(1.0 + share, 0.1))[..., None]
    width = np.repeat(solved.width[:, None], ratio.shape[1], axis=1)
    level = np.ones_like(width)
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(_OF_GRAIN):
            box, by_width, _ = _box(distance, width, solved.blur)
            shape = 1.0 - deep * box
            slope = -level[..., None] * deep * by_width
            left = ratio - level[..., None] * shape
            ww, wl, ll = ((weight * x * y).sum(axis=-1) for x, y in ((slope, slope), (slope, shape), (shape, shape)))
            gw, gl = ((weight * x * left).sum(axis=-1) for x in (slope, shape))
            determinant = ww * ll - wl * wl
            known = determinant > 1e-9 * ww * ll
            step = np.where(known, (ll * gw - wl * gl) / determinant, 0.0)
            width = np.clip(width + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP), -REACH, 2.0 * REACH)
            level = level + np.where(known, (ww * gl - wl * gw) / determinant, 0.0)
        # A grain whose lines are not those of the scene (one is missed, or false) has another profile: misfit counts.
        left = ratio - level[..., None] * (1.0 - deep * _box(distance, width, solved.blur)[0])
        freedom = np.maximum((weight > 0.0).sum(axis=(0, 2)) - 2 * len(width), 1)
        misfit = np.where(known[..., None], weight * np.square(left), 0.0).sum(axis=(0, 2)) / freedom
        std = np.sqrt(np.where(known, ll / determinant, np.nan) * np.maximum(misfit, 1.0))
    area, spread, per_additive = (np.full(width.shape, np.nan) for _ in range(3))
    for number in range(width.shape[1]):
        table = _pixel_table(grains, number + 1)
        if table is None:
            continue
        inside = table[-1] - _at(table[:-1], width[:, number])
        per_width = _slope(table[:-1], width[:, number])
        good_frames = known[:, number]
        area[good_frames, number] = inside[good_frames]
        spread[:, number] = std[:, number] * per_width
        per_additive[good_frames, number] = -(solved.width * per_width)[good_frames]
    return area, spread, per_additive


def _pixel_table(grains: GrainMap, number: int) -> FloatArray | None:
    """Pixels of a grain within half of each of the fine widths of a line, and last all of its pixels."""
    distance = grains.distance[grains.labels == number]
    if not distance.size:
        return None
    near = distance[distance < 2.0 * REACH]
    # Pixels at the rim count in part.
    return np.append(np.clip(_FINE[:, None] / 2.0 - near + 0.5, 0.0, 1.0).sum(axis=1), distance.size)


def _share_table(grains: GrainMap) -> FloatArray:
    """Share of the field within half of each of the fine widths of a line."""
    near = np.sort(grains.distance[grains.told & (grains.distance < 2.0 * REACH)])
    total = np.concatenate([[0.0], np.cumsum(near)])
    # Of a pixel within half a pixel of the rim, a part counts: the sum of clip(w / 2 - d + 1 / 2, 0, 1).
    first = np.searchsorted(near, _FINE / 2.0 - 0.5)
    last = np.searchsorted(near, _FINE / 2.0 + 0.5)
    part = (last - first) * (_FINE / 2.0 + 0.5) - (total[last] - total[first])
    return np.asarray((first + part) / float(grains.told.sum()))


def _at(table: FloatArray, width: FloatArray) -> FloatArray:
    return np.interp(width, _FINE, table)


def _slope(table: FloatArray, width: FloatArray) -> FloatArray:
    return (_at(table, width + 0.25) - _at(table, width - 0.25)) / 0.5


def _spread(values: FloatArray, placed: NDArray[np.intp], total: int) -> FloatArray:
    full = np.full((total, *values.shape[1:]), np.nan)
    full[placed] = values
    return full


def _spread_square(values: FloatArray, placed: NDArray[np.intp], total: int) -> FloatArray:
    full = np.full((total, total), np.nan)
    full[np.ix_(placed, placed)] = values
    return full
