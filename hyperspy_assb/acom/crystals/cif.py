"""Reading of CIFs: elements without charges, and the cell in the standard setting of the space group."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.symmetry import find_operations
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import electron_scattering_table

if TYPE_CHECKING:
    from diffpy.structure import Structure

Operation = tuple[NDArray[np.int64], FloatArray]
"""Rotation and translation in fractional coordinates."""

_CELL = tuple(f"_cell_{name}" for name in ("length_a", "length_b", "length_c")) + tuple(
    f"_cell_angle_{name}" for name in ("alpha", "beta", "gamma")
)
# Columns are the new axes on the old ones; right-handed throughout.
_PERMUTATIONS = tuple(
    np.array(columns).T
    for columns in (
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
        [[-1, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[0, 0, 1], [0, -1, 0], [1, 0, 0]],
    )
)
# Rhombohedral axes to hexagonal ones, obverse.
_OBVERSE = np.array([[1, -1, 0], [0, 1, -1], [1, 1, 1]]).T
_RHOMBOHEDRAL = (146, 148, 155, 160, 161, 166, 167)
_INDICES = np.array(list(product(range(-6, 7), repeat=3)))
_SAME_SITE = 1e-3
_MONOCLINIC = range(3, 16)


class CrystalError(ValueError):
    """A CIF that does not describe a crystal that can be simulated; the message names the file."""


def standard_base(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> FloatArray:
    """Rows a, b, c in Å with x along a and z along c*; angles in degrees, shape (3, 3)."""
    ca, cb, cg = np.cos(np.radians([alpha, beta, gamma]))
    sg = np.sqrt(1.0 - cg**2)
    third = (ca - cb * cg) / sg
    base = np.array([[a, 0.0, 0.0], [b * cg, b * sg, 0.0], [c * cb, c * third, c * np.sqrt(1.0 - cb**2 - third**2)]])
    return np.where(np.abs(base) < 1e-14 * max(a, b, c), 0.0, base)


LARGEST_U = 0.2
"""Å²; an atom that moves by more than 0.45 Å about its place, root mean square, is in no crystal."""


def element_of(label: str) -> str | None:
    """Symbol of the element of a label such as ``Fe0+``, ``O2-``, ``Ow``, ``D``; None if there is none."""
    found = re.match(r"(?:\d+-?)?([A-Za-z]+)", label.strip())
    if found is None:
        return None
    letters, table = found[1].capitalize(), electron_scattering_table()
    if letters == "D":
        return "H"
    if letters in table:
        return letters
    # FeA, OW: a last letter that tells sites apart
    return letters[:-1] if letters[:-1] in table else None


def space_group_operations(number: int) -> list[Operation]:
    """Operations of a space group in its standard setting: b unique, hexagonal axes."""
    from diffpy.structure.spacegroups import GetSpaceGroup

    return list(_operations(GetSpaceGroup(number).iter_symops()))


def _operations(symops: Iterable[Any]) -> Iterator[Operation]:
    for operation in symops:
        yield np.rint(operation.R).astype(np.int64), np.asarray(operation.t, dtype=float)


def _rotations(operations: list[Operation]) -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(int(value) for value in rotation.ravel()) for rotation, _ in operations)


def _extinct(operations: list[Operation]) -> NDArray[np.bool_]:
    """Which of a set of reflections the operations forbid: a property of the axes, not of the origin."""
    extinct = np.zeros(len(_INDICES), dtype=bool)
    for rotation, translation in operations:
        phase = _INDICES @ translation
        extinct |= (_INDICES @ rotation == _INDICES).all(axis=1) & (np.abs(phase - np.rint(phase)) > 1e-3)
    return extinct


@cache
def _standard(number: int) -> tuple[frozenset[tuple[int, ...]], NDArray[np.bool_]]:
    operations = space_group_operations(number)
    return _rotations(operations), _extinct(operations)


def _centring(change: NDArray[np.int64]) -> FloatArray:
    """Points of the old lattice within the new cell, on the new axes."""
    inverse = np.linalg.inv(change)
    points = np.array(list(product(range(-2, 3), repeat=3))) @ inverse.T
    return np.unique(np.round(points % 1.0, 6) % 1.0, axis=0)


def _transform(operations: list[Operation], change: NDArray[np.int64]) -> list[Operation]:
    inverse = np.linalg.inv(change)
    changed = []
    for rotation, translation in operations:
        new = np.rint(inverse @ rotation @ change).astype(np.int64)
        changed += [(new, inverse @ translation + point) for point in _centring(change)]
    return changed


def _standard_axes(operations: list[Operation], stated: int | None) -> tuple[int, NDArray[np.int64]] | None:
    """Space group and change of axes that give the standard setting; None if there is none."""
    # On rhombohedral axes, the threefold axis is x -> y -> z.
    rhombohedral = (0, 0, 1, 1, 0, 0, 0, 1, 0) in _rotations(operations) and not any(
        np.abs(rotation).sum() == 3 and np.abs(np.diag(rotation)).sum() == 3 and np.ptp(np.diag(rotation)) == 2
        for rotation, _ in operations
    )
    changes = (_OBVERSE,) if rhombohedral else _PERMUTATIONS
    changed = [_transform(operations, change) for change in changes]
    known = [(change, _rotations(new), _extinct(new)) for change, new in zip(changes, changed, strict=True)]
    for number in ([stated] if stated else []) + list(range(1, 231)):
        rotations, extinct = _standard(number)
        for change, found, absent in known:
            # The three cell choices of a monoclinic group differ in their absences, and all have b unique.
            if found == rotations and (np.array_equal(absent, extinct) or (number == stated and number in _MONOCLINIC)):
                return number, change
    return None


def _text(block: Any, key: str) -> str:
    value = block.get(key, "")
    value = value if isinstance(value, str) else ", ".join(str(part) for part in value)
    return " ".join(value.split()).strip("?").strip()


def _source(block: Any) -> str:
    authors = block.get("_publ_author_name", [])
    authors = [authors] if isinstance(authors, str) else list(authors)
    head = authors[0] + (" et al." if len(authors) > 1 else "") if authors else ""
    journal = _text(block, "_journal_name_full")
    rest = [f"{journal} {_text(block, '_journal_volume')}".strip(), _text(block, "_journal_page_first")]
    citation = ", ".join(part for part in [head, *rest] if part)
    year = _text(block, "_journal_year")
    return f"{citation} ({year})" if citation and year else citation


def _stated_number(block: Any, group: Any) -> int | None:
    for key in ("_space_group_IT_number", "_symmetry_Int_Tables_number"):
        if _text(block, key).isdigit() and 1 <= int(_text(block, key)) <= 230:
            return int(_text(block, key))
    number = getattr(group, "number", None)
    # mmLib numbers other settings 1003, 3004 and so on.
    return number % 1000 if isinstance(number, int) and 1 <= number % 1000 <= 230 else None


def read_crystal(text: str, where: str) -> tuple[Structure, int, str, str]:
    """Structure in its standard setting, space group, citation and caveat of a CIF.

    Parameters
    ----------
    text
        The CIF; of several structures, the first.
    where
        Name of the file, for errors.

    Raises
    ------
    CrystalError
        If it is not a CIF, its cell cannot be read or does not fit its space group, or an element is not known.
    """
    from diffpy.structure import StructureFormatError
    from diffpy.structure.parsers.p_cif import P_cif

    parser = P_cif(eps=_SAME_SITE)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # PyCifRW prints its errors
            parsed = parser.parse(text)
    except (
        StructureFormatError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        np.linalg.LinAlgError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CrystalError(f"{where}: cannot be read as a CIF: {reason}.") from error
    if parsed is None or len(parsed) == 0:
        raise CrystalError(f"{where}: no atoms (_atom_site_label, _atom_site_fract_x ...).")
    block = next(parser.ciffile[key] for key in parser.ciffile.keys() if "_atom_site_label" in parser.ciffile[key])  # noqa: SIM118
    missing = [key for key in _CELL if key not in block]
    if missing:
        raise CrystalError(f"{where}: the cell is not complete: {', '.join(missing)} missing.")
    elements: dict[str, str] = {}
    for atom in parsed:
        symbol = element_of(atom.element)
        if symbol is None:
            raise CrystalError(f"{where}: atom {atom.label!r} has an unknown element {atom.element!r}.")
        elements[atom.element] = symbol
        if not np.isfinite(atom.xyz).all():
            raise CrystalError(f"{where}: atom {atom.label!r} has no fractional coordinates.")
    operations = list(_operations(parser.spacegroup.iter_symops()))
    found = None
    if len(_rotations(operations)) == 1:
        # P1 is how programs write a cell whose symmetry they do not care for.
        kinds = [(elements[atom.element], round(atom.occupancy, 3)) for atom in parsed]
        hidden = find_operations(np.asarray(parsed.lattice.metrics), np.array([atom.xyz for atom in parsed]), kinds)
        found = _standard_axes(hidden, None)
    found = found or _standard_axes(operations, _stated_number(block, parser.spacegroup))
    if found is None:
        raise CrystalError(f"{where}: its symmetry operations are not those of a known space group.")
    number, change = found
    structure = _build(parsed, elements, change, where)
    _check_cell(structure, number, where)
    caveat = re.search(r"caveat:\s*(.*)", _text(block, "_publ_section_comment"))
    caveats = [caveat[1]] if caveat else []
    if max(atom.Uisoequiv for atom in parsed) > LARGEST_U:
        caveats.append("Isotropic displacements U cannot be so large; they are taken to be B = 8 pi^2 U.")
    return structure, number, _source(block), " ".join(caveats)


def _build(parsed: Structure, elements: dict[str, str], change: NDArray[np.int64], where: str) -> Structure:
    from diffpy.structure import Atom, Lattice, Structure

    written = np.array(parsed.lattice.abcABG())
    if not ((written > 0.0).all() and (written[3:] < 180.0).all()):
        raise CrystalError(f"{where}: the cell {written[:3]} Å, {written[3:]} degrees is impossible.")
    metric = change.T @ np.asarray(parsed.lattice.metrics) @ change
    lengths = np.sqrt(np.diag(metric))
    cosines = metric / np.outer(lengths, lengths)
    with np.errstate(invalid="ignore"):
        angles = np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))
    if not (np.isfinite(metric).all() and np.linalg.det(metric) > 1.0 and lengths.min() > 1.0):
        raise CrystalError(f"{where}: the cell {np.round(lengths, 4)} Å, {np.round(angles, 3)} degrees is impossible.")
    # Undo the rounding of the cosines, so that a cell that is in its standard setting comes back as it is written.
    lattice = Lattice(*np.round(lengths, 9), *np.round(angles, 9))
    inverse = np.linalg.inv(change)
    atoms = []
    for atom in parsed:
        site = np.round((inverse @ atom.xyz + _centring(change)) % 1.0, 9) % 1.0
        # Programs that export structures write B, often 1 Å², where U belongs.
        u = atom.Uisoequiv / (8.0 * np.pi**2) if atom.Uisoequiv > LARGEST_U else atom.Uisoequiv
        kept = {"label": atom.label, "occupancy": atom.occupancy, "Uisoequiv": u}
        atoms += [Atom(elements[atom.element], xyz=place, **kept) for place in site]
    return Structure(atoms, lattice=lattice)


def _check_cell(structure: Structure, number: int, where: str) -> None:
    metric = np.asarray(structure.lattice.metrics)
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    for rotation, _ in space_group_operations(number):
        if np.abs((rotation.T @ metric @ rotation - metric) / scale).max() > 0.005:
            cell = ", ".join(f"{value:g}" for value in structure.lattice.abcABG())
            raise CrystalError(f"{where}: the cell {cell} does not have the symmetry of space group {number}.")
