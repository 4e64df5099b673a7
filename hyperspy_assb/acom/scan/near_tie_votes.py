"""Orientations that one pattern hardly tells apart, told by the patterns about it."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

TIE = 0.02
"""Relative difference of scores within which a pattern does not tell two orientations apart."""
AGREE = 5.0
"""Degrees within which neighbours agree."""


def settle_near_ties(scan: IndexedScan) -> IndexedScan:
    """A scan in which the orientation of every near-tie is the one that its neighbours have.

    Where another orientation of the same phase has a score within :data:`TIE` of the best, the pattern does not tell
    which is right, but a crystal goes on from pixel to pixel. Pixels without a near-tie keep what they have, and those
    beside them follow, the most certain first: each takes the orientation within :data:`AGREE` of most of those that
    are settled. A crystal all of whose pixels are near-ties takes the sequence with the higher sum of scores. The phase
    of no pixel changes, and what is left over is in ``tied_orientations``.

    Returns
    -------
    scan
        With orientations, their scores, and the orientations of the best phase as they were settled.
    """
    if scan.tied_orientations is None or scan.tied_scores is None:
        return scan
    phase = np.asarray(scan.phase)
    every = np.concatenate([scan.orientation[:, :, None], scan.tied_orientations], axis=2)
    scores = np.concatenate([scan.correlation[..., None], np.nan_to_num(scan.tied_scores)], axis=2)
    known = (phase != NOT_INDEXED)[..., None] & np.isfinite(every).all(axis=-1)
    possible = known & (scores >= (1.0 - TIE) * scores[..., :1])
    if not possible[..., 1:].any():
        return scan
    choice = _settle(phase, scores, possible, *_agreements(phase, every, possible, scan))
    at = (*np.indices(phase.shape), choice)
    changed = choice > 0
    orientation = np.where(changed[..., None], every[at], scan.orientation)
    correlation = np.where(changed, scores[at], scan.correlation)
    # What was taken changes places with what had been.
    tied, tied_scores = scan.tied_orientations.copy(), scan.tied_scores.copy()
    rows, columns = np.nonzero(changed)
    tied[rows, columns, choice[changed] - 1] = scan.orientation[changed]
    tied_scores[rows, columns, choice[changed] - 1] = scan.correlation[changed]
    of_phases, phase_scores = scan.phase_orientations.copy(), scan.phase_scores.copy()
    of_phases[rows, columns, phase[changed]] = orientation[changed]
    phase_scores[rows, columns, phase[changed]] = correlation[changed]
    return replace(
        scan,
        orientation=orientation,
        correlation=correlation,
        tied_orientations=tied,
        tied_scores=tied_scores,
        phase_orientations=of_phases,
        phase_scores=phase_scores,
    )


def _agreements(
    phase: NDArray[np.int64], every: FloatArray, possible: NDArray[np.bool_], scan: IndexedScan
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether candidate j of a pixel agrees with candidate k of the pixel to its right, and below it.

    Shapes (ny, nx - 1, K, K) and (ny - 1, nx, K, K).
    """
    number = every.shape[2]
    parts = []
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        agree = np.zeros((*phase[first].shape, number, number), dtype=bool)
        for index, crystal in enumerate(scan.phases):
            same = (phase[first] == index) & (phase[second] == index)
            symmetry = symmetry_of(crystal)
            for j in range(number):
                for k in range(number):
                    here = same & possible[first][..., j] & possible[second][..., k]
                    angle = disorientation(every[first][here][:, j], every[second][here][:, k], symmetry)
                    agree[here, j, k] = angle <= AGREE
        parts.append(agree)
    return parts[0], parts[1]


def _settle(
    phase: NDArray[np.int64],
    scores: FloatArray,
    possible: NDArray[np.bool_],
    right: NDArray[np.bool_],
    below: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Which candidate each pixel takes, shape (ny, nx)."""
    ny, nx = phase.shape
    choice = np.full(phase.shape, -1)
    choice[(phase == NOT_INDEXED) | ~possible[..., 0]] = 0
    tied = possible[..., 1:].any(axis=-1)
    choice[~tied] = 0
    second = np.where(possible[..., 1:], scores[..., 1:], -np.inf).max(axis=-1, initial=-np.inf)
    margin = np.where(tied, 1.0 - second / np.where(tied, scores[..., 0], 1.0), np.inf)

    def neighbours(y: int, x: int) -> list[tuple[int, int, NDArray[np.bool_]]]:
        """Places, and agreement of the own candidates (rows) with theirs (columns)."""
        found = []
        if x + 1 < nx:
            found.append((y, x + 1, right[y, x]))
        if x > 0:
            found.append((y, x - 1, right[y, x - 1].T))
        if y + 1 < ny:
            found.append((y + 1, x, below[y, x]))
        if y > 0:
            found.append((y - 1, x, below[y - 1, x].T))
        return found

    def grow(chosen: NDArray[np.int64], begin: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Settle what hangs together with pixels that are settled; returns what was."""
        queue: list[tuple[float, int, int]] = []
        settled = []
        for y, x in begin:
            for v, u, agree in neighbours(y, x):
                if chosen[v, u] < 0 and agree.any():
                    heapq.heappush(queue, (-margin[v, u], v, u))
        while queue:
            _, y, x = heapq.heappop(queue)
            if chosen[y, x] >= 0:
                continue
            around = neighbours(y, x)
            votes = np.zeros(scores.shape[2])
            for v, u, agree in around:
                if chosen[v, u] >= 0:
                    votes += agree[:, chosen[v, u]]
            # The score decides between as many votes: it is below 1.
            chosen[y, x] = int(np.argmax(np.where(possible[y, x], votes + scores[y, x], -1.0)))
            settled.append((y, x))
            for v, u, agree in around:
                if chosen[v, u] < 0 and agree.any():
                    heapq.heappush(queue, (-margin[v, u], v, u))
        return settled

    grow(choice, [(int(y), int(x)) for y, x in zip(*np.nonzero(choice >= 0), strict=True)])
    # Crystals without a pixel that is sure: from the surest, with each of its candidates.
    left = np.nonzero(choice < 0)
    order = np.argsort(-margin[left], kind="stable")
    for y, x in zip(left[0][order], left[1][order], strict=True):
        if choice[y, x] >= 0:
            continue
        best_total, best = -np.inf, choice
        for candidate in np.flatnonzero(possible[y, x]):
            trial = choice.copy()
            trial[y, x] = candidate
            places = [(int(y), int(x)), *grow(trial, [(int(y), int(x))])]
            total = float(sum(scores[v, u, trial[v, u]] for v, u in places))
            if total > best_total:
                best_total, best = total, trial
        choice = best
    return choice
