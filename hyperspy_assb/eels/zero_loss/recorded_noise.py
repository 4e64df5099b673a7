"""Gain, read noise and dark level that low-loss spectra tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.zero_loss.position import find_centre
from hyperspy_assb.fitting.solver.spectra_fit import Detector

FloatArray = NDArray[np.float64]

SMOOTH, FAR, FEWEST_DARK = 4.0, 10.0, 8
"""Full widths from the zero-loss peak beyond which spectra are smooth, and before it beyond which there are no
electrons; channels that tell the dark level."""
_SAMPLE = 300
"""Spectra that tell gain and read noise."""
_FEWEST_SMOOTH = 50
"""Smooth channels, of all spectra together, without which nothing is told."""
_GROUP, _MOST_GROUPS = 25, 50
"""Channels of like counts whose scatter is taken together, at least, and the most of such groups."""
_MEDIAN_OF_SQUARE = 0.4549
"""Median of the square of a standard normal deviate, whose mean is 1."""


def estimate_detector(counts: ArrayLike, energy: FloatArray, centre: ArrayLike, fwhm: float) -> tuple[Detector, float]:
    """Gain, read noise and dark level, from the scatter of neighbouring channels.

    Second differences of smooth stretches of the spectra have six times the variance of a channel; against the mean it
    is a straight line whose slope is the gain and whose intercept is the variance of the read noise. A detector whose
    point spread correlates neighbours looks quieter than it is.

    Parameters
    ----------
    counts
        Shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    centre
        Zero-loss position in eV, shape (S,).
    fwhm
        Width of the zero-loss peak in eV.

    Returns
    -------
    detector, dark_level
        Gain, read noise, and the mean of the channels far before the zero-loss peak, in counts per channel (0 where
        there are fewer than 8).
    """
    counts = np.asarray(counts, dtype=float)
    mean = (counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:]) / 3.0
    variance = np.diff(counts, n=2, axis=1) ** 2 / 6.0
    offset = energy[1:-1] - np.asarray(centre)[:, np.newaxis]
    smooth = (np.abs(offset) > SMOOTH * fwhm) & np.isfinite(offset)
    dark = smooth & (offset < -FAR * fwhm)
    level = float(np.median(counts[:, 1:-1][dark])) if dark.sum() >= FEWEST_DARK * len(counts) else 0.0
    if smooth.sum() < _FEWEST_SMOOTH:
        return Detector(), level
    electrons, scatter = np.maximum(mean[smooth] - level, 0.0), variance[smooth]
    order = np.argsort(electrons, kind="stable")
    groups = np.array_split(order, min(_MOST_GROUPS, order.size // _GROUP))
    x = np.array([electrons[g].mean() for g in groups])
    # The median knows nothing of X-ray spikes.
    robust = np.array(
        [np.median(scatter[g]) / _MEDIAN_OF_SQUARE if np.median(scatter[g]) > 0 else scatter[g].mean() for g in groups]
    )
    weight = 1.0 / np.maximum(robust, 1e-3 * robust.max() + 1e-12)
    slope, intercept = np.polyfit(x, robust, 1, w=weight)
    gain = float(np.clip(slope, 1e-3, None)) if slope > 0 else 1.0
    return Detector(gain=gain, read_noise=float(np.sqrt(max(intercept, 0.0)))), level


def detector_of(spectra: LowLossMap, fwhm: float) -> Detector:
    """Gain and read noise as they were recorded, or as the spectra tell them where nobody measured them.

    Parameters
    ----------
    spectra
        Low-loss spectra.
    fwhm
        Width of the zero-loss peak in eV.
    """
    if spectra.detector is not None:
        return spectra.detector
    count = len(spectra.counts)
    some = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int))
    counts = np.asarray(spectra.counts[some])
    counts = counts[np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)]
    if not len(counts):
        return Detector()
    centre = find_centre(counts, spectra.energy).centre
    return estimate_detector(counts, spectra.energy, centre, fwhm)[0]
