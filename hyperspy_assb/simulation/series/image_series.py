"""A series of STEM images of grains, boundaries and cracks whose truth is known.

The scene is analytic: distances to the faces of grains (a Voronoi tessellation) and to the path of a crack, evaluated
on a grid finer than the pixels at the place of each frame. Nothing of the analysis is used.
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
    grain_area
        Pixels inside each grain in each frame, shape (T, G).
    bright
        Pixels of the grains that brighten.
    crack
        Points of the path of the crack, rows and columns, shape (P, 2).
    crack_reach
        Its length in each frame, pixels, shape (T,).
    """

    shift: FloatArray
    expected: FloatArray = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    boundary_area: FloatArray
    grain_area: FloatArray
    bright: NDArray[np.bool_] = field(repr=False)
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
    expected, areas, grains = [], [], []
    for number in range(c.frames):
        width = c.boundary_width * (1.0 + c.boundary_growth * age[number])
        clean, labels = _render(c, tree, brightness, bright, width, path, reach[number], number, shift[number], rng)
        expected.append(c.dose * (1.0 + c.beam_change * age[number]) * (clean + c.carbon * age[number]))
        inside, distance = _faces(tree, _grid(c, np.zeros(2), None))
        areas.append(float(np.mean(distance < width / 2.0)) * c.size**2)
        count = np.bincount(inside.ravel()[(distance >= width / 2.0).ravel()], minlength=len(seeds))
        grains.append(count / c.oversampling**2)
    expected_array = np.array(expected)
    pixels = np.stack(np.mgrid[: c.size, : c.size], axis=-1).astype(float)
    labels = tree.query(pixels)[1]
    truth = SeriesTruth(
        shift=shift,
        expected=expected_array,
        labels=labels + 1,
        boundary_area=np.array(areas),
        grain_area=np.array(grains),
        bright=bright[labels],
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


def _grid(c: SeriesConditions, shift: FloatArray, rows: FloatArray | None) -> FloatArray:
    """Points of the scene that the fine pixels of a frame show."""
    fine = (np.arange(c.size * c.oversampling) + 0.5) / c.oversampling - 0.5
    y, x = np.meshgrid(fine - shift[0], fine - shift[1], indexing="ij")
    if rows is not None:
        x = x - np.repeat(rows, c.oversampling)[:, None]
    return np.stack([y, x], axis=-1)


def _faces(tree: cKDTree, points: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Grain of each point and its distance to the nearest face of that grain."""
    near, index = tree.query(points, k=4)
    seeds = tree.data[index]
    apart = np.linalg.norm(seeds[..., 1:, :] - seeds[..., :1, :], axis=-1)
    # The face between two seeds: half of the difference of the squared distances over the distance of the seeds.
    distance = ((near[..., 1:] ** 2 - near[..., :1] ** 2) / (2.0 * apart)).min(axis=-1)
    return index[..., 0], distance


def _render(
    c: SeriesConditions,
    tree: cKDTree,
    brightness: FloatArray,
    bright: NDArray[np.bool_],
    width: float,
    path: FloatArray,
    reach: float,
    number: int,
    shift: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, NDArray[np.int64]]:
    rows = rng.normal(0.0, c.jitter, c.size) if c.jitter > 0.0 else None
    points = _grid(c, shift, rows)
    grain, distance = _faces(tree, points)
    level = brightness.copy()
    if 0 <= c.brightening_frame <= number:
        level[bright] *= 1.0 + c.brightening
    image = level[grain] * np.where(distance < width / 2.0, 1.0 - c.boundary_depth, 1.0)
    if reach > 0.0:
        seen = path[: max(2, int(reach))]
        away = cKDTree(seen).query(points, distance_upper_bound=c.crack_width)[0]
        image = image * np.where(away < c.crack_width / 2.0, 1.0 - c.crack_depth, 1.0)
    image = ndimage.gaussian_filter(image, c.blur * c.oversampling, mode="nearest")
    shape = (c.size, c.oversampling, c.size, c.oversampling)
    return image.reshape(shape).mean(axis=(1, 3)), grain
