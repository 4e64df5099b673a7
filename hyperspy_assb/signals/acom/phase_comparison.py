"""Orientation maps of two states compared: what became amorphous, where LiFePO4 became FePO4."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb.acom.maps.area_fractions import AreaFractions, FractionOptions
from hyperspy_assb.acom.maps.phase_change import PhaseChange, PixelChange, Registration, compare_scans
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.signals.acom.scan_maps import ScanMaps

UNLIKE = 0.5
"""Correlation of the virtual bright fields below which a shift that was found is to be looked at: what they have in
common is then less than a quarter of their variance."""


@dataclass(frozen=True)
class PhaseComparison:
    """Two states of one area.

    Parameters
    ----------
    fractions
        One row a class: area before and after with intervals, the change with its own, in per cent of the pixels that
        have an answer in both states.
    transitions
        What became what, in per cent of these pixels: rows before, columns after.
    before_map, after_map
        Class of each pixel of the common area, signals on the scan axes of the earlier state.
    change_map
        What became of each pixel, as a number into ``change_names``.
    became_amorphous, became_delithiated
        Where a crystal became amorphous; where LiFePO4 became FePO4. Boolean signals.
    registration
        How far the scans are displaced.
    found
        All of it as arrays.
    notes
        What is to be known, in sentences.
    """

    fractions: pd.DataFrame = field(repr=False)
    transitions: pd.DataFrame = field(repr=False)
    before_map: Any = field(repr=False)
    after_map: Any = field(repr=False)
    change_map: Any = field(repr=False)
    became_amorphous: Any = field(repr=False)
    became_delithiated: Any = field(repr=False)
    registration: Registration
    found: PhaseChange = field(repr=False)
    change_names: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False, default=())

    def __repr__(self) -> str:
        return f"<PhaseComparison, {self.conclusions[0]}>"

    @property
    def conclusions(self) -> tuple[str, ...]:
        """What changed, in sentences."""
        found = self.found
        lines = []
        taken = found.pixels
        amorphous, delithiated = (int(np.sum(s.data)) for s in (self.became_amorphous, self.became_delithiated))
        lines.append(
            f"{100 * delithiated / taken:.1f} % of the area went from {self.change_names[PixelChange.DELITHIATED]}, "
            f"{100 * amorphous / taken:.1f} % became amorphous."
        )
        certain = (found.low > 0.0) | (found.high < 0.0)
        lines += [
            f"{found.names[k]}: {100 * found.before[k]:.1f} % before, {100 * found.after[k]:.1f} % after; change "
            f"{100 * found.change[k]:+.1f} % ({100 * found.confidence:g} %: {100 * found.low[k]:+.1f} to "
            f"{100 * found.high[k]:+.1f})."
            for k in np.argsort(-np.abs(found.change), kind="stable")
            if certain[k]
        ]
        return tuple(lines)

    def summary(self) -> str:
        """What changed, one sentence a line."""
        return "\n".join((*self.conclusions, *self.notes))

    def plot(self) -> Any:
        """Plot both states, what became of every pixel, and the area fractions.

        Returns
        -------
        axes : numpy.ndarray
            The matplotlib axes, shape (2, 2).
        """
        from hyperspy_assb.plotting.acom_mechanism import plot_phase_comparison

        return plot_phase_comparison(self)


def compare_phases(
    before: ScanMaps,
    after: ScanMaps,
    *,
    shift: tuple[int, int] | None = None,
    lithiated: str = "LiFePO4",
    delithiated: str = "FePO4",
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
    lithiated, delithiated
        Names of the two phases whose exchange is looked for.
    options
        Confidence, resamples, blocks.

    Returns
    -------
    PhaseComparison
        Tables and maps.

    Raises
    ------
    ValueError
        If pixel sizes differ, or the scans have too little in common.
    """
    _check_pixels(before, after)
    change = compare_scans(
        before.found, after.found, shift=shift, lithiated=lithiated, delithiated=delithiated, options=options
    )
    found, place, names = change.classes, change.registration, list(change.classes.names)
    common = replace(before, axes=_cropped_axes(before, place))
    notes = []
    if place.correlation < UNLIKE and shift is None:
        notes.append(
            f"The virtual bright fields are not much alike (correlation {place.correlation:.2f}): look whether the "
            f"shift of {place.shift} pixels (rows, columns) is right, or give it."
        )
    return PhaseComparison(
        fractions=_table(found, change.before, change.after),
        transitions=pd.DataFrame(100 * found.transitions, index=names, columns=names),
        before_map=common.as_map(found.before_index.astype(np.int16), "Before"),
        after_map=common.as_map(found.after_index.astype(np.int16), "After"),
        change_map=common.as_map(change.kind, "What became of it"),
        became_amorphous=common.as_map(change.amorphised, "Became amorphous"),
        became_delithiated=common.as_map(change.delithiated, f"{lithiated} became {delithiated}"),
        registration=place,
        found=found,
        change_names=(
            "unchanged",
            "other change",
            f"{lithiated} to {delithiated}",
            "crystal to amorphous",
            f"{delithiated} to {lithiated}",
            "no answer in a state",
        ),
        notes=tuple(notes),
    )


def _check_pixels(before: ScanMaps, after: ScanMaps) -> None:
    (first, units), (second, others) = before.pixel_size(), after.pixel_size()
    if units != others or not np.allclose(first, second, rtol=0.01):
        raise AssbValueError(
            f"The scans have pixels of {first[0]:.4g} x {first[1]:.4g} {units or 'px'} before and {second[0]:.4g} x "
            f"{second[1]:.4g} {others or 'px'} after: only scans of one pixel size can be compared."
        )


def _cropped_axes(result: ScanMaps, place: Registration) -> tuple[dict[str, Any], ...]:
    axes = [dict(axis) for axis in result.full_axes()]
    for axis, part in zip(axes, place.before, strict=True):
        axis["offset"] += part.start * axis["scale"]
        axis["size"] = part.stop - part.start
        axis["navigate"] = True
    return tuple(axes)


def _table(found: PhaseChange, before: AreaFractions, after: AreaFractions) -> pd.DataFrame:
    rows = []
    for number, name in enumerate(found.names):
        row: dict[str, Any] = {"class": name}
        for state, part in (("before", before), ("after", after)):
            known = name in part.names
            at = part.names.index(name) if known else 0
            row[f"{state} (%)"] = 100 * part.fraction[at] if known else 0.0
            row[f"{state} low (%)"] = 100 * part.low[at] if known else 0.0
            row[f"{state} high (%)"] = 100 * part.high[at] if known else float("nan")
        row["change (%)"] = 100 * found.change[number]
        row["change std (%)"] = 100 * found.change_std[number]
        row["change low (%)"] = 100 * found.low[number]
        row["change high (%)"] = 100 * found.high[number]
        rows.append(row)
    return pd.DataFrame(rows)
