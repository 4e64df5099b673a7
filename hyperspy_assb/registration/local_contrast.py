"""A registration refined pixel by pixel: the coarse image predicted from the local contrast of the fine one.

Two signals of one specimen are alike in no more than where their contrast changes. Within some pixels, however, few
materials lie, and there the brightness in one image is a smooth function of that in the other, whatever its sign is: it
is fitted anew at every knot of a grid, so that thickness and a turned contrast change nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage, sparse

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame
from hyperspy_assb.registration.alignment_step import AlignmentStep, DistortionOptions, Refined, State
from hyperspy_assb.registration.sampling import box_means, noise_and_contrast, smoothed, values_at

_BLURS = (1.0, 0.5, 0.0)
"""Gaussian smoothing of the steps, in coarse pixels."""
_KNOTS = 8.0
"""Coarse pixels from one knot to the next."""
_DEGREE = 3
"""Of the polynomial of the contrast at a knot, which four materials have any brightness by."""
_RIDGE = 0.02
"""Of the information of a level; it keeps those still that no pixel tells."""
_NOISE = 8.0
"""Gaussian smoothing of the fine image, in pixels, over that which leaves as much noise as contrast."""
_FLAT = 0.05
"""Of the contrast of the whole image: less is flat."""


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
    found = None
    for blur in _BLURS:
        target = smoothed(coarse, (blur, blur))
        found = _ContrastStep(target, coarse_frame, fine, fine_frame, blur, options).solve(start)
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

    It holds what residuals near each other share, whatever that is: contrast that one image alone has, noise. Levels
    are fitted anew without each block, so that none is counted twice.

    References
    ----------
    H. R. Künsch, Ann. Stat. 17, 1217 (1989), doi:10.1214/aos/1176347265, for blocks of what is correlated.
    """
    step = _ContrastStep(coarse, coarse_frame, fine, fine_frame, 0.0, options)
    return replace(found, transform=step.left_out(found.transform))


class _ContrastStep(AlignmentStep):
    """One smoothing of the images; levels of 1, the contrast and its powers at the knots."""

    def __init__(
        self,
        target: FloatArray,
        frame: ImageFrame,
        fine_image: FloatArray,
        fine: ImageFrame,
        blur: float,
        options: DistortionOptions,
    ) -> None:
        there = np.isfinite(fine_image)
        super().__init__(target, frame, fine, box_means(there[np.newaxis] * 1.0, fine, frame.pixel)[0], options)
        ratios = [c / f for c, f in zip(frame.pixel, fine.pixel, strict=True)]
        contrast = _local_contrast(fine_image, ratios)
        images = box_means(np.array([contrast**k for k in range(1, _DEGREE + 1)]), fine, frame.pixel)
        self.images = ndimage.gaussian_filter(images, (0.0, *(blur * ratio for ratio in ratios))) if blur else images
        self.hats = sparse.kron(*(_hats(n) for n in frame.shape)).tocsr()

    def linearised(self, transform: Affine) -> State | None:
        used = self._compared(transform)
        if used is None:
            return None
        where = transform(self.positions[used])
        contrast, gradient = values_at(self.images, self.fine, where), self._gradient(self.images, where)
        hats = self.hats[used]
        hats = hats[:, np.asarray(hats.sum(axis=0)).ravel() > 0.5]
        columns = sparse.hstack([hats, *(sparse.diags(one) @ hats for one in contrast)]).tocsr()
        squares = columns.power(2).T @ self.weights[used]
        penalty = np.repeat(_RIDGE * squares.reshape(1 + _DEGREE, -1).mean(axis=1), hats.shape[1])

        def picture(levels: FloatArray) -> tuple[FloatArray, FloatArray]:
            local = (hats @ levels.reshape(1 + _DEGREE, -1)[1:].T).T
            return columns @ levels, (local * gradient).sum(axis=1)

        return self._state(transform, used, columns, penalty, picture)


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
