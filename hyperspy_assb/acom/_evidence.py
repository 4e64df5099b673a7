"""Kernels of the posterior: how strongly the spots of a pattern prefer one lattice to another."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom._forward import Optics, brightness
from hyperspy_assb.fitting.kernels import FloatArray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def heaviest(spots: FloatArray, count: int, most: int, out: FloatArray) -> int:
    """The heaviest spots, x, y and weight, into `out`; returns how many."""
    order = np.argsort(-spots[:count, 2])
    number = min(count, most)
    for k in range(number):
        out[k] = spots[order[k]]
    return number


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_spots(
    spots: FloatArray,
    count: int,
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    cx: float,
    cy: float,
    dx: float,
    dy: float,
    scale: float,
    optics: Optics,
    out: FloatArray,
) -> float:
    """Column, row, expected and observed brightness of spots into `out` (M, 4); expected 0 outside of the frame.

    The amplitude is that of least squares. `scale` multiplies all reciprocal vectors; `dx`, `dy` move the centre.
    """
    product, power = 0.0, 0.0
    for k in range(count):
        x, y = scale * spots[k, 0], scale * spots[k, 1]
        out[k, 0] = cx + dx + optics.j00 * x + optics.j01 * y
        out[k, 1] = cy + dy + optics.j10 * x + optics.j11 * y
        value = brightness(image, mean, x, y, cx + dx, cy + dy, optics)
        inside = value == value
        out[k, 2] = spots[k, 2] if inside else 0.0
        out[k, 3] = value if inside else 0.0
        product += out[k, 2] * out[k, 3]
        power += out[k, 2] * out[k, 2]
    amplitude = max(product, 0.0) / power if power > 0.0 else 0.0
    for k in range(count):
        out[k, 2] *= amplitude
    return amplitude


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_odds(first: FloatArray, m: int, second: FloatArray, n: int, sigma: float, taken: NDArray[np.bool_]) -> float:
    """Logarithm of the odds of the first of two sets of placed spots; see :mod:`hyperspy_assb.acom.posterior`.

    Parameters
    ----------
    first, m, second, n
        Of :func:`place_spots`, and how many.
    sigma
        Standard deviation in pixels with which the pattern was smoothed.
    taken
        Overwritten, room for n.
    """
    reach2 = (3.0 * sigma) ** 2
    taken[:n] = False
    evidence, separation, noise = 0.0, 0.0, 0.0
    for i in range(m):
        a = first[i, 2]
        nearest, distance2 = -1, reach2
        for j in range(n):
            if not taken[j]:
                d2 = (first[i, 0] - second[j, 0]) ** 2 + (first[i, 1] - second[j, 1]) ** 2
                if d2 < distance2:
                    nearest, distance2 = j, d2
        s = 2.0 * a * first[i, 3] - a * a
        u = a * a
        if nearest >= 0:
            taken[nearest] = True
            b = second[nearest, 2]
            s -= 2.0 * b * second[nearest, 3] - b * b
            u += b * b - 2.0 * a * b * np.exp(-0.25 * distance2 / (sigma * sigma))
        evidence += s
        separation += u
        noise += s * s + u * u
    for j in range(n):
        if not taken[j]:
            b = second[j, 2]
            s = b * b - 2.0 * b * second[j, 3]
            evidence += s
            separation += b * b
            noise += s * s + b * b * b * b
    return 2.0 * separation * evidence / noise if noise > 0.0 else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_phases(
    spots: FloatArray,
    counts: NDArray[np.int64],
    best: int,
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    cx: float,
    cy: float,
    shifts: FloatArray,
    sigma: float,
    nodes: FloatArray,
    optics: Optics,
    out: FloatArray,
) -> None:
    """Logarithm of the evidence of each phase, calibration marginalised, into `out` (P,).

    Parameters
    ----------
    spots, counts
        x, y and weight of the spots of each phase at its best orientation, shape (P, M, 3), and how many, (P,).
    best
        The phase that others are compared with, at the nominal calibration.
    shifts
        Shift of the centre of each phase in pixels, (P, 2).
    nodes
        Relative error of the scale, shifts along columns and rows in pixels, and logarithm of the prior, shape (J, 4).
    """
    room = spots.shape[1]
    reference = np.empty((room, 4))
    placed = np.empty((room, 4))
    taken = np.empty(room, dtype=np.bool_)
    place_spots(
        spots[best], counts[best], image, mean, cx, cy, shifts[best, 0], shifts[best, 1], 1.0, optics, reference
    )
    values = np.empty(len(nodes))
    for p in range(len(counts)):
        if counts[p] == 0:
            out[p] = -np.inf
            continue
        for j in range(len(nodes)):
            place_spots(
                spots[p],
                counts[p],
                image,
                mean,
                cx,
                cy,
                shifts[p, 0] + nodes[j, 1],
                shifts[p, 1] + nodes[j, 2],
                1.0 + nodes[j, 0],
                optics,
                placed,
            )
            values[j] = nodes[j, 3] - log_odds(reference, counts[best], placed, counts[p], sigma, taken)
        top = values.max()
        out[p] = top + np.log(np.exp(values - top).sum())
