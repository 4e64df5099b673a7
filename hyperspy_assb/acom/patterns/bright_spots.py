"""Spots of a pattern that stand out of the noise of counts, found in the time that an index of it takes."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.polar import PolarGrid, gaussian, smooth
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

FAINTEST = 3.0
"""Standard deviations by which a spot stands out at least. A pattern of noise has one such maximum or two."""
MOST_SPOTS = 64
"""Of a pattern, the most significant."""
TRIM = 3.0
"""Standard deviations above the level of a ring from which on pixels are spots."""


class RingFrame(NamedTuple):
    """Numbers that kernels need of a polar grid: from pixels off the centre to rings.

    Parameters
    ----------
    m00, m01, m10, m11
        Matrix from pixels to 1/Å.
    min_radius, radial_step
        1/Å.
    """

    m00: float
    m01: float
    m10: float
    m11: float
    min_radius: float
    radial_step: float


class SpotFinder:
    """Finds the spots of patterns of one geometry.

    Parameters
    ----------
    geometry
        Scale and ellipse.
    grid
        Polar grid: its rings are where diffuse intensity is the same.
    sigma
        Standard deviation of a spot in pixels, with which patterns are smoothed: the best filter against noise.
    gain
        Variance of the counts of a pixel over their mean: 1 for electrons that are counted.
    """

    def __init__(self, geometry: PatternGeometry, grid: PolarGrid, sigma: float, *, gain: float = 1.0) -> None:
        matrix = geometry.scale * geometry.straightening
        (m00, m01), (m10, m11) = matrix.tolist()
        self.frame = RingFrame(m00, m01, m10, m11, grid.min_radius, grid.radial_step)
        self.sigma = float(sigma)
        self.radii = grid.radii
        # What a Gaussian of unit sum averages over: so many pixels, by their variance.
        self.area = 4.0 * np.pi * self.sigma**2 / gain
        self.reach = max(2, round(1.5 * self.sigma))
        self._weights = gaussian(self.sigma)

    def smoothed(self, pattern: NDArray[np.float32], image: NDArray[np.float32]) -> None:
        """The smoothed pattern into `image`."""
        smooth(pattern, self._weights, image)

    def find(self, image: NDArray[np.float32], cx: float, cy: float, level: FloatArray, out: FloatArray) -> int:
        """Spots of a smoothed pattern.

        Parameters
        ----------
        image
            Of :meth:`smoothed`.
        cx, cy
            Column and row of the direct beam.
        level
            Overwritten with the diffuse counts of each ring, shape (R,).
        out
            Overwritten, the most significant spot first: column and row from the direct beam in pixels, significance in
            standard deviations, electrons in the spot; shape (M, 4).

        Returns
        -------
        count
            How many there are.
        """
        ring_levels(image, cx, cy, self.frame, self.area, level)
        return int(brightest_spots(image, cx, cy, self.frame, self.area, level, FAINTEST, self.reach, out))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def significance(value: float, level: float, area: float) -> float:
    """Standard deviations by which a mean of so many pixels of counts is above a level (Anscombe)."""
    return 2.0 * (np.sqrt(max(value * area, 0.0) + 0.375) - np.sqrt(max(level * area, 0.0) + 0.375))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def standing_out(level: float, area: float, least: float) -> float:
    """The value that stands out of a level by so many standard deviations: see :func:`significance`."""
    root = 0.5 * least + np.sqrt(max(level * area, 0.0) + 0.375)
    return (root * root - 0.375) / area


@numba.njit(cache=True, nogil=True, error_model="numpy")
def level_at(level: FloatArray, x: float, y: float, frame: RingFrame) -> float:
    """Diffuse counts at a place in pixels from the direct beam; NaN beyond the rings."""
    kx, ky = frame.m00 * x + frame.m01 * y, frame.m10 * x + frame.m11 * y
    place = (np.sqrt(kx * kx + ky * ky) - frame.min_radius) / frame.radial_step
    if place < 0.0 or place > len(level) - 1.0:
        return np.nan
    k = min(int(place), len(level) - 2)
    return level[k] + (place - k) * (level[k + 1] - level[k])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def ring_levels(
    image: NDArray[np.float32], cx: float, cy: float, frame: RingFrame, area: float, level: FloatArray
) -> None:
    """Mean of each ring without what stands out of it, by every second row and column, into `level` (R,)."""
    ny, nx = image.shape
    radii = len(level)
    # Neighbours add to sums of their own, so that none waits for the one before; the last one is beyond the rings.
    lanes, width = 4, radii + 1
    total, number = np.zeros(lanes * width), np.zeros(lanes * width)
    limit = np.full(lanes * width, np.inf)
    wide = (nx + 1) // 2
    ring = np.empty((ny + 1) // 2 * wide, dtype=np.int32)
    values = np.empty(len(ring), dtype=np.float32)
    m00, m01 = np.float32(frame.m00), np.float32(frame.m01)
    m10, m11 = np.float32(frame.m10), np.float32(frame.m11)
    least, step = np.float32(frame.min_radius), np.float32(1.0 / frame.radial_step)
    for j in range((ny + 1) // 2):
        y = np.float32(2 * j - cy)
        for i in range(wide):
            x = np.float32(2 * i - cx)
            kx, ky = m00 * x + m01 * y, m10 * x + m11 * y
            place = (np.sqrt(kx * kx + ky * ky) - least) * step + np.float32(0.5)
            inside = (place > np.float32(0.0)) & (place < np.float32(radii))
            ring[j * wide + i] = (np.int32(place) if inside else np.int32(radii)) + np.int32((i & 3) * width)
            values[j * wide + i] = image[2 * j, 2 * i]
    for p in range(len(ring)):
        k = ring[p]
        total[k] += values[p]
        number[k] += 1.0
    gone = np.zeros(len(ring), dtype=np.bool_)
    for turn in range(4):
        # Levels, and limits with them, only fall: what stands out once is out for good.
        for p in range(len(ring) if turn else 0):
            if values[p] > limit[ring[p]] and not gone[p]:
                gone[p] = True
                total[ring[p]] -= values[p]
                number[ring[p]] -= 1.0
        last = 0.0
        for k in range(radii):
            count = number[k] + number[k + width] + number[k + 2 * width] + number[k + 3 * width]
            # A ring outside of the frame: as the one before it.
            if count > 0.0:
                last = (total[k] + total[k + width] + total[k + 2 * width] + total[k + 3 * width]) / count
            level[k] = last
            limit[k::width] = standing_out(last, area, TRIM)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def brightest_spots(
    image: NDArray[np.float32],
    cx: float,
    cy: float,
    frame: RingFrame,
    area: float,
    level: FloatArray,
    least: float,
    reach: int,
    out: FloatArray,
) -> int:
    """Local maxima that stand out by `least` standard deviations, see :meth:`SpotFinder.find`."""
    ny, nx = image.shape
    most, count = out.shape[0], 0
    lowest = np.float32(standing_out(level.min(), area, 0.99 * least))
    top = np.zeros((ny * nx + 7) // 8 * 8, dtype=np.uint8)
    flat, one, wide = image.ravel(), np.uint64(1), np.uint64(nx)
    # All pixels in whole vectors: few are left, and those are looked for eight at a time.
    for p in range(nx + 1, (ny - 1) * nx - 1):
        a = np.uint64(p)
        v = flat[a]
        highest = (v > flat[a - one]) & (v >= flat[a + one]) & (v > flat[a - wide]) & (v >= flat[a + wide])
        top[a] = np.uint8(1) if highest & (v >= lowest) else np.uint8(0)
    eights = top.view(np.uint64)
    for q in range(len(eights)):
        if eights[q] == np.uint64(0):
            continue
        for p in range(8 * q, 8 * q + 8):
            j, i = p // nx, p % nx
            if not top[p] or j < reach or i < reach or j >= ny - reach or i >= nx - reach:
                continue
            v = image[j, i]
            ground = level_at(level, i - cx, j - cy, frame)
            if not ground >= 0.0:
                continue
            z = significance(v, ground, area)
            if z < least or (count == most and z <= out[most - 1, 2]):
                continue
            alone = True
            for jj in range(-reach, reach + 1):
                for ii in range(-reach, reach + 1):
                    if image[j + jj, i + ii] > v:
                        alone = False
            if not alone:
                continue
            count = min(count + 1, most)
            p = count - 1
            while p > 0 and out[p - 1, 2] < z:
                out[p] = out[p - 1]
                p -= 1
            bend_x = 2.0 * v - image[j, i + 1] - image[j, i - 1]
            bend_y = 2.0 * v - image[j + 1, i] - image[j - 1, i]
            dx = 0.5 * (image[j, i + 1] - image[j, i - 1]) / bend_x if bend_x > 0.0 else 0.0
            dy = 0.5 * (image[j + 1, i] - image[j - 1, i]) / bend_y if bend_y > 0.0 else 0.0
            out[p, 0] = i + min(max(dx, -0.5), 0.5) - cx
            out[p, 1] = j + min(max(dy, -0.5), 0.5) - cy
            out[p, 2] = z
            out[p, 3] = (v - ground) * area
    return count
