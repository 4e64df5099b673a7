"""Normal equations of weighted least squares: for many spectra that share their columns, and how they are solved."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_CHUNK = 32

MOST_COLUMNS = 16
"""Columns up to which their products are kept: more do not fit into the cache, and multiplying anew is faster."""


class NormalEquations(NamedTuple):
    """Normal equations of the B spectra of a block in M parameters, overwritten where they are accumulated.

    Parameters
    ----------
    objective
        Negative log-likelihood, or half the weighted sum of squares, shape (B,).
    score
        Gradient of the log-likelihood, shape (B, M).
    information
        Its expected curvature, shape (B, M, M).
    """

    objective: FloatArray
    score: FloatArray
    information: FloatArray


def pair_products(columns: FloatArray) -> FloatArray:
    """Products of all pairs of columns, shape (L (L + 1) / 2, E), for columns of shape (L, E)."""
    first, second = np.tril_indices(len(columns))
    return np.ascontiguousarray(columns[first] * columns[second])


def check_variances(bad: int) -> None:
    """Raise a ValueError if some variances are not above 0."""
    if bad:
        raise AssbValueError(
            f"The variance is not above 0 in {bad} channels that are fitted: leave them out, give a variance there, or "
            'fit by Poisson likelihood (loss_function="ML-poisson").'
        )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normal_equations(
    counts: NDArray[np.generic],
    variance: NDArray[np.generic],
    keep: NDArray[np.int64],
    base: FloatArray,
    columns: FloatArray,
    pairs: FloatArray,
    objective: FloatArray,
    score: FloatArray,
    information: FloatArray,
) -> tuple[NDArray[np.bool_], int]:
    """Half the weighted sum of squares of counts, their products with the columns, and those of the columns.

    Parameters
    ----------
    counts, variance
        Shape (B, all channels), of any real types.
    keep
        Channels to take, shape (E,), in rising order.
    base
        What the columns stand on, shape (E,).
    columns, pairs
        Shape (L, E), and :func:`pair_products` of it.
    objective, score, information
        Overwritten, shapes (B,), (B, L) and (B, L, L).

    Returns
    -------
    good, bad_variances
        Which spectra are finite and not all 0, shape (B,), and the number of variances that are not above 0.
    """
    n, size, channels = len(counts), len(columns), keep.size
    good, bad = np.zeros(n, dtype=np.bool_), 0
    weights, weighted = np.empty((_CHUNK, channels)), np.empty((_CHUNK, channels))
    products, triangle = np.empty((_CHUNK, size)), np.empty((_CHUNK, len(pairs)))
    first, run = keep[0], keep[channels - 1] - keep[0] == channels - 1
    # A chunk stays in the cache from one pass to the next.
    for start in range(0, n, _CHUNK):
        m = min(_CHUNK, n - start)
        for i in range(m):
            s = start + i
            if run:
                own, known = counts[s, first : first + channels], variance[s, first : first + channels]
            else:
                own, known = counts[s][keep], variance[s][keep]
            height, below, objective[s] = _weigh(own, known, base, weights[i], weighted[i])
            good[s] = np.isfinite(height) and height > 0.0
            bad += below
        _dots(columns, weighted[:m], products[:m])
        _dots(pairs, weights[:m], triangle[:m])
        for i in range(m):
            s, k = start + i, 0
            for a in range(size):
                score[s, a] = products[i, a]
                for b in range(a + 1):
                    information[s, a, b] = triangle[i, k]
                    information[s, b, a] = triangle[i, k]
                    k += 1
    return good, bad


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _weigh(
    counts: NDArray[np.generic],
    variance: NDArray[np.generic],
    base: FloatArray,
    weights: FloatArray,
    weighted: FloatArray,
) -> tuple[float, int, float]:
    """Weights and weighted counts; returns the sum of absolute counts, bad variances, and half the sum of squares."""
    height, below, total = 0.0, 0, 0.0
    for e in range(base.size):
        value = np.float64(counts[e])
        rest = value - base[e]
        weight = 1.0 / np.float64(variance[e])
        height += abs(value)
        below += 0 if variance[e] > 0 else 1
        weights[e] = weight
        weighted[e] = weight * rest
        total += weight * rest * rest
    return height, below, 0.5 * total


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
def _dots(rows: FloatArray, vectors: FloatArray, out: FloatArray) -> None:
    """Scalar products of all vectors, shape (B, E), with all rows, shape (K, E), into shape (B, K).

    Four rows are read for two vectors at a time, which keeps the arithmetic in registers.
    """
    n, count, size = vectors.shape[0], rows.shape[0], rows.shape[1]
    k = 0
    while k < count:
        last = count - 1
        a, b, c, d = rows[k], rows[min(k + 1, last)], rows[min(k + 2, last)], rows[min(k + 3, last)]
        for s in range(0, n, 2):
            t = min(s + 1, n - 1)
            u, v = vectors[s], vectors[t]
            ua, ub, uc, ud = 0.0, 0.0, 0.0, 0.0
            va, vb, vc, vd = 0.0, 0.0, 0.0, 0.0
            for e in range(size):
                ua += a[e] * u[e]
                ub += b[e] * u[e]
                uc += c[e] * u[e]
                ud += d[e] * u[e]
                va += a[e] * v[e]
                vb += b[e] * v[e]
                vc += c[e] * v[e]
                vd += d[e] * v[e]
            out[s, k], out[t, k] = ua, va
            if k + 1 < count:
                out[s, k + 1], out[t, k + 1] = ub, vb
            if k + 2 < count:
                out[s, k + 2], out[t, k + 2] = uc, vc
            if k + 3 < count:
                out[s, k + 3], out[t, k + 3] = ud, vd
        k += 4


@numba.njit(cache=True, nogil=True, error_model="numpy")
def cholesky(matrix: FloatArray, held: NDArray[np.bool_], smallest: float) -> bool:
    """Factor a symmetric matrix in place, shape (F, F), leaving out what is held; False where it is singular."""
    n = matrix.shape[0]
    for j in range(n):
        if held[j]:
            continue
        pivot = matrix[j, j]
        for k in range(j):
            if not held[k]:
                pivot -= matrix[j, k] * matrix[j, k]
        if not pivot > smallest:
            return False
        root = np.sqrt(pivot)
        matrix[j, j] = root
        for i in range(j + 1, n):
            if held[i]:
                continue
            value = matrix[i, j]
            for k in range(j):
                if not held[k]:
                    value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = value / root
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve(factor: FloatArray, held: NDArray[np.bool_], right: FloatArray) -> None:
    """Solve in place for the factor of :func:`cholesky`; what is held keeps its value in ``right``."""
    n = right.size
    for i in range(n):
        if held[i]:
            continue
        value = right[i]
        for k in range(i):
            if not held[k]:
                value -= factor[i, k] * right[k]
        right[i] = value / factor[i, i]
    for i in range(n - 1, -1, -1):
        if held[i]:
            continue
        value = right[i]
        for k in range(i + 1, n):
            if not held[k]:
                value -= factor[k, i] * right[k]
        right[i] = value / factor[i, i]
