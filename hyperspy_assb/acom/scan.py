"""Patterns of a scan, block by block: what is crystalline, what amorphous, and how much is in the direct beam."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.bank import TemplateBank
from hyperspy_assb.acom.geometry import PatternGeometry
from hyperspy_assb.acom.indexing import Indexer, IndexingOptions
from hyperspy_assb.acom.result import NOT_INDEXED, IndexedScan, PatternStatus
from hyperspy_assb.fitting.kernels import FloatArray

LEAST_CRYSTALLINE = 0.1
"""Score of the best template, the mean of each radius removed, between amorphous material (0.03 to 0.06) and crystals
(0.15 and more)."""


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
    """

    def __init__(
        self,
        bank: TemplateBank,
        geometry: PatternGeometry,
        shape: tuple[int, int],
        *,
        options: IndexingOptions | None = None,
        direct_beam: float,
    ) -> None:
        self.bank = bank
        self.geometry = geometry
        self.indexer = Indexer(bank, geometry, shape, options=options)
        self.direct_beam = direct_beam

    def __call__(self, patterns: NDArray[Any]) -> IndexedScan:
        """What is found in patterns of shape (rows, columns, ny, nx)."""
        scan = patterns.shape[:2]
        flat = patterns.reshape(-1, *patterns.shape[2:])
        found = self.indexer.index(flat)
        status = np.asarray(found.status).copy()
        amorphous = (status != PatternStatus.EMPTY) & (found.crystalline_score < LEAST_CRYSTALLINE)
        status[amorphous] = PatternStatus.AMORPHOUS
        crystal = ~amorphous & (found.phase != NOT_INDEXED)

        def where_crystal(values: FloatArray) -> FloatArray:
            keep = crystal.reshape(-1, *(1,) * (np.ndim(values) - 1))
            return _on(scan, np.where(keep, values, np.nan))

        lattice = found.lattice_scale
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
            virtual_bright_field=_on(scan, sum_direct_beam(flat, self.geometry, self.direct_beam)),
            crystalline_score=_on(scan, found.crystalline_score),
            ring_amounts=np.zeros((*scan, 0)),
            ring_materials=(),
            status=_on(scan, status.astype(np.int8)),
            twin_reliability=where_crystal(found.twin_reliability),
            centre=_on(scan, found.shift + np.asarray(self.geometry.centre)),
        )

    @property
    def _lattice(self) -> bool:
        refine = self.indexer.options.refine
        return bool(refine is not None and refine.lattice)


def sum_direct_beam(patterns: NDArray[Any], geometry: PatternGeometry, radius: float) -> FloatArray:
    """Counts within a radius of the direct beam.

    Parameters
    ----------
    patterns
        Shape (..., ny, nx).
    geometry
        Scale and centre.
    radius
        1/Å.

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
    inside = np.linalg.norm(geometry.to_reciprocal(np.stack([x, y], axis=-1)), axis=-1) <= radius
    if not inside.any():
        raise ValueError(f"radius: no pixel lies within {radius:g} 1/Å of the direct beam.")
    tall, wide = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
    window = np.s_[..., tall[0] : tall[-1] + 1, wide[0] : wide[-1] + 1]
    return np.asarray(patterns[window].sum(axis=(-2, -1), where=inside[window], dtype=float))


def _on(scan: tuple[int, ...], values: NDArray[Any]) -> NDArray[Any]:
    return np.reshape(values, (*scan, *np.shape(values)[1:]))
