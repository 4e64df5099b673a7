"""How far two clocks are apart, from the steps that the beam makes in the current."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hyperspy_assb.echem.beam_change import beam_is_on
from hyperspy_assb.echem.current_log import FloatArray
from hyperspy_assb.echem.sweeps import SweptLog
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.flicker_noise import block_means, blocks, contrasts, log_likelihood

_DEGREE = 3
_MOST = 480
_LEAST_RATIO = 12.0
"""Twice the log likelihood by which steps must stand out of the noise at their best offset."""


def find_beam_offset(
    swept: SweptLog, intervals: Sequence[tuple[float, float]], offsets: FloatArray
) -> tuple[float, float]:
    """Offset at which the steps of the current fit the times of the beam best.

    Parameters
    ----------
    swept
        Log with its sweeps.
    intervals
        Times in s on the other clock between which the beam was on.
    offsets
        What may be added to these for times of the log, s, rising.

    Returns
    -------
    offset, std
        s; the error is half of the 68 % interval of the likelihood, or of the steps of what was tried.

    Raises
    ------
    AssbValueError
        If the steps do not stand out of the noise at any of the offsets.
    """
    log = swept.log
    parts, anodic = [], []
    total = sum(swept.measured(s).size for s in swept.sweeps)
    for sweep in swept.sweeps:
        index = swept.measured(sweep)
        if index.size:
            made = blocks(index, max(1, _MOST * index.size // total))
            parts += made
            anodic += [sweep.anodic] * len(made)
    time, potential, current = (block_means(values, parts) for values in (log.time, log.potential, log.current))
    rising = np.array(anodic)[:, None]
    scaled = 2.0 * (potential - potential.mean()) / np.ptp(potential)
    curve = np.polynomial.legendre.legvander(scaled, _DEGREE)
    baseline = np.concatenate([curve * rising, curve * ~rising, (time - time.mean())[:, None]], axis=1)
    known = contrasts(time, baseline[:, np.any(baseline != 0.0, axis=0)])
    turned = known.rotation @ current
    lit = np.zeros((offsets.size, time.size))
    for number, offset in enumerate(offsets):
        moved = [(first + offset, last + offset) for first, last in intervals]
        if any(last > time[0] and first < time[-1] for first, last in moved):
            lit[number] = block_means(beam_is_on(log.time, moved).astype(float), parts)
    shapes = known.rotation @ lit.T
    best = np.full(offsets.size, -np.inf)
    for weights in known.weights:
        size = weights @ np.square(shapes)
        explained = np.where(size > 1e-9, np.square((weights * turned) @ shapes) / np.maximum(size, 1e-9), 0.0)
        left = np.maximum(weights @ np.square(turned) - explained, np.finfo(float).tiny)
        best = np.maximum(best, -0.5 * (turned.size * np.log(left) - np.log(weights).sum()))
    ratio = 2.0 * (best - float(log_likelihood(turned, known).max()))
    top = int(ratio.argmax())
    if ratio[top] < _LEAST_RATIO:
        raise AssbValueError(
            "offset='steps': the beam makes no step in the current that stands out of its noise. Give the offset in "
            "s, or rely on time stamps."
        )
    inside = offsets[ratio > ratio[top] - 1.0]
    step = float(np.median(np.diff(offsets)))
    return float(offsets[top]), max(float(np.ptp(inside)) / 2.0, step / np.sqrt(12.0))
