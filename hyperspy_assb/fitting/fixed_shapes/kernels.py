"""Compiled steps of the batched Poisson fit of templates."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.normal_equations import cholesky, solve

CONVERGED, EMPTY, NOT_CONVERGED, UNDETERMINED = 0, 1, 2, 3
"""Status of a spectrum: fitted; without counts; still moving after the last step; amounts that cannot be told apart."""
_FLOOR = 1e-3
"""Share of the typical expectation below which a channel's variance is not taken to be."""

_SINGULAR = 1e-11
"""Share of its information that the other amounts must leave an amount, for it to be told from them."""
_RIDGE = 1e-9
"""Share that is added to the information of each amount in a step: the optimum stays, and no step runs away."""
_SHORTENINGS, _SHORTER = 30, 0.4
"""How often a step that makes the fit worse is shortened, and by which factor: to 1e-12 of it."""
_NO_GAIN = 0.01
"""Log-likelihood that a step promises, below which a fit that no step improves has come to its end."""

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Problem(NamedTuple):
    """Templates as the compiled fit takes them.

    Parameters
    ----------
    starts, reaching, value
        Templates channel by channel: where each channel begins, shape (E + 1,), which templates reach it, and their
        values.
    overlap
        Scalar products of the templates, shape (T, T).
    beside, neighbour
        Which templates overlap each: where those of each begin, shape (T + 1,), and their numbers.
    strength, absorption, group, bounded
        As in a :class:`~.fixed_shape_fit.TemplateModel`.
    start
        Amounts of a spectrum of typical composition, shape (K,).
    max_iterations
        Steps at most.
    """

    starts: IntArray
    reaching: IntArray
    value: FloatArray
    overlap: FloatArray
    beside: IntArray
    neighbour: IntArray
    strength: FloatArray
    absorption: FloatArray
    group: IntArray
    bounded: BoolArray
    start: FloatArray
    max_iterations: int


class TemplateFit(NamedTuple):
    """Amounts in N spectra.

    Parameters
    ----------
    amounts
        Shape (N, K): of maximum likelihood, those that are bounded not below 0; NaN where the status is not 0.
    unclipped
        Shape (N, K): without the bounds, by one more step of scoring with the variances of the bounded fit. Means over
        many spectra have no bias, which those of amounts that stop at 0 have.
    covariance
        Shape (N, K, K), of ``unclipped``.
    by_group
        Shape (N, K, G): what the unclipped amounts change by, per relative change of the strength of a group.
    deviance
        Shape (N,).
    pearson
        Shape (N,): the sum of the squared residuals less what counting makes of it, in standard deviations.
    mismatch
        Shape (N,): the same sum over that of the squared expectation: the square of a relative misfit.
    status
        Shape (N,).
    iterations
        Shape (N,).
    """

    amounts: FloatArray
    unclipped: FloatArray
    covariance: FloatArray
    by_group: FloatArray
    deviance: FloatArray
    pearson: FloatArray
    mismatch: FloatArray
    status: NDArray[np.int8]
    iterations: NDArray[np.int16]

    @property
    def std(self) -> FloatArray:
        """Standard errors, shape (N, K)."""
        return np.sqrt(np.einsum("nkk->nk", self.covariance))


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
def _project(
    slope: FloatArray,
    gradient: FloatArray,
    information: FloatArray,
    beside: IntArray,
    neighbour: IntArray,
    score: FloatArray,
    fisher: FloatArray,
    scratch: FloatArray,
) -> None:
    """Score and information of the amounts from those of the weights."""
    n_templates, size = slope.shape
    score[:] = 0.0
    fisher[:] = 0.0
    # Innermost are neighbours in memory.
    for t in range(n_templates):
        for k in range(size):
            scratch[t, k] = 0.0
        for j in range(beside[t], beside[t + 1]):
            u = neighbour[j]
            own = information[t, u]
            for k in range(size):
                scratch[t, k] += own * slope[u, k]
        for k in range(size):
            own = slope[t, k]
            if own != 0.0:
                score[k] += own * gradient[t]
                for m in range(k + 1):
                    fisher[k, m] += own * scratch[t, m]
    for k in range(size):
        for m in range(k):
            fisher[m, k] = fisher[k, m]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(
    amounts: FloatArray,
    score: FloatArray,
    fisher: FloatArray,
    bounded: BoolArray,
    scale: FloatArray,
    step: FloatArray,
    factor: FloatArray,
    held: BoolArray,
) -> bool:
    """Step of the free amounts towards the maximum; amounts that reach 0 stay there, and may leave if they want to."""
    size = amounts.size
    for k in range(size):
        held[k] = bounded[k] and amounts[k] <= 0.0 and score[k] <= 0.0
        scale[k] = 1.0 / np.sqrt(max(fisher[k, k], 1e-300))
        step[k] = 0.0
    right = np.zeros(size)
    for _ in range(size + 1):
        for k in range(size):
            right[k] = score[k] * scale[k]
            for m in range(size):
                factor[k, m] = fisher[k, m] * scale[k] * scale[m]
            factor[k, k] += _RIDGE
        if not cholesky(factor, held, _SINGULAR):
            return False
        solve(factor, held, right)
        again = False
        for k in range(size):
            if held[k]:
                continue
            step[k] = right[k] * scale[k]
            if bounded[k] and amounts[k] <= 0.0 and step[k] < 0.0:
                # It stands at its bound and would go below: the others go without it.
                held[k] = True
                step[k] = 0.0
                again = True
        if not again:
            return True
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fit_block(
    counts: NDArray[np.float32], exposure: FloatArray, problem: Problem, tolerance: float, out: TemplateFit
) -> None:
    """Fit the spectra of a block one after the other, and write what is found into the arrays of the results."""
    starts, index, value = problem.starts, problem.reaching, problem.value
    beside, neighbour = problem.beside, problem.neighbour
    strength, absorption, bounded = problem.strength, problem.absorption, problem.bounded
    n_templates, size = strength.shape
    channels = starts.size - 1
    groups = out.by_group.shape[2]
    weight, slope = np.empty(n_templates), np.empty((n_templates, size))
    gradient, information = np.empty(n_templates), np.empty((n_templates, n_templates))
    scratch = np.empty((n_templates, size))
    score, fisher, factor = np.empty(size), np.empty((size, size)), np.empty((size, size))
    squares = np.empty((size, size))
    step, scale, held = np.empty(size), np.empty(size), np.empty(size, dtype=np.bool_)
    trial, right = np.empty(size), np.empty(size)
    y = np.empty(channels)
    _weights(problem.start, 1.0, strength, absorption, weight, slope)
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
        amounts = problem.start * (total / (expected * exposure[n]))
        for e in range(channels):
            floor[e] = max(_FLOOR * typical[e] * total / expected, 1e-12)
        _weights(amounts, exposure[n], strength, absorption, weight, slope)
        current = _objective(y, starts, index, value, weight)
        state = NOT_CONVERGED
        for iteration in range(problem.max_iterations):
            out.iterations[n] = iteration + 1
            _normal(y, floor, starts, index, value, weight, gradient, information)
            _project(slope, gradient, information, beside, neighbour, score, fisher, scratch)
            if not _step(amounts, score, fisher, bounded, scale, step, factor, held):
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
            for _ in range(_SHORTENINGS):
                for k in range(size):
                    trial[k] = amounts[k] + length * step[k]
                    if bounded[k] and trial[k] < 0.0:
                        trial[k] = 0.0
                _weights(trial, exposure[n], strength, absorption, weight, slope)
                new = _objective(y, starts, index, value, weight)
                if new <= current + 1e-9 * abs(current):
                    found = True
                    break
                length *= _SHORTER
            if not found:
                _weights(amounts, exposure[n], strength, absorption, weight, slope)
                state = CONVERGED if gain < _NO_GAIN else NOT_CONVERGED
                break
            drop = current - new
            for k in range(size):
                amounts[k] = trial[k]
            current = new
            if drop < tolerance and gain < 10.0 * tolerance:
                state = CONVERGED
                break
        out.status[n] = state
        if state != CONVERGED:
            continue
        pearson, variance, expected_total = _normal(y, floor, starts, index, value, weight, gradient, information)
        _project(slope, gradient, problem.overlap, beside, neighbour, score, squares, scratch)
        _project(slope, gradient, information, beside, neighbour, score, fisher, scratch)
        held[:] = False
        for k in range(size):
            scale[k] = 1.0 / np.sqrt(max(fisher[k, k], 1e-300))
        for k in range(size):
            right[k] = score[k] * scale[k]
            for m in range(size):
                factor[k, m] = fisher[k, m] * scale[k] * scale[m]
        if not cholesky(factor, held, _SINGULAR):
            out.status[n] = UNDETERMINED
            continue
        solve(factor, held, right)
        for k in range(size):
            out.amounts[n, k] = amounts[k]
            out.unclipped[n, k] = amounts[k] + right[k] * scale[k]
        for k in range(size):
            right[:] = 0.0
            right[k] = 1.0
            solve(factor, held, right)
            for m in range(size):
                out.covariance[n, m, k] = right[m] * scale[m] * scale[k]
                # The residuals are smaller by what the amounts have followed.
                pearson += out.covariance[n, m, k] * squares[m, k]
        for g in range(groups):
            # What a stronger group explains, as a residual of the others.
            for k in range(size):
                total = 0.0
                for t in range(n_templates):
                    if problem.group[t] == g:
                        total += scratch[t, k] * weight[t]
                right[k] = -total * scale[k]
            solve(factor, held, right)
            for k in range(size):
                out.by_group[n, k, g] = right[k] * scale[k]
        out.deviance[n] = 2.0 * current
        out.pearson[n] = pearson / np.sqrt(max(variance, 1e-300))
        out.mismatch[n] = pearson / max(0.5 * (variance - expected_total), 1e-300)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def score_block(
    counts: NDArray[np.float32],
    amounts: FloatArray,
    exposure: FloatArray,
    problem: Problem,
    score: FloatArray,
    fisher: FloatArray,
    by_group: FloatArray,
) -> None:
    """Score and information of given amounts, and the information that they share with the strength of each group.

    Parameters
    ----------
    counts, amounts, exposure, problem
        Of B spectra, shapes (B, E), (B, K) and (B,).
    score, fisher, by_group
        Overwritten, shapes (B, K), (B, K, K) and (B, K, G).
    """
    n_templates, size = problem.strength.shape
    channels = problem.starts.size - 1
    weight, slope = np.empty(n_templates), np.empty((n_templates, size))
    gradient, information = np.empty(n_templates), np.empty((n_templates, n_templates))
    scratch = np.empty((n_templates, size))
    y, floor = np.empty(channels), np.empty(channels)
    for n in range(counts.shape[0]):
        total = 0.0
        for e in range(channels):
            y[e] = counts[n, e]
            total += y[e]
        floor[:] = _FLOOR * total / channels
        _weights(amounts[n], exposure[n], problem.strength, problem.absorption, weight, slope)
        _normal(y, floor, problem.starts, problem.reaching, problem.value, weight, gradient, information)
        _project(slope, gradient, information, problem.beside, problem.neighbour, score[n], fisher[n], scratch)
        by_group[n] = 0.0
        for t in range(n_templates):
            if problem.group[t] >= 0:
                for k in range(size):
                    by_group[n, k, problem.group[t]] += scratch[t, k] * weight[t]
