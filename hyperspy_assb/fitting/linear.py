"""Normal equations of weighted linear least squares for many spectra that share their columns."""

from __future__ import annotations

import numba
import numpy as np

from hyperspy_assb.fitting.kernels import FloatArray

MOST_COLUMNS = 16
"""Columns up to which their products are kept: more do not fit into the cache, and multiplying anew is faster."""


def pair_products(columns: FloatArray) -> FloatArray:
    """Products of all pairs of columns, shape (L (L + 1) / 2, E), for columns of shape (L, E)."""
    first, second = np.tril_indices(len(columns))
    return np.ascontiguousarray(columns[first] * columns[second])


def normal_equations(
    columns: FloatArray, pairs: FloatArray, y: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Half the weighted sum of squares of ``y``, its products with the columns, and those of the columns.

    Parameters
    ----------
    columns, pairs
        Shape (L, E), and :func:`pair_products` of it.
    y, weights
        Shape (B, E).

    Returns
    -------
    objective, score, information
        Shapes (B,), (B, L) and (B, L, L).
    """
    n, size = len(y), len(columns)
    weighted = weights * y
    objective = 0.5 * np.einsum("se,se->s", weighted, y)
    score, triangle = np.empty((n, size)), np.empty((n, len(pairs)))
    _dots(columns, weighted, score)
    _dots(pairs, weights, triangle)
    first, second = np.tril_indices(size)
    information = np.empty((n, size, size))
    information[:, first, second] = triangle
    information[:, second, first] = triangle
    return objective, score, information


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
