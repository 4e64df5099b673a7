"""A series of STEM images of grains, boundaries and cracks whose truth is known.

The scene is analytic: distances to the faces of grains (a Voronoi tessellation) and to the path of a crack, on a grid
finer than the pixels, from which each frame is interpolated at its place. Nothing of the analysis is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SeriesConditions:
    """What is seen, how it changes, and how it is recorded.

    Parameters
    ----------
    frames, size
        How many; pixels of each side.
    interval
        s between frames.
    pixel
        nm.
    dose
        Electrons in a pixel of bright content.
    grain
        Mean distance of grains in pixels.
    contrast
        Standard deviation of the brightness of grains, as a share.
    boundary_width
        Of the dark boundaries in the first frame, pixels.
    boundary_depth
        Of the boundaries, as a share of the brightness.
    boundary_growth
        Share by which they are wider in the last frame.
    blur
        Standard deviation of the probe, pixels.
    drift
        Standard deviation of the step of the drift between frames, pixels.
    jitter
        Standard deviation of the place of each row within its frame, pixels.
    crack_depth
        Share of the brightness that a crack takes; 0: no crack.
    crack_onset
        Frame in which it begins.
    crack_length
        In the last frame, pixels.
    crack_width
        Full width, pixels.
    beam_change
        Share by which the beam is brighter in the last frame.
    carbon
        Brightness that the last frame gains, as a share.
    brightening
        Share by which some grains ("secondary particles") brighten in one step.
    brightening_frame
        Frame of that step; negative: never.
    shrinking, shrinkage
        Share of the grains that shrink, and by how many pixels their boundary reaches further into them in the last
        frame.
    lost
        Pairs of neighbouring grains that become one in the middle of the series.
    oversampling
        Fineness of the scene.
    """

    frames: int = 12
    size: int = 160
    interval: float = 10.0
    pixel: float = 10.0
    dose: float = 20.0
    grain: float = 32.0
    contrast: float = 0.08
    boundary_width: float = 3.0
    boundary_depth: float = 0.3
    boundary_growth: float = 0.0
    blur: float = 1.0
    drift: float = 0.7
    jitter: float = 0.0
    crack_depth: float = 0.0
    crack_onset: int = 6
    crack_length: float = 60.0
    crack_width: float = 2.0
    beam_change: float = 0.0
    carbon: float = 0.0
    brightening: float = 0.0
    brightening_frame: int = -1
    shrinking: float = 0.0
    shrinkage: float = 2.0
    lost: int = 0
    oversampling: int = 3


@dataclass(frozen=True, eq=False)
class SeriesTruth:
    """What the frames were made of.

    Parameters
    ----------
    shift
        Rows and columns of each frame's content, pixels, shape (T, 2).
    expected
        Electrons expected, shape (T, Y, X).
    labels
        Grain of each pixel, without drift, from 1, shape (Y, X).
    boundary_area
        Pixels that boundaries take in each frame, in the field of view of the first, shape (T,).
    dark
        Share of each of these pixels that boundaries take, shape (T, Y, X).
    grain_area
        Pixels inside each grain in each frame, shape (T, G).
    bright
        Pixels of the grains that brighten.
    shrinks
        Whether each grain shrinks, shape (G,).
    lost
        Grains that become one, from 1, shape (L, 2).
    crack
        Points of the path of the crack, rows and columns, shape (P, 2).
    crack_reach
        Its length in each frame, pixels, shape (T,).
    """

    shift: FloatArray
    expected: FloatArray = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    boundary_area: FloatArray
    dark: NDArray[np.float32] = field(repr=False)
    grain_area: FloatArray
    bright: NDArray[np.bool_] = field(repr=False)
    shrinks: NDArray[np.bool_] = field(repr=False)
    lost: NDArray[np.int64] = field(repr=False)
    crack: FloatArray = field(repr=False)
    crack_reach: FloatArray


def image_series(conditions: SeriesConditions, seed: int) -> tuple[NDArray[np.int64], SeriesTruth]:
    """Counts of a simulated series, shape (T, Y, X), and its truth."""
    c = conditions
    rng = np.random.default_rng(seed)
    margin = 3.0 * c.grain
    seeds = _spread_points(rng, c.size + 2.0 * margin, c.grain) - margin
    brightness = np.clip(1.0 + c.contrast * rng.normal(size=len(seeds)), 0.6, 1.4)
    bright = rng.random(len(seeds)) < 0.15
    tree = cKDTree(seeds)
    shift = np.cumsum(rng.normal(0.0, c.drift, (c.frames, 2)), axis=0)
    shift -= shift[0]
    path = _crack_path(rng, c)
    age = np.arange(c.frames) / max(c.frames - 1, 1)
    reach = np.where(
        np.arange(c.frames) >= c.crack_onset,
        c.crack_length * np.clip((np.arange(c.frames) - c.crack_onset + 1) / max(c.frames - c.crack_onset, 1), 0, 1),
        0.0,
    ) * (c.crack_depth > 0.0)
    reachable = int(np.ceil(np.abs(shift).max())) + 4
    points = _fine_points(c, reachable)
    own = np.arange(len(seeds))
    faces = _faces(tree, points, own)
    # Drawn after all else: scenes without them stay as they were.
    shrinks = np.random.default_rng((seed, 1)).random(len(seeds)) < c.shrinking
    lost = _pairs_in_view(tree, c, np.random.default_rng((seed, 2)))
    joined = own.copy()
    joined[lost[:, 1]] = lost[:, 0]
    later = _faces(tree, points, joined) if c.lost else faces
    along = _path_positions(path, points, c.crack_width)
    view = slice(reachable * c.oversampling, -reachable * c.oversampling)
    expected, shares, grains = [], [], []
    for number in range(c.frames):
        grain, distance = faces if number < c.frames // 2 else later
        half = (c.boundary_width * (1.0 + c.boundary_growth * age[number])) / 2.0
        dark = distance < half + c.shrinkage * age[number] * shrinks[grain]
        level = brightness.copy()
        if 0 <= c.brightening_frame <= number:
            level[bright] *= 1.0 + c.brightening
        scene = level[grain] * np.where(dark, 1.0 - c.boundary_depth, 1.0)
        scene *= np.where(along < reach[number], 1.0 - c.crack_depth, 1.0)
        clean = _record(c, scene, shift[number], reachable, rng)
        expected.append(c.dose * (1.0 + c.beam_change * age[number]) * (clean + c.carbon * age[number]))
        between = dark[view, view]
        blocks = between.reshape(c.size, c.oversampling, c.size, c.oversampling)
        shares.append(blocks.mean(axis=(1, 3), dtype=np.float32))
        count = np.bincount(grain[view, view][~between], minlength=len(seeds))
        grains.append(count / c.oversampling**2)
    expected_array = np.array(expected)
    pixels = np.stack(np.mgrid[: c.size, : c.size], axis=-1).astype(float)
    labels = tree.query(pixels)[1]
    truth = SeriesTruth(
        shift=shift,
        expected=expected_array,
        labels=labels + 1,
        boundary_area=np.array([share.sum(dtype=np.float64) for share in shares]),
        dark=np.array(shares),
        grain_area=np.array(grains),
        bright=bright[labels],
        shrinks=shrinks,
        lost=lost + 1,
        crack=path,
        crack_reach=reach,
    )
    return rng.poisson(expected_array), truth


def _spread_points(rng: np.random.Generator, size: float, distance: float) -> FloatArray:
    """Points that are further apart than chance puts them: of several candidates, the one that is alone."""
    count = int((size / distance) ** 2)
    points = [rng.uniform(0.0, size, 2)]
    for _ in range(count - 1):
        candidates = rng.uniform(0.0, size, (12, 2))
        nearest = cKDTree(np.array(points)).query(candidates)[0]
        points.append(candidates[int(nearest.argmax())])
    return np.array(points)


def _crack_path(rng: np.random.Generator, c: SeriesConditions) -> FloatArray:
    """A line that bends a little, with one point a pixel."""
    angle = rng.uniform(0.0, np.pi)
    steps = int(c.crack_length)
    bend = np.cumsum(rng.normal(0.0, 0.03, steps))
    directions = np.stack([np.sin(angle + bend), np.cos(angle + bend)], axis=1)
    path = np.cumsum(directions, axis=0)
    middle = rng.uniform(0.4, 0.6, 2) * c.size
    return path - path.mean(axis=0) + middle


def _fine_points(c: SeriesConditions, margin: int) -> FloatArray:
    """Points of the scene, some for each pixel, with a margin that drift may bring into view."""
    fine = (np.arange((c.size + 2 * margin) * c.oversampling) + 0.5) / c.oversampling - 0.5 - margin
    return np.stack(np.meshgrid(fine, fine, indexing="ij"), axis=-1)


def _path_positions(path: FloatArray, points: FloatArray, width: float) -> FloatArray:
    """Length of the crack at which it passes within half its width of each point; infinite away from it."""
    away, index = cKDTree(path).query(points, distance_upper_bound=width / 2.0)
    return np.where(np.isfinite(away), index.astype(float), np.inf)


def _pairs_in_view(tree: cKDTree, c: SeriesConditions, rng: np.random.Generator) -> NDArray[np.int64]:
    """Neighbouring seeds well inside the field, each in one pair at most."""
    inside = np.flatnonzero(np.all((tree.data > c.grain) & (tree.data < c.size - c.grain), axis=1))
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for first in rng.permutation(inside).tolist():
        second = next((int(k) for k in tree.query(tree.data[first], k=4)[1][1:] if int(k) in inside), None)
        if len(pairs) < c.lost and second is not None and not {first, second} & taken:
            pairs.append((first, second))
            taken |= {first, second}
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _faces(tree: cKDTree, points: FloatArray, grain_of: NDArray[np.int64]) -> tuple[NDArray[np.int64], FloatArray]:
    """Grain of each point and its distance to the nearest face of that grain; between seeds of one grain is none."""
    near, index = tree.query(points, k=4 if np.all(grain_of == np.arange(grain_of.size)) else 7)
    seeds = tree.data[index]
    apart = np.linalg.norm(seeds[..., 1:, :] - seeds[..., :1, :], axis=-1)
    # The face between two seeds: half of the difference of the squared distances over the distance of the seeds.
    distance = (near[..., 1:] ** 2 - near[..., :1] ** 2) / (2.0 * apart)
    grain = grain_of[index]
    distance = np.where(grain[..., 1:] == grain[..., :1], np.inf, distance).min(axis=-1)
    return grain[..., 0], distance


def _record(
    c: SeriesConditions, scene: FloatArray, shift: FloatArray, margin: int, rng: np.random.Generator
) -> FloatArray:
    """What the probe makes of the scene in the pixels of a frame, by splines through the blurred scene."""
    n = c.oversampling
    blurred = ndimage.gaussian_filter(scene, c.blur * n, mode="nearest")
    blurred = ndimage.uniform_filter(blurred, n, mode="nearest")
    # The middle of a pixel lies (n - 1) / 2 fine points after its first.
    rows = (np.arange(c.size) - shift[0] + margin) * n + (n - 1) / 2.0
    columns = (np.arange(c.size) - shift[1] + margin) * n + (n - 1) / 2.0
    y, x = np.meshgrid(rows, columns, indexing="ij")
    if c.jitter > 0.0:
        x = x - n * rng.normal(0.0, c.jitter, c.size)[:, None]
    return ndimage.map_coordinates(blurred, [y, x], order=3, mode="nearest")
