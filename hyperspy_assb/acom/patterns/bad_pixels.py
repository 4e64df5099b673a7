"""Pixels of a detector that do not tell of the specimen, found from the patterns of a scan.

A pixel is judged by what it does in all patterns: Bragg spots come and go with the grains, are as wide as the direct
beam, and have a mate on the other side of it; a dead, hot, marked or flickering pixel stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_opening, label, median_filter, uniform_filter

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

FEWEST_PATTERNS = 8
"""Patterns below which pixels are not judged by what they do in all of them."""
FAR = 8.0
"""Standard deviations by which a pixel must differ from those about it: of 65,000, none does by chance."""
LONELY = 10.0
"""A pixel so many times as bright as the brightest of its neighbours is no spot, however small the beam."""
LONELY_COUNTS = 20.0
"""Electrons that a lonely pixel has at least: fewer may be of one place by chance."""
LONELY_SHARE = 0.02
"""Share of the patterns in which a pixel is lonely, at least (and twice): rays from space strike once."""
DEAD_COUNTS = 16.0
"""Electrons that the neighbours of a silent pixel have in all patterns together: it would have some of them."""
DIM = 0.5
"""Share of the darkest of its neighbours below which a pixel is dim: no pattern has a hole as small as that."""
FEWEST_LEVELS = 15
"""Largest value of a counter of 4 bits: patterns that reach no farther do not tell of a limit."""
SATURATED_RING = 0.05
"""Share of the largest value of the type that pixels about a saturated beam reach; those about marked ones are dark."""
LINE_PARTS = 2
"""Parts of a row or column that are judged one by one: a chip ends in the middle of the frame."""
LINE_CONTRAST = 0.25
"""Relative difference from the lines beside it that makes a line a fault: gains of good ones differ by less."""
WINDOW = 9
"""Pixels about a pixel or a line whose median it is compared with."""
BEAM_NEAR = 0.1
"""How far the direct beam is from the middle of the diffuse intensity (standard deviation), as a share of the frame."""
FAR_FROM_BEAM = 0.01
"""What is three of these away is no direct beam."""
MATE = 0.02
"""Share of a bright place that its mate on the other side of the direct beam has at least, if it is a Bragg spot."""
STEADY = 0.5
"""Variance over that of counting below which what is bright in a pixel is not electrons."""
NO_ELECTRON = 0.05
"""Quantile of the smallest values of pixels that is the value of no electron."""
MEDIAN_PATTERNS = 48
"""Patterns that are enough for a quantile."""
ALWAYS = 0.75
"""Share of the patterns in which there is what is always there."""
STOP = 9
"""Pixels: what is dark in squares of this side is a beam stop, or outside of a round screen."""
SHARP = 0.2
"""Share of the brightest pixel of the direct beam that the next has, below which spots are of single pixels as well."""
MOST_LEFT_OUT = 0.5
"""Share of the frame above which what was found is no fault of single pixels."""


@dataclass(frozen=True)
class BadPixels:
    """Pixels that are left out of all patterns, by the reason, each shape (ny, nx).

    Parameters
    ----------
    given
        Named by the user or by the file.
    marked
        At the largest value of the type, negative where nothing else is, or not a number.
    silent
        Dead: always the same, or far below all neighbours.
    bright
        Hot: far above their neighbours in all patterns.
    flickering
        Far above their neighbours in some patterns.
    lines
        In rows or columns that are brighter or darker than those beside them.
    """

    given: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    bright: NDArray[np.bool_]
    flickering: NDArray[np.bool_]
    lines: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """All of them."""
        return self.given | self.marked | self.silent | self.bright | self.flickering | self.lines

    def in_words(self) -> tuple[str, ...]:
        """How many there are of each kind, in a sentence; nothing where there are none."""
        mask = self.mask
        if not mask.any():
            return ()
        kinds = {
            "given as a mask": self.given,
            "marked by the detector": self.marked,
            "dead": self.silent,
            "hot": self.bright,
            "flickering": self.flickering,
            "in bright or dark rows and columns": self.lines,
        }
        told, known = [], np.zeros(mask.shape, dtype=bool)
        for words, pixels in kinds.items():
            count = int((pixels & ~known).sum())
            known |= pixels
            if count:
                told.append(f"{count} {words}")
        count = int(mask.sum())
        text = f"{count} of {mask.size} detector pixels ({100 * count / mask.size:.2g} %) are left out of all patterns"
        return (f"{text} and filled from their surroundings: {', '.join(told)}.",)


def find_bad_pixels(
    patterns: NDArray[Any],
    marked: NDArray[np.bool_],
    *,
    given: NDArray[np.bool_] | None = None,
    gain: float = 1.0,
    zero: float = 0.0,
) -> BadPixels:
    """Find the pixels of a detector that do not tell of the specimen.

    Parameters
    ----------
    patterns
        Some of the patterns of a scan, evenly over it, of any real type, shape (B, ny, nx).
    marked
        Of :func:`marked_pixels`.
    given
        Pixels that are known to be bad, shape (ny, nx).
    gain, zero
        Value of an electron, and of none.

    Returns
    -------
    BadPixels
        Nothing where fewer than 8 patterns tell of it, but for marked ones.
    """
    shape = patterns.shape[1:]
    nothing = np.zeros(shape, dtype=bool)
    known = nothing.copy() if given is None else np.array(given, dtype=bool)
    bad = known | marked
    if len(patterns) < FEWEST_PATTERNS or bad.mean() > MOST_LEFT_OUT:
        return BadPixels(known, marked, nothing, nothing, nothing, nothing)
    electrons = _Electrons(patterns, bad, gain, zero)
    silent = electrons.silent()
    lines = electrons.lines(bad | silent)
    bright = electrons.bright(bad | silent | lines)
    flickering = electrons.lonely() & ~bad
    found = BadPixels(known, marked, silent & ~bad, bright & ~bad, flickering & ~bright, lines & ~bad)
    return found if found.mask.mean() <= MOST_LEFT_OUT else BadPixels(known, marked, nothing, nothing, nothing, nothing)


def marked_pixels(patterns: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels that hold a value which is none, shape (ny, nx).

    Not a number; the largest of the type, where no beam saturates it; or a value that is the same in all patterns, and
    not that of no electron.

    Parameters
    ----------
    patterns
        Of any real type, shape (B, ny, nx).
    """
    if patterns.dtype.kind == "b":
        return np.zeros(patterns.shape[1:], dtype=bool)
    marked = np.zeros(patterns.shape[1:], dtype=bool)
    if patterns.dtype.kind == "f":
        marked |= ~np.isfinite(patterns).all(axis=0)
    else:
        limits = np.iinfo(patterns.dtype)
        marked |= _often(patterns, limits.max)
        if patterns.dtype.kind == "i":
            marked |= (patterns == limits.min).any(axis=0)
    saturated = saturated_pixels(patterns)
    marked &= ~saturated
    if len(patterns) < FEWEST_PATTERNS:
        return marked
    low = patterns.min(axis=0)
    constant = (low == patterns.max(axis=0)) & ~saturated
    if constant.any() and not (constant | marked).all():
        # Where there are few electrons, many pixels always have the value of none, as pixels beside them often have.
        none = np.quantile(low[~constant & ~marked], NO_ELECTRON)
        marked |= constant & (low != none) & (low != 0)
    return marked


def saturated_pixels(patterns: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels that a direct beam saturates in half of the patterns: at the end of the type, or of a counter of few bits.

    Pixels about them are bright, unlike those about a pixel that is marked by the same value.
    """
    found = np.zeros(patterns.shape[1:], dtype=bool)
    if patterns.dtype.kind not in "iu" or not patterns.size:
        return found
    top = int(patterns.max())
    if top < FEWEST_LEVELS or (top + 1) & top:
        return found
    at_top = _often(patterns, top)
    if not at_top.any():
        return found
    regions, count = label(at_top, structure=np.ones((3, 3)))
    mean = patterns.mean(axis=0)
    for number in range(1, count + 1):
        inside = regions == number
        ring = binary_dilation(inside, np.ones((3, 3))) & ~at_top
        if ring.any() and mean[ring].mean() > SATURATED_RING * top:
            found |= inside
    return found


def _often(patterns: NDArray[Any], value: int) -> NDArray[np.bool_]:
    """Pixels of a value in half of the patterns; in all, of a few."""
    fewest = len(patterns) // 2 if len(patterns) >= FEWEST_PATTERNS else len(patterns)
    return np.asarray(np.count_nonzero(patterns == value, axis=0) >= fewest)


class _Electrons:
    """What every pixel did in all patterns, in electrons."""

    def __init__(self, patterns: NDArray[Any], bad: NDArray[np.bool_], gain: float, zero: float) -> None:
        count = len(patterns)
        self.patterns, self.gain, self.zero = patterns, gain, zero
        self.count = count
        total, squares, lonely, hits = (np.zeros(bad.shape) for _ in range(4))
        low, high = np.full(bad.shape, np.inf), np.full(bad.shape, -np.inf)
        for pattern in patterns:
            here = (pattern.astype(np.float64) - zero) / gain
            here[bad] = np.nan
            _gather(here, total, squares, low, high, lonely, hits, LONELY, LONELY_COUNTS)
        self.bad = bad
        self.mean = np.where(bad, np.nan, total / count)
        self.variance = np.maximum(np.where(bad, np.nan, squares / count) - self.mean**2, 0.0) * count / (count - 1)
        # Where a direct beam saturates the camera, it is always the same.
        self.constant = (low == high) & ~bad & ~saturated_pixels(patterns)
        self._lonely, self._hits = lonely, hits
        # What is there in most of the patterns: not a beam or a spot that is elsewhere in others.
        some = patterns[:: max(count // MEDIAN_PATTERNS, 1)].astype(np.float32)
        self.lower, rare = int(len(some) * ALWAYS), int(len(some) * (1.0 - ALWAYS))
        some = np.partition(some, (rare, self.lower), axis=0)
        self.always = (some[rare].astype(np.float64) - zero) / gain
        self.calm = (some[: self.lower].mean(axis=0, dtype=np.float64) - zero) / gain

    def lonely(self) -> NDArray[np.bool_]:
        """Pixels that stand alone in several patterns."""
        found = np.asarray(self._lonely >= max(2.0, LONELY_SHARE * self.count))
        if not found.any():
            return found
        # Of a beam that is smaller than a pixel, so are the spots.
        root = np.sqrt(np.nan_to_num(np.maximum(self.calm, 0.0))) * self._near_the_beam()
        y, x = np.unravel_index(int(np.argmax(uniform_filter(root, 3))), root.shape)
        beam = np.sort(self.calm[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2], axis=None)
        beam = beam[np.isfinite(beam)]
        return found if len(beam) > 1 and beam[-2] > SHARP * beam[-1] else np.zeros_like(found)

    def silent(self) -> NDArray[np.bool_]:
        """Pixels that are always the same where those about them are not, or far darker than all of these."""
        # Patterns with electrons, not electrons: a few Bragg spots bring many.
        constant = self.constant & (self._about(self._hits) > DEAD_COUNTS)
        lowest = _of_neighbours(self.mean, self.bad | constant, np.min)
        scatter = _of_neighbours(np.sqrt(self.variance / self.count), self.bad | constant, np.max)
        found = constant | ((self.mean < DIM * lowest) & (lowest - self.mean > FAR * scatter)) | self._silent_lines()
        return np.asarray(found & ~binary_opening(self.constant, np.ones((STOP, STOP))))

    def _silent_lines(self) -> NDArray[np.bool_]:
        """Rows and columns, or parts of them, that never have an electron where there are some on both sides."""
        found = np.zeros(self.bad.shape, dtype=bool)
        for axis in (0, 1):
            hits = np.where(self.bad, 0.0, self._hits)
            hits, constant = (hits.T, self.constant.T) if axis else (hits, self.constant)
            for part in np.array_split(np.arange(len(hits)), LINE_PARTS):
                sums = hits[part].sum(axis=0)
                lit = np.flatnonzero(sums > DEAD_COUNTS)
                for line in np.flatnonzero((sums == 0.0) & constant[part].any(axis=0)):
                    near = lit[np.abs(lit - line) < STOP]
                    if (near < line).any() and (near > line).any():
                        place = (slice(int(part[0]), int(part[-1]) + 1), line)
                        (found.T if axis else found)[place] = True
        return found & self.constant

    def lines(self, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows and columns, or parts of them, that differ from those beside them all along."""
        found = np.zeros(bad.shape, dtype=bool)
        for axis in (0, 1):
            mean, variance = (np.where(bad, np.nan, values) for values in (self.calm, self.variance))
            mean, variance = (mean.T, variance.T) if axis else (mean, variance)
            beside = _running_median(mean)
            for part in np.array_split(np.arange(len(mean)), LINE_PARTS):
                # The median along the line: a spot or the beam fills little of it.
                noise = np.sqrt(np.maximum(_nan_median(variance[part]), 1.0 / self.count))
                difference = _nan_median(mean[part] - beside[part])
                # Lines through the direct beam are brighter than those beside them, but not by a step.
                difference -= _running_median(difference[None])[0]
                spread = 1.4826 * float(np.nanmedian(np.abs(difference / noise)))
                counting = 1.25 / np.sqrt(self.lower * len(part))
                contrast = LINE_CONTRAST * np.maximum(_nan_median(beside[part]), noise)
                odd = np.abs(difference) > np.maximum(FAR * max(spread, counting) * noise, contrast)
                place = (slice(int(part[0]), int(part[-1]) + 1), odd)
                (found.T if axis else found)[place] = True
        return found

    def bright(self, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Pixels above all about them in every pattern, but for the direct beam and Bragg spots of a single crystal."""
        always = np.where(bad, np.nan, self.always)
        about = self._about(always)
        high = always - about > 1.0
        # The mean tells more than a quantile of few counts.
        calm = np.where(bad, np.nan, self.calm)
        level = self._about(calm)
        noise = np.maximum(1.4826 * self._about(np.abs(calm - level)), np.sqrt(np.maximum(level, 1.0) / self.lower))
        high &= ~bad & (calm - level > FAR * noise)
        if not high.any():
            return high
        # A gap through the direct beam parts it.
        joined = high | (binary_dilation(high, np.ones((WINDOW, WINDOW))) & bad)
        regions, count = label(joined, structure=np.ones((3, 3)))
        height = np.where(high, always - about, 0.0)
        beam = self._beam(regions, height)
        lonely = self.lonely()
        found = high & lonely
        if not beam:
            # It is elsewhere in many patterns, and so are spots.
            return high
        centre = np.array(np.nonzero(regions == beam)).mean(axis=1)
        size = int((regions == beam).sum())
        steady = self.variance < STEADY * np.maximum(self.mean, 0.0)
        for number in range(1, count + 1):
            inside = (regions == number) & high
            if number == beam or (inside & ~found).sum() == 0:
                continue
            electrons = not steady[inside].all()
            if electrons and (inside.sum() > 1.5 * size or self._has_mate(inside, centre, always - about, height)):
                continue
            found |= inside
        return found

    def _near_the_beam(self) -> FloatArray:
        """1 in the middle of the diffuse intensity, where the direct beam is, falling off about it."""
        diffuse = np.maximum(self._about(self.mean), 0.0) ** 2
        total = max(float(diffuse.sum()), 1e-300)
        y, x = np.indices(diffuse.shape)
        away = np.hypot(y - (diffuse * y).sum() / total, x - (diffuse * x).sum() / total)
        return np.asarray(np.exp(-0.5 * (away / (BEAM_NEAR * min(diffuse.shape))) ** 2))

    def _beam(self, regions: NDArray[np.int64], height: FloatArray) -> int:
        """The direct beam: of the bright places the one of most counts near the middle of the diffuse; 0 if none."""
        near = self._near_the_beam()
        sums = np.bincount(regions.ravel(), (np.sqrt(np.maximum(height, 0.0)) * near).ravel())
        sums[0] = -1.0
        best = int(np.argmax(sums))
        return best if near[regions == best].max() > FAR_FROM_BEAM else 0

    def _has_mate(self, inside: NDArray[np.bool_], centre: FloatArray, excess: FloatArray, height: FloatArray) -> bool:
        """Whether a bright place has a mate on the other side of the direct beam, as a Bragg spot has."""
        rows, columns = np.nonzero(inside)
        y, x = np.rint(2.0 * centre - [rows.mean(), columns.mean()]).astype(int)
        reach = 2
        ny, nx = inside.shape
        if not (0 <= y < ny and 0 <= x < nx):
            return False
        part = excess[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        return bool(np.nanmax(part, initial=-np.inf) > max(MATE * height[inside].max(), 1.0))

    def _about(self, values: FloatArray) -> FloatArray:
        known = np.isfinite(values)
        filled = np.where(known, values, np.median(values[known]) if known.any() else 0.0)
        return np.asarray(median_filter(filled, WINDOW, mode="nearest"))


def _running_median(values: FloatArray) -> FloatArray:
    """Median of the pixels beside each along a row, itself left out, NaN ignored."""
    reach = WINDOW // 2
    padded = np.pad(values, ((0, 0), (reach, reach)), mode="reflect")
    steps = [k for k in range(2 * reach + 1) if k != reach]
    beside = np.stack([padded[:, k : k + values.shape[1]] for k in steps])
    return _nan_median(beside)


def _nan_median(values: FloatArray) -> FloatArray:
    """Median along the first axis without NaN; NaN where there is nothing else."""
    ordered = np.sort(values, axis=0)
    count = np.isfinite(values).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1)[None], axis=0)[0]
    return np.where(count > 0, 0.5 * (low + np.where(count % 2 == 1, low, high)), np.nan)


def _of_neighbours(values: FloatArray, bad: NDArray[np.bool_], choose: Callable[..., Any]) -> FloatArray:
    """The lowest or the highest of the eight neighbours that are not bad; 0 where there is none."""
    worst = np.inf if choose is np.min else -np.inf
    padded = np.pad(np.where(bad | ~np.isfinite(values), worst, values), 1, constant_values=worst)
    ny, nx = values.shape
    parts = [padded[v : v + ny, u : u + nx] for v in range(3) for u in range(3) if (v, u) != (1, 1)]
    found = choose(parts, axis=0)
    return np.where(np.isfinite(found), found, 0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gather(
    pattern: FloatArray,
    total: FloatArray,
    squares: FloatArray,
    low: FloatArray,
    high: FloatArray,
    lonely: FloatArray,
    hits: FloatArray,
    factor: float,
    counts: float,
) -> None:
    """Add a pattern to sums, extremes, and to the number of times that each pixel stands alone."""
    ny, nx = pattern.shape
    for j in range(ny):
        for i in range(nx):
            value = pattern[j, i]
            if np.isnan(value):
                continue
            total[j, i] += value
            squares[j, i] += value * value
            low[j, i] = min(low[j, i], value)
            high[j, i] = max(high[j, i], value)
            hits[j, i] += 1.0 if value > 0.5 else 0.0
            if value < counts:
                continue
            top, second = 0.0, 0.0
            for v in range(max(j - 1, 0), min(j + 2, ny)):
                for u in range(max(i - 1, 0), min(i + 2, nx)):
                    other = pattern[v, u]
                    if (v != j or u != i) and other == other:
                        if other > top:
                            top, second = other, top
                        elif other > second:
                            second = other
            if value > factor * max(top, 1.0):
                lonely[j, i] += 1.0
