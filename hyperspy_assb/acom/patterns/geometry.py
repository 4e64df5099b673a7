"""Where reciprocal space lies on the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


@dataclass(frozen=True)
class PatternGeometry:
    """How a pattern is scaled, centred and distorted.

    The pixel (column, row) lies at the reciprocal vector ``scale * S @ (column - centre[0], row - centre[1])`` in 1/Å
    on the axes of the detector, where S is symmetric with determinant 1: it squeezes by ``(1 + e) ** 0.5`` along the
    azimuth of the long axis of what should be circles, and stretches as much across it.

    Parameters
    ----------
    scale
        1/Å per pixel.
    centre
        Column and row of the direct beam, in pixels; each pattern may have its own besides.
    ellipticity
        Ratio of the long to the short axis of a distorted circle, minus 1.
    ellipse_azimuth
        Azimuth in radians of the long axis, from +x (columns) towards +y (rows).
    scan_rotation
        Azimuth in radians of the scan's x axis on the detector.
    mirrored
        Whether the camera shows patterns mirrored: rows are counted upwards.
    scale_std, centre_std, ellipticity_std
        Standard errors, NaN where unknown. The relative error of the scale is ``scale_std / scale``.
    """

    scale: float
    centre: tuple[float, float]
    ellipticity: float = 0.0
    ellipse_azimuth: float = 0.0
    scan_rotation: float = 0.0
    mirrored: bool = False
    scale_std: float = float("nan")
    centre_std: tuple[float, float] = (float("nan"), float("nan"))
    ellipticity_std: float = float("nan")

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0.0):
            raise AssbValueError(f"scale: 1/Å per pixel, above 0, not {self.scale}.")
        if not np.isfinite(self.centre).all():
            raise AssbValueError(f"centre: column and row in pixels, not {self.centre}.")
        if not 0.0 <= self.ellipticity < 1.0:
            raise AssbValueError(f"ellipticity: long over short axis less 1, from 0 to 1, not {self.ellipticity}.")

    @property
    def straightening(self) -> FloatArray:
        """S, shape (2, 2)."""
        along = np.array([np.cos(self.ellipse_azimuth), np.sin(self.ellipse_azimuth)])
        across = np.array([-along[1], along[0]])
        root = np.sqrt(1.0 + self.ellipticity)
        return np.outer(along, along) / root + np.outer(across, across) * root

    def to_reciprocal(self, pixels: FloatArray) -> FloatArray:
        """Reciprocal vectors in 1/Å of places (column, row) in pixels, shape (..., 2)."""
        vectors = (np.asarray(pixels, dtype=float) - self.centre) @ (self.scale * self.straightening)
        return vectors * ([1.0, -1.0] if self.mirrored else 1.0)

    def to_pixels(self, vectors: FloatArray) -> FloatArray:
        """Places (column, row) in pixels of reciprocal vectors in 1/Å, shape (..., 2)."""
        vectors = np.asarray(vectors, dtype=float) * ([1.0, -1.0] if self.mirrored else 1.0)
        return vectors @ np.linalg.inv(self.scale * self.straightening) + self.centre

    def centres(self, count: int) -> FloatArray:
        """The same column and row of the direct beam for each of some patterns, shape (count, 2)."""
        return np.tile(np.asarray(self.centre, dtype=float), (count, 1))
