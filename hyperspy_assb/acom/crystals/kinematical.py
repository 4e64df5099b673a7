"""Kinematical diffraction of electrons with precession: reflections of a phase, and their spots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, cell_axes
from hyperspy_assb.acom.crystals.frames import matrices
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.permutation import merge_equal
from hyperspy_assb.reference import electron_scattering_factor

_EXTINCT = 1e-8


@dataclass(frozen=True)
class Diffraction:
    """How the electrons meet the crystal.

    Parameters
    ----------
    beam_energy
        keV.
    precession_angle
        Half angle of the cone of the beam in degrees; 0 without precession.
    max_radius
        Longest reciprocal vector in 1/Å.
    excitation_width
        Half width of the reciprocal-lattice rods at half maximum in 1/Å. It stands for thickness (0.44 / thickness),
        convergence and bending, and must not be much below the excitation error that half the angle between
        neighbouring templates makes (0.5 degrees at 0.7 1/Å: 0.006 1/Å).
    max_excitation_error
        Reflections that stay farther from the Ewald sphere all around the cone are left out, 1/Å.
    """

    beam_energy: float = 200.0
    precession_angle: float = 0.7
    max_radius: float = 1.5
    excitation_width: float = 0.0064
    max_excitation_error: float = 0.02

    def __post_init__(self) -> None:
        for name in ("beam_energy", "max_radius", "excitation_width", "max_excitation_error"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise AssbValueError(f"{name}: above 0, not {value}.")
        if self.beam_energy >= 10_000.0:
            raise AssbValueError(f"beam_energy: in keV, not {self.beam_energy}; 200 keV is 200.")
        if not 0.0 <= self.precession_angle < 10.0:
            raise AssbValueError(f"precession_angle: from 0 to 10 degrees, not {self.precession_angle}.")

    @property
    def wavenumber(self) -> float:
        """1 / wavelength in 1/Å."""
        return 1.0 / electron_wavelength(self.beam_energy)


def electron_wavelength(beam_energy: float) -> float:
    """Relativistic wavelength in Å of electrons of an energy in keV.

    Examples
    --------
    >>> round(electron_wavelength(200.0), 6)
    0.025079
    """
    # h c / sqrt(E (E + 2 m c^2)), CODATA 2022, energies in keV
    return 12.398419843320 / float(np.sqrt(beam_energy * (beam_energy + 2 * 510.99895069)))


@dataclass(frozen=True)
class Reflections:
    """Reflections of a phase: pairs g, -g, one after the other, strongest first.

    Parameters
    ----------
    indices
        Miller indices, shape (M, 3).
    vectors
        Reciprocal vectors on the Cartesian axes of the crystal in 1/Å, shape (M, 3).
    intensity
        Squared modulus of the structure factor in Å², shape (M,).
    """

    indices: NDArray[np.int64]
    vectors: FloatArray
    intensity: FloatArray

    def __len__(self) -> int:
        return len(self.intensity)


def structure_factors(phase: CrystalPhase, indices: ArrayLike) -> NDArray[np.complex128]:
    """Kinematical structure factors of a cell for electrons in Å, shape (M,).

    Scattering factors of neutral atoms (see :func:`hyperspy_assb.reference.electron_scattering_factor`), not
    relativistically corrected; isotropic displacements where the structure has them.

    Parameters
    ----------
    indices
        Miller indices, shape (M, 3).
    """
    indices = np.asarray(indices, dtype=float)
    length = np.linalg.norm(indices @ np.linalg.inv(cell_axes(phase)).T, axis=1)
    total = np.zeros(len(indices), dtype=complex)
    for element in {atom.element for atom in phase.atoms}:
        factor = electron_scattering_factor(element, length)
        for atom in phase.atoms:
            if atom.element == element:
                damping = np.exp(-2.0 * np.pi**2 * atom.displacement * length**2)
                phases = np.exp(2j * np.pi * (indices @ np.array([atom.x, atom.y, atom.z])))
                total += atom.occupancy * factor * damping * phases
    return total


def reflections(phase: CrystalPhase, *, max_radius: float = 1.5) -> Reflections:
    """Reflections up to a radius in 1/Å, without the direct beam and those that are extinct, strongest first.

    Raises
    ------
    ValueError
        If there is none: the message names the phase.
    """
    reciprocal = np.linalg.inv(cell_axes(phase)).T  # rows a*, b*, c*
    bound = np.ceil(max_radius * np.array(phase.cell[:3])).astype(int)  # |h| = |g . a| <= |g| |a|
    grid = np.meshgrid(*[np.arange(-n, n + 1) for n in bound], indexing="ij")
    indices = np.stack(grid, axis=-1).reshape(-1, 3)
    vectors = indices @ reciprocal
    length = np.linalg.norm(vectors, axis=1)
    inside = (length <= max_radius) & (length > 0.0)
    indices, vectors = indices[inside], vectors[inside]
    # Friedel pairs have one intensity.
    first = indices[:, 0]
    first = np.where(first == 0, indices[:, 1], first)
    first = np.where(first == 0, indices[:, 2], first)
    half = first > 0
    intensity = np.abs(structure_factors(phase, indices[half])) ** 2
    keep = intensity > _EXTINCT * intensity.max(initial=0.0)
    if not keep.any():
        shortest = 1.0 / np.linalg.norm(reciprocal, axis=1).min()
        raise AssbValueError(
            f"{phase.name}: no reflection within max_radius = {max_radius:g} 1/Å; its longest lattice spacing is "
            f"{shortest:.3g} Å."
        )
    # Equivalent reflections are as strong but for rounding, and keep the order of their indices.
    intensity[keep] = merge_equal(intensity[keep], absolute=1e-12 * float(intensity.max()))
    order = np.argsort(-intensity[keep], kind="stable")

    def pairs(values: NDArray[Any], sign: int) -> NDArray[Any]:
        chosen = values[half][keep][order]
        return np.stack([chosen, sign * chosen], axis=1).reshape(2 * len(chosen), *chosen.shape[1:])

    strong = intensity[keep][order]
    return Reflections(pairs(indices, -1), pairs(vectors, -1), np.repeat(strong, 2))


def strain_reflections(found: Reflections, phase: CrystalPhase, scale: ArrayLike) -> Reflections:
    """The same reflections where a, b, c of the phase are multiplied by three factors (structure factors unchanged)."""
    factors = np.asarray(scale, dtype=float)
    reciprocal = np.linalg.inv(cell_axes(phase) * factors[:, None]).T
    return replace(found, vectors=found.indices.astype(float) @ reciprocal)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def precession_average(excitation: float, spread: float, width: float) -> float:
    """Mean of a Lorentzian over the precession: 1 where a reflection stays exactly on the Ewald sphere.

    The excitation error s runs through ``excitation + spread cos(theta)``, spread being radius times precession angle,
    and a reflection shines as ``w² / (s² + w²)``. By a contour integral, the mean over theta is
    ``Re(w / sqrt((w + i excitation)² + spread²))``: the formula of Palatinus et al. [1]_ in other words.

    References
    ----------
    .. [1] L. Palatinus et al., Acta Cryst. B75, 512 (2019), doi 10.1107/S2052520619007534, eq. 8.
    """
    u = width * width + spread * spread - excitation * excitation
    z = np.sqrt(u * u + 4.0 * width * width * excitation * excitation)
    return width * np.sqrt(0.5 * max(u + z, 0.0)) / z


@numba.njit(cache=True, nogil=True, error_model="numpy")
def project(
    rotation: FloatArray,
    vectors: FloatArray,
    strength: FloatArray,
    wavenumber: float,
    precession: float,
    width: float,
    cut: float,
    x: FloatArray,
    y: FloatArray,
    intensity: FloatArray,
    which: NDArray[np.int64],
) -> int:
    """Spots of one orientation, for use in compiled loops; returns how many there are.

    Parameters
    ----------
    rotation
        Specimen to crystal, shape (3, 3); see :func:`hyperspy_assb.acom.crystals.frames.matrices`.
    vectors, strength
        Of :class:`Reflections`, shapes (M, 3) and (M,): pairs g, -g with one intensity, one after the other.
    wavenumber
        1/Å.
    precession
        Radians.
    width, cut
        ``excitation_width`` and ``max_excitation_error`` in 1/Å.
    x, y, intensity, which
        Overwritten with positions in 1/Å, intensities, and places in the list of reflections; room for M.
    """
    count = 0
    centre = wavenumber * np.cos(precession)
    tilt = wavenumber * np.sin(precession)
    squared = wavenumber * wavenumber
    for m in range(0, len(strength), 2):
        a, b, c = vectors[m, 0], vectors[m, 1], vectors[m, 2]
        z = rotation[0, 2] * a + rotation[1, 2] * b + rotation[2, 2] * c
        radius2 = max(a * a + b * b + c * c - z * z, 0.0)
        radius = np.sqrt(radius2)
        # Quick exit for both: far from every sphere of the cone.
        if abs(z) > 1.02 * (radius2 / (2.0 * centre) + radius * precession) + cut:
            continue
        # Heights of the sphere where the beam is tilted towards the spot and away from it, and without a tilt.
        low = centre - np.sqrt(squared - (radius - tilt) ** 2) - cut
        high = centre - np.sqrt(squared - (radius + tilt) ** 2) + cut
        middle = wavenumber - np.sqrt(squared - radius2)
        spread = radius * precession
        u = rotation[0, 0] * a + rotation[1, 0] * b + rotation[2, 0] * c
        v = rotation[0, 1] * a + rotation[1, 1] * b + rotation[2, 1] * c
        if low <= z <= high:
            x[count], y[count], which[count] = u, v, m
            intensity[count] = strength[m] * precession_average(middle - z, spread, width)
            count += 1
        if low <= -z <= high:
            x[count], y[count], which[count] = -u, -v, m + 1
            intensity[count] = strength[m] * precession_average(middle + z, spread, width)
            count += 1
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _brightest(
    rotations: FloatArray,
    vectors: FloatArray,
    strength: FloatArray,
    settings: tuple[float, float, float, float],
    least: float,
    most: int,
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """x, y, intensity (N, most, 3), places in the list of reflections (N, most), and counts (N,)."""
    total, room = len(rotations), len(strength)
    spots = np.zeros((total, most, 3))
    places = np.full((total, most), -1, dtype=np.int64)
    counts = np.zeros(total, dtype=np.int64)
    x, y, intensity = np.empty(room), np.empty(room), np.empty(room)
    which = np.empty(room, dtype=np.int64)
    wavenumber, precession, width, cut = settings
    for n in range(total):
        count = project(rotations[n], vectors, strength, wavenumber, precession, width, cut, x, y, intensity, which)
        # Equivalent spots are as strong but for rounding: they keep their order, so that which are left out beyond
        # `most` does not depend on the last bit.
        brightest = intensity[:count].max() if count else 0.0
        order = np.argsort(-np.floor(intensity[:count] * (1e9 / max(brightest, 1e-300)) + 0.5), kind="mergesort")
        for k in range(min(count, most)):
            j = order[k]
            if intensity[j] < least * intensity[order[0]]:
                break
            spots[n, k, 0], spots[n, k, 1] = x[j], y[j]
            spots[n, k, 2] = intensity[j] if k == 0 else min(intensity[j], spots[n, k - 1, 2])
            places[n, k] = which[j]
            counts[n] = k + 1
    return spots, places, counts


@dataclass(frozen=True)
class Spots:
    """Spots of N orientations, up to K of each, brightest first; 0 where there is none.

    Parameters
    ----------
    x, y
        Position on the axes of the specimen in 1/Å, shape (N, K).
    intensity
        Å², shape (N, K).
    count
        Spots of each orientation, shape (N,).
    reflection
        Place in the list of :class:`Reflections`, -1 where there is none, shape (N, K).
    """

    x: FloatArray
    y: FloatArray
    intensity: FloatArray
    count: NDArray[np.int64]
    reflection: NDArray[np.int64]

    @property
    def radius(self) -> FloatArray:
        """Distance from the direct beam in 1/Å, shape (N, K)."""
        return np.hypot(self.x, self.y)

    @property
    def azimuth(self) -> FloatArray:
        """Radians from +x towards +y, shape (N, K)."""
        return np.arctan2(self.y, self.x)


def simulate_spots(
    phase: CrystalPhase,
    orientations: ArrayLike,
    *,
    diffraction: Diffraction | None = None,
    lattice_scale: ArrayLike = (1.0, 1.0, 1.0),
    min_intensity: float = 0.0,
    max_spots: int | None = None,
    known: Reflections | None = None,
) -> Spots:
    """Spots of a phase in given orientations.

    Parameters
    ----------
    phase
        Phase.
    orientations
        Specimen to crystal, shape (N, 4); see ``frames``.
    diffraction
        Energy, precession, range; the defaults of :class:`Diffraction` if None.
    lattice_scale
        Factors of a, b, c. Structure factors keep those of the unstrained cell.
    min_intensity
        Spots weaker than this share of the brightest are left out.
    max_spots
        At most so many spots of each orientation, the brightest; all if None.
    known
        Reflections of the phase, where they have been made before (:func:`reflections`).

    Raises
    ------
    ValueError
        If the phase has no reflection in range, or the orientations do not have 4 columns.
    """
    diffraction = diffraction or Diffraction()
    quaternions = np.atleast_2d(np.asarray(orientations, dtype=float))
    if quaternions.ndim != 2 or quaternions.shape[1] != 4:
        raise AssbValueError(f"orientations: unit quaternions of shape (N, 4), not {np.shape(orientations)}.")
    found = known or reflections(phase, max_radius=diffraction.max_radius)
    if not np.array_equal(lattice_scale, (1.0, 1.0, 1.0)):
        found = strain_reflections(found, phase, lattice_scale)
    most = len(found) if max_spots is None else min(max_spots, len(found))
    settings = (
        diffraction.wavenumber,
        float(np.radians(diffraction.precession_angle)),
        diffraction.excitation_width,
        diffraction.max_excitation_error,
    )
    rotations = np.ascontiguousarray(matrices(quaternions))
    # Room for all spots of all orientations may be too much memory: find the largest number first.
    parts = [
        _brightest(part, found.vectors, found.intensity, settings, float(min_intensity), most)
        for part in np.array_split(rotations, max(1, len(rotations) * most // 4_000_000))
    ]
    widest = max([int(counts.max(initial=0)) for _, _, counts in parts] or [0]) if max_spots is None else most
    spots = np.concatenate([part[:, :widest] for part, _, _ in parts])
    places = np.concatenate([part[:, :widest] for _, part, _ in parts])
    counts = np.concatenate([part for _, _, part in parts])
    x, y, intensity = (np.ascontiguousarray(spots[..., i]) for i in range(3))
    return Spots(x, y, intensity, counts, places)
