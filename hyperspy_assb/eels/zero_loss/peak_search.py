"""Where the zero-loss peak is, to within its own width, in spectra that nobody aligned."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.solver import detector as solver_detector

FloatArray = NDArray[np.float64]

SEARCH_RANGE = (-25.0, 25.0)
"""Energies in eV between which the zero-loss peak is sought: axes that nobody calibrated are off by 10 eV and more."""
FWHM_OF_SIGMA = 2.3548200450309493
"""Full width at half maximum of a Gaussian over its standard deviation."""
# A peak of sigma 0.5 channel holds 4.4 times the counts of the next channel; more than 5 times is an X-ray.
_SPIKE_RATIO = 5.0
# The same for two neighbouring channels: at sigma 0.5 channel, 21 times.
_PAIR_RATIO = 25.0
# Counts (over the gain) that the smoothing collects, so that the maximum stands out of the noise.
_WANTED_COUNTS = 300.0
# A peak at lower energy than the tallest one is the zero-loss peak if it has at least this share of its height.
_SHARE_OF_TALLEST = 0.25
# In standard deviations.
_SIGNIFICANCE = 5.0
# Spectra that tell the noise well enough for a search; so few are not taken for a map, and cost little.
_NOISE_SPECTRA = 20


@numba.njit(cache=True)
def _remove_spikes(counts: FloatArray, floor: float) -> FloatArray:
    """Counts without lone channels, or lone pairs, that tower above their neighbours."""
    n = counts.size
    out = counts.copy()
    for k in range(n):
        left = counts[k - 1] if k > 0 else counts[k + 1]
        right = counts[k + 1] if k < n - 1 else counts[k - 1]
        if counts[k] > _SPIKE_RATIO * max(left, right, 0.0) + floor:
            out[k] = 0.5 * (left + right)
    for k in range(1, n - 2):
        outer = max(out[k - 1], out[k + 2], 0.0)
        if 0.5 * (out[k] + out[k + 1]) > _PAIR_RATIO * outer + floor and min(out[k], out[k + 1]) > outer:
            out[k] = out[k - 1]
            out[k + 1] = out[k + 2]
    return out


@numba.njit(cache=True)
def _box(counts: FloatArray, half: int) -> FloatArray:
    """Running mean over 2 half + 1 channels; the outermost channels repeat at the ends."""
    n = counts.size
    out = np.empty(n)
    total = counts[0] * half
    for k in range(half + 1):
        total += counts[min(k, n - 1)]
    for k in range(n):
        out[k] = total / (2 * half + 1)
        total += counts[min(k + half + 1, n - 1)] - counts[max(k - half, 0)]
    return out


@numba.njit(cache=True)
def _half_height(smooth: FloatArray, peak: int, step: int) -> float:
    """Distance in channels from a peak to half its height, towards one side; -1 if it is not reached."""
    half = 0.5 * smooth[peak]
    k = peak
    while 0 <= k + step < smooth.size:
        if smooth[k + step] <= half:
            drop = smooth[k] - smooth[k + step]
            return abs(k - peak) + ((smooth[k] - half) / drop if drop > 0 else 0.5)
        k += step
    return -1.0


@numba.njit(cache=True)
def _search_pixel(
    counts: FloatArray, first: int, last: int, gain: float, read: float, half: int, share: float
) -> tuple[int, float]:
    """Channel of the zero-loss peak (-1: none) and its full width at half maximum in channels."""
    clean = _remove_spikes(counts, 3.0 * gain + 5.0 * np.sqrt(read))
    smooth = clean
    while True:
        smooth = _box(clean, half)
        peak = first + int(np.argmax(smooth[first:last]))
        collected = smooth[peak] * (2 * half + 1)
        # So many electrons, or a peak as clear against the read noise as so many electrons are by themselves.
        clear = collected**2 >= _WANTED_COUNTS * (gain * max(collected, 0.0) + read * (2 * half + 1))
        if clear or half > (last - first) // 16:
            break
        half = 1 if half == 0 else int(np.ceil(1.6 * half))
    size = 2 * half + 1
    tallest = smooth[peak]
    if tallest <= 0:
        return -1, 0.0
    # The zero-loss peak is the first peak, not the tallest: in thick parts a plasmon may be taller.
    valley = tallest
    candidate = peak
    for k in range(peak - 1, first, -1):
        valley = min(valley, smooth[k])
        height = smooth[k]
        if (
            height >= share * tallest
            and height > smooth[k - 1]
            and height >= smooth[k + 1]
            and valley < 0.5 * height
            and (height - valley) * size > _SIGNIFICANCE * np.sqrt((gain * height + read) * size)
            and (candidate == peak or height > smooth[candidate])
        ):
            candidate = k
    peak = candidate
    left = _half_height(smooth, peak, -1)
    right = _half_height(smooth, peak, 1)
    if left < 0 or right < 0:
        return -1, 0.0
    base = smooth[peak]
    for k in range(max(first - size, 0), peak):
        base = min(base, smooth[k])
    if (smooth[peak] - base) * size < _SIGNIFICANCE * np.sqrt((gain * smooth[peak] + read) * size):
        return -1, 0.0
    # A plasmon on the loss side must not widen the first guess.
    width = left + min(right, 2.0 * left)
    # 5.545 is (FWHM / sigma)^2; the variance of a box of n channels is (n^2 - 1) / 12.
    return peak, np.sqrt(max(width**2 - 5.545 * (size**2 - 1) / 12.0, 1.5))


@numba.njit(cache=True)
def _search_all(
    counts: FloatArray, first: int, last: int, gain: float, read: float, half: int, share: float
) -> tuple[NDArray[np.int64], FloatArray]:
    peak = np.empty(counts.shape[0], dtype=np.int64)
    width = np.empty(counts.shape[0])
    for i in range(counts.shape[0]):
        peak[i], width[i] = _search_pixel(counts[i], first, last, gain, read, half, share)
    return peak, width


@numba.njit(cache=True)
def find_spikes(counts: FloatArray, gain: float, read: float) -> NDArray[np.bool_]:
    """Channels that are X-rays: lone ones, or lone pairs, that tower above their neighbours.

    Parameters
    ----------
    counts
        Recorded counts, shape (P, E).
    gain, read
        Counts per electron, and variance of a channel without electrons in counts squared.

    Returns
    -------
    NDArray[np.bool_]
        Shape (P, E): True where a channel is not to be believed.
    """
    out = np.empty(counts.shape, dtype=np.bool_)
    for i in range(counts.shape[0]):
        out[i] = _remove_spikes(counts[i], 3.0 * gain + 5.0 * np.sqrt(read)) != counts[i]
    return out


def search(counts: FloatArray, first: int, last: int, gain: float, read: float) -> tuple[NDArray[np.int64], FloatArray]:
    """Find the zero-loss peak of each spectrum.

    Parameters
    ----------
    counts
        Recorded counts, shape (P, E).
    first, last
        Channels between which the peak is sought, the last excluded.
    gain, read
        Counts per electron, and variance of a channel without electrons in counts squared.

    Returns
    -------
    peak, width
        Channel of the maximum, shape (P,), -1 where there is no peak, and full width at half maximum in channels.
    """
    peak, width = _search_all(counts, first, last, gain, read, 0, _SHARE_OF_TALLEST)
    found = peak >= 0
    if found.sum() < 3:
        return peak, width
    # The width of the zero-loss peak hardly changes over an image: what is far narrower is a shower of X-rays.
    usual = float(np.median(width[found]))
    doubtful = np.flatnonzero(found & (width < 0.5 * usual))
    if doubtful.size:
        half = max(int(0.5 * usual), 1)
        peak[doubtful], width[doubtful] = _search_all(counts[doubtful], first, last, gain, read, half, 2.0)
    return peak, width


def estimate_noise(counts: FloatArray) -> tuple[float, float]:
    """Estimate the noise from neighbouring channels, roughly.

    Parameters
    ----------
    counts
        Recorded counts, shape (P, E).

    Returns
    -------
    gain, read_variance
        Counts per electron, at most what makes 500 electrons of the fullest pixel; and the variance of a channel
        without electrons, in counts squared.
    """
    few = counts[:: max(counts.shape[0] // _NOISE_SPECTRA, 1)][:_NOISE_SPECTRA]
    total = float(np.maximum(few.sum(axis=1), 0).max(initial=0.0))
    if total <= 0:
        return 1.0, 0.0
    try:
        found = solver_detector.estimate_noise(few).detector
    except ValueError:
        return total / 500, 0.0
    return float(np.clip(found.gain, 1e-9 * total, total / 500)), found.read_noise**2
