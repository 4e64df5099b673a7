"""Mass absorption of X-rays by a second source, and lines that exspy's database has not."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_text

_L2_TO_L3 = 0.3
"""Lβ1 over Lα of the 3d metals: half as many 2p1/2 as 2p3/2 states, of whose vacancies Coster-Kronig transitions take
part."""
_WEIGHT = {"Lb1": _L2_TO_L3, "Ln": 0.5}
"""Relative to the strongest line of the family."""


def _rows(name: str) -> list[list[str]]:
    rows = csv.reader(line for line in read_text(name).splitlines() if not line.startswith("#"))
    next(rows)
    return list(rows)


@cache
def _coefficients() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    table: dict[str, list[tuple[float, float]]] = {}
    for element, energy, value in _rows("mass_absorption.csv"):
        table.setdefault(element, []).append((np.log(0.001 * float(energy)), np.log(float(value))))
    return {element: (np.array(rows)[:, 0], np.array(rows)[:, 1]) for element, rows in table.items()}


def mass_absorption(element: str, energy: ArrayLike) -> NDArray[np.float64]:
    """Mass absorption coefficient of an element by W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63,
    121 (2002), doi 10.1016/S0969-806X(01)00227-4: beside that of exspy, how well it is known.

    Parameters
    ----------
    element
        Symbol, from Li to U.
    energy
        keV; below 0.1 and above 40 keV, the value there.

    Returns
    -------
    coefficient
        cm^2/g, in the shape of the energies.

    Raises
    ------
    UnknownReferenceError
        If the table does not have the element.

    Examples
    --------
    >>> from hyperspy_assb.reference import mass_absorption
    >>> mass_absorption("V", [0.5249, 4.95]).round(-1)
    array([17300.,   100.])
    """
    if element not in _coefficients():
        raise UnknownReferenceError.of("element with mass absorption", element, _coefficients())
    energies, values = _coefficients()[element]
    return np.exp(np.interp(np.log(np.asarray(energy, dtype=float)), energies, values))


@cache
def _added() -> dict[str, tuple[tuple[str, float, float], ...]]:
    table: dict[str, tuple[tuple[str, float, float], ...]] = {}
    for element, line, energy in _rows("x_ray_lines_added.csv"):
        weight = _WEIGHT.get(line, 1.0)
        table[element] = (*table.get(element, ()), (line, 0.001 * float(energy), weight))
    return table


def added_lines(element: str) -> tuple[tuple[str, float, float], ...]:
    """Lines that exspy's database lacks: Lβ1 of Ti, V, Cr, Mn, Fe and Co, Lℓ and Lη of K, Mζ of Mo to Ba.

    Parameters
    ----------
    element
        Symbol.

    Returns
    -------
    tuple of (name, keV, weight)
        Weights are relative to the strongest line of the family, and good to a half.

    Examples
    --------
    >>> from hyperspy_assb.reference import added_lines
    >>> added_lines("Fe")
    (('Lb1', 0.7179, 0.3),)
    """
    return _added().get(element, ())


@cache
def _by_levels() -> dict[str, tuple[tuple[str, float], ...]]:
    table: dict[str, tuple[tuple[str, float], ...]] = {}
    for element, line, energy in _rows("x_ray_lines_by_levels.csv"):
        table[element] = (*table.get(element, ()), (line, 0.001 * float(energy)))
    return table


def lines_by_levels(element: str) -> tuple[tuple[str, float], ...]:
    """Lines of the M families from La to U that tables do not list, such as M3N1: only their energies are known.

    Parameters
    ----------
    element
        Symbol.

    Returns
    -------
    tuple of (name, keV)
        Differences of levels, good to some eV; empty for elements before La.

    Examples
    --------
    >>> from hyperspy_assb.reference import lines_by_levels
    >>> dict(lines_by_levels("Pt"))["M3N1"]
    1.92
    """
    return _by_levels().get(element, ())
