"""Dielectric functions of crystals from first principles: ``loss_functions/``, by tools/compute_loss_functions.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference.data_files import UnknownReferenceError, read_text, read_toml

FOLDER = "loss_functions"
DIRECTIONS = ("x", "y", "z")
"""Of the field, along the axes a, b, c of orthorhombic crystals; of rhombohedral ones z is c."""


@dataclass(frozen=True)
class ComputedOptics:
    """The dielectric tensor of the valence electrons of a crystal at no momentum transfer, from first principles.

    Cores are frozen: Li K, Fe M2,3, Ge M4,5 and what lies below them are not in it. Local fields, excitons and phonons
    are left out as well.

    Parameters
    ----------
    material
        Name of the crystal that was computed.
    hubbard_u
        U on Fe 3d in eV; 0 without U.
    energy
        Energies in eV, shape (E,).
    permittivity
        Relative, for fields along x, y and z, complex with a positive imaginary part, shape (3, E).
    gap
        Energy in eV between the highest filled and the lowest empty state at the k-points that were computed.
    electrons
        Valence electrons in the cell.
    volume
        Of the cell, in Å^3.
    caveats
        What it lacks, as sentences.

    Examples
    --------
    >>> from hyperspy_assb.reference import computed_optics
    >>> optics = computed_optics("FePO4", hubbard_u=4.3)
    >>> optics.permittivity.shape, float(optics.energy[-1])
    ((3, 800), 80.0)
    """

    material: str
    hubbard_u: float
    energy: NDArray[np.float64]
    permittivity: NDArray[np.complex128]
    gap: float
    electrons: int
    volume: float
    caveats: tuple[str, ...] = ()

    @property
    def loss_function(self) -> NDArray[np.float64]:
        """Im(-1/eps) for momentum transfer along x, y and z, shape (3, E)."""
        return np.asarray(-(1.0 / self.permittivity).imag)

    def mean_loss(self, shares: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> NDArray[np.float64]:
        """Mean of the loss functions of the directions.

        Parameters
        ----------
        shares
            Of x, y and z; they need not add up to 1.

        Returns
        -------
        NDArray
            Im(-1/eps), shape (E,).

        Raises
        ------
        AssbValueError
            If a share is below 0, or all are 0.

        Examples
        --------
        >>> from hyperspy_assb.reference import computed_optics
        >>> optics = computed_optics("LiFePO4", hubbard_u=4.3)
        >>> bool((optics.mean_loss((1, 0, 0)) == optics.loss_function[0]).all())
        True
        """
        weights = np.asarray(shares, dtype=float)
        if weights.shape != (3,) or not (weights >= 0).all() or not weights.sum() > 0:
            raise AssbValueError(f"shares must be three numbers not below 0, of x, y and z, not {shares!r}.")
        return np.asarray(weights @ self.loss_function / weights.sum())

    def area(self, start: float, stop: float) -> NDArray[np.float64]:
        """Area of the loss functions between two energies.

        Parameters
        ----------
        start, stop
            In eV.

        Returns
        -------
        NDArray
            In eV, for x, y and z, shape (3,).

        Examples
        --------
        >>> from hyperspy_assb.reference import computed_optics
        >>> band = [computed_optics(name, hubbard_u=4.3).area(4, 7) for name in ("FePO4", "LiFePO4")]
        >>> bool((band[0] > 3 * band[1]).all())
        True
        """
        inside = (self.energy >= start) & (self.energy <= stop)
        return np.asarray(np.trapezoid(self.loss_function[:, inside], self.energy[inside], axis=-1))


@cache
def _runs() -> dict[tuple[str, float], dict[str, object]]:
    rows = read_toml(f"{FOLDER}/runs.toml")["run"]
    return {(row["material"], float(row["hubbard_u"])): row for row in rows}


def computed_materials() -> dict[str, tuple[float, ...]]:
    """Crystals whose dielectric functions were computed, and by which U on Fe 3d.

    Returns
    -------
    dict
        Values of U in eV by the name of the crystal.

    Examples
    --------
    >>> from hyperspy_assb.reference import computed_materials
    >>> 4.3 in computed_materials()["FePO4"]
    True
    """
    found: dict[str, tuple[float, ...]] = {}
    for material, u in sorted(_runs()):
        found[material] = (*found.get(material, ()), u)
    return found


@cache
def computed_optics(material: str, *, hubbard_u: float = 0.0) -> ComputedOptics:
    """Dielectric function of a crystal from first principles.

    Parameters
    ----------
    material
        One of :func:`computed_materials`.
    hubbard_u
        U on Fe 3d in eV.

    Returns
    -------
    ComputedOptics
        Read from the tables of the package; do not change its arrays, they are shared.

    Raises
    ------
    UnknownReferenceError
        If it was not computed.

    Examples
    --------
    >>> from hyperspy_assb.reference import computed_optics
    >>> computed_optics("Li3PO4").material
    'Li3PO4'
    """
    row = _runs().get((material, float(hubbard_u)))
    if row is None:
        known = [f"{name} with U = {u:g} eV" for name, u in _runs()]
        raise UnknownReferenceError.of("computed crystal", f"{material} with U = {hubbard_u:g} eV", known)
    lines = [line for line in read_text(f"{FOLDER}/{row['file']}").splitlines() if not line.startswith("#")]
    values = np.array([line.split(",") for line in lines[1:]], dtype=float).T
    energy, permittivity = values[0], values[1::2] + 1j * values[2::2]
    for array in (energy, permittivity):
        array.flags.writeable = False
    return ComputedOptics(
        material=material,
        hubbard_u=float(hubbard_u),
        energy=energy,
        permittivity=permittivity,
        gap=float(row["gap"]),  # type: ignore[arg-type]
        electrons=int(row["electrons"]),  # type: ignore[call-overload]
        volume=float(row["volume"]),  # type: ignore[arg-type]
        caveats=tuple(row["caveats"]),  # type: ignore[arg-type]
    )
