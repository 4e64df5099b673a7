"""Positions of frames against their mean, each frame compared as it was counted.

Model: frame k is g_k M(x - s_k) + o_k, with the variance of counts; M is the mean of the other frames, moved to where
frame k lies. Gauss-Newton steps (as S. Baker and I. Matthews, Int. J. Comput. Vis. 56, 221 (2004), doi
10.1023/B:VISI.0000011205.11775.fd) with weights from the counts, a gain and an offset for each frame. The mean is
resampled, the frame never. Standard errors are those of sums of scores over blocks of pixels, so that content which
changes, and is correlated from pixel to pixel, makes them larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.pair_shifts import find_positions, taper
from hyperspy_assb.series.frame_series import BoolArray, FloatArray, FrameSeries

_ITERATIONS = 8
_STILL = 0.05
"""Standard errors by which the frames still move when the iteration ends."""
_BLOCK = 16
"""Pixels of the blocks whose scores are taken as independent."""
_FEWEST_BLOCKS = 12
_LEAST_COVER = 0.5
"""Share of the frames that must show a place for it to be compared."""
_JUMP = 4.0
"""Pixels by which a frame may lie elsewhere than its pairs say."""
_LEAST_INFORMATION = 0.1
"""Share of the squared gradients of the mean that is content, at least; the rest is noise of the mean."""
_SATURATED = 0.1
"""Share of the pixels of a frame at the end of the range."""
_LEVELS = 16
"""Differences between the pixels of a frame from which on a largest value that many have is the end of the range."""
_UNLIKE = 0.3
"""Share of the usual correlation with the mean below which a frame shows something else."""


class FrameStatus(IntEnum):
    """Whether a frame has a position."""

    PLACED = 0
    """It has."""
    BLANK = 1
    """It shows no contrast: beam off, or blanked."""
    SATURATED = 2
    """More than a tenth of its pixels are at the end of the range, or at one largest value."""
    DUPLICATE = 3
    """It is the same as the frame before, to the last count: recorded once, stored twice."""
    UNLIKE = 4
    """It does not look like the others: the field of view, focus or magnification changed."""
    LOST = 5
    """The search moved away from where its neighbours say it lies."""


@dataclass(frozen=True, eq=False)
class Drift:
    """Positions of frames.

    Parameters
    ----------
    shift
        Rows and columns in pixels by which the content of each frame lies further than in the mean of all, shape
        (T, 2); NaN where a frame has no position. Their mean is 0.
    shift_std
        Standard errors, shape (T, 2).
    gain, offset
        Of each frame against the mean, shapes (T,).
    status
        :class:`FrameStatus`, shape (T,).
    mean
        Mean of the placed frames, shape (Y, X); NaN where fewer than half of them were.
    distortion
        Standard errors by which rows lie elsewhere than their frame, linear in the row, shape (T, 2).
    excess
        Variance of the pixels beyond that of counts, as a share of it: 0 where only counting noise changes them.
    origin
        Shift of the place that the mean is shown in, which is that of the first frame with a position, shape (2,).
    noise
        Variance of a pixel: counts per electron times the expectation, plus that of reading.
    """

    shift: FloatArray
    shift_std: FloatArray
    gain: FloatArray
    offset: FloatArray
    status: NDArray[np.int8]
    mean: FloatArray
    distortion: FloatArray
    excess: float
    origin: FloatArray
    noise: tuple[float, float]


def align(series: FrameSeries, reference: BoolArray | None = None) -> Drift:
    """Find where each frame lies.

    Parameters
    ----------
    series
        At least two frames.
    reference
        Pixels of the first frame that do not change but for drift, shape (Y, X); None: all. They are followed.

    Raises
    ------
    AssbValueError
        If there are fewer than two frames with contrast, or the reference is too small.
    """
    if series.count < 2:
        raise AssbValueError(f"There is {series.count} frame: drift needs at least 2.")
    status = _check_frames(series)
    usable = status == FrameStatus.PLACED
    if usable.sum() < 2:
        raise AssbValueError(f"{int(usable.sum())} of {series.count} frames show contrast: drift needs at least 2.")
    window = taper(series.shape)
    region = np.ones(series.shape) if reference is None else _soft(reference)
    position = np.zeros((series.count, 2))
    # The region is followed by a margin: it moves with the content, the window does not.
    wide = region if reference is None else np.clip(ndimage.gaussian_filter(region, 8.0) * 4.0, 0.0, 1.0)
    placed, trust = find_positions(
        (frame for frame, good in zip(series, usable, strict=True) if good), int(usable.sum()), window * wide
    )
    position[usable] = placed
    first = position[usable][0]
    state = _State(series, usable, window, region > 0.5, position - first)
    drift = state.iterate()
    lost = np.zeros(series.count, dtype=bool)
    lost[usable] = np.linalg.norm((drift.shift - drift.shift[usable][0] - position + first)[usable], axis=1) > _JUMP
    lost[usable] &= trust > 0.1
    drift.status[lost] = FrameStatus.LOST
    drift.shift[drift.status != FrameStatus.PLACED] = np.nan
    drift.shift_std[drift.status != FrameStatus.PLACED] = np.nan
    return drift


def shift_frame(frame: FloatArray, shift: NDArray[np.float64], *, fill: float = 0.0) -> FloatArray:
    """Move the content of a frame by rows and columns; what comes in from outside is ``fill``."""
    whole = np.round(shift).astype(int)
    part = shift - whole
    moved = frame
    if np.any(part != 0.0):
        y, x = fft.fftfreq(frame.shape[0]), fft.rfftfreq(frame.shape[1])
        phase = np.exp(-2j * np.pi * part[0] * y)[:, None] * np.exp(-2j * np.pi * part[1] * x)[None, :]
        moved = fft.irfft2(fft.rfft2(frame) * phase, s=frame.shape)
    return _moved_by_pixels(moved, whole, fill)


def _moved_by_pixels(frame: NDArray[Any], whole: NDArray[np.int64], fill: float) -> NDArray[Any]:
    result = np.full_like(frame, fill)
    source, target = [], []
    for size, by in zip(frame.shape, whole.tolist(), strict=True):
        if abs(by) >= size:
            return result
        source.append(slice(max(0, -by), size - max(0, by)))
        target.append(slice(max(0, by), size - max(0, -by)))
    result[tuple(target)] = frame[tuple(source)]
    return result


def _soft(reference: BoolArray) -> FloatArray:
    return np.asarray(reference, dtype=np.float64)


def _check_frames(series: FrameSeries) -> NDArray[np.int8]:
    status = np.zeros(series.count, dtype=np.int8)
    before: FloatArray | None = None
    top = float(np.iinfo(series.frames.dtype).max) if np.issubdtype(series.frames.dtype, np.integer) else np.inf
    for number, frame in enumerate(series):
        # Converters of 12 and 14 bits end below the range of their numbers; of few counts, many are the largest.
        end = min(top, float(frame.max())) if np.ptp(frame) >= _LEVELS else top
        if np.mean(frame >= end) > _SATURATED:
            status[number] = FrameStatus.SATURATED
        elif not np.all(np.isfinite(frame)) or np.ptp(frame) == 0.0:
            status[number] = FrameStatus.BLANK
        elif before is not None and np.array_equal(frame, before):
            status[number] = FrameStatus.DUPLICATE
        before = frame
    return status


@dataclass(eq=False)
class _State:
    """Positions that are being improved, and what they make of the mean."""

    series: FrameSeries
    usable: BoolArray
    window: FloatArray
    region: BoolArray
    position: FloatArray

    def __post_init__(self) -> None:
        count = self.series.count
        self.gain, self.offset = np.ones(count), np.zeros(count)
        self.std = np.full((count, 2), np.inf)
        self.likeness = np.ones(count)
        self.distortion = np.zeros((count, 2))
        self.slope, self.level = 0.0, 1.0
        self.excess_map: FloatArray | None = None
        # The window is one of rows times one of columns: each is moved by itself.
        self.sides = self.window.max(axis=1)[:, None], self.window.max(axis=0)[None] / self.window.max()
        self.excess = 0.0

    def iterate(self) -> Drift:
        """Move all frames until they stay."""
        used = int(self.usable.sum())
        for number in range(_ITERATIONS):
            self._average()
            step = self._step(first=number == 0)
            # Only ratios of gains mean anything: the mean would else fade, as each frame is noisier than it.
            middle, usual = float(self.gain[self.usable].mean()), float(self.offset[self.usable].mean())
            self.gain /= middle
            self.offset -= usual
            # A step that all frames share moves the mean with them, and would go on for ever.
            step[self.usable] -= step[self.usable].mean(axis=0)
            # Against the mean of the others, two frames would change places for ever.
            self.position[self.usable] += step[self.usable] * (used - 1) / used
            still = np.abs(step[self.usable]) < _STILL * self.std[self.usable]
            if number > 1 and still.all():
                break
        self._average()
        status = np.where(self.usable, FrameStatus.PLACED, _check_frames(self.series)).astype(np.int8)
        usual = float(np.median(self.likeness[self.usable]))
        status[self.usable & (self.likeness < _UNLIKE * usual)] = FrameStatus.UNLIKE
        centre = self.position[status == FrameStatus.PLACED].mean(axis=0)
        shift = self.position - centre
        return Drift(
            shift=shift,
            # Against the mean of all, of which the frame is one, instead of the mean of the others.
            shift_std=self.std * (used - 1) / used,
            gain=self.gain,
            offset=self.offset,
            status=status,
            mean=np.where(self.cover > _LEAST_COVER * used, self.mean, np.nan),
            distortion=self.distortion,
            excess=self.excess,
            origin=-centre,
            noise=(self.slope, self.level),
        )

    def _average(self) -> None:
        """Mean of the frames in the place of the first, and how many show each pixel."""
        total, cover = np.zeros(self.series.shape), np.zeros(self.series.shape)
        for number, frame in enumerate(self.series):
            if self.usable[number]:
                clean = (frame - self.offset[number]) / self.gain[number]
                total += shift_frame(clean * self.window, -self.position[number])
                rows, columns = (np.array([by, 0.0]) for by in -self.position[number])
                cover += shift_frame(self.sides[0], rows) * shift_frame(self.sides[1], columns[::-1])
        self.cover = cover
        seen = cover > _LEAST_COVER * self.usable.sum()
        if not np.any(seen & self.region):
            raise AssbValueError(
                "reference: no pixel of it is visible in half of the frames. The drift is larger than the field of "
                "view, or the region lies at its edge: name one further inside."
            )
        level = float(total[seen].sum() / cover[seen].sum())
        self.mean = np.where(seen, total / np.where(seen, cover, 1.0), level)
        self.seen = seen
        self.compared = ndimage.binary_erosion(seen & self.region, iterations=3, border_value=0)
        self.level_of_mean = level
        self._prepare_gradients()

    def _prepare_gradients(self) -> None:
        """Spectrum of the mean, and the filter that takes its noise out of the gradients (Wiener)."""
        soft = np.clip(ndimage.gaussian_filter(self.seen.astype(float), 2.0) * 2.0 - 1.0, 0.0, 1.0)
        shape = self.series.shape
        contrast = (self.mean - self.level_of_mean) * soft
        self.spectrum = fft.rfft2(contrast)
        y, x = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
        radius = np.hypot(y[:, None], x[None, :])
        bins = np.minimum((radius * 2.0 * 64).astype(int), 90)
        power = np.square(np.abs(self.spectrum))
        count = np.bincount(bins.ravel(), minlength=91)
        radial = np.bincount(bins.ravel(), power.ravel(), minlength=91) / np.maximum(count, 1)
        # Beyond the highest frequencies that any probe resolves there is noise.
        outer = radius > 0.42
        self.noise_power = float(np.median(power[outer]) / np.log(2.0))
        wiener = np.clip(1.0 - self.noise_power / np.maximum(radial, 1e-300), 0.0, 1.0)
        # The lowest frequencies hold what was levelled and windowed: they pass as the best of those next to them do.
        wiener[:3] = wiener[:6].max()
        wiener = np.minimum.accumulate(ndimage.median_filter(wiener, 3, mode="nearest"))
        self.filter = wiener[bins]
        self.wave = (2j * np.pi * y[:, None], 2j * np.pi * x[None, :])
        # Variance of the gradients per variance of the mean: mean of the squared frequencies that pass.
        full = np.where((np.arange(x.size) == 0) | ((shape[1] % 2 == 0) & (np.arange(x.size) == x.size - 1)), 1.0, 2.0)
        self.noise_of_gradients = [
            float((full * self.filter * np.square(np.abs(w))).sum() / (shape[0] * shape[1])) for w in self.wave
        ]

    def _step(self, *, first: bool) -> FloatArray:
        used = int(self.usable.sum())
        step = np.zeros((self.series.count, 2))
        moments = np.zeros((3, 24))
        squares = np.zeros(self.series.shape)
        seen_count = np.zeros(self.series.shape)
        low, high = np.percentile(self.mean[self.seen & self.region], [1, 99])
        bins = 22.0 / max(high - low, 1e-12)
        for number, frame in enumerate(self.series):
            if not self.usable[number]:
                continue
            result = self._fit_frame(number, frame, used)
            step[number] = result.step
            index = np.clip(np.floor((result.expected - low) * bins) + 1.0, 0.0, 23.0).astype(np.intp)
            moments[0] += np.bincount(index, minlength=24)
            moments[1] += np.bincount(index, result.expected, minlength=24)
            moments[2] += np.bincount(index, np.square(result.rest), minlength=24)
            whole = np.round(self.position[number]).astype(int)
            flat = np.zeros(self.series.shape)
            flat[result.inside] = np.square(result.rest) / result.variance
            squares += _moved_by_pixels(flat, -whole, 0.0)
            seen_count += _moved_by_pixels(result.inside.astype(float), -whole, 0.0)
        self._learn_variance(moments)
        # Pixels whose content changes have a variance of their own, smoothed over their neighbours.
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(seen_count > 0, squares / np.maximum(seen_count, 1.0), 1.0)
        self.excess = 0.0 if first else max(0.0, float(np.mean(ratio[seen_count > 0])) - 1.0)
        smooth = ndimage.uniform_filter(ratio, 5)
        spread = np.sqrt(2.0 / (25.0 * max(used, 1)))
        usual = float(np.median(smooth[seen_count > 0]))
        self.excess_map = np.where(smooth > usual * (1.0 + 4.0 * spread), smooth / usual, 1.0)
        return step

    def _learn_variance(self, moments: FloatArray) -> None:
        """Variance as a line over the expectation, from all residuals: gain of the detector and read noise."""
        good = moments[0] > 50
        if good.sum() < 2:
            self.slope, self.level = 0.0, max(float(moments[2].sum()) / max(float(moments[0].sum()), 1.0), 1e-12)
            return
        expected, variance = moments[1][good] / moments[0][good], moments[2][good] / moments[0][good]
        weight = np.sqrt(moments[0][good]) / variance
        slope, level = np.polyfit(expected, variance, 1, w=weight)
        if slope < 0.0:
            slope, level = 0.0, float(np.average(variance, weights=moments[0][good]))
        self.slope, self.level = float(slope), float(level)
        self.floor = 0.1 * float(variance.min())

    def _fit_frame(self, number: int, frame: FloatArray, used: int) -> _FrameFit:
        shift = self.position[number]
        whole = np.round(shift).astype(int)
        part = shift - whole
        shape = self.series.shape
        phase = np.exp(-part[0] * self.wave[0]) * np.exp(-part[1] * self.wave[1])
        moved = self.spectrum * phase
        mean = _moved_by_pixels(fft.irfft2(moved, s=shape), whole, 0.0) + self.level_of_mean
        filtered = moved * self.filter
        # The content lies further by s: its change with s is minus its gradient.
        gradients = [_moved_by_pixels(fft.irfft2(-filtered * w, s=shape), whole, 0.0) for w in self.wave]
        rough = [_moved_by_pixels(fft.irfft2(-moved * w, s=shape), whole, 0.0) for w in self.wave]
        inside = _moved_by_pixels(self.compared, whole, 0.0) & (self.window > 0.999)
        at = np.flatnonzero(inside)
        if at.size < _FEWEST_BLOCKS * _BLOCK**2 / 2:
            raise AssbValueError(
                f"reference: frame {number} shows {at.size} of its pixels; name a region of at least "
                f"{_FEWEST_BLOCKS * _BLOCK**2 // 2} pixels that stays in the field of view."
            )
        gain, offset = self.gain[number], self.offset[number]
        # The frame is one of those in the mean: it is taken out of it.
        cover = np.maximum(_moved_by_pixels(self.cover, whole, 1.0).take(at), 1.5)
        y, of_mean = np.asarray(frame).take(at), mean.take(at)
        others = (cover * of_mean - (y - offset) / gain) / (cover - 1.0)
        variance = np.maximum(self.slope * of_mean + self.level, getattr(self, "floor", 1e-12)) * gain**2
        if self.excess_map is not None:
            variance = variance * _moved_by_pixels(self.excess_map, whole, 1.0).take(at)
        shapes = np.stack([*(gain * g.take(at) for g in gradients), of_mean, np.ones(y.size)])
        true = np.stack([*(gain * g.take(at) for g in rough), others, np.ones(y.size)])
        information = (shapes / variance) @ true.T
        noise = variance / gain**2 / cover
        for axis in range(2):
            raw = information[axis, axis]
            noisy = float(np.sum(noise * gain**2 / variance)) * self.noise_of_gradients[axis]
            information[axis, axis] = max(raw - noisy, _LEAST_INFORMATION * raw)
        rest = y - gain * others - offset
        size = np.sqrt(np.abs(np.diag(information)))
        if (
            not np.all(np.isfinite(information))
            or size.min() == 0.0
            or np.linalg.cond(information / np.outer(size, size)) > 1e10
        ):
            raise AssbValueError(
                f"reference: the counting noise of frame {number} hides its position. Name "
                "a region with edges in both directions, or add frames together."
            )
        solved = np.linalg.solve(information, (shapes / variance) @ rest)
        left = rest - solved @ true
        self.std[number], self.distortion[number] = _errors(shapes, left / variance, information, at, shape)
        share = (used - 1) / used
        self.gain[number], self.offset[number] = gain + share * solved[2], offset + share * solved[3]
        self.likeness[number] = float(np.corrcoef(y, others)[0, 1])
        limit = np.array([2.0, 2.0])
        return _FrameFit(
            np.clip(solved[:2], -limit, limit), of_mean, left * np.sqrt((cover - 1.0) / cover), variance, inside
        )


@dataclass(frozen=True, eq=False)
class _FrameFit:
    step: FloatArray
    expected: FloatArray
    rest: FloatArray
    variance: FloatArray
    inside: BoolArray


def _errors(
    shapes: FloatArray, weighted: FloatArray, information: FloatArray, at: NDArray[np.intp], shape: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Standard errors of the shifts from sums of scores over blocks, and what is linear in the row in such units."""
    scores = shapes * weighted
    rows, columns = np.divmod(at, shape[1])
    width = shape[1] // _BLOCK + 1
    number = (rows // _BLOCK) * width + columns // _BLOCK
    held = np.bincount(number) > 0
    sums = np.stack([np.bincount(number, score)[held] for score in scores])
    blocks = sums.shape[1]
    inverse = np.linalg.inv(information)
    covariance = inverse @ (sums @ sums.T) @ inverse.T * blocks / max(blocks - 4, 1)
    centred = (rows - rows.mean()) / max(float(np.ptp(rows)), 1.0)
    tilted = np.stack([np.bincount(number, score * centred)[held] for score in scores[:2]])
    size = np.sqrt(np.square(tilted).sum(axis=1))
    return np.sqrt(np.diag(covariance)[:2]), tilted.sum(axis=1) / np.maximum(size, 1e-300)
