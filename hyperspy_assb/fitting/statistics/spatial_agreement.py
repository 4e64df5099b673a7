"""Whether two maps, or two measurements of particles, agree: tests that mind the correlation of neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.false_discovery import false_discovery

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_LEAST = 30
"""Pixels that two maps must share at a shift."""
_SHARED = 0.25
"""The same as a share of those that they share without a shift."""


@dataclass(frozen=True)
class Association:
    """How two maps go together.

    Parameters
    ----------
    correlation
        Of Pearson, -1 to 1, in the pixels that both have.
    p
        Two-sided probability of one as large between maps that have nothing to do with each other.
    pixels
        Pixels that both have.
    shifts
        Shifts of one map against the other that were compared.
    """

    correlation: float
    p: float
    pixels: int
    shifts: int


def spatial_association(one: FloatArray, other: FloatArray) -> Association:
    """Correlation of two maps against that at all shifts of one over the edges of the other.

    A shift keeps how each map is correlated in itself and parts them from each other, so no number of independent
    pixels has to be known. Exact where maps have the same statistics everywhere and go on over their edges.

    Parameters
    ----------
    one, other
        Shape (rows, columns); NaN where there is none.

    Raises
    ------
    AssbValueError
        If they differ in shape, share fewer than 30 pixels, or one of them is constant.

    References
    ----------
    H. W. Lotwick and B. W. Silverman, J. R. Stat. Soc. B 44, 406 (1982), for shifts on a torus.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> field = rng.normal(size=(32, 32))
    >>> spatial_association(field, field + rng.normal(size=(32, 32))).p < 0.01
    True
    """
    if one.shape != other.shape or one.ndim != 2:
        raise AssbValueError(
            f"The maps have the shapes {one.shape} and {other.shape}: carry one into the other's frame."
        )
    valid, other_valid = np.isfinite(one), np.isfinite(other)
    both = valid & other_valid
    if both.sum() < _LEAST:
        raise AssbValueError(f"The maps share {int(both.sum())} pixels: at least {_LEAST} are needed.")
    a = np.where(valid, one - np.nanmean(one), 0.0)
    b = np.where(other_valid, other - np.nanmean(other), 0.0)
    if not (np.ptp(a[both]) > 0.0 and np.ptp(b[both]) > 0.0):
        raise AssbValueError("A map that is constant goes with nothing.")
    m, n = fft.rfft2(valid.astype(float)), fft.rfft2(other_valid.astype(float))
    fa, fa2, fb, fb2 = (fft.rfft2(v) for v in (a, a**2, b, b**2))

    def over_shifts(left: NDArray[np.complex128], right: NDArray[np.complex128]) -> FloatArray:
        return np.asarray(fft.irfft2(left.conj() * right, one.shape))

    count = np.maximum(np.rint(over_shifts(m, n)), 1.0)
    sum_a, sum_b = over_shifts(fa, n), over_shifts(m, fb)
    cross = over_shifts(fa, fb) - sum_a * sum_b / count
    spread = (over_shifts(fa2, n) - sum_a**2 / count) * (over_shifts(m, fb2) - sum_b**2 / count)
    usable = (count >= max(_LEAST, _SHARED * both.sum())) & (spread > 1e-12 * spread.max())
    found = np.where(usable, cross / np.sqrt(np.maximum(spread, 1e-300)), 0.0)
    # The sum over fewer pixels scatters more, and that of a map with a cut through it less.
    strength = np.abs(found) * np.sqrt(count) * _uncut(np.where(valid, a, np.nan), np.where(other_valid, b, np.nan))
    observed = np.abs(found[0, 0]) * np.sqrt(count[0, 0])
    beyond = (strength >= observed * (1.0 - 1e-9)) & usable
    beyond[0, 0] = True
    return Association(
        float(found[0, 0]), float(beyond.sum()) / float(usable.sum()), int(both.sum()), int(usable.sum())
    )


def _uncut(one: FloatArray, other: FloatArray) -> float:
    """Scatter of the correlation of two whole maps over that where one is shifted over its edges.

    A shift parts neighbours: of pixels that are d rows and columns apart, the share (1 - |d|/rows)(1 - |d|/columns)
    stays together. How much of the scatter they make follows from the correlation of both maps at that lag.
    """
    (first, first_reach), (second, second_reach) = _autocorrelation(one), _autocorrelation(other)
    reach, shape = min(first_reach, second_reach), first.shape
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    near = np.hypot(rows[:, np.newaxis], columns) <= reach
    valid = (np.isfinite(one) & np.isfinite(other)).astype(float)
    pairs = fft.irfft2(np.abs(fft.rfft2(valid, shape)) ** 2, shape)
    weight = np.where(near, first * second * pairs, 0.0)
    kept = np.maximum(1.0 - rows / one.shape[0], 0.0)[:, np.newaxis] * np.maximum(1.0 - columns / one.shape[1], 0.0)
    whole, cut = float(weight.sum()), float((weight * kept).sum())
    return float(np.sqrt(whole / cut)) if whole > 0.0 and cut > 0.0 else 1.0


def correlated_pixels(residual: FloatArray) -> float:
    """Pixels that count as one: the sum of the correlation over lags until it falls below 0.05; NaN are left out."""
    if np.isfinite(residual).sum() < _LEAST:
        return 1.0
    correlation, reach = _autocorrelation(residual)
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in correlation.shape)
    return max(float(correlation[np.hypot(rows[:, np.newaxis], columns) < reach + 0.5].sum()), 1.0)


def _autocorrelation(residual: FloatArray) -> tuple[FloatArray, int]:
    """Correlation at all lags, and the largest lag before its mean over a ring falls below 0.05; NaN are left out."""
    valid = np.isfinite(residual)
    values = np.where(valid, residual - np.nanmean(residual), 0.0)
    shape = tuple(fft.next_fast_len(2 * n, real=True) for n in residual.shape)
    pairs = np.maximum(fft.irfft2(np.abs(fft.rfft2(valid.astype(float), shape)) ** 2, shape), 0.5)
    covariance = fft.irfft2(np.abs(fft.rfft2(values, shape)) ** 2, shape) / pairs
    if not covariance[0, 0] > 0.0:
        return np.zeros(shape), 0
    correlation = covariance / covariance[0, 0]
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    distance = np.hypot(rows[:, np.newaxis], columns)
    for ring in range(1, min(residual.shape) // 3):
        if float(correlation[(distance >= ring - 0.5) & (distance < ring + 0.5)].mean()) < 0.05:
            return correlation, ring - 1
    return correlation, max(min(residual.shape) // 3 - 1, 0)


@dataclass(frozen=True, eq=False)
class Contradictions:
    """Two measurements of the same quantity in particles.

    Parameters
    ----------
    z
        Difference over its standard error, shape (P,); NaN where one is missing.
    q
        Smallest false discovery rate at which a particle is a contradiction, shape (P,).
    contradicts
        Particles that are, and differ by more than the least difference, shape (P,).
    p
        Of the hypothesis that all agree (Simes): Biometrika 73, 751 (1986), doi:10.1093/biomet/73.3.751.
    association_p
        Of the hypothesis that they have nothing to do with each other, by exchange of particles.
    association
        Rank correlation.
    """

    z: FloatArray
    q: FloatArray
    contradicts: BoolArray
    p: float
    association: float
    association_p: float


def compare_particles(
    one: FloatArray,
    one_std: FloatArray,
    other: FloatArray,
    other_std: FloatArray,
    *,
    least_difference: float = 0.25,
    fdr: float = 0.05,
    permutations: int = 999,
    seed: int = 0,
) -> Contradictions:
    """Which particles two measurements contradict each other in, and whether they go together at all.

    Parameters
    ----------
    one, one_std, other, other_std
        Values and standard errors, shape (P,).
    least_difference
        Differences below this are no contradiction, however sure they are.
    fdr
        Share of false ones among the contradictions.
    permutations
        Of particles, for the test of association; they are exchangeable, as particles are apart.
    seed
        Of the permutations.

    Examples
    --------
    >>> x = np.array([0.02, 0.01, 0.98, 0.97, 0.03, 0.99])
    >>> acom = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    >>> compare_particles(x, np.full(6, 0.05), acom, np.full(6, 0.05)).contradicts
    array([False, False, False, False,  True, False])
    """
    difference = one - other
    z = difference / np.hypot(one_std, other_std)
    known = np.isfinite(z)
    # Beyond what does not matter.
    beyond = np.maximum(np.abs(difference) - least_difference, 0.0) / np.hypot(one_std, other_std)
    p_each = np.where(known, np.where(np.abs(difference) > least_difference, 2.0 * stats.norm.sf(beyond), 1.0), np.nan)
    q = false_discovery(p_each)
    contradicts = known & (np.nan_to_num(q, nan=1.0) < fdr)
    p = float(np.nanmin(q)) if known.any() else float("nan")
    if known.sum() < 4 or np.ptp(one[known]) == 0.0 or np.ptp(other[known]) == 0.0:
        return Contradictions(z, q, contradicts, p, float("nan"), float("nan"))
    ranks = [stats.rankdata(values[known]) - 0.5 * (known.sum() + 1) for values in (one, other)]
    rng = np.random.default_rng(seed)
    size = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    observed = float(ranks[0] @ ranks[1]) / size
    drawn = rng.permuted(np.tile(ranks[0], (permutations, 1)), axis=1) @ ranks[1] / size
    association_p = (1 + int((np.abs(drawn) >= abs(observed) - 1e-12).sum())) / (permutations + 1)
    return Contradictions(z, q, contradicts, p, observed, association_p)
