"""Gain, read noise and point spread of a detector, from the scatter of recorded counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.neighbour_noise import (
    MEDIAN_OF_SQUARE,
    HighPass,
    estimate_autocovariance,
)

_FEWEST_CHANNELS = 10
"""Channels from which differences of neighbours tell noise from what parameters have fitted."""
_MOST = 2.0**53
"""No detector counts so far: such spectra tell no noise; nor do those with NaN."""
_WINDOW, _ALONE = 41, 7
"""Channels over which a map is smooth once what its spectra share is taken off, and those of spectra by themselves."""
FEWEST_SPECTRA = 24
"""Spectra from which what they share can be learnt from half of them and taken off the other half."""
_SHARED, _SPECTRA_PER_SHARED, _CHANNELS_PER_SHARED = 6, 8, 20
"""The most spectra that all are made of, and spectra and channels for each of them."""
_LEVEL_WINDOW = 9
"""Channels whose mean tells how many counts there are."""
_GROUPS = 5
"""Groups of channels of like counts."""
_RANK_LIMIT = 1e-6
"""Singular value of whitened spectra, over the first, that is rounding of 32 bits."""
_MOST_GROUPS, _CHANNELS_OF_GROUP = 60, 60
"""Groups of channels of like counts whose scatter is taken together, at most, and the channels of each, at least."""
_MANY_ELECTRONS = 30.0
"""Electrons, or what read noise is worth, from which the median of squares tells their mean."""
_CORRELATED_ELECTRONS = 3.0
"""Electrons in a channel from which what spectra share, and the correlation of neighbours, are told."""
_HIDDEN = 0.05
"""Share of the scatter that may be counting noise where it does not grow with the counts."""
_ROUNDED_LEVEL = 1e-6
"""Counts over their scatter below which there are none, and the scatter is all read noise."""
_ROUNDS = 20
"""Times that the weights are taken from the variance that was found last."""
_SPIKE = 25.0
"""Squared residual over its variance above which it is a spike and not noise."""
_FAR_AWAY = 10.0
"""Usual deviations of a channel from its median over the spectra, above which it is a spike."""
_EXACT = 1e-10
"""Scatter, as a share of the highest counts, that is rounding."""


@dataclass(frozen=True)
class NoiseEstimate:
    """Noise that spectra tell by their scatter.

    Parameters
    ----------
    detector
        Gain and read noise of single channels.
    correlation
        Of a channel with those 1, 2 ... above it, shape (L,), from the point spread or from interpolation; empty where
        neighbours are independent, or too few spectra tell.
    relative_std
        Standard error of the gain, as a share of it.
    levels, squares, squares_std
        Mean counts, mean squared residual and its standard error, of channels of like counts, shape (G,).
    """

    detector: Detector
    correlation: FloatArray
    relative_std: float
    levels: FloatArray
    squares: FloatArray
    squares_std: FloatArray

    @property
    def inflation(self) -> float:
        """One plus twice the sum of the correlation."""
        return max(1.0 + 2.0 * float(self.correlation.sum()), 0.05)

    def level_ratio(self, claim: Detector) -> float:
        """Scatter over what a claim says of it, at usual counts."""
        return float(np.median(self.squares / np.maximum(claim.variance(self.levels), 1e-300)))


def estimate_noise(
    counts: FloatArray,
    expectation: FloatArray | None = None,
    *,
    segments: Sequence[slice] = (slice(None),),
    directions: FloatArray | None = None,
) -> NoiseEstimate:
    """Estimate gain, read noise and the correlation of neighbouring channels.

    What spectra share beyond the expectation is learnt from one half of them and taken off the other half; what is
    still smooth is filtered out. The squares of the rest are fitted by ``gain * expectation + read_noise**2``, and
    their covariances tell the correlation. Fewer than 24 spectra tell no correlation, and by differences of close
    neighbours only: a camera that spreads an electron over several channels then looks quieter than it is.

    Parameters
    ----------
    counts
        Recorded counts, shape (S, E). Rows that are not finite are left out.
    expectation
        Fitted counts, shape (S, E); None: what is smooth in the counts.
    segments
        Stretches of neighbouring channels that are smooth, or were fitted.
    directions
        Derivatives of the expectation by what was fitted to a typical spectrum, over the standard deviation of the
        counts, shape (P, E).

    Returns
    -------
    estimate
        Of single channels.

    Raises
    ------
    ValueError
        If there are no finite spectra of at least ten channels, or they do not scatter.
    """
    good = (np.abs(counts) <= _MOST).all(axis=1) & np.any(counts, axis=1)
    if expectation is not None:
        good &= np.isfinite(expectation).all(axis=1)
    sizes = [len(range(*segment.indices(counts.shape[1]))) for segment in segments]
    if not sizes or max(sizes) < _FEWEST_CHANNELS or not good.any():
        raise AssbValueError("The gain cannot be estimated: it takes fitted spectra of at least ten channels.")
    counts = np.asarray(counts[good], dtype=float)
    known = None if expectation is None else np.asarray(expectation[good], dtype=float)
    # Squares of a few electrons have tails that pass for what spectra share, and for a correlation.
    many = len(counts) >= FEWEST_SPECTRA and _electrons(counts) > _CORRELATED_ELECTRONS
    if many:
        counts = _without_spikes(counts, known)
    high_pass = _filter(max(sizes), many)
    rounding = _EXACT * float(np.abs(counts).max())
    long = [segment for segment, size in zip(segments, sizes, strict=True) if size >= high_pass.window]
    parts = [
        _Segment.of(counts[:, segment], None if known is None else known[:, segment], high_pass, rounding)
        for segment in long
    ]
    rough = _rough_detector(parts, high_pass)
    filtered, level, scale, bright, taken = [], [], [], [], []
    for part, segment in zip(parts, long, strict=True):
        # The same for all spectra but for a factor each: what they share stays shared.
        typical = part.level.mean(axis=0)
        height = np.maximum(part.level.mean(axis=1, keepdims=True) / max(typical.mean(), 1e-300), 1e-3)
        deviation = np.sqrt(np.maximum(rough.variance(typical), 1e-3 * rough.variance(typical).mean()) * height)
        white, own = _take_shared(part.rest / deviation, many)
        if directions is not None:
            own = np.concatenate([own, directions[:, segment]])
        half = high_pass.window // 2
        inner = slice(half, part.rest.shape[1] - half)
        filtered.append(high_pass.apply(white))
        level.append(part.level[:, inner])
        scale.append(deviation[:, inner] ** 2)
        bright.append(rough.gain * typical[inner] > rough.read_noise**2)
        taken.append(np.linalg.svd(own, full_matrices=False)[2][: len(own)] if len(own) else own)
    # Read noise is that of each channel; the point spread correlates the noise of electrons.
    count = [int(b.sum()) for b in bright]
    which = int(np.argmax(count)) if max(count) >= _FEWEST_CHANNELS else int(np.argmax([f.shape[1] for f in filtered]))
    used = bright[which] if max(count) >= _FEWEST_CHANNELS else None
    found = estimate_autocovariance(filtered[which], high_pass, taken[which], used=used, correlated=many)
    square = np.concatenate([(f**2 * s).ravel() for f, s in zip(filtered, scale, strict=True)])
    heights = np.concatenate([own.ravel() for own in level])
    seen = _fit_variance(square, heights)
    single = high_pass.mixing()[0, 0]
    detector = Detector(seen.gain / found.filtered, float(seen.read_noise / np.sqrt(single)))
    square *= detector.variance(heights) / np.maximum(seen.variance(heights), 1e-300)
    return NoiseEstimate(
        detector, found.correlation, found.relative_std, *_group(square, heights, detector, found.correlation)
    )


def estimate_detector(counts: FloatArray, expectation: FloatArray) -> Detector:
    """Gain and read noise of single channels alone; see :func:`estimate_noise`."""
    return estimate_noise(counts, expectation).detector


def numerical_rank(counts: FloatArray) -> int:
    """Number of spectra that all are sums of; 0 where there are as many as noise makes, or too few spectra to tell.

    Parameters
    ----------
    counts
        Shape (S, E). Spectra that PCA or NMF put together are sums of a few.
    """
    counts = np.asarray(counts, dtype=float)
    counts = counts[(np.abs(counts) <= _MOST).all(axis=1) & np.any(counts, axis=1)]
    if np.array_equal(counts, np.rint(counts)):
        return 0  # whole counts, which may have less noise than the limit below; nothing put together is whole
    most = min(counts.shape)
    if len(counts) < FEWEST_SPECTRA or most < 2 * _FEWEST_CHANNELS:
        return 0
    typical = np.abs(counts).mean(axis=0)
    used = typical > 0.0
    white = counts[:, used] / np.sqrt(typical[used])
    if used.sum() < 2 * _FEWEST_CHANNELS:
        return 0
    values = np.linalg.svd(white, compute_uv=False)
    rank = int((values > _RANK_LIMIT * values[0]).sum())
    return rank if rank < 0.8 * min(white.shape) else 0


def _electrons(counts: FloatArray) -> float:
    """Electrons in a usual channel, by mean and scatter of neighbours, whatever the gain."""
    scatter = np.mean(np.diff(counts, axis=1) ** 2, axis=0) / 2.0
    mean = counts.mean(axis=0)
    level = 0.5 * (mean[1:] + mean[:-1])
    told = scatter > 0.0
    return float(np.median(level[told] ** 2 / scatter[told])) if told.any() else np.inf


def _without_spikes(counts: FloatArray, expectation: FloatArray | None) -> FloatArray:
    """Counts whose spikes are what other spectra have there: a filter would spread them over its window."""
    rest = counts if expectation is None else counts - expectation
    away = rest - np.median(rest, axis=0)
    usual = np.sqrt(np.median(away**2, axis=0) / MEDIAN_OF_SQUARE)
    return np.where((np.abs(away) > _FAR_AWAY * usual) & (usual > 0.0), counts - away, counts)


def _filter(size: int, many: bool) -> HighPass:
    """The filter for stretches of `size` channels: long where much is taken off before, and there is room for it."""
    window = min(_WINDOW if many else _ALONE, max(size // 3, _ALONE))
    return HighPass(min(window - (1 - window % 2), size - (1 - size % 2)))


@dataclass(frozen=True)
class _Segment:
    """Residuals and expectation of neighbouring channels, shape (S, E) each, and counts that pass for none."""

    rest: FloatArray
    level: FloatArray
    filtered: FloatArray

    @classmethod
    def of(cls, counts: FloatArray, expectation: FloatArray | None, high_pass: HighPass, rounding: float) -> _Segment:
        half = high_pass.window // 2
        if expectation is None:
            smooth = np.pad(high_pass.smooth(counts), ((0, 0), (half, half)), mode="edge")
            rest, level = counts, uniform_filter1d(smooth, _LEVEL_WINDOW, axis=1, mode="nearest")
        else:
            rest, level = counts - expectation, expectation
        level = np.maximum(level, 0.0)
        filtered = high_pass.apply(rest)
        if np.abs(filtered).max() <= rounding:
            filtered = np.zeros_like(filtered)
        return cls(rest, level, filtered)


def _rough_detector(parts: Sequence[_Segment], high_pass: HighPass) -> Detector:
    """Gain and read noise as if channels were independent and nothing had been fitted."""
    squares, levels = [], []
    for part in parts:
        half = (part.level.shape[1] - part.filtered.shape[1]) // 2
        squares.append(part.filtered.ravel() ** 2)
        levels.append(part.level[:, half : part.level.shape[1] - half].ravel())
    square = np.concatenate(squares)
    if not square.any():
        raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
    return _fit_variance(square / high_pass.mixing()[0, 0], np.concatenate(levels))


def _take_shared(white: FloatArray, many: bool) -> tuple[FloatArray, FloatArray]:
    """Whitened spectra without what those of the other half share, and that as orthonormal vectors (D, E)."""
    count = min(_SHARED, len(white) // _SPECTRA_PER_SHARED, white.shape[1] // _CHANNELS_PER_SHARED) if many else 0
    if not count:
        return white, np.zeros((0, white.shape[1]))
    out = np.empty_like(white)
    shared = np.zeros((0, white.shape[1]))
    for own in (0, 1):
        others = white[1 - own :: 2]
        values, vectors = np.linalg.eigh(others @ others.T)
        shared = (vectors[:, -count:].T @ others) / np.sqrt(np.maximum(values[-count:, np.newaxis], 1e-300))
        out[own::2] = white[own::2] - (white[own::2] @ shared.T) @ shared
    return out, shared


def _fit_variance(square: FloatArray, level: FloatArray) -> Detector:
    """Gain and read noise from squared residuals and expectations."""
    if not level.mean() > _ROUNDED_LEVEL * np.sqrt(square.mean()):
        return Detector(read_noise=float(np.sqrt(square.mean())))
    gain, offset = float(np.median(square) / MEDIAN_OF_SQUARE / max(level.mean(), 1e-300)), 0.0
    gain = gain if gain > 0.0 else float(square.mean() / max(level.mean(), 1e-300))
    order = np.argsort(level, kind="stable")
    groups = [g for g in np.array_split(order, max(min(_MOST_GROUPS, order.size // _CHANNELS_OF_GROUP), 2)) if g.size]
    heights = np.array([level[g].mean() for g in groups])
    usual = np.array([np.median(square[g]) for g in groups]) / MEDIAN_OF_SQUARE
    for _ in range(_ROUNDS):
        variance = gain * level + offset
        # A few electrons where hardly any are expected are no spike.
        kept = square < _SPIKE * (variance + gain**2)
        mean = np.array([square[g][kept[g]].mean() if kept[g].any() else np.nan for g in groups])
        # Where there are many electrons squares have one distribution, and what lies beyond it are spikes and misfits.
        robust = np.where((gain * heights + offset > _MANY_ELECTRONS * gain**2) & (usual > 0.0), usual, mean)
        found = np.isfinite(robust)
        expected = gain * heights[found] + offset
        # The variance of a squared residual: of a normal deviate, and what single electrons have beyond it.
        weight = 1.0 / (2.0 * expected**2 + 0.5 * gain * gain * gain * heights[found] + 1e-24 * expected.max() ** 2)
        gain, offset = _line_not_below_zero(heights[found], robust[found], weight)
        if not gain > 0.0:
            break
    if not gain > 0.0:
        # Noise that does not grow with the counts is that of reading them; the gain is at most what it hides.
        whole = max(offset, float(np.median(usual)))
        if not whole > 0.0:
            raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
        gain = min(1.0, _HIDDEN * whole / max(float(heights.mean()), 1e-300))
        offset = (1.0 - _HIDDEN) * whole
    return Detector(gain=float(gain), read_noise=float(np.sqrt(offset)))


def _group(
    square: FloatArray, level: FloatArray, detector: Detector, correlation: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean counts, mean squared residual without spikes and its standard error, in groups of like counts."""
    variance = detector.variance(level)
    kept = np.flatnonzero(square < _SPIKE * (variance + detector.gain**2))
    order = kept[np.argsort(level[kept], kind="stable")]
    groups = [g for g in np.array_split(order, _GROUPS) if g.size]
    levels = np.array([level[g].mean() for g in groups])
    bright = detector.variance(levels) > _MANY_ELECTRONS * detector.gain**2
    usual = np.array([np.median(square[g]) for g in groups]) / MEDIAN_OF_SQUARE
    squares = np.where(bright & (usual > 0.0), usual, [square[g].mean() for g in groups])
    spread = 1.0 + 2.0 * float((correlation**2).sum())
    alone = np.array([(2.0 * variance[g] ** 2 * spread + detector.gain**3 * level[g]).mean() / g.size for g in groups])
    return levels, squares, np.sqrt(alone)


def _line_not_below_zero(x: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Slope and intercept, neither below 0, of the weighted straight line through points."""
    scale = 1.0 / weight.sum()
    along = float(weight @ x) * scale
    height = float(weight @ y) * scale
    square, product = float(weight @ x**2) * scale, float((weight * x) @ y) * scale
    spread = square - along**2
    slope = (product - along * height) / spread if spread > 1e-12 * square else 0.0
    offset = height - slope * along
    if slope > 0.0 and offset >= 0.0 and spread > 1e-12 * square:
        return slope, offset
    return (max(product / square, 0.0), 0.0) if offset < 0.0 or spread <= 1e-12 * square else (0.0, max(height, 0.0))
