"""Simulated series and voltammograms as signals."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.echem.current_log import CurrentLog
from hyperspy_assb.signals.echem.signal import ASSBVoltammogram, from_log
from hyperspy_assb.simulation.series.voltammogram import VoltammogramConditions, voltammogram


def simulate_voltammogram(conditions: VoltammogramConditions | None = None, *, seed: int) -> ASSBVoltammogram:
    """Simulate a voltammogram whose resistance, capacitance, peaks and disturbances are known.

    Parameters
    ----------
    conditions
        What is swept, what the cell does, and what disturbs; the defaults if None.
    seed
        Of the noise.

    Returns
    -------
    ASSBVoltammogram
        As :func:`hyperspy_assb.load_voltammogram` gives them.

    Examples
    --------
    >>> simulate_voltammogram(seed=1).sweeps[["from (V)", "to (V)"]].to_numpy().tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    chosen = conditions or VoltammogramConditions()
    time, potential, current = voltammogram(chosen, seed)
    scale = np.full(time.size, chosen.full_scale) if np.isfinite(chosen.full_scale) else None
    return from_log(CurrentLog(time, potential, current, full_scale=scale, technique="simulated voltammogram"))
