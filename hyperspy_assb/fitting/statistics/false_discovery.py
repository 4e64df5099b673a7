"""Control of the share of false finds among many tests."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]


def false_discovery(p_value: FloatArray, dependence: Literal["positive", "any"] = "positive") -> FloatArray:
    """Smallest false discovery rate at which each test is a find; NaN, of what was not tested, stays NaN.

    Parameters
    ----------
    p_value
        Any shape.
    dependence
        Between the tests: "positive" (independent, or with positively correlated errors: Benjamini and Hochberg, J. R.
        Stat. Soc. B 57, 289 (1995), doi 10.1111/j.2517-6161.1995.tb02031.x) or "any" (Benjamini and Yekutieli, Ann.
        Stat. 29, 1165 (2001), doi 10.1214/aos/1013699998), which finds less.

    Examples
    --------
    >>> false_discovery(np.array([0.01, 0.04, 0.03, np.nan])).round(3)
    array([0.03, 0.04, 0.04,  nan])
    """
    q_value = np.full(p_value.shape, np.nan)
    tested = np.isfinite(p_value)
    if tested.any():
        method: Literal["bh", "by"] = "bh" if dependence == "positive" else "by"
        q_value[tested] = stats.false_discovery_control(p_value[tested], method=method)
    return q_value
