"""Permutation tests of block means: differences, trends, and clusters of neighbouring channels.

Every test takes one row of values for each block of pixels, and blocks are what changes places: the p values hold if
the blocks are exchangeable when nothing has changed, whatever the distribution of the values and however their columns
are correlated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FloatArray = NDArray[np.float64]

ROUNDING = 2.0**-46
"""Relative error of a sum of some hundred terms in floating point, whatever their order."""
_LEAST = 1e-12
"""Smallest part of a sum of squares that is told from nothing by a difference of sums."""


@dataclass(frozen=True)
class PermutationTest:
    """A statistic with its distribution under permutation.

    Parameters
    ----------
    slope, std
        Change of each column with the score, and its standard error from the scatter of the blocks, shape (F,).
    t
        Observed statistic of each column, shape (F,); NaN where a column does not vary.
    p
        Two-sided p value of each column, (b + 1)/(m + 1), shape (F,).
    p_corrected
        The same for all columns together, by the largest statistic of every permutation (Westfall and Young,
        Resampling-Based Multiple Testing, Wiley (1993), step-down), shape (F,).
    permuted
        Statistics of the permutations, shape (m, F).
    rounding
        By what two statistics may differ that are the same, shape (F,).
    """

    slope: FloatArray
    std: FloatArray
    t: FloatArray
    p: FloatArray
    p_corrected: FloatArray
    permuted: FloatArray
    rounding: FloatArray


@dataclass(frozen=True)
class Cluster:
    """Neighbouring channels that all lie beyond the threshold on the same side.

    Parameters
    ----------
    first, last
        Its first and last channel.
    mass
        Sum of the statistic over it; negative where the values fall.
    p
        Share of the permutations, (b + 1)/(m + 1), whose largest cluster has at least this mass.
    """

    first: int
    last: int
    mass: float
    p: float


def p_value(permuted: FloatArray, observed: ArrayLike, rounding: ArrayLike) -> FloatArray:
    """Share of the permutations with a statistic at least as large, itself counted: (b + 1)/(m + 1).

    A permutation that only exchanges equals has the observed statistic, and must count whatever the last bits are: they
    change with the order in which a processor adds.

    Parameters
    ----------
    permuted
        Statistics of the permutations, shape (m, ...).
    observed
        Shape (...).
    rounding
        By what two of them may differ that are the same, shape (...); see :data:`ROUNDING`.
    """
    reached = permuted >= np.asarray(observed) - np.asarray(rounding)
    return np.asarray((1.0 + reached.sum(axis=0)) / (1.0 + permuted.shape[0]))


def merge_equal(values: ArrayLike, *, absolute: float = 0.0) -> FloatArray:
    """Values of which those that differ by rounding alone are the same, so that ranks do not tell them apart.

    Parameters
    ----------
    values
        Shape (N,); NaN stays.
    absolute
        By what neighbours in size may differ that are the same, where that is more than rounding.

    Examples
    --------
    >>> merge_equal([0.1 + 0.2, 1.0, 0.3]).tolist()
    [0.3, 1.0, 0.3]
    """
    known = np.asarray(values, dtype=np.float64)
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    rounding = max(absolute, ROUNDING * float(np.abs(known[np.isfinite(known)]).max(initial=0.0)))
    first = np.ones(known.size, dtype=bool)
    first[1:] = ~(np.diff(ordered) <= rounding)
    merged = np.empty_like(known)
    merged[order] = ordered[first][np.cumsum(first) - 1]
    return merged


def permute_rows(size: int, count: int, seed: int) -> NDArray[np.int64]:
    """Random orders of `size` rows, shape (count, size); the order as it is is not among them on purpose."""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(size), (count, 1)), axis=1)


def partial_statistic(
    values: FloatArray, scores: FloatArray, covariates: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slope of the values over the scores beside covariates, its standard error, and its t.

    Parameters
    ----------
    values
        Shape (B, F).
    scores
        Score of each row: 0 and 1 for two groups; shape (m, B).
    covariates
        Shape (B, C); a column of ones is the mean.

    Returns
    -------
    slope, std, t
        Shape (m, F). The variance of the slope is that of White (Econometrica 48, 817 (1980), doi:10.2307/1912934) with
        B / (B - C - 1): the groups may scatter differently. NaN where a column does not vary.
    """
    return _partial_statistic(values, scores, covariates)[:3]


def _partial_statistic(
    values: FloatArray, scores: FloatArray, covariates: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Also the rounding error of t for the first scores, shape (F,)."""
    basis = np.linalg.qr(covariates)[0]
    rest = values - basis @ (basis.T @ values)
    scale = np.abs(values).max(axis=0)
    known = np.abs(rest).max(axis=0) > 1e-9 * scale
    unit = np.where(known, np.sqrt((rest**2).mean(axis=0)), 1.0)
    rest = rest / unit
    z = scores - (scores @ basis) @ basis.T
    length = (z**2).sum(axis=1)[:, None]
    freedom = values.shape[0] - covariates.shape[1] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = z @ rest / length
        whole = z**2 @ rest**2
        meat = whole - 2 * slope * (z**3 @ rest) + slope**2 * (z**4).sum(axis=1)[:, None]
        # Groups without scatter: what is left of the difference is rounding, and no two would have the same t.
        meat = np.maximum(meat, np.maximum(_LEAST * whole, 1e-30))
        std = np.sqrt(meat * values.shape[0] / max(freedom, 1)) / length
        t = np.where(known & (freedom > 0), slope / std, np.nan)
        # Values on a high level have lost digits when they come here, and a difference of sums loses more.
        lost = np.maximum(whole[0], length[0]) / meat[0]
        error = ROUNDING * (1.0 + scale / unit) * np.sqrt(lost)
        rounding = np.sqrt(max(freedom, 1)) * error + np.abs(t[0]) * (error + ROUNDING * np.minimum(lost, 1.0 / _LEAST))
    return slope * unit, std * unit, t, rounding


def relate_blocks(
    values: FloatArray, scores: ArrayLike, covariates: FloatArray, *, permutations: int = 999, seed: int = 0
) -> PermutationTest:
    """Test whether the values of blocks go with a score: their state, or its potential.

    The scores change places among the blocks; values and covariates stay together. The p values hold if blocks, each
    with its covariates, are exchangeable when nothing has changed.

    Parameters
    ----------
    values
        Values of the blocks, shape (B, F).
    scores
        Score of each block, shape (B,): 0 and 1 for two states.
    covariates
        What else the values may depend on, shape (B, C), with a column of ones for the mean.
    permutations
        Number of permutations.
    seed
        Seed of the permutations.

    Returns
    -------
    PermutationTest
        Statistics are positive where the values rise with the score.
    """
    x = np.asarray(scores, dtype=np.float64)
    orders = permute_rows(x.size, permutations, seed)
    slope, std, t, rounding = _partial_statistic(values, np.concatenate([x[None], x[orders]]), covariates)
    return _test(slope[0], std[0], t, rounding)


def find_clusters(t: FloatArray, threshold: float) -> list[tuple[int, int, float]]:
    """First and last channel and mass of the clusters of one row of statistics, shape (E,)."""
    sign = np.where(np.abs(t) > threshold, np.sign(t), 0.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0.0], sign, [0.0]])))
    return [(int(first), int(end) - 1, float(t[first:end].sum())) for first, end in pairwise(edges) if sign[first] != 0]


def assess_clusters(test: PermutationTest, *, threshold: float) -> list[Cluster]:
    """Find clusters of channels that no permutation, or few, would have shown.

    Parameters
    ----------
    test
        Statistics of neighbouring channels.
    threshold
        Statistic from which a channel belongs to a cluster.

    Returns
    -------
    list of Cluster
        In the order of energy. Their p values count all channels and both signs (E. Maris and R. Oostenveld, J.
        Neurosci. Methods 164, 177 (2007), doi:10.1016/j.jneumeth.2007.03.024).
    """
    permuted = np.nan_to_num(test.permuted)
    largest, running = np.zeros(permuted.shape[0]), np.zeros(permuted.shape[0])
    for column in permuted.T:
        beyond = np.where(np.abs(column) > threshold, column, 0.0)
        running = np.where(running * beyond > 0, running + beyond, beyond)
        largest = np.maximum(largest, np.abs(running))
    rounding = np.nan_to_num(test.rounding)
    return [
        Cluster(first, last, mass, float(p_value(largest, abs(mass), rounding[first : last + 1].sum())))
        for first, last, mass in find_clusters(np.nan_to_num(test.t), threshold)
    ]


def cluster_threshold(blocks: int, *, probability: float = 0.05) -> float:
    """Two-sided critical value of Student's t for `blocks` blocks in two groups."""
    return float(stats.t.ppf(1 - 0.5 * probability, max(blocks - 2, 1)))


def correct_by_holm(p: ArrayLike) -> FloatArray:
    """Holm's correction of p values for their number; NaN is left out.

    Examples
    --------
    >>> correct_by_holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order.size else steps
    return corrected


def _test(slope: FloatArray, std: FloatArray, statistics: FloatArray, rounding: FloatArray) -> PermutationTest:
    """p values from statistics whose first row was observed."""
    observed, permuted = statistics[0], statistics[1:]
    size = np.abs(np.nan_to_num(permuted))
    level, slack = np.abs(np.nan_to_num(observed)), np.nan_to_num(rounding)
    p = p_value(size, level, slack)
    corrected = np.ones_like(p)
    # Step down: the largest of those that are not larger than this one, so that a strong column does not hide others.
    order = np.argsort(level, kind="stable")
    rest = np.maximum.accumulate(size[:, order], axis=1)
    corrected[order] = p_value(rest, level[order], slack[order])
    corrected[order[::-1]] = np.maximum.accumulate(corrected[order[::-1]])
    unknown = ~np.isfinite(observed)
    p[unknown] = corrected[unknown] = np.nan
    return PermutationTest(slope, std, observed, p, corrected, permuted, rounding)
