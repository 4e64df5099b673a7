"""Changes of a quantity over a series, along a line through its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hyperspy_assb.series.frame_series import FloatArray


@dataclass(frozen=True)
class Trend:
    """Change of a quantity from the first to the last frame, along a line.

    Parameters
    ----------
    change, change_std
        In the unit of the quantity; NaN of fewer than two values.
    mean
        Of the values.
    """

    change: float
    change_std: float
    mean: float

    @property
    def p_value(self) -> float:
        """That it does not change: two-sided."""
        return float(2.0 * stats.norm.sf(abs(self.change) / self.change_std)) if self.change_std > 0.0 else float("nan")

    @property
    def relative(self) -> tuple[float, float]:
        """Change as a share of the mean, with its standard error; the mean is known far better than the change."""
        return self.change / self.mean, self.change_std / abs(self.mean)


def slope_weights(x: FloatArray) -> FloatArray:
    """What values are multiplied with to give their change over the range of x, shape (T,)."""
    centred = (x - x.mean()) / max(float(np.ptp(x)), 1e-30)
    return np.asarray(centred / max(float(np.square(centred).sum()), 1e-30))


def trend_of(x: FloatArray, values: FloatArray, covariance: FloatArray) -> Trend:
    """Change of values over the range of x.

    Parameters
    ----------
    x
        Time, or dose, shape (T,).
    values
        Shape (T,); those that are NaN are left out.
    covariance
        Of the values, shape (T, T), or their variances, shape (T,). Where they scatter by more around the line, the
        scatter counts.
    """
    good = np.isfinite(values)
    if good.sum() < 2:
        return Trend(float("nan"), float("nan"), float("nan"))
    of = covariance[np.ix_(good, good)] if covariance.ndim == 2 else np.diag(covariance[good])
    x, values = x[good], values[good]
    weights = slope_weights(x)
    mean = float(values.mean())
    change = float(weights @ values)
    counting = float(weights @ of @ weights)
    freedom = x.size - 2
    rest = values - mean - change * (x - x.mean()) / max(float(np.ptp(x)), 1e-30)
    scatter = float(np.square(rest).sum()) / freedom * float(np.square(weights).sum()) if freedom > 0 else 0.0
    return Trend(change, float(np.sqrt(max(counting, scatter))), mean)


def compare_rates(
    here: tuple[float, float], there: tuple[float, float], doses: tuple[float, float]
) -> tuple[float, float, float, float, float, float, float]:
    """Changes with their errors per dose, in two series: both rates, their difference, each with error, and p."""
    (a, a_std), (b, b_std) = (
        (value / dose, std / dose) for (value, std), dose in zip((here, there), doses, strict=True)
    )
    std = float(np.hypot(a_std, b_std))
    p = float(2.0 * stats.norm.sf(abs(a - b) / std)) if std > 0.0 else float("nan")
    return a, a_std, b, b_std, a - b, std, p


def compare_counts(
    counts: tuple[int, int], doses: tuple[float, float]
) -> tuple[float, float, float, float, float, float, float]:
    """The same of what happens a number of times: p of the share of the first, exact."""
    (a, b), (first, second) = counts, doses
    total = a + b
    p = float(stats.binomtest(a, total, first / (first + second)).pvalue) if total else 1.0
    stds = float(np.sqrt(max(a, 1)) / first), float(np.sqrt(max(b, 1)) / second)
    return a / first, stds[0], b / second, stds[1], a / first - b / second, float(np.hypot(*stds)), p
