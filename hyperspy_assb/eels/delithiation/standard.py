"""What pure pixels tell of their phases: all that is needed to quantify other pixels and other signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.end_members import (
    SIGNATURE_NAMES,
    SIGNATURES,
    VACUUM_NAME,
    counting_edge,
    end_members,
    methods_of,
    shared_shapes,
)
from hyperspy_assb.eels.delithiation.mixture import PRIOR, MixtureModel, PhaseSpectra, count_hosts, refine_spectra
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.scattering.joint_model import Features, fit_pure_spectra
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.eels.scattering.spikes import contrast, fill_spikes
from hyperspy_assb.eels.zero_loss.peak_search import SEARCH_RANGE, estimate_noise, search
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

DISTINCT = 3.0
"""Standard errors by which the end members must differ in a parameter that is to tell x."""
LEAST_ELECTRODE = 0.1
"""Share of the electrode in t/lambda below which a pixel gets no x: what lies above it would decide it."""
DETECTED = 3.0
"""Standard errors above nothing from which the host counts as found."""
FEWEST_PURE = 3
"""Pure pixels that a phase needs."""
VACUUM = 0.02
"""t/lambda up to which a pixel is taken for vacuum."""
ROUNDS = 4
"""Times that the spectra of the phases are refined; after three, what is left to gain is below the noise."""
SHARES = (1.0, 0.5, 0.25)
"""Of a change of the spectra, tried in turn until the pure pixels are fitted better."""
GAIN = 3e-3
"""Of the reduced deviance, below which a change is not worth another."""
HOST_UNCERTAINTY = 0.02
"""Of the formula units per t/lambda in one end member over those in the other, by the sum rule: losses of valence
electrons beyond :data:`.mixture.VALENCE_END`, of the core below it, and at surfaces."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Calibration:
    """What each phase adds to every parameter.

    A phase of the share ``a`` of t/lambda adds ``a * (slope * t/lambda + offset)``: the offset is what does not grow
    with thickness, such as surface losses and what the line shape misses of the tail of the zero loss.

    Parameters
    ----------
    phases
        Names of the R phases, the lithiated and the delithiated end member first.
    slope, offset
        Shape (R, K).
    covariance
        Covariance of slope and offset of each parameter, shape (R, K, 2, 2).
    model_variance
        Variance of each parameter at t/lambda = 1 beyond counting, from the scatter of the pure pixels, shape (K,).
    n_pixels
        Pure pixels used for each phase, shape (R,).
    hosts
        Formula units of the host per t/lambda in both end members, in a unit that both share, shape (2,).
    electrode
        Whose end members they are.
    counted_by
        The edge that counts formula units where nothing is known of other phases; empty: all parameters together.
    """

    phases: tuple[str, ...]
    slope: FloatArray
    offset: FloatArray
    covariance: FloatArray
    model_variance: FloatArray
    n_pixels: NDArray[np.int_]
    hosts: FloatArray
    electrode: Electrode
    counted_by: str

    def per_thickness(self, t_over_lambda: FloatArray) -> FloatArray:
        """What each phase adds per t/lambda to a column of given t/lambda, shape (S, R, K)."""
        return self.slope + self.offset / t_over_lambda[:, np.newaxis, np.newaxis]

    def variance(self, t_over_lambda: FloatArray, parameter: int) -> FloatArray:
        """Variance of :meth:`per_thickness` for one parameter, shape (S, R)."""
        direction = np.stack([np.ones_like(t_over_lambda), 1.0 / t_over_lambda], axis=-1)
        return np.einsum("sa,rab,sb->sr", direction, self.covariance[:, parameter], direction)

    def check_contrast(self, names: tuple[str, ...], method: str) -> None:
        """Raise ValueError if the end members cannot be told apart at any thickness, or are exchanged.

        By the signature of a method, or, for one that takes the whole spectrum, by any that the electrode has: spectra
        that differ in none of them are not those of its end members, whatever else tells them apart. Where it has no
        signature, any parameter of the joint fit may tell them apart, and nothing shows that they are exchanged.
        """
        lithiated, delithiated = end_members(self.electrode)
        own = [m for m in methods_of(self.electrode) if m in SIGNATURES]
        # In favour of what must be: the delithiated member has the 5 eV band, the lithiated one the lithium.
        favour = {}
        for name in own:
            low, high = self._contrast(names.index(SIGNATURES[name]))
            favour[name] = (-high, -low) if name == "valence" else (low, high)
        right = any(high >= DISTINCT for _, high in favour.values())
        if not right and any(low <= -DISTINCT for low, _ in favour.values()):
            signs = {"valence": "more of the 5 eV band", "lithium": "less Li K"}
            raise AssbValueError(
                f"The references of {lithiated} and {delithiated} look exchanged: that of {lithiated} has "
                f"{' or '.join(signs[name] for name in own)}."
            )
        asked = [method] if method in own else own
        if asked:
            differ = any(favour[name][1] >= DISTINCT for name in asked)
            what = " or ".join(SIGNATURE_NAMES[name] for name in asked)
        else:
            # Of many parameters, one is far from nothing more often.
            needed = float(stats.norm.isf(stats.norm.sf(DISTINCT) / len(names)))
            differ = any(max(-low, high) >= needed for low, high in map(self._contrast, range(len(names))))
            what = "any part of the spectrum"
        if not differ:
            ions = f"{self.electrode.ion} and the host" if asked else "the electrode"
            raise AssbValueError(
                f"The references do not differ in {what} by more than three standard errors: check that they are pure "
                f"{lithiated} and {delithiated}, and that the spectra show {ions} at all."
            )

    def _contrast(self, key: int) -> tuple[float, float]:
        """Least and largest difference of the end members in a parameter, over thickness, in standard errors."""
        thickness = np.linspace(0.2, 1.5, 14)  # where the pure pixels lie, the difference is known best
        ends = self.per_thickness(thickness)[:, :2, key]
        error = np.sqrt(self.variance(thickness, key)[:, :2].sum(axis=1))
        difference = (ends[:, 0] - ends[:, 1]) / error
        return float(difference.min()), float(difference.max())


@dataclass(frozen=True)
class Standard:
    """A calibration on pure pixels.

    Parameters
    ----------
    elements
        Elements whose edges were fitted.
    shapes
        Positions and widths that all pixels share, by component and parameter.
    names
        Names of the K linear parameters of the joint fit.
    columns
        Fourier transforms of their single-scattering distributions, shape (K, L).
    calibration
        What each phase adds to them.
    spectra
        What each phase scatters, channel by channel.
    covariance, noise
        Of the parts of these spectra; see ``mixture.Refinement``.
    zero_loss
        Typical parameters of the zero-loss peak, shape (P,).
    dispersion, offset
        Width of a channel, and energy of the first, in eV.
    channels, fitted_channels
        Number of channels, and how many of them, from the first, are fitted.
    scatter
        Variance of the fraction beyond counting, of single pure pixels of both end members, at some thicknesses evenly
        over those of the pure pixels, shape (2, N).
    contrast
        How far channels stand out from their neighbours where nothing has struck them, shape (E,); see
        :func:`hyperspy_assb.eels.scattering.spikes.contrast`.
    misfit
        Reduced deviance of pure pixels less 1, for each electron.
    noise_scale, residual_misfit
        What the linear parameters of pure pixels scatter beyond a column of the phases: variance over that of the
        detector, and a covariance at t/lambda = 1, shape (K, K); see ``unexplained.measure_misfit``.
    conditions
        Least and largest value of each of ``pixels.CONDITIONS`` among the pure pixels, shape (2, C).
    """

    elements: tuple[str, ...]
    shapes: dict[tuple[str, str], float]
    names: tuple[str, ...]
    columns: NDArray[np.complex128]
    calibration: Calibration
    spectra: PhaseSpectra
    covariance: FloatArray
    noise: FloatArray
    zero_loss: FloatArray
    dispersion: float
    offset: float
    channels: int
    fitted_channels: int
    scatter: FloatArray
    contrast: FloatArray
    misfit: float
    noise_scale: float
    residual_misfit: FloatArray
    conditions: FloatArray

    def fill_spikes(
        self, counts: NDArray[np.generic], detector: Detector
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Spectra of the same energy axis without spikes, and which had any; see :func:`.spikes.fill_spikes`."""
        return fill_spikes(counts, self.contrast, float(self.zero_loss[2]) / self.dispersion, detector)

    @property
    def electrode(self) -> Electrode:
        """Whose end members the first two phases are."""
        return self.calibration.electrode


def build_standard(
    pure: LowLossMap,
    masks: Mapping[str, NDArray[np.bool_]],
    electrode: Electrode,
    elements: tuple[str, ...],
    *,
    method: str = "combined",
    minimum_pixels: int = FEWEST_PURE,
) -> tuple[Standard, Detector]:
    """Learn from pure spectra what each phase scatters.

    The line shapes of the joint fit are the start; what they miss is found from the residuals of the pure spectra.

    Parameters
    ----------
    pure
        Pure spectra on one navigation axis, in memory.
    masks
        Which of them are of each phase, or of vacuum, shape (S,) each.
    electrode
        The electrode; its end members are among the phases.
    elements
        Elements whose edges are fitted.
    method
        By which x is to be told.
    minimum_pixels
        How many fitted spectra a phase needs.

    Returns
    -------
    standard, detector
        Also gain and read noise that the pure spectra tell.

    Raises
    ------
    ValueError
        If an end member is missing, a phase has too few fitted spectra, or the end members do not differ in what the
        method looks at.
    """
    pure, usual = _fill_pure(pure, masks)
    options = LowLossOptions(elements=elements, valence_band=SIGNATURE_NAMES["valence"] in electrode.signatures)
    emptied = {electrode.delithiated: ("Li_K",)} if electrode.ions == electrode.ions_removed else {}
    fit, shapes, distributions = fit_pure_spectra(pure, options, masks, shared=shared_shapes(electrode), absent=emptied)
    features, joint, detector = fit.features, fit.joint, fit.detector
    assert features is not None
    energy, source = joint.model.energy, joint.model.terms[0]
    masks = {phase: mask for phase, mask in masks.items() if phase != VACUUM_NAME}
    calibration = calibrate(features, masks, electrode, minimum_pixels=minimum_pixels)
    calibration.check_contrast(features.names, method)
    length = fft.next_fast_len(2 * energy.size, real=True)
    columns = fft.rfft(distributions, length)
    parts = np.zeros((len(PRIOR), len(calibration.phases), columns.shape[1]), dtype=complex)
    parts[0], parts[1] = calibration.slope @ columns, calibration.offset @ columns
    size = parts[:1, :, :1].real.copy()
    fitted = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    members = [np.flatnonzero(masks[phase] & fitted) for phase in calibration.phases]
    every = np.concatenate(members)
    reach = (float(features.t_over_lambda[every].min()), float(features.t_over_lambda[every].max()))
    known = PhaseSpectra(calibration.phases, parts / size, length, reach)
    label = np.repeat(np.arange(len(members)), [m.size for m in members])
    counts = np.asarray(pure.counts[every, : energy.size], dtype=float)
    variance = detector.gain * np.maximum(counts.sum(axis=1), 1.0) + counts.shape[1] * detector.read_noise**2
    electrons = np.maximum(counts.sum(axis=1), 0.0) ** 2 / variance
    model = MixtureModel(source, energy, known, dark_level=("DarkLevel", "level") in joint.names)
    start = np.zeros((every.size, model.n_parameters))
    start[:, : source.size] = joint.values[every, joint.model.slices[0]]
    thickness = features.t_over_lambda[every]
    start[np.arange(every.size), model.amounts.start + label] = thickness
    result = _fit_pure(model, counts, start, label, detector)
    good = result.usable
    for _ in range(ROUNDS):
        refined = refine_spectra(model, result.values[good], counts[good], label[good], variance=variance[good])
        change = refined.spectra.parts - known.parts
        for share in SHARES:
            better = replace(known, parts=known.parts + share * change)
            # What is known already is a good start.
            known_values = np.where(good[:, np.newaxis], result.values, start)
            trial = _fit_pure(model.with_spectra(better), counts, known_values, label, detector)
            if _typical_deviance(trial) < (1.0 - GAIN) * _typical_deviance(result):
                break
        else:
            break  # what is left is noise that the zero loss does not pass
        known, result, good = better, trial, trial.usable
        model = model.with_spectra(known)
    misfit = (_typical_deviance(result) - 1.0) / float(np.median(electrons[good]))
    standard = Standard(
        elements=elements,
        shapes=shapes,
        names=features.names,
        columns=columns,
        calibration=replace(calibration, hosts=count_hosts(known, energy)),
        spectra=known,
        covariance=refined.covariance,
        noise=refined.noise,
        zero_loss=np.nanmedian(start[:, : source.size], axis=0),
        dispersion=model.scale,
        offset=float(energy[0]),
        channels=pure.energy.size,
        fitted_channels=energy.size,
        scatter=np.zeros((2, 1)),
        contrast=usual,
        misfit=max(misfit, 0.0),
        noise_scale=1.0,
        residual_misfit=np.zeros((len(features.names),) * 2),
        conditions=np.array([[-np.inf], [np.inf]]),
    )
    return standard, detector


def _fill_pure(pure: LowLossMap, masks: Mapping[str, NDArray[np.bool_]]) -> tuple[LowLossMap, FloatArray]:
    """Pure spectra without spikes, and how far channels of any phase stand out from their neighbours."""
    counts = np.asarray(pure.counts, dtype=float)
    sound = np.isfinite(counts).all(axis=1)
    gain, read_variance = estimate_noise(counts[sound])
    detector = Detector(gain, float(np.sqrt(read_variance)))
    usual = np.max(
        [contrast(counts[mask & sound], detector) for mask in masks.values() if (mask & sound).any()], axis=0
    )
    first, last = np.searchsorted(pure.energy, SEARCH_RANGE)
    peak, width = search(counts[sound], int(first), int(last), gain, read_variance)
    fwhm = float(np.median(width[peak >= 0])) if (peak >= 0).any() else 1.0
    return replace(pure, counts=fill_spikes(counts, usual, fwhm, detector)[0]), usual


def calibrate(
    features: Features,
    references: Mapping[str, NDArray[np.bool_]],
    electrode: Electrode,
    *,
    minimum_pixels: int = FEWEST_PURE,
) -> Calibration:
    """Measure what each phase adds on its pure pixels, by a straight line against t/lambda.

    Parameters
    ----------
    features
        Parameters of all pixels.
    references
        Pure pixels of each phase, shape (S,) each: both end members, and whatever else lies in the columns.
    electrode
        The electrode.
    minimum_pixels
        How many fitted pixels a phase needs.

    Returns
    -------
    calibration
        The phases in the order given, the end members first.

    Raises
    ------
    ValueError
        If an end member is missing, or a phase has too few fitted pixels; it is named.

    Notes
    -----
    Formula units are counted by their valence electrons, as if these lost as much energy in both end members; see
    :func:`.mixture.count_hosts`.

    The offsets of the phases share their mean, about what a phase adds at t/lambda = 1 or less; each may leave it by
    about a tenth of that (normal priors). Where the pure pixels of a phase are all of one thickness, that decides.
    """
    ends = end_members(electrode)
    missing = [phase for phase in ends if phase not in references]
    if missing:
        raise AssbValueError(f"references must name pure pixels of {' and '.join(missing)}.")
    phases = (*ends, *(p for p in references if p not in ends))
    fitted = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    members = []
    for phase in phases:
        rows = np.flatnonzero(np.asarray(references[phase], dtype=bool) & fitted)
        if rows.size < minimum_pixels:
            raise AssbValueError(
                f"references[{phase!r}] holds {rows.size} fitted pixels; at least {minimum_pixels} are needed, "
                "with a zero loss in range."
            )
        members.append(rows)
    count = len(phases)
    rows = np.concatenate(members)
    thickness = features.t_over_lambda[rows]
    # Columns: the slopes, the offset that all share, and what each phase has more.
    belongs = np.repeat(np.eye(count), [m.size for m in members], axis=0)
    design = np.hstack([belongs * thickness[:, np.newaxis], np.ones((rows.size, 1)), belongs])
    # Thick pixels scatter more in every parameter; the weights matter little, so one serves for all of them.
    weight = 1.0 / (0.1 + thickness)
    values = features.values[rows]
    size = len(features.names)
    slope, offset = np.empty((count, size)), np.empty((count, size))
    covariance, residual = np.empty((count, size, 2, 2)), np.empty_like(values)
    typical = np.array(
        [np.abs(values[belongs[:, r] > 0] / thickness[belongs[:, r] > 0, np.newaxis]).mean(0) for r in range(count)]
    )
    for k in range(size):
        width = 0.1 * max(typical[:, k].max(), 1e-300)
        noise = np.sqrt(np.mean(features.covariance[rows, k, k] * weight**2))
        for _ in range(2):  # the second time with the scatter that is really there
            prior = np.zeros((count + 1, design.shape[1]))
            prior[:, count:] = np.diag([0.1, *np.ones(count)]) * noise / width
            matrix = np.vstack([design * weight[:, np.newaxis], prior])
            inverse = np.linalg.pinv(matrix)
            solution = inverse[:, : rows.size] @ (values[:, k] * weight)
            residual[:, k] = values[:, k] - design @ solution
            noise = max(noise, float(np.sqrt(np.mean((residual[:, k] * weight) ** 2))))
        spread = noise**2 * (inverse @ inverse.T)
        slope[:, k] = solution[:count]
        offset[:, k] = solution[count] + solution[count + 1 :]
        for r in range(count):
            pick = np.zeros((2, design.shape[1]))
            pick[0, r] = pick[1, count] = pick[1, count + 1 + r] = 1.0
            covariance[r, k] = pick @ spread @ pick.T
    counting = np.einsum("skk->sk", features.covariance[rows])
    freedom = rows.size / max(rows.size - 2 * count, 1)
    excess = np.sum(freedom * residual**2 - counting, axis=0) / np.sum(np.maximum(thickness, 0.05) ** 2)
    return Calibration(
        phases=phases,
        slope=slope,
        offset=offset,
        covariance=covariance,
        model_variance=np.maximum(excess, 0.0),
        n_pixels=np.array([m.size for m in members]),
        hosts=np.array([1.0 / reference.material(phase).valence_electrons for phase in ends]),
        electrode=electrode,
        counted_by=counting_edge(electrode, features.names),
    )


def _fit_pure(
    model: MixtureModel,
    counts: FloatArray,
    start: FloatArray,
    label: NDArray[np.int_],
    detector: Detector,
) -> FitResult:
    """Fit pure spectra with their own phase alone, which the starting values, shape (S, P), hold alone."""
    out: FitResult | None = None
    for r in range(len(model.spectra.phases)):
        own = np.flatnonzero(label == r)
        part = fit_spectra(
            counts[own],
            FitProblem(model=model, start=start[own], free=model.free([r]), lower=model.lower),
            detector=detector,
            options=SolverOptions(tolerance=TOLERANCE, minimum_counts=0.0, covariance=False),
        )
        out = part if out is None else _join(out, part)
    assert out is not None
    return out


def _typical_deviance(result: FitResult) -> float:
    return float(np.median((result.deviance / result.dof)[result.usable])) if result.usable.any() else np.inf


def _join(one: FitResult, two: FitResult) -> FitResult:
    names = ("values", "std", "deviance", "dof", "status", "iterations")
    return replace(one, **{name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in names})
