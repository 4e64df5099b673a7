"""Phases and orientations in the setting in which orix finds a group again by its name, as in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, cell_axes, point_group, to_orix
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

if TYPE_CHECKING:
    from orix.crystal_map import Phase

_TURNED = (3, 15)
"""Space groups whose unique axis is b here, and c in files."""


def in_orix_setting(phase: CrystalPhase) -> tuple[Phase, FloatArray, str]:
    """A phase as a file of crystal maps can name it, and the rotation of its axes there.

    Files name a Laue group, and its axes are those of orix: 2/m is about c, the two-fold axes of -3m are along a.

    Returns
    -------
    phase
        Of orix.
    rotation
        By which orientations are multiplied from the left, a quaternion, shape (4,).
    note
        What changed; empty if nothing did.
    """
    if _TURNED[0] <= phase.space_group <= _TURNED[1]:
        return _unique_axis_along_c(phase)
    from orix.quaternion.symmetry import get_point_group

    if point_group(phase) == get_point_group(phase.space_group):
        return to_orix(phase), np.array([1.0, 0.0, 0.0, 0.0]), ""
    return _two_fold_along_a(phase)


def _unique_axis_along_c(phase: CrystalPhase) -> tuple[Phase, FloatArray, str]:
    """Axes c, a, b are called a, b, c."""
    from diffpy.structure import Atom, Lattice, Structure
    from orix.crystal_map import Phase
    from scipy.spatial.transform import Rotation

    a, b, c, _, beta, _ = phase.cell
    atoms = [Atom(s.element, [s.z, s.x, s.y], occupancy=s.occupancy) for s in phase.atoms]
    structure = Structure(atoms, lattice=Lattice(c, a, b, 90.0, 90.0, beta), title=phase.name)
    _, unique, third = cell_axes(phase)
    x, z = third / np.linalg.norm(third), unique / np.linalg.norm(unique)
    rotation = np.roll(Rotation.from_matrix(np.stack([x, np.cross(z, x), z])).as_quat(), 1)
    note = (
        f"{phase.name}: in .ang, .ctf and .h5 its axes c, a, b are called a, b, c, because readers of these files "
        "expect the unique axis of monoclinic crystals along c."
    )
    return Phase(name=phase.name, space_group=phase.space_group, structure=structure), rotation, note


def _two_fold_along_a(phase: CrystalPhase) -> tuple[Phase, FloatArray, str]:
    """The direction 2a + b is called a: a cell of three times the volume."""
    from diffpy.structure import Lattice, Structure
    from orix.crystal_map import Phase

    a, _, c = phase.cell[:3]
    side = float(np.sqrt(3.0) * a)
    structure = Structure(lattice=Lattice(side, side, c, 90.0, 90.0, 120.0), title=phase.name)
    half = np.radians(-30.0) / 2.0
    note = (
        f"{phase.name}: in .ang, .ctf and .h5 its direction 2a + b is called a, because readers of these files expect "
        "two-fold axes along a."
    )
    group = point_group(phase).laue.name
    return (
        Phase(name=phase.name, point_group=group, structure=structure),
        np.array([np.cos(half), 0.0, 0.0, np.sin(half)]),
        note,
    )
