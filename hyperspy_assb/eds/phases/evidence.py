"""Whether phases explain what X-rays show of a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperspy_assb.eds.composition.atoms import Composition
from hyperspy_assb.eds.composition.map_analysis import MOST_UNEXPLAINED
from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.fitting.fixed_shapes.nonnegative import fit_correlated

_ROUNDS = 3
"""Fits of a mixture: an error of the calibration is in proportion to what the mixture of the one before has."""
_PRESENT = 1e-6
"""Share of the largest phase, in units of the errors, above which a phase is there: less is of rounding, where the data
lie as far from a mixture with it as from one without it."""
_FLOOR = 0.005
"""Share of the atoms that shapes of lines and continuum which are not quite those of the model may feign."""
_TILES = (4, 16)
"""Pixels along each side of tiles whose spectra are judged together; after them the whole map is."""


class PhaseStatus(IntEnum):
    """What became of a pixel; fractions are NaN where it is above 0, but for UNEXPLAINED and RESIDUAL."""

    GOOD = 0
    EMPTY = 1
    """No counts."""
    NOT_FITTED = 2
    """The fit did not come to an end, or its amounts cannot be told apart."""
    VACUUM = 3
    """Less material than three standard errors."""
    UNEXPLAINED = 4
    """No mixture of the phases has the elements that are found, in the pixel or in the tile around it."""
    RESIDUAL = 5
    """The spectrum holds something that is neither a line of the elements nor continuum."""


@dataclass(frozen=True)
class MixtureCheck:
    """Whether phases explain many pixels together: the sum of mixtures is a mixture.

    Parameters
    ----------
    pixels
        How many.
    explained
        Whether nothing speaks against it.
    p_value
        Of the hypothesis that the elements are those of a mixture.
    foreign
        Share of atoms that no phase holds.
    foreign_std
        Standard error, counting and calibration.
    worst
        Element at fault, and by how many standard errors.
    worst_ratio
        Positive if there is too much of it.
    unexplained
        Share of the pixels with material that no mixture explains one by one. Above a fifth nothing is explained,
        whatever their sum looks like.
    """

    pixels: int
    explained: bool
    p_value: float
    foreign: float
    foreign_std: float
    worst: str
    worst_ratio: float
    unexplained: float = 0.0


def foreign_share(found: Composition, cell: Sequence[str]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Share of atoms of the elements that no phase holds, shape (N,).

    Returns
    -------
    share, std, systematic
        Its standard error from counting, and its uncertainty from the calibration.
    """
    inside = np.array([1.0 if element in cell else 0.0 for element in found.elements])
    total = found.unclipped.sum(axis=1)
    total = np.where(total > 0.0, total, np.nan)
    share = found.unclipped @ (1.0 - inside) / total
    slope = ((1.0 - inside) - share[:, np.newaxis]) / total[:, np.newaxis]
    spread = np.einsum("ni,nij,nj->n", slope, found.covariance, slope)
    own = (slope**2 * found.unclipped**2 * found.relative**2).sum(axis=1)
    systematic = np.sqrt(own + (np.einsum("ni,nih->nh", slope, found.others) ** 2).sum(axis=1))
    return share, np.sqrt(np.maximum(spread, 0.0)), systematic


def too_foreign(found: Composition, cell: Sequence[str], largest: float) -> NDArray[np.bool_]:
    """Where the share of foreign atoms is above the largest by three standard errors, shape (N,).

    An error of the calibration is in proportion to the share, so here to the largest.
    """
    share, std, systematic = foreign_share(found, cell)
    scaled = systematic * largest / np.maximum(share, largest)
    return np.asarray(share - 3.0 * np.hypot(std, scaled) > largest)


def check_whole(
    found: Composition,
    cell: Sequence[str],
    matrix: FloatArray,
    region: NDArray[np.bool_],
    *,
    alpha: float,
    largest_foreign: float,
    status: NDArray[np.int8] | None = None,
) -> MixtureCheck:
    """Whether phases explain all pixels together, those without an answer left out.

    Parameters
    ----------
    found
        Atoms/nm^2 of all elements in N columns.
    cell
        Elements that are compared with the phases; the others are foreign.
    matrix
        Atoms of each of these in one unit of each phase.
    region
        Pixels that count, shape (N,).
    alpha
        p value below which the phases do not explain them.
    largest_foreign
        Share of foreign atoms above which they do not.
    status
        ``PhaseStatus`` of each pixel; None: they have not been judged one by one.
    """
    used = region & found.known
    unexplained = 0.0
    if status is not None:
        bad = np.isin(status, (PhaseStatus.UNEXPLAINED, PhaseStatus.RESIDUAL)) & used
        unexplained = float(bad.sum() / max(bad.sum() + np.sum((status == PhaseStatus.GOOD) & used), 1))
    if not used.any():
        return MixtureCheck(0, False, float("nan"), float("nan"), float("nan"), "", 0.0)
    summed = found.summed(used)
    evidence = explain(summed.subset(cell), matrix)
    p_value = evidence.p_value
    foreign, std, systematic = foreign_share(summed, cell)
    ratio = evidence.residual[0] / evidence.std[0]
    worst = int(np.argmax(np.abs(ratio)))
    name, size = cell[worst], float(ratio[worst])
    beyond = bool(too_foreign(summed, cell, largest_foreign)[0])
    if beyond and p_value[0] >= alpha:
        others = [i for i, element in enumerate(found.elements) if element not in cell]
        best = max(others, key=lambda i: summed.unclipped[0, i])
        name = found.elements[best]
        size = float(summed.unclipped[0, best] / summed.std[0, best])
    return MixtureCheck(
        pixels=int(used.sum()),
        explained=bool(p_value[0] >= alpha and not beyond and unexplained <= MOST_UNEXPLAINED),
        p_value=float(p_value[0]),
        foreign=float(foreign[0]),
        foreign_std=float(np.hypot(std[0], systematic[0])),
        worst=name,
        worst_ratio=size,
        unexplained=unexplained,
    )


def refuted_together(
    found: Composition,
    cell: Sequence[str],
    matrix: FloatArray,
    shape: tuple[int, ...],
    *,
    alpha: float,
    largest_foreign: float,
) -> NDArray[np.bool_]:
    """Pixels of tiles that no mixture explains, though each pixel alone may hold too few counts to tell.

    The sum of mixtures is a mixture: where tiles of 4 x 4 pixels are refuted, these are named, and a tile of 16 x 16,
    or the whole map, is where none of those in it is.

    Parameters
    ----------
    found, cell, matrix, alpha, largest_foreign
        As for :func:`check_whole`.
    shape
        Of the map, rows and columns; or of a line.

    Returns
    -------
    refuted
        Shape (N,).
    """
    place = np.indices(shape if len(shape) > 1 else (1, *shape)).reshape(2, -1)
    used = found.known
    refuted: NDArray[np.bool_] = np.zeros(used.shape, dtype=np.bool_)
    for size in (*_TILES, max(shape)):
        tile = np.unique(place // size, axis=1, return_inverse=True)[1].ravel()
        count = int(tile.max()) + 1
        tiles = found.grouped(np.where(used, tile, -1), count)
        p_value = explain(tiles.subset(cell), matrix).p_value
        bad = (p_value < alpha) | too_foreign(tiles, cell, largest_foreign)
        known: NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        known[tile[refuted]] = True
        refuted |= (bad & ~known)[tile] & used
    return refuted


@dataclass(frozen=True, eq=False)
class Evidence:
    """How far N columns are from the nearest mixture.

    Parameters
    ----------
    residual
        Atoms/nm^2 of each element that the nearest mixture lacks, shape (N, M).
    std
        Standard errors of the elements, of counting and of calibration together, shape (N, M).
    p_value
        Shape (N,); NaN where there is no composition. Given which phases are present, the squared distance is
        chi-squared.
    freedom
        Its degrees of freedom: elements more than phases present, shape (N,).
    distance
        Squared, in units of the errors, shape (N,).
    """

    residual: FloatArray
    std: FloatArray
    p_value: FloatArray
    freedom: NDArray[np.int64]
    distance: FloatArray


def explain(found: Composition, matrix: FloatArray) -> Evidence:
    """Whether a non-negative mixture has the elements that were found.

    Parameters
    ----------
    found
        Atoms/nm^2 of M elements in N columns.
    matrix
        Atoms of each element in one unit of each phase, shape (M, K).

    Returns
    -------
    Evidence
        An error of the calibration is in proportion to what the mixture holds of an element: it makes nothing out of
        nothing.
    """
    n, m = found.unclipped.shape
    evidence = Evidence(
        residual=np.full((n, m), np.nan),
        std=np.full((n, m), np.nan),
        p_value=np.full(n, np.nan),
        freedom=np.zeros(n, dtype=np.int64),
        distance=np.full(n, np.nan),
    )
    known = np.flatnonzero(np.isfinite(found.std).all(axis=1))
    data, counting, relative = found.unclipped[known], found.covariance[known], found.relative[known]
    counting = counting + np.einsum("nih,njh->nij", found.others[known], found.others[known])
    amounts, squares = np.empty((known.size, matrix.shape[1])), np.empty(known.size)
    expected = np.maximum(data, 0.0)
    for _ in range(_ROUNDS):
        own = (expected * relative) ** 2 + (_FLOOR * expected.sum(axis=1, keepdims=True)) ** 2
        spread = counting + own[:, :, np.newaxis] * np.eye(m)
        fit_correlated(data, spread, matrix, amounts, squares)
        expected = amounts @ matrix.T
    size = amounts * np.linalg.norm(matrix / np.sqrt(np.einsum("nii->ni", spread))[:, :, np.newaxis], axis=1)
    freedom = m - np.count_nonzero(size > _PRESENT * size.max(axis=1, keepdims=True, initial=0.0), axis=1)
    evidence.residual[known] = data - expected
    evidence.std[known] = np.sqrt(np.einsum("nii->ni", spread))
    evidence.freedom[known] = freedom
    evidence.distance[known] = squares
    # Of no degree of freedom, the distance is that of rounding.
    evidence.p_value[known] = np.where(freedom > 0, special.gammaincc(0.5 * freedom, 0.5 * squares), 1.0)
    return evidence


def describe(status: int, residual: Sequence[float] | None = None, elements: Sequence[str] = ()) -> str:
    """A status in words, with the element at fault where there is one.

    Parameters
    ----------
    status
        ``PhaseStatus``.
    residual
        Residual of each element over its standard error.
    elements
        Symbols.
    """
    text = {
        PhaseStatus.GOOD: "explained by the phases",
        PhaseStatus.EMPTY: "no counts",
        PhaseStatus.NOT_FITTED: "not fitted",
        PhaseStatus.VACUUM: "no material above its error",
        PhaseStatus.UNEXPLAINED: "no mixture of the phases has the elements that are found",
        PhaseStatus.RESIDUAL: "the spectrum holds something that is not in the list of elements",
    }[PhaseStatus(status)]
    if status == PhaseStatus.UNEXPLAINED and residual is not None and len(elements):
        worst = int(np.nanargmax(np.abs(residual)))
        text += f": {elements[worst]} is too {'much' if residual[worst] > 0 else 'little'}"
    return text
