"""Shifts between pairs of frames, and the positions of all frames that agree with them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse
from scipy.sparse import linalg

from hyperspy_assb.series.frame_series import FloatArray

BAND = (1, 2, 4, 8, 16)
"""Distances in the series of the frames that are compared."""
_LARGEST = 512
"""Rows and columns to which frames are binned for the comparison."""
_ITERATIONS = 30
_SHARPNESS = 0.5
"""Power to which the amplitude of the cross spectrum is left: between correlation and phase correlation."""


def taper(shape: tuple[int, int], share: float = 0.08) -> FloatArray:
    """Window that falls to 0 at the edges of a frame within this share of it."""
    sides = []
    for size in shape:
        width = max(2, int(share * size))
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(width) + 0.5) / width)
        side = np.ones(size)
        side[:width], side[-width:] = rise, rise[::-1]
        sides.append(side)
    return np.outer(*sides)


def find_positions(frames: Iterable[FloatArray], count: int, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Positions of frames by pairs in a band and a robust graph.

    Parameters
    ----------
    frames
        Shape (Y, X) each.
    count
        How many.
    weight
        Share of each pixel in the comparison, shape (Y, X); 0: left out.

    Returns
    -------
    position
        Rows and columns by which the content of each frame lies further than that of the first, shape (T, 2).
    trust
        Weight that the pairs of each frame were left with, from 0 to 1, shape (T,).
    """
    held: dict[int, NDArray[np.complex128]] = {}
    pairs, shifts = [], []
    step = 1
    size: tuple[int, int] = (0, 0)
    for number, frame in enumerate(frames):
        step = max(1, -(-max(frame.shape) // _LARGEST))
        binned = _binned(frame * 1.0, step)
        window = _binned(weight, step)
        inside = window > 0.0
        level = binned[inside].mean() if inside.any() else 0.0
        size = binned.shape
        held[number] = fft.rfft2((binned - level) * window)
        held.pop(number - BAND[-1] - 1, None)
        for distance in BAND:
            if number - distance in held:
                pairs.append((number - distance, number))
                shifts.append(_shift(held[number - distance], held[number], size))
    position, trust = _solve(count, np.array(pairs), np.array(shifts))
    return position * step, trust


def _binned(values: FloatArray, step: int) -> FloatArray:
    if step == 1:
        return values
    rows, columns = (size // step * step for size in values.shape)
    return values[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))


def _shift(first: NDArray[np.complex128], second: NDArray[np.complex128], size: tuple[int, int]) -> FloatArray:
    """Rows and columns by which the second lies further."""
    product = second * np.conj(first)
    amplitude = np.abs(product)
    product /= np.maximum(amplitude, 1e-12 * amplitude.max() + np.finfo(float).tiny) ** _SHARPNESS
    # What is finer than a few pixels is noise.
    y, x = fft.fftfreq(size[0]), fft.rfftfreq(size[1])
    product *= np.exp(-0.5 * (np.square(y[:, None]) + np.square(x[None, :])) / 0.15**2)
    correlation = fft.irfft2(product, s=size)
    peak = np.unravel_index(int(correlation.argmax()), size)
    found = []
    for axis in range(2):
        near = [tuple((p + (d if a == axis else 0)) % size[a] for a, p in enumerate(peak)) for d in (-1, 0, 1)]
        low, middle, high = (float(correlation[place]) for place in near)
        curvature = low - 2.0 * middle + high
        place = peak[axis] + (0.5 * (low - high) / curvature if curvature < 0.0 else 0.0)
        found.append(place - size[axis] if place > size[axis] / 2 else place)
    return np.array(found, dtype=np.float64)


def _solve(count: int, pairs: NDArray[np.int64], shifts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Positions by least squares whose weights fall with the square of the residual (Geman and McClure)."""
    if count == 1:
        return np.zeros((1, 2)), np.ones(1)
    rows = np.arange(len(pairs))
    graph = sparse.coo_array(
        (np.tile([-1.0, 1.0], len(pairs)), (np.repeat(rows, 2), pairs.ravel())), shape=(len(pairs), count)
    ).tocsr()[:, 1:]
    weights = np.ones(len(pairs))
    position = np.zeros((count, 2))
    for _ in range(_ITERATIONS):
        weighted = graph.multiply(weights[:, None]).tocsr()
        normal = (graph.T @ weighted).tocsc() + 1e-9 * sparse.eye_array(count - 1, format="csc")
        new = np.zeros_like(position)
        new[1:] = linalg.spsolve(normal, weighted.T @ shifts).reshape(count - 1, 2)
        left = np.linalg.norm(np.diff(new[pairs], axis=1)[:, 0] - shifts, axis=1)
        scale = max(0.5, 1.4826 * float(np.median(left)))
        weights = 1.0 / np.square(1.0 + np.square(left / (2.0 * scale)))
        moved = float(np.abs(new - position).max())
        position = new
        if moved < 1e-4:
            break
    trust = np.zeros(count)
    for column in range(2):
        np.maximum.at(trust, pairs[:, column], weights)
    return position, trust
