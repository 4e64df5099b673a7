"""Which patterns of a scan are amorphous, and of what: rings and chance, for use block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.amorphous.classification import (
    AmorphousOptions,
    chance_of_noise,
    classify,
    find_crystalline,
    scatter_of_turned_rings,
)
from hyperspy_assb.acom.amorphous.diffuse_rings import RingProfile, fit_rings, learn_profiles
from hyperspy_assb.acom.matching.block_indexing import IndexedPatterns
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.acom.matching.matcher import Matcher
from hyperspy_assb.acom.patterns.radial_profiles import direct_beam_width, radial_profiles
from hyperspy_assb.acom.scan.scan_blocks import DiffuseFindings
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


class RingJudge:
    """Tells amorphous patterns from crystalline ones by what templates score by chance, and materials by their rings.

    Parameters
    ----------
    matcher
        Bank and geometry of the indexing.
    sample
        Patterns of the scan, shape (B, ny, nx), from whose diffuse intensity the chance is found.
    centres
        Column and row of the direct beam of each of them, shape (B, 2); None: that of the geometry.
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
        centres: FloatArray | None = None,
        materials: Sequence[RingProfile | str] | None = None,
        options: AmorphousOptions | None = None,
    ) -> None:
        self.matcher = matcher
        self.options = options or AmorphousOptions()
        profiles = radial_profiles(sample, matcher.geometry, centres=centres)
        self.chance = chance_of_noise(matcher, profiles)
        some = slice(None, None, max(len(sample) // 16, 1))
        self.beam_width = direct_beam_width(
            sample[some], matcher.geometry, centres=None if centres is None else centres[some]
        )
        scores = matcher.match(sample, centres=centres).phase_scores.max(axis=1)
        self.scatter = scatter_of_turned_rings(
            matcher, sample, scores, self.chance, centres=centres, options=self.options
        )
        crystalline = find_crystalline(
            matcher, sample, scores, self.chance, centres=centres, scatter=self.scatter, options=self.options
        )
        self.materials = learn_profiles(profiles, ~crystalline, materials)

    def __call__(self, patterns: NDArray[Any], centres: FloatArray, found: IndexedPatterns) -> DiffuseFindings:
        """What patterns of shape (B, ny, nx) show of amorphous material."""
        profiles = radial_profiles(patterns, self.matcher.geometry, centres=centres)
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
        judged = classify(
            crystalline,
            rings,
            empty=status == PatternStatus.EMPTY,
            saturated=status == PatternStatus.SATURATED,
            beam_width=self.beam_width,
            options=self.options,
        )
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
