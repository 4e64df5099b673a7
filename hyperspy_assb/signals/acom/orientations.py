"""Orientation maps of a scan: the result of indexing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.acom.maps.area_fractions import NOT_OFFERED, AreaFractions, FractionOptions, area_fractions
from hyperspy_assb.acom.maps.grains import GrainOptions
from hyperspy_assb.acom.maps.particles import MechanismOptions
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.acom.explorer import PatternExplorer
from hyperspy_assb.signals.acom.grain_maps import GrainMaps, grain_maps_of
from hyperspy_assb.signals.acom.mechanism import Mechanism, mechanism_of
from hyperspy_assb.signals.acom.oriented_maps import OrientedMaps
from hyperspy_assb.signals.acom.phase_comparison import PhaseComparison, compare_phases
from hyperspy_assb.signals.acom.scan_in_words import scan_in_words
from hyperspy_assb.signals.acom.scan_maps import ScanMaps, numbered, with_classes
from hyperspy_assb.signals.acom.second_crystals import SecondCrystals, second_crystals_of
from hyperspy_assb.signals.region_mask import region_mask

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal, Signal2D
    from matplotlib.axes import Axes

_ORIENTATION = "abcd"


@dataclass(frozen=True, eq=False)
class OrientationMaps(OrientedMaps):
    """Phase and orientation in every pixel of a scan, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        What indexing found, as arrays; see :class:`~hyperspy_assb.acom.matching.indexed.IndexedScan`.
    diffraction
        Beam energy, precession and range of the templates.

    Examples
    --------
    A virtual battery after bias, indexed:

    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
    >>> r.phase_map
    <BaseSignal, title: Phase, dimensions: (4, 4|)>
    >>> [phase.name for phase in r.phases]
    ['LiFePO4', 'FePO4']
    >>> r.correlation.axes_manager.navigation_axes[0].units
    'nm'
    >>> r.to_dataframe().columns[:6].tolist()
    ['y index', 'y (nm)', 'x index', 'x (nm)', 'phase', 'class']
    >>> maps = r.class_map, r.status, r.amorphous, r.reliability, r.phase_reliability, r.crystalline_score
    >>> r.twin_reliability.data.shape, r.strain
    ((4, 4), {})
    >>> {m.data.shape for m in maps}
    {(4, 4)}
    >>> list(r.posterior)
    ['LiFePO4', 'FePO4', 'not offered']
    >>> r.second.phase_map.data.shape, r.second.share.data.shape
    ((4, 4), (4, 4))
    >>> list(r.ring_amounts) == list(r.amorphous_share) == list(r.amorphous_share_std)
    True
    >>> r.virtual_bright_field.metadata.Signal.quantity
    'Virtual bright field (counts)'
    >>> r.summary().startswith("Area: ")
    True
    """

    statuses: ClassVar[type[IntEnum] | None] = PatternStatus

    def __repr__(self) -> str:
        ny, nx = self.found.phase.shape
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.classes.shares.items())
        left_out = f", {self.classes.left_out} without an answer" if self.classes.left_out else ""
        return f"<OrientationMaps, {shares or 'nothing indexed'} ({ny} x {nx} pixels{left_out})>"

    # -------------------------------------------------------------------- maps

    @cached_property
    def phase_map(self) -> BaseSignal:
        """Index into ``phases``, -1 where not indexed."""
        signal = self._map(np.asarray(self.found.phase).astype(np.int16), "Phase")
        return with_classes(signal, numbered((p.name for p in self.phases), none="not indexed"))

    @cached_property
    def class_map(self) -> BaseSignal:
        """Index into ``classes.names`` (phases, amorphous materials, "not offered"), -1 without an answer."""
        signal = self._map(self.classes.index.astype(np.int16), "Phase or amorphous material")
        return with_classes(signal, numbered(self.classes.names, none="no answer"))

    @cached_property
    def correlation(self) -> BaseSignal:
        """Score of the best template, 0 to 1: the index."""
        return self._map(self.found.correlation, "Correlation with the best template")

    @cached_property
    def reliability(self) -> BaseSignal:
        """100 (1 - Q2 / Q1): how far the best orientation is ahead of the next one of the same phase."""
        return self._map(self.found.reliability, "Reliability of the orientation", "%")

    @cached_property
    def phase_reliability(self) -> BaseSignal:
        """The same for the best orientation of the next phase."""
        return self._map(self.found.phase_reliability, "Reliability of the phase", "%")

    @cached_property
    def crystalline_score(self) -> BaseSignal:
        """Best score after the mean of each radius is removed, which suppresses amorphous material."""
        return self._map(self.found.crystalline_score, "Crystalline score")

    @cached_property
    def virtual_bright_field(self) -> BaseSignal:
        """Counts in the direct beam."""
        return self._map(self.found.virtual_bright_field, "Virtual bright field", "counts")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.acom.matching.indexed.PatternStatus` as integers."""
        signal = self._map(np.asarray(self.found.status).astype(np.int8), "Status")
        return with_classes(signal, (f"{s.value}: {s.name.lower()}" for s in PatternStatus))

    @cached_property
    def amorphous(self) -> BaseSignal:
        """True where the column is of amorphous material, or most of it."""
        return self._map(self.classes.amorphous, "Amorphous")

    @cached_property
    def posterior(self) -> dict[str, BaseSignal]:
        """Probability of each phase by name, and of no offered phase ("not offered"); NaN without a lattice.

        Where that one is not known, they are those given that one of the phases is there.
        """
        found = np.asarray(self.found.posterior)
        names = [p.name for p in self.phases]
        if self.found.not_offered is None:
            return self._maps(found, names, "Probability of {}")
        none = self.found.not_offered
        unknown = np.isnan(none)
        found = np.where(unknown[..., None], found, found * (1.0 - np.where(unknown, 0.0, none))[..., None])
        return self._maps(np.concatenate([found, none[..., None]], axis=-1), [*names, NOT_OFFERED], "Probability of {}")

    @cached_property
    def second(self) -> SecondCrystals | None:
        """The second of two crystals in a column: phase, orientation, share; None if not searched for."""
        return second_crystals_of(self)

    @cached_property
    def ring_amounts(self) -> dict[str, BaseSignal]:
        """Share of each amorphous material in the diffuse intensity, by name."""
        return self._of_rings(self.found.ring_amounts, "Share of {} in the diffuse intensity")

    @cached_property
    def amorphous_share(self) -> dict[str, BaseSignal]:
        """Share of each amorphous material in the thickness, by name; NaN where unknown."""
        return self._of_rings(self.found.amorphous_share, "Share of {} in the thickness")

    @cached_property
    def amorphous_share_std(self) -> dict[str, BaseSignal]:
        """Standard errors of ``amorphous_share``."""
        return self._of_rings(self.found.amorphous_share_std, "Standard error of the share of {} in the thickness")

    def _of_rings(self, values: NDArray[Any] | None, title: str) -> dict[str, BaseSignal]:
        return {} if values is None else self._maps(np.asarray(values), self.found.ring_materials, title)

    # ------------------------------------------------------ grains and fractions

    def grain_boundaries(self, *, options: GrainOptions | None = None) -> GrainMaps:
        """Grains, and the edges between them: within one phase, between two, and between crystal and no crystal.

        Parameters
        ----------
        options
            Threshold, Friedel twins, smallest grain.

        Returns
        -------
        GrainMaps
            Maps, a table of the grains, lengths of the boundaries.

        Examples
        --------
        >>> from hyperspy_assb.acom import GrainOptions, simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> g = r.grain_boundaries(options=GrainOptions(threshold=5.0))
        >>> g.labels
        <BaseSignal, title: Grains, dimensions: (4, 4|)>
        """
        return grain_maps_of(self, options=options)

    def area_fractions(self, region: Any = None, *, options: FractionOptions | None = None) -> AreaFractions:
        """Area fractions of phases and amorphous materials with intervals, as arrays.

        Parameters
        ----------
        region
            A boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI; None: everything.
        options
            Confidence, resamples, blocks.

        Returns
        -------
        AreaFractions
            See :func:`hyperspy_assb.acom.maps.area_fractions.area_fractions`.

        Raises
        ------
        ValueError
            If no pixel of the region has an answer.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> r.area_fractions().names[:2]
        ('LiFePO4', 'FePO4')
        """
        mask = None if region is None else region_mask(self.status, region).reshape(self.found.phase.shape)
        return area_fractions(self.classes, posterior=self.found.posterior, region=mask, options=options)

    def phase_fractions(self, region: Any = None, *, options: FractionOptions | None = None) -> pd.DataFrame:
        """Area fractions of phases and amorphous materials with intervals, in per cent.

        Parameters
        ----------
        region
            A boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI; None: everything.
        options
            Confidence, resamples, blocks.

        Returns
        -------
        pandas.DataFrame
            One row a class: area, standard errors (of another area like this one, and from uncertain phases),
            interval, mean probability, and the number of independent pixels that would scatter as much.

        Raises
        ------
        ValueError
            If no pixel of the region has an answer.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> table = r.phase_fractions()
        >>> float(table["area (%)"].sum().round(6))
        100.0
        """
        found = self.area_fractions(region, options=options)
        percent = f"{100 * found.confidence:g} %"
        table = pd.DataFrame(
            {
                "class": found.names,
                "area (%)": 100 * found.fraction,
                "std (%)": 100 * found.std,
                "std classification (%)": 100 * found.classification_std,
                f"low, {percent} (%)": 100 * found.low,
                f"high, {percent} (%)": 100 * found.high,
                "expected (%)": 100 * found.expected,
                "effective pixels": found.effective,
            }
        )
        table.attrs = {"pixels": found.pixels, "left out": found.left_out, "blocks": found.blocks}
        return table

    def mechanism(self, couple: Electrode | str | None = None, *, options: MechanismOptions | None = None) -> Mechanism:
        """Particles of the electrode, and whether they indicate a domino-cascade or a mosaic.

        Parameters
        ----------
        couple
            The electrode, or its name in :data:`hyperspy_assb.electrodes`; None: the one of the table both end members
            of which were offered in indexing.
        options
            What counts as a particle, and as one of a single phase.

        Returns
        -------
        Mechanism
            Particles as maps and as a table, and permutation tests.

        Raises
        ------
        ValueError
            If not both end members of an electrode were offered, or it is not clear which electrode is meant.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> m = r.mechanism("LixFePO4")
        >>> m.lithiated, m.delithiated
        ('LiFePO4', 'FePO4')
        """
        return mechanism_of(self, couple, options=options)

    def compare_phases(
        self,
        after: ScanMaps,
        *,
        shift: tuple[int, int] | None = None,
        couple: Electrode | str | None = None,
        options: FractionOptions | None = None,
    ) -> PhaseComparison:
        """What changed between this state and a later one of the same area.

        Parameters
        ----------
        after
            The later state.
        shift, couple, options
            As for :func:`hyperspy_assb.compare_phases`.

        Returns
        -------
        PhaseComparison
            Maps, area fractions of both states, and what became what.

        Raises
        ------
        ValueError
            If pixel sizes differ, or the scans have too little in common.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> r.compare_phases(r, shift=(0, 0)).summary().splitlines()[0]
        '0.0 % of the area went from LiFePO4 to FePO4, 0.0 % became amorphous.'
        """
        return compare_phases(self, after, shift=shift, couple=couple, options=options)

    # ------------------------------------------------------ in words and as tables

    def summary(self) -> str:
        """Area of every class, patterns without an answer, how sure phases are, boundaries, and the notes."""
        return "\n".join((*scan_in_words(self), *self.notes))

    def _pixel_columns(self) -> Mapping[str, Any]:
        found = self.found
        columns: dict[str, Any] = {
            "phase": _in_names(found.phase, (p.name for p in self.phases)),
            "class": _in_names(self.classes.index, self.classes.names),
            "correlation": found.correlation,
            "reliability": found.reliability,
            "phase reliability": found.phase_reliability,
            "crystalline score": found.crystalline_score,
            "virtual bright field (counts)": found.virtual_bright_field,
        }
        columns |= {f"orientation {name}": found.orientation[..., k] for k, name in enumerate(_ORIENTATION)}
        columns |= {f"probability of {p.name}": found.posterior[..., k] for k, p in enumerate(self.phases)}
        if self.second is not None:
            columns[f"probability of {NOT_OFFERED}"] = found.not_offered
            columns |= self.second.pixel_columns()
        for name in self.amorphous_share:
            columns[f"share of {name}"] = self.amorphous_share[name].data
            columns[f"share of {name} std"] = self.amorphous_share_std[name].data
        return columns

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = mask.reshape(self.found.phase.shape)
        row: dict[str, Any] = {}
        answered = bool((self.classes.index[inside] >= 0).any())
        found = self.area_fractions(mask) if answered else None
        for k, name in enumerate(self.classes.names):
            row[f"{name} area (%)"] = float("nan") if found is None else 100 * found.fraction[k]
            row[f"{name} std (%)"] = float("nan") if found is None else 100 * found.std[k]
        scores = self.found.correlation[inside & (np.asarray(self.found.phase) >= 0)]
        row["median correlation"] = float(np.median(scores)) if scores.size else float("nan")
        return row

    def _shown(self) -> Any:
        return self.class_map

    # ----------------------------------------------------------------- figures

    def plot(self, *, options: GrainOptions | None = None) -> NDArray[Any]:
        """Plot all maps on one page.

        Parameters
        ----------
        options
            What counts as a boundary.

        Returns
        -------
        numpy.ndarray
            The nine matplotlib axes of the maps, shape (3, 3).

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> r.plot().shape
        (3, 3)
        """
        from hyperspy_assb.plotting.acom import plot_orientations

        return plot_orientations(self, options=options)

    def plot_match(
        self, patterns: Signal2D, index: tuple[int, ...], *, max_spots: int = 80, ax: Axes | None = None
    ) -> Axes:
        """Plot a pattern with the spots of the orientation that was found in it.

        Parameters
        ----------
        patterns
            The patterns that were indexed.
        index
            Row and column of the pixel (array order: y before x).
        max_spots
            Spots to draw, the brightest.
        ax
            Axes to draw on; new ones if None.

        Returns
        -------
        matplotlib.axes.Axes
            The axes of the pattern, in 1/Å.

        Raises
        ------
        IndexError
            If there is no such pixel.
        ValueError
            If the patterns are not those of the maps.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> ax = r.plot_match(patterns, (2, 3))
        >>> ax.get_xlabel()
        '$k_x$ (1/Å)'
        """
        from hyperspy_assb.plotting.acom import plot_match

        return plot_match(self, patterns, index, max_spots=max_spots, ax=ax)

    def explore(self, patterns: Signal2D) -> PatternExplorer:
        """Show the phase map; a click shows the pattern with its answer, and with that of the next phase.

        Parameters
        ----------
        patterns
            The patterns that were indexed.

        Returns
        -------
        PatternExplorer
            ``show(row, column)`` is what a click does.

        Raises
        ------
        ValueError
            If the patterns are not those of the maps, or these are no map.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> r.explore(patterns).place
        (2, 2)
        """
        return PatternExplorer(self, patterns)


def _in_names(index: NDArray[Any], names: Any) -> NDArray[Any]:
    """Names by their number; empty text where it is -1."""
    return np.array([*names, ""])[np.asarray(index)]
