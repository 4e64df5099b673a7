"""Counts on channels of another width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def share_counts(counts: NDArray[np.generic], energy: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """Counts on channels of another width, one of which is centred at 0: what lies in each is added up.

    A channel that lies in two new ones is shared by width. Neighbouring counts are correlated then: what comes out
    serves as the response of a convolution, and not as spectra to be fitted.

    Parameters
    ----------
    counts
        Shape (..., E).
    energy
        Centres of the channels, shape (E,), uniform, with 0 among them or between them.
    scale
        Width of the new channels, in the unit of the energy.

    Returns
    -------
    counts, energy
        Shapes (..., K) and (K,): the new channels that lie within the old ones.
    """
    width = (energy[-1] - energy[0]) / (energy.size - 1)
    edges = np.append(energy - 0.5 * width, energy[-1] + 0.5 * width)
    slack = 1e-6 * scale
    first = int(np.ceil((edges[0] - slack) / scale + 0.5))
    last = int(np.floor((edges[-1] + slack) / scale - 0.5))
    centres = np.arange(first, last + 1) * scale
    borders = np.append(centres - 0.5 * scale, centres[-1] + 0.5 * scale)
    running = np.zeros((*counts.shape[:-1], energy.size + 1))
    np.cumsum(counts, axis=-1, out=running[..., 1:])
    place = np.clip((borders - edges[0]) / width, 0.0, energy.size)
    low = np.minimum(place.astype(int), energy.size - 1)
    part = place - low
    total = running[..., low] * (1.0 - part) + running[..., low + 1] * part
    shared: FloatArray = np.diff(total, axis=-1)
    return shared, centres.astype(np.float64)
