"""The whole zero-loss peak, tails included, as an asymmetric pseudo-Voigt peak.

:func:`_density` is the only place that knows the line shape.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

N_PARAMETERS = 5
_GAUSS = 4.0 * np.log(2.0)
_FWHM_RANGE = 60.0
_FREE_REWEIGHTINGS = 8
_REWEIGHTINGS = 3


@numba.njit(cache=True)
def _density(x: float, theta: FloatArray) -> float:
    """Counts per eV at `x` eV from the origin.

    The parameters are ln area, centre (eV), ln FWHM (eV), asymmetry (1/eV) and the logit of the Lorentzian fraction.
    The width grows towards energy losses for a positive asymmetry (Stancik and Brauns, Vib. Spectrosc. 47, 66 (2008),
    doi:10.1016/j.vibspec.2008.02.009).
    """
    distance = x - theta[1]
    bend = min(max(-theta[3] * distance, -_FWHM_RANGE), _FWHM_RANGE)
    fwhm = 2.0 * np.exp(theta[2]) / (1.0 + np.exp(bend))
    lorentz = 1.0 / (1.0 + np.exp(-theta[4]))
    ratio = (distance / fwhm) ** 2
    gaussian = np.sqrt(_GAUSS / np.pi) * np.exp(-_GAUSS * min(ratio, 170.0))
    return np.exp(theta[0]) / fwhm * ((1.0 - lorentz) * gaussian + lorentz * 2.0 / np.pi / (1.0 + 4.0 * ratio))


@numba.njit(cache=True)
def _counts(x: float, scale: float, theta: FloatArray, nodes: FloatArray, weights: FloatArray) -> float:
    total = 0.0
    for q in range(nodes.size):
        total += weights[q] * _density(x + 0.5 * scale * nodes[q], theta)
    return 0.5 * scale * total


@numba.njit(cache=True)
def evaluate(
    x: FloatArray, scale: float, theta: FloatArray, nodes: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Expected counts of the channels at `x`, shape (E,), and their derivatives, shape (5, E)."""
    values = np.empty(x.size)
    slopes = np.empty((N_PARAMETERS, x.size))
    moved = theta.copy()
    for j in range(x.size):
        values[j] = _counts(x[j], scale, theta, nodes, weights)
    for p in range(N_PARAMETERS):
        # In eV or 1/eV for the two that are not logarithms, so that a step is small against the width of the peak.
        width = np.exp(theta[2])
        step = 1e-4 * (width if p == 1 else 1.0 / width if p == 3 else 1.0)
        for j in range(x.size):
            moved[p] = theta[p] + step
            upper = _counts(x[j], scale, moved, nodes, weights)
            moved[p] = theta[p] - step
            slopes[p, j] = (upper - _counts(x[j], scale, moved, nodes, weights)) / (2 * step)
        moved[p] = theta[p]
    return values, slopes


@numba.njit(cache=True)
def _merit(counts: FloatArray, values: FloatArray, deviation: FloatArray) -> float:
    total = 0.0
    for j in range(counts.size):
        total += ((counts[j] - values[j]) / deviation[j]) ** 2
    return total


@numba.njit(cache=True)
def fit_tail(
    counts: FloatArray,
    x: FloatArray,
    scale: float,
    theta: FloatArray,
    gain: float,
    read: float,
    model_error: float,
    nodes: FloatArray,
    weights: FloatArray,
) -> tuple[FloatArray, bool]:
    """Fit one spectrum by iteratively reweighted least squares with Marquardt's damping.

    Parameters
    ----------
    counts, x
        Recorded counts of the channels that take part, and their energies in eV from the origin, shape (E,).
    scale
        Width of a channel in eV.
    theta
        Starting values, shape (5,); replaced by the fitted ones.
    gain, read
        Variance of a channel over its expectation, and the part of the variance that does not depend on it.
    model_error
        Relative error that the line shape is allowed: without it the top of the peak alone decides the tails.
    nodes, weights
        Quadrature over a channel.

    Returns
    -------
    covariance, converged
        Covariance of the parameters from the noise alone, shape (5, 5).
    """
    covariance = np.full((N_PARAMETERS, N_PARAMETERS), np.nan)
    damping = 1e-3
    turn = 0
    noise = np.ones(x.size)
    deviation = np.ones(x.size)
    for iteration in range(150):
        values, slopes = evaluate(x, scale, theta, nodes, weights)
        if iteration < _FREE_REWEIGHTINGS:
            # Between these moments the weights stand still, or the fit would chase them in circles.
            noise = gain * np.maximum(values, 1e-4 * np.max(values)) + read
            deviation = np.sqrt(noise + (model_error * values) ** 2)
        merit = _merit(counts, values, deviation)
        if not np.isfinite(merit):
            return covariance, False
        matrix = np.zeros((N_PARAMETERS, N_PARAMETERS))
        meat = np.zeros((N_PARAMETERS, N_PARAMETERS))
        score = np.zeros(N_PARAMETERS)
        for p in range(N_PARAMETERS):
            for j in range(x.size):
                weighted = slopes[p, j] / deviation[j] ** 2
                score[p] += weighted * (counts[j] - values[j])
                for q in range(N_PARAMETERS):
                    matrix[p, q] += weighted * slopes[q, j]
                    meat[p, q] += weighted * slopes[q, j] * noise[j] / deviation[j] ** 2
        # A weak prior keeps the Lorentzian fraction inside its range where there is nothing to learn about it.
        matrix[4, 4] += 1e-2
        score[4] -= 1e-2 * (theta[4] + 2.0)
        for p in range(N_PARAMETERS):
            matrix[p, p] += 1e-12 * matrix[p, p] + 1e-300
        improved = False
        while damping < 1e8:
            damped = matrix.copy()
            for p in range(N_PARAMETERS):
                damped[p, p] *= 1.0 + damping
            step = np.linalg.solve(damped, score)
            largest = max(np.max(np.abs(step)), 1e-300)
            step *= min(1.0, 2.0 / largest)
            trial, _ = evaluate(x, scale, theta + step, nodes, weights)
            if _merit(counts, trial, deviation) <= merit * (1 + 1e-12):
                improved = True
                break
            damping *= 10.0
        expected_change = 0.0
        if improved:
            theta += step
            damping = max(0.1 * damping, 1e-9)
            for p in range(N_PARAMETERS):
                expected_change += step[p] * score[p]
        if not improved or abs(expected_change) < 1e-4 + 1e-5 * merit:
            inverse = np.linalg.inv(matrix)
            covariance = inverse @ meat @ inverse
            turn += 1
            if turn > _REWEIGHTINGS:
                return covariance, True
            noise = gain * np.maximum(values, 1e-4 * np.max(values)) + read
            deviation = np.sqrt(noise + (model_error * values) ** 2)
            damping = 1e-3
    return covariance, False
