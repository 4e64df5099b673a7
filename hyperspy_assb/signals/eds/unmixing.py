"""Phases of an EDX map that nobody named."""

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

from hyperspy_assb.eds.phases.evidence import PhaseStatus, describe
from hyperspy_assb.eds.phases.unmixing import Unmixed
from hyperspy_assb.signals.result import Result

_LEAST = 0.005
"""Share of atoms below which the summary does not name an element of a component."""


@dataclass(frozen=True, eq=False)
class EDSUnmixing(Result):
    """Components of an EDX map, known and found, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        Components, as arrays; see :class:`~hyperspy_assb.eds.phases.unmixing.Unmixed`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
    >>> scene = simulate_interface(InterfaceOptions(width=8.0, shape=(12, 24)), rng=1, signal_type="EDS_TEM_ASSB")
    >>> u = scene.signal.unmix(2, known=("LAGP",))
    >>> u.components, u.separable
    (('LAGP', 'unknown 1'), {'LAGP': True, 'unknown 1': True})
    >>> sorted(u.composition.loc["unknown 1"].query("`at. %` > 5").index)
    ['Fe', 'O', 'P']
    >>> [u.share["unknown 1"].data.shape, u.share_std["unknown 1"].data.shape, u.amount["LAGP"].data.shape]
    [(12, 24), (12, 24), (12, 24)]
    >>> float(u.share["LAGP"].data[:, 0].mean().round(1))
    1.0
    >>> bool((u.share_systematic["LAGP"].data < 0.2).all()), bool((u.p_value.data > 1e-6).all())
    (True, True)
    >>> u.status
    <BaseSignal, title: Status, dimensions: (24, 12|)>
    >>> "unknown 1" in u.summary()
    True
    >>> axes = u.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = PhaseStatus
    found: Unmixed = field(repr=False)

    @property
    def components(self) -> tuple[str, ...]:
        """Names: known phases, then "unknown 1" and so on, by their amount."""
        return self.found.components

    @property
    def separable(self) -> dict[str, bool]:
        """Which components can be separated from the others; if one cannot, n is too large."""
        return dict(zip(self.components, map(bool, self.found.separable), strict=True))

    @property
    def composition(self) -> pd.DataFrame:
        """Atomic per cent of each component without Li, by component and element.

        ``std`` is the standard error from counting, ``systematic`` that from calibration and from which pixels are
        pure; both are 0 where the phase was known.
        """
        found = self.found
        index = pd.MultiIndex.from_product([self.components, found.elements], names=["component", "element"])
        columns = {"at. %": found.shares, "std": found.shares_std, "systematic": found.shares_systematic}
        return pd.DataFrame({name: 100.0 * values.ravel() for name, values in columns.items()}, index=index)

    @cached_property
    def share(self) -> dict[str, BaseSignal]:
        """Share of the atoms of the column, Li and elements of the preparation left out."""
        return self._maps(self._shares[0], self.components, "Share of {}")

    @cached_property
    def share_std(self) -> dict[str, BaseSignal]:
        """Standard errors from counting."""
        return self._maps(self._shares[1], self.components, "Standard error of the share of {}")

    @cached_property
    def share_systematic(self) -> dict[str, BaseSignal]:
        """Uncertainty from the calibration of the elements, and from the compositions that were found."""
        return self._maps(self._shares[2], self.components, "Systematic uncertainty of the share of {}")

    @cached_property
    def amount(self) -> dict[str, BaseSignal]:
        """Atoms/nm^2 of each component in the column, not below 0."""
        return self._maps(self.found.amounts, self.components, "Amount of {}", "atoms/nm²")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eds.phases.evidence.PhaseStatus` as integers."""
        return self._map(self.found.status, "Status")

    @cached_property
    def p_value(self) -> BaseSignal:
        """Of the hypothesis that the elements are those of a mixture of the components."""
        return self._map(self.found.p_value, "p value of a mixture of the components")

    @cached_property
    def _shares(self) -> tuple[NDArray[np.float64], ...]:
        return self.found.fractions()

    def summary(self) -> str:
        """Composition and mean share of each component, pixels by status, and the notes."""
        found, lines = self.found, []
        total, _, _ = found.together(self._material)
        for k, name in enumerate(self.components):
            mean = "" if np.isnan(total[k]) else f", {100.0 * total[k]:.1f} % of the atoms"
            if k < found.known:
                lines.append(f"{name} (known){mean}.")
                continue
            error = 100.0 * np.hypot(found.shares_std[k], found.shares_systematic[k])
            rich = [m for m in np.argsort(-found.shares[k]) if found.shares[k, m] > _LEAST]
            parts = (f"{found.elements[m]} {100.0 * found.shares[k, m]:.1f} ± {error[m]:.1f}" for m in rich)
            lines.append(f"{name}{mean}: {', '.join(parts)} at. %.")
        counts = {status: int(np.sum(found.status == status)) for status in PhaseStatus}
        lines += [f"{n} of {found.status.size} pixels: {describe(status)}." for status, n in counts.items() if n]
        return "\n".join((*lines, *self.notes))

    def plot(self) -> NDArray[np.object_]:
        """Plot compositions, shares and status; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_unmixing

        return plot_unmixing(self)

    @property
    def _material(self) -> NDArray[np.bool_]:
        return np.isin(self.found.status, (PhaseStatus.GOOD, PhaseStatus.UNEXPLAINED))

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = {}
        for k, name in enumerate(self.components):
            columns[f"{name} share"] = self._shares[0][:, k]
            columns[f"{name} std"] = self._shares[1][:, k]
            columns[f"{name} systematic"] = self._shares[2][:, k]
            columns[f"{name} (atoms/nm²)"] = self.found.amounts[:, k]
        return {**columns, "p value": self.found.p_value}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        value, std, systematic = self.found.together(mask.ravel() & self._material)
        row = {}
        for k, name in enumerate(self.components):
            row |= {f"{name} share": value[k], f"{name} std": std[k], f"{name} systematic": systematic[k]}
        return row

    def _shown(self) -> Any:
        return self._stacked(self.share, "Shares of components")
