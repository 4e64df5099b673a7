"""How much of the column of a pixel is amorphous, where crystals lie above or below amorphous material.

A pattern with spots and rings does not say by itself which of the two is the thicker. The scan does: electrons that
rings take from the sharp beams (the direct beam and Bragg spots) are, as in any single scattering, in proportion to the
thickness of the material they come from, and where there is no lattice, all of the column is of that material. In a
column with a lattice, what the smooth background has above that of its amorphous part is in proportion to the thickness
of the crystal, with a factor for each phase that is not known. It follows, with the factors of the other amorphous
materials, from the thickness of the lamella being the same, but for a smooth course, wherever one material ends and
another begins:

    sum_k w_k r_k + u_p v = S(x, y)

with r_k the rings of material k, v the background, S a polynomial. Both r and v have errors, which would bias least
squares; the equations are those of instrumental variables instead, the instruments being the polynomials and which
material is where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.fitting.kernels import FloatArray

LEAST = 8
"""Pixels without a lattice that a material, or with one that a phase, must have for its factor to be found."""
PER_COEFFICIENT = 8
"""Pixels without a lattice for each coefficient of the thickness."""
THINNEST = 0.05
"""Thickness relative to the mean below which a share is not told."""


@dataclass(frozen=True)
class ColumnShares:
    """What the columns of a scan of shape (ny, nx) consist of.

    Parameters
    ----------
    amorphous, amorphous_std
        Share of each of A materials in the thickness and its standard error, NaN where unknown, (ny, nx, A).
    thickness
        Relative to the mean of pixels without a lattice, NaN where unknown, (ny, nx).
    roughness
        Relative standard deviation of the thickness about its smooth course.
    """

    amorphous: FloatArray
    amorphous_std: FloatArray
    thickness: FloatArray
    roughness: float


def column_shares(
    rings: ArrayLike,
    background: ArrayLike,
    phase: ArrayLike,
    lattice_free: ArrayLike,
    *,
    rings_std: ArrayLike | None = None,
    least: int = LEAST,
) -> ColumnShares:
    """Shares of amorphous materials in the thickness of every column.

    Parameters
    ----------
    rings
        Intensity of the rings of each material over that of the sharp beams, any unit for each, NaN where nothing is
        known (vacuum, saturation), shape (ny, nx, A).
    background
        The same of the smooth diffuse background, any unit, shape (ny, nx).
    phase
        Index of the phase whose lattice is seen, below 0 where there is none, shape (ny, nx).
    lattice_free
        Where there is amorphous material and no lattice, shape (ny, nx).
    rings_std
        Standard errors of `rings`.
    least
        So many pixels without a lattice must show a material, or with one a phase. Of materials that never are alone,
        nothing is known.

    Returns
    -------
    shares
        See :class:`ColumnShares`; NaN everywhere if there are too few pixels without a lattice.

    Raises
    ------
    ValueError
        If shapes do not go together.
    """
    r = np.asarray(rings, dtype=float)
    ground = np.asarray(background, dtype=float)
    phases = np.asarray(phase)
    free = np.asarray(lattice_free, dtype=bool)
    if r.ndim != 3 or not r.shape[:2] == ground.shape == phases.shape == free.shape:
        raise ValueError(
            f"rings {r.shape} need rows, columns and materials; background {ground.shape}, phase {phases.shape} and "
            f"lattice_free {free.shape} the same rows and columns."
        )
    errors = np.zeros_like(r) if rings_std is None else np.asarray(rings_std, dtype=float)
    known = np.isfinite(r).all(axis=-1) & np.isfinite(ground)
    free = free & known & (r.max(axis=-1, initial=0.0) > 0.0)
    crystal = known & ~free & (phases >= 0)
    unknown = ColumnShares(np.full(r.shape, np.nan), np.full(r.shape, np.nan), np.full(ground.shape, np.nan), np.nan)
    if not r.shape[-1] or not free.any():
        return unknown
    # In units of what pixels without a lattice show: of each material where it is the most.
    main = _main_material(r, free)
    alone = [free & (main == k) for k in range(r.shape[-1])]
    used = [k for k, where in enumerate(alone) if where.sum() >= least]
    if not used:
        return unknown
    unit = np.array([r[alone[k]][:, k].mean() for k in used])
    r_used, errors = np.where(known[..., None], r, 0.0)[..., used] / unit, errors[..., used] / unit
    ground = np.where(known, ground, 0.0) / ground[free].mean()
    alone = [alone[k] for k in used]
    free = np.any(alone, axis=0)
    own_ground = np.array([ground[where].sum() / r_used[where][:, k].sum() for k, where in enumerate(alone)])
    rest = ground - r_used @ own_ground
    present = [p for p in np.unique(phases[crystal]) if (phases[crystal] == p).sum() >= least]
    crystal &= np.isin(phases, present)
    fit = _factors(r_used, rest, phases, present, alone, crystal, _polynomials(free))
    amorphous = r_used @ fit.weights
    own = amorphous + np.where(crystal, fit.crystals, 0.0)
    smooth = np.maximum(fit.thickness, THINNEST)
    # The thickness of a pixel is between its own and the smooth one, by how much either scatters.
    rough = _spread((own / smooth)[free])
    noise = np.sqrt(max(_spread((own / smooth)[crystal]) ** 2 - rough**2, 1e-4)) if crystal.any() else 0.1
    trust = rough**2 / (rough**2 + noise**2)
    thickness = np.where(free, amorphous, smooth + trust * (own - smooth))
    thickness = np.maximum(thickness, THINNEST)
    share, share_std = np.full(r.shape, np.nan), np.full(r.shape, np.nan)
    here = free | crystal
    part = np.maximum(r_used * fit.weights, 0.0) / thickness[..., None]
    part /= np.maximum(part.sum(axis=-1, keepdims=True), 1.0)
    relative = np.sqrt(trust * noise**2 + 1e-8) * (~free)
    part_std = np.hypot(errors * fit.weights / thickness[..., None], part * relative[..., None])
    share[..., used], share_std[..., used] = part, part_std
    share[~here], share_std[~here] = np.nan, np.nan
    return ColumnShares(share, share_std, np.where(here, thickness, np.nan), rough)


@dataclass(frozen=True)
class _Factors:
    weights: FloatArray  # of the rings of each material
    crystals: FloatArray  # thickness of crystals by their background
    thickness: FloatArray  # smooth


def _main_material(rings: FloatArray, free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Material whose rings are the most, each in units of its highest decile."""
    height = np.array([np.quantile(rings[free][:, k], 0.9) for k in range(rings.shape[-1])])
    return np.argmax(np.nan_to_num(rings) / np.where(height > 0.0, height, np.inf), axis=-1)


def _polynomials(free: NDArray[np.bool_]) -> FloatArray:
    """Columns of the smooth thickness, shape (C, ny, nx): of degree 0, 1 or 2, as pixels without a lattice allow."""
    ny, nx = free.shape
    y, x = np.mgrid[:ny, :nx]
    y, x = 2.0 * y / max(ny - 1, 1) - 1.0, 2.0 * x / max(nx - 1, 1) - 1.0
    columns = [np.ones_like(x), x, y, x * x, x * y, y * y]
    count = int(free.sum()) // PER_COEFFICIENT
    columns = columns[: 6 if count >= 6 else 3 if count >= 3 else 1]
    return np.array([c for k, c in enumerate(columns) if k == 0 or np.ptp(c) > 0.0])


def _factors(
    rings: FloatArray,
    rest: FloatArray,
    phases: NDArray[np.int64],
    present: list[int],
    alone: list[NDArray[np.bool_]],
    crystal: NDArray[np.bool_],
    smooth: FloatArray,
) -> _Factors:
    """Solve for the factors, pixels far off the smooth thickness (holes, wrong phases) left out by and by."""
    used = crystal | np.any(alone, axis=0)
    of_phase = np.array([crystal & (phases == p) for p in present]).reshape(len(present), *used.shape)
    # The rings of the first material are the unit of thickness.
    unknowns = np.concatenate([rest * of_phase, np.moveaxis(rings[..., 1:], -1, 0), -smooth])[:, used]
    instruments = np.concatenate([of_phase, np.array(alone[1:]).reshape(-1, *used.shape), smooth])[:, used]
    target = rings[..., 0][used]
    weight = np.ones(target.size)
    found = np.zeros(len(unknowns))
    number = len(present) + rings.shape[-1] - 1
    for _ in range(20):
        found = np.linalg.lstsq((instruments * weight) @ unknowns.T, -(instruments * weight) @ target, rcond=1e-10)[0]
        level = np.maximum(found[number:] @ smooth[:, used], THINNEST)
        residual = (target + found @ unknowns) / level
        limit = 3.0 * max(1.4826 * float(np.median(np.abs(residual))), 1e-6)
        new = (np.abs(residual) < limit) / level**2
        if np.array_equal(new > 0.0, weight > 0.0) and np.allclose(new, weight, rtol=1e-3):
            break
        weight = new
    weights = np.concatenate([[1.0], np.maximum(found[len(present) : number], 0.0)])
    crystals = np.maximum(np.tensordot(np.maximum(found[: len(present)], 0.0), of_phase, axes=1) * rest, 0.0)
    return _Factors(weights, crystals, np.tensordot(found[number:], smooth, axes=1))


def _spread(values: FloatArray) -> float:
    """Standard deviation by the median of deviations, which outliers do not change."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0
