"""Cells of crystals from their CIFs, and how many formula units they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from math import cos, radians, sqrt
from pathlib import Path

from hyperspy_assb.reference.data_files import MaterialError

Cell = tuple[float, float, float, float, float, float]
"""a, b, c in nm and alpha, beta, gamma in degrees."""

_ITEMS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_TRACES = 0.02
"""Share of the atoms of a cell that may be of elements that the formula leaves out."""
_VALUE = r"""['"]?([0-9]*\.?[0-9]+|[0-9]+\.)(?:\([0-9]+\))?['"]?(?=\s|$)"""


def read_cif_text(path: Path) -> str:
    """Text of a CIF; old ones are in Latin-1.

    Parameters
    ----------
    path
        Of a CIF.

    Returns
    -------
    str
        As it stands in the file.

    Examples
    --------
    >>> from hyperspy_assb.reference import material
    >>> "Fe" in read_cif_text(material("LiFePO4").cif)
    True
    """
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def cell_of(lengths_and_angles: list[str]) -> Cell:
    """The cell from three lengths in Å and three angles in degrees, as they are written.

    Raises
    ------
    MaterialError
        If there is no such cell.
    """
    # In decimals: 10.334 Å are 1.0334 nm to the last digit.
    lengths = (float(Decimal(text).scaleb(-1)) for text in lengths_and_angles[:3])
    a, b, c, *angles = *lengths, *(float(text) for text in lengths_and_angles[3:])
    cell = (a, b, c, *angles)
    if not (min(a, b, c) > 0.0 and all(0.0 < angle < 180.0 for angle in angles) and _squared_volume(cell) > 0.0):
        raise MaterialError(f"a cell of {', '.join(lengths_and_angles)} (Å, degrees) is impossible.")
    return (a, b, c, angles[0], angles[1], angles[2])


def cell_volume(cell: Cell) -> float:
    """Volume in nm³."""
    a, b, c, *_ = cell
    return a * b * c * sqrt(_squared_volume(cell))


def _squared_volume(cell: tuple[float, ...]) -> float:
    """Of the same cell with edges of length 1."""
    ca, cb, cg = (cos(radians(angle)) for angle in cell[3:])
    return 1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg


def read_cell(path: Path) -> Cell:
    """The cell of a CIF.

    Raises
    ------
    MaterialError
        If it has none, or an impossible one.
    """
    text = read_cif_text(path)
    found = [re.search(rf"^\s*_cell_{item}\s+{_VALUE}", text, re.MULTILINE | re.IGNORECASE) for item in _ITEMS]
    missing = [f"_cell_{item}" for item, value in zip(_ITEMS, found, strict=True) if value is None]
    if missing:
        raise MaterialError(f"the CIF {path} has no {', '.join(missing)}.")
    return cell_of([value[1] for value in found if value is not None])


def count_formula_units(path: Path, composition: Mapping[str, float]) -> float:
    """Formula units in the cell of a CIF, from its atoms.

    Parameters
    ----------
    path
        Of the CIF.
    composition
        Atoms per formula unit. Sites that the CIF leaves out, such as those of mobile ions or of hydrogen, do not
        matter as long as most of the atoms are there; other elements do.

    Raises
    ------
    MaterialError
        If it cannot be read, or its atoms are not those of the formula.
    """
    from hyperspy_assb.reference.cif import CrystalError, read_cif  # space groups, only where a row needs this

    try:
        crystal = read_cif(read_cif_text(path), f"the CIF {path}")
    except CrystalError as error:
        raise MaterialError(str(error)) from error
    held: dict[str, float] = {}
    for symbol, (occupancy, _) in zip(crystal.elements, crystal.amounts, strict=True):
        held[symbol] = held.get(symbol, 0.0) + float(occupancy)
    units = {symbol: held.get(symbol, 0.0) / number for symbol, number in composition.items()}
    # The number that most of the atoms agree on.
    agreed = max(units.values(), key=lambda n: _agreeing(n, units, composition))
    other = sum(number for symbol, number in held.items() if symbol not in composition)
    few = 2 * _agreeing(agreed, units, composition) <= sum(composition.values())
    if not agreed > 0.0 or few or other > _TRACES * sum(held.values()):
        atoms_held = " ".join(f"{symbol}{number:g}" for symbol, number in held.items()) or "none"
        raise MaterialError(f"the atoms in the cell of the CIF {path} ({atoms_held}) are not those of the formula.")
    return round(agreed) if abs(agreed - round(agreed)) < 0.01 else agreed


def _agreeing(number: float, units: Mapping[str, float], composition: Mapping[str, float]) -> float:
    return sum(composition[symbol] for symbol, n in units.items() if abs(n - number) <= 0.01 * number)
