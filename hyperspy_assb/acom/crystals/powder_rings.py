"""Rings of powders whose lattice is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase
from hyperspy_assb.acom.crystals.kinematical import reflections
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


@dataclass(frozen=True)
class KnownRings:
    """Rings of a powder.

    Parameters
    ----------
    name
        Of the material.
    radius
        1/Å, ascending, shape (K,).
    intensity
        Relative, shape (K,).
    source
        Of the lattice parameters.
    """

    name: str
    radius: FloatArray
    intensity: FloatArray
    source: str = ""

    def __post_init__(self) -> None:
        if not (len(self.radius) == len(self.intensity) > 0 and (np.diff(self.radius) > 0).all()):
            raise AssbValueError(f"{self.name}: radius and intensity of the same number of rings, radii ascending.")


def cubic_rings(name: str, a: float, *, lattice: str = "F", max_radius: float = 1.3, source: str = "") -> KnownRings:
    """Rings of an element with a cubic lattice, intensities falling as those of atoms.

    Parameters
    ----------
    name
        Such as ``"Au"``.
    a
        Lattice parameter in Å, such as 4.0782 for gold.
    lattice
        ``"F"`` (face centred), ``"I"`` (body centred) or ``"P"``.
    max_radius
        1/Å.
    source
        Of the lattice parameter.
    """
    if lattice not in ("F", "I", "P"):
        raise AssbValueError(f"lattice: 'F', 'I' or 'P', not {lattice!r}.")
    if not a > 0.0:
        raise AssbValueError(f"a: above 0 Å, not {a}.")
    most = int(max_radius * a) + 1
    h, k, m = np.meshgrid(*(np.arange(-most, most + 1),) * 3, indexing="ij")
    allowed = np.ones(h.shape, dtype=bool)
    if lattice == "F":
        allowed = (h % 2 == k % 2) & (k % 2 == m % 2)
    elif lattice == "I":
        allowed = (h + k + m) % 2 == 0
    squares, number = np.unique((h * h + k * k + m * m)[allowed], return_counts=True)
    radius = np.sqrt(squares) / a
    keep = (squares > 0) & (radius <= max_radius)
    # Structure factors of electrons fall about as exp(-g); over the ring, its intensity is spread as 1 / g.
    intensity = number * np.exp(-2.0 * radius * 1.5) / np.maximum(radius, 1e-9)
    return KnownRings(name, radius[keep], intensity[keep] / intensity[keep].max(), source)


def rings_of(phase: CrystalPhase, *, max_radius: float = 1.3) -> KnownRings:
    """Rings of a powder of a phase (kinematical intensities)."""
    found = reflections(phase, max_radius=max_radius)
    length = np.round(np.linalg.norm(found.vectors, axis=1), 6)
    radius, inverse = np.unique(length, return_inverse=True)
    intensity = np.bincount(inverse, weights=found.intensity) / radius
    keep = (radius > 0.0) & (intensity > 1e-4 * intensity.max())
    return KnownRings(phase.name, radius[keep], intensity[keep] / intensity[keep].max(), phase.source)
