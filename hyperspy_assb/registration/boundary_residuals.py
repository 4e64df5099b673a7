"""How well boundaries of two images coincide: the coarse image predicted from regions of the fine one, pixel by pixel.

The fine image says where boundaries lie, and nothing more: each of its regions has a brightness of its own in the
coarse image, whatever the two signals are, and a coarse pixel shows the mean over its area.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame
from hyperspy_assb.registration.alignment_step import AlignmentStep, DistortionOptions, IntArray, State
from hyperspy_assb.registration.sampling import box_means, noise_and_contrast, smoothed, values_at

_APART = 1.5
"""Least distance of the middles of two regions, in coarse pixels."""
_MOST_REGIONS = 300
_RIDGE = 0.05
_PLACES = 12
_LEAST = 0.02
"""Standard deviation of logarithms that rounding and interpolation leave."""
_BESIDE = (3.5, 5.5)
"""Coarse pixels to places where boundaries coincide by chance only."""


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
    noise, contrast = noise_and_contrast(image)
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


def region_step(
    coarse: FloatArray, coarse_frame: ImageFrame, fine: FloatArray, fine_frame: ImageFrame, options: DistortionOptions
) -> AlignmentStep:
    """A step that predicts the coarse image from the regions of the fine one; see :func:`residual_drop`."""
    regions = find_regions(fine, fine_frame, coarse_frame.coarseness)
    return _RegionStep(coarse, coarse_frame, regions, fine_frame, options)


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
    step = region_step(coarse, coarse_frame, fine, fine_frame, options)
    found = []
    for k, distance in enumerate((0.0, *(_BESIDE[i % len(_BESIDE)] for i in range(_PLACES)))):
        angle = 2.0 * np.pi * k / _PLACES
        moved = distance * coarse_frame.coarseness * np.array([np.sin(angle), np.cos(angle)])
        step.weights[:] = 1.0
        state = None
        for _ in range(2):
            state = step.linearised(Affine(placed.matrix, placed.shift + placed.matrix @ moved, placed.centre))
        if state is not None:
            found.append(float(np.log(state.spread)))
        elif k == 0:
            return float("nan")
    if len(found) < 1 + _PLACES // 2:
        return float("nan")
    beside = np.array(found[1:])
    return (found[0] - float(beside.mean())) / (float(beside.std(ddof=1)) * np.sqrt(1.0 + 1.0 / len(beside)) + _LEAST)


class _RegionStep(AlignmentStep):
    """Brightnesses of regions, and a trend."""

    def __init__(
        self,
        target: FloatArray,
        frame: ImageFrame,
        regions: IntArray,
        fine: ImageFrame,
        options: DistortionOptions,
    ) -> None:
        super().__init__(
            target, frame, fine, box_means((regions > 0)[np.newaxis].astype(float), fine, frame.pixel)[0], options
        )
        self.regions = regions

    def linearised(self, transform: Affine) -> State | None:
        used = self._compared(transform)
        if used is None:
            return None
        where = transform(self.positions[used])
        down, right = (self.positions[used] - transform.centre).T / self.radius
        trend = np.stack([down, right, down**2, down * right, right**2], axis=-1)
        shares = region_shares(self.regions, self.fine, self.frame, transform, self.positions[used])
        kept = np.flatnonzero(np.asarray(shares.sum(axis=0)).ravel() > 1.0)
        columns = sparse.hstack([shares[:, kept], sparse.csr_matrix(trend)]).tocsr()

        def picture(levels: FloatArray) -> tuple[FloatArray, FloatArray]:
            brightness = np.zeros(int(self.regions.max()) + 1)
            brightness[kept + 1] = levels[: len(kept)]
            image = box_means(brightness[self.regions][np.newaxis], self.fine, self.frame.pixel)
            return (
                values_at(image, self.fine, where)[0] + trend @ levels[len(kept) :],
                self._gradient(image, where)[:, 0],
            )

        return self._state(transform, used, columns, np.full(columns.shape[1], _RIDGE), picture)


def region_shares(
    regions: IntArray, fine: ImageFrame, frame: ImageFrame, transform: Affine, positions: FloatArray
) -> sparse.csr_matrix:
    """Shares of the regions in the area of coarse pixels, by points in them; shape (positions, regions)."""
    counts = [int(np.clip(np.ceil(c / f) + 1, 2, 6)) for c, f in zip(frame.pixel, fine.pixel, strict=True)]
    down, right = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in counts), indexing="ij")
    steps = np.stack([down.ravel(), right.ravel()], axis=-1) * np.array(frame.pixel)
    rows, labels = [], []
    for step in steps:
        at = np.rint(fine.indices(transform(positions + step))).astype(np.int64)
        at = np.clip(at, 0, np.array(regions.shape) - 1)
        labels.append(regions[at[:, 0], at[:, 1]])
        rows.append(np.arange(len(positions)))
    row, label = np.concatenate(rows), np.concatenate(labels)
    known = label > 0
    shape = (len(positions), int(regions.max()))
    return sparse.csr_matrix((np.full(known.sum(), 1.0 / len(steps)), (row[known], label[known] - 1)), shape)
