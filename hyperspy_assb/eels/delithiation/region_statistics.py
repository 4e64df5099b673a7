"""What holds for a region as a whole: its fraction, with an error that does not shrink too far; where a phase is."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from hyperspy_assb.eels.delithiation.lithiated_fraction import UNRELIABLE, LithiatedFraction
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.false_discovery import false_discovery


@dataclass(frozen=True)
class RegionStatistics:
    """Lithiated fraction of a region.

    Parameters
    ----------
    n_pixels, n_answered
        Pixels of the region, and those of them with a fraction.
    fraction
        Of the region: mean by the formula units of the host in each pixel; NaN if no pixel has one.
    fraction_std
        Its standard error from counting.
    fraction_systematic
        Its systematic uncertainty: pixels of one calibration are off together, so it is their mean and does not shrink.
    best
        Mean by inverse variance, the least noisy one, of whatever pixels are measured best.
    best_std
        Its standard error from counting.
    spread
        Standard deviation between pixels, weighted by formula units, what counting adds taken out; 0 if that explains
        all.
    t_over_lambda
        Median of all pixels of the region.
    electrode_share
        Share of the electrode in t/lambda of all pixels of the region.
    """

    n_pixels: int
    n_answered: int
    fraction: float
    fraction_std: float
    fraction_systematic: float
    best: float
    best_std: float
    spread: float
    t_over_lambda: float
    electrode_share: float


@dataclass(frozen=True)
class Discovery:
    """Where something is found, with the share of false finds under control.

    Parameters
    ----------
    p_value
        Probability of at least this significance where there is nothing; NaN where nothing was measured.
    adjusted
        Smallest false discovery rate at which the pixel is among the finds.
    found
        Whether it is among them at the rate asked for.
    """

    p_value: FloatArray
    adjusted: FloatArray
    found: NDArray[np.bool_]


def region_statistics(pixels: ArrayLike, content: LithiatedFraction, t_over_lambda: FloatArray) -> RegionStatistics:
    """Lithiated fraction of a region.

    Parameters
    ----------
    pixels
        Boolean, shape (S,), or indices.
    content
        The fraction and its uncertainties; NaN where there is no answer.
    t_over_lambda
        Shape (S,). With the share of the electrode, it counts formula units of the host.

    Returns
    -------
    statistics
        NaN where no pixel has a fraction.

    Notes
    -----
    Weighted by formula units, the mean of the ions per formula unit of the pixels is that of the region. The weights
    are taken as known. Inverse variance would favour thick pixels and, by their noise, one side.
    """
    pixels = np.asarray(pixels)
    where = np.flatnonzero(pixels) if pixels.dtype == bool else pixels
    every, std = content.fraction[where], content.fraction_std[where]
    systematic, thickness = content.fraction_systematic[where], t_over_lambda[where]
    units = content.electrode_share[where] * thickness
    answered = np.isfinite(every) & np.isfinite(std) & np.isfinite(systematic) & (units > 0.0)
    measured = np.isfinite(units)
    all_thickness = float(thickness[measured].sum())
    value = error = common = best = best_error = spread = np.nan
    if answered.any():
        known, std, systematic = every[answered], std[answered], systematic[answered]
        share = units[answered] / units[answered].sum()
        value = float(share @ known)
        error = float(np.sqrt(share**2 @ std**2))
        common = float(share @ systematic)
        # Counting adds the errors of the pixels to the scatter, less that of the mean, which follows them.
        excess = float(share @ ((known - value) ** 2 - std**2)) + error**2
        spread = float(np.sqrt(max(excess, 0.0)))
        certain = np.maximum(std, 1e-12) ** -2.0
        best = float(certain @ known / certain.sum())
        best_error = float(certain.sum() ** -0.5)
    return RegionStatistics(
        n_pixels=int(where.size),
        n_answered=int(answered.sum()),
        fraction=value,
        fraction_std=error,
        fraction_systematic=common,
        best=best,
        best_std=best_error,
        spread=spread,
        t_over_lambda=float(np.median(thickness[measured])) if measured.any() else np.nan,
        electrode_share=float(units[measured].sum()) / all_thickness if all_thickness > 0.0 else np.nan,
    )


def find_delithiated(content: LithiatedFraction, fdr: float) -> Discovery:
    """Pixels with the delithiated end member: 1 less the fraction is above its uncertainty, systematic included.

    Pixels that the phases do not explain, or whose errors nothing tells, are none of them: what is not known may pass
    for the end member.
    """
    uncertainty = np.hypot(content.fraction_std, content.fraction_systematic)
    significance = (1.0 - content.fraction) / uncertainty
    return find_excess(np.where(np.isin(content.status, UNRELIABLE), np.nan, significance), fdr=fdr)


def find_excess(
    significance: ArrayLike, *, fdr: float = 0.05, dependence: Literal["positive", "any"] = "positive"
) -> Discovery:
    """Pixels where something is there, at a controlled share of false ones among them.

    Parameters
    ----------
    significance
        Standard errors above nothing, any shape; NaN where nothing was measured.
    fdr
        Expected share of false finds among all, between 0 and 1.
    dependence
        Between the errors of the pixels: "positive" (independent, or together through one calibration) or "any", which
        finds less; see :func:`.false_discovery.false_discovery`.

    Returns
    -------
    discovery
        Of the shape of the significance.

    Raises
    ------
    ValueError
        If the rate or the dependence is none of these.

    Notes
    -----
    The p value is the one-sided one of a normal deviate. In an image without anything, the rate is also the
    probability of any find at all.

    Examples
    --------
    >>> find_excess([6.0, 0.3, -1.0, np.nan]).found
    array([ True, False, False, False])
    """
    given: object = fdr
    if not isinstance(given, Real):
        raise AssbTypeError(f"fdr must be a number between 0 and 1, not {fdr!r}.")
    if not 0.0 < fdr < 1.0:
        raise AssbValueError(f"fdr must lie between 0 and 1, not {fdr}.")
    if dependence not in ("positive", "any"):
        raise AssbValueError(f"dependence must be 'positive' or 'any', not {dependence!r}.")
    p = np.asarray(special.ndtr(-np.asarray(significance, dtype=float)))
    adjusted = false_discovery(p, dependence)
    return Discovery(p_value=p, adjusted=adjusted, found=adjusted <= fdr)
