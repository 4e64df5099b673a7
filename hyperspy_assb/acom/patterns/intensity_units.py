"""What an electron is worth in patterns that were scaled, normalised, or had a dark level taken off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_PATTERNS = 16
"""That are looked at."""
_BLOCK = 8
"""Side in pixels of the squares in which mean and variance are taken."""
_SAME = (0.5, 2.0)
"""Gains between which patterns are taken to be counts as they are: what is told by counts holds within such factors."""
_WHOLE_GAIN = 4.0
"""Gain of whole numbers below which they are taken as they are: cameras that multiply a little are reckoned with."""
_AGREES = (0.3, 3.0)
"""Gain from the noise over the step of the values, if the step is that of an electron."""
_SHARED = 0.02
"""Share of the values that the smallest one has, if it is that of no electron."""
_MOST_VALUES = 0.25
"""Different values for each pixel above which values are not steps of counts."""
_DARK = 0.05
"""Share of the squares that are the darkest."""


@dataclass(frozen=True)
class IntensityUnits:
    """How values of patterns become electrons: ``(value - zero) / gain``.

    Parameters
    ----------
    gain
        Value of an electron.
    zero
        Value of none.
    quantum
        Step of the values in electrons; 0 where they are no steps.
    """

    gain: float = 1.0
    zero: float = 0.0
    quantum: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether values are counts as they are."""
        return self.gain == 1.0 and self.zero == 0.0

    def in_words(self) -> tuple[str, ...]:
        """What was done to the intensities, in a sentence; nothing where it is nothing."""
        if self.plain:
            return ()
        level = f" above {self.zero:.3g}" if self.zero else ""
        return (
            f"By their noise, the patterns have {self.gain:.3g} for an electron{level}: they were brought to "
            "electrons, in which the virtual bright field is.",
        )

    def to_electrons(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Patterns in electrons, in floating point; as they are where they are counts."""
        if self.plain:
            return patterns
        return (patterns.astype(np.float32) - np.float32(self.zero)) * np.float32(1.0 / self.gain)


def estimate_units(patterns: NDArray[Any], mask: NDArray[np.bool_]) -> IntensityUnits:
    """Find what an electron is worth, from the step of the values and from their noise.

    Parameters
    ----------
    patterns
        Some of the patterns of a scan, of any real type, shape (B, ny, nx).
    mask
        True where pixels are left out, shape (ny, nx).

    Returns
    -------
    IntensityUnits
        Counts as they are, where nothing speaks against it.

    Notes
    -----
    Of electrons that are counted, the variance is the mean. In squares of 8 x 8 pixels the variance is that of the
    differences between neighbours, so that a slope is no noise; the darker half of the squares holds few Bragg spots.
    Their median ratio is the gain. If values are steps, and the ratio is about a step, the step is the gain.
    """
    whole = patterns.dtype.kind in "biu"
    some = patterns[:: max(len(patterns) // _PATTERNS, 1)].astype(np.float64)
    some[:, mask] = np.nan
    values = some[np.isfinite(some)]
    if not values.size or values.min() == values.max():
        return IntensityUnits(quantum=1.0 if whole else 0.0)
    steps = [found for found in map(_step_of, some) if found is not None]
    step = float(np.median(steps)) if len(steps) > len(some) / 2 else 0.0
    mean, variance = _squares(some)
    zero = _zero_of(values, mean, step)
    ratio = _ratio(mean - zero, variance, noisy=step == 0.0 and values.min() < 0.0)
    if step > 0.0 and (ratio is None or _AGREES[0] < ratio / step < _AGREES[1]):
        gain = step
    else:
        gain = ratio or 1.0
    known = _SAME[0] < gain < (_WHOLE_GAIN if whole else _SAME[1])
    if known and gain != step:
        gain = 1.0
    if whole and step <= 1.0 and gain < _WHOLE_GAIN:
        gain = 1.0
    return IntensityUnits(gain, zero, step / gain)


def _step_of(pattern: FloatArray) -> float | None:
    """Smallest step of the values of a pattern, if all are multiples of it."""
    values = np.unique(pattern[np.isfinite(pattern)])
    if not 2 <= len(values) <= _MOST_VALUES * pattern.size:
        return None
    values = values - values[0]
    step = float(np.diff(values).min())
    # Single precision is known to so much of the largest value.
    if not step > 1e-6 * values[-1]:
        return None
    steps = values / step
    small = steps < 1e3
    if np.abs(steps[small] - np.round(steps[small])).max() > 0.01 or small.sum() < min(len(values), 4):
        return None
    return step


def _squares(patterns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance by the differences of neighbours in squares, those that are known to three quarters."""
    rows, columns = (n // _BLOCK for n in patterns.shape[1:])
    cut = patterns[:, : rows * _BLOCK, : columns * _BLOCK]
    cut = cut.reshape(len(patterns), rows, _BLOCK, columns, _BLOCK).swapaxes(2, 3)
    known = np.isfinite(cut)
    pairs = cut[..., 1:] - cut[..., :-1]
    with np.errstate(invalid="ignore"):
        mean = np.where(known, cut, 0.0).sum(axis=(-2, -1)) / known.sum(axis=(-2, -1))
        count = np.isfinite(pairs).sum(axis=(-2, -1))
        variance = 0.5 * np.where(np.isfinite(pairs), pairs**2, 0.0).sum(axis=(-2, -1)) / count
    good = known.mean(axis=(-2, -1)) > 0.75
    return mean[good], variance[good]


def _zero_of(values: FloatArray, mean: FloatArray, step: float) -> float:
    """Value of no electron: where there are negative ones, the smallest of values in steps, else that of the dark."""
    lowest = float(values.min())
    if lowest >= 0.0:
        return 0.0
    if step > 0.0 and np.mean(values < lowest + 0.5 * step) > _SHARED:
        return lowest
    dark = float(np.quantile(mean, _DARK)) if mean.size else 0.0
    return min(dark, 0.0)


def _ratio(mean: FloatArray, variance: FloatArray, *, noisy: bool) -> float | None:
    """Variance over mean of the darker half of the squares that are above what a dark camera has; None if unknown.

    Where the camera has noise of its own (`noisy`), it is how fast the variance grows with the mean.
    """
    if not mean.size:
        return None
    if noisy:
        return _slope(mean, variance)
    dark = float(np.quantile(variance, _DARK))
    lit = mean > 5.0 * np.sqrt(max(dark, 0.0)) / _BLOCK
    if lit.sum() < 8:
        return None
    chosen = lit & (mean <= np.median(mean[lit]))
    excess = variance[chosen] - (dark if dark < 0.5 * np.median(variance[chosen]) else 0.0)
    found = float(np.median(excess / mean[chosen]))
    return found if found > 0.0 else None


def _slope(mean: FloatArray, variance: FloatArray) -> float | None:
    """By how much the variance of squares grows with their mean, from their lower half to the quarter above it."""
    order = np.argsort(mean, kind="stable")
    low, high = order[: len(order) // 2], order[len(order) // 2 : 3 * len(order) // 4]
    if len(low) < 8:
        return None
    rise = float(np.median(mean[high]) - np.median(mean[low]))
    growth = float(np.median(variance[high]) - np.median(variance[low]))
    # Medians of so many squares of 56 differences scatter by this much.
    scatter = 1.25 * float(np.median(variance[low])) * np.sqrt(2.0 / 56.0) * np.sqrt(1.0 / len(low) + 1.0 / len(high))
    return growth / rise if rise > 0.0 and growth > 3.0 * scatter else None
