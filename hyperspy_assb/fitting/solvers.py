"""Poisson maximum likelihood and least squares for many spectra at once, by damped Fisher scoring."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.fitting.kernels import FloatArray

_SMALLEST = 1e-2
"""Expected electrons in a channel below which counts are no longer weighted by their Poisson variance."""


class Status(IntEnum):
    """What became of the fit of one spectrum."""

    CONVERGED = 0
    AT_BOUND = 1
    NOT_CONVERGED = 2
    SINGULAR = 3
    TOO_FEW_COUNTS = 4
    MASKED = 5

    @property
    def usable(self) -> bool:
        """Whether the fitted values stand."""
        return self in (Status.CONVERGED, Status.AT_BOUND)


class Model(Protocol):
    """What the solver needs to know of a model."""

    n_parameters: int

    def evaluate(self, parameters: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Expectation, shape (S, E), and derivatives, shape (S, F, E), for parameters of shape (S, P)."""
        ...


@dataclass(frozen=True)
class Detector:
    """How the detector turns electrons into recorded counts: ``gain`` times a Poisson number, plus read noise.

    Parameters
    ----------
    gain
        Recorded counts per electron.
    read_noise
        Standard deviation of the read noise of a channel, in recorded counts.
    """

    gain: float = 1.0
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise ValueError(f"gain must be above 0 counts per electron, not {self.gain}.")
        if not self.read_noise >= 0:
            raise ValueError(f"read_noise must be at least 0 counts, not {self.read_noise}.")

    def variance(self, expectation: FloatArray) -> FloatArray:
        """Variance of recorded counts with the given expectation."""
        return self.gain * np.maximum(expectation, 0.0) + self.read_noise**2


@dataclass(frozen=True)
class SolverOptions:
    """How far the solver goes.

    Parameters
    ----------
    max_iterations
        Steps tried per spectrum.
    tolerance
        Converged when a full step is expected to gain less than this in log-likelihood (0.5 is one standard error).
    minimum_counts
        Spectra with fewer electrons are not fitted.
    block_size
        Spectra fitted together; a block of derivatives should fit into the cache.
    workers
        Threads.
    """

    max_iterations: int = 60
    tolerance: float = 1e-4
    minimum_counts: float = 100.0
    block_size: int = 32
    workers: int = 2


@dataclass(frozen=True)
class FitResult:
    """Fitted parameters of S spectra.

    Parameters
    ----------
    values
        All parameters, shape (S, P); NaN where ``status`` is not usable.
    covariance
        Covariance of all parameters, shape (S, P, P); 0 for fixed parameters and those at a bound.
    deviance
        Poisson deviance, or weighted sum of squares, shape (S,).
    dof
        Fitted channels minus free parameters.
    status
        :class:`Status` as integers, shape (S,).
    iterations
        Steps taken, shape (S,).
    """

    values: FloatArray
    covariance: FloatArray
    deviance: FloatArray
    dof: int
    status: NDArray[np.int8]
    iterations: NDArray[np.int16]

    @property
    def std(self) -> FloatArray:
        """Standard errors, shape (S, P)."""
        return np.sqrt(np.einsum("spp->sp", self.covariance))

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Where the fitted values stand, shape (S,)."""
        return (self.status == Status.CONVERGED) | (self.status == Status.AT_BOUND)


def fit_spectra(
    model: Model,
    counts: ArrayLike,
    start: FloatArray,
    *,
    free: NDArray[np.bool_] | None = None,
    lower: FloatArray | None = None,
    upper: FloatArray | None = None,
    mask: NDArray[np.bool_] | None = None,
    detector: Detector | None = None,
    variance: ArrayLike | None = None,
    options: SolverOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> FitResult:
    """Fit a model to many spectra, by Poisson maximum likelihood or by weighted least squares.

    Read noise is treated as a shifted Poisson number: the variance is right to all orders that standard errors need,
    and negative counts are as good as any.

    Parameters
    ----------
    model
        Gives expectations and derivatives.
    counts
        Recorded counts, shape (S, E). Spectra with a non-finite count, or with no counts at all, are not fitted.
    start
        Starting values, shape (P,) or (S, P). Fixed parameters keep them.
    free
        Which parameters are fitted, shape (P,); all by default.
    lower, upper
        Bounds, shape (P,); infinite where there is none.
    mask
        Channels to leave out, shape (E,).
    detector
        Gain and read noise; a perfect counter by default.
    variance
        Variance of each channel, a number or shape (E,) or (S, E): least squares with these weights, and no likelihood.
    options
        See :class:`SolverOptions`.
    progress
        Called with the number of spectra done since the last call.

    Returns
    -------
    result
        Spectra that could not be fitted have NaN values and say why in ``status``.

    Raises
    ------
    ValueError
        If shapes do not agree.

    Notes
    -----
    Fisher scoring with Levenberg damping: Osborne, Int. Stat. Rev. 60, 99 (1992). Shifted Poisson: Snyder et al.,
    J. Opt. Soc. Am. A 10, 1014 (1993).
    """
    counts = np.asarray(counts)
    if counts.ndim != 2:
        raise ValueError(f"counts must have the shape (spectra, channels), not {counts.shape}.")
    n, p = counts.shape[0], model.n_parameters
    start = np.broadcast_to(np.asarray(start, dtype=float), (n, p))
    free = np.ones(p, dtype=bool) if free is None else np.asarray(free, dtype=bool)
    lower = np.full(p, -np.inf) if lower is None else np.asarray(lower, dtype=float)
    upper = np.full(p, np.inf) if upper is None else np.asarray(upper, dtype=float)
    if not free.shape == lower.shape == upper.shape == (p,):
        raise ValueError(f"free, lower and upper must have the shape ({p},), one entry a parameter.")
    keep = np.ones(counts.shape[1], dtype=bool) if mask is None else ~np.asarray(mask, dtype=bool)
    detector = Detector() if detector is None or variance is not None else detector
    options = SolverOptions() if options is None else options

    values = np.full((n, p), np.nan)
    covariance = np.full((n, p, p), np.nan)
    deviance = np.full(n, np.nan)
    status = np.full(n, Status.MASKED, dtype=np.int8)
    iterations = np.zeros(n, dtype=np.int16)
    problem = _Problem(model, free, lower, upper, keep, detector, options)

    known = None if variance is None else np.broadcast_to(np.asarray(variance, dtype=float), counts.shape)

    def fit_block(block: slice) -> int:
        weights = None if known is None else 1.0 / known[block][:, keep]
        out = problem.fit(np.asarray(counts[block], dtype=np.float64), np.array(start[block]), weights)
        values[block], covariance[block], deviance[block], status[block], iterations[block] = out
        return len(status[block])

    blocks = [slice(i, min(i + options.block_size, n)) for i in range(0, n, options.block_size)]
    with ThreadPoolExecutor(max_workers=options.workers) as pool:
        try:
            for done in pool.map(fit_block, blocks):
                if progress is not None:
                    progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return FitResult(values, covariance, deviance, int(keep.sum() - free.sum()), status, iterations)


@dataclass(frozen=True)
class _Problem:
    """What is common to all blocks."""

    model: Model
    free: NDArray[np.bool_]
    lower: FloatArray
    upper: FloatArray
    keep: NDArray[np.bool_]
    detector: Detector
    options: SolverOptions

    def _evaluate(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Expectation and derivatives in the units of the shifted Poisson number."""
        expectation, jacobian = self.model.evaluate(theta, self.free)
        shift = (self.detector.read_noise / self.detector.gain) ** 2
        mu = expectation[:, self.keep] / self.detector.gain + shift
        return mu, jacobian[:, :, self.keep] / self.detector.gain

    def fit(
        self, counts: FloatArray, theta: FloatArray, weights: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int8], NDArray[np.int16]]:
        n = theta.shape[0]
        f = int(self.free.sum())
        status = np.full(n, Status.NOT_CONVERGED, dtype=np.int8)
        iterations = np.zeros(n, dtype=np.int16)
        y = counts[:, self.keep] / self.detector.gain
        finite = np.isfinite(y).all(axis=1)
        status[~finite | ~np.any(y, axis=1)] = Status.MASKED
        few = np.where(finite, np.nansum(y, axis=1), np.inf) < self.options.minimum_counts
        status[few & (status != Status.MASKED)] = Status.TOO_FEW_COUNTS
        y = y + (self.detector.read_noise / self.detector.gain) ** 2
        lower, upper = self.lower[self.free], self.upper[self.free]
        theta[:, self.free] = np.clip(theta[:, self.free], lower, upper)

        active = np.flatnonzero(status == Status.NOT_CONVERGED)
        information = np.zeros((n, f, f))
        at_bound = np.zeros((n, f), dtype=bool)
        damping = np.full(n, 1e-2)
        objective = np.full(n, np.inf)
        score = np.zeros((n, f))
        if active.size:
            self._refresh(active, theta, y, weights, objective, score, information)
        while active.size:
            h, g = information[active], score[active].copy()
            position = theta[np.ix_(active, np.flatnonzero(self.free))]
            stuck = ((position <= lower) & (g < 0)) | ((position >= upper) & (g > 0))
            g[stuck] = 0.0
            diagonal = np.einsum("sii->si", h).copy()
            diagonal[stuck | (diagonal <= 0)] = 1.0
            root = np.sqrt(diagonal)
            scaled = h / (root[:, :, np.newaxis] * root[:, np.newaxis, :])
            scaled[stuck[:, :, np.newaxis] | stuck[:, np.newaxis, :]] = 0.0
            index = np.arange(f)
            scaled[:, index, index] = 1.0 + damping[active, np.newaxis]
            trial, gain = _bounded_step(scaled, g, root, stuck, position, lower, upper)
            iterations[active] += 1
            at_bound[active] = stuck
            # A small expected gain of a hardly damped step: nothing is left to find. Where the model misses the data by
            # many standard errors, the gain is judged by what it misses.
            scale = np.maximum(1.0, 2.0 * objective[active] / max(int(self.keep.sum()) - f, 1))
            finished = (gain < self.options.tolerance * scale) & (damping[active] < 1.0)
            status[active[finished]] = Status.CONVERGED

            candidate = theta.copy()
            candidate[np.ix_(active, np.flatnonzero(self.free))] = trial
            new_objective = np.full(n, np.inf)
            new_score, new_information = score.copy(), information.copy()
            self._refresh(active, candidate, y, weights, new_objective, new_score, new_information)
            better = active[new_objective[active] <= objective[active] * (1 + 1e-9) + 1e-9]
            theta[better], objective[better] = candidate[better], new_objective[better]
            score[better], information[better] = new_score[better], new_information[better]
            worse = np.setdiff1d(active, better, assume_unique=True)
            damping[better] = np.maximum(damping[better] * 0.1, 1e-9)
            damping[worse] *= 10.0
            exhausted = (iterations[active] >= self.options.max_iterations) | (damping[active] > 1e12)
            active = active[~finished & ~exhausted]
        return self._finish(theta, objective, information, at_bound, status, iterations)

    def _refresh(
        self,
        rows: NDArray[np.intp],
        theta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        objective: FloatArray,
        score: FloatArray,
        information: FloatArray,
    ) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            mu, jacobian = self._evaluate(theta[rows])
            valid = np.isfinite(mu).all(axis=1)
            if weights is None:
                weight = 1.0 / np.maximum(mu, _SMALLEST)
                value = 0.5 * _deviance(y[rows], mu)
            else:
                weight = weights[rows]
                value = 0.5 * np.sum(weight * (y[rows] - mu) ** 2, axis=1)
            objective[rows] = np.where(valid, value, np.inf)
            score[rows] = np.einsum("sfe,se->sf", jacobian, (y[rows] - mu) * weight)
            weighted = jacobian * np.sqrt(weight)[:, np.newaxis, :]
            information[rows] = weighted @ weighted.transpose(0, 2, 1)

    def _finish(
        self,
        theta: FloatArray,
        objective: FloatArray,
        information: FloatArray,
        at_bound: NDArray[np.bool_],
        status: NDArray[np.int8],
        iterations: NDArray[np.int16],
    ) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int8], NDArray[np.int16]]:
        n, p = theta.shape
        covariance = np.full((n, p, p), np.nan)
        deviance = np.full(n, np.nan)
        where = np.flatnonzero(self.free)
        for i in np.flatnonzero(status == Status.CONVERGED):
            # What the data say nothing about (the length of a tail of no height) stands still, like a bound.
            at_bound[i] |= np.diag(information[i]) <= 0.0
            moving = ~at_bound[i]
            inner = information[i][np.ix_(moving, moving)]
            root = np.sqrt(np.diag(inner))
            covariance[i] = 0.0
            if root.size:
                correlation, vectors = np.linalg.eigh(inner / np.outer(root, root))
                if correlation[0] < 1e-13 * correlation[-1]:
                    status[i] = Status.SINGULAR
                    continue
                block = (vectors / correlation) @ vectors.T / np.outer(root, root)
                covariance[i][np.ix_(where[moving], where[moving])] = block
            if at_bound[i].any():
                status[i] = Status.AT_BOUND
        good = (status == Status.CONVERGED) | (status == Status.AT_BOUND)
        deviance[good] = 2.0 * objective[good]
        theta[~good] = np.nan
        covariance[~good] = np.nan
        return theta, covariance, deviance, status, iterations


def _bounded_step(
    scaled: FloatArray,
    score: FloatArray,
    root: FloatArray,
    stuck: NDArray[np.bool_],
    position: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Solve for a step, hold what would leave its bounds at the bound, and solve again for the others.

    Clipping alone would leave the others where they make up for a change that was not made.

    Returns
    -------
    trial, gain
        New parameters, shape (S, F), and the log-likelihood that they are expected to gain, shape (S,).
    """
    held = stuck.copy()
    target = position.copy()
    index = np.arange(position.shape[1])
    for _ in range(4):
        matrix = np.where(held[:, :, np.newaxis] | held[:, np.newaxis, :], 0.0, scaled)
        matrix[:, index, index] = scaled[:, index, index]
        moved = np.where(held, target - position, 0.0) * root
        right = np.where(held, 0.0, score / root - np.einsum("sij,sj->si", scaled, moved))
        step = np.linalg.solve(matrix, right[:, :, np.newaxis])[:, :, 0] / root
        trial = np.where(held, target, position + step)
        clipped = np.clip(trial, lower, upper)
        outside = clipped != trial
        if not outside.any():
            break
        target = np.where(outside, clipped, target)
        held |= outside
    change = (clipped - position) * root
    gain = np.sum(change * score / root, axis=1) - 0.5 * np.einsum("si,sij,sj->s", change, scaled, change)
    return clipped, np.abs(gain)


def _deviance(y: FloatArray, mu: FloatArray) -> FloatArray:
    """Poisson deviance, shape (S,), carried on to negative counts and expectations.

    Negative counts keep the quasi-likelihood mu - y log(mu). Below a small expectation the deviance goes on as that of
    a normal deviate of this variance, with the same slope: a start that is negative somewhere finds its way back.
    """
    base, floor = np.where(y > 0, y, 1.0), np.maximum(mu, _SMALLEST)
    poisson = 2.0 * (floor - y - y * np.log(floor / base))
    return np.sum(poisson + ((y - mu) ** 2 - (y - floor) ** 2) / _SMALLEST, axis=1)
