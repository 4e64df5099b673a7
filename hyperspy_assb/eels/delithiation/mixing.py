"""Whether spectra of intermediate fractions are mixtures of those of the end members, or have a shape of their own.

A column that crosses both end members has a spectrum that lies on the straight line between theirs, in every linear
parameter of a free line shape. A solid solution of the same fraction need not: what lies off the line tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

BETWEEN = (0.2, 0.8)
"""Limits of the lithiated fraction between which a pixel counts as intermediate."""
PER_UNKNOWN = 2.0
"""Intermediate pixels for each parameter of the line shape that are needed."""
MOSTLY_ELECTRODE = 0.7
"""Share of the electrode in t/lambda from which the line shape of a column is that of the electrode."""
OWN_SHAPE_ALPHA = 1e-3
"""p value below which spectra are said to have their own line shape: many regions are looked at."""
_EXPLICABLE = (DelithiationStatus.QUANTIFIED, DelithiationStatus.UNEXPLAINED, DelithiationStatus.DISAGREES)
"""A line shape of its own is what the references do not explain."""


class MixtureStatus(StrEnum):
    """What spectra of intermediate fractions are."""

    MIXTURES = "mixtures"
    """Nothing tells them from mixtures of the end members."""
    OWN_SHAPE = "their own line shape"
    """They are no mixtures of the end members."""
    UNDECIDED = "undecided"
    """There are too few of them."""


@dataclass(frozen=True)
class MixtureComparison:
    """How far spectra of intermediate fractions are from mixtures of the end members.

    Parameters
    ----------
    names
        Parameters of the line shape, K of them.
    curvature, curvature_std
        What lies off the straight line at a fraction of 0.5, for each unit of t/lambda of the electrode, and its
        standard error from how the pixels scatter, shape (K,).
    contrast
        How far the end members are apart in the same parameters, shape (K,).
    p_value
        Probability of so much where all spectra are mixtures; NaN where there are too few pixels.
    n_intermediate, n_pixels
        Pixels with a fraction in ``BETWEEN``, and all that were used.
    """

    names: tuple[str, ...]
    curvature: FloatArray
    curvature_std: FloatArray
    contrast: FloatArray
    p_value: float
    n_intermediate: int
    n_pixels: int

    @property
    def status(self) -> MixtureStatus:
        """What the spectra are."""
        if not np.isfinite(self.p_value):
            return MixtureStatus.UNDECIDED
        return MixtureStatus.OWN_SHAPE if self.p_value < OWN_SHAPE_ALPHA else MixtureStatus.MIXTURES


def compare_pixels_with_mixture(
    found: Quantification, standard: Standard, method: str, pixels: NDArray[np.intp]
) -> MixtureComparison:
    """Compare pixels of a quantified map with mixtures of the end members.

    Taken are those that are quantified, unexplained, or whose estimates disagree, and whose t/lambda is mostly that of
    the electrode: a phase that is not among the references has a line shape of its own as well.
    """
    content = found.contents[method]
    known = np.isin(content.status[pixels], _EXPLICABLE)
    with np.errstate(invalid="ignore"):
        known &= content.electrode_share[pixels] >= MOSTLY_ELECTRODE
    pixels = pixels[known]
    amounts = found.amounts[pixels]
    thickness = np.median(found.t_over_lambda[pixels]) if pixels.size else 0.5
    ends = standard.calibration.per_thickness(np.array([thickness]))[0]
    return compare_with_mixture(
        standard.names,
        found.residual[pixels],
        ends[0] - ends[1],
        fraction=content.fraction[pixels],
        electrode=amounts[:, :2].sum(axis=1),
        others=amounts[:, 2:],
    )


def compare_with_mixture(
    names: tuple[str, ...],
    residual: FloatArray,
    contrast: FloatArray,
    *,
    fraction: FloatArray,
    electrode: FloatArray,
    others: FloatArray,
) -> MixtureComparison:
    """Compare the spectra of pixels of intermediate fractions with mixtures of the end members.

    Parameters
    ----------
    names
        Parameters of the free line shape.
    residual
        What they have beyond a column of the reference phases, shape (S, K).
    contrast
        Lithiated minus delithiated end member per unit of t/lambda, shape (K,).
    fraction
        Lithiated fraction, shape (S,).
    electrode
        t/lambda of both end members, shape (S,), above 0.
    others
        t/lambda of every other phase, shape (S, R - 2).

    Returns
    -------
    comparison
        Where fewer intermediate pixels than ``PER_UNKNOWN`` for each parameter are left, ``p_value`` is NaN.

    Notes
    -----
    The residual for each unit of the electrode is taken as a straight line in the fraction x, in t/lambda and in the
    shares of the other phases, which errors of the references make, plus 4 x (1 - x) times the curvature. All its
    components are tested at once by Hotelling's T squared, with the covariance from the scatter of the pixels
    themselves (HC3; MacKinnon and White, J. Econometrics 29, 305 (1985), doi 10.1016/0304-4076(85)90158-7).
    """
    good = np.isfinite(residual).all(axis=1) & np.isfinite(fraction) & np.isfinite(others).all(axis=1)
    good &= electrode > 0.0
    inside = np.clip(fraction[good], 0.0, 1.0)
    amount, rest = electrode[good], others[good]
    between = int(np.sum((inside > BETWEEN[0]) & (inside < BETWEEN[1])))
    count, unknown = len(names), np.full(len(names), np.nan)
    thickness = amount + rest.sum(axis=1)
    # Both sides are multiplied with the electrode, so that all rows are as uncertain as the residual itself.
    columns = [4.0 * inside * (1.0 - inside), np.ones_like(inside), inside, thickness]
    design = np.column_stack([*(amount * c for c in columns), rest])
    freedom = len(design) - np.linalg.matrix_rank(design) if len(design) else 0
    if between < PER_UNKNOWN * count or freedom <= count:
        return MixtureComparison(names, unknown, unknown, contrast, np.nan, between, len(design))
    weight = np.linalg.pinv(design)
    left = residual[good] - design @ (weight @ residual[good])
    leverage = np.einsum("sp,ps->s", design, weight)
    curvature = weight[0] @ residual[good]
    scaled = (weight[0] / np.maximum(1.0 - leverage, 1e-3))[:, np.newaxis] * left
    covariance = scaled.T @ scaled
    size = np.sqrt(np.diag(covariance))
    squared = (curvature / size) @ np.linalg.pinv(covariance / np.outer(size, size), rcond=1e-10) @ (curvature / size)
    ratio = squared * (freedom - count + 1) / (freedom * count)
    p_value = float(stats.f.sf(ratio, count, freedom - count + 1))
    return MixtureComparison(names, curvature, size, contrast, p_value, between, len(design))
