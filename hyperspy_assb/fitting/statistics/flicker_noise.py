"""Noise against time, white plus 1/f, and what can be known beside it.

The covariance of 1/f noise is that of relaxations with time constants spread evenly in their logarithm: A. van der
Ziel, Physica 16, 359 (1950), doi 10.1016/0031-8914(50)90078-4. It takes any sampling in time. The share of the two is
found by restricted maximum likelihood: H. D. Patterson and R. Thompson, Biometrika 58, 545 (1971), doi
10.1093/biomet/58.3.545.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError

FloatArray = NDArray[np.float64]

RATIOS: FloatArray = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 29)])
"""Variance of the 1/f noise over that of the white noise, per contrast, among which is chosen."""
_PRIOR: FloatArray = np.where(RATIOS == 0.0, 5.0, 1.0)
"""Any order of magnitude is as likely as another, and no 1/f noise as some of them."""
_RELAXATIONS = 16
_MOST = 320
"""Points of one curve; more are averaged in blocks, which keeps the sums and costs only the fastest of the noise."""


@dataclass(frozen=True, eq=False)
class Contrasts:
    """A curve without its baseline, turned so that white plus 1/f noise is independent from value to value.

    Parameters
    ----------
    rotation
        Takes a curve of N points to its M contrasts, shape (M, N).
    spread
        Variance of the 1/f noise in each contrast, with the mean 1, shape (M,).
    """

    rotation: FloatArray
    spread: FloatArray

    @property
    def weights(self) -> FloatArray:
        """Inverse variances of the contrasts for each of :data:`RATIOS`, white noise being 1, shape (R, M)."""
        return 1.0 / (1.0 + RATIOS[:, None] * self.spread)


@dataclass(frozen=True, eq=False)
class Estimate:
    """Coefficients of shapes beside white plus 1/f noise.

    Parameters
    ----------
    value
        Shape (K,).
    covariance
        Shape (K, K), with what is not known about the noise.
    freedom
        Degrees of freedom of the noise.
    white, ratio
        Standard deviation of the white noise per point, and the likeliest of :data:`RATIOS`.
    """

    value: FloatArray
    covariance: FloatArray
    freedom: int
    white: float
    ratio: float

    @property
    def std(self) -> FloatArray:
        """Standard errors, shape (K,)."""
        return np.sqrt(np.diag(self.covariance))


def contrasts(time: FloatArray, baseline: FloatArray) -> Contrasts:
    """Contrasts of curves sampled at these times.

    Parameters
    ----------
    time
        s, rising, shape (N,).
    baseline
        Shapes that a curve may have in any amount, shape (N, P); those that others make up are left out.
    """
    left, size, _ = np.linalg.svd(baseline / np.linalg.norm(baseline, axis=0), full_matrices=False)
    rank = int(np.sum(size > 1e-9 * size[0]))
    free = np.linalg.qr(left[:, :rank], mode="complete")[0][:, rank:]
    apart = np.abs(time[:, None] - time[None, :])
    scales = np.geomspace(np.median(np.diff(time)) / 2.0, 4.0 * (time[-1] - time[0]), _RELAXATIONS)
    covariance = np.zeros_like(apart)
    for scale in scales:
        covariance += np.exp(-apart / scale)
    spread, vectors = np.linalg.eigh(free.T @ covariance @ free)
    return Contrasts((free @ vectors).T, np.clip(spread / spread.mean(), 0.0, None))


def log_likelihood(turned: FloatArray, known: Contrasts) -> FloatArray:
    """Restricted log likelihood of each ratio, the size of the noise at its best, shape (..., R)."""
    weights = known.weights
    squares = np.square(turned) @ weights.T
    tiny = np.finfo(float).tiny
    return -0.5 * (turned.shape[-1] * np.log(squares + tiny) - np.log(weights).sum(axis=1))


def ratio_posterior(turned: FloatArray, known: Contrasts) -> FloatArray:
    """Probability of each of :data:`RATIOS` for one curve, shape (R,)."""
    log_like = log_likelihood(turned, known)
    posterior = np.exp(log_like - log_like.max()) * _PRIOR
    return np.asarray(posterior / posterior.sum())


def estimate(curve: FloatArray, known: Contrasts, shapes: FloatArray) -> Estimate:
    """Fit shapes to a curve, and say with what errors, the share of the noises not being known.

    The coefficients are averaged over the ratios with the restricted likelihood of each as its weight, so their
    covariance holds what is not known about the noise.

    Parameters
    ----------
    curve
        Shape (N,).
    known
        Its contrasts.
    shapes
        Shape (N, K).
    """
    turned, design = known.rotation @ curve, known.rotation @ shapes
    freedom = turned.size - design.shape[1]
    values, covariances, log_like, variances = [], [], [], []
    for weights in known.weights:
        information = (design.T * weights) @ design
        value = np.linalg.solve(information, (design.T * weights) @ turned)
        rest = turned - design @ value
        variance = float(weights @ np.square(rest)) / freedom
        if not variance > 0.0:
            raise AssbValueError(
                "The current lies on its curve without any noise: it is constant, rounded or computed, and its errors "
                "are unknown. Load the log as it was recorded."
            )
        values.append(value)
        variances.append(variance)
        covariances.append(np.linalg.inv(information) * variance)
        _, logdet = np.linalg.slogdet(information)
        log_like.append(-0.5 * (freedom * np.log(variance) - np.log(weights).sum() + logdet))
    posterior = np.exp(np.array(log_like) - max(log_like)) * _PRIOR
    posterior /= posterior.sum()
    mean = posterior @ np.array(values)
    spread = np.array(values) - mean
    covariance = np.einsum("r,rij->ij", posterior, np.array(covariances))
    covariance += np.einsum("r,ri,rj->ij", posterior, spread, spread)
    best = int(np.argmax(log_like))
    return Estimate(mean, covariance, freedom, float(np.sqrt(variances[best])), float(RATIOS[best]))


def blocks(index: NDArray[np.intp], most: int = _MOST) -> list[NDArray[np.intp]]:
    """Neighbouring points in blocks of one size, not more than so many blocks; the rest at the end is left out."""
    size = -(-index.size // most)
    count = index.size // size
    return list(index[: count * size].reshape(count, size))


def block_means(values: FloatArray, parts: list[NDArray[np.intp]]) -> FloatArray:
    """Mean of each block."""
    return np.array([values[part].mean(axis=0) for part in parts])


def strongest_shape(
    turned: FloatArray, known: Contrasts, shapes: FloatArray, *, two_sided: bool = False
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Likelihood ratio of the shape that stands out most in each curve, the noise at its best with and without it.

    Parameters
    ----------
    turned
        Contrasts of S curves, shape (S, M).
    shapes
        Contrasts of T shapes, shape (M, T).
    two_sided
        Whether a shape may also be below 0.

    Returns
    -------
    statistic, best
        Twice the difference of the log likelihoods, and which shape, shapes (S,).
    """
    size = turned.shape[1]
    without = log_likelihood(turned, known).max(axis=1)
    best_like = np.full(turned.shape[0], -np.inf)
    best = np.zeros(turned.shape[0], dtype=np.intp)
    for weights in known.weights:
        squares = np.square(turned) @ weights
        across = (turned * weights) @ shapes
        explained = np.square(across if two_sided else np.clip(across, 0.0, None)) / (weights @ np.square(shapes))
        strongest = explained.argmax(axis=1)
        left = squares - np.take_along_axis(explained, strongest[:, None], axis=1)[:, 0]
        like = -0.5 * (size * np.log(np.maximum(left, np.finfo(float).tiny)) - np.log(weights).sum())
        better = like > best_like
        best_like[better], best[better] = like[better], strongest[better]
    return 2.0 * (best_like - without), best
