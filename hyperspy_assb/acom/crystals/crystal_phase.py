"""Crystal structures of phases, from CIFs."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbFileNotFoundError, AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import UnknownReferenceError, material, read_cif_text
from hyperspy_assb.reference.cif import CrystalError, read_crystal, standard_base
from hyperspy_assb.reference.space_groups import standard_operations
from hyperspy_assb.staging import path_of

if TYPE_CHECKING:
    from diffpy.structure import Structure
    from orix.crystal_map import Phase
    from orix.quaternion.symmetry import Symmetry

__all__ = [
    "AtomSite",
    "CrystalError",
    "CrystalPhase",
    "cell_axes",
    "laue_rotations",
    "load_phase",
    "pack_phase",
    "point_group",
    "scale_lattice",
    "to_orix",
    "unpack_phase",
]


@dataclass(frozen=True)
class AtomSite:
    """An atom of a cell.

    Parameters
    ----------
    element
        Symbol, without a charge.
    x, y, z
        Fractional coordinates.
    occupancy
        Share of the cells that have it.
    displacement
        Mean square displacement along any direction in Å².
    """

    element: str
    x: float
    y: float
    z: float
    occupancy: float = 1.0
    displacement: float = 0.0


@dataclass(frozen=True)
class CrystalPhase:
    """A crystalline phase in its standard setting.

    Parameters
    ----------
    name
        Such as ``"LiFePO4"``.
    space_group
        Number.
    cell
        a, b, c in Å; alpha, beta, gamma in degrees.
    atoms
        All atoms of the cell.
    source
        Citation.
    caveat
        What is not known of it, such as coordinates that are not measured; empty if nothing.

    Examples
    --------
    >>> from hyperspy_assb.acom import load_phase
    >>> phase = load_phase("lfp")
    >>> phase.name, phase.space_group, phase.cell[:3]
    ('LiFePO4', 62, (10.334, 6.01, 4.693))
    >>> len(phase.atoms), phase.atoms[0].element
    (28, 'Li')
    """

    name: str
    space_group: int
    cell: tuple[float, ...]
    atoms: tuple[AtomSite, ...] = field(repr=False)
    source: str = ""
    caveat: str = ""

    @classmethod
    def of_structure(
        cls, name: str, space_group: int, structure: Structure, source: str = "", caveat: str = ""
    ) -> CrystalPhase:
        """Make a phase from a structure of diffpy.

        Parameters
        ----------
        name, space_group
            As for the class.
        structure
            In the standard setting of the space group.
        source, caveat
            As for the class.

        Returns
        -------
        CrystalPhase
            With all atoms of the structure.

        Examples
        --------
        >>> from hyperspy_assb.acom import CrystalPhase, load_phase
        >>> phase = load_phase("lfp")
        >>> CrystalPhase.of_structure("triphylite", 62, phase.structure).cell == phase.cell
        True
        """
        atoms = (AtomSite(str(a.element), *map(float, (*a.xyz, a.occupancy, a.Uisoequiv))) for a in structure)
        cell = tuple(float(value) for value in structure.lattice.abcABG())
        return cls(name, int(space_group), cell, tuple(atoms), source, caveat)

    @cached_property
    def structure(self) -> Structure:
        """The atoms as diffpy has them, on whose base orix and diffsims count; lengths in Å.

        The axes of ``frames`` are those of ``cell_axes``.
        """
        from diffpy.structure import Atom, Lattice, Structure

        atoms = [Atom(a.element, [a.x, a.y, a.z], occupancy=a.occupancy, Uisoequiv=a.displacement) for a in self.atoms]
        return Structure(atoms, lattice=Lattice(*self.cell))


def load_phase(name_or_path: str | Path, *, name: str | None = None) -> CrystalPhase:
    """A phase by its name, or from a CIF.

    Parameters
    ----------
    name_or_path
        A material of :data:`hyperspy_assb.materials` by its name or an alias (``"lfp"``, ``"LiFePO4"``, ``"fp"``,
        ``"lagp"``, ``"lvp"``; capitals do not matter), or the path of a CIF.
    name
        Name to give to it; without one, the name of the material or of the file.

    Returns
    -------
    phase
        In the standard setting of its space group: olivines in Pnma, rhombohedral groups on hexagonal axes,
        monoclinic groups with b unique (their cell choice, such as P21/n, stays). Cells in P1 get the symmetry that
        their atoms have to 0.05 Å; supercells and primitive cells become the conventional cell. Elements have no
        charges; displacements that a CIF has are kept, isotropically. The caveat says what the file does not specify.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnknownReferenceError
        If it is neither a file nor the name of a material.
    MissingFactError
        If it is a material without a crystal structure.
    CrystalError
        If the CIF cannot be read: no atoms, an unknown element, a value that is no number or operation (none is
        evaluated), a cell that is incomplete or impossible, or that does not have the symmetry of the space group;
        operations and stated groups that contradict each other, several full atoms in one place, or too many in P1.
    AssbTypeError, AssbValueError
        If ``name_or_path`` is no text or path, or one that no file can have.

    Examples
    --------
    >>> from hyperspy_assb.acom import load_phase
    >>> load_phase("lagp").space_group
    167
    >>> load_phase("fp", name="heterosite").name
    'heterosite'
    """
    path = path_of(name_or_path, "name_or_path")
    asked = str(name_or_path)
    if isinstance(name_or_path, str):
        try:
            found = material(asked)
        except UnknownReferenceError as error:
            unknown = error
        else:
            cif = found.needed("cif", by="Indexing of crystals (amorphous material is identified by its rings)")
            structure, number, source, caveat = read_crystal(read_cif_text(cif), str(cif))
            return CrystalPhase.of_structure(
                name or found.name, number, structure, source or "; ".join(found.sources), caveat
            )
    try:
        there = path.is_file()
    except OSError as error:  # a name that no file can have
        raise AssbValueError(f"name_or_path: {asked[:60]!r} cannot be the path of a file: {error.strerror}.") from error
    if not there:
        if isinstance(name_or_path, Path) or path.suffix or len(path.parts) > 1:
            raise AssbFileNotFoundError(f"{path}: there is no such file.")
        raise UnknownReferenceError(f"There is no file {asked}, and {unknown}")
    structure, number, source, caveat = read_crystal(read_cif_text(path), str(path))
    return CrystalPhase.of_structure(name or path.stem, number, structure, source or path.name, caveat)


def cell_axes(phase: CrystalPhase) -> FloatArray:
    """Rows a, b, c in Å on the Cartesian axes of the crystal (x along a, z along c*), shape (3, 3)."""
    return standard_base(*phase.cell)


def laue_rotations(phase: CrystalPhase) -> FloatArray:
    """Proper rotations of the Laue group on the Cartesian axes of the crystal, identity first, shape (n, 3, 3).

    Kinematical diffraction shows the Laue group, not the point group, so that orientations that these rotations
    connect cannot be told apart.
    """
    axes = cell_axes(phase).T
    found: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for rotation in standard_operations(phase.space_group)[0]:
        proper = rotation * round(np.linalg.det(rotation))
        found.setdefault(tuple(proper.ravel()), proper)
    cartesian = axes @ np.array(list(found.values())) @ np.linalg.inv(axes)
    # The nearest rotation: a strained lattice has its symmetry only nearly.
    left, _, right = np.linalg.svd(cartesian)
    rotations = left @ right
    order = np.argsort(-np.trace(rotations, axis1=1, axis2=2), kind="stable")
    return np.asarray(rotations[order])


def point_group(phase: CrystalPhase) -> Symmetry:
    """Point group for orix, on the Cartesian axes of the crystal.

    orix's own 2/m has its axis along c, and its -3m and 32 have theirs along a; monoclinic groups have it along b here,
    and trigonal ones where the space group has it. (orix finds a group again by its name: monoclinic phases that it
    writes to a file come back with the axis along c.)
    """
    from orix.quaternion.symmetry import C2y, Symmetry, get_point_group

    group = get_point_group(phase.space_group)
    if 3 <= phase.space_group <= 15:
        mirror = Symmetry([(1, 0, 0, 0), (0, 0, 1, 0)])
        mirror.improper = [0, 1]
        kinds = {"2": (C2y,), "m": (mirror,), "2/m": (C2y, mirror)}
        name = group.name if group.name in kinds else "2/m"
        group = Symmetry.from_generators(*kinds[name])
        group.name = name
    elif group.name in ("32", "-3m", "3m") and _twofold_across_a(phase):
        from orix.quaternion import Rotation

        turn = Rotation.from_axes_angles([0, 0, 1], np.pi / 6)
        name = group.name
        turned = turn * group * ~turn
        group = Symmetry(turned.data)
        group.improper = turned.improper
        group.name = name
    return group


def _twofold_across_a(phase: CrystalPhase) -> bool:
    rotations = laue_rotations(phase)
    diads = rotations[np.abs(np.trace(rotations, axis1=1, axis2=2) + 1.0) < 1e-6]
    return bool(len(diads) and not (np.abs(diads[:, 0, 0] - 1.0) < 1e-6).any())


def to_orix(phase: CrystalPhase) -> Phase:
    """The phase as orix has it, with its structure and, where orix has the same axes, its space group."""
    from diffpy.structure import Structure
    from orix.crystal_map import Phase

    structure = Structure(phase.structure)
    structure.title = phase.name
    group = point_group(phase)
    from orix.quaternion.symmetry import get_point_group

    if group == get_point_group(phase.space_group):
        return Phase(name=phase.name, space_group=phase.space_group, structure=structure)
    return Phase(name=phase.name, point_group=group, structure=structure)


def scale_lattice(phase: CrystalPhase, scale: tuple[float, float, float]) -> CrystalPhase:
    """The phase with a, b, c multiplied, fractional coordinates and angles unchanged.

    Raises
    ------
    ValueError
        If a factor is not above 0.
    """
    factors = np.asarray(scale, dtype=float)
    if factors.shape != (3,) or not (np.isfinite(factors).all() and (factors > 0.0).all()):
        raise AssbValueError(f"scale: three factors above 0 for a, b and c, not {scale}.")
    return replace(phase, cell=(*(np.array(phase.cell[:3]) * factors).tolist(), *phase.cell[3:]))


def pack_phase(phase: CrystalPhase) -> dict[str, NDArray[Any]]:
    """The phase as arrays of numbers and text, from which :func:`unpack_phase` makes it again."""
    return {
        "text": np.array([phase.name, phase.source, phase.caveat]),
        "space_group": np.array(phase.space_group),
        "cell": np.array(phase.cell),
        "elements": np.array([atom.element for atom in phase.atoms]),
        "sites": np.array([astuple(atom)[1:] for atom in phase.atoms]),
    }


def unpack_phase(content: dict[str, NDArray[Any]]) -> CrystalPhase:
    """The phase that :func:`pack_phase` packed."""
    name, source, caveat = (str(text) for text in content["text"])
    sites = zip(content["elements"].tolist(), content["sites"].tolist(), strict=True)
    atoms = tuple(AtomSite(element, *site) for element, site in sites)
    return CrystalPhase(name, int(content["space_group"]), tuple(content["cell"].tolist()), atoms, source, caveat)
