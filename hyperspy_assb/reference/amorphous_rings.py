"""Diffuse rings of amorphous materials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from hyperspy_assb.reference.data_files import read_toml


@dataclass(frozen=True)
class Ring:
    """One diffuse ring.

    Parameters
    ----------
    radius, fwhm
        Position and full width at half of the height in 1/Å.
    height
        Relative to the first ring of the material.
    kind
        ``"observed"``, ``"derived"`` (from cited data) or ``"estimate"`` (a choice of this project).
    meaning, note, source
        What it is, where the numbers are from, and the citation of its material.

    Examples
    --------
    >>> from hyperspy_assb.reference import material
    >>> [round(ring.radius, 2) for ring in material("carbon").rings]
    [0.29, 0.47, 0.81]
    """

    radius: float
    fwhm: float
    height: float
    kind: str
    meaning: str
    note: str
    source: str


@cache
def ring_tables() -> Mapping[str, tuple[Ring, ...]]:
    """Rings of amorphous materials by ascending radius, by the name of their table.

    Examples
    --------
    >>> [ring.radius for ring in ring_tables()["carbon"]]
    [0.286, 0.47, 0.813]
    """
    return MappingProxyType(
        {
            row["name"]: tuple(Ring(**ring, source=row["source"]) for ring in row["ring"])
            for row in read_toml("rings.toml")["material"]
        }
    )
