"""Spectra of the states on their way to mean single-scattering distributions and to blocks of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.comparison.options import ComparisonOptions, Spectra, Window
from hyperspy_assb.eels.comparison.row_store import RowStore
from hyperspy_assb.eels.comparison.state_work import Work
from hyperspy_assb.eels.scattering.plasmon import fit_plasmon
from hyperspy_assb.eels.scattering.single_scattering import (
    THICKEST,
    Grid,
    ZeroLossShape,
    end_exponent,
    estimate_single_scattering,
    fit_zero_loss_shape,
    measured_zero_loss_shape,
    sum_aligned,
)
from hyperspy_assb.eels.zero_loss.position import ZeroLossStatus, find_centre
from hyperspy_assb.eels.zero_loss.recorded_noise import (
    FAR,
    checked_dark_level,
    dark_level,
    dark_level_error,
    low_loss_noise,
)
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.statistics import blocks as partition

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NOISE_SPECTRA = 256
"""Spectra of a state that tell its noise."""
_COMMON_SPECTRA = 4096
"""Spectra of a state on disk that tell the form of its zero-loss peaks, and whether its dark level can be told."""
_DARK_COUNTS = 2**23
"""Numbers of a state on disk that tell its dark level."""
_START = 3.0
"""Full widths of the zero-loss peak from which spectra are compared, if the options do not say from where."""
_LOST = 1e-12
"""Share of a zero-loss peak of unit area below which a frequency is taken for lost."""
_FEWEST_CHANNELS = 5
"""Channels in common without which there is nothing to compare."""
_OTHER_THICKNESS = {"log_ratio": "area", "area": "log_ratio"}
"""The measure of thickness that the choice of the other is judged by."""


_ONE_LEVEL = 4.0
"""Standard errors within which dark levels of states count as one."""


@dataclass(frozen=True)
class Prepared:
    """States that can be compared, and what their comparison shares.

    Parameters
    ----------
    options
        How to compare.
    work
        The states.
    loss, start
        Energy losses, shape (E,), and that from which spectra are compared, in eV.
    windows
        The F bands that lie in range.
    weights
        Weights of the channels in each band, and in energy and width of the plasmon, shape (F + 2, E).
    shape
        The zero-loss peak that distributions are shown with.
    detector
        Gain and read noise.
    block_pixels, correlation_length
        Pixels of a block, and distance in pixels up to which neighbours are correlated.
    by_blocks
        Whether there are enough blocks to permute.
    """

    options: ComparisonOptions
    work: list[Work]
    loss: FloatArray
    start: float
    windows: tuple[Window, ...]
    weights: FloatArray
    shape: ZeroLossShape
    detector: Detector
    block_pixels: int
    correlation_length: int
    by_blocks: bool


def prepare_states(
    states: Sequence[Spectra],
    windows: Sequence[Window],
    options: ComparisonOptions,
    zero_loss: tuple[ArrayLike, ArrayLike] | None,
) -> Prepared:
    """Remove zero-loss peak and plural scattering from all states, and average their pixels over blocks.

    Raises
    ------
    ValueError
        If dispersions differ, ranges do not overlap, or a state has no spectrum with a zero-loss peak or no specimen.
    """
    check_axes(states)
    length = min(s.energy.size for s in states)
    states = [replace(s, counts=s.counts[:, :length], energy=s.energy[:length]) for s in states]
    grid = Grid.of(states[0].energy)
    given = None if zero_loss is None else measured_zero_loss_shape(*zero_loss, grid)
    work, detector = find_zero_losses(states, options)
    shape = fit_zero_losses(work, grid, options, detector, given=given)
    loss = deconvolve(work, shape)
    start = _START * shape.fwhm if options.start is None else float(options.start)
    if loss[-1] < start + _FEWEST_CHANNELS * grid.step:
        raise AssbValueError(
            f"The states have no range in common: they end {loss[-1]:g} eV above the zero-loss peak, and the "
            f"comparison begins at {start:g} eV. Record a wider range, or give start."
        )
    area = (loss >= start).astype(float)
    for w in work:
        w.thickness = measure_thickness(w, options.normalisation, area)
        if not w.thickness.sum() > 0:
            raise AssbValueError(
                "The spectra show no inelastic scattering: there is no specimen in them, or no zero-loss peak."
            )
        if options.normalisation in _OTHER_THICKNESS:
            w.other_thickness = measure_thickness(w, _OTHER_THICKNESS[options.normalisation], area)
        w.total = np.sum([rows.sum(axis=0, dtype=np.float64) for _, rows in w.distributions()], axis=0)
        w.mean = np.asarray(w.total / w.thickness.sum())
        w.own_zero_loss = add_own_zero_loss(w, shape, grid, loss)
        w.plasmon = fit_plasmon(w.mean, loss, shape, start=start)
    margin = 0.5 * grid.step
    seen = tuple(w for w in windows if w.low >= start - margin and w.high <= loss[-1] + margin)
    pooled = sum(w.total for w in work) / sum(w.thickness.sum() for w in work)
    plasmon = fit_plasmon(pooled, loss, shape, start=start)
    weights = np.concatenate([band_weights(loss, seen, pooled), np.nan_to_num(plasmon.weights)])
    correlations = [w.correlate(weights, options) for w in work]
    correlation = max(correlations, key=lambda c: (c.length, c.inflation))
    dimensions = max(w.spectra.position.shape[1] for w in work)
    size = options.block_pixels or partition.choose_block_size(
        correlation, min(w.centre.size for w in work), dimensions
    )
    for w, own in zip(work, correlations, strict=True):
        w.correlation = own
        w.gather(size, options)
    for w in work:
        w.counting = w.count(options, weights, area)
    return Prepared(
        options=options,
        work=work,
        loss=loss,
        start=start,
        windows=seen,
        weights=weights,
        shape=shape,
        detector=detector,
        block_pixels=size,
        correlation_length=correlation.length,
        by_blocks=min(w.blocks.shape[0] for w in work) >= partition.FEWEST,
    )


def check_axes(states: Sequence[Spectra]) -> None:
    """Check that there are states, and that their energy axes go together."""
    if len(states) < 2:
        raise AssbValueError("A comparison takes at least two states.")
    steps = []
    for number, state in enumerate(states):
        checks.check_energy_axis(state.energy, name=f"energy axis of state {number}")
        checks.check_zero_loss_in_range(state.energy)
        steps.append(float((state.energy[-1] - state.energy[0]) / (state.energy.size - 1)))
    if max(steps) / min(steps) - 1 > 1e-3:
        raise AssbValueError(
            f"The channels of the states are {', '.join(f'{s:g}' for s in steps)} eV wide: record all alike, or rebin "
            "the finer ones to the coarsest (signal.rebin) before they are compared."
        )


def find_zero_losses(states: Sequence[Spectra], options: ComparisonOptions) -> tuple[list[Work], Detector]:
    """Leave out what is no spectrum, and find the zero-loss peak of the rest; gain and read noise of all."""
    work = []
    for state in states:
        w = Work(state)
        w.keep(np.asarray(np.isfinite(state.counts).all(axis=1)), "not finite")
        w.keep(np.asarray(np.any(w.spectra.counts, axis=1)), "empty")
        if w.spectra.counts.shape[0] == 0:
            raise AssbValueError(f"A state has no spectrum to compare: {w.left_out or 'no pixel was chosen'}.")
        work.append(w)
    axes = [w.spectra.energy for w in work]
    # One shape for all states where their axes allow it: what a state alone would err by, blocks do not show.
    alike = all(np.array_equal(axis, axes[0]) for axis in axes)
    for group in [work] if alike else [[w] for w in work]:
        for w, (centre, fwhm, status) in zip(group, _find_centres(group, options), strict=True):
            found = np.isfinite(centre)
            if not found.any():
                raise AssbValueError(
                    "A state has no zero-loss peak in any of its spectra: use low-loss spectra that hold it."
                )
            w.fwhm, w.centre = float(np.median(fwhm[found])), centre
            whole = found & (status != ZeroLossStatus.SATURATED)
            if not whole.any():
                raise AssbValueError(
                    "The zero-loss peak of a state is saturated in all of its spectra, so its thickness is unknown. "
                    "Record it with a shorter exposure."
                )
            w.keep(found, "no zero-loss peak")
            w.keep(whole[found], "zero loss cut off")
    for w in work:
        w.noise = _noise_of(w, options)
    _subtract_dark_levels(work)
    broad = [w.noise.broad for w in work if w.noise is not None]
    gain, read_noise = (float(np.mean([getattr(b, name) for b in broad])) for name in ("gain", "read_noise"))
    return work, Detector(gain=gain, read_noise=read_noise)


def _find_centres(group: Sequence[Work], options: ComparisonOptions) -> Iterator[tuple[NDArray[Any], ...]]:
    """Position, width and status of the zero-loss peaks of each state, fitted with one form."""
    energy = group[0].spectra.energy
    samples = [w.spectra.sample(_COMMON_SPECTRA)[1] for w in group]
    common = find_centre(np.concatenate(samples), energy, gain=options.gain)
    first = 0
    for w, sample in zip(group, samples, strict=True):
        if len(sample) == len(w.spectra.counts):
            of = slice(first, first + len(sample))
            yield common.centre[of], common.fwhm[of], common.status[of]
        else:
            parts = [
                find_centre(c, energy, gain=common.gain, shape=common.shape)
                for _, c in w.spectra.blocks("zero-loss peak")
            ]
            yield tuple(np.concatenate([getattr(p, name) for p in parts]) for name in ("centre", "fwhm", "status"))
        first += len(sample)


def _dark_level_of(work: Work) -> tuple[float, float]:
    """Dark level of a state, and its standard error."""
    spectra = work.spectra
    rows, counts = spectra.sample(_COMMON_SPECTRA)
    level = checked_dark_level(counts, spectra.energy, work.centre[rows], work.fwhm)
    energy = spectra.energy
    if len(rows) < len(spectra.counts):
        # Its error is common to all pixels, so that no block shows it: of the few channels that tell it, many spectra.
        last = int(np.searchsorted(energy, work.centre.max() - FAR * work.fwhm))
        energy, dark = energy[:last], replace(spectra, counts=spectra.counts[:, :last])
        rows, counts = dark.sample(_DARK_COUNTS // max(last, 1))
        level = dark_level(counts, energy, work.centre[rows], work.fwhm)
    return level, dark_level_error(counts, energy, work.centre[rows], work.fwhm)


def _subtract_dark_levels(work: Sequence[Work]) -> None:
    """Take off what is no electron, where the spectra tell: one level for all states, whose noise drops out of what
    they differ by, unless a state has clearly another."""
    levels, errors = np.array([_dark_level_of(w) for w in work]).T.copy()
    common = np.average(levels, weights=[w.centre.size for w in work])
    if (np.abs(levels - common) <= _ONE_LEVEL * errors).all():
        levels[:] = common
    for w, level in zip(work, levels, strict=True):
        if level:
            w.spectra = replace(w.spectra, counts=w.spectra.counts - level)


def _noise_of(work: Work, options: ComparisonOptions) -> Noise:
    """Noise of a state: as given, as recorded with it, or as its counts scatter."""
    if options.gain is not None:
        given = Detector(gain=options.gain, read_noise=options.read_noise)
        return Noise(given, NoiseSource.GIVEN, f"A gain of {given.gain:.3g} counts per electron was given.")
    counts, energy = work.spectra.counts, work.spectra.energy
    some = np.unique(np.linspace(0, len(counts) - 1, min(len(counts), _NOISE_SPECTRA)).astype(int))
    return low_loss_noise(np.asarray(counts[some]), energy, work.centre[some], work.fwhm, work.spectra.claim)


def fit_zero_losses(
    work: list[Work], grid: Grid, options: ComparisonOptions, detector: Detector, *, given: ZeroLossShape | None
) -> ZeroLossShape:
    """Find the zero-loss peak of each state, and that which all distributions are shown with, which is returned."""
    totals = [
        np.sum(
            [sum_aligned(c, w.spectra.energy, w.centre[part], grid) for part, c in w.spectra.blocks("mean peak")],
            axis=0,
        )
        for w in work
    ]
    first = [float((w.spectra.energy[0] - w.centre).max()) for w in work]

    def fit(total: FloatArray, start: float, fwhm: float, number: int) -> ZeroLossShape:
        return fit_zero_loss_shape(
            total, grid, fwhm=fwhm, first=start, gain=detector.gain, read_variance=number * detector.read_noise**2
        )

    for w, total, start in zip(work, totals, first, strict=True):
        w.own = fit(total, start, w.fwhm, w.centre.size) if given is None else given
    if given is not None or options.zero_loss == "each":
        shape = max((w.own for w in work if w.own is not None), key=lambda s: s.fwhm)
        for w in work:
            w.used = w.own
        return shape
    # Every state counts alike, whatever its dose.
    mean = np.sum([t / t.max() for t in totals], axis=0) * np.mean([t.max() for t in totals])
    shape = fit(mean, max(first), float(np.mean([w.fwhm for w in work])), sum(w.centre.size for w in work))
    for w in work:
        w.used = shape
    return shape


def deconvolve(work: list[Work], shape: ZeroLossShape) -> FloatArray:
    """Single scattering of all pixels of all states, on the same losses in eV, which are returned."""
    end = min(float(w.spectra.energy[-1] - w.centre.max()) for w in work)
    loss = np.empty(0)
    # An exponent of its own would give each state its own error of t/λ, which blocks do not show.
    exponent = float(np.mean([end_exponent(w.spectra.counts, w.spectra.energy, w.centre) for w in work]))
    for w in work:
        assert w.used is not None
        known, middle = [], float(np.median(w.centre))
        for part, counts in w.spectra.blocks("scattering"):
            found = estimate_single_scattering(
                counts,
                w.spectra.energy,
                w.centre[part],
                w.used,
                end=end,
                resolution=shape,
                exponent=exponent,
                middle=middle,
            )
            usable = np.isfinite(found.t_over_lambda) & (found.intensity > 0)
            usable &= np.isfinite(found.distribution).all(axis=1)
            good = usable & (found.t_over_lambda <= THICKEST)
            if w.distribution is None:
                loss = found.loss
                w.distribution = RowStore(loss.size, on_disk=not isinstance(w.spectra.counts, np.ndarray))
            w.distribution.append(found.distribution if good.all() else found.distribution[good])
            known.append((usable, good, found.t_over_lambda, found.intensity, found.recorded))
        usable, good, *maps = (np.concatenate(values) for values in zip(*known, strict=True))
        w.t_over_lambda, w.intensity, w.recorded = (values[good] for values in maps)
        w.keep(usable, "no zero-loss intensity")
        w.keep(good[usable], f"t/λ above {THICKEST:g}")
        if w.centre.size == 0:
            raise AssbValueError(f"No spectrum of a state has a t/λ of at most {THICKEST:g} ({w.left_out}).")
    return loss


def measure_thickness(w: Work, normalisation: str, area: FloatArray) -> FloatArray:
    """What the distribution of each pixel is divided by, shape (P,)."""
    if normalisation == "log_ratio":
        return w.t_over_lambda
    if normalisation == "area":
        return w.weigh(area)
    return np.ones(w.centre.size)


def add_own_zero_loss(w: Work, shape: ZeroLossShape, grid: Grid, loss: FloatArray) -> FloatArray:
    """What the state's own zero-loss peak would add to its mean distribution, beside the common one, shape (E,)."""
    if w.own is None:
        return np.zeros(loss.size)
    common, own = np.asarray(fft.rfft(shape.values)), np.asarray(fft.rfft(w.own.values))
    known = (np.abs(common) > _LOST) & (np.abs(own) > _LOST)
    ratio = np.log(np.where(known, common, 1.0) / np.where(known, own, 1.0))
    added = grid.back(common * ratio)[: loss.size]
    return np.asarray(added * w.centre.size / w.thickness.sum())


def band_weights(loss: FloatArray, windows: Sequence[Window], mean: FloatArray) -> FloatArray:
    """Weights of the channels whose sum is the content of each band, shape (F, E).

    Where a band has a background, the power law through the channels before it is subtracted: its exponent is that of
    `mean`, its height that of each spectrum, so that the content stays a linear function of the spectrum.
    """
    step = loss[1] - loss[0]

    def inside(low: float, high: float) -> FloatArray:
        return np.asarray(
            np.clip((np.minimum(loss + 0.5 * step, high) - np.maximum(loss - 0.5 * step, low)) / step, 0, 1)
        )

    rows = np.zeros((len(windows), loss.size))
    for row, window in zip(rows, windows, strict=True):
        row[:] = inside(window.low, window.high)
        if window.background is None:
            continue
        before = inside(*window.background)
        middle = 0.5 * (window.background[0] + window.background[1])
        lower, upper = inside(window.background[0], middle), inside(middle, window.background[1])
        heights = float(lower @ mean), float(upper @ mean)
        exponent = 3.0
        if min(heights) > 0:
            where = float(lower @ loss / lower.sum()), float(upper @ loss / upper.sum())
            exponent = float(np.clip(np.log(heights[0] / heights[1]) / np.log(where[1] / where[0]), 0.0, 8.0))
        law = np.maximum(loss, step) ** -exponent
        row -= before * float(row @ law) / float(before @ law)
    return rows
