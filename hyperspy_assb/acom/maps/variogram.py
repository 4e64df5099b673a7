"""Spatial correlation of classes, and what it makes of the mean over an area and over blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_POWERS = (1.0, 1.4, 1.8)
"""Between the edges of a mosaic (exponential) and a smooth field (Gaussian)."""


@dataclass(frozen=True)
class SpatialCorrelation:
    """Correlation exp(-(d / length) ** power) of pixels at a distance d in pixels.

    Parameters
    ----------
    length
        Pixels; 0 where neighbours are independent.
    power
        Shape.
    mean_variance
        Variance of the mean over the area over that of one pixel.
    """

    length: float
    power: float
    mean_variance: float

    def block_variance(self, pixels: float) -> float:
        """Variance of the mean over a square of so many pixels, over that of one pixel."""
        side = max(round(np.sqrt(pixels)), 1)
        lag = np.arange(1 - side, side)
        weight = (side - np.abs(lag)) / side**2
        distance = np.hypot(lag[:, None], lag)
        return float(np.sum(weight[:, None] * weight * _correlation(distance, self.length, self.power)))


def find_correlation(member: FloatArray, inside: NDArray[np.bool_]) -> SpatialCorrelation:
    """Correlation of one class from its semivariogram.

    The semivariogram knows nothing of the mean: an area that is not much larger than what is correlated has a mean of
    its own, and the autocorrelation around that comes out too short.

    Parameters
    ----------
    member
        1 where the pixel is of the class, shape (ny, nx).
    inside
        Pixels of the area.
    """
    size = int(inside.sum())
    values = member[inside]
    variance = float(values.var())
    if variance == 0.0 or size < 8:
        return SpatialCorrelation(0.0, 1.0, 1.0 / max(size, 1))
    padded = [fft.next_fast_len(2 * n) for n in inside.shape]
    mask = fft.rfft2(inside.astype(float), padded)
    image = fft.rfft2(np.where(inside, member, 0.0), padded)
    square = fft.rfft2(np.where(inside, member**2, 0.0), padded)
    pairs = np.rint(fft.irfft2(np.abs(mask) ** 2, padded))
    product = fft.irfft2(np.abs(image) ** 2, padded)
    squares = fft.irfft2((square * mask.conj()).real, padded)
    steps = [np.minimum(np.arange(n), n - np.arange(n)) for n in padded]
    distance = np.rint(np.hypot(steps[0][:, None], steps[1])).astype(int).ravel()
    counts = np.bincount(distance, pairs.ravel())
    half = np.bincount(distance, (squares - product).ravel())
    farthest = max(min(int(np.sqrt(size)) // 4, len(counts) - 1), 2)
    lag = np.arange(1, farthest + 1)
    lag = lag[counts[lag] > 0]
    semivariance, weight = half[lag] / counts[lag], counts[lag] / counts[lag].sum()
    best = (np.inf, SpatialCorrelation(0.0, 1.0, 1.0 / size))
    everywhere = np.arange(len(counts))
    for length in (0.0, *np.geomspace(0.3, 2.0 * farthest, 48)):
        for power in _POWERS if length else _POWERS[:1]:
            share = float(counts @ _correlation(everywhere, length, power)) / size**2
            if share >= 0.9:
                continue
            # The scatter within the area lacks that of its mean.
            sill = variance / (1.0 - share)
            misfit = semivariance / sill - (1.0 - _correlation(lag, length, power))
            # Short lags are known best, and tell most.
            cost = float(np.sum(weight / lag * misfit**2))
            if cost < best[0]:
                best = (cost, SpatialCorrelation(float(length), power, share))
    return best[1]


def _correlation(distance: NDArray[np.floating] | NDArray[np.integer], length: float, power: float) -> FloatArray:
    if length == 0.0:
        return np.asarray(distance == 0, dtype=float)
    return np.asarray(np.exp(-((distance / length) ** power)))
