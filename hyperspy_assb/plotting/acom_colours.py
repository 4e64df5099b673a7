"""Colours of orientations: inverse pole figures by orix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def colour_key(symmetry: Any, direction: str) -> Any:
    """The colour key of a phase for an axis of the specimen.

    Parameters
    ----------
    symmetry
        Point group, as orix has it.
    direction
        "x", "y" or "z" of the specimen.

    Returns
    -------
    orix.plot.IPFColorKeyTSL
        Of its Laue group.

    Raises
    ------
    ValueError
        If there is no such axis.
    """
    from orix.plot import IPFColorKeyTSL
    from orix.vector import Vector3d

    if direction not in DIRECTIONS:
        raise ValueError(f'direction: "x", "y" or "z", not {direction!r}.')
    return IPFColorKeyTSL(symmetry.laue, direction=Vector3d(DIRECTIONS[direction]))


def orientation_colours(
    phase: NDArray[Any], orientation: NDArray[np.float64], phases: Sequence[Any], direction: str
) -> NDArray[np.uint8]:
    """Colours of the crystal direction along an axis of the specimen.

    Parameters
    ----------
    phase
        Index of the phase, negative where not indexed, shape (ny, nx).
    orientation
        Specimen to crystal, shape (ny, nx, 4).
    phases
        Each a :class:`~hyperspy_assb.acom.phases.CrystalPhase`, or a point group of orix.
    direction
        "x", "y" or "z" of the specimen.

    Returns
    -------
    colours
        Red, green and blue, black where not indexed, shape (ny, nx, 3).

    Raises
    ------
    ValueError
        If there is no such axis.
    """
    from orix.quaternion import Orientation

    if direction not in DIRECTIONS:
        raise ValueError(f'direction: "x", "y" or "z", not {direction!r}.')
    colours = np.zeros((*np.shape(phase), 3), dtype=np.uint8)
    known = np.isfinite(orientation).all(axis=-1)
    for number, entry in enumerate(phases):
        inside = known & (np.asarray(phase) == number)
        if not inside.any():
            continue
        symmetry = symmetry_group(entry)
        key = colour_key(symmetry, direction)
        shades = key.orientation2color(Orientation(orientation[inside], symmetry=symmetry.laue))
        colours[inside] = np.round(255 * np.clip(shades, 0.0, 1.0)).astype(np.uint8)
    return colours


def symmetry_group(entry: Any) -> Any:
    """The point group of a phase, or the group itself."""
    from orix.quaternion.symmetry import Symmetry

    if isinstance(entry, Symmetry):
        return entry
    from hyperspy_assb.acom.phases import point_group

    return point_group(entry)
