"""Templates as the matching wants them: integer weights at cells of a polar grid, and a coarse subset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom._sweep import UNROLLED
from hyperspy_assb.acom.bank import TemplateBank
from hyperspy_assb.acom.frames import matrices
from hyperspy_assb.acom.phases import laue_rotations
from hyperspy_assb.acom.polar import WEIGHT_SUM, PolarGrid
from hyperspy_assb.fitting.kernels import FloatArray


@dataclass(frozen=True)
class PolarTemplates:
    """Spots of N templates on a polar grid, K of each at most.

    Parameters
    ----------
    offsets
        Place in an image that has each radius twice in a row, shape (N, K).
    weights
        Integers whose sum is :data:`~hyperspy_assb.acom.polar.WEIGHT_SUM` at most, shape (N, K).
    count
        Spots of each, padded to a multiple of 8 with weight 0, shape (N,).
    norm
        Norm of the weights that fall on the grid, 0 where there is none, shape (N,).
    """

    offsets: NDArray[np.int32]
    weights: NDArray[np.int16]
    count: NDArray[np.int64]
    norm: FloatArray


def spot_weights(intensity: FloatArray, radius: FloatArray, intensity_power: float, radius_power: float) -> FloatArray:
    """``I**p q**r``, 0 where there is no spot, any shape.

    High powers of the intensity make a few strong spots decide, whose intensities are the least kinematical ones.
    """
    lit = intensity > 0.0
    return np.where(lit, np.where(lit, intensity, 1.0) ** intensity_power * radius**radius_power, 0.0)


def polar_templates(
    bank: TemplateBank, grid: PolarGrid, *, spots: int, intensity_power: float, radius_power: float
) -> PolarTemplates:
    """The heaviest spots of every template of a bank on a polar grid."""
    weight = spot_weights(bank.intensity, bank.radius, intensity_power, radius_power)
    place = np.rint((bank.radius - grid.min_radius) / grid.radial_step).astype(np.int64)
    weight[(place < 0) | (place >= grid.radii)] = 0.0
    room = -(-min(spots, weight.shape[1]) // UNROLLED) * UNROLLED
    # Equivalent spots are as heavy but for rounding, and keep their order.
    heaviest = np.maximum(weight.max(axis=1, keepdims=True, initial=0.0), 1e-300)
    order = np.argsort(-np.round(weight / heaviest, 9), axis=1, kind="stable")[:, : min(spots, weight.shape[1])]
    weight, place = np.take_along_axis(weight, order, axis=1), np.take_along_axis(place, order, axis=1)
    azimuth = np.take_along_axis(bank.azimuth, order, axis=1)
    step = 2.0 * np.pi / grid.azimuths
    turn = np.rint(azimuth / step).astype(np.int64) % grid.azimuths

    total = weight.sum(axis=1, keepdims=True)
    scaled = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0.0) * WEIGHT_SUM
    integers = np.floor(scaled).astype(np.int64)
    # What rounding down left goes to the largest remainders, so that the sum stays what it may be.
    left = np.where(total[:, 0] > 0.0, WEIGHT_SUM - integers.sum(axis=1), 0)
    rest = np.round(scaled - integers, 6)
    rank = np.argsort(np.argsort(-rest, axis=1, kind="stable"), axis=1, kind="stable")
    integers += (rank < left[:, None]) & (weight > 0.0)

    offsets = np.where(integers > 0, place * 2 * grid.azimuths + turn, 0)
    count = (integers > 0).sum(axis=1)
    pad = ((0, 0), (0, room - integers.shape[1]))
    return PolarTemplates(
        offsets=np.pad(offsets, pad).astype(np.int32),
        weights=np.pad(integers, pad).astype(np.int16),
        count=-(-count // UNROLLED) * UNROLLED,
        norm=np.sqrt((integers.astype(float) ** 2).sum(axis=1)),
    )


@dataclass(frozen=True)
class CoarseBank:
    """A subset of the templates, and which templates lie around each of them.

    Parameters
    ----------
    chosen
        Templates of the subset, shape (C,).
    begin
        Where the neighbours of each begin, and where the last ones end, shape (C + 1,).
    neighbours
        Templates no farther away than asked, itself included, one list after the other.
    """

    chosen: NDArray[np.int64]
    begin: NDArray[np.int64]
    neighbours: NDArray[np.int64]


def coarse_bank(bank: TemplateBank, resolution: float, reach: float) -> CoarseBank:
    """Choose templates so that every template has one within 0.75 of a resolution, in degrees.

    Zone axes are compared under the Laue group, inversion included: the search takes both mirror settings of all.

    Parameters
    ----------
    bank
        All templates.
    resolution
        Degrees between neighbours of the subset.
    reach
        Neighbours are those within this angle in degrees.
    """
    from scipy.spatial import cKDTree

    axes = matrices(bank.orientations)[:, :, 2]
    chosen: list[int] = []
    lists: list[NDArray[Any]] = []
    for p, phase in enumerate(bank.phases):
        members = np.flatnonzero(bank.phase == p)
        if not len(members):
            continue
        rotations = laue_rotations(phase)
        images = np.concatenate([sign * axes[members] @ r.T for r in rotations for sign in (1.0, -1.0)])
        tree = cKDTree(images)
        covered = np.zeros(len(members), dtype=bool)
        close = 2.0 * np.sin(np.radians(0.375 * resolution))
        around = 2.0 * np.sin(np.radians(0.5 * reach))
        for i in range(len(members)):
            if covered[i]:
                continue
            covered[np.asarray(tree.query_ball_point(axes[members[i]], close)) % len(members)] = True
            chosen.append(int(members[i]))
            near = np.unique(np.asarray(tree.query_ball_point(axes[members[i]], around)) % len(members))
            lists.append(members[near])
    begin = np.concatenate([[0], np.cumsum([len(part) for part in lists])]).astype(np.int64)
    neighbours = np.concatenate(lists).astype(np.int64) if lists else np.zeros(0, dtype=np.int64)
    return CoarseBank(np.array(chosen, dtype=np.int64), begin, neighbours)
