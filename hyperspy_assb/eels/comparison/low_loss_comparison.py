"""Comparison of low-loss spectra of two or more states: which bands changed, by how much, and is it more than noise.

Spectra become single-scattering distributions, their sums are divided by the summed thickness, and blocks of pixels,
not pixels, are what a difference is judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.comparison.changes import Context, describe_state, find_change, find_trend
from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.comparison.results import Comparison
from hyperspy_assb.eels.comparison.states import (
    band_weights,
    check_axes,
    deconvolve,
    find_zero_losses,
    fit_zero_losses,
    measure_thickness,
)
from hyperspy_assb.eels.scattering.plasmon import fit_plasmon
from hyperspy_assb.eels.scattering.single_scattering import Grid, measured_zero_loss_shape
from hyperspy_assb.fitting.statistics import blocks as partition

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
    context = Context(options, loss, start, weights, area, grid, shape, detector, by_blocks)
    counting = [w.count(options, weights, area, detector) for w in work]
    described = [describe_state(w, c, found, context) for w, c, found in zip(work, counting, correlations, strict=True)]
    changes = [find_change(work, counting, number, context) for number in range(1, len(work))]
    values = np.arange(len(work), dtype=float) if scores is None else np.asarray(scores, dtype=float)
    slope, p, corrected = find_trend(work, values, context)
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
