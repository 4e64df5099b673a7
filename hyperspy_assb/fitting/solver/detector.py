"""Gain, read noise and point spread of a detector, from the scatter of recorded counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.neighbour_noise import (
    MEDIAN_OF_SQUARE,
    HighPass,
    estimate_autocovariance,
)

_FEWEST_CHANNELS = 10
"""Channels from which differences of neighbours tell noise from what parameters have fitted."""
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
_ROUNDS = 20
"""Times that the weights are taken from the variance that was found last."""
_SPIKE = 25.0
"""Squared residual over its variance above which it is a spike and not noise."""
_EXACT = 1e-10
"""Scatter, as a share of the counts, that is rounding."""


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
    good = np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)
    if expectation is not None:
        good &= np.isfinite(expectation).all(axis=1)
    sizes = [len(range(*segment.indices(counts.shape[1]))) for segment in segments]
    if not sizes or max(sizes) < _FEWEST_CHANNELS or not good.any():
        raise ValueError("The gain cannot be estimated: it takes fitted spectra of at least ten channels.")
    counts = np.asarray(counts[good], dtype=float)
    known = None if expectation is None else np.asarray(expectation[good], dtype=float)
    many = len(counts) >= FEWEST_SPECTRA
    high_pass = _filter(max(sizes), many)
    parts = [
        _Segment.of(counts[:, segment], None if known is None else known[:, segment], high_pass)
        for segment, size in zip(segments, sizes, strict=True)
        if size >= high_pass.window
    ]
    rough = _rough_gain(parts)
    filtered, level, scale, taken = [], [], [], np.zeros((0, max(sizes)))
    for part, segment in zip(parts, [s for s, n in zip(segments, sizes, strict=True) if n >= high_pass.window], strict=True):
        # The same for all spectra but for a factor each: what they share stays shared.
        typical = part.level.mean(axis=0) + part.floor
        height = part.level.mean(axis=1, keepdims=True) / typical.mean()
        deviation = np.sqrt(rough * typical * np.maximum(height, 1e-3))
        white, own = _take_shared(part.rest / deviation, many)
        if directions is not None:
            own = np.concatenate([own, directions[:, segment]])
        half = high_pass.window // 2
        inner = slice(half, part.rest.shape[1] - half)
        filtered.append(high_pass.apply(white))
        level.append(part.level[:, inner])
        scale.append(deviation[:, inner] ** 2)
        if part.rest.shape[1] == max(sizes):
            taken = np.linalg.svd(own, full_matrices=False)[2][: len(own)] if len(own) else taken
    longest = max(range(len(filtered)), key=lambda k: filtered[k].shape[1])
    found = estimate_autocovariance(filtered[longest], high_pass, taken, correlated=many)
    square = np.concatenate([(f**2 * s).ravel() for f, s in zip(filtered, scale, strict=True)]) / found.filtered
    heights = np.concatenate([own.ravel() for own in level])
    detector = _fit_variance(square, heights)
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
    counts = counts[np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)]
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
    floor: float

    @classmethod
    def of(cls, counts: FloatArray, expectation: FloatArray | None, high_pass: HighPass) -> _Segment:
        half = high_pass.window // 2
        if expectation is None:
            smooth = np.pad(high_pass.smooth(counts), ((0, 0), (half, half)), mode="edge")
            rest, level = counts, uniform_filter1d(smooth, _LEVEL_WINDOW, axis=1, mode="nearest")
        else:
            rest, level = counts - expectation, expectation
        level = np.maximum(level, 0.0)
        filtered = high_pass.apply(rest)
        if np.abs(filtered).max() <= _EXACT * np.abs(counts).max():
            filtered = np.zeros_like(filtered)
        return cls(rest, level, filtered, max(1e-3 * float(level.mean()), 1e-300))


def _rough_gain(parts: Sequence[_Segment]) -> float:
    """Scatter over counts where there are most counts."""
    ratios = []
    for part in parts:
        half = (part.level.shape[1] - part.filtered.shape[1]) // 2
        level = part.level[:, half : part.level.shape[1] - half]
        bright = level >= np.median(level)
        ratios.append(part.filtered[bright] ** 2 / (level[bright] + part.floor))
    found = np.concatenate(ratios)
    rough = float(np.median(found)) / MEDIAN_OF_SQUARE
    rough = rough if rough > 0.0 else float(found.mean())
    if not rough > 0.0:
        raise ValueError("The gain cannot be estimated: the counts do not scatter.")
    return rough


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
    gain, offset = float(np.median(square) / MEDIAN_OF_SQUARE / max(level.mean(), 1e-300)), 0.0
    gain = gain if gain > 0.0 else float(square.mean() / max(level.mean(), 1e-300))
    for _ in range(_ROUNDS):
        variance = gain * level + offset
        # A few electrons where hardly any are expected are no spike.
        kept = square < _SPIKE * (variance + gain**2)
        # The variance of a squared residual: of a normal deviate, and what single electrons have beyond it.
        weight = kept / (2.0 * variance**2 + 0.5 * gain**3 * level + 1e-24 * variance.max() ** 2)
        gain, offset = _line_not_below_zero(level, square, weight)
        if not gain > 0.0:
            break
    if not gain > 0.0:
        raise ValueError("The gain cannot be estimated: the scatter of the counts does not grow with their height.")
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
    squares = np.array([square[g].mean() for g in groups])
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
