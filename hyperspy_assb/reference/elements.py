"""Chemical elements: mass and valence electrons."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_text

_NOBLE_GASES = (86, 54, 36, 18, 10, 2, 0)


@dataclass(frozen=True)
class Element:
    """A chemical element.

    Parameters
    ----------
    symbol
        Such as ``"Fe"``.
    number
        Atomic number.
    mass
        Standard atomic weight in u; the mass number of a long-lived isotope where there is no standard weight.

    Examples
    --------
    >>> from hyperspy_assb.reference import element
    >>> iron = element("Fe")
    >>> iron.number, iron.mass, iron.valence_electrons
    (26, 55.845, 8)
    """

    symbol: str
    number: int
    mass: float

    @property
    def valence_electrons(self) -> int:
        """Outer s and p electrons, and the outer d electrons of the transition metals (groups 3 to 11).

        The full d shells of groups 12 to 18 (Zn, Ge ...) and f electrons are taken for core.
        """
        core = next(z for z in _NOBLE_GASES if z < self.number)
        outer = self.number - core
        if core >= 54:  # the 14 f electrons come before the d shell
            if 3 <= outer <= 16:
                return 3
            outer = outer if outer <= 2 else outer - 14
        if core < 18 or outer <= 11:
            return outer
        return outer - 10


@cache
def elements() -> Mapping[str, Element]:
    """All elements by their symbols, H to Og."""
    rows = csv.reader(line for line in read_text("elements.csv").splitlines() if not line.startswith("#"))
    next(rows)
    return MappingProxyType({symbol: Element(symbol, int(number), float(mass)) for symbol, number, mass in rows})


def element(symbol: str) -> Element:
    """One element.

    Parameters
    ----------
    symbol
        Such as ``"Fe"``.

    Returns
    -------
    Element
        With its number and mass.

    Raises
    ------
    UnknownReferenceError
        If there is no such symbol.

    Examples
    --------
    >>> element("Ge").mass, element("Ge").valence_electrons, element("Fe").valence_electrons
    (72.63, 4, 8)
    """
    if symbol not in elements():
        raise UnknownReferenceError.of("element", symbol, elements())
    return elements()[symbol]
