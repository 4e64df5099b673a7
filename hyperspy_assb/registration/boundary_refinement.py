"""A registration refined on boundaries: the coarse image predicted from regions of the fine one, pixel by pixel.

The fine image says where boundaries lie, and nothing more: each of its regions has a brightness of its own in the
coarse image, whatever the two signals are, and a coarse pixel shows the mean over its area. These brightnesses are
linear parameters and drop out; what is left to fit is the transform. Its covariance follows from leaving out blocks of
pixels: residuals hold what one image shows and the other does not, which is correlated and mostly no counting noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame, position_slopes, turn
from hyperspy_assb.registration.sampling import box_means, smoothed, values_at

IntArray = NDArray[np.int64]

_BLURS = (1.5, 0.7, 0.0)
"""Gaussian smoothing of the steps, in coarse pixels."""
_ROUNDS = 10
_HALVES = 4
_LOOSE = 3.0
"""Residuals in standard deviations beyond which a pixel counts for little."""
_APART = 1.5
"""Least distance of the middles of two regions, in coarse pixels."""
_BLOCKS = 5
"""Blocks along each direction that are left out one by one."""
_DIFFERENCE = 0.3
"""Coarse pixels over which the response of the score is measured."""
_LEAST_RESPONSE = 0.2
"""Of what the slopes say: below this, differences are noise."""
_MOST_REGIONS = 300
_PLACES = 12
_LEAST = 0.02
"""Standard deviation of logarithms that rounding and interpolation leave."""
_BESIDE = (3.5, 5.5)
"""Coarse pixels to places where boundaries coincide by chance only."""
_FACETS = 1.0
"""Length of a boundary that may be off as a whole, in sides of a region."""


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
        Share of the variance of the coarse image, in pixels that were compared, which the fine one leaves.
    residual
        Median residual on boundaries over the standard deviation of the coarse image.
    pixels
        Coarse pixels that were compared.
    reach
        Pixels over which residuals are correlated.
    converged
        Whether the last step was small.
    """

    transform: Affine
    misfit: float
    residual: float
    pixels: int
    reach: float
    converged: bool


def find_regions(image: FloatArray, frame: ImageFrame, pixel: float) -> IntArray:
    """Regions that are bounded by edges of an image, numbered from 1; 0 where it is missing.

    Parameters
    ----------
    image
        NaN where it is missing.
    frame
        Of the image.
    pixel
        Coarse pixel in nm: regions are not much smaller.
    """
    there = np.isfinite(image)
    ratio = pixel / frame.coarseness
    noise, contrast = _noise_and_contrast(image)
    # A Gaussian of sigma s leaves 1/(2 sqrt(pi) s) of white noise; edges are to stand above it.
    wanted = 8.0 * noise / (2.0 * np.sqrt(np.pi) * max(contrast, 1e-30))
    sigma = float(np.clip(wanted, 0.7, max(0.6 * ratio, 0.7)))
    calm = smoothed(image, (sigma, sigma))
    filled = np.where(there, calm, float(np.nanmedian(calm)))
    edges = np.hypot(ndimage.sobel(filled, 0), ndimage.sobel(filled, 1))
    distance = max(1.0, _APART * ratio, np.sqrt(there.sum() / _MOST_REGIONS) / 1.5)
    peaks = peak_local_max(-edges, min_distance=round(distance), exclude_border=False, labels=there.astype(np.int64))
    markers = np.zeros(image.shape, dtype=np.int64)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    if not len(peaks):
        return there.astype(np.int64)
    return np.asarray(watershed(edges, markers, mask=there), dtype=np.int64)


def _noise_and_contrast(image: FloatArray) -> tuple[float, float]:
    """Standard deviation of the noise of single pixels, and of what is beyond it."""
    second = image[:, 1:-1] - 0.5 * (image[:, :-2] + image[:, 2:]) if image.shape[1] > 2 else image
    known = second[np.isfinite(second)]
    noise = 1.4826 * float(np.median(np.abs(known))) / np.sqrt(1.5) if known.size else 0.0
    return noise, float(np.sqrt(max(np.nanvar(image) - noise**2, 0.01 * np.nanvar(image))))


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
    regions = find_regions(fine, fine_frame, coarse_frame.coarseness)
    found = None
    for blur in _BLURS:
        found = _Step(smoothed(coarse, (blur, blur)), coarse_frame, regions, fine_frame, blur, options).solve(start)
        if found is None:
            return None
        start = found.transform
    return found


def with_block_errors(
    coarse: FloatArray,
    coarse_frame: ImageFrame,
    fine: FloatArray,
    fine_frame: ImageFrame,
    found: Refined,
    options: DistortionOptions,
) -> Refined:
    """The same transform with the covariance that leaving out blocks of pixels shows (delete-a-group jackknife).

    It holds what residuals near each other share, whatever that is: boundaries of the fine image that are off, contrast
    that one image alone has, noise. Brightnesses are fitted anew without each block, so that none is counted twice.

    References
    ----------
    H. R. Künsch, Ann. Stat. 17, 1217 (1989), doi:10.1214/aos/1176347265, for blocks of what is correlated.
    """
    regions = find_regions(fine, fine_frame, coarse_frame.coarseness)
    step = _Step(coarse, coarse_frame, regions, fine_frame, 0.0, options)
    return replace(found, transform=step.left_out(found.transform))


def residual_drop(
    coarse: FloatArray,
    coarse_frame: ImageFrame,
    fine: FloatArray,
    fine_frame: ImageFrame,
    placed: Affine,
    options: DistortionOptions,
) -> float:
    """Logarithm of the residual on boundaries at a place, less that beside it, in standard deviations of the latter.

    It is negative where boundaries coincide; NaN where fewer than half of the places overlap enough.
    """
    regions = find_regions(fine, fine_frame, coarse_frame.coarseness)
    step = _Step(coarse, coarse_frame, regions, fine_frame, 0.0, options)
    found = []
    for k, distance in enumerate((0.0, *(_BESIDE[i % len(_BESIDE)] for i in range(_PLACES)))):
        angle = 2.0 * np.pi * k / _PLACES
        moved = distance * coarse_frame.coarseness * np.array([np.sin(angle), np.cos(angle)])
        step.weights[:] = 1.0
        state = None
        for _ in range(2):
            state = step._linearised(Affine(placed.matrix, placed.shift + placed.matrix @ moved, placed.centre))
        if state is not None:
            found.append(float(np.log(state.spread)))
        elif k == 0:
            return float("nan")
    if len(found) < 1 + _PLACES // 2:
        return float("nan")
    beside = np.array(found[1:])
    return (found[0] - float(beside.mean())) / (float(beside.std(ddof=1)) * np.sqrt(1.0 + 1.0 / len(beside)) + _LEAST)


@dataclass(frozen=True, eq=False)
class _State:
    """The prediction at one transform: pixels compared, slopes, residuals, weights, ...

    ``held`` is what of a residual the brightnesses take away, ``total`` the variance of the target.
    """

    used: IntArray
    slope: FloatArray
    residual: FloatArray
    weight: FloatArray
    held: FloatArray
    spread: float
    total: float
    regions: int

    @property
    def scale(self) -> float:
        return float(np.average(self.residual**2, weights=self.weight))

    def normal(self) -> FloatArray:
        return np.asarray((self.slope * self.weight[:, np.newaxis]).T @ self.slope / self.scale)

    def score(self) -> FloatArray:
        return np.asarray(self.slope.T @ (self.weight * self.residual) / self.scale)

    def curvature(self) -> FloatArray:
        """Of the cost: what fits badly pulls less the further it is off."""
        u = (self.residual / (_LOOSE * self.spread)) ** 2
        return np.asarray((self.slope * ((1.0 - u) / (1.0 + u) ** 2)[:, np.newaxis]).T @ self.slope / self.scale)

    def cost(self, spread: float) -> float:
        """Of a pixel in the mean; it grows slowly where a pixel does not fit."""
        return float(np.mean(np.log1p((self.residual / (_LOOSE * spread)) ** 2)))


class _Step:
    """One smoothing of the images."""

    def __init__(
        self,
        target: FloatArray,
        coarse_frame: ImageFrame,
        regions: IntArray,
        fine_frame: ImageFrame,
        blur: float,
        options: DistortionOptions,
    ) -> None:
        self.target = target.ravel()
        self.frame, self.regions, self.fine, self.blur = coarse_frame, regions, fine_frame, blur
        self.options = options
        self.there = box_means((regions > 0)[np.newaxis].astype(float), fine_frame, coarse_frame.pixel)
        self.positions = coarse_frame.positions().reshape(-1, 2)
        self.known = np.isfinite(self.target)
        self.radius = 0.5 * float(np.hypot(*coarse_frame.extent)) / np.sqrt(2.0)
        self.units = np.array([1.0, 1.0, *[1.0 / self.radius] * 4])
        ratios = [c / f for c, f in zip(coarse_frame.pixel, fine_frame.pixel, strict=True)]
        self.sigma = [blur * ratio for ratio in ratios]
        self.weights = np.ones(self.target.size)
        self.counts = [int(np.clip(np.ceil(ratio) + 1, 2, 6)) for ratio in ratios]

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
            step = np.asarray(np.linalg.solve(normal, score), dtype=np.float64)
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
        normal = state.curvature() + prior
        if not np.all(np.linalg.eigvalsh(normal) > 0.05 * np.linalg.eigvalsh(state.normal() + prior)):
            normal = state.normal() + prior
        # Brightnesses follow the pixels that they are fitted to, and take part of every residual away.
        weighted = state.weight * state.residual / np.clip(1.0 - state.held, 0.1, 1.0)
        reach = max(self._reach(state.used, weighted), _FACETS * np.sqrt(len(state.used) / state.regions))
        scatter = self._scatter(state.used, state.slope * (weighted / state.scale)[:, np.newaxis], reach)
        back = np.linalg.inv(normal)
        covariance = back @ (scatter + prior) @ back
        units = np.diag(self.units)
        moved = Affine(transform.matrix, transform.shift, transform.centre, units @ covariance @ units)
        misfit = float(state.weight @ state.residual**2 / max(state.total, 1e-30))
        residual = state.spread / max(float(np.nanstd(self.target)), 1e-30)
        return Refined(moved, misfit, residual, len(state.used), reach, converged)

    def left_out(self, transform: Affine) -> Affine:
        """The transform with its covariance from blocks that are left out, by one step of the fit each."""
        state = self._linearised(transform)
        if state is None:
            return transform
        prior, pull = self._prior(transform)
        whole, scores = self.known.copy(), []
        for block in _equal_blocks(state.used, self.frame.shape):
            self.known = whole.copy()
            self.known[block] = False
            part = self._linearised(transform)
            if part is not None:
                scores.append(part.score() * part.scale / state.scale - pull)
        self.known = whole
        if len(scores) <= 6:
            return transform
        back = np.linalg.inv(self._response(transform, state) + prior)
        beside = (np.array(scores) - np.mean(scores, axis=0)) @ back.T
        covariance = (len(scores) - 1) / len(scores) * beside.T @ beside + back @ prior @ back.T
        units = np.diag(self.units)
        return replace(transform, covariance=units @ covariance @ units)

    def _response(self, transform: Affine, state: _State) -> FloatArray:
        """How much the score changes with the parameters, by differences.

        It is less than the information of the slopes says: the regions are drawn where the fine image has its
        boundaries, noise included, and brightnesses and weights follow a shift.
        """
        step = _DIFFERENCE * self.frame.coarseness
        found = state.normal()
        for k in range(6):
            ahead, behind = (self._linearised(self._moved(transform, sign * step * np.eye(6)[k])) for sign in (1, -1))
            if ahead is None or behind is None:
                return state.normal()
            found[:, k] = (behind.score() * behind.scale - ahead.score() * ahead.scale) / (2.0 * step * state.scale)
        root = np.linalg.cholesky(state.normal())
        back = np.linalg.inv(root)
        values, vectors = np.linalg.eigh(back @ (0.5 * (found + found.T)) @ back.T)
        turned = root @ vectors
        return np.asarray(turned * np.maximum(values, _LEAST_RESPONSE) @ turned.T)

    def _moved(self, transform: Affine, step: FloatArray) -> Affine:
        change = step * self.units
        return Affine(transform.matrix + change[2:].reshape(2, 2), transform.shift + change[:2], transform.centre)

    def _prior(self, transform: Affine) -> tuple[FloatArray, FloatArray]:
        """Precision of what is known of the stretch, in the parameters, and its pull."""
        about = turn(transform.rotation)
        # Stretch - 1 = R' M - 1: scales on the diagonal, half the shear beside it.
        stretch = about.T @ transform.matrix - np.eye(2)
        scale, half_shear = self.options.scale_std, 0.5 * self.options.shear_std
        slopes, offsets = [], []
        for i, j, std in ((0, 0, scale), (1, 1, scale), (0, 1, half_shear)):
            direction = 0.5 * (np.outer(about[:, i], np.eye(2)[j]) + np.outer(about[:, j], np.eye(2)[i]))
            slopes.append(np.concatenate([np.zeros(2), direction.ravel()]) * self.units / std)
            offsets.append(0.5 * (stretch[i, j] + stretch[j, i]) / std)
        matrix = np.array(slopes)
        return matrix.T @ matrix, matrix.T @ np.array(offsets)

    def _shares(self, transform: Affine, positions: FloatArray) -> sparse.csr_matrix:
        """Shares of the regions in the area of coarse pixels, by points in them; smoothed as the target is."""
        down, right = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in self.counts), indexing="ij")
        pixel = np.array(self.frame.pixel)
        steps = np.stack([down.ravel(), right.ravel()], axis=-1) * pixel
        if self.blur:
            # Points at the quantiles of the Gaussian stand for the smoothing.
            wide = self.blur * pixel * np.sqrt(12.0)
            steps = steps * np.sqrt(1.0 + (wide / pixel) ** 2)
        rows, labels = [], []
        for step in steps:
            at = np.rint(self.fine.indices(transform(positions + step))).astype(np.int64)
            at = np.clip(at, 0, np.array(self.regions.shape) - 1)
            labels.append(self.regions[at[:, 0], at[:, 1]])
            rows.append(np.arange(len(positions)))
        row, label = np.concatenate(rows), np.concatenate(labels)
        known = label > 0
        shape = (len(positions), int(self.regions.max()))
        return sparse.csr_matrix((np.full(known.sum(), 1.0 / len(steps)), (row[known], label[known] - 1)), shape)

    def _linearised(self, transform: Affine) -> _State | None:
        """The prediction and its slopes at a transform; None where too little is shared."""
        where = transform(self.positions)
        use = self.known & (values_at(self.there, self.fine, where)[0] > 0.99)
        used = np.flatnonzero(use)
        if len(used) < max(30, 0.5 * self.options.overlap * self.known.sum()):
            return None
        where, target = where[used], self.target[used]
        offset = (self.positions[used] - transform.centre) / self.radius
        down, right = offset.T
        trend = np.stack([down, right, down**2, down * right, right**2], axis=-1)
        shares = self._shares(transform, self.positions[used])
        kept = np.flatnonzero(np.asarray(shares.sum(axis=0)).ravel() > 1.0)
        shares = shares[:, kept]
        columns = sparse.hstack([shares, sparse.csr_matrix(trend)]).tocsr()
        # Weights change little from step to step.
        weight = self.weights[used]
        mean = float(target.mean())
        ridge = 0.05 * np.eye(columns.shape[1])
        for _ in range(2):
            gram = (columns.multiply(weight[:, np.newaxis])).T @ columns
            gram = gram.toarray() + ridge
            levels = np.linalg.solve(gram, columns.T @ (weight * (target - mean)))
            picture = np.zeros(int(self.regions.max()) + 1)
            picture[kept + 1] = levels[: len(kept)]
            image = box_means(picture[self.regions][np.newaxis], self.fine, self.frame.pixel)
            if self.blur:
                image = ndimage.gaussian_filter(image, (0.0, *self.sigma))
            residual = target - mean - values_at(image, self.fine, where)[0] - trend @ levels[len(kept) :]
            gradient = self._gradient(image, where)
            # What lies on boundaries says what fits: noise within grains would strike all boundaries out.
            tells = (gradient**2).sum(axis=0)
            spread = 1.4826 * _weighted_median(np.abs(residual), tells) + 1e-9 * float(np.abs(target).max() + 1e-30)
            weight = 1.0 / (1.0 + (residual / (_LOOSE * spread)) ** 2)
        self.weights[used] = weight
        slope = np.einsum("in,nip->np", gradient, position_slopes(offset * self.radius) * self.units)
        # The brightnesses are fitted as well.
        slope = slope - columns @ np.linalg.solve(gram, columns.T @ (weight[:, np.newaxis] * slope))
        held = weight * np.asarray(columns.multiply(columns @ np.linalg.inv(gram)).sum(axis=1)).ravel()
        mean = float(np.average(target, weights=weight))
        return _State(used, slope, residual, weight, held, spread, float(weight @ (target - mean) ** 2), len(kept))

    def _gradient(self, image: FloatArray, where: FloatArray) -> FloatArray:
        """Of the prediction with the position in the coarse frame, per nm, shape (2, N)."""
        found = []
        for axis in (0, 1):
            step = np.zeros(2)
            step[axis] = 0.3 * self.frame.pixel[axis]
            ahead, behind = (values_at(image, self.fine, where + sign * step)[0] for sign in (1.0, -1.0))
            found.append((ahead - behind) / (2.0 * step[axis]))
        return np.array(found)

    def _on_grid(self, used: IntArray, values: FloatArray) -> FloatArray:
        grid = np.zeros((values.shape[-1] if values.ndim > 1 else 1, self.target.size))
        grid[:, used] = values.T if values.ndim > 1 else values
        return grid.reshape(-1, *self.frame.shape)

    def _reach(self, used: IntArray, residual: FloatArray) -> float:
        """Pixels over which residuals are correlated: where their correlation falls below a tenth."""
        grid = self._on_grid(used, residual - residual.mean())
        shape = tuple(fft.next_fast_len(2 * n, real=True) for n in self.frame.shape)
        power = np.abs(fft.rfft2(grid[0], shape)) ** 2
        mask = np.abs(fft.rfft2(self._on_grid(used, np.ones(len(used)))[0], shape)) ** 2
        pairs = np.maximum(fft.irfft2(mask, shape), 0.5)
        correlation = fft.irfft2(power, shape) / pairs
        correlation /= max(float(correlation[0, 0]), 1e-30)
        distance = _lags(shape)
        limit = int(max(3.0, 0.2 * min(self.frame.shape)))
        rings = [float(correlation[(distance >= r - 0.5) & (distance < r + 0.5)].mean()) for r in range(1, limit + 1)]
        return float(next((r for r, value in enumerate(rings, 1) if value < 0.1), limit))

    def _scatter(self, used: IntArray, scores: FloatArray, reach: float) -> FloatArray:
        """Covariance of the sum of scores, those nearer than twice the reach counted together."""
        grid = self._on_grid(used, scores)
        shape = tuple(fft.next_fast_len(2 * n, real=True) for n in self.frame.shape)
        spectra = fft.rfft2(grid, shape)
        rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
        width = 2.0 * reach + 1.0
        window = np.clip(1.0 - rows / width, 0.0, None)[:, np.newaxis] * np.clip(1.0 - columns / width, 0.0, None)
        count = scores.shape[1]
        found = np.empty((count, count))
        for i in range(count):
            for j in range(i, count):
                found[i, j] = found[j, i] = float((fft.irfft2(spectra[i] * spectra[j].conj(), shape) * window).sum())
        return found


def _equal_blocks(used: IntArray, shape: tuple[int, int]) -> list[IntArray]:
    """Pixels in compact blocks of equal size: strips of rows, each cut along its columns."""
    rows, columns = np.unravel_index(used, shape)
    strips = np.array_split(np.lexsort((columns, rows)), _BLOCKS)
    return [used[part] for strip in strips for part in np.array_split(strip[np.argsort(columns[strip])], _BLOCKS)]


def _lags(shape: tuple[int, ...]) -> FloatArray:
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    return np.hypot(rows[:, np.newaxis], columns)


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])
