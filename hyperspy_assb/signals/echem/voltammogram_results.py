"""Results of voltammograms: resistance, capacitance, peaks, and what the beam changes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.echem.beam_change import BeamChange
from hyperspy_assb.echem.current_log import FloatArray
from hyperspy_assb.echem.peaks import Peak, SweepSearch
from hyperspy_assb.echem.resistance import Line
from hyperspy_assb.plotting.style import in_units
from hyperspy_assb.signals.one_figure import OneFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BENT = 3.0
"""Standard errors of curvature from which on a resistance is said to be that of a line through a curve."""
_DISAGREE = 3.0


@dataclass(frozen=True, eq=False, kw_only=True)
class OfVoltammogram(OneFigure):
    """What results of voltammograms share: the curve, and a table of rows instead of pixels.

    Parameters
    ----------
    time, potential, current
        The curve in s, V and A, shape (N,).
    """

    time: FloatArray = field(repr=False)
    potential: FloatArray = field(repr=False)
    current: FloatArray = field(repr=False)

    def _table(self) -> pd.DataFrame:
        return pd.DataFrame(list(self._rows()))

    @abstractmethod
    def _rows(self) -> Sequence[Mapping[str, Any]]:
        """Rows of the table."""

    def _shown(self) -> Any:
        axes = [{"name": "time", "axis": self.time, "units": "s", "navigate": False}]
        signal = hs.signals.Signal1D(self.current.copy(), axes=axes)
        signal.metadata.General.title = "Current (A)"
        return signal


@dataclass(frozen=True, eq=False)
class Resistance(OfVoltammogram):
    """Apparent resistance of a cell, by sweep and by cycle. Its figure shows the curve with the lines.

    Parameters
    ----------
    sweeps
        Lines through single sweeps, which hold any drift of the current.
    cycles
        Lines through neighbouring sweeps of opposite directions, without drift; empty if there is one sweep.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import simulate_voltammogram
    >>> found = simulate_voltammogram(seed=1).resistance()
    >>> bool(abs(found.value[0] - 1e9) < 3.0 * found.value_std[0]), found.value_systematic.shape
    (True, (1,))
    >>> "apparent" in found.summary()
    True
    """

    sweeps: tuple[Line, ...] = field(repr=False)
    cycles: tuple[Line, ...] = field(repr=False)

    @property
    def value(self) -> FloatArray:
        """Ohm, of each cycle, or of each sweep if there is no cycle; NaN where the conductance is not above 0."""
        return np.array([line.resistance for line in self._best])

    @property
    def value_std(self) -> FloatArray:
        """Standard errors from the noise."""
        return np.array([line.resistance_std for line in self._best])

    @property
    def value_systematic(self) -> FloatArray:
        """Half of the difference between the sweeps of each cycle: what drift and hysteresis may do; NaN of sweeps."""
        of = {line.sweeps[0]: line.resistance for line in self.sweeps}
        return np.array(
            [
                abs(of.get(line.sweeps[0], np.nan) - of.get(line.sweeps[-1], np.nan)) / 2.0
                if len(line.sweeps) == 2
                else np.nan
                for line in self._best
            ]
        )

    def summary(self) -> str:
        """Resistance of each cycle, or sweep, with its error, and the notes."""
        lines = []
        for line in self._best:
            what = (
                f"Cycle of sweeps {line.sweeps[0]} and {line.sweeps[1]}"
                if len(line.sweeps) == 2
                else f"Sweep {line.sweeps[0]}"
            )
            low, high = line.resistance_interval
            if np.isfinite(high):
                lines.append(f"{what}: {in_units(line.resistance, line.resistance_std, 'Ω')}.")
            else:
                least = in_units(low, np.nan, "Ω")
                lines.append(f"{what}: more than {least} (the current does not depend on the potential).")
            if abs(line.curvature) > _BENT:
                lines[-1] += " The current bends: this is the resistance of a line through a curve; name a window."
        lines.append(
            "It is the apparent resistance of everything between the terminals. Impedance or a current step shows the "
            "ohmic part."
        )
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.voltammogram import plot_lines

        return plot_lines(self, ax=ax)

    @property
    def _best(self) -> tuple[Line, ...]:
        return self.cycles or self.sweeps

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [_line_row(line) for line in (*self.sweeps, *self.cycles)]


@dataclass(frozen=True, eq=False)
class Capacitance(OfVoltammogram):
    """Capacitance of a cell from the difference between directions of sweeps; its figure shows the lines.

    Parameters
    ----------
    cycles
        Lines through neighbouring sweeps of opposite directions.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import simulate_voltammogram
    >>> found = simulate_voltammogram(seed=1).capacitance()
    >>> found.value.shape, found.value_std.shape, "F between" in found.summary()
    ((1,), (1,), True)
    """

    cycles: tuple[Line, ...] = field(repr=False)

    @property
    def value(self) -> FloatArray:
        """F, of each cycle."""
        return np.array([line.capacitance for line in self.cycles])

    @property
    def value_std(self) -> FloatArray:
        """Standard errors from the noise."""
        return np.array([line.capacitance_std for line in self.cycles])

    def summary(self) -> str:
        """Capacitance of each cycle with its error, and the notes."""
        lines = [
            f"Cycle of sweeps {line.sweeps[0]} and {line.sweeps[1]}: "
            f"{in_units(line.capacitance, line.capacitance_std, 'F')} between {line.low:.3g} and {line.high:.3g} V."
            for line in self.cycles
        ]
        return "\n".join((*lines, "Reactions that differ between the directions count as capacitance.", *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.voltammogram import plot_lines

        return plot_lines(self, ax=ax)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [_line_row(line) for line in self.cycles]


@dataclass(frozen=True, eq=False)
class VoltammogramPeaks(OfVoltammogram):
    """Peaks of a voltammogram, which its figure shows on the curve, and what would have been found.

    Parameters
    ----------
    peaks
        Those that stand out.
    searches
        What the search says of each sweep, the limit of detection with it.
    alpha
        Share of voltammograms without a peak in which one is found.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import simulate_voltammogram
    >>> found = simulate_voltammogram(seed=1).find_peaks()
    >>> found.summary().splitlines()[0]
    'No peak stands out of the noise (alpha = 0.05). In every sweep one of ...'
    >>> list(found.limits.index)
    [1, 2]
    """

    peaks: tuple[Peak, ...] = field(repr=False)
    searches: tuple[SweepSearch, ...] = field(repr=False)
    alpha: float

    @property
    def limits(self) -> pd.DataFrame:
        """One row a sweep: height (A) and charge (C) of a peak of 10 % of the range that is found in 95 %, and the
        noise."""
        rows = [
            {
                "sweep": s.sweep,
                "p": s.p,
                "height (A)": s.limit,
                "charge (C)": s.limit_charge,
                "white noise (A)": s.white,
                "1/f over white": s.flicker,
                "points": s.points[0],
            }
            for s in self.searches
        ]
        return pd.DataFrame(rows).set_index("sweep")

    def summary(self) -> str:
        """Each peak, or that no peak is above the limit, and the notes."""
        lines = [
            f"Sweep {p.sweep}: a peak at {p.potential:.3f} ± {p.potential_std:.3f} V, "
            f"{in_units(p.height, p.height_std, 'A')} high, {in_units(p.charge, p.charge_std, 'C')} (p = {p.p:.2g})."
            for p in self.peaks
        ]
        if not lines:
            limit = max(s.limit for s in self.searches)
            charge = max(s.limit_charge for s in self.searches)
            lines = [
                f"No peak stands out of the noise (alpha = {self.alpha:g}). In every sweep one of "
                f"{in_units(limit, np.nan, 'A')} or {in_units(charge, np.nan, 'C')} would have been found in 95 %."
            ]
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.voltammogram import plot_peaks

        return plot_peaks(self, ax=ax)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "sweep": p.sweep,
                "potential (V)": p.potential,
                "potential std (V)": p.potential_std,
                "width (V)": p.width,
                "height (A)": p.height,
                "height std (A)": p.height_std,
                "charge (C)": p.charge,
                "charge std (C)": p.charge_std,
                "p": p.p,
            }
            for p in self.peaks
        ]


@dataclass(frozen=True, eq=False)
class BeamComparison(OfVoltammogram):
    """Current with the beam on against that with the beam off; its figure shows both against time.

    Parameters
    ----------
    change
        What the beam changes.
    intervals
        Times in s between which it was on.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import VoltammogramConditions, simulate_voltammogram
    >>> beam = ((200.0, 400.0), (600.0, 800.0))
    >>> cv = simulate_voltammogram(VoltammogramConditions(beam=beam, beam_step=4e-10), seed=1)
    >>> found = cv.compare_beam(beam)
    >>> found.step > 3.0 * found.step_std, found.p < 0.01, "The beam adds" in found.summary()
    (True, True, True)
    """

    change: BeamChange
    intervals: tuple[tuple[float, float], ...]

    @property
    def step(self) -> float:
        """Current that the beam adds, in A."""
        return self.change.step

    @property
    def step_std(self) -> float:
        """Its standard error."""
        return self.change.step_std

    @property
    def p(self) -> float:
        """That the beam changes neither current nor conductance."""
        return self.change.p

    def summary(self) -> str:
        """Step and change of the conductance with errors, and the notes."""
        c = self.change
        lines = [
            f"The beam adds {in_units(c.step, c.step_std, 'A')} at {c.middle:.3g} V and changes the conductance by "
            f"{in_units(c.conductance, c.conductance_std, 'S')} (p = {c.p:.2g} that it does neither)."
        ]
        if c.switches < 2:
            lines.append("The beam was switched once within the sweeps: a slow change of the cell looks the same.")
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.voltammogram import plot_beam

        return plot_beam(self, ax=ax)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        c = self.change
        return [
            {"what": "current (A)", "change": c.step, "std": c.step_std, "p": c.p},
            {"what": "conductance (S)", "change": c.conductance, "std": c.conductance_std, "p": c.p},
        ]


def _line_row(line: Line) -> dict[str, Any]:
    low, high = line.resistance_interval
    return {
        "sweeps": " and ".join(map(str, line.sweeps)),
        "resistance (ohm)": line.resistance,
        "resistance std (ohm)": line.resistance_std,
        "low (ohm)": low,
        "high (ohm)": high,
        "conductance (S)": line.conductance,
        "conductance std (S)": line.conductance_std,
        "capacitance (F)": line.capacitance,
        "capacitance std (F)": line.capacitance_std,
        "curvature (std)": line.curvature,
        "white noise (A)": line.white,
        "1/f over white": line.flicker,
        "from (V)": line.low,
        "to (V)": line.high,
    }
