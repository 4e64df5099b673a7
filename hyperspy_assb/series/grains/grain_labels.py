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
from hyperspy_assb.series.grains.line_course import FINE, line_distances

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
_RIM = 8
"""Pixels from the rim of what is judged within which grains show too little of themselves to be told apart."""
_INSIDE = 6.0
"""Pixels from a line beyond which brightness is that of the grain."""


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
    told
        Pixels away from the rim of what was judged, where all lines are told: areas are shares of these.
    placed
        Whether the image told where lines run.
    """

    labels: NDArray[np.int32]
    distance: FloatArray
    level: FloatArray
    lines: FloatArray
    told: BoolArray
    placed: bool

    def levels(self) -> FloatArray:
        """Brightness of the inside of each grain by its number, shape (G + 1,); 0 of what was not judged."""
        found = np.zeros(int(self.labels.max()) + 1)
        known = np.isfinite(self.level)
        found[self.labels[known]] = self.level[known]
        return found

    def insides(self) -> NDArray[np.int32]:
        """Grains without what lies near their boundaries, whatever those do; 0 elsewhere."""
        return np.where(self.distance >= _INSIDE, self.labels, 0).astype(np.int32)


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
    labels = _numbered(labels)
    if labels.max() < 2:
        raise AssbValueError("No grains were found: no dark lines separate them.")
    return map_of_labels(labels, filled)


def map_of_labels(labels: NDArray[np.int32], mean: FloatArray, *, place: bool = True) -> GrainMap:
    """Distances and levels of labels, found here or by another program.

    Parameters
    ----------
    labels, mean
        Grains from 1, and the image they are of, shape (Y, X).
    place
        Whether lines are moved to where the image is darkest; else they are where the labels say.
    """
    lines = line_distances(labels, mean if place else None)
    fine = np.where(np.repeat(np.repeat(labels, FINE, axis=0), FINE, axis=1) > 0, lines, np.inf)
    distance = fine[FINE // 2 :: FINE, FINE // 2 :: FINE]
    level = np.full(labels.shape, np.nan)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = labels[box] == number
        away = distance[box]
        far = own & (away > 2.0 * _REACH)
        inner = far if far.sum() >= 10 else own & (away >= 0.8 * away[own].max())
        level[box][own] = mean[box][inner].mean()
    return GrainMap(labels, distance, level, lines, _away_from_rim(labels > 0), place)


def _away_from_rim(judged: BoolArray) -> BoolArray:
    """Pixels further from the rim; all, of a field that is all rim. Lines that were not labelled are no rim."""
    closed = np.pad(ndimage.binary_closing(np.pad(judged, 3), iterations=2)[3:-3, 3:-3], 1)
    told = judged & (ndimage.distance_transform_edt(closed)[1:-1, 1:-1] > _RIM)
    return np.asarray(told if told.any() else judged)


def _ridge(image: FloatArray) -> FloatArray:
    """Largest curvature: high along the middle of dark lines, whatever the grains beside them."""
    yy, yx, xx = (ndimage.gaussian_filter(image, _RIDGE, order=order) for order in ((2, 0), (1, 1), (0, 2)))
    return np.maximum((yy + xx) / 2.0 + np.hypot((yy - xx) / 2.0, yx), 0.0)


def _drawn_again(labels: NDArray[np.int32], height: FloatArray) -> NDArray[np.int32]:
    """Lines between the insides of the same grains: those of basins of noise, since merged, went through grains."""
    away = ndimage.distance_transform_edt(_same_as_neighbours(labels))
    inside = (away > _INSIDE) & (labels > 0)
    # A grain that is narrower keeps its middle; one that is no wider than a line is a piece of where lines meet.
    middle = np.array(ndimage.maximum_position(away, labels, np.arange(1, labels.max() + 1)), dtype=int).T
    middle = middle[:, away[tuple(middle)] > _REACH]
    inside[tuple(middle)] = True
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
        labels = _numbered(parent[labels])


def _numbered(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Labels from 1 without gaps; 0 stays."""
    _, relabelled = np.unique(labels, return_inverse=True)
    return (relabelled.reshape(labels.shape) + (0 if (labels == 0).any() else 1)).astype(np.int32)


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
