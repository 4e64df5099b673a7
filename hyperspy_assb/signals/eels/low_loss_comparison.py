"""Low-loss spectra of two or more states compared: from signals to tables, and the object that holds them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from exspy.signals import DielectricFunction, EELSSpectrum
from numpy.typing import NDArray

from hyperspy_assb import provenance, reference
from hyperspy_assb.eels.comparison.low_loss_comparison import compare_states
from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.comparison.results import Comparison
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.errors import AssbTypeError, AssbValueError, AssbWarning
from hyperspy_assb.progress import progress_bar
from hyperspy_assb.signals.beam_dose import dose_of
from hyperspy_assb.signals.eels import comparison_tables as tables
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.signals.region_mask import Names, region_mask
from hyperspy_assb.signals.result import Result

FloatArray = NDArray[np.float64]

_METHODS = ("fourier_log", "cluster_permutation", "max_statistic", "hyperspy", "numpy", "scipy", "numba")


@dataclass(frozen=True, eq=False)
class LowLossComparison(Result):
    """What changed between the low-loss spectra of a specimen in two or more states.

    Parameters
    ----------
    found
        What was found, as arrays; see :class:`~hyperspy_assb.eels.comparison.results.Comparison`.
    bands
        One row for each band, and for the energy and the width of the volume plasmon, in each later state: limits,
        value before and after, change against the first state with its standard errors, p values, effect sizes, and
        the status. See :func:`hyperspy_assb.signals.eels.comparison_tables.band_table`.
    clusters
        Ranges of energy that changed without having been named: limits in eV, mass and p value.
    states
        One row a state: pixels, effective number of independent pixels, blocks, t/λ, plasmon, electrons.
    trend
        With more than two states, slope of each band over the potential, with p values; else empty.
    names
        Of the states: before and after, or their potentials.
    bias
        Potential of each state in V, or another score; NaN where not given.
    settings
        How they were compared, and how p values were found.
    recorded
        What the metadata of the first state say of microscope and specimen.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> battery = micro_battery(shape=(6, 6), seed=1, signal_type="EELS_ASSB")
    >>> options = ComparisonOptions(permutations=19)
    >>> found = battery.eels_before.compare_low_loss(battery.eels_after, options=options)
    >>> found.names, found.difference
    (('before', 'after'), <ASSBEELSSpectrum, title: Change of single scattering, dimensions: (|972)>)
    >>> found.before.data.shape == found.after.data.shape == found.difference.data.shape
    True
    >>> "permuted blocks of pixels" in found.summary()
    True
    >>> spectra, difference = found.plot()
    """

    found: Comparison = field(repr=False)
    bands: pd.DataFrame = field(repr=False)
    clusters: pd.DataFrame = field(repr=False)
    states: pd.DataFrame = field(repr=False)
    trend: pd.DataFrame = field(repr=False)
    names: tuple[str, ...]
    bias: tuple[float, ...]
    settings: dict[str, Any] = field(repr=False)
    recorded: dict[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"LowLossComparison of {len(self.states)} states:\n{self.summary()}"

    @cached_property
    def before(self) -> EELSSpectrum:
        """Mean single-scattering distribution of the first state, with its variance, in shares of t/λ per eV."""
        first = self.found.states[0]
        return self._spectrum("before", [(first.mean, first.std, first.std_counting)])

    @cached_property
    def after(self) -> EELSSpectrum:
        """The same of the later states; of more than one along a navigation axis ``bias``."""
        return self._spectrum("after", [(s.mean, s.std, s.std_counting) for s in self.found.states[1:]])

    @cached_property
    def difference(self) -> EELSSpectrum:
        """After minus before at one thickness, with its variance, which is the noise variance of the signal."""
        changes = self.found.changes
        return self._spectrum(
            "difference", [(c.difference, c.difference_std, c.difference_std_counting) for c in changes]
        )

    def summary(self) -> str:
        """What was found, one sentence a line, and the notes."""
        return "\n".join((*tables.describe_changes(self), *self.notes))

    def plot(self) -> NDArray[np.object_]:
        """Plot the spectra, their difference with its confidence band, and what changed.

        Returns
        -------
        axes : numpy.ndarray
            The matplotlib axes: spectra above, difference below.
        """
        from hyperspy_assb.plotting.comparison import plot_comparison

        return plot_comparison(self)

    def to_dataframe(self, region: Any = None, *, names: Names = None) -> pd.DataFrame:
        """The table of bands.

        Parameters
        ----------
        region, names
            None: the pixels of each state are compared together, and named when they are compared.

        Returns
        -------
        pandas.DataFrame
            A copy of ``bands``.

        Raises
        ------
        ValueError
            If a region is named.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery(shape=(6, 6), seed=1, signal_type="EELS_ASSB")
        >>> options = ComparisonOptions(permutations=19)
        >>> found = battery.eels_before.compare_low_loss(battery.eels_after, options=options)
        >>> found.to_dataframe()["p from"].unique().tolist()
        ['blocks']
        """
        return self.bands.copy() if region is None else super().to_dataframe(region, names=names)

    def kramers_kronig(
        self, refractive_index: float, *, iterations: int = 1, delta: float = 0.5
    ) -> tuple[DielectricFunction, ...]:
        """Dielectric function of each state by exspy's Kramers-Kronig analysis of its mean distribution.

        Parameters
        ----------
        refractive_index
            Refractive index for visible light, by which the loss function is scaled; large for metals.
        iterations, delta
            Of :meth:`exspy.signals.EELSSpectrum.kramers_kronig_analysis`: rounds of correction for surface losses, and
            the loss in eV that keeps them stable.

        Returns
        -------
        tuple of exspy.signals.DielectricFunction
            In the order of the states.

        Raises
        ------
        ValueError
            If beam energy, convergence or collection angle are not in the metadata, or the refractive index is not
            above 1.

        Notes
        -----
        Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), sec. 4.2.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery(shape=(6, 6), seed=1, signal_type="EELS_ASSB")
        >>> options = ComparisonOptions(permutations=19)
        >>> found = battery.eels_before.compare_low_loss(battery.eels_after, options=options)
        >>> [type(state).__name__ for state in found.kramers_kronig(1.8)]
        ['DielectricFunction', 'DielectricFunction']
        """
        if not refractive_index > 1.0:
            raise AssbValueError(f"refractive_index must be above 1, that of vacuum, not {refractive_index}.")
        after = [self.after.inav[i] for i in range(self.after.axes_manager.navigation_size)] or [self.after]
        found = []
        for signal, thickness in zip((self.before, *after), self.states["t/λ"], strict=True):
            lacking = signal.check_microscope_parameters().missing
            if lacking:
                raise AssbValueError(
                    f"Kramers-Kronig analysis needs {', '.join(lacking)}: set_microscope_parameters before comparing."
                )
            one = _per_electron(signal, thickness)
            found.append(one.kramers_kronig_analysis(zlp=1.0, n=refractive_index, iterations=iterations, delta=delta))
        return tuple(found)

    def _spectrum(self, name: str, rows: Sequence[tuple[FloatArray, FloatArray, FloatArray]]) -> Any:
        """Values with standard errors (of blocks, or else of counting) as one spectrum, or several along ``bias``."""
        step = self.found.loss[1] - self.found.loss[0]
        values = np.array([value for value, _, _ in rows]) / step
        variance = np.array([np.where(np.isfinite(std), std, counting) for _, std, counting in rows]) ** 2 / step**2
        title = tables.TITLES[name]
        signal = self._dress(values, title)
        signal.metadata.set_item("Signal.quantity", "Single scattering (share of t/λ per eV)")
        signal.set_noise_variance(self._dress(variance, f"Variance of {title}"))
        return signal

    def _dress(self, values: FloatArray, title: str) -> Any:
        """An EELS signal on the loss axis with what is known of the microscope."""
        loss = self.found.loss
        axes = [{"name": "Energy loss", "units": "eV", "scale": float(loss[1] - loss[0]), "offset": 0.0}]
        axes[0]["size"] = loss.size
        if len(values) > 1:
            bias = np.array(self.bias[1:], dtype=float)
            axis: dict[str, Any] = {"_type": "DataAxis", "name": "bias", "units": "V", "axis": bias, "navigate": True}
            if not np.isfinite(bias).all():
                axis |= {"name": "state", "units": "", "axis": np.arange(1.0, len(self.bias))}
            axes.insert(0, axis)
        signal = hs.signals.Signal1D(values if len(values) > 1 else values[0], axes=axes)
        signal.metadata.add_dictionary(self.recorded)
        signal.metadata.General.title = title
        signal.metadata.set_item("ASSB.provenance", self.provenance)
        signal.set_signal_type("EELS_ASSB")
        # Per eV: not counts of a channel.
        signal.axes_manager.signal_axes[0].is_binned = False
        return signal

    def _shown(self) -> Any:
        return self.difference


def compare_low_loss(
    before: Any,
    after: Any,
    *,
    region: Any = None,
    zero_loss: Any = None,
    bands: Sequence[Any] | None = None,
    bias: Sequence[float] | None = None,
    options: ComparisonOptions | None = None,
    show_progressbar: bool | None = None,
) -> LowLossComparison:
    """What :meth:`ASSBEELSSpectrum.compare_low_loss` does."""
    signals, potentials = _collect_states(before, after, bias)
    # States without potentials follow one another.
    scores = potentials if np.isfinite(potentials).all() else [float(n) for n in range(len(signals))]
    options = options or ComparisonOptions()
    if isinstance(zero_loss, str) and zero_loss in ("common", "each"):
        options = replace(options, zero_loss=zero_loss)
        zero_loss = None
    given = None if zero_loss is None else _single_spectrum(zero_loss)
    maps = [read_low_loss(signal) for signal in signals]
    regions = list(region) if isinstance(region, tuple | list) else [region] * len(signals)
    if len(regions) != len(signals):
        raise AssbValueError(f"region names {len(regions)} regions, but there are {len(signals)} states: one for each.")
    chosen_pixels = [
        None if r is None else region_mask(s, r, name="region" if number == 0 else f"region of state {number}")
        for number, (s, r) in enumerate(zip(signals, regions, strict=True))
    ]
    spectra = [Spectra.of(m, pixels) for m, pixels in zip(maps, chosen_pixels, strict=True)]
    chosen = [reference.band(name) for name in reference.COMPARED] if bands is None else list(bands)
    known = [reference.band(b) if isinstance(b, str) else b for b in chosen]
    windows = [Window(b.name, *b.window, b.background) for b in known]
    with progress_bar("comparison", show_progressbar):
        found = compare_states(spectra, windows, options, scores=scores, zero_loss=given)
    for message in tables.warnings_of(found):
        warnings.warn(message, AssbWarning, stacklevel=3)
    # Two states may have one potential.
    names = tables.state_names(scores, len(found.states))
    told = names if len(set(names)) == len(names) else [f"{name} V, state {k}" for k, name in enumerate(names)]
    doses = {name: dose_of(signal) for name, signal in zip(told, signals, strict=True)}
    return _as_result(found, before, maps, known, names, potentials, options, doses)


def _collect_states(before: Any, after: Any, bias: Sequence[float] | None) -> tuple[list[Any], list[float]]:
    """The states as signals, and their potentials, NaN where none was given."""
    if after is None:
        axes = [axis for axis in before.axes_manager.navigation_axes if axis.name == "bias"]
        if not axes or axes[0].size < 2:
            raise AssbValueError(
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
        raise AssbValueError(f"bias has {len(bias)} values, but there are {len(signals)} states: one for each.")
    if bias is not None and not np.all(np.isfinite(bias)):
        raise AssbValueError(f"bias holds values that are not finite: {list(bias)}.")
    if bias is not None and len(bias) > 2 and len(set(bias)) == 1:
        raise AssbValueError(f"bias is {bias[0]:g} in every state: a trend needs states that differ in it.")
    for number, signal in enumerate(signals):
        if not hasattr(signal, "validate_energy_axis"):
            raise AssbTypeError(
                f"State {number} is {type(signal).__name__}: load it with signal_type='EELS_ASSB', or "
                "set_signal_type('EELS_ASSB')."
            )
    return signals, [float(v) for v in ([np.nan] * len(signals) if bias is None else bias)]


def _single_spectrum(signal: Any) -> tuple[NDArray[Any], FloatArray]:
    if not hasattr(signal, "axes_manager"):
        raise AssbTypeError(
            f"zero_loss must be 'common', 'each', or a signal recorded in vacuum, not {type(signal).__name__}."
        )
    if signal.axes_manager.navigation_size > 1:
        raise AssbValueError("zero_loss has navigation axes: sum its pixels, or take one of them.")
    return np.asarray(signal.data).reshape(-1), np.array(signal.axes_manager.signal_axes[0].axis, dtype=np.float64)


def _as_result(
    found: Comparison,
    template: Any,
    maps: Sequence[LowLossMap],
    bands: Sequence[Any],
    names: tuple[str, ...],
    potentials: Sequence[float],
    options: ComparisonOptions,
    doses: dict[str, dict[str, float | None]],
) -> LowLossComparison:
    """Tables, and what a reader must know, from arrays."""
    parameters = {**provenance.to_plain(options), "files": [m.file for m in maps], "bias": list(potentials)}
    nodes = ("Acquisition_instrument", "Sample")
    recorded = {node: template.metadata.get_item(node) for node in nodes if template.metadata.has_item(node)}
    table = tables.band_table(found, bands, names, options)
    states = tables.state_table(found, maps, names, potentials)
    return LowLossComparison(
        found=found,
        bands=table,
        clusters=tables.cluster_table(found, names, options),
        states=states,
        trend=tables.trend_table(found),
        names=names,
        bias=tuple(potentials),
        settings=tables.settings_of(found, options),
        recorded={node: provenance.to_plain(item.as_dictionary()) for node, item in recorded.items()},
        provenance=provenance.record("compare_low_loss", parameters=parameters, methods=_METHODS, dose=doses),
        notes=(*tables.warnings_of(found), *tables.cautions(table, states), provenance.compare_doses(doses)),
    )


def _per_electron(signal: Any, thickness: float) -> Any:
    """Electrons scattered once for each zero-loss electron; noise below nothing, which no loss function has, is cut."""
    copy = signal.deepcopy()
    axis = copy.axes_manager.signal_axes[0]
    copy.data = np.maximum(copy.data, 0.0) * axis.scale * thickness
    axis.is_binned = True
    return copy
