"""Cracks: their course, what they are, when they began, and how they grow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import route_through_array
from skimage.morphology import skeletonize

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.cracks.crack_extent import dark_intervals
from hyperspy_assb.series.cracks.line_response import LineSearch, search_lines, surroundings
from hyperspy_assb.series.drift.mean_alignment import Drift
from hyperspy_assb.series.frame_series import FloatArray, FrameSeries
from hyperspy_assb.series.grains.grain_labels import GrainMap

_SHORTEST = 8
"""Pixels: what is shorter is no line of the filter."""
_ALONG = 7
"""Pixels along a line that are averaged."""
_BEYOND = 10
"""Pixels by which a path is continued before it is seen where the line ends."""
_TANGENT = 8
"""Points of the path that tell its direction there."""
_RECENTRE = 2.0
"""Pixels by which the middle of a line may lie beside the largest response."""
_FADES = 2
"""Points at the ends of a line that are dark in part."""
_FLANKS = np.array([-6.0, -5.0, -4.0, 4.0, 5.0, 6.0])
"""Pixels from a line where what lies beside it is measured."""
_DARK = 2.0
"""Percentile of the field that is as dark as the middle of the darker boundaries."""
_SMOOTH = 1.0
_UNBLURRED = 1.4
"""Darkness of a boundary without blur over that which is seen through a probe and a smoothing of about a pixel each."""
_CERTAIN = 2.0
"""Standard errors by which a crack is darker than boundaries ever were."""
_SEEN = 4.0
"""Standard errors by which a point becomes darker where the moment is told."""
_NEAR = 2.5
"""Pixels from the middle of a boundary within which a crack runs along it."""
_MIRRORS = 199
_SEED = 20240229


class LineKind(IntEnum):
    """What a dark line that appears is."""

    CRACK = 0
    """It is darker than any boundary was before it appeared."""
    WIDENING = 1
    """It lies on a boundary, and is not darker than boundaries are: the boundary became wider."""
    UNDECIDED = 2
    """It is neither clearly darker than boundaries nor on one."""


@dataclass(frozen=True, eq=False)
class Crack:
    """A dark line that appeared.

    Parameters
    ----------
    kind
        What it is.
    path
        Rows and columns of its points in the place of the first frame, shape (P, 2).
    length
        Pixels, in each frame of the series, shape (T,); NaN of frames without a position.
    opening
        Width in pixels of an empty gap that is as dark, in the last frames: a lower limit for one that is not empty.
    opening_std
        Its standard error.
    onset
        First frame that shows it.
    onset_interval
        First and last frame in which it may have begun (68 %).
    growth, growth_std
        Pixels/s after the onset, and its standard error from the scatter; NaN if it is seen in fewer than three frames.
    darkness, darkness_std
        Brightness along it over that around it, less 1, where and when it is there.
    on_boundary
        Share of its points on a boundary; NaN without grains.
    p_boundary
        Share of shifted boundaries that it runs along as much; NaN without grains.
    response
        Largest response in standard errors.
    first
        Points of the path that are dark first, where it begins, shape (P,).
    """

    kind: LineKind
    path: FloatArray
    length: FloatArray
    opening: float
    opening_std: float
    onset: int
    onset_interval: tuple[int, int]
    growth: float
    growth_std: float
    darkness: float
    darkness_std: float
    on_boundary: float
    p_boundary: float
    response: float
    first: NDArray[np.bool_]


def find_lines(
    series: FrameSeries, drift: Drift, grains: GrainMap | None, alpha: float
) -> tuple[tuple[Crack, ...], float]:
    """Find the dark lines that appear, and say what each is.

    Returns
    -------
    lines, threshold
        Longest first; response that chance reaches in a share ``alpha`` of series.

    Raises
    ------
    AssbValueError
        If alpha is not between 0 and 1, or as for :func:`~.line_response.search_lines`.
    """
    if not 0.0 < alpha < 1.0:
        raise AssbValueError(f"alpha must be between 0 and 1, not {alpha:g}.")
    search = search_lines(series, drift, alpha)
    certain = search.dark > search.threshold
    labels, count = ndimage.label(search.dark > search.usual, structure=np.ones((3, 3)))
    kept = [n for n in range(1, count + 1) if certain[labels == n].any()]
    found = []
    for number in kept:
        path = _path(labels == number, search.dark)
        if len(path) >= _SHORTEST:
            path = _centred(search, _continued(_centred(search, path), search.seen))
            found.append(_describe(series, search, path, grains))
    return tuple(sorted(found, key=lambda crack: -float(np.nanmax(crack.length)))), search.threshold


def _path(region: NDArray[np.bool_], response: FloatArray) -> FloatArray:
    """Course of a line: the way of the largest response between the ends of its region."""
    thin = np.argwhere(skeletonize(region))
    if len(thin) < 2:
        return np.empty((0, 2))
    # Two sweeps find the ends that lie furthest apart.
    first = thin[np.argmax(np.linalg.norm(thin - thin[0], axis=1))]
    last = thin[np.argmax(np.linalg.norm(thin - first, axis=1))]
    top = response[region].max()
    cost = np.where(region, top / np.maximum(response, 0.02 * top), 1e4)
    way, _ = route_through_array(cost, first.tolist(), last.tolist(), fully_connected=True, geometric=True)
    points = np.array(way, dtype=float)
    return ndimage.gaussian_filter1d(points, 2.0, axis=0, mode="nearest")


def _continued(path: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """The path and a straight piece beyond either end: filters are weak where a line ends."""
    step = np.arange(1.0, _BEYOND + 1.0)[:, None]
    pieces = []
    reach = min(_TANGENT, len(path) - 1)
    for end, inner in ((path[0], path[reach]), (path[-1], path[-1 - reach])):
        beyond = end + step * (end - inner) / max(float(np.linalg.norm(end - inner)), 1e-9)
        at = np.round(beyond).astype(int)
        inside = np.all((at >= 0) & (at < seen.shape), axis=1)
        inside[inside] = seen[tuple(at[inside].T)]
        pieces.append(beyond[: int(np.argmin(np.append(inside, False)))])
    return np.concatenate([pieces[0][::-1], path, pieces[1]])


def _describe(series: FrameSeries, search: LineSearch, path: FloatArray, grains: GrainMap | None) -> Crack:
    along, error = _darkness_along(search, path)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    step = float(steps.mean())
    count = along.shape[0]
    first = _dark_first(along, error)
    split, interval = _onset(
        along[:, first].mean(axis=1), float(error[first].mean()) / np.sqrt(max(first.sum() / _ALONG, 1.0))
    )
    last = max(split, count - 3)
    raw = _darkness_along(search, path, 1)[0]
    intervals = dark_intervals(raw[split:] - raw[:split].mean(axis=0), first)
    lengths = np.full(series.count, np.nan)
    lengths[search.numbers] = 0.0
    lengths[search.numbers[split:]] = step * (intervals[:, 1] - intervals[:, 0])
    inside = slice(*intervals[-1])
    path, first = path[inside], first[inside]
    there = np.concatenate([row[_trimmed(*ends)] for row, ends in zip(raw[split:], intervals.tolist(), strict=True)])
    darkness = float(there.mean())
    darkness_std = float(error.mean()) / np.sqrt(max(there.size / _ALONG, 1.0))
    reference = _darkest_before(search, split)
    on_boundary, p_boundary = _on_boundaries(path, grains)
    if darkness + _CERTAIN * darkness_std < reference:
        kind = LineKind.CRACK
    elif darkness - _CERTAIN * darkness_std > reference and (np.isnan(on_boundary) or on_boundary > 0.5):
        kind = LineKind.WIDENING
    else:
        kind = LineKind.UNDECIDED
    opening, opening_std = _opening(search, path, split, last)
    growth, growth_std = _growth(series.time[search.numbers][split:], lengths[search.numbers][split:])
    numbers = search.numbers
    return Crack(
        kind=kind,
        path=path,
        length=lengths,
        opening=opening,
        opening_std=opening_std,
        onset=int(numbers[split]),
        onset_interval=(int(numbers[interval[0]]), int(numbers[interval[1]])),
        growth=growth,
        growth_std=growth_std,
        darkness=darkness,
        darkness_std=darkness_std,
        on_boundary=on_boundary,
        p_boundary=p_boundary,
        response=float(search.dark[tuple(np.round(path).astype(int).T)].max()),
        first=first if first.any() else np.ones(len(path), dtype=bool),
    )


def _trimmed(first: int, last: int) -> slice:
    """Points of an interval without its ends, where the line fades out."""
    cut = min(_FADES, (last - first - 1) // 2)
    return slice(first + cut, last - cut)


def _mean(search: LineSearch, first: int | None, last: int | None) -> FloatArray:
    return np.asarray(search.frames[first:last].mean(axis=0, dtype=np.float64))


def _normals(path: FloatArray) -> FloatArray:
    tangent = np.gradient(ndimage.gaussian_filter1d(path, 2.0, axis=0, mode="nearest"), axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def _across(image: FloatArray, path: FloatArray, offsets: FloatArray) -> FloatArray:
    """Values beside a path, shape (offsets, points)."""
    points = path[None] + offsets[:, None, None] * _normals(path)[None]
    return np.asarray(ndimage.map_coordinates(image, points.transpose(2, 0, 1), order=1, mode="nearest"))


def _centred(search: LineSearch, path: FloatArray) -> FloatArray:
    """The path where what appeared is darkest across it."""
    split = int(np.median(search.moment[tuple(np.round(path).astype(int).T)]))
    change = _mean(search, split, None) - _mean(search, None, split)
    offsets = np.arange(-_RECENTRE, _RECENTRE + 0.01, 0.25)
    profile = ndimage.gaussian_filter1d(_across(change, path, offsets), 5.0, axis=1, mode="nearest")
    profile = ndimage.gaussian_filter1d(profile, 2.0, axis=0, mode="nearest")
    moved = ndimage.gaussian_filter1d(offsets[profile.argmin(axis=0)], 4.0, mode="nearest")
    return path + moved[:, None] * _normals(path)


def _darkness_along(search: LineSearch, path: FloatArray, points: int = _ALONG) -> tuple[FloatArray, FloatArray]:
    """Brightness along a path, of so many points, over that of its flanks, less 1, in each frame, and its error."""
    found = []
    for frame in search.frames:
        middle = ndimage.uniform_filter1d(_across(frame, path, np.zeros(1))[0], points, mode="nearest")
        flanks = ndimage.uniform_filter1d(_across(frame, path, _FLANKS).mean(axis=0), _ALONG, mode="nearest")
        found.append(middle / flanks - 1.0)
    variance = ndimage.map_coordinates(search.variance, path.T, order=1, mode="nearest")
    # Interpolation between four pixels leaves about half of the variance of one.
    return np.array(found), np.sqrt(variance * (0.5 + 0.5 / _FLANKS.size) / _ALONG)


def _dark_first(along: FloatArray, error: FloatArray) -> NDArray[np.bool_]:
    """Points that a line reaches first: it grows, and the mean along all of it falls before and after it is there."""
    count, points = along.shape
    total, square = np.cumsum(along, axis=0), np.cumsum(np.square(along), axis=0)
    cost = np.full((count, points), np.inf)
    for split in range(1, count):
        before, after = total[split - 1] / split, (total[-1] - total[split - 1]) / (count - split)
        left = square[-1] - split * np.square(before) - (count - split) * np.square(after)
        cost[split] = np.where(after < before, left, np.inf)
    # Where the line has come only just, noise would tell the frame.
    gain = square[-1] - np.square(total[-1]) / count - cost.min(axis=0)
    onset = np.where(gain > np.square(_SEEN * error), cost.argmin(axis=0), count)
    # Points share what was averaged along the line: as many as that are one observation.
    onset = ndimage.median_filter(onset, _ALONG, mode="nearest")
    for split in range(1, count):
        labels, found = ndimage.label(onset <= split)
        size = np.bincount(labels)[1:]
        if found and size.max() >= _SHORTEST:
            return np.asarray(labels == 1 + int(size.argmax()))
    return np.ones(points, dtype=bool)


def _onset(values: FloatArray, error: float) -> tuple[int, tuple[int, int]]:
    """Frame from which on a line is dark: least squares of a level before and a line after; frames as likely nearly."""
    count = values.size
    cost = np.full(count, np.inf)
    for split in range(1, count):
        before, after = values[:split], values[split:]
        left = np.sum(np.square(before - before.mean()))
        if after.size > 2:
            shape = np.stack([np.ones(after.size), np.arange(after.size)], axis=1)
            left += np.sum(np.square(after - shape @ np.linalg.lstsq(shape, after, rcond=None)[0]))
        else:
            left += np.sum(np.square(after - after.mean()))
        cost[split] = left
    best = int(cost.argmin())
    spread = max(error**2, float(cost[best]) / max(count - 4, 1))
    near = np.flatnonzero(cost < cost[best] + spread)
    return best, (int(near[0]), int(near[-1]))


def _darkest_before(search: LineSearch, split: int) -> float:
    """How dark the boundaries were before, and could become by growing wider: as dark as without blur."""
    before = _mean(search, None, split)
    ratio = np.where(search.seen, before / surroundings(before, search.seen) - 1.0, 0.0)
    dark = ndimage.gaussian_filter(ratio, _SMOOTH)[search.seen]
    # Some of the darkest are so by noise.
    noise = float(np.sqrt(np.median(search.variance) / (4.0 * np.pi * _SMOOTH**2 * split)))
    return (float(np.percentile(dark, _DARK)) + noise) * _UNBLURRED


def _on_boundaries(path: FloatArray, grains: GrainMap | None) -> tuple[float, float]:
    if grains is None:
        return float("nan"), float("nan")
    rows, columns = np.round(path).astype(int).T

    def share(distance: FloatArray) -> float:
        return float(np.mean(distance[rows, columns] < _NEAR))

    observed = share(grains.distance)
    rng = np.random.default_rng(_SEED)
    shape = grains.distance.shape
    reached = 1
    for _ in range(_MIRRORS):
        moved = np.roll(
            grains.distance, (int(rng.integers(8, shape[0] - 8)), int(rng.integers(8, shape[1] - 8))), (0, 1)
        )
        reached += share(moved) >= observed - 1e-12
    return observed, reached / (1.0 + _MIRRORS)


def _opening(search: LineSearch, path: FloatArray, split: int, last: int) -> tuple[float, float]:
    """Brightness that the line takes, summed across it, over that around it, where it is there."""
    final = _mean(search, last, None)
    change = final - _mean(search, None, split)
    flanks = _across(final, path, _FLANKS).mean(axis=0)
    across = -_across(change, path, np.arange(-4.0, 4.01, 0.5)).sum(axis=0) * 0.5 / flanks
    blocks = max(len(across) // _ALONG, 2)
    means = np.array([part.mean() for part in np.array_split(across, blocks)])
    return float(across.mean()), float(means.std(ddof=1) / np.sqrt(blocks))


def _growth(time: FloatArray, length: FloatArray) -> tuple[float, float]:
    if time.size < 3:
        return float("nan"), float("nan")
    shape = np.stack([np.ones(time.size), time - time.mean()], axis=1)
    fit = np.linalg.lstsq(shape, length, rcond=None)[0]
    rest = length - shape @ fit
    spread = float(rest @ rest) / max(time.size - 2, 1)
    return float(fit[1]), float(np.sqrt(spread / np.square(shape[:, 1]).sum()))
