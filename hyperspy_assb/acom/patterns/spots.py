"""Spots of patterns to a fraction of a pixel, and patterns drawn anew from them.

The approach is that of Folastre et al. [1]_: a pattern is reduced to a table of its reflections (position below the
pixel, intensity, size) found by a prominence that adapts to the noise of each pattern, and reconstructed from it
without background and noise. That takes a thousandth of the memory, and gives clean spots to whatever wants an image.
The matching of this package needs neither: it works on the square root of the counts with the mean of each radius
removed.

References
----------
.. [1] N. Folastre et al., Sci. Rep. 14, 12385 (2024), doi 10.1038/s41598-024-63060-5; macros for ImageJ:
   https://github.com/Nicolas-Folastre/ePattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.acom.patterns.preparation import remove_background
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads


@dataclass(frozen=True)
class PeakOptions:
    """What counts as a spot.

    Parameters
    ----------
    prominence
        By how many standard deviations of the noise about it a spot stands out at least of the highest saddle between
        it and a brighter one.
    smoothing
        Standard deviation in pixels of the Gaussian before maxima are looked for; about that of a spot is best.
    window
        Radius in pixels within which position, intensity and size are measured; about twice that of a spot.
    beam_radius
        Maxima that are nearer to the direct beam in pixels are left out.
    most
        So many spots of a pattern at most, the most prominent.
    background
        How the background is removed, see :func:`~hyperspy_assb.acom.patterns.preparation.remove_background`.
    threads
        Number of threads; all cores if None.
    """

    prominence: float = 5.0
    smoothing: float = 1.2
    window: float = 3.5
    beam_radius: float = 6.0
    most: int = 256
    background: str = "radial"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.prominence > 0.0:
            raise AssbValueError(f"prominence: above 0, not {self.prominence}.")
        if not 0.0 <= self.smoothing <= 20.0:
            raise AssbValueError(f"smoothing: from 0 to 20 pixels, not {self.smoothing}.")
        if not 1.0 <= self.window <= 50.0:
            raise AssbValueError(f"window: from 1 to 50 pixels, not {self.window}.")
        if self.most < 1:
            raise AssbValueError(f"most: 1 or more, not {self.most}.")


@dataclass(frozen=True)
class Peaks:
    """Spots of B patterns, all in one table of M rows, those of one pattern together, the most prominent first.

    Parameters
    ----------
    pattern
        Which pattern a spot is of, ascending, shape (M,).
    position
        Column and row in pixels, shape (M, 2).
    intensity
        Counts above the background within the window, shape (M,).
    radius
        Standard deviation of the spot in pixels, shape (M,).
    prominence
        In standard deviations of the noise, shape (M,).
    count
        Spots of each pattern, shape (B,).
    noise
        Standard deviation of the smoothed pattern at its highest angles, without spots, in counts, shape (B,).
    """

    pattern: NDArray[np.int64]
    position: FloatArray
    intensity: FloatArray
    radius: FloatArray
    prominence: FloatArray
    count: NDArray[np.int64]
    noise: FloatArray

    def of(self, pattern: int) -> slice:
        """The rows of one pattern."""
        first, last = np.searchsorted(self.pattern, [pattern, pattern + 1])
        return slice(int(first), int(last))


def find_peaks(patterns: ArrayLike, centres: ArrayLike, *, options: PeakOptions | None = None) -> Peaks:
    """Find the spots of patterns.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    centres
        Column and row of the direct beam in pixels, shape (B, 2) or (2,).
    options
        See :class:`PeakOptions`.

    Returns
    -------
    peaks
        See :class:`Peaks`. The noise is that of each radius (the median of the absolute deviations), so that the
        threshold follows the diffuse intensity from the direct beam outwards.

    Raises
    ------
    ValueError
        If shapes do not go together, or a centre is not known.
    """
    from scipy.ndimage import gaussian_filter

    patterns = checked_patterns(patterns)
    o = options or PeakOptions()
    count = len(patterns)
    places = np.asarray(centres, dtype=float)
    if places.shape not in ((2,), (count, 2)) or not np.isfinite(places).all():
        raise AssbValueError(f"centres: known column and row of each of {count} patterns, shape (B, 2) or (2,).")
    places = np.ascontiguousarray(np.broadcast_to(places, (count, 2)))
    tables = np.empty((count, o.most, 5))
    number = np.zeros(count, dtype=np.int64)
    noise = np.empty(count)

    def work(begin: int, end: int) -> None:
        for b in range(begin, end):
            plain = remove_background(patterns[b : b + 1], places[b], method=o.background, threads=1)[0]
            smooth = gaussian_filter(plain, o.smoothing, mode="nearest") if o.smoothing else plain
            deviation, event = _noise_of_radii(patterns[b], smooth, places[b, 0], places[b, 1], o.smoothing)
            noise[b] = deviation[-1]
            number[b] = _peaks_of(
                plain,
                smooth,
                deviation,
                event * (o.prominence**2 - 1.0) / 6.0,
                places[b, 0],
                places[b, 1],
                o.prominence,
                o.window,
                o.beam_radius,
                tables[b],
            )

    in_threads(work, count, o.threads)
    rows = np.concatenate([tables[b, : number[b]] for b in range(count)]) if count else np.empty((0, 5))
    return Peaks(
        pattern=np.repeat(np.arange(count), number),
        position=rows[:, :2],
        intensity=rows[:, 2],
        radius=rows[:, 3],
        prominence=rows[:, 4],
        count=number,
        noise=noise,
    )


def _noise_of_radii(
    pattern: NDArray[Any], smooth: NDArray[np.float32], x: float, y: float, sigma: float, bins: int = 16
) -> tuple[FloatArray, float]:
    """Standard deviation of the noise of a smoothed pattern in rings of equal widths, (bins,), and counts of an event.

    Counts that are few are not normally distributed: their upper quantiles lie higher by ``(z² - 1) / 6`` events within
    the area of the Gaussian (expansion of Cornish and Fisher).
    """
    v, u = np.indices(smooth.shape)
    distance = np.hypot(u - x, v - y)
    ring = np.minimum((distance * (bins / (0.5 * min(smooth.shape)))).astype(int), bins - 1)
    area = max(4.0 * np.pi * sigma * sigma, 1.0)
    found, gains = np.full(bins, np.nan), []
    for k in range(bins):
        inside = ring == k
        if inside.sum() < 30:
            continue
        raw = pattern[inside].astype(float)
        raw = raw[raw <= np.quantile(raw, 0.99)]
        median = 1.4826 * float(np.median(np.abs(smooth[inside])))
        found[k] = max(median, 1e-12)
        if raw.mean() > 0.0:
            gains.append((k, raw.mean(), raw.var() / raw.mean()))
    known = np.isfinite(found)
    if not known.any():
        return np.full(bins, np.inf), 1.0
    gain = min((g for *_, g in gains), default=1.0)
    for k, mean, _ in gains:
        found[k] = max(found[k], np.sqrt(gain * mean / area))
    return np.interp(np.arange(bins), np.flatnonzero(known), found[known]), gain / area


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _peaks_of(
    plain: NDArray[np.float32],
    smooth: NDArray[np.float32],
    deviation: FloatArray,
    skewness: float,
    x0: float,
    y0: float,
    prominence: float,
    window: float,
    beam_radius: float,
    table: FloatArray,
) -> int:
    """Maxima that stand out, as rows column, row, intensity, radius, prominence; returns how many."""
    ny, nx = smooth.shape
    bins = len(deviation)
    step = 0.5 * min(ny, nx) / bins
    places = np.empty((ny * nx // 4 + 1, 2), dtype=np.int64)
    heights = np.empty(len(places))
    found = 0
    for j in range(1, ny - 1):
        for i in range(1, nx - 1):
            value = smooth[j, i]
            d = np.sqrt((i - x0) ** 2 + (j - y0) ** 2)
            if d < beam_radius or value < prominence * deviation[min(int(d / step), bins - 1)] + skewness:
                continue
            top = True
            for v in range(-1, 2):
                for u in range(-1, 2):
                    other = smooth[j + v, i + u]
                    # Of equal neighbours the first is the maximum.
                    if other > value or (other == value and (v < 0 or (v == 0 and u < 0))):
                        top = False
            if top and found < len(places):
                places[found] = j, i
                heights[found] = value
                found += 1
    order = np.argsort(-heights[:found])
    owner = np.zeros((ny, nx), dtype=np.int32)
    stack = np.empty((ny * nx, 2), dtype=np.int64)
    number = 0
    for rank in range(found):
        j, i = places[order[rank]]
        value = smooth[j, i]
        d = np.sqrt((i - x0) ** 2 + (j - y0) ** 2)
        sigma = deviation[min(int(d / step), bins - 1)]
        # From the maximum down by its prominence: no brighter maximum may be met.
        mark = rank + 1
        stack[0] = j, i
        if owner[j, i] != 0:
            continue
        owner[j, i] = mark
        size, k = 1, 0
        meets = False
        while k < size and not meets:
            b, a = stack[k]
            k += 1
            for v in range(max(b - 1, 0), min(b + 2, ny)):
                for u in range(max(a - 1, 0), min(a + 2, nx)):
                    if owner[v, u] == mark or smooth[v, u] < value - prominence * sigma - skewness:
                        continue
                    if smooth[v, u] > value:
                        meets = True
                    elif owner[v, u] == 0:
                        owner[v, u] = mark
                        stack[size] = v, u
                        size += 1
        # What was walked over may belong to a fainter maximum.
        for m in range(size):
            owner[stack[m, 0], stack[m, 1]] = 0
        owner[j, i] = mark
        if meets:
            continue
        _measure(plain, float(i), float(j), window, table[number])
        table[number, 4] = value / sigma
        if np.sqrt((table[number, 0] - x0) ** 2 + (table[number, 1] - y0) ** 2) >= beam_radius:
            number += 1
        if number == len(table):
            break
    return number


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _measure(plain: NDArray[np.float32], x: float, y: float, window: float, row: FloatArray) -> None:
    """Centre of mass in a round window that follows it, counts and standard deviation, into a row of the table."""
    ny, nx = plain.shape
    start_x, start_y = x, y
    total, second = 0.0, 0.0
    for _ in range(12):
        total, mx, my, second = 0.0, 0.0, 0.0, 0.0
        for j in range(max(int(np.ceil(y - window - 0.5)), 0), min(int(y + window + 0.5) + 1, ny)):
            for i in range(max(int(np.ceil(x - window - 0.5)), 0), min(int(x + window + 0.5) + 1, nx)):
                d2 = (i - x) ** 2 + (j - y) ** 2
                inside = min(window + 0.5 - np.sqrt(d2), 1.0)
                if inside > 0.0:
                    value = inside * plain[j, i]
                    total += value
                    mx += value * (i - x)
                    my += value * (j - y)
                    second += value * d2
        if not total > 0.0 or (mx * mx + my * my) < 1e-6 * total * total:
            break
        x += mx / total
        y += my / total
        if (x - start_x) ** 2 + (y - start_y) ** 2 > 0.25 * window * window:
            x, y = start_x, start_y
            break
    row[0], row[1], row[2] = x, y, total
    row[3] = np.sqrt(max(second, 0.0) / (2.0 * total)) if total > 0.0 else np.nan


def reconstruct(
    peaks: Peaks, shape: tuple[int, int], *, radius: float | None = None, power: float = 1.0
) -> NDArray[np.float32]:
    """Draw patterns from their spots, as Gaussians at their places below the pixel, without background and noise.

    Parameters
    ----------
    peaks
        Of :func:`find_peaks`.
    shape
        Rows and columns.
    radius
        Standard deviation of all spots in pixels; that of each if None, from 0.5 to 5.
    power
        Exponent of the intensities, such as 0.5 to raise faint spots.

    Returns
    -------
    patterns
        Shape (B, ny, nx); each spot adds up to its intensity to that power.

    Raises
    ------
    ValueError
        If the radius is not above 0.
    """
    if radius is not None and not radius > 0.0:
        raise AssbValueError(f"radius: above 0 pixels, not {radius}.")
    patterns = np.zeros((len(peaks.count), *shape), dtype=np.float32)
    widths = (
        np.clip(np.nan_to_num(peaks.radius, nan=1.0), 0.5, 5.0)
        if radius is None
        else np.full(len(peaks.pattern), float(radius))
    )
    weights = np.maximum(peaks.intensity, 0.0) ** power
    _draw(peaks.pattern, np.ascontiguousarray(peaks.position), weights, widths, patterns)
    return patterns


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(
    pattern: NDArray[np.int64],
    position: FloatArray,
    weights: FloatArray,
    widths: FloatArray,
    out: NDArray[np.float32],
) -> None:
    ny, nx = out.shape[1:]
    for m in range(len(pattern)):
        x, y = position[m]
        reach = 4.0 * widths[m] + 1.0
        factor = weights[m] / (2.0 * np.pi * widths[m] ** 2)
        for j in range(max(int(np.ceil(y - reach)), 0), min(int(y + reach) + 1, ny)):
            for i in range(max(int(np.ceil(x - reach)), 0), min(int(x + reach) + 1, nx)):
                d2 = (i - x) ** 2 + (j - y) ** 2
                out[pattern[m], j, i] += factor * np.exp(-0.5 * d2 / widths[m] ** 2)
