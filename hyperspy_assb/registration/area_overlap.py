"""Maps carried from one frame into another by the area that pixels share; nothing is interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from hyperspy_assb.registration.affine import Affine, BoolArray, FloatArray, ImageFrame


@dataclass(frozen=True, eq=False)
class AreaOverlap:
    """Areas that pixels of a target frame share with those of a source frame.

    Parameters
    ----------
    area
        In areas of a source pixel, shape (target pixels, source pixels).
    whole
        Area of each target pixel in areas of a source pixel, shape (rows, columns).
    source_shape
        Rows and columns of the source.
    """

    area: sparse.csr_matrix
    whole: FloatArray
    source_shape: tuple[int, int]

    @property
    def covered(self) -> FloatArray:
        """Share of each target pixel that the source covers, 0 to 1."""
        found = np.asarray(self.area.sum(axis=1)).reshape(self.whole.shape) / self.whole
        return np.clip(found, 0.0, 1.0)

    def mean(self, values: FloatArray, *, least: float = 0.5) -> FloatArray:
        """Means by area of what is finite; NaN where less than ``least`` of a target pixel is covered by it."""
        total, weight = self._sums(values)
        return np.where(weight >= least * self.whole, total / np.maximum(weight, 1e-12), np.nan)

    def mean_std(self, values: FloatArray, std: FloatArray, *, least: float = 0.5) -> FloatArray:
        """Standard errors of :meth:`mean`, of source pixels with independent errors."""
        there = (np.isfinite(values) & np.isfinite(std)).ravel()
        squares = self.area.multiply(self.area) @ np.where(there, std.ravel(), 0.0) ** 2
        _, weight = self._sums(np.where(there.reshape(values.shape), values, np.nan))
        found = np.sqrt(squares.reshape(self.whole.shape)) / np.maximum(weight, 1e-12)
        return np.where(weight >= least * self.whole, found, np.nan)

    def counts(self, counts: FloatArray, *, least: float = 0.99) -> FloatArray:
        """Counts, each spread over the area of its pixel; NaN where the source does not cover a target pixel."""
        total = (self.area @ np.where(np.isfinite(counts), counts, 0.0).ravel()).reshape(self.whole.shape)
        _, weight = self._sums(counts)
        return np.where(weight >= least * self.whole, total, np.nan)

    def majority(self, labels: NDArray[np.int64], *, least: float = 0.5, missing: int = -1) -> NDArray[np.int64]:
        """The label with the largest share, where that is more than ``least`` of the whole pixel; else ``missing``."""
        best = np.zeros(self.whole.size)
        found = np.full(self.whole.size, missing, dtype=np.int64)
        flat = labels.ravel()
        for label in np.unique(flat):
            share = self.area @ (flat == label).astype(float)
            better = share > best
            best = np.where(better, share, best)
            found = np.where(better, label, found)
        enough = best > least * self.whole.ravel()
        return np.where(enough, found, missing).reshape(self.whole.shape)

    def _sums(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        there = np.isfinite(values).ravel()
        total = self.area @ np.where(there, values.ravel(), 0.0)
        weight = self.area @ there.astype(float)
        return total.reshape(self.whole.shape), weight.reshape(self.whole.shape)


def overlap_of(target: ImageFrame, source: ImageFrame, transform: Affine) -> AreaOverlap:
    """Areas shared by all pixels of two frames.

    Parameters
    ----------
    target, source
        The frames.
    transform
        From positions of the target to those of the source.
    """
    middles = source.indices(transform(target.positions().reshape(-1, 2)))
    sides = (transform.matrix @ np.diag(target.pixel)) / np.array(source.pixel)[:, np.newaxis]
    row, column, area = _clip_all(middles, np.ascontiguousarray(sides), source.shape[0], source.shape[1])
    shape = len(middles), source.shape[0] * source.shape[1]
    matrix = sparse.csr_matrix((area, (row, column)), shape)
    return AreaOverlap(matrix, np.full(target.shape, abs(float(np.linalg.det(sides)))), source.shape)


def away_from_others(labels: NDArray[np.int64], frame: ImageFrame) -> FloatArray:
    """Distance in nm of each pixel to the nearest place where another label begins; infinite if there is none."""
    found = np.full(labels.shape, np.inf)
    half = 0.5 * min(frame.pixel)
    for label in np.unique(labels):
        inside = labels == label
        if not inside.all():
            distance = ndimage.distance_transform_edt(inside, sampling=frame.pixel) - half
            found = np.where(inside, distance, found)
    return found


def within_margin(mask: BoolArray, frame: ImageFrame, margin: float) -> BoolArray:
    """Pixels of a mask that lie further than ``margin`` nm inside."""
    return np.asarray(mask & (away_from_others(mask.astype(np.int64), frame) > margin))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clip_all(middles, sides, rows, columns):  # type: ignore[no-untyped-def]
    """Pairs of pixels and their areas: each target pixel is a parallelogram, cut by the unit cells of the source."""
    count = 0
    room = 4 * len(middles) + 16
    row, column, area = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
    reach0 = 0.5 * (abs(sides[0, 0]) + abs(sides[0, 1]))
    reach1 = 0.5 * (abs(sides[1, 0]) + abs(sides[1, 1]))
    polygon, other = np.empty((12, 2)), np.empty((12, 2))
    for k in range(len(middles)):
        y, x = middles[k, 0], middles[k, 1]
        for i in range(max(int(np.floor(y - reach0 + 0.5)), 0), min(int(np.floor(y + reach0 + 0.5)) + 1, rows)):
            for j in range(max(int(np.floor(x - reach1 + 0.5)), 0), min(int(np.floor(x + reach1 + 0.5)) + 1, columns)):
                size = 4
                for c in range(4):
                    u = 0.5 if c == 1 or c == 2 else -0.5
                    v = 0.5 if c >= 2 else -0.5
                    # Relative to the middle of the cell.
                    polygon[c, 0] = y - i + sides[0, 0] * u + sides[0, 1] * v
                    polygon[c, 1] = x - j + sides[1, 0] * u + sides[1, 1] * v
                for axis in range(2):
                    for sign in (-1.0, 1.0):
                        kept = 0
                        for c in range(size):
                            d = (c + 1) % size
                            a = 0.5 - sign * polygon[c, axis]
                            b = 0.5 - sign * polygon[d, axis]
                            if a >= 0.0:
                                other[kept, 0], other[kept, 1] = polygon[c, 0], polygon[c, 1]
                                kept += 1
                            if (a > 0.0 and b < 0.0) or (a < 0.0 and b > 0.0):
                                t = a / (a - b)
                                other[kept, 0] = polygon[c, 0] + t * (polygon[d, 0] - polygon[c, 0])
                                other[kept, 1] = polygon[c, 1] + t * (polygon[d, 1] - polygon[c, 1])
                                kept += 1
                        size = kept
                        polygon, other = other, polygon
                        if size == 0:
                            break
                    if size == 0:
                        break
                twice = 0.0
                for c in range(size):
                    d = (c + 1) % size
                    twice += polygon[c, 0] * polygon[d, 1] - polygon[d, 0] * polygon[c, 1]
                shared = 0.5 * abs(twice)
                if shared > 1e-9:
                    if count == room:
                        room *= 2
                        row, column, area = _grown(row, room), _grown(column, room), _grown(area, room)
                    row[count], column[count], area[count] = k, i * columns + j, shared
                    count += 1
    return row[:count], column[:count], area[:count]


@numba.njit(cache=True)
def _grown(values, room):  # type: ignore[no-untyped-def]
    larger = np.empty(room, values.dtype)
    larger[: len(values)] = values
    return larger
