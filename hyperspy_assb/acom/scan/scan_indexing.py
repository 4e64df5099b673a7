"""A scan from its patterns to what is in every one: calibration, indexing and amorphous material, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.amorphous.classification import RingJudge
from hyperspy_assb.acom.amorphous.column_shares import column_shares
from hyperspy_assb.acom.calibration.geometry_fit import CalibrationError
from hyperspy_assb.acom.calibration.self_calibration import calibrate_on_patterns
from hyperspy_assb.acom.matching.block_indexing import Indexer, IndexingOptions
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan, PatternStatus, map_names
from hyperspy_assb.acom.patterns.direct_beam import BeamFinder, inside_frame, locate_beams
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import PatternScan, beam_radius, known_energy
from hyperspy_assb.acom.templates.bank import TemplateBank, simulate_bank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

MIXED_SHARE = 0.1
"""Share of amorphous material in a column with a lattice above which it is mixed."""
PRECESSION_ANGLE = 0.7
"""Degrees that templates are made for where nothing is known of it."""
LARGEST_RADIUS = 1.5
"""1/Å to which templates are made at most: few patterns have spots farther out."""
FEWEST_TO_CALIBRATE = 16
"""Patterns below which the calibration is not refined: they may be of one grain, which any lattice fits."""
BEAM_SCATTER = 0.05
"""How far the direct beam strays from its middle, as a share of the frame."""
SEEN_SHARE = 0.5
"""Share of the patterns in which the direct beam must be seen; else it is behind a stop, and spots are taken for it."""
MOVED = 2.0
"""Pixels by which the direct beam must lie elsewhere than stated for it to be said."""
Engine = Callable[[NDArray[Any]], IndexedScan]
"""Patterns of shape (rows, columns, ny, nx) to what is found in them."""
Stage = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is."""


def bank_of_scan(
    scan: PatternScan, phases: Any, *, report: Stage = lambda stage, done, total: None
) -> tuple[TemplateBank, tuple[str, ...]]:
    """A bank of some phases for the microscope that recorded a scan, and what is to be known of it.

    Raises
    ------
    ValueError
        If the beam energy is not known.
    """
    angle = scan.precession_angle
    notes: tuple[str, ...] = ()
    if angle is None:
        angle = PRECESSION_ANGLE
        notes = (
            f"No precession angle is in the metadata: templates were made for {angle:g} degrees "
            "(metadata.Acquisition_instrument.TEM.precession_angle).",
        )
    # As far as the frame reaches along its sides: few spots are in the corners.
    rows, columns = scan.frame
    reach = float(np.max(np.abs(scan.geometry.to_reciprocal(np.array([[0, 0], [columns - 1.0, rows - 1.0]])))))
    bank = simulate_bank(
        phases,
        beam_energy=known_energy(scan.beam_energy, scan.title),
        precession_angle=angle,
        max_radius=float(min(round(reach, 2), LARGEST_RADIUS)),
        progress=lambda name, done, total: report("templates", done, total),
    )
    return bank, notes


def index_scan(scan: PatternScan, engine: Engine, *, done: Callable[[int], None] = lambda count: None) -> IndexedScan:
    """What an engine finds in the patterns of a scan, with the shares of amorphous materials in its columns.

    Parameters
    ----------
    scan
        Patterns.
    engine
        Such as a :class:`ScanIndexer`.
    done
        Called with the number of patterns of each block that is finished.
    """
    whole = ScanAssembler(scan.shape)
    for rows, columns, patterns in scan.blocks():
        whole.put(rows, columns, engine(patterns))
        done(patterns.shape[0] * patterns.shape[1])
    return with_column_shares(whole.finish())


def bright_field(
    scan: PatternScan, radius: float | None = None, *, done: Callable[[int], None] = lambda count: None
) -> FloatArray:
    """Counts within a radius in 1/Å of the centre in every pattern of a scan, shape (rows, columns).

    Without a radius, it is that of the direct beam; see :func:`~hyperspy_assb.acom.patterns.pattern_scan.beam_radius`.
    """
    if radius is None:
        radius = beam_radius(scan.geometry, scan.convergence_angle, scan.beam_energy, scan.title)
    counts = np.empty(scan.shape)
    for rows, columns, patterns in scan.blocks():
        counts[rows, columns] = sum_direct_beam(patterns, scan.geometry, radius)
        done(patterns.shape[0] * patterns.shape[1])
    return counts


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
            raise AssbValueError(f"radius: no pixel lies within {radius:g} 1/Å of the direct beam.")
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


@dataclass(frozen=True)
class ScanCalibration:
    """What the patterns of a scan say of how they were recorded.

    Parameters
    ----------
    geometry
        Refined, if that was possible.
    beam
        Finds the direct beam of each pattern; None: that of the geometry is taken for all.
    beam_stopped
        Whether the direct beam is behind a beam stop: what columns consist of is then not known.
    notes
        What is to be known, in sentences.
    """

    geometry: PatternGeometry
    beam: BeamFinder | None = None
    beam_stopped: bool = False
    notes: tuple[str, ...] = ()

    def centres(self, patterns: NDArray[Any]) -> FloatArray:
        """Column and row of the direct beam in each of some patterns, shape (B, 2)."""
        if self.beam is None:
            return inside_frame("centre", self.geometry.centres(len(patterns)), patterns.shape)
        return self.beam.find(patterns)


def calibrate_scan(scan: PatternScan, sample: NDArray[Any], bank: TemplateBank) -> ScanCalibration:
    """Find the direct beam in a sample of the patterns of a scan, and refine the geometry on it where that is possible.

    Parameters
    ----------
    scan
        Patterns, and the geometry as it is stated.
    sample
        Some of its patterns, evenly over the scan, shape (B, ny, nx).
    bank
        Templates of all phases that may be there.
    """
    located = _locate_beam(sample, scan.geometry, centre_stated=scan.centre_stated)
    if len(sample) < FEWEST_TO_CALIBRATE:
        note = f"{len(sample)} patterns are too few to refine the calibration on: what is stated holds."
        return replace(located, notes=(*located.notes, note))
    try:
        found = calibrate_on_patterns(sample, bank, located.geometry, centres=located.centres(sample))
    except CalibrationError as error:
        return replace(located, notes=(*located.notes, f"The calibration was not refined on the patterns: {error}"))
    notes = located.notes
    if found.ambiguous:
        others = ", ".join(f"{c.geometry.scale:.5g}" for c in found.candidates[1:3])
        notes = (
            *notes,
            f"The patterns agree with the phases at more than one scale ({found.geometry.scale:.5g}; {others} 1/Å per "
            "pixel): lattices that differ by a few per cent are like one lattice at two camera lengths. Calibrate on a "
            "known phase.",
        )
    beam = None if located.beam is None else replace(located.beam, shift=(float(found.shift[0]), float(found.shift[1])))
    return replace(located, geometry=found.geometry, beam=beam, notes=notes)


def _locate_beam(sample: NDArray[Any], geometry: PatternGeometry, *, centre_stated: bool) -> ScanCalibration:
    """The place of the direct beam; where few of the patterns show it, what is stated holds for all."""
    centres = locate_beams(sample, expected=geometry.centre if centre_stated else None)
    known = np.isfinite(centres).all(axis=1)
    middle = np.median(centres[known], axis=0) if known.any() else np.asarray(geometry.centre)
    # The beam drifts by a few pixels; where the places scatter more, they are spots of crystals beside a beam stop.
    reach = max(3.0, BEAM_SCATTER * min(sample.shape[-2:]))
    near = np.linalg.norm(centres - middle, axis=1) <= reach
    share = float((known & near).mean())
    if share < SEEN_SHARE:
        note = (
            f"The direct beam was found in {100 * share:.0f} % of the patterns only: it is taken to be at column "
            f"{geometry.centre[0]:.1f}, row {geometry.centre[1]:.1f}"
        ) + (", as the axes state." if centre_stated else ".")
        return ScanCalibration(geometry, beam_stopped=True, notes=(note,))
    middle = np.median(centres[known & near], axis=0)
    away = float(np.linalg.norm(middle - geometry.centre))
    notes: tuple[str, ...] = ()
    if centre_stated and away > MOVED:
        notes = (
            f"The direct beam is at column {middle[0]:.1f}, row {middle[1]:.1f}, {away:.1f} pixels from where the axes "
            "have it.",
        )
    place = (float(middle[0]), float(middle[1]))
    return ScanCalibration(replace(geometry, centre=place), BeamFinder(place, reach), notes=notes)


class ScanIndexer:
    """The engine laid out for the patterns of one scan.

    Parameters
    ----------
    scan
        Patterns.
    bank
        Templates.
    calibrate
        Whether the geometry is refined on the patterns.
    options
        How patterns are indexed.
    """

    def __init__(
        self, scan: PatternScan, bank: TemplateBank, *, calibrate: bool = True, options: IndexingOptions | None = None
    ) -> None:
        sample = scan.sample()
        options = options or IndexingOptions()
        if scan.detector is not None and options.saturation is None:
            options = replace(options, saturation=scan.detector.saturation(scan.patterns.dtype))
        self.calibration = ScanCalibration(scan.geometry)
        if calibrate:
            self.calibration = calibrate_scan(scan, sample, bank)
        self.geometry = self.calibration.geometry
        self.beam_radius = beam_radius(self.geometry, scan.convergence_angle, scan.beam_energy, scan.title)
        self.indexer = Indexer(bank, self.geometry, scan.frame, options=options)
        self.judge = RingJudge(self.indexer.matcher, sample, centres=self.calibration.centres(sample))

    def __call__(self, patterns: NDArray[Any]) -> IndexedScan:
        """What is found in patterns of shape (rows, columns, ny, nx)."""
        scan = patterns.shape[:2]
        flat = patterns.reshape(-1, *patterns.shape[2:])
        centres = self.calibration.centres(flat)
        found = self.indexer.index(flat, centres=centres)
        diffuse = self.judge(flat, centres, found)
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

        counts = {}
        if not self.calibration.beam_stopped:
            known = np.where(np.isin(status, (PatternStatus.EMPTY, PatternStatus.SATURATED)), np.nan, 1.0)
            counts = {
                "ring_counts": _on(scan, diffuse.rings * known[:, None]),
                "ring_counts_std": _on(scan, diffuse.rings_std * known[:, None]),
                "background_counts": _on(scan, diffuse.background),
                "spot_counts": _on(scan, np.maximum(diffuse.spots, 0.0)),
            }
        return IndexedScan(
            phases=self.indexer.bank.phases,
            geometry=self.geometry,
            phase=_on(scan, np.where(crystal, found.phase, NOT_INDEXED)),
            orientation=where_crystal(found.orientation),
            correlation=_on(scan, found.correlation),
            reliability=where_crystal(found.reliability),
            phase_reliability=where_crystal(found.phase_reliability),
            phase_scores=_on(scan, found.phase_scores),
            phase_orientations=_on(scan, found.phase_orientations),
            posterior=where_crystal(found.posterior),
            lattice_scale=_on(scan, found.lattice_scale) if self.indexer.refines_lattice else None,
            virtual_bright_field=_on(scan, sum_direct_beam(flat, self.geometry, self.beam_radius, centres=centres)),
            crystalline_score=_on(scan, found.crystalline_score),
            ring_amounts=_on(scan, diffuse.ring_amounts),
            ring_materials=diffuse.materials,
            status=_on(scan, status.astype(np.int8)),
            twin_reliability=where_crystal(found.twin_reliability),
            centre=_on(scan, found.shift + centres),
            **counts,
        )


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


class ScanAssembler:
    """Maps that fill block by block.

    Parameters
    ----------
    shape
        Rows and columns of the scan.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._first: IndexedScan | None = None
        self._first_shape: tuple[int, int] = (0, 0)
        self._maps: dict[str, Any] = {}
        self._filled = np.zeros(shape, dtype=bool)

    def put(self, rows: slice, columns: slice, block: IndexedScan) -> None:
        """Take in what was found in a block of the scan.

        Raises
        ------
        ValueError
            If the block is of another size than its place.
        """
        place = self._filled[rows, columns]
        if place.shape != np.shape(block.phase):
            raise AssbValueError(f"The block has the shape {np.shape(block.phase)}, but its place has {place.shape}.")
        if self._first is None:
            self._first = block
            self._first_shape = place.shape
            for name in map_names(block):
                values = getattr(block, name)
                self._maps[name] = np.empty((*self.shape, *values.shape[2:]), dtype=values.dtype)
        for name, whole in self._maps.items():
            whole[rows, columns] = getattr(block, name)
        place[...] = True

    def finish(self) -> IndexedScan:
        """The whole scan.

        Raises
        ------
        ValueError
            If a part of it is missing.
        """
        if self._first is None or not self._filled.all():
            raise AssbValueError(f"{int((~self._filled).sum())} of the {self._filled.size} pixels were not indexed.")
        return replace(self._first, **self._maps)


def _on(scan: tuple[int, ...], values: NDArray[Any]) -> NDArray[Any]:
    return np.reshape(values, (*scan, *np.shape(values)[1:]))
