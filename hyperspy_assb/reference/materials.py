"""Phases of the battery: composition, cell and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import cos, radians, sqrt
from types import MappingProxyType

from hyperspy_assb.reference.data_files import UnknownReferenceError, read_toml

_ATOMIC_MASS_G = 1.66053906892e-24  # CODATA 2022
_PLASMON_EV2_NM3 = 1.378842  # hbar^2 e^2 / (eps0 m), CODATA 2022


@dataclass(frozen=True)
class Phase:
    """A phase.

    Parameters
    ----------
    name
        Such as ``"LiFePO4"``.
    aliases
        Other names by which :func:`phase` finds it.
    composition
        Atoms per formula unit.
    space_group
        Hermann-Mauguin symbol; None for an amorphous phase.
    cell
        a, b, c in nm and alpha, beta, gamma in degrees; None for an amorphous phase.
    formula_units
        Formula units per cell; None for an amorphous phase.
    density
        Mass density in g/cm3, from the cell where there is one.
    formula_density
        Formula units per nm3.
    valence_electrons
        Per formula unit, 3d of the metals included.
    free_electron_plasmon_energy
        Plasmon energy in eV of all valence electrons (3d of the metals included) as a free gas: an estimate, good to
        about 10 %, not a measurement.
    source
        Citation.
    """

    name: str
    aliases: tuple[str, ...]
    composition: Mapping[str, float]
    space_group: str | None
    cell: tuple[float, float, float, float, float, float] | None
    formula_units: int | None
    density: float
    formula_density: float
    valence_electrons: float
    free_electron_plasmon_energy: float
    source: str

    @property
    def cell_volume(self) -> float | None:
        """Volume of the cell in nm3; None for an amorphous phase."""
        return None if self.cell is None else _volume(*self.cell)

    def atom_density(self, element: str) -> float:
        """Atoms of an element per nm3; 0 if the phase has none."""
        return self.composition.get(element, 0.0) * self.formula_density


def _volume(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> float:
    ca, cb, cg = (cos(radians(angle)) for angle in (alpha, beta, gamma))
    return a * b * c * sqrt(1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg)


@cache
def _all_phases() -> dict[str, Phase]:
    content = read_toml("phases.toml")
    elements = content["elements"]
    table = {}
    for row in content["phase"]:
        composition = {element: float(number) for element, number in row["composition"].items()}
        mass = sum(number * elements[element]["mass"] for element, number in composition.items()) * _ATOMIC_MASS_G
        valence = sum(number * elements[element]["valence"] for element, number in composition.items())
        cell = None
        if "cell" in row:
            a, b, c, alpha, beta, gamma = (float(value) for value in row["cell"])
            cell = (a, b, c, alpha, beta, gamma)
            formula_density = row["formula_units"] / _volume(*cell)
        else:
            formula_density = row["density"] / mass * 1e-21  # 1 cm3 = 1e21 nm3
        table[row["name"]] = Phase(
            name=row["name"],
            aliases=tuple(row["aliases"]),
            composition=MappingProxyType(composition),
            space_group=row.get("space_group"),
            cell=cell,
            formula_units=row.get("formula_units"),
            density=formula_density * mass * 1e21,
            formula_density=formula_density,
            valence_electrons=valence,
            free_electron_plasmon_energy=sqrt(_PLASMON_EV2_NM3 * valence * formula_density),
            source=row["source"],
        )
    return table


def phase(name: str) -> Phase:
    """One phase, by its name or an alias.

    Raises
    ------
    UnknownReferenceError
        If there is none of that name.

    Examples
    --------
    >>> round(phase("LFP").atom_density("Li"), 2)
    13.72
    """
    table = _all_phases()
    for found in table.values():
        if name == found.name or name in found.aliases:
            return found
    known = [f"{p.name} ({', '.join(p.aliases)})" for p in table.values()]
    raise UnknownReferenceError.of("phase", name, known)


def phases() -> tuple[Phase, ...]:
    """All phases."""
    return tuple(_all_phases().values())
