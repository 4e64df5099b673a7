"""Counts as the compiled loops take them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """Rows of numbers as the compiled loops take them; a copy only where they are not."""
    if values.dtype.kind not in "iuf" or values.dtype.itemsize not in (4, 8) or not values.dtype.isnative:
        values = values.astype(np.float64)
    return np.ascontiguousarray(values)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _load_run(counts: NDArray[np.generic], scale: float, shift: float, y: FloatArray) -> tuple[float, float]:
    total, size = 0.0, 0.0
    for k in range(y.size):
        value = counts[k] * scale
        total += value
        size += abs(value)
        y[k] = value + shift
    return total, size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def load(
    counts: NDArray[np.generic], keep: NDArray[np.int64], scale: float, shift: float, y: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Scale and shift the counts of the channels ``keep``; returns their sums, and whether there is something to fit.

    Nothing is to be fitted where a count is not finite, and where all are 0.
    """
    total, good = np.zeros(len(counts)), np.zeros(len(counts), dtype=np.bool_)
    for i in range(len(counts)):
        size, k = 0.0, 0
        while k < keep.size:
            # Runs of neighbouring channels are copied at once.
            stop = k + 1
            if keep[keep.size - 1] - keep[k] == keep.size - 1 - k:
                stop = keep.size
            first = keep[k]
            part, magnitude = _load_run(counts[i, first : first + stop - k], scale, shift, y[i, k:stop])
            total[i] += part
            size += magnitude
            k = stop
        good[i] = np.isfinite(size) and size > 0.0
    return total, good
