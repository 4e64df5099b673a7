"""Scenes of which two images are taken in frames of their own: grains of several materials, at any point of a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from hyperspy_assb.registration.affine import Affine, ImageFrame, turn


class Scene:
    """Grains of five materials in a lamella that grows thicker downwards, unlike the virtual lamella of the package."""

    def __init__(self, seed: int, *, field: float = 1500.0, grain: float = 130.0) -> None:
        rng = np.random.default_rng(seed)
        count = int((3.0 * field / grain) ** 2)
        self.seeds = rng.uniform(-field, 2.0 * field, (count, 2))
        self.tree = cKDTree(self.seeds)
        waves = rng.normal(size=(5, 6, 2)) / 350.0
        phases = rng.uniform(0, 2 * np.pi, (5, 6))
        fields = np.array([np.cos(self.seeds @ w.T + p).sum(axis=1) for w, p in zip(waves, phases, strict=True)])
        self.material = np.argmax(fields + rng.normal(size=fields.shape), axis=0)
        self.bend = rng.uniform(0.5, 1.0) * 12.0
        self.bend_wave = rng.normal(size=(2, 2)) / 60.0
        self.slope = rng.uniform(0.3, 1.0) / field

    def look(self, points):
        """Number of the grain, and thickness, at points in nm."""
        flat = points.reshape(-1, 2)
        bent = flat + self.bend * np.sin(flat @ self.bend_wave.T)
        _, grain = self.tree.query(bent)
        return grain.reshape(points.shape[:-1]), 1.0 + self.slope * np.clip(points[..., 0], 0.0, None)


@dataclass
class View:
    """How a signal sees a scene: a brightness for each material, contrast of grains, counts in a pixel."""

    levels: np.ndarray
    grain_contrast: float
    counts: float
    inverted: bool = False

    def image(self, scene: Scene, frame: ImageFrame, to_scene: Affine, rng: np.random.Generator):
        """Counts; each pixel is the mean over its area."""
        n = int(np.clip(np.ceil(min(frame.pixel) / 3.0), 2, 6))
        offsets = (np.arange(n) + 0.5) / n - 0.5
        own = np.random.default_rng(int(self.levels.sum() * 1e6) % 2**31)
        turned = 1.0 + self.grain_contrast * own.normal(size=len(scene.seeds))
        total = np.zeros(frame.shape)
        for down in offsets:
            for right in offsets:
                points = to_scene(frame.positions() + np.array([down * frame.pixel[0], right * frame.pixel[1]]))
                grain, thickness = scene.look(points)
                total += np.clip(self.levels[scene.material[grain]] * turned[grain], 0.05, None) * thickness
        mean = total / n**2
        if self.inverted:
            mean = 1.2 * mean.max() - mean
        return rng.poisson(mean / mean.mean() * self.counts).astype(float)


def draw_transform(rng, frame: ImageFrame, field: float) -> Affine:
    """Rotation up to 15 degrees, shear up to 3 %, scales off by 1 %, a shift of up to a tenth of the field."""
    shear = np.array([[1.0, 0.0], [rng.uniform(-0.03, 0.03), 1.0]])
    scale = np.diag(1.0 + rng.normal(0.0, 0.01, 2))
    matrix = turn(rng.uniform(-15.0, 15.0)) @ shear @ scale
    return Affine(matrix, 0.5 * field + rng.uniform(-0.1, 0.1, 2) * field, frame.centre)


def draw_pair(seed: int, *, field: float = 1500.0, shared: bool = True):
    """Two images of one scene, or of two; their frames, and the true transform from the second frame to the first."""
    rng = np.random.default_rng(seed)
    fine_pixel = rng.uniform(5.0, 12.0)
    coarse_pixel = np.exp(rng.uniform(np.log(max(10.0, fine_pixel)), np.log(50.0)))
    n_fine, n_coarse = int(field / fine_pixel), int(0.85 * field / coarse_pixel)
    fine = ImageFrame((n_fine, n_fine), (fine_pixel, fine_pixel), tuple(rng.uniform(-500, 500, 2)))
    coarse = ImageFrame((n_coarse, n_coarse), (coarse_pixel, coarse_pixel), tuple(rng.uniform(-500, 500, 2)))
    fine_to_scene = Affine(np.eye(2), np.full(2, 0.5 * field), fine.centre)
    coarse_to_scene = draw_transform(rng, coarse, field)
    levels = rng.uniform(0.3, 1.5, (2, 5))
    one = Scene(2 * seed)
    other = one if shared else Scene(2 * seed + 1)
    inverted = bool(rng.random() < 0.5)
    images = (
        View(levels[0], rng.choice([0.0, 0.15, 0.3]), 10 ** rng.uniform(1.0, 3.0)).image(one, fine, fine_to_scene, rng),
        View(levels[0] if inverted else levels[1], 0.0, 10 ** rng.uniform(1.5, 4.0), inverted=inverted).image(
            other, coarse, coarse_to_scene, rng
        ),
    )
    return images, (fine, coarse), coarse_to_scene.then(fine_to_scene.inverse)
