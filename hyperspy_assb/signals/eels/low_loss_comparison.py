"""Low-loss spectra of two or more states compared: from signals to tables, and the object that holds them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb import provenance, reference
from hyperspy_assb.eels.comparison.low_loss_comparison import compare_states
from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.comparison.results import Comparison
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.signals.eels import comparison_tables as tables
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.signals.loading import check_result_path
from hyperspy_assb.signals.region_mask import region_mask

_METHODS = ("fourier_log", "cluster_permutation", "max_statistic", "hyperspy", "numpy", "scipy", "numba")


@dataclass(frozen=True)
class LowLossComparison:
    """What changed between the low-loss spectra of a specimen in two or more states.

    Parameters
    ----------
    bands
        One row for each band, and for the energy and the width of the volume plasmon, in each later state: limits,
        value before and after, change against the first state with its standard errors, p values, effect sizes, and
        what follows from them. See :func:`hyperspy_assb.signals.eels.comparison_tables.band_table`.
    clusters
        Ranges of energy that changed without having been named: limits in eV, mass and p value.
    states
        One row a state: pixels, effective number of independent pixels, blocks, t/lambda, plasmon, electrons.
    trend
        With more than two states, slope of each band over the potential, with p values; else empty.
    before, after
        Mean single-scattering distribution of the first state, and of the later ones (more than one: along a navigation
        axis ``bias``). The variance of each is its noise variance. In shares of t/lambda per eV.
    difference
        After minus before at one thickness, with its variance.
    conclusions
        In sentences.
    settings
        How they were compared, and how p values were found.
    """

    bands: pd.DataFrame = field(repr=False)
    clusters: pd.DataFrame = field(repr=False)
    states: pd.DataFrame = field(repr=False)
    trend: pd.DataFrame = field(repr=False)
    before: Any
    after: Any
    difference: Any
    conclusions: tuple[str, ...]
    settings: dict[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        return f"LowLossComparison of {len(self.states)} states:\n{self.summary()}"

    def summary(self) -> str:
        """What was found, one sentence a line."""
        return "\n".join(self.conclusions)

    def plot(self) -> Any:
        """Plot the spectra, their difference with its confidence band, and what changed.

        Returns
        -------
        axes : numpy.ndarray
            The matplotlib axes: spectra above, difference below.
        """
        from hyperspy_assb.plotting.comparison import plot_comparison

        return plot_comparison(self)

    def kramers_kronig(self, refractive_index: float, **arguments: Any) -> tuple[Any, ...]:
        """Dielectric function of each state by exspy's Kramers-Kronig analysis of its mean distribution.

        Parameters
        ----------
        refractive_index
            Refractive index for visible light, by which the loss function is scaled; large for metals.
        **arguments
            For :meth:`exspy.signals.EELSSpectrum.kramers_kronig_analysis`, such as ``iterations``.

        Returns
        -------
        tuple of exspy.signals.DielectricFunction
            In the order of the states.

        Raises
        ------
        ValueError
            If beam energy, convergence or collection angle are not in the metadata, or the refractive index is not
            above 1.
        """
        if not refractive_index > 1.0:
            raise ValueError(f"refractive_index must be above 1, that of vacuum, not {refractive_index}.")
        after = [self.after.inav[i] for i in range(self.after.axes_manager.navigation_size)] or [self.after]
        found = []
        for signal, thickness in zip((self.before, *after), self.states["t/λ"], strict=True):
            lacking = signal.check_microscope_parameters().missing
            if lacking:
                raise ValueError(
                    f"Kramers-Kronig analysis needs {', '.join(lacking)}: set_microscope_parameters before comparing."
                )
            found.append(
                _per_electron(signal, thickness).kramers_kronig_analysis(zlp=1.0, n=refractive_index, **arguments)
            )
        return tuple(found)

    def save(self, path: str | Path, *, overwrite: bool | None = None) -> None:
        """Save everything in one file.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks.
        """
        check_result_path(path)
        signals = (self.before, self.after, self.difference)
        rows = [np.atleast_2d(s.data) for s in signals] + [np.atleast_2d(s.get_noise_variance().data) for s in signals]
        axis = dict(self.before.axes_manager.signal_axes[0].get_axis_dictionary())
        stack = hs.signals.Signal1D(np.concatenate(rows), axes=[{"name": "row", "size": sum(map(len, rows))}, axis])
        stack.metadata.add_dictionary(self.before.metadata.as_dictionary())
        del stack.metadata.Signal.Noise_properties
        stack.set_signal_type("EELS_ASSB")
        content = {name: json.dumps(getattr(self, name).to_dict(orient="split")) for name in _TABLES}
        content["types"] = {name: [str(t) for t in getattr(self, name).dtypes] for name in _TABLES}
        content |= {"settings": json.dumps(self.settings), "conclusions": list(self.conclusions)}
        content["bias"] = [float(v) for v in _bias_values(self.after)]
        stack.metadata.set_item("ASSB.comparison", content)
        stack.save(str(path), overwrite=overwrite)


_TABLES = ("bands", "clusters", "states", "trend")


def _table_from(text: str, types: Sequence[str]) -> pd.DataFrame:
    """A table as it was written, with its types, which numbers in JSON do not keep."""
    table = pd.DataFrame(**json.loads(text))
    if table.empty:
        table.index = pd.RangeIndex(0)
    return table.astype(dict(zip(table.columns, types, strict=True)))


def load_comparison(path: str | Path) -> LowLossComparison:
    """Load what :meth:`LowLossComparison.save` wrote.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    stack = hs.load(str(path))
    node = stack.metadata.get_item("ASSB.comparison", None) if not isinstance(stack, list) else None
    if node is None:
        raise ValueError(f"{path} holds no comparison: it was not written by LowLossComparison.save.")
    content = {name: _table_from(getattr(node, name), node.types.get_item(name)) for name in _TABLES}
    count = (stack.data.shape[0] // 2 - 1) // 2
    parts = np.split(stack.data, np.cumsum([1, count, count, 1, count]))
    del stack.metadata.ASSB.comparison
    bias = np.asarray(node.bias, dtype=float)
    template = stack.inav[0]
    names = ("before", "after", "difference")
    signals = {}
    for number, name in enumerate(names):
        title = tables.TITLES[name]
        signals[name] = _spectrum(template, parts[number], parts[number + 3], bias if number else None, title)
    return LowLossComparison(
        **content, **signals, conclusions=tuple(node.conclusions), settings=json.loads(node.settings)
    )


def compare_low_loss(
    before: Any,
    after: Any,
    *,
    region: Any = None,
    zero_loss: Any = None,
    bands: Sequence[Any] | None = None,
    bias: Sequence[float] | None = None,
    options: ComparisonOptions | None = None,
) -> LowLossComparison:
    """What :meth:`ASSBEELSSpectrum.compare_low_loss` does."""
    signals, scores = _collect_states(before, after, bias)
    options = options or ComparisonOptions()
    if isinstance(zero_loss, str) and zero_loss in ("common", "each"):
        options = replace(options, zero_loss=zero_loss)
        zero_loss = None
    given = None if zero_loss is None else _single_spectrum(zero_loss)
    maps = [read_low_loss(signal) for signal in signals]
    regions = list(region) if isinstance(region, tuple | list) else [region] * len(signals)
    if len(regions) != len(signals):
        raise ValueError(f"region names {len(regions)} regions, but there are {len(signals)} states: one for each.")
    chosen_pixels = [
        None if r is None else region_mask(s, r, name="region" if number == 0 else f"region of state {number}")
        for number, (s, r) in enumerate(zip(signals, regions, strict=True))
    ]
    spectra = [Spectra.of(m, pixels) for m, pixels in zip(maps, chosen_pixels, strict=True)]
    chosen = [reference.band(name) for name in reference.COMPARED] if bands is None else list(bands)
    known = [reference.band(b) if isinstance(b, str) else b for b in chosen]
    windows = [Window(b.name, *b.window, b.background) for b in known]
    found = compare_states(spectra, windows, options, scores=scores, zero_loss=given)
    result = _dress(found, before, maps, known, scores, options)
    for message in tables.warnings_of(found):
        warnings.warn(message, UserWarning, stacklevel=3)
    return result


def _collect_states(before: Any, after: Any, bias: Sequence[float] | None) -> tuple[list[Any], list[float]]:
    """The states as signals, and their potentials."""
    if after is None:
        axes = [axis for axis in before.axes_manager.navigation_axes if axis.name == "bias"]
        if not axes or axes[0].size < 2:
            raise ValueError(
                "There is one state only: give the state after bias, a list of states, or a signal with a navigation "
                "axis named 'bias'."
            )
        number = before.axes_manager.navigation_axes.index(axes[0])
        signals = []
        for i in range(axes[0].size):
            # Slicing keeps a size for a float index only if it is an integer.
            index: list[Any] = [slice(None)] * before.axes_manager.navigation_dimension
            index[number] = i
            signals.append(before.inav[tuple(index)])
        return signals, [float(v) for v in (axes[0].axis if bias is None else bias)]
    later = list(after) if isinstance(after, list | tuple) else [after]
    signals = [before, *later]
    if bias is not None and len(bias) != len(signals):
        raise ValueError(f"bias has {len(bias)} values, but there are {len(signals)} states: one for each.")
    if bias is not None and not np.all(np.isfinite(bias)):
        raise ValueError(f"bias holds values that are not finite: {list(bias)}.")
    if bias is not None and len(bias) > 2 and len(set(bias)) == 1:
        raise ValueError(f"bias is {bias[0]:g} in every state: a trend needs states that differ in it.")
    for number, signal in enumerate(signals):
        if not hasattr(signal, "validate_energy_axis"):
            raise TypeError(
                f"State {number} is {type(signal).__name__}: load it with signal_type='EELS_ASSB', or "
                "set_signal_type('EELS_ASSB')."
            )
    return signals, [float(v) for v in (range(len(signals)) if bias is None else bias)]


def _single_spectrum(signal: Any) -> tuple[Any, Any]:
    if not hasattr(signal, "axes_manager"):
        raise TypeError(
            f"zero_loss must be 'common', 'each', or a signal recorded in vacuum, not {type(signal).__name__}."
        )
    if signal.axes_manager.navigation_size > 1:
        raise ValueError("zero_loss has navigation axes: sum its pixels, or take one of them.")
    return np.asarray(signal.data).reshape(-1), np.array(signal.axes_manager.signal_axes[0].axis, dtype=np.float64)


def _dress(
    found: Comparison,
    template: Any,
    maps: Sequence[LowLossMap],
    bands: Sequence[Any],
    scores: Sequence[float],
    options: ComparisonOptions,
) -> LowLossComparison:
    """Tables and signals from arrays."""
    energy_step = float(found.loss[1] - found.loss[0])
    per_ev = 1 / energy_step
    parameters = {**provenance.to_plain(options), "files": [m.file for m in maps], "bias": list(scores)}
    record = provenance.record("compare_low_loss", parameters=parameters, methods=_METHODS)

    def dress(rows: Sequence[Any], std: Sequence[Any], counting: Sequence[Any], name: str) -> Any:
        data = np.array(rows) * per_ev
        variance = np.where(np.isfinite(std), std, counting) ** 2 * per_ev**2
        blank = _template(template, found.loss, record)
        return _spectrum(blank, data, variance, None if name == "before" else np.array(scores[1:]), tables.TITLES[name])

    states, changes = found.states, found.changes
    names = tables.state_names(scores, len(states))
    table = tables.band_table(found, bands, names, options)
    settings = tables.settings_of(found, options) | {"names": list(names), "citations": record["citations"]}
    result = LowLossComparison(
        bands=table,
        clusters=tables.cluster_table(found, names, options),
        states=tables.state_table(found, maps, names, scores),
        trend=tables.trend_table(found),
        before=dress([states[0].mean], [states[0].std], [states[0].std_counting], "before"),
        after=dress(
            [s.mean for s in states[1:]], [s.std for s in states[1:]], [s.std_counting for s in states[1:]], "after"
        ),
        difference=dress(
            [c.difference for c in changes],
            [c.difference_std for c in changes],
            [c.difference_std_counting for c in changes],
            "difference",
        ),
        conclusions=(),
        settings=settings,
    )
    return replace(result, conclusions=tuple(tables.conclude(result, options)))


def _template(signal: Any, loss: np.ndarray, record: dict[str, Any]) -> Any:
    """An empty spectrum on the loss axis with the metadata of a signal."""
    axis = {"name": "Energy loss", "units": "eV", "scale": float(loss[1] - loss[0]), "offset": 0.0, "size": loss.size}
    blank = hs.signals.Signal1D(np.zeros(loss.size), axes=[axis])
    for node in ("Acquisition_instrument", "Sample"):
        if signal.metadata.has_item(node):
            blank.metadata.set_item(node, signal.metadata.get_item(node).as_dictionary())
    blank.set_signal_type("EELS_ASSB")
    # Per eV: not counts of a channel.
    blank.axes_manager.signal_axes[0].is_binned = False
    blank.metadata.set_item("ASSB.provenance", record)
    return blank


def _spectrum(template: Any, data: np.ndarray, variance: np.ndarray, bias: np.ndarray | None, title: str) -> Any:
    """One spectrum, or several along a navigation axis ``bias``, with their variance."""

    def dress(values: np.ndarray) -> Any:
        if bias is None or bias.size == 1:
            return template._deepcopy_with_new_data(np.asarray(values, dtype=float)[0])
        axis = template.axes_manager.signal_axes[0].get_axis_dictionary()
        axes = [{"_type": "DataAxis", "name": "bias", "units": "V", "axis": bias, "navigate": True}, axis]
        many = hs.signals.Signal1D(np.asarray(values, dtype=float), axes=axes)
        many.metadata.add_dictionary(template.metadata.as_dictionary())
        many.set_signal_type("EELS_ASSB")
        return many

    signal, noise = dress(data), dress(variance)
    signal.metadata.General.title = title
    signal.metadata.set_item("Signal.quantity", "Single scattering (share of t/λ per eV)")
    noise.metadata.General.title = f"Variance of {title}"
    signal.set_noise_variance(noise)
    return signal


def _bias_values(after: Any) -> np.ndarray:
    axes = after.axes_manager.navigation_axes
    return np.array(axes[0].axis) if axes else np.array([1.0])


def _per_electron(signal: Any, thickness: float) -> Any:
    """Electrons scattered once for each zero-loss electron; noise below nothing, which no loss function has, is cut."""
    copy = signal.deepcopy()
    axis = copy.axes_manager.signal_axes[0]
    copy.data = np.maximum(copy.data, 0.0) * axis.scale * thickness
    axis.is_binned = True
    return copy
