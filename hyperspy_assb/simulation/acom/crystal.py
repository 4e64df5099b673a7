"""Reflections of crystals and their extinction lengths, from scattering factors after Kirkland."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions

if TYPE_CHECKING:
    from diffpy.structure import Structure

#: Mean square vibration of atoms whose structure states none, as B in Å^2.
DEFAULT_B = 0.6


@cache
def _kirkland() -> dict[str, np.ndarray]:
    text = files("hyperspy_assb.simulation").joinpath("data", "kirkland.csv").read_text(encoding="utf-8")
    rows = csv.reader(line for line in text.splitlines()[1:] if not line.startswith(("#", "element")))
    return {row[0]: np.array(row[1:], dtype=float).reshape(3, 4).T for row in rows}


def scattering_factor(element: str, q: np.ndarray) -> np.ndarray:
    """
    Scattering factor of an atom for electrons at rest.

    Parameters
    ----------
    element
        Symbol; a charge or a number behind it is ignored.
    q
        1/d in 1/Å, any shape.

    Returns
    -------
    numpy.ndarray
        Å, the shape of `q`. Neutral atoms after E. J. Kirkland, Advanced Computing in Electron Microscopy (2010).
    """
    found = re.match(r"[A-Z][a-z]?", element.strip())
    symbol = found.group() if found else element
    if symbol not in _kirkland() and symbol[:1] in _kirkland():
        symbol = symbol[:1]
    if symbol not in _kirkland():
        raise AssbValueError(f"no scattering factor for {element!r}; there are {', '.join(_kirkland())}")
    q2 = np.square(np.asarray(q, dtype=float))[..., None]
    a, b, c, d = _kirkland()[symbol]
    return (a / (q2 + b) + c * np.exp(-d * q2)).sum(axis=-1)


@dataclass(frozen=True)
class DiffractionCrystal:
    """
    Reflections of a crystal.

    Attributes
    ----------
    name
        Such as ``"LiFePO4"``.
    volume
        Of the cell in Å^3.
    hkl
        Miller indices ``(n, 3)`` in the setting of the structure; every reflection by itself, the direct beam left out.
    vectors
        Reciprocal vectors in 1/Å, ``(n, 3)``: Cartesian in the crystal, x along a, z along c*.
    structure_factors
        Complex ``(n,)``, in Å, vibration included, for electrons at rest.
    """

    name: str
    volume: float
    hkl: np.ndarray
    vectors: np.ndarray
    structure_factors: np.ndarray

    def inverse_extinction(self, conditions: DiffractionConditions) -> np.ndarray:
        """1/Å, ``(n,)``: reciprocal of the two-beam extinction distance pi V / (gamma lambda F)."""
        return np.abs(self.structure_factors) * conditions.gamma * conditions.wavelength / (np.pi * self.volume)

    @property
    def keys(self) -> np.ndarray:
        """A number ``(n,)`` that belongs to each reflection, whatever else is in the list."""
        offset = self.hkl.astype(np.int64) + 512
        packed = (offset[:, 0] * 1024 + offset[:, 1]) * 1024 + offset[:, 2]
        return packed.astype(np.uint64) ^ (np.uint64(crc32(self.name.encode())) << np.uint64(30))


def cell_matrix(structure: Structure) -> np.ndarray:
    """a, b, c as rows, in Å: x along a, z along c*."""
    cell = structure.lattice
    ca, cb, cg = (np.cos(np.deg2rad(angle)) for angle in (cell.alpha, cell.beta, cell.gamma))
    sg = np.sqrt(1 - cg**2)
    cy = (ca - cb * cg) / sg
    return np.array(
        [
            [cell.a, 0, 0],
            [cell.b * cg, cell.b * sg, 0],
            [cell.c * cb, cell.c * cy, cell.c * np.sqrt(1 - cb**2 - cy**2)],
        ]
    )


def crystal_from_structure(structure: Structure, name: str, max_radius: float) -> DiffractionCrystal:
    """
    List the reflections of a structure.

    Parameters
    ----------
    structure
        All atoms of the cell.
    name
        Of the crystal.
    max_radius
        Largest length of the reciprocal vectors in 1/Å.

    Returns
    -------
    DiffractionCrystal
        Reflections of which the structure factor is not 0, sorted by indices.
    """
    cell = cell_matrix(structure)
    reciprocal = np.linalg.inv(cell).T
    largest = np.floor(max_radius * np.linalg.norm(cell, axis=1)).astype(int)
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest), indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = hkl @ reciprocal
    length = np.linalg.norm(vectors, axis=1)
    keep = (length > 0) & (length <= max_radius)
    hkl, vectors, length = hkl[keep], vectors[keep], length[keep]
    factors = np.zeros(len(hkl), dtype=complex)
    table: dict[str, np.ndarray] = {}
    for atom in structure:
        if atom.element not in table:
            table[atom.element] = scattering_factor(atom.element, length)
        b = atom.Bisoequiv if atom.Bisoequiv > 0 else DEFAULT_B
        wave = np.exp(-2j * np.pi * (hkl @ atom.xyz) - b * length**2 / 4)
        factors += atom.occupancy * table[atom.element] * wave
    present = np.abs(factors) > 1e-3 * np.abs(factors).max(initial=0.0)
    if not present.any():
        raise AssbValueError(f"{name}: no reflection up to {max_radius:.3g} 1/Å; look at its cell and its atoms")
    return DiffractionCrystal(
        name=name,
        volume=float(np.linalg.det(cell)),
        hkl=hkl[present],
        vectors=vectors[present],
        structure_factors=factors[present],
    )


def load_structure(phase: Any) -> tuple[str, Structure]:
    """
    Name and structure of a phase.

    Parameters
    ----------
    phase
        Name of a CIF in ``hyperspy_assb/reference/cif`` (such as ``"LiFePO4"``), path of a CIF, a structure of
        diffpy, or anything with attributes `name` and `structure`.

    Returns
    -------
    name, structure : str, diffpy.structure.Structure
        All atoms of the cell.
    """
    if not isinstance(phase, str | Path):
        if hasattr(phase, "lattice"):
            return phase.title or "crystal", phase
        if not hasattr(phase, "structure"):
            raise AssbValueError(f"a phase is a name, a path of a CIF or a structure, not {type(phase).__name__}")
        return phase.name, phase.structure
    return _read_structure(str(phase))


@cache
def _read_structure(phase: str) -> tuple[str, Structure]:
    from hyperspy_assb.reference.cif import read_cif

    folder = files("hyperspy_assb.reference") / "cif"
    known = {Path(entry.name).stem: entry for entry in folder.iterdir() if entry.name.endswith(".cif")}
    path = known.get(phase)
    if path is None:
        path = Path(phase)
        if not path.is_file():
            raise AssbValueError(f"unknown phase {phase!r}: neither a CIF nor one of {', '.join(sorted(known))}")
    return Path(path.name).stem, read_cif(path.read_text(encoding="utf-8"), str(path)).structure()


def load_crystals(phases: object | Sequence[object], max_radius: float) -> tuple[DiffractionCrystal, ...]:
    """
    Reflections of phases.

    Parameters
    ----------
    phases
        One or more of what :func:`load_structure` takes, or crystals.
    max_radius
        Largest length of the reciprocal vectors in 1/Å.

    Returns
    -------
    tuple of DiffractionCrystal
        In the same order.
    """
    # A structure is itself a list, of atoms.
    several = list(phases) if isinstance(phases, list | tuple) and not hasattr(phases, "lattice") else [phases]
    return tuple(
        phase if isinstance(phase, DiffractionCrystal) else _crystal(phase, round(max_radius, 6)) for phase in several
    )


def _crystal(phase: object, max_radius: float) -> DiffractionCrystal:
    if isinstance(phase, str | Path):
        return _named_crystal(str(phase), max_radius)
    name, structure = load_structure(phase)
    return crystal_from_structure(structure, name, max_radius)


@cache
def _named_crystal(phase: str, max_radius: float) -> DiffractionCrystal:
    name, structure = _read_structure(phase)
    return crystal_from_structure(structure, name, max_radius)
