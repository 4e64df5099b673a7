"""Noise of neighbouring channels: what is smooth is filtered out, and the correlation of what is left is undone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import oaconvolve, savgol_coeffs

from hyperspy_assb.errors import AssbValueError

FloatArray = NDArray[np.float64]

_ORDER = 2
"""Of the polynomials that pass for smooth: parabolas over a window."""
_CHANNELS_PER_LAG = 5
"""Channels of a window for each lag that it tells: longer correlations pass for smooth."""
_FURTHEST, _PULL = 2, 1.0
"""Furthest lags whose covariance is pulled towards none, and how hard."""
_SPIKE = 6.0
"""Standard deviations beyond which a channel is a spike."""
_TYPICAL = 64
"""Spectra, evenly among all, that tell what is usual."""
_LEVEL = 1e-4
"""p value below which neighbours are correlated; and the significance, in standard errors, of each lag."""
_LAG = 3.0
MEDIAN_OF_SQUARE = 0.4549
"""Median of the square of a standard normal deviate, whose mean is 1."""


@dataclass(frozen=True)
class HighPass:
    """A filter that takes parabolas over `window` channels away (Savitzky and Golay, Anal. Chem. 36, 1627 (1964)).

    Parameters
    ----------
    window
        Odd number of channels.

    Examples
    --------
    >>> line = np.arange(30.0)[np.newaxis]
    >>> bool(np.allclose(HighPass(9).apply(line**2), 0.0))
    True
    """

    window: int

    @staticmethod
    @cache
    def of(window: int) -> HighPass:
        """The filter, with what was found of it before."""
        return HighPass(window)

    @cached_property
    def taps(self) -> FloatArray:
        """Weights of the channels, shape (window,), symmetrical."""
        weights = -savgol_coeffs(self.window, _ORDER)
        weights[self.window // 2] += 1.0
        return np.asarray(weights)

    @property
    def lags(self) -> int:
        """How far apart channels may be correlated and still be told from what is smooth."""
        return self.window // _CHANNELS_PER_LAG

    def apply(self, values: FloatArray) -> FloatArray:
        """What is not smooth, shape (S, E - window + 1), of values of shape (S, E)."""
        return np.asarray(oaconvolve(values, self.taps[np.newaxis], mode="valid", axes=1))

    def smooth(self, values: FloatArray) -> FloatArray:
        """What is smooth, at the same channels as :meth:`apply`."""
        half = self.window // 2
        return values[:, half : values.shape[1] - half] - self.apply(values)

    @cached_property
    def mixing(self) -> FloatArray:
        """Covariance of filtered channels at each lag for noise of each autocovariance, shape (L + 1, L + 1)."""
        own, n = self._own(2 * self.lags), self.lags + 1
        mixed = np.empty((n, n))
        for row in range(n):
            mixed[row] = [own[abs(row - m)] + (own[row + m] if m else 0.0) for m in range(n)]
        return mixed

    @cached_property
    def scatter(self) -> FloatArray:
        """Covariance of sums of products of filtered white noise, times their number, shape (L + 1, L + 1)."""
        n, reach = self.lags + 1, self.window
        own = self._own(2 * reach)
        at = np.arange(-reach, reach + 1)
        pairs = [
            [
                own[np.abs(at)] @ own[np.minimum(np.abs(at + row - column), 2 * reach)]
                + own[np.abs(np.clip(at + row, -2 * reach, 2 * reach))]
                @ own[np.abs(np.clip(at - column, -2 * reach, 2 * reach))]
                for column in range(n)
            ]
            for row in range(n)
        ]
        return np.array(pairs)

    def _own(self, reach: int) -> FloatArray:
        """Autocorrelation of the taps at lags from 0 to `reach`."""
        full = np.correlate(self.taps, self.taps, mode="full")[self.window - 1 :]
        return np.concatenate([full, np.zeros(max(reach + 1 - full.size, 0))])[: reach + 1]


@dataclass(frozen=True)
class Autocovariance:
    """Of noise along channels.

    Parameters
    ----------
    variance
        Of a channel.
    correlation
        Of a channel with those 1, 2 ... above it, shape (L,); empty where neighbours are independent.
    filtered
        Variance of a filtered channel over that of a channel.
    relative_std
        Standard error of the variance, as a share of it.
    inflation_std
        Standard error of one plus twice the sum of all correlations that were looked for.
    """

    variance: float
    correlation: FloatArray
    filtered: float
    relative_std: float
    inflation_std: float


def estimate_autocovariance(
    filtered: FloatArray,
    high_pass: HighPass,
    directions: FloatArray,
    *,
    used: NDArray[np.bool_] | None = None,
    correlated: bool = True,
) -> Autocovariance:
    """Autocovariance of noise before it was filtered, from covariances after it.

    Parameters
    ----------
    filtered
        What the filter left of whitened residuals, shape (S, E - window + 1). Spikes are left out.
    high_pass
        The filter.
    directions
        What was fitted and taken off before it, as orthonormal whitened vectors, shape (D, E).
    used
        Channels that tell, shape (E - window + 1,); all by default.
    correlated
        Whether neighbours may be correlated.

    Raises
    ------
    ValueError
        If the residuals do not scatter.
    """
    square = filtered**2
    used = np.ones(filtered.shape[1], dtype=bool) if used is None else used
    usual = float(np.median(square[:: max(len(square) // _TYPICAL, 1), used])) / MEDIAN_OF_SQUARE
    if not usual > 0.0:
        usual = float(square[:, used].mean())
    if not usual > 0.0:
        raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
    kept = (square < _SPIKE**2 * usual) & used
    values = np.where(kept, filtered, 0.0)
    n = high_pass.lags + 1 if correlated else 1
    width = values.shape[1]
    number = [max(int((kept[:, lag:] & kept[:, : width - lag]).sum()), 1) for lag in range(n)]
    found = np.array([(values[:, lag:] * values[:, : width - lag]).sum() / number[lag] for lag in range(n)])
    mixing = high_pass.mixing[:n, :n].copy()
    if directions.size:
        taken, size = high_pass.apply(directions), directions.shape[1]
        # Noise of autocovariance c has the variance q C q along a vector q, and has lost it there.
        along = np.array(
            [((m > 0) + 1.0) * (directions[:, m:] * directions[:, : size - m]).sum(axis=1) for m in range(n)]
        )
        for lag in range(n):
            pairs = used[lag:] & used[: width - lag]
            mixing[lag] -= (
                along @ (taken[:, lag:] * taken[:, : width - lag])[:, pairs].sum(axis=1) / max(pairs.sum(), 1)
            )
    # What is correlated over all lags alike is hardly told from what is smooth: the furthest are drawn to none.
    furthest = np.zeros((min(_FURTHEST, n - 1), n))
    furthest[np.arange(len(furthest)), n - 1 - np.arange(len(furthest))] = _PULL
    inverse = np.linalg.pinv(np.concatenate([mixing, furthest]))[:, :n]
    covariances = inverse @ found
    errors = inverse @ high_pass.scatter[:n, :n] @ inverse.T / number[0] * covariances[0] ** 2
    variance = float(covariances[0])
    if not variance > 0.0:
        raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
    correlation = _significant(covariances[1:] / variance, errors[1:, 1:] / variance**2)
    if not correlation.size:
        variance = float(found[0] / mixing[0, 0])
        errors = (
            errors
            if n == 1
            else np.full_like(errors, high_pass.scatter[0, 0] / number[0] * (variance / mixing[0, 0]) ** 2)
        )
    spread = 1.0 + 2.0 * float((correlation**2).sum())
    sums = np.full(n - 1, 2.0)
    whole = float(np.sqrt(max(sums @ errors[1:, 1:] @ sums, 0.0)) / variance) if n > 1 else 0.0
    return Autocovariance(
        variance,
        correlation,
        float(found[0] / variance),
        float(np.sqrt(max(errors[0, 0], 0.0) * spread) / variance),
        whole,
    )


def _significant(correlation: FloatArray, covariance: FloatArray) -> FloatArray:
    """Correlations up to the last that chance does not explain; none if chance explains all together."""
    if not correlation.size:
        return correlation
    together = float(correlation @ np.linalg.solve(covariance, correlation))
    if stats.chi2.sf(together, correlation.size) > _LEVEL:
        return np.zeros(0)
    clear = np.flatnonzero(np.abs(correlation) > _LAG * np.sqrt(np.diag(covariance)))
    return correlation[: clear[-1] + 1] if clear.size else np.zeros(0)
