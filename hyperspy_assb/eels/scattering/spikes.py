"""Channels that X-rays or defects of the camera have struck."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter, minimum_filter1d

from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

HALF_WINDOW = 5
"""Channels to each side that tell what is expected: twice as wide as a hit with the charge that it spills."""
JITTER = 5
"""Channels by which spectra may be shifted against each other."""
NEAR_ZERO_LOSS = 3.0
"""Widths of the zero-loss peak about it in which nothing is sought: it is as narrow as a hit."""
SIGNIFICANT = 7.0
"""Standard errors above what is expected: once in a map of 1e9 channels by chance."""
LEAST_EXCESS = 0.08
"""Of what is expected; below, shapes that differ from pixel to pixel look alike, and a hit does little."""


def contrast(counts: FloatArray, detector: Detector) -> FloatArray:
    """How far each channel usually stands out from its neighbours, in spectra of one phase.

    Parameters
    ----------
    counts
        As recorded, shape (S, E).
    detector
        Gain and read noise.

    Returns
    -------
    contrast
        Over the median of its neighbours, at least 1, shape (E,).
    """
    return np.maximum(np.median(counts / _floor(counts, detector), axis=0), 1.0)


def fill_spikes(
    counts: NDArray[np.generic], usual: FloatArray, fwhm: float, detector: Detector
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Spectra whose spikes are filled with what their neighbours have, and which spectra had any.

    Parameters
    ----------
    counts
        As recorded, shape (S, E). They are not changed.
    usual
        How far channels stand out that are not struck; see :func:`contrast`, shape (E,).
    fwhm
        Of the zero-loss peak, in channels.
    detector
        Gain and read noise.

    Returns
    -------
    filled, struck
        Shapes (S, E) and (S,); the counts themselves where there is no spike. Filled channels carry no noise: a few of
        a thousand, which the errors do not feel.
    """
    own = np.ascontiguousarray(counts, dtype=float)
    struck = np.zeros(len(own), dtype=bool)
    if not len(own) or own.shape[1] < 4 * HALF_WINDOW:
        return counts, struck
    usual = maximum_filter1d(usual, 2 * JITTER + 1)
    # The median of all is slow, and hardly any spectrum has a spike.
    noise = (detector.gain, detector.read_noise**2)
    suspect = np.flatnonzero(_may_have_spikes(own, usual, NEAR_ZERO_LOSS * fwhm + JITTER, *noise))
    if not suspect.size:
        return counts, struck
    finite = np.where(np.isfinite(own[suspect]), own[suspect], 0.0)
    expected = _floor(finite, detector) * usual
    error = np.sqrt(detector.gain * expected + detector.read_noise**2)
    spikes = finite - expected > np.maximum(SIGNIFICANT * error, LEAST_EXCESS * expected)
    # The zero loss is wider than a hit, and so survives the minimum of its neighbours.
    peak = np.argmax(minimum_filter1d(finite, HALF_WINDOW, axis=1), axis=1)
    channel = np.arange(own.shape[1])
    spikes &= np.abs(channel - peak[:, np.newaxis]) > NEAR_ZERO_LOSS * fwhm + JITTER
    struck[suspect] = spikes.any(axis=1)
    if not struck.any():
        return counts, struck
    filled = own.copy()
    for row in np.flatnonzero(struck[suspect]):
        # The charge of a hit spills into its neighbours.
        near = spikes[row] | np.roll(spikes[row], 1) | np.roll(spikes[row], -1)
        filled[suspect[row], near] = np.interp(channel[near], channel[~near], finite[row, ~near])
    return filled, struck


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _may_have_spikes(
    counts: FloatArray, usual: FloatArray, near: float, gain: float, read_variance: float
) -> NDArray[np.bool_]:  # pragma: no cover - compiled
    """Which spectra may have a spike: all that have one, and few others.

    The median of an odd number of neighbours is at least the smallest of the larger half of them, and so of any
    stretch of as many. The largest of these minima takes the place of the median.
    """
    size, half = counts.shape[1], HALF_WINDOW
    found = np.zeros(len(counts), dtype=np.bool_)
    padded, least = np.empty(size + 2 * half), np.empty(size + half)
    for s in range(len(counts)):
        for e in range(size):
            value = counts[s, e]
            padded[half + e] = value if np.isfinite(value) else 0.0
        padded[:half] = padded[half]
        padded[half + size :] = padded[half + size - 1]
        least[:] = padded[: size + half]
        for k in range(1, half + 1):
            for e in range(size + half):
                least[e] = min(least[e], padded[e + k])
        peak, top = 0, -np.inf
        for e in range(size):
            low = padded[half + e]
            for k in range(max(e - half // 2, 0), min(e + half // 2 + 1, size)):
                low = min(low, padded[half + k])
            if low > top:
                peak, top = e, low
        for e in range(size):
            middle = least[e]
            for k in range(1, half + 1):
                middle = max(middle, least[e + k])
            expected = max(middle, max(gain, 1e-300)) * usual[e]
            excess = padded[half + e] - expected
            large = excess > LEAST_EXCESS * expected and excess**2 > SIGNIFICANT**2 * (gain * expected + read_variance)
            if large and abs(e - peak) > near:
                found[s] = True
                break
    return found


def _floor(counts: FloatArray, detector: Detector) -> FloatArray:
    """Medians of the neighbours, at least one electron."""
    return np.maximum(median_filter(counts, size=(1, 2 * HALF_WINDOW + 1), mode="nearest"), max(detector.gain, 1e-300))
