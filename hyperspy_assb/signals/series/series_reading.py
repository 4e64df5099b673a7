"""What is read of an image series: frames, times, pixel size, dose, potential."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.models.recorded_signal import (
    check_axis,
    recorded_data,
    recorded_number,
    recorded_numbers,
    recorded_text,
)
from hyperspy_assb.series.frame_series import FrameSeries

NODE = "ASSB.series"
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "min": 60.0, "h": 3600.0}
_NANOMETRES = {"nm": 1.0, "µm": 1e3, "um": 1e3, "pm": 1e-3, "å": 0.1, "angstrom": 0.1, "a": 0.1, "mm": 1e6, "m": 1e9}
_CHARGE = 1.602176634e-19
_PIXELS = (1e-4, 1e5)
"""nm between which a pixel of an electron microscope lies; what is told beyond is a mistake of the file."""
_SQUARE = 0.01
"""Relative difference between the sides of a pixel up to which it is square."""


def read_series(signal: Any) -> FrameSeries:
    """Frames, times and pixel size of a signal.

    Raises
    ------
    AssbValueError
        If it is no series of grey frames against time; the message says what is missing.
    """
    if signal.axes_manager.signal_dimension != 2 or signal.axes_manager.navigation_dimension != 1:
        raise AssbValueError(
            f"A series has frames of two axes against one of time, not the dimensions {signal.data.shape}: choose with "
            "inav, or stack the frames."
        )
    if signal.data.dtype.fields is not None:
        raise AssbValueError(
            "The frames are pictures in colour (RGB), not counts: errors cannot be derived from a film or screenshot. "
            "Load the original recording of the microscope."
        )
    return FrameSeries(
        frames=recorded_data(signal, what="frame"),
        time=frame_times(signal),
        pixel=pixel_size(signal),
        potential=frame_potential(signal),
    )


def frame_times(signal: Any) -> NDArray[np.float64]:
    """Beginning of each frame in s.

    Raises
    ------
    AssbValueError
        If the axis is no time, or runs back.
    """
    axis = signal.axes_manager.navigation_axes[0]
    values = np.asarray(axis.axis, dtype=np.float64)
    unit = str(axis.units).strip().lower() if isinstance(axis.units, str) else ""
    if unit not in _SECONDS:
        shown = f"the unit {axis.units!r}" if unit else "no unit"
        pixel = signal.axes_manager.signal_axes[0]
        # ImageJ and others write the size of a pixel there.
        reason = (
            f", and its step of {axis.scale:g} is that of the pixels"
            if hasattr(axis, "scale") and np.isclose(axis.scale, pixel.scale, rtol=1e-6) and axis.scale != 1.0
            else ""
        )
        raise AssbValueError(
            f"The axis of the frames ({axis.name}) has {shown}{reason}: when they were taken is not known. Say so by "
            "set_frame_times(interval) or set_frame_times(times), in s."
        )
    if axis.is_uniform:
        check_axis(axis, "time axis of the frames")
    if np.any(np.diff(values) <= 0.0):
        frame = int(np.flatnonzero(np.diff(values) <= 0.0)[0]) + 1
        raise AssbValueError(f"The time of the frames runs back or stands at frame {frame}: set_frame_times(times).")
    return values * _SECONDS[unit]


def pixel_size(signal: Any) -> float:
    """nm; NaN if it is not known, cannot be, or pixels are not square."""
    sides = []
    for number, axis in enumerate(signal.axes_manager.signal_axes):
        check_axis(axis, f"{('column', 'row')[number]} axis of the frames")
        unit = str(axis.units).strip().lower() if isinstance(axis.units, str) else ""
        sides.append(abs(float(getattr(axis, "scale", np.nan))) * _NANOMETRES.get(unit, np.nan))
    square = abs(sides[0] - sides[1]) <= _SQUARE * sides[0]
    return sides[0] if square and _PIXELS[0] < sides[0] < _PIXELS[1] else float("nan")


def frame_interval(signal: Any) -> float:
    """Median time in s between the beginnings of frames; NaN of one frame."""
    times = frame_times(signal)
    return float(np.median(np.diff(times))) if times.size > 1 else float("nan")


def frame_potential(signal: Any) -> NDArray[np.float64] | None:
    """V in the middle of each frame, from the log that was set; NaN outside of it, None without one."""
    return _potential_after(signal, 0.0)


def frame_potential_std(signal: Any) -> NDArray[np.float64] | None:
    """V, from the error of the offset of the clocks: how much the potential changes within it. None without a log."""
    if not signal.metadata.has_item(f"{NODE}.log_time"):
        return None
    std = recorded_number(signal, f"{NODE}.offset_std")
    if std is None:
        return np.full(frame_times(signal).shape, np.nan)
    early, late = (_potential_after(signal, by) for by in (-std, std))
    return None if early is None or late is None else np.abs(late - early) / 2.0


def _potential_after(signal: Any, seconds: float) -> NDArray[np.float64] | None:
    if not signal.metadata.has_item(f"{NODE}.log_time"):
        return None
    exposure = exposure_time(signal)
    offset = recorded_number(signal, f"{NODE}.offset", negative=True)
    time = recorded_numbers(signal, f"{NODE}.log_time")
    potential = recorded_numbers(signal, f"{NODE}.log_potential", time.size)
    if offset is None or (np.diff(time) < 0.0).any():
        raise AssbValueError(f"metadata.{NODE} holds no offset, or times of the log that run back: set_potential().")
    middle = frame_times(signal) + (exposure if np.isfinite(exposure) else 0.0) / 2.0 + offset + seconds
    return np.interp(middle, time, potential, left=np.nan, right=np.nan)


def started(signal: Any) -> datetime | None:
    """When time was 0, as the file states it in local time; None if it does not."""
    date, time = (recorded_text(signal, f"General.{name}") for name in ("date", "time"))
    if not date or not time:
        return None
    try:
        return datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=None)
    except ValueError:
        return None


def exposure_time(signal: Any) -> float:
    """s that the beam is on in each frame: as set, else dwell time times pixels, else the interval of the frames."""
    stated = recorded_number(signal, f"{NODE}.exposure")
    if stated:
        return stated
    dwell = dwell_time(signal)
    if dwell is not None:
        rows, columns = signal.axes_manager._signal_shape_in_array
        return dwell * rows * columns
    return frame_interval(signal)


def dwell_time(signal: Any) -> float | None:
    """s per pixel; None if it is not known. A zero is no knowledge."""
    for item in (f"{NODE}.dwell_time", "Acquisition_instrument.TEM.dwell_time"):
        value = recorded_number(signal, item)
        if value:
            return value
    return None


def frame_dose(signal: Any) -> float | None:
    """Electrons per nm² in each frame; None if beam current, dwell time or pixel size is not known. Never 0."""
    stated = recorded_number(signal, f"{NODE}.dose")
    if stated:
        return stated
    current = recorded_number(signal, "Acquisition_instrument.TEM.beam_current")
    dwell, pixel = dwell_time(signal), pixel_size(signal)
    if not current or dwell is None or not np.isfinite(pixel):
        return None
    return current * 1e-9 * dwell / _CHARGE / pixel**2
