"""Colours of materials, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable

from hyperspy_assb.plotting.style import COLOURS
from hyperspy_assb.reference import UnknownReferenceError, material
from hyperspy_assb.reference.materials import materials

AMORPHOUS = "#9ad0b8"
"""Of amorphous material that nobody named."""
NOT_OFFERED = "#ff2bd6"
"""Of crystals of none of the phases that were offered."""


def _palette() -> list[str]:
    """Colours that no material has; the first two of the palette, which lines use most, at the end."""
    taken = {row.colour.lower() for row in materials.values() if row.colour is not None}
    return [colour for colour in (*COLOURS[2:], *COLOURS[:2]) if colour not in taken] or list(COLOURS)


def _own(name: str) -> str | None:
    """Colour of a material or of amorphous material; None for any other name."""
    if name == "amorphous":
        return AMORPHOUS
    if name == "not offered":
        return NOT_OFFERED
    try:
        found = material(name)
    except UnknownReferenceError:
        return None
    if found.colour is not None:
        return found.colour
    without = [row.name for row in materials.values() if row.colour is None]
    palette = _palette()
    return palette[without.index(found.name) % len(palette)]


def colour_of(name: str) -> str:
    """Colour of a material.

    Parameters
    ----------
    name
        Its name or an alias.

    Returns
    -------
    colour
        That of its row, such as ``"#d62728"``. Materials without one share out a palette in their order; a name that is
        no material has the first colour of it.

    Examples
    --------
    >>> colour_of("LFP"), colour_of("LiFePO4")
    ('#d62728', '#d62728')
    """
    return _own(name) or _palette()[0]


def is_material(name: str) -> bool:
    """Whether a name has a colour of its own in every figure.

    Examples
    --------
    >>> is_material("amorphous_LAGP"), is_material("above 1")
    (True, False)
    """
    return _own(name) is not None


def class_colours(names: Iterable[str]) -> dict[int, str]:
    """Colours of classes by their number, -1 (no answer) included.

    Names that are no materials have colours of the palette in their order, apart from each other.
    """
    own = [_own(name) for name in names]
    palette = _palette()
    spare = iter([colour for colour in palette if colour not in own] + palette * len(own))
    return {-1: "white", **{number: colour or next(spare) for number, colour in enumerate(own)}}
