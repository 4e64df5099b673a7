"""What each phase adds to the parameters of the joint fit, measured on its pure pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

OLIVINE = ("LiFePO4", "FePO4")
VACUUM = 0.02
"""t/lambda up to which a pixel is taken for vacuum."""


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
    iron
        Fe atoms per t/lambda in LiFePO4 and in FePO4, in a unit that both share, shape (2,).
    """

    phases: tuple[str, ...]
    slope: FloatArray
    offset: FloatArray
    covariance: FloatArray
    model_variance: FloatArray
    n_pixels: NDArray[np.int_]
    iron: FloatArray

    def per_thickness(self, t_over_lambda: FloatArray) -> FloatArray:
        """What each phase adds per t/lambda to a column of given t/lambda, shape (S, R, K)."""
        return self.slope + self.offset / t_over_lambda[:, np.newaxis, np.newaxis]

    def variance(self, t_over_lambda: FloatArray, parameter: int) -> FloatArray:
        """Variance of :meth:`per_thickness` for one parameter, shape (S, R)."""
        direction = np.stack([np.ones_like(t_over_lambda), 1.0 / t_over_lambda], axis=-1)
        return np.einsum("sa,rab,sb->sr", direction, self.covariance[:, parameter], direction)


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
    Fe atoms are counted as if both olivines had the same mean free path; see :func:`.mixture.count_iron`.

    The offsets of the phases share their mean, about what a phase adds at t/lambda = 1 or less; each may leave it by
    about a tenth of that (normal priors). Where the pure pixels of a phase are all of one thickness, that decides.
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
                f"references[{phase!r}] holds {rows.size} fitted pixels; at least {minimum_pixels} are needed, "
                "with a zero loss in range."
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
            prior = np.zeros((count + 1, design.shape[1]))
            prior[:, count:] = np.diag([0.1, *np.ones(count)]) * noise / width
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
        iron=np.array([reference.material(phase).atom_density("Fe") for phase in OLIVINE]),
    )
