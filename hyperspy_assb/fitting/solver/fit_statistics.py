"""What the information of a fit says about its parameters, and what its deviance says about the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from scipy.interpolate import CubicSpline

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.binding import Model, Tie
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

SEPARABLE = 10.0
"""Variance inflation above which two contributions are not told apart: the usual rule for collinear regressors
(Marquardt, Technometrics 12, 591 (1970), doi 10.1080/00401706.1970.10488699)."""
LOWEST, HIGHEST = 1e-6, 1e3
"""Expected electrons between which moments are summed exactly; beyond, series hold to better than one in 10^5."""
POINTS = 40
"""Points of the table in each decade."""
LEAST_VARIANCE = 1e-3
"""Of a channel, in electrons, that residuals and derivatives are divided by: where nothing is expected, nothing can be
said of it."""
_NOISE_REACH, _NOISE_NODES = 6.0, 401
"""Standard deviations of the read noise that are integrated over, and in how many places: what is beyond has a
probability of 2e-9."""
_RIDGE = 1e-13
"""Added to scaled information, so that what is not determined has a large variance and not none."""
_NO_ELECTRONS = 1e-12
"""Electrons of a channel that are as good as none, in denominators."""


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
    variance = np.maximum(detector.variance(expectation[:, ~mask]), LEAST_VARIANCE * detector.gain**2)
    weighted = jacobian[:, :, ~mask] / np.sqrt(variance)[:, np.newaxis, :]
    return weighted @ weighted.transpose(0, 2, 1)


def evaluate_reduced(
    model: Model, parameters: FloatArray, free: NDArray[np.bool_], ties: Sequence[Tie] = ()
) -> tuple[FloatArray, FloatArray]:
    """Expectation and its derivatives for the free parameters, with those that follow others moving along.

    Parameters
    ----------
    model
        Gives expectations and derivatives.
    parameters
        Shape (S, P).
    free
        Which parameters are not known, shape (P,), F of them.
    ties
        Parameters that follow others, each after the one that it follows.

    Returns
    -------
    expectation, jacobian
        Shapes (S, E) and (S, F, E), in counts.
    """
    theta, moving = np.array(parameters, dtype=float), np.array(free, dtype=bool)
    if not ties:
        return model.evaluate(theta, moving)
    # The chain rule of `scoring.BoundProblem`: slopes of all parameters in the free ones, row by row along the ties.
    slopes = np.zeros((*theta.shape, int(moving.sum())))
    where = np.flatnonzero(moving)
    slopes[:, where, np.arange(where.size)] = 1.0
    for tie in ties:
        theta[:, tie.target], slope = tie.function(theta[:, tie.source])
        slopes[:, tie.target] = slope[:, np.newaxis] * slopes[:, tie.source]
        moving[tie.target] = moving[tie.source]
    expectation, jacobian = model.evaluate(theta, moving)
    return expectation, slopes[:, moving].transpose(0, 2, 1) @ jacobian


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
    scaled[:, index, index] = np.where(scaled[:, index, index] == 0.0, 1.0, scaled[:, index, index] + _RIDGE)
    unit = np.zeros((scaled.shape[1], 1))
    unit[row] = 1.0
    return np.linalg.solve(scaled, np.broadcast_to(unit, (len(scaled), *unit.shape)))[:, row, 0] / root[:, row] ** 2


@dataclass(frozen=True)
class DevianceMoments:
    """Moments of the deviance of one channel, each with the shape of the expectation.

    Parameters
    ----------
    mean, variance
        Of the deviance.
    covariance
        Of the deviance with the counts, in electrons.
    slope, curvature
        First and second derivative of the mean by the expectation, per electron and per electron squared.
    """

    mean: FloatArray
    variance: FloatArray
    covariance: FloatArray
    slope: FloatArray
    curvature: FloatArray


def deviance_moments(expectation: ArrayLike, read_noise: float = 0.0) -> DevianceMoments:
    """Mean and variance of the Poisson deviance of a channel, which are 1 and 2 only where there are many electrons.

    Parameters
    ----------
    expectation
        Expected electrons, any shape; what is below 0 counts as 0.
    read_noise
        Standard deviation of the read noise in electrons. Its variance is added to counts and expectation before the
        deviance is taken, as in :func:`.spectra_fit.fit_spectra`.

    Returns
    -------
    moments
        See :class:`DevianceMoments`.

    Raises
    ------
    ValueError
        If the read noise is below 0.

    Notes
    -----
    The deviance is 2 [y log(y / mu) - y + mu]. Its moments are summed over the Poisson distribution, and integrated
    over the read noise, once on a logarithmic grid; splines do the rest. Kaastra, Astron. Astrophys. 605, A51 (2017),
    has the same sums, where the deviance is called the C statistic.

    Examples
    --------
    >>> moments = deviance_moments([0.01, 1.0, 100.0])
    >>> moments.mean.round(3), moments.variance.round(3)
    (array([0.092, 1.147, 1.002]), array([0.524, 1.365, 2.007]))
    """
    if not read_noise >= 0.0:
        raise AssbValueError(f"read_noise must be at least 0 electrons, not {read_noise}.")
    given = np.asarray(expectation, dtype=float)
    n, noise = np.maximum(given.ravel(), 0.0), float(read_noise) ** 2
    t = np.log(np.clip(n, LOWEST, HIGHEST))
    inside = np.exp(t)
    spline = _table(float(read_noise))
    (mean, variance, covariance), first, second = (spline(t, k).T for k in range(3))
    slope = first[0] / inside
    curvature = (second[0] - first[0]) / inside**2
    many = n > HIGHEST
    if many.any():
        known, m = n[many], n[many] + noise
        mean[many] = 1.0 + 1.0 / (2.0 * m) - known / (3.0 * m**2)
        variance[many] = 2.0 + 17.0 / (3.0 * m) - 5.0 * known / m**2
        covariance[many] = known / m - 1.0 - (known / m) / (6.0 * m)
        slope[many] = -1.0 / (2.0 * m**2) - 1.0 / (3.0 * m**2) + 2.0 * known / (3.0 * m**3)
        curvature[many] = 1.0 / m**3 + 4.0 / (3.0 * m**3) - 2.0 * known / m**4
    few = n < LOWEST
    if few.any() and noise == 0.0:
        # Counts of 0 and 1 are all that matters.
        logarithm = np.log(np.maximum(n[few], 1e-300))
        mean[few] = -2.0 * n[few] * logarithm
        variance[few] = 4.0 * n[few] * (logarithm + 1.0) ** 2
        covariance[few] = mean[few] - 2.0 * n[few]
        slope[few] = -2.0 * logarithm - 2.0
        curvature[few] = -2.0 / np.maximum(n[few], 1e-300)
    return DevianceMoments(*(values.reshape(given.shape) for values in (mean, variance, covariance, slope, curvature)))


@lru_cache(maxsize=16)
def _table(read_noise: float) -> CubicSpline:
    """Mean, variance, and covariance with the counts over the logarithm of the expectation."""
    decades = np.log10(HIGHEST / LOWEST)
    t = np.linspace(np.log(LOWEST), np.log(HIGHEST), round(decades * POINTS) + 1)
    # The deviance has a kink where the counts pass through 0: an even rule, for one of Gauss would miss it.
    nodes = np.zeros(1) if read_noise == 0.0 else np.linspace(-_NOISE_REACH, _NOISE_REACH, _NOISE_NODES)
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    noise, rows = read_noise**2, np.empty((t.size, 3))
    for i, n in enumerate(np.exp(t)):
        reach = 9.0 * np.sqrt(n) + 25.0
        k = np.arange(max(0.0, np.floor(n - reach)), np.ceil(n + reach))
        p = stats.poisson.pmf(k, n)[:, np.newaxis] * weights
        y = k[:, np.newaxis] + read_noise * nodes + noise
        mu = n + noise
        # Negative counts keep y log(1 / mu): the quasi-likelihood of the solver.
        d = 2.0 * (y * np.log(np.where(y > 0.0, y, 1.0) / mu) - y + mu)
        mean = np.sum(p * d)
        rows[i] = mean, np.sum(p * (d - mean) ** 2), np.sum(p * d * (y - mu))
    return CubicSpline(t, rows)


def deviance_p_value(
    deviance: ArrayLike,
    expectation: FloatArray,
    n_free: ArrayLike,
    mask: NDArray[np.bool_] | None = None,
    *,
    jacobian: FloatArray | None = None,
    read_noise: float = 0.0,
) -> FloatArray:
    """Probability that a true model is missed by at least this Poisson deviance, after it was fitted.

    Parameters
    ----------
    deviance
        Of each spectrum, shape (S,).
    expectation
        Fitted expectation in electrons, shape (S, E).
    n_free
        Fitted parameters, a number or shape (S,).
    mask
        Channels that are left out, shape (E,).
    jacobian
        Derivatives of the expectation for the fitted parameters, shape (S, F, E). They tell where the fit has taken
        its freedom; without them it is taken evenly, and one parameter is assumed to scale the whole model. Below about
        5 electrons per channel they matter.
    read_noise
        Standard deviation in electrons.

    Returns
    -------
    p_value
        Shape (S,); NaN where the deviance is, or where nothing is left to judge by.

    Raises
    ------
    ValueError
        If the shapes do not agree.

    Notes
    -----
    A gamma distribution with the mean and the variance that the deviance has given the fitted parameters, as McCullagh,
    Int. Stat. Rev. 53, 61 (1985), and Farrington, J. R. Stat. Soc. B 58, 349 (1996), have it for sparse data: the part
    that goes with the score is taken off the variance, and the freedom of the fit off both. Where there are many
    electrons it is the chi-squared distribution with E - F degrees of freedom. Spectra with so few electrons that
    hardly any channel has two leave nothing to judge by, and their p values come in steps.
    """
    deviance = np.atleast_1d(np.asarray(deviance, dtype=float))
    expectation = np.atleast_2d(np.asarray(expectation, dtype=float))
    if expectation.shape[0] != deviance.size:
        raise AssbValueError(f"expectation must have one row for each of the {deviance.size} deviances.")
    if jacobian is not None and jacobian.shape[::2] != expectation.shape:
        raise AssbValueError(
            f"jacobian must have the shape (S, F, E) = ({expectation.shape[0]}, F, {expectation.shape[1]})."
        )
    if mask is not None:
        if np.shape(mask) != expectation.shape[1:]:
            raise AssbValueError(f"mask must have the shape {expectation.shape[1:]} of the channels.")
        expectation = expectation[:, ~np.asarray(mask, dtype=bool)]
        jacobian = None if jacobian is None else jacobian[:, :, ~np.asarray(mask, dtype=bool)]
    m = np.maximum(expectation + read_noise**2, 0.0)
    moments = deviance_moments(expectation, read_noise)
    if read_noise > 0.0:
        # Below nothing there is only read noise: a normal deviate, judged by a variance that is a little too small; the
        # second term is that of order four of the deviance.
        below = expectation < 0.0
        ratio = read_noise**2 / np.maximum(m, _NO_ELECTRONS)
        moments = DevianceMoments(
            mean=np.where(below, ratio + 0.5 * ratio**2 / np.maximum(m, 1.0), moments.mean),
            variance=np.where(below, 2.0 * ratio**2, moments.variance),
            covariance=np.where(below, 0.0, moments.covariance),
            slope=np.where(below, 0.0, moments.slope),
            curvature=np.where(below, 0.0, moments.curvature),
        )
    rows = np.maximum(expectation, 0.0)[:, np.newaxis, :] if jacobian is None else jacobian
    root = np.sqrt(np.maximum(m, _NO_ELECTRONS))[:, np.newaxis, :]
    scaled = rows / root
    inverse = np.linalg.pinv(scaled @ scaled.transpose(0, 2, 1), hermitian=True)
    taken = 1.0 + 0.5 * moments.curvature * m
    if jacobian is None:
        lost = np.broadcast_to(n_free, deviance.shape) * np.mean(taken, axis=1)
    else:
        leverage = np.einsum("sfe,sfg,sge->se", scaled, inverse, scaled, optimize=True)
        lost = np.sum(leverage * taken, axis=1)
    slopes = np.einsum("sfe,se->sf", rows, moments.slope)
    with_score = np.einsum("sfe,se->sf", scaled, moments.covariance / root[:, 0])
    explained = np.einsum("sf,sfg,sg->s", slopes, inverse, 2.0 * with_score - slopes)
    mean = moments.mean.sum(axis=1) - lost
    variance = moments.variance.sum(axis=1) - explained - 2.0 * lost
    good = np.isfinite(deviance) & (mean > 0.0) & (variance > 0.0)
    out = np.full(deviance.shape, np.nan)
    out[good] = special.gammaincc(
        mean[good] ** 2 / variance[good], np.maximum(deviance[good], 0.0) * mean[good] / variance[good]
    )
    return out


def chi_squared_p_value(chi_squared: ArrayLike, dof: ArrayLike) -> FloatArray:
    """Probability that a true model is missed by at least this weighted sum of squares.

    Parameters
    ----------
    chi_squared
        Squares weighted by known variances, any shape.
    dof
        Channels minus fitted parameters, of a shape that goes with it.

    Returns
    -------
    p_value
        NaN where ``chi_squared`` is, or where there is no degree of freedom.

    Examples
    --------
    >>> float(chi_squared_p_value(100.0, 100).round(3))
    0.481
    """
    dof = np.asarray(dof, dtype=float)
    return np.asarray(stats.chi2.sf(chi_squared, np.where(dof > 0, dof, np.nan)))


@dataclass(frozen=True)
class InformationCriteria:
    """Information criteria up to the constant of the saturated model: of two fits, the smaller one is better."""

    aic: FloatArray
    aicc: FloatArray
    bic: FloatArray


def information_criteria(deviance: ArrayLike, n_free: ArrayLike, n_channels: ArrayLike) -> InformationCriteria:
    """Criteria of Akaike, the same corrected for few channels, and of Bayes.

    Parameters
    ----------
    deviance
        Twice the log-likelihood that the fit lacks to a perfect one, any shape.
    n_free, n_channels
        Fitted parameters and fitted channels, of shapes that go with it.

    Returns
    -------
    criteria
        ``aic = D + 2 k``, ``aicc = aic + 2 k (k + 1) / (n - k - 1)`` (infinite where n is at most k + 1) and
        ``bic = D + k log(n)``. Differences between models of the same data have a meaning, values have none.

    Notes
    -----
    Burnham and Anderson, Model Selection and Multimodel Inference, 2nd ed. (2002), sections 2.2, 2.4 and 6.4;
    Schwarz, Ann. Stat. 6, 461 (1978).

    Examples
    --------
    >>> float(information_criteria(100.0, 5, 100).aic)
    110.0
    """
    d, k, n = (np.asarray(values, dtype=float) for values in (deviance, n_free, n_channels))
    aic = d + 2.0 * k
    left = n - k - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.where(left > 0.0, 2.0 * k * (k + 1.0) / left, np.inf)
        bic = d + k * np.log(n)
    return InformationCriteria(aic=aic, aicc=aic + correction, bic=bic)
