"""What the patterns of a scan say of how they were recorded: the direct beam, and the geometry refined on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.calibration.geometry_fit import CalibrationError
from hyperspy_assb.acom.calibration.self_calibration import calibrate_on_patterns
from hyperspy_assb.acom.patterns.beam_path import BeamPath, follow_beam
from hyperspy_assb.acom.patterns.direct_beam import BeamFinder, inside_frame, locate_beams
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import PatternScan
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

FEWEST_TO_CALIBRATE = 16
"""Patterns below which the calibration is not refined: they may be of one grain, which any lattice fits."""
BEAM_SCATTER = 0.05
"""How far the direct beam strays from its middle, as a share of the frame."""
STEADY_SHARE = 0.9
"""Share of the patterns that must have the direct beam so near; else it is followed, if it can be."""
SEEN_SHARE = 0.5
"""Share of the patterns in which the direct beam must be seen; else it is behind a stop, and spots are taken for it."""
MOVED = 2.0
"""Pixels by which the direct beam must lie elsewhere than stated for it to be said."""


@dataclass(frozen=True)
class ScanCalibration:
    """What the patterns of a scan say of how they were recorded.

    Parameters
    ----------
    geometry
        Refined, if that was possible.
    beam
        Finds the direct beam of each pattern; None: that of the geometry is taken for all.
    path
        Where the direct beam is in the scan, if it wanders farther than a scan is expected to.
    beam_stopped
        Whether the direct beam is behind a beam stop: what columns consist of is then not known.
    notes
        What is to be known, in sentences.
    """

    geometry: PatternGeometry
    beam: BeamFinder | None = None
    path: BeamPath | None = None
    beam_stopped: bool = False
    notes: tuple[str, ...] = ()

    def centres(
        self, patterns: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Column and row of the direct beam in some patterns, (B, 2), and whether that is known, (B,).

        `rows` and `columns` are the places of the patterns in the scan, shape (B,).
        """
        known = np.ones(len(patterns), dtype=bool)
        if self.beam is None:
            return inside_frame("centre", self.geometry.centres(len(patterns)), patterns.shape), known
        if self.path is None:
            return self.beam.find(patterns), known
        found, known = self.path.find(patterns, rows, columns)
        moved = found + self.beam.shift
        inside = ((moved > -0.5) & (moved < np.array(patterns.shape[:0:-1]) - 0.5)).all(axis=1)
        moved[~inside] = self.geometry.centre
        return np.ascontiguousarray(moved), known & inside


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
    located = _locate_beam(sample, scan)
    if len(sample) < FEWEST_TO_CALIBRATE:
        note = f"{len(sample)} patterns are too few to refine the calibration: the stated calibration is kept."
        return replace(located, notes=(*located.notes, note))
    try:
        centres, known = located.centres(sample, *crossings(scan))
        found = calibrate_on_patterns(sample[known], bank, located.geometry, centres=centres[known])
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


def refuse_calibration(scan: PatternScan, sample: NDArray[Any], refined: ScanCalibration) -> ScanCalibration:
    """The calibration as it is stated, after it was refined on patterns that no phase explains."""
    located = _locate_beam(sample, scan)
    note = (
        f"The calibration was not refined: at the scale that it led to ({refined.geometry.scale:.5g} instead of "
        f"{scan.geometry.scale:.5g} 1/Å per pixel) no offered phase explains the patterns. The stated calibration is "
        "kept; offer the phases that are there, or calibrate on a known one."
    )
    return replace(located, notes=(*located.notes, note))


def crossings(scan: PatternScan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column in the scan of each pattern of its sample."""
    rows, columns = scan.sampled()
    return np.repeat(rows, len(columns)), np.tile(columns, len(rows))


def _locate_beam(sample: NDArray[Any], scan: PatternScan) -> ScanCalibration:
    """The place of the direct beam; where few of the patterns show it, what is stated holds for all."""
    geometry, centre_stated = scan.geometry, scan.centre_stated
    centres = locate_beams(sample, expected=geometry.centre if centre_stated else None)
    known = np.isfinite(centres).all(axis=1)
    middle = np.median(centres[known], axis=0) if known.any() else np.asarray(geometry.centre)
    # The beam drifts by a few pixels; where the places scatter more, they are spots of crystals beside a beam stop.
    reach = max(3.0, BEAM_SCATTER * min(sample.shape[-2:]))
    near = np.linalg.norm(centres - middle, axis=1) <= reach
    share = float((known & near).mean())
    if share < STEADY_SHARE:
        path = follow_beam(sample, *scan.sampled(), start=middle, reach=reach)
        if path is not None:
            return _wandering(path, geometry)
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
            f"The direct beam is at column {middle[0]:.1f}, row {middle[1]:.1f}, {away:.1f} pixels from the position "
            "that the axes state.",
        )
    place = (float(middle[0]), float(middle[1]))
    return ScanCalibration(replace(geometry, centre=place), BeamFinder(place, reach), notes=notes)


def _wandering(path: BeamPath, geometry: PatternGeometry) -> ScanCalibration:
    places = path.places.reshape(-1, 2)
    middle = np.median(places, axis=0)
    low, high = places.min(axis=0), places.max(axis=0)
    note = (
        f"The direct beam wanders over the scan, from column {low[0]:.1f} to {high[0]:.1f} and from row {low[1]:.1f} "
        f"to {high[1]:.1f}: it was followed from pattern to pattern."
    )
    place = (float(middle[0]), float(middle[1]))
    return ScanCalibration(replace(geometry, centre=place), BeamFinder(place, path.reach), path, notes=(note,))
