"""What the beam changes in a current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.echem.current_log import FloatArray
from hyperspy_assb.echem.sweeps import SweptLog
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.flicker_noise import block_means, blocks, contrasts, estimate

_MOST = 480
_DEGREE = 3
_FEWEST = 6


@dataclass(frozen=True)
class BeamChange:
    """Current with the beam on less that with the beam off.

    Parameters
    ----------
    step, step_std
        Of the current in A, in the middle of the potential range.
    conductance, conductance_std
        Change of dI/dE in S.
    p
        That neither changes: F test.
    switches
        How often the beam was switched within the sweeps; with one switch, a step and 1/f noise are hard to tell apart.
    middle
        Potential in V that the step is stated for.
    on, off
        Points with the beam on and off.
    """

    step: float
    step_std: float
    conductance: float
    conductance_std: float
    p: float
    switches: int
    middle: float
    on: int
    off: int


def beam_is_on(time: FloatArray, intervals: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Whether the beam is on at each time.

    Raises
    ------
    AssbValueError
        If an interval ends before it begins, or all of them lie outside the measured time.
    """
    on = np.zeros(time.size, dtype=bool)
    for first, last in intervals:
        if not last > first:
            raise AssbValueError(f"intervals: the beam cannot be on from {first:g} to {last:g} s.")
        on |= (time >= first) & (time < last)
    if not on.any():
        raise AssbValueError(
            f"intervals: they do not overlap the log, which runs from {time[0]:g} to {time[-1]:g} s. Do both clocks "
            "begin at the same moment?"
        )
    return on


def compare_beam(swept: SweptLog, intervals: Sequence[tuple[float, float]]) -> BeamChange:
    """Estimate what the beam changes, beside a smooth curve of each direction, drift, and white plus 1/f noise.

    Parameters
    ----------
    swept
        Log with its sweeps.
    intervals
        Times in s of the log between which the beam was on.

    Raises
    ------
    AssbValueError
        As for :func:`beam_is_on`, or if the beam was never off, or almost never on, within the sweeps.
    """
    log = swept.log
    on = beam_is_on(log.time, intervals)
    parts, number = [], []
    total = sum(swept.measured(s).size for s in swept.sweeps)
    for k, sweep in enumerate(swept.sweeps):
        index = swept.measured(sweep)
        for run in np.split(index, np.flatnonzero(np.diff(on[index].astype(int))) + 1):
            if run.size:
                made = blocks(run, max(1, _MOST * run.size // total))
                parts += made
                number += [k] * len(made)
    time, potential, current, lit = (
        block_means(v, parts) for v in (log.time, log.potential, log.current, on.astype(float))
    )
    counts = int(lit.sum()), int((1.0 - lit).sum())
    if min(counts) < _FEWEST:
        raise AssbValueError(
            f"intervals: within the sweeps the beam is on in {counts[0]} and off in {counts[1]} groups of points; "
            f"{_FEWEST} of each are needed. Record part of the voltammogram with the beam off."
        )
    middle = (potential.max() + potential.min()) / 2.0
    scaled = 2.0 * (potential - middle) / np.ptp(potential)
    anodic = np.array([swept.sweeps[k].anodic for k in number])
    curve = np.polynomial.legendre.legvander(scaled, _DEGREE)
    baseline = [curve * anodic[:, None], curve * ~anodic[:, None], (time - time.mean())[:, None]]
    shapes = np.stack([lit, lit * (potential - middle)], axis=1)
    known = contrasts(time, np.concatenate([b[:, np.any(b != 0.0, axis=0)] for b in baseline], axis=1))
    turned = known.rotation @ shapes
    if np.linalg.cond(turned / np.linalg.norm(turned, axis=0)) > 1e6:
        raise AssbValueError(
            "intervals: the beam was switched only where the potential was: its step is no other shape."
        )
    found = estimate(current, known, shapes)
    wald = float(found.value @ np.linalg.solve(found.covariance, found.value)) / 2.0
    return BeamChange(
        step=float(found.value[0]),
        step_std=float(found.std[0]),
        conductance=float(found.value[1]),
        conductance_std=float(found.std[1]),
        p=float(stats.f.sf(wald, 2, found.freedom)),
        switches=int(np.abs(np.diff(lit)).sum()),
        middle=float(middle),
        on=counts[0],
        off=counts[1],
    )
