"""Kernels of the search: which templates are tried, and which orientations are the best of those tried."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.polar import to_integers
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

UNTRIED = -(2**31)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def best_coarse(
    score: NDArray[np.int32],
    chosen: NDArray[np.int64],
    phase: NDArray[np.int64],
    norm: FloatArray,
    keep: int,
    phases: int,
) -> NDArray[np.int64]:
    """Places in `chosen` of the best of each phase, the better mirror setting counted, shape (phases, keep)."""
    places = np.full((phases, keep), -1, dtype=np.int64)
    values = np.full((phases, keep), -np.inf)
    for i in range(len(chosen)):
        n = chosen[i]
        if norm[n] == 0.0:
            continue
        p = phase[n]
        value = max(score[0, n], score[1, n]) / norm[n]
        if value > values[p, keep - 1]:
            k = keep - 1
            while k > 0 and value > values[p, k - 1]:
                values[p, k], places[p, k] = values[p, k - 1], places[p, k - 1]
                k -= 1
            values[p, k], places[p, k] = value, i
    return places


@numba.njit(cache=True, nogil=True, error_model="numpy")
def around(
    places: NDArray[np.int64],
    begin: NDArray[np.int64],
    neighbours: NDArray[np.int64],
    score: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Templates around the coarse ones that have not been tried, each once."""
    room = 0
    for place in places.ravel():
        if place >= 0:
            room += begin[place + 1] - begin[place]
    found = np.empty(room, dtype=np.int64)
    count = 0
    for place in places.ravel():
        if place >= 0:
            for j in range(begin[place], begin[place + 1]):
                n = neighbours[j]
                if score[0, n] == UNTRIED:
                    score[0, n] = UNTRIED + 1  # listed
                    found[count] = n
                    count += 1
    return found[:count]


def search(
    flat: NDArray[np.float32],
    power: float,
    images: NDArray[np.int16],
    phase: NDArray[np.int64],
    norm: FloatArray,
    chosen: NDArray[np.int64],
    begin: NDArray[np.int64],
    neighbours: NDArray[np.int64],
    keep: int,
    phases: int,
    sweep: Any,
    offsets: NDArray[np.int32],
    weights: NDArray[np.int16],
    count: NDArray[np.int64],
    score: NDArray[np.int32],
    azimuth: NDArray[np.int32],
) -> float:
    """Sums and azimuths of all templates that are tried, both mirror settings; returns the norm of the image."""
    length = to_integers(flat, power, images)
    if not length > 0.0:
        return 0.0
    score[:] = UNTRIED
    for m in (0, 1):
        sweep(images[m], chosen, offsets, weights, count, score[m], azimuth[m])
    if len(neighbours):
        places = best_coarse(score, chosen, phase, norm, keep, phases)
        more = around(places, begin, neighbours, score)
        for m in (0, 1):
            sweep(images[m], more, offsets, weights, count, score[m], azimuth[m])
    return length


@numba.njit(cache=True, nogil=True, error_model="numpy")
def turned(quaternion: FloatArray, angle: float, out: FloatArray) -> None:
    """:func:`~hyperspy_assb.acom.crystals.frames.turn_pattern` of one orientation."""
    a, b, c, d = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    e, h = np.cos(0.5 * angle), -np.sin(0.5 * angle)
    out[0] = a * e - d * h
    out[1] = b * e + c * h
    out[2] = c * e - b * h
    out[3] = a * h + d * e


@numba.njit(cache=True, nogil=True, error_model="numpy")
def half_cosine(first: FloatArray, second: FloatArray, symmetry: FloatArray) -> float:
    """Cosine of half the disorientation of two orientations, symmetry-equivalent ones counted as the same."""
    best = 0.0
    for s in range(len(symmetry)):
        a, b, c, d = symmetry[s, 0], symmetry[s, 1], symmetry[s, 2], symmetry[s, 3]
        e, f, g, h = second[0], second[1], second[2], second[3]
        dot = (
            first[0] * (a * e - b * f - c * g - d * h)
            + first[1] * (a * f + b * e + c * h - d * g)
            + first[2] * (a * g - b * h + c * e + d * f)
            + first[3] * (a * h + b * g - c * f + d * e)
        )
        best = max(best, abs(dot))
    return best


@numba.njit(cache=True, nogil=True, error_model="numpy")
def between(
    image: NDArray[np.int16],
    offsets: NDArray[np.int32],
    weights: NDArray[np.int16],
    azimuth: int,
    azimuths: int,
) -> float:
    """Where between azimuths the sum is highest, from -0.5 to 0.5: top of a parabola through three."""
    sums = np.zeros(3)
    for j in range(3):
        a = (azimuth + j - 1) % azimuths
        for i in range(len(weights)):
            sums[j] += weights[i] * image[offsets[i] + a]
    bend = sums[0] - 2.0 * sums[1] + sums[2]
    if bend >= 0.0:
        return 0.0
    return min(max(0.5 * (sums[0] - sums[2]) / bend, -0.5), 0.5)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rank(
    images: NDArray[np.int16],
    score: NDArray[np.int32],
    azimuth: NDArray[np.int32],
    length: float,
    phase: NDArray[np.int64],
    norm: FloatArray,
    offsets: NDArray[np.int32],
    weights: NDArray[np.int16],
    orientations: FloatArray,
    mirrored_orientations: FloatArray,
    symmetry: FloatArray,
    near: float,
    around_twin: float,
    azimuths: int,
    template_out: NDArray[np.int64],
    azimuth_out: FloatArray,
    mirrored_out: NDArray[np.bool_],
    score_out: FloatArray,
) -> None:
    """Best orientations of each phase, each away from the better ones and from their Friedel twins; the last one is the
    best near the twin of the best.

    Parameters
    ----------
    near
        Cosine of half the angle by which they differ at least.
    around_twin
        Cosine of half the angle by which the last one differs from the twin at most.
    template_out, azimuth_out, mirrored_out, score_out
        Overwritten, of one pattern; see :class:`~hyperspy_assb.acom.matching.matcher.Matches`.
    """
    phases, most = template_out.shape
    step = 2.0 * np.pi / azimuths
    found = np.zeros((most, 2, 4))
    here = np.empty(4)
    first = 0
    for p in range(phases):
        last = first
        while last < len(phase) and phase[last] == p:
            last += 1
        found[:] = 0.0
        for k in range(most):
            best, best_n, best_m = 0.0, -1, 0
            for m in range(2):
                for n in range(first, last):
                    if score[m, n] <= 0 or norm[n] == 0.0:
                        continue
                    value = score[m, n] / (norm[n] * length)
                    if value <= best:
                        continue
                    if k > 0:
                        angle = step * azimuth[m, n] * (1 - 2 * m)
                        turned(mirrored_orientations[n] if m else orientations[n], angle, here)
                        if k == most - 1:
                            fresh = (
                                half_cosine(here, found[0, 1], symmetry[p]) > around_twin
                                and half_cosine(here, found[0, 0], symmetry[p]) < near
                            )
                        else:
                            fresh = True
                            for j in range(k):
                                for t in range(2):
                                    if fresh and half_cosine(here, found[j, t], symmetry[p]) > near:
                                        fresh = False
                        if not fresh:
                            continue
                    best, best_n, best_m = value, n, m
            if best_n < 0:
                continue
            place = azimuth[best_m, best_n] + between(
                images[best_m], offsets[best_n], weights[best_n], azimuth[best_m, best_n], azimuths
            )
            angle = step * place * (1 - 2 * best_m)
            turned(mirrored_orientations[best_n] if best_m else orientations[best_n], angle, found[k, 0])
            turned(found[k, 0], np.pi, found[k, 1])
            template_out[p, k] = best_n
            azimuth_out[p, k] = angle
            mirrored_out[p, k] = best_m == 1
            score_out[p, k] = best
        first = last
