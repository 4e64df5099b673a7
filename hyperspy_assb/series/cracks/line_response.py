"""Dark lines that appear in a series, and how strong chance makes them.

The mean of the frames from some frame on, less that of the frames before, is filtered by lines of many directions. What
is bright where a crack is dark has the same law under noise, shot noise of any size, drift that is left, and brightness
that changes: the largest bright responses of blocks of pixels, over all frames, tell by Gumbel's law how large dark
ones get by chance (E. J. Gumbel, Statistics of Extremes, Columbia University Press, 1958).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus, shift_frame
from hyperspy_assb.series.frame_series import BoolArray, FloatArray, FrameSeries

_DIRECTIONS = 24
_LENGTHS = (5.0, 9.0)
"""Standard deviations of the filters along a line, pixels."""
_FOLLOWED = 0.01
"""Share of the pixels in which chance is as strong as where a line is followed to."""
_WIDTH = 1.3
"""Standard deviation of the filter across a line, pixels."""
_BLOCK = 24
"""Pixels of the blocks whose largest responses are taken."""
_FEWEST_BLOCKS = 12
_EULER, _GUMBEL_SCALE = 0.5772156649, np.sqrt(6.0) / np.pi
_SAMPLES = 2000
_SEED = 20240229
_FEWEST_FRAMES = 4
_AFTER = 4
"""Frames that are averaged after a moment, beside all: of what comes and goes, and of what grows, few show most."""
_IN_MEMORY = 512 * 2**20
"""Bytes of moved frames that are held in memory."""
_LEVEL = 10.0
"""Standard deviation in pixels over which the brightness around a line is taken."""


@dataclass(frozen=True, eq=False)
class LineSearch:
    """Responses of a series to dark lines.

    Parameters
    ----------
    frames
        Frames moved to the place of the first and divided by their brightness, shape (K, Y, X); for averages along
        lines, never for pixel statistics.
    numbers
        Numbers of these frames in the series, shape (K,).
    variance
        Of a pixel of these, shape (Y, X).
    dark
        Largest response at each pixel over all moments, in standard errors, shape (Y, X).
    moment
        Moment of it, as an index of ``numbers``.
    threshold
        Response that chance reaches anywhere in the series with the level of the test.
    usual
        Response that chance reaches in one of a hundred pixels.
    seen
        Pixels that all of these frames show.
    """

    frames: NDArray[np.float32]
    numbers: NDArray[np.intp]
    variance: FloatArray
    dark: FloatArray
    moment: NDArray[np.intp]
    threshold: float
    usual: float
    seen: BoolArray


def search_lines(series: FrameSeries, drift: Drift, alpha: float) -> LineSearch:
    """Look for dark lines that appear.

    Raises
    ------
    AssbValueError
        If there are too few frames, or the field that all of them show is too small.
    """
    numbers = np.flatnonzero(drift.status == FrameStatus.PLACED)
    if numbers.size < _FEWEST_FRAMES:
        raise AssbValueError(f"{numbers.size} frames have a position: cracks need at least {_FEWEST_FRAMES}.")
    frames, seen = _moved_frames(series, drift, numbers)
    slope, level = drift.noise
    middle = float(np.median(drift.mean[seen]))
    variance = np.maximum(slope * np.where(seen, drift.mean, middle) + level, 1e-12) / middle**2
    spectra = _filters(seen.shape)
    dark = np.full(seen.shape, -np.inf)
    bright = np.full(seen.shape, -np.inf)
    moment = np.zeros(seen.shape, dtype=np.intp)
    inner = ndimage.binary_erosion(seen, iterations=int(2.0 * min(_LENGTHS)), border_value=0)
    whole = frames.sum(axis=0, dtype=np.float64)
    before, summed = np.zeros(seen.shape), 0
    for first, last in _windows(numbers.size):
        if summed < first:  # each frame is read once for it: there may be many
            before += frames[summed]
            summed = first
        after = whole - before if last == numbers.size else frames[first:last].sum(axis=0, dtype=np.float64)
        error = np.sqrt(variance * (1.0 / (last - first) + 1.0 / first))
        difference = np.where(seen, (after / (last - first) - before / first) / error, 0.0)
        spectrum = fft.rfft2(difference)
        for transfer in spectra:
            response = fft.irfft2(spectrum * transfer, s=seen.shape)
            better = -response > dark
            dark[better] = -response[better]
            moment[better] = first
            np.maximum(bright, response, out=bright)
    usual = float(np.quantile(bright[inner], 1.0 - _FOLLOWED))
    threshold = _threshold(bright, inner, alpha)
    return LineSearch(frames, numbers, variance, np.where(inner, dark, 0.0), moment, threshold, usual, seen)


def _windows(count: int) -> list[tuple[int, int]]:
    """First and last frame of what is averaged after each moment, in their order: some frames, and all that follow."""
    return sorted({(k, last) for k in range(1, count) for last in (min(k + _AFTER, count), count)})


def surroundings(image: FloatArray, seen: BoolArray) -> FloatArray:
    """Brightness of what lies around each pixel."""
    weight = ndimage.gaussian_filter(seen.astype(float), _LEVEL)
    return ndimage.gaussian_filter(np.where(seen, image, 0.0), _LEVEL) / np.maximum(weight, 1e-6)


def _moved_frames(
    series: FrameSeries, drift: Drift, numbers: NDArray[np.intp]
) -> tuple[NDArray[np.float32], BoolArray]:
    moved = _room((numbers.size, *series.shape))
    seen = np.isfinite(drift.mean)
    place = {int(number): k for k, number in enumerate(numbers)}
    margin = 16
    for number, frame in enumerate(series):
        if number not in place:
            continue
        by = drift.origin - drift.shift[number]
        wide = np.pad(frame, margin, mode="reflect")
        moved[place[number]] = shift_frame(wide, by)[margin:-margin, margin:-margin]
        seen &= shift_frame(np.ones(series.shape), np.round(by)) > 0.5
    if seen.sum() < _FEWEST_BLOCKS * _BLOCK**2:
        raise AssbValueError(
            f"All frames show {int(seen.sum())} pixels together, of which cracks need {_FEWEST_BLOCKS * _BLOCK**2}: "
            "choose frames between which the specimen drifts less."
        )
    for frame in moved:
        # The median is not moved by a crack, nor by boundaries.
        frame /= np.median(frame[seen])
    return moved, seen


def _room(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Room for frames; beyond what memory should hold, on the disk, in a file that goes with them."""
    if np.prod(shape) * 4 < _IN_MEMORY:
        return np.empty(shape, dtype=np.float32)
    return np.memmap(tempfile.TemporaryFile(), dtype=np.float32, shape=shape)


def _filters(shape: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Transfer functions of lines of all directions, whose response to white noise of 1 has the variance 1."""
    y, x = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :]
    found = []
    for length, angle in product(_LENGTHS, np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS):
        along = 2.0 * np.pi * (y * np.sin(angle) + x * np.cos(angle))
        across = 2.0 * np.pi * (y * np.cos(angle) - x * np.sin(angle))
        # Second derivative across: a step or a slope is no line.
        transfer = np.square(across * _WIDTH) * np.exp(-0.5 * (np.square(along * length) + np.square(across * _WIDTH)))
        full = fft.irfft2(transfer, s=shape)
        found.append(transfer / np.sqrt(np.square(full).sum()))
    return found


def _threshold(bright: FloatArray, inner: BoolArray, alpha: float) -> float:
    """Level that the largest of all blocks reaches with the probability alpha, by Gumbel's law of their maxima."""
    maxima = []
    for rows in range(0, inner.shape[0], _BLOCK):
        for columns in range(0, inner.shape[1], _BLOCK):
            place = (slice(rows, rows + _BLOCK), slice(columns, columns + _BLOCK))
            if inner[place].mean() > 0.5:
                maxima.append(bright[place][inner[place]].max())
    if len(maxima) < _FEWEST_BLOCKS:
        raise AssbValueError(
            f"The field that all frames show has {len(maxima)} blocks of {_BLOCK} pixels; {_FEWEST_BLOCKS} are needed "
            "to distinguish cracks from chance."
        )
    values = np.array(maxima)
    scale = float(values.std(ddof=1)) * _GUMBEL_SCALE
    return float(values.mean()) - _EULER * scale + scale * _largest(len(maxima), alpha)


@cache
def _largest(count: int, alpha: float) -> float:
    """Scales above the place that the largest of as many new values reaches with the probability alpha.

    Place and scale are found from as many values by their moments, which is uncertain: the mean is taken over what
    such samples give, which is the same whatever the law's own place and scale.
    """
    rng = np.random.default_rng(_SEED)
    samples = np.array([rng.gumbel(size=count) for _ in range(_SAMPLES)])
    scale = samples.std(axis=1, ddof=1) * _GUMBEL_SCALE
    place = samples.mean(axis=1) - _EULER * scale

    def excess(level: float) -> float:
        return float(np.mean(-np.expm1(-count * np.exp(-(place + level * scale))))) - alpha

    return float(optimize.brentq(excess, 0.0, 1e3))
