"""The distribution of the lithiated fraction in a region: two phases side by side, or one of varying composition?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.mixtures import Mixture, fit_mixture

POSITION = 0.2
"""How far from 0 and 1 the populations of the end members may lie. LixFePO4 in equilibrium has x = 0.05 and 0.89
(Yamada et al., Nat. Mater. 5, 357 (2006), doi 10.1038/nmat1634); the rest is left to the calibration."""
WIDTH = 0.1
"""Largest intrinsic width of the population of one phase."""
EVIDENCE = 6.0
"""Difference in BIC that is strong evidence (Kass and Raftery, J. Am. Stat. Assoc. 90, 773 (1995), doi
10.1080/01621459.1995.10476572)."""
FEWEST = 10
"""Pixels below which no distribution is fitted."""


class PopulationStatus(StrEnum):
    """What the distribution says."""

    TWO_PHASE = "two-phase"
    """Both end members lie side by side."""
    ONE_PHASE = "one phase"
    """There is one end member alone."""
    SOLID_SOLUTION = "solid solution"
    """There is one phase of intermediate or varying composition."""
    UNDECIDED = "undecided"
    """The distribution does not tell which."""


@dataclass(frozen=True)
class Populations:
    """Three readings of the distribution, the errors of the pixels taken out, and which of them holds.

    Parameters
    ----------
    one
        One population of any mean and width.
    two
        Delithiated and lithiated, in this order: narrow populations near 0 and near 1.
    bridged
        The same, and columns that cross both phases: evenly spread between the two.
    bic_difference
        BIC of ``one`` less that of the better of the two others: above 0 it speaks for two phases.
    likelihood_ratio
        Twice the log-likelihood of ``one`` less that of the best of the others: above 0 it speaks for one population,
        and not only because that has fewer parameters.
    status
        What follows; see :func:`fit_populations`.
    n_pixels, n_left_out
        Pixels used, and those without a fraction or without an error.
    """

    one: Mixture
    two: Mixture
    bridged: Mixture
    bic_difference: float
    likelihood_ratio: float
    status: PopulationStatus
    n_pixels: int
    n_left_out: int

    def __repr__(self) -> str:
        return f"Populations({self.status.value}, {self.n_pixels} pixels, BIC difference {self.bic_difference:.1f})"

    @property
    def phases(self) -> Mixture:
        """The better of the two readings with two phases."""
        return min(self.two, self.bridged, key=lambda mixture: mixture.bic)

    @property
    def accepted(self) -> Mixture:
        """The reading that the status goes with; the one of the smallest BIC where there is none."""
        if self.status is PopulationStatus.UNDECIDED:
            return min(self.one, self.phases, key=lambda mixture: mixture.bic)
        return self.phases if self.status is PopulationStatus.TWO_PHASE else self.one


def fit_populations(fraction: ArrayLike, std: ArrayLike, *, evidence: float = EVIDENCE) -> Populations:
    """Tell two phases from a solid solution by the distribution of the lithiated fraction, its errors taken out.

    Parameters
    ----------
    fraction
        Lithiated fraction of each pixel, any shape, not clipped; NaN is left out, and counted.
    std
        Standard error of each from counting, of the same shape.
    evidence
        How much a reading must be better than another, in BIC or in twice the log-likelihood.

    Returns
    -------
    populations
        Shares (of the pixels), means and intrinsic widths, with standard errors.

    Raises
    ------
    ValueError
        If the shapes differ, an error is not above 0, or fewer than 10 pixels have a fraction.

    Notes
    -----
    "Two-phase" needs a BIC that is better by ``evidence``, a share of either phase above two standard errors, and fewer
    bridging columns than pixels of one phase. "Solid solution" needs a likelihood that is better by as much: fewer
    parameters alone are no evidence against two phases, and at low dose nothing else would be left. "One phase" is a
    single narrow population within 0.2 of 0 or 1 by two standard errors, or such a one with less than a tenth of
    bridging columns. All else cannot be told.

    What a pixel tells is the mean of a column: a region whose every column crosses both phases in a like way is not
    told from a solid solution here, but by the shape of its spectra. Errors that are too small widen the populations,
    they do not move them; an error of the calibration moves them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> fraction = np.append(np.zeros(60), np.ones(140)) + rng.normal(0.0, 0.1, 200)
    >>> found = fit_populations(fraction, np.full(200, 0.1))
    >>> str(found.status), found.phases.share.round(1)
    ('two-phase', array([0.3, 0.7]))
    """
    values, errors = np.asarray(fraction, dtype=float), np.asarray(std, dtype=float)
    if values.shape != errors.shape:
        raise AssbValueError(
            f"fraction has the shape {values.shape}, but std has {errors.shape}: one error for each pixel is needed."
        )
    known = np.isfinite(values) & np.isfinite(errors)
    if known.sum() < FEWEST:
        raise AssbValueError(
            f"Only {known.sum()} of the {known.size} pixels have an x, and at least {FEWEST} are needed: choose a "
            "region that contains the electrode; the status map shows why pixels have no x."
        )
    values, errors = values[known], errors[known]
    if np.any(errors <= 0.0):
        raise AssbValueError(
            f"std must be above 0, but {np.sum(errors <= 0.0)} pixels have an x that claims to be exact."
        )
    ends = ((-POSITION, POSITION), (1.0 - POSITION, 1.0 + POSITION))
    one = fit_mixture(values, errors)
    two = fit_mixture(values, errors, mean_limits=ends, width_limit=WIDTH)
    bridged = fit_mixture(values, errors, mean_limits=ends, width_limit=WIDTH, bridge=True)
    bic_difference = one.bic - min(two.bic, bridged.bic)
    ratio = 2.0 * (one.log_likelihood - max(two.log_likelihood, bridged.log_likelihood))
    return Populations(
        one=one,
        two=two,
        bridged=bridged,
        bic_difference=bic_difference,
        likelihood_ratio=ratio,
        status=_judge(one, min(two, bridged, key=lambda m: m.bic), bic_difference, ratio, evidence),
        n_pixels=int(known.sum()),
        n_left_out=int(known.size - known.sum()),
    )


def _judge(one: Mixture, phases: Mixture, bic_difference: float, ratio: float, evidence: float) -> PopulationStatus:
    """The rules in the notes of :func:`fit_populations`."""
    bridge = float(phases.share[2]) if phases.bridge else 0.0
    # A share without a standard error stands at its limit: that phase is not there.
    there = phases.share[:2] > 2.0 * phases.share_std[:2]
    if bic_difference >= evidence:
        if there.all() and bridge < 0.5:
            return PopulationStatus.TWO_PHASE
        return (
            PopulationStatus.ONE_PHASE
            if there.any() and not there.all() and bridge < 0.1
            else PopulationStatus.UNDECIDED
        )
    if bic_difference <= -evidence:
        away = float(np.min(np.abs(one.mean[0] - np.array([0.0, 1.0]))))
        if away + 2.0 * one.mean_std[0] <= POSITION and one.width[0] <= WIDTH:
            return PopulationStatus.ONE_PHASE
        if ratio >= evidence:
            return PopulationStatus.SOLID_SOLUTION
    return PopulationStatus.UNDECIDED
