"""Orientation maps of two states compared: what became amorphous, where the electrode was delithiated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.acom.maps.area_fractions import AreaFractions, FractionOptions
from hyperspy_assb.acom.maps.phase_change import (
    PixelChange,
    Registration,
    StateChange,
    compare_scans,
    compare_within,
)
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.acom.scan_maps import ScanMaps, numbered, with_classes
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal

UNLIKE = 0.5
"""Correlation of the virtual bright fields below which a shift that was found is to be looked at: what they have in
common is then less than a quarter of their variance."""

_REGION_COLUMNS = (("before", "before"), ("after", "after"), ("change", "change"), ("std", "change_std"))


@dataclass(frozen=True, eq=False)
class PhaseComparison(Result):
    """Two states of one area, on the scan axes of the earlier one.

    Parameters
    ----------
    found
        Registration, area fractions and what became of every pixel, as arrays.
    options
        Confidence, resamples, blocks.

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> battery = micro_battery(shape=(4, 4), seed=6)
    >>> before, after = (
    ...     s.index_orientations(bank, calibrate=False, show_progressbar=False)
    ...     for s in (battery.patterns_before, battery.patterns_after)
    ... )
    >>> c = before.compare_phases(after, shift=(0, 0))
    >>> c.registration.shift
    (0, 0)
    >>> c.transitions.index.tolist()[:2]
    ['LiFePO4', 'FePO4']
    >>> bool((c.became_delithiated.data <= (c.before_map.data == 0)).all())
    True

    >>> c.after_map.data.shape, c.became_amorphous.data.shape, c.status.data.shape
    ((4, 4), (4, 4), (4, 4))
    >>> len(c.change_names) > 0, len(c.fractions) > 0, c.registration.shift
    (True, True, (0, 0))
    >>> len(c.summary()) > 0
    True
    >>> axes = c.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = PixelChange
    found: StateChange = field(repr=False)
    options: FractionOptions = field(default_factory=FractionOptions, repr=False)

    def __repr__(self) -> str:
        return f"<PhaseComparison, {self._in_short()}>"

    @property
    def registration(self) -> Registration:
        """How far the scans are displaced."""
        return self.found.registration

    @cached_property
    def fractions(self) -> pd.DataFrame:
        """One row a class: area before and after with intervals, the change with its own, in per cent.

        Of the pixels that have an answer in both states.
        """
        found = self.found
        return _table(found, found.before, found.after)

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """What became what, in per cent of these pixels: rows before, columns after."""
        names = list(self.found.classes.names)
        return pd.DataFrame(100 * self.found.classes.transitions, index=names, columns=names)

    @cached_property
    def before_map(self) -> BaseSignal:
        """Class of each pixel of the common area in the earlier state, -1 without a class."""
        return self._classes(self.found.classes.before_index, "Before")

    @cached_property
    def after_map(self) -> BaseSignal:
        """The same in the later state."""
        return self._classes(self.found.classes.after_index, "After")

    @cached_property
    def status(self) -> BaseSignal:
        """What became of each pixel: :class:`~hyperspy_assb.acom.maps.phase_change.PixelChange` as integers."""
        signal = self._map(self.found.kind, "What became of it")
        return with_classes(signal, (f"{number}: {words}" for number, words in self.change_names.items()))

    @cached_property
    def became_amorphous(self) -> BaseSignal:
        """True where a crystal became amorphous."""
        return self._map(self.found.kind == PixelChange.AMORPHISED, "Became amorphous")

    @cached_property
    def became_delithiated(self) -> BaseSignal:
        """True where the lithiated phase became the delithiated one."""
        return self._map(self.found.kind == PixelChange.DELITHIATED, self.change_names[PixelChange.DELITHIATED])

    @property
    def change_names(self) -> dict[int, str]:
        """Members of ``status`` in words, with the names of the phases."""
        lithiated, delithiated = self.found.exchanged or ("lithiated", "delithiated")
        return {
            PixelChange.UNCHANGED: "unchanged",
            PixelChange.OTHER: "other change",
            PixelChange.DELITHIATED: f"{lithiated} to {delithiated}",
            PixelChange.AMORPHISED: "crystal to amorphous",
            PixelChange.LITHIATED: f"{delithiated} to {lithiated}",
            PixelChange.UNKNOWN: "no answer in a state",
        }

    def summary(self) -> str:
        """What was delithiated and what became amorphous, changes that are more than chance, and the notes."""
        found = self.found.classes
        certain = (found.low > 0.0) | (found.high < 0.0)
        lines = [
            f"{found.names[k]}: {100 * found.before[k]:.1f} % before, {100 * found.after[k]:.1f} % after; change "
            f"{100 * found.change[k]:+.1f} % ({100 * found.confidence:g} %: {100 * found.low[k]:+.1f} to "
            f"{100 * found.high[k]:+.1f})."
            for k in np.argsort(-np.abs(found.change), kind="stable")
            if certain[k]
        ]
        return "\n".join((self._in_short(), *lines, *self.notes))

    def plot(self) -> NDArray[Any]:
        """Plot both states, what became of every pixel, and the area fractions.

        Returns
        -------
        numpy.ndarray
            The four matplotlib axes, shape (2, 2).
        """
        from hyperspy_assb.plotting.acom_mechanism import plot_phase_comparison

        return plot_phase_comparison(self)

    def _in_short(self) -> str:
        kind, taken = self.found.kind, self.found.classes.pixels
        amorphous = f"{100 * np.sum(kind == PixelChange.AMORPHISED) / taken:.1f} % became amorphous."
        if not self.found.exchanged:
            return amorphous
        share = 100 * np.sum(kind == PixelChange.DELITHIATED) / taken
        return f"{share:.1f} % of the area went from {self.change_names[PixelChange.DELITHIATED]}, {amorphous}"

    def _classes(self, index: NDArray[np.int64], title: str) -> Any:
        return with_classes(
            self._map(index.astype(np.int16), title), numbered(self.found.classes.names, none="no answer")
        )

    def _pixel_columns(self) -> Mapping[str, Any]:
        found = self.found.classes
        names = np.array([*found.names, ""])
        return {"before": names[found.before_index], "after": names[found.after_index]}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        part = compare_within(self.found.classes, mask.reshape(self.found.kind.shape), options=self.options)
        row = {}
        for k, name in enumerate(self.found.classes.names):
            for words, values in (
                ("before", "before"),
                ("after", "after"),
                ("change", "change"),
                ("std", "change_std"),
            ):
                row[f"{name} {words} (%)"] = float("nan") if part is None else 100 * float(getattr(part, values)[k])
        return row

    def _shown(self) -> Any:
        return self.status


def compare_phases(
    before: ScanMaps,
    after: ScanMaps,
    *,
    shift: tuple[int, int] | None = None,
    couple: Electrode | str | None = None,
    options: FractionOptions | None = None,
) -> PhaseComparison:
    """Compare the phases of one area in two states, pixel by pixel.

    Parameters
    ----------
    before, after
        Orientation maps; the scans may be displaced, and of different size, but not of another pixel size.
    shift
        Displacement in pixels (rows, columns) of the later scan: what pixel (y, x) shows before is at
        (y + shift[0], x + shift[1]) after. None: found from the virtual bright fields.
    couple
        The electrode whose delithiation is looked for, or its name in :data:`hyperspy_assb.electrodes`; None: the one
        of the table both end members of which are among the phases, if any.
    options
        Confidence, resamples, blocks.

    Returns
    -------
    PhaseComparison
        Tables and maps.

    Raises
    ------
    ValueError
        If pixel sizes differ, the scans have too little in common, or it is not clear which couple is meant.

    Examples
    --------
    >>> from hyperspy_assb import compare_phases
    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> battery = micro_battery(shape=(4, 4), seed=6)
    >>> before, after = (
    ...     s.index_orientations(bank, calibrate=False, show_progressbar=False)
    ...     for s in (battery.patterns_before, battery.patterns_after)
    ... )
    >>> compare_phases(before, after).registration.shift
    (0, 0)
    """
    _check_pixels(before, after)
    options = options or FractionOptions()
    change = compare_scans(before.found, after.found, shift=shift, couple=couple, options=options)
    place = change.registration
    notes = []
    if place.correlation < UNLIKE and shift is None:
        notes.append(
            f"The virtual bright fields are not much alike (correlation {place.correlation:.2f}): look whether the "
            f"shift of {place.shift} pixels (rows, columns) is right, or give it."
        )
    doses = {name: scan.provenance.get("dose") or {} for name, scan in (("before", before), ("after", after))}
    notes.append(provenance.compare_doses(doses))
    record = provenance.record(
        "compare_phases",
        parameters={
            "before": before.provenance,
            "after": after.provenance,
            "shift": list(place.shift),
            "phases that are exchanged": list(change.exchanged),
            "options": options,
        },
        methods=("registration", "scikit-image", "block_bootstrap", "hyperspy", "numpy"),
        dose=doses,
    )
    axes = _cropped_axes(before, place)
    return PhaseComparison(change, options, axes=axes, provenance=record, notes=tuple(notes))


def _check_pixels(before: ScanMaps, after: ScanMaps) -> None:
    (first, units), (second, others) = before.pixel_size(), after.pixel_size()
    if units != others or not np.allclose(first, second, rtol=0.01):
        raise AssbValueError(
            f"The scans have pixels of {first[0]:.4g} x {first[1]:.4g} {units} before and {second[0]:.4g} x "
            f"{second[1]:.4g} {others} after: only scans of one pixel size can be compared."
        )


def _cropped_axes(result: ScanMaps, place: Registration) -> tuple[dict[str, Any], ...]:
    axes = [dict(axis) for axis in result.full_axes()]
    for axis, part in zip(axes, place.before, strict=True):
        axis["offset"] += part.start * axis["scale"]
        axis["size"] = part.stop - part.start
        axis["navigate"] = True
    return tuple(axes)


def _table(found: StateChange, before: AreaFractions, after: AreaFractions) -> pd.DataFrame:
    rows, change = [], found.classes
    for number, name in enumerate(change.names):
        row: dict[str, Any] = {"class": name}
        for state, part in (("before", before), ("after", after)):
            known = name in part.names
            at = part.names.index(name) if known else 0
            row[f"{state} (%)"] = 100 * part.fraction[at] if known else 0.0
            row[f"{state} low (%)"] = 100 * part.low[at] if known else 0.0
            row[f"{state} high (%)"] = 100 * part.high[at] if known else float("nan")
        row["change (%)"] = 100 * change.change[number]
        row["change std (%)"] = 100 * change.change_std[number]
        row["change low (%)"] = 100 * change.low[number]
        row["change high (%)"] = 100 * change.high[number]
        rows.append(row)
    return pd.DataFrame(rows)
