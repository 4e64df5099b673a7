"""Starting values for a fit of low-loss spectra, found from the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, signal

from hyperspy_assb.eels.lineshapes import ZERO_LOSS_PEAK
from hyperspy_assb.fitting.forward import SpectrumModel
from hyperspy_assb.fitting.kernels import FloatArray
from hyperspy_assb.fitting.solvers import Detector


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
        Counts with the zero loss within half a channel of the median position, shape (E,). Channels that a shift
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
        Width of the zero loss in eV.

    Returns
    -------
    detector, dark_level
        Gain, read noise, and the mean of the channels far before the zero loss, in counts per channel (0 where there
        are fewer than 8).
    """
    counts = np.asarray(counts, dtype=float)
    mean = (counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:]) / 3.0
    variance = np.diff(counts, n=2, axis=1) ** 2 / 6.0
    offset = energy[1:-1] - np.asarray(centre)[:, np.newaxis]
    smooth = (np.abs(offset) > 4.0 * fwhm) & np.isfinite(offset)
    dark = smooth & (offset < -10.0 * fwhm)
    level = float(np.median(counts[:, 1:-1][dark])) if dark.sum() >= 8 * len(counts) else 0.0
    if smooth.sum() < 50:
        return Detector(), level
    electrons, scatter = np.maximum(mean[smooth] - level, 0.0), variance[smooth]
    order = np.argsort(electrons, kind="stable")
    groups = np.array_split(order, min(50, order.size // 25))
    x = np.array([electrons[g].mean() for g in groups])
    # The median of a squared normal deviate is 0.4549 of its mean, and knows nothing of X-ray spikes.
    robust = np.array(
        [np.median(scatter[g]) / 0.4549 if np.median(scatter[g]) > 0 else scatter[g].mean() for g in groups]
    )
    weight = 1.0 / np.maximum(robust, 1e-3 * robust.max() + 1e-12)
    slope, intercept = np.polyfit(x, robust, 1, w=weight)
    gain = float(np.clip(slope, 1e-3, None)) if slope > 0 else 1.0
    return Detector(gain=gain, read_noise=float(np.sqrt(max(intercept, 0.0)))), level


@dataclass(frozen=True)
class ZeroLossStart:
    """What is known of the zero loss before a fit.

    Parameters
    ----------
    intensity
        Area in counts, shape (S,).
    centre
        Position in eV, shape (S,).
    fwhm
        Full width at half maximum in eV, of the typical spectrum.
    t_over_lambda
        Logarithm of all counts over those of the zero loss, shape (S,).
    """

    intensity: FloatArray
    centre: FloatArray
    fwhm: float
    t_over_lambda: FloatArray


def start_zero_loss(counts: ArrayLike, energy: FloatArray, centre: FloatArray, *, level: float = 0.0) -> ZeroLossStart:
    """Area and width of the zero loss, from its position.

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

    Returns
    -------
    start
        Spectra without a usable position get values that are not finite.
    """
    counts = np.asarray(counts, dtype=float) - level
    scale = energy[1] - energy[0]
    fwhm = _width(sum_aligned(counts, centre, energy), energy, float(np.nanmedian(centre)))
    offset = energy - centre[:, np.newaxis]
    inside = np.abs(offset) < 1.5 * fwhm
    intensity = np.sum(np.where(inside, counts, 0.0), axis=1)
    total = np.sum(np.where(offset > -1.5 * fwhm - scale, counts, 0.0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(total / intensity)
    bad = ~np.isfinite(centre) | (intensity <= 0)
    return ZeroLossStart(
        intensity=np.where(bad, np.nan, intensity),
        centre=np.where(bad, np.nan, centre),
        fwhm=fwhm,
        t_over_lambda=np.where(bad, np.nan, np.maximum(ratio, 1e-3)),
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


def single_scattering(counts: FloatArray, energy: FloatArray, zero_loss: FloatArray) -> FloatArray:
    """Single-scattering distribution by Fourier-log deconvolution, smoothed to the width of the zero loss.

    Parameters
    ----------
    counts
        One spectrum, shape (E,).
    energy
        Centres of the channels in eV, shape (E,).
    zero_loss
        Its zero-loss peak in counts per channel, shape (E,).

    Returns
    -------
    distribution
        Probability per channel for losses of 0, 1, 2 ... channels, shape (E,).

    Notes
    -----
    Johnson and Spence, J. Phys. D 7, 771 (1974).
    """
    length = fft.next_fast_len(2 * energy.size, real=True)
    spectrum, source = fft.rfft(np.asarray(counts, dtype=float), length), fft.rfft(zero_loss, length)
    strength = np.abs(source) / np.abs(source[0])
    usable = strength > 1e-2
    logarithm = np.zeros(spectrum.size, dtype=complex)
    logarithm[usable] = np.log(spectrum[usable] / source[usable])
    return fft.irfft(logarithm * np.where(usable, strength, 0.0), length)[: energy.size]


def start_plasmon(
    distribution: FloatArray, loss: FloatArray, fwhm: float, *, start: float
) -> tuple[float, float] | None:
    """Energy and width of the most prominent maximum of a single-scattering distribution.

    Parameters
    ----------
    distribution
        As from :func:`single_scattering`, shape (E,).
    loss
        Energy losses in eV, shape (E,).
    fwhm
        Width of the zero loss in eV, by which the distribution is smoothed again.
    start
        Energy loss in eV from which the maximum is sought.

    Returns
    -------
    energy, width
        In eV, the width without what smoothing adds to it; None where there is no maximum.
    """
    step = loss[1] - loss[0]
    first = int(np.searchsorted(loss, start))
    smooth = ndimage.gaussian_filter1d(distribution, fwhm / step / np.sqrt(8.0 * np.log(2.0)))[first:]
    peaks, found = signal.find_peaks(smooth, prominence=0.0, width=0.0)
    if not peaks.size:
        return None
    top = int(np.argmax(found["prominences"]))
    # The zero loss widens it twice: as a window of the deconvolution, and here.
    width = np.sqrt(max((found["widths"][top] * step) ** 2 - 2.0 * fwhm**2, (0.3 * fwhm) ** 2))
    return float(loss[first + peaks[top]]), float(max(width, step))


def start_scattering(
    model: SpectrumModel,
    linear: NDArray[np.bool_],
    parameters: FloatArray,
    distribution: FloatArray,
    *,
    start: float,
    stop: float,
) -> FloatArray:
    """Linear scattering parameters that describe a single-scattering distribution, by least squares.

    Parameters
    ----------
    model
        The forward model.
    linear
        Which parameters are wanted, shape (P,).
    parameters
        All parameters, shape (P,).
    distribution
        Probability per channel, shape (E,), as from :func:`single_scattering`.
    start, stop
        Range of energy losses to describe, in eV.

    Returns
    -------
    parameters
        With the wanted ones replaced, shape (P,).
    """
    wanted = np.flatnonzero(linear)
    if not wanted.size:
        return parameters.copy()
    columns = np.empty((wanted.size, model.energy.size))
    for term, where in zip(model.terms, model.slices, strict=True):
        gradients = term.shape.evaluate(model.loss, parameters[where], term.constants)[1] * model.scale
        for row in np.flatnonzero((wanted >= where.start) & (wanted < where.stop)):
            columns[row] = gradients[wanted[row] - where.start]
    inside = (model.loss >= start) & (model.loss <= stop)
    weight = 1.0 / np.sqrt(np.maximum(distribution, 0.0) + 1e-3 * np.max(distribution))
    size = np.maximum(np.linalg.norm(columns[:, inside] * weight[inside], axis=1), 1e-300)
    design = (columns[:, inside] * weight[inside] / size[:, np.newaxis]).T
    solution = np.linalg.lstsq(design, (distribution * weight)[inside], rcond=1e-8)[0]
    out = parameters.copy()
    out[wanted] = solution / size
    return out


def zero_loss_channels(energy: FloatArray, values: FloatArray) -> FloatArray:
    """Zero-loss peak in counts per channel, shape (E,), for given parameters, shape (5,)."""
    return ZERO_LOSS_PEAK.evaluate(energy, values)[0] * (energy[1] - energy[0])
