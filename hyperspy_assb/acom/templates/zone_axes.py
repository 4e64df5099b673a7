"""Zone axes of a Laue group, each once."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_MARGIN = 0.5


def zone_axes(rotations: FloatArray, resolution: float) -> FloatArray:
    """Directions that cover the sphere once under a Laue group, shape (N, 3).

    Parameters
    ----------
    rotations
        Proper rotations of the Laue group, shape (n, 3, 3); inversion is added.
    resolution
        Degrees between neighbours.

    Notes
    -----
    Of the directions of :func:`orix.sampling.sample_S2` (a cube whose edges are equiangular), those that are nearer to
    a centre than any of their equivalents are: a Dirichlet cell, which is a fundamental sector whatever the setting of
    the axes is. Directions up to half the resolution outside are kept, for the grid has not the symmetry of the group.
    """
    from orix.sampling import sample_S2

    directions = np.asarray(sample_S2(resolution, method="spherified_cube_edge").data, dtype=float)
    operations = np.concatenate([rotations, -rotations])
    centre = _centre(operations)
    normals = centre - operations[1:] @ centre
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    inside = (directions @ normals.T >= -np.sin(np.radians(_MARGIN * resolution))).all(axis=1)
    return np.asarray(np.unique(np.round(directions[inside], 12), axis=0))


def _centre(operations: FloatArray) -> FloatArray:
    """A direction far from all its equivalents."""
    steps = np.arange(-4, 5)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)[:, ::-1]
    # Positive octant first, where there are several as good.
    grid = grid[np.argsort((grid < 0).sum(axis=1), kind="stable")]
    grid = grid[(grid != 0).any(axis=1)]
    unit = grid / np.linalg.norm(grid, axis=1, keepdims=True)
    images = np.einsum("nij,kj->nki", operations[1:], unit)
    distance = np.linalg.norm(images - unit, axis=2).min(axis=0)
    return np.asarray(unit[np.argmax(distance > distance.max() - 1e-9)])


def towards(directions: FloatArray) -> FloatArray:
    """Orientations that bring specimen z onto directions of the crystal by the shortest way, shape (N, 4)."""
    x, y, z = np.moveaxis(directions, -1, 0)
    quaternions = np.stack([1.0 + z, -y, x, np.zeros_like(z)], axis=-1)
    quaternions[z < -1.0 + 1e-12] = [0.0, 1.0, 0.0, 0.0]
    return np.asarray(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True))
