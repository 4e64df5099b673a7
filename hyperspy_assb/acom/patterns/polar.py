"""Patterns as matching and refinement want them: smoothed, in polar coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.patterns.direct_beam import checked_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

LEAST_SIGMA = 0.7
"""Standard deviation of a spot in pixels, at least, of a pattern that is not smoothed."""


@dataclass(frozen=True)
class PolarGrid:
    """Radii and azimuths at which patterns are sampled.

    Parameters
    ----------
    min_radius
        First radius in 1/Å: what lies closer to the direct beam is not looked at.
    radial_step
        1/Å.
    radii
        Number of radii.
    azimuths
        Number of azimuths, a multiple of 32, from 0 in the direction of the scan's x axis towards its y axis.
    """

    min_radius: float
    radial_step: float
    radii: int
    azimuths: int = 192

    def __post_init__(self) -> None:
        if self.azimuths < 32 or self.azimuths % 32:
            raise AssbValueError(f"azimuths: a multiple of 32, not {self.azimuths}.")
        if self.radii < 2 or not (self.radial_step > 0.0 and self.min_radius > 0.0):
            raise AssbValueError(
                f"min_radius, radial_step, radii: above 0 and at least 2 radii, not {self.min_radius}, "
                f"{self.radial_step}, {self.radii}."
            )

    @property
    def radius(self) -> FloatArray:
        """All radii in 1/Å."""
        return self.min_radius + self.radial_step * np.arange(self.radii, dtype=float)

    @property
    def azimuth(self) -> FloatArray:
        """All azimuths in radians."""
        return 2.0 * np.pi / self.azimuths * np.arange(self.azimuths, dtype=float)


def polar_grid(
    shape: tuple[int, int],
    geometry: PatternGeometry,
    *,
    max_radius: float,
    min_radius: float = 0.1,
    azimuths: int = 192,
    max_radii: int = 128,
) -> PolarGrid:
    """The grid for patterns of a shape: a radius for each pixel, as far as the frame reaches.

    Parameters
    ----------
    shape
        Rows and columns of a pattern.
    geometry
        Scale and centre.
    max_radius
        Of the templates, 1/Å.
    min_radius
        1/Å.
    azimuths, max_radii
        Numbers of azimuths, and of radii at most.

    Raises
    ------
    ValueError
        If the frame does not reach beyond `min_radius`.
    """
    ny, nx = shape
    corners = np.array([[0, 0], [0, ny - 1], [nx - 1, 0], [nx - 1, ny - 1]], dtype=float)
    reach = float(np.linalg.norm(geometry.to_reciprocal(corners), axis=1).max())
    last = min(max_radius, reach)
    if last <= min_radius + 2.0 * geometry.scale:
        raise AssbValueError(
            f"scale: patterns of {ny} x {nx} pixels of {geometry.scale:g} 1/Å reach to {reach:.3g} 1/Å, not beyond "
            f"min_radius = {min_radius:g} 1/Å; check the calibration (1/Å per pixel)."
        )
    step = max(geometry.scale, (last - min_radius) / (max_radii - 1))
    return PolarGrid(min_radius, step, int((last - min_radius) / step) + 1, azimuths)


def pixel_offsets(geometry: PatternGeometry, grid: PolarGrid) -> NDArray[np.float32]:
    """Places of all samples less the centre in pixels (column, row), shape (R, A, 2)."""
    azimuth = grid.azimuth + geometry.scan_rotation
    unit = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)
    vectors = grid.radius[:, None, None] * unit
    return np.ascontiguousarray(geometry.to_pixels(vectors) - geometry.centre, dtype=np.float32)


def unwrap(
    patterns: ArrayLike,
    geometry: PatternGeometry,
    grid: PolarGrid,
    *,
    centres: ArrayLike | None = None,
    smoothing: float | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Patterns in polar coordinates.

    Counts are averaged over a Gaussian the size of a cell of the grid, so that none is lost where cells are larger than
    pixels, and interpolated linearly.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    geometry
        Scale, centre, ellipse, scan rotation.
    grid
        Radii and azimuths.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2); that of the geometry if None.
    smoothing
        Standard deviation of the Gaussian in pixels; :func:`default_smoothing` if None.
    threads
        Number of threads; all cores if None.

    Returns
    -------
    polar
        Counts per pixel, shape (B, R, A); NaN outside of the frame.

    Raises
    ------
    ValueError
        If shapes do not go together, a centre lies outside of the frame, or counts are not finite.
    """
    patterns = checked_patterns(patterns)
    places = checked_centres(centres, geometry, patterns.shape)
    offsets = pixel_offsets(geometry, grid)
    weights = gaussian(default_smoothing(geometry, grid) if smoothing is None else smoothing)
    polar = np.empty((len(patterns), grid.radii, grid.azimuths), dtype=np.float32)

    def work(begin: int, end: int) -> None:
        part = slice(begin, end)
        image = np.empty((1, *patterns.shape[1:]), dtype=np.float32)
        block = patterns[part].astype(np.float32)
        finite = np.ones(len(block), dtype=np.bool_)
        unwrap_block(block, places[part], offsets, weights, image, polar[part], finite)
        _refuse_infinite(finite, begin)

    in_threads(work, len(patterns), threads)
    return polar


def default_smoothing(geometry: PatternGeometry, grid: PolarGrid) -> float:
    """Half the size of a cell of the grid in pixels where most spots lie, at two thirds of the largest radius."""
    arc = 2.0 * np.pi / grid.azimuths * grid.radius[-1] * 2.0 / 3.0
    return 0.5 * max(arc, grid.radial_step) / geometry.scale


def gaussian(sigma: float) -> NDArray[np.float32]:
    """Half of a Gaussian, from its middle outwards, an odd number of values, normalised to 1 with its other half."""
    if not (np.isfinite(sigma) and 0.0 <= sigma <= 50.0):
        raise AssbValueError(f"smoothing: from 0 to 50 pixels, not {sigma}.")
    if sigma < 0.1:
        return np.ones(1, dtype=np.float32)
    x = np.arange(2 * int(np.ceil(1.25 * sigma)) + 1)
    half = np.exp(-0.5 * (x / sigma) ** 2)
    return (half / (2.0 * half.sum() - half[0])).astype(np.float32)


def smooth(pattern: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]) -> bool:
    """Gaussian of a pattern into `out`, with the counts at the edges beyond them; returns whether all were finite.

    `weights` are those of :func:`gaussian`.
    """
    return bool(_smoother(len(weights) - 1)(pattern, weights, out))


@cache
def _smoother(reach: int) -> Callable[..., bool]:
    """Kernel of :func:`smooth` for so many pixels either way: a constant number, so that sums are whole vectors."""
    far = int(reach)

    @numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
    def kernel(pattern: NDArray[np.float32], weights: NDArray[np.float32], out: NDArray[np.float32]) -> bool:
        ny, nx = pattern.shape
        total = np.float32(0.0)
        padded = np.empty(nx + 2 * far, np.float32)
        rows = np.empty((ny + 2 * far, nx), np.float32)
        w = np.empty(far + 1, np.float32)
        for k in range(far + 1):
            w[k] = weights[k]
        # Unsigned indices, and no slices: see the search of templates.
        for j in range(ny):
            for i in range(nx):
                padded[far + i] = pattern[j, i]
                total += pattern[j, i] * np.float32(0.0)
            for k in range(far):
                padded[k] = pattern[j, 0]
                padded[far + nx + k] = pattern[j, nx - 1]
            for i in range(nx):
                a = np.uint64(i)
                sum_ = w[0] * padded[a + np.uint64(far)]
                for k in range(1, far + 1):
                    sum_ += w[k] * (padded[a + np.uint64(far - k)] + padded[a + np.uint64(far + k)])
                rows[far + j, i] = sum_
        for k in range(far):
            rows[k] = rows[far]
            rows[far + ny + k] = rows[far + ny - 1]
        flat, step = rows.ravel(), np.uint64(nx)
        for j in range(ny):
            begin = np.uint64(j) * step
            for i in range(nx):
                a = begin + np.uint64(i)
                sum_ = w[0] * flat[a + np.uint64(far) * step]
                for k in range(1, far + 1):
                    sum_ += w[k] * (flat[a + np.uint64(far - k) * step] + flat[a + np.uint64(far + k) * step])
                out[j, i] = sum_
        return total == np.float32(0.0)

    compiled: Any = kernel
    return compiled


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sample(
    image: NDArray[np.float32], x0: np.float32, y0: np.float32, offsets: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Linear interpolation of an image at all offsets from a centre, into `out` (R, A); NaN outside."""
    ny, nx = image.shape
    for r in range(out.shape[0]):
        for a in range(out.shape[1]):
            x = x0 + offsets[r, a, 0]
            y = y0 + offsets[r, a, 1]
            inside = (x >= 0.0) & (y >= 0.0) & (x <= nx - 1) & (y <= ny - 1)
            # No branch: whole vectors.
            i = min(max(int(x), 0), nx - 2)
            j = min(max(int(y), 0), ny - 2)
            u = x - np.float32(i)
            v = y - np.float32(j)
            above = image[j, i] + u * (image[j, i + 1] - image[j, i])
            below = image[j + 1, i] + u * (image[j + 1, i + 1] - image[j + 1, i])
            out[r, a] = above + v * (below - above) if inside else np.float32(np.nan)


def unwrap_block(
    patterns: NDArray[np.float32],
    centres: FloatArray,
    offsets: NDArray[np.float32],
    weights: NDArray[np.float32],
    images: NDArray[np.float32],
    polar: NDArray[np.float32],
    finite: NDArray[np.bool_],
) -> None:
    """Smooth and unwrap patterns, into `images` (B or 1, ny, nx) and `polar` (B, R, A)."""
    for b in range(len(patterns)):
        image = images[b if len(images) > 1 else 0]
        finite[b] = smooth(patterns[b], weights, image)
        sample(image, np.float32(centres[b, 0]), np.float32(centres[b, 1]), offsets, polar[b])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def flatten(polar: NDArray[np.float32], flat: NDArray[np.float32], means: NDArray[np.float32]) -> float:
    """Square root, mean of each radius (into `means`) removed, 0 outside of the frame; returns the sum of squares."""
    power = 0.0
    for r in range(polar.shape[0]):
        mean = np.float32(0.0)
        inside = 0
        for a in range(polar.shape[1]):
            value = polar[r, a]
            root = np.sqrt(max(value, np.float32(0.0))) if value == value else np.float32(0.0)
            mean += root
            inside += 1 if value == value else 0
        mean /= np.float32(max(inside, 1))
        means[r] = mean
        for a in range(polar.shape[1]):
            value = polar[r, a]
            off = np.sqrt(max(value, np.float32(0.0))) - mean if value == value else np.float32(0.0)
            flat[r, a] = off
            power += float(off * off)
    return power


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"}, error_model="numpy")
def exposure(
    patterns: NDArray[np.float32],
    centres: FloatArray,
    matrix: FloatArray,
    radius: float,
    level: float,
    counts: FloatArray,
    full: NDArray[np.int64],
) -> None:
    """Sum of the counts beyond a radius, and pixels there that reach a level, into `counts` and `full` (B,).

    `matrix` takes pixels from the centre to 1/Å.
    """
    a = matrix[0, 0] ** 2 + matrix[1, 0] ** 2
    b = 2.0 * (matrix[0, 0] * matrix[0, 1] + matrix[1, 0] * matrix[1, 1])
    c = matrix[0, 1] ** 2 + matrix[1, 1] ** 2
    nx = patterns.shape[2]
    for n in range(len(patterns)):
        total, number = 0.0, 0
        for j in range(patterns.shape[1]):
            y = j - centres[n, 1]
            # In a row, those within the radius follow one another.
            half = (b * y) ** 2 - 4.0 * a * (c * y * y - radius * radius)
            left = right = nx
            if half >= 0.0:
                middle, reach = centres[n, 0] - 0.5 * b * y / a, 0.5 * np.sqrt(half) / a
                left = int(min(max(np.ceil(middle - reach), 0.0), float(nx)))
                right = int(min(max(np.floor(middle + reach) + 1.0, float(left)), float(nx)))
            for part in range(2):
                row = patterns[n, j, right:] if part else patterns[n, j, :left]
                for i in range(len(row)):
                    total += row[i]
                    number += 1 if row[i] >= level else 0
        counts[n] = total
        full[n] = number


def _refuse_infinite(finite: NDArray[np.bool_], first: int) -> None:
    """Raise where a pattern holds NaN or infinity; `first` is the number of the first of them."""
    if not finite.all():
        raise AssbValueError(
            f"patterns: pattern {first + int(np.argmin(finite))} holds NaN or infinite counts; replace them, by 0 or "
            "by the mean of their neighbours."
        )


@dataclass(frozen=True)
class PreparedBlock:
    """A few patterns.

    Parameters
    ----------
    patterns
        Counts, shape (B, ny, nx).
    images
        Smoothed, shape (B, ny, nx).
    flat
        In polar coordinates, square root, mean of each radius removed, shape (B, R, A).
    means
        What was removed, shape (B, R).
    power
        Sum of the squares of `flat`, shape (B,).
    centres
        Column and row of the direct beam, shape (B, 2).
    """

    patterns: NDArray[np.float32]
    images: NDArray[np.float32]
    flat: NDArray[np.float32]
    means: NDArray[np.float32]
    power: FloatArray
    centres: FloatArray


class Preparation:
    """Smoothing and unwrapping of patterns of one geometry, with a Gaussian of `sigma` pixels.

    `spot_sigma` is the standard deviation of a spot in pixels: of a pattern that is not smoothed it is about a pixel.
    """

    def __init__(self, geometry: PatternGeometry, grid: PolarGrid, smoothing: float | None) -> None:
        self.geometry = geometry
        self.grid = grid
        self.sigma = default_smoothing(geometry, grid) if smoothing is None else smoothing
        self.spot_sigma = max(self.sigma, LEAST_SIGMA)
        self._weights = gaussian(self.sigma)
        self.offsets = pixel_offsets(geometry, grid)

    def prepare(self, patterns: NDArray[Any], centres: FloatArray, first: int = 0) -> PreparedBlock:
        """Smooth, unwrap and flatten patterns that were checked before, shape (B, ny, nx).

        Raises
        ------
        ValueError
            If a pattern holds NaN or infinity; the message counts patterns from `first`.
        """
        count = len(patterns)
        # One type for all: kernels are compiled once.
        patterns = patterns.astype(np.float32)
        images = np.empty(patterns.shape, dtype=np.float32)
        flat = np.empty((count, self.grid.radii, self.grid.azimuths), dtype=np.float32)
        finite = np.ones(count, dtype=np.bool_)
        unwrap_block(patterns, centres, self.offsets, self._weights, images, flat, finite)
        _refuse_infinite(finite, first)
        means = np.empty((count, self.grid.radii), dtype=np.float32)
        power = np.array([flatten(flat[b], flat[b], means[b]) for b in range(count)])
        return PreparedBlock(patterns, images, flat, means, power, centres)
