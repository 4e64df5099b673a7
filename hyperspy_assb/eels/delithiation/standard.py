"""What pure pixels tell of their phases: all that is needed to quantify other pixels and other signals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.mixture import PRIOR, MixtureModel, PhaseSpectra, refine_spectra
from hyperspy_assb.eels.delithiation.phase_features import (
    FEWEST_PURE,
    OLIVINE,
    VACUUM,
    Calibration,
    Features,
    calibrate,
    single_scattering_columns,
)
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.scattering.joint_model import (
    INSTRUMENT,
    JointModel,
    Shapes,
    fit_joint,
    start_joint_fit,
    sum_aligned,
)
from hyperspy_assb.eels.scattering.low_loss_components import LowLossOptions
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

ROUNDS = 4
"""Times that the spectra of the phases are refined; after three, what is left to gain is below the noise."""
SHARES = (1.0, 0.5, 0.25)
"""Of a change of the spectra, tried in turn until the pure pixels are fitted better."""
GAIN = 3e-3
"""Of the reduced deviance, below which a change is not worth another."""
VALENCE_END = 50.0
"""eV. Up to here the valence electrons scatter, and hardly any of the core."""
IRON_UNCERTAINTY = 0.02
"""Of the Fe atoms per t/lambda in one olivine over those in the other, by the sum rule: losses of valence electrons
beyond :data:`VALENCE_END`, of the core below it, and at surfaces."""
TOLERANCE = 1e-4
NOT_PURE, NOT_ONE_PHASE = 0.1, 0.3
"""Scatter of x among pure pixels, beyond counting, from which a user is warned, and which no pure phase has."""
SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "vacuum": {"ZeroLossPeak": INSTRUMENT},
    "FePO4": {"FePO4ValenceBand": ("centre", "fwhm"), "Fe_M23": ("onset_energy", "onset_width")},
    "LiFePO4": {"Li_K": ("peak_energy", "peak_fwhm", "peak_ratio")},
}
"""Positions and widths that all pixels share, by component, under the phase on which they are fitted."""


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
        Of the parts of these spectra; see :class:`.mixture.Refinement`.
    zero_loss
        Typical parameters of the zero-loss peak, shape (P,).
    dispersion, offset
        Width of a channel, and energy of the first, in eV.
    channels, fitted_channels
        Number of channels, and how many of them, from the first, are fitted.
    scatter
        Variance of x beyond counting, of single pure pixels of LiFePO4 and of FePO4, at some thicknesses evenly over
        those of the pure pixels, shape (2, N).
    misfit
        Reduced deviance of pure pixels less 1, for each electron.
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
    misfit: float

    def check_axis(self, energy: FloatArray) -> None:
        """Raise ValueError if spectra on this axis cannot be compared with the standard."""
        dispersion = float(energy[-1] - energy[0]) / (energy.size - 1)
        if energy.size != self.channels or abs(dispersion - self.dispersion) > 1e-6 * self.dispersion:
            raise ValueError(
                f"The calibration is for {self.channels} channels of {self.dispersion:g} eV, but the energy axis has "
                f"{energy.size} of {dispersion:g} eV: both signals need the same energy axis."
            )

    def as_dictionary(self) -> dict[str, Any]:
        """Plain values, for metadata."""
        kept = ("covariance", "noise", "zero_loss", "dispersion", "offset", "channels", "fitted_channels", "scatter")
        plain = {name: getattr(self, name) for name in kept}
        calibration = {f.name: getattr(self.calibration, f.name) for f in fields(self.calibration)}
        return plain | {
            "misfit": self.misfit,
            "elements": list(self.elements),
            "shapes": [[component, name, value] for (component, name), value in self.shapes.items()],
            "names": list(self.names),
            "columns": self.columns.view(float),
            "calibration": calibration | {"phases": list(self.calibration.phases)},
            "spectra": {
                "phases": list(self.spectra.phases),
                "parts": self.spectra.parts.view(float),
                "length": self.spectra.length,
                "thickness": list(self.spectra.thickness),
            },
        }

    @classmethod
    def from_dictionary(cls, plain: Mapping[str, Any]) -> Standard:
        """The inverse of :meth:`as_dictionary`."""
        calibration = {name: np.asarray(value) for name, value in plain["calibration"].items() if name != "phases"}
        spectra = plain["spectra"]
        low, high = (float(value) for value in spectra["thickness"])
        return cls(
            elements=tuple(plain["elements"]),
            shapes={(component, name): float(value) for component, name, value in plain["shapes"]},
            names=tuple(plain["names"]),
            columns=np.ascontiguousarray(plain["columns"]).view(complex),
            calibration=Calibration(phases=tuple(plain["calibration"]["phases"]), **calibration),
            spectra=PhaseSpectra(
                tuple(spectra["phases"]),
                np.ascontiguousarray(spectra["parts"]).view(complex),
                int(spectra["length"]),
                (low, high),
            ),
            covariance=np.asarray(plain["covariance"]),
            noise=np.asarray(plain["noise"]),
            zero_loss=np.asarray(plain["zero_loss"]),
            dispersion=float(plain["dispersion"]),
            offset=float(plain["offset"]),
            channels=int(plain["channels"]),
            fitted_channels=int(plain["fitted_channels"]),
            scatter=np.asarray(plain["scatter"]),
            misfit=float(plain["misfit"]),
        )


def build_standard(
    pure: LowLossMap,
    masks: Mapping[str, NDArray[np.bool_]],
    elements: tuple[str, ...],
    *,
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
    elements
        Elements whose edges are fitted.
    minimum_pixels
        How many fitted spectra a phase needs.

    Returns
    -------
    standard, detector
        Also gain and read noise that the pure spectra tell.

    Raises
    ------
    ValueError
        If an olivine is missing, or a phase has too few fitted spectra.
    """
    started = start_joint_fit(pure, LowLossOptions(elements=elements))
    spectra = (np.asarray(pure.counts, dtype=float), pure.energy)
    joint, shapes = refine_shapes(started.joint, spectra, masks, started.detector)
    fit = fit_joint(replace(started, joint=joint), pure)
    features, joint, detector = Features.of(fit), fit.joint, fit.detector
    energy, source = joint.model.energy, joint.model.terms[0]
    masks = {phase: mask for phase, mask in masks.items() if phase != "vacuum"}
    calibration = calibrate(features, masks, minimum_pixels=minimum_pixels)
    length = fft.next_fast_len(2 * energy.size, real=True)
    columns = fft.rfft(single_scattering_columns(joint), length)
    parts = np.zeros((len(PRIOR), len(calibration.phases), columns.shape[1]), dtype=complex)
    parts[0], parts[1] = calibration.slope @ columns, calibration.offset @ columns
    size = parts[:1, :, :1].real.copy()
    fitted = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    members = [np.flatnonzero(masks[phase] & fitted) for phase in calibration.phases]
    every = np.concatenate(members)
    reach = (float(features.t_over_lambda[every].min()), float(features.t_over_lambda[every].max()))
    known = PhaseSpectra(calibration.phases, parts / size, length, reach)
    label = np.repeat(np.arange(len(members)), [m.size for m in members])
    counts = spectra[0][every, : energy.size]
    variance = detector.gain * np.maximum(counts.sum(axis=1), 1.0) + counts.shape[1] * detector.read_noise**2
    electrons = np.maximum(counts.sum(axis=1), 0.0) ** 2 / variance
    model = MixtureModel(source, energy, known, dark_level=("DarkLevel", "level") in joint.names)
    start = np.zeros((every.size, model.n_parameters))
    start[:, : source.size] = joint.values[every, joint.model.slices[0]]
    thickness = features.t_over_lambda[every]
    result = _fit_pure(model, counts, start, thickness, label, detector)
    good = result.usable
    for _ in range(ROUNDS):
        refined = refine_spectra(model, result.values[good], counts[good], label[good], variance=variance[good])
        change = refined.spectra.parts - known.parts
        for share in SHARES:
            better = replace(known, parts=known.parts + share * change)
            trial = _fit_pure(model.with_spectra(better), counts, start, thickness, label, detector)
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
        calibration=replace(calibration, iron=count_iron(known, energy)),
        spectra=known,
        covariance=refined.covariance,
        noise=refined.noise,
        zero_loss=np.nanmedian(start[:, : source.size], axis=0),
        dispersion=model.scale,
        offset=float(energy[0]),
        channels=pure.energy.size,
        fitted_channels=energy.size,
        scatter=np.zeros((2, 1)),
        misfit=max(misfit, 0.0),
    )
    return standard, detector


def refine_shapes(
    joint: JointModel,
    spectra: tuple[FloatArray, FloatArray],
    masks: Mapping[str, NDArray[np.bool_]],
    detector: Detector,
) -> tuple[JointModel, Shapes]:
    """Fit positions and widths that all pixels share on the summed spectra of pure pixels, and fix them there.

    FePO4 comes before LiFePO4, and without Li, so that the shape of Fe M2,3 is known before Li K is fitted above it.

    Parameters
    ----------
    joint
        A started model.
    spectra
        Counts, shape (S, E), and energy in eV, shape (E,), of all channels.
    masks
        Pure pixels of the phases in :data:`SHAPES`, as far as there are any: boolean arrays on the navigation axes.
    detector
        Gain and read noise.

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
    for phase, wanted in SHAPES.items():
        shared = {component: parameters for component, parameters in wanted.items() if component in names}
        if phase not in masks or not shared:
            continue
        rows = np.flatnonzero(np.ravel(masks[phase]))
        total = sum_aligned(counts[rows], joint.values[rows, columns["ZeroLossPeak", "centre"]], energy)
        start = np.median(joint.values[rows], axis=0)
        free = joint.free.copy()
        for name, k in columns.items():
            if name == ("ZeroLossPeak", "intensity") or name[0] == "DarkLevel":
                start[k] *= rows.size
            free[k] |= name[1] in shared.get(name[0], ())
            absent = (phase == "FePO4" and name[0] == "Li_K") or (phase == "vacuum" and name[0] != "ZeroLossPeak")
            if absent and free[k]:
                free[k], start[k] = False, 0.0
        result = fit_spectra(
            total[np.newaxis, : joint.mask.size],
            replace(joint.problem, start=start, free=free),
            detector=Detector(detector.gain, detector.read_noise * np.sqrt(rows.size)),
            options=SolverOptions(max_iterations=200, workers=1),
        )
        if not result.usable[0]:
            continue
        for component, parameters in shared.items():
            own = [columns[component, name] for name in parameters]
            found = result.values[0, own]
            # A maximum of no height has no place worth keeping; a zero loss without Lorentzian or tails is one.
            at_bound = np.any((found == joint.lower[own]) | (found == joint.upper[own]))
            if component == "ZeroLossPeak" or not at_bound:
                shapes.update({(component, n): float(v) for n, v in zip(parameters, found, strict=True)})
        joint = joint.with_shapes(shapes)
    return joint, shapes


def check_purity(standard: Standard) -> None:
    """Raise ValueError if pure pixels scatter as no phase does, warn if more than one phase should."""
    for phase, variance in zip(OLIVINE, standard.scatter, strict=True):
        scatter = float(np.sqrt(np.mean(variance)))
        if scatter < NOT_PURE:
            continue
        message = f"references[{phase!r}]: x of its spectra scatters by {scatter:.2g} beyond counting. "
        if scatter > NOT_ONE_PHASE:
            raise ValueError(message + "They are not of one phase: check the mask (y before x) and the energy axis.")
        warnings.warn(message + "Leave out what is not pure; x_systematic carries it.", UserWarning, stacklevel=4)


def _fit_pure(
    model: MixtureModel,
    counts: FloatArray,
    start: FloatArray,
    thickness: FloatArray,
    label: NDArray[np.int_],
    detector: Detector,
) -> FitResult:
    """Fit pure spectra with their own phase alone."""
    out: FitResult | None = None
    for r in range(len(model.spectra.phases)):
        own = np.flatnonzero(label == r)
        first = start[own]
        first[:, model.amounts.start + r] = thickness[own]
        part = fit_spectra(
            counts[own],
            FitProblem(model=model, start=first, free=model.free([r]), lower=model.lower),
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


def count_iron(spectra: PhaseSpectra, energy: FloatArray) -> FloatArray:
    """Fe atoms per t/lambda in both olivines, by the sum rule of the valence electrons.

    Parameters
    ----------
    spectra
        What each phase scatters; the olivines first.
    energy
        Centres of the channels in eV.

    Returns
    -------
    iron
        In a unit that both share, shape (2,).

    Notes
    -----
    The energy loss of all valence electrons together is in proportion to their number (f-sum rule; Egerton, Electron
    Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 4.33), and there is one Fe in a formula
    unit. The angular factor, which differs by less than 1 % between spectra this similar, is left out.
    """
    loss = (energy[1] - energy[0]) * np.arange(energy.size)
    inside = loss <= VALENCE_END
    middle = float(np.clip(0.5, *spectra.thickness))
    moment = spectra.distribution(energy.size, middle)[:2, inside] @ loss[inside]
    electrons = np.array([reference.material(phase).valence_electrons for phase in OLIVINE])
    return moment / electrons
