"""Gain and read noise of a detector from what a fit leaves."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_FEWEST_CHANNELS = 10
"""Channels from which differences of neighbours tell noise from what parameters have fitted."""
_ROUNDS = 20
"""Times that the weights are taken from the variance that was found last."""
_SPIKE = 25.0
"""Squared residual over its variance above which it is a spike and not noise."""


def estimate_detector(counts: FloatArray, expectation: FloatArray, *, n_free: int = 0) -> Detector:
    """Estimate gain and read noise from the scatter of counts about a fitted expectation.

    Residuals are compared with those of their two neighbours, so that a model that misses the data smoothly does not
    count as noise, and their squares are fitted by ``gain * expectation + read_noise**2``.

    Parameters
    ----------
    counts, expectation
        Recorded and fitted counts, shape (S, E), in neighbouring channels. Rows that are not finite are left out.
    n_free
        Parameters fitted to each spectrum.

    Returns
    -------
    detector
        A camera that spreads an electron over neighbouring channels gives too small a gain: its noise is correlated.

    Raises
    ------
    ValueError
        If there are no finite spectra of at least ten channels, or they do not scatter.
    """
    good = np.isfinite(counts).all(axis=1) & np.isfinite(expectation).all(axis=1)
    if counts.shape[1] < _FEWEST_CHANNELS or not good.any():
        raise AssbValueError("The gain cannot be estimated: it takes fitted spectra of at least ten channels.")
    rest = counts[good] - expectation[good]
    mean = np.maximum(expectation[good], 0.0)
    square = ((rest[:, :-2] - 2.0 * rest[:, 1:-1] + rest[:, 2:]) ** 2 / 6.0).ravel()
    level = ((mean[:, :-2] + 4.0 * mean[:, 1:-1] + mean[:, 2:]) / 6.0).ravel()
    if not square.any():
        raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
    square *= counts.shape[1] / max(counts.shape[1] - n_free, 1)
    gain, offset = float(square.mean() / max(level.mean(), 1e-300)), 0.0
    for _ in range(_ROUNDS):
        variance = gain * level + offset
        # A few electrons where hardly any are expected are no spike.
        kept = square < _SPIKE * (variance + gain**2)
        # The variance of a squared residual: of a normal deviate, and what single electrons have beyond it.
        weight = 1.0 / np.sqrt(2.0 * variance[kept] ** 2 + 0.5 * gain**3 * level[kept] + 1e-24 * variance.max() ** 2)
        matrix = np.stack([level[kept] * weight, weight], axis=1)
        scale = np.linalg.norm(matrix, axis=0)
        scale[scale == 0.0] = 1.0
        gain, offset = (float(found) for found in nnls(matrix / scale, square[kept] * weight)[0] / scale)
        if not gain > 0.0:
            break
    if not gain > 0.0:
        raise AssbValueError("The gain cannot be estimated: the scatter of the counts does not grow with their height.")
    return Detector(gain=float(gain), read_noise=float(np.sqrt(offset)))
