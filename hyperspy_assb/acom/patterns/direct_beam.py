"""Where the direct beam is."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads


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
    patterns = checked_patterns(patterns)
    count, ny, nx = patterns.shape
    short = min(ny, nx)
    largest = short / 6.0 if max_beam_radius is None else float(max_beam_radius)
    if not largest > 0.0:
        raise ValueError(f"max_beam_radius: above 0 pixels, not {max_beam_radius}.")
    if search_radius is not None and not search_radius >= 1.0:
        raise ValueError(f"search_radius: 1 pixel or more, not {search_radius}.")
    centres = np.full((count, 2), np.nan)
    if count == 0:
        return centres
    if expected is not None:
        place = np.asarray(expected, dtype=float)
        if place.shape != (2,) or not ((place > -0.5) & (place < (nx - 0.5, ny - 0.5))).all():
            raise ValueError(
                f"expected: column and row within a frame of {nx} columns and {ny} rows, not {expected}; the direct "
                "beam is looked for there."
            )
    elif count >= 8:
        mean = np.zeros((1, ny, nx), dtype=np.float32)
        # Some hundreds of patterns are enough to tell the beam from spots.
        for pattern in patterns[:: max(count // 256, 1)]:
            mean[0] += np.nan_to_num(pattern, posinf=0.0, neginf=0.0)
        place = find_centres(mean, max_beam_radius=largest, significance=significance)[0]
    else:
        place = np.full(2, np.nan)
    known = bool(np.isfinite(place).all())
    if known:
        reach = short / 8.0 if search_radius is None else float(search_radius)
    else:
        place, reach = np.array([(nx - 1) / 2.0, (ny - 1) / 2.0]), float(nx + ny)

    def work(begin: int, end: int) -> None:
        block = patterns[begin:end].astype(np.float32)
        _find_beams(block, place[0], place[1], reach, largest, significance, centres[begin:end])

    in_threads(work, count, threads)
    if count >= 8 and search_radius is None:
        # A Bragg spot that is brighter than the direct beam lies far from where the beam of the mean pattern is, and a
        # quarter of the patterns at least has its own beam near there.
        middle = place if known else np.full(2, np.nan)
        away = np.linalg.norm(centres - middle, axis=1)
        if np.isfinite(away).any():
            near = 3.0 + 6.0 * float(np.nanquantile(away, 0.25))
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

    def find(self, patterns: ArrayLike) -> FloatArray:
        """Column and row of the direct beam of each pattern, shape (B, 2)."""
        found = find_centres(patterns, expected=self.place)
        seen = np.linalg.norm(found - self.place, axis=1) <= self.reach
        found[~seen] = np.median(found[seen], axis=0) if seen.any() else self.place
        return found + self.shift


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
        raise ValueError(f"pattern: shape (ny, nx), not {image.shape}.")
    keep = np.ones(image.shape) if mask is None else 1.0 - np.asarray(mask, dtype=float)
    if keep.shape != image.shape:
        raise ValueError(f"mask: the shape of the pattern {image.shape}, not {keep.shape}.")
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
        allowed = np.hypot(x - expected[0], y - expected[1]) <= min(ny, nx) / 8.0
    allowed &= (number >= 0.25 * keep.sum()) & (variance > 1e-9 * max(float(square.max()), 1e-300))
    if not allowed.any():
        return np.full(2, np.nan)
    correlation = np.where(allowed, correlation, -np.inf)
    j, i = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    best = float(correlation[j, i])
    if not best > 0.1:
        return np.full(2, np.nan)
    # A paraboloid through what is about the top.
    reach = 3
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
    stride = max(int(np.sqrt((y_last - y_first + 1) * (x_last - x_first + 1) / 2000.0)), 1)
    some = np.empty(((y_last - y_first) // stride + 1) * ((x_last - x_first) // stride + 1))
    for b in range(len(patterns)):
        pattern = patterns[b]
        out[b] = np.nan
        best, bj, bi, number = -np.inf, -1, -1, 0
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                if (i - x0) ** 2 + (j - y0) ** 2 > reach * reach:
                    continue
                # Most pixels are darker than the best mean so far, and so is most often what is about them.
                if 8.0 * float(pattern[j, i]) < best:
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
        # A ring or an arc is far wider than a disc of its area.
        if np.sqrt(extent) > 1.6 * radius + 1.5:
            continue
        if touches:
            _circle_through(pattern, half, stack[:size], seen, mark, largest, out[b])
            continue
        _centre_of_mass(pattern, x, y, 1.3 * max(radius, np.sqrt(extent)) + 1.0, out[b])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _centre_of_mass(pattern: NDArray[np.float32], x: float, y: float, radius: float, out: FloatArray) -> None:
    """Centre of mass in a round window with an edge of two pixels that follows it, background about it taken off."""
    ny, nx = pattern.shape
    rim = radius + 1.0
    ring = np.empty(int(4.0 * (rim + 4.0) ** 2))
    start_x, start_y = x, y
    for _ in range(20):
        count = 0
        for j in range(max(int(y - rim - 3.0), 0), min(int(y + rim + 4.0), ny)):
            for i in range(max(int(x - rim - 3.0), 0), min(int(x + rim + 4.0), nx)):
                d = np.sqrt((i - x) ** 2 + (j - y) ** 2)
                if rim < d <= rim + 2.5 and count < len(ring):
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
        if abs(mx) + abs(my) < 1e-3 * total:
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
    if number < 6:
        return
    mx, my = points[:number, 0].mean(), points[:number, 1].mean()
    x, y, radius = mx, my, np.sqrt(len(pixels) / np.pi)
    matrix, right, row = np.empty((3, 3)), np.empty(3), np.ones(3)
    for _ in range(50):
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
        if abs(move[0]) + abs(move[1]) < 1e-4:
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
        raise ValueError(f"centres: shape (rows, columns, 2), not {centres.shape}.")
    if degree not in (0, 1, 2):
        raise ValueError(f"degree: 0, 1 or 2, not {degree}.")
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
        raise ValueError(
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
