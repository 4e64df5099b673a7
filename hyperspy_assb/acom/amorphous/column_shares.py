"""How much of the column of a pixel is amorphous, where crystals lie above or below amorphous material.

A pattern with spots and rings does not say by itself which of the two is the thicker. The scan does: what rings take
from the sharp beams is, as in any single scattering, in proportion to the thickness of the material they come from, and
where there is no lattice, all of the column is of that material. In a column with a lattice, what the smooth background
has above that of its amorphous part is in proportion to the thickness of the crystal, with a factor for each phase that
is not known. It follows, with the factors of the other amorphous materials, from the thickness of the lamella being the
same, but for a smooth course, wherever one material ends and another begins:

    sum_k w_k r_k + u_p v = S(x, y)

with r_k the rings of material k and v the background, both over the sharp beams, and S a polynomial. Both r and v have
errors, which would bias least squares; the equations are those of instrumental variables instead, the instruments being
the polynomials and which material is where.

The sharp beams are the direct beam and half of the Bragg spots: rings about Bragg spots are smeared out in the radial
profile, so that between none and all of them is seen. Taking none or all instead moves shares of one half by up to
0.15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

LEAST = 8
"""Pixels without a lattice that a material, or with one that a phase, must have for its factor to be found."""
PER_COEFFICIENT = 16
"""Pixels for each coefficient of the thickness."""
TILES = (2, 4)
"""Rows and columns of tiles that are left out in turn, to see what the factors hang on."""
THINNEST = 0.2
"""Smooth thickness, relative to the mean of pixels without a lattice, below which no share is told."""
ROUGHEST = 0.4
"""Relative scatter of pixels without a lattice about the smooth thickness above which they are not of one material."""
MOST_THIN = 0.2
"""Share of pixels below it from which on the smooth thickness was not found at all."""
SPOT_SHARE, SPOT_SHARE_STD = 0.5, 0.29
"""How much of the Bragg spots counts as sharp beams that make rings: anything from nothing to all."""


@dataclass(frozen=True)
class ColumnShares:
    """What the columns of a scan of shape (ny, nx) consist of.

    Parameters
    ----------
    amorphous, amorphous_std
        Share of each of A materials in the thickness and its standard error, NaN where unknown, (ny, nx, A). The error
        holds the noise and the roughness of the lamella, and, common to the pixels of a scan, what is not known of the
        sharp beams (see above) and of the factors, by leaving out parts of the scan.
    thickness
        Relative to the mean of pixels without a lattice, NaN where unknown, (ny, nx).
    roughness
        Relative standard deviation of the thickness about its smooth course, errors of the rings included.
    """

    amorphous: FloatArray
    amorphous_std: FloatArray
    thickness: FloatArray
    roughness: float


def column_shares(
    rings: ArrayLike,
    background: ArrayLike,
    direct_beam: ArrayLike,
    spots: ArrayLike,
    phase: ArrayLike,
    lattice_free: ArrayLike,
    *,
    rings_std: ArrayLike | None = None,
    ring_amounts: ArrayLike | None = None,
    least: int = LEAST,
) -> ColumnShares:
    """Shares of amorphous materials in the thickness of every column.

    Parameters
    ----------
    rings
        Intensity of the rings of each material, any unit for each, NaN where nothing is known (vacuum, saturation),
        shape (ny, nx, A).
    background
        Of the smooth diffuse background, any unit, shape (ny, nx).
    direct_beam, spots
        Counts in the direct beam and in Bragg spots, shape (ny, nx).
    phase
        Index of the phase whose lattice is seen, below 0 where there is none, shape (ny, nx).
    lattice_free
        Where there is amorphous material and no lattice, shape (ny, nx).
    rings_std
        Standard errors of `rings`.
    ring_amounts
        Share of the rings of each material in the diffuse counts, shape (ny, nx, A): the largest says which material a
        pixel without a lattice is of. None: the largest of `rings`, each in units of its highest decile, which needs
        every material to be there.
    least
        So many pixels without a lattice must show a material, or with one a phase. Of materials that never are alone,
        nothing is known.

    Returns
    -------
    shares
        See :class:`ColumnShares`; NaN everywhere if there are too few pixels without a lattice, or no smooth thickness
        agrees with them.

    Raises
    ------
    ValueError
        If shapes do not go together.
    """
    r = np.asarray(rings, dtype=float)
    shape = r.shape[:2]
    maps = {
        "background": np.asarray(background, dtype=float),
        "direct_beam": np.asarray(direct_beam, dtype=float),
        "spots": np.asarray(spots, dtype=float),
        "phase": np.asarray(phase),
        "lattice_free": np.asarray(lattice_free, dtype=bool),
    }
    for name, values in maps.items():
        if r.ndim != 3 or values.shape != shape:
            raise AssbValueError(f"{name}: rows and columns as those of the rings {r.shape}, not {values.shape}.")
    ground, beam, diffracted, phases, free = maps.values()
    errors = np.zeros_like(r) if rings_std is None else np.asarray(rings_std, dtype=float)
    known = np.isfinite(r).all(axis=-1) & np.isfinite(ground) & np.isfinite(diffracted) & (beam > 0.0)
    free = free & known & (r.max(axis=-1, initial=0.0) > 0.0)
    unknown = ColumnShares(np.full(r.shape, np.nan), np.full(r.shape, np.nan), np.full(shape, np.nan), np.nan)
    if not r.shape[-1] or not free.any():
        return unknown
    main = _main_material(r, free) if ring_amounts is None else np.argmax(np.nan_to_num(ring_amounts), axis=-1)
    alone = [free & (main == k) for k in range(r.shape[-1])]
    used = [k for k, where in enumerate(alone) if where.sum() >= least]
    if not used:
        return unknown
    alone = [alone[k] for k in used]
    free = np.any(alone, axis=0)
    crystal = known & ~free & (phases >= 0)
    present = [p for p in np.unique(phases[crystal]) if (phases[crystal] == p).sum() >= least]
    crystal &= np.isin(phases, present)
    scan = _Scan(
        rings=np.where(known[..., None], r, 0.0)[..., used],
        errors=np.where(known[..., None], errors, 0.0)[..., used],
        background=np.where(known, ground, 0.0),
        beam=np.where(known, beam, 1.0),
        spots=np.where(known, diffracted, 0.0),
        of_phase=np.array([crystal & (phases == p) for p in present]).reshape(len(present), *shape),
        alone=np.array(alone),
        smooth=smooth_polynomials(free | crystal),
    )
    found = _judge(scan, SPOT_SHARE)
    if found is None:
        return unknown
    # Where either end has no smooth thickness, nothing is known of what it would change.
    ends = [_judge(scan, SPOT_SHARE + sign * SPOT_SHARE_STD) or found for sign in (-1.0, 1.0)]
    beams = 0.5 * np.abs(ends[1].share - ends[0].share)
    std = np.sqrt(found.share_std**2 + beams**2 + _jackknife(scan, found))
    share, share_std = np.full(r.shape, np.nan), np.full(r.shape, np.nan)
    share[..., used] = np.where(found.here[..., None], found.share, np.nan)
    share_std[..., used] = np.where(found.here[..., None], std, np.nan)
    return ColumnShares(share, share_std, np.where(found.here, found.thickness, np.nan), found.roughness)


def _jackknife(scan: _Scan, found: _Judged) -> FloatArray:
    """Variance of the shares by the factors and the smooth thickness, shape (ny, nx, K).

    Grains, not pixels, are what the factors are found on: tiles of the scan are left out, one after the other.
    """
    ny, nx = scan.beam.shape
    tile = (np.arange(ny) * TILES[0] // ny)[:, None] * TILES[1] + np.arange(nx) * TILES[1] // nx
    parts = [_judge(scan, SPOT_SHARE, without=tile == k) for k in range(TILES[0] * TILES[1])]
    shares = np.array([part.share for part in parts if part is not None])
    if len(shares) < 2:
        return np.zeros_like(found.share)
    return np.asarray((len(shares) - 1) * shares.var(axis=0))


class _Judged(NamedTuple):
    """Shares of K materials with one assumption about the sharp beams."""

    share: FloatArray  # (ny, nx, K)
    share_std: FloatArray
    thickness: FloatArray  # (ny, nx)
    here: NDArray[np.bool_]  # where anything is known
    roughness: float


def _judge(scan: _Scan, spot_share: float, *, without: NDArray[np.bool_] | None = None) -> _Judged | None:
    """None where no smooth thickness agrees with the pixels without a lattice."""
    fit = _solve(scan, spot_share, without)
    free, crystal = scan.alone.any(axis=0), scan.of_phase.any(axis=0)
    thin = fit.smooth <= THINNEST
    if thin[free | crystal].mean() > MOST_THIN:
        return None
    # The thickness of a pixel is between its own and the smooth one, by how much either scatters.
    rough = _spread((fit.own / fit.smooth)[free])
    if rough > ROUGHEST:
        return None
    noise = np.sqrt(max(_spread((fit.own / fit.smooth)[crystal]) ** 2 - rough**2, 1e-4)) if crystal.any() else 0.1
    trust = rough**2 / (rough**2 + noise**2)
    thickness = np.where(free, fit.amorphous, fit.smooth + trust * (fit.own - fit.smooth))
    thickness = np.maximum(thickness, 1e-9)
    part = fit.rings / thickness[..., None]
    part /= np.maximum(part.sum(axis=-1, keepdims=True), 1.0)
    relative = np.where(free, 0.0, np.sqrt(trust) * noise)
    part_std = np.hypot(fit.errors / thickness[..., None], part * relative[..., None])
    return _Judged(part, part_std, thickness, free | (crystal & ~thin), rough)


@dataclass(frozen=True)
class _Scan:
    """What is known of K materials, P phases and C polynomials in every pixel."""

    rings: FloatArray  # (ny, nx, K)
    errors: FloatArray
    background: FloatArray
    beam: FloatArray
    spots: FloatArray
    of_phase: NDArray[np.bool_]  # (P, ny, nx)
    alone: NDArray[np.bool_]  # (K, ny, nx), no lattice
    smooth: FloatArray  # (C, ny, nx)


@dataclass(frozen=True)
class _Fit:
    """In units of the thickness."""

    rings: FloatArray  # (ny, nx, K)
    errors: FloatArray
    amorphous: FloatArray  # (ny, nx), their sum
    own: FloatArray  # with the crystal by its background
    smooth: FloatArray


def _solve(scan: _Scan, spot_share: float, without: NDArray[np.bool_] | None) -> _Fit:
    """The factors and the smooth thickness, pixels far off it (holes, wrong phases) left out by and by."""
    sharp = scan.beam + spot_share * scan.spots
    free = scan.alone.any(axis=0)
    rings, errors, ground = scan.rings / sharp[..., None], scan.errors / sharp[..., None], scan.background / sharp
    # In units of what pixels without a lattice show: of each material where it is the most.
    unit = np.array([rings[where][:, k].mean() for k, where in enumerate(scan.alone)])
    rings, errors, ground = rings / unit, errors / unit, ground / ground[free].mean()
    own_ground = np.array([ground[where].sum() / rings[where][:, k].sum() for k, where in enumerate(scan.alone)])
    rest = ground - rings @ own_ground
    used = free | scan.of_phase.any(axis=0)
    if without is not None:
        used &= ~without
    # The rings of the first material are the unit of thickness.
    unknowns = np.concatenate([rest * scan.of_phase, np.moveaxis(rings[..., 1:], -1, 0), -scan.smooth])[:, used]
    instruments = np.concatenate([scan.of_phase, scan.alone[1:], scan.smooth])[:, used]
    target = rings[..., 0][used]
    weight = np.ones(target.size)
    found = np.zeros(len(unknowns))
    phases, number = len(scan.of_phase), len(unknowns) - len(scan.smooth)
    for _ in range(20):
        found = np.linalg.lstsq((instruments * weight) @ unknowns.T, -(instruments * weight) @ target, rcond=1e-10)[0]
        level = np.maximum(found[number:] @ scan.smooth[:, used], THINNEST)
        residual = (target + found @ unknowns) / level
        limit = 3.0 * max(1.4826 * float(np.median(np.abs(residual))), 1e-6)
        new = (np.abs(residual) < limit) / level**2
        if np.allclose(new, weight, rtol=1e-3):
            break
        weight = new
    weights = np.concatenate([[1.0], np.maximum(found[phases:number], 0.0)])
    amorphous = rings @ weights
    crystals = np.maximum(np.tensordot(np.maximum(found[:phases], 0.0), scan.of_phase, axes=1) * rest, 0.0)
    smooth = np.maximum(np.tensordot(found[number:], scan.smooth, axes=1), THINNEST)
    return _Fit(rings * weights, errors * weights, amorphous, amorphous + crystals, smooth)


def _main_material(rings: FloatArray, free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Material whose rings are the most, each in units of its highest decile."""
    height = np.array([np.quantile(rings[free][:, k], 0.9) for k in range(rings.shape[-1])])
    return np.argmax(np.nan_to_num(rings) / np.where(height > 0.0, height, np.inf), axis=-1)


def smooth_polynomials(used: NDArray[np.bool_]) -> FloatArray:
    """Terms of a smooth thickness, 1 first, shape (C, ny, nx): of degree 0, 1 or 2, as the number of pixels allows."""
    ny, nx = used.shape
    y, x = np.mgrid[:ny, :nx]
    y, x = 2.0 * y / max(ny - 1, 1) - 1.0, 2.0 * x / max(nx - 1, 1) - 1.0
    columns = [np.ones_like(x), x, y, x * x, x * y, y * y]
    count = int(used.sum()) // PER_COEFFICIENT
    columns = columns[: 6 if count >= 6 else 3 if count >= 3 else 1]
    return np.array([c for k, c in enumerate(columns) if k == 0 or np.ptp(c) > 0.0])


def _spread(values: FloatArray) -> float:
    """Standard deviation by the median of deviations, which outliers do not change."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0
