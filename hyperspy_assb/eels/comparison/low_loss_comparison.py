"""Comparison of low-loss spectra of two or more states: which bands changed, by how much, and is it more than noise.

Spectra become single-scattering distributions, their sums are divided by the summed thickness, and blocks of pixels,
not pixels, are what a difference is judged by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.comparison.results import Change, Comparison, State
from hyperspy_assb.eels.comparison.state_work import Work, thickness_covariates
from hyperspy_assb.eels.comparison.states import Prepared, prepare_states
from hyperspy_assb.fitting.statistics import permutation
from hyperspy_assb.fitting.statistics.permutation import Cluster
from hyperspy_assb.progress import counted

FloatArray = NDArray[np.float64]


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
        Counts and channels (in eV) of a spectrum recorded in vacuum; None: the zero-loss peak is fitted to the spectra.

    Returns
    -------
    Comparison
        Bands in shares of t/λ (or, without normalisation, in electrons per zero-loss electron).

    Raises
    ------
    ValueError
        If dispersions differ, ranges do not overlap, or a state has no spectrum with a zero-loss peak.
    NotImplementedError
        If an energy axis is non-uniform.
    """
    options = ComparisonOptions() if options is None else options
    found = prepare_states(states, windows, options, zero_loss)
    work = found.work
    described = [_describe_state(w, found) for w in work]
    changes = [_find_change(work[0], later, found) for later in counted(work[1:], len(work) - 1, "permutations")]
    values = np.arange(len(work), dtype=float) if scores is None else np.asarray(scores, dtype=float)
    slope, p, corrected = _find_trend(values, found)
    return Comparison(
        loss=found.loss,
        start=found.start,
        windows=found.windows,
        states=tuple(described),
        changes=tuple(changes),
        trend_slope=slope,
        trend_p=p,
        trend_p_corrected=corrected,
        by_blocks=found.by_blocks,
        block_pixels=found.block_pixels,
        correlation_length=found.correlation_length,
        detector=found.detector,
    )


def _describe_state(w: Work, context: Prepared) -> State:
    """Mean distribution, bands, thickness and plasmon of a state, with their standard errors."""
    assert w.counting is not None
    assert w.noise is not None
    assert w.correlation is not None
    assert w.plasmon is not None
    pixels, count = w.centre.size, w.blocks.shape[0]
    std, functionals = np.full(context.loss.size, np.nan), np.sqrt(w.counting.functionals)
    thickness_std = np.nan
    if context.by_blocks:
        grows = w.covariates[:, -1:]
        deviation = (w.blocks - grows * w.mean) / grows.mean()
        std = _standard_error(deviation)
        functionals = _standard_error(deviation @ context.weights.T)
        of_blocks = np.bincount(w.label, w.t_over_lambda) / np.bincount(w.label)
        thickness_std = float(_standard_error(of_blocks - of_blocks.mean()))
    return State(
        mean=w.mean,
        std=std,
        std_counting=np.sqrt(w.counting.channels),
        bands=context.weights[:-2] @ w.mean,
        bands_std=functionals[:-2],
        t_over_lambda=float(w.t_over_lambda.mean()),
        t_over_lambda_std=thickness_std,
        plasmon=w.plasmon,
        plasmon_std=functionals[-2:],
        electrons=float(w.recorded.mean()) / w.noise.broad.gain,
        noise=w.noise,
        fwhm=w.fwhm,
        pixels=pixels,
        effective_pixels=pixels / w.correlation.inflation,
        blocks=count,
        left_out=dict(w.left_out),
    )


def _find_change(a: Work, b: Work, context: Prepared) -> Change:
    """Change from the first state to a later one."""
    assert a.counting is not None
    assert b.counting is not None
    weights, options = context.weights, context.options
    proportional = b.mean - a.mean
    difference = proportional
    std, std_blocks = np.full(context.loss.size, np.nan), np.full(weights.shape[0], np.nan)
    std_counting = np.sqrt(a.counting.functionals + b.counting.functionals)
    unknown = ~weights.any(axis=1)
    other, hedges, shared = std_blocks.copy(), std_blocks.copy(), 0.0
    clusters: tuple[Cluster, ...] = ()
    compared = min(float(w.other_thickness.sum()) for w in (a, b)) > 0
    unit = float(np.concatenate([a.thickness, b.thickness]).mean())
    if context.by_blocks:
        label, values, covariates = _stack([a, b], np.arange(2.0))
        others = _other_covariates([a, b], options) if compared else None
        settings = {"permutations": options.permutations, "seed": options.seed}
        test = permutation.relate_blocks(values @ weights.T / unit, label, covariates, **settings)
        p, corrected, std_blocks = test.p, test.p_corrected, test.std
        hedges = _hedges_g(test.slope, test.std, label)
        slopes, stds, _ = permutation.partial_statistic(values / unit, label[None], covariates)
        difference, std = slopes[0], stds[0]
        if others is not None:
            other = permutation.partial_statistic(values @ weights.T / unit, label[None], others)[0][0]
        clusters = _find_clusters(values, label, covariates, context)
        shared = _explained(label, covariates)
    elif compared:
        sums = [float(w.other_thickness.sum()) for w in (a, b)]
        ratio = sum(sums) / float(a.thickness.sum() + b.thickness.sum())
        other = weights @ (b.total / sums[1] - a.total / sums[0]) * ratio
    change = weights @ difference
    if not context.by_blocks:
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * stats.norm.sf(np.abs(change) / std_counting)
        p[unknown] = np.nan
        corrected = permutation.correct_by_holm(p)
    for values_of in (change, p, corrected, hedges, std_blocks):
        values_of[unknown] = np.nan
    return Change(
        difference=difference,
        difference_std=std,
        difference_std_counting=np.sqrt(a.counting.channels + b.counting.channels),
        change=change,
        std_blocks=std_blocks,
        std_counting=std_counting,
        std_thickness=np.abs(np.nan_to_num(other - change)),
        std_calibration=_calibration(0.5 * (a.mean + b.mean), context),
        std_zero_loss=np.abs(weights @ (b.own_zero_loss - a.own_zero_loss)),
        p=p,
        p_corrected=corrected,
        hedges_g=hedges,
        proportional=weights @ proportional,
        other_thickness=other,
        confounded=shared,
        clusters=clusters,
    )


def _find_trend(scores: FloatArray, context: Prepared) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slope of each band over the scores of the states, its p value, and that corrected for all bands."""
    work = context.work
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


def _find_clusters(
    values: FloatArray, label: FloatArray, covariates: FloatArray, context: Prepared
) -> tuple[Cluster, ...]:
    options, seen = context.options, context.loss >= context.start
    first = int(np.argmax(seen))
    test = permutation.relate_blocks(
        values[:, seen], label, covariates, permutations=options.permutations, seed=options.seed
    )
    threshold = permutation.cluster_threshold(label.size)
    found = permutation.assess_clusters(test, threshold=threshold)
    return tuple(Cluster(c.first + first, c.last + first, c.mass, c.p) for c in found)


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


def _other_covariates(work: Sequence[Work], options: ComparisonOptions) -> FloatArray:
    """Covariates of the blocks of all states by the other measure of thickness."""
    grows = [np.bincount(w.label, w.other_thickness) / np.bincount(w.label) for w in work]
    return thickness_covariates(np.concatenate(grows), options)


def _calibration(mean: FloatArray, context: Prepared) -> FloatArray:
    """What a shift and a stretch of one energy axis against the other would do to each band."""
    slope = np.gradient(mean, context.loss)
    shift = context.weights @ slope * context.options.shift_uncertainty
    stretch = context.weights @ (mean + context.loss * slope) * context.options.scale_uncertainty
    return np.asarray(np.hypot(shift, stretch))
