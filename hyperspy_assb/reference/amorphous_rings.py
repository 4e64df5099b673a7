"""Diffuse rings of amorphous materials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_toml


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
    meaning, note
        What it is, and where the numbers are from.
    """

    radius: float
    fwhm: float
    height: float
    kind: str
    meaning: str
    note: str


@dataclass(frozen=True)
class RingMaterial:
    """An amorphous material by its rings.

    Parameters
    ----------
    name
        Such as ``"carbon"``.
    rings
        By ascending radius.
    meaning, source
        What it is, and the citation.
    """

    name: str
    rings: tuple[Ring, ...]
    meaning: str
    source: str


@cache
def _all_materials() -> dict[str, RingMaterial]:
    return {
        row["name"]: RingMaterial(
            row["name"], tuple(Ring(**ring) for ring in row["ring"]), row["meaning"], row["source"]
        )
        for row in read_toml("rings.toml")["material"]
    }


def ring_material(name: str) -> RingMaterial:
    """An amorphous material by its name.

    Raises
    ------
    UnknownReferenceError
        If there is none of that name.

    Examples
    --------
    >>> [ring.radius for ring in ring_material("carbon").rings]
    [0.286, 0.47, 0.813]
    """
    table = _all_materials()
    if name not in table:
        raise UnknownReferenceError.of("amorphous material", name, table)
    return table[name]


def ring_materials() -> tuple[RingMaterial, ...]:
    """All amorphous materials."""
    return tuple(_all_materials().values())
