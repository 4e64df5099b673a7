"""A scan from its patterns to what is in every one: calibration, indexing and amorphous material, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.amorphous.classification import BEAM_PATTERNS, RingJudge
from hyperspy_assb.acom.amorphous.column_shares import column_shares
from hyperspy_assb.acom.matching.block_indexing import Indexer, IndexingOptions
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan, PatternStatus, map_names
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import PatternScan, beam_radius, known_energy
from hyperspy_assb.acom.patterns.radial_profiles import direct_beam_width
from hyperspy_assb.acom.scan.answers_judged import AnswerJudge, answers_in_words, conclude
from hyperspy_assb.acom.scan.crystal_shares import with_crystal_shares
from hyperspy_assb.acom.scan.near_tie_votes import settle_near_ties
from hyperspy_assb.acom.scan.proposals import propose_materials
from hyperspy_assb.acom.scan.scan_calibration import (
    FEWEST_TO_CALIBRATE,
    ScanCalibration,
    calibrate_scan,
    crossings,
    refuse_calibration,
)
from hyperspy_assb.acom.scan.trial_patterns import SEEN_SPOTS
from hyperspy_assb.acom.templates.bank import TemplateBank, bank_in_stages
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

MIXED_SHARE = 0.1
"""Share of amorphous material in a column with a lattice above which it is mixed."""
PRECESSION_ANGLE = 0.7
"""Degrees that templates are made for where nothing is known of it."""
LARGEST_RADIUS = 1.5
"""1/Å to which templates are made at most: few patterns have spots farther out."""
JUDGED_PATTERNS = 64
"""Patterns on which a refined calibration is judged."""
UNEXPLAINED_SHARE = 0.7
"""Share of the patterns with spots that no phase explains above which a calibration on them is refused."""
FAR_SCALE, UNEXPLAINED_FAR = 0.03, 0.25
"""The same, where the scale has moved by more than so much: some scale agrees with a third of any patterns."""
Engine = Callable[[NDArray[Any], slice, slice], IndexedScan]
"""Patterns of shape (rows, columns, ny, nx), and their place in the scan, to what is found in them."""
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
    bank = bank_in_stages(
        phases,
        beam_energy=known_energy(scan.beam_energy, scan.title),
        precession_angle=angle,
        max_radius=float(min(round(reach, 2), LARGEST_RADIUS)),
        report=lambda name, done, total: report("templates", done, total),
    )
    return bank, notes


def index_scan(scan: PatternScan, engine: Engine, *, done: Callable[[int], None] = lambda count: None) -> IndexedScan:
    """What an engine finds in the patterns of a scan, near-ties settled by their neighbours, with the shares of
    amorphous materials in its columns.

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
        whole.put(rows, columns, engine(patterns, rows, columns))
        done(patterns.shape[0] * patterns.shape[1])
    found = settle_near_ties(whole.finish())
    if isinstance(engine, ScanIndexer):
        found = conclude(found, engine.answers)
        return with_crystal_shares(with_column_shares(found), engine.answers.wider)
    return with_column_shares(found)


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
        self._lay_out(scan, sample, bank, options)
        if (
            calibrate
            and len(sample) >= FEWEST_TO_CALIBRATE
            and self._unexplained(sample) > self._most_unexplained(scan)
        ):
            # A scale that foreign crystals were made to agree with is none.
            self.calibration = refuse_calibration(scan, sample, self.calibration)
            self._lay_out(scan, sample, bank, options)
        self._sample, self._places = sample, crossings(scan)
        self.judge = RingJudge(self.indexer.matcher, sample, centres=self._centres)

    def _lay_out(self, scan: PatternScan, sample: NDArray[Any], bank: TemplateBank, options: IndexingOptions) -> None:
        self.geometry = self.calibration.geometry
        self.beam_radius = beam_radius(self.geometry, scan.convergence_angle, scan.beam_energy, scan.title)
        self._centres, _ = self.calibration.centres(sample, *crossings(scan))
        sigma = spot_sigma(sample, self._centres, self.geometry)
        self.indexer = Indexer(bank, self.geometry, scan.frame, options=options, spot_sigma=sigma)
        # The edge of a beam stop is taken for spots.
        judged = sample[:0] if self.calibration.beam_stopped else sample
        self.answers = AnswerJudge(self.indexer, judged, self._centres[: len(judged)])

    def _most_unexplained(self, scan: PatternScan) -> float:
        """Share of the patterns that may be unexplained after a calibration."""
        far = abs(self.geometry.scale / scan.geometry.scale - 1.0) > FAR_SCALE
        return UNEXPLAINED_FAR if far else UNEXPLAINED_SHARE

    def _unexplained(self, sample: NDArray[Any]) -> float:
        """Share of the patterns of a sample with spots that no phase explains."""
        if not self.answers.known:
            return 0.0
        some = np.unique(np.linspace(0, len(sample) - 1, min(len(sample), JUDGED_PATTERNS)).round().astype(int))
        found = self.indexer.index(sample[some], centres=self._centres[some])
        spotted = found.looked.spots >= SEEN_SPOTS
        if spotted.sum() < FEWEST_TO_CALIBRATE // 2:
            return 0.0
        return float((self.answers.not_offered(self.answers.log_odds(found.looked))[spotted] > 0.5).mean())

    def notes(self, found: IndexedScan) -> tuple[str, ...]:
        """What is to be known of the answers of the whole scan."""
        notes = answers_in_words(found)
        foreign = np.asarray(found.status)[self._places] == PatternStatus.NOT_OFFERED
        if foreign.any():
            notes += propose_materials(self._sample[foreign], self._centres[foreign], self.indexer, self.answers)
        return notes

    def __call__(self, patterns: NDArray[Any], rows: slice, columns: slice) -> IndexedScan:
        """What is found in patterns of shape (rows, columns, ny, nx)."""
        scan = patterns.shape[:2]
        flat = patterns.reshape(-1, *patterns.shape[2:])
        at = np.mgrid[rows, columns].reshape(2, -1)
        centres, seen = self.calibration.centres(flat, *at)
        found = self.indexer.index(flat, centres=centres)
        diffuse = self.judge(flat, centres, found)
        status = np.asarray(found.status).copy()
        # Of a saturated detector neither rings nor spots are known.
        told = (status == PatternStatus.INDEXED) & np.isin(
            diffuse.status, (PatternStatus.AMORPHOUS, PatternStatus.MIXED, PatternStatus.POWDER)
        )
        status[told] = diffuse.status[told]
        status[~seen] = PatternStatus.NO_BEAM
        one_lattice = seen & ~np.isin(diffuse.status, (PatternStatus.AMORPHOUS, PatternStatus.POWDER))
        crystal = one_lattice & (found.phase != NOT_INDEXED)
        judged = crystal & (status != PatternStatus.SATURATED)

        def where_crystal(values: FloatArray) -> FloatArray:
            keep = crystal.reshape(-1, *(1,) * (np.ndim(values) - 1))
            return _on(scan, np.where(keep, values, np.nan))

        counts = {}
        if not self.calibration.beam_stopped:
            known = np.where(
                np.isin(status, (PatternStatus.EMPTY, PatternStatus.SATURATED, PatternStatus.NO_BEAM)), np.nan, 1.0
            )
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
            tied_orientations=where_crystal(found.tied_orientation),
            tied_scores=where_crystal(found.tied_score),
            centre=_on(scan, found.shift + centres),
            answer_odds=(
                where_crystal(np.where(judged, self.answers.log_odds(found.looked), np.nan))
                if self.answers.known
                else None
            ),
            second_phase=_on(scan, np.where(judged, found.looked.second_phase, NOT_INDEXED)),
            second_orientation=where_crystal(found.looked.second_orientation),
            second_score=_on(scan, np.where(crystal, found.looked.second_score, 0.0)),
            second_posterior=where_crystal(found.looked.second_posterior),
            second_share=_on(scan, np.zeros(len(crystal))),
            second_share_std=_on(scan, np.full(len(crystal), np.nan)),
            second_gain=_on(scan, np.where(crystal, found.looked.gain, 0.0)),
            crystal_amount=where_crystal(found.looked.amount),
            crystal_amount_std=where_crystal(found.looked.amount_std),
            **counts,
        )


def spot_sigma(sample: NDArray[Any], centres: FloatArray, geometry: PatternGeometry) -> float | None:
    """Standard deviation of a spot in pixels by the direct beam; None where that is not seen."""
    some = slice(None, None, max(len(sample) // BEAM_PATTERNS, 1))
    width = direct_beam_width(sample[some], geometry, centres=centres[some]) / geometry.scale
    # A camera spreads a beam over a pixel at least; far wider ones are none.
    return float(np.clip(width / 2.355, 0.8, 6.0)) if width > 0.0 else None


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
        ring_amounts=scan.ring_amounts,
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
