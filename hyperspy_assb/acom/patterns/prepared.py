"""Patterns as both the matching and the refinement want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.polar import (
    PolarGrid,
    default_smoothing,
    flatten,
    gaussian,
    pixel_offsets,
    unwrap_block,
)
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


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
    finite
        Whether all counts are, shape (B,).
    """

    patterns: NDArray[np.float32]
    images: NDArray[np.float32]
    flat: NDArray[np.float32]
    means: NDArray[np.float32]
    power: FloatArray
    centres: FloatArray
    finite: NDArray[np.bool_]


class Preparation:
    """Smoothing and unwrapping of patterns of one geometry."""

    def __init__(self, geometry: PatternGeometry, grid: PolarGrid, smoothing: float | None) -> None:
        self.geometry = geometry
        self.grid = grid
        self.sigma = default_smoothing(geometry, grid) if smoothing is None else smoothing
        self._weights = gaussian(self.sigma)
        self._offsets = pixel_offsets(geometry, grid)

    def prepare(self, patterns: NDArray[Any], centres: FloatArray) -> PreparedBlock:
        """Smooth, unwrap and flatten patterns that were checked before, shape (B, ny, nx)."""
        count = len(patterns)
        # One type for all: kernels are compiled once.
        patterns = patterns.astype(np.float32)
        images = np.empty(patterns.shape, dtype=np.float32)
        flat = np.empty((count, self.grid.radii, self.grid.azimuths), dtype=np.float32)
        finite = np.ones(count, dtype=np.bool_)
        unwrap_block(patterns, centres, self._offsets, self._weights, images, flat, finite)
        means = np.empty((count, self.grid.radii), dtype=np.float32)
        power = np.array([flatten(flat[b], flat[b], means[b]) for b in range(count)])
        return PreparedBlock(patterns, images, flat, means, power, centres, finite)
