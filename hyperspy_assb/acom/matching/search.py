"""Templates as integers on a polar grid, and the kernels that search them: which are tried, which are the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import laue_rotations
from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.frames import matrices
from hyperspy_assb.acom.patterns.polar import PolarGrid
from hyperspy_assb.acom.templates.bank import SpotWeighting, TemplateBank, mirror
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

UNROLLED = 8
"""Spots that the matching adds in one pass; those of a template are padded to a multiple of it, with weight 0."""
PROMOTED = 8
"""So many times as many templates as are looked around in are tried with all azimuths."""
UNTRIED = -(2**31)
"""Score of a template that has not been tried."""


LEVELS = 60
"""Largest value of an integer image, in 8 bits. Weights add up to :data:`WEIGHT_SUM` at most, so that the sums never
overflow 16 bits."""
WEIGHT_SUM = 540
_CLIP = 12.0
"""Brightest value of an image, in its root mean squares: only single hot pixels are brighter."""


@dataclass(frozen=True)
class PolarTemplates:
    """Spots of N templates on a polar grid, K of each at most.

    Parameters
    ----------
    offsets
        Place in an image that has each radius twice in a row, unsigned, shape (N, K).
    weights
        Integers whose sum is :data:`WEIGHT_SUM` at most, shape (N, K).
    count
        Spots of each, padded to a multiple of 8 with weight 0, shape (N,).
    norm
        Norm of the weights that fall on the grid, 0 where there is none, shape (N,).
    half_offsets
        Those in an image of half as many azimuths, shape (N, K).
    orientations, mirrored
        Of the templates and of their mirror images, specimen to crystal, shape (N, 4).
    phase
        Number of the phase of each, ascending, shape (N,).
    symmetry
        Quaternions of the Laue rotations of each of P phases, the identity where there are fewer, shape (P, S, 4).
    """

    offsets: NDArray[Any]
    weights: NDArray[np.int16]
    count: NDArray[np.int64]
    norm: FloatArray
    half_offsets: NDArray[Any]
    orientations: FloatArray
    mirrored: FloatArray
    phase: NDArray[np.int64]
    symmetry: FloatArray


def polar_templates(bank: TemplateBank, grid: PolarGrid, *, spots: int, weighting: SpotWeighting) -> PolarTemplates:
    """The heaviest spots of every template of a bank on a polar grid."""
    weight, mirrored = weighting.of(bank.intensity, bank.radius), mirror(bank.orientations)
    place = np.rint((bank.radius - grid.min_radius) / grid.radial_step).astype(np.int64)
    weight[(place < 0) | (place >= grid.radii)] = 0.0
    room = -(-min(spots, weight.shape[1]) // UNROLLED) * UNROLLED
    # Equivalent spots are as heavy but for rounding, and keep their order.
    heaviest = np.maximum(weight.max(axis=1, keepdims=True, initial=0.0), 1e-300)
    order = np.argsort(-np.round(weight / heaviest, 9), axis=1, kind="stable")[:, : min(spots, weight.shape[1])]
    weight, place = np.take_along_axis(weight, order, axis=1), np.take_along_axis(place, order, axis=1)
    azimuth = np.take_along_axis(bank.azimuth, order, axis=1)
    step = 2.0 * np.pi / grid.azimuths
    turn = np.rint(azimuth / step).astype(np.int64) % grid.azimuths

    total = weight.sum(axis=1, keepdims=True)
    scaled = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0.0) * WEIGHT_SUM
    integers = np.floor(scaled).astype(np.int64)
    # What rounding down left goes to the largest remainders, so that the sum stays what it may be.
    left = np.where(total[:, 0] > 0.0, WEIGHT_SUM - integers.sum(axis=1), 0)
    rest = np.round(scaled - integers, 6)
    rank = np.argsort(np.argsort(-rest, axis=1, kind="stable"), axis=1, kind="stable")
    integers += (rank < left[:, None]) & (weight > 0.0)

    offsets = np.where(integers > 0, place * 2 * grid.azimuths + turn, 0)
    halves = np.where(integers > 0, place * grid.azimuths + turn // 2, 0)
    count = (integers > 0).sum(axis=1)
    pad = ((0, 0), (0, room - integers.shape[1]))
    # Templates are read from all over the bank: the fewer bytes the better.
    places = np.uint16 if grid.radii * 2 * grid.azimuths <= 1 << 16 else np.uint32
    return PolarTemplates(
        offsets=np.pad(offsets, pad).astype(places),
        weights=np.pad(integers, pad).astype(np.int16),
        count=-(-count // UNROLLED) * UNROLLED,
        norm=np.sqrt((integers.astype(float) ** 2).sum(axis=1)),
        half_offsets=np.pad(halves, pad).astype(places),
        orientations=bank.orientations,
        mirrored=mirrored,
        phase=bank.phase,
        symmetry=_symmetry_table(bank),
    )


def _symmetry_table(bank: TemplateBank) -> FloatArray:
    """Quaternions of the Laue rotations of each phase, shape (P, S, 4); the identity where there are fewer."""
    tables = [symmetry_of(phase) for phase in bank.phases]
    widest = max(len(table) for table in tables)
    full = np.zeros((len(tables), widest, 4))
    full[:, :, 0] = 1.0
    for i, table in enumerate(tables):
        full[i, : len(table)] = table
    return full


@dataclass(frozen=True)
class CoarseBank:
    """A subset of the templates, and which templates lie around each of them.

    Parameters
    ----------
    chosen
        Templates of the subset, shape (C,).
    begin
        Where the neighbours of each begin, and where the last ones end, shape (C + 1,).
    neighbours
        Those that it stands for, itself included, one list after the other.
    """

    chosen: NDArray[np.int64]
    begin: NDArray[np.int64]
    neighbours: NDArray[np.int64]


def coarse_bank(bank: TemplateBank, resolution: float) -> CoarseBank:
    """Choose templates so that every template has one within 0.75 of a resolution, in degrees: its neighbour.

    Zone axes are compared under the Laue group, inversion included: the search takes both mirror settings of all.

    Parameters
    ----------
    bank
        All templates.
    resolution
        Degrees between neighbours of the subset.
    """
    from scipy.spatial import cKDTree

    axes = matrices(bank.orientations)[:, :, 2]
    chosen: list[int] = []
    lists: list[NDArray[Any]] = []
    for p, phase in enumerate(bank.phases):
        members = np.flatnonzero(bank.phase == p)
        if not len(members):
            continue
        rotations = laue_rotations(phase)
        images = np.concatenate([sign * axes[members] @ r.T for r in rotations for sign in (1.0, -1.0)])
        tree = cKDTree(images)
        covered = np.zeros(len(members), dtype=bool)
        close = 2.0 * np.sin(np.radians(0.375 * resolution))
        for i in range(len(members)):
            if covered[i]:
                continue
            near = np.unique(np.asarray(tree.query_ball_point(axes[members[i]], close)) % len(members))
            covered[near] = True
            chosen.append(int(members[i]))
            lists.append(members[near])
    begin = np.concatenate([[0], np.cumsum([len(part) for part in lists])]).astype(np.int64)
    neighbours = np.concatenate(lists).astype(np.int64) if lists else np.zeros(0, dtype=np.int64)
    return CoarseBank(np.array(chosen, dtype=np.int64), begin, neighbours)


@cache
def sweeper(azimuths: int, *, places: bool = True) -> Callable[..., None]:
    """Kernel for a number of azimuths, a multiple of 16, with or without the azimuths of the highest sums.

    The number is a constant of the compiled code, so that the sums over azimuths become whole vectors, and an image
    has each radius twice in a row, so that no index wraps. Indices into images are unsigned, and none is a slice: the
    compiler need not ask whether one counts from the end. A template is tried on both images at once.

    Returns
    -------
    sweep
        ``sweep(images, chosen, offsets, weights, count, score, azimuth)`` writes the highest sums of each chosen
        template and their azimuths.

        - images: 2, R * 2 * A, int8, see :func:`to_integers`
        - chosen: templates, int64
        - offsets: radius * 2 A + azimuth of each spot, (N, K), unsigned
        - weights: of each spot, (N, K), int16
        - count: spots of each template, padded, (N,), int64
        - score, azimuth: overwritten at the chosen templates, (2, N), int32
    """
    size = int(azimuths)
    located = bool(places)

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def sweep(
        images: NDArray[np.int8],
        chosen: NDArray[np.int64],
        offsets: NDArray[Any],
        weights: NDArray[np.int16],
        count: NDArray[np.int64],
        score: NDArray[np.int32],
        azimuth: NDArray[np.int32],
    ) -> None:
        total = np.empty((2, size), np.int16)
        flat, length = images.ravel(), np.uint64(images.shape[1])
        for i in range(len(chosen)):
            n = chosen[i]
            total[:] = np.int16(0)
            for k in range(0, count[n], 8):
                w0, w1, w2, w3 = weights[n, k], weights[n, k + 1], weights[n, k + 2], weights[n, k + 3]
                w4, w5, w6, w7 = weights[n, k + 4], weights[n, k + 5], weights[n, k + 6], weights[n, k + 7]
                o0, o1 = np.uint64(offsets[n, k]), np.uint64(offsets[n, k + 1])
                o2, o3 = np.uint64(offsets[n, k + 2]), np.uint64(offsets[n, k + 3])
                o4, o5 = np.uint64(offsets[n, k + 4]), np.uint64(offsets[n, k + 5])
                o6, o7 = np.uint64(offsets[n, k + 6]), np.uint64(offsets[n, k + 7])
                for m in range(2):
                    begin = length if m else np.uint64(0)
                    for b in range(size):
                        a = begin + np.uint64(b)
                        total[m, b] = np.int16(
                            total[m, b]
                            + np.int16(w0 * np.int16(flat[o0 + a]))
                            + np.int16(w1 * np.int16(flat[o1 + a]))
                            + np.int16(w2 * np.int16(flat[o2 + a]))
                            + np.int16(w3 * np.int16(flat[o3 + a]))
                            + np.int16(w4 * np.int16(flat[o4 + a]))
                            + np.int16(w5 * np.int16(flat[o5 + a]))
                            + np.int16(w6 * np.int16(flat[o6 + a]))
                            + np.int16(w7 * np.int16(flat[o7 + a]))
                        )
            for m in range(2):
                best = np.int16(-32768)
                for b in range(size):
                    best = max(best, total[m, b])
                score[m, n] = best
                if located:
                    # The first of those, in whole vectors.
                    place = np.int16(size)
                    for b in range(size):
                        place = min(place, np.int16(b) if total[m, b] == best else np.int16(size))
                    azimuth[m, n] = place

    compiled: Any = sweep
    return compiled


@numba.njit(cache=True, nogil=True, error_model="numpy")
def to_integers(flat: NDArray[np.float32], power: float, images: NDArray[np.int8]) -> float:
    """Integer image and its mirror image, each radius twice in a row; returns the norm of the image.

    Parameters
    ----------
    flat
        Of :func:`~hyperspy_assb.acom.patterns.polar.flatten`, shape (R, A).
    power
        Sum of its squares.
    images
        Overwritten: the image, and the one with its azimuths reversed, shape (2, R * 2 * A).
    """
    radii, azimuths = flat.shape
    if not power > 0.0:
        images[:] = np.int8(0)
        return 0.0
    factor = np.float32(LEVELS / (_CLIP * np.sqrt(power / flat.size)))
    top = np.float32(LEVELS)
    total = np.int64(0)
    for r in range(radii):
        base = r * 2 * azimuths
        for a in range(azimuths):
            value = np.int8(np.rint(min(max(flat[r, a] * factor, -top), top)))
            total += np.int64(value) * np.int64(value)
            images[0, base + a] = value
            images[0, base + azimuths + a] = value
            reverse = azimuths - a if a else 0
            images[1, base + reverse] = value
            images[1, base + azimuths + reverse] = value
        # reverse of 0 is 0: written above at base and base + azimuths
    return np.sqrt(float(total))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def halved(images: NDArray[np.int8], azimuths: int, out: NDArray[np.int8]) -> None:
    """Images of :func:`to_integers` with half as many azimuths, the means of two each, into `out`."""
    half = azimuths // 2
    for m in range(len(images)):
        for r in range(images.shape[1] // (2 * azimuths)):
            source, target = images[m, 2 * azimuths * r :], out[m, azimuths * r :]
            for a in range(half):
                target[a] = np.int8((np.int16(source[2 * a]) + np.int16(source[2 * a + 1])) >> 1)
            for a in range(half):
                target[half + a] = target[a]


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
        if norm[n] == 0.0 or score[0, n] == UNTRIED:
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
def promoted(places: NDArray[np.int64], chosen: NDArray[np.int64], score: NDArray[np.int32]) -> NDArray[np.int64]:
    """Templates at some places of those that were chosen; the scores of all are undone."""
    for n in chosen:
        score[:, n] = UNTRIED
    found = np.empty(places.size, dtype=np.int64)
    count = 0
    for place in places.ravel():
        if place >= 0:
            found[count] = chosen[place]
            count += 1
    return found[:count]


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
    image: NDArray[np.int8],
    offsets: NDArray[Any],
    weights: NDArray[np.int16],
    azimuth: int,
    azimuths: int,
) -> float:
    """Where between azimuths the sum is highest, from -0.5 to 0.5: top of a parabola through three."""
    sums = np.zeros(3)
    for j in range(3):
        a = (azimuth + j - 1) % azimuths
        for i in range(len(weights)):
            sums[j] += weights[i] * image[np.int64(offsets[i]) + a]
    bend = sums[0] - 2.0 * sums[1] + sums[2]
    if bend >= 0.0:
        return 0.0
    return min(max(0.5 * (sums[0] - sums[2]) / bend, -0.5), 0.5)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rank(
    images: NDArray[np.int8],
    tried: NDArray[np.int64],
    score: NDArray[np.int32],
    azimuth: NDArray[np.int32],
    length: float,
    phase: NDArray[np.int64],
    norm: FloatArray,
    offsets: NDArray[Any],
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
    tried
        Templates that have a score.
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
    for p in range(phases):
        found[:] = 0.0
        for k in range(most):
            best, best_n, best_m = 0.0, -1, 0
            for m in range(2):
                for n in tried:
                    if phase[n] != p or score[m, n] <= 0 or norm[n] == 0.0:
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
