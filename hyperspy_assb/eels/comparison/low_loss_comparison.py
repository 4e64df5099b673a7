"""Comparison of low-loss spectra of two or more states: which bands changed, by how much, and is it more than noise.

Spectra become single-scattering distributions, their sums are divided by the summed thickness, and blocks of pixels,
not pixels, are what a difference is judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, stats

from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.comparison.results import Change, Comparison, State
from hyperspy_assb.eels.comparison.states import (
    Work,
    band_weights,
    check_axes,
    deconvolve,
    find_zero_losses,
    fit_zero_losses,
    measure_thickness,
    thickness_covariates,
)
from hyperspy_assb.eels.scattering.counting_noise import CountingVariance
from hyperspy_assb.eels.scattering.plasmon import fit_plasmon
from hyperspy_assb.eels.scattering.single_scattering import Grid, ZeroLossShape, measured_zero_loss_shape
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.statistics import blocks as partition
from hyperspy_assb.fitting.statistics import permutation
from hyperspy_assb.fitting.statistics.blocks import Correlation
from hyperspy_assb.fitting.statistics.permutation import Cluster

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Context:
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


def compare_states(
    states: Sequence[Spectra],
    windows: Sequence[Window],
    options: ComparisonOptions | None = None,
    *,
    scores: Sequence[float] | None = None,
    zero_loss: tuple[ArrayLike, ArrayLike] | None = None,
) -> Comparison:
    """Compare the low-loss spectra of two or more states.

    Parameters
    ----------
    states
        Spectra of each state, with channels of the same width.
    windows
        Bands; those that are not wholly in range are left out.
    options
        How to compare; None: the defaults.
    scores
        Potential of each state, or another score; None: 0, 1, 2, ...
    zero_loss
        Counts and channels (in eV) of a spectrum recorded in vacuum; None: the zero loss is fitted to the spectra.

    Returns
    -------
    Comparison
        Bands in shares of t/lambda (or, without normalisation, in electrons per zero-loss electron).

    Raises
    ------
    ValueError
        If dispersions differ, ranges do not overlap, or a state has no spectrum with a zero loss.
    NotImplementedError
        If an energy axis is non-uniform.
    """
    options = ComparisonOptions() if options is None else options
    check_axes(states)
    length = min(s.energy.size for s in states)
    states = [replace(s, counts=s.counts[:, :length], energy=s.energy[:length]) for s in states]
    grid = Grid.of(states[0].energy)
    given = None if zero_loss is None else measured_zero_loss_shape(*zero_loss, grid)
    work, detector = find_zero_losses(states, options)
    shape = fit_zero_losses(work, grid, options, detector, given=given)
    loss = deconvolve(work, shape)
    start = 3 * shape.fwhm if options.start is None else float(options.start)
    if loss[-1] < start + 5 * grid.step:
        raise ValueError(
            f"The states have no range in common: they end {loss[-1]:g} eV above the zero loss, and the comparison "
            f"begins at {start:g} eV. Record a wider range, or give start."
        )
    area = (loss >= start).astype(float)
    for w in work:
        w.thickness = measure_thickness(w, options.normalisation, area)
        if not w.thickness.sum() > 0:
            raise ValueError("The spectra show no inelastic scattering: there is no specimen in them, or no zero loss.")
    margin = 0.5 * grid.step
    windows = [w for w in windows if w.low >= start - margin and w.high <= loss[-1] + margin]
    pooled = sum(w.total for w in work) / sum(w.thickness.sum() for w in work)
    plasmon = fit_plasmon(pooled, loss, shape, start=start)
    weights = np.concatenate([band_weights(loss, windows, pooled), np.nan_to_num(plasmon.weights)])
    correlations = [w.correlate(weights, options) for w in work]
    correlation = max(correlations, key=lambda c: (c.length, c.inflation))
    dimensions = max(w.spectra.position.shape[1] for w in work)
    size = options.block_pixels or partition.choose_block_size(
        correlation, min(w.centre.size for w in work), dimensions
    )
    for w in work:
        w.gather(size, options)
    by_blocks = min(w.blocks.shape[0] for w in work) >= partition.FEWEST
    context = _Context(options, loss, start, weights, area, grid, shape, detector, by_blocks)
    counting = [w.count(options, weights, area, detector) for w in work]
    described = [
        _describe_state(w, c, found, context) for w, c, found in zip(work, counting, correlations, strict=True)
    ]
    changes = [_find_change(work, counting, number, context) for number in range(1, len(work))]
    values = np.arange(len(work), dtype=float) if scores is None else np.asarray(scores, dtype=float)
    slope, p, corrected = _find_trend(work, values, context)
    return Comparison(
        loss=loss,
        start=start,
        windows=tuple(windows),
        states=tuple(described),
        changes=tuple(changes),
        trend_slope=slope,
        trend_p=p,
        trend_p_corrected=corrected,
        by_blocks=by_blocks,
        block_pixels=size,
        correlation_length=correlation.length,
        detector=detector,
    )


def _describe_state(w: Work, counting: CountingVariance, correlation: Correlation, context: _Context) -> State:
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


def _find_change(work: Sequence[Work], counting: Sequence[CountingVariance], number: int, context: _Context) -> Change:
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


def _find_trend(
    work: Sequence[Work], scores: FloatArray, context: _Context
) -> tuple[FloatArray, FloatArray, FloatArray]:
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


def _find_clusters(values: FloatArray, label: FloatArray, covariates: FloatArray, context: _Context) -> list[Cluster]:
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


def _other_thickness(a: Work, b: Work, change: FloatArray, context: _Context) -> FloatArray:
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


def _calibration(mean: FloatArray, context: _Context) -> FloatArray:
    """What a shift and a stretch of one energy axis against the other would do to each band."""
    slope = np.gradient(mean, context.loss)
    shift = context.weights @ slope * context.options.shift_uncertainty
    stretch = context.weights @ (mean + context.loss * slope) * context.options.scale_uncertainty
    return np.asarray(np.hypot(shift, stretch))


def _zero_loss_choice(w: Work, context: _Context) -> FloatArray:
    """What the state's own zero loss would add to its mean distribution, beside the common one."""
    if w.own is None:
        return np.zeros(context.loss.size)
    common, own = np.asarray(fft.rfft(context.shape.values)), np.asarray(fft.rfft(w.own.values))
    known = (np.abs(common) > 1e-12) & (np.abs(own) > 1e-12)
    ratio = np.log(np.where(known, common, 1.0) / np.where(known, own, 1.0))
    added = context.grid.back(common * ratio)[: context.loss.size]
    return np.asarray(added * w.centre.size / w.thickness.sum())
