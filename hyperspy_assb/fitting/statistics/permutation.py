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
    """

    slope: FloatArray
    std: FloatArray
    t: FloatArray
    p: FloatArray
    p_corrected: FloatArray
    permuted: FloatArray


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
        meat = z**2 @ rest**2 - 2 * slope * (z**3 @ rest) + slope**2 * (z**4).sum(axis=1)[:, None]
        std = np.sqrt(np.maximum(meat, 1e-30) * values.shape[0] / max(freedom, 1)) / length
        t = np.where(known & (freedom > 0), slope / std, np.nan)
    return slope * unit, std * unit, t


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
    slope, std, t = partial_statistic(values, np.concatenate([x[None], x[orders]]), covariates)
    return _test(slope[0], std[0], t)


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
    return [
        Cluster(first, last, mass, float((1 + (largest >= abs(mass) * (1 - 1e-12)).sum()) / (1 + largest.size)))
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
    order = known[np.argsort(values[known])]
    steps = values[order] * np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order.size else steps
    return corrected


def _test(slope: FloatArray, std: FloatArray, statistics: FloatArray) -> PermutationTest:
    """p values from statistics whose first row was observed."""
    observed, permuted = statistics[0], statistics[1:]
    size = np.abs(np.nan_to_num(permuted))
    level = np.abs(np.nan_to_num(observed)) * (1 - 1e-12)
    p = (1.0 + (size >= level).sum(axis=0)) / (1.0 + permuted.shape[0])
    corrected = np.ones_like(p)
    # Step down: the largest of those that are not larger than this one, so that a strong column does not hide others.
    order = np.argsort(level)
    rest = np.maximum.accumulate(size[:, order], axis=1)
    corrected[order] = (1.0 + (rest >= level[order]).sum(axis=0)) / (1.0 + permuted.shape[0])
    corrected[order[::-1]] = np.maximum.accumulate(corrected[order[::-1]])
    unknown = ~np.isfinite(observed)
    p[unknown] = corrected[unknown] = np.nan
    return PermutationTest(slope, std, observed, p, corrected, permuted)
