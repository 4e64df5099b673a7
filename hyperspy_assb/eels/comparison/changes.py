"""From the blocks of states to what changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from hyperspy_assb.eels.comparison.options import ComparisonOptions
from hyperspy_assb.eels.comparison.results import Change, State
from hyperspy_assb.eels.comparison.states import Work, measure_thickness, thickness_covariates
from hyperspy_assb.eels.scattering.counting_noise import CountingVariance
from hyperspy_assb.eels.scattering.plasmon import fit_plasmon
from hyperspy_assb.eels.scattering.single_scattering import Grid, ZeroLossShape
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.statistics import permutation
from hyperspy_assb.fitting.statistics.blocks import Correlation
from hyperspy_assb.fitting.statistics.permutation import Cluster

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Context:
    """What all changes share: the last two rows of `weights` (F + 2, E) are those of the plasmon."""

    options: ComparisonOptions
    loss: FloatArray
    start: float
    weights: FloatArray
    area: FloatArray
    grid: Grid
    shape: ZeroLossShape
    detector: Detector
    by_blocks: bool


def describe_state(w: Work, counting: CountingVariance, correlation: Correlation, context: Context) -> State:
    """Mean distribution, bands, thickness and plasmon of a state, with their standard errors."""
    assert w.scattering is not None
    pixels, count = w.centre.size, w.blocks.shape[0]
    std, functionals = np.full(context.loss.size, np.nan), np.sqrt(counting.functionals)
    thickness_std = np.nan
    if context.by_blocks:
        grows = w.covariates[:, -1:]
        deviation = (w.blocks - grows * w.mean) / grows.mean()
        std = _standard_error(deviation)
        functionals = _standard_error(deviation @ context.weights.T)
        of_blocks = np.bincount(w.label, w.scattering.t_over_lambda) / np.bincount(w.label)
        thickness_std = float(_standard_error(of_blocks - of_blocks.mean()))
    return State(
        mean=w.mean,
        std=std,
        std_counting=np.sqrt(counting.channels),
        bands=context.weights[:-2] @ w.mean,
        bands_std=functionals[:-2],
        t_over_lambda=float(w.scattering.t_over_lambda.mean()),
        t_over_lambda_std=thickness_std,
        plasmon=fit_plasmon(w.mean, context.loss, context.shape, start=context.start),
        plasmon_std=functionals[-2:],
        electrons=float(w.scattering.recorded.mean()) / context.detector.gain,
        fwhm=w.fwhm,
        pixels=pixels,
        effective_pixels=pixels / correlation.inflation,
        blocks=count,
        left_out=dict(w.left_out),
    )


def find_change(work: Sequence[Work], counting: Sequence[CountingVariance], number: int, context: Context) -> Change:
    """Change from the first state to that of a number."""
    a, b = work[0], work[number]
    weights, options = context.weights, context.options
    proportional = b.mean - a.mean
    difference = proportional
    std, std_blocks = np.full(context.loss.size, np.nan), np.full(weights.shape[0], np.nan)
    std_counting = np.sqrt(counting[0].functionals + counting[number].functionals)
    unknown = ~weights.any(axis=1)
    hedges, clusters, shared = std_blocks.copy(), list[Cluster](), 0.0
    if context.by_blocks:
        label, values, covariates = _stack([a, b], np.arange(2.0))
        unit = float(np.concatenate([a.thickness, b.thickness]).mean())
        settings = {"permutations": options.permutations, "seed": options.seed}
        test = permutation.relate_blocks(values @ weights.T / unit, label, covariates, **settings)
        p, corrected, std_blocks = test.p, test.p_corrected, test.std
        hedges = _hedges_g(test.slope, test.std, label)
        slopes, stds, _ = permutation.partial_statistic(values / unit, label[None], covariates)
        difference, std = slopes[0], stds[0]
        clusters = _find_clusters(values, label, covariates, context)
        shared = _explained(label, covariates)
    change = weights @ difference
    if not context.by_blocks:
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * stats.norm.sf(np.abs(change) / std_counting)
        p[unknown] = np.nan
        corrected = permutation.correct_by_holm(p)
    for values_of in (change, p, corrected, hedges, std_blocks):
        values_of[unknown] = np.nan
    other = _other_thickness(a, b, change, context)
    return Change(
        difference=difference,
        difference_std=std,
        difference_std_counting=np.sqrt(counting[0].channels + counting[number].channels),
        change=change,
        std_blocks=std_blocks,
        std_counting=std_counting,
        std_thickness=np.abs(np.nan_to_num(other - change)),
        std_calibration=_calibration(0.5 * (a.mean + b.mean), context),
        std_zero_loss=np.abs(weights @ (_zero_loss_choice(b, context) - _zero_loss_choice(a, context))),
        p=p,
        p_corrected=corrected,
        hedges_g=hedges,
        proportional=weights @ proportional,
        other_thickness=other,
        confounded=shared,
        clusters=clusters,
    )


def find_trend(work: Sequence[Work], scores: FloatArray, context: Context) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slope of each band over the scores of the states, its p value, and that corrected for all bands."""
    if len(work) < 3 or not context.by_blocks:
        return np.empty(0), np.empty(0), np.empty(0)
    x, values, covariates = _stack(work, scores)
    unit = float(np.concatenate([w.thickness for w in work]).mean())
    options = context.options
    test = permutation.relate_blocks(
        values @ context.weights.T / unit, x, covariates, permutations=options.permutations, seed=options.seed
    )
    return test.slope, test.p, test.p_corrected


def _stack(work: Sequence[Work], scores: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scores, distributions and covariates of the blocks of all states."""
    label = np.repeat(scores, [w.blocks.shape[0] for w in work])
    size = min(w.covariates.shape[1] for w in work)
    covariates = np.concatenate([w.covariates[:, -size:] for w in work])
    return label, np.concatenate([w.blocks for w in work]), covariates


def _find_clusters(values: FloatArray, label: FloatArray, covariates: FloatArray, context: Context) -> list[Cluster]:
    options, seen = context.options, context.loss >= context.start
    first = int(np.argmax(seen))
    test = permutation.relate_blocks(
        values[:, seen], label, covariates, permutations=options.permutations, seed=options.seed
    )
    threshold = permutation.cluster_threshold(label.size)
    found = permutation.assess_clusters(test, threshold=threshold)
    return [Cluster(c.first + first, c.last + first, c.mass, c.p) for c in found]


def _explained(label: FloatArray, covariates: FloatArray) -> float:
    """Share of the difference between states that their thickness explains: near 1, the two cannot be told apart."""
    centred = label - label.mean()
    basis = np.linalg.qr(covariates)[0]
    rest = centred - basis @ (basis.T @ centred)
    return float(1 - (rest @ rest) / (centred @ centred))


def _standard_error(deviations: FloatArray) -> FloatArray:
    """Standard error of a mean from the deviations of blocks, shape (B, ...)."""
    count = deviations.shape[0]
    return np.asarray(np.sqrt((deviations**2).sum(axis=0) / (count * (count - 1))))


def _hedges_g(change: FloatArray, std: FloatArray, label: FloatArray) -> FloatArray:
    """Change in standard deviations of a block, corrected for small numbers (Hedges, J. Educ. Stat. 6, 107 (1981))."""
    after = label.sum()
    freedom = label.size - 2
    deviation = std / np.sqrt(1 / after + 1 / (label.size - after))
    with np.errstate(divide="ignore", invalid="ignore"):
        g = change / deviation
    return np.asarray(g * (1 - 3 / (4 * freedom - 1)))


def _other_thickness(a: Work, b: Work, change: FloatArray, context: Context) -> FloatArray:
    """The changes with the other measure of thickness, in the same units; NaN where thickness was left in."""
    name = {"log_ratio": "area", "area": "log_ratio", "none": ""}[context.options.normalisation]
    if not name:
        return np.full(change.size, np.nan)
    other = [measure_thickness(w, name, context.area) for w in (a, b)]
    if min(float(t.sum()) for t in other) <= 0:
        return np.full(change.size, np.nan)
    if not context.by_blocks:
        ratio = sum(float(t.sum()) for t in other) / float(a.thickness.sum() + b.thickness.sum())
        return np.asarray(context.weights @ (b.total / other[1].sum() - a.total / other[0].sum()) * ratio)
    label, values, _ = _stack([a, b], np.arange(2.0))
    grows = np.concatenate([np.bincount(w.label, t) / np.bincount(w.label) for w, t in zip((a, b), other, strict=True)])
    covariates = thickness_covariates(grows, context.options)
    unit = float(np.concatenate([a.thickness, b.thickness]).mean())
    return np.asarray(permutation.partial_statistic(values @ context.weights.T / unit, label[None], covariates)[0][0])


def _calibration(mean: FloatArray, context: Context) -> FloatArray:
    """What a shift and a stretch of one energy axis against the other would do to each band."""
    slope = np.gradient(mean, context.loss)
    shift = context.weights @ slope * context.options.shift_uncertainty
    stretch = context.weights @ (mean + context.loss * slope) * context.options.scale_uncertainty
    return np.asarray(np.hypot(shift, stretch))


def _zero_loss_choice(w: Work, context: Context) -> FloatArray:
    """What the state's own zero loss would add to its mean distribution, beside the common one."""
    if w.own is None:
        return np.zeros(context.loss.size)
    common, own = np.asarray(fft.rfft(context.shape.values)), np.asarray(fft.rfft(w.own.values))
    known = (np.abs(common) > 1e-12) & (np.abs(own) > 1e-12)
    ratio = np.log(np.where(known, common, 1.0) / np.where(known, own, 1.0))
    added = context.grid.back(common * ratio)[: context.loss.size]
    return np.asarray(added * w.centre.size / w.thickness.sum())
