"""The signal of a voltammogram.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as a result.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from hyperspy.signals import LazySignal1D, Signal1D

from hyperspy_assb.echem.beam_change import compare_beam
from hyperspy_assb.echem.current_log import CurrentLog
from hyperspy_assb.echem.log_files.vendors import read_log
from hyperspy_assb.echem.peaks import CROWDED, find_peaks
from hyperspy_assb.echem.resistance import line_of_sweep, lines_of_cycles
from hyperspy_assb.echem.sweeps import SweptLog, find_sweeps
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.models.recorded_signal import check_axis, recorded_data, recorded_names, recorded_text
from hyperspy_assb.provenance import record
from hyperspy_assb.signals.echem.voltammogram_results import BeamComparison, Capacitance, Resistance, VoltammogramPeaks

ROWS = ("potential", "current", "control", "full scale", "overload")
"""What the rows of the signal are: V, A, V, A, and 1 where the instrument flagged the point; NaN: not known."""
_NODE = "ASSB.voltammogram"
_MOST = {"potential": 1e4, "current": 1e4}
"""V and A that no potentiostat reaches."""


class ASSBVoltammogram(Signal1D):
    """Potential and current of a cell against time.

    The signal axis is time in s, as uneven as it was logged; the navigation axis names the rows: potential (V), current
    (A), commanded potential (V), end of the current range (A) and the instrument's own flags. What else the file says
    is kept in the metadata, under the node ``ASSB.voltammogram``.

    Examples
    --------
    >>> import hyperspy_assb
    >>> from hyperspy_assb.simulation.series import simulate_voltammogram
    >>> cv = simulate_voltammogram(seed=1)
    >>> cv.time.shape, cv.current.shape, float(cv.potential.max()), len(cv.sweeps)
    ((500,), (500,), 5.0, 2)
    >>> cv.started is None, cv.notes, cv.to_log().technique
    (True, (), 'simulated voltammogram')
    """

    _signal_type = "VOLTAMMOGRAM_ASSB"
    _signal_dimension = 1

    @property
    def time(self) -> np.ndarray:
        """Seconds, shape (N,)."""
        axis = self.axes_manager.signal_axes[0]
        check_axis(axis, "time axis of the voltammogram")
        return np.asarray(axis.axis, dtype=float)

    @property
    def potential(self) -> np.ndarray:
        """Measured, V, shape (N,)."""
        return self._row("potential")

    @property
    def current(self) -> np.ndarray:
        """A, shape (N,)."""
        return self._row("current")

    @property
    def started(self) -> datetime | None:
        """When time was 0; None if the file does not say."""
        item = f"{_NODE}.started"
        text = recorded_text(self, item)
        try:
            return datetime.fromisoformat(text) if text else None
        except ValueError:
            raise AssbValueError(f"metadata.{item} is {text!r}, not a date and time in ISO 8601: set it.") from None

    @property
    def sweeps(self) -> pd.DataFrame:
        """Table of the sweeps: from and to (V), rate (V/s), beginning and end (s), points, and how many of them are
        measurements.

        Raises
        ------
        AssbValueError
            If there is no sweep.
        """
        swept = self._swept()
        log = swept.log
        rows = [
            {
                "from (V)": float(log.potential[s.index[0]]),
                "to (V)": float(log.potential[s.index[-1]]),
                "rate (V/s)": s.rate,
                "begin (s)": float(log.time[s.index[0]]),
                "end (s)": float(log.time[s.index[-1]]),
                "points": s.index.size,
                "measured": swept.measured(s).size,
            }
            for s in swept.sweeps
        ]
        return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="sweep"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the curve must know: clipping, shorts, flags, gaps, a single sweep."""
        try:
            return self._swept().notes
        except AssbValueError as error:
            return (str(error),)

    def resistance(self, *, window: tuple[float, float] | None = None) -> Resistance:
        """Estimate the resistance of the cell from the slope of the current, sweep by sweep and cycle by cycle.

        The resistance is apparent: all that lies between the terminals, with every reaction in the window; only an
        impedance or a current step shows the ohmic part. Errors hold white and 1/f noise, whose share is estimated.

        Parameters
        ----------
        window
            Potentials in V between which the slope is taken; None: the whole sweep but the twentieth after its turn,
            while the capacitance is being charged.

        Returns
        -------
        Resistance
            Of every sweep, in which a drift of the current counts as conductance, and of every two that follow each
            other in opposite directions, in which it does not.

        Raises
        ------
        AssbValueError
            If there is no sweep, or too few points of it are measurements.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import simulate_voltammogram
        >>> print(simulate_voltammogram(seed=1).resistance().summary().splitlines()[0])
        Cycle of sweeps 1 and 2: 1.0033 ± 0.0023 GΩ.
        """
        swept = self._swept()
        sweeps, notes = [], list(swept.notes)
        for number in range(len(swept.sweeps)):
            try:
                sweeps.append(line_of_sweep(swept, number, window))
            except AssbValueError as error:
                notes.append(f"{error} It has no resistance.")
        if not sweeps:
            raise AssbValueError(notes[-1])
        try:
            cycles = lines_of_cycles(swept, window)
        except AssbValueError as error:
            cycles = ()
            notes.append(str(error))
        return Resistance(tuple(sweeps), cycles, **self._dress("resistance", notes, window=window))

    def capacitance(self, *, window: tuple[float, float] | None = None) -> Capacitance:
        """Estimate the capacitance from the difference of the current between the directions of neighbouring sweeps.

        Parameters
        ----------
        window
            As in :meth:`resistance`; choose one without peaks.

        Returns
        -------
        Capacitance
            Of every two sweeps that follow each other in opposite directions.

        Raises
        ------
        AssbValueError
            If no two such sweeps follow each other.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import simulate_voltammogram
        >>> found = simulate_voltammogram(seed=1).capacitance()
        >>> bool(abs(found.value[0] - 2e-8) < 3.0 * found.value_std[0])
        True
        """
        swept = self._swept()
        cycles = lines_of_cycles(swept, window)
        return Capacitance(cycles, **self._dress("capacitance", swept.notes, window=window))

    def find_peaks(self, alpha: float = 0.05) -> VoltammogramPeaks:
        """Find peaks that stand out of the noise, and say what would have been found.

        Peaks are Gaussians on a cubic baseline, upwards in anodic and downwards in cathodic sweeps. Each sweep is
        compared with curves of its own noise, white plus 1/f, in which the noise is estimated again.

        Parameters
        ----------
        alpha
            Share of voltammograms without a peak in which one is found, over all sweeps.

        Returns
        -------
        VoltammogramPeaks
            Peaks with charge, and the detection limit of each sweep.

        Raises
        ------
        AssbValueError
            If no sweep has enough points, or alpha is not between 0 and 1.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import simulate_voltammogram
        >>> len(simulate_voltammogram(seed=1).find_peaks().peaks)
        0
        """
        swept = self._swept()
        peaks, searches = find_peaks(swept, alpha)
        notes = list(swept.notes)
        crowded = sorted({p.sweep for p in peaks if sum(q.sweep == p.sweep for q in peaks) >= CROWDED})
        if crowded:
            notes.append(
                f"Sweep {', '.join(map(str, crowded))} has so many peaks that its baseline is not smooth: the peaks "
                "describe its shape together, and single ones need a look."
            )
        return VoltammogramPeaks(peaks, searches, float(alpha), **self._dress("find_peaks", notes, alpha=alpha))

    def compare_beam(self, intervals: Sequence[tuple[float, float]]) -> BeamComparison:
        """Compare the current with the beam on with that with the beam off.

        Parameters
        ----------
        intervals
            Times in s of this log between which the beam was on.

        Returns
        -------
        BeamComparison
            Step of the current and change of the conductance with errors and a p value.

        Raises
        ------
        AssbValueError
            If no interval overlaps the sweeps, or the beam was never off within them.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import VoltammogramConditions, simulate_voltammogram
        >>> beam = ((200.0, 400.0), (600.0, 800.0))
        >>> cv = simulate_voltammogram(VoltammogramConditions(beam=beam, beam_step=4e-10), seed=1)
        >>> found = cv.compare_beam(beam)
        >>> bool(abs(found.step - 4e-10) < 3.0 * found.step_std)
        True
        """
        swept = self._swept()
        change = compare_beam(swept, intervals)
        kept = tuple((float(a), float(b)) for a, b in intervals)
        return BeamComparison(change, kept, **self._dress("compare_beam", swept.notes, intervals=kept))

    def to_log(self) -> CurrentLog:
        """The arrays of the signal, for functions on arrays."""
        rows = {name: self._row(name) for name in ROWS}
        lacking, notes = _fill(self.time, rows), recorded_names(self, f"{_NODE}.notes")
        if lacking.any():
            rows["overload"] = np.where(lacking, 1.0, np.nan_to_num(rows["overload"]))
            notes = (*notes, f"{int(lacking.sum())} points hold no potential or no current, and are left out.")
        known = {name: None if np.isnan(values).all() else values for name, values in rows.items()}
        overload = known["overload"]
        return CurrentLog(
            time=self.time,
            potential=rows["potential"],
            current=rows["current"],
            control=known["control"],
            full_scale=known["full scale"],
            overload=None if overload is None else overload > 0.0,
            started=self.started,
            technique=recorded_text(self, f"{_NODE}.technique"),
            source=recorded_text(self, "General.original_filename"),
            notes=notes,
        )

    def _row(self, name: str) -> np.ndarray:
        data = recorded_data(self, what="point", unusable="keep")
        if data.ndim != 2 or data.shape[0] != len(ROWS):
            raise AssbValueError(
                f"A voltammogram has {len(ROWS)} rows ({', '.join(ROWS)}), not the shape {data.shape}: load it "
                "with hyperspy_assb.load_voltammogram."
            )
        return np.asarray(data[ROWS.index(name)], dtype=float)

    def _swept(self) -> SweptLog:
        return find_sweeps(self.to_log())

    def _dress(self, action: str, notes: Sequence[str], **options: Any) -> dict[str, Any]:
        """What every result is given: the curve, the record and the notes."""
        given = {name: value for name, value in options.items() if value is not None}
        return {
            "time": self.time,
            "potential": self.potential,
            "current": self.current,
            "provenance": record(action, parameters=given, methods=["current_noise"]),
            "notes": tuple(notes),
        }


class LazyASSBVoltammogram(ASSBVoltammogram, LazySignal1D):
    """A voltammogram that stays on disk until it is needed.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import simulate_voltammogram
    >>> type(simulate_voltammogram(seed=1).as_lazy()).__name__
    'LazyASSBVoltammogram'
    """


def _fill(time: np.ndarray, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Points without a potential or a current that a cell can have, shape (N,), which then lie between their
    neighbours.

    Raises
    ------
    AssbValueError
        If fewer than two points have both.
    """
    lacking = np.zeros(time.size, dtype=bool)
    for name, most in _MOST.items():
        with np.errstate(invalid="ignore"):
            lacking |= ~(np.abs(rows[name]) <= most)
    if (~lacking).sum() < 2:
        raise AssbValueError(
            f"{int(lacking.sum())} of {time.size} points of the voltammogram hold no potential or no current that a "
            "cell can have: load the log again."
        )
    for name in _MOST:
        rows[name] = np.where(lacking, np.interp(time, time[~lacking], rows[name][~lacking]), rows[name])
    return lacking


def from_log(log: CurrentLog) -> ASSBVoltammogram:
    """The signal of a log."""
    empty = np.full(log.time.size, np.nan)
    rows = (log.potential, log.current, log.control, log.full_scale, log.overload)
    data = np.stack([empty if row is None else np.asarray(row, dtype=float) for row in rows])
    axes = [
        {"name": "quantity", "size": len(ROWS), "navigate": True},
        {"name": "time", "axis": log.time, "units": "s", "navigate": False},
    ]
    signal = ASSBVoltammogram(data, axes=axes)
    signal.metadata.General.title = log.technique or "voltammogram"
    signal.metadata.General.original_filename = log.source
    node = {
        "rows": list(ROWS),
        "technique": log.technique,
        "started": log.started.isoformat() if log.started else "",
        "notes": list(log.notes),
    }
    signal.metadata.set_item(_NODE, node)
    return signal


def load_voltammogram(path: str | PathLike[str]) -> ASSBVoltammogram:
    """Load potential and current against time from the log of a potentiostat or biasing holder.

    BioLogic ``.mpt`` and ``.mpr``, Protochips and DENSsolutions Impulse logs, and tables such as Keithley's with named
    columns and units; decimal point or comma, UTF-8 or Latin-1, any line end. Time is kept as it was logged.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    ASSBVoltammogram
        Time, potential and current, with what the file says of ranges, flags and the moment when it began.

    Raises
    ------
    AssbFileError
        If the file is missing (then also a FileNotFoundError), damaged, or of another technique; it names the file.

    Warns
    -----
    AssbWarning
        If points are clipped, shorted or missing, or nothing was swept.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "cv.csv"
    >>> rows = [f"{t},{v:.2f},{v * 2e-3:.5f}" for t, v in enumerate([k / 20 for k in [*range(41), *range(40, -1, -1)]])]
    >>> _ = path.write_text("Time (s),Voltage (V),Current (mA)\\n" + "\\n".join(rows))
    >>> cv = load_voltammogram(path)
    >>> cv.sweeps[["from (V)", "to (V)", "points"]].to_numpy().tolist()
    [[0.0, 2.0, 41.0], [2.0, 0.0, 41.0]]
    """
    signal = from_log(read_log(path))
    notes = signal.notes
    if notes:
        warnings.warn(f"{path}: {' '.join(notes)}", AssbWarning, stacklevel=2)
    return signal
