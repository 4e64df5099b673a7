"""Where one image lies in another by mutual information: all shifts at once, angle by angle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from hyperspy_assb.registration.affine import Affine, FloatArray, ImageFrame, turn
from hyperspy_assb.registration.sampling import block_means, quantile_labels, smoothed

_SIDE = 56
"""Pixels along the longer side of the larger field in the search."""
_BINS = 5
_SURROUNDINGS = 5.0
"""Pixels of the search over which brightness is divided by its mean: thickness and bending change slowly."""
_EDGES = 0.7
"""Pixels of the search over which gradients are taken."""
_PER_STEP = 1.5
"""Pixels by which the corner of the field moves from one angle to the next."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A place found by the search.

    Parameters
    ----------
    transform
        From the coarse image's frame to the fine one's.
    evidence
        Mutual information times the number of pixels that overlap, in nats.
    """

    transform: Affine
    evidence: float


def search_grid(
    image: FloatArray, frame: ImageFrame, pixel: float, angle: float, area: float
) -> tuple[FloatArray, FloatArray]:
    """An image on square pixels of a grid that is turned by ``angle`` about its middle; NaN beyond its field.

    Each is the mean over about a square of side ``area``.

    Returns
    -------
    tuple of numpy.ndarray
        The image, and the number of rows and columns from its first pixel to the middle of the field.
    """
    blocks = [max(1, min(int(pixel / side), n)) for side, n in zip(frame.pixel, frame.shape, strict=True)]
    coarse, at = block_means(image, *blocks), frame.binned(*blocks)
    left = [np.sqrt(max((area / side) ** 2 - 1.0, 0.0) / 12.0) for side in at.pixel]
    coarse = smoothed(coarse, (left[0], left[1]))
    matrix = turn(angle)
    reach = np.abs(matrix) @ (0.5 * frame.extent) / pixel
    half = np.maximum(np.ceil(reach - 0.5), 0).astype(int)
    rows, columns = np.indices((2 * int(half[0]) + 1, 2 * int(half[1]) + 1))
    offsets = np.stack([rows - half[0], columns - half[1]], axis=-1) * pixel
    # Points of the turned grid, in the frame of the image.
    where = at.indices(frame.centre + offsets @ matrix)
    there = np.isfinite(coarse)
    filled = ndimage.map_coordinates(np.where(there, coarse, 0.0), np.moveaxis(where, -1, 0), order=1, mode="nearest")
    share = ndimage.map_coordinates(there.astype(float), np.moveaxis(where, -1, 0), order=1, mode="nearest")
    within = np.all((where > -0.5) & (where < np.array(at.shape) - 0.5), axis=-1) & (share > 0.5)
    return np.where(within, filled / np.maximum(share, 1e-9), np.nan), half.astype(float)


def features(image: FloatArray, unit: float) -> list[FloatArray]:
    """What of an image is compared: its contrast against the surroundings, and the strength of its edges.

    Its pixels are a part of those that were measured: ``unit`` is how many make one of these.
    """
    wide, narrow = (_SURROUNDINGS * unit, _SURROUNDINGS * unit), _EDGES * unit
    there = np.isfinite(image)
    around = smoothed(image, wide)
    contrast = image - around
    filled = np.where(there, contrast, 0.0)
    size = np.hypot(*(ndimage.gaussian_filter(filled, narrow, order=order) for order in ((1, 0), (0, 1))))
    inner = ndimage.binary_erosion(there)
    edges = np.where(inner, size, np.nan)
    spread = np.sqrt(np.maximum(smoothed(contrast**2, wide), 1e-30))
    return [contrast / spread, edges / np.maximum(smoothed(edges, wide), 1e-30)]


def _indicators(image: FloatArray, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """Transforms of where each bin of brightness lies; bins beyond those of the image are empty."""
    labels = quantile_labels(image, _BINS) if np.isfinite(image).any() else np.full(image.shape, -1)
    bins = (labels == np.arange(_BINS)[:, np.newaxis, np.newaxis]).astype(np.float32)
    return np.asarray(fft.rfft2(bins, shape))


def _evidence(
    one: NDArray[np.complex64], other: NDArray[np.complex64], shape: tuple[int, int], least: float
) -> FloatArray:
    """Mutual information times overlap for every cyclic shift; 0 where fewer than ``least`` pixels overlap."""
    counts = fft.irfft2(one[:, np.newaxis].conj() * other[np.newaxis], shape)
    counts = np.maximum(np.rint(counts).astype(np.int32), 0)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    total = rows.sum(axis=0)
    table = np.arange(int(total.max()) + 1, dtype=float)
    # n log n of whole numbers.
    table[1:] *= np.log(table[1:])
    found = table[counts].sum(axis=(0, 1)) + table[total] - table[rows].sum(axis=0) - table[columns].sum(axis=0)
    return np.where(total >= least, found, 0.0)


@dataclass(frozen=True, eq=False)
class CoarseSearch:
    """A search of one image in another, which can be repeated with other images in the place of the first.

    Parameters
    ----------
    coarse, coarse_frame
        The image that is looked for.
    fine, fine_frame
        The one in which it is.
    largest_angle
        Degrees by which they may be turned.
    overlap
        Least share of the smaller field that must lie in the other.
    about
        Angle in degrees about which is looked.
    """

    coarse: FloatArray
    coarse_frame: ImageFrame
    fine: FloatArray
    fine_frame: ImageFrame
    largest_angle: float = 20.0
    overlap: float = 0.3
    side: int = _SIDE
    about: float = 0.0

    @property
    def pixel(self) -> float:
        """Side of a pixel of the search in nm: at least half of that of the coarse image."""
        longest = float(max(self.coarse_frame.extent.max(), self.fine_frame.extent.max()))
        return max(longest / self.side, 0.5 * max(self.coarse_frame.pixel), max(self.fine_frame.pixel))

    @property
    def area(self) -> float:
        """Side of the area in nm that a pixel of the search is the mean of."""
        return max(self.pixel, max(self.coarse_frame.pixel))

    @property
    def angles(self) -> FloatArray:
        """Degrees at which is looked."""
        corner = 0.5 * float(min(np.hypot(*self.coarse_frame.extent), np.hypot(*self.fine_frame.extent)))
        step = np.degrees(_PER_STEP * self.pixel / corner)
        count = int(np.ceil(self.largest_angle / step))
        spread = np.linspace(-self.largest_angle, self.largest_angle, 2 * count + 1) if count else np.zeros(1)
        return spread + self.about

    def template(self) -> FloatArray:
        """The coarse image on the grid of the search, as :meth:`surfaces` takes it."""
        return search_grid(self.coarse, self.coarse_frame, self.pixel, 0.0, self.area)[0]

    def surfaces(self, templates: list[FloatArray]) -> Iterator[tuple[float, FloatArray, list[FloatArray]]]:
        """Angle, row and column of the middle of the fine field, and evidence of every shift for each template."""
        largest = np.max([template.shape for template in templates], axis=0)
        # Diagonal and template: no turned field is larger.
        whole = np.ceil(np.hypot(*self.fine_frame.extent) / self.pixel) + 3
        bound = np.abs(turn(min(self.largest_angle, 45.0))) @ self.fine_frame.extent / self.pixel + 3
        if self.about:
            bound = np.array([whole, whole])
        rows, columns = (
            int(fft.next_fast_len(int(min(whole, a) + b), real=True)) for a, b in zip(bound, largest, strict=True)
        )
        shape = rows, columns
        unit = self.area / self.pixel
        seen = [[_indicators(image, shape) for image in features(template, unit)] for template in templates]
        sizes = [int(np.isfinite(template).sum()) for template in templates]
        for angle in self.angles:
            # The fine image is turned back, so that the template keeps its pixels.
            turned, middle = search_grid(self.fine, self.fine_frame, self.pixel, -float(angle), self.area)
            targets = [_indicators(image, shape) for image in features(turned, unit)]
            full = int(np.isfinite(turned).sum())
            found = []
            for size, images in zip(sizes, seen, strict=True):
                least = 0.8 * self.overlap * min(size, full)
                parts = (_evidence(i, t, shape, least) for i, t in zip(images, targets, strict=True))
                # Pixels that share what was measured count once.
                found.append(sum(parts, np.zeros(shape)) / unit**2)
            yield float(angle), middle, found

    def candidates(self, count: int) -> list[Candidate]:
        """The best places of the coarse image, which are apart from each other."""
        return self.places([self.template()], count)[0]

    def places(self, templates: list[FloatArray], count: int) -> list[list[Candidate]]:
        """The same for other images on the grid of the search, each about its own middle."""
        found: list[list[tuple[float, float, FloatArray]]] = [[] for _ in templates]
        for angle, middle, surfaces in self.surfaces(templates):
            for template, surface, kept in zip(templates, surfaces, found, strict=True):
                own = (np.array(template.shape) - 1) / 2
                peaks = surface * (surface == ndimage.maximum_filter(surface, 3, mode="wrap"))
                for flat in np.argsort(peaks, axis=None)[-count:]:
                    at = np.array(np.unravel_index(flat, surface.shape), dtype=float)
                    at = np.where(at > np.array(surface.shape) - template.shape, at - surface.shape, at)
                    # Middle of the template against the middle of the turned field, in pixels.
                    kept.append((float(peaks.flat[flat]), angle, at + own - middle))
        return [self._apart(kept, count) for kept in found]

    def _apart(self, found: list[tuple[float, float, FloatArray]], count: int) -> list[Candidate]:
        """The strongest places, of which none is a neighbour of a stronger one."""
        chosen: list[Candidate] = []
        step = self.largest_angle / max(len(self.angles) // 2, 1)
        for evidence, angle, offset in sorted(found, key=lambda item: -item[0]):
            matrix = turn(angle)
            shift = self.fine_frame.centre + matrix @ offset * self.pixel
            near = [
                np.hypot(*(shift - c.transform.shift)) < 2.5 * self.area
                and abs(angle - c.transform.rotation) < 3.5 * step
                for c in chosen
            ]
            if evidence > 0.0 and not any(near):
                chosen.append(Candidate(Affine(matrix, shift, self.coarse_frame.centre), evidence))
            if len(chosen) == count:
                break
        return chosen
