"""Ionisation edges and their optical oscillator strengths."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_text, read_toml


@dataclass(frozen=True)
class Edge:
    """An ionisation edge.

    Parameters
    ----------
    element, shell
        As in ``"Fe"``, ``"M2,3"``.
    onset_energy
        Onset in EELS, in eV.
    binding_energy
        Binding energy of the shallowest sub-shell in the pure element, in eV.
    occupation
        Electrons of the initial shell, which Thomas-Reiche-Kuhn expects as its oscillator strength.
    oscillator_strength
        Sum of the stored table up to 1500 eV above the onset; None for the analytic K shells.
    gos
        How its cross-section is computed: ``"hydrogenic"``, or ``"dipole"`` from tabulated photoabsorption.
    relative_systematic
        Relative standard uncertainty of its cross-section in a 50 eV window, without fine structure.
    sources
        Citations, in full.
    note
        What a user must know; may be empty.

    Examples
    --------
    >>> from hyperspy_assb.reference import edge
    >>> found = edge("Fe", "M2,3")
    >>> found.name, found.onset_energy, found.gos
    ('Fe M2,3', 54.0, 'dipole')
    """

    element: str
    shell: str
    onset_energy: float
    binding_energy: float
    occupation: int
    oscillator_strength: float | None
    gos: Literal["hydrogenic", "dipole"]
    relative_systematic: float
    sources: tuple[str, ...]
    note: str

    @property
    def name(self) -> str:
        """Such as ``"Fe M2,3"``."""
        return f"{self.element} {self.shell}"


@cache
def _all_edges() -> dict[str, Edge]:
    content = read_toml("edges.toml")
    table = {}
    for row in content["edge"]:
        edge_ = Edge(
            element=row["element"],
            shell=row["shell"],
            onset_energy=float(row["onset_energy"]),
            binding_energy=float(row["binding_energy"]),
            occupation=int(row["occupation"]),
            oscillator_strength=row.get("oscillator_strength"),
            gos=row["gos"],
            relative_systematic=float(row["relative_systematic"]),
            sources=tuple(content["sources"][key] for key in row["source"]),
            note=row.get("note", ""),
        )
        table[edge_.name] = edge_
    return table


def edge(element: str, shell: str) -> Edge:
    """One edge.

    Parameters
    ----------
    element
        Chemical symbol.
    shell
        ``"K"``, ``"L2,3"``, ``"M1"``, ``"M2,3"``, ``"M4,5"`` or ``"N4,5"``; ``"M23"`` and ``"L23"`` are understood.

    Returns
    -------
    Edge
        With its onset, strength and sources.

    Raises
    ------
    UnknownReferenceError
        If the tables do not have this edge.

    Examples
    --------
    >>> edge("Fe", "M2,3").onset_energy
    54.0
    """
    table = _all_edges()
    wanted = f"{element} {shell}".replace(",", "")
    for name, found in table.items():
        if name.replace(",", "") == wanted:
            return found
    of_element = [name for name, e in table.items() if e.element == element]
    raise UnknownReferenceError.of("edge", f"{element} {shell}", of_element or table)


def edges(elements: Iterable[str] | None = None) -> tuple[Edge, ...]:
    """All edges of some elements (of all, by default), in the order of their onsets.

    Parameters
    ----------
    elements
        Symbols, one or several; None: all elements.

    Returns
    -------
    tuple of Edge
        Of the tables; it may lack some that the element has.

    Raises
    ------
    UnknownReferenceError
        If one of the elements has no edge in the tables.

    Examples
    --------
    >>> [e.name for e in edges(["Li", "Fe"])]
    ['Fe M2,3', 'Li K', 'Fe M1', 'Fe L2,3']
    """
    table = sorted(_all_edges().values(), key=lambda e: e.onset_energy)
    if elements is None:
        return tuple(table)
    if isinstance(elements, str):
        elements = [elements]
    wanted = list(elements)
    known = sorted({e.element for e in table})
    for element in wanted:
        if element not in known:
            raise UnknownReferenceError.of("edge of the element", element, known)
    return tuple(e for e in table if e.element in wanted)


@cache
def _strengths() -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    rows = csv.reader(line for line in read_text("oscillator_strengths.csv").splitlines() if not line.startswith("#"))
    header = next(rows)
    columns = np.array([[float(value) for value in row] for row in rows]).T.copy()
    columns.setflags(write=False)  # shared by every caller
    return columns[0], dict(zip(header[1:], columns[1:], strict=True))


def oscillator_strength(element: str, shell: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Optical oscillator-strength density of one sub-shell.

    Parameters
    ----------
    element, shell
        As for :func:`edge`; the K shells are analytic and have no table.

    Returns
    -------
    relative_energy
        Energy above the onset in eV, shape (256,): 0 to 1500 eV, ``20 * expm1(i * step)``. Read only.
    strength
        df/dE in 1/eV per atom, shape (256,), other shells removed. Read only.

    Raises
    ------
    UnknownReferenceError
        If there is no such edge, or no table for it.

    Notes
    -----
    Photoabsorption of the elements [1]_: the giant resonance 3p -> 3d of the metals is in it, the multiplets of a
    compound are not. What belongs to M2,3 is what rises above the power law of the pre-edge; where that has an
    exponent wrong by 0.5, the strength within 50 eV changes by 5 % (V), 6 % (Fe), 7 % (Mn) or 11 % (Co, Ni).
    ``tools/derive_oscillator_strengths.py`` in the repository derives the table.

    References
    ----------
    .. [1] B. L. Henke, E. M. Gullikson, J. C. Davis, At. Data Nucl. Data Tables 54, 181 (1993).

    Examples
    --------
    >>> energy, strength = oscillator_strength("Fe", "M2,3")
    >>> energy.shape, round(float(energy[strength.argmax()]), 1)
    ((256,), 4.1)
    """
    found = edge(element, shell)
    relative_energy, table = _strengths()
    key = found.name.replace(",", "")
    if key not in table:
        raise UnknownReferenceError.of("oscillator-strength table of", found.name, table)
    return relative_energy, table[key]
