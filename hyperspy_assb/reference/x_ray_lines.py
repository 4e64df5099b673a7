"""Ionisation by electrons and fluorescence of the elements of the cell: what X-rays an atom gives."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_text, read_toml


@dataclass(frozen=True)
class Subshell:
    """A subshell of an atom.

    Parameters
    ----------
    name
        Such as "K" or "L3".
    edge
        eV.
    high
        Coefficients b, A, g1 to g4 above sixteen times the edge energy.
    low
        Coefficients a1 to a5 below.
    fluorescence
        Probability that a vacancy emits a photon.
    transfer
        Probability that a vacancy moves on to another subshell, by name.

    Examples
    --------
    >>> from hyperspy_assb.reference import x_ray_atom
    >>> iron = x_ray_atom("Fe").subshells["K"]
    >>> round(iron.edge), round(iron.fluorescence, 2)
    (7083, 0.35)
    """

    name: str
    edge: float
    high: tuple[float, ...]
    low: tuple[float, ...]
    fluorescence: float
    transfer: Mapping[str, float]


@dataclass(frozen=True)
class Atom:
    """What is known of the X-rays of an element.

    Parameters
    ----------
    element
        Symbol.
    number
        Atomic number.
    mass
        u.
    subshells
        By name, from the inner to the outer.

    Examples
    --------
    >>> from hyperspy_assb.reference import x_ray_atom
    >>> iron = x_ray_atom("Fe")
    >>> sorted(iron.subshells)[:2]
    ['K', 'L1']
    """

    element: str
    number: int
    mass: float
    subshells: Mapping[str, Subshell]


@cache
def _atoms() -> dict[str, Atom]:
    table = {}
    for element, row in read_toml("x_rays.toml").items():
        shells = {
            name: Subshell(
                name=name,
                edge=float(shell["edge"]),
                high=(float(shell["b"]), float(shell["a"]), *(float(g) for g in shell["g"])),
                low=tuple(float(a) for a in shell["low"]),
                fluorescence=float(shell["yield"]),
                transfer=MappingProxyType({k: float(v) for k, v in shell.get("transfer", {}).items()}),
            )
            for name, shell in row.items()
            if isinstance(shell, dict)
        }
        table[element] = Atom(element, int(row["z"]), float(row["mass"]), MappingProxyType(shells))
    return table


@dataclass(frozen=True)
class LineComponent:
    """One of the lines that a detector shows as one, such as Kα1 and Kα2.

    Parameters
    ----------
    offset
        keV from the strongest of them.
    share
        Of the intensity.
    width
        Natural full width at half maximum in keV.

    Examples
    --------
    >>> from hyperspy_assb.reference import line_components
    >>> strongest, weaker = line_components("Ge", "Ka")
    >>> strongest.offset, strongest.share > weaker.share
    (0.0, True)
    """

    offset: float
    share: float
    width: float


@cache
def _components() -> dict[tuple[str, str], tuple[LineComponent, ...]]:
    rows = csv.reader(line for line in read_text("x_ray_line_components.csv").splitlines() if line[0] != "#")
    next(rows)
    table: dict[tuple[str, str], tuple[LineComponent, ...]] = {}
    for element, line, offset, share, width in rows:
        part = LineComponent(0.001 * float(offset), float(share), 0.001 * float(width))
        table[element, line] = (*table.get((element, line), ()), part)
    return table


def line_components(element: str, line: str) -> tuple[LineComponent, ...]:
    """What a line is made up of: splitting, shares and natural widths; empty where nothing is known.

    W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63, 121 (2002), doi 10.1016/S0969-806X(01)00227-4;
    for the widths of levels O. Keski-Rahkonen and M. O. Krause, At. Data Nucl. Data Tables 14, 139 (1974), and M. O.
    Krause and J. H. Oliver, J. Phys. Chem. Ref. Data 8, 329 (1979).

    Parameters
    ----------
    element, line
        Such as "Ge", "Ka".

    Returns
    -------
    tuple of LineComponent
        Whose shares add up to 1.

    Examples
    --------
    >>> [(round(1000 * part.offset, 1), part.share) for part in line_components("Ge", "Ka")]
    [(0.0, 0.661), (-31.1, 0.339)]
    """
    return _components().get((element, line), ())


def x_ray_atom(element: str) -> Atom:
    """Subshells of an element.

    Parameters
    ----------
    element
        Symbol.

    Returns
    -------
    Atom
        With its subshells.

    Raises
    ------
    UnknownReferenceError
        If the table does not have the element.

    Examples
    --------
    >>> x_ray_atom("Fe").subshells["K"].edge
    7083.48
    """
    if element not in _atoms():
        raise UnknownReferenceError.of("element with X-ray constants", element, _atoms())
    return _atoms()[element]


def x_ray_elements() -> tuple[str, ...]:
    """Elements of the table.

    Returns
    -------
    tuple of str
        Symbols.

    Examples
    --------
    >>> {"O", "P", "Fe", "Ge"} <= set(x_ray_elements())
    True
    """
    return tuple(_atoms())
