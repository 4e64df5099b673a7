"""Frames of images in nm, and affine transforms between them with their errors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ImageFrame:
    """Where the pixels of an image lie.

    Parameters
    ----------
    shape
        Rows and columns.
    pixel
        Height and width of a pixel in nm.
    origin
        Position of the middle of pixel (0, 0) in nm, down and right.
    """

    shape: tuple[int, int]
    pixel: tuple[float, float]
    origin: tuple[float, float] = (0.0, 0.0)

    @property
    def centre(self) -> FloatArray:
        """Middle of the field in nm."""
        return np.array(self.origin) + 0.5 * (np.array(self.shape) - 1.0) * np.array(self.pixel)

    @property
    def extent(self) -> FloatArray:
        """Height and width of the field in nm."""
        return np.array(self.shape, dtype=float) * np.array(self.pixel)

    @property
    def coarseness(self) -> float:
        """Side of a square of the area of a pixel, in nm."""
        return float(np.sqrt(self.pixel[0] * self.pixel[1]))

    def positions(self) -> FloatArray:
        """Middles of all pixels in nm, shape (rows, columns, 2)."""
        rows, columns = np.indices(self.shape)
        return np.stack([self.origin[0] + self.pixel[0] * rows, self.origin[1] + self.pixel[1] * columns], axis=-1)

    def indices(self, positions: FloatArray) -> FloatArray:
        """Row and column, fractions included, of positions in nm of shape (..., 2)."""
        return np.asarray((positions - np.array(self.origin)) / np.array(self.pixel))

    def binned(self, rows: int, columns: int) -> ImageFrame:
        """The frame in which blocks of so many rows and columns are one pixel; what is left over is cut."""
        return ImageFrame(
            (self.shape[0] // rows, self.shape[1] // columns),
            (self.pixel[0] * rows, self.pixel[1] * columns),
            (self.origin[0] + 0.5 * (rows - 1) * self.pixel[0], self.origin[1] + 0.5 * (columns - 1) * self.pixel[1]),
        )


@dataclass(frozen=True, eq=False)
class Affine:
    """A transform q = shift + matrix (p - centre) of positions in nm, (down, right).

    Parameters
    ----------
    matrix
        Shape (2, 2).
    shift
        Where ``centre`` comes to lie, in nm, shape (2,).
    centre
        Point about which the matrix acts, in nm, shape (2,).
    covariance
        Of (shift down, shift right, matrix row by row), shape (6, 6); zeros for a transform that is known.
    """

    matrix: FloatArray
    shift: FloatArray
    centre: FloatArray = field(default_factory=lambda: np.zeros(2))
    covariance: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))

    def __call__(self, positions: ArrayLike) -> FloatArray:
        """Positions in the other frame, of positions of shape (..., 2)."""
        return np.asarray((np.asarray(positions, dtype=float) - self.centre) @ self.matrix.T + self.shift)

    def position_covariance(self, positions: ArrayLike) -> FloatArray:
        """Covariance of where positions of shape (..., 2) come to lie, in nm², shape (..., 2, 2)."""
        slope = position_slopes(np.asarray(positions, dtype=float) - self.centre)
        return np.asarray(np.einsum("...ip,pq,...jq->...ij", slope, self.covariance, slope))

    def position_std(self, positions: ArrayLike) -> FloatArray:
        """Root mean square of the error of both coordinates together, in nm, shape (...)."""
        return np.sqrt(np.trace(self.position_covariance(positions), axis1=-2, axis2=-1))

    @property
    def inverse(self) -> Affine:
        """The transform back, with its covariance."""
        back = np.linalg.inv(self.matrix)
        slope = np.zeros((6, 6))
        slope[:2, :2] = -back
        # d(1/M) = -1/M dM 1/M, with matrices row by row.
        slope[2:, 2:] = -np.kron(back, back.T)
        return Affine(
            np.asarray(back, dtype=np.float64), self.centre.copy(), self.shift.copy(), slope @ self.covariance @ slope.T
        )

    def then(self, other: Affine) -> Affine:
        """This transform followed by another, whose error is independent of that of this one."""
        matrix = other.matrix @ self.matrix
        own, theirs = np.zeros((6, 6)), np.zeros((6, 6))
        own[:2, :2] = other.matrix
        own[2:, 2:] = np.kron(other.matrix, np.eye(2))
        theirs[:2] = position_slopes(self.shift - other.centre)
        theirs[2:, 2:] = np.kron(np.eye(2), self.matrix.T)
        return Affine(
            matrix,
            other(self.shift),
            self.centre,
            own @ self.covariance @ own.T + theirs @ other.covariance @ theirs.T,
        )

    @property
    def rotation(self) -> float:
        """Rotation in degrees, of the polar decomposition of the matrix; positive turns down towards right."""
        return float(
            np.degrees(np.arctan2(self.matrix[1, 0] - self.matrix[0, 1], self.matrix[0, 0] + self.matrix[1, 1]))
        )

    @property
    def stretch(self) -> FloatArray:
        """Symmetric factor of the polar decomposition, shape (2, 2): scales, and half the shear beside the diagonal."""
        return np.asarray(turn(self.rotation).T @ self.matrix)


def turn(degrees: float) -> FloatArray:
    """Matrix of a rotation of (down, right) that turns down towards right."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def position_slopes(offset: FloatArray) -> FloatArray:
    """Derivative of positions by the parameters of a transform, of shape (..., 2, 6)."""
    slope = np.zeros((*offset.shape[:-1], 2, 6))
    slope[..., 0, 0] = slope[..., 1, 1] = 1.0
    slope[..., 0, 2:4] = slope[..., 1, 4:6] = offset
    return slope
