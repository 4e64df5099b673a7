"""Grains and the lines between them in the mean of a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import h_minima
from skimage.segmentation import watershed

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.frame_series import BoolArray, FloatArray

_RIDGE = 2.0
"""Standard deviation in pixels over which dark lines are looked for."""
_ABOVE_NOISE = 4.0
"""Standard errors by which two basins must be apart from the pass between them."""
_REACH = 2.0
"""Pixels from a line at which its depth is judged; beyond twice as many is grain."""
_REAL = 5.0
"""Standard errors of depth from which on a line is one."""
REAL_SHARE = 0.4
"""Share of the usual depth below which a line is none."""
_POSSIBLE, _POSSIBLE_SHARE = 3.0, 0.2
"""The same, of lines that are not yet where they belong."""
SMOOTH = 2.0
"""Standard deviation in pixels over which the course of a line is smoothed."""
_INSIDE = 6.0
"""Pixels from a line beyond which brightness is that of the grain."""
_FINE = 3
"""Points for each pixel along which lines are drawn."""


@dataclass(frozen=True, eq=False)
class GrainMap:
    """Grains of the mean of a series.

    Parameters
    ----------
    labels
        Grain of each pixel from 1; 0: not judged. Shape (Y, X).
    distance
        Pixels from the middle of the nearest line, below 0 at most by the error of the line; infinite far away.
    level
        Brightness of the inside of the grain that a pixel belongs to.
    lines
        Distance on a finer grid, of three points for each side of a pixel.
    """

    labels: NDArray[np.int32]
    distance: FloatArray
    level: FloatArray
    lines: FloatArray

    def levels(self) -> FloatArray:
        """Brightness of the inside of each grain by its number, shape (G + 1,); 0 of what was not judged."""
        found = np.zeros(int(self.labels.max()) + 1)
        known = np.isfinite(self.level)
        found[self.labels[known]] = self.level[known]
        return found

    def insides(self) -> NDArray[np.int32]:
        """Grains without what lies near their boundaries, whatever those do; 0 elsewhere."""
        return np.where(self.distance >= _INSIDE, self.labels, 0).astype(np.int32)

    def distance_at(self, shift: FloatArray) -> FloatArray:
        """Distance of each pixel where the content has moved by rows and columns, from the finer grid."""
        rows, columns = (
            (np.arange(size) - by) * _FINE + _FINE // 2
            for size, by in zip(self.labels.shape, shift.tolist(), strict=True)
        )
        at = np.meshgrid(rows, columns, indexing="ij")
        return np.asarray(ndimage.map_coordinates(self.lines, at, order=1, mode="nearest"))


def find_grains(mean: FloatArray, mask: BoolArray, noise: FloatArray) -> GrainMap:
    """Divide the mean into grains along dark lines.

    Parameters
    ----------
    mean
        Mean of the placed frames; NaN where it is not known.
    mask
        Pixels that are divided.
    noise
        Standard deviation of each pixel of the mean.

    Raises
    ------
    AssbValueError
        If no two grains are found.
    """
    filled = np.where(np.isfinite(mean), mean, np.nanmean(mean))
    height = _ridge(filled)
    # Noise of a second derivative of white noise over a Gaussian: sqrt(3 / 16 pi) / sigma^3.
    error = float(np.median(noise[mask])) * np.sqrt(3.0 / (16.0 * np.pi)) / _RIDGE**3
    basins, count = ndimage.label(h_minima(np.where(mask, height, height.max()), _ABOVE_NOISE * error) & mask)
    if count < 2:
        raise AssbValueError("No grains are found: no dark lines stand out from the noise of the mean.")
    labels = watershed(height, basins, mask=mask).astype(np.int32)
    # Once lines run between the insides of what may be grains, the real ones are deeper, and the others less.
    labels = _without_false_lines(labels, filled, noise, _POSSIBLE, _POSSIBLE_SHARE)
    labels = _without_false_lines(_drawn_again(labels, height), filled, noise, _REAL, REAL_SHARE)
    if labels.max() < 2:
        raise AssbValueError("No grains are found: none of the lines between them is dark.")
    return map_of_labels(labels, filled)


def map_of_labels(labels: NDArray[np.int32], mean: FloatArray) -> GrainMap:
    """Distances and levels of labels, found here or by another program.

    The course of each line is smoothed, and drawn on a finer grid, from which distances are taken: pixels know a line
    only by its steps.
    """
    lines = _distances(labels)
    fine = np.where(np.repeat(np.repeat(labels, _FINE, axis=0), _FINE, axis=1) > 0, lines, np.inf)
    distance = fine[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE]
    level = np.full(labels.shape, np.nan)
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        own = labels[place] == number
        away = distance[place]
        far = own & (away > 2.0 * _REACH)
        inner = far if far.sum() >= 10 else own & (away >= 0.8 * away[own].max())
        level[place][own] = mean[place][inner].mean()
    return GrainMap(labels, distance, level, lines)


def _distances(labels: NDArray[np.int32]) -> FloatArray:
    """Pixels from each point of the finer grid to the nearest line between two labels above 0."""
    shape = tuple(size * _FINE for size in labels.shape)
    best = np.zeros(shape, dtype=np.float32)
    fine = np.zeros(shape, dtype=np.int32)
    margin = int(3.0 * SMOOTH) + 1
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        wide = tuple(
            slice(max(0, s.start - margin), min(size, s.stop + margin))
            for s, size in zip(place, labels.shape, strict=True)
        )
        own = (labels[wide] == number).astype(np.float32)
        share = ndimage.gaussian_filter(own, SMOOTH, mode="nearest")
        drawn = ndimage.zoom(share, _FINE, order=1, mode="nearest", grid_mode=True)
        target = tuple(slice(s.start * _FINE, s.stop * _FINE) for s in wide)
        better = drawn > best[target]
        best[target][better] = drawn[better]
        fine[target][better] = number
    edge = np.zeros(shape, dtype=bool)
    for axis in (0, 1):
        first, second = _pairs(fine, axis)
        # The rim of what was judged is no line.
        step = (first != second) & (first > 0) & (second > 0)
        low, high = _pairs(edge, axis)
        low |= step
        high |= step
    away = ndimage.distance_transform_edt(~edge) + 0.5
    return np.asarray(away / _FINE)


def _ridge(image: FloatArray) -> FloatArray:
    """Largest curvature: high along the middle of dark lines, whatever the grains beside them."""
    yy, yx, xx = (ndimage.gaussian_filter(image, _RIDGE, order=order) for order in ((2, 0), (1, 1), (0, 2)))
    return np.maximum((yy + xx) / 2.0 + np.hypot((yy - xx) / 2.0, yx), 0.0)


def _drawn_again(labels: NDArray[np.int32], height: FloatArray) -> NDArray[np.int32]:
    """Lines between the insides of the same grains: those of basins of noise, since merged, went through grains."""
    away = ndimage.distance_transform_edt(_same_as_neighbours(labels))
    inside = (away > _INSIDE) & (labels > 0)
    # A grain that is narrower keeps its middle.
    middle = ndimage.maximum_position(away, labels, np.arange(1, labels.max() + 1))
    inside[tuple(np.array(middle, dtype=int).T)] = True
    return np.asarray(watershed(height, np.where(inside, labels, 0), mask=labels > 0), dtype=np.int32)


def _without_false_lines(
    labels: NDArray[np.int32], mean: FloatArray, noise: FloatArray, least: float, share: float
) -> NDArray[np.int32]:
    """Merge grains without a dark line between them: of so many standard errors, and that share of the usual depth."""
    while True:
        pairs, depth, error = line_depths(labels, mean, noise)
        if not len(pairs):
            return labels
        real = depth > least * error
        usual = float(np.median(depth[real])) if real.any() else 0.0
        false = ~(real & (depth > share * usual))
        if not false.any():
            return labels
        # The weakest lines go first, each grain once: then the rest is judged anew.
        parent = np.arange(labels.max() + 1)
        taken: set[int] = set()
        for k in np.argsort(depth):
            a, b = pairs[k].tolist()
            if false[k] and not {a, b} & taken:
                parent[b] = a
                taken |= {a, b}
        _, relabelled = np.unique(parent[labels], return_inverse=True)
        offset = 0 if (labels == 0).any() else 1
        labels = (relabelled.reshape(labels.shape) + offset).astype(np.int32)


def line_depths(
    labels: NDArray[np.int32], mean: FloatArray, noise: FloatArray
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Neighbouring grains, and by what share the line between them is darker than they are, with its error."""
    inner_distance = ndimage.distance_transform_edt(_same_as_neighbours(labels))
    count = int(labels.max()) + 1
    inside = (inner_distance > 2.0 * _REACH) & (labels > 0)
    if not inside.any():
        inside = labels > 0
    size = np.bincount(labels[inside], minlength=count)
    total = np.bincount(labels[inside], mean[inside], minlength=count)
    whole = np.bincount(labels.ravel(), mean.ravel(), minlength=count) / np.maximum(
        np.bincount(labels.ravel(), minlength=count), 1
    )
    level = np.where(size > 5, total / np.maximum(size, 1), whole)
    ratio = mean / level[labels]
    keys, values, errors = [], [], []
    for axis in (0, 1):
        a, b = _pairs(labels, axis)
        first, second = np.minimum(a, b), np.maximum(a, b)
        edge = (first != second) & (first > 0)
        r0, r1 = _pairs(ratio, axis)
        n0, n1 = _pairs(noise / level[labels], axis)
        keys.append(first[edge].astype(np.int64) * count + second[edge])
        values.append(1.0 - (r0 + r1)[edge] / 2.0)
        errors.append(np.square((n0 + n1)[edge] / 2.0))
    key, number = np.unique(np.concatenate(keys), return_inverse=True)
    points = np.bincount(number)
    depth = np.bincount(number, np.concatenate(values)) / points
    # Pixels that are counted along both axes share their noise: half of the points count.
    error = np.sqrt(np.bincount(number, np.concatenate(errors)) / points / np.maximum(points / 2.0, 1.0))
    return np.stack([key // count, key % count], axis=1), depth, error


def _pairs(values: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return (values[:-1], values[1:]) if axis == 0 else (values[:, :-1], values[:, 1:])


def _same_as_neighbours(labels: NDArray[np.int32]) -> BoolArray:
    return ndimage.maximum_filter(labels, 3) == ndimage.minimum_filter(labels, 3)
