"""Patterns before they are indexed: background, exposure, virtual bright field, masked pixels, a centre behind a
beam stop.

Patterns are blocks (B, ny, nx) of any real type; no kernel makes a copy of a whole block in floating point, unless that
is its result.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.acom.patterns.polar import exposure
from hyperspy_assb.acom.patterns.radial_profiles import quantum_of
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

BACKGROUNDS = ("radial", "mesh")
EXPOSURE_BLOCK = 16
"""Patterns that are turned into floating point at a time."""
SMALLEST_COUNTER = 15
"""Largest value of a counter of 4 bits: patterns that reach no farther do not tell of a limit."""
CROWD = 10
"""Pixels at the largest value above which they crowd there, if not as many lie in the eighth below it."""
MESH_SPREAD = 3.0
"""Standard deviations of all squares by which a square may exceed its neighbours; a bright spot fills it beyond."""
FEWEST_VALUES = 8
"""Values of which the plain mean is taken: too few to tell those that stand out."""
FAR_ABOVE, FAR_QUANTA = 3.0, 2.0
"""Standard deviations, and steps of counts besides, above which a value stands out."""
MEAN_ROUNDS = 20
"""Rounds in which such values are left out, at most."""
SYMMETRY_RANGE = 8.0
"""The shorter side of the frame over the distance from the expected place in which a symmetry centre is looked for."""
LEAST_OVERLAP = 0.25
"""Share of the pixels that a pattern and the turned one must both show."""
LEAST_SYMMETRY = 0.1
"""Correlation of a pattern with the turned one below which nothing is symmetric."""
TOP_REACH = 3
"""Half pixels about the top through which a paraboloid is drawn."""


def virtual_bright_field(
    patterns: ArrayLike, centres: ArrayLike, radius: float, *, threads: int | None = None
) -> FloatArray:
    """Counts within a circle about the direct beam.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    centres
        Column and row in pixels, shape (B, 2) or (2,).
    radius
        In pixels; pixels at the rim count by the part of them that is inside.
    threads
        Number of threads; all cores if None.

    Returns
    -------
    counts
        Shape (B,); NaN where the centre is.

    Raises
    ------
    ValueError
        If shapes do not go together or the radius is not above 0.
    """
    patterns = checked_patterns(patterns)
    places = np.asarray(centres, dtype=float)
    if places.shape not in ((2,), (len(patterns), 2)):
        raise AssbValueError(f"centres: shape ({len(patterns)}, 2) or (2,), not {places.shape}.")
    if not radius > 0.0:
        raise AssbValueError(f"radius: above 0 pixels, not {radius}.")
    places = np.ascontiguousarray(np.broadcast_to(places, (len(patterns), 2)))
    counts = np.empty(len(patterns))

    def work(begin: int, end: int) -> None:
        _sum_discs(patterns[begin:end].astype(np.float32), places[begin:end], float(radius), counts[begin:end])

    in_threads(work, len(patterns), threads)
    return counts


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sum_discs(patterns: NDArray[np.float32], centres: FloatArray, radius: float, out: FloatArray) -> None:
    ny, nx = patterns.shape[1:]
    for b in range(len(patterns)):
        x, y = centres[b]
        if not (np.isfinite(x) and np.isfinite(y)):
            out[b] = np.nan
            continue
        total = 0.0
        for j in range(max(int(y - radius - 1.0), 0), min(int(y + radius + 2.0), ny)):
            for i in range(max(int(x - radius - 1.0), 0), min(int(x + radius + 2.0), nx)):
                inside = radius + 0.5 - np.sqrt((i - x) ** 2 + (j - y) ** 2)
                if inside > 0.0:
                    total += min(inside, 1.0) * float(patterns[b, j, i])
        out[b] = total


def estimate_exposure(
    patterns: ArrayLike,
    centres: ArrayLike,
    *,
    beam_radius: float,
    min_counts: float = 20.0,
    saturation: float | None = None,
    saturated_pixels: int = 10,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which patterns are empty, and which saturated, beyond the direct beam.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    centres
        Column and row in pixels, shape (B, 2); where it is NaN, the whole pattern counts.
    beam_radius
        Pixels that are nearer to the direct beam are not looked at.
    min_counts
        Patterns with a smaller sum are empty.
    saturation
        Counts at which the camera is saturated. None takes the largest value that the type can hold or, where several
        pixels share the largest value that there is and it is twice what their neighbours can reach by chance, that.
    saturated_pixels
        So many saturated pixels mark a pattern.

    Returns
    -------
    empty, saturated
        Shape (B,) each.
    """
    patterns = checked_patterns(patterns)
    places = np.array(centres, dtype=float)
    if places.shape != (len(patterns), 2):
        raise AssbValueError(f"centres: column and row for each of {len(patterns)} patterns, not {places.shape}.")
    level = np.inf if saturation is None else float(saturation)
    if saturation is None and patterns.dtype.kind in "iu":
        level = float(np.iinfo(patterns.dtype).max)
        level = min(level, _ceiling(patterns))
    counts, full = np.empty(len(patterns)), np.empty(len(patterns), dtype=np.int64)
    places[~np.isfinite(places).all(axis=1)] = 1e6
    for b in range(0, len(patterns), EXPOSURE_BLOCK):
        part = slice(b, b + EXPOSURE_BLOCK)
        block = patterns[part].astype(np.float32)
        exposure(block, places[part], np.eye(2), float(beam_radius), level, counts[part], full[part])
    return ~(counts >= min_counts), full >= saturated_pixels


def _ceiling(patterns: NDArray[Any]) -> float:
    """Largest value of a counter of few bits (2**n - 1) if pixels crowd there, else infinity.

    Files keep the counters of 6 or 12 bits of a camera in types of 8 or 16.
    """
    top = int(patterns.max(initial=0))
    if top < SMALLEST_COUNTER or (top + 1) & top:
        return np.inf
    at_top = int(np.count_nonzero(patterns == top))
    below = int(np.count_nonzero((patterns < top) & (patterns >= top - max(top // 8, 1))))
    return float(top) if at_top > max(below, CROWD) else np.inf


def remove_background(
    patterns: ArrayLike,
    centres: ArrayLike,
    *,
    method: str = "radial",
    size: int = 16,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Patterns without their diffuse background; weak spots stay.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    centres
        Column and row of the direct beam in pixels, shape (B, 2) or (2,).
    method
        ``"radial"`` takes off the level of each radius, the mean of the pixels that are not above the others (about
        2 ms for 256 x 256 pixels): spots that cover less than half of a ring stay whole, however weak. ``"mesh"``
        takes off what then remains of a background that is not round: the same mean in squares, interpolated between
        them [1]_, another 2 ms. (A morphological opening, or a ball rolled below the pattern, takes weak spots off with
        it where the background slopes.)
    size
        Side of these squares in pixels, some times that of spots.
    threads
        Number of threads; all cores if None.

    Returns
    -------
    spots
        Counts above the background, negative ones by noise included, shape (B, ny, nx).

    Raises
    ------
    ValueError
        If shapes do not go together, a centre is not known, or the method is unknown.

    References
    ----------
    .. [1] E. Bertin, S. Arnouts, Astron. Astrophys. Suppl. Ser. 117, 393 (1996), doi 10.1051/aas:1996164.
    """
    patterns = checked_patterns(patterns)
    if method not in BACKGROUNDS:
        raise AssbValueError(f"method: one of {', '.join(map(repr, BACKGROUNDS))}, not {method!r}.")
    if method == "mesh" and not 4 <= size <= min(patterns.shape[1:]) // 2:
        raise AssbValueError(f"size: from 4 pixels to half of the shorter side of the pattern, not {size}.")
    places = np.asarray(centres, dtype=float)
    if places.shape not in ((2,), (len(patterns), 2)) or not np.isfinite(places).all():
        raise AssbValueError(f"centres: known column and row of {len(patterns)} patterns, shape (B, 2) or (2,).")
    places = np.ascontiguousarray(np.broadcast_to(places, (len(patterns), 2)))
    spots = np.empty(patterns.shape, dtype=np.float32)
    quantum = quantum_of(patterns)

    def work(begin: int, end: int) -> None:
        _take_levels_off(patterns[begin:end].astype(np.float32), places[begin:end], quantum, spots[begin:end])
        if method == "mesh":
            for b in range(begin, end):
                spots[b] -= _mesh(spots[b], size)

    in_threads(work, len(patterns), threads)
    return spots


def fill_masked(patterns: ArrayLike, centres: ArrayLike, mask: ArrayLike) -> NDArray[Any]:
    """Patterns with the mean of their radius where a beam stop or dead pixels are.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    centres
        Column and row of the direct beam in pixels, shape (B, 2) or (2,).
    mask
        True where pixels are filled, shape (ny, nx).

    Returns
    -------
    filled
        Of the same type, shape (B, ny, nx). Radii that are masked all around get the level of the next one.

    Raises
    ------
    ValueError
        If shapes do not go together, a centre is not known, or all pixels are masked.
    """
    patterns = checked_patterns(patterns)
    hide = np.asarray(mask, dtype=bool)
    places = np.asarray(centres, dtype=float)
    if hide.shape != patterns.shape[1:]:
        raise AssbValueError(f"mask: the shape of a pattern {patterns.shape[1:]}, not {hide.shape}.")
    if hide.all():
        raise AssbValueError("mask: every pixel is left out.")
    if places.shape not in ((2,), (len(patterns), 2)) or not np.isfinite(places).all():
        raise AssbValueError(
            f"centres: known column and row of each of {len(patterns)} patterns, shape (B, 2) or (2,)."
        )
    places = np.broadcast_to(places, (len(patterns), 2))
    filled = patterns.copy()
    y, x = np.indices(hide.shape)
    for b in range(len(patterns)):
        radius = np.hypot(x - places[b, 0], y - places[b, 1]).round().astype(int)
        number = np.bincount(radius[~hide], minlength=radius.max() + 1)
        total = np.bincount(radius[~hide], weights=patterns[b][~hide].astype(float), minlength=radius.max() + 1)
        seen = np.flatnonzero(number)
        level = np.interp(np.arange(len(number)), seen, total[seen] / number[seen])[radius[hide]]
        filled[b][hide] = level.round() if patterns.dtype.kind in "iu" else level
    return filled


def find_symmetry_centre(
    pattern: ArrayLike, *, mask: ArrayLike | None = None, expected: tuple[float, float] | None = None
) -> FloatArray:
    """Find the point about which a pattern is most like itself turned by 180 degrees, as behind a beam stop.

    Rings are so about their centre, and so are spots (law of Friedel) if both of most pairs are lit. The pattern is
    correlated with itself turned, normalised over the pixels that both show [1]_.

    Parameters
    ----------
    pattern
        Any real type, shape (ny, nx).
    mask
        True where pixels are left out (beam stop, outside of a round screen), shape (ny, nx).
    expected
        Column and row near which it lies, within an eighth of the shorter side; anywhere in the middle half if None.

    Returns
    -------
    centre
        Column and row in pixels, shape (2,), to about a tenth of a pixel; NaN if nothing is symmetric.

    Raises
    ------
    ValueError
        If shapes do not go together.

    References
    ----------
    .. [1] D. Padfield, IEEE Trans. Image Process. 21, 2706 (2012), doi 10.1109/TIP.2011.2181402.
    """
    from scipy.ndimage import gaussian_filter
    from scipy.signal import fftconvolve

    image = np.asarray(pattern, dtype=float)
    if image.ndim != 2:
        raise AssbValueError(f"pattern: shape (ny, nx), not {image.shape}.")
    keep = np.ones(image.shape) if mask is None else 1.0 - np.asarray(mask, dtype=float)
    if keep.shape != image.shape:
        raise AssbValueError(f"mask: the shape of the pattern {image.shape}, not {keep.shape}.")
    ny, nx = image.shape
    keep = keep * np.isfinite(image)
    # The square root: the few brightest pixels would decide alone.
    image = np.sqrt(np.where(keep > 0, image - np.min(image, where=keep > 0, initial=np.inf), 0.0))
    image = gaussian_filter(image * keep, 1.0) / np.maximum(gaussian_filter(keep, 1.0), 1e-6) * keep
    # Convolution of f with itself at p is the sum of f(x) f(p - x): the centre lies at p / 2.
    number = np.maximum(np.round(fftconvolve(keep, keep)), 0.0)
    first = fftconvolve(image, keep)
    product = fftconvolve(image, image)
    square = fftconvolve(image * image, keep)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = product - first * first / number
        variance = square - first * first / number
        correlation = covariance / variance
    y, x = np.mgrid[: 2 * ny - 1, : 2 * nx - 1] / 2.0
    if expected is None:
        allowed = (np.abs(x - (nx - 1) / 2) <= nx / 4) & (np.abs(y - (ny - 1) / 2) <= ny / 4)
    else:
        allowed = np.hypot(x - expected[0], y - expected[1]) <= min(ny, nx) / SYMMETRY_RANGE
    allowed &= (number >= LEAST_OVERLAP * keep.sum()) & (variance > 1e-9 * max(float(square.max()), 1e-300))
    if not allowed.any():
        return np.full(2, np.nan)
    correlation = np.where(allowed, correlation, -np.inf)
    j, i = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    best = float(correlation[j, i])
    if not best > LEAST_SYMMETRY:
        return np.full(2, np.nan)
    # A paraboloid through what is about the top.
    reach = TOP_REACH
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    if not (reach <= j < 2 * ny - 1 - reach and reach <= i < 2 * nx - 1 - reach):
        return np.array([i / 2.0, j / 2.0])
    values = correlation[j - reach : j + reach + 1, i - reach : i + reach + 1].ravel()
    good = np.isfinite(values)
    terms = np.stack([np.ones(u.size), u.ravel(), v.ravel(), u.ravel() ** 2, (u * v).ravel(), v.ravel() ** 2], axis=1)
    c = np.linalg.lstsq(terms[good], values[good], rcond=None)[0]
    bend = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
    step = np.zeros(2)
    if np.linalg.det(bend) > 0 and bend[0, 0] < 0:
        step = np.clip(-np.linalg.solve(bend, c[1:3]), -reach, reach)
    return np.array([(i + step[0]) / 2.0, (j + step[1]) / 2.0])


def _mesh(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Level of squares, interpolated to pixels."""
    from scipy.ndimage import map_coordinates, median_filter

    ny, nx = image.shape
    rows, columns = max(ny // size, 2), max(nx // size, 2)
    level = np.empty((rows, columns))
    _levels_of_squares(image, level)
    level = np.minimum(level, median_filter(level, 3, mode="nearest") + MESH_SPREAD * float(np.std(level)))
    y = (np.arange(ny) + 0.5) * rows / ny - 0.5
    x = (np.arange(nx) + 0.5) * columns / nx - 0.5
    at = np.meshgrid(y, x, indexing="ij")
    return np.asarray(map_coordinates(level, at, order=1, mode="nearest"), dtype=np.float32)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _levels_of_squares(image: NDArray[np.float32], out: FloatArray) -> None:
    ny, nx = image.shape
    rows, columns = out.shape
    for v in range(rows):
        for u in range(columns):
            part = image[v * ny // rows : (v + 1) * ny // rows, u * nx // columns : (u + 1) * nx // columns]
            # The background has been taken off but for a remainder: there is no step of counts.
            out[v, u] = _robust_mean(part.copy().ravel(), 0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take_levels_off(
    patterns: NDArray[np.float32], centres: FloatArray, quantum: float, out: NDArray[np.float32]
) -> None:
    ny, nx = patterns.shape[1:]
    rings = int(np.sqrt(float(nx * nx + ny * ny))) + 3
    begin = np.empty(rings + 1, dtype=np.int64)
    fill = np.empty(rings, dtype=np.int64)
    values = np.empty(ny * nx, dtype=np.float32)
    level, place = np.zeros(rings), np.zeros(rings)
    for b in range(len(patterns)):
        x0, y0 = centres[b]
        begin[:] = 0
        place[:] = 0.0
        for j in range(ny):
            for i in range(nx):
                d = np.sqrt((i - x0) ** 2 + (j - y0) ** 2)
                r = min(int(d + 0.5), rings - 1)
                begin[r + 1] += 1
                place[r] += d
        last = 0
        for r in range(rings):
            number = begin[r + 1]
            place[r] = place[r] / number if number else float(r)
            last = r if number else last
            begin[r + 1] += begin[r]
            fill[r] = begin[r]
        for j in range(ny):
            for i in range(nx):
                r = min(int(np.sqrt((i - x0) ** 2 + (j - y0) ** 2) + 0.5), rings - 1)
                values[fill[r]] = patterns[b, j, i]
                fill[r] += 1
        for r in range(rings):
            if begin[r + 1] > begin[r]:
                level[r] = _robust_mean(values[begin[r] : begin[r + 1]], quantum)
        for j in range(ny):
            for i in range(nx):
                d = np.sqrt((i - x0) ** 2 + (j - y0) ** 2)
                r = min(int(d), last)
                if d < place[r] and r > 0:
                    r -= 1
                high = min(r + 1, last)
                u = (d - place[r]) / (place[high] - place[r]) if place[high] > place[r] else 0.0
                u = min(max(u, 0.0), 1.0)
                out[b, j, i] = float(patterns[b, j, i]) - ((1.0 - u) * level[r] + u * level[high])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _robust_mean(values: NDArray[np.float32], quantum: float) -> float:
    """Mean of the values that are not far above the others: unlike a median right for few counts."""
    n = len(values)
    if n < FEWEST_VALUES:
        return values.mean()
    ordered = np.sort(values)
    level = float(ordered[n // 2])
    spread = (level - ordered[n // 4]) / 0.6745
    kept = -1
    for _ in range(MEAN_ROUNDS):
        limit = level + FAR_ABOVE * max(spread, np.sqrt(quantum * max(level, 0.0))) + FAR_QUANTA * quantum
        count = np.searchsorted(ordered, limit, side="right")
        count = max(count, 1)
        if count == kept:
            break
        kept = count
        level = ordered[:count].mean()
    return level
