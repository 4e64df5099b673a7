"""What is known of a material and of an electrode."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbTypeError
from hyperspy_assb.reference.amorphous_rings import Ring
from hyperspy_assb.reference.crystal_cells import Cell, cell_volume
from hyperspy_assb.reference.data_files import MissingFactError
from hyperspy_assb.reference.elements import element
from hyperspy_assb.reference.formulas import parse_formula

_ATOMIC_MASS_G = 1.66053906892e-24  # CODATA 2022
_PLASMON_EV2_NM3 = 1.378842  # hbar^2 e^2 / (eps0 m), CODATA 2022

SIGNATURES = ("FePO4 5 eV band", "Li K")
"""What in a spectrum can tell the end members of an electrode apart, beside the spectra as wholes."""

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True)
class Material:
    """A material: a row of a table, and what follows from it.

    Parameters
    ----------
    name
        Such as ``"LiFePO4"``.
    formula
        Chemical formula; see ``parse_formula``.
    file
        The table in which the row stands.
    aliases
        Other names by which :func:`~hyperspy_assb.reference.material` finds it.
    role
        ``"electrode"``, ``"electrolyte"``, ``"additive"``, ``"support"`` or ``"protection"``; None if not given.
    colour
        In all figures, such as ``"#d62728"``; None: one of the palette.
    sources
        Citations.
    cif
        Its crystal structure; None if not known.
    cell
        a, b, c in nm and alpha, beta, gamma in degrees; None if not known.
    formula_units
        Formula units per cell; None if not known.
    written_density
        Mass density in g/cm3 that the row gives; None: that of the cell, if any.
    rings
        Diffuse rings in electron diffraction, for an amorphous material; may be empty.

    Notes
    -----
    A fact that is not known is None (or empty): what needs it asks by :meth:`needed`.

    Examples
    --------
    >>> from hyperspy_assb import materials
    >>> lfp = materials["LiFePO4"]
    >>> dict(lfp.composition)
    {'Li': 1.0, 'Fe': 1.0, 'P': 1.0, 'O': 4.0}
    >>> round(lfp.molar_mass, 2), round(lfp.density, 2), round(lfp.formula_density, 2)
    (157.75, 3.59, 13.72)
    >>> round(lfp.cell_volume, 4), lfp.valence_electrons, round(lfp.free_electron_plasmon_energy, 1)
    (0.2915, 38.0, 26.8)
    """

    name: str
    formula: str
    file: Path
    aliases: tuple[str, ...] = ()
    role: str | None = None
    colour: str | None = None
    sources: tuple[str, ...] = ()
    cif: Path | None = None
    cell: Cell | None = None
    formula_units: float | None = None
    written_density: float | None = None
    rings: tuple[Ring, ...] = ()

    @property
    def composition(self) -> Mapping[str, float]:
        """Atoms per formula unit."""
        return parse_formula(self.formula)

    @property
    def molar_mass(self) -> float:
        """Mass of a formula unit in u."""
        return sum(number * element(symbol).mass for symbol, number in self.composition.items())

    @property
    def cell_volume(self) -> float | None:
        """Volume of the cell in nm3; None if the cell is not known."""
        return None if self.cell is None else cell_volume(self.cell)

    @property
    def density(self) -> float | None:
        """Mass density in g/cm3: that of the row, else that of the cell; None if neither is known."""
        if self.written_density is not None:
            return self.written_density
        if self.cell is None or self.formula_units is None:
            return None
        return self.formula_units / cell_volume(self.cell) * (self.molar_mass * _ATOMIC_MASS_G) * 1e21

    @property
    def formula_density(self) -> float:
        """Formula units per nm3.

        Raises
        ------
        MissingFactError
            If the density is not known.
        """
        if self.written_density is None and self.cell is not None and self.formula_units is not None:
            return self.formula_units / cell_volume(self.cell)
        density: float = self.needed("density", by="A number of atoms in a volume")
        return density / (self.molar_mass * _ATOMIC_MASS_G) * 1e-21  # 1 cm3 = 1e21 nm3

    @property
    def valence_electrons(self) -> float:
        """Per formula unit, d electrons of the transition metals included."""
        return sum(number * element(symbol).valence_electrons for symbol, number in self.composition.items())

    @property
    def free_electron_plasmon_energy(self) -> float:
        """Plasmon energy in eV of all valence electrons as a free gas: an estimate, good to about 10 %.

        Raises
        ------
        MissingFactError
            If the density is not known.
        """
        return sqrt(_PLASMON_EV2_NM3 * self.valence_electrons * self.formula_density)

    def atom_density(self, symbol: str) -> float:
        """Atoms of an element per nm3; 0 if the material does not contain it.

        Parameters
        ----------
        symbol
            Of the element.

        Returns
        -------
        float
            Atoms/nm^3.

        Raises
        ------
        MissingFactError
            If the density is not known.

        Examples
        --------
        >>> from hyperspy_assb import materials
        >>> round(materials["LiFePO4"].atom_density("Fe"), 2), materials["FePO4"].atom_density("Li")
        (13.72, 0.0)
        """
        return self.composition.get(symbol, 0.0) * self.formula_density

    def needed(self, fact: str, *, by: str) -> Any:
        """A fact that something cannot do without.

        Parameters
        ----------
        fact
            Name of an attribute, such as ``"density"``, ``"cif"`` or ``"rings"``.
        by
            What needs it, as the first words of a sentence.

        Returns
        -------
        object
            The fact.

        Raises
        ------
        MissingFactError
            If it is not known; the message names the row, the file and the fact.

        Examples
        --------
        >>> from hyperspy_assb.reference import material
        >>> material("CoO2").needed("density", by="EDX quantification")
        Traceback (most recent call last):
        ...
        hyperspy_assb.reference.data_files.MissingFactError: EDX quantification needs the density of CoO2, which its row
        in ...materials.toml lacks. ...
        """
        value = getattr(self, fact)
        if value is None or value == ():
            raise MissingFactError(
                f"{by} needs the {fact} of {self.name}, which its row in {self.file} lacks. Give the whole row, with "
                f"replace = true, in a table of your own, and add that by hyperspy_assb.add_materials."
            )
        return value


@dataclass(frozen=True)
class Electrode:
    """An electrode material between its two end members.

    Parameters
    ----------
    name
        Such as ``"LixFePO4"``.
    lithiated, delithiated
        Names of the end members with more and with fewer ions.
    ion
        Symbol of the ion that moves.
    ions
        Ions per formula unit of the lithiated end member.
    ions_removed
        How many of them are removed in the delithiated one.
    file
        The table in which the row stands.
    signatures
        Features of a spectrum that distinguish the end members, apart from its overall shape; may be empty.
    sources
        Citations.

    Examples
    --------
    >>> from hyperspy_assb import electrodes
    >>> olivine = electrodes["LixFePO4"]
    >>> olivine.lithiated, olivine.delithiated, olivine.ion, olivine.ions_removed
    ('LiFePO4', 'FePO4', 'Li', 1.0)
    >>> olivine.signatures
    ('FePO4 5 eV band', 'Li K')
    """

    name: str
    lithiated: str
    delithiated: str
    ion: str
    ions: float
    ions_removed: float
    file: Path
    signatures: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def x_of(self, fraction: Number) -> Number:
        """Ions per formula unit of the lithiated host, from the lithiated share; neither is clipped.

        Parameters
        ----------
        fraction
            Lithiated share.

        Returns
        -------
        float or numpy.ndarray
            x, of the shape of ``fraction``.

        Examples
        --------
        >>> from hyperspy_assb.reference import electrode
        >>> electrode("NaxV2(PO4)3").x_of(0.25)
        1.5
        """
        return (self.ions - self.ions_removed) + self.ions_removed * fraction

    def fraction_of(self, x: Number) -> Number:
        """Lithiated share, from the ions per formula unit: the inverse of :meth:`x_of`.

        Parameters
        ----------
        x
            Ions per formula unit of the lithiated host.

        Returns
        -------
        float or numpy.ndarray
            Lithiated share, which is below 0 or above 1 where x is beyond the end members.

        Examples
        --------
        >>> from hyperspy_assb.reference import electrode
        >>> electrode("NaxV2(PO4)3").fraction_of(1.5)
        0.25
        """
        return (x - (self.ions - self.ions_removed)) / self.ions_removed

    def needed(self, signature: str, *, by: str) -> str:
        """A signature that something cannot do without.

        Parameters
        ----------
        signature
            Such as ``"Li K"``.
        by
            What needs it, as the first words of a sentence.

        Returns
        -------
        str
            The signature.

        Raises
        ------
        MissingFactError
            If the couple has no such signature; the message names the row, the file and the signature.

        Examples
        --------
        >>> from hyperspy_assb.reference import electrode
        >>> electrode("LixFePO4").needed("Li K", by="The lithium method")
        'Li K'
        >>> try:
        ...     electrode("LixCoO2").needed("Li K", by="The lithium method")
        ... except MissingFactError as error:
        ...     print(error)
        The lithium method needs the signature 'Li K', which LixCoO2 in ...materials.toml has not: its
        signatures are none.
        """
        if signature not in self.signatures:
            raise MissingFactError(
                f"{by} needs the signature {signature!r}, which {self.name} in {self.file} has not: its signatures "
                f"are {', '.join(self.signatures) or 'none'}."
            )
        return signature


def folded(name: str) -> str:
    """A name for comparison: capitals do not matter, nor how accents are composed.

    Raises
    ------
    AssbTypeError
        If it is no text.

    Examples
    --------
    >>> folded("LÉO") == folded("le\u0301o")
    True
    """
    if not isinstance(name, str):
        raise AssbTypeError(f"A material is named by text such as 'LiFePO4', not by {name!r}.")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
