"""What each phase adds to the parameters of the joint fit, measured on its pure pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.eels.scattering.joint_model import JointFit, JointModel
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

OLIVINE = ("LiFePO4", "FePO4")
SIGNATURES = {"valence": "FePO4ValenceBand", "lithium": "Li_K"}
"""The parameter of the joint fit that tells x, for each method."""
DISTINCT = 3.0
"""Standard errors by which the end members must differ in a parameter that is to tell x."""
LEAST_OLIVINE = 0.1
"""Share of the olivines in t/lambda below which a pixel gets no x: what lies above them would decide it."""
DETECTED = 3.0
"""Standard errors above nothing from which Fe counts as found."""
FEWEST_PURE = 3
"""Pure pixels that a phase needs."""
VACUUM = 0.02
"""t/lambda up to which a pixel is taken for vacuum."""


def elements_of(phases: Iterable[str]) -> tuple[str, ...]:
    """Elements whose edges and bands the named phases need, besides those of the olivines."""
    named = [phase.lower() for phase in phases]
    lagp = ("Al", "Ge") if any("lagp" in phase for phase in named) else ()
    return ("Li", "Fe", "P", *lagp, *(("C",) if any("carbon" in phase for phase in named) else ()))


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

    @classmethod
    def of(cls, fit: JointFit) -> Features:
        """Free amounts of a fitted joint model."""
        result, joint = fit.result, fit.joint
        assert result is not None
        assert result.covariance is not None
        rows = np.flatnonzero(joint.amounts & joint.free)
        components = [component for component, _ in joint.names]
        single = {c for c in components if sum(components[k] == c for k in np.flatnonzero(joint.amounts)) == 1}
        position = (np.cumsum(joint.free) - 1)[rows]
        return cls(
            names=tuple(c if c in single else f"{c}.{p}" for c, p in (joint.names[k] for k in rows)),
            values=result.values[:, rows],
            covariance=result.covariance[:, position[:, np.newaxis], position],
            t_over_lambda=fit.t_over_lambda(),
        )

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

    def check_contrast(self, names: tuple[str, ...], method: str) -> None:
        """Raise ValueError if the end members cannot be told apart at any thickness, or are exchanged.

        By the signature of a method, or, for one that takes the whole spectrum, by any: spectra that differ in neither
        are not those of LiFePO4 and FePO4, whatever else tells them apart.
        """
        contrast = {name: self._contrast(names.index(name)) for name in SIGNATURES.values()}
        # FePO4 has the 5 eV band, LiFePO4 the lithium.
        right = (contrast["FePO4ValenceBand"][0] <= -DISTINCT, contrast["Li_K"][1] >= DISTINCT)
        wrong = (contrast["FePO4ValenceBand"][1] >= DISTINCT, contrast["Li_K"][0] <= -DISTINCT)
        if any(wrong) and not any(right):
            raise ValueError(
                "The references of LiFePO4 and FePO4 look exchanged: that of LiFePO4 has more of the 5 eV band, or "
                "less Li K."
            )
        asked = [SIGNATURES[method]] if method in SIGNATURES else list(SIGNATURES.values())
        if not any(max(-contrast[name][0], contrast[name][1]) >= DISTINCT for name in asked):
            raise ValueError(
                f"The references do not differ in {' or '.join(asked)} by more than three standard errors: "
                "check that they are pure LiFePO4 and FePO4, and that the spectra hold Fe and Li at all."
            )

    def _contrast(self, key: int) -> tuple[float, float]:
        """Least and largest difference of LiFePO4 and FePO4 in a parameter, over thickness, in standard errors."""
        thickness = np.linspace(0.2, 1.5, 14)  # where the pure pixels lie, the difference is known best
        ends = self.per_thickness(thickness)[:, :2, key]
        error = np.sqrt(self.variance(thickness, key)[:, :2].sum(axis=1))
        difference = (ends[:, 0] - ends[:, 1]) / error
        return float(difference.min()), float(difference.max())


def calibrate(
    features: Features, references: Mapping[str, NDArray[np.bool_]], *, minimum_pixels: int = FEWEST_PURE
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


def single_scattering_columns(joint: JointModel) -> FloatArray:
    """Single scattering of every free amount at 1, per channel, shape (K, E), in the order of :meth:`Features.of`."""
    model, wanted = joint.model, joint.amounts & joint.free
    columns = []
    for term, where in zip(model.terms, model.slices, strict=True):
        if wanted[where].any():
            gradients = np.empty((term.size, model.loss.size))
            term.evaluate(model.loss, joint.values[0, where], gradients)
            columns.append(gradients[wanted[where]] * model.scale)
    return np.concatenate(columns)
