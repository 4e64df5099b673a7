"""The Cramér-Rao bound of a spectrum as a function of the number of electrons in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

DEPENDENT = 1e-8
"""Singular value, relative to the largest, below which normalised derivatives count as linearly dependent."""


@dataclass(frozen=True, eq=False)
class DoseInformation:
    """What a spectrum with a given number of electrons can tell about parameters.

    Parameters
    ----------
    shape
        Expected electrons of each channel, of one spectrum electron in all, shape (E,); adds up to 1.
    jacobian
        Its derivatives for the free parameters, shape (F, E).
    read_noise
        Standard deviation of a channel in electrons.
    """

    shape: FloatArray
    jacobian: FloatArray
    read_noise: float = 0.0

    @classmethod
    def of(cls, expectation: FloatArray, jacobian: FloatArray, *, read_noise: float = 0.0) -> DoseInformation:
        """From an expectation, shape (E,), and its derivatives, shape (F, E), in any unit.

        Raises
        ------
        ValueError
            If the expectation is not finite, is negative somewhere, or is zero.
        """
        if not (np.isfinite(expectation).all() and np.isfinite(jacobian).all()):
            raise AssbValueError("The model or one of its derivatives is not finite in a channel that is fitted.")
        total = float(expectation.sum())
        if not total > 0.0:
            raise AssbValueError("The model expects no counts: set its parameters to what the specimen should show.")
        # Rounding in a convolution leaves a little on either side of zero.
        negative = expectation < -1e-9 * expectation.max()
        if negative.any():
            raise AssbValueError(
                f"The model expects negative counts in {int(negative.sum())} channels: set parameters that are "
                "possible, or leave these channels out of the signal range."
            )
        return cls(np.maximum(expectation, 0.0) / total, jacobian / total, read_noise)

    def covariance(self, dose: float) -> FloatArray:
        """Lower bound of the covariance of unbiased estimates from a spectrum with ``dose`` electrons, shape (F, F).

        Rows and columns of parameters that the spectrum says nothing about, on their own or beside the others, are
        infinite on the diagonal and NaN off it.
        """
        variance = dose * self.shape + self.read_noise**2
        # A channel without electrons tells nothing, rather than everything.
        known = variance > 1e-12 * variance.max()
        weighted = dose * self.jacobian[:, known] / np.sqrt(variance[known])
        norm = np.sqrt(np.einsum("fe,fe->f", weighted, weighted))
        scale = np.where(norm > 0.0, norm, 1.0)
        left, values, _ = np.linalg.svd(weighted / scale[:, np.newaxis], full_matrices=False)
        good = values > DEPENDENT * (values.max() if values.size else 1.0)
        inverse = (left[:, good] / values[good] ** 2) @ left[:, good].T
        covariance: FloatArray = inverse / np.outer(scale, scale)
        # What lies in the range of the information is as well known as if the rest were not there.
        lost = np.einsum("fk,fk->f", left[:, good], left[:, good]) < 1.0 - 1e-6
        covariance[lost] = covariance[:, lost] = np.nan
        covariance[lost, lost] = np.inf
        return covariance

    def std(self, dose: ArrayLike) -> FloatArray:
        """Lower bound of the standard errors, shape (..., F) for doses of shape (...); may be infinite."""
        dose = np.asarray(dose, dtype=float)
        found = [np.sqrt(np.diag(self.covariance(float(d)))) for d in dose.ravel()]
        return np.reshape(found, (*dose.shape, len(self.jacobian)))

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """Which parameters no dose determines, shape (F,)."""
        return np.isinf(np.diag(self.covariance(1.0 / float(self.shape.max()))))

    def dose_for(self, row: int, std: float) -> float:
        """Dose at which the bound of a parameter comes down to a standard error.

        Parameters
        ----------
        row
            Number of the parameter.
        std
            Standard error that is wanted, above 0.

        Returns
        -------
        dose
            Electrons in the spectrum; infinite if no dose is enough.
        """
        if not std > 0.0 or self.undetermined[row]:
            return np.inf

        def excess(logarithm: float) -> float:
            return float(np.log(self.std(np.exp(logarithm))[row] / std))

        # The bound falls with the dose: like its root where electrons make the noise, faster where the detector does.
        guess = 2.0 * excess(0.0)
        low, high = guess - 1.0, guess + 1.0
        while excess(high) > 0.0:
            high += 2.0
        while excess(low) < 0.0:
            low -= 2.0
        return float(np.exp(optimize.brentq(excess, low, high, xtol=1e-12, rtol=1e-14)))
