"""How high a peak must be to be found: peaks are put into curves of noise, and looked for as in the measurement.

A peak that is there passes for 1/f noise in part, which makes the noise that it is held against larger: a limit from
noise alone is too low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.echem.current_log import FloatArray
from hyperspy_assb.fitting.statistics.flicker_noise import RATIOS, Contrasts, ratio_posterior, strongest_shape

FOUND = 0.95
"""Share of peaks of the limit that are found."""
_CURVES = 120
"""With a peak, for each height that is tried."""
_NULL = 50
"""Without one, for each ratio of the noises that a curve with a peak may have."""
_LIKELY = 3e-3
"""Probability of a ratio below which it is left out."""
_STEP = 1.25
"""Factor between the heights that are tried."""
_MOST = 9


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise that a curve may have.

    Parameters
    ----------
    white
        Standard deviation of the white noise for each of the ratios, A, shape (R,).
    chances
        Probability of each, shape (R,).
    """

    white: FloatArray
    chances: FloatArray


def find_limit(
    known: Contrasts,
    shapes: FloatArray,
    peak: FloatArray,
    noise: Noise,
    level: float,
    begin: float,
    rng: np.random.Generator,
) -> float:
    """Height in A that is found in 95 %.

    Parameters
    ----------
    known, shapes
        Contrasts of the curve and of the peaks that are looked for, shape (M, T).
    peak
        Contrasts of the peak that is put in, of height 1, shape (M,).
    noise
        That the curve may have.
    level
        Of the test.
    begin
        Height that is tried first.
    rng
        Of the surrogates.
    """
    drawn = rng.choice(RATIOS.size, size=_CURVES, p=noise.chances)
    plain = rng.standard_normal((_CURVES, peak.size)) / np.sqrt(known.weights[drawn]) * noise.white[drawn, None]
    null: dict[int, FloatArray] = {}

    def found(height: float) -> float:
        curves = plain + height * peak
        statistic, _ = strongest_shape(curves, known, shapes)
        chances = np.array([ratio_posterior(curve, known) for curve in curves])
        p = np.zeros(_CURVES)
        taken = np.flatnonzero(chances.mean(axis=0) > _LIKELY).tolist()
        for ratio in taken:
            if ratio not in null:
                noise_alone = rng.standard_normal((_NULL, peak.size)) / np.sqrt(known.weights[ratio])
                null[ratio] = strongest_shape(noise_alone, known, shapes)[0]
            p += chances[:, ratio] * (null[ratio][None, :] >= statistic[:, None]).mean(axis=1)
        return float(np.mean(p <= level * chances[:, taken].sum(axis=1)))

    height, share = begin, found(begin)
    for _ in range(_MOST):
        if share >= FOUND:
            return height
        last, before = share, height
        height = before * _STEP
        share = found(height)
        if share >= FOUND > last:
            # Between the two, on a straight line.
            return before + (height - before) * (FOUND - last) / (share - last)
    return height
