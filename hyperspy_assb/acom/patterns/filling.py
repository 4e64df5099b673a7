"""Pixels that are left out of every pattern, filled from what lies about them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

_WAYS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_GOLDEN = 0.6180339887498949


def neighbours_across(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """The nearest pixels in eight directions that are not left out, and how much each counts.

    Weights fall with the square of the distance: a gap is bridged from either side, a single pixel is the mean of its
    neighbours.

    Parameters
    ----------
    mask
        True where pixels are left out, shape (ny, nx).

    Returns
    -------
    pixels, sources, weights
        Places of the M pixels in the flat pattern, shape (M,); of what they are filled from, -1 where there is nothing,
        shape (M, 8); and weights that add up to 1, or are all 0, shape (M, 8).
    """
    ny, nx = mask.shape
    rows, columns = np.nonzero(mask)
    sources = np.full((len(rows), len(_WAYS)), -1, dtype=np.int64)
    weights = np.zeros(sources.shape)
    for k, (v, u) in enumerate(_WAYS):
        looking = np.arange(len(rows))
        for step in range(1, max(ny, nx)):
            y, x = rows[looking] + step * v, columns[looking] + step * u
            inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
            looking, y, x = looking[inside], y[inside], x[inside]
            if not len(looking):
                break
            found = ~mask[y, x]
            sources[looking[found], k] = y[found] * nx + x[found]
            weights[looking[found], k] = 1.0 / (step * step * (v * v + u * u))
            looking = looking[~found]
    total = weights.sum(axis=1, keepdims=True)
    return rows * nx + columns, sources, np.divide(weights, total, out=weights, where=total > 0.0)


class PixelFiller:
    """Fills the pixels of a mask in patterns of one shape.

    Whole counts are filled with whole counts: the mean is rounded up or down at random, by a number that is drawn from
    the counts themselves, so that a pattern is filled alike wherever it stands in a scan, and few counts do not become
    none.

    Parameters
    ----------
    mask
        True where pixels are left out, shape (ny, nx).
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask
        self._pixels, self._sources, self._weights = neighbours_across(mask)

    def fill(self, patterns: NDArray[Any], *, quantum: float = 0.0) -> NDArray[Any]:
        """Filled copies of patterns of shape (B, ny, nx).

        Parameters
        ----------
        patterns
            Of any real type.
        quantum
            Step of counts of patterns in floating point; 0: what is filled is not rounded.
        """
        filled = patterns.reshape(len(patterns), -1).copy()
        whole = filled.dtype.kind in "iu"
        step = 1.0 if whole else float(quantum)

        def work(begin: int, end: int) -> None:
            part = filled[begin:end]
            values = np.empty((end - begin, len(self._pixels)))
            _means(part, self._pixels, self._sources, self._weights, step, values)
            part[:, self._pixels] = values

        in_threads(work, len(filled), None)
        return filled.reshape(patterns.shape)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _means(
    patterns: NDArray[Any],
    pixels: NDArray[np.int64],
    sources: NDArray[np.int64],
    weights: FloatArray,
    step: float,
    out: FloatArray,
) -> None:
    """What each of the pixels is filled with, into `out` (B, M)."""
    for b in range(len(patterns)):
        for m in range(len(pixels)):
            total, mixed = 0.0, 0.0
            for k in range(sources.shape[1]):
                if sources[m, k] >= 0:
                    value = float(patterns[b, sources[m, k]])
                    total += weights[m, k] * value
                    mixed += (k + 1) * value
            if step > 0.0:
                part = total / step
                chance = (mixed / step + pixels[m]) * _GOLDEN
                total = step * np.floor(part + (chance - np.floor(chance)))
            out[b, m] = total
