"""Particles of an electrode, and whether they delithiate as wholes (domino-cascade) or piecewise (mosaic)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.crystals.frames import matrices
from hyperspy_assb.acom.crystals.pseudo_symmetry import crystal_mean, pseudo_symmetric_angle, zone_axes_of
from hyperspy_assb.acom.maps.area_fractions import ClassMap, classify_pixels
from hyperspy_assb.acom.maps.couples import needed_couple
from hyperspy_assb.acom.maps.grains import (
    BoundaryKind,
    GrainOptions,
    absorb_small,
    connect_pixels,
    find_grains,
    grain_boundaries,
    sides,
)
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

_SMOOTHING = 1.5
"""Pixels over which the direction of a boundary is found: steps between pixels have only two."""
_IN_PLANE = 0.3
"""An axis that is closer to the beam than this (sine) has no direction in the map."""


class ParticleStatus(IntEnum):
    """Of what phase the particle of a pixel is."""

    LITHIATED = 0
    """The lithiated phase."""
    DELITHIATED = 1
    """The delithiated phase."""
    MIXED = 2
    """Both phases."""
    NO_PARTICLE = 3
    """The pixel belongs to no particle: another material, or fewer pixels than count as one."""


@dataclass(frozen=True)
class MechanismOptions:
    """What counts as a particle, and as one of a single phase.

    Parameters
    ----------
    amorphous
        Names of the amorphous materials to which distances are measured; without any, all but carbon, which coats every
        particle.
    particle_angle
        Degrees between neighbouring pixels of the electrode above which they are of two particles. Domains of one
        particle are turned by a few degrees; two particles are closer than 30 degrees once in thirty times by chance.
    min_pixels
        Particles of fewer pixels are left out.
    mixed
        A particle is mixed if the share of either phase is at least this.
    permutations
        Of the tests.
    seed
        Of the permutations.
    grains
        What counts as a domain within a particle.

    Examples
    --------
    >>> from hyperspy_assb.acom import MechanismOptions
    >>> MechanismOptions(min_pixels=20, amorphous=("amorphous_LAGP",)).mixed
    0.1
    """

    amorphous: tuple[str, ...] = ()
    particle_angle: float = 30.0
    min_pixels: int = 12
    mixed: float = 0.1
    permutations: int = 999
    seed: int = 0
    grains: GrainOptions = field(default_factory=lambda: GrainOptions(min_pixels=2))

    def __post_init__(self) -> None:
        if not 0.0 < self.particle_angle < 90.0:
            raise AssbValueError(f"particle_angle: degrees between 0 and 90, not {self.particle_angle}.")
        if self.min_pixels < 2:
            raise AssbValueError(f"min_pixels: pixels, at least 2, not {self.min_pixels}.")
        if not 0.0 < self.mixed < 0.5:
            raise AssbValueError(f"mixed: a share between 0 and 0.5, not {self.mixed}.")
        if self.permutations < 19:
            raise AssbValueError(f"permutations: at least 19, not {self.permutations}.")


@dataclass(frozen=True)
class Particles:
    """Connected regions of an electrode, R of them, largest first.

    Parameters
    ----------
    labels
        Number of the particle of each pixel from 1 upwards, 0 elsewhere, shape (ny, nx). All else has one row a
        particle: row i is particle i + 1.
    pixels
        Number of pixels, shape (R,).
    diameter
        Of the circle of the same area, in the unit of the pixel size, shape (R,).
    delithiated
        Share of the delithiated phase, shape (R,).
    expected
        The same from the posterior probabilities, shape (R,).
    mixed
        Whether both phases have a share, shape (R,).
    domains
        Grains within it, shape (R,).
    orientation
        Mean, specimen to crystal, shape (R, 4).
    spread
        Mean disorientation of its pixels from the mean in degrees, shape (R,).
    interface
        Length of the boundaries between the two phases within it, in the unit of the pixel size, shape (R,).
    disorientation
        Median across these, in degrees; NaN where there are none, shape (R,).
    normal
        Root mean square of the components along a, b and c of the normal of these boundaries, shape (R, 3). The
        normal is that of the trace in the map: a boundary that is inclined to the beam is taken to be upright.
    angle_to_a
        Mean angle in degrees between that normal and the a axis, both seen along the beam: 45 if they have nothing to
        do with each other; shape (R,).
    amorphous_distance
        Distance from its outline to amorphous material, mean along the outline, in the unit of the pixel size; NaN
        where nothing is amorphous; shape (R,).
    amorphous_contact
        Share of its outline along amorphous pixels, shape (R,).
    at_margin
        Whether it reaches the margin of the map, and may be larger, shape (R,).
    """

    labels: NDArray[np.int64]
    pixels: NDArray[np.int64]
    diameter: FloatArray
    delithiated: FloatArray
    expected: FloatArray
    mixed: NDArray[np.bool_]
    domains: NDArray[np.int64]
    orientation: FloatArray
    spread: FloatArray
    interface: FloatArray
    disorientation: FloatArray
    normal: FloatArray
    angle_to_a: FloatArray
    amorphous_distance: FloatArray
    amorphous_contact: FloatArray
    at_margin: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def kinds(self) -> NDArray[np.int8]:
        """:class:`ParticleStatus` of each particle, shape (R,)."""
        pure = np.where(self.delithiated >= 0.5, ParticleStatus.DELITHIATED, ParticleStatus.LITHIATED)
        return np.where(self.mixed, ParticleStatus.MIXED, pure).astype(np.int8)

    @property
    def status(self) -> NDArray[np.int8]:
        """The same of each pixel, shape (ny, nx)."""
        return np.append(self.kinds, np.int8(ParticleStatus.NO_PARTICLE))[self.labels - 1]


def find_particles(
    scan: IndexedScan,
    couple: Electrode | str | None = None,
    *,
    pixel_size: tuple[float, float] = (1.0, 1.0),
    classes: ClassMap | None = None,
    options: MechanismOptions | None = None,
) -> Particles:
    """Particles of an electrode: connected pixels of either end member, of nearly one orientation.

    Parameters
    ----------
    scan
        What was indexed.
    couple
        The electrode; see :func:`~hyperspy_assb.acom.maps.couples.find_couple`.
    pixel_size
        Rows, columns; in any unit.
    classes
        Where they are known already; see :func:`~hyperspy_assb.acom.maps.area_fractions.classify_pixels`.
    options
        What counts as a particle.

    Raises
    ------
    ValueError
        If not both end members of an electrode were offered in indexing, or the two have different symmetries.
    """
    options = options or MechanismOptions()
    classes = classify_pixels(scan) if classes is None else classes
    first, second, symmetry = _end_members(scan, couple)
    phase = np.asarray(scan.phase)
    delithiated = phase == second
    active = (phase == first) | delithiated
    # To the crystal both phases are one lattice, so that one search finds the edges within particles.
    alike = GrainOptions(threshold=options.particle_angle)
    zones = [zone_axes_of(scan.phases[number]) for number in (first, second)]
    edges = grain_boundaries(
        np.where(active, 0, NOT_INDEXED), scan.orientation, [symmetry], zones=zones[:1], options=alike
    )
    joined = [BoundaryKind.NONE, BoundaryKind.FRIEDEL]
    labels = connect_pixels(active, np.isin(edges.right, joined), np.isin(edges.below, joined))
    labels = _largest_first(absorb_small(labels, options.min_pixels), options.min_pixels)
    total = int(labels.max(initial=0))
    counts = np.bincount(labels.ravel(), minlength=total + 1)[1:]
    shares = _mean_in(labels, delithiated, total)
    two = np.where(active, np.where(delithiated, 1, 0), NOT_INDEXED)
    grains = find_grains(two, scan.orientation, [symmetry, symmetry], zones=zones, options=options.grains)
    pairs = np.unique(np.stack([labels.ravel(), grains.labels.ravel()]), axis=1)
    mean, spread = _orientations(scan.orientation, labels, symmetry, zones[0], total)
    # Single pixels that were taken for the other phase make no interface.
    clean = np.append(NOT_INDEXED, grains.phase)[grains.labels]
    interface = _interfaces(labels, clean, scan.orientation, symmetry, zones[0], pixel_size, total, options)
    distance, contact = _towards(labels, _amorphous(classes, options), pixel_size, total)
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return Particles(
        labels=labels,
        pixels=counts,
        diameter=2.0 * np.sqrt(counts * pixel_size[0] * pixel_size[1] / np.pi),
        delithiated=shares,
        expected=_mean_in(labels, _probability(scan, first, second, delithiated), total),
        mixed=np.minimum(shares, 1.0 - shares) >= options.mixed * (1.0 - 1e-12),
        domains=np.bincount(pairs[0][pairs[1] > 0], minlength=total + 1)[1:],
        orientation=mean,
        spread=spread,
        amorphous_distance=distance,
        amorphous_contact=contact,
        at_margin=np.isin(np.arange(1, total + 1), outer),
        **interface,
    )


def _end_members(scan: IndexedScan, couple: Electrode | str | None) -> tuple[int, int, FloatArray]:
    """Numbers of the lithiated and of the delithiated phase, and the rotations that both have."""
    names = [phase.name for phase in scan.phases]
    known = needed_couple(names, couple, by="The mechanism")
    first, second = names.index(known.lithiated), names.index(known.delithiated)
    symmetry = symmetry_of(scan.phases[first])
    other = symmetry_of(scan.phases[second])
    if symmetry.shape != other.shape or not np.allclose(symmetry, other, atol=1e-6):
        raise AssbValueError(f"{known.lithiated} and {known.delithiated} do not have the same Laue group.")
    return first, second, symmetry


def _amorphous(classes: ClassMap, options: MechanismOptions) -> NDArray[np.bool_]:
    if options.amorphous:
        unknown = [name for name in options.amorphous if name not in classes.names]
        if unknown:
            raise AssbValueError(f"amorphous: there is no class {unknown[0]}, only {', '.join(classes.names)}.")
        return classes.is_(*options.amorphous)
    return classes.amorphous & ~classes.is_(*(name for name in classes.names if "carbon" in name.lower()))


def _largest_first(labels: NDArray[np.int64], fewest: int) -> NDArray[np.int64]:
    """Numbers by size, without those that are too small."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= fewest]
    number = np.zeros(counts.size, dtype=np.int64)
    number[order] = np.arange(1, order.size + 1)
    return number[labels]


def _mean_in(labels: NDArray[np.int64], values: Any, total: int) -> FloatArray:
    counts = np.bincount(labels.ravel(), minlength=total + 1)[1:]
    return np.asarray(np.bincount(labels.ravel(), np.ravel(values), minlength=total + 1)[1:] / np.maximum(counts, 1))


def _probability(scan: IndexedScan, first: int, second: int, delithiated: NDArray[np.bool_]) -> FloatArray:
    """Probability that a pixel of the electrode is of the delithiated phase."""
    one, other = np.asarray(scan.posterior)[..., first], np.asarray(scan.posterior)[..., second]
    both = one + other
    known = np.isfinite(both) & (both > 0.0)
    return np.where(known, np.divide(other, both, out=np.zeros_like(both), where=known), delithiated)


def _orientations(
    orientation: FloatArray, labels: NDArray[np.int64], symmetry: FloatArray, zone_axes: FloatArray, total: int
) -> tuple[FloatArray, FloatArray]:
    mean, spread = np.full((total, 4), np.nan), np.full(total, np.nan)
    for number in range(total):
        found = crystal_mean(orientation[labels == number + 1], symmetry, zone_axes)
        mean[number], spread[number] = found.orientation, found.spread
    return mean, spread


def _interfaces(
    labels: NDArray[np.int64],
    two: NDArray[np.int64],
    orientation: FloatArray,
    symmetry: FloatArray,
    zone_axes: FloatArray,
    pixel_size: tuple[float, float],
    total: int,
    options: MechanismOptions,
) -> dict[str, FloatArray]:
    """What lies between the two phases within a particle: length, disorientation, direction."""
    gradient = _slopes(labels, two, pixel_size, total)
    rows: list[FloatArray] = []
    number = np.arange(labels.size).reshape(labels.shape)
    for axis, (_, one, other) in enumerate(sides(None, None, number)):
        within = (labels.ravel()[one] == labels.ravel()[other]) & (labels.ravel()[one] > 0)
        crossing = within & (two.ravel()[one] != two.ravel()[other])
        a, b = one[crossing], other[crossing]
        length = np.full(a.size, pixel_size[0] if axis == 0 else pixel_size[1])
        rows.append(np.stack([a, b, length], axis=1))
    table = np.concatenate(rows)
    a, b = table[:, 0].astype(int), table[:, 1].astype(int)
    owner = labels.ravel()[a] - 1
    flat = orientation.reshape(-1, 4)
    across = np.minimum(
        disorientation(flat[a], flat[b], symmetry), pseudo_symmetric_angle(flat[a], flat[b], symmetry, zone_axes)
    )
    # Particles that touch may be joined elsewhere; what is between their crystals is no interface within one.
    within_one = across <= options.particle_angle
    table, a, b, owner, across = (part[within_one] for part in (table, a, b, owner, across))
    direction = gradient.reshape(-1, 2)[a] + gradient.reshape(-1, 2)[b]
    size = np.linalg.norm(direction, axis=1)
    direction = np.divide(direction, size[:, None], out=np.full_like(direction, np.nan), where=size[:, None] > 1e-9)
    turn = matrices(flat[a])
    normal = np.einsum("nij,nj->ni", turn, np.concatenate([direction, np.zeros((len(a), 1))], axis=1))
    # The a axis in the specimen is the first row of the matrix that takes the specimen to the crystal.
    axis_a = turn[:, 0, :2]
    seen = np.linalg.norm(axis_a, axis=1)
    cosine = np.abs(np.sum(axis_a * direction, axis=1)) / np.maximum(seen, 1e-9)
    angle = np.where(seen > _IN_PLANE, np.degrees(np.arccos(np.clip(cosine, 0.0, 1.0))), np.nan)
    found = {
        "interface": np.bincount(owner, table[:, 2], minlength=total)[:total].astype(float),
        "disorientation": np.full(total, np.nan),
        "normal": np.full((total, 3), np.nan),
        "angle_to_a": np.full(total, np.nan),
    }
    for particle in np.unique(owner):
        own = owner == particle
        found["disorientation"][particle] = np.median(across[own])
        known = own & np.isfinite(normal[:, 0])
        if known.any():
            found["normal"][particle] = np.sqrt((normal[known] ** 2).mean(axis=0))
        known &= np.isfinite(angle)
        if known.any():
            found["angle_to_a"][particle] = angle[known].mean()
    return found


def _slopes(
    labels: NDArray[np.int64], two: NDArray[np.int64], pixel_size: tuple[float, float], total: int
) -> FloatArray:
    """Direction (x, y) in which the share of the delithiated phase grows within each particle, shape (ny, nx, 2)."""
    slopes = np.zeros((*labels.shape, 2))
    for number in range(1, total + 1):
        inside = labels == number
        if not (np.any(two[inside] == 0) and np.any(two[inside] == 1)):
            continue
        weight = gaussian_filter(inside.astype(float), _SMOOTHING)
        share = gaussian_filter((inside & (two == 1)).astype(float), _SMOOTHING)
        # Beyond the particle the share goes on as it is at its rim: its outline is no boundary between the phases.
        share = np.divide(share, weight, out=np.zeros_like(share), where=weight > 1e-6)
        rows, columns = np.gradient(share, *pixel_size)
        slopes[inside] = np.stack([columns, rows], axis=-1)[inside]
    return slopes


def _towards(
    labels: NDArray[np.int64], amorphous: NDArray[np.bool_], pixel_size: tuple[float, float], total: int
) -> tuple[FloatArray, FloatArray]:
    """Distance to amorphous material, and the share of the outline along it."""
    if not amorphous.any():
        return np.full(total, np.nan), np.zeros(total)
    away = distance_transform_edt(~amorphous, sampling=pixel_size)
    summed = np.zeros(total + 1)
    outline, along = np.zeros(total + 1), np.zeros(total + 1)
    number = np.arange(labels.size).reshape(labels.shape)
    for axis, (_, one, other) in enumerate(sides(None, None, number)):
        length = pixel_size[0] if axis == 0 else pixel_size[1]
        apart = labels.ravel()[one] != labels.ravel()[other]
        for near, far in ((one[apart], other[apart]), (other[apart], one[apart])):
            np.add.at(outline, labels.ravel()[near], length)
            np.add.at(summed, labels.ravel()[near], length * away.ravel()[near])
            np.add.at(along, labels.ravel()[near], length * amorphous.ravel()[far])
    # A particle that fills the map has no outline.
    distance = np.divide(summed, outline, out=np.full_like(summed, np.nan), where=outline > 0)
    return distance[1:], np.divide(along, outline, out=np.zeros_like(along), where=outline > 0)[1:]
