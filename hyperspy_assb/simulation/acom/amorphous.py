"""Diffuse rings of amorphous material and the background of crystals, from models of atoms."""

from __future__ import annotations

from functools import cache

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.crystal import DEFAULT_B, cell_matrix, load_structure, scattering_factor

#: Radial step of the profiles in 1/Å.
RADIAL_STEP = 0.002
#: Amorphous materials with rings.
AMORPHOUS = ("carbon", "amorphous_LAGP")
_DISTANCE_STEP = 0.02  # Å
_LAYER_DISTANCE, _BOND = 3.55, 1.42  # Å, between the layers of carbon black and within them
_CARBON_DENSITY = 1.8  # g/cm3, of carbon black
_GLASS_SHARE = 0.97  # density of the glass over that of the crystal
# The background of a crystal is alike in all these phases: take LiFePO4.
_CRYSTAL_ATOMS = {"Fe": 1.0, "P": 1.0, "O": 4.0}


def _interference(
    q: np.ndarray, distance: np.ndarray, weight: np.ndarray, *, density: float, disorder: float, cutoff: float
) -> np.ndarray:
    """
    Interference of pairs of atoms of which the distances spread as they grow, less that of an even density.

    Parameters
    ----------
    q
        1/Å, ``(n,)``.
    distance, weight
        Å, and number of neighbours at that distance, ``(m,)``.
    density
        Neighbours per Å^3 far away.
    disorder
        Variance of the distances over the distance beyond a bond, Å: a paracrystal after Hosemann.
    cutoff
        Å; correlations end here, faded by a cosine so that no ripples arise.

    Returns
    -------
    numpy.ndarray
        ``(n,)``: S(q) - 1 of these pairs.
    """
    r = np.arange(1, int(cutoff / _DISTANCE_STEP)) * _DISTANCE_STEP
    number = np.bincount(np.rint(distance / _DISTANCE_STEP).astype(int), weight)
    occupied = np.flatnonzero(number)
    shells = occupied * _DISTANCE_STEP
    sigma = np.sqrt(disorder * np.maximum(shells - 1.3, 0) + 0.07**2)  # bonds keep their length
    spread = np.exp(-0.5 * ((r[:, None] - shells) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
    excess = spread @ number[occupied] - 4 * np.pi * r**2 * density
    fade = np.cos(0.5 * np.pi * r / cutoff) ** 2
    return np.sinc(2 * q[:, None] * r) @ (excess * fade) * _DISTANCE_STEP


def _carbon_black(q: np.ndarray, cutoff: float = 20.0) -> np.ndarray:
    """Scattering for an atom in Å^2: graphene layers, stacked with random turns, shifts and distances."""
    rng = np.random.default_rng(0)
    edge = np.sqrt(3) * _BOND
    a, b = np.meshgrid(np.arange(-14, 15), np.arange(-14, 15))
    plane = np.stack([edge * (a + 0.5 * b), edge * np.sqrt(0.75) * b], axis=-1).reshape(-1, 2)
    plane = np.concatenate([plane, plane + np.array([0.0, _BOND])])
    stacks, distances = 30, []
    for _ in range(stacks):
        for side in (1, -1):
            height = 0.0
            for _ in range(int(cutoff / _LAYER_DISTANCE) + 2):
                height += side * (_LAYER_DISTANCE + 0.35 * rng.normal())
                shifted = plane + rng.uniform(-edge, edge, 2)
                distances.append(np.hypot(np.hypot(*shifted.T), height))
    distance = np.concatenate(distances)
    inside = np.hypot(*plane.T)
    distance = np.concatenate([distance, inside])
    weight = np.full(len(distance), 1 / stacks)
    weight[-len(inside) :] = 1.0
    # Neighbours beyond the cutoff reach below it once they are spread.
    near = (distance > 0.1) & (distance < cutoff + 4)
    rings = _interference(
        q,
        distance[near],
        weight[near],
        density=2 / (edge**2 * np.sqrt(0.75)) / _LAYER_DISTANCE,
        disorder=0.006,
        cutoff=cutoff,
    )
    return scattering_factor("C", q) ** 2 * np.maximum(1 + rings, 0.02)


def _glass(q: np.ndarray, phase: str, disorder: float = 0.03, cutoff: float = 14.0) -> tuple[np.ndarray, float]:
    """Scattering for a cell in Å^2, and volume of the cell in Å^3: the crystal with its order lost over distance."""
    _, structure = load_structure(phase)
    cell = cell_matrix(structure)
    volume = float(np.linalg.det(cell))
    elements = sorted({atom.element for atom in structure})
    occupancy = np.array([atom.occupancy for atom in structure])
    kind = np.array([elements.index(atom.element) for atom in structure])
    places = np.array([atom.xyz for atom in structure]) % 1.0
    reach = np.ceil((cutoff + 4) / np.linalg.norm(cell, axis=1) * 1.2).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach)), axis=-1).reshape(-1, 3)
    factors = np.array([scattering_factor(element, q) for element in elements])
    content = np.bincount(kind, occupancy)
    total = content @ factors**2
    # One atom of each kind after the other as the centre: sites of an element are alike up to symmetry or nearly so.
    for i in range(len(elements)):
        centres = np.flatnonzero(kind == i)
        centres = centres[:: max(1, len(centres) // 8)]
        for j in range(len(elements)):
            atoms = np.flatnonzero(kind == j)
            vectors = places[atoms, None] + shifts - places[centres][:, None, None]
            distance = np.linalg.norm(vectors @ cell, axis=-1)
            weight = occupancy[centres, None, None] / occupancy[centres].sum() * occupancy[atoms][:, None]
            weight = np.broadcast_to(weight, distance.shape)
            near = (distance > 0.5) & (distance < cutoff + 4)
            pairs = _interference(
                q, distance[near], weight[near], density=content[j] / volume, disorder=disorder, cutoff=cutoff
            )
            total = total + content[i] * factors[i] * factors[j] * pairs
    return np.maximum(total, 0.02 * content @ factors**2), volume


@cache
def _scattering(name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Å^2 for an Å^3 of material, with its rings and of its atoms alone, on radii of RADIAL_STEP."""
    q = np.arange(size) * RADIAL_STEP
    if name == "carbon":
        density = _CARBON_DENSITY / (12.011 * 1.66053906892)
        rings, alone = density * _carbon_black(q), density * scattering_factor("C", q) ** 2
    else:
        rings, volume = _glass(q, name.removeprefix("amorphous_"))
        _, structure = load_structure(name.removeprefix("amorphous_"))
        alone = sum(atom.occupancy * scattering_factor(atom.element, q) ** 2 for atom in structure)
        rings, alone = rings * _GLASS_SHARE / volume, alone * _GLASS_SHARE / volume
    return rings, alone


def amorphous_profile(name: str, conditions: DiffractionConditions, size: int) -> tuple[np.ndarray, float]:
    """
    Scattering of an amorphous material.

    Parameters
    ----------
    name
        One of :data:`AMORPHOUS`.
    conditions
        Beam energy.
    size
        Number of radii.

    Returns
    -------
    profile : numpy.ndarray
        ``(size,)``, electrons per (1/Å)^2 of reciprocal space for one electron and one nm, singly scattered, on radii
        of :data:`RADIAL_STEP` from 0.
    rate : float
        Share of the electrons that is scattered in one nm, at all angles.
    """
    if name not in AMORPHOUS:
        raise AssbValueError(f"no amorphous material {name!r}; there are {', '.join(AMORPHOUS)}")
    far = int(6 / RADIAL_STEP)
    rings, alone = _scattering(name, max(size, far))
    strength = 10 * (conditions.gamma * conditions.wavelength) ** 2
    q = np.arange(far) * RADIAL_STEP
    rate = strength * float(np.sum(2 * np.pi * q * np.minimum(rings, alone)[:far]) * RADIAL_STEP)
    return strength * rings[:size], rate


def diffuse_profile(conditions: DiffractionConditions, size: int) -> np.ndarray:
    """
    Background of a crystal: inelastic scattering about the direct beam, and thermal diffuse scattering.

    Parameters
    ----------
    conditions
        Width and share of the inelastic part.
    size
        Number of radii.

    Returns
    -------
    numpy.ndarray
        ``(size,)``, per (1/Å)^2 for one electron that is so scattered, on radii of :data:`RADIAL_STEP` from 0.
    """
    q = np.arange(max(size, int(6 / RADIAL_STEP))) * RADIAL_STEP
    width = conditions.diffuse_width
    peaked = width / (2 * np.pi) / (q**2 + width**2) ** 1.5
    thermal = sum(number * scattering_factor(element, q) ** 2 for element, number in _CRYSTAL_ATOMS.items())
    thermal = thermal * -np.expm1(-DEFAULT_B * q**2 / 2)
    thermal /= np.sum(2 * np.pi * q * thermal) * RADIAL_STEP
    share = conditions.diffuse_share
    return (share * peaked + (1 - share) * thermal)[:size]
