"""The joint low-loss model, assembled for a signal and started from its data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.components import (
    EDGE_CLASSES,
    CarbonPiBand,
    DarkLevel,
    FePO4ValenceBand,
    M45Edge,
    ValenceContinuum,
    VolumePlasmon,
    ZeroLossPeak,
)
from hyperspy_assb.components.edges import IonisationEdge
from hyperspy_assb.eels import starting_values
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.eels.zero_loss import estimate_centre
from hyperspy_assb.fitting.kernels import FloatArray, Role
from hyperspy_assb.fitting.solvers import Detector, SolverOptions, fit_spectra
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.eels import ASSBEELSModel
from hyperspy_assb.models.multifit import detector_from_metadata

ELEMENTS = ("Li", "Fe", "P", "O")
"""Elements of the positive electrode, where neither the caller nor the metadata names any."""
HIGHEST_LOW_LOSS_EDGE = 150.0
# Lorentzian share, share of the tails and their length in eV: a peak has several fits that look good nearby.
_INSTRUMENT = ("asymmetry", "lorentz_fraction", "tail_fraction", "tail_length")
"""Parameters of the zero loss that source and detector give to every pixel alike; its area, place and width drift."""
_TAILS = ((0.1, 0.05, 5.0), (0.02, 0.2, 10.0), (0.5, 0.001, 10.0))
_PLASMON = (("VolumePlasmon", "plasmon_energy"), ("VolumePlasmon", "fwhm"))
NOMINAL = MicroscopeParameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
"""What cross-sections are computed for where the microscope is not known; areal densities are relative then."""


@dataclass(frozen=True)
class LowLossOptions:
    """What goes into a low-loss model.

    Parameters
    ----------
    elements
        Chemical symbols; their edges up to 150 eV that lie in the range are fitted, and C brings the pi band.
    valence
        "continuum": a free-form single-scattering distribution; "plasmon": one Drude plasmon, for simple metals.
    valence_band
        Whether the 5 eV band of FePO4 is a component.
    breaks
        Breakpoints of the continuum in eV, without the last, which lies behind the range. They are wider apart than the
        5 eV band below 10 eV, and finer than the plasmons of oxides and phosphates are wide above.
    """

    elements: tuple[str, ...] = ELEMENTS
    valence: str = "continuum"
    valence_band: bool = True
    breaks: tuple[float, ...] = (2.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0, 25.0, 28.0, 31.0, 35.0, 40.0, 47.0, 100.0)

    def __post_init__(self) -> None:
        if self.valence not in ("continuum", "plasmon"):
            raise ValueError(f'valence must be "continuum" or "plasmon", not {self.valence!r}.')


def create_low_loss_model(
    signal: Any, microscope: MicroscopeParameters, options: LowLossOptions, *, start: bool = True
) -> ASSBEELSModel:
    """Assemble the joint model of a low-loss signal.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra with the zero loss in range.
    microscope
        Beam energy and angles; where one is None a nominal value is taken, and a warning says so.
    options
        What goes into the model.
    start
        Whether to find starting values from the data.

    Returns
    -------
    model
        With plural scattering.

    Warns
    -----
    UserWarning
        If the beam energy or an angle is unset, so that areal densities are only relative.
    """
    axis = signal.axes_manager.signal_axes[0]
    end = float(axis.axis[-1])
    known = {
        name: getattr(NOMINAL, name) if name in microscope.missing else getattr(microscope, name)
        for name in ("beam_energy", "convergence_angle", "collection_angle")
    }
    edges = _edges(options, end, known)
    end = min(end, max([100.0, *(edge.onset_energy.value + 45.0 for edge in edges)]))
    model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    model.append(ZeroLossPeak())
    if options.valence == "continuum":
        breaks = [b for b in options.breaks if b < 0.8 * end]
        model.append(ValenceContinuum([*breaks, end + 1.0]))
    else:
        model.append(VolumePlasmon())
    if options.valence_band:
        band = FePO4ValenceBand()
        band.centre.free = band.fwhm.free = False
        model.append(band)
    if "C" in options.elements:
        carbon = CarbonPiBand()
        carbon.centre.free = carbon.fwhm.free = False
        model.append(carbon)
    if edges and microscope.missing:
        warnings.warn(
            f"{', '.join(microscope.missing)} unset: cross-sections are for "
            + ", ".join(f"{k} {known[k]:g}" for k in microscope.missing)
            + " (keV, mrad), so areal densities are relative. Ratios calibrated on reference pixels do not need them.",
            UserWarning,
            stacklevel=3,
        )
    model.extend(edges)
    if end < axis.axis[-1]:
        model.set_signal_range(float(axis.axis[0]), end)
    if start:
        start_model(model)
    return model


def _edges(options: LowLossOptions, end: float, geometry: dict[str, float]) -> list[IonisationEdge]:
    edges = []
    for element in options.elements:
        reference.check_element(element)
        for cls in EDGE_CLASSES:
            if element not in cls.elements or (cls is M45Edge and options.valence == "continuum"):
                continue  # Ge M4,5 rises so slowly that a free-form continuum describes it
            onset = reference.near_edge(element, cls.shell)["onset_energy"]
            if 20.0 < onset < min(end - 8.0, HIGHEST_LOW_LOSS_EDGE):
                edges.append(cls(element, **geometry))
    return sorted(edges, key=lambda edge: edge.onset_energy.value)


def start_model(model: ASSBEELSModel) -> None:
    """Find starting values of every spectrum from the data, and set the fitted range.

    The typical spectrum is fitted first; its values, scaled by the zero-loss area and by t/lambda, start every other.
    """
    signal, energy = model.signal, np.array(model.axis.axis, dtype=float)
    counts = np.asarray(signal.data.compute() if signal._lazy else signal.data).reshape(-1, energy.size)
    counts = np.where(np.isfinite(counts).all(axis=1, keepdims=True), counts, 0.0)
    found = estimate_centre(counts, energy)
    centre = np.where(np.any(counts, axis=1), np.ravel(found.centre), np.nan)
    if not np.isfinite(centre).any():
        raise ValueError("No zero-loss peak was found in any spectrum: check the energy range.")
    rough = starting_values.start_zero_loss(counts, energy, centre)
    detector, level = starting_values.estimate_detector(counts, energy, centre, rough.fwhm)
    signal.metadata.set_item(
        "Signal.Noise_properties.Variance_linear_model",
        {"gain_factor": detector.gain, "gain_offset": detector.read_noise**2},
    )
    if np.sum(energy < float(np.nanmin(centre)) - 10.0 * rough.fwhm) >= 8:
        dark = DarkLevel(level=level / model.axis.scale)
        model.append(dark)
    zero = starting_values.start_zero_loss(counts, energy, centre, level=level)
    typical, values = _fit_typical(model, counts, energy, zero, detector)
    _spread(model, typical, values, zero)


def _fit_typical(
    model: ASSBEELSModel,
    counts: FloatArray,
    energy: FloatArray,
    zero: starting_values.ZeroLossStart,
    detector: Detector,
) -> tuple[FloatArray, FloatArray]:
    """Fit the mean of all spectra, aligned by whole channels: what it started from, and all fitted parameters.

    The first are zero-loss area, t/lambda and zero-loss position, shape (3,).
    """
    good = np.isfinite(zero.centre)
    mean = starting_values.sum_aligned(counts, zero.centre, energy) / good.sum()
    centre = float(np.median(zero.centre[good]))
    typical = starting_values.start_zero_loss(mean[np.newaxis], energy, np.array([centre]))
    compiled = compile_model(model)
    theta = compiled.start[0].copy()
    source = compiled.model.slices[0]
    used = compiled.model.energy.size
    dark = [k for k, (component, _) in enumerate(compiled.names) if component == "DarkLevel"]
    level = theta[dark[0]] * compiled.model.scale if dark else 0.0
    linear = np.concatenate([t.linear & (t.shape.role is Role.SCATTERING) for t in compiled.model.terms])
    plasmon = [k for k, name in enumerate(compiled.names) if name in _PLASMON]
    starts = []
    for lorentz_fraction, tail_fraction, tail_length in _TAILS:
        theta[source] = [typical.intensity[0], centre, typical.fwhm, 0.0, lorentz_fraction, tail_fraction, tail_length]
        peak = starting_values.zero_loss_channels(energy[:used], theta[source])
        distribution = starting_values.single_scattering(mean[:used] - level, energy[:used], peak)
        first = max(2.0, 2 * typical.fwhm)
        shapes = [theta]
        if plasmon:
            found = starting_values.start_plasmon(distribution, compiled.model.loss, typical.fwhm, start=first)
            if found is not None:
                # A narrow plasmon draws the fit to itself only from nearby.
                shapes.append(theta.copy())
                shapes[-1][plasmon] = np.clip(found, compiled.lower[plasmon], compiled.upper[plasmon])
        starts += [
            starting_values.start_scattering(
                compiled.model, linear & compiled.free, own, distribution, start=first, stop=energy[used - 1]
            )
            for own in shapes
        ]
    result = fit_spectra(
        compiled.model,
        np.broadcast_to(mean[:used], (len(starts), used)),
        np.array(starts),
        free=compiled.free,
        lower=compiled.lower,
        upper=compiled.upper,
        mask=compiled.mask,
        detector=detector,
        options=SolverOptions(max_iterations=300, minimum_counts=0.0),
    )
    best = result.best()
    values = starts[0] if best is None else result.values[best]
    for name in _INSTRUMENT:
        getattr(model[0], name).free = False
    return np.array([typical.intensity[0], max(typical.t_over_lambda[0], 1e-3), centre]), values


def _spread(model: ASSBEELSModel, typical: FloatArray, values: FloatArray, zero: starting_values.ZeroLossStart) -> None:
    """Start every spectrum from the typical one."""
    compiled = compile_model(model)
    thickness = zero.t_over_lambda / typical[1]
    column = 0
    for component, term in zip(compiled.components, compiled.model.terms, strict=True):
        for parameter, linear in zip(component.parameters, term.linear, strict=True):
            value = np.full(zero.centre.shape, values[column])
            if component.name == "ZeroLossPeak" and parameter.name == "intensity":
                value = zero.intensity * values[column] / typical[0]
            elif component.name == "ZeroLossPeak" and parameter.name == "centre":
                value = zero.centre + (values[column] - typical[2])  # the mode of an asymmetric peak is not its centre
            elif linear and term.shape.role is Role.SCATTERING:
                value = values[column] * thickness
            value = np.where(np.isfinite(value), value, values[column])
            parameter.map["values"] = value.reshape(parameter.map.shape)
            parameter.map["std"] = np.nan
            parameter.map["is_set"] = True
            column += 1
    model.fetch_stored_values()


SHAPES = {
    "vacuum": {"ZeroLossPeak": _INSTRUMENT},
    "FePO4": {"FePO4ValenceBand": ("centre", "fwhm"), "Fe_M23": ("onset_energy", "onset_width")},
    "LiFePO4": {"Li_K": ("peak_energy", "peak_fwhm", "peak_ratio")},
}
"""Positions and widths that all pixels share, by component, under the phase on which they are fitted."""
Shapes = dict[tuple[str, str], float]


def refine_shapes(model: ASSBEELSModel, masks: Mapping[str, NDArray[np.bool_]]) -> Shapes:
    """Fit positions and widths that all pixels share on the summed spectra of pure pixels, and fix them there.

    FePO4 comes before LiFePO4, and without Li, so that the shape of Fe M2,3 is known before Li K is fitted above it.

    Parameters
    ----------
    model
        A started model.
    masks
        Pure pixels of the phases in :data:`SHAPES`, as far as there are any: boolean arrays on the navigation axes.

    Returns
    -------
    shapes
        The values by (component, parameter), for :func:`apply_shapes`. A component whose fit ends at a bound, or does
        not converge, keeps what it had.
    """
    energy = np.array(model.axis.axis, dtype=float)
    data = model.signal.data.compute() if model.signal._lazy else model.signal.data
    counts = np.asarray(data, dtype=float).reshape(-1, energy.size)
    noise = detector_from_metadata(model.signal)
    names = {component.name for component in model}
    shapes: Shapes = {}
    for phase, wanted in SHAPES.items():
        shared = {component: parameters for component, parameters in wanted.items() if component in names}
        if phase not in masks or not shared:
            continue
        rows = np.flatnonzero(np.ravel(masks[phase]))
        compiled = compile_model(model)
        column = {name: k for k, name in enumerate(compiled.names)}
        centre = compiled.start[rows, column["ZeroLossPeak", "centre"]]
        total = starting_values.sum_aligned(counts[rows], centre, energy)[: compiled.mask.size]
        start = np.median(compiled.start[rows], axis=0)
        free = compiled.free.copy()
        for name, k in column.items():
            if name == ("ZeroLossPeak", "intensity") or name[0] == "DarkLevel":
                start[k] *= rows.size
            free[k] |= name[1] in shared.get(name[0], ())
            absent = (phase == "FePO4" and name[0] == "Li_K") or (phase == "vacuum" and name[0] != "ZeroLossPeak")
            if absent and free[k]:
                free[k], start[k] = False, 0.0
        result = fit_spectra(
            compiled.model,
            total[np.newaxis],
            start,
            free=free,
            lower=compiled.lower,
            upper=compiled.upper,
            mask=compiled.mask,
            detector=Detector(noise.gain, noise.read_noise * np.sqrt(rows.size)),
            options=SolverOptions(max_iterations=200, workers=1),
        )
        if not result.usable[0]:
            continue
        for component, parameters in shared.items():
            found = {name: float(result.values[0, column[component, name]]) for name in parameters}
            if not _at_bound(model[component], found):
                shapes.update({(component, name): value for name, value in found.items()})
        apply_shapes(model, shapes)
    return shapes


def _at_bound(component: Any, values: dict[str, float]) -> bool:
    """Whether a position, width or height ran into a bound: a maximum of no height has no place worth keeping.

    Those of the zero loss may: a peak without Lorentzian or tails is a peak.
    """
    if component.name == "ZeroLossPeak":
        return False
    bounds = [(getattr(component, name).bmin, getattr(component, name).bmax) for name in values]
    return any(value in pair for value, pair in zip(values.values(), bounds, strict=True))


def apply_shapes(model: ASSBEELSModel, shapes: Shapes) -> None:
    """Fix shared positions and widths at given values, in every pixel."""
    for (component, name), value in shapes.items():
        parameter = getattr(model[component], name)
        parameter.value = value
        parameter.free = False
        parameter.assign_current_value_to_all()
