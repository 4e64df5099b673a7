"""Colours of orientations: inverse pole figures by orix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import point_group, to_orix
from hyperspy_assb.errors import AssbValueError

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
    AssbValueError
        If there is no such axis.
    """
    from orix.plot import IPFColorKeyTSL
    from orix.vector import Vector3d

    if direction not in DIRECTIONS:
        raise AssbValueError(f'direction: "x", "y" or "z", not {direction!r}.')
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
        Each a :class:`~hyperspy_assb.acom.crystals.crystal_phase.CrystalPhase`, or a point group of orix.
    direction
        "x", "y" or "z" of the specimen.

    Returns
    -------
    colours
        Red, green and blue, black where not indexed, shape (ny, nx, 3).

    Raises
    ------
    AssbValueError
        If there is no such axis.
    """
    from orix.quaternion import Orientation

    if direction not in DIRECTIONS:
        raise AssbValueError(f'direction: "x", "y" or "z", not {direction!r}.')
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
    return point_group(entry)


def key_image(
    entry: Any, *, size: int = 160
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    list[str],
    NDArray[np.float64],
    tuple[float, float, float, float],
]:
    """The colour key of a phase in stereographic projection.

    orix draws it too, with a grid so fine that it takes seconds.

    Parameters
    ----------
    entry
        A :class:`~hyperspy_assb.acom.crystals.crystal_phase.CrystalPhase`, or a point group of orix.
    size
        Pixels along the longer side.

    Returns
    -------
    outline, corners, labels, shades, extent
        Places of the border (N, 2) and of the corners (C, 2) with the directions there; colours with their opacity,
        shape (rows, columns, 4), and where they lie (left, right, bottom, top).
    """
    from orix.crystal_map import Phase
    from orix.vector import Miller, Vector3d

    symmetry = symmetry_group(entry)
    key = colour_key(symmetry, "z")
    sector = key.symmetry.fundamental_sector

    def project(vectors: Any) -> NDArray[np.float64]:
        x, y, z = np.moveaxis(np.atleast_2d(vectors.unit.data), -1, 0)
        return np.stack([x, y], axis=-1) / (1.0 + z)[:, None]

    edges = sector.edges
    vertices = sector.vertices
    # Without corners (-1, -3, 4/m ...) the sector is a half or whole circle, or a slice of it.
    outline = project(edges) if edges.size else _circle()
    corners = project(vertices) if vertices.size else np.zeros((0, 2))
    low, high = outline.min(axis=0), outline.max(axis=0)
    step = float((high - low).max()) / size
    x, y = np.meshgrid(np.arange(low[0], high[0] + step, step), np.arange(low[1], high[1] + step, step))
    radius = x**2 + y**2
    vectors = Vector3d(np.stack([2 * x, 2 * y, 1 - radius], axis=-1) / (1 + radius)[..., None])
    inside = (vectors <= sector) & (radius <= 1.0 + 1e-9)
    shades = np.zeros((*x.shape, 4))
    shades[inside, :3] = np.clip(key.direction_color_key.direction2color(vectors[inside]), 0.0, 1.0)
    shades[inside, 3] = 1.0
    phase = to_orix(entry) if hasattr(entry, "structure") else Phase(point_group=symmetry)
    labels = []
    for vertex in vertices:
        miller = Miller(xyz=vertex.data, phase=phase)
        four = symmetry.system in ("trigonal", "hexagonal")
        miller.coordinate_format = "UVTW" if four else "uvw"
        indices = np.ravel(miller.round(max_index=4).coordinates)
        labels.append("[" + (" " if np.abs(indices).max() > 9 else "").join(_overlined(i) for i in indices) + "]")
    extent = (
        low[0] - step / 2,
        low[0] + (x.shape[1] - 0.5) * step,
        low[1] - step / 2,
        low[1] + (x.shape[0] - 0.5) * step,
    )
    return outline, corners, labels, shades, extent


def _overlined(index: float) -> str:
    number = round(float(index))
    return f"$\\overline{{{-number}}}$" if number < 0 else str(number)


def _circle() -> NDArray[np.float64]:
    angle = np.linspace(0.0, 2.0 * np.pi, 181)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
