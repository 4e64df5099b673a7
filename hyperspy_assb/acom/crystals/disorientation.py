"""How far orientations of crystals are apart, and their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, laue_rotations
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


def symmetry_of(phase: CrystalPhase) -> FloatArray:
    """Proper rotations of the Laue group of a phase as quaternions, identity first, shape (n, 4).

    See :func:`~hyperspy_assb.acom.crystals.crystal_phase.laue_rotations`.
    """
    from scipy.spatial.transform import Rotation

    # SciPy puts the scalar last.
    return upper(np.roll(Rotation.from_matrix(laue_rotations(phase)).as_quat(), 1, axis=-1))


def disorientation(first: ArrayLike, second: ArrayLike, symmetry: ArrayLike) -> FloatArray:
    """Smallest angle of a rotation that connects two orientations of one phase, or of phases of one Laue group.

    Parameters
    ----------
    first, second
        Specimen to crystal, shapes (..., 4).
    symmetry
        Proper rotations of the Laue group as quaternions, shape (n, 4); see :func:`symmetry_of`.

    Returns
    -------
    angle
        Degrees, shape (...); NaN where an orientation is NaN.

    Notes
    -----
    Of all s1 o1 ~o2 ~s2 the angle is that of (~s2 s1) o1 ~o2, so that the group is run through once.
    """
    between = multiply(np.asarray(first, dtype=float), np.asarray(second, dtype=float) * [1.0, -1.0, -1.0, -1.0])
    symmetry = np.asarray(symmetry, dtype=float)
    shape = between.shape[:-1]
    between = between.reshape(-1, 4)
    # The scalar of s m is one product of matrices; the angle is then found from the whole quaternion, as an arc cosine
    # knows angles near 0 to 1e-6 degrees only.
    scalar = np.abs(between @ (symmetry * [1.0, -1.0, -1.0, -1.0]).T)
    best = np.argmax(np.nan_to_num(scalar), axis=1)
    nearest = multiply(symmetry[best], between)
    angle = 2.0 * np.arctan2(np.linalg.norm(nearest[:, 1:], axis=1), np.abs(nearest[:, 0]))
    return np.asarray(np.degrees(angle).reshape(shape))


def turn_about_beam(orientations: ArrayLike) -> FloatArray:
    """Orientations after half a turn about the beam, shape (..., 4): the Friedel twins."""
    return upper(multiply(np.asarray(orientations, dtype=float), np.array([0.0, 0.0, 0.0, 1.0])))


def mean_orientation(orientations: FloatArray, symmetry: ArrayLike) -> FloatArray:
    """Mean of orientations that lie near one another but for symmetry, shape (4,).

    Parameters
    ----------
    orientations
        Specimen to crystal, shape (N, 4), N at least 1.
    symmetry
        Proper rotations, shape (n, 4).

    Notes
    -----
    The eigenvector of sum(q qT) to its largest eigenvalue (Markley et al., J. Guid. Control Dyn. 30, 1193 (2007), doi
    10.2514/1.28949), every q being turned by symmetry to where it is nearest to the mean.
    """
    every = multiply(np.asarray(symmetry, dtype=float)[None], orientations[:, None, :])
    mean = orientations[0]
    for _ in range(3):
        best = np.argmax(np.abs(every @ mean), axis=1)
        near = np.take_along_axis(every, best[:, None, None], axis=1)[:, 0]
        _, vectors = np.linalg.eigh(near.T @ near)
        mean = vectors[:, -1]
    return upper(mean)
