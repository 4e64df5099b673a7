"""Which amorphous materials a scan shows: rings of the table, shifted as far as their radii are uncertain.

The radii of the table are those of other specimens. Patterns without a lattice show the rings of this one, so that its
profiles are measured on them, and the table is needed for their names only. A name is found by how well the rings of a
material, stretched by a common factor, explain those patterns; where two materials explain them about as well, or none
does, the material is unknown, and is called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb import reference
from hyperspy_assb.acom.amorphous.diffuse_rings import (
    RingProfile,
    measure_profile,
    profile_variance,
    smoothness_violation,
    table_profile,
    tabulated_materials,
)
from hyperspy_assb.acom.patterns.radial_profiles import RadialProfiles, fit_profiles, smooth_background
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

UNKNOWN = "amorphous, material unknown"
"""Name of the rings of a material that the table does not settle."""
RADIUS_STD = 0.07
"""Relative standard deviation of the radii of the table, common to the rings of a material: up to 12 % off, evenly."""
LEAST = 8
"""Patterns without a lattice that show a material, for its rings to be measured on them."""
_STRETCHES = np.linspace(0.8, 1.2, 21)
_RINGED = 4.0
"""Standard deviations by which a profile is not smooth, for it to show rings."""
_RING_WIDTH = 0.08
"""1/Å: a profile has about its range over this of independent levels, since the misfit of a shape is smooth."""
_ODDS = 10.0
"""How much better a material must explain the rings than the next one."""
_UNEXPLAINED = 0.5
"""Share of the rings that a material of the table may leave, whatever the next one does."""
_SAME = 0.85
"""Share of the rings of some patterns that those of others explain, from which on the material is the same."""
_CLEAR = 2 / 3
"""Share of the patterns of a material on which its rings are measured, those that are least like the other one's."""


def learn_profiles(
    profiles: RadialProfiles, amorphous: ArrayLike, materials: Sequence[RingProfile | str] | None = None
) -> tuple[RingProfile, ...]:
    """Rings of materials as the scan itself shows them, beginning with those of the table.

    Parameters
    ----------
    profiles
        Of B patterns.
    amorphous
        Which of them have no lattice, shape (B,).
    materials
        As for :func:`~hyperspy_assb.acom.amorphous.diffuse_rings.fit_rings`; with profiles that were measured among
        them, nothing is learnt.

    Returns
    -------
    profiles
        Measured where enough patterns show rings, else those of the table. A material that the table does not settle
        takes the place of those that were not found, under the name :data:`UNKNOWN`.
    """
    chosen = [m if isinstance(m, RingProfile) else table_profile(m) for m in materials or tabulated_materials()]
    which = np.asarray(amorphous, dtype=bool)
    if any(m.level_std is not None or m.powder for m in chosen):
        return tuple(chosen)
    learnt: dict[str, RingProfile] = {}
    for name, rows in identify(profiles, which, [m.name for m in chosen]):
        try:
            learnt[name] = measure_profile(profiles.take(rows), name)
        except AssbValueError:  # no ring stands out of the mean profile
            return tuple(chosen)
    if UNKNOWN in learnt:
        return tuple(learnt.values())
    return tuple(learnt.get(m.name, m) for m in chosen)


class Identified(NamedTuple):
    """A material that patterns without a lattice show.

    Parameters
    ----------
    name
        Of the table, or :data:`UNKNOWN`.
    rows
        Patterns that show its rings most clearly.
    """

    name: str
    rows: NDArray[np.int64]


def identify(profiles: RadialProfiles, amorphous: NDArray[np.bool_], names: Sequence[str]) -> list[Identified]:
    """Find which materials of the table patterns without a lattice show, one or two.

    Parameters
    ----------
    profiles
        Of B patterns.
    amorphous
        Which of them have no lattice, shape (B,).
    names
        Of materials of the table. The heights of their rings are not used: they depend on the camera and the thickness.
    """
    ground = smooth_background(profiles.radius)
    which = np.flatnonzero(amorphous)
    shown = profiles.take(which)
    smooth = fit_profiles(shown.level, profile_variance(shown, ground), ground)
    ringed = smoothness_violation(smooth) >= _RINGED
    which, shown = which[ringed], shown.take(ringed)
    if len(which) < LEAST:
        return []
    parts = _parts(shown, smooth.fitted[ringed])
    found = _names([_Mean.of(shown.take(rows)) for rows in parts], names)
    if len(parts) == 2 and found == (UNKNOWN, UNKNOWN):
        return [Identified(UNKNOWN, which[np.concatenate(parts)])]
    return [Identified(name, which[rows]) for name, rows in zip(found, parts, strict=True)]


def _names(means: Sequence[_Mean], names: Sequence[str]) -> tuple[str, ...]:
    """The material of each mean profile, if it is clear; no two are of one material."""
    judged = [[_explain(mean, name) for name in names] for mean in means]
    every = [
        (sum(judged[k][a][0] for k, a in enumerate(way)), way) for way in permutations(range(len(names)), len(means))
    ]
    every.sort(reverse=True)
    if every and (len(every) == 1 or every[0][0] - every[1][0] > np.log(_ODDS)):
        way = every[0][1]
        return tuple(names[a] if judged[k][a][1] < _UNEXPLAINED else UNKNOWN for k, a in enumerate(way))
    return (UNKNOWN,) * len(means)


def _parts(profiles: RadialProfiles, smooth: FloatArray) -> list[NDArray[np.int64]]:
    """Rows of patterns that show one material, or of each of two."""
    known = np.isfinite(profiles.level).all(axis=0)
    size = np.nansum(profiles.level, axis=1)[:, None]
    rings = ((profiles.level - smooth) / size)[:, known]
    centred = rings - rings.mean(axis=0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    order = np.argsort(along, kind="stable")
    every = [order]
    if len(order) < 2 * LEAST:
        return every
    # Where two means explain the most of the scatter (N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979)).
    below = np.cumsum(along[order])
    count = np.arange(1, len(order) + 1)
    between = below[:-1] ** 2 * (1.0 / count[:-1] + 1.0 / (len(order) - count[:-1]))
    cut = LEAST + int(np.argmax(between[LEAST - 1 : len(order) - LEAST]))
    first, second = order[:cut], order[cut:]
    clear = [first[: max(int(_CLEAR * cut), LEAST)], second[-max(int(_CLEAR * len(second)), LEAST) :]]
    try:
        measured = [measure_profile(profiles.take(rows), UNKNOWN) for rows in clear]
    except AssbValueError:
        return every
    means = [_Mean.of(profiles.take(rows)) for rows in clear]
    alike = [mean.left_by(rings.at(mean.radius)[None]) for mean, rings in zip(means, reversed(measured), strict=True)]
    return every if min(alike) < 1.0 - _SAME else clear


def _explain(mean: _Mean, name: str) -> tuple[float, float]:
    """How likely rings of a material of the table, all radii stretched by one factor, are, and what they leave."""
    rings = reference.material(name).rings
    radius, fwhm = (np.array([getattr(r, key) for r in rings]).reshape(-1, 1) for key in ("radius", "fwhm"))
    left = np.array(
        [mean.left_by(np.exp(-4.0 * np.log(2.0) * ((mean.radius / s - radius) / fwhm) ** 2)) for s in _STRETCHES]
    )
    # The misfit of a shape is smooth, so that few levels are independent, and counts relative to that of others.
    independent = float(np.ptp(mean.radius)) / _RING_WIDTH
    scores = -0.5 * independent * np.log(left) - 0.5 * ((_STRETCHES - 1.0) / RADIUS_STD) ** 2
    best = int(np.argmax(scores))
    return float(scores[best]), float(left[best])


@dataclass(frozen=True)
class _Mean:
    """Mean profile of some patterns, shape (1, R), and how far it is from a smooth background."""

    radius: FloatArray
    level: FloatArray
    variance: FloatArray
    ground: FloatArray
    squares: float

    @classmethod
    def of(cls, profiles: RadialProfiles) -> _Mean:
        mean = RadialProfiles(
            profiles.radius,
            profiles.level.mean(axis=0)[None],
            np.sqrt((profiles.level_std**2).mean(axis=0) / len(profiles))[None],
            profiles.pixels.sum(axis=0)[None],
            profiles.spots.mean(keepdims=True),
            profiles.spots_std.mean(keepdims=True),
        )
        ground = smooth_background(profiles.radius)
        variance = profile_variance(mean, ground)
        squares = float(fit_profiles(mean.level, variance, ground).squares[0])
        return cls(profiles.radius, mean.level, variance, ground, squares)

    def left_by(self, rings: FloatArray) -> float:
        """Share of the rings that rings of some shapes, (K, R), with any heights do not explain."""
        fit = fit_profiles(self.level, self.variance, np.concatenate([rings, self.ground]))
        # What noise leaves is explained.
        return float(max(fit.squares[0], fit.freedom[0], 1e-12) / max(self.squares, 1e-12))
