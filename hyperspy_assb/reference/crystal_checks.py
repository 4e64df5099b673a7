"""What a CIF says of a crystal, held against the rest of the file and against what crystals can be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference.electron_scattering import electron_scattering_table
from hyperspy_assb.reference.space_groups import SAME_PLACE

FloatArray = NDArray[np.float64]


class CrystalError(AssbValueError):
    """A CIF that does not describe a crystal that can be simulated; the message names the file."""


_TOO_NEAR = 0.5  # Å; the shortest bond, that of H2, is 0.74 Å
_FULL, _OVERFULL = 0.95, 1.05
_DENSEST, _EMPTIEST = 3.0, 150.0  # Å³ per atom; diamond has 5.7, caesium 115
_AS_WRITTEN = 1.05  # occupancies are refined, and formulas rounded

# O2-, Fe+3, Fe2.5+, Li1, 7Li
_SYMBOL = re.compile(r"(?:[0-9]{1,3}-?)?([A-Za-z]{1,2})([0-9]?|[0-9]*\.?[0-9]*[+-]|[+-][0-9]*\.?[0-9]*)")
# Fe1, O1A, O(2), Fe(tet), C1', Li1_2, Fe3+; of letters outside of brackets, at most two follow digits or marks
_LABEL = re.compile(
    r"(?:[0-9]{1,3}-?)?([A-Za-z]{1,3})(?:\([A-Za-z0-9]{1,9}\))?((?:[^A-Za-z/,.]+[A-Za-z]{0,2})?[^A-Za-z/,.]*)"
)
# Labels of water, and of H in OH (holmium is written Ho), in files without symbols of the elements
_WORDS = (
    (re.compile("(?:wat|h2o)(?![a-z])", re.IGNORECASE), "O"),
    (re.compile("O[HW](?![A-Za-z])"), "O"),
    (re.compile("HO(?![A-Za-z])"), "H"),
)
_OF_GROUPS = "FHNOPS"
"""After another symbol, these are as likely the next atom of a group (PO4, NO3) as the mark of a site (FeA)."""
_FORMULA = re.compile(r"(?:[A-Z][a-z]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)?[ ,]*)+")


def element_of(symbol: str, formula: Mapping[str, float] | None = None) -> str | None:
    """Element of a symbol such as ``Fe0+``, ``O2-``, ``D``; None if there is none, or more than one.

    Parameters
    ----------
    symbol
        With its charge.
    formula
        Atoms of the crystal, if known: they tell cobalt from carbon and oxygen where ``CO`` is written.
    """
    found = _SYMBOL.fullmatch(symbol)
    if found is None:
        return None
    letters = found[1]
    if "+" not in found[2] and "-" not in found[2] and not _is_one(letters, formula or {}):
        return None
    return _known(letters)


def element_of_label(label: str, formula: Mapping[str, float] | None = None) -> str | None:
    """Element of a label such as ``Fe1``, ``FeA``, ``Ow``, as :func:`element_of`."""
    word = next((element for word, element in _WORDS if word.match(label)), None)
    if word:
        return word
    found = _LABEL.fullmatch(label)
    if found is None or any(pair in electron_scattering_table() for pair in re.findall("[A-Z][a-z]", found[2])):
        return None
    letters = found[1]
    if not _is_one(letters, formula or {}):
        return None
    if len(letters) < 3 and _known(letters):
        return _known(letters)
    # FeA, Ow: a last letter that tells sites apart
    return None if letters[-1] in _OF_GROUPS or re.search("[A-Z][a-z]$", letters[1:]) else _known(letters[:-1])


def _known(letters: str) -> str | None:
    symbol = letters.capitalize()
    return "H" if symbol == "D" else symbol if symbol in electron_scattering_table() else None


def _is_one(letters: str, formula: Mapping[str, float]) -> bool:
    """Whether two letters of one size are one element, and not two that are bound."""
    if len(letters) != 2 or letters[0].isupper() != letters[1].isupper() or letters[1].upper() not in _OF_GROUPS:
        return True
    if _known(letters[0]) is None:
        return True
    return letters.capitalize() in formula and not {letters[0].upper(), letters[1].upper()} <= set(formula)


def atoms_of_formula(text: str) -> dict[str, float]:
    """Atoms of a formula such as ``Li Mn2 O4`` or ``Fe.65 Mn.35 P O4``; empty if it is none."""
    atoms: dict[str, float] = {}
    if len(text) < 1000 and _FORMULA.fullmatch(text):
        for symbol, number in re.findall(r"([A-Z][a-z]?)([0-9.]*)", text):
            element = "H" if symbol == "D" else symbol
            atoms[element] = atoms.get(element, 0.0) + float(number or 1)
    return atoms


def has_formula(there: Mapping[str, float], formula: Mapping[str, float], within: float = _AS_WRITTEN) -> bool:
    """Whether atoms are those of a formula, or a multiple of them."""
    both = {*there, *formula}
    units = [there.get(element, 0.0) / max(formula.get(element, 0.0), 1e-9) for element in both]
    return bool(max(units) < within * min(units))


def counted(elements: Iterable[str], amounts: Iterable[float]) -> dict[str, float]:
    """Atoms by their elements."""
    atoms: dict[str, float] = {}
    for element, amount in zip(elements, amounts, strict=True):
        atoms[element] = atoms.get(element, 0.0) + float(amount)
    return atoms


def check_group(where: str, stated: Iterable[tuple[str, int]], found: int | None = None, listed: int = 0) -> None:
    """Raise CrystalError if the groups that a file states are not one, or not that of its operations.

    Parameters
    ----------
    where
        Name of the file.
    stated
        What the file says, and the number of the space group that this is.
    found
        Number of the group of the listed operations.
    listed
        How many operations that are; of one, the atoms make the group.
    """
    claims = list(stated)
    for words, number in claims:
        if claims[0][1] != number:
            raise CrystalError(
                f"{where}: {claims[0][0]} is not space group {number}, which {words} is: correct the one that is wrong."
            )
        if found not in (None, number) and (listed, number) != (1, 1):
            raise CrystalError(
                f"{where}: {words} is space group {number}, but the {listed} symmetry operations of the file make "
                f"space group {found}: complete the operations, or correct the group."
            )


def check_sites(
    where: str,
    labels: Sequence[str],
    amounts: FloatArray,
    images: Sequence[FloatArray],
    metric: FloatArray,
    caveats: list[str],
) -> None:
    """Raise CrystalError if atoms lie on one another; add to the caveats what is odd of single ones.

    Parameters
    ----------
    where
        Name of the file.
    labels
        Of the atoms that the file lists.
    amounts
        Occupancy and U in Å² of each.
    images
        Places of each in the cell, shape (n, 3).
    metric
        a·a, a·b ... of the cell in Å².
    caveats
        To which is added.
    """
    which = np.repeat(np.arange(len(images)), [len(image) for image in images])
    near_by: list[str] = []
    places, occupancies = np.concatenate(images), amounts[which, 0]
    for i, (label, image) in enumerate(zip(labels, images, strict=True)):
        apart = places - image[0]
        apart -= np.rint(apart)
        distance = np.sqrt(np.einsum("ij,jk,ik->i", apart, metric, apart))
        here = distance < SAME_PLACE
        # Alone, an atom may be written with an occupancy above 1.
        if occupancies[here].sum() > _OVERFULL and here.sum() > 1:
            names = ", ".join(dict.fromkeys(labels[j] for j in which[here][:9]))
            raise CrystalError(
                f"{where}: the atoms {names} are in one place, where their occupancies add up to "
                f"{occupancies[here].sum():.3g}: remove duplicates, or give _atom_site_occupancy."
            )
        near = (distance < _TOO_NEAR) & ~here & (occupancies > _FULL)
        if amounts[i, 0] > _FULL and near.any():
            other = labels[which[near][np.argmin(distance[near])]]
            near_by.append(f"{label} and {other} ({distance[near].min():.2f} Å)")
    if near_by:
        caveats.append(f"Atoms that are full are nearer to one another than any can be: {', '.join(near_by[:9])}.")
    if full := [label for label, (occupancy, _) in zip(labels, amounts, strict=True) if occupancy > 1.0 + 1e-6]:
        caveats.append(f"Atoms have an occupancy above 1: {', '.join(full[:9])}.")
    if negative := [label for label, (_, u) in zip(labels, amounts, strict=True) if u < 0.0]:
        caveats.append(f"Atoms have a negative displacement: {', '.join(negative[:9])}.")
    room = np.sqrt(np.linalg.det(metric)) / max(occupancies.sum(), 1e-9)
    if room < _DENSEST:
        caveats.append(
            f"An atom such as {labels[0]} has {room:.2g} Å³ in the cell, which no crystal has: are its lengths in Å?"
        )
    if room > _EMPTIEST:
        caveats.append(f"There are few atoms for the cell: {room:.3g} Å³ for each, such as {labels[0]}.")
