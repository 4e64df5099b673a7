"""What is kept of a batched fit to judge it by later: compiled models, fitted values, and how counts were weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.fitting.solver.fit_statistics import (
    InformationCriteria,
    chi_squared_p_value,
    deviance_p_value,
    evaluate_reduced,
    information_criteria,
)
from hyperspy_assb.fitting.solver.map_fit import Job
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitResult
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_LEAST_VARIANCE = 1e-3
"""Of a channel, in electrons, that residuals are divided by: where nothing is expected nothing can be said of them."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A fitted map as its quality is judged from; arrays are on flattened navigation axes.

    Parameters
    ----------
    parts
        Compiled models with the spectra that each was fitted to, and the columns of its parameters in ``result``.
    result
        What was fitted; the values are those of the fit, not copies.
    energy, switches
        Energies of the channels and which were fitted, shape (E,).
    loss_function
        "ML-poisson" or "ls".
    known_variance
        Whether the sum of squares is in units of a variance that was known before.
    detector
        Gain and read noise.
    """

    parts: tuple[tuple[Job, NDArray[np.int64]], ...]
    result: FitResult
    energy: FloatArray
    switches: NDArray[np.bool_]
    loss_function: str
    known_variance: bool
    detector: Detector

    @classmethod
    def of(
        cls,
        model: Any,
        jobs: Sequence[Job],
        columns: Sequence[NDArray[np.int64]],
        result: FitResult,
        *,
        loss_function: str,
        known_variance: bool,
        detector: Detector,
    ) -> Evidence:
        """Of a HyperSpy model that has just been fitted."""
        return cls(
            parts=tuple(zip(jobs, columns, strict=True)),
            result=result,
            energy=np.array(model.axis.axis, dtype=float),
            switches=np.array(model._channel_switches, dtype=bool),
            loss_function=loss_function,
            known_variance=known_variance,
            detector=detector,
        )

    @property
    def n_free(self) -> NDArray[np.int64]:
        """Parameters that were free, shape (S,)."""
        found = np.zeros(self.result.deviance.size, dtype=np.int64)
        for job, _ in self.parts:
            found[job.rows] = int(job.free.sum())
        return found

    @property
    def misfit(self) -> FloatArray:
        """Twice the log-likelihood that each fit lacks to a perfect one, or to a constant; shape (S,).

        Where the variance is not known, its best estimate from the residuals is put in: n log(RSS / n).
        """
        if self.known_variance:
            return self.result.deviance
        n = int(self.switches.sum())
        with np.errstate(divide="ignore"):
            return n * np.log(self.result.deviance / n)

    def criteria(self) -> InformationCriteria:
        """Information criteria, each of shape (S,); a variance that was not known is one more parameter."""
        n_free = self.n_free + (0 if self.known_variance else 1)
        return information_criteria(self.misfit, n_free, int(self.switches.sum()))

    def p_value(self) -> FloatArray:
        """Probability of a larger deviance if the model is true, shape (S,); NaN where there is no fit.

        Raises
        ------
        ValueError
            If the variance was not known: the residuals then set the scale that they would be judged by.
        """
        if not self.known_variance:
            raise ValueError(
                "There is no p value of least squares without a known variance: set one, with "
                'estimate_poissonian_noise_variance, or fit with loss_function="ML-poisson".'
            )
        if self.loss_function == "ls":
            return chi_squared_p_value(self.result.deviance, self.result.dof)
        found = np.full(self.result.deviance.size, np.nan)
        gain, noise = self.detector.gain, self.detector.read_noise / self.detector.gain
        for job, columns in self.parts:
            fitted = np.flatnonzero(job.rows & self.result.usable & np.isfinite(self.result.deviance))
            numbered = bool(getattr(job.model, "numbers_spectra", False))
            size = int(getattr(job.model, "block_size", 32))
            for first in range(0, fitted.size, size):
                rows = fitted[first : first + size]
                theta = self.result.values[np.ix_(rows, columns)]
                # What is held at a bound has a standard error of 0, and takes no freedom.
                moves = self.result.std[np.ix_(rows, columns[job.free[: columns.size]])] > 0.0
                if numbered:
                    theta = np.column_stack([theta, rows])
                expectation, jacobian = evaluate_reduced(job.model, theta, job.free, job.ties)
                found[rows] = deviance_p_value(
                    self.result.deviance[rows],
                    expectation / gain,
                    int(job.free.sum()),
                    job.mask,
                    jacobian=jacobian * (moves / gain)[:, :, np.newaxis],
                    read_noise=noise,
                )
        return found

    def likelihood_ratio_p_value(self, other: Evidence) -> FloatArray:
        """p value of the likelihood-ratio test of two fits of the same spectra, shape (S,); NaN for as many parameters.

        Wilks, Ann. Math. Stat. 9, 60 (1938).
        """
        more = other.n_free - self.n_free
        gained = np.maximum((self.misfit - other.misfit) * np.sign(more), 0.0)
        return stats.chi2.sf(gained, np.where(more == 0, np.nan, np.abs(more)))

    def standardised_residuals(
        self, counts: FloatArray, rows: NDArray[np.intp], variance: FloatArray | float | None
    ) -> FloatArray:
        """Counts minus expectation over their standard deviation, shape (R, E) of the fitted channels.

        Parameters
        ----------
        counts
            Of the spectra `rows`, shape (R, E) of all channels.
        rows
            Places of fitted spectra, shape (R,).
        variance
            Of the counts, a number or of their shape, where it was known before least squares; else None.
        """
        counts = counts[:, self.switches]
        expectation = np.empty_like(counts)
        for job, columns in self.parts:
            own = np.flatnonzero(job.rows[rows])
            if own.size:
                theta = self.result.values[np.ix_(rows[own], columns)]
                if getattr(job.model, "numbers_spectra", False):
                    theta = np.column_stack([theta, rows[own]])
                nothing = np.zeros(job.free.size, dtype=bool)
                expectation[own] = job.model.evaluate(theta, nothing)[0][:, ~job.mask]
        smallest = _LEAST_VARIANCE * self.detector.gain**2
        if variance is not None:
            smallest, known = 0.0, variance if np.isscalar(variance) else np.asarray(variance)[:, self.switches]
        elif self.loss_function == "ls" and not self.known_variance:
            known = (self.result.deviance[rows] / np.maximum(self.result.dof[rows], 1))[:, np.newaxis]
        else:
            known = self.detector.variance(expectation)
        return (counts - expectation) / np.sqrt(np.maximum(known, smallest))
