"""Space groups: their operations in the standard setting, and the axes on which a crystal is in that setting."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import gemmi
import numpy as np
import spglib
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Operations = tuple[NDArray[np.int64], FloatArray]
"""Rotations, shape (n, 3, 3), and translations, shape (n, 3), in fractional coordinates."""

SAME_PLACE = 0.05
"""Å; atoms of one kind that lie nearer than this are one, and by so much a cell in P1 may miss its symmetry."""

# Columns are the new axes on the old ones, right-handed throughout: permutations, and rhombohedral axes to hexagonal
# ones, obverse.
_CYCLIC = [np.roll(np.eye(3), shift, axis=0) for shift in (0, 1, 2)]
_EXCHANGE = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
_OBVERSE = np.array([[1.0, 0.0, 1.0], [-1.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
_CHANGES = [*_CYCLIC, *(axes @ _EXCHANGE @ axes.T for axes in _CYCLIC), _OBVERSE]
_INDICES = np.array(list(product(range(-4, 5), repeat=3)), dtype=np.int32)
_GENERAL = np.array([[0.1237, 0.3519, 0.4153], [0.2791, 0.0613, 0.1877]])


def as_arrays(group: Iterable[gemmi.Op]) -> Operations:
    """Operations of gemmi, which has them in 24ths."""
    rotations, translations = zip(*((operation.rot, operation.tran) for operation in group), strict=True)
    return np.array(rotations) // gemmi.Op.DEN, np.array(translations) / gemmi.Op.DEN


@cache
def standard_operations(number: int) -> Operations:
    """Operations of a space group in its standard setting: b unique, cell choice 1; hexagonal axes."""
    return as_arrays(gemmi.find_spacegroup_by_number(number).operations())


@cache
def _short_names() -> dict[str, str]:
    """P n m a by P 21/n 21/m 21/a, without blanks."""
    types = [spglib.get_spacegroup_type(hall_number) for hall_number in range(530, 0, -1)]
    return {re.sub("[ _]", "", kind.international_full): kind.international_short for kind in types if kind}


def find_space_group(name: str, cell: FloatArray) -> gemmi.SpaceGroup | None:
    """Space group by its symbol, short or full; on rhombohedral axes if the cell has such."""
    compact = re.sub("[ _]", "", name)
    for symbol in (name.replace("_", ""), _short_names().get(compact)):
        found = gemmi.find_spacegroup_by_name(symbol, cell[3], cell[5]) if symbol else None
        if found is not None:
            return found
    return None


def setting_of_operations(operations: Operations, metric: FloatArray) -> tuple[int, FloatArray] | None:
    """Space group of operations, and the axes of its standard setting; None if they are no group.

    Parameters
    ----------
    operations
        All of them, each once.
    metric
        a·a, a·b ... of the cell in Å², shape (3, 3).

    Returns
    -------
    number, change
        Columns of `change` are the new axes on the old ones.
    """
    rotations, translations = operations
    # spglib changes the axes of atoms only, and those of the file may have more symmetry or less. Two kinds of atoms at
    # general places have that of the operations and no other, in a lattice that the operations leave exactly as it is.
    lattice = np.mean(rotations.transpose(0, 2, 1) @ metric @ rotations, axis=0)
    lattice *= 100.0 / np.cbrt(np.linalg.det(lattice))
    places = np.concatenate([rotations @ place + translations for place in _GENERAL])
    return setting_of_atoms(lattice, places, np.repeat([0, 1], len(rotations)), precision=1e-3, order=len(rotations))


def setting_of_atoms(
    metric: FloatArray, places: FloatArray, kinds: ArrayLike, *, precision: float = SAME_PLACE, order: int | None = None
) -> tuple[int, FloatArray] | None:
    """Space group of all atoms of a cell, and the axes of its standard setting, as :func:`setting_of_operations`.

    Parameters
    ----------
    metric
        a·a, a·b ... of the cell in Å², shape (3, 3).
    places
        Fractional coordinates, shape (N, 3).
    kinds
        Number of what is on each place, shape (N,).
    precision
        By so much atoms may miss the symmetry, Å.
    order
        Number of operations, where it is known.
    """
    atoms: Any = np.linalg.cholesky(metric), places, kinds
    try:
        found = spglib.get_symmetry_dataset(atoms, symprec=precision)
    except spglib.SpglibError:  # atoms that lie on one another
        found = None
    if found is None or order not in (None, len(found.rotations)):
        return None
    number, to_standard = int(found.number), found.transformation_matrix
    back = np.array([float(Fraction(x).limit_denominator(48)) for x in np.linalg.inv(to_standard).ravel().tolist()])
    # spglib may exchange axes and take another cell choice; a cell that is in a standard setting stays as it is.
    for change in [*_CHANGES, back.reshape(3, 3)]:
        if _keeps_standard(number, to_standard @ change):
            return number, change
    return None


def _keeps_standard(number: int, change: FloatArray) -> bool:
    """Whether a change of axes leaves the operations of a standard setting as they are, but for the origin.

    The three cell choices of a monoclinic group all have b unique, and are standard.
    """
    in_24ths = gemmi.Op()
    in_24ths.rot = np.rint(gemmi.Op.DEN * change).astype(int).tolist()
    if in_24ths.det_rot() != gemmi.Op.DEN**3:
        return False
    group, changed = (gemmi.find_spacegroup_by_number(number).operations() for _ in range(2))
    changed.change_basis_backward(in_24ths)
    if not changed.has_same_rotations(group):
        return False
    # Reflections are absent by the axes, whatever the origin is.
    absent, still = group.systematic_absences(_INDICES), changed.systematic_absences(_INDICES)
    return 3 <= number <= 15 or np.array_equal(absent, still)
