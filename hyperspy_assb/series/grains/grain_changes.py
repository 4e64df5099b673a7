"""Grains that shrink, grow, are lost or gained in a series."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.permutation import correct_by_holm
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus
from hyperspy_assb.series.frame_series import BoolArray, FloatArray, FrameSeries
from hyperspy_assb.series.grains.boundary_width import BoundaryWidths
from hyperspy_assb.series.grains.frame_means import mean_groups
from hyperspy_assb.series.grains.grain_labels import REAL_SHARE, find_grains, line_depths
from hyperspy_assb.series.trends import slope_weights

_PARTS = 3
"""The first and the last of so many parts of the series are held against each other."""
_FEWEST = 4
"""Frames with a position from which on change is told."""
_LEAST_KNOWN = 0.1
"""Error of the area of a grain in a frame, as a share of it, beyond which it is no straight line in the width."""
_ODD = 0.01
"""Probability at which a grain that scatters more than others has its own scatter."""
_SAME = 10.0
"""Pixels between the middles of lines up to which they are one."""
_CORE = 0.6
"""Share of the inside of a grain that must lie in one grain of the other part."""


class GrainStatus(IntEnum):
    """What a grain does in a series."""

    STEADY = 0
    """Its area does not change by more than its error."""
    SHRINKS = 1
    """Its area becomes smaller."""
    GROWS = 2
    """Its area becomes larger."""
    UNKNOWN = 3
    """It has too few pixels for its noise, or is seen in too few frames."""


class EventKind(IntEnum):
    """How the number of grains changes."""

    LOST = 0
    """The line between two grains goes: they are one at the end."""
    GAINED = 1
    """A line comes up within a grain: there are two at the end."""


@dataclass(frozen=True)
class GrainEvent:
    """A line between two grains that goes or comes.

    Parameters
    ----------
    kind
        What becomes of the number of grains.
    place
        Row and column of the middle of the line, in the place of the first frame.
    grains
        Grains of the mean of all frames on either side of it; one twice if the mean has no line there.
    depth_before, depth_after
        By what share the line is darker than the grains, in the first and in the last third of the frames.
    depth_std
        Standard error of their difference.
    p
        That noise makes such a difference at any line (Holm).
    """

    kind: EventKind
    place: tuple[float, float]
    grains: tuple[int, int]
    depth_before: float
    depth_after: float
    depth_std: float
    p: float


@dataclass(frozen=True, eq=False)
class GrainChanges:
    """What grains do.

    Parameters
    ----------
    area, area_std
        Pixels inside each grain, with its error of counting and of what is added to frames, shape (T, G).
    change, change_std
        From the first to the last frame along a line, as a share of the mean area, shape (G,).
    p_shrinks, p_grows
        One-sided, corrected for the number of grains (Holm), shape (G,).
    status
        :class:`GrainStatus`, shape (G,).
    scatter
        Scatter of the areas around their lines over their error, which has been widened by it.
    events
        Lines that go or come; in order of p.
    """

    area: FloatArray = field(repr=False)
    area_std: FloatArray = field(repr=False)
    change: FloatArray
    change_std: FloatArray
    p_shrinks: FloatArray
    p_grows: FloatArray
    status: NDArray[np.int8]
    scatter: float
    events: tuple[GrainEvent, ...] = ()


def track_grains(
    time: FloatArray, boundaries: BoundaryWidths, ends: EndFrames, labels: NDArray[np.int32], alpha: float
) -> GrainChanges:
    """Tell which grains change.

    Parameters
    ----------
    time
        s, shape (T,).
    boundaries
        Fits of the frames.
    ends
        Means of the first and of the last frames.
    labels
        Grains of the mean of all frames.
    alpha
        Share of series without a change in which any grain is said to shrink; the same for growth, and for loss and
        gain together.

    Raises
    ------
    AssbValueError
        If alpha is not between 0 and 1, or there are too few frames with a position.
    """
    if not 0.0 < alpha < 1.0:
        raise AssbValueError(f"alpha must be between 0 and 1, not {alpha:g}.")
    frames = int(np.isfinite(boundaries.area).sum())
    if frames < _FEWEST:
        raise AssbValueError(f"{frames} frames have a position: changes of grains need at least {_FEWEST}.")
    area = boundaries.grain_area
    added = np.nan_to_num(boundaries.brightness.additive_std)
    common = np.abs(boundaries.per_additive) * added
    change, std, scatter = _changes(time, area, boundaries.grain_area_std, common)
    with np.errstate(invalid="ignore"):
        score = change / std
    p_shrinks, p_grows = correct_by_holm(stats.norm.cdf(score)), correct_by_holm(stats.norm.sf(score))
    status = np.full(change.size, GrainStatus.STEADY, dtype=np.int8)
    status[p_shrinks <= alpha], status[p_grows <= alpha] = GrainStatus.SHRINKS, GrainStatus.GROWS
    status[~np.isfinite(score)] = GrainStatus.UNKNOWN
    return GrainChanges(
        area=area,
        area_std=np.hypot(boundaries.grain_area_std, common),
        change=change,
        change_std=std,
        p_shrinks=p_shrinks,
        p_grows=p_grows,
        status=status,
        scatter=scatter,
        events=find_events(ends, labels, alpha),
    )


def _changes(
    time: FloatArray, area: FloatArray, counting: FloatArray, common: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Relative change of each area along a line, its standard error, and by what the errors were widened."""
    grains = area.shape[1]
    change, of_counts, of_added, chi, freedom = (np.full(grains, np.nan) for _ in range(5))
    for number in range(grains):
        good = np.isfinite(area[:, number]) & (counting[:, number] > 0.0)
        if good.sum() < _FEWEST:
            continue
        y, sigma = area[good, number], counting[good, number]
        mean = float(y.mean())
        if not mean > 0.0 or np.sqrt(np.square(sigma).mean()) > _LEAST_KNOWN * mean:
            continue
        weights = slope_weights(time[good])
        slope = float(weights @ y)
        change[number] = slope / mean
        of_counts[number] = float(np.sqrt(np.square(weights) @ np.square(sigma))) / mean
        of_added[number] = float(np.sqrt(np.square(weights) @ np.square(common[good, number]))) / mean
        x = time[good]
        rest = y - mean - slope * (x - x.mean()) / max(float(np.ptp(x)), 1e-30)
        # What is added to a frame moves all grains together: it does not tell how well counting is known.
        chi[number] = float(np.square(rest / np.hypot(sigma, common[good, number])).sum())
        freedom[number] = good.sum() - 2
    known = np.isfinite(chi)
    if not known.any():
        return change, of_counts, 1.0
    usual = max(1.0, float(chi[known].sum() / freedom[known].sum()))
    own = chi / freedom
    odd = stats.chi2.sf(np.where(known, chi, 0.0) / usual, np.where(known, freedom, 1.0)) < _ODD
    factor = np.where(odd, np.maximum(own, usual), usual)
    return change, np.sqrt(np.square(of_counts) * factor + np.square(of_added)), float(np.sqrt(usual))


@dataclass(frozen=True, eq=False)
class EndFrames:
    """Means of the first and of the last frames of a series, in the place of the first; NaN where not all show.

    Parameters
    ----------
    first, last
        Relative to the median of each frame, shape (Y, X).
    noise
        Standard deviations of the pixels of both, shape (2, Y, X).
    """

    first: FloatArray
    last: FloatArray
    noise: FloatArray


def end_frames(series: FrameSeries, drift: Drift) -> EndFrames:
    """Means of the first and of the last third of the frames."""
    placed = np.flatnonzero(drift.status == FrameStatus.PLACED)
    part = max(1, placed.size // _PARTS)
    chosen = {**dict.fromkeys(placed[:part].tolist(), 0), **dict.fromkeys(placed[-part:].tolist(), 1)}
    mean, variance = mean_groups(series, drift, chosen)
    noise = np.sqrt(np.maximum(mean, 0.05) * variance[:, None, None])
    return EndFrames(mean[0], mean[1], noise)


def find_events(ends: EndFrames, labels: NDArray[np.int32], alpha: float) -> tuple[GrainEvent, ...]:
    """Lines of the first frames that the last have not, and the other way round."""
    seen = np.isfinite(ends.first) & np.isfinite(ends.last) & (labels > 0)
    means = (ends.first, ends.last)
    segmented = []
    for mean, noise in zip(means, ends.noise, strict=True):
        try:
            segmented.append(find_grains(mean, seen, np.nan_to_num(noise, nan=1.0)).labels)
        except AssbValueError:
            segmented.append(seen.astype(np.int32))
    first_of, last_of = segmented
    # The mean of all knows most lines best, the ends those that are there for a short time.
    judged = np.where(seen, labels, 0)
    tried = (
        (EventKind.LOST, first_of, last_of),
        (EventKind.LOST, judged, last_of),
        (EventKind.GAINED, last_of, first_of),
        (EventKind.GAINED, judged, first_of),
    )
    lines = [_lines_of(kind, ends, own) for kind, own, _ in tried]
    p = correct_by_holm(np.concatenate([line.p for line in lines]))
    found: list[GrainEvent] = []
    first = 0
    for line, (_, own, other) in zip(lines, tried, strict=True):
        corrected = p[first : first + line.p.size]
        first += line.p.size
        found += _events_of(line, corrected, own, other, labels, alpha)
    return _each_once(found)


def _each_once(events: list[GrainEvent]) -> tuple[GrainEvent, ...]:
    """Of lines that were found by two segmentations, the surer."""
    kept: list[GrainEvent] = []
    for event in sorted(events, key=lambda item: item.p):
        near = (np.hypot(event.place[0] - k.place[0], event.place[1] - k.place[1]) < _SAME for k in kept)
        if not any(near):
            kept.append(event)
    return tuple(kept)


@dataclass(frozen=True, eq=False)
class _Lines:
    """Lines of one end of the series: how dark they are there and at the other end, and p of the difference."""

    kind: EventKind
    pairs: NDArray[np.int64]
    depth: FloatArray
    left: FloatArray
    std: FloatArray
    p: FloatArray


def _lines_of(kind: EventKind, ends: EndFrames, own: NDArray[np.int32]) -> _Lines:
    images = [np.where(np.isfinite(image), image, 1.0) for image in (ends.first, ends.last)]
    noises = np.nan_to_num(ends.noise, nan=1.0)
    with_line, without = (0, 1) if kind is EventKind.LOST else (1, 0)
    pairs, depth, error = line_depths(own, images[with_line], noises[with_line])
    _, left, left_error = line_depths(own, images[without], noises[without])
    if not len(pairs):
        empty = np.empty(0)
        return _Lines(kind, np.empty((0, 2), dtype=np.int64), empty, empty, empty, empty)
    std = np.hypot(error, left_error)
    # A line runs where noise is dark: it is deeper than it is by about its error.
    return _Lines(kind, pairs, depth, left, std, stats.norm.sf((depth - error - left) / std))


def _events_of(
    lines: _Lines,
    p: FloatArray,
    own: NDArray[np.int32],
    other: NDArray[np.int32],
    labels: NDArray[np.int32],
    alpha: float,
) -> list[GrainEvent]:
    """Lines of the labels of one end that are dark there and not at the other."""
    usual = float(np.median(lines.depth)) if lines.depth.size else 0.0
    made = []
    for k in np.flatnonzero((p <= alpha) & (lines.left < REAL_SHARE * usual)):
        first, second = (own == int(n) for n in lines.pairs[k])
        if not _are_one(first, second, other):
            continue
        rows, columns = _line(first, second)
        sides = [int(np.bincount(labels[side]).argmax()) for side in (first, second)]
        before, after = lines.depth[k], lines.left[k]
        if lines.kind is EventKind.GAINED:
            before, after = after, before
        made.append(
            GrainEvent(
                kind=lines.kind,
                place=(float(rows.mean()), float(columns.mean())),
                grains=(sides[0], sides[1]),
                depth_before=float(before),
                depth_after=float(after),
                depth_std=float(lines.std[k]),
                p=float(p[k]),
            )
        )
    return made


def _are_one(first: BoolArray, second: BoolArray, labels: NDArray[np.int32]) -> bool:
    """Whether most of two grains lies in one grain of other labels: else a line moved, and none went."""
    named = []
    for side in (first, second):
        count = np.bincount(labels[side])
        if count.size < 2 or count[1:].max() < _CORE * count[1:].sum():
            return False
        named.append(int(count[1:].argmax()))
    return named[0] == named[1]


def _line(first: BoolArray, second: BoolArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels on either side of the line between two grains."""
    touch = np.zeros(first.shape, dtype=bool)
    for axis in (0, 1):
        (a0, a1), (b0, b1) = ((v[:-1], v[1:]) if axis == 0 else (v[:, :-1], v[:, 1:]) for v in (first, second))
        meet = (a0 & b1) | (a1 & b0)
        target = touch[:-1] if axis == 0 else touch[:, :-1]
        target |= meet
    rows, columns = np.nonzero(touch)
    return rows, columns
