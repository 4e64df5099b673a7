"""Reading of CIFs: elements without charges, and the cell in the standard setting of the space group.

What a CIF says is data. gemmi splits it into values, each value passes one of the grammars below, and the crystal is
built from the numbers: nothing gets text of a file that would evaluate it, or open what it names.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from hyperspy_assb.reference.crystal_checks import (
    CrystalError,
    atoms_of_formula,
    check_group,
    check_sites,
    counted,
    element_of,
    element_of_label,
    has_formula,
)
from hyperspy_assb.reference.space_groups import (
    SAME_PLACE,
    Operations,
    as_arrays,
    find_space_group,
    setting_of_atoms,
    setting_of_operations,
    standard_operations,
)

if TYPE_CHECKING:
    from diffpy.structure import Structure

__all__ = ["LARGEST_U", "CrystalError", "WrittenCrystal", "read_cif", "read_crystal", "standard_base"]

FloatArray = NDArray[np.float64]

LARGEST_U = 0.2
"""Å²; an atom that moves by more than 0.45 Å about its place, root mean square, is in no crystal."""
_B_OF_U = 8.0 * np.pi**2
_LONGEST, _LARGEST = 2e3, 2e5  # Å, and a b c in Å³: the reflections of larger cells do not fit into memory
_MOST_IMAGES, _MOST_OPERATIONS = 10_000, 768
_MOST_IN_P1 = 2_000  # whose symmetry is looked for in the atoms; up to there it is found in seconds

_CELL = [f"_cell_length_{axis}" for axis in "abc"] + [f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")]
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NAMES = ("_space_group_name_h-m_alt", "_space_group_name_h-m_ref", "_symmetry_space_group_name_h-m")
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")

# 0.25, 1.5e-3, 0.2822(14), 1/3
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)(?:\([0-9.]+\)|/([1-9][0-9]{0,3}))?")
# x,1/2-y,z+0.5
_TERM = r"(?:[xyz]|[0-9]{1,2}/[1-9][0-9]?|[0-9]?\.[0-9]{1,9}|[0-9])"
_OPERATION = re.compile(",".join([rf"[+-]?{_TERM}(?:[+-]{_TERM}){{0,4}}"] * 3))
# F d -3 m :2, F d -3 m Z, R -3 c H
_NAME = re.compile(r"([A-Za-z0-9/_ -]{1,40}?)\s*(?::\s*([12HR])|\s([HRSZ]))?")


def standard_base(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> FloatArray:
    """Rows a, b, c in Å with x along a and z along c*; angles in degrees, shape (3, 3)."""
    ca, cb, cg = np.cos(np.radians([alpha, beta, gamma]))
    sg = np.sqrt(1.0 - cg**2)
    third = (ca - cb * cg) / sg
    base = np.array([[a, 0.0, 0.0], [b * cg, b * sg, 0.0], [c * cb, c * third, c * np.sqrt(1.0 - cb**2 - third**2)]])
    return np.where(np.abs(base) < 1e-14 * max(a, b, c), 0.0, base)


class _Values:
    """Values of a block by their keys, in small letters and with `_` for the `.` of newer dictionaries."""

    def __init__(self, block: cif.Block, where: str) -> None:
        self.name, self.where = block.name, where
        self._columns: dict[str, list[str]] = {}
        items: Any = block  # gemmi's types leave out that an item is a pair, a loop, or neither
        for item in items:
            tags, values = (item.loop.tags, item.loop.values) if item.loop else ([], [])
            tags, values = ([item.pair[0]], [item.pair[1]]) if item.pair else (tags, values)
            for i, tag in enumerate(tags):
                self._columns.setdefault(tag.lower().replace(".", "_"), values[i :: len(tags)])

    def __contains__(self, key: str) -> bool:
        return key in self._columns

    def column(self, key: str) -> list[str | None]:
        """None for what is unknown."""
        values = self._columns.get(key, [])
        return [None if cif.is_null(value) else " ".join(cif.as_string(value).split()) for value in values]

    def text(self, *keys: str) -> str:
        """What is said under the first of the keys that says something."""
        return next((text for key in keys if (text := ", ".join(filter(None, self.column(key))))), "")

    def numbers(self, key: str, unknown: float | None, count: int = 1) -> FloatArray:
        """Numbers of a key, and what stands for unknown ones; they are an error if that is None."""
        values = self.column(key) if key in self else [None] * count
        if len(values) != count:
            raise CrystalError(f"{self.where}: {key} cannot be read: it has {len(values)} values for {count} atoms.")
        numbers = np.full(count, np.nan if unknown is None else unknown)
        for i, value in enumerate(values):
            if value is None and unknown is not None:
                continue
            found = None if value is None or len(value) > 40 else _NUMBER.fullmatch(value)
            if found is None or not abs(float(found[1])) < 1e6:
                said = "it is unknown" if value is None else f"{value[:40]!r} is no number that it can have"
                raise CrystalError(f"{self.where}: {key} cannot be read: {said}.")
            numbers[i] = float(found[1]) / float(found[2] or 1)
        return numbers


@dataclass(frozen=True)
class WrittenCrystal:
    """All atoms of a cell.

    Parameters
    ----------
    cell
        a, b, c in Å; alpha, beta, gamma in degrees.
    elements
        Symbols.
    places
        Fractional coordinates, shape (N, 3).
    amounts
        Occupancies, and isotropic mean square displacements in Å², shape (N, 2).
    operations
        Of the space group, on the axes of the file.
    source
        Citation.
    caveat
        What is not known; empty if nothing.
    stated
        What the file says of its space group, and the number that this is.
    """

    cell: FloatArray
    elements: tuple[str, ...]
    places: FloatArray
    amounts: FloatArray
    operations: Operations
    source: str
    caveat: str
    stated: tuple[tuple[str, int], ...] = ()

    @property
    def kinds(self) -> NDArray[np.int64]:
        """Number of what is on each place, shape (N,)."""
        names = [
            f"{element} {occupancy:.3f}" for element, (occupancy, _) in zip(self.elements, self.amounts, strict=True)
        ]
        return np.unique(names, return_inverse=True)[1]

    @property
    def metric(self) -> FloatArray:
        """a·a, a·b ... in Å², shape (3, 3)."""
        return _metric(self.cell)

    def structure(self) -> Structure:
        """As diffpy has it."""
        from diffpy.structure import Atom, Lattice, Structure

        atoms = zip(self.elements, self.places, self.amounts, strict=True)
        return Structure(
            [Atom(element, xyz, occupancy=occupancy, Uisoequiv=u) for element, xyz, (occupancy, u) in atoms],
            lattice=Lattice(*self.cell),
        )


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
    written = read_cif(text, where)
    found = None
    if len(written.operations[0]) == 1:
        # P1 is how programs write a cell whose symmetry they do not care for.
        found = setting_of_atoms(written.metric, written.places, written.kinds)
    found = found or setting_of_operations(written.operations, written.metric)
    if found is None:
        raise CrystalError(f"{where}: its symmetry operations are not those of a known space group.")
    number, change = found
    check_group(where, written.stated, number, len(written.operations[0]))
    crystal = _change_axes(written, change)
    metric = crystal.metric
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    for rotation in standard_operations(number)[0]:
        if np.abs((rotation.T @ metric @ rotation - metric) / scale).max() > 0.005:
            cell = ", ".join(f"{value:g}" for value in crystal.cell)
            raise CrystalError(f"{where}: the cell {cell} does not have the symmetry of space group {number}.")
    return crystal.structure(), number, crystal.source, crystal.caveat


def read_cif(text: str, where: str) -> WrittenCrystal:
    """Crystal on the axes on which a CIF has it; parameters and errors are those of :func:`read_crystal`."""
    try:
        document = cif.read_string(text.partition("\x1a")[0])  # ctrl-Z ended files of DOS
    except (ValueError, RuntimeError) as error:
        reason = str(error).replace("string:", "line ")[:200]
        raise CrystalError(f"{where}: cannot be read as a CIF: {reason}.") from error
    blocks = [values for block in document if "_atom_site_label" in (values := _Values(block, where))]
    if not blocks:
        raise CrystalError(f"{where}: no atoms (_atom_site_label, _atom_site_fract_x ...).")
    values = blocks[0]
    cell = _read_cell(values)
    comment = re.search(r"caveat:\s*(.*)", values.text("_publ_section_comment"))
    caveats = [comment[1]] if comment else []
    if len(blocks) > 1:
        caveats.append(f"The file has {len(blocks)} structures; the first, {values.name[:40]}, is taken.")
    stated = _stated_groups(values, cell)
    check_group(where, stated)
    labels, elements, places, amounts = _read_sites(values, cell, caveats)
    filled: list[tuple[Operations, list[FloatArray], NDArray[np.int64]]] = []
    for operations in _read_operations(values, cell):
        if len(operations[0]) > _MOST_OPERATIONS or len(places) * len(operations[0]) > _MOST_IMAGES:
            raise CrystalError(f"{where}: {len(places)} atoms with {len(operations[0])} operations are too many.")
        if len(operations[0]) == 1 and len(places) > _MOST_IN_P1:
            raise CrystalError(
                f"{where}: {len(places)} atoms in P1 are too many (at most {_MOST_IN_P1}): give the conventional "
                "cell, with its symmetry operations."
            )
        images = [_images(place, operations, _metric(cell)) for place in places]
        filled.append((operations, images, np.array([len(image) for image in images])))
    written_formula = values.text("_chemical_formula_sum")
    formula = atoms_of_formula(written_formula)
    fitting = [c for c in filled if formula and has_formula(counted(elements, amounts[:, 0] * c[2]), formula, 1.02)]
    if len(filled) > 1 and len(fitting) != 1:
        caveats.append("Which of the two origins of its space group it has is not said: choice 1 is taken.")
    operations, images, multiplicity = (fitting or filled)[0]
    check_sites(where, labels, amounts, images, _metric(cell), caveats)
    atoms = counted(elements, amounts[:, 0] * multiplicity)
    if formula and not has_formula(atoms, formula):
        held = " ".join(f"{element}{number:.4g}" for element, number in atoms.items())
        caveats.append(f"{where}: _chemical_formula_sum is {written_formula}, but the atoms in the cell are {held}.")
    which = np.repeat(np.arange(len(places)), multiplicity)
    return WrittenCrystal(
        cell,
        tuple(elements[i] for i in which),
        np.concatenate(images),
        amounts[which],
        operations,
        _source(values),
        " ".join(caveats),
        stated,
    )


def _metric(cell: FloatArray) -> FloatArray:
    alpha, beta, gamma = np.cos(np.radians(cell[3:]))
    return np.outer(cell[:3], cell[:3]) * [[1.0, gamma, beta], [gamma, 1.0, alpha], [beta, alpha, 1.0]]


def _read_cell(values: _Values) -> FloatArray:
    missing = [key for key in _CELL if key not in values]
    if missing:
        raise CrystalError(f"{values.where}: the cell is not complete: {', '.join(missing)} missing.")
    cell = np.concatenate([values.numbers(key, None) for key in _CELL])
    lengths, angles = cell[:3], cell[3:]
    possible = 1.0 < lengths.min() <= lengths.max() < _LONGEST and 0.0 < angles.min() <= angles.max() < 180.0
    if not (possible and lengths.prod() < _LARGEST and np.linalg.det(_metric(cell)) > 1.0):
        raise CrystalError(f"{values.where}: the cell {lengths} Å, {angles} degrees is impossible, or too large.")
    return cell


def _read_sites(
    values: _Values, cell: FloatArray, caveats: list[str]
) -> tuple[list[str], list[str], FloatArray, FloatArray]:
    """Labels, elements, coordinates and (occupancy, U) of the atoms that a CIF lists."""
    labels = values.column("_atom_site_label")
    count = len(labels)
    symbols = values.column("_atom_site_type_symbol")
    symbols = symbols if len(symbols) == count else [None] * count
    places = np.stack([values.numbers(f"_atom_site_fract_{axis}", np.nan, count) for axis in "xyz"], axis=1)
    b = values.numbers("_atom_site_b_iso_or_equiv", 0.0, count)
    u = values.numbers("_atom_site_u_iso_or_equiv", np.nan, count)
    u = np.where(np.isnan(u), b / _B_OF_U, u)
    tensors = _anisotropic(values, cell)
    u = np.array([tensors.get(label, value) for label, value in zip(labels, u, strict=True)])
    if u.max(initial=0.0) > LARGEST_U:
        caveats.append("Isotropic displacements U cannot be so large; they are taken to be B = 8 pi^2 U.")
    # Programs that export structures write B, often 1 Å², where U belongs.
    u = np.where(u > LARGEST_U, u / _B_OF_U, u)
    amounts = np.stack([values.numbers("_atom_site_occupancy", 1.0, count), u], axis=1)
    formula = atoms_of_formula(values.text("_chemical_formula_sum"))
    elements, kept, lost = [], [], []
    for i, label in enumerate(labels):
        if label is None:
            continue
        said, symbol = label[:40], symbols[i] or label
        element = (element_of if symbols[i] else element_of_label)(symbol[:99], formula)
        if element is None:
            raise CrystalError(
                f"{values.where}: atom {said!r} has an unknown element {symbol[:40]!r}: _atom_site_type_symbol is the "
                "symbol of one element, such as Fe or O2-."
            )
        if not (0.0 <= amounts[i, 0] <= 1.5 and abs(u[i]) <= LARGEST_U):
            raise CrystalError(
                f"{values.where}: atom {said!r} has an impossible occupancy or displacement, {amounts[i]}."
            )
        if np.isnan(places[i]).any():
            lost.append(said)
        else:
            elements.append(element)
            kept.append(i)
    if not kept:
        raise CrystalError(f"{values.where}: no atoms with fractional coordinates (_atom_site_fract_x ...).")
    if lost:
        caveats.append(f"Atoms without coordinates are left out: {', '.join(lost[:9])}.")
    return [str(labels[i])[:40] for i in kept], elements, places[kept], amounts[kept]


def _anisotropic(values: _Values, cell: FloatArray) -> dict[str | None, float]:
    """Equivalent isotropic displacement of the atoms whose tensor is known."""
    labels, metric = values.column("_atom_site_aniso_label"), _metric(cell)
    reciprocal = np.sqrt(np.diag(np.linalg.inv(metric)))
    found: dict[str | None, float] = {}
    for letter, factor in (("b", _B_OF_U), ("u", 1.0)):
        tensor = np.empty((len(labels), 3, 3))
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
            key = f"_atom_site_aniso_{letter}_{i + 1}{j + 1}"
            tensor[:, i, j] = tensor[:, j, i] = values.numbers(key, np.nan, len(labels))
        equivalent = (tensor * np.outer(reciprocal, reciprocal) * metric).sum(axis=(1, 2)) / 3.0 / factor
        found |= {label: u for label, u in zip(labels, equivalent, strict=True) if np.isfinite(u)}
    return found


def _read_operations(values: _Values, cell: FloatArray) -> list[Operations]:
    """Symmetry operations; of both origins, where there are two and the file does not say which one it has."""
    for key in _OPERATIONS:
        if any(listed := values.column(key)):
            return [_listed_operations(listed, key, values.where)]
    try:
        hall = values.text(*_HALL)[:80]
        return [as_arrays(gemmi.symops_from_hall(hall))] if hall else _named_operations(values, cell)
    except RuntimeError:  # no symbol of Hall
        return _named_operations(values, cell)


def _listed_operations(listed: list[str | None], key: str, where: str) -> Operations:
    operations = {"x,y,z": gemmi.Op()}  # the identity, first
    for text in listed[:_MOST_IMAGES]:
        rows = "".join(text.split()).lower() if text and len(text) < 200 else ""
        try:
            operation = gemmi.Op(rows).wrap() if _OPERATION.fullmatch(rows) else None
        except RuntimeError:  # 1/5 is no translation of a crystal
            operation = None
        if operation is None:
            said = f"{(text or '?')[:40]!r} is no operation of a crystal such as x,1/2-y,-z"
            raise CrystalError(f"{where}: {key} cannot be read: {said}.")
        operations[operation.triplet()] = operation
    return as_arrays(operations.values())


def _stated_groups(values: _Values, cell: FloatArray) -> tuple[tuple[str, int], ...]:
    """What a file says of its space group, and the number that this is; nothing of what cannot be read."""
    said: list[tuple[str, str, gemmi.SpaceGroup | None]] = []
    for key in _NAMES:
        name = _NAME.fullmatch(text := values.text(key))
        said.append((key, text, find_space_group(name[1], cell) if name else None))
    for key in _NUMBERS:
        number = re.fullmatch("[0-9]{1,3}", text := values.text(key))
        said.append((key, text, gemmi.find_spacegroup_by_number(int(text)) if number else None))
    for key in _HALL:
        with contextlib.suppress(RuntimeError):  # no symbol of Hall
            text = values.text(key)[:80]
            said.append((key, text, gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(text)) if text else None))
    return tuple((f"{key} {text!r}", group.number) for key, text, group in said if group)


def _named_operations(values: _Values, cell: FloatArray) -> list[Operations]:
    number, name = values.text(*_NUMBERS), _NAME.fullmatch(values.text(*_NAMES))
    stated = gemmi.find_spacegroup_by_number(int(number)) if re.fullmatch("[0-9]{1,3}", number) else None
    found = find_space_group(name[1], cell) if name else None
    found = found or (find_space_group(stated.hm, cell) if stated else None)
    if found is None:
        raise CrystalError(f"{values.where}: no symmetry operations ({_OPERATIONS[1]}), and no known space group.")
    if found.ext not in ("1", "2"):
        return [as_arrays(found.operations())]
    origins = {"1": "1", "S": "1", "2": "2", "Z": "2"}.get(name[2] or name[3], "12") if name else "12"
    groups = [gemmi.find_spacegroup_by_name(found.hm, prefer=origin) for origin in origins]
    return [as_arrays(group.operations()) for group in groups]


def _images(place: FloatArray, operations: Operations, metric: FloatArray) -> FloatArray:
    """All places that operations make of one, after it is moved onto the axes and planes on which it all but lies."""
    rotations, translations = operations
    moves = rotations @ place + translations - place
    place = place + (moves - np.rint(moves))[_same_place(moves, metric)].mean(axis=0)
    images = (rotations @ place + translations) % 1.0
    return images[np.unique(np.argmax(_same_place(images[:, None] - images, metric), axis=1))]


def _same_place(apart: FloatArray, metric: FloatArray) -> NDArray[np.bool_]:
    apart = apart - np.rint(apart)
    return np.einsum("...k,kl,...l", apart, metric, apart) < SAME_PLACE**2


def _change_axes(written: WrittenCrystal, change: FloatArray) -> WrittenCrystal:
    """The crystal on other axes: columns of `change` are the new axes on the old ones."""
    metric = change.T @ written.metric @ change
    lengths = np.sqrt(np.diag(metric))
    cosines = metric / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))
    inverse = np.linalg.inv(change)
    # Points of the old lattice within the new cell
    reach = int(np.ceil(np.abs(change).sum(axis=1).max()))
    points = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ inverse.T % 1.0
    points = points[np.unique(np.round(points, 6) % 1.0, axis=0, return_index=True)[1]]
    places = np.round(((written.places @ inverse.T)[:, None] + points) % 1.0, 9).reshape(-1, 3) % 1.0
    kept = np.repeat(np.arange(len(written.places)), len(points))
    if abs(len(points) - np.linalg.det(change)) > 1e-3:
        # The new cell is no multiple of the old one: atoms fall on their equivalents.
        kinds, single = written.kinds[kept], np.zeros(len(kept), dtype=bool)
        for i in range(len(kept)):
            single[i] = not _same_place(places[single & (kinds == kinds[i])] - places[i], metric).any()
        places, kept = places[single], kept[single]
    return replace(
        written,
        # Undo the rounding of the cosines, so that a cell that is in its standard setting comes back as it is written.
        cell=np.round([*lengths, *angles], 9),
        elements=tuple(written.elements[i] for i in kept),
        places=places,
        amounts=written.amounts[kept],
    )


def _source(values: _Values) -> str:
    authors = [author for author in values.column("_publ_author_name") if author]
    head = authors[0] + (" et al." if len(authors) > 1 else "") if authors else ""
    journal = f"{values.text('_journal_name_full')} {values.text('_journal_volume')}".strip()
    citation = ", ".join(part for part in [head, journal, values.text("_journal_page_first")] if part)
    year = values.text("_journal_year")
    return f"{citation} ({year})" if citation and year else citation
