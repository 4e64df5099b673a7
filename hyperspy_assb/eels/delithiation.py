"""Lithium content x of LixFePO4 from fitted low-loss spectra, calibrated on pure pixels of the same data.

The joint fit describes the single-scattering distribution of a pixel by linear parameters: areal densities of atoms, the
area of the 5 eV band, coefficients of the valence continuum. Phases that lie above each other in the column add in
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
            raise ValueError(f"The fit has no {name}, but only {', '.join(self.names)}: check elements and energy range.")
        return self.names.index(name)


@dataclass(frozen=True)
class Calibration:
    """What one unit of each phase adds to every parameter.

    Parameters
    ----------
    phases
        Names of the R phases.
    per_unit
        Shape (R, K), for the olivines per Fe atom in the area of 1 nm^2 and the depth of one mean free path, over this
        path in nm; for the others per t/lambda.
    per_unit_covariance
        Shape (R, K, K).
    offset
        What every spectrum holds whatever its thickness, shape (K,): tails of the zero loss, surface losses.
    model_variance
        Variance of each parameter at t/lambda = 1 beyond counting, from the scatter of the pure pixels, shape (K,).
    thickness_per_unit
        t/lambda of one unit, shape (R,).
    n_pixels
        Pure pixels used for each phase, shape (R,).
    """

    phases: tuple[str, ...]
    per_unit: FloatArray
    per_unit_covariance: FloatArray
    offset: FloatArray
    model_variance: FloatArray
    thickness_per_unit: FloatArray
    n_pixels: NDArray[np.int_]


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


def calibrate(features: Features, references: Mapping[str, NDArray[np.bool_]], *, minimum_pixels: int = 3) -> Calibration:
    """Measure the vector of each phase on its pure pixels.

    Parameters
    ----------
    features
        Parameters of all pixels.
    references
        Pure pixels of each phase, shape (S,) each. "LiFePO4" and "FePO4" are needed; the others ("LAGP", "carbon") are
        whatever else lies in the columns; "vacuum" helps to tell what does not depend on thickness.
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
    """
    missing = [phase for phase in OLIVINE if phase not in references]
    if missing:
        raise ValueError(f"references must name pure pixels of {' and '.join(missing)}.")
    phases = (*OLIVINE, *(p for p in references if p not in (*OLIVINE, "vacuum")))
    fitted = np.isfinite(features.values).all(axis=1) & np.isfinite(features.t_over_lambda)
    members = []
    for phase in phases:
        rows = np.flatnonzero(np.asarray(references[phase], dtype=bool) & fitted)
        if rows.size < minimum_pixels:
            raise ValueError(
                f"references[{phase!r}] holds {rows.size} fitted pixels; at least {minimum_pixels} are needed."
            )
        members.append(rows)
    vacuum = np.flatnonzero(np.asarray(references.get("vacuum", np.zeros(fitted.size)), dtype=bool) & fitted)
    rows = np.concatenate([*members, vacuum])
    design = np.zeros((rows.size, len(phases) + 1))
    start = 0
    for column, member in enumerate(members):
        design[start : start + member.size, column] = features.t_over_lambda[member]
        start += member.size
    design[:, -1] = 1.0
    # Thick pixels scatter more in every parameter; the weights matter little, so one serves for all of them.
    weight = 1.0 / (0.1 + features.t_over_lambda[rows])
    weighted = design * weight[:, np.newaxis]
    if not vacuum.size and not _thickness_varies(features.t_over_lambda, members):
        weighted[:, -1] = 0.0  # an offset cannot be told from a slope
    inverse = np.linalg.pinv(weighted)
    solution = inverse @ (features.values[rows] * weight[:, np.newaxis])
    residual = features.values[rows] - design @ solution
    freedom = rows.size / max(rows.size - design.shape[1], 1)

    thickness = features.t_over_lambda[rows]
    counting = np.einsum("skk->sk", features.covariance[rows])
    excess = np.sum(freedom * residual**2 - counting, axis=0) / np.sum(np.maximum(thickness, 0.05) ** 2)
    # The covariance of each slope from the residuals of its own pixels (heteroscedasticity-consistent).
    covariance = np.empty((len(phases), len(features.names), len(features.names)))
    per_unit, thickness_per_unit = np.empty((len(phases), len(features.names))), np.ones(len(phases))
    for column, phase in enumerate(phases):
        influence = residual * (inverse[column] * weight)[:, np.newaxis]
        slope_covariance = freedom * influence.T @ influence
        # Both olivines have one Fe a formula unit and mean free paths that agree within their 1 or 2 %.
        unit = reference.phase(phase).atom_density("Fe") if phase in OLIVINE else 1.0
        per_unit[column] = solution[column] / unit
        thickness_per_unit[column] = 1.0 / unit
        covariance[column] = slope_covariance / unit**2
    return Calibration(
        phases=phases,
        per_unit=per_unit,
        per_unit_covariance=covariance,
        offset=solution[-1],
        model_variance=np.maximum(excess, 0.0),
        thickness_per_unit=thickness_per_unit,
        n_pixels=np.array([m.size for m in members]),
    )


def _thickness_varies(t_over_lambda: FloatArray, members: list[NDArray[np.intp]]) -> bool:
    return all(np.ptp(t_over_lambda[m]) > 0.3 * np.mean(t_over_lambda[m]) for m in members[:2])


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
        Vectors of the phases.
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
    keys = {"valence": "FePO4ValenceBand", "lithium": "Li_K"}
    if method not in keys:
        raise ValueError(f"method must be one of {', '.join(map(repr, keys))}, not {method!r}.")
    key = features.index(keys[method])
    others = [k for k, name in enumerate(features.names) if name not in keys.values()]
    if len(calibration.phases) == len(OLIVINE):
        others = [features.index("Fe_M23")]  # nothing is known of other phases: Fe alone counts the olivine
    m = calibration.per_unit
    contrast = m[0, key] - m[1, key]
    contrast_variance = calibration.per_unit_covariance[:2, key, key].sum()
    if abs(contrast) < 3.0 * np.sqrt(contrast_variance):
        raise ValueError(
            f"The references do not differ in {keys[method]} by more than three standard errors: "
            "check that they are pure LiFePO4 and FePO4."
        )
    count = features.values.shape[0]
    good = np.flatnonzero(np.isfinite(features.values).all(axis=1) & np.isfinite(features.t_over_lambda))
    used = [*others, key]
    # Unknowns: units of every phase, and the signature of the olivine.
    olivine = 2 if len(others) > 1 else 1
    rest = m[2:] if len(others) > 1 else m[:0]
    design = np.zeros((len(used), olivine + len(rest) + 1))
    design[:-1, :olivine] = m[:olivine, others].T
    design[:, olivine:-1] = rest[:, used].T
    design[-1, -1] = 1.0
    values = features.values[np.ix_(good, used)] - calibration.offset[used]
    counting = features.covariance[np.ix_(good, used, used)]
    size = np.maximum(features.t_over_lambda[good], 0.05) ** 2
    total = counting + size[:, np.newaxis, np.newaxis] * np.diag(calibration.model_variance[used])
    root = np.sqrt(np.einsum("skk->sk", total))
    scaled = total / (root[:, :, np.newaxis] * root[:, np.newaxis, :])
    weight = np.linalg.inv(scaled) / (root[:, :, np.newaxis] * root[:, np.newaxis, :])
    normal = design.T @ weight @ design
    estimator = np.linalg.solve(normal, design.T @ weight)
    solution = np.einsum("spk,sk->sp", estimator, values)
    residual = values - solution @ design.T
    chi_squared = np.einsum("sk,skl,sl->s", residual, weight, residual)
    freedom = max(len(used) - design.shape[1], 1)

    units = solution[:, :olivine].sum(axis=1)
    x = (solution[:, -1] / units - m[1, key]) / contrast
    gradient = np.zeros_like(solution)
    gradient[:, -1] = 1.0 / (units * contrast)
    gradient[:, :olivine] = -(solution[:, -1] / units**2 / contrast)[:, np.newaxis]
    direction = np.einsum("sp,spk->sk", gradient, estimator)
    variance = np.einsum("sk,skl,sl->s", direction, counting, direction)
    systematic = size * np.sum(direction**2 * calibration.model_variance[used], axis=1)
    # An error of the end members moves x along with them; one of another phase moves the signature by its amount.
    systematic += (x**2 * calibration.per_unit_covariance[0, key, key]) / contrast**2
    systematic += ((1 - x) ** 2 * calibration.per_unit_covariance[1, key, key]) / contrast**2
    for column in range(len(rest)):
        amount = solution[:, olivine + column] / (units * contrast)
        systematic += amount**2 * calibration.per_unit_covariance[2 + column, key, key]

    thickness = np.maximum(features.t_over_lambda[good], 1e-3)
    fraction = units * np.mean(calibration.thickness_per_unit[:2]) / thickness
    units_std = np.sqrt(
        np.einsum("sk,skl,sl->s", estimator[:, :olivine].sum(1), counting, estimator[:, :olivine].sum(1))
    )
    status = np.full(good.size, DelithiationStatus.QUANTIFIED, dtype=np.int8)
    status[chi_squared / freedom > unexplained] = DelithiationStatus.UNEXPLAINED
    status[thickness > THICK] = DelithiationStatus.THICK
    status[(fraction < minimum_olivine) | (units < 3.0 * units_std)] = DelithiationStatus.NO_OLIVINE
    answered = status != DelithiationStatus.NO_OLIVINE

    def spread(result: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
        out = np.full(count, np.nan)
        out[good] = np.where(where, result, np.nan)
        return out

    std, everywhere = np.sqrt(variance), np.ones(good.size, dtype=bool)
    error = np.sqrt(variance + systematic)
    share = 1.0 - x if method == "valence" else x
    full_status = np.full(count, DelithiationStatus.NOT_FITTED, dtype=np.int8)
    full_status[good] = status
    return LithiumContent(
        x=spread(x, answered),
        x_std=spread(std, answered),
        x_systematic=spread(np.sqrt(systematic), answered),
        significance=spread(share / error, answered),
        detection_limit=spread(3.29 * error, answered),  # Currie, Anal. Chem. 40, 586 (1968), paired 5 % errors
        olivine_fraction=spread(fraction, everywhere),
        status=full_status,
    )
