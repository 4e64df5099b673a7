"""Means of some of the frames of a series, in the place of the first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hyperspy_assb.series.drift.mean_alignment import Drift, shift_frame
from hyperspy_assb.series.frame_series import FloatArray, FrameSeries

_MARGIN = 16
"""Pixels by which frames are continued where they are moved."""


def mean_groups(series: FrameSeries, drift: Drift, group: Mapping[int, int]) -> tuple[FloatArray, FloatArray]:
    """Means of groups of frames, each relative to the median of its frames.

    Parameters
    ----------
    series, drift
        Frames, and where they lie.
    group
        Number of the group from 0 of each frame that is in one.

    Returns
    -------
    mean, variance
        Shape (groups, Y, X), NaN where not all of these frames show; and of a pixel as bright as the median, shape
        (groups,).
    """
    count = max(group.values()) + 1
    total, size, variance = np.zeros((count, *series.shape)), np.zeros(count), np.zeros(count)
    seen = np.isfinite(drift.mean)
    slope, level = drift.noise
    for number, frame in enumerate(series):
        if number not in group:
            continue
        by, k = drift.origin - drift.shift[number], group[number]
        usual = float(np.median(frame))
        wide = np.pad(frame, _MARGIN, mode="reflect") / usual
        total[k] += shift_frame(wide, by)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        variance[k] += max(slope * usual + level, 1e-12) / usual**2
        size[k] += 1
        seen &= shift_frame(np.ones(series.shape), np.round(by)) > 0.5
    return np.where(seen, total / size[:, None, None], np.nan), variance / np.square(size)
