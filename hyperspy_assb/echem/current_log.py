"""What an instrument logged: potential and current against time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbFileError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CurrentLog:
    """Potential and current against time, as they were logged; nothing is resampled.

    Parameters
    ----------
    time
        Seconds, rising, shape (N,).
    potential
        Measured, in V.
    current
        In A.
    control
        Potential that was asked for, in V; None where the file does not say.
    full_scale
        Largest current in A that the instrument could show at each point; NaN where it is not known.
    overload
        Points that the instrument itself flagged.
    started
        When time was 0.
    technique
        What the file calls it.
    source
        Name of the file.
    notes
        What a reader must know.
    """

    time: FloatArray
    potential: FloatArray
    current: FloatArray
    control: FloatArray | None = None
    full_scale: FloatArray | None = None
    overload: NDArray[np.bool_] | None = None
    started: datetime | None = None
    technique: str = ""
    source: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def commanded(self) -> FloatArray:
        """Potential that was asked for, or else that was measured, in V."""
        return self.potential if self.control is None else self.control


def checked_log(log: CurrentLog) -> CurrentLog:
    """The log with rows that lack a number left out.

    Raises
    ------
    AssbFileError
        If it has fewer than three rows, time runs back, or the potential never changes.
    """
    columns = (log.time, log.potential, log.current)
    whole = np.all([np.isfinite(c) for c in columns], axis=0)
    notes = log.notes
    if not whole.all():
        notes = (*notes, f"{int((~whole).sum())} of {whole.size} rows lack a number and were left out.")
    if whole.sum() < 3:
        raise AssbFileError(f"{log.source} holds {int(whole.sum())} rows of numbers: a voltammogram needs at least 3.")
    if np.ptp(log.potential[whole]) == 0.0:
        value = float(log.potential[whole][0])
        raise AssbFileError(f"The potential in {log.source} is {value:g} V in every row: nothing was swept.")
    kept: dict[str, Any] = {
        name: None if (values := getattr(log, name)) is None else values[whole]
        for name in ("time", "potential", "current", "control", "full_scale", "overload")
    }
    step = np.diff(kept["time"])
    if np.any(step < 0.0):
        row = int(np.flatnonzero(step < 0.0)[0]) + 2
        raise AssbFileError(f"The time of {log.source} runs back at row {row}: are there two measurements in the file?")
    repeated = np.concatenate([[False], step == 0.0])
    if repeated.any():
        notes = (*notes, f"{int(repeated.sum())} rows repeat the time of the row before and were left out.")
        kept = {name: None if values is None else values[~repeated] for name, values in kept.items()}
    return replace(log, **kept, notes=notes)
