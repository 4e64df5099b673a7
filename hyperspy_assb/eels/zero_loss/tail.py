"""The whole zero-loss peak, tails included, fitted to one spectrum as the asymmetric pseudo-Voigt peak of the model.

The parameters are ln area, centre (eV), ln FWHM (eV), asymmetry (1/eV) and the logit of the Lorentzian fraction of
:data:`~hyperspy_assb.eels.lineshapes.ZERO_LOSS_PEAK`, without the tails that a detector adds (Stancik and Brauns, Vib.
Spectrosc. 47, 66 (2008), doi:10.1016/j.vibspec.2008.02.009).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.lineshapes import ZERO_LOSS_PEAK

FloatArray = NDArray[np.float64]
Rule = tuple[FloatArray, FloatArray]
"""Nodes and weights of a Gauss-Legendre quadrature over a channel."""

N_PARAMETERS = 5
GAIN_SIDE, LOSS_SIDE = 15.0, 1.5
"""Full widths before and after the mode that are fitted: all of the gain side, and what no loss of the specimen reaches
on the other."""
MODEL_ERROR = 0.02
"""Relative error that the line shape is allowed: without it the top of the peak alone decides the tails."""
_FREE_REWEIGHTINGS = 8
_REWEIGHTINGS = 3
_peak = ZERO_LOSS_PEAK.kernel


def start(area: float, fwhm: float) -> FloatArray:
    """Parameters to start from, for a symmetric peak at 0 eV with little of a Lorentzian."""
    return np.array([np.log(area), 0.0, np.log(fwhm), 0.0, -2.0])


@numba.njit(cache=True)
def evaluate(x: FloatArray, scale: float, theta: FloatArray, rule: Rule) -> tuple[FloatArray, FloatArray]:
    """Expected counts of the channels at `x`, shape (E,), and their derivatives, shape (5, E)."""
    fraction = 1.0 / (1.0 + np.exp(-theta[4]))
    parameters = np.array([np.exp(theta[0]), theta[1], np.exp(theta[2]), theta[3], fraction, 0.0, 1.0])
    values, slopes = np.zeros(x.size), np.zeros((N_PARAMETERS, x.size))
    density, gradients, nothing = np.empty(x.size), np.empty((parameters.size, x.size)), np.empty(0)
    nodes, weights = rule
    for q in range(nodes.size):
        _peak(x + 0.5 * scale * nodes[q], parameters, nothing, density, gradients)
        values += 0.5 * scale * weights[q] * density
        slopes += 0.5 * scale * weights[q] * gradients[:N_PARAMETERS]
    slopes[0] *= parameters[0]
    slopes[2] *= parameters[2]
    slopes[4] *= fraction * (1.0 - fraction)
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
    rule: Rule,
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
    rule
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
        values, slopes = evaluate(x, scale, theta, rule)
        if iteration < _FREE_REWEIGHTINGS:
            # Between these moments the weights stand still, or the fit would chase them in circles.
            noise = gain * np.maximum(values, 1e-4 * np.max(values)) + read
            deviation = np.sqrt(noise + (MODEL_ERROR * values) ** 2)
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
            trial, _ = evaluate(x, scale, theta + step, rule)
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
            deviation = np.sqrt(noise + (MODEL_ERROR * values) ** 2)
            damping = 1e-3
    return covariance, False
