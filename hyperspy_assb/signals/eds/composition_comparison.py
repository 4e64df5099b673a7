"""Composition of an X-ray map before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.eds.comparison.composition_change import CompositionChange, region_changes
from hyperspy_assb.signals.eds.eds_files import EDSResult
from hyperspy_assb.signals.region_mask import region_mask


@dataclass(frozen=True, eq=False)
class CompositionComparison(EDSResult):
    """Change of the composition, on a map of blocks of pixels.

    Parameters
    ----------
    found
        Differences, as arrays; see :class:`~hyperspy_assb.eds.comparison.composition_change.CompositionChange`.
    """

    node: ClassVar[str] = "eds_comparison"
    found: CompositionChange = field(repr=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols."""
        return self.found.elements

    @property
    def shift(self) -> tuple[float, float]:
        """Pixels (rows, columns) by which the later map was shifted."""
        return self.found.shift

    @cached_property
    def difference(self) -> dict[str, Any]:
        """After less before in atomic per cent."""
        return self._by_element(self.found.difference, "Change of {}", "at. %")

    @cached_property
    def difference_std(self) -> dict[str, Any]:
        """Standard errors: counting in both states, and the error of the shift."""
        return self._by_element(self.found.std, "Standard error of the change of {}", "at. %")

    @cached_property
    def q_value(self) -> dict[str, Any]:
        """Smallest false discovery rate at which the change of a block is a find."""
        return self._by_element(self.found.q_value, "q value of the change of {}")

    @cached_property
    def changed(self) -> dict[str, Any]:
        """-1, 0 or 1: went down, did not change by more than noise, went up."""
        return self._by_element(self.found.changed, "Direction of the change of {}")

    def regions(self, where: Any = None) -> pd.DataFrame:
        """Mean change of each element in regions: which elements moved where.

        Parameters
        ----------
        where
            None: everything; a boolean array or signal on the blocks, or a HyperSpy ROI; or a dictionary by name.

        Returns
        -------
        pandas.DataFrame
            Indexed by region and element: before, after, change with standard error and p value, blocks that went up
            and down.
        """
        named = where if isinstance(where, dict) else {"everything" if where is None else "region": where}
        template = next(iter(self.difference.values()))
        masks = {
            name: np.ones(self.shape, dtype=bool) if region is None else region_mask(template, region, name=name)
            for name, region in named.items()
        }
        shape = self.found.difference.shape[1:]
        found = region_changes(self.found, {name: mask.reshape(shape) for name, mask in masks.items()})
        return pd.DataFrame([asdict(row) for row in found]).set_index(["region", "element"])

    def to_dataframe(self) -> pd.DataFrame:
        """One row a block: position, change of each element, standard error, q value."""
        columns: dict[str, Any] = self._position_columns()
        for m, element in enumerate(self.elements):
            columns[f"{element} change (at. %)"] = self.found.difference[m].ravel()
            columns[f"{element} std (at. %)"] = self.found.std[m].ravel()
            columns[f"{element} q value"] = self.found.q_value[m].ravel()
        return pd.DataFrame(columns)

    def plot(self) -> Any:
        """Plot the change of every element; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_composition_change

        return plot_composition_change(self)

    def _by_element(self, values: NDArray[Any], title: str, units: str = "") -> dict[str, Any]:
        return self._maps(np.moveaxis(values, 0, -1), self.elements, title, units)

    def _shown(self) -> Any:
        import hyperspy.api as hs

        axes = [{"name": "element", "size": len(self.elements), "navigate": True}, *self.axes]
        data = self.found.difference.reshape(len(self.elements), *self.shape)
        signal = hs.signals.BaseSignal(data, axes=axes)
        signal.metadata.General.title = "Change of composition (at. %)"
        signal.metadata.set_item("ASSB.quantities", list(self.elements))
        signal.metadata.set_item("ASSB.provenance", self.record)
        return signal


def load_composition_comparison(path: str | Path) -> CompositionComparison:
    """Load what :meth:`CompositionComparison.save` wrote."""
    return CompositionComparison._load(path)
