"""What a detector did to the patterns of a scan, found once and put right in every block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.bad_pixels import find_bad_pixels, marked_pixels
from hyperspy_assb.acom.patterns.filling import PixelFiller
from hyperspy_assb.acom.patterns.intensity_units import IntensityUnits, estimate_units

JUDGED = 128
"""Patterns that are enough to judge pixels by."""


@dataclass(frozen=True, eq=False)
class Detector:
    """Puts right what a detector did to patterns.

    Parameters
    ----------
    mask
        True where pixels are left out of all patterns, shape (ny, nx).
    units
        How values become electrons.
    notes
        What was found, in sentences.
    """

    mask: NDArray[np.bool_]
    units: IntensityUnits
    notes: tuple[str, ...] = ()

    @cached_property
    def _filler(self) -> PixelFiller | None:
        return PixelFiller(self.mask) if self.mask.any() else None

    def put_right(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Patterns of shape (..., ny, nx) in electrons, with pixels that are left out filled."""
        flat = self.units.to_electrons(patterns).reshape(-1, *self.mask.shape)
        if self._filler is not None:
            flat = self._filler.fill(flat, quantum=self.units.quantum)
        if flat.dtype.kind == "f":
            for b in np.flatnonzero(~np.isfinite(flat).all(axis=(1, 2))):
                flat = flat.copy() if flat.base is not None else flat
                flat[b] = PixelFiller(~np.isfinite(flat[b])).fill(flat[b : b + 1], quantum=self.units.quantum)[0]
        return flat.reshape(patterns.shape)

    def saturation(self, dtype: np.dtype[Any]) -> float | None:
        """Electrons at which patterns that were of a type before are saturated; None where that is not told by it."""
        if self.units.plain or dtype.kind not in "iu" or dtype.itemsize >= 4:
            return None
        return (float(np.iinfo(dtype).max) - self.units.zero) / self.units.gain


def examine_detector(patterns: NDArray[Any], *, given: NDArray[np.bool_] | None = None) -> Detector | None:
    """Bad pixels, and what an electron is worth; None where patterns are whole counts of a detector without a fault.

    Parameters
    ----------
    patterns
        Some of the patterns of a scan, evenly over it, of any real type, shape (B, ny, nx).
    given
        True where pixels are known to be bad, shape (ny, nx).
    """
    some = patterns[:: max(len(patterns) // JUDGED, 1)]
    marked = marked_pixels(some)
    units = estimate_units(some, marked if given is None else marked | given)
    bad = find_bad_pixels(some, marked, given=given, gain=units.gain, zero=units.zero)
    if units.plain and patterns.dtype.kind in "biu" and not bad.mask.any():
        return None
    return Detector(bad.mask, units, (*bad.in_words(), *units.in_words()))
