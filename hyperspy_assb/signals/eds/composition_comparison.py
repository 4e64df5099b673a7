"""Composition of an EDX map before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb.eds.comparison.composition_change import BlockStatus, CompositionChange, RegionChange, region_changes
from hyperspy_assb.signals.region_mask import region_masks
from hyperspy_assb.signals.result import Result


@dataclass(frozen=True, eq=False)
class CompositionComparison(Result):
    """Change of the composition, on a map of blocks of pixels.

    Parameters
    ----------
    found
        Differences, as arrays; see :class:`~hyperspy_assb.eds.comparison.composition_change.CompositionChange`.

    Examples
    --------
    >>> from hyperspy_assb.eds.comparison.composition_change import CompositionOptions
    >>> from hyperspy_assb.simulation import micro_battery
    >>> battery = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB")
    >>> options, elements = CompositionOptions(register=False), ["C", "O", "Al", "P", "Fe", "Ge"]
    >>> c = battery.edx_before.compare_composition(battery.edx_after, options=options, elements=elements)
    >>> c.elements[:4], c.shift
    (('C', 'O', 'Al', 'P'), (0.0, 0.0))
    >>> c.other_reading is None  # nothing was registered: there is one shift
    True
    >>> change, error = c.difference["Fe"].data[0, 0], c.difference_std["Fe"].data[0, 0]
    >>> print(f"{change:.1f} ± {error:.1f}")
    2.0 ± 1.1
    >>> c.changed["Fe"].data.tolist(), bool((c.q_value["Fe"].data > 0.05).all())
    ([[0, 0, 0], [0, 0, 0]], True)
    >>> c.statuses(int(c.status.data[0, 0])).name
    'COMPARED'
    >>> print(c.summary().splitlines()[0])
    C: -0.59 ± 1.27 at. % in all blocks together; 0 went up and 0 down of 6.
    >>> axes = c.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = BlockStatus
    found: CompositionChange = field(repr=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols."""
        return self.found.elements

    @property
    def shift(self) -> tuple[float, float]:
        """Pixels (rows, columns) by which the later map was shifted."""
        return self.found.shift

    @property
    def other_reading(self) -> CompositionComparison | None:
        """The comparison with the other shift, where shift and change explain each other; None: they do not."""
        return None if self.found.other is None else replace(self, found=self.found.other)

    @cached_property
    def difference(self) -> dict[str, BaseSignal]:
        """After less before in atomic per cent."""
        return self._by_element(self.found.difference, "Change of {}", "at. %")

    @cached_property
    def difference_std(self) -> dict[str, BaseSignal]:
        """Standard errors: counting in both states, and the error of the shift."""
        return self._by_element(self.found.std, "Standard error of the change of {}", "at. %")

    @cached_property
    def q_value(self) -> dict[str, BaseSignal]:
        """Smallest false discovery rate at which the change of a block is a find."""
        return self._by_element(self.found.q_value, "q value of the change of {}")

    @cached_property
    def changed(self) -> dict[str, BaseSignal]:
        """-1, 0 or 1: went down, did not change by more than noise, went up."""
        return self._by_element(self.found.changed, "Direction of the change of {}")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eds.comparison.composition_change.BlockStatus` as integers."""
        return self._map(self.found.status, "Status")

    def changes(self, region: Any = None) -> pd.DataFrame:
        """Mean change of each element in regions: which elements moved where; one row a region and element.

        Parameters
        ----------
        region
            As in ``to_dataframe``; None: everything.

        Returns
        -------
        pandas.DataFrame
            Indexed by region and element: before, after, change with standard error and p value, blocks that went up
            and down. Regions without an answer are left out.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.eds.comparison.composition_change import CompositionOptions
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB")
        >>> options, elements = CompositionOptions(register=False), ["C", "O", "Al", "P", "Fe", "Ge"]
        >>> c = battery.edx_before.compare_composition(battery.edx_after, options=options, elements=elements)
        >>> left = np.array([[True, False, False], [True, False, False]])
        >>> c.changes({"left": left}).loc["left"].loc[["P", "Fe"], ["change", "std", "p_value"]].round(2)
                 change   std  p_value
        element
        P          0.17  0.99     0.86
        Fe         0.50  0.74     0.50
        """
        found = self._changes(region_masks(self.status, region))
        return pd.DataFrame([asdict(row) for row in found]).set_index(["region", "element"])

    def summary(self) -> str:
        """Change of every element in all blocks together, blocks in which it is more than noise, and the notes."""
        lines = [
            f"{row.element}: {row.change:+.2f} ± {row.std:.2f} at. % in all blocks together; {row.up} went up and "
            f"{row.down} down of {row.blocks}."
            for row in self._changes({"": self._everywhere()})
        ]
        if self.found.other is not None:
            down, right = self.found.other.shift
            lines.append(f"With the other shift, of {down:+.2f} rows and {right:+.2f} columns:")
            lines += [
                f"{row.element}: {row.change:+.2f} ± {row.std:.2f} at. %; {row.up} went up and {row.down} down."
                for row in region_changes(self.found.other, {"": np.ones(self.found.other.status.shape, dtype=bool)})
            ]
        return "\n".join((*(lines or ["No block has an answer in both states."]), *self.notes))

    def plot(self) -> NDArray[np.object_]:
        """Plot the change of every element; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_composition_change

        return plot_composition_change(self)

    def _by_element(self, values: NDArray[Any], title: str, units: str = "") -> dict[str, Any]:
        return self._maps(np.moveaxis(values, 0, -1), self.elements, title, units)

    def _changes(self, masks: Mapping[str, NDArray[np.bool_]]) -> list[RegionChange]:
        shape = self.found.difference.shape[1:]
        return region_changes(self.found, {name: mask.reshape(shape) for name, mask in masks.items()})

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = {}
        for m, element in enumerate(self.elements):
            columns[f"{element} change (at. %)"] = self.found.difference[m]
            columns[f"{element} std (at. %)"] = self.found.std[m]
            columns[f"{element} q value"] = self.found.q_value[m]
        return columns

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        found = {row.element: row for row in self._changes({"": mask})}
        row = {}
        for element in self.elements:
            change = found.get(element)
            row[f"{element} change (at. %)"] = float("nan") if change is None else change.change
            row[f"{element} std (at. %)"] = float("nan") if change is None else change.std
            row[f"{element} p value"] = float("nan") if change is None else change.p_value
        return row

    def _shown(self) -> Any:
        return self._stacked(self.difference, "Change of composition (at. %)")
