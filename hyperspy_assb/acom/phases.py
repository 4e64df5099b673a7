"""Crystal structures of phases, from CIFs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffpy.structure import Structure


@dataclass(frozen=True)
class CrystalPhase:
    """A crystalline phase in its standard setting.

    Parameters
    ----------
    name
        Such as ``"LiFePO4"``.
    space_group
        Number.
    structure
        All atoms of the cell, with elements (no charges), fractional coordinates, occupancies; lengths in Å.
    source
        Citation.
    caveat
        What is not known of it, such as coordinates that are not measured; empty if nothing.
    """

    name: str
    space_group: int
    structure: Structure
    source: str = ""
    caveat: str = ""
