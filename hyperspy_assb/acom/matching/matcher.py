"""Template matching: every orientation of every phase against every pattern."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.frames import turn_pattern
from hyperspy_assb.acom.matching.search import (
    PROMOTED,
    UNTRIED,
    CoarseBank,
    PolarTemplates,
    around,
    best_coarse,
    coarse_bank,
    halved,
    polar_templates,
    promoted,
    rank,
    sweeper,
    to_integers,
)
from hyperspy_assb.acom.patterns.direct_beam import checked_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.acom.patterns.polar import PolarGrid, Preparation, PreparedBlock, polar_grid
from hyperspy_assb.acom.templates.bank import SpotWeighting, TemplateBank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

AROUND_TWIN = 1.5
"""Orientations within so many separations of the Friedel twin of the best one count as near it."""


@dataclass(frozen=True)
class MatchOptions:
    """How patterns and templates are compared.

    Parameters
    ----------
    spots
        Of each template, the heaviest.
    intensity_power, radius_power
        Spots are weighted with ``I**intensity_power * q**radius_power``.
    azimuths
        In-plane angles of a full turn, a multiple of 32.
    min_radius
        1/Å; what lies closer to the direct beam is not looked at.
    smoothing
        Standard deviation in pixels of a Gaussian that patterns are smoothed with; about the size of a cell of the
        polar grid if None.
    coarse
        Degrees between the templates that are tried first, with half of the azimuths, and the best of them with all;
        None tries all templates at once.
    keep
        So many of those of each phase are looked around in, with the full resolution.
    n_best
        Orientations of each phase to report.
    separation
        Degrees by which they differ at least.
    threads
        Number of threads; all cores if None.
    """

    spots: int = 32
    intensity_power: float = SpotWeighting().intensity
    radius_power: float = SpotWeighting().radius
    azimuths: int = 192
    min_radius: float = 0.1
    smoothing: float | None = None
    coarse: float | None = 3.0
    keep: int = 12
    n_best: int = 2
    separation: float = 5.0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("spots", 1), ("keep", 1), ("n_best", 1)):
            if getattr(self, name) < least:
                raise AssbValueError(f"{name}: at least {least}, not {getattr(self, name)}.")
        if self.azimuths < 32 or self.azimuths % 32:
            raise AssbValueError(f"azimuths: a multiple of 32, not {self.azimuths}.")
        if self.coarse is not None and not 0.0 < self.coarse <= 15.0:
            raise AssbValueError(f"coarse: above 0 and up to 15 degrees, or None, not {self.coarse}.")
        if not self.min_radius > 0.0:
            raise AssbValueError(f"min_radius: above 0 1/Å, not {self.min_radius}.")

    @property
    def weighting(self) -> SpotWeighting:
        """Of the spots."""
        return SpotWeighting(self.intensity_power, self.radius_power)


@dataclass(frozen=True)
class Matches:
    """What B patterns look most like, for each of P phases; n orientations of each, best first.

    Parameters
    ----------
    template
        Index into the bank, -1 where there is none, shape (B, P, n).
    azimuth
        By how much the template is turned, radians from +x towards +y, shape (B, P, n).
    mirrored
        Whether the template is mirrored first (y reversed), shape (B, P, n).
    score
        Normalised correlation of the pattern (square root, mean of each radius removed) with the template, up to 1;
        0 where there is no template, shape (B, P, n).
    orientation
        Specimen to crystal, NaN where there is none, shape (B, P, n, 4).
    twin_orientation, twin_score
        Best orientation near the Friedel twin of the best one (that of the pattern turned by 180 degrees, which
        reflections of the zero-order Laue zone alone cannot tell apart), NaN where that is the same orientation, and
        its score, shapes (B, P, 4) and (B, P).
    phase
        Phase of the highest score, -1 where no pattern is (no contrast outside of the direct beam), shape (B,).
    """

    template: NDArray[np.int64]
    azimuth: FloatArray
    mirrored: NDArray[np.bool_]
    score: FloatArray
    orientation: FloatArray
    twin_orientation: FloatArray
    twin_score: FloatArray
    phase: NDArray[np.int64]

    @property
    def phase_scores(self) -> FloatArray:
        """Best score of each phase, shape (B, P)."""
        return self.score[:, :, 0]

    @property
    def phase_orientations(self) -> FloatArray:
        """Best orientation of each phase, shape (B, P, 4)."""
        return self.orientation[:, :, 0]


class Matcher:
    """A bank laid out for patterns of one shape and geometry, for use on many blocks of them.

    Parameters
    ----------
    bank
        Templates.
    geometry
        Scale, ellipse and scan rotation; the centre where patterns do not have their own.
    shape
        Rows and columns of a pattern.
    options
        How to compare.
    grid
        Polar grid; by default the one of :func:`~hyperspy_assb.acom.patterns.polar.polar_grid`.

    Raises
    ------
    ValueError
        If no template has a spot within the frame.
    """

    def __init__(
        self,
        bank: TemplateBank,
        geometry: PatternGeometry,
        shape: tuple[int, int],
        *,
        options: MatchOptions | None = None,
        grid: PolarGrid | None = None,
    ) -> None:
        self.bank = bank
        self.geometry = geometry
        self.shape = (int(shape[0]), int(shape[1]))
        self.options = options or MatchOptions()
        self.grid = grid or polar_grid(
            self.shape,
            geometry,
            max_radius=bank.max_radius,
            min_radius=self.options.min_radius,
            azimuths=self.options.azimuths,
        )
        self.templates: PolarTemplates = polar_templates(
            bank, self.grid, spots=self.options.spots, weighting=self.options.weighting
        )
        if not self.templates.norm.any():
            raise AssbValueError(
                f"bank: no template has a spot between {self.grid.min_radius:.3g} and {self.grid.radius[-1]:.3g} 1/Å; "
                "check the scale (1/Å per pixel)."
            )
        if self.options.coarse is not None and self.options.coarse > bank.resolution:
            self.coarse = coarse_bank(bank, self.options.coarse)
        else:
            nothing = np.zeros(0, dtype=np.int64)
            self.coarse = CoarseBank(np.arange(len(self.templates.norm)), nothing, nothing)
        self.preparation = Preparation(geometry, self.grid, self.options.smoothing)

    def at(self, geometry: PatternGeometry) -> Matcher:
        """The same for another geometry, on the same grid: templates do not depend on it."""
        other = copy.copy(self)
        other.geometry = geometry
        other.preparation = Preparation(geometry, self.grid, self.preparation.sigma)
        return other

    def match(self, patterns: NDArray[Any], *, centres: FloatArray | None = None) -> Matches:
        """Match patterns that were checked, shape (B, ny, nx); see :func:`match_patterns`."""
        if patterns.shape[1:] != self.shape:
            raise AssbValueError(f"patterns: {self.shape[0]} x {self.shape[1]} pixels, not {patterns.shape[1:]}.")
        places = self.geometry.centres(len(patterns)) if centres is None else centres
        found = MatchArrays.empty(len(patterns), len(self.bank.phases), self.options.n_best)

        def work(begin: int, end: int) -> None:
            self.search(patterns, places, begin, found.part(begin, end))

        in_threads(work, len(patterns), self.options.threads)
        known = found.template[:, :, 0] >= 0
        return Matches(
            template=found.template[:, :, :-1],
            azimuth=found.azimuth[:, :, :-1],
            mirrored=found.mirrored[:, :, :-1],
            score=found.score[:, :, :-1],
            orientation=found.orientation[:, :, :-1],
            twin_orientation=found.orientation[:, :, -1],
            twin_score=found.score[:, :, -1],
            phase=np.where(known.any(axis=1), np.argmax(found.score[:, :, 0], axis=1), -1),
        )

    def match_turned(self, patterns: NDArray[Any], places: FloatArray, turns: NDArray[np.int64]) -> FloatArray:
        """Best scores of patterns that were checked, each of whose rings is turned.

        Parameters
        ----------
        patterns
            Shape (B, ny, nx).
        places
            Column and row of the direct beam of each, shape (B, 2).
        turns
            By how many azimuths each of R radii is turned in each of some draws, shape (draws, R).

        Returns
        -------
        scores
            Shape (B, draws).
        """
        scores = np.zeros((len(patterns), len(turns)))
        columns = np.arange(self.grid.azimuths)

        def work(begin: int, end: int) -> None:
            block = self._prepare(patterns, places, begin, end)
            flat = block.flat.copy()
            for k, turn in enumerate(turns):
                shifted = (columns[None, :] + turn[:, None]) % self.grid.azimuths
                for b in range(end - begin):
                    block.flat[b] = np.take_along_axis(flat[b], shifted, axis=1)
                found = MatchArrays.empty(end - begin, len(self.bank.phases), 1)
                self.search_block(block, found)
                scores[begin:end, k] = np.maximum(found.score[:, :, 0], 0.0).max(axis=1)

        in_threads(work, len(patterns), self.options.threads)
        return scores

    def search(self, patterns: NDArray[Any], places: FloatArray, begin: int, found: MatchArrays) -> PreparedBlock:
        """Prepare and search some of the patterns, from one on as many as `found` has room for, in this thread."""
        block = self._prepare(patterns, places, begin, begin + len(found.template))
        self.search_block(block, found)
        return block

    def _prepare(self, patterns: NDArray[Any], places: FloatArray, begin: int, end: int) -> PreparedBlock:
        return self.preparation.prepare(patterns[begin:end], places[begin:end], begin)

    def search_block(self, block: PreparedBlock, found: MatchArrays) -> None:
        """Search a few patterns in this thread."""
        t = self.templates
        images = np.empty((2, self.grid.radii * 2 * self.grid.azimuths), dtype=np.int8)
        score = np.empty((2, len(t.norm)), dtype=np.int32)
        azimuth = np.zeros((2, len(t.norm)), dtype=np.int32)
        for b in range(len(block.power)):
            if not block.power[b] > 0.0:
                continue
            norm = to_integers(block.flat[b], block.power[b], images)
            if not norm > 0.0:
                continue
            score[:] = UNTRIED
            tried = self._try(images, score, azimuth)
            rank(
                images,
                tried,
                score,
                azimuth,
                norm,
                t.phase,
                t.norm,
                t.offsets,
                t.weights,
                t.orientations,
                t.mirrored,
                t.symmetry,
                np.cos(np.radians(self.options.separation) / 2.0),
                np.cos(np.radians(AROUND_TWIN * self.options.separation) / 2.0),
                self.grid.azimuths,
                found.template[b],
                found.azimuth[b],
                found.mirrored[b],
                found.score[b],
            )
        known = found.template >= 0
        which = np.where(known, found.template, 0)
        at_zero = np.where(found.mirrored[..., None], t.mirrored[which], t.orientations[which])
        found.orientation[known] = turn_pattern(at_zero, found.azimuth)[known]

    def _try(self, images: NDArray[np.int8], score: NDArray[np.int32], azimuth: NDArray[np.int32]) -> NDArray[np.int64]:
        """Templates that may be the best, after their scores and azimuths for both mirror settings were written."""
        t, coarse = self.templates, self.coarse
        kernel = sweeper(self.grid.azimuths)

        def sweep(templates: NDArray[np.int64], count: NDArray[np.int64]) -> None:
            kernel(images, templates, t.offsets, t.weights, count, score, azimuth)

        if not len(coarse.neighbours):
            sweep(coarse.chosen, t.count)
            return coarse.chosen
        keep, phases = self.options.keep, len(t.symmetry)
        small = np.empty((2, images.shape[1] // 2), dtype=np.int8)
        halved(images, self.grid.azimuths, small)
        quick = sweeper(self.grid.azimuths // 2, places=False)
        quick(small, coarse.chosen, t.half_offsets, t.weights, t.count, score, azimuth)
        likely = best_coarse(score, coarse.chosen, t.phase, t.norm, PROMOTED * keep, phases)
        some = promoted(likely, coarse.chosen, score)
        sweep(some, t.count)
        best = best_coarse(score, coarse.chosen, t.phase, t.norm, keep, phases)
        more = around(best, coarse.begin, coarse.neighbours, score)
        sweep(more, t.count)
        return np.concatenate([some, more])


@dataclass(frozen=True)
class MatchArrays:
    """What a search writes; see :class:`Matches`. The last of the n + 1 orientations of a phase is the twin."""

    template: NDArray[np.int64]
    azimuth: FloatArray
    mirrored: NDArray[np.bool_]
    score: FloatArray
    orientation: FloatArray

    @classmethod
    def empty(cls, count: int, phases: int, best: int) -> MatchArrays:
        """Nothing found yet."""
        shape = (count, phases, best + 1)
        return cls(
            np.full(shape, -1, dtype=np.int64),
            np.zeros(shape),
            np.zeros(shape, dtype=np.bool_),
            np.zeros(shape),
            np.full((*shape, 4), np.nan),
        )

    def take_better(self, other: MatchArrays) -> None:
        """Take what another search found with a higher score."""
        better = other.score > self.score
        for item in fields(self):
            getattr(self, item.name)[better] = getattr(other, item.name)[better]

    def part(self, begin: int, end: int) -> MatchArrays:
        """The same memory for a few of the patterns."""
        return MatchArrays(*(getattr(self, item.name)[begin:end] for item in fields(self)))


def match_patterns(
    patterns: ArrayLike,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    centres: ArrayLike | None = None,
    options: MatchOptions | None = None,
) -> Matches:
    """Find the template, in-plane angle and mirror setting that each pattern looks most like, for every phase.

    The pattern is unwrapped to polar coordinates, its square root is taken, which makes the noise of counts even, and
    the mean of each radius is removed, which takes diffuse rings and background away. The score is the normalised
    correlation with the weights of the spots of a template; a correlation along the azimuth in real space over few
    spots is faster than one by Fourier transforms.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    bank
        Templates.
    geometry
        Where reciprocal space lies on the detector.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2); that of the geometry if None.
    options
        How to compare; see :class:`MatchOptions`.

    Returns
    -------
    matches
        See :class:`Matches`. Patterns without contrast have no template.

    Raises
    ------
    ValueError
        If shapes do not go together, a centre lies outside of the frame, counts are not finite, or no template has a
        spot within the frame.
    """
    patterns = checked_patterns(patterns)
    matcher = Matcher(bank, geometry, patterns.shape[1:], options=options)
    return matcher.match(patterns, centres=checked_centres(centres, geometry, patterns.shape))
