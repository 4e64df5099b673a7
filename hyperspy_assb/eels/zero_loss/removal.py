"""Spectra without their zero-loss peak, with the variance that its removal leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import uniform_filter1d

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.zero_loss import tail
from hyperspy_assb.eels.zero_loss.peak_shape import PeakShape
from hyperspy_assb.eels.zero_loss.position import ZeroLossEstimate, ZeroLossStatus, estimate_centre, find_centre
from hyperspy_assb.eels.zero_loss.recorded_noise import low_loss_noise
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector

FloatArray = NDArray[np.float64]
RemovalMethod = Literal["fit", "mirror", "reference"]
METHODS: tuple[RemovalMethod, ...] = ("fit", "mirror", "reference")

# Interpolation by four points: neighbours up to three channels apart share counts.
_BANDS = 3
_ALLOWED, _SEEN = 2.5, 1.0
"""Standard errors by which a tail may lie above what was recorded; and of a channel, by which it is lowered visibly."""
_KNOWN, _LENGTHS, _LONGEST = 0.05, (3, 7, 15), 15
"""Relative error to which what was recorded must be known, and the numbers of channels that are averaged for it."""
_NOISE_SPECTRA = 256
"""Spectra that tell the noise."""


@dataclass(frozen=True)
class ZeroLossRemoval:
    """Spectra without the zero-loss peak.

    Parameters
    ----------
    spectrum
        Counts minus the zero-loss peak, shape (..., E); NaN in pixels without a zero-loss peak.
    variance
        Its variance, shape (..., E): counting noise, and the error of what was subtracted.
    covariance
        Covariance of each channel with those one, two and three channels higher, shape (..., 3, E), from the
        interpolation of the mirrored tail; the part that the error of a fit or of a reference shares between channels
        is not in it. Zero for the other methods.
    estimate
        Positions, widths and status of the peaks.
    lowered
        Whether the tail lay above what was recorded, and was lowered to it, shape (...): the losses there are then only
        known to be few.
    """

    spectrum: FloatArray
    variance: FloatArray
    covariance: FloatArray
    estimate: ZeroLossEstimate
    lowered: NDArray[np.bool_]


def remove_zero_loss(
    counts: ArrayLike,
    energy: ArrayLike,
    *,
    method: RemovalMethod = "fit",
    reference: ArrayLike | None = None,
    reference_energy: ArrayLike | None = None,
    detector: Detector | None = None,
    shape: PeakShape | None = None,
) -> ZeroLossRemoval:
    """Subtract the zero-loss peak from every spectrum.

    Parameters
    ----------
    counts
        Recorded counts, shape (..., E).
    energy
        Centres of the channels in eV, shape (E,), uniform and increasing.
    method
        ``"fit"``: an asymmetric pseudo-Voigt peak fitted to the gain side and to 1.5 full widths of the loss side,
        and extrapolated. ``"mirror"``: the gain side, reflected at the centre; channels below the centre become 0, and
        beyond the reflection of the first channel nothing is subtracted. ``"reference"``: a spectrum recorded in
        vacuum, shifted and scaled to each pixel.
    reference
        The vacuum spectrum, shape (R,), for ``"reference"``.
    reference_energy
        Its channels in eV, shape (R,), as wide as those of `energy`; None: those of `energy`.
    detector
        Gain and read noise; None: as the spectra tell, see ``recorded_noise.low_loss_noise``.
    shape
        Shape of the peak from an earlier call of ``estimate_centre``; None: estimated.

    Returns
    -------
    ZeroLossRemoval
        Spectra of shape (..., E) with their variance.

    Raises
    ------
    ValueError
        If the method is unknown, a reference is missing, not needed or does not fit, or the data cannot be used.

    Notes
    -----
    The three ways differ by more than their variances: which tail is the right one is not known from the spectrum.
    The error of the reference spectrum is the same in all pixels, and does not average out over them.
    """
    check_arguments(method, reference)
    axis = np.asarray(energy, dtype=np.float64)
    if detector is None:
        detector = removal_noise(counts, axis).detector
    read_variance = detector.read_noise**2
    estimate = estimate_centre(counts, axis, gain=detector.gain, read_variance=read_variance, shape=shape)
    leading = np.asarray(counts).shape[:-1]
    data = np.asarray(counts, dtype=np.float64).reshape(-1, axis.size)
    variance = _noise(data, detector.gain, read_variance)
    found = np.flatnonzero(np.isfinite(estimate.centre.reshape(-1)))
    spectrum = np.full(data.shape, np.nan)
    total = np.full(data.shape, np.nan)
    bands = np.zeros((data.shape[0], _BANDS, axis.size))
    pixels = _Pixels(axis, data[found], variance[found], _take(estimate, found), read_variance)
    if method == "fit":
        spectrum[found], total[found] = _remove_by_fit(pixels)
    elif method == "mirror":
        spectrum[found], total[found], bands[found] = _remove_by_mirror(pixels)
    else:
        vacuum = np.asarray(reference, dtype=np.float64)
        vacuum_axis = axis if reference_energy is None else np.asarray(reference_energy, dtype=np.float64)
        spectrum[found], total[found] = _remove_by_reference(pixels, vacuum, vacuum_axis)
    lowered = np.zeros(data.shape[0], dtype=bool)
    spectrum[found], lowered[found] = _keep_to_recorded(pixels, spectrum[found], total[found])
    failed = np.isnan(spectrum[found]).all(axis=1)
    status = estimate.status.reshape(-1).copy()
    status[found[failed]] = ZeroLossStatus.NOT_CONVERGED
    estimate = ZeroLossEstimate(**{**estimate.__dict__, "status": status.reshape(leading)})
    return ZeroLossRemoval(
        spectrum.reshape(*leading, axis.size),
        total.reshape(*leading, axis.size),
        bands.reshape(*leading, _BANDS, axis.size),
        estimate,
        lowered.reshape(leading),
    )


def removal_noise(counts: ArrayLike, energy: FloatArray, claim: Detector | None = None) -> Noise:
    """Noise of spectra whose zero loss is not known yet.

    Parameters
    ----------
    counts
        Recorded counts, shape (..., E).
    energy
        Centres of the channels in eV, shape (E,).
    claim
        Gain and read noise as they were recorded; None where nobody did.
    """
    rows = np.asarray(counts, dtype=np.float64).reshape(-1, energy.size)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _NOISE_SPECTRA)).astype(int))]
    found = find_centre(rows, energy, gain=None)
    width = found.fwhm[np.isfinite(found.fwhm)]
    return low_loss_noise(rows, energy, found.centre, float(np.median(width)) if width.size else 1.0, claim)


def check_arguments(method: str, reference: object) -> None:
    """Check that the method is known, and that there is a reference if and only if it needs one.

    Parameters
    ----------
    method
        One of :data:`METHODS`.
    reference
        The vacuum spectrum, or None.

    Raises
    ------
    ValueError
        If one of the two is wrong.
    """
    if method not in METHODS:
        raise AssbValueError(f"method is {method!r}: it must be one of {', '.join(map(repr, METHODS))}.")
    if (method == "reference") != (reference is not None):
        raise AssbValueError(
            "method='reference' needs reference=, a spectrum recorded in vacuum."
            if reference is None
            else f"reference= is not used by method={method!r}: give method='reference', or leave it out."
        )


@dataclass(frozen=True)
class _Pixels:
    """The pixels that have a zero-loss peak: counts and variance (P, E), the rest (P,)."""

    energy: FloatArray
    counts: FloatArray
    variance: FloatArray
    estimate: ZeroLossEstimate
    read: float

    @property
    def scale(self) -> float:
        return float((self.energy[-1] - self.energy[0]) / (self.energy.size - 1))


def _take(estimate: ZeroLossEstimate, rows: NDArray[np.int64]) -> ZeroLossEstimate:
    arrays = {k: v.reshape(-1)[rows] for k, v in estimate.__dict__.items() if isinstance(v, np.ndarray)}
    return ZeroLossEstimate(**{**estimate.__dict__, **arrays})


def _noise(counts: FloatArray, gain: float, read: float) -> FloatArray:
    """Variance of recorded counts; the expectation is taken from five channels, so that a zero is not certain."""
    return gain * np.maximum(uniform_filter1d(counts, 5, axis=-1, mode="nearest"), 0.2 * gain) + read


def _keep_to_recorded(pixels: _Pixels, spectrum: FloatArray, total: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Lower the tails that lie above what was recorded, and say which.

    A loss is no less than 0: the tail is multiplied by what was recorded, averaged over as many channels as make it
    known to 5 %, over the tail, where that is below 1; beyond what was fitted by the lowest such share so far.
    """
    out, lowered = spectrum.copy(), np.zeros(len(spectrum), dtype=bool)
    loss = pixels.energy - pixels.estimate.centre[:, None]
    for i in np.flatnonzero(np.isfinite(spectrum).all(axis=1)):
        first = int(np.searchsorted(loss[i], 0.0))
        beyond = int(np.searchsorted(loss[i], tail.LOSS_SIDE * pixels.estimate.fwhm[i])) - first
        removed = pixels.counts[i, first:] - spectrum[i, first:]
        if removed.size < 2 or not (removed > 0.0).any():
            continue
        level, error = _running_level(pixels.counts[i, first:], pixels.variance[i, first:])
        own = np.maximum(total[i, first:] - pixels.variance[i, first:], 0.0)
        most = np.maximum(level + _ALLOWED * np.sqrt(error**2 + own), 0.0)
        share = np.clip(most / np.maximum(removed, 1e-300), 0.0, 1.0)
        share[beyond:] = np.minimum.accumulate(share[beyond:])
        share[removed <= 0.0] = 1.0
        if (share < 1.0).any():
            lowered[i] = bool((removed * (1.0 - share) > _SEEN * np.sqrt(pixels.variance[i, first:])).any())
            out[i, first:] = pixels.counts[i, first:] - removed * share
    return out, lowered


def _running_level(counts: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of as few neighbours as tell it to 5 %, and its standard error, shape (E,)."""
    level, error = counts.copy(), np.sqrt(np.maximum(variance, 0.0))
    rough = uniform_filter1d(counts, _LONGEST, mode="nearest")
    spread = uniform_filter1d(variance, _LONGEST, mode="nearest")
    known = (_KNOWN * np.maximum(rough, 0.0)) ** 2
    for size in _LENGTHS:
        longer = spread > 0.5 * size * known
        level[longer] = uniform_filter1d(counts, size, mode="nearest")[longer]
        error[longer] = np.sqrt(uniform_filter1d(variance, size, mode="nearest")[longer] / size)
    return level, error


def _remove_by_fit(pixels: _Pixels) -> tuple[FloatArray, FloatArray]:
    energy, estimate = pixels.energy, pixels.estimate
    spectrum = np.full(pixels.counts.shape, np.nan)
    variance = np.full(pixels.counts.shape, np.nan)
    for i, (centre, fwhm, area) in enumerate(zip(estimate.centre, estimate.fwhm, estimate.intensity, strict=True)):
        use = (energy >= centre - max(tail.GAIN_SIDE * fwhm, 6 * pixels.scale)) & (
            energy <= centre + max(tail.LOSS_SIDE * fwhm, 3 * pixels.scale)
        )
        x = energy - centre
        theta = tail.start(area, fwhm)
        rule = np.polynomial.legendre.leggauss(8 if fwhm < 3 * pixels.scale else 3 if fwhm < 10 * pixels.scale else 1)
        covariance, converged = tail.fit_tail(
            pixels.counts[i, use], x[use], pixels.scale, theta, estimate.gain, pixels.read, rule
        )
        if not converged:
            continue
        values, slopes = tail.evaluate(x, pixels.scale, theta, rule)
        spectrum[i] = pixels.counts[i] - values
        variance[i] = pixels.variance[i] + np.einsum("pe,pq,qe->e", slopes, covariance, slopes)
    return spectrum, variance


def _remove_by_mirror(pixels: _Pixels) -> tuple[FloatArray, FloatArray, FloatArray]:
    size = pixels.energy.size
    centre = (pixels.estimate.centre - pixels.energy[0]) / pixels.scale
    # Channel k is mirrored to 2 centre - k: the fraction, and with it the weights, are the same for the whole pixel.
    whole = np.floor(2 * centre).astype(np.int64)
    f = 2 * centre - whole
    weights = np.stack(
        [
            -f * (f - 1) * (f - 2) / 6,
            (f + 1) * (f - 1) * (f - 2) / 2,
            -(f + 1) * f * (f - 2) / 2,
            (f + 1) * f * (f - 1) / 6,
        ]
    )
    slope_weights = np.stack(
        [
            -(3 * f**2 - 6 * f + 2) / 6,
            (3 * f**2 - 4 * f - 1) / 2,
            -(3 * f**2 - 2 * f - 2) / 2,
            (3 * f**2 - 1) / 6,
        ]
    )
    k = np.arange(size)
    source = whole[:, None] - k[None, :]
    usable = (k[None, :] > centre[:, None]) & (source >= 1) & (source + 2 < size)
    offsets = (-1, 0, 1, 2)
    index = [np.where(usable, source + a, 0) for a in offsets]
    rows = np.arange(centre.size)[:, None]
    counts = [pixels.counts[rows, i] for i in index]
    noise = [pixels.variance[rows, i] for i in index]
    mirrored = sum(w[:, None] * c for w, c in zip(weights, counts, strict=True)) * usable
    slope = 2 * sum(w[:, None] * c for w, c in zip(slope_weights, counts, strict=True)) * usable
    slope = slope * (pixels.estimate.centre_std / pixels.scale)[:, None]
    loss_side = k[None, :] > centre[:, None]
    spectrum = np.where(loss_side, pixels.counts - mirrored, 0.0)
    own = sum(w[:, None] ** 2 * v for w, v in zip(weights, noise, strict=True)) * usable + slope**2
    variance = np.where(loss_side, pixels.variance + own, 0.0)
    bands = np.zeros((centre.size, _BANDS, size))
    for lag in range(1, _BANDS + 1):
        shared = sum((weights[a] * weights[a + lag])[:, None] * noise[a] for a in range(4 - lag))
        shared = shared + slope * np.roll(slope, -lag, axis=1)
        both = usable & np.roll(usable, -lag, axis=1)
        both[:, -lag:] = False
        bands[:, lag - 1] = np.where(both, shared, 0.0)
    return spectrum, variance, bands


def _remove_by_reference(
    pixels: _Pixels, reference: FloatArray, reference_energy: FloatArray
) -> tuple[FloatArray, FloatArray]:
    if reference.ndim != 1:
        raise AssbValueError(
            f"The reference must be one spectrum, not an array of shape {reference.shape}: sum its pixels."
        )
    checks.check_energy_axis(reference_energy, name="energy axis of the reference")
    checks.check_counts(reference, reference_energy, name="reference")
    scale = pixels.scale
    step = float((reference_energy[-1] - reference_energy[0]) / (reference_energy.size - 1))
    if abs(step / scale - 1) > 1e-3:
        raise AssbValueError(
            f"The channels of the reference are {step:g} eV wide, those of the signal {scale:g} eV: record both with "
            "the same dispersion."
        )
    known = estimate_centre(reference, reference_energy, gain=None)
    if not np.isfinite(known.centre):
        raise AssbValueError("The reference has no zero-loss peak: it must be a spectrum recorded in vacuum.")
    # The running sum is interpolated, not the counts: what is shifted is the expectation, and no electron is lost.
    edges = np.append(reference_energy - 0.5 * step, reference_energy[-1] + 0.5 * step)
    running = PchipInterpolator(edges, np.append(0.0, np.cumsum(reference)))
    estimate = pixels.estimate
    wanted = np.append(pixels.energy - 0.5 * scale, pixels.energy[-1] + 0.5 * scale)
    shifted = wanted[None, :] - estimate.centre[:, None] + float(known.centre)
    expected = np.diff(running(np.clip(shifted, edges[0], edges[-1])), axis=1)
    near = np.abs(pixels.energy[None, :] - estimate.centre[:, None]) <= np.maximum(estimate.fwhm, scale)[:, None]
    reference_sum = (expected * near).sum(axis=1)
    factor = (pixels.counts * near).sum(axis=1) / reference_sum
    factor_variance = (pixels.variance * near).sum(axis=1) / reference_sum**2
    slope = np.gradient(expected, scale, axis=1) * factor[:, None]
    shift_variance = estimate.centre_std**2 + float(known.centre_std) ** 2
    spectrum = pixels.counts - factor[:, None] * expected
    variance = (
        pixels.variance
        + expected**2 * factor_variance[:, None]
        + slope**2 * shift_variance[:, None]
        + factor[:, None] ** 2 * known.gain * np.maximum(expected, 0)
    )
    return spectrum, variance
