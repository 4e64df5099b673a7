"""What pure pixels tell of their phases: all that is needed to quantify other pixels and other signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.mixture import PRIOR, MixtureModel, PhaseSpectra, refine_spectra
from hyperspy_assb.eels.delithiation.phase_features import OLIVINE, VACUUM, Calibration, Features, calibrate
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitResult, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.terms import Term

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


@dataclass(frozen=True)
class PurePixels:
    """Pure pixels and their joint fit.

    Parameters
    ----------
    counts
        Shape (S, E), as recorded, on the fitted channels.
    energy
        Their centres in eV, shape (E,).
    masks
        Pixels of each phase, shape (S,) each.
    zero_loss
        Fitted parameters of the zero-loss peak, shape (S, P).
    features
        The linear parameters.
    columns
        Single scattering of each at 1, per channel, for losses of 0, 1, 2 ... channels, shape (K, E).
    source
        The zero-loss peak.
    detector
        Gain and read noise.
    dark_level
        Whether there is one.
    """

    counts: FloatArray
    energy: FloatArray
    masks: Mapping[str, NDArray[np.bool_]]
    zero_loss: FloatArray
    features: Features
    columns: FloatArray
    source: Term
    detector: Detector
    dark_level: bool


def build_standard(
    pure: PurePixels,
    elements: tuple[str, ...],
    shapes: dict[tuple[str, str], float],
    *,
    channels: int,
    minimum_pixels: int = 3,
) -> Standard:
    """Learn from pure pixels what each phase scatters.

    The line shapes of the joint fit are the start; what they miss is found from the residuals of the pure pixels.

    Raises
    ------
    ValueError
        If an olivine is missing, or a phase has too few fitted pixels.
    """
    features = pure.features
    calibration = calibrate(features, pure.masks, minimum_pixels=minimum_pixels)
    length = fft.next_fast_len(2 * pure.energy.size, real=True)
    columns = fft.rfft(pure.columns, length)
    parts = np.zeros((len(PRIOR), len(calibration.phases), columns.shape[1]), dtype=complex)
    parts[0], parts[1] = calibration.slope @ columns, calibration.offset @ columns
    size = parts[:1, :, :1].real.copy()
    fitted = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    members = [np.flatnonzero(pure.masks[phase] & fitted) for phase in calibration.phases]
    every = np.concatenate(members)
    reach = (float(features.t_over_lambda[every].min()), float(features.t_over_lambda[every].max()))
    spectra = PhaseSpectra(calibration.phases, parts / size, length, reach)
    label = np.repeat(np.arange(len(members)), [m.size for m in members])
    counts = pure.counts[every]
    variance = pure.detector.gain * np.maximum(counts.sum(axis=1), 1.0) + counts.shape[1] * pure.detector.read_noise**2
    electrons = np.maximum(counts.sum(axis=1), 0.0) ** 2 / variance
    model = MixtureModel(pure.source, pure.energy, spectra, dark_level=pure.dark_level)
    result = _fit_pure(model, pure, every, label)
    good = result.usable
    for _ in range(ROUNDS):
        refined = refine_spectra(model, result.values[good], counts[good], label[good], variance=variance[good])
        change = refined.spectra.parts - spectra.parts
        for share in SHARES:
            better = replace(spectra, parts=spectra.parts + share * change)
            trial = _fit_pure(model.with_spectra(better), pure, every, label)
            if _typical_deviance(trial) < (1.0 - GAIN) * _typical_deviance(result):
                break
        else:
            break  # what is left is noise that the zero loss does not pass
        spectra, result, good = better, trial, trial.usable
        model = model.with_spectra(spectra)
    misfit = (_typical_deviance(result) - 1.0) / float(np.median(electrons[good]))
    typical = np.nanmedian(pure.zero_loss[every], axis=0)
    return Standard(
        elements=elements,
        shapes=shapes,
        names=features.names,
        columns=columns,
        calibration=replace(calibration, iron=count_iron(spectra, pure.energy)),
        spectra=spectra,
        covariance=refined.covariance,
        noise=refined.noise,
        zero_loss=typical,
        dispersion=model.scale,
        offset=float(pure.energy[0]),
        channels=channels,
        fitted_channels=pure.energy.size,
        scatter=np.zeros((2, 1)),
        misfit=max(misfit, 0.0),
    )


def _fit_pure(model: MixtureModel, pure: PurePixels, rows: NDArray[np.int_], label: NDArray[np.int_]) -> FitResult:
    """Fit pure pixels with their own phase alone."""
    start = np.zeros((rows.size, model.n_parameters))
    start[:, : model.source.size] = pure.zero_loss[rows]
    out: FitResult | None = None
    for r in range(len(model.spectra.phases)):
        own = np.flatnonzero(label == r)
        start[own, model.amounts.start + r] = pure.features.t_over_lambda[rows[own]]
        free = model.free([r])
        part = fit_spectra(
            model,
            pure.counts[rows[own]],
            start[own],
            free=free,
            lower=model.lower,
            detector=pure.detector,
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
