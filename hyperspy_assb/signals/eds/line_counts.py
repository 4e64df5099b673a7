"""Lines of an EDX signal: which there are, which overlap, and their counts by model fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import hyperspy.api as hs
import numpy as np
import pandas as pd
from exspy.models import EDSTEMModel
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import FitStatus
from hyperspy_assb.eds.eds_map import EDSOptions, FloatArray
from hyperspy_assb.eds.lines.column_spectra import make_builder
from hyperspy_assb.eds.lines.family_counts import FamilyCounts, GivenLine, count_families
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, choose_lines
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED
from hyperspy_assb.models.recorded_signal import check_title
from hyperspy_assb.signals.eds.map_reading import read_map, units_per_keV
from hyperspy_assb.signals.result import Result

_EDGE = 1e-9
"""keV that keep the first and the last channel of a range within it."""


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
    chosen = choose_lines(read_map(signal, need_angle=False), elements, add, remove)
    signal.set_elements(list(chosen.elements))
    signal.metadata.Sample.xray_lines = sorted(line.full_name for line in chosen.main)
    rows = [
        {
            "line": line.full_name,
            "element": line.element,
            "energy (keV)": line.energy,
            "from": "cell" if line.element in CELL_ELEMENTS else "preparation",
        }
        for line in chosen.main
    ]
    overlaps = pd.DataFrame([asdict(overlap) for overlap in chosen.overlaps])
    if len(overlaps):
        overlaps.columns = ["first", "second", "energy (keV)", "distance (eV)", "width (eV)"]
    return BatteryLines(pd.DataFrame(rows), overlaps, chosen.left_out)


@dataclass(frozen=True, eq=False)
class LineCounts(Result):
    """Counts of every family of lines, by model fit.

    Parameters
    ----------
    lines
        Main lines, as exspy names them; F of them.
    values, values_std
        Counts of the main lines, as exspy's intensities, and their standard errors, shape (N, F).
    codes
        Status of N fits.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
    >>> n = s.fit_line_counts(["Fe_Ka", "P_Ka"])
    >>> n.counts["Fe_Ka"].data.round(), n.std["Fe_Ka"].data.round()
    (array([[154., 159.,  85.],
           [347., 393., 363.]]), array([[12., 12.,  9.],
           [18., 19., 18.]]))
    >>> n.statuses(int(n.status.data[0, 0])).name
    'FITTED'
    >>> len(n.intensities), n.model
    (2, <EDSTEMModel, title: Virtual micro-battery after bias, X-rays>)
    >>> print(n.summary())
    Fe_Ka: 1501 ± 37 counts in all pixels.
    P_Ka: 1757 ± 44 counts in all pixels.
    >>> axes = n.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = FitStatus
    lines: tuple[str, ...]
    values: FloatArray = field(repr=False)
    values_std: FloatArray = field(repr=False)
    codes: NDArray[np.int8] = field(repr=False)

    @cached_property
    def counts(self) -> dict[str, BaseSignal]:
        """Counts of the main line by line, as HyperSpy signals."""
        return {line: self._intensity(self.values[:, i], line) for i, line in enumerate(self.lines)}

    @cached_property
    def std(self) -> dict[str, BaseSignal]:
        """Their standard errors."""
        return {
            line: self._intensity(self.values_std[:, i], line, "Standard error of ")
            for i, line in enumerate(self.lines)
        }

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eds.composition.atoms.FitStatus` as integers."""
        return self._map(self.codes, "Status of the fit")

    @cached_property
    def model(self) -> EDSTEMModel | None:
        """exspy's model with all values and standard errors, and the continuum as a separate component.

        None for lazy signals, and for counts from a file, which holds no model.
        """
        return None

    @property
    def intensities(self) -> list[BaseSignal]:
        """The list that exspy's ``quantification`` takes, sorted by name as exspy's own."""
        return [self.counts[line] for line in sorted(self.lines)]

    def select(self, lines: Sequence[str]) -> list[BaseSignal]:
        """The list for some of the lines, in their order.

        Parameters
        ----------
        lines
            Main lines, such as ["Fe_Ka"].

        Returns
        -------
        list of hyperspy.signals.BaseSignal
            One a line.

        Raises
        ------
        AssbValueError
            If a line was not fitted.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> s.fit_line_counts(["Fe_Ka", "P_Ka"]).select(["P_Ka"])
        [<BaseSignal, title: P_Ka, dimensions: (3, 2|)>]
        """
        missing = [line for line in lines if line not in self.counts]
        if missing:
            raise AssbValueError(f"{', '.join(missing)} was not fitted; there are {', '.join(self.lines)}.")
        return [self.counts[line] for line in lines]

    def summary(self) -> str:
        """Counts of every line in all pixels together, and the notes."""
        row = self._region_row(self._everywhere())
        lines = [f"{line}: {row[line]:.4g} ± {row[f'{line} std']:.2g} counts in all pixels." for line in self.lines]
        return "\n".join((*lines, *self.notes))

    def plot(self) -> NDArray[np.object_]:
        """Plot the counts of every line; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_line_counts

        return plot_line_counts(self)

    def _intensity(self, values: FloatArray, line: str, title: str = "") -> Any:
        """A signal like exspy's intensities."""
        dressed = self._map(values, f"{title}{line}", "counts")
        dressed = dressed if self.axes else dressed.transpose()
        dressed.metadata.set_item("Sample.elements", [line.partition("_")[0]])
        dressed.metadata.set_item("Sample.xray_lines", [line])
        return dressed

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = {}
        for i, line in enumerate(self.lines):
            columns[line] = self.values[:, i]
            columns[f"{line} std"] = self.values_std[:, i]
        return columns

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = mask.ravel() & (self.codes == FitStatus.FITTED)
        row = {}
        for i, line in enumerate(self.lines):
            row[line] = float(self.values[inside, i].sum()) if inside.any() else float("nan")
            row[f"{line} std"] = float(np.linalg.norm(self.values_std[inside, i])) if inside.any() else float("nan")
        return row

    def _shown(self) -> Any:
        return self._stacked(self.counts, "Counts of lines")


def line_counts(signal: Any, lines: Sequence[str] | None, fit_range: tuple[float, float] | None) -> LineCounts:
    """What :meth:`ASSBEDSTEMSpectrum.fit_line_counts` does."""
    check_title(signal)
    recorded = read_map(signal, need_angle=False)
    if lines is None:
        lines = recorded.lines or [line.full_name for line in choose_lines(recorded, recorded.elements).main]
    wanted = tuple(sorted(str(line) for line in lines))
    elements = tuple(dict.fromkeys(line.partition("_")[0] for line in wanted))
    settings = EDSOptions(fit_range=fit_range, absorption=False, elements=elements)
    builder = make_builder(recorded, settings, need_factors=False)
    low, high = builder.fit_range
    units = units_per_keV(signal)
    model = _exspy_model(signal, wanted, low * units, high * units)
    missing = sorted(set(wanted) - {component.name for component in model.xray_lines})
    if missing:
        raise AssbValueError(
            f"{', '.join(missing)} lies outside of the axis or the fitted range ({low:g} to {high:g} keV)."
        )
    axis = model.axis.axis
    builder = replace(builder, fit_range=(axis[0] / units - _EDGE, axis[-1] / units + _EDGE))
    found = count_families(recorded.spectra, builder, axis, _lines_of(model))
    shape = recorded.shape or (1,)
    record = provenance.record(
        "fit_line_counts",
        parameters={"lines": list(found.families), "fit_range": [low, high]},
        methods=("poisson", "numba", "hyperspy"),
    )
    size = len(found.families)
    counts = LineCounts(
        lines=found.families,
        values=found.fit.amounts[:, :size],
        values_std=found.fit.std[:, :size],
        codes=found.fit.status,
        axes=recorded.axes,
        provenance=record,
    )
    if not signal._lazy:
        _into_model(model, found, shape)
        vars(counts)["model"] = model
    return counts


def _exspy_model(signal: Any, lines: Sequence[str], low: float, high: float) -> Any:
    """exspy's model of lines; of one spectrum alone where the signal is lazy."""
    if signal._lazy:
        signal = signal.inav[(slice(0, 1),) * signal.axes_manager.navigation_dimension]
        signal.compute(show_progressbar=False)
    model = signal.isig[low:high].create_model(auto_background=False, auto_add_lines=False)
    with warnings.catch_warnings():
        # exspy starts lines from the counts of single channels, which may be 0.
        warnings.simplefilter("ignore")
        model.add_family_lines(list(lines))
    return model


def _lines_of(model: Any) -> list[GivenLine]:
    """Lines of exspy's model, main lines first."""
    for component in model.xray_lines:
        # Members of the family follow as twins, by their weights.
        component.A.value = 1.0
    axis = model.axis
    return [
        GivenLine(
            family=component.name if component.A.twin is None else component.A.twin.component.name,
            centre=component.centre.value,
            sigma=component.sigma.value,
            counts=component.function(axis.axis) * axis.scale,
        )
        for component in [*model.xray_lines, *model.family_lines]
    ]


def _into_model(model: Any, found: FamilyCounts, shape: tuple[int, ...]) -> None:
    """Values and standard errors into the parameter maps of exspy's model, so that all views of it work."""
    names, fit = found.families, found.fit
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
    if found.continuum is not None:
        axis = model.axis
        pattern = hs.signals.Signal1D(found.continuum, axes=[axis.get_axis_dictionary()])
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
