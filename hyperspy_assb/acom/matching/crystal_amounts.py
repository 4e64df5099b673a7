"""How much of each crystal there is in a pattern, by the intensities of its spots; and patterns without its spots."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.bright_spots import RingFrame, level_at
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

SCATTER = 0.5
"""Relative scatter of intensities about kinematical ones that is expected before it is seen."""
FLOOR = 0.03
"""Share of the brightest intensity to which others are known at best: double diffraction reaches it."""
PRIOR_SPOTS = 4.0
"""The expected scatter counts as that of so many spots."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def take_out(
    image: NDArray[np.float32],
    cx: float,
    cy: float,
    means: NDArray[np.float32],
    frame: RingFrame,
    place: FloatArray,
    strain: FloatArray,
    reach: float,
) -> None:
    """Replace what lies about the reflections of a lattice by the level of the ring."""
    ny, nx = image.shape
    level = means.astype(np.float64)
    for k in range(len(place)):
        x = cx + place[k, 0] + strain[0, 0] * place[k, 0] + strain[0, 1] * place[k, 1]
        y = cy + place[k, 1] + strain[1, 0] * place[k, 0] + strain[1, 1] * place[k, 1]
        for j in range(max(int(np.ceil(y - reach)), 0), min(int(y + reach), ny - 1) + 1):
            for i in range(max(int(np.ceil(x - reach)), 0), min(int(x + reach), nx - 1) + 1):
                if (i - x) ** 2 + (j - y) ** 2 <= reach * reach:
                    root = level_at(level, i - cx, j - cy, frame)
                    if root >= 0.0:
                        image[j, i] = min(image[j, i], np.float32(root * root))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def intensities(
    image: NDArray[np.float32],
    cx: float,
    cy: float,
    level: FloatArray,
    frame: RingFrame,
    area: float,
    sigma: float,
    place: FloatArray,
    ends: NDArray[np.int64],
    strains: FloatArray,
    out: FloatArray,
) -> None:
    """Electrons for a unit of kinematical intensity of each lattice, and standard error, into `out` (2, L).

    Every reflection is weighed by the scatter of dynamical about kinematical intensities and by the noise of counts.
    What the reflections of the other lattice add is taken off. The error is that of the scatter that is seen: the
    larger of that with the weights as they are meant, and that of White for weights that are wrong (HC3 of
    J. G. MacKinnon, H. White, J. Econometrics 29, 305 (1985), doi 10.1016/0304-4076(85)90158-7).
    """
    ny, nx = image.shape
    total = int(ends[-1])
    lattices = len(ends) - 1
    x, y, counts, noise2 = np.empty(total), np.empty(total), np.empty(total), np.empty(total)
    for h in range(lattices):
        for k in range(ends[h], ends[h + 1]):
            m = strains[h]
            x[k] = place[k, 0] + m[0, 0] * place[k, 0] + m[0, 1] * place[k, 1]
            y[k] = place[k, 1] + m[1, 0] * place[k, 0] + m[1, 1] * place[k, 1]
            column, row = cx + x[k], cy + y[k]
            i, j = int(np.floor(column)), int(np.floor(row))
            ground = level_at(level, x[k], y[k], frame)
            counts[k] = np.nan
            if i < 0 or j < 0 or i > nx - 2 or j > ny - 2 or not ground >= 0.0:
                continue
            u, v = column - i, row - j
            above = image[j, i] + u * (image[j, i + 1] - image[j, i])
            below = image[j + 1, i] + u * (image[j + 1, i + 1] - image[j + 1, i])
            value = above + v * (below - above)
            counts[k] = (value - ground) * area
            noise2[k] = max(value, ground) * area + 1.0
    amount = np.zeros(lattices)
    weight, spread = np.zeros(lattices), np.zeros(lattices)
    chi2, number = np.zeros(lattices), np.zeros(lattices)
    for _ in range(8):
        brightest = 0.0
        for h in range(lattices):
            for k in range(ends[h], ends[h + 1]):
                brightest = max(brightest, amount[h] * place[k, 3])
        for h in range(lattices):
            product, power = 0.0, 0.0
            chi2[h], number[h], spread[h] = 0.0, 0.0, 0.0
            for k in range(ends[h], ends[h + 1]):
                if not np.isfinite(counts[k]):
                    continue
                other = 0.0
                for g in range(lattices):
                    if g == h or amount[g] == 0.0:
                        continue
                    for q in range(ends[g], ends[g + 1]):
                        d2 = (x[q] - x[k]) ** 2 + (y[q] - y[k]) ** 2
                        if d2 < 16.0 * sigma * sigma:
                            other += amount[g] * place[q, 3] * np.exp(-0.25 * d2 / (sigma * sigma))
                own = place[k, 3]
                variance = noise2[k] + (SCATTER * amount[h] * own) ** 2 + (SCATTER * other) ** 2
                variance += (FLOOR * brightest) ** 2
                w = 1.0 / variance
                product += w * own * (counts[k] - other)
                power += w * own * own
                off = counts[k] - other - amount[h] * own
                chi2[h] += w * off * off
                number[h] += 1.0
                # As far as it pulls the amount: HC3, with the weights of the turn before.
                pull = w * own * own / weight[h] if weight[h] > 0.0 else 0.0
                spread[h] += (w * own * off / (1.0 - min(pull, 0.5))) ** 2
            if power > 0.0:
                amount[h] = max(product / power, 0.0)
                weight[h] = power
    for h in range(lattices):
        out[0, h] = amount[h]
        if weight[h] > 0.0:
            scale = (chi2[h] + PRIOR_SPOTS) / (max(number[h] - 1.0, 0.0) + PRIOR_SPOTS)
            out[1, h] = np.sqrt(max(max(scale, 0.25) / weight[h], spread[h] / weight[h] ** 2))
