"""What the beam does to a specimen in a series: carbon that builds up, and contrast that is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.brightness import FEWEST_CELLS, fit_brightness
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus
from hyperspy_assb.series.frame_series import BoolArray, FloatArray, FrameSeries
from hyperspy_assb.series.trends import Trend, trend_of

_BLOCK = 12
"""Pixels of the sides of the cells, where no grains are given."""
_LEAST = 0.5
"""Share of a cell that must be in view."""


@dataclass(frozen=True, eq=False)
class BeamEffects:
    """What the beam does, frame by frame; NaN of frames without a position.

    Parameters
    ----------
    names
        Of the regions; the last is the rest of the field, or the whole of it if none were named.
    additive, additive_std
        Brightness that is added in each region, as a share of the mean brightness, less its mean, shape (R, T).
    contrast
        Of each frame over that of the mean of all, shape (T,).
    changes
        Of ``additive`` over the series, along a line, by region.
    above_rest
        Of ``additive`` in each named region less that of the rest.
    contrast_change
        Of ``contrast``.
    cells
        Pieces of content that tell them.
    """

    names: tuple[str, ...]
    additive: FloatArray = field(repr=False)
    additive_std: FloatArray = field(repr=False)
    contrast: FloatArray = field(repr=False)
    changes: tuple[Trend, ...]
    above_rest: tuple[Trend, ...]
    contrast_change: Trend
    cells: int


def measure_beam(
    series: FrameSeries, drift: Drift, regions: Mapping[str, BoolArray], cells: NDArray[np.int32] | None = None
) -> BeamEffects:
    """Measure what is added to the brightness, and the contrast, against the number of frames.

    A stronger beam makes all content brighter by one factor, which leaves both as they are. The dose of all frames is
    the same, so that their number is the dose.

    Parameters
    ----------
    series, drift
        Frames and their positions.
    regions
        Where the beam was besides, by name; they follow the drift.
    cells
        Insides of grains, from 1, in the place of the first frame; None: squares of the field, whose content may
        change by itself.

    Raises
    ------
    AssbValueError
        If too few cells are in view, in a region or beside it.
    """
    seen = np.isfinite(drift.mean)
    labels = _squares(seen) if cells is None else np.where(seen, cells, 0)
    names = (*regions, "rest" if regions else "field")
    group = np.full(int(labels.max()) + 1, len(regions), dtype=np.intp)
    size = np.maximum(np.bincount(labels.ravel(), minlength=group.size), 1)
    for number, mask in enumerate(regions.values()):
        group[np.bincount(labels[mask], minlength=group.size) > 0.5 * size] = number
    for number, name in enumerate(names):
        count = int((group[1:] == number).sum())
        if count < FEWEST_CELLS:
            raise AssbValueError(
                f"region {name!r} holds {count} pieces of content of different brightness; {FEWEST_CELLS} are needed "
                "to separate added brightness from a changing beam. Name a larger one."
            )
    levels, variance = _levels(series, drift, labels)
    found = fit_brightness(levels[:, 1:], variance[:, 1:], group[1:])
    if not found.known:
        raise AssbValueError(
            "The content has one brightness: added brightness cannot be separated from a changing beam. Use a field "
            "with grains or regions of different brightness."
        )
    dose = np.arange(series.count, dtype=np.float64)
    of = np.diagonal(found.covariance, axis1=1, axis2=2)
    last = len(names) - 1
    changes = tuple(trend_of(dose, found.additive[:, k], of[:, k]) for k in range(len(names)))
    above = tuple(
        trend_of(
            dose,
            found.additive[:, k] - found.additive[:, last],
            of[:, k] + of[:, last] - 2.0 * found.covariance[:, k, last],
        )
        for k in range(last)
    )
    contrast, contrast_change = contrast_of(drift)
    return BeamEffects(
        names=names,
        additive=found.additive.T,
        additive_std=found.additive_std.T,
        contrast=contrast,
        changes=changes,
        above_rest=above,
        contrast_change=contrast_change,
        cells=group.size - 1,
    )


def contrast_of(drift: Drift) -> tuple[FloatArray, Trend]:
    """Contrast of each frame over that of the mean, and its change over the series with the error of its scatter."""
    middle = float(np.nanmean(drift.mean))
    placed = drift.status == FrameStatus.PLACED
    brightness = drift.gain * middle + drift.offset
    with np.errstate(invalid="ignore", divide="ignore"):
        contrast = np.where(placed & (brightness > 0.0), drift.gain * middle / brightness, np.nan)
    change = trend_of(np.arange(contrast.size, dtype=np.float64), contrast, np.zeros(contrast.size))
    # Two frames have no scatter: nothing is known of the error.
    return contrast, change if np.isfinite(contrast).sum() > 2 else Trend(*[float("nan")] * 3)


def _squares(seen: BoolArray) -> NDArray[np.int32]:
    rows, columns = (np.arange(size) // _BLOCK for size in seen.shape)
    number = rows[:, None] * (int(columns[-1]) + 1) + columns[None, :] + 1
    return np.where(seen, number, 0).astype(np.int32)


def _levels(series: FrameSeries, drift: Drift, labels: NDArray[np.int32]) -> tuple[FloatArray, FloatArray]:
    """Mean of each cell in each frame, and its variance by counting, shape (T, C + 1); NaN where it is out of view."""
    count = int(labels.max()) + 1
    whole = np.bincount(labels.ravel(), minlength=count)
    levels, variance = (np.full((series.count, count), np.nan) for _ in range(2))
    slope, floor = drift.noise
    for number, frame in enumerate(series):
        if drift.status[number] != FrameStatus.PLACED:
            continue
        moved = ndimage.shift(labels, drift.shift[number] - drift.origin, order=0, mode="constant", cval=0)
        size = np.bincount(moved.ravel(), minlength=count)
        good = size > _LEAST * whole
        mean = np.bincount(moved.ravel(), frame.ravel(), minlength=count)[good] / size[good]
        levels[number, good] = mean
        variance[number, good] = np.maximum(slope * mean + floor, 1e-12) / size[good]
    return levels, variance
