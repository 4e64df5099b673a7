"""Patterns of a scan, block by block: what is crystalline, what amorphous, and how much is in the direct beam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.amorphous.column_shares import column_shares
from hyperspy_assb.acom.matching.block_indexing import IndexedPatterns, Indexer, IndexingOptions
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan, PatternStatus
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

LEAST_CRYSTALLINE = 0.1
"""Score of the best template, the mean of each radius removed, between amorphous material (0.03 to 0.06) and crystals
(0.15 and more)."""
MIXED_SHARE = 0.1
"""Share of amorphous material in a column with a lattice above which it is mixed."""


@dataclass(frozen=True)
class DiffuseFindings:
    """What B patterns show of amorphous material.

    Parameters
    ----------
    status
        :class:`~hyperspy_assb.acom.matching.indexed.PatternStatus`: AMORPHOUS, MIXED and POWDER are taken over for
        patterns that are indexed, shape (B,).
    ring_amounts
        Share of each of A materials in the diffuse intensity, shape (B, A).
    materials
        Their names.
    rings, rings_std
        Rings of each material in counts per pixel, as factors of their profiles, and standard errors, shape (B, A);
        None where they are not measured.
    background
        Mean of the smooth diffuse background in counts per pixel, shape (B,).
    spots
        Counts in Bragg spots, shape (B,).
    """

    status: NDArray[Any]
    ring_amounts: FloatArray
    materials: tuple[str, ...]
    rings: FloatArray | None = None
    rings_std: FloatArray | None = None
    background: FloatArray | None = None
    spots: FloatArray | None = None


CentreFinder = Callable[[NDArray[Any]], FloatArray]
"""Patterns (B, ny, nx) to column and row of the direct beam of each, (B, 2)."""
DiffuseJudge = Callable[[NDArray[Any], FloatArray, IndexedPatterns], DiffuseFindings]
"""Patterns (B, ny, nx), centres (B, 2) and what was indexed in them to what is amorphous."""


def judge_by_score(patterns: NDArray[Any], centres: FloatArray, found: IndexedPatterns) -> DiffuseFindings:
    """Amorphous where no template has a score; which material is not told."""
    lattice_free = found.crystalline_score < LEAST_CRYSTALLINE
    status = np.where(lattice_free, PatternStatus.AMORPHOUS, PatternStatus.INDEXED)
    return DiffuseFindings(status, np.zeros((len(patterns), 0)), ())


class ScanIndexer:
    """The engine laid out for the patterns of one scan.

    Parameters
    ----------
    bank
        Templates.
    geometry
        Calibration, refined or not.
    shape
        Rows and columns of a pattern.
    options
        How patterns are indexed.
    direct_beam
        Radius in 1/Å within which counts are the virtual bright field.
    beam_stopped
        Whether the direct beam is behind a beam stop: what columns consist of is then not known.
    find_centres
        Finds the direct beam of each pattern; None: that of the geometry is taken for all.
    judge_diffuse
        Tells amorphous patterns from crystalline ones.
    """

    def __init__(
        self,
        bank: TemplateBank,
        geometry: PatternGeometry,
        shape: tuple[int, int],
        *,
        options: IndexingOptions | None = None,
        direct_beam: float,
        beam_stopped: bool = False,
        find_centres: CentreFinder | None = None,
        judge_diffuse: DiffuseJudge = judge_by_score,
    ) -> None:
        self.bank = bank
        self.geometry = geometry
        self.indexer = Indexer(bank, geometry, shape, options=options)
        self.direct_beam = direct_beam
        self.beam_stopped = beam_stopped
        self.find_centres = find_centres
        self.judge_diffuse = judge_diffuse

    def __call__(self, patterns: NDArray[Any]) -> IndexedScan:
        """What is found in patterns of shape (rows, columns, ny, nx)."""
        scan = patterns.shape[:2]
        flat = patterns.reshape(-1, *patterns.shape[2:])
        if self.find_centres is None:
            centres = np.tile(np.asarray(self.geometry.centre, dtype=float), (len(flat), 1))
        else:
            centres = self.find_centres(flat)
        found = self.indexer.index(flat, centres=centres)
        diffuse = self.judge_diffuse(flat, centres, found)
        status = np.asarray(found.status).copy()
        # Of a saturated detector neither rings nor spots are known.
        told = (status == PatternStatus.INDEXED) & np.isin(
            diffuse.status, (PatternStatus.AMORPHOUS, PatternStatus.MIXED, PatternStatus.POWDER)
        )
        status[told] = diffuse.status[told]
        one_lattice = ~np.isin(diffuse.status, (PatternStatus.AMORPHOUS, PatternStatus.POWDER))
        crystal = one_lattice & (found.phase != NOT_INDEXED)

        def where_crystal(values: FloatArray) -> FloatArray:
            keep = crystal.reshape(-1, *(1,) * (np.ndim(values) - 1))
            return _on(scan, np.where(keep, values, np.nan))

        lattice = found.lattice_scale
        bright_field = sum_direct_beam(flat, self.geometry, self.direct_beam, centres=centres)
        return IndexedScan(
            phases=self.bank.phases,
            geometry=self.geometry,
            phase=_on(scan, np.where(crystal, found.phase, NOT_INDEXED)),
            orientation=where_crystal(found.orientation),
            correlation=_on(scan, found.correlation),
            reliability=where_crystal(found.reliability),
            phase_reliability=where_crystal(found.phase_reliability),
            phase_scores=_on(scan, found.phase_scores),
            phase_orientations=_on(scan, found.phase_orientations),
            posterior=where_crystal(found.posterior),
            lattice_scale=_on(scan, lattice) if self._lattice else None,
            virtual_bright_field=_on(scan, bright_field),
            crystalline_score=_on(scan, found.crystalline_score),
            ring_amounts=_on(scan, diffuse.ring_amounts),
            ring_materials=diffuse.materials,
            status=_on(scan, status.astype(np.int8)),
            twin_reliability=where_crystal(found.twin_reliability),
            centre=_on(scan, found.shift + centres),
            **self._counts(scan, diffuse, status),
        )

    def _counts(self, scan: tuple[int, ...], diffuse: DiffuseFindings, status: NDArray[Any]) -> dict[str, FloatArray]:
        """Rings, background and spots; NaN where there is too little to tell, or the camera was saturated."""
        if diffuse.rings is None or diffuse.rings_std is None or diffuse.background is None or diffuse.spots is None:
            return {}
        if self.beam_stopped:
            return {}
        known = np.where(np.isin(status, (PatternStatus.EMPTY, PatternStatus.SATURATED)), np.nan, 1.0)
        return {
            "ring_counts": _on(scan, diffuse.rings * known[:, None]),
            "ring_counts_std": _on(scan, diffuse.rings_std * known[:, None]),
            "background_counts": _on(scan, diffuse.background),
            "spot_counts": _on(scan, np.maximum(diffuse.spots, 0.0)),
        }

    @property
    def _lattice(self) -> bool:
        refine = self.indexer.options.refine
        return bool(refine is not None and refine.lattice)


def with_column_shares(scan: IndexedScan) -> IndexedScan:
    """The whole scan with the shares of amorphous materials in its columns, where rings were measured."""
    if scan.ring_counts is None or scan.background_counts is None or scan.spot_counts is None:
        return scan
    shares = column_shares(
        scan.ring_counts,
        scan.background_counts,
        scan.virtual_bright_field,
        scan.spot_counts,
        scan.phase,
        np.asarray(scan.status) == PatternStatus.AMORPHOUS,
        rings_std=scan.ring_counts_std,
    )
    # Sure to be there, and more than a film of amorphous material such as milling leaves.
    share = shares.amorphous.sum(axis=-1, where=np.isfinite(shares.amorphous))
    error = np.sqrt((shares.amorphous_std**2).sum(axis=-1, where=np.isfinite(shares.amorphous_std)))
    mixed = (np.asarray(scan.status) == PatternStatus.INDEXED) & (share - 2.0 * error > MIXED_SHARE)
    status = np.where(mixed, PatternStatus.MIXED, scan.status).astype(np.int8)
    return replace(scan, status=status, amorphous_share=shares.amorphous, amorphous_share_std=shares.amorphous_std)


def sum_direct_beam(
    patterns: NDArray[Any], geometry: PatternGeometry, radius: float, *, centres: FloatArray | None = None
) -> FloatArray:
    """Counts within a radius of the direct beam.

    Parameters
    ----------
    patterns
        Shape (..., ny, nx).
    geometry
        Scale and centre.
    radius
        1/Å.
    centres
        Column and row of the direct beam of each pattern, shape (..., 2), taken to the nearest pixel; None: that of the
        geometry for all.

    Returns
    -------
    counts
        Shape (...).

    Raises
    ------
    ValueError
        If no pixel is within the radius.
    """
    rows, columns = patterns.shape[-2:]
    y, x = np.mgrid[:rows, :columns]

    def window(centre: tuple[float, float]) -> tuple[Any, NDArray[np.bool_]]:
        vectors = replace(geometry, centre=centre).to_reciprocal(np.stack([x, y], axis=-1))
        inside = np.linalg.norm(vectors, axis=-1) <= radius
        if not inside.any():
            raise ValueError(f"radius: no pixel lies within {radius:g} 1/Å of the direct beam.")
        tall, wide = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
        part = np.s_[..., tall[0] : tall[-1] + 1, wide[0] : wide[-1] + 1]
        return part, inside[part]

    if centres is None:
        part, inside = window(geometry.centre)
        return np.asarray(patterns[part].sum(axis=(-2, -1), where=inside, dtype=float))
    counts = np.empty(patterns.shape[:-2])
    nearest = np.rint(np.asarray(centres, dtype=float))
    # Most patterns share a few places.
    for place in np.unique(nearest.reshape(-1, 2), axis=0):
        here = (nearest == place).all(axis=-1)
        part, inside = window((float(place[0]), float(place[1])))
        counts[here] = patterns[here][part].sum(axis=(-2, -1), where=inside, dtype=float)
    return counts


def _on(scan: tuple[int, ...], values: NDArray[Any]) -> NDArray[Any]:
    return np.reshape(values, (*scan, *np.shape(values)[1:]))
