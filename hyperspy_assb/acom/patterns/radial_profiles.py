"""Radial profiles of the diffuse intensity, free of Bragg spots."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.patterns.direct_beam import checked_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.nonnegative import fit_nonnegative
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

DECAYS = (0.03, 0.06, 0.12, 0.25, 0.6, np.inf)
"""Lengths in 1/Å of the exponentials of the smooth background, from the foot of the direct beam to a constant."""


def smooth_background(radius: FloatArray) -> FloatArray:
    """Exponentials whose non-negative sums are the smooth diffuse background at R radii in 1/Å, shape (K, R).

    Such a sum is completely monotone: it falls and has no bump anywhere, so that it cannot pass for a ring.
    """
    return np.array([np.exp(-(radius - radius[0]) / decay) for decay in DECAYS])


SECTORS = 36
"""Of a ring, 10 degrees each: a Bragg spot takes few of them out."""
KNOWN_PLACES = 256
"""Places of the direct beam whose cells are kept in memory."""
PROFILE_BLOCK = 256
"""Profiles that a thread fits at a time."""


@dataclass(frozen=True)
class RadialProfiles:
    """Diffuse intensity of B patterns in R rings.

    Parameters
    ----------
    radius
        Middle of each ring in 1/Å, shape (R,).
    level
        Counts per pixel without Bragg spots, NaN where a ring lies outside of the frame, shape (B, R).
    level_std
        Its standard error, shape (B, R).
    pixels
        Pixels of each ring in the frame, shape (B, R).
    spots
        Counts above the level, as Bragg spots have them, beyond the first radius, shape (B,).
    spots_std
        Standard error of those if there are none, shape (B,).
    """

    radius: FloatArray
    level: FloatArray
    level_std: FloatArray
    pixels: FloatArray
    spots: FloatArray
    spots_std: FloatArray

    @property
    def dispersion(self) -> FloatArray:
        """Variance of the counts of a pixel over their mean, the median of all rings, 1 where unknown, shape (B,)."""
        seen = (self.level > 0.0) & (self.level * self.pixels > 20.0)
        ratio = np.divide(
            self.level_std**2 * self.pixels, self.level, out=np.full(self.level.shape, np.nan), where=seen
        )
        known = seen.any(axis=1)
        found = np.ones(len(self.level))
        found[known] = np.nanmedian(ratio[known], axis=1)
        return np.where(found > 0.0, found, 1.0)

    def __len__(self) -> int:
        return len(self.level)

    def take(self, which: Any) -> RadialProfiles:
        """Those of some of the patterns."""
        return RadialProfiles(self.radius, *(getattr(self, f.name)[which] for f in fields(self)[1:]))


def radial_profiles(
    patterns: ArrayLike,
    geometry: PatternGeometry,
    *,
    centres: ArrayLike | None = None,
    min_radius: float = 0.1,
    max_radius: float | None = None,
    step: float | None = None,
    mask: ArrayLike | None = None,
) -> RadialProfiles:
    """Level of the diffuse intensity in rings about the direct beam.

    Every ring is cut into sectors. Those that hold more than the others do by chance (three standard deviations, of
    counts or, where that is more, of the lower half of the sectors) hold Bragg spots and are left out, again and again
    until none is. What is left is averaged as it is: a median would be biased for the few counts of a sector, and the
    loss by this cut is below 0.5 % of a standard deviation.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    geometry
        Scale and ellipse, and the centre where patterns do not have their own.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2).
    min_radius, max_radius
        First and last radius in 1/Å; as far as the sides of the frame reach by default.
    step
        Width of a ring in 1/Å; two pixels, 0.01 1/Å at least, by default.
    mask
        True where pixels are left out, such as behind a beam stop, shape (ny, nx).

    Returns
    -------
    profiles
        See :class:`RadialProfiles`.

    Raises
    ------
    ValueError
        If shapes do not go together, a centre lies outside of the frame, or the frame does not reach `min_radius`.
    """
    patterns = checked_patterns(patterns)
    return profiles_about(
        patterns,
        checked_centres(centres, geometry, patterns.shape),
        geometry,
        min_radius=min_radius,
        max_radius=max_radius,
        step=step,
        mask=mask,
    )


def profiles_about(
    patterns: NDArray[Any],
    places: FloatArray,
    geometry: PatternGeometry,
    *,
    min_radius: float = 0.1,
    max_radius: float | None = None,
    step: float | None = None,
    mask: ArrayLike | None = None,
) -> RadialProfiles:
    """:func:`radial_profiles` of patterns that were checked, about places that lie in the frame."""
    ny, nx = patterns.shape[1:]
    keep = np.ones((ny, nx), dtype=np.bool_) if mask is None else ~np.asarray(mask, dtype=np.bool_)
    if keep.shape != (ny, nx):
        raise AssbValueError(f"mask: the shape of a pattern {(ny, nx)}, not {keep.shape}.")
    side = np.array([[0.0, geometry.centre[1]], [nx - 1.0, geometry.centre[1]], [geometry.centre[0], 0.0]])
    side = np.concatenate([side, [[geometry.centre[0], ny - 1.0]]])
    reach = float(np.linalg.norm(geometry.to_reciprocal(side), axis=1).max())
    last = reach if max_radius is None else min(float(max_radius), reach)
    width = max(2.0 * geometry.scale, 0.01) if step is None else float(step)
    if not width > 0.0:
        raise AssbValueError(f"step: above 0 1/Å, not {step}.")
    rings = int((last - min_radius) / width)
    if rings < 4:
        raise AssbValueError(
            f"scale: the frame reaches to {reach:.3g} 1/Å, so that there are only {max(rings, 0)} rings of "
            f"{width:.3g} 1/Å "
            f"beyond min_radius = {min_radius:g}; check the calibration (1/Å per pixel)."
        )
    count = len(patterns)
    level, error = np.full((count, rings), np.nan), np.full((count, rings), np.nan)
    pixels, spots, spots_std = np.zeros((count, rings)), np.zeros(count), np.zeros(count)
    quantum = quantum_of(patterns)
    cells = _Cells(geometry, keep, min_radius, width, rings)

    def work(begin: int, end: int) -> None:
        for b in range(begin, end):
            cell, number = cells.about(places[b])
            spots[b], spots_std[b] = _profile(
                patterns[b].astype(np.float32), cell, number, level[b], error[b], pixels[b], quantum
            )

    in_threads(work, count, None)
    radius = np.asarray(min_radius + width * (np.arange(rings) + 0.5), dtype=np.float64)
    return RadialProfiles(radius, level, error, pixels, spots, spots_std)


def direct_beam_width(
    patterns: NDArray[Any], geometry: PatternGeometry, *, centres: FloatArray | None = None, max_radius: float = 0.1
) -> float:
    """Full width at half of the height of the direct beam, from the mean of some patterns.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    geometry
        Scale, centre and ellipse.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2); that of the geometry if None.
    max_radius
        1/Å within which the half of the height must lie.

    Returns
    -------
    width
        1/Å; 0 where there is no direct beam, as behind a beam stop.
    """
    places = geometry.centres(len(patterns)) if centres is None else centres
    ny, nx = patterns.shape[1:]
    y, x = np.mgrid[:ny, :nx]
    step = 0.5 * geometry.scale
    bins = max(int(max_radius / step), 4)
    total, number = np.zeros(bins), np.zeros(bins)
    for pattern, place in zip(patterns, places, strict=True):
        distance = np.linalg.norm(
            (np.stack([x, y], axis=-1) - place) @ (geometry.scale * geometry.straightening), axis=-1
        )
        inside = distance < bins * step
        which = (distance[inside] / step).astype(int)
        total += np.bincount(which, pattern[inside], bins)
        number += np.bincount(which, minlength=bins)
    known = number > 0
    level, radius = total[known] / number[known], ((np.arange(bins) + 0.5) * step)[known]
    height = float(level[radius < 2.0 * geometry.scale].max(initial=0.0))
    if not height > 4.0 * max(float(level[-1]), 0.0) + 1e-12:
        return 0.0
    below = int(np.argmax(level < 0.5 * height))
    return float(2.0 * radius[below])


def quantum_of(patterns: NDArray[Any]) -> float:
    """Smallest step of counts, such as 1, or the gain of a camera that multiplies; 0 where values are not countable."""
    whole = 1.0 if patterns.dtype.kind in "iu" else 0.0
    values = np.unique(patterns[:1])
    if len(values) < 2 or len(values) > 0.25 * patterns[:1].size:
        return whole
    values = values.astype(float) - float(values[0])
    step = float(np.diff(values).min())
    if not step > 1e-7 * values[-1]:
        return whole
    even = bool(np.abs(values / step - np.round(values / step)).max() < 1e-3)
    return step if even else whole


@dataclass(frozen=True)
class ProfileFit:
    """Non-negative sums of K columns fitted to B profiles.

    Parameters
    ----------
    amounts, errors
        Of each column and their standard errors, shape (B, K).
    fitted
        The sums, shape (B, R).
    squares, freedom
        Weighted sum of squares and degrees of freedom, shape (B,).
    """

    amounts: FloatArray
    errors: FloatArray
    fitted: FloatArray
    squares: FloatArray
    freedom: NDArray[np.int64]


def fit_profiles(data: FloatArray, variance: FloatArray, columns: FloatArray) -> ProfileFit:
    """Fit columns of shape (K, R) to profiles of shape (B, R); where the variance is 0, nothing is known."""
    count, k = len(data), len(columns)
    result = ProfileFit(
        np.zeros((count, k)),
        np.zeros((count, k)),
        np.zeros(data.shape),
        np.zeros(count),
        np.zeros(count, dtype=np.int64),
    )
    columns = np.ascontiguousarray(columns, dtype=float)
    data, variance = np.ascontiguousarray(data, dtype=float), np.ascontiguousarray(variance, dtype=float)

    def work(begin: int, end: int) -> None:
        p = slice(begin, end)
        fit_nonnegative(
            data[p],
            variance[p],
            columns,
            result.amounts[p],
            result.errors[p],
            result.fitted[p],
            result.squares[p],
            result.freedom[p],
        )

    in_threads(work, count, None, block=PROFILE_BLOCK)
    return result


class _Cells:
    """Ring and sector of every pixel for centres rounded to a quarter of a pixel, an eighth of the width of a ring."""

    def __init__(
        self,
        geometry: PatternGeometry,
        keep: NDArray[np.bool_],
        first: float,
        width: float,
        rings: int,
    ) -> None:
        self.matrix = np.ascontiguousarray(geometry.scale * geometry.straightening)
        self.keep, self.first, self.width, self.rings = keep, first, width, rings
        self._known: dict[tuple[float, float], tuple[NDArray[np.int32], FloatArray]] = {}

    def about(self, place: FloatArray) -> tuple[NDArray[np.int32], FloatArray]:
        """Number of the cell of each pixel, that of no cell being the last, and pixels of each cell."""
        key = (round(4.0 * float(place[0])) / 4.0, round(4.0 * float(place[1])) / 4.0)
        found = self._known.get(key)
        if found is None:
            cell = np.empty(self.keep.shape, dtype=np.int32)
            _cells(self.keep, key[0], key[1], self.matrix, self.first, self.width, self.rings, SECTORS, cell)
            size = self.rings * SECTORS
            number = np.bincount(cell.ravel(), minlength=size + 1)[:size].reshape(self.rings, SECTORS)
            found = (cell, number.astype(float))
            if len(self._known) > KNOWN_PLACES:
                self._known.clear()
            self._known[key] = found
        return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cells(
    keep: NDArray[np.bool_],
    cx: float,
    cy: float,
    matrix: FloatArray,
    first: float,
    width: float,
    rings: int,
    sectors: int,
    out: NDArray[np.int32],
) -> None:
    turn = sectors / (2.0 * np.pi)
    for j in range(keep.shape[0]):
        y = j - cy
        for i in range(keep.shape[1]):
            x = i - cx
            u = matrix[0, 0] * x + matrix[0, 1] * y
            v = matrix[1, 0] * x + matrix[1, 1] * y
            r = int(np.floor((np.sqrt(u * u + v * v) - first) / width))
            out[j, i] = rings * sectors
            if keep[j, i] and 0 <= r < rings:
                out[j, i] = r * sectors + min(int((np.arctan2(v, u) + np.pi) * turn), sectors - 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _profile(
    pattern: NDArray[np.float32],
    cell: NDArray[np.int32],
    number: FloatArray,
    level: FloatArray,
    error: FloatArray,
    pixels: FloatArray,
    quantum: float,
) -> tuple[float, float]:
    """Level of each ring, its error and pixels into arrays (R,); returns the counts of spots and their error."""
    rings, sectors = number.shape
    counts = np.zeros(rings * sectors + 1)
    for j in range(pattern.shape[0]):
        for i in range(pattern.shape[1]):
            counts[cell[j, i]] += float(pattern[j, i])
    total, variance = 0.0, 0.0
    for r in range(rings):
        ring = counts[r * sectors : (r + 1) * sectors]
        level[r], error[r], sigma = _level(ring, number[r], quantum)
        pixels[r] = number[r].sum()
        if level[r] == level[r]:
            total += ring.sum() - level[r] * pixels[r]
            variance += sigma * sigma + (error[r] * pixels[r]) ** 2
    return total, np.sqrt(variance)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _level(counts: FloatArray, number: FloatArray, quantum: float) -> tuple[float, float, float]:
    """Level of a ring without spots, its standard error, and the standard deviation of the counts of the ring."""
    sectors = len(counts)
    rates = np.empty(sectors)
    known = 0
    largest = number.max()
    for s in range(sectors):
        if number[s] > 0.25 * largest:
            rates[known] = counts[s] / number[s]
            known += 1
    # A ring of which the frame shows an eighth is none.
    if known < 4 or known < sectors // 8:
        return np.nan, np.nan, np.nan
    rates = np.sort(rates[:known])
    middle = rates[known // 2]
    # From below the median: spots are bright. The spread of the lower half is that of all.
    spread = (middle - rates[known // 4]) / 0.6745
    level = rates[: max(known // 2, 1) + 1].mean()
    kept, area, extra = known, 0.0, 0.0
    for _ in range(30):
        total, area, kept = 0.0, 0.0, 0
        for s in range(sectors):
            n = number[s]
            if not n > 0.25 * largest:
                continue
            limit = 3.0 * np.sqrt(quantum * max(level, 0.0) * n + (spread * n) ** 2 * (spread > 0.0)) + 2.0 * quantum
            if counts[s] - level * n <= limit:
                total += counts[s]
                area += n
                kept += 1
        if kept == 0:
            return np.nan, np.nan, np.nan
        new = total / area
        if abs(new - level) <= 1e-9 * max(abs(level), 1e-12):
            break
        level = new
    for s in range(sectors):
        n = number[s]
        if n > 0.25 * largest:
            limit = 3.0 * np.sqrt(quantum * max(level, 0.0) * n + (spread * n) ** 2 * (spread > 0.0)) + 2.0 * quantum
            if counts[s] - level * n <= limit:
                extra += (counts[s] - level * n) ** 2 / n
    # Variance per pixel from the sectors that are left: gain, texture and errors of the centre are in it.
    variance = extra / max(kept - 1, 1)
    if variance <= 0.0:
        variance = quantum * max(level, 1.0 / area)
    # One count somewhere could have been there.
    std = np.sqrt(max(variance, quantum / area * (level == 0.0)) / area)
    return level, std, np.sqrt(variance * number.sum())
