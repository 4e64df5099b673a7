"""One step of an alignment: how well a coarse image is predicted from a fine one, and what predicts it better.

What the prediction is made of is linear and drops out; what is left to fit is the transform. Its covariance follows
from leaving out blocks of pixels: residuals hold what one image shows and the other does not, which is correlated and
mostly no counting noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame, position_slopes, turn
from hyperspy_assb.registration.sampling import values_at

IntArray = NDArray[np.int64]
Picture = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Prediction of the compared pixels, shape (N,), and its gradient per nm of the fine frame, shape (2, N), by levels."""

_ROUNDS = 20
_HALVES = 4
_LOOSE = 3.0
"""Residuals in standard deviations beyond which a pixel counts for little."""
_BLOCKS = 5
"""Blocks along each direction that are left out one by one."""
_DIFFERENCE = 0.3
"""Coarse pixels over which the response of the score is measured."""
_LEAST_RESPONSE = 0.2
"""Of what the slopes say: below this, differences are noise."""


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
    surprise
        Negative logarithm of the likelihood of the place, a pixel, with the levels integrated out: the least is best.
    residual
        Median residual on boundaries over the standard deviation of the coarse image.
    pixels
        Coarse pixels that were compared.
    converged
        Whether the last step was small.
    """

    transform: Affine
    misfit: float
    surprise: float
    residual: float
    pixels: int
    converged: bool


@dataclass(frozen=True, eq=False)
class State:
    """The prediction at one transform: pixels compared, slopes, residuals, weights, and the variance of the target.

    The levels go with it, the penalties on their squares, and the Cholesky factor of their information.
    """

    used: IntArray
    slope: FloatArray
    residual: FloatArray
    weight: FloatArray
    spread: float
    total: float
    levels: FloatArray
    penalties: FloatArray
    factor: FloatArray

    @property
    def scale(self) -> float:
        """Mean square of the residuals."""
        return float(np.average(self.residual**2, weights=self.weight))

    def normal(self) -> FloatArray:
        """Information of the parameters."""
        return np.asarray((self.slope * self.weight[:, np.newaxis]).T @ self.slope / self.scale)

    def score(self) -> FloatArray:
        """Slope of the log-likelihood with the parameters."""
        return np.asarray(self.slope.T @ (self.weight * self.residual) / self.scale)

    def cost(self, spread: float) -> float:
        """Of a pixel in the mean; it grows slowly where a pixel does not fit."""
        return float(np.mean(np.log1p((self.residual / (_LOOSE * spread)) ** 2)))

    @property
    def penalty(self) -> float:
        """Of the levels, on the scale of squared residuals."""
        return float(self.penalties @ self.levels**2)

    @property
    def surprise(self) -> float:
        """Negative logarithm of the likelihood with the levels integrated out, a pixel, less what all places share."""
        left = (float(self.weight @ self.residual**2) + self.penalty) / len(self.residual)
        spread = max(self.total, 1e-30) / float(self.weight.sum())
        volume = 2.0 * np.log(np.diag(self.factor)).sum() - np.log(self.penalties).sum() - np.log(self.weight).sum()
        return 0.5 * float(np.log(max(left, 1e-30) / spread) + volume / len(self.residual))


class AlignmentStep(ABC):
    """A coarse image, and a fine one that predicts it.

    Parameters
    ----------
    target
        The coarse image.
    frame, fine
        Frames of both.
    there
        Share of a coarse pixel that the fine image has, at its pixels.
    options
        What is known of the transform.
    """

    def __init__(
        self, target: FloatArray, frame: ImageFrame, fine: ImageFrame, there: FloatArray, options: DistortionOptions
    ) -> None:
        self.target, self.frame, self.fine, self.there, self.options = target.ravel(), frame, fine, there, options
        self.positions = frame.positions().reshape(-1, 2)
        self.known = np.isfinite(self.target)
        self.radius = 0.5 * float(np.hypot(*frame.extent)) / np.sqrt(2.0)
        self.units = np.array([1.0, 1.0, *[1.0 / self.radius] * 4])
        self.weights = np.ones(self.target.size)

    @abstractmethod
    def linearised(self, transform: Affine) -> State | None:
        """The prediction and its slopes at a transform; None where too little is shared."""

    def solve(self, start: Affine) -> Refined | None:
        """Scoring with weights that leave out what does not fit; parameters in nm at the rim of the field."""
        transform = Affine(start.matrix, start(self.frame.centre), self.frame.centre)
        state = self.linearised(transform)
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
                next_state = self.linearised(moved)
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
        units = np.diag(self.units)
        covariance = units @ np.linalg.inv(state.normal() + self._prior(transform)[0]) @ units
        moved = replace(transform, covariance=covariance)
        misfit = float(state.weight @ state.residual**2 / max(state.total, 1e-30))
        residual = state.spread / max(float(np.nanstd(self.target)), 1e-30)
        return Refined(moved, misfit, state.surprise, residual, len(state.used), converged)

    def left_out(self, transform: Affine) -> Affine:
        """The transform with its covariance from blocks that are left out, by one step of the fit each."""
        state = self.linearised(transform)
        if state is None:
            return transform
        prior, pull = self._prior(transform)
        whole, steps = self.known.copy(), []
        for block in _equal_blocks(state.used, self.frame.shape):
            self.known = whole.copy()
            self.known[block] = False
            part = self.linearised(transform)
            if part is not None:
                # Where few blocks hold most of what is known, the rest is less sure without them.
                unit = part.scale / state.scale
                steps.append(np.linalg.solve(unit * part.normal() + prior, unit * part.score() - pull))
        self.known = whole
        if len(steps) <= 6:
            return transform
        back = np.linalg.inv(self._response(transform, state) + prior)
        beside = (np.array(steps) - np.mean(steps, axis=0)) @ (state.normal() + prior) @ back
        covariance = (len(steps) - 1) / len(steps) * beside.T @ beside + back @ prior @ back.T
        units = np.diag(self.units)
        return replace(transform, covariance=units @ covariance @ units)

    def _response(self, transform: Affine, state: State) -> FloatArray:
        """How much the score changes with the parameters, by differences.

        It is less than the information of the slopes says: the regions are drawn where the fine image has its
        boundaries, noise included, and brightnesses and weights follow a shift.
        """
        step = _DIFFERENCE * self.frame.coarseness
        found = state.normal()
        for k in range(6):
            ahead, behind = (self.linearised(self._moved(transform, sign * step * np.eye(6)[k])) for sign in (1, -1))
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

    def _compared(self, transform: Affine) -> IntArray | None:
        """Coarse pixels that the fine image covers; None if they are too few."""
        use = self.known & (values_at(self.there[np.newaxis], self.fine, transform(self.positions))[0] > 0.99)
        used = np.flatnonzero(use)
        return None if len(used) < max(30, 0.5 * self.options.overlap * self.known.sum()) else used

    def _state(
        self, transform: Affine, used: IntArray, columns: sparse.csr_matrix, penalty: FloatArray, picture: Picture
    ) -> State:
        """The state with the levels fitted, which predict the target by ``columns`` and ``picture``.

        Parameters
        ----------
        transform, used
            Where, and pixels that are compared.
        columns
            Of the levels, shape (N, L).
        penalty
            On the square of each level.
        picture
            Prediction and gradient by the levels.
        """
        target = self.target[used]
        # Weights change little from step to step.
        weight = self.weights[used]
        mean = float(target.mean())
        for _ in range(2):
            gram = (columns.T @ sparse.diags(weight) @ columns).toarray() + np.diag(penalty)
            factor = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
            levels = linalg.cho_solve(factor, columns.T @ (weight * (target - mean)))
            predicted, gradient = picture(levels)
            residual = target - mean - predicted
            # What lies on boundaries says what fits: noise within grains would strike all boundaries out.
            tells = (gradient**2).sum(axis=0)
            spread = 1.4826 * _weighted_median(np.abs(residual), tells) + 1e-9 * float(np.abs(target).max() + 1e-30)
            weight = 1.0 / (1.0 + (residual / (_LOOSE * spread)) ** 2)
        self.weights[used] = weight
        offset = self.positions[used] - transform.centre
        slope = np.einsum("in,nip->np", gradient, position_slopes(offset) * self.units)
        # The levels are fitted as well.
        slope = slope - columns @ linalg.cho_solve(factor, columns.T @ (weight[:, np.newaxis] * slope))
        mean = float(np.average(target, weights=weight))
        total = float(weight @ (target - mean) ** 2)
        return State(used, slope, residual, weight, spread, total, levels, penalty, factor[0])

    def _gradient(self, images: FloatArray, where: FloatArray) -> FloatArray:
        """Of fine images with the position, per nm, shape (2, K, N)."""
        found = []
        for axis in (0, 1):
            step = np.zeros(2)
            step[axis] = 0.3 * self.frame.pixel[axis]
            ahead, behind = (values_at(images, self.fine, where + sign * step) for sign in (1.0, -1.0))
            found.append((ahead - behind) / (2.0 * step[axis]))
        return np.array(found)


def _equal_blocks(used: IntArray, shape: tuple[int, int]) -> list[IntArray]:
    """Pixels in compact blocks of equal size: strips of rows, each cut along its columns."""
    rows, columns = np.unravel_index(used, shape)
    strips = np.array_split(np.lexsort((columns, rows)), _BLOCKS)
    return [used[part] for strip in strips for part in np.array_split(strip[np.argsort(columns[strip])], _BLOCKS)]


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])
