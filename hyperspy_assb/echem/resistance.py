"""Resistance and capacitance of the sweeps of a voltammogram."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hyperspy_assb.echem.sweeps import Sweep, SweptLog
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.flicker_noise import block_means, blocks, contrasts, estimate

_MOST_OF_PAIR = 100
"""Blocks of each of the two sweeps of a cycle."""
_AFTER_TURN = 0.05
"""Share of a sweep after its turn in which the capacitance is still being charged through the resistance."""
_FEWEST = 8


@dataclass(frozen=True)
class Line:
    """A straight line through the current of one sweep, or of two that follow each other.

    Parameters
    ----------
    sweeps
        Numbers of the sweeps from 1.
    conductance, conductance_std
        dI/dE in S with its standard error.
    capacitance, capacitance_std
        F; NaN of one sweep.
    curvature
        Standard errors by which the current bends away from a line: beyond about 3, the resistance is that of a line
        through a curve.
    white
        Standard deviation of the white noise of a point in A.
    flicker
        Variance of the 1/f noise over that of the white noise.
    low, high
        Potentials in V between which points were used.
    """

    sweeps: tuple[int, ...]
    conductance: float
    conductance_std: float
    capacitance: float
    capacitance_std: float
    curvature: float
    white: float
    flicker: float
    low: float
    high: float

    @property
    def resistance(self) -> float:
        """Ohm; NaN where the conductance is not above 0."""
        return 1.0 / self.conductance if self.conductance > 0.0 else float("nan")

    @property
    def resistance_std(self) -> float:
        """Standard error in ohm."""
        return self.conductance_std / self.conductance**2 if self.conductance > 0.0 else float("nan")

    @property
    def resistance_interval(self) -> tuple[float, float]:
        """68 % interval in ohm; ends at infinity where no conductance is not excluded."""
        low, high = self.conductance - self.conductance_std, self.conductance + self.conductance_std
        return (1.0 / high if high > 0.0 else float("inf"), 1.0 / low if low > 0.0 else float("inf"))


def line_of_sweep(swept: SweptLog, number: int, window: tuple[float, float] | None = None) -> Line:
    """Line through one sweep: a drift of the current is in its conductance.

    Raises
    ------
    AssbValueError
        If too few points are measurements.
    """
    return _fit(swept, (number,), window)


def lines_of_cycles(swept: SweptLog, window: tuple[float, float] | None = None) -> tuple[Line, ...]:
    """Lines through every two neighbouring sweeps of opposite directions, with a drift that is linear in time beside.

    The directions are what tells drift and capacitance from resistance.

    Raises
    ------
    AssbValueError
        If no two such sweeps follow each other, or too few points are measurements.
    """
    pairs = [(k, k + 1) for k, (a, b) in enumerate(pairwise(swept.sweeps)) if a.anodic is not b.anodic]
    if not pairs:
        raise AssbValueError(
            f"{swept.log.source or 'The log'} has no two sweeps in opposite directions: capacitance and drift cannot "
            "be separated from resistance. Record a whole cycle, or use the resistance of one sweep."
        )
    return tuple(_fit(swept, pair, window) for pair in pairs)


def _fit(swept: SweptLog, numbers: tuple[int, ...], window: tuple[float, float] | None) -> Line:
    log = swept.log
    parts = []
    for number in numbers:
        index = _used(swept, swept.sweeps[number], window)
        if index.size < _FEWEST:
            where = "" if window is None else f" between {window[0]:g} and {window[1]:g} V"
            raise AssbValueError(f"Sweep {number + 1} has {index.size} measured points{where}: at least {_FEWEST}.")
        parts += blocks(index, _MOST_OF_PAIR)
    time, potential, current = (block_means(v, parts) for v in (log.time, log.potential, log.current))
    middle = (potential.max() + potential.min()) / 2.0
    centred = potential - middle
    baseline = [np.ones_like(time)]
    shapes = [centred]
    if len(numbers) == 2:
        sweep_of = np.concatenate(
            [np.full(len(blocks(_used(swept, swept.sweeps[n], window), _MOST_OF_PAIR)), n) for n in numbers]
        )
        rates = np.array([swept.sweeps[n].rate for n in sweep_of])
        baseline.append(time - time.mean())
        shapes.append(rates)
    known = contrasts(time, np.stack(baseline, axis=1))
    found = estimate(current, known, np.stack(shapes, axis=1))
    bent = estimate(current, known, np.stack([*shapes, np.square(centred)], axis=1))
    two = len(numbers) == 2
    return Line(
        sweeps=tuple(n + 1 for n in numbers),
        conductance=float(found.value[0]),
        conductance_std=float(found.std[0]),
        capacitance=float(found.value[1]) if two else float("nan"),
        capacitance_std=float(found.std[1]) if two else float("nan"),
        curvature=float(bent.value[-1] / bent.std[-1]),
        white=found.white,
        flicker=found.ratio,
        low=float(potential.min()),
        high=float(potential.max()),
    )


def _used(swept: SweptLog, sweep: Sweep, window: tuple[float, float] | None) -> np.ndarray:
    index = swept.measured(sweep)
    index = index[index >= sweep.index[0] + int(_AFTER_TURN * sweep.index.size)]
    if window is not None:
        inside = swept.log.potential[index]
        index = index[(inside >= min(window)) & (inside <= max(window))]
    return index
