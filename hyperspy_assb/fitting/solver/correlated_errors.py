"""Standard errors where neighbouring channels are correlated, though a fit took them for independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.solver.fit_statistics import LEAST_VARIANCE, evaluate_reduced
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_JUDGED = 48
"""Spectra whose errors are worked out; the rest take their median."""


@dataclass(frozen=True)
class CorrelatedErrors:
    """What correlation of neighbouring channels does to a fit that took them for independent.

    Parameters
    ----------
    factors
        Standard errors of the free parameters over those of independent channels, shape (F,).
    taken
        Expected deviance that the free parameters take up, in place of F.
    spread
        Variance of the deviance over that of independent channels.
    """

    factors: FloatArray
    taken: float
    spread: float

    @classmethod
    def none(cls, count: int) -> CorrelatedErrors:
        """Of independent channels and `count` free parameters."""
        return cls(np.ones(count), float(count), 1.0)

    @property
    def some(self) -> bool:
        """Whether there is correlation."""
        return self.spread != 1.0

    def widen(self, result: FitResult, free: NDArray[np.int64]) -> None:
        """Multiply standard errors and covariances in place; `free` are the columns of the free parameters."""
        if not self.some:
            return
        result.std[:, free] *= self.factors
        if result.covariance is not None:
            result.covariance[...] *= self.factors[:, np.newaxis] * self.factors

    def independent_deviance(self, deviance: FloatArray, dof: NDArray[np.int64]) -> FloatArray:
        """Deviance that is as improbable of independent channels, shape (S,)."""
        if not self.some:
            return deviance
        expected = dof + self.factors.size - self.taken
        return np.maximum(dof + (deviance - expected) / np.sqrt(self.spread), 0.0)


def correlated_errors(
    problem: FitProblem, values: FloatArray, detector: Detector, correlation: FloatArray
) -> CorrelatedErrors:
    """Errors of a weighted fit of correlated channels: the sandwich of its normal equations.

    Parameters
    ----------
    problem
        What was fitted.
    values
        Fitted parameters of some spectra, shape (S, P).
    detector
        Gain and read noise of single channels.
    correlation
        Of the noise of a channel with those 1, 2 ... above it, shape (L,).

    Notes
    -----
    With whitened derivatives J and correlation matrix R the covariance is inv(J'J) J'RJ inv(J'J): White, Econometrica
    48, 817 (1980). The factor of each parameter is the median of up to 48 spectra.
    """
    count = int(problem.free.sum())
    if not correlation.size or not len(values) or not count:
        return CorrelatedErrors.none(count)
    some = values[np.linspace(0, len(values) - 1, min(len(values), _JUDGED)).astype(int)]
    keep = ~problem.mask
    white = _whitened(problem, some, detector)[:, :, keep]
    norm = np.sqrt(np.einsum("spe,spe->sp", white, white))
    norm[norm == 0.0] = 1.0
    white /= norm[..., np.newaxis]
    # Channels that are not fitted part those on either side of them.
    place = np.flatnonzero(keep)
    meat = normal = np.einsum("spe,sqe->spq", white, white)
    for lag, share in enumerate(correlation, start=1):
        ends = np.searchsorted(place, place + lag)
        both = np.flatnonzero((ends < place.size) & (place[np.minimum(ends, place.size - 1)] == place + lag))
        product = np.einsum("spe,sqe->spq", white[:, :, both], white[:, :, ends[both]])
        meat = meat + share * (product + product.transpose(0, 2, 1))
    inverse = np.linalg.pinv(normal, hermitian=True)
    true = np.einsum("sjj->sj", inverse @ meat @ inverse)
    ratio = np.median(np.maximum(true, 0.0) / np.maximum(np.einsum("sjj->sj", inverse), 1e-300), axis=0)
    taken = float(np.median(np.einsum("spq,sqp->s", inverse, meat)))
    return CorrelatedErrors(np.sqrt(np.maximum(ratio, 1e-6)), taken, 1.0 + 2.0 * float((correlation**2).sum()))


def whitened_directions(problem: FitProblem, values: FloatArray) -> FloatArray:
    """Derivatives of a typical expectation by what is free, over the root of the expectation, shape (F, E)."""
    typical = values[len(values) // 2 : len(values) // 2 + 1]
    white = _whitened(problem, typical, Detector())[0]
    white[:, problem.mask] = 0.0
    return white


def _whitened(problem: FitProblem, values: FloatArray, detector: Detector) -> FloatArray:
    """Derivatives by what is free over the standard deviation of the counts, shape (S, F, E)."""
    expectation, jacobian = evaluate_reduced(problem.model, values, problem.free, problem.ties)
    variance = np.maximum(detector.variance(expectation), LEAST_VARIANCE * detector.gain**2)
    return np.nan_to_num(jacobian / np.sqrt(variance)[:, np.newaxis])
