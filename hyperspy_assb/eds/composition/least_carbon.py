"""The sum of those spectra that have the least carbon: C Kα of the others hides the continuum beneath."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.eds.eds_map import FloatArray, Spectra
from hyperspy_assb.eds.lines.x_ray_lines import line_width

_CARBON_KA = 0.277
"""keV."""
_WINDOW = 1.2
"""Widths of the line that are looked at on either side."""
_SHAPE = 0.01
"""Relative error of the shape of C Kα, which adds to counting."""
_FEWER = 2.0**0.5
"""Factor between the numbers of spectra that are tried."""
_GAIN = 0.7
"""The sum of some spectra is taken where the continuum beneath C Kα is known to this share of the error of all."""
_LEAST = 400.0
"""Counts near C Kα below which a sum tells nothing."""


@dataclass(frozen=True, eq=False)
class PartialSum:
    """Sum of some of the spectra of a map.

    Parameters
    ----------
    total
        Counts of all channels.
    spectra
        How many they are.
    """

    total: FloatArray
    spectra: int


def sum_least_carbon(spectra: Spectra, energy: FloatArray, resolution: float) -> PartialSum | None:
    """Add up those spectra in which the continuum beneath C Kα shows best; None: all of them together.

    Spectra for the even channels of the sum are chosen by their odd channels, and the other way round: chosen by the
    counts that are added up, they would be those in which noise makes the line weak.

    Parameters
    ----------
    spectra
        Counts; read once, and once more where not all are taken.
    energy, resolution
        Centres of the channels in keV; eV at Mn Kα.
    """
    reach = _WINDOW * float(line_width(np.array(_CARBON_KA), resolution))
    near = slice(*np.searchsorted(energy, [_CARBON_KA - reach, _CARBON_KA + reach]).tolist())
    n = len(spectra)
    if near.stop - near.start < 4 or n < 2:
        return None
    beside = near.stop + near.stop % 2
    carbon, others = np.zeros((2, 2, n))
    for part, block in spectra.blocks():
        for odd in (0, 1):
            carbon[odd, part] = block[:, near.start + (near.start + odd) % 2 : near.stop : 2].sum(axis=1, dtype=float)
            others[odd, part] = block[:, beside + odd :: 2].sum(axis=1, dtype=float)
    order = np.argsort(carbon / np.maximum(others, 1e-9) + np.where(others > 0.0, 0.0, np.inf), axis=1)
    filled = int(np.count_nonzero(others.min(axis=0) > 0.0))
    number = np.unique((filled / _FEWER ** np.arange(40)).astype(int))
    number = number[number > 0]
    # Those that one parity chooses, by what the other has.
    seen = np.cumsum([carbon[1 - odd, order[odd]] for odd in (0, 1)], axis=1).sum(axis=0)[number - 1]
    known = np.cumsum([others[1 - odd, order[odd]] for odd in (0, 1)], axis=1).sum(axis=0)[number - 1]
    error = np.where(seen > _LEAST, (np.sqrt(seen) + _SHAPE * seen) / np.maximum(known, 1.0), np.inf)
    if not number.size or not error.min() < _GAIN * error[-1]:
        return None
    best = int(number[np.argmin(error)])
    group = np.full((2, n), -1)
    for odd in (0, 1):
        group[1 - odd, order[odd, :best]] = 0
    total = np.zeros(spectra.channels)
    for part, block in spectra.blocks():
        for odd in (0, 1):
            total[odd::2] += block[group[odd, part] == 0, odd::2].sum(axis=0, dtype=float)
    return PartialSum(total, best)
