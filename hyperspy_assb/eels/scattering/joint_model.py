"""The joint low-loss model of many spectra: where its fit starts, and the fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from hyperspy_assb.eels.lineshapes import DARK_LEVEL, ZERO_LOSS_PEAK
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import usable_microscope
from hyperspy_assb.eels.scattering.low_loss_components import Component, LowLossOptions, choose_components
from hyperspy_assb.eels.zero_loss.position import ZeroLossEstimate, ZeroLossStatus, find_centre
from hyperspy_assb.eels.zero_loss.recorded_noise import FAR, FEWEST_DARK, checked_dark_level, low_loss_noise
from hyperspy_assb.eels.zero_loss.starting_values import ZeroLossStart, start_zero_loss, sum_aligned
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.solver.map_fit import fit_map
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Role

INSTRUMENT = ("asymmetry", "lorentz_fraction", "tail_fraction", "tail_length")
"""Parameters of the zero loss that source and detector give to every pixel alike; its area, place and width drift."""
_TAILS = ((0.1, 0.05, 5.0), (0.02, 0.2, 10.0), (0.5, 0.001, 10.0))
"""Lorentzian share, share of the tails and their length in eV that fits start from: several look good nearby."""
_PLASMON = (("VolumePlasmon", "plasmon_energy"), ("VolumePlasmon", "fwhm"))
_PURE_TOLERANCE = 1e-6
"""Gain in log-likelihood that is left in fits of pure spectra: a 700th of a standard error, far below that of the mean
of hundreds."""
_SAMPLE = 2048
"""Spectra of a map on disk that tell what all share: noise, dark level, and the shape of the typical spectrum."""
_PER_SPECTRUM = ("intensity", "centre", "t_over_lambda")
Shapes = dict[tuple[str, str], float]
PhaseShapes = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Positions and widths that all pixels share, by component, under the phase on which they are fitted."""
OLIVINE_SHAPES: PhaseShapes = {
    "FePO4": {"FePO4ValenceBand": ("centre", "fwhm"), "Fe_M23": ("onset_energy", "onset_width")},
    "LiFePO4": {"Li_K": ("peak_energy", "peak_fwhm", "peak_ratio")},
}
OLIVINE_ABSENT: Mapping[str, tuple[str, ...]] = {"FePO4": ("Li_K",)}
"""Components that a phase does not have."""


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
    def problem(self) -> FitProblem:
        """What a fit of every spectrum starts from."""
        return FitProblem(
            model=self.model, start=self.values, free=self.free, lower=self.lower, upper=self.upper, mask=self.mask
        )

    @property
    def columns(self) -> dict[tuple[str, str], int]:
        """Place of each parameter."""
        return {name: k for k, name in enumerate(self.names)}

    @property
    def amounts(self) -> NDArray[np.bool_]:
        """Which parameters are linear and of scattering, shape (P,)."""
        return np.concatenate([t.linear & (t.shape.role is Role.SCATTERING) for t in self.model.terms])

    def with_shapes(self, shapes: Shapes) -> JointModel:
        """The same with shared positions and widths fixed at given values, in every spectrum."""
        free, values, columns = self.free.copy(), self.values.copy(), self.columns
        for name, value in shapes.items():
            free[columns[name]], values[:, columns[name]] = False, value
        return replace(self, free=free, values=values)


@dataclass(frozen=True)
class Features:
    """Linear parameters of a joint fit, for many pixels.

    Parameters
    ----------
    names
        Names of the K parameters.
    values
        Shape (S, K); NaN in pixels without a fit.
    covariance
        Shape (S, K, K).
    t_over_lambda
        Logarithm of all counts over the zero loss, shape (S,).
    """

    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    t_over_lambda: FloatArray

    def index(self, name: str) -> int:
        """Column of a parameter.

        Raises
        ------
        ValueError
            If the model that was fitted does not have it.
        """
        if name not in self.names:
            raise AssbValueError(
                f"The fit has no {name}, but only {', '.join(self.names)}: check elements and energy range."
            )
        return self.names.index(name)


@dataclass(frozen=True)
class JointFit:
    """A started or fitted joint model of S spectra.

    Parameters
    ----------
    joint
        The model with its values.
    noise
        Gain and read noise, as recorded or as the spectra tell.
    components
        What it is made of.
    result
        Of the fit; None before it.
    features
        The free amounts that were fitted; None before the fit.
    """

    joint: JointModel
    noise: Noise
    components: tuple[Component, ...]
    result: FitResult | None = None
    features: Features | None = None

    @property
    def detector(self) -> Detector:
        """Gain and read noise for what is broader than the point spread of the camera."""
        return self.noise.broad


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
    AssbWarning
        If the beam energy or an angle is unset.
    """
    components, channels = choose_components(spectra.energy, usable_microscope(spectra.microscope), options)
    energy, counts = spectra.energy, _finite(spectra.sample(_SAMPLE))
    found = find_centre(counts, energy)
    centre = np.where(np.any(counts, axis=1), np.ravel(found.centre), np.nan)
    if not np.isfinite(centre).any():
        raise AssbValueError("No zero-loss peak was found in any spectrum: check the energy range.")
    cut = np.ravel(found.status) == ZeroLossStatus.SATURATED
    if cut.any():
        warnings.warn(
            f"The top of the zero loss is cut off in {cut.sum()} of {cut.size} spectra (saturated): their t/λ and all "
            "that is relative to the zero loss are too large. Record it with a shorter exposure.",
            AssbWarning,
            stacklevel=4,
        )
    rough = start_zero_loss(counts, energy, centre)
    noise = low_loss_noise(counts, energy, centre, rough.fwhm, spectra.detector)
    detector, level = noise.broad, _level(counts, energy, centre, rough.fwhm)
    dark = np.sum(energy < float(np.nanmin(centre)) - FAR * rough.fwhm) >= FEWEST_DARK
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
    if not isinstance(spectra.counts, np.ndarray):
        zero = _start_others(spectra, found, level, zero.fwhm)
    values = np.tile(typical, (len(spectra.counts), 1))
    intensity, place = (joint.columns["ZeroLossPeak", name] for name in ("intensity", "centre"))
    values[:, joint.amounts] *= (zero.t_over_lambda / thickness)[:, np.newaxis]
    values[:, intensity] = zero.intensity * typical[intensity] / area
    values[:, place] = zero.centre + (typical[place] - at)  # the mode of an asymmetric peak is not its centre
    values = np.where(np.isfinite(values), values, typical)
    return JointFit(replace(joint, free=free, values=values), noise, tuple(components))


def _finite(counts: NDArray[Any]) -> NDArray[Any]:
    """Spectra, those that are not finite as empty ones."""
    return np.where(np.isfinite(counts).all(axis=1, keepdims=True), counts, counts.dtype.type(0))


def _start_others(spectra: LowLossMap, known: ZeroLossEstimate, level: float, fwhm: float) -> ZeroLossStart:
    """Starting values of every spectrum on disk, block by block, with what some of them have told of all."""
    parts = []
    for _, block in spectra.blocks():
        counts = _finite(block)
        centre = find_centre(counts, spectra.energy, gain=known.gain, shape=known.shape).centre
        centre = np.where(np.any(counts, axis=1), centre, np.nan)
        parts.append(start_zero_loss(counts, spectra.energy, centre, level=level, fwhm=fwhm))
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_SPECTRUM}
    return replace(parts[0], **joined)


def _level(counts: FloatArray, energy: FloatArray, centre: FloatArray, fwhm: float) -> float:
    good = np.isfinite(centre)
    return checked_dark_level(counts[good], energy, centre[good], fwhm)


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


def fit_joint(
    started: JointFit,
    spectra: LowLossMap,
    *,
    options: SolverOptions | None = None,
    progress: Callable[[int], object] | None = None,
) -> JointFit:
    """Fit every spectrum.

    Parameters
    ----------
    started
        Of :func:`start_joint_fit` for these spectra.
    spectra
        In memory, or read block by block.
    options
        How far the solver goes.
    progress
        Called with the number of spectra fitted since the last call.
    """
    joint = started.joint
    problem = joint.problem.over((len(spectra.counts), joint.mask.size))
    parts = [
        fit_map(
            _finite(counts),
            problem.part(np.arange(rows.start, rows.stop)),
            detector=started.detector,
            options=options,
            progress=progress,
        )
        for rows, counts in spectra.blocks()
    ]
    result = parts[0] if len(parts) == 1 else FitResult.join(parts)
    values = np.where(result.usable[:, np.newaxis], result.values, joint.values)
    joint = replace(joint, values=values)
    return replace(started, joint=joint, result=result, features=_features_of(joint, result))


def _features_of(joint: JointModel, result: FitResult) -> Features:
    """Free amounts of a fitted joint model."""
    assert result.covariance is not None
    rows = np.flatnonzero(joint.amounts & joint.free)
    components = [component for component, _ in joint.names]
    single = {c for c in components if sum(components[k] == c for k in np.flatnonzero(joint.amounts)) == 1}
    position = (np.cumsum(joint.free) - 1)[rows]
    return Features(
        names=tuple(c if c in single else f"{c}.{p}" for c, p in (joint.names[k] for k in rows)),
        values=result.values[:, rows],
        covariance=result.covariance[:, position[:, np.newaxis], position],
        t_over_lambda=np.where(result.usable, joint.model.scattering_probability(joint.values), np.nan),
    )


def fit_pure_spectra(
    pure: LowLossMap,
    options: LowLossOptions,
    masks: Mapping[str, NDArray[np.bool_]],
    *,
    shared: PhaseShapes = OLIVINE_SHAPES,
    absent: Mapping[str, tuple[str, ...]] = OLIVINE_ABSENT,
) -> tuple[JointFit, Shapes, FloatArray]:
    """Fit spectra of pure phases, with the positions and widths that all of them share.

    Parameters
    ----------
    pure
        Pure spectra on one navigation axis, in memory.
    options
        What goes into the model.
    masks
        Which of them are of each phase, or of vacuum, shape (S,) each.
    shared, absent
        As for :func:`refine_shapes`.

    Returns
    -------
    fit, shapes
        The fit, and the shapes that it was made with.
    columns
        Single scattering of every feature at 1, per channel, shape (K, E).
    """
    started = start_joint_fit(pure, options)
    counts = np.asarray(pure.counts, dtype=float)
    joint, shapes = refine_shapes(
        started.joint, (counts, pure.energy), masks, started.detector, shared=shared, absent=absent
    )
    fit = fit_joint(replace(started, joint=joint), pure, options=SolverOptions(tolerance=_PURE_TOLERANCE))
    model, wanted = fit.joint.model, fit.joint.amounts & fit.joint.free
    columns = []
    for term, where in zip(model.terms, model.slices, strict=True):
        if wanted[where].any():
            gradients = np.empty((term.size, model.loss.size))
            term.evaluate(model.loss, fit.joint.values[0, where], gradients)
            columns.append(gradients[wanted[where]] * model.scale)
    return fit, shapes, np.concatenate(columns)


def refine_shapes(
    joint: JointModel,
    spectra: tuple[FloatArray, FloatArray],
    masks: Mapping[str, NDArray[np.bool_]],
    detector: Detector,
    *,
    shared: PhaseShapes = OLIVINE_SHAPES,
    absent: Mapping[str, tuple[str, ...]] = OLIVINE_ABSENT,
) -> tuple[JointModel, Shapes]:
    """Fit positions and widths that all pixels share on the summed spectra of pure pixels, and fix them there.

    Vacuum comes first, then the phases in their order: FePO4 before LiFePO4, and without Li, so that the shape of
    Fe M2,3 is known before Li K is fitted above it.

    Parameters
    ----------
    joint
        A started model.
    spectra
        Counts, shape (S, E), and energy in eV, shape (E,), of all channels.
    masks
        Pure pixels of vacuum and of the phases, as far as there are any: boolean arrays on the navigation axes.
    detector
        Gain and read noise.
    shared
        What is fitted on which phase.
    absent
        Components that a phase does not have.

    Returns
    -------
    joint, shapes
        The model with its shapes fixed, and their values by (component, parameter). A component whose fit ends at a
        bound, or does not converge, keeps what it had.
    """
    counts, energy = spectra
    names = {component for component, _ in joint.names}
    columns = joint.columns
    shapes: Shapes = {}
    for phase, wanted in {"vacuum": {"ZeroLossPeak": INSTRUMENT}, **shared}.items():
        fitted = {component: parameters for component, parameters in wanted.items() if component in names}
        if phase not in masks or not fitted:
            continue
        rows = np.flatnonzero(np.ravel(masks[phase]))
        total = sum_aligned(counts[rows], joint.values[rows, columns["ZeroLossPeak", "centre"]], energy)
        start = np.median(joint.values[rows], axis=0)
        free = joint.free.copy()
        for name, k in columns.items():
            if name == ("ZeroLossPeak", "intensity") or name[0] == "DarkLevel":
                start[k] *= rows.size
            free[k] |= name[1] in fitted.get(name[0], ())
            nothing = name[0] in absent.get(phase, ()) or (phase == "vacuum" and name[0] != "ZeroLossPeak")
            if nothing and free[k]:
                free[k], start[k] = False, 0.0
        result = fit_spectra(
            total[np.newaxis, : joint.mask.size],
            replace(joint.problem, start=start, free=free),
            detector=Detector(detector.gain, detector.read_noise * np.sqrt(rows.size)),
            options=SolverOptions(max_iterations=200, workers=1),
        )
        if not result.usable[0]:
            continue
        for component, parameters in fitted.items():
            own = [columns[component, name] for name in parameters]
            found = result.values[0, own]
            # A maximum of no height has no place worth keeping; a zero loss without Lorentzian or tails is one.
            at_bound = np.any((found == joint.lower[own]) | (found == joint.upper[own]))
            if component == "ZeroLossPeak" or not at_bound:
                shapes.update({(component, n): float(v) for n, v in zip(parameters, found, strict=True)})
        joint = joint.with_shapes(shapes)
    return joint, shapes


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
