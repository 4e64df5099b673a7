"""Patterns whose truth is known, as the scan would show them: of crystals that were offered, and of others.

Brightness, diffuse intensity and noise are those of patterns of the scan. Intensities are kinematical ones that scatter
as those of many-beam diffraction do. Crystals that were not offered have lattices that differ from those that were by
:data:`FOREIGN`, along one axis at least by :data:`LEAST_FOREIGN`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.frames import upper
from hyperspy_assb.acom.matching.block_indexing import Indexer
from hyperspy_assb.acom.matching.refinement import lattices_of
from hyperspy_assb.acom.matching.refinement_kernels import Lattices, rotation_of, spots_of, strained
from hyperspy_assb.acom.patterns.bright_spots import MOST_SPOTS, RingFrame, SpotFinder, level_at
from hyperspy_assb.acom.templates.bank import SpotWeighting
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

FOREIGN, LEAST_FOREIGN = (0.01, 0.3), 0.05
"""Relative difference of the axes of crystals that were not offered, evenly in its logarithm; that of one at least."""
SCATTER = 0.5
"""Standard deviation of the logarithm of intensities about kinematical ones."""
STRAIN = 0.01
"""Standard deviation of the strain of crystals that were offered, along each axis."""
SHARES = (0.5, 0.85)
"""Share of the first of two crystals in a column."""
SEEN_SPOTS = 3
"""Spots that a pattern of the scan must have for its brightness to be that of a crystal."""
LOOKED_AT = 64
"""Patterns of the scan whose brightness is taken."""


@dataclass(frozen=True)
class Trials:
    """Patterns of single crystals that were offered, of two of them, and of crystals that were not.

    Parameters
    ----------
    patterns
        Counts, shape (B, ny, nx).
    crystals
        How many crystals that were offered each has: 1, 2, or 0, shape (B,).
    phase, amount
        Of each crystal: index of its phase, and its thickness in the units of
        :class:`~hyperspy_assb.acom.matching.second_look.Looked`; -1 and NaN where there is none, shape (B, 2).
    """

    patterns: NDArray[np.float32]
    crystals: NDArray[np.int64]
    phase: NDArray[np.int64]
    amount: FloatArray


@dataclass(frozen=True)
class _Exposure:
    """How bright patterns of the scan are: diffuse counts of each ring, and electrons in spots."""

    level: FloatArray
    electrons: float


def draw_trials(
    indexer: Indexer,
    sample: NDArray[Any],
    centres: FloatArray,
    *,
    counts: tuple[int, int, int],
    rng: np.random.Generator | int = 0,
) -> Trials | None:
    """Draw patterns like those of a scan.

    Parameters
    ----------
    indexer
        Phases and geometry.
    sample
        Patterns of the scan, shape (B, ny, nx).
    centres
        Column and row of the direct beam of each, shape (B, 2).
    counts
        How many of one crystal, of two, and of crystals that were not offered.
    rng
        Source of the noise, or a seed.

    Returns
    -------
    trials
        None where no pattern of the sample has spots.
    """
    rng = np.random.default_rng(rng)
    finder = indexer.second_look.finder
    exposures = _exposures(finder, sample, centres) if len(sample) else []
    if not exposures:
        return None
    crystals = np.repeat([1, 2, 0], counts)
    patterns = np.empty((len(crystals), *sample.shape[1:]), dtype=np.float32)
    phase, amount = np.full((len(crystals), 2), -1), np.full((len(crystals), 2), np.nan)
    gain = 4.0 * np.pi * finder.sigma**2 / finder.area
    # Weights that are intensities.
    lattices = lattices_of(indexer.bank.phases, indexer.bank.diffraction.max_radius, SpotWeighting(1.0, 0.0))
    for k, number in enumerate(crystals):
        exposure = exposures[int(rng.integers(len(exposures)))]
        shares = [1.0] if number < 2 else [(share := rng.uniform(*SHARES)), 1.0 - share]
        phases = rng.integers(len(indexer.bank.phases), size=len(shares))
        parts = [
            _crystal(indexer, lattices, int(p), share, rng, foreign=number == 0)
            for p, share in zip(phases, shares, strict=True)
        ]
        spots = np.concatenate(parts)
        unit = exposure.electrons / max(spots[:, 2].sum(), 1e-12)
        spots[:, 2] *= unit
        if number:
            phase[k, : len(shares)], amount[k, : len(shares)] = phases, unit * np.array(shares)
        image = np.empty(sample.shape[1:])
        expect(image, *indexer.geometry.centre, exposure.level, finder.frame, spots, finder.sigma, gain)
        patterns[k] = gain * rng.poisson(np.maximum(image, 0.0) / gain)
    return Trials(patterns, crystals, phase, amount)


def _exposures(finder: SpotFinder, sample: NDArray[Any], centres: FloatArray) -> list[_Exposure]:
    some = np.unique(np.linspace(0, len(sample) - 1, min(len(sample), LOOKED_AT)).round().astype(int))
    image = np.empty(sample.shape[1:], dtype=np.float32)
    spots = np.empty((MOST_SPOTS, 4))
    found = []
    for b in some:
        level = np.empty(finder.radii)
        finder.smoothed(sample[b].astype(np.float32), image)
        count = finder.find(image, float(centres[b, 0]), float(centres[b, 1]), level, spots)
        if count >= SEEN_SPOTS:
            found.append(_Exposure(level, float(spots[:count, 3].sum())))
    return found


def _crystal(
    indexer: Indexer, lattices: Lattices, p: int, share: float, rng: np.random.Generator, *, foreign: bool
) -> FloatArray:
    """Column and row from the direct beam and intensity of the spots of a crystal in a random orientation."""
    listed = np.arange(lattices.begin[p], lattices.begin[p + 1])
    strain = rng.normal(0.0, STRAIN, 3)
    if foreign:
        size = np.zeros(3)
        while size.max() < LEAST_FOREIGN:
            size = np.exp(rng.uniform(np.log(FOREIGN[0]), np.log(FOREIGN[1]), 3))
        strain = rng.choice([-1.0, 1.0], 3) * size
    rotation = np.empty((3, 3))
    rotation_of(upper(rng.standard_normal((1, 4)))[0], np.zeros(3), rotation)
    optics = indexer.refiner.optics._replace(intensity_power=1.0, radius_power=0.0)
    near, out = np.empty((4, len(listed))), np.empty((len(listed), 3))
    strained(lattices, listed, strain, near)
    count = spots_of(rotation, near, len(listed), optics, out)
    spots = out[:count].copy()
    x, y = spots[:, 0].copy(), spots[:, 1].copy()
    spots[:, 0] = optics.j00 * x + optics.j01 * y
    spots[:, 1] = optics.j10 * x + optics.j11 * y
    spots[:, 2] *= share * np.exp(rng.normal(0.0, SCATTER, count)) * indexer.second_look.strength[p]
    return spots


@numba.njit(cache=True, nogil=True, error_model="numpy")
def expect(
    image: FloatArray,
    cx: float,
    cy: float,
    level: FloatArray,
    frame: RingFrame,
    spots: FloatArray,
    sigma: float,
    gain: float,
) -> None:
    """Expected counts: the level of the rings, and Gaussian spots of so many electrons."""
    ny, nx = image.shape
    for j in range(ny):
        for i in range(nx):
            ground = level_at(level, i - cx, j - cy, frame)
            image[j, i] = ground if ground >= 0.0 else 0.0
    reach = 4.0 * sigma
    for k in range(len(spots)):
        x, y = cx + spots[k, 0], cy + spots[k, 1]
        height = gain * spots[k, 2] / (2.0 * np.pi * sigma * sigma)
        if height < 1e-4:
            continue
        for j in range(max(int(np.ceil(y - reach)), 0), min(int(y + reach), ny - 1) + 1):
            for i in range(max(int(np.ceil(x - reach)), 0), min(int(x + reach), nx - 1) + 1):
                image[j, i] += height * np.exp(-0.5 * ((i - x) ** 2 + (j - y) ** 2) / (sigma * sigma))
