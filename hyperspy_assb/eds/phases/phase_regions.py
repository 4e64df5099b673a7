"""Phases of regions: fractions of volume, mass and area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperspy_assb.eds.composition.atoms import shares
from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.eds.phases.stoichiometry import PhaseMixture
from hyperspy_assb.errors import AssbValueError

_INSIDE = float(special.erf(np.sqrt(0.5)))
"""Chance that a normal variable lies within a standard deviation."""
_FAR = -30.0
"""Standard deviations from which on chances are too small for floating-point numbers."""


@dataclass(frozen=True)
class RegionPhases:
    """Phases of a region, in the order of the phases.

    Parameters
    ----------
    phases
        Names.
    volume, mass, area
        Fractions: of volume and mass in all columns together, not clipped; of the pixels in which the phase has the
        largest volume (what a phase map shows).
    volume_std, mass_std, area_std
        Standard errors from counting.
    volume_systematic, mass_systematic
        Uncertainty from the calibration of the elements.
    pixels
        Pixels that were used, and in all.
    unexplained
        Share of the pixels with material that no mixture explains, which the area fractions count as none.
    """

    phases: tuple[str, ...]
    volume: FloatArray
    volume_std: FloatArray
    volume_systematic: FloatArray
    mass: FloatArray
    mass_std: FloatArray
    mass_systematic: FloatArray
    area: FloatArray
    area_std: FloatArray
    pixels: tuple[int, int]
    unexplained: float

    def rows(self) -> list[dict[str, Any]]:
        """One row a phase: fractions between 0 and 1, standard errors, systematic uncertainties, 68 % intervals."""
        rows = []
        none = np.zeros(len(self.phases))
        for k, phase in enumerate(self.phases):
            row: dict[str, Any] = {"phase": phase}
            for kind, value, std, systematic in (
                ("volume", self.volume, self.volume_std, self.volume_systematic),
                ("mass", self.mass, self.mass_std, self.mass_systematic),
                ("area", self.area, self.area_std, none),
            ):
                whole = float(np.hypot(std[k], systematic[k]))
                row |= {kind: float(np.clip(value[k], 0.0, 1.0)), f"{kind} std": std[k]}
                if kind != "area":
                    row[f"{kind} systematic"] = systematic[k]
                row[f"{kind} low"], row[f"{kind} high"] = share_interval(float(value[k]), whole)
            rows.append({**row, "pixels": self.pixels[0], "of": self.pixels[1], "unexplained": self.unexplained})
        return rows


def summarise_region(mixture: PhaseMixture, region: NDArray[np.bool_] | None = None) -> RegionPhases:
    """Phases of a region.

    Parameters
    ----------
    mixture
        Phases of N pixels.
    region
        Pixels of the region, shape (N,); None: all.

    Returns
    -------
    RegionPhases
        Fractions with uncertainties.

    Raises
    ------
    AssbValueError
        If no pixel of the region has an answer.
    """
    n, k = mixture.thickness.shape
    inside = np.ones(n, dtype=bool) if region is None else np.asarray(region, dtype=bool)
    material = np.isin(mixture.status, (PhaseStatus.GOOD, PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL))
    good = inside & (mixture.status == PhaseStatus.GOOD)
    if not good.any():
        raise AssbValueError("No pixel of the region is explained by the phases: there is nothing to add up.")
    # Pixels with little of everything count as well: left out, those that noise lifts would remain.
    summed = inside & np.isin(mixture.status, (PhaseStatus.GOOD, PhaseStatus.VACUUM))
    amounts = mixture.unclipped[summed].sum(axis=0)[np.newaxis]
    covariance = mixture.covariance[summed].sum(axis=0)[np.newaxis]
    change = mixture.by_calibration[summed].sum(axis=0)
    found = {}
    for kind in ("volume", "mass"):
        unit = mixture._unit(kind)
        fraction, std = shares(amounts, covariance, unit)
        moved = change * unit[:, np.newaxis]
        moved = (moved - fraction[0][:, np.newaxis] * moved.sum(axis=0)) / float(amounts[0] @ unit)
        found[kind] = fraction[0], std[0], np.sqrt((moved**2).sum(axis=1))
    best = mixture.dominant()[good]
    counted = inside & material
    area = np.bincount(best, minlength=k) / counted.sum()
    chance = _chance(mixture.thickness[good], mixture.covariance[good], best)
    area_std = np.sqrt((chance * (1.0 - chance)).sum(axis=0)) / counted.sum()
    return RegionPhases(
        mixture.phases,
        *found["volume"],
        *found["mass"],
        area,
        area_std,
        (int(good.sum()), int(inside.sum())),
        float(1.0 - good.sum() / counted.sum()),
    )


def share_interval(value: float, std: float) -> tuple[float, float]:
    """Shortest 68 % interval between 0 and 1 of a share whose estimate is normal, and may lie outside.

    Parameters
    ----------
    value, std
        Estimate and standard error.

    Returns
    -------
    low, high
        ``value - std`` and ``value + std`` far from 0 and 1; of a pure phase it ends there, and has a width.

    Examples
    --------
    >>> low, high = share_interval(0.5, 0.1)
    >>> round(low, 3), round(high, 3)
    (0.4, 0.6)
    >>> low, high = share_interval(1.02, 0.02)
    >>> round(low, 3), high
    (0.987, 1.0)
    """
    if not std > 0.0 or not np.isfinite(value):
        return (float(np.clip(value, 0.0, 1.0)),) * 2
    if value > 0.5:
        low, high = share_interval(1.0 - value, std)
        return 1.0 - high, 1.0 - low
    if value < _FAR * std:
        # The tail of a normal distribution falls exponentially.
        return 0.0, min(std**2 / -value * float(np.log(1.0 / (1.0 - _INSIDE))), 1.0)
    # Chances above 0 and above 1: those of tails keep their digits.
    above = float(special.ndtr(value / std)), float(special.ndtr((value - 1.0) / std))
    mass = above[0] - above[1]
    half = -float(special.ndtri(0.5 - 0.5 * _INSIDE * mass)) * std
    if value - half >= 0.0:
        return value - half, min(value + half, 1.0)
    return 0.0, min(value - std * float(special.ndtri(above[0] - _INSIDE * mass)), 1.0)


def _chance(amounts: FloatArray, covariance: FloatArray, best: NDArray[np.int64]) -> FloatArray:
    """Probability of each phase to be the largest, from the largest and its nearest rival, shape (N, K)."""
    n, k = amounts.shape
    rows = np.arange(n)
    chance = np.zeros((n, k))
    difference = amounts[rows, best][:, np.newaxis] - amounts
    variance = (
        covariance[rows, best, best][:, np.newaxis] + np.einsum("nkk->nk", covariance) - 2.0 * covariance[rows, best]
    )
    z = difference / np.sqrt(np.maximum(variance, 1e-30))
    z[rows, best] = np.inf
    rival = np.argmin(z, axis=1)
    chance[rows, best] = special.ndtr(z[rows, rival])
    chance[rows, rival] += 1.0 - chance[rows, best]
    return chance
