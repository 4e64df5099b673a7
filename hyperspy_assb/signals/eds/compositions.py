"""Phases and composition of an X-ray map: the objects that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.eds.composition.atoms import Composition
from hyperspy_assb.eds.phases.evidence import PhaseStatus, Verdict
from hyperspy_assb.eds.phases.phase_regions import summarise_region
from hyperspy_assb.eds.phases.stoichiometry import PhaseMixture
from hyperspy_assb.signals.eds.eds_files import EDSResult
from hyperspy_assb.signals.region_mask import region_mask


@dataclass(frozen=True, eq=False)
class EDSComposition(EDSResult):
    """Elements in every pixel, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        Atoms/nm^2 of each element, as arrays.
    """

    node: ClassVar[str] = "eds_composition"
    found: Composition = field(repr=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols."""
        return self.found.elements

    @cached_property
    def atoms(self) -> dict[str, Any]:
        """Atoms/nm^2 in the column, not below 0."""
        return self._maps(self.found.atoms, self.elements, "{} in the column", "atoms/nm²")

    @cached_property
    def atoms_std(self) -> dict[str, Any]:
        """Standard errors from counting."""
        return self._maps(self.found.std, self.elements, "Standard error of {} in the column", "atoms/nm²")

    @cached_property
    def atomic_percent(self) -> dict[str, Any]:
        """Atomic per cent, Li not among the elements."""
        return self._maps(self._percent[0], self.elements, "{}", "at. %")

    @cached_property
    def atomic_percent_std(self) -> dict[str, Any]:
        """Standard errors from counting."""
        return self._maps(self._percent[1], self.elements, "Standard error of {}", "at. %")

    @cached_property
    def atomic_percent_systematic(self) -> dict[str, Any]:
        """Uncertainty from the calibration of the elements: common to all pixels of one kind."""
        return self._maps(self._percent[2], self.elements, "Systematic uncertainty of {}", "at. %")

    @cached_property
    def _percent(self) -> tuple[NDArray[np.float64], ...]:
        return self.found.atomic_percent()

    def to_dataframe(self) -> pd.DataFrame:
        """One row a pixel: position, atomic per cent of each element and its standard error."""
        columns: dict[str, Any] = self._position_columns()
        for i, element in enumerate(self.elements):
            columns[f"{element} (at. %)"] = self._percent[0][:, i]
            columns[f"{element} std (at. %)"] = self._percent[1][:, i]
        return pd.DataFrame(columns)

    def mean(self, where: Any = None) -> pd.DataFrame:
        """Composition of a region as a whole: one row an element.

        Parameters
        ----------
        where
            A boolean array or signal on the navigation axes, or a HyperSpy ROI; None: everything.

        Returns
        -------
        pandas.DataFrame
            Atomic per cent, standard error from counting, and uncertainty from the calibration.
        """
        good = self.found.known
        if where is not None:
            good = good & region_mask(next(iter(self.atoms.values())), where).ravel()
        if not good.any():
            raise ValueError("No pixel of the region has a composition.")
        percent, std, systematic = (v[0] for v in self.found.summed(good).atomic_percent(clipped=False))
        table = {"at. %": percent, "std": std, "systematic": systematic}
        return pd.DataFrame(table, index=pd.Index(self.elements, name="element"))

    def plot(self) -> Any:
        """Plot the atomic per cent of every element; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_composition

        return plot_composition(self)

    def _shown(self) -> Any:
        stack = np.stack([self.atomic_percent[el].data for el in self.elements])
        return _stacked(self, stack, "Composition (at. %)", self.elements)


@dataclass(frozen=True, eq=False)
class EDSPhases(EDSResult):
    """Phases in every pixel by stoichiometry, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        Phases, as arrays; see :class:`~hyperspy_assb.eds.phases.stoichiometry.PhaseMixture`.
    """

    node: ClassVar[str] = "eds_phases"
    found: PhaseMixture = field(repr=False)

    @property
    def phases(self) -> tuple[str, ...]:
        """Names; "olivine" is LiFePO4 and FePO4."""
        return self.found.phases

    @cached_property
    def volume_fraction(self) -> dict[str, Any]:
        """Share of the volume of the column; NaN where there is no material."""
        return self._maps(self._fractions[0], self.phases, "Volume fraction of {}")

    @cached_property
    def volume_fraction_std(self) -> dict[str, Any]:
        """Standard errors from counting."""
        return self._maps(self._fractions[1], self.phases, "Standard error of the volume fraction of {}")

    @cached_property
    def volume_fraction_systematic(self) -> dict[str, Any]:
        """Uncertainty from the calibration of the elements."""
        return self._maps(self._fractions[2], self.phases, "Systematic uncertainty of the volume fraction of {}")

    @cached_property
    def mass_fraction(self) -> dict[str, Any]:
        """Share of the mass of the column."""
        return self._maps(self.found.fractions("mass")[0], self.phases, "Mass fraction of {}")

    @cached_property
    def thickness(self) -> dict[str, Any]:
        """nm of each phase in the column."""
        return self._maps(self.found.thickness, self.phases, "Thickness of {}", "nm")

    @cached_property
    def thickness_std(self) -> dict[str, Any]:
        """Standard errors from counting."""
        return self._maps(self.found.std, self.phases, "Standard error of the thickness of {}", "nm")

    @cached_property
    def phase_map(self) -> Any:
        """Number of the phase with the largest volume, in the order of ``phases``; -1 where none explains the pixel."""
        return self._map(self.found.dominant(), "Phase with the largest volume")

    @cached_property
    def status(self) -> Any:
        """:class:`~hyperspy_assb.eds.phases.evidence.PhaseStatus` as integers."""
        return self._map(self.found.status, "Status")

    @cached_property
    def p_value(self) -> Any:
        """Of the hypothesis that the elements are those of a mixture."""
        return self._map(self.found.p_value, "p value of a mixture of the phases")

    @cached_property
    def residual(self) -> dict[str, Any]:
        """Atoms/nm^2 of each element that the nearest mixture lacks, over their standard errors."""
        return self._maps(self.found.residual_ratio, self.found.elements, "Residual of {} in standard errors")

    @cached_property
    def composition(self) -> EDSComposition:
        """Elements of the same pixels."""
        return EDSComposition(self.axes, self.record, self.findings, self.found.composition)

    @cached_property
    def _fractions(self) -> tuple[NDArray[np.float64], ...]:
        return self.found.fractions()

    def regions(self, where: Any = None) -> pd.DataFrame:
        """Fractions of regions, comparable with those of a diffraction phase map.

        Parameters
        ----------
        where
            None: everything; a boolean array or signal on the navigation axes, or a HyperSpy ROI; or a dictionary of
            these by name.

        Returns
        -------
        pandas.DataFrame
            Indexed by region and phase: volume, mass and area fractions, standard errors from counting, uncertainties
            from the calibration, and 68 % intervals of both together.

        Raises
        ------
        ValueError
            If no pixel of a region is explained.
        """
        named = where if isinstance(where, dict) else {"everything" if where is None else "region": where}
        rows = []
        for name, region in named.items():
            mask = None if region is None else region_mask(self.status, region, name=name).ravel()
            rows += [{"region": name, **row} for row in summarise_region(self.found, mask).rows()]
        return pd.DataFrame(rows).set_index(["region", "phase"])

    def judge(self, where: Any = None) -> Verdict:
        """Whether the phases explain pixels together: many tell what one has too few counts for.

        Parameters
        ----------
        where
            A boolean array or signal on the navigation axes, or a HyperSpy ROI; None: everything.

        Returns
        -------
        Verdict
            ``explained``, the p value, the share of foreign atoms, and the element at fault.
        """
        mask = None if where is None else region_mask(self.status, where).ravel()
        return self.found.judge(mask)

    def reasons(self) -> dict[str, int]:
        """Pixels by status, in words; with the element at fault where no mixture explains them."""
        return self.found.reasons()

    def to_dataframe(self) -> pd.DataFrame:
        """One row a pixel: position, fractions with errors, p value, and the status in words."""
        columns: dict[str, Any] = self._position_columns()
        for i, phase in enumerate(self.phases):
            columns[f"{phase} volume fraction"] = self._fractions[0][:, i]
            columns[f"{phase} std"] = self._fractions[1][:, i]
            columns[f"{phase} systematic"] = self._fractions[2][:, i]
            columns[f"{phase} (nm)"] = self.found.thickness[:, i]
        columns["p value"] = self.found.p_value
        columns["status"] = [PhaseStatus(s).name.lower() for s in self.found.status]
        return pd.DataFrame(columns)

    def plot(self) -> Any:
        """Plot fractions, phase map and status; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_phases

        return plot_phases(self)

    def _shown(self) -> Any:
        stack = np.stack([self.volume_fraction[phase].data for phase in self.phases])
        return _stacked(self, stack, "Volume fractions", self.phases)


def _stacked(result: EDSResult, stack: NDArray[Any], title: str, names: tuple[str, ...]) -> Any:
    import hyperspy.api as hs

    axes = [{"name": "quantity", "size": len(stack), "navigate": True}, *result.axes] if result.axes else None
    signal = hs.signals.BaseSignal(stack, axes=axes) if axes else hs.signals.BaseSignal(stack)
    signal.metadata.General.title = title
    signal.metadata.set_item("ASSB.quantities", list(names))
    signal.metadata.set_item("ASSB.provenance", result.record)
    return signal


def load_eds_composition(path: str | Path) -> EDSComposition:
    """Load what :meth:`EDSComposition.save` wrote.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    return EDSComposition._load(path)


def load_eds_phases(path: str | Path) -> EDSPhases:
    """Load what :meth:`EDSPhases.save` wrote.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    return EDSPhases._load(path)
