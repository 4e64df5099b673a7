"""X-ray lines of a signal: which there are, which overlap, and their counts by model fit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.eds.lines.column_spectra import Builder, FloatArray
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FAMILIES, FOREIGN_ELEMENTS, find_overlaps, in_range
from hyperspy_assb.fitting.fixed_shapes.fixed_shape_fit import TemplateFit, TemplateModel, fit_templates
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED
from hyperspy_assb.signals.eds import setup as eds_setup
from hyperspy_assb.signals.eds.setup import Settings

_WIDE = 5.0
"""Standard deviations beyond which a line is nothing."""


@dataclass(frozen=True)
class BatteryLines:
    """Lines that are fitted.

    Parameters
    ----------
    lines
        One row a family: element, main line, energy in keV, what it is from ("cell" or "preparation").
    overlaps
        One row a pair of lines of different elements nearer than their width: they are fitted together.
    left_out
        Families beyond the range of the axis.
    """

    lines: pd.DataFrame
    overlaps: pd.DataFrame = field(repr=False)
    left_out: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the main lines."""
        return list(self.lines["line"])


def prepare_lines(
    signal: Any, elements: Sequence[str] | None, add: Sequence[str], remove: Sequence[str]
) -> BatteryLines:
    """What :meth:`ASSBEDSTEMSpectrum.prepare_battery_lines` does."""
    chosen = list(dict.fromkeys([*(elements or (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)), *add]))
    unknown = [el for el in remove if el not in chosen]
    if unknown:
        raise ValueError(f"remove names {', '.join(unknown)}, which is not among {', '.join(chosen)}.")
    chosen = [el for el in chosen if el not in remove]
    energy = eds_setup.energy_axis(signal)
    instrument = eds_setup.read_instrument(signal, need_angle=False)
    everything = eds_setup.database_lines(chosen)
    low, high = max(energy[0], eds_setup.FIT_RANGE[0]), min(energy[-1], eds_setup.FIT_RANGE[1])
    seen = in_range(everything, low, high, instrument.beam_energy)
    main = sorted((line for line in seen if line.name == line.family), key=lambda line: line.energy)
    names = {line.full_name for line in main}
    left = [line.full_name for line in everything if line.name in FAMILIES and line.full_name not in names]
    lacking = [el for el in chosen if el not in {line.element for line in main}]
    if lacking:
        warnings.warn(f"No line of {', '.join(lacking)} lies in the range of the axis.", UserWarning, stacklevel=3)
    signal.set_elements([el for el in chosen if el not in lacking])
    signal.metadata.Sample.xray_lines = sorted(names)
    rows = [
        {
            "line": line.full_name,
            "element": line.element,
            "energy (keV)": line.energy,
            "from": "cell" if line.element in CELL_ELEMENTS else "preparation",
        }
        for line in main
    ]
    overlaps = pd.DataFrame([asdict(o) for o in find_overlaps(seen, instrument.resolution)])
    if len(overlaps):
        overlaps.columns = ["first", "second", "energy (keV)", "distance (eV)", "width (eV)"]
    return BatteryLines(pd.DataFrame(rows), overlaps, tuple(left))


@dataclass(frozen=True, eq=False)
class LineCounts:
    """Counts of every family of lines, by model fit.

    Parameters
    ----------
    lines
        Main lines, as exspy names them.
    counts, std
        HyperSpy signals on the navigation axes by line: counts of the main line, as exspy's intensities, and their
        standard errors.
    model
        exspy's model with all values and standard errors, and the continuum as a component of its own; None for lazy
        signals.
    status
        0: fitted, 1: empty, 2: not converged, 3: lines cannot be told apart; a signal.
    background
        Strength of the continuum, a signal; None where its shape was free.
    record
        What was done.
    """

    lines: tuple[str, ...]
    counts: dict[str, Any] = field(repr=False)
    std: dict[str, Any] = field(repr=False)
    model: Any = field(repr=False)
    status: Any = field(repr=False)
    record: dict[str, Any] = field(repr=False)

    @property
    def intensities(self) -> list[Any]:
        """The list that exspy's ``quantification`` takes, sorted by name as exspy's own."""
        return [self.counts[line] for line in sorted(self.lines)]

    def select(self, lines: Sequence[str]) -> list[Any]:
        """The list for some of the lines, in their order.

        Raises
        ------
        ValueError
            If a line was not fitted.
        """
        missing = [line for line in lines if line not in self.counts]
        if missing:
            raise ValueError(f"{', '.join(missing)} was not fitted; there are {', '.join(self.lines)}.")
        return [self.counts[line] for line in lines]

    def to_dataframe(self) -> pd.DataFrame:
        """One row a pixel: counts and standard error of each line."""
        columns = {}
        for line in self.lines:
            columns[line] = np.ravel(self.counts[line].data)
            columns[f"{line} std"] = np.ravel(self.std[line].data)
        return pd.DataFrame(columns)

    def plot(self) -> Any:
        """Plot the counts of every line; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_line_counts

        return plot_line_counts(self)


def line_counts(signal: Any, lines: Sequence[str] | None, fit_range: tuple[float, float] | None) -> LineCounts:
    """What :meth:`ASSBEDSTEMSpectrum.fit_line_counts` does."""
    settings = Settings(fit_range=fit_range, absorption=False)
    if lines is None:
        lines = signal.metadata.get_item("Sample.xray_lines", None)
        if lines is None or not len(lines):
            elements = signal.metadata.get_item("Sample.elements", None)
            chosen = None if elements is None else [str(element) for element in elements]
            lines = prepare_lines(signal.deepcopy() if not signal._lazy else signal, chosen, (), ()).names
    wanted = tuple(sorted(str(line) for line in lines))
    settings = replace(settings, elements=tuple(dict.fromkeys(line.partition("_")[0] for line in wanted)))
    builder = eds_setup.make_builder(signal, settings, need_factors=False)
    low, high = builder.fit_range
    units = 1000.0 if str(signal.axes_manager.signal_axes[0].units) == "eV" else 1.0
    pattern = signal.inav[(slice(0, 1),) * signal.axes_manager.navigation_dimension]
    if pattern._lazy:
        pattern.compute(show_progressbar=False)
    own = signal if not signal._lazy else pattern
    own = own.isig[low * units : high * units]
    model = own.create_model(auto_background=False, auto_add_lines=False)
    with warnings.catch_warnings():
        # exspy starts lines from the counts of single channels, which may be 0.
        warnings.simplefilter("ignore")
        model.add_family_lines(list(wanted))
    fitted = [component.name for component in model.xray_lines]
    missing = sorted(set(wanted) - set(fitted))
    if missing:
        raise ValueError(
            f"{', '.join(missing)} lies beyond the axis, or the range of the fit ({low:g} to {high:g} keV)."
        )
    spectra = eds_setup.Spectra(signal)
    summed = eds_setup.sum_spectra(spectra)
    builder = replace(builder, fit_range=(model.axis.axis[0] / units - 1e-9, model.axis.axis[-1] / units + 1e-9))
    templates, names, continuum = _templates(model, builder, summed)
    total = summed.total[builder.channels] / summed.spectra
    start = templates.guess(total)
    fit = fit_templates(spectra, templates, start, channels=builder.channels)
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    counts, errors = {}, {}
    for i, name in enumerate(names):
        counts[name] = _dress(signal, fit.amounts[:, i], shape, name)
        errors[name] = _dress(signal, fit.std[:, i], shape, name, "Standard error of ")
    if not signal._lazy:
        _into_model(model, names, fit, continuum, shape)
    record = provenance.record(
        "fit_line_counts",
        parameters={"lines": list(names), "fit_range": [low, high]},
        methods=("poisson", "numba", "hyperspy"),
    )
    status = _dress(signal, fit.status, shape, "", "Status of the fit")
    return LineCounts(tuple(names), counts, errors, None if signal._lazy else model, status, record)


def _templates(model: Any, builder: Builder, summed: Any) -> tuple[TemplateModel, list[str], FloatArray | None]:
    """Families of exspy's model as templates, and the continuum: one of known shape, or several where it is free."""
    axis = model.axis
    names = [component.name for component in model.xray_lines]
    shapes: dict[str, Any] = {}
    for component in model.xray_lines:
        # Members of the family follow as twins, by their weights.
        component.A.value = 1.0
    for component in [*model.xray_lines, *model.family_lines]:
        main = component if component.A.twin is None else component.A.twin.component
        values = component.function(axis.axis) * axis.scale
        distance = np.abs(axis.axis - component.centre.value)
        values = np.where(distance < _WIDE * component.sigma.value, values, 0.0)
        shapes[main.name] = shapes.get(main.name, 0.0) + values
    nodes, hats = builder.hats
    size = len(names)
    columns = np.vstack([np.array([shapes[name] for name in names]), hats])
    if summed.largest > 0.05 * summed.total.sum():
        strength, continuum = np.eye(size + nodes.size), None
    else:
        height = builder.estimate_continuum(summed.total) / summed.spectra
        strength = np.zeros((size + nodes.size, size + 1))
        strength[:size, :size] = np.eye(size)
        strength[size:, size] = height
        continuum = height @ hats
    return (
        TemplateModel(
            templates=columns,
            strength=strength,
            absorption=np.zeros_like(strength),
            group=np.full(len(columns), -1, dtype=np.int64),
            bounded=np.ones(strength.shape[1], dtype=bool),
        ),
        names,
        continuum,
    )


def _into_model(
    model: Any, names: Sequence[str], fit: TemplateFit, continuum: FloatArray | None, shape: tuple[int, ...]
) -> None:
    """Values and standard errors into the parameter maps of exspy's model, so that all views of it work."""
    good = (fit.status == CONVERGED).reshape(shape)

    def fill(parameter: Any, values: FloatArray, std: FloatArray | None) -> None:
        if parameter.map is None or parameter.map.shape != shape:
            parameter._create_array()
        parameter.map["values"] = np.where(good, np.reshape(values, shape), 0.0)
        parameter.map["std"] = np.nan if std is None else np.reshape(std, shape)
        parameter.map["is_set"] = good

    for i, name in enumerate(names):
        fill(model[name].A, fit.amounts[:, i], fit.std[:, i])
    for component in model.xray_lines:
        component.A.value = 1.0
    for component in model.family_lines:
        weight = component.A.value
        i = names.index(component.A.twin.component.name)
        fill(component.A, weight * fit.amounts[:, i], weight * fit.std[:, i])
    if continuum is not None:
        axis = model.axis
        pattern = hs.signals.Signal1D(continuum, axes=[axis.get_axis_dictionary()])
        background = hs.model.components1D.ScalableFixedPattern(pattern)
        background.name, background.isbackground = "continuum", True
        background.shift.free = background.xscale.free = False
        model.append(background)
        model.background_components.append(background)
        fill(background.yscale, fit.amounts[:, -1], fit.std[:, -1])
    for component in model:
        for parameter in component.parameters:
            if not parameter.map["is_set"].any():
                fill(parameter, np.full(fit.status.size, parameter.value), None)
    model.fetch_stored_values()


def _dress(signal: Any, values: Any, shape: tuple[int, ...], line: str, title: str = "") -> Any:
    """A signal like exspy's intensities."""
    axes = signal.axes_manager._get_navigation_axes_dicts()
    data = np.reshape(values, shape)
    dressed = hs.signals.BaseSignal(data, axes=axes) if axes else hs.signals.BaseSignal(data)
    dressed = dressed.transpose(signal_axes=0) if axes else dressed.transpose()
    dressed.metadata.General.title = f"{title}{line}"
    if line:
        dressed.metadata.set_item("Sample.elements", [line.partition("_")[0]])
        dressed.metadata.set_item("Sample.xray_lines", [line])
    return dressed
