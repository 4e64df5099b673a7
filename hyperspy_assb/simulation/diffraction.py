"""Precession diffraction patterns of crystals, overlapping grains and amorphous material."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import i0e

from .diffraction_amorphous import RADIAL_STEP, amorphous_profile, diffuse_profile
from .diffraction_conditions import DiffractionConditions
from .diffraction_crystal import DiffractionCrystal, load_crystals
from .diffraction_kernels import FAINTEST, count_electrons, crystal_spots, draw_pattern

_PROFILE_SIZE = 1024


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


def rotation_matrices(orientations: np.ndarray) -> np.ndarray:
    """
    Matrices of orientations.

    Parameters
    ----------
    orientations
        Quaternions from the specimen to the crystal, scalar first, ``(..., 4)``.

    Returns
    -------
    numpy.ndarray
        ``(..., 3, 3)``, from the crystal to the specimen: ``g_specimen = matrix @ g_crystal``.
    """
    q = np.asarray(orientations, dtype=float)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    scalar, vector = q[..., :1, None], q[..., 1:]
    # Rotation by the inverse, after Rodrigues: v + 2 w (v x u) + 2 u x (u x v) as a matrix.
    cross = np.zeros((*q.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -vector[..., 2], vector[..., 1], -vector[..., 0]
    cross -= np.swapaxes(cross, -1, -2)
    return np.eye(3) - 2 * scalar * cross + 2 * cross @ cross


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


def _as_layers(orientations: np.ndarray, value: Any, dtype: type, name: str) -> np.ndarray:
    """A number for each crystal of each pattern, ``(B, L)``."""
    value = np.asarray(value, dtype=dtype)
    if value.ndim == 1:
        value = value.reshape(-1, 1)
    try:
        return np.ascontiguousarray(np.broadcast_to(value, orientations.shape[:2]))
    except ValueError:
        raise ValueError(
            f"{name} has the shape {value.shape}, which does not go with {orientations.shape[0]} patterns of"
            f" {orientations.shape[1]} crystals"
        ) from None


def _strained(matrices: np.ndarray, strain: Any, single: bool) -> np.ndarray:
    """Matrices with the strain of the crystals in them."""
    strain = np.asarray(strain, dtype=float)
    if single and strain.shape[0] == len(matrices):
        strain = strain[:, None]
    if strain.shape == (*matrices.shape[:2], 3):
        strain = strain[..., None] * np.eye(3)
    if strain.shape != matrices.shape:
        raise ValueError(f"strain has a shape that does not go with {matrices.shape[:2]} crystals: {strain.shape}")
    return matrices @ np.linalg.inv(np.eye(3) + strain)


def simulate_patterns(
    orientations: np.ndarray,
    phases: Any,
    conditions: DiffractionConditions | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    phase: np.ndarray | int = 0,
    thickness: np.ndarray | float = 60.0,
    weight: np.ndarray | float = 1.0,
    strain: np.ndarray | None = None,
    grain: np.ndarray | None = None,
    amorphous: Mapping[str, np.ndarray | float] | None = None,
    shift: np.ndarray | None = None,
    noise: bool = True,
) -> np.ndarray:
    """
    Simulate diffraction patterns of crystals, alone or on top of each other.

    Parameters
    ----------
    orientations
        Quaternions from the specimen to the crystal, scalar first, ``(B, 4)``, or ``(B, L, 4)`` for L crystals in each
        column. The frame is that of :mod:`hyperspy_assb.acom.frames`: electrons along -z, x along the columns.
    phases
        What there is, one or more: names of CIFs of this package (such as ``"LiFePO4"``), paths of CIFs, structures of
        diffpy, anything with `name` and `structure`, or :class:`DiffractionCrystal`.
    conditions
        Microscope, precession and camera.
    rng
        Source of the noise and of the grains' numbers, or a seed.
    phase
        Index into `phases` of each crystal, a number, ``(B,)`` or ``(B, L)``; -1 where there is none.
    thickness
        nm, of each crystal, a number, ``(B,)`` or ``(B, L)``.
    weight
        Share of the pattern's area that has this crystal, a number, ``(B,)`` or ``(B, L)``.
    strain
        Strain of the crystals in their own axes (x along a, z along c*): ``(B, 3)`` or ``(B, L, 3)`` for the
        elongations along x, y and z, ``(B, 3, 3)`` or ``(B, L, 3, 3)`` for symmetric tensors. It moves the reflections
        and leaves their structure factors.
    grain
        Number of the grain of each crystal, ``(B,)`` or ``(B, L)``: the same grain of the same phase scatters about the
        two-beam intensities in the same way. By default every crystal is a grain of its own.
    amorphous
        nm of ``"carbon"`` (carbon black) and of ``"amorphous_LAGP"``, numbers or ``(B,)``.
    shift
        Place of the direct beam less that of the conditions, column and row in pixels, ``(B, 2)``.
    noise
        Whether to draw electrons; if not, the expectation is returned, gain and dark offset applied.

    Returns
    -------
    numpy.ndarray
        ``(B, rows, columns)``: of the type of the conditions, or float32 for the expectation.

    Raises
    ------
    ValueError
        If shapes do not go together, an orientation is not finite, or a phase is unknown.

    Notes
    -----
    Intensities are those of two beams (Reimer and Kohl, Transmission Electron Microscopy, 5th edition, chapter 7), for
    each of many incident directions on the precession cone and within the probe, summed: structure factors after
    Kirkland, exact distances from the Ewald sphere, no absorption. Each reflection is then multiplied by a lognormal
    number. Crystals in one column add up; what all of them, thermal and inelastic scattering and amorphous material
    take out of the direct beam is ``1 - exp(-sum)``. Scattering by one after the other is left out, and so are
    reflections that only double diffraction excites.

    Examples
    --------
    >>> from hyperspy_assb.simulation import simulate_patterns
    >>> simulate_patterns([[1.0, 0.0, 0.0, 0.0]], "LiFePO4", rng=1).shape
    (1, 256, 256)
    """
    conditions = conditions or DiffractionConditions()
    rng = np.random.default_rng(rng)
    orientations = np.asarray(orientations, dtype=float)
    single = orientations.ndim == 2
    if orientations.shape[-1:] != (4,) or orientations.ndim not in (2, 3):
        raise ValueError(f"orientations must have the shape (B, 4) or (B, L, 4), not {orientations.shape}")
    if single:
        orientations = orientations[:, None]
    size = orientations.shape[:2]
    crystals = load_crystals(phases, largest_radius(conditions))
    index = _as_layers(orientations, phase, np.int64, "phase")
    if index.min(initial=0) < -1 or index.max(initial=-1) >= len(crystals):
        raise ValueError(f"phase must be an index into the {len(crystals)} phases, or -1")
    orientations = np.where(index[..., None] >= 0, orientations, [1.0, 0.0, 0.0, 0.0])
    if not np.isfinite(orientations).all():
        raise ValueError("orientations must be finite where there is a crystal")
    matrices = rotation_matrices(orientations)
    columns = Columns(
        phase=index,
        matrices=matrices if strain is None else _strained(matrices, strain, single),
        thickness=_as_layers(orientations, thickness, float, "thickness"),
        weight=_as_layers(orientations, weight, float, "weight"),
        grain=(
            rng.integers(0, 2**63, size, dtype=np.int64)
            if grain is None
            else _as_layers(orientations, grain, np.int64, "grain")
        ),
        amorphous={
            name: np.broadcast_to(np.asarray(value, dtype=float), size[:1]) for name, value in (amorphous or {}).items()
        },
        shift=np.zeros((size[0], 2)) if shift is None else np.asarray(shift, dtype=float),
        seeds=rng.integers(0, 2**32, size[0], dtype=np.int64),
    )
    return patterns_of_columns(columns, crystals, conditions, noise=noise)


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

    def paint(self, columns: Columns, i: int, image: np.ndarray) -> float:
        """Expected electrons of a pattern; returns those of its spots."""
        conditions = self.conditions
        spots = self.spots(columns, i)
        crystal = float((columns.thickness[i] * columns.weight[i])[columns.phase[i] >= 0].sum())
        glass = {name: float(value[i]) for name, value in columns.amorphous.items()}
        diffuse = (crystal + sum(glass.values())) / conditions.diffuse_mean_free_path
        events = spots[:, 2].sum() + diffuse + sum(t * self.amorphous[name][1] for name, t in glass.items())
        scattered = -np.expm1(-events) / events if events > 0 else 1.0
        radial = self.diffuse * diffuse
        for name, nm in glass.items():
            radial = radial + self.amorphous[name][0] * (nm * self.area)
        wanted = conditions.diffracted_electrons
        bragg = draw_pattern(
            image,
            spots,
            scattered,
            np.exp(-events) if conditions.direct_beam else 0.0,
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
