"""Whether a pattern has a lattice, amorphous material, or both.

The best of many templates scores above zero in any pattern. How high by chance is not assumed but found by matching
patterns without a lattice: diffuse intensity as in the scan with the noise of counts (:func:`chance_of_noise`), and,
for patterns that score hardly higher than those, the pattern itself with each of its rings turned by a random angle
(:func:`chance_of_turned_rings`), which keeps all that rings have (texture, speckle, an error of the centre, single
bright pixels) and takes away only that spots of one lattice belong together. The limit is a quantile of the
distribution of extreme values (Gumbel) fitted to these scores.

Which amorphous material there is, is told by its rings: :mod:`hyperspy_assb.acom.amorphous.diffuse_rings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.amorphous.diffuse_rings import RingFit, RingProfile, fit_rings
from hyperspy_assb.acom.amorphous.ring_identity import learn_profiles
from hyperspy_assb.acom.matching.block_indexing import IndexedPatterns
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.acom.matching.matcher import Matcher
from hyperspy_assb.acom.matching.second_look import Looked
from hyperspy_assb.acom.patterns.radial_profiles import RadialProfiles, direct_beam_width, profiles_about
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

RING_OF_A_POWDER = 0.75
"""Width of a ring over that of the direct beam below which nothing but the beam widens it. The sharp ring of a round
beam is 0.87 as wide, less what the smooth background takes of its sides: 0.6 in a powder of gold, 0.85 to 1 in
carbon."""


BRAGG_SPOTS, BRAGG_SIGNIFICANCE = 6, 5.0
"""Spots, and their significance (root mean square), from which on a pattern has a lattice whether templates fit or not.
Diffuse intensity has up to 7 of 3.5 standard deviations by chance."""
BRIGHT_RINGS = 10.0
"""Significance of rings from which on their speckle may pass for spots."""
BEAM_PATTERNS = 16
"""Patterns whose mean shows the width of the direct beam: counts are many there."""


@dataclass(frozen=True)
class ChanceScores:
    """Scores that patterns without a lattice reach.

    Parameters
    ----------
    mean, std
        Of the scores.
    samples
        How many there were.
    """

    mean: float
    std: float
    samples: int

    def limit(self, false_alarms: float = 1e-3) -> float:
        """The score that a share of patterns without a lattice exceeds (distribution of Gumbel)."""
        if not 0.0 < false_alarms < 0.5:
            raise AssbValueError(f"false_alarms: from 0 to 0.5, not {false_alarms}.")
        scale = self.std * np.sqrt(6.0) / np.pi
        return float(self.mean - np.euler_gamma * scale - scale * np.log(-np.log1p(-false_alarms)))


def chance_of_noise(
    matcher: Matcher, profiles: RadialProfiles, *, samples: int = 48, rng: np.random.Generator | int | None = 0
) -> ChanceScores:
    """Best scores of noise alone: diffuse intensity as in some patterns of a scan, with the noise of counts.

    Parameters
    ----------
    matcher
        Bank and geometry.
    profiles
        Of patterns of the scan; some are taken, from the darkest to the brightest.
    samples
        Number of patterns to draw.
    rng
        Source of the noise, or a seed.

    Returns
    -------
    chance
        How high the best of all templates, angles and phases scores. The number of templates, the smoothing and the
        polar grid are in it as they are in the matching itself. 1 where no profile has counts.
    """
    rng = np.random.default_rng(rng)
    total = np.nansum(np.maximum(profiles.level, 0.0) * profiles.pixels, axis=1)
    usable = np.flatnonzero(total > 0.0)
    if not len(usable):
        # A scan of vacuum: no score is above chance.
        return ChanceScores(1.0, 0.0, 0)
    order = usable[np.argsort(total[usable], kind="stable")]
    chosen = order[np.linspace(0, len(order) - 1, samples).round().astype(int)]
    gains = profiles.dispersion
    ny, nx = matcher.shape
    y, x = np.mgrid[:ny, :nx]
    distance = np.linalg.norm(matcher.geometry.to_reciprocal(np.stack([x, y], axis=-1)), axis=-1)
    drawn = np.empty((samples, ny, nx), dtype=np.float32)
    for k, b in enumerate(chosen):
        known = np.isfinite(profiles.level[b])
        level = np.maximum(profiles.level[b][known], 0.0)
        # Counts of a camera that gives several for an electron are drawn as electrons.
        gain = float(gains[b])
        drawn[k] = gain * rng.poisson(np.interp(distance, profiles.radius[known], level) / gain)
    scores = np.maximum(matcher.match(drawn).score[:, :, 0], 0.0).max(axis=1)
    return ChanceScores(float(scores.mean()), float(scores.std(ddof=1)), samples)


def chance_of_turned_rings(
    matcher: Matcher,
    patterns: NDArray[Any],
    *,
    centres: FloatArray | None = None,
    draws: int = 4,
    rng: np.random.Generator | int | None = 0,
) -> FloatArray:
    """Best scores of patterns whose rings were turned, each by its own random angle.

    Parameters
    ----------
    matcher
        Bank and geometry.
    patterns
        Any real type, shape (B, ny, nx).
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2).
    draws
        So many of each pattern, by the same angles for all: what is found in a pattern does not depend on the others.
    rng
        Source of the angles, or a seed.

    Returns
    -------
    scores
        Shape (B, draws).
    """
    places = matcher.geometry.centres(len(patterns)) if centres is None else centres
    turns = np.random.default_rng(rng).integers(0, matcher.grid.azimuths, (draws, matcher.grid.radii))
    return matcher.match_turned(patterns, places, turns)


@dataclass(frozen=True)
class AmorphousOptions:
    """When a pattern counts as crystalline, amorphous or both.

    Parameters
    ----------
    false_alarms
        Share of patterns without a lattice that may pass for crystalline.
    doubtful
        Patterns that score up to so many times the limit of noise are tested with their rings turned as well.
    doubtful_alarms
        Of these patterns, the share that may pass for crystalline although their rings belong together by chance.
    draws
        How often rings are turned.
    ring_significance
        Standard deviations that rings must stand out by.
    mixed_share
        Rings of a crystalline pattern must be so large a share of its diffuse counts, by two standard errors, for it to
        be mixed. A pattern without a lattice, which may as well be vacuum, is amorphous with such a share and a quarter
        of the significance too: what is scattered about the direct beam by lenses and apertures has no rings.
    sharp
        Rings narrower than this, in 1/Å, or than :data:`RING_OF_A_POWDER` direct beams, are those of crystals of more
        than 3 nm, many of them in one pattern.
    """

    false_alarms: float = 1e-3
    doubtful: float = 1.6
    doubtful_alarms: float = 0.01
    draws: int = 4
    ring_significance: float = 4.0
    mixed_share: float = 0.1
    sharp: float = 0.035

    def __post_init__(self) -> None:
        if not 0.0 < self.false_alarms < 0.5:
            raise AssbValueError(f"false_alarms: from 0 to 0.5, not {self.false_alarms}.")
        if not self.doubtful >= 1.0:
            raise AssbValueError(f"doubtful: 1 or more, not {self.doubtful}.")
        if self.draws < 2:
            raise AssbValueError(f"draws: 2 or more, not {self.draws}.")
        if not 0.0 <= self.mixed_share < 1.0:
            raise AssbValueError(f"mixed_share: from 0 to 1, not {self.mixed_share}.")


def find_crystalline(
    matcher: Matcher,
    patterns: ArrayLike,
    scores: ArrayLike,
    chance: ChanceScores,
    *,
    centres: ArrayLike | None = None,
    scatter: float | None = None,
    options: AmorphousOptions | None = None,
) -> NDArray[np.bool_]:
    """Which patterns score higher than they would without a lattice.

    Parameters
    ----------
    matcher
        That the scores are from.
    patterns
        Any real type, shape (B, ny, nx).
    scores
        Best score of each on the grid of the bank, shape (B,).
    chance
        Of noise alone.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2).
    scatter
        Of :func:`scatter_of_turned_rings`; found on these patterns by default.
    options
        See :class:`AmorphousOptions`.
    """
    o = options or AmorphousOptions()
    patterns, scores = np.asarray(patterns), np.asarray(scores, dtype=float)
    if scores.shape != (len(patterns),):
        raise AssbValueError(f"scores: one for each of {len(patterns)} patterns, not {scores.shape}.")
    crystalline = scores > chance.limit(o.false_alarms)
    doubt = _doubtful(scores, chance, o)
    if len(doubt):
        turned = _turned(matcher, patterns, doubt, centres, o)
        relative = _relative_scatter(turned) if scatter is None else scatter
        own = [ChanceScores(m, max(relative * m, 1e-6), o.draws).limit(o.doubtful_alarms) for m in turned.mean(axis=1)]
        crystalline[doubt] = scores[doubt] > own
    return np.asarray(crystalline)


def scatter_of_turned_rings(
    matcher: Matcher,
    patterns: ArrayLike,
    scores: ArrayLike,
    chance: ChanceScores,
    *,
    centres: ArrayLike | None = None,
    options: AmorphousOptions | None = None,
) -> float:
    """Relative scatter of the scores of patterns with turned rings, which a few draws of one pattern do not tell.

    Parameters are those of :func:`find_crystalline`, for a sample of the scan.
    """
    o = options or AmorphousOptions()
    doubt = _doubtful(np.asarray(scores, dtype=float), chance, o)
    if not len(doubt):
        return chance.std / max(chance.mean, 1e-12)
    return _relative_scatter(_turned(matcher, np.asarray(patterns), doubt, centres, o))


def _doubtful(scores: FloatArray, chance: ChanceScores, options: AmorphousOptions) -> NDArray[np.int64]:
    limit = chance.limit(options.false_alarms)
    return np.flatnonzero((scores > limit) & (scores <= options.doubtful * limit))


def _turned(
    matcher: Matcher,
    patterns: NDArray[Any],
    rows: NDArray[np.int64],
    centres: ArrayLike | None,
    options: AmorphousOptions,
) -> FloatArray:
    places = None if centres is None else np.asarray(centres, dtype=float)[rows]
    return chance_of_turned_rings(matcher, patterns[rows], centres=places, draws=options.draws)


def _relative_scatter(turned: FloatArray) -> float:
    mean = np.maximum(turned.mean(axis=1), 1e-12)
    return float(np.sqrt(np.mean(turned.var(axis=1, ddof=1) / mean**2)))


def classify(
    crystalline: ArrayLike,
    rings: RingFit,
    *,
    empty: ArrayLike | None = None,
    saturated: ArrayLike | None = None,
    beam_width: float = 0.0,
    options: AmorphousOptions | None = None,
) -> NDArray[np.int64]:
    """What each pattern is, see :class:`~hyperspy_assb.acom.matching.indexed.PatternStatus`.

    Parameters
    ----------
    crystalline
        Of :func:`find_crystalline`, shape (B,).
    rings
        Of :func:`fit_rings`.
    empty, saturated
        Of :func:`~hyperspy_assb.acom.patterns.preparation.estimate_exposure`, shape (B,).
    beam_width
        Of the direct beam, in 1/Å, see :func:`~hyperspy_assb.acom.patterns.radial_profiles.direct_beam_width`: no ring
        is narrower.
    options
        See :class:`AmorphousOptions`.

    Returns
    -------
    status
        EMPTY where there are too few counts, or neither lattice nor rings; AMORPHOUS where there are rings only, of a
        known material or not; MIXED where there are a lattice and rings of a known material; SATURATED where there is a
        lattice and the camera was saturated; POWDER where there is no single lattice, but rings as sharp as those
        of crystals, or those of a powder that was offered; else INDEXED; shape (B,).
    """
    o = options or AmorphousOptions()
    crystal = np.asarray(crystalline, dtype=bool)
    nothing = np.zeros(len(crystal), dtype=bool)
    dark = nothing if empty is None else np.asarray(empty, dtype=bool)
    full = nothing if saturated is None else np.asarray(saturated, dtype=bool)
    ringed = rings.significance >= o.ring_significance
    share = rings.share[:, ~rings.powder].sum(axis=1)
    error = np.sqrt((rings.share_std[:, ~rings.powder] ** 2).sum(axis=1))
    mixed = ringed & (share - 2.0 * error > o.mixed_share)
    status = np.full(len(crystal), int(PatternStatus.INDEXED))
    status[crystal & mixed] = PatternStatus.MIXED
    status[crystal & full] = PatternStatus.SATURATED
    likely = (rings.significance >= 0.25 * o.ring_significance) & (rings.share.sum(axis=1) > o.mixed_share)
    diffuse = ringed | likely | (rings.structure >= o.ring_significance)
    status[~crystal] = np.where(diffuse[~crystal], int(PatternStatus.AMORPHOUS), int(PatternStatus.EMPTY))
    known = np.isin(rings.material, np.flatnonzero(rings.powder))
    powder = ~crystal & diffuse & (known | (rings.width < max(o.sharp, RING_OF_A_POWDER * beam_width)))
    status[powder] = PatternStatus.POWDER
    status[dark] = PatternStatus.EMPTY
    return status


def has_bragg_spots(looked: Looked) -> NDArray[np.bool_]:
    """Which patterns have so many and so bright spots that diffuse intensity does not make them, shape (B,)."""
    rms = looked.brightness / np.sqrt(np.maximum(looked.spots, 1))
    return np.asarray((looked.spots >= BRAGG_SPOTS) & (rms >= BRAGG_SIGNIFICANCE))


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
        Rings of each material in counts per pixel, as factors of their profiles, and standard errors, shape (B, A).
    background
        Mean of the smooth diffuse background in counts per pixel, shape (B,).
    spots
        Counts in Bragg spots, shape (B,).
    """

    status: NDArray[Any]
    ring_amounts: FloatArray
    materials: tuple[str, ...]
    rings: FloatArray
    rings_std: FloatArray
    background: FloatArray
    spots: FloatArray


class RingJudge:
    """Tells amorphous patterns from crystalline ones by what templates score by chance, and materials by their rings.

    Parameters
    ----------
    matcher
        Bank and geometry of the indexing.
    sample
        Patterns of the scan, shape (B, ny, nx), from whose diffuse intensity the chance is found.
    centres
        Column and row of the direct beam of each of them, shape (B, 2).
    materials
        Ring profiles, or names of the table of references; None: all of the table. Those of the table are replaced by
        what the sample shows, where enough of its patterns have no lattice.
    options
        See :class:`~hyperspy_assb.acom.amorphous.classification.AmorphousOptions`.
    """

    def __init__(
        self,
        matcher: Matcher,
        sample: NDArray[Any],
        *,
        centres: FloatArray,
        materials: Sequence[RingProfile | str] | None = None,
        options: AmorphousOptions | None = None,
    ) -> None:
        self.matcher = matcher
        self.options = options or AmorphousOptions()
        profiles = profiles_about(sample, centres, matcher.geometry)
        some = slice(None, None, max(len(sample) // BEAM_PATTERNS, 1))
        self.beam_width = direct_beam_width(sample[some], matcher.geometry, centres=centres[some])
        self.chance = chance_of_noise(matcher, profiles)
        scores = matcher.match(sample, centres=centres).score[:, :, 0].max(axis=1)
        self.scatter = scatter_of_turned_rings(
            matcher, sample, scores, self.chance, centres=centres, options=self.options
        )
        crystalline = find_crystalline(
            matcher, sample, scores, self.chance, centres=centres, scatter=self.scatter, options=self.options
        )
        self.materials = learn_profiles(profiles, ~crystalline, materials)

    def __call__(self, patterns: NDArray[Any], centres: FloatArray, found: IndexedPatterns) -> DiffuseFindings:
        """What patterns of shape (B, ny, nx) show of amorphous material."""
        profiles = profiles_about(patterns, centres, self.matcher.geometry)
        rings = fit_rings(profiles, self.materials)
        crystalline = find_crystalline(
            self.matcher,
            patterns,
            found.crystalline_score,
            self.chance,
            centres=centres,
            scatter=self.scatter,
            options=self.options,
        )
        status = np.asarray(found.status)
        judge = partial(
            classify,
            rings=rings,
            empty=status == PatternStatus.EMPTY,
            saturated=status == PatternStatus.SATURATED,
            beam_width=self.beam_width,
            options=self.options,
        )
        judged = judge(crystalline)
        # Spots that no template fits are of a lattice all the same; bright rings are not even.
        ringed = np.maximum(rings.structure, rings.significance) >= BRIGHT_RINGS
        spotted = (judged == PatternStatus.AMORPHOUS) & has_bragg_spots(found.looked) & ~ringed
        if spotted.any():
            judged = judge(crystalline | spotted)
        # Rings of pixels have areas in proportion to their radii; those outside of the frame do not count.
        area = np.where(np.isfinite(profiles.level), profiles.radius, 0.0)
        return DiffuseFindings(
            judged,
            rings.share,
            rings.materials,
            rings=rings.amounts,
            rings_std=rings.amounts_std,
            background=(rings.background * area).sum(axis=1) / area.sum(axis=1),
            spots=profiles.spots,
        )
