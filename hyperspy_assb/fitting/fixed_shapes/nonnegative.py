"""Non-negative least squares of few columns for many rows at once."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.normal_equations import cholesky, solve

_SINGULAR = 1e-14
"""Pivot of a scaled matrix below which rounding is all that it has."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve_nonnegative(gram: FloatArray, right: FloatArray, out: FloatArray, active: NDArray[np.bool_]) -> None:
    """Minimise ``x G x / 2 - b x`` over x >= 0 into `out`; `active` is True where x may be above 0.

    The active-set method of Lawson and Hanson on the normal matrix (R. Bro, S. de Jong, J. Chemom. 11, 393 (1997)).
    Columns are expected to be of similar norms.
    """
    n = len(right)
    out[:] = 0.0
    active[:] = False
    tolerance = 1e-10 * max(np.abs(right).max(), 1e-300)
    for _ in range(6 * n):
        slope = right - gram @ out
        best, where = tolerance, -1
        for i in range(n):
            if not active[i] and slope[i] > best:
                best, where = slope[i], i
        if where < 0:
            return
        active[where] = True
        for _ in range(3 * n):
            trial = _restricted(gram, right, active)
            step = 1.0
            for i in range(n):
                if active[i] and trial[i] <= 0.0:
                    gap = out[i] - trial[i]
                    step = min(step, out[i] / gap if gap > 0.0 else 0.0)
            for i in range(n):
                if active[i]:
                    out[i] += step * (trial[i] - out[i])
            if step >= 1.0:
                break
            for i in range(n):
                if active[i] and out[i] <= 1e-14 * max(abs(trial[i]), 1e-300) + 1e-300:
                    out[i] = 0.0
                    active[i] = False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _restricted(gram: FloatArray, right: FloatArray, active: NDArray[np.bool_]) -> FloatArray:
    """Solution without constraints for the columns that are active, 0 for the others."""
    n = len(right)
    which = np.flatnonzero(active)
    m = len(which)
    small, target = np.empty((m, m)), np.empty(m)
    for i in range(m):
        target[i] = right[which[i]]
        for j in range(m):
            small[i, j] = gram[which[i], which[j]]
        small[i, i] *= 1.0 + 1e-10
    solution = np.linalg.solve(small, target)
    full = np.zeros(n)
    for i in range(m):
        full[which[i]] = solution[i]
    return full


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fit_nonnegative(
    data: FloatArray,
    variance: FloatArray,
    columns: FloatArray,
    amounts: FloatArray,
    errors: FloatArray,
    fitted: FloatArray,
    squares: FloatArray,
    freedom: NDArray[np.int64],
) -> None:
    """Non-negative weighted least squares of each row of `data` (B, R) on `columns` (K, R).

    Rows of NaN data are left out. Standard errors are those of the active columns; for another column, those that it
    would have beside them. Writes amounts and errors (B, K), the fit (B, R), the weighted sum of squares and the
    degrees of freedom (B,).
    """
    number, rings = data.shape
    k = len(columns)
    norms = np.empty(k)
    active = np.empty(k, dtype=np.bool_)
    solution = np.empty(k)
    for b in range(number):
        gram, right = np.zeros((k, k)), np.zeros(k)
        known = 0
        for r in range(rings):
            if not (np.isfinite(data[b, r]) and variance[b, r] > 0.0):
                continue
            known += 1
            w = 1.0 / variance[b, r]
            for i in range(k):
                right[i] += w * columns[i, r] * data[b, r]
                for j in range(i + 1):
                    gram[i, j] += w * columns[i, r] * columns[j, r]
        for i in range(k):
            norms[i] = np.sqrt(max(gram[i, i], 1e-300))
        for i in range(k):
            right[i] /= norms[i]
            for j in range(i + 1):
                gram[i, j] /= norms[i] * norms[j]
                gram[j, i] = gram[i, j]
        solve_nonnegative(gram, right, solution, active)
        for i in range(k):
            # With this column beside the active ones.
            rows = active.copy()
            rows[i] = True
            unit = np.zeros(k)
            unit[i] = 1.0
            inverse = _restricted(gram, unit, rows)
            errors[b, i] = np.sqrt(max(inverse[i], 0.0)) / norms[i]
            amounts[b, i] = solution[i] / norms[i]
        total = 0.0
        for r in range(rings):
            value = 0.0
            for i in range(k):
                value += amounts[b, i] * columns[i, r]
            fitted[b, r] = value
            if np.isfinite(data[b, r]) and variance[b, r] > 0.0:
                total += (data[b, r] - value) ** 2 / variance[b, r]
        squares[b] = total
        freedom[b] = known - active.sum()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fit_correlated(
    data: FloatArray, covariance: FloatArray, columns: FloatArray, amounts: FloatArray, squares: FloatArray
) -> None:
    """Non-negative least squares of rows whose values have correlated errors, on columns that they share.

    Parameters
    ----------
    data
        Shape (B, M).
    covariance
        Of each row, shape (B, M, M).
    columns
        Shape (M, K).
    amounts, squares
        Overwritten, shapes (B, K) and (B,): amounts, and the squared distance in units of the errors. NaN where the
        covariance is not positive definite.
    """
    m, k = columns.shape
    none, active, solution = np.zeros(m, dtype=np.bool_), np.empty(k, dtype=np.bool_), np.empty(k)
    for b in range(len(data)):
        amounts[b], squares[b] = np.nan, np.nan
        scale = np.sqrt(np.diag(covariance[b]))
        factor = covariance[b] / np.outer(scale, scale)
        if not cholesky(factor, none, _SINGULAR):
            continue
        scaled = np.ascontiguousarray(columns.T) / scale
        solved = scaled.copy()
        for a in range(k):
            solve(factor, none, solved[a])
        gram, right = solved @ scaled.T, solved @ (data[b] / scale)
        norms = np.sqrt(np.maximum(np.diag(gram), 1e-300))
        gram, right = gram / np.outer(norms, norms), right / norms
        solve_nonnegative(gram, right, solution, active)
        # Once more without what keeps singular matrices solvable; and without columns that only that kept above 0.
        for _ in range(k):
            whole, exact = gram.copy(), right.copy()
            if not cholesky(whole, ~active, _SINGULAR):
                break
            solve(whole, ~active, exact)
            kept = active & (exact > 0.0)
            if np.sum(kept) == np.sum(active):
                solution = np.where(active, exact, 0.0)
                break
            active = kept
        amounts[b] = solution / norms
        left = (data[b] - columns @ amounts[b]) / scale
        weighed = left.copy()
        solve(factor, none, weighed)
        squares[b] = max(np.dot(left, weighed), 0.0)
