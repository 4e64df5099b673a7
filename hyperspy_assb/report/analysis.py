"""Analysis of one low-loss spectrum image from start to end: fit, maps, table, chosen spectra, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.components.low_loss import IonisationEdge
from hyperspy_assb.eels.scattering.separability import Separability
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Status, usable
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.multifit import FitOptions
from hyperspy_assb.models.recorded_noise import detector_of_model, model_noise
from hyperspy_assb.models.recorded_signal import recorded_data, recorded_text
from hyperspy_assb.reference import Electrode
from hyperspy_assb.report import findings
from hyperspy_assb.report.delithiation import delithiation_maps
from hyperspy_assb.report.output import Progress, recorded_warnings
from hyperspy_assb.report.spectra import FittedSpectrum, choose_spectra
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.eels.delithiation_estimate import quantify_delithiation
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.signals.eels.low_loss_model import apply_shapes
from hyperspy_assb.signals.eels.low_loss_reading import on_navigation_axes

STATUS_NAMES = {int(s): s.name.lower().replace("_", " ") for s in Status}
BAND = "FePO4ValenceBand"
DELITHIATION_WORKS = (
    "lithium",
    "combined",
    "sum_rule",
    "detection_limit",
    "delithiation",
    "false_discovery",
    "populations",
)
"""Works to cite for x, and for what is read from its map."""


@dataclass(frozen=True)
class Map:
    """One value per pixel.

    Parameters
    ----------
    signal
        HyperSpy signal on the navigation axes.
    label
        What it is.
    units
        Unit of the values.
    words
        Names of the values where they are classes.
    """

    signal: Any
    label: str
    units: str = ""
    words: Mapping[int, str] | None = None
    electrode: Electrode | None = None


@dataclass(frozen=True)
class Analysis:
    """All that is known of a spectrum image after its fit.

    Parameters
    ----------
    title
        Title of the signal.
    findings
        What was found, in sentences.
    maps
        Values per pixel by name.
    table
        One row per pixel: indices, positions, values, standard errors, status in words.
    spectra
        Chosen pixels: best, median and worst fit, thinnest and thickest column.
    parameters
        What was asked for, and the fitted values that all pixels share.
    warnings
        What the library warned of.
    provenance
        Record of :func:`hyperspy_assb.provenance.record`.
    delithiation
        x of the electrode by every method, the combined one shown; None where there were no references.
    model
        The fitted model.
    separability
        Which edges are told apart.
    """

    title: str
    findings: tuple[str, ...]
    maps: dict[str, Map]
    table: pd.DataFrame = field(repr=False)
    spectra: tuple[FittedSpectrum, ...] = field(repr=False)
    parameters: dict[str, Any] = field(repr=False)
    warnings: tuple[str, ...]
    provenance: dict[str, Any] = field(repr=False)
    delithiation: Delithiation | None = field(repr=False)
    model: ASSBEELSModel = field(repr=False)
    separability: tuple[Separability, ...] = ()


def analyse_low_loss(
    signal: Any,
    elements: Sequence[str] | None = None,
    valence: str = "continuum",
    references: Mapping[str, Any] | Delithiation | None = None,
    progress: Progress | None = None,
    *,
    files: Sequence[str | PathLike[str]] = (),
    earlier_warnings: Sequence[str] = (),
) -> Analysis:
    """Fit every pixel of a low-loss spectrum image, and gather what the fit says.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Low-loss spectra with the zero loss in range, of at most two navigation axes.
    elements
        Elements whose edges are fitted; by default those of the metadata, or Li, Fe, P and O, or with references those
        of the phases.
    valence
        "continuum", or "plasmon" for simple metals, which cannot be combined with references.
    references
        Pure pixels of each phase, or the result for another signal of the same specimen, as for
        ``quantify_delithiation``; None: no x is estimated.
    progress
        Called as the analysis goes on.
    files
        Files that the signal was read from, for the record.
    earlier_warnings
        What was warned of when they were read.

    Returns
    -------
    Analysis
        Maps, table, chosen spectra and findings.

    Raises
    ------
    AssbValueError
        If the signal, the elements or the references cannot be used, or no spectrum could be fitted.
    AssbNotImplementedError
        If the energy axis is not uniform.
    """
    report = progress or (lambda stage, done, total: None)
    if references is not None and valence != "continuum":
        raise AssbValueError('Delithiation needs valence="continuum": one plasmon does not describe the phases.')
    if signal.axes_manager.navigation_dimension > 2:
        raise AssbValueError(
            f"The signal has {signal.axes_manager.navigation_dimension} navigation axes: give one map at a time."
        )
    with recorded_warnings() as messages:
        report("zero loss", 0, 0)
        signal.validate_energy_axis(zero_loss=True)
        count = max(1, int(signal.axes_manager.navigation_size))
        found = None
        if references is not None:
            if isinstance(references, Delithiation):
                report("quantify", 0, count)
            else:
                report("calibrate", 0, 0)
            chosen = None if elements is None else tuple(elements)
            found = quantify_delithiation(
                signal, references, "combined", elements=chosen, progress=_counted(report, "quantify", count)
            )
        report("start", 0, 0)
        model = signal.create_low_loss_model(elements if found is None else found.standard.elements, valence=valence)
        if found is not None:
            apply_shapes(model, found.standard.shapes)
        report("fit", 0, count)
        # Of a map that does not fit into memory, the covariance of all pixels would not either; nothing here needs it.
        options = FitOptions(covariance=not signal._lazy, progress=_counted(report, "fit", count))
        model.multifit(options=options)
        status = np.ravel(model.fit_quality.status.data)
        if not usable(status).any():
            words = ", ".join(sorted({STATUS_NAMES[int(s)] for s in status}))
            raise AssbValueError(f"None of the {status.size} spectra could be fitted ({words}).")
        separability = tuple(model.edge_separability())
        absolute = not signal.check_microscope_parameters().missing
        maps = collect_maps(model, separability, absolute=absolute, result=found)
    asked = {"elements": elements, "valence": valence, "references": _describe_references(references)}
    parameters = {"requested": provenance.to_plain(asked), **shared_parameters(model)}
    methods = ["poisson", "valence", *(DELITHIATION_WORKS if found else ()), "hyperspy", "numpy", "scipy", "numba"]
    return Analysis(
        title=recorded_text(signal, "General.title") or "Low-loss spectra",
        findings=tuple(findings.describe(model, maps, separability, found)),
        maps=maps,
        table=tabulate(maps),
        spectra=tuple(choose_spectra(model)),
        parameters=parameters,
        warnings=tuple(dict.fromkeys([*earlier_warnings, *messages])),
        provenance=provenance.record("analyse_low_loss", files=files, parameters=parameters, methods=methods),
        delithiation=found,
        model=model,
        separability=separability,
    )


def collect_maps(
    model: ASSBEELSModel,
    separability: Sequence[Separability],
    *,
    absolute: bool,
    result: Delithiation | None,
) -> dict[str, Map]:
    """Maps of a fitted model: electrons, zero loss, t/lambda, band or plasmon, areal densities, fit quality, and x."""
    signal, components = model.signal, {component.name: component for component in model}

    def as_map(values: Any, label: str, units: str = "", words: Mapping[int, str] | None = None) -> Map:
        return Map(on_navigation_axes(signal, values, title=label), label, units, words)

    def value(component: str, parameter: str) -> tuple[FloatArray, FloatArray]:
        stored = getattr(components[component], parameter).map
        usable = np.where(stored["is_set"], 1.0, np.nan)
        return stored["values"] * usable, stored["std"] * usable

    centre, centre_std = value("ZeroLossPeak", "centre")
    counts = recorded_data(signal, unusable="keep")
    electrons = np.asarray(counts.sum(axis=-1, dtype=float)) / detector_of_model(model).gain
    maps = {
        "electrons": as_map(electrons, "Recorded electrons"),
        "zero_loss_centre": as_map(centre, "Zero-loss centre", "eV"),
        "zero_loss_centre_std": as_map(centre_std, "Standard error of the zero-loss centre", "eV"),
        "zero_loss_fwhm": as_map(value("ZeroLossPeak", "fwhm")[0], "Zero-loss full width at half maximum", "eV"),
        "t_over_lambda": as_map(model.t_over_lambda(), "t/λ"),
    }
    if BAND in components:
        area, std = value(BAND, "intensity")
        with np.errstate(divide="ignore", invalid="ignore"):
            significance = np.where(std > 0, area / std, np.nan)
        maps["band_area"] = as_map(area, "Area of the 5 eV band", "share of the zero loss")
        maps["band_area_std"] = as_map(std, "Standard error of the area of the 5 eV band", "share of the zero loss")
        maps["band_significance"] = as_map(significance, "Significance of the 5 eV band", "σ")
    if "VolumePlasmon" in components:
        energy, std = value("VolumePlasmon", "plasmon_energy")
        maps["plasmon_energy"] = as_map(energy, "Plasmon energy", "eV")
        maps["plasmon_energy_std"] = as_map(std, "Standard error of the plasmon energy", "eV")
        maps["plasmon_fwhm"] = as_map(value("VolumePlasmon", "fwhm")[0], "Plasmon full width at half maximum", "eV")
    mixed = {s.edge for s in separability if not s.separable}
    units = "atoms/nm²" if absolute else "relative"
    for name, component in components.items():
        if not isinstance(component, IonisationEdge):
            continue
        density, std = value(name, "areal_density")
        label = f"Areal density from {name.replace('_', ' ')}" + (" (not separated)" if name in mixed else "")
        maps[f"areal_density_{name}"] = as_map(density, label, units)
        maps[f"areal_density_{name}_std"] = as_map(std, f"Standard error: {label[0].lower()}{label[1:]}", units)
    quality = model.fit_quality
    maps["reduced_deviance"] = as_map(quality.deviance.data / quality.dof.data, "Reduced deviance")
    maps["fit_status"] = as_map(quality.status.data, "Fit status", words=STATUS_NAMES)
    if result is not None:
        maps |= delithiation_maps(result, Map)
    return maps


def tabulate(maps: Mapping[str, Map]) -> pd.DataFrame:
    """One row per pixel: its indices and position, and every map; units stand in the names."""
    first = next(iter(maps.values())).signal
    shape = first.data.shape
    columns: dict[str, Any] = {}
    axes = first.axes_manager._axes if first.axes_manager.navigation_dimension else []
    for number, (axis, index) in enumerate(zip(axes, np.indices(shape), strict=False)):
        name = str(axis.name) if str(axis.name) != "<undefined>" else f"axis {number}"
        units = str(axis.units) if str(axis.units) not in ("<undefined>", "None", "") else "px"
        columns[f"{name} index"] = index.ravel()
        columns[f"{name} position ({units})"] = axis.axis[index.ravel()]
    for name, item in maps.items():
        values = np.ravel(item.signal.data)
        if item.words is not None:
            columns[name] = [item.words.get(int(v), str(int(v))) for v in values]
        else:
            columns[f"{name} ({item.units})" if item.units else name] = values
    return pd.DataFrame(columns)


def shared_parameters(model: ASSBEELSModel) -> dict[str, Any]:
    """Range, detector and the values that are the same in every pixel."""
    used = np.array(model.axis.axis)[model._channel_switches]
    detector = detector_of_model(model)
    fixed = {
        component.name: {
            f"{p.name} ({p.units})" if p.units else p.name: float(p.value) for p in component.parameters if not p.free
        }
        for component in model
    }
    return {
        "fit": {
            "energy range (eV)": f"{used[0]:.2f} to {used[-1]:.2f}",
            "channel width (eV)": float(model.axis.scale),
            "gain (counts per electron)": detector.gain,
            "read noise (counts)": detector.read_noise,
            "noise": model_noise(model).sentence,
            "free parameters per spectrum": sum(len(c.free_parameters) for c in model),
            "components": [c.name for c in model],
        },
        "fixed": {name: values for name, values in fixed.items() if values},
    }


def _counted(report: Progress, stage: str, count: int) -> Callable[[int], None]:
    """What is to be called with the number of spectra done since the last call."""
    finished = 0

    def advance(spectra: int) -> None:
        nonlocal finished
        finished += spectra
        report(stage, finished, count)

    return advance


def _describe_references(references: Any) -> Any:
    if references is None:
        return None
    if isinstance(references, Delithiation):
        return "calibration of another signal"
    return {phase: f"{int(np.sum(getattr(mask, 'data', mask)))} pixels" for phase, mask in references.items()}
