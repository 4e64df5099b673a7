"""Where the direct beam is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads

LARGEST_BEAM = 6.0
"""The shorter side of the frame over the largest radius that a direct beam may have at half of its height."""
SEARCH_RANGE = 8.0
"""The shorter side over the distance from the expected place within which the beam is looked for."""
FEWEST_FOR_MEAN = 8
"""Patterns from which on their mean tells the beam, which stays, from Bragg spots, which do not."""
MOST_FOR_MEAN = 256
"""Patterns that are enough for that mean."""
NEAR_QUANTILE, NEAR_FACTOR, NEAR_PIXELS = 0.25, 6.0, 3.0
"""A beam lies no farther from that of the mean pattern than so many times this quantile of the distances, and so many
pixels: a quarter of the patterns at least has its own beam near there."""
BACKGROUND_PIXELS = 2000.0
"""Pixels that are enough for the background and its spread."""
DARKER = 8.0
"""Pixels darker than the best mean so far by this factor are passed over: what is about them is most often as dark."""
ROUND_FACTOR, ROUND_PIXELS = 1.6, 1.5
"""A disc reaches no farther than so many times the radius of its area, and so many pixels; rings and arcs do."""
WINDOW_FACTOR, WINDOW_PIXELS = 1.3, 1.0
"""Radius of the window for the centre of mass, over that of the beam at half of its height, and in pixels besides."""
BACKGROUND_RING = 2.5
"""Width in pixels of the ring about the window whose median is taken off."""
MASS_ROUNDS, MASS_SETTLED = 20, 1e-3
"""Iterations of the centre of mass, at most, and the step in pixels at which they end: far below the noise."""
LEAST_OUTLINE = 6
"""Points of an outline that a circle is fitted through, at least: it has three parameters."""
CIRCLE_ROUNDS, CIRCLE_SETTLED = 50, 1e-4
"""Iterations of the circle, at most, and the step in pixels at which they end."""


def find_centres(
    patterns: ArrayLike,
    *,
    expected: tuple[float, float] | None = None,
    search_radius: float | None = None,
    max_beam_radius: float | None = None,
    significance: float = 6.0,
    threads: int | None = None,
) -> FloatArray:
    """Find the direct beam of each pattern, to a fraction of a pixel.

    The brightest place (the mean of 3 x 3 pixels without the brightest of them, so that hot pixels do not count) is
    surrounded by all connected pixels above half of its height over the background. Their extent gives the size of a
    window with a soft edge, whose centre of mass is found by iteration: of a disc that saturates the camera as of a
    spot of a few electrons. Where the beam is cut by the edge of the frame, a circle is fitted to its outline.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    expected
        Column and row in pixels about which it is looked for. By default that is the brightest place of the mean of the
        patterns, as Bragg spots move from grain to grain and the direct beam does not.
    search_radius
        In pixels; by default an eighth of the shorter side of the frame where `expected` is given or there are 8
        patterns or more, else the whole frame is searched.
    max_beam_radius
        What is larger, at half of its height, is no direct beam, in pixels; a sixth of the shorter side by default.
    significance
        By how many standard errors, of counts and of the variation about it, a beam stands out at least.
    threads
        Number of threads; all cores if None.

    Returns
    -------
    centres
        Column and row in pixels, shape (B, 2); NaN where there is no direct beam (too few counts, or behind a stop).

    Raises
    ------
    ValueError
        If these are no patterns, or `expected` lies outside of the frame.
    """
    return locate_beams(
        checked_patterns(patterns),
        expected=expected,
        search_radius=search_radius,
        max_beam_radius=max_beam_radius,
        significance=significance,
        threads=threads,
    )


def locate_beams(
    patterns: NDArray[Any],
    *,
    expected: tuple[float, float] | None = None,
    search_radius: float | None = None,
    max_beam_radius: float | None = None,
    significance: float = 6.0,
    threads: int | None = None,
) -> FloatArray:
    """:func:`find_centres` of patterns that were checked, as those of a scan are."""
    count, ny, nx = patterns.shape
    short = min(ny, nx)
    largest = short / LARGEST_BEAM if max_beam_radius is None else float(max_beam_radius)
    if not largest > 0.0:
        raise AssbValueError(f"max_beam_radius: above 0 pixels, not {max_beam_radius}.")
    if search_radius is not None and not search_radius >= 1.0:
        raise AssbValueError(f"search_radius: 1 pixel or more, not {search_radius}.")
    centres = np.full((count, 2), np.nan)
    if count == 0:
        return centres
    if expected is not None:
        place = np.asarray(expected, dtype=float)
        if place.shape != (2,) or not ((place > -0.5) & (place < (nx - 0.5, ny - 0.5))).all():
            raise AssbValueError(
                f"expected: column and row within a frame of {nx} columns and {ny} rows, not {expected}; the direct "
                "beam is looked for there."
            )
    elif count >= FEWEST_FOR_MEAN:
        mean = np.zeros((1, ny, nx), dtype=np.float32)
        for pattern in patterns[:: max(count // MOST_FOR_MEAN, 1)]:
            mean[0] += np.nan_to_num(pattern, posinf=0.0, neginf=0.0)
        place = locate_beams(mean, max_beam_radius=largest, significance=significance)[0]
    else:
        place = np.full(2, np.nan)
    known = bool(np.isfinite(place).all())
    if known:
        reach = short / SEARCH_RANGE if search_radius is None else float(search_radius)
    else:
        place, reach = np.array([(nx - 1) / 2.0, (ny - 1) / 2.0]), float(nx + ny)

    def work(begin: int, end: int) -> None:
        block = patterns[begin:end].astype(np.float32)
        _find_beams(block, place[0], place[1], reach, largest, significance, centres[begin:end])

    in_threads(work, count, threads)
    if count >= FEWEST_FOR_MEAN and search_radius is None:
        # A Bragg spot that is brighter than the direct beam lies far from where the beam of the mean pattern is.
        middle = place if known else np.full(2, np.nan)
        away = np.linalg.norm(centres - middle, axis=1)
        if np.isfinite(away).any():
            near = NEAR_PIXELS + NEAR_FACTOR * float(np.nanquantile(away, NEAR_QUANTILE))
            for b in np.flatnonzero(~(away <= near)):
                block = patterns[b : b + 1].astype(np.float32)
                _find_beams(block, middle[0], middle[1], near, largest, significance, centres[b : b + 1])
    return centres


@dataclass(frozen=True)
class BeamFinder:
    """Finds the direct beam of each pattern of a scan, wherever block by block they come from.

    Parameters
    ----------
    place
        Column and row about which it lies, in pixels.
    reach
        Pixels by which it strays from there, at most. Where it is not seen, it is where it is in the patterns about.
    shift
        Centre of the diffraction patterns less that of the beam, in pixels.
    """

    place: tuple[float, float]
    reach: float
    shift: tuple[float, float] = (0.0, 0.0)

    def find(self, patterns: NDArray[Any]) -> FloatArray:
        """Column and row of the direct beam of each pattern, shape (B, 2).

        Raises
        ------
        ValueError
            If the shift puts one outside of the frame.
        """
        found = locate_beams(patterns, expected=self.place)
        seen = np.linalg.norm(found - self.place, axis=1) <= self.reach
        found[~seen] = np.median(found[seen], axis=0) if seen.any() else self.place
        return inside_frame("centres", found + self.shift, patterns.shape)


def checked_centres(
    centres: ArrayLike | None, geometry: PatternGeometry, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Column and row of the direct beam of each pattern, shape (B, 2).

    Raises
    ------
    ValueError
        If there is not one for each pattern, or one lies outside of the frame.
    """
    count = shape[0]
    if centres is None:
        places = geometry.centres(count)
        name = "centre"
    else:
        places = np.asarray(centres, dtype=float)
        name = "centres"
        if places.shape != (count, 2):
            raise AssbValueError(f"centres: column and row for each of {count} patterns, not {places.shape}.")
    return inside_frame(name, places, shape)


def inside_frame(name: str, places: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Column and row of the direct beam of each pattern, shape (B, 2), if all lie in frames of shape (B, ny, nx)."""
    _, ny, nx = shape
    inside = ((places > -0.5) & (places < (nx - 0.5, ny - 0.5))).all(axis=1)
    if not inside.all():
        first = int(np.argmin(inside))
        x, y = places[first]
        raise AssbValueError(
            f"{name}: the direct beam of pattern {first} at column {x:.1f}, row {y:.1f} lies outside of the frame of "
            f"{nx} columns and {ny} rows."
        )
    return np.ascontiguousarray(places)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _without_brightest(pattern: NDArray[np.float32], j: int, i: int) -> float:
    """Mean of the pixels about one, the brightest of them left out."""
    total, top, number = 0.0, -np.inf, 0
    for v in range(max(j - 1, 0), min(j + 2, pattern.shape[0])):
        for u in range(max(i - 1, 0), min(i + 2, pattern.shape[1])):
            value = float(pattern[v, u])
            total += value
            top = max(top, value)
            number += 1
    return (total - top) / (number - 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _find_beams(
    patterns: NDArray[np.float32],
    x0: float,
    y0: float,
    reach: float,
    largest: float,
    significance: float,
    out: FloatArray,
) -> None:
    """Direct beams of patterns into `out` (B, 2); NaN where there is none."""
    ny, nx = patterns.shape[1:]
    left, right = max(int(np.ceil(x0 - reach)), 0), min(int(x0 + reach), nx - 1)
    top, bottom = max(int(np.ceil(y0 - reach)), 0), min(int(y0 + reach), ny - 1)
    seen = np.zeros((ny, nx), dtype=np.int64)
    stack = np.empty((ny * nx, 2), dtype=np.int64)
    # The background is that of a wider area; every so many pixels are enough for it.
    wide = max(reach, largest)
    x_first, x_last = max(int(np.ceil(x0 - wide)), 0), min(int(x0 + wide), nx - 1)
    y_first, y_last = max(int(np.ceil(y0 - wide)), 0), min(int(y0 + wide), ny - 1)
    stride = max(int(np.sqrt((y_last - y_first + 1) * (x_last - x_first + 1) / BACKGROUND_PIXELS)), 1)
    some = np.empty(((y_last - y_first) // stride + 1) * ((x_last - x_first) // stride + 1))
    for b in range(len(patterns)):
        pattern = patterns[b]
        out[b] = np.nan
        best, bj, bi, number = -np.inf, -1, -1, 0
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                if (i - x0) ** 2 + (j - y0) ** 2 > reach * reach:
                    continue
                if DARKER * float(pattern[j, i]) < best:
                    continue
                value = _without_brightest(pattern, j, i)
                if value > best:
                    best, bj, bi = value, j, i
        for j in range(y_first, y_last + 1, stride):
            for i in range(x_first, x_last + 1, stride):
                some[number] = pattern[j, i]
                number += 1
        if bj < 0 or not np.isfinite(best):
            continue
        level = np.median(some[:number])
        spread = 1.4826 * np.median(np.abs(some[:number] - level))
        half = level + 0.5 * (best - level)
        if not best > half:
            continue
        # Connected pixels above half of the height.
        mark = b + 1
        stack[0, 0], stack[0, 1] = bj, bi
        seen[bj, bi] = mark
        size, k = 1, 0
        sx, sy = 0.0, 0.0
        signal = 0.0
        touches = False
        while k < size:
            j, i = stack[k]
            k += 1
            sx += i
            sy += j
            signal += float(pattern[j, i]) - level
            touches = touches or i == 0 or j == 0 or i == nx - 1 or j == ny - 1
            for v in range(max(j - 1, 0), min(j + 2, ny)):
                for u in range(max(i - 1, 0), min(i + 2, nx)):
                    if seen[v, u] != mark and float(pattern[v, u]) > half:
                        seen[v, u] = mark
                        stack[size, 0], stack[size, 1] = v, u
                        size += 1
        radius = np.sqrt(size / np.pi)
        noise = np.sqrt(max(signal, 0.0) + size * (max(level, 0.0) + spread * spread))
        if radius > largest or not signal > significance * noise:
            continue
        x, y = sx / size, sy / size
        extent = 0.0
        for m in range(size):
            extent = max(extent, (stack[m, 1] - x) ** 2 + (stack[m, 0] - y) ** 2)
        if np.sqrt(extent) > ROUND_FACTOR * radius + ROUND_PIXELS:
            continue
        if touches:
            _circle_through(pattern, half, stack[:size], seen, mark, largest, out[b])
            continue
        _centre_of_mass(pattern, x, y, WINDOW_FACTOR * max(radius, np.sqrt(extent)) + WINDOW_PIXELS, out[b])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _centre_of_mass(pattern: NDArray[np.float32], x: float, y: float, radius: float, out: FloatArray) -> None:
    """Centre of mass in a round window with an edge of two pixels that follows it, background about it taken off."""
    ny, nx = pattern.shape
    rim = radius + 1.0
    ring = np.empty(int(4.0 * (rim + 4.0) ** 2))
    start_x, start_y = x, y
    for _ in range(MASS_ROUNDS):
        count = 0
        for j in range(max(int(y - rim - 3.0), 0), min(int(y + rim + 4.0), ny)):
            for i in range(max(int(x - rim - 3.0), 0), min(int(x + rim + 4.0), nx)):
                d = np.sqrt((i - x) ** 2 + (j - y) ** 2)
                if rim < d <= rim + BACKGROUND_RING and count < len(ring):
                    ring[count] = pattern[j, i]
                    count += 1
        level = np.median(ring[:count]) if count else 0.0
        total, mx, my = 0.0, 0.0, 0.0
        for j in range(max(int(y - rim), 0), min(int(y + rim + 1.0), ny)):
            for i in range(max(int(x - rim), 0), min(int(x + rim + 1.0), nx)):
                d = np.sqrt((i - x) ** 2 + (j - y) ** 2)
                if d < rim:
                    weight = min(0.5 * (rim - d), 1.0) * (float(pattern[j, i]) - level)
                    total += weight
                    mx += weight * (i - x)
                    my += weight * (j - y)
        if not total > 0.0:
            break
        x += mx / total
        y += my / total
        if abs(mx) + abs(my) < MASS_SETTLED * total:
            break
    if not ((x - start_x) ** 2 + (y - start_y) ** 2 <= radius * radius):
        x, y = start_x, start_y
    out[0], out[1] = x, y


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _circle_through(
    pattern: NDArray[np.float32],
    half: float,
    pixels: NDArray[np.int64],
    seen: NDArray[np.int64],
    mark: int,
    largest: float,
    out: FloatArray,
) -> None:
    """Centre of the circle through the outline of a region, as far as it lies in the frame; NaN if that is little."""
    ny, nx = pattern.shape
    points = np.empty((4 * len(pixels), 2))
    number = 0
    for k in range(len(pixels)):
        j, i = pixels[k]
        for s in range(4):
            v, u = j + (s == 0) - (s == 1), i + (s == 2) - (s == 3)
            if v < 0 or u < 0 or v >= ny or u >= nx or seen[v, u] == mark:
                continue
            # Where the half of the height is crossed between the two pixels.
            step = (pattern[j, i] - half) / max(pattern[j, i] - pattern[v, u], 1e-30)
            points[number, 0] = i + step * (u - i)
            points[number, 1] = j + step * (v - j)
            number += 1
    if number < LEAST_OUTLINE:
        return
    mx, my = points[:number, 0].mean(), points[:number, 1].mean()
    x, y, radius = mx, my, np.sqrt(len(pixels) / np.pi)
    matrix, right, row = np.empty((3, 3)), np.empty(3), np.ones(3)
    for _ in range(CIRCLE_ROUNDS):
        matrix[:] = 0.0
        right[:] = 0.0
        for k in range(number):
            px, py = points[k, 0] - x, points[k, 1] - y
            d = max(np.sqrt(px * px + py * py), 1e-6)
            row[0], row[1] = px / d, py / d
            for a in range(3):
                right[a] += row[a] * (d - radius)
                for c in range(3):
                    matrix[a, c] += row[a] * row[c]
        if abs(np.linalg.det(matrix)) < 1e-9 * number**3:
            return
        move = np.linalg.solve(matrix, right)
        x, y, radius = x + move[0], y + move[1], radius + move[2]
        if abs(move[0]) + abs(move[1]) < CIRCLE_SETTLED:
            break
    if 0.0 < radius <= largest and -0.5 < x < nx - 0.5 and -0.5 < y < ny - 0.5:
        out[0], out[1] = x, y


def smooth_centres(centres: ArrayLike, *, degree: int = 1, max_rounds: int = 50) -> FloatArray:
    """Centres of a scan as a polynomial of the place in the scan, which is what a beam that drifts in the descan does.

    Parameters
    ----------
    centres
        Column and row in pixels, NaN where unknown, shape (rows, columns, 2).
    degree
        0 for one centre, 1 for a plane, 2 with the squares.
    max_rounds
        Of the fit, which gives outliers no weight (biweight of Tukey, of the median deviation).

    Returns
    -------
    smoothed
        Shape (rows, columns, 2), known everywhere.

    Raises
    ------
    ValueError
        If fewer centres are known than the polynomial needs.
    """
    centres = np.asarray(centres, dtype=float)
    if centres.ndim != 3 or centres.shape[2] != 2:
        raise AssbValueError(f"centres: shape (rows, columns, 2), not {centres.shape}.")
    if degree not in (0, 1, 2):
        raise AssbValueError(f"degree: 0, 1 or 2, not {degree}.")
    rows, columns = centres.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    # A side of one or two patterns cannot carry a slope or a bend.
    terms = [
        x**a * y**b
        for a in range(degree + 1)
        for b in range(degree + 1 - a)
        if a < max(columns, 1) and b < max(rows, 1)
    ]
    design = np.stack(terms, axis=-1).reshape(-1, len(terms))
    known = np.isfinite(centres).all(axis=-1).ravel()
    if known.sum() < len(terms):
        raise AssbValueError(
            f"centres: the direct beam is known in {known.sum()} patterns, a polynomial of degree {degree} needs "
            f"{len(terms)}; give the centre yourself."
        )
    values = centres.reshape(-1, 2)
    a, b = design[known], values[known]
    # From the median: it does not follow outliers, as a first fit of least squares would.
    fit = np.zeros((len(terms), 2))
    fit[0] = np.median(b, axis=0)
    for _ in range(max_rounds):
        distance = np.linalg.norm(b - a @ fit, axis=1)
        width = max(4.685 * 1.4826 * float(np.median(distance)) / 1.1774, 1e-9)
        weight = np.clip(1.0 - (distance / width) ** 2, 0.0, None)
        if np.linalg.matrix_rank(a * weight[:, None]) < len(terms):
            break
        new = np.linalg.lstsq(a * weight[:, None], b * weight[:, None], rcond=None)[0]
        done = bool(np.abs(design @ (new - fit)).max() < 1e-6)
        fit = new
        if done:
            break
    return np.asarray((design @ fit).reshape(rows, columns, 2))
