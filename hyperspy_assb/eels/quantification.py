"""x of LixFePO4 in many pixels by several estimators, from a standard; and their combination.

Every spectrum is first fitted as a column of the phases of the standard, which uses every channel: the estimate
"references". One step of maximum likelihood from there, with the linear parameters of the joint fit free instead of the
amounts of the phases, gives these parameters, on which "valence" and "lithium" stand: they trust one signature each,
and nothing else of the spectra of the olivines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hyperspy_assb.eels.calibration import VACUUM, Features
from hyperspy_assb.eels.delithiation import (
    SIGNATURES,
    THICK,
    DelithiationStatus,
    Estimate,
    LithiumContent,
    content,
    estimate_from_features,
)
from hyperspy_assb.eels.mixture import MixtureModel
from hyperspy_assb.eels.mixture_start import start_mixture
from hyperspy_assb.eels.standard import IRON_UNCERTAINTY, TOLERANCE, Standard
from hyperspy_assb.fitting import compiled
from hyperspy_assb.fitting.kernels import FloatArray
from hyperspy_assb.fitting.solvers import Detector, SolverOptions, fit_spectra

METHODS = ("valence", "lithium", "references", "combined")
UNCERTAIN = 0.25
"""Standard error of x above which a pixel is flagged: LiFePO4 and FePO4 are then less than four of them apart."""
DISAGREEMENT = 1e-3
"""p value of the agreement of the estimates below which a pixel is flagged."""
MOST_DILUTION = 0.5
MOST_STEPS = 40
SCATTER_NODES = 8
"""Thicknesses at which the scatter of pure pixels is told."""
THIN = 0.1
"""t/lambda below which a spectrum whose fit does not end is taken for vacuum, where no amount is determined."""
_BLOCK, _STEP_BLOCK = 4096, 16


@dataclass(frozen=True)
class Quantification:
    """What is found in S pixels.

    Parameters
    ----------
    contents
        x by each method.
    amounts, amounts_std
        t/lambda of each phase and its standard error from counting, shape (S, R).
    t_over_lambda
        Their sum, shape (S,).
    reduced_deviance
        Of the fit as a column of the phases, shape (S,).
    agreement
        p value of the hypothesis that the estimates of x differ by their errors only, shape (S,).
    """

    contents: dict[str, LithiumContent]
    amounts: FloatArray
    amounts_std: FloatArray
    t_over_lambda: FloatArray
    reduced_deviance: FloatArray
    agreement: FloatArray

    @classmethod
    def join(cls, parts: Sequence[Quantification]) -> Quantification:
        """Those of several blocks, one after the other."""
        contents = {
            method: LithiumContent(
                **{
                    f.name: np.concatenate([getattr(part.contents[method], f.name) for part in parts])
                    for f in fields(LithiumContent)
                }
            )
            for method in parts[0].contents
        }
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
            if f.name != "contents"
        }
        return cls(contents=contents, **arrays)


def quantify(
    standard: Standard,
    counts: ArrayLike,
    energy: FloatArray,
    *,
    detector: Detector | None = None,
    minimum_olivine: float = 0.1,
    workers: int = 2,
    progress: Callable[[int], object] | None = None,
) -> Quantification:
    """Lithium content of every pixel by every method.

    Parameters
    ----------
    standard
        What is known of the phases.
    counts
        As recorded, shape (S, E); anything that gives NumPy arrays for slices of it, such as a dask array.
    energy
        Centres of the channels in eV, shape (E,).
    detector
        Gain and read noise.
    minimum_olivine
        Share of the olivines in t/lambda below which a pixel gets no x.
    workers
        Threads.
    progress
        Called with the number of pixels done since the last call.

    Returns
    -------
    quantification
        Pixels that are not finite, or hold no counts, are not fitted and say so in their status.

    Raises
    ------
    ValueError
        If the energy axis is not that of the standard.
    """
    energy = np.asarray(energy, dtype=float)
    standard.check_axis(energy)
    detector = detector or Detector()
    parts = []
    for start in range(0, max(len(counts), 1), _BLOCK):  # type: ignore[arg-type]
        block = np.ascontiguousarray(counts[start : start + _BLOCK])  # type: ignore[index]
        parts.append(_Pixels.of(standard, block, energy, detector, workers).quantify(minimum_olivine))
        if progress is not None:
            progress(len(block))
    return Quantification.join(parts)


def measure_scatter(
    standard: Standard, counts: ArrayLike, energy: FloatArray, pure: Sequence[NDArray[np.bool_]], detector: Detector
) -> Standard:
    """The standard with what x of pure pixels scatters beyond counting, for both olivines.

    Parameters
    ----------
    standard
        From these pixels.
    counts
        Shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    pure
        Pure pixels of LiFePO4 and of FePO4, shape (S,) each.
    detector
        Gain and read noise.
    """
    low, high = standard.spectra.thickness
    nodes = np.linspace(low, high, SCATTER_NODES)
    scatter = np.zeros((2, nodes.size))
    for k, (rows, x) in enumerate(zip(pure, (1.0, 0.0), strict=True)):
        found = quantify(standard, np.asarray(counts)[rows], energy, detector=detector)
        whole = found.contents["references"]
        known = np.isfinite(whole.x)
        if known.sum() > 2:
            excess = (whole.x - x)[known] ** 2 - whole.x_std[known] ** 2
            far = (nodes[:, np.newaxis] - found.t_over_lambda[known]) / max((high - low) / SCATTER_NODES, 0.05)
            weight = np.exp(-0.5 * far**2) + 1e-9
            scatter[k] = np.maximum(weight @ excess / weight.sum(axis=1), 0.0)
    return replace(standard, scatter=scatter)


@dataclass(frozen=True)
class _Pixels:
    """Some pixels, fitted as columns of the phases."""

    standard: Standard
    model: MixtureModel
    counts: NDArray[Any]
    detector: Detector
    workers: int
    values: FloatArray
    amount_covariance: FloatArray
    vacuum: NDArray[np.bool_]
    reduced_deviance: FloatArray
    electrons: FloatArray

    @classmethod
    def of(
        cls, standard: Standard, counts: NDArray[Any], energy: FloatArray, detector: Detector, workers: int
    ) -> _Pixels:
        size = standard.fitted_channels
        model, start, bad = start_mixture(standard, counts[:, :size], energy[:size], detector)
        result = fit_spectra(
            model,
            counts[:, :size],
            start,
            free=model.free(),
            lower=model.lower,
            skip=bad,
            detector=detector,
            options=SolverOptions(tolerance=TOLERANCE, max_iterations=MOST_STEPS, workers=workers),
        )
        assert result.covariance is not None
        first = int(model.free()[: model.amounts.start].sum())
        electrons = np.where(bad, np.nan, np.maximum(counts[:, :size].sum(axis=1), 0.0)) / detector.gain
        values, covariance = _undilute(standard, model, result.values, result.covariance[:, first:, first:], electrons)
        return cls(
            standard=standard,
            model=model,
            counts=counts[:, :size],
            detector=detector,
            workers=workers,
            values=values,
            amount_covariance=covariance,
            vacuum=result.failed & (np.abs(start[:, model.amounts].sum(axis=1)) < THIN),
            reduced_deviance=result.deviance / result.dof,
            electrons=electrons,
        )

    @property
    def amounts(self) -> FloatArray:
        return self.values[:, self.model.amounts]

    def quantify(self, minimum_olivine: float) -> Quantification:
        amounts, iron = self.amounts, self.standard.calibration.iron
        thickness = amounts.sum(axis=1)
        estimates = {"references": self._from_amounts()}
        features = self._features()
        for method in SIGNATURES:
            try:
                estimates[method] = estimate_from_features(features, self.standard.calibration, method).estimate
            except ValueError:  # the references do not differ in it
                nothing = np.full(len(amounts), np.nan)
                blank = np.zeros(features.values.shape)
                estimates[method] = Estimate(nothing, nothing, nothing, nothing, blank)
        combined, agreement = combine(estimates, features)
        estimates["combined"] = combined
        atoms = amounts[:, :2] @ iron
        error = np.sqrt(np.einsum("r,srq,q->s", iron, self.amount_covariance[:, :2, :2], iron))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = amounts[:, :2].sum(axis=1) / thickness
            absent = (thickness <= VACUUM) | (share < minimum_olivine) | (atoms < 3.0 * error)
            limit = 1.3 + 5.0 * self.standard.misfit * self.electrons
            status = np.zeros(len(amounts), dtype=np.int8)
            status[thickness > THICK] = DelithiationStatus.THICK
            status[self.reduced_deviance > limit] = DelithiationStatus.UNEXPLAINED
        thickness = np.where(self.vacuum, 0.0, thickness)
        unfit = ~np.isfinite(thickness)
        contents = {}
        for method in METHODS:
            own, estimate = status.copy(), estimates[method]
            with np.errstate(invalid="ignore"):
                own[estimate.error > UNCERTAIN] = DelithiationStatus.UNCERTAIN
                if method == "combined":
                    own[agreement < DISAGREEMENT] = DelithiationStatus.DISAGREES
            own[absent] = DelithiationStatus.NO_OLIVINE
            own[unfit | (~absent & ~np.isfinite(estimate.x))] = DelithiationStatus.NOT_FITTED
            contents[method] = content(estimate, method, np.where(unfit | self.vacuum, np.nan, share), own)
        return Quantification(
            contents=contents,
            amounts=amounts,
            amounts_std=np.sqrt(np.einsum("srr->sr", self.amount_covariance)),
            t_over_lambda=thickness,
            reduced_deviance=self.reduced_deviance,
            agreement=agreement,
        )

    def _from_amounts(self) -> Estimate:
        """x from the amounts of LiFePO4 and FePO4."""
        standard, amounts = self.standard, self.amounts
        iron = amounts[:, :2] * standard.calibration.iron
        with np.errstate(divide="ignore", invalid="ignore"):
            total = iron.sum(axis=1)
            x = iron[:, 0] / total

            nodes = np.linspace(*standard.spectra.thickness, standard.scatter.shape[1])
            expected = [np.interp(amounts.sum(axis=1), nodes, row) for row in standard.scatter]

            def variance(lithium: FloatArray) -> FloatArray:
                slope = np.stack([1.0 - lithium, -lithium], axis=-1) * standard.calibration.iron
                return np.einsum("sr,srq,sq->s", slope, self.amount_covariance[:, :2, :2], slope) / total**2

            def systematic(lithium: FloatArray, counting: FloatArray) -> FloatArray:
                inside = np.clip(lithium, 0.0, 1.0)
                ratio = IRON_UNCERTAINTY * inside * (1.0 - inside)
                scatter = inside * expected[0] + (1.0 - inside) * expected[1]
                return counting * self._reference_noise() + ratio**2 + scatter

            counting, one = variance(x), np.ones_like(x)
            null = variance(one)
            return Estimate(x, counting, systematic(x, counting), null + systematic(one, null))

    def _reference_noise(self) -> FloatArray:
        """Noise of the pure pixels over that of each pixel, as far as it moves the estimate, shape (S,)."""
        amounts = self.amounts
        factors = self.standard.spectra.factors(amounts.sum(axis=1))[0]
        weights = factors.T[:, :, np.newaxis] * amounts[:, np.newaxis]
        return self.electrons * np.einsum("sar,arbq,sbq->s", weights, self.standard.covariance, weights, optimize=True)

    def _features(self) -> Features:
        """Linear parameters of the joint fit, by one step from the fit as a column of the phases."""
        standard, count = self.standard, len(self.standard.names)
        model = MixtureModel(
            self.model.source,
            self.model.energy,
            standard.spectra,
            dark_level=self.model.dark_level,
            extra=standard.columns,
        )
        free = np.concatenate([model.free([])[: model.amounts.stop], np.ones(count, dtype=bool)])
        parameters = np.hstack([self.values, np.zeros((len(self.values), count))])
        change = np.full((len(parameters), count), np.nan)
        covariance = np.full((len(parameters), count, count), np.nan)
        fitted = np.flatnonzero(np.isfinite(self.values).all(axis=1))
        scale, shift = 1.0 / self.detector.gain, (self.detector.read_noise / self.detector.gain) ** 2

        def step(rows: NDArray[np.int_]) -> None:
            expectation, jacobian = model.evaluate(parameters[rows], free)
            y = self.counts[rows] * scale + shift
            objective, score = np.empty(rows.size), np.empty((rows.size, jacobian.shape[1]))
            information = np.empty((rows.size, score.shape[1], score.shape[1]))
            own = np.arange(rows.size)
            compiled.accumulate(
                expectation * scale + shift, jacobian * scale, own, y, y, True, objective, score, information
            )
            size = np.sqrt(np.maximum(np.einsum("sff->sf", information), 1e-300))
            outer = size[:, :, np.newaxis] * size[:, np.newaxis]
            inverse = np.linalg.inv(information / outer + 1e-12 * np.eye(score.shape[1])) / outer
            change[rows] = np.einsum("sfg,sg->sf", inverse, score)[:, -count:]
            covariance[rows] = inverse[:, -count:, -count:]

        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            blocks = [fitted[i : i + _STEP_BLOCK] for i in range(0, fitted.size, _STEP_BLOCK)]
            list(pool.map(step, blocks))
        thickness = self.amounts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            known = np.einsum("sr,srk->sk", self.amounts, standard.calibration.per_thickness(thickness))
        return Features(standard.names, known + change, covariance, thickness)


def _undilute(
    standard: Standard, model: MixtureModel, values: FloatArray, covariance: FloatArray, electrons: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Amounts and their covariance without the bias that noise in the spectra of the phases makes.

    A regression on noisy columns is diluted: their noise adds to the diagonal of the normal equations, and is taken off
    again (Fuller, Measurement Error Models (1987), section 2.2).
    """
    amounts = values[:, model.amounts]
    factors = standard.spectra.factors(amounts.sum(axis=1))[0]
    excess = np.einsum("as,arbq,bs->srq", factors, standard.noise, factors, optimize=True)
    excess *= electrons[:, np.newaxis, np.newaxis]
    product = covariance @ excess
    # Beyond this, the references say less than what they are asked for: the correction would be noise itself.
    share = np.einsum("srr->s", product)
    product *= np.where(share > MOST_DILUTION, MOST_DILUTION / share, 1.0)[:, np.newaxis, np.newaxis]
    known = np.isfinite(product).all(axis=(1, 2))
    inverse = np.full_like(product, np.nan)
    inverse[known] = np.linalg.inv(np.eye(product.shape[1]) - product[known])
    out = values.copy()
    out[:, model.amounts] = np.einsum("srq,sq->sr", inverse, amounts)
    return out, inverse @ covariance @ inverse.transpose(0, 2, 1)


def combine(estimates: dict[str, Estimate], features: Features) -> tuple[Estimate, FloatArray]:
    """The best combination of the estimates, and whether they agree.

    Parameters
    ----------
    estimates
        "references", "valence" and "lithium".
    features
        What the last two were made from.

    Returns
    -------
    combined
        Generalised least squares with the covariance of all three.
    agreement
        p value of chi-squared with two degrees of freedom, shape (S,).

    Notes
    -----
    The estimate that uses every channel cannot be improved by a part of them, so that its covariance with each of the
    others is its own variance, and that of their differences from it is the difference of the variances (Hausman,
    Econometrica 46, 1251 (1978)). Systematic errors are taken as independent.
    """
    whole = estimates["references"]
    parts = [estimates[method] for method in SIGNATURES]
    directions = [part.direction for part in parts]
    n = whole.x.size
    known = np.isfinite(whole.error) & np.all([np.isfinite(part.error) for part in parts], axis=0)
    between = np.empty((n, 2, 2))
    for i, one in enumerate(directions):
        for j, two in enumerate(directions):
            assert one is not None
            assert two is not None
            between[:, i, j] = np.einsum("sk,skl,sl->s", one, features.covariance, two)
    rows = np.flatnonzero(known)
    counting = whole.variance[rows]
    extra = between[rows] - counting[:, np.newaxis, np.newaxis]
    values, vectors = np.linalg.eigh(extra)
    # An estimate of less variance than the best possible one owes it to the errors of both.
    values = np.maximum(values, 1e-3 * counting[:, np.newaxis])
    covariance = np.zeros((rows.size, 3, 3))
    covariance[:, 1:, 1:] = np.einsum("sia,sa,sja->sij", vectors, values, vectors)
    covariance += counting[:, np.newaxis, np.newaxis]
    systematic = np.stack([whole.systematic, *(part.systematic for part in parts)], axis=-1)[rows]
    total = covariance + np.einsum("si,ij->sij", systematic, np.eye(3))
    x = np.stack([whole.x, *(part.x for part in parts)], axis=-1)[rows]
    inverse = np.linalg.inv(total)
    weights = inverse.sum(axis=2)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.sum(weights * x, axis=1)
    residual = x - mean[:, np.newaxis]
    chi_squared = np.einsum("si,sij,sj->s", residual, inverse, residual)
    agreement = np.full(n, np.nan)
    agreement[rows] = stats.chi2.sf(chi_squared, 2)
    # Where a signature gives nothing, the whole spectrum answers alone.
    out = {name: getattr(whole, name).copy() for name in ("x", "variance", "systematic", "null_variance")}
    out["x"][rows] = mean
    out["variance"][rows] = np.einsum("si,sij,sj->s", weights, covariance, weights)
    out["systematic"][rows] = np.sum(weights**2 * systematic, axis=1)
    before = whole.variance[rows] + whole.systematic[rows]
    out["null_variance"][rows] *= (out["variance"][rows] + out["systematic"][rows]) / before
    return Estimate(**out), agreement
