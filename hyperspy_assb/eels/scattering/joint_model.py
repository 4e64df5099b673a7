"""The joint low-loss model of many spectra: where its fit starts, and the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, signal

from hyperspy_assb.eels.lineshapes import DARK_LEVEL, ZERO_LOSS_PEAK
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.scattering.low_loss_components import Component, LowLossOptions, choose_components
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.fitting.solver.map_fit import fit_map
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role

INSTRUMENT = ("asymmetry", "lorentz_fraction", "tail_fraction", "tail_length")
"""Parameters of the zero loss that source and detector give to every pixel alike; its area, place and width drift."""
_TAILS = ((0.1, 0.05, 5.0), (0.02, 0.2, 10.0), (0.5, 0.001, 10.0))
"""Lorentzian share, share of the tails and their length in eV that fits start from: several look good nearby."""
_SMOOTH, _FAR, _FEWEST_DARK = 4.0, 10.0, 8
"""Full widths from the zero loss beyond which spectra are smooth, and before it beyond which there are no electrons;
channels that tell the dark level."""

_SAMPLE = 300
"""Spectra that tell gain and read noise."""
_PLASMON = (("VolumePlasmon", "plasmon_energy"), ("VolumePlasmon", "fwhm"))
Shapes = dict[tuple[str, str], float]


@dataclass(frozen=True)
class JointModel:
    """A model of many spectra, and the values of its parameters.

    Parameters
    ----------
    names
        ``(component, parameter)`` of the P parameters.
    model
        The forward model on the fitted channels.
    free
        Which parameters are fitted, shape (P,).
    lower, upper
        Bounds, shape (P,).
    values
        Shape (S, P).
    mask
        Channels of the forward model that are left out, shape (E,).
    """

    names: tuple[tuple[str, str], ...]
    model: SpectrumModel
    free: NDArray[np.bool_]
    lower: FloatArray
    upper: FloatArray
    values: FloatArray
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, components: Sequence[Component], energy: FloatArray) -> JointModel:
        """The model of some components, all parameters at their defaults, shape (1, P)."""
        parameters = [(c, p) for c in components for p in c.term.shape.parameters]
        model = SpectrumModel([c.term for c in components], energy)
        return cls(
            names=tuple((c.name, p.name) for c, p in parameters),
            model=model,
            free=np.array([p.name not in c.fixed for c, p in parameters]),
            lower=np.array([-np.inf if p.minimum is None else p.minimum for _, p in parameters]),
            upper=np.array([np.inf if p.maximum is None else p.maximum for _, p in parameters]),
            values=np.array([[p.value for _, p in parameters]]),
            mask=np.zeros(model.energy.size, dtype=bool),
        )

    @property
    def columns(self) -> dict[tuple[str, str], int]:
        """Place of each parameter."""
        return {name: k for k, name in enumerate(self.names)}

    @property
    def amounts(self) -> NDArray[np.bool_]:
        """Which parameters are linear and of scattering, shape (P,)."""
        return np.concatenate([t.linear & (t.shape.role is Role.SCATTERING) for t in self.model.terms])

    @property
    def problem(self) -> FitProblem:
        """What a fit of every spectrum starts from."""
        return FitProblem(
            model=self.model, start=self.values, free=self.free, lower=self.lower, upper=self.upper, mask=self.mask
        )

    def with_shapes(self, shapes: Shapes) -> JointModel:
        """The same with shared positions and widths fixed at given values, in every spectrum."""
        free, values, columns = self.free.copy(), self.values.copy(), self.columns
        for name, value in shapes.items():
            free[columns[name]], values[:, columns[name]] = False, value
        return replace(self, free=free, values=values)


@dataclass(frozen=True)
class JointFit:
    """A started or fitted joint model of S spectra.

    Parameters
    ----------
    joint
        The model with its values.
    detector
        Gain and read noise that the spectra tell.
    components
        What it is made of.
    result
        Of the fit; None before it.
    """

    joint: JointModel
    detector: Detector
    components: tuple[Component, ...]
    result: FitResult | None = None

    def t_over_lambda(self) -> FloatArray:
        """Integral of the fitted single scattering over the fitted range, shape (S,); NaN without a fit."""
        assert self.result is not None
        total = self.joint.model.scattering_probability(self.joint.values)
        return np.where(self.result.usable, total, np.nan)


def start_joint_fit(spectra: LowLossMap, options: LowLossOptions) -> JointFit:
    """Choose the joint model of some spectra, and find starting values of every one of them.

    The typical spectrum is fitted first; its values, scaled by the zero-loss area and by t/lambda, start every other.

    Parameters
    ----------
    spectra
        With the zero loss in range.
    options
        What goes into the model.

    Raises
    ------
    ValueError
        If no zero-loss peak is found in any spectrum.

    Warns
    -----
    UserWarning
        If the beam energy or an angle is unset.
    """
    components, channels = choose_components(spectra.energy, spectra.check_microscope(), options)
    energy, counts = spectra.energy, np.asarray(spectra.flat)
    counts = np.where(np.isfinite(counts).all(axis=1, keepdims=True), counts, 0.0)
    found = estimate_centre(counts, energy)
    centre = np.where(np.any(counts, axis=1), np.ravel(found.centre), np.nan)
    if not np.isfinite(centre).any():
        raise ValueError("No zero-loss peak was found in any spectrum: check the energy range.")
    rough = start_zero_loss(counts, energy, centre)
    detector, level = estimate_detector(counts, energy, centre, rough.fwhm)
    dark = np.sum(energy < float(np.nanmin(centre)) - _FAR * rough.fwhm) >= _FEWEST_DARK
    if dark:
        components.append(Component.of(DARK_LEVEL))
    joint = JointModel.of(components, energy[:channels])
    if dark:
        joint.values[0, -1] = level / spectra.scale
    zero = start_zero_loss(counts, energy, centre, level=level)
    (area, thickness, at), typical = _fit_typical(joint, counts, energy, zero, detector)
    free = joint.free.copy()
    for name in INSTRUMENT:
        free[joint.columns["ZeroLossPeak", name]] = False
    values = np.tile(typical, (len(counts), 1))
    intensity, place = (joint.columns["ZeroLossPeak", name] for name in ("intensity", "centre"))
    values[:, joint.amounts] *= (zero.t_over_lambda / thickness)[:, np.newaxis]
    values[:, intensity] = zero.intensity * typical[intensity] / area
    values[:, place] = zero.centre + (typical[place] - at)  # the mode of an asymmetric peak is not its centre
    values = np.where(np.isfinite(values), values, typical)
    return JointFit(replace(joint, free=free, values=values), detector, tuple(components))


def _fit_typical(
    joint: JointModel, counts: FloatArray, energy: FloatArray, zero: ZeroLossStart, detector: Detector
) -> tuple[FloatArray, FloatArray]:
    """Fit the mean of all spectra, aligned by whole channels: what it started from, and all fitted parameters.

    The first are zero-loss area, t/lambda and zero-loss position, shape (3,).
    """
    good = np.isfinite(zero.centre)
    mean = sum_aligned(counts, zero.centre, energy) / good.sum()
    centre = float(np.median(zero.centre[good]))
    typical = start_zero_loss(mean[np.newaxis], energy, np.array([centre]))
    theta, source, used = joint.values[0].copy(), joint.model.slices[0], joint.model.energy.size
    dark = joint.columns.get(("DarkLevel", "level"))
    level = 0.0 if dark is None else theta[dark] * joint.model.scale
    plasmon = [joint.columns[name] for name in _PLASMON if name in joint.columns]
    starts = []
    for lorentz_fraction, tail_fraction, tail_length in _TAILS:
        theta[source] = [typical.intensity[0], centre, typical.fwhm, 0.0, lorentz_fraction, tail_fraction, tail_length]
        peak = ZERO_LOSS_PEAK.evaluate(energy[:used], theta[source])[0] * (energy[1] - energy[0])
        distribution = single_scattering(mean[:used] - level, energy[:used], peak)
        inside = (max(2.0, 2 * typical.fwhm), float(energy[used - 1]))
        shapes = [theta]
        if plasmon:
            found = start_plasmon(distribution, joint.model.loss, typical.fwhm, start=inside[0])
            if found is not None:
                # A narrow plasmon draws the fit to itself only from nearby.
                shapes.append(theta.copy())
                shapes[-1][plasmon] = np.clip(found, joint.lower[plasmon], joint.upper[plasmon])
        starts += [_start_scattering(joint, own, distribution, inside) for own in shapes]
    result = fit_spectra(
        np.broadcast_to(mean[:used], (len(starts), used)),
        replace(joint.problem, start=np.array(starts)),
        detector=detector,
        options=SolverOptions(max_iterations=300, minimum_counts=0.0),
    )
    best = result.best()
    values = starts[0] if best is None else result.values[best]
    return np.array([typical.intensity[0], max(typical.t_over_lambda[0], 1e-3), centre]), values


def fit_joint(started: JointFit, spectra: LowLossMap, *, progress: Callable[[int], object] | None = None) -> JointFit:
    """Fit every spectrum.

    Parameters
    ----------
    started
        Of :func:`start_joint_fit` for these spectra.
    spectra
        In memory.
    progress
        Called with the number of spectra fitted since the last call.
    """
    joint = started.joint
    result = fit_map(spectra.counts, joint.problem, detector=started.detector, progress=progress)
    values = np.where(result.usable[:, np.newaxis], result.values, joint.values)
    return replace(started, joint=replace(joint, values=values), result=result)


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
    smooth = (np.abs(offset) > _SMOOTH * fwhm) & np.isfinite(offset)
    dark = smooth & (offset < -_FAR * fwhm)
    level = float(np.median(counts[:, 1:-1][dark])) if dark.sum() >= _FEWEST_DARK * len(counts) else 0.0
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


def detector_of(spectra: LowLossMap, fwhm: float) -> Detector:
    """Gain and read noise as they were recorded, or as the spectra tell them where nobody measured them.

    Parameters
    ----------
    spectra
        Low-loss spectra.
    fwhm
        Width of the zero loss in eV.
    """
    if spectra.detector is not None:
        return spectra.detector
    counts = spectra.take(spectra.sample(_SAMPLE))
    counts = counts[np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)]
    if not len(counts):
        return Detector()
    centre = estimate_centre(counts, spectra.energy).centre
    return estimate_detector(counts, spectra.energy, centre, fwhm)[0]


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


def _start_scattering(
    joint: JointModel, parameters: FloatArray, distribution: FloatArray, losses: tuple[float, float]
) -> FloatArray:
    """All parameters, shape (P,), with the free amounts such that they describe a single-scattering distribution.

    By least squares, between two losses in eV; the distribution is a probability per channel, shape (E,).
    """
    model, wanted = joint.model, np.flatnonzero(joint.amounts & joint.free)
    if not wanted.size:
        return parameters.copy()
    columns = np.empty((wanted.size, model.energy.size))
    for term, where in zip(model.terms, model.slices, strict=True):
        gradients = term.shape.evaluate(model.loss, parameters[where], term.constants)[1] * model.scale
        for row in np.flatnonzero((wanted >= where.start) & (wanted < where.stop)):
            columns[row] = gradients[wanted[row] - where.start]
    inside = (model.loss >= losses[0]) & (model.loss <= losses[1])
    weight = 1.0 / np.sqrt(np.maximum(distribution, 0.0) + 1e-3 * np.max(distribution))
    size = np.maximum(np.linalg.norm(columns[:, inside] * weight[inside], axis=1), 1e-300)
    design = (columns[:, inside] * weight[inside] / size[:, np.newaxis]).T
    solution = np.linalg.lstsq(design, (distribution * weight)[inside], rcond=1e-8)[0]
    out = parameters.copy()
    out[wanted] = solution / size
    return out
