"""Composition of an X-ray map before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eds.comparison.composition_change import (
    CompositionChange,
    CompositionOptions,
    compare_compositions,
    region_changes,
)
from hyperspy_assb.eds.composition.atoms import quantify_elements
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS
from hyperspy_assb.signals.eds.eds_files import EDSResult
from hyperspy_assb.signals.eds.quantification import methods_of, prepare
from hyperspy_assb.signals.eds.setup import TEM, Settings
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


def compare(before: Any, after: Any, settings: Settings, options: CompositionOptions) -> CompositionComparison:
    """What :meth:`ASSBEDSTEMSpectrum.compare_composition` does."""
    if not hasattr(after, "quantify_composition"):
        raise TypeError("after must be an X-ray signal as well: set_signal_type('EDS_TEM_ASSB').")
    shape = before.axes_manager._navigation_shape_in_array
    if after.axes_manager._navigation_shape_in_array != shape or not 1 <= len(shape) <= 2:
        raise ValueError(
            f"before has the navigation shape {shape} and after {after.axes_manager._navigation_shape_in_array}: both "
            "need the same one or two navigation axes."
        )
    for one, other in zip(before.axes_manager.navigation_axes, after.axes_manager.navigation_axes, strict=True):
        if not np.isclose(one.scale, other.scale, rtol=0.02) or one.units != other.units:
            raise ValueError(
                f"The pixels of axis {one.name!r} are {one.scale:g} {one.units} before and {other.scale:g} "
                f"{other.units} after: record both at one magnification, or rebin."
            )
    energies = [s.metadata.get_item(TEM + "beam_energy", None) for s in (before, after)]
    if None not in energies and not np.isclose(*energies, rtol=0.01):
        raise ValueError(f"beam_energy is {energies[0]:g} keV before and {energies[1]:g} keV after: factors differ.")
    states, findings, parameters = [], [], {}
    elements: list[str] | None = None
    for name, signal in (("before", before), ("after", after)):
        scene, spectra, told, parameters = prepare(signal, settings)
        found = quantify_elements(scene, spectra)
        elements = elements or [el for el in CELL_ELEMENTS if el in found.elements] or list(found.elements)
        found = found.subset(elements)
        m = len(elements)
        rows = shape if len(shape) == 2 else (1, *shape)
        states.append((found.unclipped.reshape(*rows, m), found.covariance.reshape(*rows, m, m)))
        findings += [f"{name}: {text}" for text in told]
    (a, ca), (b, cb) = states
    change = compare_compositions(elements, a, ca, b, cb, options)
    axes = []
    for axis, size in zip(
        before.axes_manager._get_navigation_axes_dicts(), change.difference.shape[1:][-len(shape) :], strict=True
    ):
        step = options.block if axis["size"] >= options.block else axis["size"]
        offset = axis["offset"] + 0.5 * (step - 1) * axis["scale"]
        axes.append({**axis, "size": size, "scale": axis["scale"] * step, "offset": offset})
    if np.hypot(*change.shift) > 0.05:
        findings.append(
            f"The later map was shifted by {change.shift[0]:+.2f} ± {change.shift_std[0]:.2f} rows and "
            f"{change.shift[1]:+.2f} ± {change.shift_std[1]:.2f} columns."
        )
    parameters |= {"options": asdict(options), "shift": list(change.shift)}
    record = provenance.record(
        "compare_composition",
        parameters=parameters,
        methods=(*methods_of(parameters), "registration", "scikit-image", "false_discovery"),
    )
    return CompositionComparison(tuple(axes), record, tuple(findings), change)
