"""Gain, read noise and point spread of a detector, from the scatter of recorded counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.solver.variance_by_level import ByLevel
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
_RANK_LIMIT = 1e-6
"""Singular value of whitened spectra, over the first, that is rounding of 32 bits."""
_CORRELATED_ELECTRONS = 3.0
"""Electrons in a channel from which what spectra share, and the correlation of neighbours, are told."""
_FAR_AWAY = 10.0
"""Usual deviations of a channel from its median over the spectra, above which it is a spike."""
_TYPICAL = 64
"""Spectra, evenly among all, that tell what is usual in a channel: to a sixth of a deviation."""
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
    heights = np.concatenate([part.level[:, part.inner].ravel() for part in parts])
    by_level = ByLevel.of(heights)
    square = np.concatenate([part.filtered.ravel() for part in parts]) ** 2
    if not square.any():
        raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
    rough = by_level.fit(square / high_pass.mixing[0, 0])
    filtered, scale, bright, taken = [], [], [], []
    for part, segment in zip(parts, long, strict=True):
        # The same for all spectra but for a factor each: what they share stays shared.
        typical = part.level.mean(axis=0)
        height = np.maximum(part.level.mean(axis=1, keepdims=True) / max(typical.mean(), 1e-300), 1e-3)
        deviation = np.sqrt(np.maximum(rough.variance(typical), 1e-3 * rough.variance(typical).mean()) * height)
        white, own = _take_shared(part.rest / deviation, many)
        if directions is not None:
            own = np.concatenate([own, directions[:, segment]])
        filtered.append(high_pass.apply(white))
        scale.append(deviation[:, part.inner] ** 2)
        bright.append(rough.gain * typical[part.inner] > rough.read_noise**2)
        taken.append(np.linalg.svd(own, full_matrices=False)[2][: len(own)] if len(own) else own)
    # Read noise is that of each channel; the point spread correlates the noise of electrons.
    count = [int(b.sum()) for b in bright]
    which = int(np.argmax(count)) if max(count) >= _FEWEST_CHANNELS else int(np.argmax([f.shape[1] for f in filtered]))
    used = bright[which] if max(count) >= _FEWEST_CHANNELS else None
    found = estimate_autocovariance(filtered[which], high_pass, taken[which], used=used, correlated=many)
    square = np.concatenate([(f**2 * s).ravel() for f, s in zip(filtered, scale, strict=True)])
    seen = by_level.fit(square)
    single = high_pass.mixing[0, 0]
    detector = Detector(seen.gain / found.filtered, float(seen.read_noise / np.sqrt(single)))
    square *= detector.variance(heights) / np.maximum(seen.variance(heights), 1e-300)
    groups = by_level.groups(square, detector, found.correlation)
    return NoiseEstimate(detector, found.correlation, found.relative_std, *groups)


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
    some = rest[:: max(len(rest) // _TYPICAL, 1)]
    middle = np.median(some, axis=0)
    usual = np.sqrt(np.median((some - middle) ** 2, axis=0) / MEDIAN_OF_SQUARE)
    away = rest - middle
    spikes = (np.abs(away) > _FAR_AWAY * usual) & (usual > 0.0)
    return np.where(spikes, counts - away, counts) if spikes.any() else counts


def _filter(size: int, many: bool) -> HighPass:
    """The filter for stretches of `size` channels: long where much is taken off before, and there is room for it."""
    window = min(_WINDOW if many else _ALONE, max(size // 3, _ALONE))
    return HighPass.of(min(window - (1 - window % 2), size - (1 - size % 2)))


@dataclass(frozen=True)
class _Segment:
    """Residuals and expectation of neighbouring channels, shape (S, E) each, and counts that pass for none."""

    rest: FloatArray
    level: FloatArray
    filtered: FloatArray

    @property
    def inner(self) -> slice:
        """Channels that the filter leaves."""
        half = (self.level.shape[1] - self.filtered.shape[1]) // 2
        return slice(half, self.level.shape[1] - half)

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
