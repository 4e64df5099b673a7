"""Frames of signals and results in nm, and the image of each on which it is registered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbTypeError, AssbValueError, AssbWarning
from hyperspy_assb.models.recorded_signal import MOST_COUNTS, check_data, title_of
from hyperspy_assb.registration.affine import FloatArray, ImageFrame
from hyperspy_assb.signals.acom.signal import ACOMPatterns
from hyperspy_assb.signals.eels.signal import ASSBEELSSpectrum
from hyperspy_assb.signals.result import Result

_NANOMETRES = {"nm": 1.0, "µm": 1e3, "um": 1e3, "pm": 1e-3, "å": 0.1, "angstrom": 0.1, "a": 0.1, "mm": 1e6, "m": 1e9}
_SMALLEST, _LARGEST = 1e-9, 1e15
"""nm, of pixels and of where they lie."""
_BRIGHT_FIELD = 0.12
"""Radius of the virtual bright field over that of the detector."""
_ELASTIC, _FURTHEST = 3.0, 10.0
"""eV on both sides of the zero-loss peak that are elastic, and how far from zero it may be recorded."""


def frame_axes(held: Any) -> list[dict[str, Any]] | None:
    """Rows and columns of what is held, as axes; None for a voltammogram, a spectrum, or other things without."""
    if isinstance(held, Result):
        return [dict(axis) for axis in held.axes] if len(held.axes) == 2 else None
    manager = held.axes_manager
    if manager.navigation_dimension == 2:
        axes = manager.navigation_axes
    elif manager.signal_dimension == 2:
        axes = manager.signal_axes
    else:
        return None
    # HyperSpy counts axes from the fastest one.
    return [axis.get_axis_dictionary() for axis in reversed(axes)]


def read_frame(held: Any, key: str) -> ImageFrame | None:
    """The frame of a member; None if it has no pixels in two directions.

    Raises
    ------
    AssbValueError
        If an axis has no scale or unit of length, none that anything is measured with, or runs backwards; the message
        names it.
    """
    axes = frame_axes(held)
    return None if axes is None else frame_of_axes(axes, key)


def frame_of_axes(axes: Sequence[Mapping[str, Any]], key: str) -> ImageFrame:
    """The frame of two axes, rows first; see :func:`read_frame`."""
    pixel, origin = [], []
    for axis, usual in zip(axes, "yx", strict=True):
        name = axis.get("name")
        name = name if isinstance(name, str) and name else usual
        units = axis.get("units")
        factor = _NANOMETRES.get(units.strip().lower()) if isinstance(units, str) else None
        if factor is None or "scale" not in axis:
            stated = repr(units) if isinstance(units, str) and units else "no unit"
            raise AssbValueError(
                f"{key}: its axis {name} has no scale in a unit of length ({stated}): set the scale and the "
                'units of that axis, such as 5.0 and "nm", or give frame= of a member whose pixels it '
                "shares."
            )
        scale, offset = float(axis["scale"]) * factor, float(axis.get("offset", 0.0)) * factor
        if not (_SMALLEST < abs(scale) < _LARGEST and abs(offset) < _LARGEST):
            raise AssbValueError(
                f"{key}: its axis {name} has pixels of {scale:g} nm that begin at {offset:g} nm: set the scale and the "
                "offset of that axis."
            )
        if scale < 0.0:
            raise AssbValueError(
                f"{key}: its axis {name} runs backwards (scale {scale:g} nm), so the frame is mirrored: flip the data "
                "and make the scale positive."
            )
        pixel.append(scale)
        origin.append(offset)
    return ImageFrame((int(axes[0]["size"]), int(axes[1]["size"])), (pixel[0], pixel[1]), (origin[0], origin[1]))


def map_values(values: Any, name: str) -> FloatArray:
    """The array of a map: a signal of numbers, or an array."""
    data = np.asarray(getattr(values, "data", values))
    if data.dtype == bool or data.dtype.kind in "iuf":
        return np.asarray(data, dtype=float)
    raise AssbTypeError(f"{name} must be a map of numbers, not {type(values).__name__} of {data.dtype}.")


def _log_ratio(spectra: ASSBEELSSpectrum) -> FloatArray:
    """t/λ by the counts in the zero-loss peak: all counts of a low-loss spectrum are those of the beam, everywhere.

    All counts of spectra that do not hold the zero-loss peak.
    """
    # Sums of what may be lazy: the counts need not fit in memory twice.
    counts = spectra.data
    total = _checked(np.asarray(counts.sum(axis=-1, dtype=float)), spectra)
    if not np.isfinite(total).all():
        counts = np.where(np.abs(counts) <= MOST_COUNTS, counts, 0.0)
    energy = spectra.axes_manager.signal_axes[0].axis
    peak = float(energy[int(np.argmax(np.asarray(counts.sum(axis=(0, 1), dtype=float))))])
    if not energy[0] < 0.0 < energy[-1] or abs(peak) > _FURTHEST:
        return total
    near = np.flatnonzero(np.abs(energy - peak) <= _ELASTIC)
    elastic = np.asarray(counts[..., near[0] : near[-1] + 1].sum(axis=-1, dtype=float))
    ratio = np.where(np.isfinite(total) & (elastic > 0.0) & (total > 0.0), total / np.maximum(elastic, 1e-9), np.nan)
    return np.asarray(np.log(np.maximum(ratio, 1e-9)))


def registration_image(held: Any) -> FloatArray:
    """The image of a member that is registered unless another is named; NaN where it is no number of counts.

    Raises
    ------
    AssbValueError
        If a signal holds no real numbers, in no pixel a finite one, or one of its axes has no scale.

    Warns
    -----
    AssbWarning
        If pixels of a signal are left out.
    """
    if isinstance(held, Result):
        return _image_of_result(held)
    check_data(held, what="pixel")
    with np.errstate(invalid="ignore", over="ignore"):
        return _log_ratio(held) if isinstance(held, ASSBEELSSpectrum) else _sums(held)


def _checked(sums: FloatArray, held: Any) -> FloatArray:
    """Counts of each pixel; NaN, with a warning, where they are no number, or more than counts can be."""
    good, title = np.abs(sums) <= MOST_COUNTS, title_of(held)
    if not good.any():
        raise AssbValueError(f"{title} holds in all of its pixels NaN, infinity or more than {MOST_COUNTS:.0e} counts.")
    if not good.all():
        warnings.warn(
            f"{title} holds NaN, infinity or more than {MOST_COUNTS:.0e} counts in {(~good).sum()} of {good.size} "
            "pixels: they are left out.",
            AssbWarning,
            stacklevel=4,
        )
    return np.where(good, sums, np.nan)


def _image_of_result(held: Result) -> FloatArray:
    for name in ("virtual_bright_field", "t_over_lambda"):
        if hasattr(held, name):
            return map_values(getattr(held, name), name)
    shown = np.asarray(held._shown().data, dtype=float)
    return shown if shown.ndim == 2 else shown[0]


def _sums(held: Any) -> FloatArray:
    """All counts of each pixel of a signal, or those near the direct beam."""
    manager = held.axes_manager
    if manager.navigation_dimension != 2:
        frames = held.data if manager.navigation_dimension == 0 else held.data.mean(axis=0, dtype=float)
        return _checked(np.asarray(frames, dtype=float), held)
    if isinstance(held, ACOMPatterns):
        size = held.data.shape[-2:]
        rows, columns = (np.arange(n) - 0.5 * (n - 1) for n in size)
        disc = np.hypot(rows[:, np.newaxis], columns) <= max(_BRIGHT_FIELD * 0.5 * min(size), 1.0)
        box = tuple(slice(*np.flatnonzero(disc.any(axis=axis))[[0, -1]] + [0, 1]) for axis in (1, 0))
        return _checked(np.asarray((held.data[..., *box] * disc[box]).sum(axis=(-2, -1), dtype=float)), held)
    axes = tuple(range(2, held.data.ndim))
    return _checked(np.asarray(held.data.sum(axis=axes, dtype=float) if axes else held.data, dtype=float), held)
