"""Compiled steps of the batched Poisson fit of templates."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

CONVERGED, EMPTY, NOT_CONVERGED, UNDETERMINED = 0, 1, 2, 3
"""Status of a spectrum: fitted; without counts; still moving after the last step; amounts that cannot be told apart."""
_FLOOR = 1e-3
"""Share of the typical expectation below which a channel's variance is not taken to be."""

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weights(
    amounts: FloatArray,
    exposure: float,
    strength: FloatArray,
    absorption: FloatArray,
    weight: FloatArray,
    slope: FloatArray,
) -> None:
    """Weights of the templates, and their derivatives by the amounts."""
    n_templates, size = strength.shape
    for t in range(n_templates):
        linear, depth = 0.0, 0.0
        for k in range(size):
            linear += strength[t, k] * amounts[k]
            depth += absorption[t, k] * amounts[k]
        if abs(depth) < 1e-3:
            factor = 1.0 - depth / 2.0 + depth * depth / 6.0
            change = -0.5 + depth / 3.0
        else:
            escape = np.exp(-depth)
            factor = (1.0 - escape) / depth
            change = (escape - factor) / depth
        weight[t] = exposure * linear * factor
        for k in range(size):
            slope[t, k] = exposure * (strength[t, k] * factor + linear * change * absorption[t, k])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _objective(y: FloatArray, starts: IntArray, index: IntArray, value: FloatArray, weight: FloatArray) -> float:
    """Minus log-likelihood, less that of a perfect fit; infinite where counts are impossible."""
    total = 0.0
    for e in range(starts.size - 1):
        mu = 0.0
        for j in range(starts[e], starts[e + 1]):
            mu += value[j] * weight[index[j]]
        if mu <= 0.0:
            if y[e] > 0.0 and starts[e + 1] > starts[e]:
                return np.inf
            continue
        total += mu - y[e]
        if y[e] > 0.0:
            total += y[e] * np.log(y[e] / mu)
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _normal(
    y: FloatArray,
    floor: FloatArray,
    starts: IntArray,
    index: IntArray,
    value: FloatArray,
    weight: FloatArray,
    gradient: FloatArray,
    information: FloatArray,
) -> tuple[float, float, float]:
    """Score and information of the weights; returns the squared residuals less their expectation,
    its variance, and the expected counts."""
    gradient[:] = 0.0
    information[:] = 0.0
    pearson, variance, expected = 0.0, 0.0, 0.0
    for e in range(starts.size - 1):
        first, last = starts[e], starts[e + 1]
        mu = 0.0
        for j in range(first, last):
            mu += value[j] * weight[index[j]]
        # Where nothing is expected, one step's worth of an amount would weigh without limit.
        inverse = 1.0 / max(mu, floor[e])
        residual = y[e] * inverse - 1.0 if mu > 0.0 else -1.0
        # Not divided by the expectation: where that is far below 1, quotients are all noise.
        pearson += (y[e] - mu) ** 2 - mu
        variance += mu + 2.0 * mu * mu
        expected += mu
        for j in range(first, last):
            t = index[j]
            gradient[t] += residual * value[j]
            scaled = value[j] * inverse
            for i in range(first, j + 1):
                information[t, index[i]] += scaled * value[i]
    n_templates = gradient.size
    for t in range(n_templates):
        for u in range(t):
            # Templates of a channel are in rising order: only one triangle was filled.
            information[u, t] = information[t, u]
    return pearson, variance, expected


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cholesky(matrix: FloatArray, size: int) -> bool:
    """Lower factor in place; False if the matrix is singular to rounding."""
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not total > 1e-11:
                    return False
                matrix[i, i] = np.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _solve(factor: FloatArray, size: int, right: FloatArray) -> None:
    for i in range(size):
        total = right[i]
        for k in range(i):
            total -= factor[i, k] * right[k]
        right[i] = total / factor[i, i]
    for i in range(size - 1, -1, -1):
        total = right[i]
        for k in range(i + 1, size):
            total -= factor[k, i] * right[k]
        right[i] = total / factor[i, i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _project(
    slope: FloatArray,
    gradient: FloatArray,
    information: FloatArray,
    score: FloatArray,
    fisher: FloatArray,
    scratch: FloatArray,
) -> None:
    """Score and information of the amounts from those of the weights."""
    n_templates, size = slope.shape
    for t in range(n_templates):
        for k in range(size):
            total = 0.0
            for u in range(n_templates):
                total += information[t, u] * slope[u, k]
            scratch[t, k] = total
    for k in range(size):
        total = 0.0
        for t in range(n_templates):
            total += slope[t, k] * gradient[t]
        score[k] = total
        for m in range(k + 1):
            total = 0.0
            for t in range(n_templates):
                total += slope[t, k] * scratch[t, m]
            fisher[k, m] = total
            fisher[m, k] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(
    amounts: FloatArray,
    score: FloatArray,
    fisher: FloatArray,
    bounded: BoolArray,
    scale: FloatArray,
    step: FloatArray,
    factor: FloatArray,
    free: BoolArray,
) -> bool:
    """Step of the free amounts towards the maximum; amounts that reach 0 stay there, and may leave if they want to."""
    size = amounts.size
    for k in range(size):
        free[k] = not (bounded[k] and amounts[k] <= 0.0 and score[k] <= 0.0)
        scale[k] = 1.0 / np.sqrt(max(fisher[k, k], 1e-300))
        step[k] = 0.0
    right = np.zeros(size)
    member = np.zeros(size, dtype=np.int64)
    for _ in range(size + 1):
        n = 0
        for k in range(size):
            if free[k]:
                member[n] = k
                n += 1
        for i in range(n):
            a = member[i]
            right[i] = score[a] * scale[a]
            for j in range(n):
                b = member[j]
                factor[i, j] = fisher[a, b] * scale[a] * scale[b]
            factor[i, i] += 1e-9
        if not _cholesky(factor, n):
            return False
        _solve(factor, n, right)
        again = False
        for i in range(n):
            a = member[i]
            step[a] = right[i] * scale[a]
            if bounded[a] and amounts[a] <= 0.0 and step[a] < 0.0:
                # It stands at its bound and would go below: the others go without it.
                free[a] = False
                step[a] = 0.0
                again = True
        if not again:
            return True
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fit_block(
    counts: NDArray[np.float32],
    exposure: FloatArray,
    starts: IntArray,
    index: IntArray,
    value: FloatArray,
    overlap: FloatArray,
    strength: FloatArray,
    absorption: FloatArray,
    group: IntArray,
    bounded: BoolArray,
    start: FloatArray,
    max_iterations: int,
    tolerance: float,
    amounts_out: FloatArray,
    unclipped: FloatArray,
    covariance: FloatArray,
    by_group: FloatArray,
    deviance: FloatArray,
    pearson_out: FloatArray,
    mismatch: FloatArray,
    status: NDArray[np.int8],
    iterations: NDArray[np.int16],
) -> None:
    """Fit the spectra of a block one after the other, and write what is found into the arrays of the results."""
    n_templates, size = strength.shape
    channels = starts.size - 1
    groups = by_group.shape[2]
    weight, slope = np.empty(n_templates), np.empty((n_templates, size))
    gradient, information = np.empty(n_templates), np.empty((n_templates, n_templates))
    scratch = np.empty((n_templates, size))
    score, fisher, factor = np.empty(size), np.empty((size, size)), np.empty((size, size))
    squares = np.empty((size, size))
    step, scale, free = np.empty(size), np.empty(size), np.empty(size, dtype=np.bool_)
    trial, right = np.empty(size), np.empty(size)
    y = np.empty(channels)
    _weights(start, 1.0, strength, absorption, weight, slope)
    expected = 0.0
    typical, floor = np.zeros(channels), np.empty(channels)
    for e in range(channels):
        for j in range(starts[e], starts[e + 1]):
            typical[e] += value[j] * weight[index[j]]
        expected += typical[e]
    for n in range(counts.shape[0]):
        total = 0.0
        for e in range(channels):
            y[e] = counts[n, e]
            if starts[e + 1] > starts[e]:
                total += y[e]
        if not total > 0.0:
            continue
        amounts = start * (total / (expected * exposure[n]))
        for e in range(channels):
            floor[e] = max(_FLOOR * typical[e] * total / expected, 1e-12)
        _weights(amounts, exposure[n], strength, absorption, weight, slope)
        current = _objective(y, starts, index, value, weight)
        state = NOT_CONVERGED
        for iteration in range(max_iterations):
            iterations[n] = iteration + 1
            _normal(y, floor, starts, index, value, weight, gradient, information)
            _project(slope, gradient, information, score, fisher, scratch)
            if not _step(amounts, score, fisher, bounded, scale, step, factor, free):
                state = UNDETERMINED
                break
            gain = 0.0
            for k in range(size):
                # What the bounds leave of the step.
                if bounded[k] and amounts[k] + step[k] < 0.0:
                    gain -= amounts[k] * score[k]
                else:
                    gain += step[k] * score[k]
            length, found = 1.0, False
            for _ in range(30):
                for k in range(size):
                    trial[k] = amounts[k] + length * step[k]
                    if bounded[k] and trial[k] < 0.0:
                        trial[k] = 0.0
                _weights(trial, exposure[n], strength, absorption, weight, slope)
                new = _objective(y, starts, index, value, weight)
                if new <= current + 1e-9 * abs(current):
                    found = True
                    break
                length *= 0.4
            if not found:
                _weights(amounts, exposure[n], strength, absorption, weight, slope)
                state = CONVERGED if gain < 0.01 else NOT_CONVERGED
                break
            drop = current - new
            for k in range(size):
                amounts[k] = trial[k]
            current = new
            if drop < tolerance and gain < 10.0 * tolerance:
                state = CONVERGED
                break
        status[n] = state
        if state != CONVERGED:
            continue
        pearson, variance, expected_total = _normal(y, floor, starts, index, value, weight, gradient, information)
        _project(slope, gradient, overlap, score, squares, scratch)
        _project(slope, gradient, information, score, fisher, scratch)
        for k in range(size):
            scale[k] = 1.0 / np.sqrt(max(fisher[k, k], 1e-300))
        for k in range(size):
            right[k] = score[k] * scale[k]
            for m in range(size):
                factor[k, m] = fisher[k, m] * scale[k] * scale[m]
        if not _cholesky(factor, size):
            status[n] = UNDETERMINED
            continue
        _solve(factor, size, right)
        for k in range(size):
            amounts_out[n, k] = amounts[k]
            unclipped[n, k] = amounts[k] + right[k] * scale[k]
        for k in range(size):
            right[:] = 0.0
            right[k] = 1.0
            _solve(factor, size, right)
            for m in range(size):
                covariance[n, m, k] = right[m] * scale[m] * scale[k]
                # The residuals are smaller by what the amounts have followed.
                pearson += covariance[n, m, k] * squares[m, k]
        for g in range(groups):
            # What a stronger group explains, as a residual of the others.
            for k in range(size):
                total = 0.0
                for t in range(n_templates):
                    if group[t] == g:
                        total += scratch[t, k] * weight[t]
                right[k] = -total * scale[k]
            _solve(factor, size, right)
            for k in range(size):
                by_group[n, k, g] = right[k] * scale[k]
        deviance[n] = 2.0 * current
        pearson_out[n] = pearson / np.sqrt(max(variance, 1e-300))
        mismatch[n] = pearson / max(0.5 * (variance - expected_total), 1e-300)
