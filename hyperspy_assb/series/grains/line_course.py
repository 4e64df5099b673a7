"""Where lines between grains run, finer than the pixels, and how far each place is from the nearest.

A line is where the smoothed shares of two labels are equal. Where the image tells more, points are moved across the
line to where a dark line and a step of brightness fit best what is averaged along it: dividing an image puts the middle
of a line into one of two pixels, which makes boundaries look deeper at the middle of what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from hyperspy_assb.series.frame_series import FloatArray

SMOOTH = 2.0
"""Standard deviation in pixels over which the course of a line is smoothed."""
FINE = 3
"""Points for each pixel along which lines are drawn."""
_ALONG = 3.0
"""Standard deviation in pixels along a line over which it is averaged where it is placed."""
_ACROSS = np.arange(-4.0, 4.01, 0.25)
"""Pixels across a line where it is looked at."""
_WEIGHT = 2.5
"""Standard deviation of the weight of these: what lies further is another line's."""
_PROFILE = 1.5
"""Standard deviation of the dark line that is fitted; a symmetric one of another width has the same middle."""
_MOVES = np.arange(-1.5, 1.51, 0.125)
"""Pixels by which points may be moved."""
_USUAL_MOVE = 1.0
"""Pixels by which lines of labels lie beside those of the image."""
_PLACED_TWICE = 2
"""After a line has moved, its normals have turned."""


@dataclass(frozen=True, eq=False)
class _Points:
    """Points of lines in pixels, and the number of the line of each."""

    place: FloatArray
    line: NDArray[np.int64]


def line_distances(labels: NDArray[np.int32], image: FloatArray | None = None) -> FloatArray:
    """Pixels from each point of the finer grid to the nearest line between two labels above 0.

    Parameters
    ----------
    labels
        Shape (Y, X).
    image
        Tells where lines are darkest; None: they are where the labels say.

    Returns
    -------
    numpy.ndarray
        Shape (3 Y, 3 X); infinite if there is no line.
    """
    points = _points_of_labels(labels)
    shape = tuple(size * FINE for size in labels.shape)
    if not len(points.line):
        return np.full(shape, np.inf)
    near = _neighbours(points)
    normal = _normals(points, near)
    if image is not None:
        for _ in range(_PLACED_TWICE):
            points = _moved(points, normal, near, image)
            near = _neighbours(points)
            normal = _normals(points, near)
    return _distances(points, normal, shape)


def distance_at(lines: FloatArray, shift: FloatArray) -> FloatArray:
    """Distance of each pixel where the content has moved by rows and columns, from the finer grid."""
    rows, columns = (
        (np.arange(size // FINE) - by) * FINE + FINE // 2 for size, by in zip(lines.shape, shift.tolist(), strict=True)
    )
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(lines, at, order=1, mode="nearest"))


def _points_of_labels(labels: NDArray[np.int32]) -> _Points:
    """Points where the shares of two labels are equal, of what both have most of."""
    shape = tuple(size * FINE for size in labels.shape)
    best, second = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
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
        drawn = ndimage.zoom(share, FINE, order=1, mode="nearest", grid_mode=True)
        target = tuple(slice(s.start * FINE, s.stop * FINE) for s in wide)
        better = drawn > best[target]
        second[target] = np.where(better, best[target], np.maximum(second[target], drawn))
        best[target][better] = drawn[better]
        fine[target][better] = number
    lead = best - second
    places, lines = [], []
    count = int(labels.max(initial=0)) + 1
    for axis in (0, 1):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        # The rim of what was judged is no line.
        at = np.argwhere((fine[low] != fine[high]) & (fine[low] > 0) & (fine[high] > 0))
        first, last = fine[low][tuple(at.T)], fine[high][tuple(at.T)]
        ahead, behind = lead[low][tuple(at.T)], lead[high][tuple(at.T)]
        place = at.astype(np.float64)
        place[:, axis] += ahead / np.maximum(ahead + behind, 1e-9)
        places.append((place - FINE // 2) / FINE)
        lines.append(np.minimum(first, last).astype(np.int64) * count + np.maximum(first, last))
    return _Points(np.concatenate(places), np.unique(np.concatenate(lines), return_inverse=True)[1])


def _neighbours(points: _Points) -> sparse.csr_array:
    """Weights of the points of the same line near each point; of each they add to 1."""
    apart = np.column_stack([points.place, points.line * 100.0 * _ALONG])
    tree = cKDTree(apart)
    pairs = tree.query_pairs(3.0 * _ALONG, output_type="ndarray")
    size = len(apart)
    weight = np.exp(-0.5 * np.square(apart[pairs[:, 0]] - apart[pairs[:, 1]]).sum(axis=1) / _ALONG**2)
    every = np.arange(size)
    rows, columns = np.concatenate([pairs[:, 0], pairs[:, 1], every]), np.concatenate([pairs[:, 1], pairs[:, 0], every])
    near = sparse.coo_array((np.concatenate([weight, weight, np.ones(size)]), (rows, columns)), shape=(size, size))
    near = near.tocsr()
    return sparse.csr_array(sparse.diags_array(1.0 / near.sum(axis=1)) @ near)


def _normals(points: _Points, near: sparse.csr_array) -> FloatArray:
    """Direction across the line at each point: that in which its neighbours scatter least."""
    y, x = points.place.T
    my, mx = near @ y, near @ x
    yy, xx, yx = near @ (y * y) - my * my, near @ (x * x) - mx * mx, near @ (y * x) - my * mx
    along = 0.5 * np.arctan2(2.0 * yx, xx - yy)
    return np.stack([np.cos(along), -np.sin(along)], axis=1)


def _moved(points: _Points, normal: FloatArray, near: sparse.csr_array, image: FloatArray) -> _Points:
    """Points moved across their line to where it is darkest, whatever the brightness on either side."""
    # Neighbours may look the other way across: the profile of one is turned round then.
    sign = np.where(np.sum(normal * _usual_normal(points, normal), axis=1) < 0.0, -1.0, 1.0)
    normal = normal * sign[:, None]
    at = points.place[:, None, :] + _ACROSS[None, :, None] * normal[:, None, :]
    profile = near @ ndimage.map_coordinates(image, at.transpose(2, 0, 1), order=1, mode="nearest")
    weight = np.exp(-0.5 * np.square(_ACROSS / _WEIGHT))
    explained = np.empty((len(_MOVES), len(profile)))
    weighted = profile * weight
    for number, move in enumerate(_MOVES):
        x = (_ACROSS - move) / _PROFILE
        shapes = np.stack([np.ones_like(x), np.tanh(x), np.exp(-0.5 * x * x)], axis=1) * weight[:, None]
        base = np.linalg.qr(shapes[:, :2])[0]
        line = shapes[:, 2] - base @ (base.T @ shapes[:, 2])
        line /= np.linalg.norm(line)
        dark = np.minimum(weighted @ line, 0.0)
        explained[number] = np.square(weighted @ base).sum(axis=1) + np.square(dark)
    # Where the image says little, the labels are believed.
    noise = np.maximum(np.square(weighted).sum(axis=1) - explained.max(axis=0), 1e-9) / np.square(weight).sum()
    explained -= noise * np.square(_MOVES / _USUAL_MOVE)[:, None]
    best = np.clip(explained.argmax(axis=0), 1, len(_MOVES) - 2)
    low, middle, high = (explained[best + k, np.arange(len(profile))] for k in (-1, 0, 1))
    bend = low - 2.0 * middle + high
    step = np.where(bend < 0.0, 0.5 * (low - high) / np.where(bend < 0.0, bend, 1.0), 0.0)
    move = _MOVES[best] + np.clip(step, -1.0, 1.0) * (_MOVES[1] - _MOVES[0])
    return _Points(points.place + (near @ move)[:, None] * normal, points.line)


def _usual_normal(points: _Points, normal: FloatArray) -> FloatArray:
    """One direction for each line, to which the normals of its points are turned."""
    size = int(points.line.max()) + 1
    # The sum of doubled angles does not depend on which way each looks.
    doubled = np.arctan2(normal[:, 0], normal[:, 1]) * 2.0
    angle = 0.5 * np.arctan2(
        np.bincount(points.line, np.sin(doubled), size), np.bincount(points.line, np.cos(doubled), size)
    )
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)[points.line]


def _distances(points: _Points, normal: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Distance to the line through the nearest point, of points that lie closer together than a pixel."""
    at = np.clip(np.round(points.place * FINE + FINE // 2).astype(np.int64), 0, np.array(shape) - 1)
    number = np.full(shape, -1, dtype=np.int32)
    number[tuple(at.T)] = np.arange(len(at))
    away, nearest = ndimage.distance_transform_edt(number < 0, return_indices=True)
    index = number[tuple(nearest)]
    grid = np.indices(shape, dtype=np.float32)
    across = sum(((grid[a] - FINE // 2) / FINE - points.place[:, a][index]) * normal[:, a][index] for a in (0, 1))
    # Beside the end of a line, which is rare, the straight line goes on past it.
    return np.asarray(np.maximum(np.abs(across), away / FINE - 1.0))
