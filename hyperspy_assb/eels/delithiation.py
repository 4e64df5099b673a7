"""Lithium content x of LixFePO4 from fitted low-loss spectra, calibrated on pure pixels of the same data.

The joint fit describes the single-scattering distribution of a pixel by linear parameters: areal densities of atoms,
the area of the 5 eV band, coefficients of the valence continuum. Phases that lie above each other in the column add in
every one of them, so that each phase is a vector, measured on its pure pixels. A pixel is the sum of such vectors. The
valence estimate takes the 5 eV area per Fe, the lithium estimate the Li K edge per Fe, both after what the other phases
add to them; how much there is of these is told by all other parameters together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.fitting.kernels import FloatArray

OLIVINE = ("LiFePO4", "FePO4")
SIGNATURES = {"valence": "FePO4ValenceBand", "lithium": "Li_K"}
"""The parameter of the joint fit that tells x, for each method."""
VACUUM = 0.02
"""t/lambda up to which a pixel is taken for vacuum."""
THICK = 1.0
"""t/lambda above which an answer is flagged: the cube of the scattering probability is no longer small."""


class DelithiationStatus(IntEnum):
    """Why a pixel has the x that it has, or none."""

    QUANTIFIED = 0
    THICK = 1
    UNEXPLAINED = 2
    NO_OLIVINE = 3
    NOT_FITTED = 4

    @property
    def answered(self) -> bool:
        """Whether the pixel has an x."""
        return self in (DelithiationStatus.QUANTIFIED, DelithiationStatus.THICK, DelithiationStatus.UNEXPLAINED)


@dataclass(frozen=True)
class Features:
    """Linear parameters of a joint fit, for many pixels.

    Parameters
    ----------
    names
        Names of the K parameters.
    values
        Shape (S, K); NaN in pixels without a fit.
    covariance
        Shape (S, K, K).
    t_over_lambda
        Logarithm of all counts over the zero loss, shape (S,).
    """

    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    t_over_lambda: FloatArray

    def index(self, name: str) -> int:
        """Column of a parameter.

        Raises
        ------
        ValueError
            If the model that was fitted does not have it.
        """
        if name not in self.names:
            raise ValueError(
                f"The fit has no {name}, but only {', '.join(self.names)}: check elements and energy range."
            )
        return self.names.index(name)


@dataclass(frozen=True)
class Calibration:
    """What each phase adds to every parameter.

    A phase of the share ``a`` of t/lambda adds ``a * (slope * t/lambda + offset)``: the offset is what does not grow
    with thickness, such as surface losses and what the line shape misses of the tail of the zero loss.

    Parameters
    ----------
    phases
        Names of the R phases, the olivines first.
    slope, offset
        Shape (R, K).
    covariance
        Covariance of slope and offset of each parameter, shape (R, K, 2, 2).
    model_variance
        Variance of each parameter at t/lambda = 1 beyond counting, from the scatter of the pure pixels, shape (K,).
    n_pixels
        Pure pixels used for each phase, shape (R,).
    """

    phases: tuple[str, ...]
    slope: FloatArray
    offset: FloatArray
    covariance: FloatArray
    model_variance: FloatArray
    n_pixels: NDArray[np.int_]

    def per_thickness(self, t_over_lambda: FloatArray) -> FloatArray:
        """What each phase adds per t/lambda to a column of given t/lambda, shape (S, R, K)."""
        return self.slope + self.offset / t_over_lambda[:, np.newaxis, np.newaxis]

    def variance(self, t_over_lambda: FloatArray, parameter: int) -> FloatArray:
        """Variance of :meth:`per_thickness` for one parameter, shape (S, R)."""
        direction = np.stack([np.ones_like(t_over_lambda), 1.0 / t_over_lambda], axis=-1)
        return np.einsum("sa,rab,sb->sr", direction, self.covariance[:, parameter], direction)


@dataclass(frozen=True)
class LithiumContent:
    """x of LixFePO4 for many pixels.

    Parameters
    ----------
    x
        Shape (S,), never clipped; NaN where there is no answer.
    x_std
        Standard error from counting, shape (S,).
    x_systematic
        Standard uncertainty from the calibration and from what pure pixels scatter beyond counting, shape (S,).
    significance
        How many standard errors FePO4 is above nothing (valence) or Li above nothing (lithium), shape (S,).
    detection_limit
        Smallest share of FePO4 (valence) or of LiFePO4 (lithium) that is found 95 times of 100, shape (S,).
    olivine_fraction
        Share of the olivines in t/lambda, shape (S,).
    status
        :class:`DelithiationStatus` as integers, shape (S,).
    """

    x: FloatArray
    x_std: FloatArray
    x_systematic: FloatArray
    significance: FloatArray
    detection_limit: FloatArray
    olivine_fraction: FloatArray
    status: NDArray[np.int8]


def calibrate(
    features: Features, references: Mapping[str, NDArray[np.bool_]], *, minimum_pixels: int = 3
) -> Calibration:
    """Measure what each phase adds on its pure pixels, by a straight line against t/lambda.

    Parameters
    ----------
    features
        Parameters of all pixels.
    references
        Pure pixels of each phase, shape (S,) each. "LiFePO4" and "FePO4" are needed; the others ("LAGP", "carbon") are
        whatever else lies in the columns.
    minimum_pixels
        How many fitted pixels a phase needs.

    Returns
    -------
    calibration
        The phases in the order given, the olivines first.

    Raises
    ------
    ValueError
        If an olivine is missing, or a phase has too few fitted pixels; it is named.

    Notes
    -----
    The offsets of the phases share their mean; each may leave it by about a tenth of what a phase adds at t/lambda = 1
    (a normal prior), which is what decides where the pure pixels of a phase are all of one thickness.
    """
    missing = [phase for phase in OLIVINE if phase not in references]
    if missing:
        raise ValueError(f"references must name pure pixels of {' and '.join(missing)}.")
    phases = (*OLIVINE, *(p for p in references if p not in OLIVINE))
    fitted = np.isfinite(features.values).all(axis=1) & (features.t_over_lambda > VACUUM)
    members = []
    for phase in phases:
        rows = np.flatnonzero(np.asarray(references[phase], dtype=bool) & fitted)
        if rows.size < minimum_pixels:
            raise ValueError(
                f"references[{phase!r}] holds {rows.size} fitted pixels; at least {minimum_pixels} are needed."
            )
        members.append(rows)
    count = len(phases)
    rows = np.concatenate(members)
    thickness = features.t_over_lambda[rows]
    # Columns: the slopes, the offset that all share, and what each phase has more.
    belongs = np.repeat(np.eye(count), [m.size for m in members], axis=0)
    design = np.hstack([belongs * thickness[:, np.newaxis], np.ones((rows.size, 1)), belongs])
    # Thick pixels scatter more in every parameter; the weights matter little, so one serves for all of them.
    weight = 1.0 / (0.1 + thickness)
    values = features.values[rows]
    size = len(features.names)
    slope, offset = np.empty((count, size)), np.empty((count, size))
    covariance, residual = np.empty((count, size, 2, 2)), np.empty_like(values)
    typical = np.array(
        [np.abs(values[belongs[:, r] > 0] / thickness[belongs[:, r] > 0, np.newaxis]).mean(0) for r in range(count)]
    )
    for k in range(size):
        width = 0.1 * max(typical[:, k].max(), 1e-300)
        noise = np.sqrt(np.mean(features.covariance[rows, k, k] * weight**2))
        for _ in range(2):  # the second time with the scatter that is really there
            prior = np.hstack([np.zeros((count, count + 1)), np.eye(count) * noise / width])
            matrix = np.vstack([design * weight[:, np.newaxis], prior])
            inverse = np.linalg.pinv(matrix)
            solution = inverse[:, : rows.size] @ (values[:, k] * weight)
            residual[:, k] = values[:, k] - design @ solution
            noise = max(noise, float(np.sqrt(np.mean((residual[:, k] * weight) ** 2))))
        spread = noise**2 * (inverse @ inverse.T)
        slope[:, k] = solution[:count]
        offset[:, k] = solution[count] + solution[count + 1 :]
        for r in range(count):
            pick = np.zeros((2, design.shape[1]))
            pick[0, r] = pick[1, count] = pick[1, count + 1 + r] = 1.0
            covariance[r, k] = pick @ spread @ pick.T
    counting = np.einsum("skk->sk", features.covariance[rows])
    freedom = rows.size / max(rows.size - 2 * count, 1)
    excess = np.sum(freedom * residual**2 - counting, axis=0) / np.sum(np.maximum(thickness, 0.05) ** 2)
    return Calibration(
        phases=phases,
        slope=slope,
        offset=offset,
        covariance=covariance,
        model_variance=np.maximum(excess, 0.0),
        n_pixels=np.array([m.size for m in members]),
    )


def estimate_lithium_content(
    features: Features,
    calibration: Calibration,
    method: str,
    *,
    minimum_olivine: float = 0.1,
    unexplained: float = 5.0,
) -> LithiumContent:
    """Lithium content of every pixel from one signature.

    Parameters
    ----------
    features
        Parameters of all pixels.
    calibration
        What each phase adds.
    method
        "valence" (area of the 5 eV band per Fe) or "lithium" (Li K per Fe).
    minimum_olivine
        Share of the olivines in t/lambda below which a pixel gets no x.
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
    if method not in SIGNATURES:
        raise ValueError(f"method must be one of {', '.join(map(repr, SIGNATURES))}, not {method!r}.")
    key = features.index(SIGNATURES[method])
    count = features.values.shape[0]
    fitted = np.isfinite(features.values).all(axis=1) & np.isfinite(features.t_over_lambda)
    good = np.flatnonzero(fitted & (features.t_over_lambda > VACUUM))
    thickness = features.t_over_lambda[good]
    mixture = calibration.per_thickness(thickness)
    # One Fe a formula unit, and mean free paths that agree within 1 or 2 %: t/lambda counts Fe atoms.
    iron = np.array([reference.phase(phase).atom_density("Fe") for phase in OLIVINE])
    contrast = mixture[:, 0, key] / iron[0] - mixture[:, 1, key] / iron[1]
    end_variance = calibration.variance(thickness, key)
    _check_contrast(calibration, key, SIGNATURES[method])

    only_olivine = len(calibration.phases) == len(OLIVINE)
    others = [k for k, name in enumerate(features.names) if name not in SIGNATURES.values()]
    if only_olivine:
        others = [features.index("Fe_M23")]  # nothing is known of other phases: Fe alone counts the olivine
    used = np.array([*others, key])
    # Unknowns: Fe in LiFePO4 and in FePO4 (or in both), t/lambda of every other phase, the signature of the olivine.
    olivine = mixture[:, :2, others] / iron[:, np.newaxis]
    if only_olivine:
        olivine = olivine.mean(axis=1, keepdims=True)
    first = olivine.shape[1]
    rest = mixture[:, 2:, used]
    design = np.zeros((good.size, used.size, first + rest.shape[1] + 1))
    design[:, :-1, :first] = olivine.transpose(0, 2, 1)
    design[:, :, first:-1] = rest.transpose(0, 2, 1)
    design[:, -1, -1] = 1.0
    values = features.values[np.ix_(good, used)]
    counting = features.covariance[np.ix_(good, used, used)]
    size = np.maximum(thickness, 0.05) ** 2
    total = counting + size[:, np.newaxis, np.newaxis] * np.diag(calibration.model_variance[used])
    solution, estimator, chi_squared = _generalised_least_squares(design, values, total)
    freedom = max(used.size - design.shape[2], 1)

    fe = solution[:, :first].sum(axis=1)
    some = np.where(fe == 0.0, np.nan, fe)  # no Fe at all: no x
    x = (solution[:, -1] / some - mixture[:, 1, key] / iron[1]) / contrast
    gradient = np.zeros_like(solution)
    gradient[:, -1] = 1.0 / (some * contrast)
    gradient[:, :first] = -(solution[:, -1] / some**2 / contrast)[:, np.newaxis]
    direction = np.einsum("sp,spk->sk", gradient, estimator)
    variance = np.einsum("sk,skl,sl->s", direction, counting, direction)
    systematic = size * np.sum(direction**2 * calibration.model_variance[used], axis=1)
    # An error of an end member moves x along with it; one of another phase moves the signature by its amount.
    systematic += x**2 * end_variance[:, 0] / (iron[0] * contrast) ** 2
    systematic += (1 - x) ** 2 * end_variance[:, 1] / (iron[1] * contrast) ** 2
    amounts = solution[:, first:-1] / (some * contrast)[:, np.newaxis]
    systematic += np.sum(amounts**2 * end_variance[:, 2:], axis=1)

    fe_weights = estimator[:, :first].sum(axis=1)
    fe_std = np.sqrt(np.einsum("sk,skl,sl->s", fe_weights, counting, fe_weights))
    fraction = fe / iron.mean() / thickness
    status = np.full(good.size, DelithiationStatus.QUANTIFIED, dtype=np.int8)
    status[chi_squared / freedom > unexplained] = DelithiationStatus.UNEXPLAINED
    status[thickness > THICK] = DelithiationStatus.THICK
    status[(fraction < minimum_olivine) | (fe < 3.0 * fe_std)] = DelithiationStatus.NO_OLIVINE
    answered = status != DelithiationStatus.NO_OLIVINE

    def spread(result: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
        out = np.full(count, np.nan)
        out[good] = np.where(where, result, np.nan)
        return out

    error = np.sqrt(variance + systematic)
    share = 1.0 - x if method == "valence" else x
    full_status = np.full(count, DelithiationStatus.NOT_FITTED, dtype=np.int8)
    full_status[fitted] = DelithiationStatus.NO_OLIVINE
    full_status[good] = status
    return LithiumContent(
        x=spread(x, answered),
        x_std=spread(np.sqrt(variance), answered),
        x_systematic=spread(np.sqrt(systematic), answered),
        significance=spread(share / error, answered),
        detection_limit=spread(3.29 * error, answered),  # Currie, Anal. Chem. 40, 586 (1968), paired 5 % errors
        olivine_fraction=spread(fraction, np.ones(good.size, dtype=bool)),
        status=full_status,
    )


def _check_contrast(calibration: Calibration, key: int, name: str) -> None:
    """Raise if the end members cannot be told apart at t/lambda = 1."""
    one = np.ones(1)
    ends = calibration.per_thickness(one)[0, :2, key]
    if abs(ends[0] - ends[1]) < 3.0 * np.sqrt(calibration.variance(one, key)[0, :2].sum()):
        raise ValueError(
            f"The references do not differ in {name} by more than three standard errors: "
            "check that they are pure LiFePO4 and FePO4."
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
