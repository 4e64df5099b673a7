"""Blocks of neighbouring pixels, which are independent where single pixels are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEWEST = 6
"""Blocks that a state needs for a permutation test."""
_WANTED = 12
_MOST = 4096
"""Blocks beyond which a permutation test gains nothing; each is a spectrum in memory."""
# A correlation counts if it stands out of its own error by this much, or two lags in a row by half of it.
_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class Correlation:
    """How far neighbouring pixels know of each other.

    Parameters
    ----------
    length
        Distance in pixels up to which values are correlated; 0 where neighbours are independent.
    inflation
        Factor by which correlation raises the variance of a mean: pixels over effectively independent pixels.
    """

    length: int
    inflation: float


def split_into_blocks(position: IntArray, size: int) -> IntArray:
    """Split pixels into compact blocks of nearly the same number of pixels.

    The pixels are halved across their longer side again and again, so that any mask, line or image ends in blocks of
    `size` to less than twice as many pixels.

    Parameters
    ----------
    position
        Indices of the pixels, shape (P, D).
    size
        Pixels that a block has at least.

    Returns
    -------
    IntArray
        Number of the block of each pixel, shape (P,), from 0 upwards.
    """
    label = np.zeros(position.shape[0], dtype=np.int64)
    waiting, done = [np.arange(position.shape[0])], 0
    while waiting:
        rows = waiting.pop()
        parts = rows.size // max(size, 1)
        if parts < 2 or position.shape[1] == 0:
            label[rows] = done
            done += 1
            continue
        extent = np.ptp(position[rows], axis=0)
        axis = int(np.argmax(extent))
        rows = rows[np.lexsort((*position[rows].T, position[rows, axis]))]
        # As many blocks on either side as the pixels allow, all alike in the end.
        cut = round(rows.size * (parts // 2) / parts)
        waiting += [rows[cut:], rows[:cut]]
    return label


def estimate_correlation(values: FloatArray, position: IntArray) -> Correlation:
    """Estimate the spatial correlation of quantities measured in every pixel.

    Parameters
    ----------
    values
        Quantities of the pixels, shape (P, F); their means are removed.
    position
        Indices of the pixels, shape (P, D).

    Returns
    -------
    Correlation
        Of the quantity that is correlated farthest.
    """
    if position.shape[1] == 0 or position.shape[0] < 8:
        return Correlation(0, 1.0)
    start = position - position.min(axis=0)
    shape = tuple(int(n) for n in start.max(axis=0) + 1)
    padded = [fft.next_fast_len(2 * n) for n in shape]
    where = tuple(start.T)
    axes = tuple(range(1, 1 + len(shape)))

    def correlate(images: FloatArray) -> FloatArray:
        power = np.abs(fft.fftn(images, padded, axes=axes)) ** 2
        return np.asarray(fft.ifftn(power, axes=axes).real)

    deviation = values - values.mean(axis=0)
    scale = deviation.std(axis=0)
    deviation = deviation[:, scale > 0] / scale[scale > 0]
    if deviation.shape[1] == 0:
        return Correlation(0, 1.0)
    images = np.zeros((deviation.shape[1], *shape))
    images[(slice(None), *where)] = deviation.T
    mask = np.zeros((1, *shape))
    mask[(slice(None), *where)] = 1.0
    pairs = np.rint(correlate(mask))[0]
    steps = np.meshgrid(*[np.minimum(np.arange(n), n - np.arange(n)) for n in padded], indexing="ij")
    distance = np.rint(np.sqrt(sum(s.astype(float) ** 2 for s in steps))).astype(int).ravel()
    farthest = max(max(shape) // 3, 1)
    best = Correlation(0, 1.0)
    counts = np.bincount(distance, pairs.ravel())[: farthest + 1]
    for image in images:
        # One after the other: a transform is eight times an image.
        products = correlate(image[np.newaxis])
        rho = np.bincount(distance, products.ravel())[: farthest + 1] / np.maximum(counts, 1.0)
        # Each pair is counted from both ends.
        significance = rho * np.sqrt(counts / 2)
        length = 0
        for lag in range(1, rho.size):
            low = significance[lag] < 0.5 * _SIGNIFICANT or lag + 1 == rho.size
            if significance[lag] < _SIGNIFICANT and low:
                break
            length = lag
        inflation = 1.0 + float(rho[1 : length + 1] @ counts[1 : length + 1]) / position.shape[0]
        if (length, inflation) > (best.length, best.inflation):
            best = Correlation(length, max(inflation, 1.0))
    return best


def choose_block_size(correlation: Correlation, pixels: int, dimensions: int) -> int:
    """Pixels of a block: as wide as three correlation lengths, for twelve to 4096 blocks.

    Parameters
    ----------
    correlation
        Correlation of the pixels.
    pixels
        Pixels of the smaller state.
    dimensions
        Navigation axes.

    Returns
    -------
    int
        Pixels.
    """
    wanted = max(3 * correlation.length, 1) ** max(dimensions, 1)
    return max(min(max(wanted, -(-pixels // _MOST)), pixels // _WANTED), 1)
