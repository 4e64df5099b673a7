"""Orientations that a pattern hardly tells apart: each is refined, the best is taken, the others are kept beside it.

They come from the search (the best of each phase, the next ones, the Friedel twin), from half turns about zone axes
near the beam (see :mod:`hyperspy_assb.acom.crystals.pseudo_symmetry`), and from tilts about the best one that are less
than what parts orientations in the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase
from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.pseudo_symmetry import ZONE_REACH, zone_axes_of
from hyperspy_assb.acom.matching.refinement_kernels import Ascent, Desk, Lattices, Optics, Seen, climb, moved
from hyperspy_assb.acom.matching.search import half_cosine
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

TIES = 2
"""So many orientations are kept beside the best one."""
_APART = 5.0
"""Degrees by which they differ from it and from each other."""
_RING = (2.0,)
"""Degrees by which the best orientation is tilted, along some directions each."""
_AROUND = 6
SETTLED = 1e-6
"""Relative difference of scores to which the refinement settles: less says nothing."""
_FINISHED = 0.95
"""Share of the best score from which on a candidate is refined to the end, not for one round only."""
_SAME = 0.3
"""Degrees from a candidate that was finished within which another one climbs the same top."""


class NearTies(NamedTuple):
    """What connects orientations that a pattern hardly tells apart, of all phases one after the other.

    Parameters
    ----------
    axes, axes_begin
        Zone axes about which half turns are tried, (N, 3), and where those of each phase begin and the last ones end.
    symmetry, symmetry_begin
        Proper rotations of the Laue groups, (n, 4), and where those of each phase begin and the last ones end.
    reach
        Cosine of the angle between the beam and a zone axis within which it is tried.
    apart, same
        Cosine of half the angle by which orientations that are kept differ, and within which they are one.
    tilts
        About the best orientation: components along x and y of rotation vectors in radians, (T, 2).
    """

    axes: FloatArray
    axes_begin: NDArray[np.int64]
    symmetry: FloatArray
    symmetry_begin: NDArray[np.int64]
    reach: float
    apart: float
    same: float
    tilts: FloatArray


def near_ties_of(phases: Sequence[CrystalPhase], *, ring: tuple[float, ...] = _RING) -> NearTies:
    """Of some phases."""
    axes = [zone_axes_of(phase) for phase in phases]
    symmetry = [symmetry_of(phase) for phase in phases]
    azimuth = 2.0 * np.pi * np.arange(_AROUND) / _AROUND
    way = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)
    return NearTies(
        np.concatenate(axes),
        _begin(axes),
        np.concatenate(symmetry),
        _begin(symmetry),
        float(np.cos(np.radians(ZONE_REACH))),
        float(np.cos(np.radians(_APART) / 2.0)),
        float(np.cos(np.radians(_SAME) / 2.0)),
        np.concatenate([np.zeros((0, 2)), *(np.radians(radius) * way for radius in ring)]),
    )


def _begin(parts: list[FloatArray]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(part) for part in parts)]).astype(np.int64)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def half_turned(axis: FloatArray, quaternion: FloatArray, out: FloatArray) -> None:
    """Orientation of a crystal after half a turn about one of its directions, a unit vector."""
    x, y, z = axis[0], axis[1], axis[2]
    a, b, c, d = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    out[0] = -x * b - y * c - z * d
    out[1] = x * a + y * d - z * c
    out[2] = y * a - x * d + z * b
    out[3] = z * a + x * c - y * b


@numba.njit(cache=True, nogil=True, error_model="numpy")
def refine_candidates(
    orientations: FloatArray,
    scores: FloatArray,
    phase: int,
    share: float,
    ascent: Ascent,
    lattices: Lattices,
    seen: Seen,
    optics: Optics,
    ties: NearTies,
    desk: Desk,
    tied_out: FloatArray,
    tied_scores_out: FloatArray,
    best_out: FloatArray,
    parameters_out: FloatArray,
) -> tuple[float, int]:
    """Refine the candidates of one phase, and those that half turns and tilts make of the best.

    Parameters
    ----------
    orientations, scores
        Of the search, the best first, NaN where there is none, (S, 4) and (S,).
    share
        Others than the first are refined if their score is at least this share of the best one's.
    tied_out, tied_scores_out
        Overwritten: the best of the others that half a turn about the beam or a zone axis may make of the best, (TIES,
        4) and (TIES,).
    best_out, parameters_out
        Overwritten: the best orientation, and the parameters of :func:`~.refinement_kernels.climb` that led to it.

    Returns
    -------
    score, candidate
        Of the best, and which of the orientations of the search it began from.
    """
    given = len(orientations)
    first, last = ties.axes_begin[phase], ties.axes_begin[phase + 1]
    symmetry = ties.symmetry[ties.symmetry_begin[phase] : ties.symmetry_begin[phase + 1]]
    room = given + len(ties.tilts) + last - first
    kept, value = np.empty((room, 4)), np.full(room, -np.inf)
    begun, reached = np.empty((room, 4)), np.zeros((room, 8))
    source = np.empty(room, dtype=np.int64)
    trial, start = np.zeros(8), np.empty(4)
    look = Ascent(ascent.steps, ascent.prior, 0, ascent.norm, ascent.noise)
    one = Ascent(ascent.steps, ascent.prior, min(ascent.rounds, 1), ascent.norm, ascent.noise)
    count, best = 0, -1
    highest = scores.max()
    for k in range(given):
        if not np.isfinite(orientations[k]).all() or (k > 0 and scores[k] < share * highest):
            continue
        begun[count] = orientations[k]
        value[count] = climb(begun[count], one, 0, lattices, phase, seen, optics, desk, reached[count])
        source[count] = k
        best = count if best < 0 or value[count] > value[best] else best
        count += 1
    if best < 0:
        return -np.inf, 0
    # One round tells which may be the best; those go on to the end.
    likely = _FINISHED * value[best]
    for k in range(count):
        if value[k] >= likely and ascent.rounds > 1:
            value[k] = climb(begun[k], ascent, 1, lattices, phase, seen, optics, desk, reached[k])
        moved(begun[k], reached[k], kept[k])
        best = k if value[k] > value[best] else best
    # Half turns, then tilts, of what was best before; the middle of the tilts does not move as others are better.
    middle, number = kept[best].copy(), count
    a, b, c, d = middle[0], middle[1], middle[2], middle[3]
    beam = np.array([2.0 * (b * d + a * c), 2.0 * (c * d - a * b), 1.0 - 2.0 * (b * b + c * c)])
    for k in range(first, last + len(ties.tilts)):
        if ascent.rounds == 0:
            break
        if k < last:
            axis = ties.axes[k]
            if abs(axis[0] * beam[0] + axis[1] * beam[1] + axis[2] * beam[2]) < ties.reach:
                continue
            half_turned(axis, middle, start)
        else:
            trial[:] = 0.0
            trial[:2] = ties.tilts[k - last]
            moved(middle, trial, start)
        if climb(start, look, 0, lattices, phase, seen, optics, desk, trial) < share * value[best]:
            continue
        value[number] = climb(start, one, 0, lattices, phase, seen, optics, desk, trial)
        moved(start, trial, kept[number])
        source[number] = source[best]
        if ascent.rounds > 1 and value[number] >= _FINISHED * value[best]:
            if half_cosine(kept[number], kept[best], symmetry) > ties.same:
                continue
            value[number] = climb(start, ascent, 1, lattices, phase, seen, optics, desk, trial)
            moved(start, trial, kept[number])
        begun[number], reached[number] = start, trial
        best = number if value[number] > value[best] else best
        number += 1
    # Where a symmetry of the pattern makes several the same, the one nearest to that of the search stays.
    for k in range(number):
        nearer = half_cosine(kept[k], middle, symmetry) > half_cosine(kept[best], middle, symmetry)
        if nearer and value[k] >= (1.0 - SETTLED) * value[best]:
            best = k
    parameters_out[:] = reached[best]
    best_out[:] = kept[best]
    # The others in the order of their scores, each away from those before.
    done = 0
    tied_scores_out[:] = 0.0
    tied_out[:] = np.nan
    for k in np.argsort(-value[:number]):
        if done == len(tied_out):
            break
        fresh = k != best and half_cosine(kept[k], best_out, symmetry) < ties.apart
        for j in range(done):
            fresh = fresh and half_cosine(kept[k], tied_out[j], symmetry) < ties.apart
        if fresh and value[k] > 0.0:
            tied_out[done] = kept[k]
            tied_scores_out[done] = value[k]
            done += 1
    return value[best], source[best]
