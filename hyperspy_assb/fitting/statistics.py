"""What the information of a fit says about its parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.kernels import FloatArray
from hyperspy_assb.fitting.scoring import Model
from hyperspy_assb.fitting.solvers import Detector

SEPARABLE = 10.0
"""Variance inflation above which two contributions are not told apart: the usual rule for collinear regressors
(Marquardt, Technometrics 12, 591 (1970), doi 10.1080/00401706.1970.10488699)."""


def fisher_information(
    model: Model, parameters: FloatArray, free: NDArray[np.bool_], *, detector: Detector, mask: NDArray[np.bool_]
) -> FloatArray:
    """Fisher information of Poisson counts.

    Parameters
    ----------
    model
        Gives expectations and derivatives.
    parameters
        Shape (S, P).
    free
        Which parameters are not known, shape (P,), F of them.
    detector
        Gain and read noise.
    mask
        Channels that are left out, shape (E,).

    Returns
    -------
    information
        Shape (S, F, F).
    """
    expectation, jacobian = model.evaluate(parameters, free)
    variance = np.maximum(detector.variance(expectation[:, ~mask]), 1e-3 * detector.gain**2)
    weighted = jacobian[:, :, ~mask] / np.sqrt(variance)[:, np.newaxis, :]
    return weighted @ weighted.transpose(0, 2, 1)


def variance_inflation(
    information: FloatArray, target: int, confounders: NDArray[np.intp], prior_std: FloatArray
) -> FloatArray:
    """How many times larger the variance of one parameter is because others are not known.

    Parameters
    ----------
    information
        Fisher information, shape (S, F, F).
    target
        Row of the parameter.
    confounders
        Rows of the others.
    prior_std
        Standard deviation to which each parameter is known beforehand, shape (F,); infinite where not at all.

    Returns
    -------
    inflation
        Variance with the confounders unknown over variance with them known, shape (S,); at least 1.
    """
    prior = np.where(np.isfinite(prior_std), 1.0 / np.square(prior_std), 0.0)
    total = information + np.diag(prior)
    known = np.setdiff1d(np.arange(information.shape[1]), confounders)
    row = int(np.flatnonzero(known == target)[0])
    return _variance(total, target) / _variance(total[:, known[:, np.newaxis], known], row)


def _variance(information: FloatArray, row: int) -> FloatArray:
    """Diagonal element of the inverse, scaled against units; parameters without information stand still."""
    root = np.sqrt(np.einsum("sff->sf", information))
    root[root == 0.0] = 1.0
    scaled = information / (root[:, :, np.newaxis] * root[:, np.newaxis, :])
    index = np.arange(scaled.shape[1])
    scaled[:, index, index] = np.where(scaled[:, index, index] == 0.0, 1.0, scaled[:, index, index] + 1e-13)
    unit = np.zeros((scaled.shape[1], 1))
    unit[row] = 1.0
    return np.linalg.solve(scaled, np.broadcast_to(unit, (len(scaled), *unit.shape)))[:, row, 0] / root[:, row] ** 2
