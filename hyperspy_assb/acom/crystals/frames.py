"""The one reference frame of orientations, and rotations within it.

- *Specimen*: x along the columns of the scan, y along its rows (downwards in an image), z = x × y. Electrons travel
  along -z, as in diffsims, orix and pyxem.
- *Detector*: x along the columns of a pattern, y along its rows; azimuths grow from +x towards +y. A scan turned
  against the detector is described by the scan rotation of
  :class:`~hyperspy_assb.acom.patterns.geometry.PatternGeometry`: the azimuth of the scan's x axis on the detector. A
  camera that shows patterns mirrored is flipped along its rows first.
- *Crystal*: Cartesian, as in orix: x along a, z along c*, the phase in its standard setting.

An orientation is a unit quaternion, scalar first and not below 0: the rotation from the specimen to the crystal, as in
orix. A reciprocal vector g of the crystal is seen at ``~orientation * g`` in the specimen.
"""

from __future__ import annotations

import numpy as np

from hyperspy_assb.fitting.spectra.line_shape import FloatArray


def multiply(first: FloatArray, second: FloatArray) -> FloatArray:
    """Product of quaternions, shape (..., 4): the rotation by `second`, then by `first`."""
    a, b, c, d = np.moveaxis(np.asarray(first, dtype=float), -1, 0)
    e, f, g, h = np.moveaxis(np.asarray(second, dtype=float), -1, 0)
    return np.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ],
        axis=-1,
    )


def upper(quaternions: FloatArray) -> FloatArray:
    """Unit quaternions with the scalar not below 0."""
    quaternions = np.asarray(quaternions, dtype=float)
    quaternions = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    return np.where(quaternions[..., :1] < 0, -quaternions, quaternions)


def turn_pattern(orientations: FloatArray, angle: FloatArray) -> FloatArray:
    """Orientations whose patterns are those of others, turned by an angle in radians from +x towards +y.

    Parameters
    ----------
    orientations
        Specimen to crystal, shape (..., 4).
    angle
        In radians, shape (...).
    """
    angle = np.asarray(angle, dtype=float)
    zero = np.zeros_like(angle)
    # g is seen at ~o * g; turned by +angle about z, at r * ~o * g = ~(o * ~r) * g.
    inverse = np.stack([np.cos(angle / 2), zero, zero, -np.sin(angle / 2)], axis=-1)
    return upper(multiply(orientations, inverse))


def matrices(orientations: FloatArray) -> FloatArray:
    """Rotation matrices M with v_crystal = M v_specimen, shape (..., 3, 3)."""
    w, x, y, z = np.moveaxis(np.asarray(orientations, dtype=float), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
