"""Grains and the boundaries between them, from the orientations of neighbouring pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.crystals.pseudo_symmetry import crystal_mean, pseudo_symmetric_angle, zone_axes_of
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

THRESHOLD = 5.0
"""Degrees. Above 3 degrees the orientation of a pixel is wrong more often than it is uncertain."""


class BoundaryKind(IntEnum):
    """What lies between two neighbouring pixels."""

    NONE = 0
    """One grain, or nothing indexed on either side."""
    GRAIN = 1
    """Grains of one phase."""
    PHASE = 2
    """Two phases."""
    MARGIN = 3
    """A crystal beside a pixel that is not indexed: amorphous, empty, or without an answer."""
    FRIEDEL = 4
    """One phase in orientations that half a turn about the beam, or about a zone axis near it, connects: their
    zero-order Laue zones are the same pattern, so that this is most often one grain whose pixels were taken for one or
    the other."""


@dataclass(frozen=True)
class GrainOptions:
    """What counts as a boundary, and as a grain.

    Parameters
    ----------
    threshold
        Degrees of disorientation above which neighbours are of two grains.
    friedel_twins
        Whether half a turn about the beam, or about a zone axis near it, is a boundary too. If not, such neighbours are
        of one grain, and counted.
    min_pixels
        Grains of fewer pixels are given to the neighbour with which they share most of their outline, as pixels that
        were indexed wrongly. 1 merges no grain.

    Examples
    --------
    >>> from hyperspy_assb.acom import GrainOptions
    >>> GrainOptions(threshold=3.0, min_pixels=2)
    GrainOptions(threshold=3.0, friedel_twins=False, min_pixels=2)
    """

    threshold: float = THRESHOLD
    friedel_twins: bool = False
    min_pixels: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 180.0:
            raise AssbValueError(f"threshold: degrees between 0 and 180, not {self.threshold}.")
        if self.min_pixels < 1:
            raise AssbValueError(f"min_pixels: pixels, at least 1, not {self.min_pixels}.")


@dataclass(frozen=True)
class GrainBoundaries:
    """What lies on the edges between neighbouring pixels.

    Parameters
    ----------
    right
        :class:`BoundaryKind` of the edge between pixels (y, x) and (y, x + 1), shape (ny, nx - 1).
    below
        The same between (y, x) and (y + 1, x), shape (ny - 1, nx).
    right_angle, below_angle
        Disorientation in degrees across these edges; NaN between phases and where a side is not indexed.
    """

    right: NDArray[np.int8]
    below: NDArray[np.int8]
    right_angle: FloatArray
    below_angle: FloatArray

    @property
    def pixels(self) -> NDArray[np.int8]:
        """The map of pixels, shape (ny, nx): PHASE beside another phase, else GRAIN beside another grain, else NONE."""
        found = np.zeros((self.right.shape[0], self.below.shape[1]), dtype=np.int8)
        for kind in (BoundaryKind.GRAIN, BoundaryKind.PHASE):
            found[self.beside(kind)] = kind
        return found

    @property
    def kinds(self) -> NDArray[np.int8]:
        """What every pixel is beside, shape (ny, nx): PHASE before GRAIN, FRIEDEL and MARGIN, else NONE."""
        found = np.zeros((self.right.shape[0], self.below.shape[1]), dtype=np.int8)
        for kind in (BoundaryKind.MARGIN, BoundaryKind.FRIEDEL, BoundaryKind.GRAIN, BoundaryKind.PHASE):
            found[self.beside(kind)] = kind
        return found

    def beside(self, kind: int) -> NDArray[np.bool_]:
        """Pixels with an edge of a kind, shape (ny, nx)."""
        found = np.zeros((self.right.shape[0], self.below.shape[1]), dtype=bool)
        for edges, first, second in sides(self.right == kind, self.below == kind, found):
            first |= edges
            second |= edges
        return found

    def count(self, kind: int) -> int:
        """Edges of a kind."""
        return int((self.right == kind).sum() + (self.below == kind).sum())

    def length(self, kind: int, pixel_size: tuple[float, float] = (1.0, 1.0)) -> float:
        """Length of all edges of a kind, in the unit of the pixel size (y, x).

        Along pixel edges: a straight oblique line is overestimated by up to the square root of two.
        """
        return float((self.right == kind).sum() * pixel_size[0] + (self.below == kind).sum() * pixel_size[1])


@dataclass(frozen=True)
class Grains:
    """Connected pixels of one phase without a boundary between them.

    Parameters
    ----------
    labels
        Number of the grain of each pixel from 1 upwards, 0 where not indexed, shape (ny, nx). All else has one row a
        grain: row i is grain i + 1.
    phase
        Index of the phase, shape (G,).
    pixels
        Number of pixels, shape (G,).
    centre
        Row and column of the mean of its pixels, shape (G, 2).
    orientation
        Mean, specimen to crystal, shape (G, 4).
    spread
        Mean disorientation of its pixels from the mean, in degrees, shape (G,).
    twinned
        Share of its pixels in an orientation that half a turn about the beam, or about a zone axis near it, makes of
        the mean, shape (G,).
    at_margin
        Whether it reaches the margin of the map, and may be larger than it seems, shape (G,).
    absorbed
        Pixels that were given to it from grains too small to stand alone, shape (ny, nx).
    """

    labels: NDArray[np.int64]
    phase: NDArray[np.int64]
    pixels: NDArray[np.int64]
    centre: FloatArray
    orientation: FloatArray
    spread: FloatArray
    twinned: FloatArray
    at_margin: NDArray[np.bool_]
    absorbed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.phase)

    def area(self, pixel_size: tuple[float, float]) -> FloatArray:
        """Area of each grain, in the square of the unit of the height and width of a pixel, shape (G,)."""
        return np.asarray(self.pixels * pixel_size[1] * pixel_size[0], dtype=float)

    def diameter(self, pixel_size: tuple[float, float]) -> FloatArray:
        """Diameter of the circle of the same area, in the unit of the height and width of a pixel, shape (G,)."""
        return np.asarray(2.0 * np.sqrt(self.area(pixel_size) / np.pi))


def grain_boundaries(
    phase: NDArray[Any],
    orientation: FloatArray,
    symmetries: Sequence[ArrayLike],
    *,
    zones: Sequence[FloatArray] | None = None,
    options: GrainOptions | None = None,
) -> GrainBoundaries:
    """Boundaries between neighbouring pixels (beside and below each other).

    Parameters
    ----------
    phase
        Index of the phase, :data:`~hyperspy_assb.acom.matching.indexed.NOT_INDEXED` where there is none, shape (ny,
        nx).
    orientation
        Specimen to crystal, shape (ny, nx, 4).
    symmetries
        Of each phase, its proper rotations, shape (n, 4); see :func:`symmetry_of`.
    zones
        Of each phase, zone axes about which half a turn counts as that about the beam, shape (N, 3); see
        :func:`~hyperspy_assb.acom.crystals.pseudo_symmetry.zone_axes_of`. None: the beam alone counts.
    options
        The threshold, and whether Friedel twins are told apart.

    Raises
    ------
    ValueError
        If shapes do not fit, or a phase has no symmetry given.
    """
    options = options or GrainOptions()
    phase, orientation = _checked(phase, orientation, symmetries)
    parts = []
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        pairs = phase[first], phase[second], orientation[first], orientation[second]
        parts.append(_edges(*pairs, symmetries, _zones(zones, symmetries), options))
    return GrainBoundaries(parts[0][0], parts[1][0], parts[0][1], parts[1][1])


def scan_boundaries(scan: IndexedScan, *, options: GrainOptions | None = None) -> GrainBoundaries:
    """:func:`grain_boundaries` of what was indexed; those that are left once grains that are too small are absorbed."""
    options = options or GrainOptions()
    if options.min_pixels > 1:
        return bounded_grains(scan, options=options)[0]
    symmetries, zones = _symmetries_and_zones(scan)
    return grain_boundaries(scan.phase, scan.orientation, symmetries, zones=zones, options=options)


def bounded_grains(scan: IndexedScan, *, options: GrainOptions | None = None) -> tuple[GrainBoundaries, Grains]:
    """:func:`scan_boundaries` and :func:`scan_grains` at once."""
    options = options or GrainOptions()
    symmetries, zones = _symmetries_and_zones(scan)
    found = grain_boundaries(scan.phase, scan.orientation, symmetries, zones=zones, options=options)
    grains = find_grains(scan.phase, scan.orientation, symmetries, zones=zones, boundaries=found, options=options)
    return boundaries_of_grains(grains, found) if options.min_pixels > 1 else found, grains


def _symmetries_and_zones(scan: IndexedScan) -> tuple[list[Any], list[FloatArray]]:
    return [symmetry_of(phase) for phase in scan.phases], [zone_axes_of(phase) for phase in scan.phases]


def find_grains(
    phase: NDArray[Any],
    orientation: FloatArray,
    symmetries: Sequence[ArrayLike],
    *,
    zones: Sequence[FloatArray] | None = None,
    boundaries: GrainBoundaries | None = None,
    options: GrainOptions | None = None,
) -> Grains:
    """Grains: connected pixels of one phase without a boundary between them.

    Parameters
    ----------
    phase, orientation, symmetries, zones
        As for :func:`grain_boundaries`.
    boundaries
        Where they are known already.
    options
        As for :func:`grain_boundaries`, and the smallest grain.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    options = options or GrainOptions()
    phase, orientation = _checked(phase, orientation, symmetries)
    if boundaries is None:
        boundaries = grain_boundaries(phase, orientation, symmetries, zones=zones, options=options)
    joined = [BoundaryKind.NONE] if options.friedel_twins else [BoundaryKind.NONE, BoundaryKind.FRIEDEL]
    labels = connect_pixels(phase != NOT_INDEXED, np.isin(boundaries.right, joined), np.isin(boundaries.below, joined))
    before = labels
    if options.min_pixels > 1:
        labels = absorb_small(labels, options.min_pixels)
    absorbed = _moved(before, labels)
    return _describe(phase, orientation, symmetries, _zones(zones, symmetries), labels, absorbed)


def scan_grains(scan: IndexedScan, *, options: GrainOptions | None = None) -> Grains:
    """:func:`find_grains` of what was indexed."""
    symmetries, zones = _symmetries_and_zones(scan)
    return find_grains(scan.phase, scan.orientation, symmetries, zones=zones, options=options)


def boundaries_of_grains(grains: Grains, boundaries: GrainBoundaries) -> GrainBoundaries:
    """The boundaries that are left between grains once small ones are absorbed.

    Edges within a grain vanish; edges between grains are GRAIN or PHASE by the phases of the grains.
    """
    phase = np.append(NOT_INDEXED, grains.phase)[grains.labels]
    kinds = []
    for edges, first, second in (
        (boundaries.right, np.s_[:, :-1], np.s_[:, 1:]),
        (boundaries.below, np.s_[:-1], np.s_[1:]),
    ):
        one, other = grains.labels[first], grains.labels[second]
        kind = np.where(phase[first] == phase[second], BoundaryKind.GRAIN, BoundaryKind.PHASE)
        kind = np.where((one == 0) | (other == 0), BoundaryKind.MARGIN, kind)
        kind = np.where(one == other, np.where(edges == BoundaryKind.FRIEDEL, edges, BoundaryKind.NONE), kind)
        kinds.append(kind.astype(np.int8))
    return GrainBoundaries(kinds[0], kinds[1], boundaries.right_angle, boundaries.below_angle)


def _checked(
    phase: NDArray[Any], orientation: FloatArray, symmetries: Sequence[ArrayLike]
) -> tuple[NDArray[np.int64], FloatArray]:
    phase, orientation = np.asarray(phase), np.asarray(orientation, dtype=float)
    if phase.ndim != 2 or orientation.shape != (*phase.shape, 4):
        raise AssbValueError(
            f"phase and orientation: shapes (ny, nx) and (ny, nx, 4), not {phase.shape} and {orientation.shape}."
        )
    if phase.max(initial=NOT_INDEXED) >= len(symmetries):
        raise AssbValueError(
            f"symmetries: one for each phase, but there is phase {phase.max()} and {len(symmetries)} given."
        )
    # A pixel with a phase but without an orientation cannot be compared with its neighbours.
    return np.where(np.isfinite(orientation).all(axis=-1), phase, NOT_INDEXED).astype(np.int64), orientation


def _zones(zones: Sequence[FloatArray] | None, symmetries: Sequence[ArrayLike]) -> Sequence[FloatArray]:
    if zones is None:
        return [np.zeros((0, 3))] * len(symmetries)
    if len(zones) != len(symmetries):
        raise AssbValueError(f"zones: of each phase, {len(symmetries)}, not {len(zones)}.")
    return zones


def _edges(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    first: FloatArray,
    second: FloatArray,
    symmetries: Sequence[ArrayLike],
    zones: Sequence[FloatArray],
    options: GrainOptions,
) -> tuple[NDArray[np.int8], FloatArray]:
    """Kind of every edge, and the disorientation across it."""
    kind = np.full(one.shape, BoundaryKind.NONE, dtype=np.int8)
    angle = np.full(one.shape, np.nan)
    crystals = (one != NOT_INDEXED) & (other != NOT_INDEXED)
    kind[crystals & (one != other)] = BoundaryKind.PHASE
    kind[(one != NOT_INDEXED) ^ (other != NOT_INDEXED)] = BoundaryKind.MARGIN
    for index, symmetry in enumerate(symmetries):
        same = (one == index) & (other == index)
        if not same.any():
            continue
        angle[same] = disorientation(first[same], second[same], symmetry)
        apart = same & (angle > options.threshold)
        kind[apart] = BoundaryKind.GRAIN
        if apart.any() and not options.friedel_twins:
            twin = pseudo_symmetric_angle(first[apart], second[apart], symmetry, zones[index])
            kind[apart] = np.where(twin > options.threshold, BoundaryKind.GRAIN, BoundaryKind.FRIEDEL)
    return kind, angle


def sides(right: Any, below: Any, image: Any) -> tuple[tuple[Any, Any, Any], ...]:
    """Edges with the two views of an image on either side of them."""
    return (right, image[:, :-1], image[:, 1:]), (below, image[:-1], image[1:])


def connect_pixels(inside: NDArray[np.bool_], right: NDArray[np.bool_], below: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of connected pixels from 1 upwards, 0 outside."""
    number = np.arange(inside.size).reshape(inside.shape)
    pairs = []
    for (edges, one, other), (_, first, second) in zip(
        sides(right, below, number), sides(right, below, inside), strict=True
    ):
        linked = edges & first & second
        pairs.append((one[linked], other[linked]))
    rows, columns = (np.concatenate(part) for part in zip(*pairs, strict=True))
    graph = coo_array((np.ones(rows.size, dtype=bool), (rows, columns)), shape=(inside.size, inside.size))
    _, component = connected_components(graph, directed=False)
    labels = np.zeros(inside.shape, dtype=np.int64)
    labels[inside] = np.unique(component.reshape(inside.shape)[inside], return_inverse=True)[1] + 1
    return labels


def absorb_small(labels: NDArray[np.int64], fewest: int) -> NDArray[np.int64]:
    """Labels after grains that are too small were given to the neighbour along most of their outline, smallest first.

    Small grains without a neighbour other than what is not indexed stay.
    """
    labels = labels.copy()
    for _ in range(fewest):
        sizes = np.bincount(labels.ravel())
        small = (sizes < fewest) & (sizes > 0)
        small[0] = False
        if not small.any():
            break
        shared: list[NDArray[np.int64]] = []
        for _, one, other in sides(None, None, labels):
            apart = (one != other) & (one > 0) & (other > 0)
            shared += [np.stack([one[apart], other[apart]]), np.stack([other[apart], one[apart]])]
        pairs, counts = np.unique(np.concatenate(shared, axis=1), axis=1, return_counts=True)
        # Of each small grain the neighbour with the longest common outline, of equals the larger; only into larger
        # ones, so that two small grains do not change places.
        larger = (sizes[pairs[1]] > sizes[pairs[0]]) | ((sizes[pairs[1]] == sizes[pairs[0]]) & (pairs[1] < pairs[0]))
        chosen = small[pairs[0]] & larger
        pairs, counts = pairs[:, chosen], counts[chosen]
        if not counts.size:
            break
        order = np.lexsort((sizes[pairs[1]], counts, pairs[0]))
        target = np.arange(sizes.size)
        target[pairs[0][order]] = pairs[1][order]
        # Chains (a to b, b to c) end in their last grain.
        while not np.array_equal(target, target[target]):
            target = target[target]
        labels = target[labels]
    inside = labels > 0
    labels[inside] = np.unique(labels[inside], return_inverse=True)[1] + 1
    return labels


def _moved(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels that are not of the largest part that their grain was made of."""
    moved = np.zeros(before.shape, dtype=bool)
    if np.array_equal(before, after):
        return moved
    pairs, counts = np.unique(np.stack([after.ravel(), before.ravel()]), axis=1, return_counts=True)
    order = np.lexsort((counts, pairs[0]))
    core = np.zeros(after.max() + 1, dtype=np.int64)
    core[pairs[0][order]] = pairs[1][order]
    return np.asarray((after > 0) & (before != core[after]))


def _describe(
    phase: NDArray[np.int64],
    orientation: FloatArray,
    symmetries: Sequence[ArrayLike],
    zones: Sequence[FloatArray],
    labels: NDArray[np.int64],
    absorbed: NDArray[np.bool_],
) -> Grains:
    """One row for each grain."""
    total = int(labels.max(initial=0))
    place = np.argsort(labels.ravel(), kind="stable")
    counts = np.bincount(labels.ravel(), minlength=total + 1)
    groups = np.split(place, np.cumsum(counts)[:-1])[1:] if total else []
    flat_phase, flat_orientation, flat_absorbed = phase.ravel(), orientation.reshape(-1, 4), absorbed.ravel()
    of_phase = np.zeros(total, dtype=np.int64)
    mean, spread, twinned = np.full((total, 4), np.nan), np.full(total, np.nan), np.zeros(total)
    centre = np.zeros((total, 2))
    for grain, members in enumerate(groups):
        own = members[~flat_absorbed[members]]
        of_phase[grain] = flat_phase[own[0]]
        found = crystal_mean(flat_orientation[own], symmetries[of_phase[grain]], zones[of_phase[grain]])
        mean[grain], spread[grain], twinned[grain] = found.orientation, found.spread, found.twinned
        centre[grain] = np.stack(np.unravel_index(members, labels.shape)).mean(axis=1)
    outer = np.concatenate([labels[:1].ravel(), labels[-1:].ravel(), labels[:, :1].ravel(), labels[:, -1:].ravel()])
    return Grains(
        labels=labels,
        phase=of_phase,
        pixels=counts[1:],
        centre=centre,
        orientation=mean,
        spread=spread,
        twinned=twinned,
        at_margin=np.isin(np.arange(1, total + 1), outer),
        absorbed=absorbed,
    )
