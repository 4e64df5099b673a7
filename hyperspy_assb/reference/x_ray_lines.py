"""Ionisation by electrons and fluorescence of the elements of the cell: what X-rays an atom gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_toml


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
