"""A series and a voltammogram on one clock."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from hyperspy_assb.echem.beam_offset import find_beam_offset
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.signals.echem.signal import ASSBVoltammogram
from hyperspy_assb.signals.series.series_reading import NODE, exposure_time, frame_times, started

_OFFSETS = (401, 4001)
"""Offsets that are tried where the steps of the beam in the current tell them, at least and at most."""
_FINE = 101
"""Offsets that are tried around the best of these."""
_PER_EXPOSURE = 4.0
"""Offsets that are tried within one exposure: between fewer, steps would be missed."""
_STAMP = 1.0
"""s to which time stamps are known: seconds are cut, and clocks are set by hand or by a network."""


def set_potential(signal: Any, cv: ASSBVoltammogram, offset: float | tuple[float, float] | str) -> tuple[float, float]:
    """What :meth:`ASSBSTEMSeries.set_potential` does."""
    seconds, std = _offset(signal, cv, offset)
    if not np.isfinite(seconds) or std < 0.0:
        raise AssbValueError(f"offset must be a number of s, with an error not below 0, not {offset!r}.")
    times = frame_times(signal) + seconds
    outside = (times < cv.time[0]) | (times > cv.time[-1])
    if outside.all():
        raise AssbValueError(
            f"The frames run from {times[0]:.6g} to {times[-1]:.6g} s of the log, which runs from {cv.time[0]:.6g} "
            f"to {cv.time[-1]:.6g} s: they do not overlap. Check offset=."
        )
    node = {"log_time": cv.time.tolist(), "log_potential": cv.potential.tolist(), "offset": seconds, "offset_std": std}
    for name, value in node.items():
        signal.metadata.set_item(f"{NODE}.{name}", value)
    if outside.any():
        warnings.warn(
            f"{int(outside.sum())} of {times.size} frames lie outside of the log: their potential is not known.",
            AssbWarning,
            stacklevel=3,
        )
    return seconds, std


def _offset(signal: Any, cv: ASSBVoltammogram, offset: float | tuple[float, float] | str) -> tuple[float, float]:
    if offset == "stamps":
        began = started(signal)
        if began is None or cv.started is None:
            whose = "series" if began is None else "voltammogram"
            raise AssbValueError(f"offset='stamps': the {whose} does not say when it began. Give the offset in s.")
        return (began - cv.started).total_seconds(), _STAMP
    if offset == "steps":
        return _offset_by_steps(signal, cv)
    if isinstance(offset, str):
        raise AssbValueError(f"offset must be s, (s, error), 'stamps' or 'steps', not {offset!r}.")
    if isinstance(offset, tuple):
        return float(offset[0]), float(offset[1])
    return float(offset), float("nan")


def _offset_by_steps(signal: Any, cv: ASSBVoltammogram) -> tuple[float, float]:
    exposure = exposure_time(signal)
    times = frame_times(signal)
    if not np.isfinite(exposure) or (times.size > 1 and exposure >= float(np.diff(times).min())):
        raise AssbValueError(
            "offset='steps': as far as is known, the beam is always on and makes no steps. State how long it is "
            "on in each frame by set_dose(exposure=) or set_dose(dwell_time=), in s."
        )
    intervals = [(float(t), float(t) + exposure) for t in times]
    first, last = sorted((cv.time[0] - times[0], cv.time[-1] - times[-1] - exposure))
    shortest = min(exposure, float(np.diff(times).min()) - exposure) if times.size > 1 else exposure
    count = int(np.clip(_PER_EXPOSURE * (last - first) / shortest, *_OFFSETS))
    swept = cv._swept()
    coarse, coarse_std = find_beam_offset(swept, intervals, np.linspace(first, last, count))
    step = (last - first) / (count - 1)
    fine, fine_std = find_beam_offset(swept, intervals, np.linspace(coarse - 2.0 * step, coarse + 2.0 * step, _FINE))
    # Where another place fits as well, the error is that between them.
    return (fine, fine_std) if coarse_std < 2.0 * step else (coarse, coarse_std)
