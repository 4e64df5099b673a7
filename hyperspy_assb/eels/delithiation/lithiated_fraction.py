"""Lithiated fraction of an electrode from fitted low-loss spectra, calibrated on pure pixels of the same data.

The fraction is 1 in the lithiated end member and 0 in the delithiated one, whichever ion it is that moves.

The joint fit describes the single-scattering distribution of a pixel by linear parameters: areal densities of atoms,
the area of the 5 eV band, coefficients of the valence continuum. Phases that lie above each other in the column add in
every one of them, so that each phase is a vector, measured on its pure pixels. A pixel is the sum of such vectors. The
valence estimate takes the 5 eV area per formula unit of the host, the lithium estimate the Li K edge, both after what
the other phases add to them; how much there is of these is told by all other parameters together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.eels.delithiation.end_members import SIGNATURES
from hyperspy_assb.eels.delithiation.standard import (
    DETECTED,
    LEAST_ELECTRODE,
    VACUUM,
    Calibration,
)
from hyperspy_assb.eels.scattering.joint_model import Features
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

DETECTION_LIMIT = 3.29
"""Standard errors of nothing that are found 95 times of 100, at 5 false alarms: Currie, Anal. Chem. 40, 586 (1968)."""
MOST_HOSTS = 5.0
"""Times the host that every channel tells, or part of it, which a signature may find and count in a combination."""
THICK = 1.0
"""t/lambda above which an answer is flagged: the cube of the scattering probability is no longer small."""


class DelithiationStatus(IntEnum):
    """Why a pixel has the x that it has, or none; each member has a ``sentence``."""

    QUANTIFIED = 0, "x is known, and nothing is held against it"
    THICK = 1, "t/λ is above 1: x is given, but the column is thicker than the method allows"
    UNEXPLAINED = 2, "there is an x, of a spectrum that the references do not explain"
    NO_ELECTRODE = 3, "the column holds too little electrode, or none above the noise: no x"
    NOT_FITTED = 4, "the spectrum could not be fitted: there is no x"
    DISAGREES = 5, "there is an x, but the estimates that it combines contradict each other"
    UNCERTAIN = 6, "there is an x, but too uncertain to separate the end members"
    OUTSIDE = 8, "the references do not explain the spectrum, and t/λ, zero loss or dose are not like theirs"
    NOT_COUNTS = 7, "there is an x of unknown error: the spectra were put together from a few (PCA, NMF)"

    sentence: str

    def __new__(cls, value: int, sentence: str) -> DelithiationStatus:
        """A member with its sentence."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    @property
    def answered(self) -> bool:
        """Whether the pixel has an x."""
        return self not in (DelithiationStatus.NO_ELECTRODE, DelithiationStatus.NOT_FITTED)


UNRELIABLE = (DelithiationStatus.UNEXPLAINED, DelithiationStatus.OUTSIDE, DelithiationStatus.NOT_COUNTS)
"""Statuses of pixels that are in no find and no population: their errors do not hold."""


@dataclass(frozen=True)
class Estimate:
    """The lithiated fraction by one method, for S pixels; NaN where there is none.

    Parameters
    ----------
    fraction
        Shape (S,).
    variance
        From counting, shape (S,).
    systematic
        Variance from all else, shape (S,).
    null_variance
        Variance of the same kind that a pixel of the lithiated end member (of the delithiated one, for "lithium") would
        have, shape (S,).
    direction
        Derivative of the fraction by the features, shape (S, K); None where it does not come from features.
    hosts
        Formula units of the host that it is the ratio to, shape (S,); None: of all estimates alike.
    at
        The same with errors and direction as they are if the fraction is another than the one found, shape (S,). A
        fraction is a ratio: its errors at what is found depend on the noise in it.
    """

    fraction: FloatArray
    variance: FloatArray
    systematic: FloatArray
    null_variance: FloatArray
    direction: FloatArray | None = None
    hosts: FloatArray | None = None
    at: Callable[[FloatArray], Estimate] | None = None

    @property
    def error(self) -> FloatArray:
        """Standard error from everything, shape (S,)."""
        return np.sqrt(self.variance + self.systematic)


@dataclass(frozen=True)
class LithiatedFraction:
    """Lithiated fraction of many pixels.

    Parameters
    ----------
    fraction
        Shape (S,), never clipped; NaN where there is no answer.
    fraction_std
        Standard error from counting, shape (S,).
    fraction_systematic
        Standard uncertainty from the calibration and from what pure pixels scatter beyond counting, shape (S,).
    significance
        How many standard errors the delithiated end member (the lithiated one, for "lithium") is above nothing, shape
        (S,).
    detection_limit
        Smallest share of that end member that is found 95 times of 100, shape (S,).
    electrode_share
        Share of the electrode in t/lambda, shape (S,).
    status
        :class:`DelithiationStatus` as integers, shape (S,).
    """

    fraction: FloatArray
    fraction_std: FloatArray
    fraction_systematic: FloatArray
    significance: FloatArray
    detection_limit: FloatArray
    electrode_share: FloatArray
    status: NDArray[np.int8]


def estimate_fraction(
    features: Features,
    calibration: Calibration,
    method: str,
    *,
    minimum_electrode: float = LEAST_ELECTRODE,
    unexplained: float = 5.0,
) -> LithiatedFraction:
    """Lithiated fraction of every pixel from one signature.

    Parameters
    ----------
    features
        Parameters of all pixels.
    calibration
        What each phase adds.
    method
        "valence" (area of the 5 eV band) or "lithium" (Li K), per formula unit of the host.
    minimum_electrode
        Share of the electrode in t/lambda below which a pixel gets no x.
    unexplained
        Reduced chi-squared of the mixture above which a pixel is flagged.

    Returns
    -------
    content
        One entry a pixel.

    Raises
    ------
    ValueError
        If the method is not known, or the references do not differ in its signature.
    """
    found = estimate_from_features(features, calibration, method)
    fitted = np.isfinite(features.values).all(axis=1) & np.isfinite(features.t_over_lambda)
    status = np.full(fitted.size, DelithiationStatus.QUANTIFIED, dtype=np.int8)
    with np.errstate(invalid="ignore"):
        status[found.chi_squared > unexplained] = DelithiationStatus.UNEXPLAINED
        status[features.t_over_lambda > THICK] = DelithiationStatus.THICK
        enough = (found.electrode_share >= minimum_electrode) & (found.host_significance >= DETECTED)
    status[~enough] = DelithiationStatus.NO_ELECTRODE
    status[~fitted] = DelithiationStatus.NOT_FITTED
    return content(found.estimate, method, found.electrode_share, status)


def content(
    estimate: Estimate, method: str, electrode_share: FloatArray, status: NDArray[np.int8]
) -> LithiatedFraction:
    """What is told of an estimate: significance and detection limit, and nothing where the status gives no answer."""
    answered = ~np.isin(status, (DelithiationStatus.NO_ELECTRODE, DelithiationStatus.NOT_FITTED))

    def told(values: FloatArray) -> FloatArray:
        return np.where(answered, values, np.nan)

    share = estimate.fraction if method == "lithium" else 1.0 - estimate.fraction
    return LithiatedFraction(
        fraction=told(estimate.fraction),
        fraction_std=told(np.sqrt(estimate.variance)),
        fraction_systematic=told(np.sqrt(estimate.systematic)),
        significance=told(share / estimate.error),
        detection_limit=told(DETECTION_LIMIT * np.sqrt(estimate.null_variance)),
        electrode_share=electrode_share,
        status=status,
    )


@dataclass(frozen=True)
class SignatureEstimate:
    """The fraction from one signature, and what the same mixture of phases says besides.

    Parameters
    ----------
    estimate
        Shape (S,).
    electrode_share
        Share of the electrode in t/lambda, shape (S,).
    host_significance
        Formula units of the host over their standard error, shape (S,).
    chi_squared
        Reduced chi-squared of the mixture, shape (S,).
    """

    estimate: Estimate
    electrode_share: FloatArray
    host_significance: FloatArray
    chi_squared: FloatArray


def estimate_from_features(features: Features, calibration: Calibration, method: str) -> SignatureEstimate:
    """The fraction of every pixel from one signature, whatever it is worth; see :func:`estimate_fraction`."""
    if method not in SIGNATURES:
        raise AssbValueError(f"method must be one of {', '.join(map(repr, SIGNATURES))}, not {method!r}.")
    key = features.index(SIGNATURES[method])
    fitted = np.isfinite(features.values).all(axis=1) & np.isfinite(features.t_over_lambda)
    good = np.flatnonzero(fitted & (features.t_over_lambda > VACUUM))
    thickness, hosts = features.t_over_lambda[good], calibration.hosts
    mixture = calibration.per_thickness(thickness)
    contrast = mixture[:, 0, key] / hosts[0] - mixture[:, 1, key] / hosts[1]
    end_variance = calibration.variance(thickness, key)
    calibration.check_contrast(features.names, method)

    alone = len(calibration.phases) == 2
    others = [k for k, name in enumerate(features.names) if name not in SIGNATURES.values()]
    if alone and calibration.counted_by:
        others = [features.index(calibration.counted_by)]  # nothing is known of other phases: one edge counts the host
    used = np.array([*others, key])
    # Unknowns: formula units in the lithiated and in the delithiated member (or in both), t/lambda of every other
    # phase, the signature of the electrode.
    electrode = mixture[:, :2, others] / hosts[:, np.newaxis]
    if alone:
        electrode = electrode.mean(axis=1, keepdims=True)
    first = electrode.shape[1]
    rest = mixture[:, 2:, used]
    design = np.zeros((good.size, used.size, first + rest.shape[1] + 1))
    design[:, :-1, :first] = electrode.transpose(0, 2, 1)
    design[:, :, first:-1] = rest.transpose(0, 2, 1)
    design[:, -1, -1] = 1.0
    values = features.values[np.ix_(good, used)]
    counting = features.covariance[np.ix_(good, used, used)]
    size = np.maximum(thickness, 0.05) ** 2
    scatter = calibration.model_variance[used]
    total = counting + size[:, np.newaxis, np.newaxis] * np.diag(scatter)
    solution, estimator, chi_squared = _generalised_least_squares(design, values, total)
    freedom = max(used.size - design.shape[2], 1)

    units = solution[:, :first].sum(axis=1)
    some = np.where(units == 0.0, np.nan, units)  # nothing of the host at all: no fraction
    per_host = solution[:, -1] / some
    fraction = (per_host - mixture[:, 1, key] / hosts[1]) / contrast

    def derivative(signature_per_host: FloatArray) -> FloatArray:
        gradient = np.zeros_like(solution)
        gradient[:, -1] = 1.0 / (some * contrast)
        gradient[:, :first] = -(signature_per_host / some / contrast)[:, np.newaxis]
        return np.einsum("sp,spk->sk", gradient, estimator)

    def variances(direction: FloatArray, lithiated: FloatArray) -> tuple[FloatArray, FloatArray]:
        variance = np.einsum("sk,skl,sl->s", direction, counting, direction)
        systematic = size * np.sum(direction**2 * scatter, axis=1)
        # An error of an end member moves the fraction with it; one of another phase moves the signature by its amount.
        systematic += lithiated**2 * end_variance[:, 0] / (hosts[0] * contrast) ** 2
        systematic += (1 - lithiated) ** 2 * end_variance[:, 1] / (hosts[1] * contrast) ** 2
        amounts = solution[:, first:-1] / (some * contrast)[:, np.newaxis]
        return variance, systematic + np.sum(amounts**2 * end_variance[:, 2:], axis=1)

    null = 1 if method == "lithium" else 0
    at_null = derivative(np.broadcast_to(mixture[:, null, key] / hosts[null], fraction.shape))
    weights = estimator[:, :first].sum(axis=1)
    units_std = np.sqrt(np.einsum("sk,skl,sl->s", weights, counting, weights))

    def spread(result: FloatArray) -> FloatArray:
        out = np.full((fitted.size, *result.shape[1:]), np.nan)
        out[good] = result
        return out

    null_variance = spread(np.sum(variances(at_null, np.full_like(fraction, 1.0 - null)), axis=0))

    def at(lithiated: FloatArray) -> Estimate:
        own = lithiated[good]
        direction = derivative(own * contrast + mixture[:, 1, key] / hosts[1])
        variance, systematic = variances(direction, own)
        by_feature = np.zeros((good.size, len(features.names)))
        by_feature[:, used] = direction
        return Estimate(
            spread(fraction), spread(variance), spread(systematic), null_variance, spread(by_feature), spread(units)
        )

    share = hosts[0] + hosts[1]
    return SignatureEstimate(
        replace(at(spread(fraction)), at=at),  # a function that knew itself would keep all this in memory
        spread(2.0 * units / share / thickness),
        spread(units / units_std),
        spread(chi_squared / freedom),
    )


def _generalised_least_squares(
    design: FloatArray, values: FloatArray, covariance: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Solution (S, P), the linear map that gives it (S, P, K), and chi-squared (S,), for a design (S, K, P)."""
    root = np.sqrt(np.einsum("skk->sk", covariance))
    outer = root[:, :, np.newaxis] * root[:, np.newaxis, :]
    weight = np.linalg.inv(covariance / outer) / outer
    scale = np.sqrt(np.einsum("skp,skl,slp->sp", design, weight, design))[:, np.newaxis, :]
    left = (design / scale).transpose(0, 2, 1) @ weight
    estimator = np.linalg.solve(left @ (design / scale), left) / scale.transpose(0, 2, 1)
    solution = np.einsum("spk,sk->sp", estimator, values)
    residual = values - np.einsum("skp,sp->sk", design, solution)
    return solution, estimator, np.einsum("sk,skl,sl->s", residual, weight, residual)


def widened(estimate: Estimate, covariance: FloatArray) -> Estimate:
    """The estimate with what a covariance of the features, shape (S, K, K), adds to its systematic uncertainty."""
    direction, at = _direction(estimate), estimate.at
    more = np.asarray(np.einsum("sk,skl,sl->s", direction, covariance, direction))
    return replace(
        estimate,
        systematic=estimate.systematic + more,
        null_variance=estimate.null_variance + more,
        at=None if at is None else lambda fraction: widened(at(fraction), covariance),
    )


def combine(
    estimates: dict[str, Estimate], features: Features, hidden: FloatArray | None = None
) -> tuple[Estimate, FloatArray]:
    """The best combination of the estimates, and whether they agree.

    Parameters
    ----------
    estimates
        "references", and those of "valence" and "lithium" for which the electrode has a signature.
    features
        What the latter were made from.
    hidden
        Covariance of the features that none of the estimates states yet, shape (S, K, K).

    Returns
    -------
    combined
        Generalised least squares with the covariance of all of them; without signatures, "references" itself.
    agreement
        p value of chi-squared with one degree of freedom for each signature, shape (S,); NaN where there is none.

    Notes
    -----
    The estimate that uses every channel cannot be improved by a part of them, so that its covariance with each of the
    others is its own variance, and that of their differences from it is the difference of the variances (Hausman,
    Econometrica 46, 1251 (1978)). Systematic errors are taken as independent.

    All are ratios to the host that each finds. How far they are from the combination, and the errors of that, are taken
    at its fraction and for one host, so that neither depends on the noise of the denominators (Fieller, J. R. Stat.
    Soc. B 16, 175 (1954)).
    """
    whole = estimates["references"]
    parts = [estimates[method] for method in SIGNATURES if method in estimates]
    agreement = np.full(whole.fraction.size, np.nan)
    if not parts:
        return (whole if hidden is None else widened(whole, hidden)), agreement
    known = np.isfinite(whole.error) & np.all([np.isfinite(part.fraction + part.error) for part in parts], axis=0)
    rows, found = np.flatnonzero(known), [whole, *parts]
    fraction = np.stack([estimate.fraction for estimate in found], axis=-1)[rows]
    hosts = np.stack([_hosts(estimate) for estimate in found], axis=-1)[rows]
    relative = np.clip(hosts / hosts[:, :1], 1.0 / MOST_HOSTS, MOST_HOSTS)
    outer, mean = relative[:, :, np.newaxis] * relative[:, np.newaxis], whole.fraction.copy()
    for _ in range(2):  # the second time at the fraction of the first
        every = [estimate.at(mean) if estimate.at is not None else estimate for estimate in found]
        counting, systematic = _covariances(every, features, hidden, rows, outer)
        inverse = np.linalg.inv(counting + systematic)
        weights = inverse.sum(axis=2)
        weights /= weights.sum(axis=1, keepdims=True)
        away = (fraction - mean[rows, np.newaxis]) * relative
        shift = np.sum(weights * away, axis=1, keepdims=True)
        mean[rows] += shift[:, 0]
    residual = away - shift
    agreement[rows] = stats.chi2.sf(np.einsum("si,sij,sj->s", residual, inverse, residual), len(parts))
    # Where a signature gives nothing, the whole spectrum answers alone.
    whole = whole if hidden is None else widened(whole, hidden)
    out = {name: getattr(whole, name).copy() for name in ("fraction", "variance", "systematic", "null_variance")}
    out["fraction"][rows] = mean[rows]
    out["variance"][rows] = np.einsum("si,sij,sj->s", weights, counting, weights)
    out["systematic"][rows] = np.einsum("si,sij,sj->s", weights, systematic, weights)
    before = whole.variance[rows] + whole.systematic[rows]
    out["null_variance"][rows] *= (out["variance"][rows] + out["systematic"][rows]) / before
    return Estimate(**out), agreement


def _covariances(
    estimates: list[Estimate], features: Features, hidden: FloatArray | None, rows: NDArray[np.intp], outer: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """From counting, and from all else, of the estimate by every channel and of N - 1 others, shape (S, N, N) each.

    ``outer`` is the product of the hosts of each pair over the square of the first.
    """
    whole, parts = estimates[0], estimates[1:]
    direction = np.stack([_direction(part)[rows] for part in parts], axis=1)
    between = np.einsum("sik,skl,sjl->sij", direction, features.covariance[rows], direction) * outer[:, 1:, 1:]
    counting = whole.variance[rows]
    # An estimate of less variance than the best possible one owes it to the errors of both.
    values, vectors = np.linalg.eigh(between - counting[:, np.newaxis, np.newaxis])
    values = np.maximum(values, 1e-3 * counting[:, np.newaxis])
    covariance = np.zeros((rows.size, len(estimates), len(estimates)))
    covariance[:, 1:, 1:] = np.einsum("sia,sa,sja->sij", vectors, values, vectors)
    covariance += counting[:, np.newaxis, np.newaxis]
    systematic = np.stack([estimate.systematic[rows] for estimate in estimates], axis=-1)
    shared = np.einsum("si,ij->sij", systematic, np.eye(len(estimates)))
    if hidden is not None:
        direction = np.stack([_direction(estimate)[rows] for estimate in estimates], axis=1)
        shared += np.einsum("sik,skl,sjl->sij", direction, hidden[rows], direction)
    return covariance, shared * outer


def _hosts(estimate: Estimate) -> FloatArray:
    return np.ones(estimate.fraction.size) if estimate.hosts is None else estimate.hosts


def _direction(estimate: Estimate) -> FloatArray:
    assert estimate.direction is not None
    return estimate.direction
