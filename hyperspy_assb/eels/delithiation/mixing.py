"""Whether spectra of intermediate x are mixtures of those of the end members, or have a line shape of their own.

A column that crosses LiFePO4 and FePO4 has a spectrum that lies on the straight line between theirs, in every linear
parameter of a free line shape. A solid solution of the same x need not: what lies off the line tells it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.eels.delithiation.lithium_content import DelithiationStatus
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

BETWEEN = (0.2, 0.8)
"""Limits of x between which a pixel counts as intermediate."""
PER_UNKNOWN = 2.0
"""Intermediate pixels for each parameter of the line shape that are needed."""
MOSTLY_OLIVINE = 0.7
"""Share of the olivines in t/lambda from which the line shape of a column is that of the olivines."""
OWN_SHAPE = 1e-3
"""p value below which spectra are said to have a line shape of their own: many regions are looked at."""
_EXPLICABLE = (DelithiationStatus.QUANTIFIED, DelithiationStatus.UNEXPLAINED, DelithiationStatus.DISAGREES)
"""A line shape of its own is what the references do not explain."""


@dataclass(frozen=True)
class MixtureComparison:
    """How far spectra of intermediate x are from mixtures of the end members.

    Parameters
    ----------
    names
        Parameters of the line shape, K of them.
    curvature, curvature_std
        What lies off the straight line at x = 0.5, for each unit of t/lambda of olivine, and its standard error from
        how the pixels scatter, shape (K,).
    contrast
        How far the end members are apart in the same parameters, shape (K,).
    p_value
        Probability of so much where all spectra are mixtures; NaN where there are too few pixels.
    n_intermediate, n_pixels
        Pixels with x in :data:`BETWEEN`, and all that were used.
    """

    names: tuple[str, ...]
    curvature: FloatArray
    curvature_std: FloatArray
    contrast: FloatArray
    p_value: float
    n_intermediate: int
    n_pixels: int

    @property
    def verdict(self) -> str:
        """In words: "mixtures", "a line shape of their own" or "cannot be told"."""
        if not np.isfinite(self.p_value):
            return "cannot be told"
        return "a line shape of their own" if self.p_value < OWN_SHAPE else "mixtures"

    def __repr__(self) -> str:
        return (
            f"MixtureComparison({self.verdict}, p={self.p_value:.2g}, {self.n_intermediate} of {self.n_pixels} pixels)"
        )

    def __str__(self) -> str:
        text = f"{self.n_intermediate} of {self.n_pixels} pixels have x between {BETWEEN[0]:g} and {BETWEEN[1]:g}"
        if not np.isfinite(self.p_value):
            return f"{text}: too few to tell whether their spectra are mixtures of the end members."
        return f"{text}; their spectra are {self.verdict} (p = {self.p_value:.2g})."


def compare_pixels_with_mixture(
    found: Quantification, standard: Standard, method: str, pixels: NDArray[np.intp]
) -> MixtureComparison:
    """Compare pixels of a quantified map with mixtures of the end members.

    Taken are those that are quantified, unexplained, or whose estimates disagree, and whose t/lambda is mostly that of
    olivines: a phase that is not among the references has a line shape of its own as well.
    """
    content = found.contents[method]
    known = np.isin(content.status[pixels], _EXPLICABLE)
    with np.errstate(invalid="ignore"):
        known &= content.olivine_fraction[pixels] >= MOSTLY_OLIVINE
    pixels = pixels[known]
    amounts = found.amounts[pixels]
    thickness = np.median(found.t_over_lambda[pixels]) if pixels.size else 0.5
    ends = standard.calibration.per_thickness(np.array([thickness]))[0]
    return compare_with_mixture(
        standard.names,
        found.residual[pixels],
        ends[0] - ends[1],
        x=content.x[pixels],
        olivine=amounts[:, :2].sum(axis=1),
        others=amounts[:, 2:],
    )


def compare_with_mixture(
    names: tuple[str, ...],
    residual: FloatArray,
    contrast: FloatArray,
    *,
    x: FloatArray,
    olivine: FloatArray,
    others: FloatArray,
) -> MixtureComparison:
    """Compare the spectra of pixels of intermediate x with mixtures of the end members.

    Parameters
    ----------
    names
        Parameters of the free line shape.
    residual
        What they have beyond a column of the reference phases, shape (S, K).
    contrast
        LiFePO4 minus FePO4 per unit of t/lambda, shape (K,).
    x
        Lithium content, shape (S,).
    olivine
        t/lambda of the olivines, shape (S,), above 0.
    others
        t/lambda of every other phase, shape (S, R - 2).

    Returns
    -------
    comparison
        Where fewer intermediate pixels than :data:`PER_UNKNOWN` for each parameter are left, ``p_value`` is NaN.

    Notes
    -----
    The residual for each unit of olivine is taken as a straight line in x, in t/lambda and in the shares of the other
    phases, which errors of the references make, plus 4 x (1 - x) times the curvature. All its components are tested at
    once by Hotelling's T squared, with the covariance from the scatter of the pixels themselves (HC3; MacKinnon and
    White, J. Econometrics 29, 305 (1985), doi 10.1016/0304-4076(85)90158-7).
    """
    good = np.isfinite(residual).all(axis=1) & np.isfinite(x) & np.isfinite(others).all(axis=1) & (olivine > 0.0)
    inside = np.clip(x[good], 0.0, 1.0)
    amount, rest = olivine[good], others[good]
    between = int(np.sum((inside > BETWEEN[0]) & (inside < BETWEEN[1])))
    count, unknown = len(names), np.full(len(names), np.nan)
    thickness = amount + rest.sum(axis=1)
    # Both sides are multiplied with the olivine, so that all rows are as uncertain as the residual itself.
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
