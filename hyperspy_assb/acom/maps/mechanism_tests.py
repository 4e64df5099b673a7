"""Domino-cascade against mosaic: permutation tests over the particles of an electrode.

In the domino-cascade a front runs through a particle faster than particles start, so that at any moment particles are
wholly of one phase or the other (C. Delmas et al., Nat. Mater. 7, 665 (2008), doi 10.1038/nmat2230). In a mosaic both
phases lie side by side within a particle.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from hyperspy_assb.acom.maps.particles import MechanismOptions, Particles
from hyperspy_assb.errors import AssbKeyError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.blocks import split_into_blocks
from hyperspy_assb.fitting.statistics.permutation import ROUNDING, merge_equal, p_value

ALPHA = 0.05
"""Level below which a p value is told as a find."""
_SAME_SPREAD = 1e-6
"""Degrees by which spreads may differ that are the same: those of particles of one orientation are rounding."""
FEWEST = 6
"""Particles below which nothing is tested: with five, no order can be rarer than 1 in 120, and ties make it worse."""


class MechanismKind(StrEnum):
    """What the particles say."""

    BY_SIZE = "large particles are wholly one phase, small ones are mosaics"
    DOMINO = "particles are wholly one phase (domino-cascade)"
    MOSAIC = "particles hold both phases (mosaic)"
    ONE_PHASE = "one phase only"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class MechanismTest:
    """One question, and how often chance would give as clear an answer.

    Parameters
    ----------
    name
        Short.
    question
        In words: what the alternative to chance is.
    statistic
        A rank correlation, a difference of shares or of angles; see `question`.
    p
        (b + 1)/(m + 1), b of m permutations having a statistic as extreme, one-sided; NaN where it cannot be tested.
    particles
        That took part.
    """

    name: str
    question: str
    statistic: float
    p: float
    particles: int


@dataclass(frozen=True)
class MechanismEvidence:
    """What the particles tell of the way they were delithiated.

    Parameters
    ----------
    kind
        See :class:`MechanismKind`.
    tests
        One for each question.
    split_diameter
        Between large and small particles: where their mixing differs most; the median where it does not; in the unit of
        the diameters.
    whole_large, whole_small
        Share of the large and of the small particles that are of one phase.
    """

    kind: MechanismKind
    tests: tuple[MechanismTest, ...]
    split_diameter: float
    whole_large: float
    whole_small: float

    def __getitem__(self, name: str) -> MechanismTest:
        """A test by its name.

        Raises
        ------
        AssbKeyError
            If there is none of this name.
        """
        for test in self.tests:
            if test.name == name:
                return test
        raise AssbKeyError(f"No test {name!r}; there are {', '.join(test.name for test in self.tests)}.")


def weigh_mechanism(
    particles: Particles, delithiated: NDArray[np.bool_], *, options: MechanismOptions | None = None
) -> MechanismEvidence:
    """Tell domino-cascade from mosaic.

    Parameters
    ----------
    particles
        See :func:`~hyperspy_assb.acom.maps.particles.find_particles`.
    delithiated
        Pixels of the delithiated phase, shape (ny, nx).
    options
        Permutations, and what counts as mixed.

    Returns
    -------
    evidence
        Tests "size", "orientation", "amorphous", "wholes large", "wholes small" and "interface".

    Notes
    -----
    "size": the mixing 4 f (1 - f), f being the share of the delithiated phase, falls with the size of particles; the
    size at which they are split is the one that tells most, and every permutation may choose its own (maximally
    selected statistics), so that p holds. "orientation", "amorphous": rank correlations of the spread with size, and of
    the mixing with the distance to amorphous material. "wholes": pieces of particles as large as the domains of mosaics
    change places among particles; if particles are wholes, their shares scatter more than those of shuffled ones.
    "interface": the normal of boundaries between the phases against the a axis, near which those of olivines lie; by
    chance, an angle is as probable as 90 degrees less it.
    """
    options = options or MechanismOptions()
    rng = np.random.default_rng(options.seed)
    # Shares f and 1 - f are mixed alike.
    mixing = merge_equal(4.0 * particles.delithiated * (1.0 - particles.delithiated))
    size = np.asarray(particles.pixels, dtype=float)
    split, by_size = _split(particles, mixing, options, rng)
    large = particles.diameter > split
    tests = [
        by_size,
        _rank_test(
            "orientation",
            "the orientation spread falls with size (rank correlation)",
            size,
            merge_equal(particles.spread, absolute=_SAME_SPREAD),
            options,
            rng,
        ),
        _rank_test(
            "amorphous",
            "mixing falls with the distance to amorphous material (rank correlation)",
            merge_equal(particles.amorphous_distance),
            mixing,
            options,
            rng,
        ),
    ]
    piece = _piece(particles)
    for name, chosen in (("large", large), ("small", ~large)):
        tests.append(_whole_test(name, particles, delithiated, chosen, piece, options, rng))
    tests.append(_interface_test(particles, options, rng))
    whole = ~particles.mixed
    return MechanismEvidence(
        kind=_kind_of(particles, whole, large, by_size),
        tests=tuple(tests),
        split_diameter=split,
        whole_large=float(whole[large].mean()) if large.any() else float("nan"),
        whole_small=float(whole[~large].mean()) if (~large).any() else float("nan"),
    )


def _kind_of(
    particles: Particles, whole: NDArray[np.bool_], large: NDArray[np.bool_], by_size: MechanismTest
) -> MechanismKind:
    total = np.average(particles.delithiated, weights=particles.pixels) if len(particles) else np.nan
    if len(particles) < FEWEST:
        return MechanismKind.UNDECIDED
    if by_size.p <= ALPHA and np.average(whole[large], weights=particles.pixels[large]) > 0.5:
        return MechanismKind.BY_SIZE
    of_area = np.average(whole, weights=particles.pixels)
    if of_area > 0.9:
        return MechanismKind.DOMINO if 0.02 < total < 0.98 else MechanismKind.ONE_PHASE
    return MechanismKind.MOSAIC if of_area < 0.5 else MechanismKind.UNDECIDED


def _split(
    particles: Particles, mixing: FloatArray, options: MechanismOptions, rng: np.random.Generator
) -> tuple[float, MechanismTest]:
    """The diameter at which mixing differs most, and the test that smaller ones are more mixed."""
    question = "mixing falls with size (difference of the mean mixing below and above the split, in standard errors)"
    total = len(particles)
    middle = float(np.median(particles.diameter)) if total else float("nan")
    if total < FEWEST or np.ptp(mixing) == 0.0 or np.ptp(particles.pixels) == 0:
        return middle, MechanismTest("size", question, float("nan"), float("nan"), total)
    order = np.argsort(particles.pixels, kind="stable")
    sizes = particles.pixels[order]
    # A split leaves two particles or a tenth of them on either side, and none of equal size apart.
    least = max(2, total // 10)
    places = np.arange(least, total - least + 1)
    places = places[sizes[places - 1] < sizes[places]]
    if not places.size:
        return middle, MechanismTest("size", question, float("nan"), float("nan"), total)

    # Sums in another order differ by so much, in standard errors, which are the same for all orders.
    rounding = ROUNDING * np.sqrt(total) * float(np.abs(mixing).max() / mixing.std())

    def largest(rows: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
        below = np.cumsum(rows, axis=1)[:, places - 1]
        difference = below / places - (rows.sum(axis=1, keepdims=True) - below) / (total - places)
        error = rows.std(axis=1, ddof=1)[:, None] * np.sqrt(1.0 / places + 1.0 / (total - places))
        statistic = difference / error
        best = (statistic >= statistic.max(axis=1, keepdims=True) - rounding).argmax(axis=1)
        return statistic[np.arange(len(rows)), best], best

    observed, best = largest(mixing[order][None])
    shuffled = rng.permuted(np.tile(mixing, (options.permutations, 1)), axis=1)
    permuted, _ = largest(shuffled)
    p = float(p_value(permuted, observed[0], rounding))
    place = places[best[0]]
    diameters = particles.diameter[order]
    split = float(np.sqrt(diameters[place - 1] * diameters[place])) if p <= ALPHA else middle
    return split, MechanismTest("size", question, float(observed[0]), p, total)


def _rank_test(
    name: str,
    question: str,
    first: FloatArray,
    second: FloatArray,
    options: MechanismOptions,
    rng: np.random.Generator,
) -> MechanismTest:
    """Whether the second falls as the first grows (Spearman)."""
    known = np.isfinite(first) & np.isfinite(second)
    one, other = rankdata(first[known]), rankdata(second[known])
    count = int(known.sum())
    if count < FEWEST or np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return MechanismTest(name, question, float("nan"), float("nan"), count)
    # Twice a rank is an integer, and a sum of products of integers is exact.
    one, other = 2.0 * one - (count + 1), 2.0 * other - (count + 1)
    product = float(one @ other)
    permuted = rng.permuted(np.tile(other, (options.permutations, 1)), axis=1) @ one
    observed = product / float(np.sqrt((one @ one) * (other @ other)))
    return MechanismTest(name, question, observed, float(p_value(-permuted, -product, 0.0)), count)


def _piece(particles: Particles) -> int:
    """Pixels of a piece: as many as a domain of the mixed particles has; a quarter of the smallest where none is."""
    some = particles.mixed & (particles.domains > 1)
    if some.any():
        return max(int(np.median(particles.pixels[some] / particles.domains[some])), 4)
    return max(int(particles.pixels.min(initial=16)) // 4, 4)


def _whole_test(
    which: str,
    particles: Particles,
    delithiated: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    piece: int,
    options: MechanismOptions,
    rng: np.random.Generator,
) -> MechanismTest:
    """Whether shares of particles scatter more than if pieces were put together at random."""
    question = f"{which} particles are each of one phase: shares scatter more than shuffled pieces do (variance ratio)"
    name = f"wholes {which}"
    owner, share = [], []
    for number in np.flatnonzero(chosen):
        position = np.argwhere(particles.labels == number + 1)
        block = split_into_blocks(position, piece)
        inside = delithiated[tuple(position.T)].astype(float)
        share.append(np.bincount(block, inside) / np.bincount(block))
        owner.append(np.full(share[-1].size, number))
    count = int(chosen.sum())
    if count < 3:
        return MechanismTest(name, question, float("nan"), float("nan"), count)
    values, groups = np.concatenate(share), np.unique(np.concatenate(owner), return_inverse=True)[1]
    sizes = np.bincount(groups)
    if np.ptp(values) == 0.0 or sizes.max() < 2:
        return MechanismTest(name, question, float("nan"), float("nan"), count)
    belongs = np.zeros((values.size, count))
    belongs[np.arange(values.size), groups] = 1.0

    def between(rows: FloatArray) -> FloatArray:
        means = (rows @ belongs) / sizes
        return np.asarray(((means - rows.mean(axis=1, keepdims=True)) ** 2) @ sizes)

    observed = float(between(values[None])[0])
    permuted = between(rng.permuted(np.tile(values, (options.permutations, 1)), axis=1))
    rounding = ROUNDING * (observed + np.abs(values).max() * np.sqrt(values.size * observed))
    p = float(p_value(permuted, observed, rounding))
    return MechanismTest(name, question, observed / float(permuted.mean()), p, count)


def _interface_test(particles: Particles, options: MechanismOptions, rng: np.random.Generator) -> MechanismTest:
    """Whether boundaries between the phases lie across the a axis: the mean angle is below 45 degrees."""
    question = "normals of boundaries between the phases lie near the a axis (mean angle in degrees; 45 by chance)"
    known = np.isfinite(particles.angle_to_a)
    angle, weight = particles.angle_to_a[known], particles.interface[known]
    if known.sum() < 5:
        return MechanismTest("interface", question, float("nan"), float("nan"), int(known.sum()))
    observed = float(np.average(angle, weights=weight))
    # If boundary and crystal know nothing of each other, an angle is as probable as 90 degrees less it.
    flips = rng.random((options.permutations, angle.size)) < 0.5
    permuted = np.where(flips, 90.0 - angle, angle) @ weight / weight.sum()
    p = float(p_value(-permuted, -observed, ROUNDING * 90.0))
    return MechanismTest("interface", question, observed, p, int(known.sum()))
