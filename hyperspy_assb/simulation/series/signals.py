"""Simulated series and voltammograms as signals."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.echem.current_log import CurrentLog
from hyperspy_assb.signals.echem.signal import ASSBVoltammogram, from_log
from hyperspy_assb.signals.series.signal import ASSBSTEMSeries
from hyperspy_assb.simulation.series.image_series import SeriesConditions, SeriesTruth, image_series
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


def simulate_series(conditions: SeriesConditions | None = None, *, seed: int) -> tuple[ASSBSTEMSeries, SeriesTruth]:
    """Simulate a series of STEM images of grains, boundaries and a crack.

    Parameters
    ----------
    conditions
        What is seen, how it changes, and how it is recorded; the defaults if None.
    seed
        Of the scene and of the noise.

    Returns
    -------
    series, truth
        Counts against time, and what they were made of.

    Examples
    --------
    >>> series, truth = simulate_series(SeriesConditions(frames=3, size=48), seed=1)
    >>> series.data.shape, truth.shift.shape
    ((3, 48, 48), (3, 2))
    """
    chosen = conditions or SeriesConditions()
    counts, truth = image_series(chosen, seed)
    axes = [
        {"name": "time", "size": chosen.frames, "scale": chosen.interval, "units": "s", "navigate": True},
        {"name": "y", "size": chosen.size, "scale": chosen.pixel, "units": "nm", "navigate": False},
        {"name": "x", "size": chosen.size, "scale": chosen.pixel, "units": "nm", "navigate": False},
    ]
    signal = ASSBSTEMSeries(counts.astype(np.uint16), axes=axes)
    signal.metadata.General.title = "simulated series"
    return signal, truth
