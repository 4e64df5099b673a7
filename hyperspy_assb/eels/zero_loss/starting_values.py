"""Area and width of the zero-loss peak before it is fitted, and spectra aligned by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_AREA_WIDTHS = 1.5
"""Full widths on either side within which counts are those of the zero-loss peak."""
_LEAST_THICKNESS = 1e-3
"""t/λ that a fit starts from where there seems to be less."""


@dataclass(frozen=True)
class ZeroLossStart:
    """What is known of the zero-loss peak before a fit.

    Parameters
    ----------
    intensity
        Area in counts, shape (S,).
    centre
        Position in eV, shape (S,).
    fwhm
        Full width at half maximum in eV, of the typical spectrum.
    t_over_lambda
        Logarithm of all counts over those of the zero-loss peak, shape (S,).
    """

    intensity: FloatArray
    centre: FloatArray
    fwhm: float
    t_over_lambda: FloatArray


def start_zero_loss(
    counts: ArrayLike, energy: FloatArray, centre: FloatArray, *, level: float = 0.0, fwhm: float | None = None
) -> ZeroLossStart:
    """Area and width of the zero-loss peak, from its position.

    Parameters
    ----------
    counts
        Shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    centre
        Position of the peak in eV, shape (S,).
    level
        Dark level in counts per channel.
    fwhm
        Width of the peak in eV, where other spectra have told it; None: that of the sum of these.

    Returns
    -------
    start
        Spectra without a usable position get values that are not finite.
    """
    counts = np.asarray(counts, dtype=float) - level
    scale = energy[1] - energy[0]
    if fwhm is None:
        fwhm = _width(sum_aligned(counts, centre, energy), energy, float(np.nanmedian(centre)))
    offset = energy - centre[:, np.newaxis]
    inside = np.abs(offset) < _AREA_WIDTHS * fwhm
    intensity = np.sum(np.where(inside, counts, 0.0), axis=1)
    total = np.sum(np.where(offset > -_AREA_WIDTHS * fwhm - scale, counts, 0.0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(total / intensity)
    bad = ~np.isfinite(centre) | (intensity <= 0)
    return ZeroLossStart(
        intensity=np.where(bad, np.nan, intensity),
        centre=np.where(bad, np.nan, centre),
        fwhm=fwhm,
        t_over_lambda=np.where(bad, np.nan, np.maximum(ratio, _LEAST_THICKNESS)),
    )


def _width(counts: FloatArray, energy: FloatArray, centre: float) -> float:
    """Full width at half maximum of the peak nearest to ``centre``, by linear interpolation of its flanks."""
    scale = energy[1] - energy[0]
    nearest = int(np.clip(np.searchsorted(energy, centre), 2, energy.size - 3))
    peak = nearest - 2 + int(np.argmax(counts[nearest - 2 : nearest + 3]))
    half = counts[peak] / 2.0
    sides = []
    for direction in (-1, 1):
        i = peak
        while 0 < i < energy.size - 1 and counts[i] > half:
            i += direction
        drop = counts[i - direction] - counts[i]
        sides.append(abs(i - peak) - 1 + ((counts[i - direction] - half) / drop if drop > 0 else 0.5))
    return float(max(sum(sides), 1.0) * scale)


def sum_aligned(counts: ArrayLike, centre: ArrayLike, energy: FloatArray) -> FloatArray:
    """Sum spectra after shifting each by whole channels, so that the noise of channels stays independent.

    Parameters
    ----------
    counts
        Shape (S, E).
    centre
        Zero-loss position of each in eV, shape (S,); spectra whose position is not finite are left out.
    energy
        Centres of the channels in eV, shape (E,).

    Returns
    -------
    total
        Counts with the zero-loss peak within half a channel of the median position, shape (E,). Channels that a shift
        leaves empty in some spectra are scaled up for them.
    """
    counts, centre = np.asarray(counts), np.asarray(centre, dtype=float)
    scale = energy[1] - energy[0]
    good = np.isfinite(centre)
    shifts = np.rint((centre - np.median(centre[good])) / scale)
    total, covered = np.zeros(energy.size), np.zeros(energy.size)
    for i in np.flatnonzero(good):
        shift = int(shifts[i])
        if abs(shift) >= energy.size:
            continue
        source = slice(max(shift, 0), energy.size + min(shift, 0))
        target = slice(max(-shift, 0), energy.size - max(shift, 0))
        total[target] += counts[i, source]
        covered[target] += 1.0
    return np.where(covered > 0, total / np.maximum(covered, 1.0), 0.0) * good.sum()
