"""Kernels of the posterior: how strongly the spots of a pattern prefer one lattice to another."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.matching.refinement_kernels import Optics, brightness, in_reach, rotation_of, spots_of
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

LEAST_SCATTER = 0.1
"""Brightnesses are never known better than this, relative, however well a pattern agrees: they are not kinematical."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def heaviest(spots: FloatArray, count: int, most: int, out: FloatArray) -> int:
    """The heaviest spots, x, y and weight, into `out`; returns how many."""
    number = 0
    for k in range(count):
        if number == most and spots[k, 2] <= out[most - 1, 2]:
            continue
        number = min(number + 1, most)
        i = number - 1
        while i > 0 and out[i - 1, 2] < spots[k, 2]:
            for j in range(3):
                out[i, j] = out[i - 1, j]
            i -= 1
        for j in range(3):
            out[i, j] = spots[k, j]
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
    """Logarithm of the odds of the first of two sets of placed spots; see :mod:`hyperspy_assb.acom.matching.posterior`.

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
    evidence, separation, number = 0.0, 0.0, 0
    # Sums of squares and of fourth powers of the deviations if the first set is right, and if the second is.
    squares, fourths = np.zeros(2), np.zeros(2)
    for i in range(m + n):
        if i < m:
            a = first[i, 2]
            s, u = 2.0 * a * first[i, 3] - a * a, a * a
            nearest, distance2 = -1, reach2
            for j in range(n):
                if not taken[j]:
                    d2 = (first[i, 0] - second[j, 0]) ** 2 + (first[i, 1] - second[j, 1]) ** 2
                    if d2 < distance2:
                        nearest, distance2 = j, d2
            if nearest >= 0:
                taken[nearest] = True
                b = second[nearest, 2]
                s -= 2.0 * b * second[nearest, 3] - b * b
                u += b * b - 2.0 * a * b * np.exp(-0.25 * distance2 / (sigma * sigma))
        else:
            if taken[i - m]:
                continue
            b = second[i - m, 2]
            s, u = b * b - 2.0 * b * second[i - m, 3], b * b
        evidence += s
        separation += u
        number += 1
        for h in range(2):
            deviation = (s - u if h == 0 else s + u) ** 2 + (LEAST_SCATTER * u) ** 2
            squares[h] += deviation
            fourths[h] += deviation * deviation
    better = 0 if squares[0] <= squares[1] else 1
    if number < 2 or not squares[better] > 0.0:
        return 0.0
    # One degree of freedom went into the amplitudes.
    noise = squares[better] * number / (number - 1)
    freedom = squares[better] ** 2 / fourths[better] * (number - 1) / number
    first_far, second_far = (evidence - separation) ** 2, (evidence + separation) ** 2
    return 0.5 * (freedom + 1.0) * np.log((freedom * noise + second_far) / (freedom * noise + first_far))


CERTAIN = 12.0
"""Odds beyond ``exp(12)`` are not looked at more closely."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_pattern(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    centre: FloatArray,
    orientations: FloatArray,
    scores: FloatArray,
    shifts: FloatArray,
    scales: FloatArray,
    parts: FloatArray,
    strength: FloatArray,
    begin: NDArray[np.int64],
    optics: Optics,
    sigma: float,
    scale_std: float,
    nodes: FloatArray,
    listed: NDArray[np.int64],
    every: FloatArray,
    spots: FloatArray,
    counts: NDArray[np.int64],
    out: FloatArray,
) -> None:
    """Logarithm of the evidence of each phase of a pattern, calibration summed over, into `out` (P,).

    Parameters
    ----------
    orientations, scores, shifts, scales
        Refined, of each phase, (P, 4), (P,), (P, 2) and (P,); scales are factors of the reciprocal vectors. All phases
        are compared with the phase of the best score as it was refined.
    sigma
        Standard deviation in pixels with which the pattern was smoothed.
    scale_std
        Standard deviation of the scale about 1; 0 if it is known.
    nodes
        Relative error of the scale and shifts along columns and rows in pixels, from what was refined, and logarithm of
        the prior of the shifts; those without a shift first, (J, 4).
    listed, every, spots, counts
        Overwritten: room for the reflections of a phase (M,) and their spots (M, 3), for K spots of each phase
        (P, K, 3), and for their numbers (P,).
    """
    phases, room = spots.shape[0], spots.shape[1]
    rotation, nothing = np.empty((3, 3)), np.zeros(3)
    for p in range(phases):
        counts[p] = 0
        if scores[p] > 0.0:
            number = in_reach(orientations[p], parts, begin[p], begin[p + 1], optics, 0.0, listed)
            rotation_of(orientations[p], nothing, rotation)
            number = spots_of(rotation, nothing, parts, strength, listed[:number], optics, every)
            counts[p] = heaviest(every, number, room, spots[p])
    best = int(np.argmax(scores))
    reference, placed = np.empty((room, 4)), np.empty((room, 4))
    taken = np.empty(room, dtype=np.bool_)
    cx, cy = centre[0], centre[1]
    place_spots(
        spots[best],
        counts[best],
        image,
        mean,
        cx,
        cy,
        shifts[best, 0],
        shifts[best, 1],
        scales[best],
        optics,
        reference,
    )
    values = np.empty(len(nodes))
    plain = 0
    while plain < len(nodes) and nodes[plain, 1] == 0.0 and nodes[plain, 2] == 0.0:
        plain += 1
    rivals = 0
    # The best phase comes last, and with one node only if no other one is anywhere near it.
    for turn in range(phases + 1):
        p = best if turn == phases else turn
        if turn == best and turn < phases:
            continue
        out[p] = -np.inf
        if counts[p] == 0:
            continue
        number = len(nodes) if p != best or rivals else 1
        for j in range(number):
            scale = scales[p] * (1.0 + nodes[j, 0])
            place_spots(
                spots[p],
                counts[p],
                image,
                mean,
                cx,
                cy,
                shifts[p, 0] + nodes[j, 1],
                shifts[p, 1] + nodes[j, 2],
                scale,
                optics,
                placed,
            )
            values[j] = nodes[j, 3] - log_odds(reference, counts[best], placed, counts[p], sigma, taken)
            if scale_std > 0.0:
                values[j] -= 0.5 * ((scale - 1.0) / scale_std) ** 2
            if j == plain - 1 and p != best and values[:plain].max() < -CERTAIN:
                number = plain
                break
        top = values[:number].max()
        out[p] = top + np.log(np.exp(values[:number] - top).sum())
        if p != best and number == len(nodes):
            rivals += 1
