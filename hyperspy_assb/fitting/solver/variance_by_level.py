"""Gain and read noise from squared residuals: a straight line through their means at every height of the counts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.neighbour_noise import MEDIAN_OF_SQUARE

_GROUPS = 5
"""Groups of channels of like counts that a claim is compared with."""
_MOST_GROUPS, _CHANNELS_OF_GROUP = 60, 60
"""Groups of channels of like counts whose scatter is taken together, at most, and the channels of each, at least."""
_MANY_ELECTRONS = 30.0
"""Electrons, or what read noise is worth, from which the median of squares tells their mean."""
_HIDDEN = 0.05
"""Share of the scatter that may be counting noise where it does not grow with the counts."""
_ROUNDED_LEVEL = 1e-6
"""Counts over their scatter below which there are none, and the scatter is all read noise."""
_ROUNDS, _SETTLED = 20, 1e-6
"""Times, at most, that the weights are taken from the variance that was found last, and the change that ends it."""
_START = 8
"""Every so many squares tell the gain to start from."""
_SPIKE = 25.0
"""Squared residual over its variance above which it is a spike and not noise."""


@dataclass(frozen=True, eq=False)
class ByLevel:
    """Channels of many spectra in the order of their expectations, which is looked for once.

    Parameters
    ----------
    order
        Places of the N channels, shape (N,).
    level
        Expectations in this order, shape (N,).
    """

    order: NDArray[np.intp]
    level: FloatArray

    @classmethod
    def of(cls, level: FloatArray) -> ByLevel:
        """Of expectations, shape (N,)."""
        order = np.argsort(level, kind="stable")
        return cls(order, level[order])

    def fit(self, square: FloatArray) -> Detector:
        """Gain and read noise from squared residuals in the order of the spectra, shape (N,).

        Raises
        ------
        ValueError
            If they do not scatter.
        """
        typical, scatter = float(self.level.mean()), float(square.mean())
        if not typical > _ROUNDED_LEVEL * np.sqrt(scatter):
            return Detector(read_noise=float(np.sqrt(scatter)))
        square = square[self.order]
        gain, offset = float(np.median(square[::_START]) / MEDIAN_OF_SQUARE / max(typical, 1e-300)), 0.0
        gain = gain if gain > 0.0 else scatter / max(typical, 1e-300)
        edges = _edges(square.size, max(min(_MOST_GROUPS, square.size // _CHANNELS_OF_GROUP), 2))
        heights, usual = _means(self.level, edges), _medians(square, edges) / MEDIAN_OF_SQUARE
        for _ in range(_ROUNDS):
            # A few electrons where hardly any are expected are no spike.
            mean = _kept_means(square, self.level, edges, gain, offset)
            # Where there are many electrons squares have one distribution, and what lies beyond it are spikes and
            # misfits.
            robust = np.where((gain * heights + offset > _MANY_ELECTRONS * gain**2) & (usual > 0.0), usual, mean)
            found = np.isfinite(robust)
            expected = gain * heights[found] + offset
            # The variance of a squared residual: of a normal deviate, and what single electrons have beyond it.
            weight = 1.0 / (2.0 * expected**2 + 0.5 * gain * gain * gain * heights[found] + 1e-24 * expected.max() ** 2)
            last = gain, offset
            gain, offset = _line_not_below_zero(heights[found], robust[found], weight)
            if not gain > 0.0 or np.allclose(last, (gain, offset), rtol=_SETTLED, atol=0.0):
                break
        if not gain > 0.0:
            # Noise that does not grow with the counts is that of reading them; the gain is at most what it hides.
            whole = max(offset, float(np.median(usual)))
            if not whole > 0.0:
                raise AssbValueError("The gain cannot be estimated: the counts do not scatter.")
            gain = min(1.0, _HIDDEN * whole / max(float(heights.mean()), 1e-300))
            offset = (1.0 - _HIDDEN) * whole
        return Detector(gain=float(gain), read_noise=float(np.sqrt(offset)))

    def groups(
        self, square: FloatArray, detector: Detector, correlation: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean counts, mean squared residual without spikes and its standard error, in groups of like counts."""
        square = square[self.order]
        kept = square < _SPIKE * (detector.variance(self.level) + detector.gain**2)
        level, square = self.level[kept], square[kept]
        edges = _edges(square.size, _GROUPS)
        levels = _means(level, edges)
        bright = detector.variance(levels) > _MANY_ELECTRONS * detector.gain**2
        usual = _medians(square, edges) / MEDIAN_OF_SQUARE
        squares = np.where(bright & (usual > 0.0), usual, _means(square, edges))
        spread = 1.0 + 2.0 * float((correlation**2).sum())
        alone = _means(2.0 * detector.variance(level) ** 2 * spread + detector.gain**3 * level, edges) / np.diff(edges)
        return levels, squares, np.sqrt(alone)


def _edges(size: int, groups: int) -> NDArray[np.intp]:
    """Where groups of like numbers of channels begin and end; none is empty."""
    large = size % groups
    sizes = np.full(groups, size // groups)
    sizes[:large] += 1
    return np.concatenate([[0], np.cumsum(sizes[sizes > 0])])


def _means(values: FloatArray, edges: NDArray[np.intp]) -> FloatArray:
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges) if values.size else np.zeros(0)


def _medians(values: FloatArray, edges: NDArray[np.intp]) -> FloatArray:
    return np.array([np.median(values[a:b]) for a, b in pairwise(edges)])


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _kept_means(
    square: FloatArray, level: FloatArray, edges: NDArray[np.intp], gain: float, offset: float
) -> FloatArray:  # pragma: no cover - compiled
    """Means of the squares of each group that are no spikes; NaN where all are."""
    out = np.empty(edges.size - 1)
    least = offset + gain * gain
    for g in range(out.size):
        total, count = 0.0, 0
        for e in range(edges[g], edges[g + 1]):
            kept = square[e] < _SPIKE * (gain * level[e] + least)
            total += square[e] if kept else 0.0
            count += 1 if kept else 0
        out[g] = total / count if count else np.nan
    return out


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
