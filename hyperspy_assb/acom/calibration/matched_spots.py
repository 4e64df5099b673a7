"""Matching with one geometry after another, and where the spots of matched patterns lie."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.frames import multiply
from hyperspy_assb.acom.matching.matcher import MatchArrays, Matcher, MatchOptions
from hyperspy_assb.acom.matching.refinement import Refined, RefineOptions, Refiner
from hyperspy_assb.acom.matching.refinement_kernels import brightness, in_reach, rotation_of, spots_of
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import in_threads
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_REFINE = RefineOptions(rounds=3, candidates=0.95)
"""Few candidates: it is the geometry that is looked for, from many patterns."""
LEAST_HEIGHT = 4.0
"""Brightness of a spot over the mean of its radius below which its place is not used, in standard deviations."""
PLACE_VARIANCE = 0.02
"""A seventh of a pixel, squared: spots are not brightest at their middle."""
DISTURBING = 0.3
"""Weight of a neighbour over that of a spot above which it shifts its top."""


@dataclass(frozen=True)
class Matched:
    """Best score (B,), its phase (B,) and orientation (B, 4) of patterns."""

    best: FloatArray
    phase: NDArray[np.int64]
    orientation: FloatArray


@dataclass(frozen=True)
class Displacements:
    """Spots: their pattern (M,), expected and observed places less the centre in pixels (M, 2), variance (M,)."""

    pattern: NDArray[np.int64]
    expected: FloatArray
    observed: FloatArray
    variance: FloatArray


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
        self.refiner = Refiner(bank, geometry, self.matcher.grid, options=_REFINE)
        self._symmetry = [symmetry_of(phase) for phase in bank.phases]

    def at(self, geometry: PatternGeometry) -> Geometer:
        """The same for another geometry; templates do not depend on it."""
        other = copy.copy(self)
        other.matcher = self.matcher.at(geometry)
        other.refiner = self.refiner.at(geometry)
        return other

    def match(self, patterns: NDArray[Any], places: FloatArray, *, refine: bool = False) -> Matched:
        """Best phase and orientation of patterns, on the grid of the bank or below it."""
        count, phases = len(patterns), self.phases
        found = MatchArrays.empty(count, phases, 2)
        refined = Refined.empty(count, phases)

        def work(begin: int, end: int) -> None:
            block = self.matcher.preparation.prepare(patterns[begin:end], places[begin:end])
            block.power[~block.finite] = 0.0
            here = found.part(begin, end)
            self.matcher.search_block(block, here)
            if refine:
                orientations, scores = self.matcher.matches(here).candidates
                self.refiner.refine_block(block, orientations, scores, refined.part(begin, end))

        in_threads(work, count, self.threads)
        scores = refined.score if refine else np.maximum(found.score[:, :, 0], 0.0)
        phase = np.where(scores.max(axis=1) > 0.0, np.argmax(scores, axis=1), -1)
        orientation = refined.orientation[np.arange(count), np.maximum(phase, 0)]
        return Matched(scores.max(axis=1), phase, orientation)

    def displacements(
        self, patterns: NDArray[Any], places: FloatArray, matched: Matched, capture: float
    ) -> Displacements:
        """Where the spots of matched patterns are, as far as they are found within `capture` pixels."""
        table = np.full((len(patterns), self.spots, 5), np.nan)
        refiner = self.refiner
        room = int(np.diff(refiner.table.begin).max())

        def work(begin: int, end: int) -> None:
            block = self.matcher.preparation.prepare(patterns[begin:end], places[begin:end])
            listed, spots = np.empty(room, dtype=np.int64), np.empty((room, 3))
            for b in range(begin, end):
                p = matched.phase[b]
                if p < 0 or not np.isfinite(matched.orientation[b]).all():
                    continue
                flat = block.flat[b - begin]
                noise = 1.4826 * float(np.median(np.abs(flat[flat != 0.0]))) if flat.any() else 0.0
                if noise <= 0.0:
                    continue
                _locate(
                    block.images[b - begin],
                    block.means[b - begin],
                    noise,
                    places[b, 0],
                    places[b, 1],
                    matched.orientation[b],
                    refiner.table.parts,
                    refiner.table.strength,
                    refiner.table.begin[p],
                    refiner.table.begin[p + 1],
                    refiner.optics,
                    capture,
                    self.matcher.preparation.spot_sigma,
                    listed,
                    spots,
                    table[b],
                )

        in_threads(work, len(patterns), self.threads)
        known = np.isfinite(table[..., 4])
        rows = table[known]
        return Displacements(np.nonzero(known)[0], rows[:, :2], rows[:, 2:4], rows[:, 4])

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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _locate(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    noise: float,
    cx: float,
    cy: float,
    orientation: FloatArray,
    parts: FloatArray,
    strength: FloatArray,
    first: int,
    last: int,
    optics: Any,
    capture: float,
    sigma: float,
    listed: NDArray[np.int64],
    spots: FloatArray,
    out: FloatArray,
) -> None:
    """Expected and observed places of spots less the centre, and their variance, into `out` (K, 5).

    The observed place is the top of the smoothed pattern within `capture` pixels, by a paraboloid through the 3 x 3
    pixels about it. Spots nearer to each other than that are left out.
    """
    ny, nx = image.shape
    rotation, nothing = np.empty((3, 3)), np.zeros(3)
    number = in_reach(orientation, parts, first, last, optics, 0.0, listed)
    rotation_of(orientation, nothing, rotation)
    count = spots_of(rotation, nothing, parts, strength, listed[:number], optics, spots)
    order = np.argsort(-spots[:count, 2])
    most = min(len(out), count)
    pixels = np.empty((count, 2))
    for k in range(count):
        x, y = spots[k, 0], spots[k, 1]
        pixels[k, 0] = optics.j00 * x + optics.j01 * y
        pixels[k, 1] = optics.j10 * x + optics.j11 * y
    reach = int(np.ceil(capture))
    for rank in range(most):
        k = order[rank]
        px, py = cx + pixels[k, 0], cy + pixels[k, 1]
        alone = True
        for m in range(count):
            # Faint ones do not disturb.
            if m != k and spots[m, 2] > DISTURBING * spots[k, 2]:
                d2 = (pixels[m, 0] - pixels[k, 0]) ** 2 + (pixels[m, 1] - pixels[k, 1]) ** 2
                if d2 < (capture + sigma) ** 2:
                    alone = False
        if not alone:
            continue
        i0, j0 = int(np.rint(px)), int(np.rint(py))
        if i0 - reach < 1 or j0 - reach < 1 or i0 + reach > nx - 2 or j0 + reach > ny - 2:
            continue
        best, bi, bj = -np.inf, -1, -1
        for j in range(j0 - reach, j0 + reach + 1):
            for i in range(i0 - reach, i0 + reach + 1):
                if (i - px) ** 2 + (j - py) ** 2 <= capture * capture and image[j, i] > best:
                    best, bi, bj = image[j, i], i, j
        if bi < 0:
            continue
        # A top, not the slope of a spot outside.
        top = True
        for v in range(-1, 2):
            for u in range(-1, 2):
                if image[bj + v, bi + u] > best:
                    top = False
        if not top:
            continue
        dx = 0.5 * (image[bj, bi + 1] - image[bj, bi - 1])
        dy = 0.5 * (image[bj + 1, bi] - image[bj - 1, bi])
        xx = image[bj, bi + 1] - 2.0 * best + image[bj, bi - 1]
        yy = image[bj + 1, bi] - 2.0 * best + image[bj - 1, bi]
        xy = 0.25 * (image[bj + 1, bi + 1] - image[bj + 1, bi - 1] - image[bj - 1, bi + 1] + image[bj - 1, bi - 1])
        determinant = xx * yy - xy * xy
        if not (determinant > 0.0 and xx < 0.0):
            continue
        sx = -(yy * dx - xy * dy) / determinant
        sy = -(xx * dy - xy * dx) / determinant
        if sx * sx + sy * sy > 1.0:
            continue
        vx, vy = bi + sx - cx, bj + sy - cy
        # Brightness over the mean of the radius, in standard deviations of the noise.
        det = optics.j00 * optics.j11 - optics.j01 * optics.j10
        gx = (optics.j11 * vx - optics.j01 * vy) / det
        gy = (optics.j00 * vy - optics.j10 * vx) / det
        height = brightness(image, mean, gx, gy, cx, cy, optics) / noise
        if not height > LEAST_HEIGHT:
            continue
        out[rank, 0], out[rank, 1] = pixels[k, 0], pixels[k, 1]
        out[rank, 2], out[rank, 3] = vx, vy
        out[rank, 4] = (sigma / height) ** 2 + PLACE_VARIANCE
