"""How sure an orientation and a phase are.

*Reliability* is ``100 (1 - Q2 / Q1)`` from the scores of the best and the second-best solution [1]_. It ranks patterns,
but is no probability.

*Posterior.* Two lattices A and B predict brightnesses m_A and m_B for a pattern d (square root of counts, mean of each
radius removed). The difference of their sums of squares, ``S = |d - m_B|² - |d - m_A|²``, is a sum over spots: one term
for each spot of A with the spot of B that it overlaps, if any. If A is right its expectation is
``M = |m_A - m_B|²``, if B is right it is -M. Its variance is measured, not assumed: intensities are not kinematical,
neighbouring pixels are smoothed together and counts are few, but what happens to one spot is nearly independent of
what happens to the next. So the variance V is the sum of the squared deviations of the terms from their expectation
(the variance of White [2]_ for models that are wrong, as in the test of Vuong [3]_ for two such models), under the one
of A and B that leaves less: the likelier one. As V comes from few terms, S is compared with M and -M by Student's
distribution, with the degrees of freedom f of Satterthwaite [4]_, the square of the sum of the squared deviations over
the sum of their fourth powers: the logarithm of the odds is ``(f + 1) / 2 log((f V + (S + M)²) / (f V + (S - M)²))``,
about ``2 M S / V`` where f is large. One spot is one piece of evidence, however bright, and few spots are not trusted
far.

The calibration is not known exactly, so that evidence is summed over the scale, about where it fits each phase best and
with the prior that its standard error gives, and over the centre. All phases have the same probability beforehand.

What is assumed: that one of the phases is there, alone; that spots are independent of each other given the phase; that
the best orientation of each phase has been found; that strain is isotropic and as small as stated.

References
----------
.. [1] E. F. Rauch, M. Véron, Materials Characterization 98, 1 (2014), doi 10.1016/j.matchar.2014.08.010.
.. [2] H. White, Econometrica 50, 1 (1982), doi 10.2307/1912526.
.. [3] Q. H. Vuong, Econometrica 57, 307 (1989), doi 10.2307/1912557.
.. [4] F. E. Satterthwaite, Biometrics Bulletin 2, 110 (1946), doi 10.2307/3002019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.matching.refinement import Refined, Refiner
from hyperspy_assb.acom.matching.refinement_kernels import Desk, Lattices, Optics, Seen, brightness, desk_for, spots_at
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.polar import PreparedBlock
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_SCALE_STEP = 0.0025
"""A quarter of a pixel at 100 pixels from the direct beam."""
OVERLAP = 3.0
"""Spots nearer to each other than so many of their standard deviations are compared as one."""
LEAST_SCATTER = 0.1
"""Brightnesses are never known better than this, relative, however well a pattern agrees: they are not kinematical."""
CERTAIN = 12.0
"""Odds beyond ``exp(12)`` are not looked at more closely."""


@dataclass(frozen=True)
class PosteriorOptions:
    """What is not known exactly.

    Parameters
    ----------
    strain_std
        Standard deviation of the lattice parameters about those of the phases, relative.
    unknown_scale_std, unknown_centre_std
        Standard error of the scale (relative) and of the centre (pixels) where the geometry does not state them.
    spots
        So many spots of each phase are compared, the heaviest.
    """

    strain_std: float = 0.003
    unknown_scale_std: float = 0.005
    unknown_centre_std: float = 0.3
    spots: int = 64

    def __post_init__(self) -> None:
        for name in ("strain_std", "unknown_scale_std", "unknown_centre_std"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise AssbValueError(f"{name}: 0 or above, not {getattr(self, name)}.")
        if self.spots < 2:
            raise AssbValueError(f"spots: at least 2, not {self.spots}.")


def relative_scale_std(geometry: PatternGeometry, options: PosteriorOptions) -> float:
    """Relative standard error of the scale."""
    if np.isfinite(geometry.scale_std):
        return float(geometry.scale_std / geometry.scale)
    return options.unknown_scale_std


def calibration_nodes(geometry: PatternGeometry, options: PosteriorOptions) -> tuple[float, FloatArray]:
    """Errors of the calibration to sum over.

    Returns
    -------
    scale_std
        Relative standard deviation of the scale, strain included.
    nodes
        Error of the scale from where it was refined, on a grid as fine as a pattern tells scales apart; shift of the
        centre along columns and rows in pixels, and the logarithm of its prior. Those without a shift come first, and
        what was refined before all. Shape (J, 4).
    """
    centre_std = [float(value) if np.isfinite(value) else options.unknown_centre_std for value in geometry.centre_std]
    scale_std = float(np.hypot(relative_scale_std(geometry, options), options.strain_std))
    step = min(2.0 / 3.0 * scale_std, _SCALE_STEP)
    scale = sorted(step * np.arange(-3, 4), key=abs) if step > 0.0 else [0.0]
    # Cubature of degree 3 over two dimensions: the middle, and sqrt(3) standard deviations along each axis.
    far = np.sqrt(3.0)
    centre = [(0.0, 0.0, 1.0 / 3.0)]
    centre += [(sign * far * centre_std[0], 0.0, 1.0 / 6.0) for sign in (-1.0, 1.0)]
    centre += [(0.0, sign * far * centre_std[1], 1.0 / 6.0) for sign in (-1.0, 1.0)]
    if not any(centre_std):
        centre = [(0.0, 0.0, 1.0)]
    return scale_std, np.array([[s, x, y, np.log(w)] for x, y, w in centre for s in scale])


class PhaseWeigher:
    """Evidence for the phases of patterns whose orientations have been refined.

    Parameters
    ----------
    refiner
        Reflections, and how they fall on the detector.
    geometry
        Standard errors of scale and centre.
    sigma
        Standard deviation of a spot in pixels.
    options
        What else is not known exactly.
    """

    def __init__(
        self, refiner: Refiner, geometry: PatternGeometry, sigma: float, *, options: PosteriorOptions | None = None
    ) -> None:
        self.refiner = refiner
        self.options = options or PosteriorOptions()
        self.sigma = sigma
        self.scale_std, self.nodes = calibration_nodes(geometry, self.options)

    def weigh_block(self, block: PreparedBlock, refined: Refined, out: FloatArray) -> None:
        """Logarithm of the evidence of each phase in a few patterns into `out` (B, P), -inf where there is none."""
        lattices = self.refiner.lattices
        phases, desk = len(lattices.begin) - 1, desk_for(lattices)
        spots, counts = np.empty((phases, self.options.spots, 3)), np.zeros(phases, dtype=np.int64)
        # Lattices that are refined for their own sake are not those of the phases to be compared.
        scales = np.ones(refined.score.shape)
        if self.refiner.refines_scale:
            scales = 1.0 / refined.lattice_scale[..., 0]
        weigh_patterns(
            block.images,
            block.means,
            block.centres,
            refined.orientation,
            refined.score,
            refined.shift,
            scales,
            lattices,
            self.refiner.optics,
            self.sigma,
            self.scale_std,
            self.nodes,
            desk,
            spots,
            counts,
            out,
        )


def reliability(first: FloatArray, second: FloatArray) -> FloatArray:
    """``100 (1 - Q2 / Q1)`` of two scores, from 0 to 100; 0 where the first is not above 0."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    ratio = np.divide(np.maximum(second, 0.0), first, out=np.ones(np.broadcast(first, second).shape), where=first > 0.0)
    return 100.0 * np.clip(1.0 - ratio, 0.0, 1.0)


def phase_reliability(phase_scores: FloatArray) -> FloatArray:
    """Reliability of the best of P phases against the second best, shape (..., P) to (...); 100 for one phase alone."""
    scores = np.sort(np.asarray(phase_scores, dtype=float), axis=-1)
    second = scores[..., -2] if scores.shape[-1] > 1 else np.zeros(scores.shape[:-1])
    return reliability(scores[..., -1], second)


def probabilities(log_evidence: FloatArray) -> FloatArray:
    """Posterior of each of P phases with equal priors, shape (..., P); NaN where there is no evidence for any."""
    top = log_evidence.max(axis=-1, keepdims=True)
    known = np.isfinite(top)
    shares = np.exp(np.where(known, log_evidence - np.where(known, top, 0.0), np.nan))
    return shares / shares.sum(axis=-1, keepdims=True)


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
    seen: Seen,
    scale: float,
    optics: Optics,
    out: FloatArray,
) -> float:
    """Column, row, expected and observed brightness of spots into `out` (M, 4); expected 0 outside of the frame.

    The amplitude is that of least squares. `scale` multiplies all reciprocal vectors.
    """
    product, power = 0.0, 0.0
    for k in range(count):
        x, y = scale * spots[k, 0], scale * spots[k, 1]
        out[k, 0] = seen.cx + optics.j00 * x + optics.j01 * y
        out[k, 1] = seen.cy + optics.j10 * x + optics.j11 * y
        value = brightness(seen.image, seen.mean, x, y, seen.cx, seen.cy, optics)
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
    """Logarithm of the odds of the first of two sets of placed spots; see the head of this module.

    Parameters
    ----------
    first, m, second, n
        Of :func:`place_spots`, and how many.
    sigma
        Standard deviation in pixels with which the pattern was smoothed.
    taken
        Overwritten, room for n.
    """
    begin, close = np.empty(m + 1, dtype=np.int64), np.empty(max(m * n, 1), dtype=np.int64)
    close_pairs(first, m, second, n, OVERLAP * sigma, begin, close)
    return odds_of_pairs(first, m, second, n, sigma, begin, close, taken)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def close_pairs(
    first: FloatArray,
    m: int,
    second: FloatArray,
    n: int,
    reach: float,
    begin: NDArray[np.int64],
    close: NDArray[np.int64],
) -> None:
    """Which of the second spots are within some pixels of each of the first, into `close` (m n,), where those of each
    begin and the last ones end into `begin` (m + 1,)."""
    count = 0
    x, y = second[:n, 0].copy(), second[:n, 1].copy()
    for i in range(m):
        begin[i] = count
        # Whether there is any, in whole vectors, first.
        within = 0
        for j in range(n):
            within += 1 if (first[i, 0] - x[j]) ** 2 + (first[i, 1] - y[j]) ** 2 < reach * reach else 0
        for j in range(n if within else 0):
            if (first[i, 0] - x[j]) ** 2 + (first[i, 1] - y[j]) ** 2 < reach * reach:
                close[count] = j
                count += 1
    begin[m] = count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def odds_of_pairs(
    first: FloatArray,
    m: int,
    second: FloatArray,
    n: int,
    sigma: float,
    begin: NDArray[np.int64],
    close: NDArray[np.int64],
    taken: NDArray[np.bool_],
) -> float:
    """:func:`log_odds`, if spots that may overlap are known from :func:`close_pairs`."""
    reach2 = (OVERLAP * sigma) ** 2
    taken[:n] = False
    evidence, separation, number = 0.0, 0.0, 0
    # Sums of squares and of fourth powers of the deviations if the first set is right, and if the second is.
    squares, fourths = np.zeros(2), np.zeros(2)
    for i in range(m + n):
        if i < m:
            a = first[i, 2]
            s, u = 2.0 * a * first[i, 3] - a * a, a * a
            nearest, distance2 = -1, reach2
            for q in range(begin[i], begin[i + 1]):
                j = close[q]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_pattern(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    centre: FloatArray,
    orientations: FloatArray,
    scores: FloatArray,
    shifts: FloatArray,
    scales: FloatArray,
    lattices: Lattices,
    optics: Optics,
    sigma: float,
    scale_std: float,
    nodes: FloatArray,
    desk: Desk,
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
    desk, spots, counts
        Overwritten: room for the reflections of a phase, for K spots of each phase (P, K, 3), and for their numbers
        (P,).
    """
    phases, room = spots.shape[0], spots.shape[1]
    nothing = np.zeros(3)
    for p in range(phases):
        counts[p] = 0
        if scores[p] > 0.0:
            number = spots_at(orientations[p], nothing, lattices, p, optics, desk.listed, desk.near, desk.spots)
            counts[p] = heaviest(desk.spots, number, room, spots[p])
    best = int(np.argmax(scores))
    reference, placed = np.empty((room, 4)), np.empty((room, 4))
    taken = np.empty(room, dtype=np.bool_)
    cx, cy = centre[0], centre[1]
    seen = Seen(image, mean, cx + shifts[best, 0], cy + shifts[best, 1])
    place_spots(spots[best], counts[best], seen, scales[best], optics, reference)
    values = np.empty(len(nodes))
    pairs, close = np.empty(room + 1, dtype=np.int64), np.empty(room * room, dtype=np.int64)
    # By how far spots move from node to node, at most.
    moving = np.hypot(nodes[:, 1], nodes[:, 2]).max(), np.abs(nodes[:, 0]).max()
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
            seen = Seen(image, mean, cx + (shifts[p, 0] + nodes[j, 1]), cy + (shifts[p, 1] + nodes[j, 2]))
            place_spots(spots[p], counts[p], seen, scale, optics, placed)
            if j == 0:
                far = (image.shape[0] + image.shape[1]) * moving[1] + moving[0]
                close_pairs(reference, counts[best], placed, counts[p], OVERLAP * sigma + far, pairs, close)
            values[j] = nodes[j, 3] - odds_of_pairs(
                reference, counts[best], placed, counts[p], sigma, pairs, close, taken
            )
            if scale_std > 0.0:
                values[j] -= 0.5 * ((scale - 1.0) / scale_std) ** 2
            if j == plain - 1 and p != best and values[:plain].max() < -CERTAIN:
                number = plain
                break
        top = values[:number].max()
        out[p] = top + np.log(np.exp(values[:number] - top).sum())
        if p != best and number == len(nodes):
            rivals += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_patterns(
    images: NDArray[np.float32],
    means: NDArray[np.float32],
    centres: FloatArray,
    orientations: FloatArray,
    scores: FloatArray,
    shifts: FloatArray,
    scales: FloatArray,
    lattices: Lattices,
    optics: Optics,
    sigma: float,
    scale_std: float,
    nodes: FloatArray,
    desk: Desk,
    spots: FloatArray,
    counts: NDArray[np.int64],
    out: FloatArray,
) -> None:
    """:func:`weigh_pattern` of several patterns, those without a score left out."""
    for b in range(len(images)):
        if scores[b].any():
            weigh_pattern(
                images[b],
                means[b],
                centres[b],
                orientations[b],
                scores[b],
                shifts[b],
                scales[b],
                lattices,
                optics,
                sigma,
                scale_std,
                nodes,
                desk,
                spots,
                counts,
                out[b],
            )
