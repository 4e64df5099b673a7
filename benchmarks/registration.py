"""Registration of images of the virtual lamella: error, coverage of the covariance, refusals.

Images of two signals, each with a frame of its own: pixels of 5 to 50 nm, rotation up to 15°, shear up to 3 %, scales
off by 1 %, contrast inverted in half of them. What chance leaves on boundaries was taken from other scenes
(registration_scenes.py).

Run: python benchmarks/registration.py [--draws 300] [--first 0] [--unshared 20]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from registration_scenes import draw_transform

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.registration.affine import Affine, ImageFrame
from hyperspy_assb.registration.image_registration import register_images
from hyperspy_assb.simulation.lamella import build_lamella

FIELD = 1500.0
_lamellae: dict = {}


def materials(number: int):
    """Shares of the materials at 4 places a pixel of one lamella, times thickness, shape (rows, columns, materials)."""
    if number not in _lamellae:
        _lamellae.clear()
        state = build_lamella((150, 150), np.random.default_rng(1000 + number)).after
        samples = state.sample_material.reshape(150, 150, 2, 2, 8).transpose(0, 2, 1, 3, 4).reshape(300, 300, 8)
        shares = np.stack([(samples == k).mean(axis=2) for k in range(5)], axis=-1)
        thickness = np.repeat(np.repeat(state.thickness, 2, axis=0), 2, axis=1) / 100.0
        grains = np.repeat(np.repeat(state.grain_id, 2, axis=0), 2, axis=1)
        _lamellae[number] = shares, thickness, grains
    return _lamellae[number]


def take(number, levels, contrast, frame, to_scene, counts, inverted, rng, turned_seed):
    """An image of counts; each pixel is the mean over its area."""
    shares, thickness, grains = materials(number)
    turned = 1.0 + contrast * np.random.default_rng(turned_seed).normal(size=grains.max() + 1)
    scene = (shares @ levels) * np.clip(turned, 0.2, None)[grains] * thickness + 0.02
    n = int(np.clip(np.ceil(frame.pixel[0] / 4.0), 2, 8))
    total = np.zeros(frame.shape)
    for down in (np.arange(n) + 0.5) / n - 0.5:
        for right in (np.arange(n) + 0.5) / n - 0.5:
            points = to_scene(frame.positions() + np.array([down, right]) * frame.pixel)
            at = np.floor(points / 5.0).astype(int)
            beyond = np.any((at < 0) | (at >= 300), axis=-1)
            at = np.clip(at, 0, 299)
            total += np.where(beyond, np.nan, scene[at[..., 0], at[..., 1]])
    mean = total / n**2
    known = np.isfinite(mean)
    if inverted:
        mean = 1.05 * np.nanmax(mean) - mean
    counted = rng.poisson(np.where(known, mean / np.nanmean(mean) * counts, 0.0)).astype(float)
    return np.where(known, counted, np.nan)


def draw(seed: int, *, shared: bool = True):
    """Two images, their frames, and the transform from the second frame to the first."""
    rng = np.random.default_rng(seed)
    fine_pixel = rng.uniform(5.0, 12.0)
    coarse_pixel = np.exp(rng.uniform(np.log(max(10.0, fine_pixel)), np.log(50.0)))
    frames = []
    for size, pixel in ((FIELD, fine_pixel), (0.8 * FIELD, coarse_pixel)):
        n = int(size / pixel)
        frames.append(ImageFrame((n, n), (pixel, pixel), tuple(rng.uniform(-500, 500, 2))))
    to_scene = Affine(np.eye(2), np.full(2, 0.5 * FIELD), frames[0].centre), draw_transform(rng, frames[1], FIELD)
    inverted = bool(rng.random() < 0.5)
    levels = rng.uniform(0.3, 1.5, (2, 5))
    contrasts = rng.choice([0.0, 0.15, 0.3]), 0.0
    counts = 10 ** rng.uniform(1.0, 3.0), 10 ** rng.uniform(1.5, 4.0)
    numbers = seed // 10, seed // 10 if shared else seed // 10 + 500
    images = []
    for k in (0, 1):
        arguments = levels[k], contrasts[k], frames[k], to_scene[k], counts[k], inverted and k == 1, rng, seed
        images.append(take(numbers[k], *arguments))
    return images, frames, to_scene[1].then(to_scene[0].inverse), inverted


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--unshared", type=int, default=20)
    arguments = parser.parse_args()
    begin = time.process_time()
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.draws):
        images, frames, true, inverted = draw(seed)
        try:
            found = register_images(images[0], frames[0], images[1], frames[1])
        except AssbValueError as error:
            rows.append((np.inf, np.nan, np.nan, inverted))
            print(
                seed,
                f"pixels {frames[0].pixel[0]:.0f} {frames[1].pixel[0]:.0f} counts",
                *(round(np.nanmean(i)) for i in images),
                error,
            )
            continue
        points = frames[1].positions()
        miss = found.transform(points) - true(points)
        size = float(np.sqrt((miss**2).sum(axis=-1).mean())) / found.coarse_pixel
        centre = frames[1].centre
        spread = np.sqrt(np.diag(found.transform.position_covariance(centre)))
        z = (found.transform(centre) - true(centre)) / spread
        rows.append((size, *z, inverted))
        if size > 0.5:
            print(
                seed,
                f"pixels {frames[0].pixel[0]:.0f} {frames[1].pixel[0]:.0f}",
                f"off by {size:.2f}, p {found.p:.2g}",
                flush=True,
            )
    table = np.array(rows)
    if len(table):
        for name, part in (
            ("all", table),
            ("as it is", table[table[:, 3] == 0]),
            ("inverted", table[table[:, 3] == 1]),
        ):
            z = part[np.isfinite(part[:, 0]), 1:3]
            print(
                f"{name}: n {len(part)}, refused {np.isinf(part[:, 0]).sum()}, within half a coarse pixel "
                f"{np.mean(part[:, 0] <= 0.5):.3f}, median {np.median(part[:, 0]):.3f}, 68 % interval holds "
                f"{np.mean(np.abs(z) < 1.0):.3f} of {z.size}, median |z|/0.674 {np.median(np.abs(z)) / 0.674:.2f}"
            )
    refused = 0
    for seed in range(arguments.first, arguments.first + arguments.unshared):
        images, frames, _, _ = draw(10 * seed, shared=False)
        try:
            found = register_images(images[0], frames[0], images[1], frames[1])
            print("not refused", seed, found.p)
        except AssbValueError:
            refused += 1
    print(f"share nothing: {refused} of {arguments.unshared} refused; {time.process_time() - begin:.0f} s of processor")


if __name__ == "__main__":
    main()
