"""Mixtures of normal populations, from values that each have their own known error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

NARROWEST = 0.05
"""Smallest width of a population, in median errors. N values tell a width of (2 / N)^(1/4) errors from none, which is
more than this for up to 3e5 of them; and a population as narrow as one value would have an unbounded likelihood."""
SMALLEST_SHARE = 1e-6


@dataclass(frozen=True)
class Mixture:
    """Populations from which values were drawn, their errors taken out.

    Parameters
    ----------
    share
        Of each of the K populations, and then of the bridge if there is one; they add up to 1.
    share_std
        Standard errors; NaN for what stands at a limit.
    mean, mean_std
        Of each population, shape (K,), with standard errors.
    width, width_std
        Intrinsic standard deviation of each population, shape (K,), beyond the error of each value.
    bridge
        Whether values between the means of the first and of the last population, evenly spread, have a share.
    log_likelihood
        Natural logarithm of the likelihood.
    n_values, n_free
        Values and parameters.
    """

    share: FloatArray
    share_std: FloatArray
    mean: FloatArray
    mean_std: FloatArray
    width: FloatArray
    width_std: FloatArray
    bridge: bool
    log_likelihood: float
    n_values: int
    n_free: int

    @property
    def bic(self) -> float:
        """Criterion of Schwarz, Ann. Stat. 6, 461 (1978), doi 10.1214/aos/1176344136: the smaller, the better."""
        return self.n_free * float(np.log(self.n_values)) - 2.0 * self.log_likelihood

    def density(self, values: ArrayLike, std: ArrayLike) -> FloatArray:
        """What each population adds to the probability density of values with given errors.

        Parameters
        ----------
        values, std
            Shape (S,) each.

        Returns
        -------
        density
            Shape (K, S), or (K + 1, S) with a bridge.
        """
        values, std = np.broadcast_arrays(np.asarray(values, dtype=float), np.asarray(std, dtype=float))
        logarithm = _log_densities(values, std, self.mean, np.square(self.width), self.bridge)[0]
        return self.share[:, np.newaxis] * np.exp(logarithm)


def fit_mixture(
    values: FloatArray,
    std: FloatArray,
    *,
    mean_limits: Sequence[tuple[float, float]] = ((-np.inf, np.inf),),
    width_limit: float = np.inf,
    bridge: bool = False,
) -> Mixture:
    """Fit populations to values with known errors, by maximum likelihood.

    Parameters
    ----------
    values, std
        Shape (S,) each, finite; the errors above 0.
    mean_limits
        Between which the mean of each of the K populations is sought.
    width_limit
        Largest intrinsic width.
    bridge
        Whether values may also lie evenly between the first and the last mean.

    Returns
    -------
    mixture
        Shares, means and widths with standard errors from the observed information. What stands at one of its limits
        has none, and the errors of the others hold for that value of it.

    Raises
    ------
    ValueError
        If an error is not above 0, a value is not finite, or a bridge is asked for with one population.

    Notes
    -----
    The likelihood is that of Bovy, Hogg and Roweis, Ann. Appl. Stat. 5, 1657 (2011), doi 10.1214/10-AOAS439, who climb
    it step by step; here it is climbed with its derivatives, from several starts, of which the best is kept.

    Examples
    --------
    >>> x = np.array([-0.1, 0.0, 0.1, 0.9, 1.0, 1.0, 1.0, 1.1])
    >>> fitted = fit_mixture(x, np.full(8, 0.1), mean_limits=((-0.2, 0.2), (0.8, 1.2)))
    >>> fitted.share.round(3), fitted.mean.round(3) + 0.0
    (array([0.375, 0.625]), array([0., 1.]))
    """
    values, std = np.asarray(values, dtype=float), np.asarray(std, dtype=float)
    if not (np.isfinite(values).all() and np.isfinite(std).all() and np.all(std > 0.0)):
        raise AssbValueError("Every value needs to be finite, with an error above 0: leave out the others.")
    if bridge and len(mean_limits) < 2:
        raise AssbValueError("A bridge needs two populations.")
    problem = _Problem(values, std, mean_limits, width_limit, bridge)
    # Not L-BFGS-B: with threaded BLAS it takes ten times longer for so few unknowns. The limit is reached where a share
    # vanishes and the rest is flat, to within 1e-4 in log-likelihood.
    options = {"ftol": 1e-13, "gtol": 1e-8, "xtol": 1e-10, "maxfun": 300}
    fits = [
        optimize.minimize(problem, start, jac=True, method="TNC", bounds=problem.bounds, options=options)
        for start in problem.starts()
    ]
    # Of fits that are as good, the first: where a population is empty, they differ in what has no effect.
    values = np.array([float(fit.fun) for fit in fits])
    best = fits[int(np.argmax(values <= values.min() + 1e-4 / problem.values.size))]
    return problem.read(best.x)


class _Problem:
    """Minus the mean log-likelihood. Unknown: K means, K variances in units of the median one, and K' - 1 sticks: the
    share of each population in what those before it have left."""

    def __init__(
        self,
        values: FloatArray,
        std: FloatArray,
        mean_limits: Sequence[tuple[float, float]],
        width_limit: float,
        bridge: bool,
    ) -> None:
        self.values, self.std, self.bridge = values, std, bridge
        self.count = len(mean_limits)
        self.unit = float(np.median(std)) ** 2
        widest = width_limit**2 / self.unit
        sticks = self.count + bridge - 1
        self.mean_limits = mean_limits
        self.bounds = [
            *mean_limits,
            *[(min(NARROWEST**2, 0.1 * widest), widest)] * self.count,
            *[(SMALLEST_SHARE, 1.0 - SMALLEST_SHARE)] * sticks,
        ]

    def starts(self) -> list[FloatArray]:
        """Starting values: each population at the values nearest to it, narrow or wide, the bridge small or large."""
        if self.count == 1:
            mean = float(np.average(self.values, weights=self.std**-2.0))
            excess = float(np.mean((self.values - mean) ** 2 - self.std**2)) / self.unit
            return [np.clip([mean, start], *np.transpose(self.bounds)) for start in (max(excess, 0.01), 0.1)]
        middle = np.array([0.5 * sum(limits) for limits in self.mean_limits])
        nearest = np.argmin(np.abs(self.values[:, np.newaxis] - middle), axis=1)
        means = [
            np.clip(np.median(self.values[nearest == k]), *self.mean_limits[k]) if np.any(nearest == k) else middle[k]
            for k in range(self.count)
        ]
        share = np.bincount(nearest, minlength=self.count) / nearest.size
        widest = min(self.bounds[self.count][1], float(np.var(self.values)) / self.unit)
        starts = []
        for width, bridged in product((0.1, 0.7), (0.1, 0.6) if self.bridge else (0.0,)):
            shares = np.append((1.0 - bridged) * share, bridged)[: self.count + self.bridge]
            left = 1.0 - np.concatenate([[0.0], np.cumsum(shares)[:-1]])
            sticks = np.clip(shares / np.maximum(left, 1e-12), 0.02, 0.98)[:-1]
            variance = [width**2 * widest] * self.count
            starts.append(np.clip([*means, *variance, *sticks], *np.transpose(self.bounds)))
        return starts

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        k = self.count
        shares, slopes = _shares(theta[2 * k :])
        logarithm, by_mean, by_variance = _log_densities(
            self.values, self.std, theta[:k], theta[k : 2 * k] * self.unit, self.bridge
        )
        largest = logarithm.max(axis=0)
        relative = np.exp(logarithm - largest)
        inside = shares @ relative
        total = largest + np.log(inside)
        relative /= inside
        belongs = shares[:, np.newaxis] * relative
        gradient = np.concatenate(
            [
                np.einsum("js,jks->k", belongs, by_mean),
                self.unit * np.sum(belongs[:k] * by_variance, axis=1),
                slopes.T @ relative.sum(axis=1),
            ]
        )
        return -float(np.mean(total)), -gradient / self.values.size

    def read(self, theta: FloatArray) -> Mixture:
        """Populations at the solution, with standard errors."""
        k = self.count
        covariance, free = self._covariance(theta)
        error = np.sqrt(np.where(free, np.diag(covariance), np.nan))
        shares, slopes = _shares(theta[2 * k :])
        sticks = slopes @ covariance[2 * k :, 2 * k :] @ slopes.T
        if shares.size == 1:
            share_std = np.zeros(1)
        else:
            variance = np.diag(sticks)
            share_std = np.sqrt(np.where((shares > 2.0 * SMALLEST_SHARE) & (variance > 0.0), variance, np.nan))
        width = np.sqrt(theta[k : 2 * k] * self.unit)
        return Mixture(
            share=shares,
            share_std=share_std,
            mean=theta[:k].copy(),
            mean_std=error[:k],
            width=width,
            width_std=error[k : 2 * k] * self.unit / (2.0 * width),
            bridge=self.bridge,
            log_likelihood=-self(theta)[0] * self.values.size,
            n_values=self.values.size,
            n_free=theta.size,
        )

    def _covariance(self, theta: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Inverse of the observed information, 0 for what stands at a limit; and what does not."""
        low, high = np.transpose(self.bounds)
        margin = 1e-6 * np.maximum(np.abs(theta), 1e-3)
        free = (theta > low + margin) & (theta < high - margin)
        # A population that holds no value has neither width nor, unless the bridge ends there, a mean.
        empty = _shares(theta[2 * self.count :])[0][: self.count] * self.values.size < 0.01
        free[self.count : 2 * self.count] &= ~empty
        if not self.bridge:
            free[: self.count] &= ~empty
        covariance = np.zeros((theta.size, theta.size))
        index = np.flatnonzero(free)
        information = np.empty((index.size, index.size))
        for row, i in enumerate(index):
            step = np.zeros_like(theta)
            step[i] = min(1e-4 * max(abs(theta[i]), 0.1), 0.5 * (theta[i] - low[i]), 0.5 * (high[i] - theta[i]))
            ahead, behind = self(theta + step)[1], self(theta - step)[1]
            information[row] = (ahead - behind)[index] * self.values.size / (2.0 * step[i])
        information = 0.5 * (information + information.T)
        if index.size and np.linalg.eigvalsh(information).min() > 0.0:
            covariance[np.ix_(index, index)] = np.linalg.inv(information)
            return covariance, free
        return covariance, np.zeros_like(free)


def _shares(sticks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares of K' populations from K' - 1 sticks, and their derivatives, shape (K', K' - 1)."""
    left = np.concatenate([[1.0], np.cumprod(1.0 - sticks)])
    shares = left * np.append(sticks, 1.0)
    slopes = np.zeros((shares.size, sticks.size))
    for j, stick in enumerate(sticks):
        slopes[j, j] = left[j]
        slopes[j + 1 :, j] = -shares[j + 1 :] / (1.0 - stick)
    return shares, slopes


def _log_densities(
    values: FloatArray, std: FloatArray, mean: FloatArray, variance: FloatArray, bridge: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logarithmic densities (K', S), and their derivatives by means (K', K, S) and by variances (K, S)."""
    count = mean.size
    total = std**2 + variance[:, np.newaxis]
    away = values - mean[:, np.newaxis]
    logarithm = np.empty((count + bridge, values.size))
    by_mean = np.zeros((count + bridge, count, values.size))
    logarithm[:count] = -0.5 * (away**2 / total + np.log(2.0 * np.pi * total))
    by_mean[np.arange(count), np.arange(count)] = away / total
    by_variance = 0.5 * (away**2 / total**2 - 1.0 / total)
    if bridge:
        length = mean[-1] - mean[0]
        upper, lower = away[0] / std, away[-1] / std
        # The difference of two tails near 1 has no digits left: it is taken on the other side.
        flip = upper + lower > 0.0
        larger = special.log_ndtr(np.where(flip, -lower, upper))
        smaller = special.log_ndtr(np.where(flip, -upper, lower))
        difference = larger + np.log1p(-np.exp(np.minimum(smaller - larger, -1e-15)))
        logarithm[-1] = difference - np.log(length)
        # Derivatives of the logarithm: densities at the ends over the difference.
        at_ends = np.exp(-0.5 * np.stack([upper, lower]) ** 2 - difference) / (np.sqrt(2.0 * np.pi) * std)
        by_mean[-1, 0] = 1.0 / length - at_ends[0]
        by_mean[-1, -1] = at_ends[1] - 1.0 / length
    return logarithm, by_mean, by_variance
