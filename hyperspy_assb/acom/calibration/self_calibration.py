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

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.calibration.geometry_fit import (
    CalibrationError,
    Displacements,
    GeometryTrial,
    SelfCalibration,
    conclude,
    fit_geometry,
    flatness_of,
    locate_spots,
)
from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.frames import multiply
from hyperspy_assb.acom.matching.matcher import MatchArrays, Matcher, MatchOptions
from hyperspy_assb.acom.matching.refinement import Refined, RefineOptions, Refiner
from hyperspy_assb.acom.matching.refinement_kernels import desk_for
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.polar import PreparedBlock
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

_BEGINNINGS = 3
"""How often the search begins anew about a better scale, at most."""
HOPELESS = 0.75
"""A geometry whose mean score stays below this share of that of another one is not refined to its end."""


SAME_SCALE = 0.3
"""Geometries whose scales differ by less than so many steps of the search are one."""
SETTLED, SETTLED_SHIFT = 1e-4, 0.02
"""Relative change of the geometry and shift in pixels at which the refinement ends: far below their errors."""

_REFINE = RefineOptions(rounds=3, candidates=0.95)
"""Few candidates: it is the geometry that is looked for, from many patterns."""
_FEW, _QUICK = 16, 2
"""Patterns that tell about which scale to search, if there are so many times as many."""
_LOOKED_AROUND = 2
"""Coarse templates of each phase that are looked around in while scales are searched."""
_SEARCHED = 2
"""Rounds in which orientations are searched anew; after that the geometry hardly changes, and they are refined only."""


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
            raise AssbValueError(f"scale_range: from 0 to 0.3, not {self.scale_range}.")
        if not 0.001 <= self.scale_step <= 0.05:
            raise AssbValueError(f"scale_step: from 0.001 to 0.05, not {self.scale_step}.")
        for name in ("coarse_patterns", "patterns", "starts", "rounds", "spots"):
            if getattr(self, name) < 1:
                raise AssbValueError(f"{name}: 1 or more, not {getattr(self, name)}.")
        if not 1.0 <= self.capture <= 20.0:
            raise AssbValueError(f"capture: from 1 to 20 pixels, not {self.capture}.")


def calibrate_on_patterns(
    patterns: NDArray[Any],
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    centres: FloatArray,
    options: SelfCalibrationOptions | None = None,
) -> SelfCalibration:
    """Refine scale, centre and ellipse on patterns of a scan.

    Parameters
    ----------
    patterns
        Checked ones, shape (B, ny, nx): some hundreds, evenly over the scan, of as many grains as possible.
    bank
        Templates of all phases that may be there.
    geometry
        Approximate one; scan rotation and mirroring are kept.
    centres
        Column and row of the direct beam of each pattern, shape (B, 2).
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
        If there are no patterns, or their counts are not finite.
    """
    o = options or SelfCalibrationOptions()
    if not len(patterns):
        raise AssbValueError("patterns: none were given.")
    stated = geometry.scale
    geometry = replace(geometry, scale=_on_ladder(stated, o))
    for turn in range(_BEGINNINGS):
        # Once scales have been refined, their scores count, not those on the grid of the bank.
        trials, near, begun = _trials(patterns, bank, geometry, centres, o, follow=turn == 0)
        if not trials:
            raise CalibrationError(
                f"patterns: no geometry within {100 * o.scale_range:g} % of the scale {stated:g} 1/Å per pixel makes "
                "spots agree with a phase of the bank; check the stated calibration and the phases."
            )
        best = _on_ladder(max(trials, key=lambda f: float(f.scores.mean())).geometry.scale, o)
        if abs(np.log(best / begun.scale)) < 1.5 * o.scale_step:
            break
        geometry = replace(geometry, scale=best)
    return conclude(trials, near, centres, same_scale=SAME_SCALE * o.scale_step, flatness=flatness_of(bank.diffraction))


def _on_ladder(scale: float, o: SelfCalibrationOptions) -> float:
    """The nearest of the scales that are tried: they do not depend on what was stated."""
    return float(np.exp(o.scale_step * np.rint(np.log(scale) / o.scale_step)))


def _trials(
    patterns: NDArray[Any],
    bank: TemplateBank,
    geometry: PatternGeometry,
    centres: FloatArray,
    o: SelfCalibrationOptions,
    *,
    follow: bool,
) -> tuple[list[GeometryTrial], FloatArray, PatternGeometry]:
    """Geometries refined from the local maxima of the score about a scale; centres of the patterns; where it began.

    If told to follow, the polar grid and the alternatives lie about the scale of the highest score, not about the one
    that was stated: what is found, and its error, is then the same wherever the search began.
    """
    some = _evenly(len(patterns), max(o.coarse_patterns, 1))
    # A few of them tell about which scale the search lies, all of them what it finds there.
    looks = [some] * _BEGINNINGS
    if follow and len(some) >= _FEW * _QUICK:
        looks.insert(0, some[:: len(some) // _FEW])
    for look in looks:
        geometer = Geometer(bank, geometry, patterns.shape[1:], spots=o.spots, threads=o.threads)
        starts = _search_scales(geometer, patterns[look], centres[look], geometry, o)
        if len(look) < len(some):
            geometry = starts[0]
            continue
        if not follow or abs(np.log(starts[0].scale / geometry.scale)) < 0.5 * o.scale_step:
            break
        geometry = starts[0]
    # The patterns of the highest scores, at the best start.
    scores = geometer.at(starts[0]).match(patterns, centres).best
    order = np.argsort(-scores, kind="stable")[: o.patterns]
    order = np.sort(order[scores[order] > 0.0])
    if len(order) < 1:
        raise CalibrationError(
            "patterns: none has spots outside of the direct beam; the geometry cannot be refined on them."
        )
    good, near = patterns[order], centres[order]
    found: list[GeometryTrial] = []
    for start in starts:
        try:
            found.append(_refine(geometer, good, near, start, o, max((f.scores.mean() for f in found), default=0.0)))
        except CalibrationError:
            continue
    return found, near, geometry


def _evenly(count: int, number: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, number)).round().astype(np.int64))


def _search_scales(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    geometry: PatternGeometry,
    o: SelfCalibrationOptions,
) -> list[PatternGeometry]:
    """Geometries at the local maxima of the mean score over the scale, the highest first."""
    half = int(np.ceil(o.scale_range / o.scale_step))
    factors = np.exp(o.scale_step * np.arange(-half, half + 1))
    trials = [replace(geometry, scale=geometry.scale * float(factor)) for factor in factors]
    matcher = copy.copy(geometer.matcher)
    matcher.options = replace(matcher.options, keep=_LOOKED_AROUND)
    total = np.array([_mean_score(matcher.at(trial), patterns, places) for trial in trials])
    padded = np.pad(total, 1, constant_values=-np.inf)
    tops = np.flatnonzero((total >= padded[:-2]) & (total > padded[2:]))
    tops = tops[np.argsort(-total[tops], kind="stable")][: o.starts]
    return [trials[i] for i in tops]


def _mean_score(matcher: Matcher, patterns: NDArray[np.generic], places: FloatArray) -> float:
    return float(np.maximum(matcher.match(patterns, centres=places).phase_scores, 0.0).max(axis=1).mean())


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
    known: Matched | None = None
    for k in range(o.rounds):
        here = geometer.at(geometry)
        known, moved = here.locate(
            patterns, places + shift, float(captures[k]), known=known if k >= _SEARCHED else None
        )
        if k >= 2 and known.best.mean() < HOPELESS * level:
            raise CalibrationError("patterns: far fewer spots agree than with another geometry.")
        fit = fit_geometry(moved, geometry, shift_std=o.shift_std)
        change = abs(fit.geometry.scale / geometry.scale - 1.0) + float(np.abs(fit.matrix_change).max())
        geometry, shift = fit.geometry, shift + fit.shift
        if k >= 2 and change < SETTLED and np.abs(fit.shift).max() < SETTLED_SHIFT:
            break
    here = geometer.at(geometry)
    matched, moved = here.locate(patterns, places + shift, float(captures[-1]))
    grain = here.grains(matched, o.grain_angle)
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
class Matched:
    """Best score (B,), its phase (B,) and orientation (B, 4) of patterns; scores (B, P) and orientations (B, P, 4) of
    all phases."""

    best: FloatArray
    phase: NDArray[np.int64]
    orientation: FloatArray
    scores: FloatArray
    orientations: FloatArray

    @classmethod
    def of(cls, scores: FloatArray, orientations: FloatArray) -> Matched:
        """The best of all phases."""
        phase = np.where(scores.max(axis=1) > 0.0, np.argmax(scores, axis=1), -1)
        orientation = orientations[np.arange(len(scores)), np.maximum(phase, 0)]
        return cls(scores.max(axis=1), phase, orientation, scores, orientations)


class Geometer:
    """A bank laid out once, for patterns seen with one geometry after another.

    Parameters
    ----------
    bank
        Templates.
    geometry
        To begin with.
    shape
        Rows and columns of a pattern.
    spots
        Of each pattern, the heaviest, whose places are looked for.
    threads
        Number of threads; all cores if None.
    """

    def __init__(
        self,
        bank: TemplateBank,
        geometry: PatternGeometry,
        shape: tuple[int, int],
        *,
        spots: int,
        threads: int | None = None,
    ) -> None:
        self.spots = spots
        self.threads = threads
        self.phases = len(bank.phases)
        self.matcher = Matcher(bank, geometry, shape, options=MatchOptions(threads=threads))
        self.refiner = Refiner(
            bank.phases, bank.diffraction, bank.resolution, geometry, self.matcher.grid, options=_REFINE
        )
        # Half turns leave spots where they are, and small tilts about the best orientation nearly so.
        ties = self.refiner.ties
        self.refiner.ties = ties._replace(axes_begin=np.zeros_like(ties.axes_begin), tilts=np.zeros((0, 2)))
        self._symmetry = [symmetry_of(phase) for phase in bank.phases]

    def at(self, geometry: PatternGeometry) -> Geometer:
        """The same for another geometry; templates do not depend on it."""
        other = copy.copy(self)
        other.matcher = self.matcher.at(geometry)
        other.refiner = self.refiner.at(geometry)
        return other

    def match(self, patterns: NDArray[Any], places: FloatArray) -> Matched:
        """Best phase and orientation of patterns, on the grid of the bank."""
        found = MatchArrays.empty(len(patterns), self.phases, 2)

        def work(begin: int, end: int) -> None:
            self.matcher.search(patterns, places, begin, found.part(begin, end))

        in_threads(work, len(patterns), self.threads)
        return Matched.of(np.maximum(found.score[:, :, 0], 0.0), found.orientation[:, :, 0])

    def locate(
        self, patterns: NDArray[Any], places: FloatArray, capture: float, *, known: Matched | None = None
    ) -> tuple[Matched, Displacements]:
        """Refined orientations of patterns, and where their spots are, as far as found within `capture` pixels.

        Orientations are searched, or begin from those that are known.
        """
        count, phases = len(patterns), self.phases
        found, refined = MatchArrays.empty(count, phases, 2), Refined.empty(count, phases)
        if known is not None:
            found.orientation[:, :, 0], found.score[:, :, 0] = known.orientations, known.scores
        table = np.full((count, self.spots, 5), np.nan)

        def work(begin: int, end: int) -> None:
            here, better = found.part(begin, end), refined.part(begin, end)
            block = self.matcher.preparation.prepare(patterns[begin:end], places[begin:end], begin)
            if known is None:
                self.matcher.search_block(block, here)
            self.refiner.refine_block(block, here.orientation, here.score, better)
            self._spots(block, Matched.of(better.score, better.orientation), capture, table[begin:end])

        in_threads(work, count, self.threads)
        seen = np.isfinite(table[..., 4])
        rows = table[seen]
        moved = Displacements(np.nonzero(seen)[0], rows[:, :2], rows[:, 2:4], rows[:, 4])
        return Matched.of(refined.score, refined.orientation), moved

    def _spots(self, block: PreparedBlock, matched: Matched, capture: float, out: FloatArray) -> None:
        desk = desk_for(self.refiner.lattices)
        for b in range(len(out)):
            p, flat = matched.phase[b], block.flat[b]
            if p < 0 or not np.isfinite(matched.orientation[b]).all():
                continue
            noise = 1.4826 * float(np.median(np.abs(flat[flat != 0.0]))) if flat.any() else 0.0
            if noise <= 0.0:
                continue
            locate_spots(
                block.images[b],
                block.means[b],
                noise,
                block.centres[b, 0],
                block.centres[b, 1],
                matched.orientation[b],
                self.refiner.lattices,
                p,
                self.refiner.optics,
                capture,
                self.matcher.preparation.spot_sigma,
                desk,
                out[b],
            )

    def grains(self, matched: Matched, angle: float) -> NDArray[np.int64]:
        """Numbers of groups of patterns of one phase and, but for an angle in degrees, one orientation."""
        label = np.full(len(matched.phase), -1, dtype=np.int64)
        limit = np.cos(np.radians(angle) / 2.0)
        number = 0
        for b in range(len(label)):
            if label[b] >= 0 or matched.phase[b] < 0:
                continue
            others = np.flatnonzero((label < 0) & (matched.phase == matched.phase[b]))
            equivalent = multiply(self._symmetry[matched.phase[b]], matched.orientation[b][None])
            close = np.abs(matched.orientation[others] @ equivalent.T).max(axis=1) >= limit
            label[others[close]] = number
            label[b] = number
            number += 1
        label[label < 0] = number + np.arange(int((label < 0).sum()))
        return label
