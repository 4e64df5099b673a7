"""Scale, centre and ellipse refined on the patterns of a scan themselves.

Geometry and lattice compete: patterns of LiFePO4 look much like those of FePO4 at a camera length that is some per cent
longer. So no phase is taken for granted. From every scale within range all phases and orientations are matched; where
many patterns agree, the geometry is refined by least squares on the places of the spots, matched again, and so on until
it stays. One geometry must then hold for the whole scan: the one with the highest sum of the best scores is taken.
Another one that is not significantly worse (paired over grains, each of which is one observation) keeps a share of the
probability, and its distance widens the standard errors. A scan of a single orientation cannot tell some phases from a
scale and an ellipse; its errors then say so.

The standard errors are those of White for clusters (Liang and Zeger, Biometrika 73, 13 (1986)): spots of one grain
share its strain and its dynamical scattering, so that a grain, not a spot, is the unit that is independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.calibration.geometry_fit import (
    CalibrationError,
    GeometryTrial,
    SelfCalibration,
    conclude,
    fit_geometry,
    flatness_of,
)
from hyperspy_assb.acom.calibration.matched_spots import Geometer
from hyperspy_assb.acom.patterns.direct_beam import BeamFinder, find_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_centres, checked_patterns
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

HOPELESS = 0.75
"""A geometry whose mean score stays below this share of that of another one is not refined to its end."""


SAME_SCALE = 0.3
"""Geometries whose scales differ by less than so many steps of the search are one."""
SETTLED, SETTLED_SHIFT = 1e-4, 0.02
"""Relative change of the geometry and shift in pixels at which the refinement ends: far below their errors."""
FEWEST_TO_CALIBRATE = 16
"""Patterns below which the calibration is not refined: they may be of one grain, which any lattice fits."""
BEAM_SCATTER = 0.05
"""How far the direct beam strays from its middle, as a share of the frame."""
SEEN_SHARE = 0.5
"""Share of the patterns in which the direct beam must be seen; else it is behind a stop, and spots are taken for it."""
MOVED = 2.0
"""Pixels by which the direct beam must lie elsewhere than stated for it to be said."""


@dataclass(frozen=True)
class SelfCalibrationOptions:
    """How the geometry is searched and refined.

    Parameters
    ----------
    scale_range
        By how much the stated scale may be wrong, relative. It should be as wide as lattices that compete differ, so
        that the alternatives are found.
    scale_step
        Relative step of the search.
    centre_range
        By how many pixels the stated centre may be wrong, where no direct beam is seen.
    coarse_patterns, patterns
        So many patterns for the search, and for the refinement, those of the highest scores.
    starts
        So many local maxima of the search are refined.
    rounds
        Of refinement and matching, at most.
    capture
        Spots are looked for so many pixels from where they are expected, in the first round; half of that in the last.
    spots
        Of each pattern, the heaviest.
    shift_std
        Standard deviation of the direct beam about the centre that is given for a pattern, in pixels.
    grain_angle
        Degrees within which orientations belong to one grain.
    threads
        Number of threads; all cores if None.
    """

    scale_range: float = 0.07
    scale_step: float = 0.01
    centre_range: float = 4.0
    coarse_patterns: int = 64
    patterns: int = 200
    starts: int = 3
    rounds: int = 6
    capture: float = 3.5
    spots: int = 48
    shift_std: float = 0.3
    grain_angle: float = 3.0
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale_range <= 0.3:
            raise ValueError(f"scale_range: from 0 to 0.3, not {self.scale_range}.")
        if not 0.001 <= self.scale_step <= 0.05:
            raise ValueError(f"scale_step: from 0.001 to 0.05, not {self.scale_step}.")
        for name in ("coarse_patterns", "patterns", "starts", "rounds", "spots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: 1 or more, not {getattr(self, name)}.")
        if not 1.0 <= self.capture <= 20.0:
            raise ValueError(f"capture: from 1 to 20 pixels, not {self.capture}.")


def calibrate_on_patterns(
    patterns: ArrayLike,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    centres: ArrayLike | None = None,
    options: SelfCalibrationOptions | None = None,
) -> SelfCalibration:
    """Refine scale, centre and ellipse on patterns of a scan.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx): some hundreds, evenly over the scan, of as many grains as possible.
    bank
        Templates of all phases that may be there.
    geometry
        Approximate one; scan rotation and mirroring are kept.
    centres
        Column and row of the direct beam of each pattern, NaN where unknown, shape (B, 2). By default they are found by
        :func:`~hyperspy_assb.acom.patterns.preparation.find_centres`, and that of the geometry is taken where there is
        none.
    options
        See :class:`SelfCalibrationOptions`.

    Returns
    -------
    calibration
        See :class:`SelfCalibration`.

    Raises
    ------
    CalibrationError
        If too few patterns have spots that agree with a lattice.
    ValueError
        If shapes do not go together, or a centre lies outside of the frame.
    """
    o = options or SelfCalibrationOptions()
    patterns = checked_patterns(patterns)
    if not len(patterns):
        raise ValueError("patterns: none were given.")
    places = _places(patterns, geometry, centres, o)
    geometer = Geometer(bank, geometry, patterns.shape[1:], spots=o.spots, threads=o.threads)
    some = _evenly(len(patterns), max(o.coarse_patterns, 1))
    if centres is None:
        # Without a direct beam, what was found are spots, each pattern's own.
        stated = np.broadcast_to(np.asarray(geometry.centre, dtype=float), places.shape)
        starts, top = _search_scales(geometer, patterns[some], places[some], geometry, o)
        here = geometer.at(starts[0])
        if here.match(patterns[some], stated[some]).best.mean() > top:
            others, _ = _search_scales(geometer, patterns[some], stated[some], geometry, o)
            shift = _search_centre(geometer, patterns[some], stated[some], others[0], o)
            places = checked_centres(stated + shift, geometry, patterns.shape)
            starts, _ = _search_scales(geometer, patterns[some], places[some], geometry, o)
    else:
        starts, _ = _search_scales(geometer, patterns[some], places[some], geometry, o)
    # The patterns of the highest scores, at the best start.
    scores = geometer.at(starts[0]).match(patterns, places).best
    order = np.argsort(-scores, kind="stable")[: o.patterns]
    order = np.sort(order[scores[order] > 0.0])
    if len(order) < 1:
        raise CalibrationError(
            "patterns: none has spots outside of the direct beam; the geometry cannot be refined on them."
        )
    good, near = patterns[order], places[order]
    found: list[GeometryTrial] = []
    for start in starts:
        try:
            found.append(_refine(geometer, good, near, start, o, max((f.scores.mean() for f in found), default=0.0)))
        except CalibrationError:
            continue
    if not found:
        raise CalibrationError(
            f"patterns: no geometry within {100 * o.scale_range:g} % of the scale {geometry.scale:g} 1/Å per pixel "
            "makes spots agree with a phase of the bank; check the stated calibration and the phases."
        )
    return conclude(found, near, places, same_scale=SAME_SCALE * o.scale_step, flatness=flatness_of(bank))


def _places(
    patterns: NDArray[np.generic], geometry: PatternGeometry, centres: ArrayLike | None, o: SelfCalibrationOptions
) -> FloatArray:
    if centres is None:
        places = find_centres(patterns, threads=o.threads)
    else:
        places = np.array(centres, dtype=float)
        if places.shape != (len(patterns), 2):
            raise ValueError(f"centres: column and row for each of {len(patterns)} patterns, not {places.shape}.")
    unknown = ~np.isfinite(places).all(axis=1)
    # Where some are known, they tell more than what was stated.
    middle = np.asarray(geometry.centre) if unknown.all() else np.median(places[~unknown], axis=0)
    if centres is None and not unknown.all():
        # A spot that was taken for the direct beam.
        away = np.linalg.norm(places - middle, axis=1)
        unknown |= away > max(4.0, 6.0 * float(np.median(away[~unknown])))
    places[unknown] = middle
    return checked_centres(places, geometry, patterns.shape)


def _evenly(count: int, number: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, number)).round().astype(np.int64))


def _search_scales(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    geometry: PatternGeometry,
    o: SelfCalibrationOptions,
) -> tuple[list[PatternGeometry], float]:
    """Geometries at the local maxima of the mean score over the scale, the highest first, and that score."""
    half = int(np.ceil(o.scale_range / o.scale_step))
    factors = 1.0 + o.scale_step * np.arange(-half, half + 1)
    trials = [replace(geometry, scale=geometry.scale * float(factor)) for factor in factors]
    total = np.array([geometer.at(trial).match(patterns, places).best.mean() for trial in trials])
    padded = np.pad(total, 1, constant_values=-np.inf)
    tops = np.flatnonzero((total >= padded[:-2]) & (total > padded[2:]))
    tops = tops[np.argsort(-total[tops])][: o.starts]
    return [trials[i] for i in tops], float(total.max())


def _search_centre(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    geometry: PatternGeometry,
    o: SelfCalibrationOptions,
) -> FloatArray:
    """Shift of all centres within `centre_range` that gives the highest mean score, in pixels."""
    here = geometer.at(geometry)
    side = np.arange(-np.floor(o.centre_range / 2.0), np.floor(o.centre_range / 2.0) + 1) * 2.0
    trials = np.array([(x, y) for x in side for y in side])
    ny, nx = patterns.shape[1:]
    inside = [bool(((places + t > -0.5) & (places + t < (nx - 0.5, ny - 0.5))).all()) for t in trials]
    trials = trials[inside]
    total = [here.match(patterns, places + trial).best.mean() for trial in trials]
    return np.asarray(trials[int(np.argmax(total))])


def _refine(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    start: PatternGeometry,
    o: SelfCalibrationOptions,
    level: float = 0.0,
) -> GeometryTrial:
    """Match and fit in turn until the geometry stays; given up if the score stays far below a level."""
    geometry, shift = start, np.zeros(2)
    captures = np.linspace(o.capture, 0.5 * o.capture, max(o.rounds, 2))
    for k in range(o.rounds):
        here = geometer.at(geometry)
        matched = here.match(patterns, places + shift, refine=True)
        if k >= 2 and matched.best.mean() < HOPELESS * level:
            raise CalibrationError("patterns: far fewer spots agree than with another geometry.")
        moved = here.displacements(patterns, places + shift, matched, float(captures[k]))
        fit = fit_geometry(moved, geometry, shift_std=o.shift_std)
        change = abs(fit.geometry.scale / geometry.scale - 1.0) + float(np.abs(fit.matrix_change).max())
        geometry, shift = fit.geometry, shift + fit.shift
        if k >= 2 and change < SETTLED and np.abs(fit.shift).max() < SETTLED_SHIFT:
            break
    here = geometer.at(geometry)
    matched = here.match(patterns, places + shift, refine=True)
    grain = here.grains(matched, o.grain_angle)
    moved = here.displacements(patterns, places + shift, matched, float(captures[-1]))
    fit = fit_geometry(moved, geometry, shift_std=o.shift_std, grain=grain)
    return GeometryTrial(
        fit.geometry,
        shift + fit.shift,
        fit.covariance,
        matched.best,
        matched.phase,
        grain,
        fit.residual,
        fit.spots,
    )


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
            return np.tile(np.asarray(self.geometry.centre, dtype=float), (len(patterns), 1))
        return self.beam.find(patterns)


def calibrate_scan(
    sample: NDArray[Any], bank: TemplateBank, geometry: PatternGeometry, *, centre_stated: bool
) -> ScanCalibration:
    """Find the direct beam in a sample of the patterns of a scan, and refine the geometry on it where that is possible.

    Parameters
    ----------
    sample
        Patterns evenly over the scan, shape (B, ny, nx).
    bank
        Templates of all phases that may be there.
    geometry
        As it is stated.
    centre_stated
        Whether its centre is known from what was recorded, not taken to be the middle of the frame.
    """
    located = _locate_beam(sample, geometry, centre_stated=centre_stated)
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
            "pixel): LiFePO4 and FePO4 differ like two camera lengths. Calibrate on a known phase.",
        )
    beam = None if located.beam is None else replace(located.beam, shift=(float(found.shift[0]), float(found.shift[1])))
    return replace(located, geometry=found.geometry, beam=beam, notes=notes)


def _locate_beam(sample: NDArray[Any], geometry: PatternGeometry, *, centre_stated: bool) -> ScanCalibration:
    """The place of the direct beam; where few of the patterns show it, what is stated holds for all."""
    centres = find_centres(sample, expected=geometry.centre if centre_stated else None)
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
