"""A registration refined pixel by pixel: the coarse image predicted from the fine one.

Two signals of one specimen are alike in no more than where their contrast changes. Within some pixels, however, few
materials lie, and there the brightness in one image follows that in the other, whatever its sign is: this is fitted
anew at every knot of a grid, so that thickness and a turned contrast change nothing. Grains that diffract strongly
follow no such law: each region of the fine image has a brightness of its own besides, drawn from a normal law whose
width is learnt from the images (a mixed model), so that what the contrast does not say, boundaries do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg, ndimage, sparse

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame
from hyperspy_assb.registration.alignment_step import AlignmentStep, DistortionOptions, IntArray, Refined, State
from hyperspy_assb.registration.bounded_regions import find_regions, region_shares
from hyperspy_assb.registration.sampling import box_means, noise_and_contrast, smoothed, values_at

_BLURS = (1.5, 0.7, 0.0)
"""Gaussian smoothing of the steps, in coarse pixels."""
_KNOTS = 8.0
"""Coarse pixels from one knot to the next."""
_DEGREE = 3
"""Of the polynomial of the contrast at a knot, which four materials have any brightness by."""
_LEARN = 3
"""Rounds by which the width of the law of the regions is found."""
_RATIOS = (0.01, 1e4)
"""Least and largest variance of residuals over that of the levels of the regions."""
_RIDGE = 0.02
"""Of the information of a level; it keeps those still that no pixel tells."""
_NOISE = 8.0
"""Gaussian smoothing of the fine image, in pixels, over that which leaves as much noise as contrast."""
_STARTS = 4
_ASIDE = 1.2
"""Coarse pixels to starts beside a place that was found: likelihoods of boundaries have more than one maximum."""
_PLACES = 12
_BESIDE = (3.5, 5.5)
"""Coarse pixels to places where boundaries coincide by chance only."""
_LEAST = 0.003
"""Standard deviation of the likelihood of a pixel that rounding and interpolation leave."""
_FLAT = 0.05
"""Of the contrast of the whole image: less is flat."""


class Refinement:
    """Transforms refined from any start, and their covariance.

    Parameters
    ----------
    coarse, fine
        Images, NaN where there is none.
    coarse_frame, fine_frame
        Their frames.
    options
        What is known of the transform.
    """

    def __init__(
        self,
        coarse: FloatArray,
        coarse_frame: ImageFrame,
        fine: FloatArray,
        fine_frame: ImageFrame,
        options: DistortionOptions,
    ) -> None:
        regions = find_regions(fine, fine_frame, coarse_frame.coarseness)
        self.steps = [
            _ContrastStep(smoothed(coarse, (blur, blur)), coarse_frame, fine, regions, fine_frame, blur, options)
            for blur in _BLURS
        ]

    def refine(self, start: Affine) -> Refined | None:
        """Refine a transform from the coarse frame to the fine one; None if the fields part on the way.

        Parameters
        ----------
        start
            A transform within a few coarse pixels.
        """
        return self._refine(start, self.steps)

    def settle(self, found: Refined) -> Refined:
        """The likeliest of a refined place and of those that are found from starts beside it."""
        place = found.transform
        for k in range(_STARTS):
            angle = 2.0 * np.pi * k / _STARTS
            moved = place.matrix @ (_ASIDE * self.steps[0].frame.coarseness * np.array([np.sin(angle), np.cos(angle)]))
            other = self._refine(Affine(place.matrix, place.shift + moved, place.centre), self.steps[1:])
            if other is not None and other.surprise < found.surprise:
                found = other
        return found

    def _refine(self, start: Affine, steps: list[_ContrastStep]) -> Refined | None:
        found, ratio = None, 1.0
        for step in steps:
            if not step.learn(start, ratio):
                return None
            found = step.solve(start)
            if found is None:
                return None
            start, ratio = found.transform, step.ratio
        return found

    def drop(self, placed: Affine) -> float:
        """How much likelier a refined place is than those beside it, in standard deviations of the latter.

        It is negative where boundaries coincide; NaN where fewer than half of the places overlap enough.
        """
        step = self.steps[-1]
        if not step.learn(placed, step.ratio):
            return float("nan")
        found = []
        for k, distance in enumerate((0.0, *(_BESIDE[i % len(_BESIDE)] for i in range(_PLACES)))):
            angle = 2.0 * np.pi * k / _PLACES
            moved = distance * step.frame.coarseness * np.array([np.sin(angle), np.cos(angle)])
            step.weights[:] = 1.0
            state = None
            # Weights follow residuals.
            for _ in range(2):
                state = step.linearised(Affine(placed.matrix, placed.shift + placed.matrix @ moved, placed.centre))
            if state is not None:
                found.append(state.surprise)
            elif k == 0:
                return float("nan")
        if len(found) < 1 + _PLACES // 2:
            return float("nan")
        beside = np.array(found[1:])
        scatter = float(beside.std(ddof=1)) * np.sqrt(1.0 + 1.0 / len(beside))
        return (found[0] - float(beside.mean())) / (scatter + _LEAST)

    def with_block_errors(self, found: Refined) -> Refined:
        """The same transform with the covariance that leaving out blocks of pixels shows (delete-a-group jackknife).

        It holds what residuals near each other share, whatever that is: contrast that one image alone has, noise.
        Levels are fitted anew without each block, so that none is counted twice.

        References
        ----------
        H. R. Künsch, Ann. Stat. 17, 1217 (1989), doi:10.1214/aos/1176347265, for blocks of what is correlated.
        """
        step = self.steps[-1]
        step.learn(found.transform, step.ratio)
        return replace(found, transform=step.left_out(found.transform))


class _ContrastStep(AlignmentStep):
    """One smoothing of the images; levels of 1 and the contrast with its powers at the knots, and of the regions."""

    def __init__(
        self,
        target: FloatArray,
        frame: ImageFrame,
        fine_image: FloatArray,
        regions: IntArray,
        fine: ImageFrame,
        blur: float,
        options: DistortionOptions,
    ) -> None:
        there = np.isfinite(fine_image)
        super().__init__(target, frame, fine, box_means(there[np.newaxis] * 1.0, fine, frame.pixel)[0], options)
        self.ratios = [c / f for c, f in zip(frame.pixel, fine.pixel, strict=True)]
        self.blur, self.regions, self.ratio = blur, regions, 1.0
        contrast = _local_contrast(fine_image, self.ratios)
        self.images = self._blurred(np.array([contrast**k for k in range(1, _DEGREE + 1)]))
        self.hats = sparse.kron(*(_hats(n) for n in frame.shape)).tocsr()
        self.own = 0

    def learn(self, transform: Affine, ratio: float) -> bool:
        """Find how much regions differ from what their contrast says, at a transform; False if too little is shared.

        The levels of regions are drawn from a normal law, whose variance is that of the levels found and of their
        errors (EM), ``ratio`` being that of the residuals over it.
        """
        self.weights[:], self.ratio = 1.0, ratio
        start = Affine(transform.matrix, transform(self.frame.centre), self.frame.centre)
        for _ in range(_LEARN):
            state = self.linearised(start)
            if state is None:
                return False
            errors = np.diag(linalg.cho_solve((state.factor, False), np.eye(len(state.levels))))
            freedom = len(state.levels) - float(state.penalties @ errors)
            unit = float(state.weight @ state.residual**2) / max(float(state.weight.sum()) - freedom, 10.0)
            own = slice(state.levels.size - self.own, None)
            variance = float(np.mean(state.levels[own] ** 2)) + unit * float(np.mean(errors[own]))
            self.ratio = float(np.clip(unit / max(variance, 1e-30), *_RATIOS))
        return True

    def linearised(self, transform: Affine) -> State | None:
        used = self._compared(transform)
        if used is None:
            return None
        where = transform(self.positions[used])
        contrast, gradient = values_at(self.images, self.fine, where), self._gradient(self.images, where)
        hats = self.hats[used]
        hats = hats[:, np.asarray(hats.sum(axis=0)).ravel() > 0.5]
        smooth = sparse.hstack([hats, *(sparse.diags(one) @ hats for one in contrast)])
        shares = region_shares(self.regions, self.fine, self.frame, transform, self.positions[used])
        kept = np.flatnonzero(np.asarray(shares.sum(axis=0)).ravel() > 1.0)
        columns = sparse.hstack([smooth, shares[:, kept]]).tocsr()
        squares = smooth.power(2).T @ self.weights[used]
        penalty = np.repeat(_RIDGE * squares.reshape(1 + _DEGREE, -1).mean(axis=1), hats.shape[1])
        penalty = np.append(penalty, np.full(len(kept), self.ratio))
        count, self.own = smooth.shape[1], len(kept)

        def picture(levels: FloatArray) -> tuple[FloatArray, FloatArray]:
            local = (hats @ levels[:count].reshape(1 + _DEGREE, -1)[1:].T).T
            brightness = np.zeros(int(self.regions.max()) + 1)
            brightness[kept + 1] = levels[count:]
            own = self._blurred(brightness[self.regions][np.newaxis])
            return columns @ levels, (local * gradient).sum(axis=1) + self._gradient(own, where)[:, 0]

        return self._state(transform, used, columns, penalty, picture)

    def _blurred(self, images: FloatArray) -> FloatArray:
        images = box_means(images, self.fine, self.frame.pixel)
        if not self.blur:
            return images
        return np.asarray(ndimage.gaussian_filter(images, (0.0, *(self.blur * ratio for ratio in self.ratios))))


def _local_contrast(image: FloatArray, ratios: list[float]) -> FloatArray:
    """The image less its surroundings, over the spread in these; 0 where it is missing."""
    noise, whole = noise_and_contrast(image)
    # A Gaussian of sigma s leaves 1/(2 sqrt(pi) s) of white noise.
    sigma = min(_NOISE * noise / (2.0 * np.sqrt(np.pi) * max(whole, 1e-30)), 0.6 * float(np.mean(ratios)))
    wide = (0.5 * _KNOTS * ratios[0], 0.5 * _KNOTS * ratios[1])
    calm = smoothed(image, (sigma, sigma))
    contrast = calm - smoothed(calm, wide)
    spread = np.sqrt(np.maximum(smoothed(contrast**2, wide), 0.0) + (_FLAT * whole) ** 2 + 1e-30)
    return np.where(np.isfinite(image), contrast / spread, 0.0)


def _hats(count: int) -> sparse.csr_matrix:
    """Weights of knots along an axis, linear between them, shape (count, knots)."""
    knots = max(2, round(count / _KNOTS) + 1)
    place = np.linspace(0.0, knots - 1.0, count)
    below = np.minimum(place.astype(int), knots - 2)
    share = place - below
    rows = np.arange(count)
    values, columns = np.concatenate([1.0 - share, share]), np.concatenate([below, below + 1])
    return sparse.csr_matrix((values, (np.concatenate([rows, rows]), columns)), (count, knots))
