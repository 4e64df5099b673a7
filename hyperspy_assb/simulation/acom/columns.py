"""Diffraction patterns of columns of material: spots, rings, background, and what the camera makes of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import i0e

from hyperspy_assb.simulation.acom.amorphous import RADIAL_STEP, amorphous_profile, diffuse_profile
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.crystal import DiffractionCrystal
from hyperspy_assb.simulation.acom.kernels import FAINTEST, count_electrons, crystal_spots, draw_pattern

_PROFILE_SIZE = 1024
_BRIGHTEST = 16  # spots that diffract a second time


@dataclass(frozen=True)
class Columns:
    """
    What the beam crosses in each of B patterns: L crystals at most, and amorphous material.

    Attributes
    ----------
    phase
        Index of each crystal, -1 where there is none, ``(B, L)``.
    matrices
        From the crystal to the specimen, strain included: ``g_specimen = matrix @ g_crystal``, ``(B, L, 3, 3)``.
    thickness
        nm, ``(B, L)``.
    weight
        Share of the pattern's area, ``(B, L)``.
    grain
        Numbers that the scatter of the intensities belongs to, ``(B, L)``.
    amorphous
        nm of each amorphous material, averaged over the area, ``(B,)``.
    shift
        Place of the direct beam in pixels less that of the conditions, ``(B, 2)``.
    seeds
        Of the noise, ``(B,)``.
    """

    phase: np.ndarray
    matrices: np.ndarray
    thickness: np.ndarray
    weight: np.ndarray
    grain: np.ndarray
    amorphous: Mapping[str, np.ndarray]
    shift: np.ndarray
    seeds: np.ndarray


def incident_beams(conditions: DiffractionConditions) -> tuple[np.ndarray, np.ndarray]:
    """
    Incident directions of a pattern.

    Parameters
    ----------
    conditions
        Precession and convergence.

    Returns
    -------
    directions : numpy.ndarray
        Unit vectors ``(beams, 3)`` in the specimen; the mean is along -z.
    thickness : numpy.ndarray
        Relative thickness that goes with each, ``(beams,)``.
    """
    i = np.arange(conditions.beams)
    turn = 2 * np.pi * (i + 0.5) / conditions.beams
    # Points spread evenly over the probe's cone, in an order that has nothing to do with the precession.
    radius = 1e-3 * conditions.convergence_angle * np.sqrt((i * 0.7548776662466927 + 0.5) % 1)
    azimuth = 2 * np.pi * (i * 0.5698402909980532 % 1)
    tilt = np.sin(np.deg2rad(conditions.precession_angle))
    x = tilt * np.cos(turn) + radius * np.cos(azimuth)
    y = tilt * np.sin(turn) + radius * np.sin(azimuth)
    spread = 1 + conditions.thickness_spread * (2 * ((i * 0.6180339887498949 + 0.25) % 1) - 1)
    return np.stack([x, y, -np.sqrt(1 - x**2 - y**2)], axis=1), spread


@cache
def _spot_profile(radius: float, sigma: float) -> tuple[np.ndarray, float, float]:
    """Disc, spread and averaged over the pixel: values against the squared distance, its step, and the reach."""
    sigma = float(np.hypot(sigma, np.sqrt(1 / 12)))
    reach = radius + 4 * sigma
    step = reach**2 / (_PROFILE_SIZE - 1)
    r = np.sqrt(np.arange(_PROFILE_SIZE) * step)
    within = max(radius, 1e-3) * (np.arange(200) + 0.5) / 200
    kernel = np.exp(-((r[:, None] - within) ** 2) / (2 * sigma**2)) * i0e(r[:, None] * within / sigma**2)
    profile = (kernel * within).sum(axis=1) * 2 / (200 * max(radius, 1e-3)) / (2 * np.pi * sigma**2)
    profile[-1] = 0.0
    # d(r^2) pi is the area of a ring.
    return profile / (profile.sum() * np.pi * step - 0.5 * profile[0] * np.pi * step), step, reach


def largest_radius(conditions: DiffractionConditions) -> float:
    """
    Radius of reciprocal space that a pattern may need.

    Parameters
    ----------
    conditions
        Shape, scale and centre.

    Returns
    -------
    float
        1/Å, from the direct beam to the furthest corner, and some pixels more for its shift.
    """
    ny, nx = conditions.shape
    corners = np.array([[0, 0], [0, ny], [nx, 0], [nx, ny]]) - conditions.direct_beam_position
    inverse = np.linalg.inv(conditions.projection)
    return float(np.linalg.norm(corners @ inverse.T, axis=1).max() + 8 * conditions.scale)


def patterns_of_columns(
    columns: Columns,
    crystals: Sequence[DiffractionCrystal],
    conditions: DiffractionConditions,
    *,
    noise: bool = True,
    threads: int | None = None,
) -> np.ndarray:
    """
    Simulate the patterns of columns of material.

    Parameters
    ----------
    columns
        What the beam crosses.
    crystals
        Reflections of the phases.
    conditions
        Microscope, precession and camera.
    noise
        Whether to draw electrons.
    threads
        Number of threads; None is the number of cores.

    Returns
    -------
    numpy.ndarray
        ``(B, rows, columns)``. A pattern depends on its own row of `columns` only.
    """
    painter = _Painter(crystals, conditions, tuple(columns.amorphous))
    n = len(columns.phase)
    out = np.empty((n, *conditions.shape), dtype=conditions.dtype if noise else np.float32)
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [range(begin, min(begin + 16, n)) for begin in range(0, n, 16)]

    def paint(part: range) -> None:
        image = np.empty(conditions.shape)
        for i in part:
            painter.paint(columns, i, image)
            painter.record(image, int(columns.seeds[i]), out[i], noise=noise)

    if threads == 1 or len(parts) < 2:
        for part in parts:
            paint(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(paint, parts))
    return out


class _Painter:
    """Everything that patterns of the same conditions have in common."""

    def __init__(
        self, crystals: Sequence[DiffractionCrystal], conditions: DiffractionConditions, amorphous: tuple[str, ...]
    ) -> None:
        self.conditions = conditions
        self.crystals = [(np.ascontiguousarray(c.vectors), c.inverse_extinction(conditions), c.keys) for c in crystals]
        directions, spread = incident_beams(conditions)
        self.beams = np.vstack([directions.T, spread])
        self.profile = _spot_profile(conditions.disc_radius, conditions.point_spread)
        self.projection = np.ascontiguousarray(conditions.projection)
        self.inverse = np.linalg.inv(self.projection)
        size = int(1.3 * largest_radius(conditions) / RADIAL_STEP) + 4
        area = abs(np.linalg.det(self.inverse))
        self.diffuse = diffuse_profile(conditions, size) * area
        self.amorphous = {name: amorphous_profile(name, conditions, size) for name in amorphous}
        self.area = area
        c = conditions.scatter_correlation
        self.scatter = conditions.intensity_scatter * np.sqrt([c, 1 - c])
        integer = np.issubdtype(np.dtype(conditions.dtype), np.integer)
        self.largest = float(np.iinfo(conditions.dtype).max) if integer else 0.0

    def spots(self, columns: Columns, i: int) -> np.ndarray:
        """x and y in 1/Å and intensity for one electron of all spots of a pattern, ``(n, 3)``."""
        found = [np.empty((0, 3))]
        for layer, phase in enumerate(columns.phase[i]):
            weight = columns.weight[i, layer]
            if phase < 0 or weight <= 0:
                continue
            vectors, inverse_extinction, keys = self.crystals[phase]
            out = np.empty((len(vectors), 3))
            count = crystal_spots(
                vectors,
                inverse_extinction,
                keys,
                columns.matrices[i, layer],
                10 * columns.thickness[i, layer],
                self.beams,
                1 / self.conditions.wavelength,
                FAINTEST / weight,
                self.scatter[0],
                self.scatter[1],
                np.uint64(columns.grain[i, layer] & (2**63 - 1)) + np.uint64(1),
                out,
            )
            out[:count, 2] *= weight
            found.append(out[:count])
        return np.concatenate(found)

    def diffracted_twice(self, spots: np.ndarray, unscattered: float) -> tuple[np.ndarray, float]:
        """Spots of double diffraction among the brightest, and what comes back into the direct beam."""
        if self.conditions.double_scattering == 0 or len(spots) == 0:
            return np.empty((0, 3)), 0.0
        bright = spots[np.argsort(-spots[:, 2], kind="stable")[:_BRIGHTEST]]
        first, second = np.triu_indices(len(bright))
        twice = bright[first] + bright[second]
        twice[:, 2] = bright[first, 2] * bright[second, 2] * np.where(first == second, 0.5, 1.0)
        twice[:, 2] *= self.conditions.double_scattering * unscattered
        back = np.hypot(twice[:, 0], twice[:, 1]) < self.conditions.scale
        return twice[~back], float(twice[back, 2].sum())

    def paint(self, columns: Columns, i: int, image: np.ndarray) -> float:
        """Expected electrons of a pattern; returns those of its spots."""
        conditions = self.conditions
        spots = self.spots(columns, i)
        crystal = float((columns.thickness[i] * columns.weight[i])[columns.phase[i] >= 0].sum())
        glass = {name: float(value[i]) for name, value in columns.amorphous.items()}
        diffuse = (crystal + sum(glass.values())) / conditions.diffuse_mean_free_path
        events = spots[:, 2].sum() + diffuse + sum(t * self.amorphous[name][1] for name, t in glass.items())
        away = -np.expm1(-events)
        twice, back = self.diffracted_twice(spots, np.exp(-events))
        # What goes into spots of double diffraction does not go elsewhere.
        scattered = (away - twice[:, 2].sum() - back) / events if events > 0 else 1.0
        spots = spots * [1.0, 1.0, scattered]
        radial = self.diffuse * diffuse
        for name, nm in glass.items():
            radial = radial + self.amorphous[name][0] * (nm * self.area)
        wanted = conditions.diffracted_electrons
        bragg = draw_pattern(
            image,
            np.concatenate([spots, twice]),
            1 - away + back if conditions.direct_beam else 0.0,
            radial * scattered,
            RADIAL_STEP,
            self.projection,
            self.inverse,
            np.asarray(conditions.direct_beam_position) + columns.shift[i],
            *self.profile,
            -1.0 if wanted is None else wanted,
        )
        if wanted is None or bragg == 0:
            image *= conditions.electrons
            bragg *= conditions.electrons
        return bragg

    def record(self, image: np.ndarray, seed: int, out: np.ndarray, *, noise: bool) -> None:
        """What the camera makes of the expected electrons."""
        c = self.conditions
        if noise:
            count_electrons(image, np.random.default_rng(seed), c.gain, c.dark_offset, c.read_noise, self.largest, out)
        else:
            out[:] = image * c.gain + c.dark_offset
