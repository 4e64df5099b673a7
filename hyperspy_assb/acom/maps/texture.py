"""Whether crystal directions prefer an axis of the specimen, grain by grain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, cell_axes, laue_rotations
from hyperspy_assb.acom.crystals.frames import matrices
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

CONE = 15.0
"""Degrees about an axis of the specimen within which a direction counts as along it."""
DIRECTIONS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
AXES = ("x", "y", "z")
_DRAWS = 200_000
"""Random directions from which the share of random crystals is known to 0.1 %."""


@dataclass(frozen=True)
class PoleDensity:
    """How often one kind of crystal directions lies along an axis of the specimen.

    Parameters
    ----------
    direction
        Indices u, v, w.
    axis
        x, y or z.
    grains, within
        Number of grains, and of those with an equivalent of the direction within the cone.
    random
        Share of random crystals that have one.
    density
        Share of the grains over that of random crystals: multiples of a random distribution.
    p
        Probability that at least as many of so many random crystals have one.
    """

    direction: tuple[int, int, int]
    axis: str
    grains: int
    within: int
    random: float
    density: float
    p: float


def pole_densities(
    orientations: ArrayLike,
    phase: CrystalPhase,
    *,
    directions: Any = DIRECTIONS,
    cone: float = CONE,
) -> tuple[PoleDensity, ...]:
    """Densities of crystal directions about x, y and z, one observation a grain.

    Parameters
    ----------
    orientations
        Of grains, specimen to crystal, shape (G, 4). Pixels of one grain are not independent: a grain counts once.
    phase
        Of all of them.
    directions
        Indices (u, v, w) of directions of the lattice.
    cone
        Degrees about an axis within which a direction counts as along it.

    Raises
    ------
    ValueError
        If there is no grain, a direction is 0, or the cone is not between 0 and 90 degrees.

    Notes
    -----
    The number of grains with a direction in the cone is binomial if orientations are random, so that p is exact but for
    the share of random crystals, which is drawn. It is one-sided: it tells preference, not avoidance.
    """
    orientations = np.asarray(orientations, dtype=float).reshape(-1, 4)
    if not len(orientations):
        raise AssbValueError(f"{phase.name} has no grain, and so no texture.")
    if not 0.0 < cone < 90.0:
        raise AssbValueError(f"cone: degrees between 0 and 90, not {cone}.")
    # Specimen axes in the crystal are the columns of the matrix that takes the specimen to the crystal.
    seen = matrices(orientations)
    found = []
    drawn = np.random.default_rng(0).normal(size=(_DRAWS, 3))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    limit = np.cos(np.radians(cone))
    for given in directions:
        direction = np.asarray(given, dtype=float) @ cell_axes(phase)
        if not direction.any():
            raise AssbValueError("directions: 0 0 0 is not a direction.")
        equivalents = _distinct(laue_rotations(phase) @ (direction / np.linalg.norm(direction)))
        random = float((np.abs(drawn @ equivalents.T).max(axis=1) >= limit).mean())
        for place, axis in enumerate(AXES):
            within = int((np.abs(seen[:, :, place] @ equivalents.T).max(axis=1) >= limit).sum())
            p = float(binom.sf(within - 1, len(orientations), random))
            density = within / len(orientations) / random
            indices = tuple(int(index) for index in given)
            found.append(PoleDensity(indices, axis, len(orientations), within, random, density, p))  # type: ignore[arg-type]
    return tuple(found)


def _distinct(vectors: FloatArray) -> FloatArray:
    """Vectors of which none is another one or its opposite."""
    kept: list[FloatArray] = []
    for vector in vectors:
        if all(abs(float(vector @ other)) < 1.0 - 1e-6 for other in kept):
            kept.append(vector)
    return np.array(kept)
