"""A registration refined on boundaries: the coarse image predicted from the fine one, pixel by pixel.

Each brightness of the fine image has a brightness of its own in the coarse one, whatever the two signals are, which may
change slowly across the field, as thickness and bending do; a coarse pixel shows the mean over its area. These
brightnesses are linear parameters and drop out; what is left to fit is the transform,
and only boundaries tell it. Its covariance follows from the scatter of the scores, neighbours counted together: residuals
hold what one image shows and the other does not, which is correlated and mostly no counting noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame, position_slopes, turn
from hyperspy_assb.registration.sampling import box_means, brightness_knots, smoothed, tents, values_at

IntArray = NDArray[np.int64]

_KNOTS = 8
_BLURS = (2.0, 1.0, 0.0)
"""Gaussian smoothing of the steps, in coarse pixels."""
_ROUNDS = 15
_HALVES = 4
_LOOSE = 3.0
"""Residuals in standard deviations beyond which a pixel counts for little."""


@dataclass(frozen=True)
class DistortionOptions:
    """What is known of transforms before: stretch comes from calibrations and slow drift.

    Parameters
    ----------
    scale_std
        Relative standard error of the ratio of two pixel sizes.
    shear_std
        Standard deviation of the shear.
    largest_angle
        Degrees by which frames may be turned.
    overlap
        Least share of the smaller field that lies in the other.
    """

    scale_std: float = 0.03
    shear_std: float = 0.04
    largest_angle: float = 20.0
    overlap: float = 0.3


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined transform.

    Parameters
    ----------
    transform
        From the coarse frame to the fine one, with its covariance.
    misfit
        Share of the variance of the coarse image, in the pixels that were compared, which the fine one does not explain.
    pixels
        Coarse pixels that were compared.
    reach
        Pixels over which residuals are correlated.
    converged
        Whether the last step was small.
    """

    transform: Affine
    misfit: float
    pixels: int
    reach: float
    converged: bool


def refine(
    coarse: FloatArray,
    coarse_frame: ImageFrame,
    fine: FloatArray,
    fine_frame: ImageFrame,
    start: Affine,
    options: DistortionOptions,
) -> Refined | None:
    """Refine a transform from the coarse frame to the fine one; None if the fields part on the way.

    Parameters
    ----------
    coarse, fine
        Images, NaN where there is none.
    coarse_frame, fine_frame
        Their frames.
    start
        A transform within a few coarse pixels.
    options
        What is known of the transform.
    """
    there = box_means(np.isfinite(fine)[np.newaxis].astype(float), fine_frame, coarse_frame.pixel)
    ratios = [c / f for c, f in zip(coarse_frame.pixel, fine_frame.pixel, strict=True)]
    # Noise of the fine image would blur its bins: part of a coarse pixel is averaged before they are told apart.
    calm = [0.35 * np.sqrt(max(ratio**2 - 1.0, 0.0)) for ratio in ratios]
    calmed = smoothed(fine, (calm[0], calm[1]))
    bins = box_means(tents(calmed, brightness_knots(calmed, _KNOTS)), fine_frame, coarse_frame.pixel)
    found = None
    for blur in _BLURS:
        target = smoothed(coarse, (blur, blur))
        images = np.array([ndimage.gaussian_filter(image, [blur * r for r in ratios]) for image in bins]) if blur else bins
        found = _Step(target, coarse_frame, images, fine_frame, there, options).solve(start)
        if found is None:
            return None
        start = found.transform
    return found


@dataclass(frozen=True, eq=False)
class _State:
    """The prediction at one transform: pixels compared, slopes, residuals, weights, their spread, variance of the target."""

    used: IntArray
    slope: FloatArray
    residual: FloatArray
    weight: FloatArray
    spread: float
    total: float

    @property
    def scale(self) -> float:
        return float(np.average(self.residual**2, weights=self.weight))

    def normal(self) -> FloatArray:
        return np.asarray((self.slope * self.weight[:, np.newaxis]).T @ self.slope / self.scale)

    def score(self) -> FloatArray:
        return np.asarray(self.slope.T @ (self.weight * self.residual) / self.scale)

    def cost(self, spread: float) -> float:
        """Of a pixel in the mean; it grows slowly where a pixel does not fit."""
        return float(np.mean(np.log1p((self.residual / (_LOOSE * spread)) ** 2)))


class _Step:
    """One smoothing of the images."""

    def __init__(
        self,
        target: FloatArray,
        coarse_frame: ImageFrame,
        bins: FloatArray,
        fine_frame: ImageFrame,
        there: FloatArray,
        options: DistortionOptions,
    ) -> None:
        self.target = target.ravel()
        self.frame, self.bins, self.fine, self.there = coarse_frame, bins, fine_frame, there
        self.options = options
        self.positions = coarse_frame.positions().reshape(-1, 2)
        self.known = np.isfinite(self.target)
        self.radius = 0.5 * float(np.hypot(*coarse_frame.extent)) / np.sqrt(2.0)
        self.units = np.array([1.0, 1.0, *[1.0 / self.radius] * 4])

    def solve(self, start: Affine) -> Refined | None:
        """Scoring with weights that leave out what does not fit; parameters in nm at the rim of the field."""
        transform = Affine(start.matrix, start(self.frame.centre), self.frame.centre)
        state = self._linearised(transform)
        if state is None:
            return None
        fixed = state.spread
        converged = False
        for _ in range(_ROUNDS):
            prior, pull = self._prior(transform)
            normal, score = state.normal() + prior, state.score() - pull
            step = np.linalg.solve(normal, score)
            size = float(np.abs(step).max()) / self.frame.coarseness
            # Images are linear within a pixel at most.
            step *= min(1.0, 1.0 / max(size, 1e-9))
            for _ in range(_HALVES):
                moved = self._moved(transform, step)
                next_state = self._linearised(moved)
                if next_state is not None and next_state.cost(fixed) <= state.cost(fixed) + 1e-9:
                    transform, state = moved, next_state
                    break
                step *= 0.3
            else:
                converged = True
                break
            if float(np.abs(step).max()) < 0.01 * self.frame.coarseness:
                converged = True
                break
        prior, _ = self._prior(transform)
        normal = state.normal() + prior
        weighted = state.weight * state.residual
        reach = self._reach(state.used, weighted)
        scatter = self._scatter(state.used, state.slope * (weighted / state.scale)[:, np.newaxis], reach)
        back = np.linalg.inv(normal)
        covariance = back @ (scatter + prior) @ back
        units = np.diag(self.units)
        moved = Affine(transform.matrix, transform.shift, transform.centre, units @ covariance @ units)
        misfit = float(state.weight @ state.residual**2 / max(state.total, 1e-30))
        return Refined(moved, misfit, len(state.used), reach, converged)

    def _moved(self, transform: Affine, step: FloatArray) -> Affine:
        change = step * self.units
        return Affine(transform.matrix + change[2:].reshape(2, 2), transform.shift + change[:2], transform.centre)

    def _prior(self, transform: Affine) -> tuple[FloatArray, FloatArray]:
        """Precision of what is known of the stretch, in the parameters, and its pull."""
        about = turn(transform.rotation)
        # Stretch - 1 = R' M - 1: scales on the diagonal, half the shear beside it.
        slopes = []
        offsets = []
        stretch = about.T @ transform.matrix - np.eye(2)
        for i, j, std in ((0, 0, self.options.scale_std), (1, 1, self.options.scale_std), (0, 1, 0.5 * self.options.shear_std)):
            direction = 0.5 * (np.outer(about[:, i], np.eye(2)[j]) + np.outer(about[:, j], np.eye(2)[i]))
            slopes.append(np.concatenate([np.zeros(2), direction.ravel()]) * self.units / std)
            offsets.append(0.5 * (stretch[i, j] + stretch[j, i]) / std)
        matrix = np.array(slopes)
        return matrix.T @ matrix, matrix.T @ np.array(offsets)

    def _linearised(self, transform: Affine) -> _State | None:
        """The prediction and its slopes at a transform; None where too little is shared."""
        where = transform(self.positions)
        use = self.known & (values_at(self.there, self.fine, where)[0] > 0.99)
        used = np.flatnonzero(use)
        if len(used) < max(6 * len(self.bins), 0.5 * self.options.overlap * self.known.sum()):
            return None
        where, target = where[used], self.target[used]
        offset = (self.positions[used] - transform.centre) / self.radius
        across = np.stack([np.ones(len(used)), offset[:, 0], offset[:, 1]], axis=-1)
        values = values_at(self.bins, self.fine, where)
        columns = (values[:, :, np.newaxis] * across).transpose(1, 0, 2).reshape(len(used), -1)
        weight = np.ones(len(used))
        count = columns.shape[1]
        ridge = 1e-4 * np.eye(count) * len(used) / count
        for _ in range(4):
            gram = (columns * weight[:, np.newaxis]).T @ columns + ridge
            levels = np.linalg.solve(gram, columns.T @ (weight * target))
            residual = target - columns @ levels
            gradient = self._gradient(where, levels, across)
            # What lies on boundaries says what fits: noise within grains would strike all boundaries out.
            tells = (gradient**2).sum(axis=0)
            spread = 1.4826 * _weighted_median(np.abs(residual), tells) + 1e-9 * float(np.abs(target).max() + 1e-30)
            weight = 1.0 / (1.0 + (residual / (_LOOSE * spread)) ** 2)
        slope = np.einsum("in,nip->np", gradient, position_slopes(offset * self.radius) * self.units)
        # The brightnesses are fitted as well.
        slope = slope - columns @ np.linalg.solve(gram, columns.T @ (weight[:, np.newaxis] * slope))
        mean = float(np.average(target, weights=weight))
        return _State(used, slope, residual, weight, spread, float(weight @ (target - mean) ** 2))

    def _gradient(self, where: FloatArray, levels: FloatArray, across: FloatArray) -> FloatArray:
        """Of the prediction, per nm, shape (2, N)."""
        by_bin = levels.reshape(-1, across.shape[1])
        found = []
        for axis in (0, 1):
            step = np.zeros(2)
            step[axis] = 0.3 * self.frame.pixel[axis]
            ahead, behind = (values_at(self.bins, self.fine, where + sign * step) for sign in (1.0, -1.0))
            found.append(np.einsum("kn,kc,nc->n", (ahead - behind) / (2.0 * step[axis]), by_bin, across))
        return np.array(found)

    def _on_grid(self, used: IntArray, values: FloatArray) -> FloatArray:
        grid = np.zeros((values.shape[-1] if values.ndim > 1 else 1, self.target.size))
        grid[:, used] = values.T if values.ndim > 1 else values
        return grid.reshape(-1, *self.frame.shape)

    def _reach(self, used: IntArray, residual: FloatArray) -> float:
        """Pixels over which residuals are correlated: their integral range, twice the radius of the same area."""
        grid = self._on_grid(used, residual - residual.mean())
        shape = tuple(fft.next_fast_len(2 * n, real=True) for n in self.frame.shape)
        power = np.abs(fft.rfft2(grid[0], shape)) ** 2
        mask = np.abs(fft.rfft2(self._on_grid(used, np.ones(len(used)))[0], shape)) ** 2
        pairs = np.maximum(fft.irfft2(mask, shape), 0.5)
        correlation = fft.irfft2(power, shape) / pairs
        correlation /= correlation[0, 0]
        rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
        distance = np.hypot(rows[:, np.newaxis], columns)
        limit = max(3.0, 0.2 * min(self.frame.shape))
        rings = [float(correlation[(distance >= r - 0.5) & (distance < r + 0.5)].mean()) for r in range(1, int(limit) + 1)]
        below = next((r for r, value in enumerate(rings, 1) if value < 0.1), int(limit))
        return float(below)

    def _scatter(self, used: IntArray, scores: FloatArray, reach: float) -> FloatArray:
        """Covariance of the sum of scores, those nearer than twice the reach counted together."""
        grid = self._on_grid(used, scores)
        shape = tuple(fft.next_fast_len(2 * n, real=True) for n in self.frame.shape)
        spectra = fft.rfft2(grid, shape)
        rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
        width = 2.0 * reach + 1.0
        window = np.clip(1.0 - rows / width, 0.0, None)[:, np.newaxis] * np.clip(1.0 - columns / width, 0.0, None)
        count = len(scores[0])
        found = np.empty((count, count))
        for i in range(count):
            for j in range(i, count):
                product = fft.irfft2(spectra[i] * spectra[j].conj(), shape)
                found[i, j] = found[j, i] = float((0.5 * (product + np.roll(product[::-1, ::-1], 1, (0, 1))) * window).sum())
        return found


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])
