"""Indexing of blocks of patterns: matching, refinement and posterior in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.pseudo_symmetry import pseudo_symmetric_angle, zone_axes_of
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, PatternStatus
from hyperspy_assb.acom.matching.matcher import MatchArrays, Matcher, MatchOptions
from hyperspy_assb.acom.matching.posterior import (
    PhaseWeigher,
    PosteriorOptions,
    probabilities,
    relative_scale_std,
    reliability,
)
from hyperspy_assb.acom.matching.refinement import Refined, RefineOptions, Refiner
from hyperspy_assb.acom.matching.second_look import Looked, SecondLook
from hyperspy_assb.acom.patterns.bright_spots import SpotFinder
from hyperspy_assb.acom.patterns.direct_beam import checked_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.acom.patterns.polar import LEAST_SIGMA, PreparedBlock, exposure
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

PSEUDO_SYMMETRIC = 5.0
"""Degrees from half a turn about the beam or a zone axis within which an orientation is a twin of another one."""
SCALE_STEP = 0.02
"""Relative distance of the scales at which orientations are searched."""
SCALE_CAPTURE = 0.01
"""Relative error of the scale within which the right orientation of an olivine is found all the same."""
SPOT_SIGMA = 1.7
"""Standard deviation of a spot over that of the smoothing, where the direct beam does not tell it."""


@dataclass(frozen=True)
class IndexingOptions:
    """How patterns are indexed.

    Parameters
    ----------
    match
        Of the search on the grid of the bank.
    refine
        Of the refinement; None keeps orientations on the grid of the bank.
    posterior
        Of the probabilities of phases.
    min_counts
        Patterns with a smaller sum beyond the direct beam are empty; in electrons, if the scan was converted to
        electrons.
    saturation
        Counts at which the detector is saturated; None takes the largest value of an integer type, and none for
        floating point.
    saturated_pixels
        So many saturated pixels beyond the direct beam mark a pattern.

    Examples
    --------
    Without refinement, for a quick look:

    >>> from hyperspy_assb.acom import IndexingOptions
    >>> IndexingOptions(refine=None).saturated_pixels
    10
    """

    match: MatchOptions = field(default_factory=MatchOptions)
    refine: RefineOptions | None = field(default_factory=RefineOptions)
    posterior: PosteriorOptions = field(default_factory=PosteriorOptions)
    min_counts: float = 20.0
    saturation: float | None = None
    saturated_pixels: int = 10


def scale_factors(scale_std: float) -> FloatArray:
    """Scales at which orientations are searched, 1 first: two standard errors either way."""
    reach = 2.0 * scale_std
    steps = int(np.ceil(max(reach - SCALE_CAPTURE, 0.0) / SCALE_STEP - 1e-9))
    factors = 1.0 + np.linspace(-reach, reach, 2 * steps + 1) if steps else np.ones(1)
    return np.asarray(factors[np.argsort(np.abs(factors - 1.0), kind="stable")])


@dataclass(frozen=True)
class IndexedPatterns:
    """What indexing finds in B patterns with P phases offered.

    Parameters
    ----------
    phase
        Most probable phase, :data:`~hyperspy_assb.acom.matching.indexed.NOT_INDEXED` where a pattern is empty, shape
        (B,).
    orientation
        Specimen to crystal of that phase, NaN where not indexed, shape (B, 4).
    correlation
        Its score, 0 to 1, shape (B,).
    reliability
        Of the orientation against the next one of the same phase, Friedel twins left out, 0 to 100, shape (B,).
    twin_reliability
        The same against what half a turn about the beam, or about a zone axis near it, makes of the orientation: low
        where the pattern hardly tells them apart, shape (B,).
    phase_reliability
        Of the phase against the next one, 0 to 100, shape (B,).
    phase_scores, phase_orientations
        Of every phase, shapes (B, P) and (B, P, 4).
    posterior
        Probability of each phase given that one of them is there, NaN where not indexed, shape (B, P).
    lattice_scale
        a, b, c relative to those of the phase, NaN where not refined, shape (B, 3).
    shift
        By how many pixels the direct beam was found to lie farther along columns and rows, shape (B, 2).
    crystalline_score
        Best score on the grid of the bank, shape (B,).
    status
        INDEXED, EMPTY or SATURATED (indexed nevertheless), see
        :class:`~hyperspy_assb.acom.matching.indexed.PatternStatus`, shape (B,).
    tied_orientation, tied_score
        Of that phase: the next best ones, see :class:`~hyperspy_assb.acom.matching.refinement.Refined`, shapes
        (B, T, 4) and (B, T).
    looked
        What the answers explain, and second ones.
    """

    phase: NDArray[np.int64]
    orientation: FloatArray
    correlation: FloatArray
    reliability: FloatArray
    twin_reliability: FloatArray
    phase_reliability: FloatArray
    phase_scores: FloatArray
    phase_orientations: FloatArray
    posterior: FloatArray
    lattice_scale: FloatArray
    shift: FloatArray
    crystalline_score: FloatArray
    status: NDArray[np.int64]
    tied_orientation: FloatArray
    tied_score: FloatArray
    looked: Looked

    @classmethod
    def join(cls, parts: list[IndexedPatterns]) -> IndexedPatterns:
        """Several blocks, one after the other."""
        names = [f.name for f in fields(cls) if f.name != "looked"]
        joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**joined, looked=Looked.join([part.looked for part in parts]))


class Indexer:
    """A bank laid out for patterns of one shape and geometry, for use on many blocks of them.

    Parameters are those of :func:`index_patterns`, and the rows and columns of a pattern; standard deviation in pixels
    of a spot (None: about that of the smoothing), and the variance of counts over their mean.
    """

    def __init__(
        self,
        bank: TemplateBank,
        geometry: PatternGeometry,
        shape: tuple[int, int],
        *,
        options: IndexingOptions | None = None,
        spot_sigma: float | None = None,
        gain: float = 1.0,
    ) -> None:
        self.options = options or IndexingOptions()
        self.bank = bank
        self.geometry = geometry
        scale_std = relative_scale_std(geometry, self.options.posterior)
        self.matchers = [
            Matcher(bank, replace(geometry, scale=geometry.scale * factor), shape, options=self.options.match)
            for factor in scale_factors(scale_std)
        ]
        self.matcher = self.matchers[0]
        # Without refinement, rounds = 0: the score of all spots at the orientation of the grid.
        refine = self.options.refine or RefineOptions(rounds=0)
        uncertain = scale_std if len(self.matchers) > 1 else 0.0
        self.refiner = Refiner(
            bank.phases,
            bank.diffraction,
            bank.resolution,
            geometry,
            self.matcher.grid,
            weighting=self.options.match.weighting,
            scale_std=uncertain,
            options=refine,
        )
        self.weigher = PhaseWeigher(
            self.refiner, geometry, self.matcher.preparation.spot_sigma, options=self.options.posterior
        )
        sigma = max(SPOT_SIGMA * self.matcher.preparation.spot_sigma if spot_sigma is None else spot_sigma, LEAST_SIGMA)
        finder = SpotFinder(geometry, self.matcher.grid, sigma, gain=gain)
        self.second_look = SecondLook(bank, self.matcher, self.refiner, self.weigher.weigh_block, finder)

    @property
    def refines_lattice(self) -> bool:
        """Whether lattice parameters are refined."""
        return self.options.refine is not None and self.options.refine.lattice > 0

    def index(self, patterns: NDArray[Any], *, centres: FloatArray | None = None) -> IndexedPatterns:
        """Index patterns that were checked, shape (B, ny, nx); see :func:`index_patterns`."""
        if patterns.shape[1:] != self.matcher.shape:
            raise AssbValueError(f"patterns: {self.matcher.shape} rows and columns, not {patterns.shape[1:]}.")
        places = self.geometry.centres(len(patterns)) if centres is None else centres
        count, phases = len(patterns), len(self.bank.phases)
        found = MatchArrays.empty(count, phases, max(self.options.match.n_best, 2))
        refined = Refined.empty(count, phases)
        evidence = np.full((count, phases), -np.inf)
        looked = Looked.empty(count, phases)
        empty = np.zeros(count, dtype=np.bool_)
        saturated = np.zeros(count, dtype=np.bool_)
        level = np.inf if self.options.saturation is None else self.options.saturation
        if self.options.saturation is None and patterns.dtype.kind in "iu" and patterns.dtype.itemsize < 4:
            level = float(np.iinfo(patterns.dtype).max)

        def work(begin: int, end: int) -> None:
            part = slice(begin, end)
            block = self.matcher.preparation.prepare(patterns[part], places[part], begin)
            empty[part], saturated[part] = self._exposure(block, level)
            block.power[empty[part]] = 0.0
            here = found.part(begin, end)
            self.matcher.search_block(block, here)
            for matcher in self.matchers[1:]:
                other = matcher.preparation.prepare(patterns[part], places[part])
                other.power[empty[part]] = 0.0
                there = MatchArrays.empty(end - begin, phases, found.score.shape[2] - 1)
                matcher.search_block(other, there)
                here.take_better(there)
            better = refined.part(begin, end)
            self.refiner.refine_block(block, here.orientation, here.score, better)
            self.weigher.weigh_block(block, better, evidence[part])
            self.second_look.look_block(block, better, evidence[part], looked.part(begin, end))

        in_threads(work, count, self.options.match.threads)
        return self._result(found, refined, evidence, saturated, looked)

    def _exposure(self, block: PreparedBlock, level: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which patterns are empty, and which saturated, beyond the direct beam."""
        matrix = self.geometry.scale * self.geometry.straightening
        counts, full = np.empty(len(block.power)), np.empty(len(block.power), dtype=np.int64)
        exposure(block.patterns, block.centres, matrix, self.matcher.grid.min_radius, level, counts, full)
        return counts < self.options.min_counts, full >= self.options.saturated_pixels

    def _result(
        self,
        found: MatchArrays,
        refined: Refined,
        evidence: FloatArray,
        saturated: NDArray[np.bool_],
        looked: Looked,
    ) -> IndexedPatterns:
        posterior = probabilities(evidence)
        indexed = np.asarray(np.isfinite(evidence).any(axis=1))
        phase = np.where(indexed, np.argmax(evidence, axis=1), NOT_INDEXED)
        at = np.arange(len(phase)), np.maximum(phase, 0)
        scores = refined.score
        own = np.where(indexed, scores[at], 0.0)
        others = scores.copy()
        others[at] = 0.0
        first, second = found.score[..., 0][at], found.score[..., 1][at]
        orientation = np.where(indexed[:, None], refined.orientation[at], np.nan)
        tied = np.where(indexed[:, None, None], refined.tied_orientation[at], np.nan)
        status = np.where(saturated, PatternStatus.SATURATED, PatternStatus.INDEXED)
        return IndexedPatterns(
            phase=phase,
            orientation=orientation,
            correlation=own,
            reliability=np.where(indexed, reliability(first, second), np.nan),
            twin_reliability=np.where(indexed, self._twin_reliability(found, refined, at), np.nan),
            phase_reliability=np.where(indexed, reliability(own, others.max(axis=1)), np.nan),
            phase_scores=scores,
            phase_orientations=refined.orientation,
            posterior=posterior,
            lattice_scale=np.where(
                np.asarray(indexed[:, None]) & self.refines_lattice,
                refined.lattice_scale[at],
                np.nan,
            ),
            shift=np.where(indexed[:, None], refined.shift[at], 0.0),
            crystalline_score=found.score[..., 0].max(axis=1),
            status=np.where(indexed, status, PatternStatus.EMPTY).astype(np.int64),
            tied_orientation=tied,
            tied_score=np.where(indexed[:, None], refined.tied_score[at], 0.0),
            looked=looked,
        )

    def _twin_reliability(self, found: MatchArrays, refined: Refined, at: tuple[Any, Any]) -> FloatArray:
        """Against the best pseudo-symmetric orientation that was refined; where there is none, on the grid."""
        best, phase = refined.orientation[at], at[1]
        twin = np.zeros(refined.tied_score[at].shape)
        for p, crystal in enumerate(self.bank.phases):
            for k in range(twin.shape[1]):
                tied = refined.tied_orientation[:, p, k]
                here = (phase == p) & np.isfinite(tied).all(axis=1)
                angle = pseudo_symmetric_angle(best[here], tied[here], symmetry_of(crystal), zone_axes_of(crystal))
                twin[here, k] = np.where(angle < PSEUDO_SYMMETRIC, refined.tied_score[here, p, k], 0.0)
        twin_score = twin.max(axis=1)
        on_grid = reliability(found.score[..., 0][at], found.score[..., -1][at])
        return np.where(twin_score > 0.0, reliability(refined.score[at], twin_score), on_grid)


def index_patterns(
    patterns: ArrayLike,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    centres: ArrayLike | None = None,
    options: IndexingOptions | None = None,
) -> IndexedPatterns:
    """Find phase and orientation in patterns, how sure they are, and lattice parameters if asked for.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    bank
        Templates of the phases that are offered.
    geometry
        Where reciprocal space lies on the detector. Its standard errors go into the posterior.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2); that of the geometry if None.
    options
        How they are indexed.

    Returns
    -------
    indexed
        See :class:`IndexedPatterns`.

    Raises
    ------
    ValueError
        If shapes do not go together, a centre lies outside of the frame, counts are not finite, or no template has a
        spot within the frame.
    """
    patterns = checked_patterns(patterns)
    indexer = Indexer(bank, geometry, patterns.shape[1:], options=options)
    return indexer.index(patterns, centres=checked_centres(centres, geometry, patterns.shape))
