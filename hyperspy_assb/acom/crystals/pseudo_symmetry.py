"""Half turns that a pattern hardly shows: about the beam, and about a zone axis near it.

The zero-order Laue zone is a plane of the reciprocal lattice, which has a centre: half a turn of the crystal about the
zone axis brings the plane onto itself, tilt of the crystal and excitation errors included, and the intensities of g and
-g are those of Friedel's law. Only higher Laue zones tell the two orientations apart. Half a turn about the beam is the
same where the beam is along a zone axis; where it is tilted away by t, it is 2 t farther.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, cell_axes
from hyperspy_assb.acom.crystals.disorientation import disorientation, mean_orientation, symmetry_of, turn_about_beam
from hyperspy_assb.acom.crystals.frames import matrices, multiply, upper
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

HIGHEST_INDEX = 3
"""Zone axes with indices up to it: planes of higher ones have few reflections."""
ZONE_REACH = 10.0
"""Degrees between the beam and a zone axis within which most of the spots are of its zero-order Laue zone."""
_FAR = 5.0
"""Degrees from the mean of a crystal within which an orientation is not asked for half turns."""
_SAME = 0.1
"""Degrees within which half a turn is one of the symmetry."""


def zone_axes_of(phase: CrystalPhase) -> FloatArray:
    """Zone axes of low indices about which half a turn is no symmetry, each once but for its sign, shape (N, 3).

    Unit vectors on the Cartesian axes of the crystal.
    """
    steps = range(-HIGHEST_INDEX, HIGHEST_INDEX + 1)
    # Of u and -u the one whose first index other than 0 is positive.
    indices = np.array([u for u in product(steps, steps, steps) if np.gcd.reduce(u) == 1 and u > (0, 0, 0)])
    axes = indices @ cell_axes(phase)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    identity = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (len(axes), 4))
    apart = disorientation(half_turns(axes), identity, symmetry_of(phase))
    return np.asarray(axes[apart > _SAME])


def half_turns(axes: FloatArray) -> FloatArray:
    """Half turns about unit vectors (..., 3) as quaternions, shape (..., 4)."""
    return np.concatenate([np.zeros((*np.shape(axes)[:-1], 1)), axes], axis=-1)


def pseudo_symmetric_angle(first: ArrayLike, second: ArrayLike, symmetry: ArrayLike, axes: FloatArray) -> FloatArray:
    """Smallest disorientation once half a turn about the beam, or about a zone axis near it, is made.

    Parameters
    ----------
    first, second
        Specimen to crystal, shapes (N, 4).
    symmetry
        Proper rotations of the Laue group, shape (n, 4).
    axes
        Zone axes; see :func:`zone_axes_of`. Those within :data:`ZONE_REACH` of the beam of the first count.

    Returns
    -------
    angle
        Degrees, shape (N,).
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    angle = disorientation(turn_about_beam(first), second, symmetry)
    beam = matrices(first)[..., 2]
    near = np.abs(beam @ np.asarray(axes).T) >= np.cos(np.radians(ZONE_REACH))
    for k in np.flatnonzero(near.any(axis=0)):
        here = near[:, k]
        turned = upper(multiply(half_turns(axes[k]), first[here]))
        angle[here] = np.minimum(angle[here], disorientation(turned, second[here], symmetry))
    return angle


@dataclass(frozen=True)
class CrystalMean:
    """Orientation of one crystal from those of its pixels.

    Parameters
    ----------
    orientation
        Mean, of the more frequent kind where some pixels are pseudo-symmetric to the others, shape (4,).
    spread
        Mean disorientation of the pixels from it in degrees, half turns undone.
    twinned
        Share of the pixels that half a turn brings near it.
    """

    orientation: FloatArray
    spread: float
    twinned: float


def crystal_mean(orientations: FloatArray, symmetry: ArrayLike, axes: FloatArray) -> CrystalMean:
    """Mean of orientations that lie near one another but for symmetry and pseudo-symmetric half turns.

    Parameters
    ----------
    orientations
        Specimen to crystal, shape (N, 4), N at least 1.
    symmetry, axes
        As for :func:`pseudo_symmetric_angle`.
    """
    mean = orientations[0]
    for _ in range(2):
        near, turned, _ = _undo_half_turns(orientations, mean, symmetry, axes)
        mean = mean_orientation(near, symmetry)
    if turned.mean() > 0.5:
        near, turned, _ = _undo_half_turns(orientations, orientations[turned][0], symmetry, axes)
        mean = mean_orientation(near, symmetry)
    _, turned, angle = _undo_half_turns(orientations, mean, symmetry, axes)
    return CrystalMean(mean, float(angle.mean()), float(turned.mean()))


def _undo_half_turns(
    orientations: FloatArray, reference: FloatArray, symmetry: ArrayLike, axes: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Orientations of which those far from a reference are turned where that brings them near; which; and how near."""
    found, angle = orientations.copy(), disorientation(orientations, reference, symmetry)
    far = np.flatnonzero(angle > _FAR)
    turned = np.zeros(len(found), dtype=bool)
    beam = matrices(orientations[far])[..., 2]
    near = np.abs(beam @ np.asarray(axes).T) >= np.cos(np.radians(ZONE_REACH))
    turns = [(far, turn_about_beam(orientations[far]))]
    for k in np.flatnonzero(near.any(axis=0)):
        here = far[near[:, k]]
        turns.append((here, upper(multiply(half_turns(axes[k]), orientations[here]))))
    for here, other in turns:
        closer = disorientation(other, reference, symmetry)
        better = closer < angle[here] - 1e-9
        found[here[better]], angle[here[better]], turned[here[better]] = other[better], closer[better], True
    return found, turned, angle
