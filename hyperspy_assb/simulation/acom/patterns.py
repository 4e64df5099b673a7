"""Precession diffraction patterns of crystals, overlapping grains and amorphous material."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.acom.columns import Columns, largest_radius, patterns_of_columns
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.crystal import load_crystals


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


def _as_layers(orientations: np.ndarray, value: Any, dtype: type, name: str) -> np.ndarray:
    """A number for each crystal of each pattern, ``(B, L)``."""
    value = np.asarray(value, dtype=dtype)
    if value.ndim == 1:
        value = value.reshape(-1, 1)
    try:
        return np.ascontiguousarray(np.broadcast_to(value, orientations.shape[:2]))
    except ValueError:
        raise AssbValueError(
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
        raise AssbValueError(f"strain has a shape that does not go with {matrices.shape[:2]} crystals: {strain.shape}")
    return matrices @ np.linalg.inv(np.eye(3) + strain)


@dataclass(frozen=True)
class PatternOptions:
    """
    What else there is in columns of crystals, and where the beam is.

    Parameters
    ----------
    weight
        Share of the pattern's area that has this crystal, a number, ``(B,)`` or ``(B, L)``.
    strain
        Strain of the crystals in their own axes (x along a, z along c*): ``(B, 3)`` or ``(B, L, 3)`` for the
        elongations along x, y and z, ``(B, 3, 3)`` or ``(B, L, 3, 3)`` for symmetric tensors. It moves the reflections
        and leaves their structure factors.
    grain
        Number of the grain of each crystal, ``(B,)`` or ``(B, L)``: the same grain of the same phase scatters about the
        two-beam intensities in the same way. By default every crystal is a separate grain.
    amorphous
        nm of ``"carbon"`` (carbon black) and of ``"amorphous_LAGP"``, numbers or ``(B,)``.
    shift
        Place of the direct beam less that of the conditions, column and row in pixels, ``(B, 2)``.

    Examples
    --------
    >>> from hyperspy_assb.simulation import DiffractionConditions
    >>> small, flat = DiffractionConditions().with_shape((64, 64)), [[1.0, 0.0, 0.0, 0.0]]
    >>> under_carbon = PatternOptions(amorphous={"carbon": 30.0})
    >>> simulate_patterns(flat, "LiFePO4", small, 1, options=under_carbon).shape
    (1, 64, 64)
    """

    weight: np.ndarray | float = 1.0
    strain: np.ndarray | None = None
    grain: np.ndarray | None = None
    amorphous: Mapping[str, np.ndarray | float] | None = None
    shift: np.ndarray | None = None


def simulate_patterns(
    orientations: np.ndarray,
    phases: Any,
    conditions: DiffractionConditions | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    phase: np.ndarray | int = 0,
    thickness: np.ndarray | float = 60.0,
    noise: bool = True,
    options: PatternOptions | None = None,
) -> np.ndarray:
    """
    Simulate diffraction patterns of crystals, alone or on top of each other.

    Parameters
    ----------
    orientations
        Quaternions from the specimen to the crystal, scalar first, ``(B, 4)``, or ``(B, L, 4)`` for L crystals in each
        column. The frame is that of ``frames``: electrons along -z, x along the columns.
    phases
        What there is, one or more: names of CIFs of this package (such as ``"LiFePO4"``), paths of CIFs, structures of
        diffpy, anything with `name` and `structure`, or ``DiffractionCrystal``.
    conditions
        Microscope, precession and camera.
    rng
        Source of the noise and of the grains' numbers, or a seed.
    phase
        Index into `phases` of each crystal, a number, ``(B,)`` or ``(B, L)``; -1 for no crystal.
    thickness
        nm, of each crystal, a number, ``(B,)`` or ``(B, L)``.
    noise
        Whether to draw electrons; if not, the expectation is returned, gain and dark offset applied.
    options
        What else there is in the columns, and where the beam is.

    Returns
    -------
    numpy.ndarray
        ``(B, rows, columns)``: of the type of the conditions, or float32 for the expectation.

    Raises
    ------
    AssbValueError
        If shapes do not go together, an orientation is not finite, or a phase is unknown.

    Notes
    -----
    Intensities are those of two beams (Reimer and Kohl, Transmission Electron Microscopy, 5th edition, chapter 7), for
    each of many incident directions on the precession cone and within the probe, summed: structure factors after
    Kirkland, exact distances from the Ewald sphere, no absorption. Each reflection is then multiplied by a lognormal
    number. Crystals in one column add up; what all of them, thermal and inelastic scattering and amorphous material
    take out of the direct beam is ``1 - exp(-sum)``. What is diffracted twice, as many electrons as Poisson's law says,
    falls on the sums of two of the brightest reflections, of one crystal or of two, without interference.

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
        raise AssbValueError(f"orientations must have the shape (B, 4) or (B, L, 4), not {orientations.shape}")
    if single:
        orientations = orientations[:, None]
    size = orientations.shape[:2]
    crystals = load_crystals(phases, largest_radius(conditions))
    options = options or PatternOptions()
    index = _as_layers(orientations, phase, np.int64, "phase")
    if index.min(initial=0) < -1 or index.max(initial=-1) >= len(crystals):
        raise AssbValueError(f"phase must be an index into the {len(crystals)} phases, or -1")
    orientations = np.where(index[..., None] >= 0, orientations, [1.0, 0.0, 0.0, 0.0])
    if not np.isfinite(orientations).all():
        raise AssbValueError("orientations must be finite where there is a crystal")
    matrices = rotation_matrices(orientations)
    columns = Columns(
        phase=index,
        matrices=matrices if options.strain is None else _strained(matrices, options.strain, single),
        thickness=_as_layers(orientations, thickness, float, "thickness"),
        weight=_as_layers(orientations, options.weight, float, "weight"),
        grain=(
            rng.integers(0, 2**63, size, dtype=np.int64)
            if options.grain is None
            else _as_layers(orientations, options.grain, np.int64, "grain")
        ),
        amorphous={
            name: np.broadcast_to(np.asarray(value, dtype=float), size[:1])
            for name, value in (options.amorphous or {}).items()
        },
        shift=np.zeros((size[0], 2)) if options.shift is None else np.asarray(options.shift, dtype=float),
        seeds=rng.integers(0, 2**32, size[0], dtype=np.int64),
    )
    return patterns_of_columns(columns, crystals, conditions, noise=noise)
