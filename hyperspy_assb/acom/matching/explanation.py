"""What lattices make of the spots of a pattern: which of them they explain, and how likely that is by chance.

The spots that stand out of the noise are laid over the places where lattices have reflections. A lattice that is there
has one within a fraction of the size of a spot for nearly all of them; a lattice that is not there has some by chance,
as often as its reflections are dense. With d the distance to the nearest reflection, s its standard error and n the
density of reflections, the logarithm of the likelihood ratio of a spot is

    log((1 - e) p(d | s) / p(d | n) + e),   p(d | s) = d/s² exp(-d²/2s²),   p(d | n) = 2 pi n d exp(-pi n d²)

with e the share of spots that a right lattice does not explain: noise, double diffraction of two crystals. Lattices may
be strained and turned a little, which is fitted, with a prior. Brightnesses, which many-beam diffraction changes most,
are not in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.matching.refinement_kernels import Desk, Lattices, Optics, spots_at
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

PLACE_ERROR = 0.2
"""Standard deviation of the place of a bright spot, in its standard deviations: shape, strain within the crystal."""
CAPTURE = 1.25
"""Farthest distance of a spot from its reflection in the fit of the strain, in standard deviations of the spot."""
STRAIN_STD = 0.015
"""Expected components of the strain, and of the small turn that goes with it."""
LARGEST_STRAIN = 0.035
"""Largest strain that is allowed: a lattice that fits with more is not that of the phase."""
ODD_SPOTS = 0.05
"""Share of the spots that a right lattice does not explain."""
LEAST_WEIGHT = 0.02
"""Reflections whose weight is below this share of the heaviest one's are not counted as places of spots."""
FREEDOM = 4
"""Numbers that are fitted for each lattice: strain and turn in the plane."""


class Places(NamedTuple):
    """Where lattices have reflections.

    Parameters
    ----------
    place
        Column and row from the direct beam, weight as in the score, kinematical intensity, (N, 4).
    first, last
        Rows of the lattice.
    density
        Reflections per pixel.
    """

    place: FloatArray
    first: int
    last: int
    density: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def places_of(
    quaternion: FloatArray,
    strain: FloatArray,
    lattices: Lattices,
    phase: int,
    optics: Optics,
    area: float,
    desk: Desk,
    out: FloatArray,
    begin: int,
) -> tuple[int, float]:
    """Reflections of an orientation into the rows of `out` from `begin`; the row after the last, and their density.

    `area` is that of the pattern in pixels.
    """
    spots = desk.spots
    count = spots_at(quaternion, strain, lattices, phase, optics, desk.listed, desk.near, spots)
    count = min(count, out.shape[0] - begin)
    heaviest = 0.0
    for k in range(count):
        heaviest = max(heaviest, spots[k, 2])
    kept = begin
    for k in range(count):
        if spots[k, 2] < LEAST_WEIGHT * heaviest:
            continue
        x, y, w = spots[k, 0], spots[k, 1], spots[k, 2]
        out[kept, 0] = optics.j00 * x + optics.j01 * y
        out[kept, 1] = optics.j10 * x + optics.j11 * y
        out[kept, 2] = w
        # The weight is intensity**a * radius**b: see SpotWeighting.
        out[kept, 3] = (w / (x * x + y * y) ** (0.5 * optics.radius_power)) ** (1.0 / optics.intensity_power)
        kept += 1
    return kept, (kept - begin) / area


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest(x: float, y: float, place: FloatArray, first: int, last: int, m: FloatArray) -> tuple[int, float]:
    """The reflection of a strained lattice that is nearest to a place, and its squared distance."""
    best, least = -1, np.inf
    for k in range(first, last):
        u = place[k, 0] + m[0, 0] * place[k, 0] + m[0, 1] * place[k, 1] - x
        v = place[k, 1] + m[1, 0] * place[k, 0] + m[1, 1] * place[k, 1] - y
        d2 = u * u + v * v
        if d2 < least:
            best, least = k, d2
    return best, least


@numba.njit(cache=True, nogil=True, error_model="numpy")
def explain(
    spots: FloatArray,
    count: int,
    place: FloatArray,
    ends: NDArray[np.int64],
    density: FloatArray,
    sigma: float,
    strains: FloatArray,
    belongs: NDArray[np.int64],
) -> float:
    """Logarithm of the likelihood ratio of lattices that are there to such that are not, strained as they fit best.

    Parameters
    ----------
    spots, count
        Of :meth:`~hyperspy_assb.acom.patterns.bright_spots.SpotFinder.find`.
    place
        Reflections of one lattice after the other, (N, 4).
    ends
        Where those of each begin, and where the last ones end, (L + 1,).
    density
        Of each, per pixel, (L,).
    sigma
        Standard deviation of a spot in pixels.
    strains
        Overwritten with how much each lattice is strained and turned in the plane, (L, 2, 2).
    belongs
        Overwritten with the lattice that explains each spot, -1 where none does, (M,).

    Returns
    -------
    evidence
        Sum over the spots, less half of what the strains are off 0, in squares of their standard deviation.
    """
    lattices = len(ends) - 1
    strains[:] = 0.0
    error2 = (PLACE_ERROR * sigma) ** 2
    capture2 = (CAPTURE * sigma) ** 2
    owner, distance2 = np.empty(count, dtype=np.int64), np.empty(count)
    nearest = np.empty(count, dtype=np.int64)
    for turn in range(4):
        for s in range(count):
            distance2[s] = np.inf
            owner[s] = -1
            for h in range(lattices):
                k, d2 = _nearest(spots[s, 0], spots[s, 1], place, ends[h], ends[h + 1], strains[h])
                if d2 < distance2[s]:
                    owner[s], nearest[s], distance2[s] = h, k, d2
        if turn == 3:
            break
        for h in range(lattices):
            # Two rows of least squares with one matrix.
            a00, a01, a11 = 1.0 / STRAIN_STD**2, 0.0, 1.0 / STRAIN_STD**2
            b = np.zeros((2, 2))
            for s in range(count):
                if owner[s] != h or distance2[s] > capture2:
                    continue
                x, y = place[nearest[s], 0], place[nearest[s], 1]
                w = 1.0 / (error2 + sigma * sigma / max(spots[s, 3], 1.0))
                a00 += w * x * x
                a01 += w * x * y
                a11 += w * y * y
                for i in range(2):
                    off = spots[s, i] - place[nearest[s], i]
                    b[i, 0] += w * x * off
                    b[i, 1] += w * y * off
            whole = a00 * a11 - a01 * a01
            for i in range(2):
                strains[h, i, 0] = (a11 * b[i, 0] - a01 * b[i, 1]) / whole
                strains[h, i, 1] = (a00 * b[i, 1] - a01 * b[i, 0]) / whole
            # A lattice that is strained by more is another one.
            largest = np.abs(strains[h]).max()
            if largest > LARGEST_STRAIN:
                strains[h] *= LARGEST_STRAIN / largest
    everywhere = density.sum()
    evidence = 0.0
    for s in range(count):
        z = spots[s, 2]
        odd = min(ODD_SPOTS + 0.5 * np.exp(-0.5 * max(z * z - 9.0, 0.0)), 0.5)
        s2 = error2 + sigma * sigma / max(spots[s, 3], 1.0)
        exponent = -0.5 * distance2[s] / s2 + np.pi * everywhere * distance2[s]
        ratio = np.exp(min(exponent, 0.0)) / (2.0 * np.pi * everywhere * s2)
        evidence += np.log((1.0 - odd) * ratio + odd)
        belongs[s] = owner[s] if distance2[s] < 16.0 * s2 else -1
    for h in range(lattices):
        for i in range(2):
            for j in range(2):
                evidence -= 0.5 * (strains[h, i, j] / STRAIN_STD) ** 2
    return evidence
