"""Composition and phases of an EDX map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb.eds.composition.atoms import Composition, FitStatus
from hyperspy_assb.eds.phases.evidence import MixtureCheck, PhaseStatus
from hyperspy_assb.eds.phases.phase_regions import summarise_region
from hyperspy_assb.eds.phases.stoichiometry import PhaseMixture
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.signals.region_mask import region_mask, region_masks
from hyperspy_assb.signals.result import Result

_STANDS_OUT = 3.0, 0.1
"""Standard errors, and at. %, above which the summary names an element."""
_FEW = 0.01
"""Share of the pixels below which the summary says nothing of a status."""
_TOLD = 0.02
"""Share of unexplained pixels from which the summary says that fractions are those of the others."""


@dataclass(frozen=True, eq=False)
class EDSComposition(Result):
    """Elements in every pixel, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        Atoms/nm^2 of each element, as arrays.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
    >>> c = s.quantify_composition(elements=["C", "O", "Al", "P", "Fe", "Ge", "Si", "Cu"])
    >>> c.elements
    ('C', 'O', 'Al', 'P', 'Fe', 'Ge', 'Si', 'Cu')
    >>> iron, error = c.atomic_percent["Fe"].data, c.atomic_percent_std["Fe"].data
    >>> float(iron.mean().round(1)), float(error.mean().round(1))
    (8.8, 0.6)
    >>> float(c.atomic_percent_systematic["Fe"].data.mean().round(1))
    2.1
    >>> c.atoms["Fe"], bool((c.atoms_std["Fe"].data > 0).all())
    (<BaseSignal, title: Fe in the column, dimensions: (3, 2|)>, True)
    >>> c.statuses(int(c.status.data[0, 0])).name
    'FITTED'
    >>> print(c.summary().splitlines()[0])
    Elements that stand out, in all pixels together: O 54.7 ± 9.4 at. %, C 16.1 ± 5.9 at. %, P 14.9 ± 3.3 at. %, Fe
    9.1 ± 2.0 at. %, Ge 3.38 ± 0.77 at. %, Al 1.07 ± 0.27 at. %, Si 0.47 ± 0.14 at. %, Cu 0.239 ± 0.072 at. %.
    >>> axes = c.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = FitStatus
    found: Composition = field(repr=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols."""
        return self.found.elements

    @cached_property
    def atoms(self) -> dict[str, BaseSignal]:
        """Atoms/nm^2 in the column, not below 0."""
        return self._maps(self.found.atoms, self.elements, "{} in the column", "atoms/nm²")

    @cached_property
    def atoms_std(self) -> dict[str, BaseSignal]:
        """Standard errors from counting."""
        return self._maps(self.found.std, self.elements, "Standard error of {} in the column", "atoms/nm²")

    @cached_property
    def atomic_percent(self) -> dict[str, BaseSignal]:
        """Atomic per cent, Li not among the elements."""
        return self._maps(self._percent[0], self.elements, "{}", "at. %")

    @cached_property
    def atomic_percent_std(self) -> dict[str, BaseSignal]:
        """Standard errors from counting."""
        return self._maps(self._percent[1], self.elements, "Standard error of {}", "at. %")

    @cached_property
    def atomic_percent_systematic(self) -> dict[str, BaseSignal]:
        """Uncertainty from the calibration of the elements: common to all pixels of one kind."""
        return self._maps(self._percent[2], self.elements, "Systematic uncertainty of {}", "at. %")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eds.composition.atoms.FitStatus` as integers."""
        return self._map(self.found.status, "Status")

    @cached_property
    def _percent(self) -> tuple[NDArray[np.float64], ...]:
        return self.found.atomic_percent()

    def mean(self, region: Any = None) -> pd.DataFrame:
        """Composition of a region as a whole: one row an element.

        Parameters
        ----------
        region
            A boolean array or signal on the navigation axes, or a HyperSpy ROI; None: everything.

        Returns
        -------
        pandas.DataFrame
            Atomic per cent, standard error from counting, and uncertainty from the calibration.

        Raises
        ------
        AssbValueError
            If no pixel of the region has a composition.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> c = s.quantify_composition(elements=["C", "O", "Al", "P", "Fe", "Ge", "Si", "Cu"])
        >>> left = np.array([[True, False, False], [True, False, False]])
        >>> c.mean(left).round(1).loc[["P", "Fe"]]
                 at. %  std  systematic
        element
        P         12.1  0.6         2.6
        Fe        10.2  0.5         2.2
        """
        good = self.found.known
        if region is not None:
            good = good & region_mask(self.status, region).ravel()
        if not good.any():
            told = self.notes[0] if (self.found.status == FitStatus.UNEXPLAINED).any() else ""
            raise AssbValueError(f"No pixel of the region has a composition. {told}".rstrip())
        percent, std, systematic = self._together(good)
        table = {"at. %": percent, "std": std, "systematic": systematic}
        return pd.DataFrame(table, index=pd.Index(self.elements, name="element"))

    def summary(self) -> str:
        """Elements that stand out in all pixels together, pixels without an answer, and the notes."""
        counts = {words.lower().replace("_", " "): n for words, n in self._count_statuses(self._everywhere()).items()}
        del counts["fitted"]
        return "\n".join((*self._elements_in_words(), *_pixels_in_words(counts, self.found.status.size), *self.notes))

    def plot(self) -> NDArray[np.object_]:
        """Plot the atomic per cent of every element; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_composition

        return plot_composition(self)

    def _elements_in_words(self) -> list[str]:
        if not self.found.known.any():
            return []
        mean = self.mean()
        # How far a factor is off says nothing of whether the element is there.
        sure = mean["at. %"] > np.maximum(_STANDS_OUT[0] * mean["std"], _STANDS_OUT[1])
        there = mean[sure].sort_values("at. %", ascending=False)
        listed = [
            f"{name} {with_error(row['at. %'], np.hypot(row['std'], row['systematic']))} at. %"
            for name, row in there.iterrows()
        ]
        return [f"Elements that stand out, in all pixels together: {', '.join(listed)}."]

    def _together(self, good: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
        percent, std, systematic = (v[0] for v in self.found.summed(good).atomic_percent(clipped=False))
        # What noise makes of an element that is not there is no composition.
        return np.clip(percent, 0.0, 100.0), std, systematic

    def _pixel_columns(self) -> Mapping[str, Any]:
        percent, std, _ = self._percent
        columns = {}
        for i, element in enumerate(self.elements):
            columns[f"{element} (at. %)"] = percent[:, i]
            columns[f"{element} std (at. %)"] = std[:, i]
        return columns

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        row = {}
        values = zip(*self._together(self.found.known & mask.ravel()), strict=True)
        for element, (percent, std, systematic) in zip(self.elements, values, strict=True):
            row[f"{element} (at. %)"] = percent
            row[f"{element} std (at. %)"] = std
            row[f"{element} systematic (at. %)"] = systematic
        return row

    def _shown(self) -> Any:
        return self._stacked(self.atomic_percent, "Composition (at. %)")


@dataclass(frozen=True, eq=False)
class EDSPhases(Result):
    """Phases in every pixel by stoichiometry, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        Phases, as arrays; see :class:`~hyperspy_assb.eds.phases.stoichiometry.PhaseMixture`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
    >>> p = s.quantify_phases()
    >>> p.phases
    ('olivine', 'LAGP', 'Li3V2(PO4)3', 'carbon')
    >>> p.phase_map.data
    array([[0, 0, 3],
           [0, 0, 0]])
    >>> share = p.volume_fraction["olivine"].data[0, 0]
    >>> std, systematic = p.volume_fraction_std["olivine"], p.volume_fraction_systematic["olivine"]
    >>> print(f"{share:.2f} ± {std.data[0, 0]:.2f} ± {systematic.data[0, 0]:.2f}")
    0.61 ± 0.04 ± 0.05
    >>> [p.thickness["LAGP"].data.shape, p.thickness_std["LAGP"].data.shape, p.mass_fraction["LAGP"].data.shape]
    [(2, 3), (2, 3), (2, 3)]
    >>> bool((p.p_value.data > 0.001).all()), bool((abs(p.residual["Fe"].data) < 5).all())
    (True, True)
    >>> p.status_counts()
    {'explained by the phases': 6}
    >>> p.statuses(int(p.status.data[0, 0])).name
    'GOOD'
    >>> p.composition.elements[:4]
    ('C', 'O', 'Al', 'P')
    >>> print(p.summary().splitlines()[0])
    Volume: olivine 51.1 % (46.8 to 55.4), LAGP 34.1 % (29.4 to 38.7), Li3V2(PO4)3 0.1 % (0.0 to 0.3), carbon 14.8 %
    (9.6 to 20.0), with 68 % intervals of counting and calibration.
    >>> axes = p.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = PhaseStatus
    found: PhaseMixture = field(repr=False)

    @property
    def phases(self) -> tuple[str, ...]:
        """Names; "olivine" is LiFePO4 and FePO4."""
        return self.found.phases

    @cached_property
    def volume_fraction(self) -> dict[str, BaseSignal]:
        """Share of the volume of the column; NaN where there is no material."""
        return self._maps(self._fractions[0], self.phases, "Volume fraction of {}")

    @cached_property
    def volume_fraction_std(self) -> dict[str, BaseSignal]:
        """Standard errors from counting."""
        return self._maps(self._fractions[1], self.phases, "Standard error of the volume fraction of {}")

    @cached_property
    def volume_fraction_systematic(self) -> dict[str, BaseSignal]:
        """Uncertainty from the calibration of the elements."""
        return self._maps(self._fractions[2], self.phases, "Systematic uncertainty of the volume fraction of {}")

    @cached_property
    def mass_fraction(self) -> dict[str, BaseSignal]:
        """Share of the mass of the column."""
        return self._maps(self.found.fractions("mass")[0], self.phases, "Mass fraction of {}")

    @cached_property
    def thickness(self) -> dict[str, BaseSignal]:
        """nm of each phase in the column."""
        return self._maps(self.found.thickness, self.phases, "Thickness of {}", "nm")

    @cached_property
    def thickness_std(self) -> dict[str, BaseSignal]:
        """Standard errors from counting."""
        return self._maps(self.found.std, self.phases, "Standard error of the thickness of {}", "nm")

    @cached_property
    def phase_map(self) -> BaseSignal:
        """Number of the phase with the largest volume, in the order of ``phases``; -1 for unexplained pixels."""
        return self._map(self.found.dominant(), "Phase with the largest volume")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eds.phases.evidence.PhaseStatus` as integers."""
        return self._map(self.found.status, "Status")

    @cached_property
    def p_value(self) -> BaseSignal:
        """Of the hypothesis that the elements are those of a mixture."""
        return self._map(self.found.p_value, "p value of a mixture of the phases")

    @cached_property
    def residual(self) -> dict[str, BaseSignal]:
        """Atoms/nm^2 of each element that the nearest mixture lacks, over their standard errors."""
        return self._maps(self.found.residual_ratio, self.found.elements, "Residual of {} in standard errors")

    @cached_property
    def composition(self) -> EDSComposition:
        """Elements of the same pixels."""
        found = self.found.composition if self.found.described else self.found.composition.withheld()
        return EDSComposition(found, axes=self.axes, provenance=self.provenance, notes=self.notes)

    @cached_property
    def _fractions(self) -> tuple[NDArray[np.float64], ...]:
        return self.found.fractions()

    def phase_fractions(self, region: Any = None) -> pd.DataFrame:
        """Fractions of regions, comparable with those of a diffraction phase map; one row a region and phase.

        Parameters
        ----------
        region
            As in ``to_dataframe``; None: everything.

        Returns
        -------
        pandas.DataFrame
            Indexed by region and phase: volume, mass and area fractions, standard errors from counting, uncertainties
            from the calibration, and 68 % intervals of both together.

        Raises
        ------
        AssbValueError
            If no pixel of a region is explained.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> p = s.quantify_phases()
        >>> left = np.array([[True, False, False], [True, False, False]])
        >>> p.phase_fractions({"left": left})[["volume", "volume std", "volume systematic"]].round(2)
                            volume  volume std  volume systematic
        region phase
        left   olivine        0.58        0.02               0.07
               LAGP           0.13        0.01               0.03
               Li3V2(PO4)3    0.00        0.00               0.00
               carbon         0.29        0.02               0.08
        """
        rows = [
            {"region": name, **row}
            for name, mask in region_masks(self.status, region).items()
            for row in summarise_region(self.found, mask.ravel()).rows()
        ]
        return pd.DataFrame(rows).set_index(["region", "phase"])

    def check_mixture(self, region: Any = None) -> MixtureCheck:
        """Whether the phases explain all pixels together, which reveals what single pixels have too few counts for.

        Parameters
        ----------
        region
            A boolean array or signal on the navigation axes, or a HyperSpy ROI; None: everything.

        Returns
        -------
        MixtureCheck
            ``explained``, the p value, the share of foreign atoms, and the element at fault.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> s.quantify_phases().check_mixture().explained
        True
        """
        return self.found.check_mixture(None if region is None else region_mask(self.status, region).ravel())

    def status_counts(self) -> dict[str, int]:
        """Pixels by status, in words; with the element responsible where no mixture explains them."""
        return self.found.status_counts()

    def summary(self) -> str:
        """Volume fractions of all pixels together, elements that stand out, pixels by status, and the notes.

        Where the phases do not explain the map as a whole, that comes first, and no fraction is given.
        """
        lines, notes = [], list(self.notes)
        if not self.check_mixture().explained:
            # The first of the notes says so; fractions would be read as if they meant something.
            lines += notes[:1]
            del notes[:1]
        elif np.any(self.found.status == PhaseStatus.GOOD):
            lines.append(self._fractions_in_words())
        lines += self.composition._elements_in_words()
        lines += _pixels_in_words(self.status_counts(), self.found.status.size)
        return "\n".join((*lines, *notes))

    def plot(self) -> NDArray[np.object_]:
        """Plot fractions, phase map and status; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_phases

        return plot_phases(self)

    def _fractions_in_words(self) -> str:
        table = self.phase_fractions().reset_index()
        unexplained = float(table["unexplained"].iloc[0])
        of = "" if unexplained < _TOLD else f" of the {100 * (1 - unexplained):.0f} % of the pixels that are explained"
        parts = (
            f"{row['phase']} {100 * max(row['volume'], 0.0):.1f} % ({100 * row['volume low']:.1f} to "
            f"{100 * row['volume high']:.1f})"
            for _, row in table.iterrows()
        )
        return f"Volume{of}: {', '.join(parts)}, with 68 % intervals of counting and calibration."

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = {}
        for i, phase in enumerate(self.phases):
            columns[f"{phase} volume fraction"] = self._fractions[0][:, i]
            columns[f"{phase} std"] = self._fractions[1][:, i]
            columns[f"{phase} systematic"] = self._fractions[2][:, i]
            columns[f"{phase} (nm)"] = self.found.thickness[:, i]
        return {**columns, "p value": self.found.p_value}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside, nothing = mask.ravel(), float("nan")
        explained = bool(np.any(self.found.status[inside] == PhaseStatus.GOOD))
        rows = summarise_region(self.found, inside).rows() if explained else [{"phase": name} for name in self.phases]
        found = {}
        for row in rows:
            phase = row["phase"]
            found[f"{phase} volume fraction"] = row.get("volume", nothing)
            found[f"{phase} std"] = row.get("volume std", nothing)
            found[f"{phase} systematic"] = row.get("volume systematic", nothing)
            for kind, errors in (("mass", ("std", "systematic")), ("area", ("std",))):
                found[f"{phase} {kind} fraction"] = row.get(kind, nothing)
                found |= {f"{phase} {kind} {error}": row.get(f"{kind} {error}", nothing) for error in errors}
        return {**found, "p value": self.found.check_mixture(inside).p_value}

    def _shown(self) -> Any:
        return self._stacked(self.volume_fraction, "Volume fractions")


def _pixels_in_words(counts: Mapping[str, int], pixels: int) -> list[str]:
    return [f"{n} of {pixels} pixels: {words}." for words, n in counts.items() if n and n >= _FEW * pixels]
