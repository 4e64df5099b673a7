"""Shift between two maps of one region, parts of which may have changed.

The map is cut into tiles. Each says by its own misfit which shifts it allows; what most of them have in common is the
shift, and tiles that another shift suits better have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import Akima1DInterpolator

from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.errors import AssbValueError

BoolArray = NDArray[np.bool_]

_LARGEST_SIDE = 96
"""Pixels along a side from which on a map is binned before it is registered: shifts are then still told to a tenth."""
_COARSE_SIDE = 32
"""The same for the first look over all shifts."""
_BLUR = 1.0
"""Pixels by which both maps are smoothed, so that no shift between pixels has less noise than another."""
_SURROUNDINGS = 6.0
"""Pixels over which the brightness of an image is evened out."""
_LEAST_PIXELS = 16
_TILES = 6
"""Tiles along the longer side."""
_LEAST_TILE = 4
"""Pixels along the side of a tile at least."""
_REACH = 9
"""Pixels around the first estimate in which a second shift is looked for."""
_STEPS = 5
"""Steps in a pixel to which misfits are interpolated."""
_PRIOR = 2.0
"""Pixels by which maps of one region are usually shifted: a direction in which nothing has an edge is held by it."""
_CAP = 25.0
"""Misfit beyond which a tile that a shift does not suit says no more against it: it has changed."""
_FITS = 9.0
"""Misfit up to which a shift suits a tile."""
_CHANCE = 0.9, 4.0
"""Gain in misfit by a second shift that noise alone makes: for each tile that tells anything, and square root of it."""
_APART = 0.5
"""Pixels by which two shifts must differ to be two."""
_MAJORITY = 0.75
"""Share of the evidence from which on one of two shifts is that of the map, and the other a change."""
_OPPOSITE = 0.1
"""Share of the edges that must face the other way, to tell a shift from a boundary that moved."""
_EDGES = 1.5
"""Times as much structure as noise makes that a tile needs, to say anything of a shift."""
_LOOSE = 0.15
"""Pixels to which the edges of a tile tell its shift at best: pixels are coarse beside a probe."""
_ROUNDS = 6
_FINEST = 0.02
"""Pixels: no shift is known better."""


@dataclass(frozen=True, eq=False)
class Layers:
    """Images of one state, in units of their mean noise.

    Parameters
    ----------
    images
        Shape (C, rows, columns).
    variance
        Of each, shape (rows, columns).
    valid
        Pixels with an answer, shape (rows, columns).
    """

    images: FloatArray
    variance: FloatArray
    valid: BoolArray

    def binned(self, step: int) -> Layers:
        """Means over squares of pixels; a rest at the border is left out."""
        if step == 1:
            return self
        rows, columns = (n // step * step if n >= step else n for n in self.valid.shape)
        shape = (max(rows // step, 1), min(step, rows), max(columns // step, 1), min(step, columns))

        def add(values: FloatArray) -> FloatArray:
            cut = values[..., :rows, :columns]
            return cut.reshape(*values.shape[:-2], *shape).sum(axis=(-3, -1))

        count = add(self.valid.astype(float))
        safe = np.maximum(count, 1.0)
        images, variance = (add(np.where(self.valid, v, 0.0)) for v in (self.images, self.variance))
        valid = count > 0.5 * shape[1] * shape[3]
        return Layers(images / safe, np.where(valid, variance / safe**2, 1.0), valid)

    def smooth(self) -> FloatArray:
        """Images without pixels that have no answer, smoothed."""
        norm = np.maximum(_blurred(self.valid.astype(float)), 1e-6)
        return np.array([_blurred(np.where(self.valid, image, 0.0)) / norm for image in self.images])


@dataclass(frozen=True, eq=False)
class Registration:
    """Shift that brings a later map onto an earlier one.

    Parameters
    ----------
    shift, std
        Pixels (rows, columns), and standard errors.
    other
        Another shift that explains the maps as well, with other changes; None: there is none.
    reason
        Why there is another, in words.
    """

    shift: FloatArray
    std: FloatArray
    other: FloatArray | None = None
    reason: str = ""


def composition_layers(
    states: Sequence[tuple[FloatArray, FloatArray]], elements: Sequence[str], material: Sequence[BoolArray]
) -> list[Layers]:
    """Images of two states from their atoms: combinations of shares and of thickness that stand out of the noise.

    Carbon that builds up under the beam is no part of the specimen: it is left out where there is enough else.

    Parameters
    ----------
    states
        Atoms/nm^2, shape (rows, columns, M), and their covariance.
    elements
        Symbols, M of them.
    material
        Of each state, columns that are not empty.

    Raises
    ------
    AssbValueError
        If nothing stands out.
    """
    used = [m for m, element in enumerate(elements) if element != "C"]
    used = used if len(used) > 1 else list(range(len(elements)))
    message = "The maps show no structure above their noise: they cannot be registered (register=False)."
    if min(there.sum() for there in material) < _LEAST_PIXELS:
        raise AssbValueError(message)
    found, noises = [], []
    for (atoms, covariance), there in zip(states, material, strict=True):
        own, spread = atoms[..., used], covariance[..., used, :][..., used]
        total = own.sum(axis=-1, keepdims=True)
        total = np.where(there[..., np.newaxis] & (total > 0.0), total, np.nan)
        share = own / total
        # The last of the shares follows from the others; the thickness takes its place.
        thickness = np.log(total)
        values = np.concatenate([share[..., :-1], thickness - np.nanmedian(thickness)], axis=-1)
        slope = (np.eye(len(used)) - share[..., :, np.newaxis]) / total[..., np.newaxis]
        slope[..., -1, :] = 1.0 / total
        found.append(values)
        noises.append(np.einsum("...ij,...jk,...lk->...il", slope, spread, slope))
    valid = [
        np.isfinite(v).all(axis=-1) & np.isfinite(n).all(axis=(-1, -2)) for v, n in zip(found, noises, strict=True)
    ]
    noise = np.mean([n[v].mean(axis=0) for n, v in zip(noises, valid, strict=True)], axis=0)
    white = np.linalg.inv(np.linalg.cholesky(noise))
    both = np.mean([np.cov(white @ f[v].T) for f, v in zip(found, valid, strict=True)], axis=0)
    size, direction = np.linalg.eigh(np.atleast_2d(both))
    kept = size > 1.0 + 4.0 * np.sqrt(2.0 / min(v.sum() for v in valid))
    if not kept.any():
        raise AssbValueError(message)
    project = direction[:, kept].T @ white
    # One zero for both: where much has changed, so have means and medians.
    middle = np.median(found[0][valid[0]] @ project.T, axis=0)
    layers = []
    for values, spread, there in zip(found, noises, valid, strict=True):
        images = np.moveaxis(values @ project.T - middle, -1, 0)
        own = np.einsum("ci,...ij,cj->...", project, spread, project) / len(project)
        layers.append(Layers(np.where(there, images, 0.0), np.where(there, own, 1.0), there))
    return layers


def image_layers(images: Sequence[FloatArray]) -> list[Layers]:
    """Two images that were recorded with the maps, such as HAADF, whose noise is taken from themselves.

    Raises
    ------
    AssbValueError
        If one of them is flat or not finite.
    """
    layers = []
    for image in images:
        image = np.asarray(image, dtype=float)
        # Contrast and brightness may have been set anew: edges are left.
        edges = image - ndimage.gaussian_filter(image, _SURROUNDINGS, mode="nearest")
        spread = float(np.std(edges))
        if not (np.isfinite(image).all() and spread > 0.0):
            raise AssbValueError("An image to register on must be finite, and not flat.")
        scaled = edges / spread
        second = scaled - 0.5 * (np.roll(scaled, 1, axis=-1) + np.roll(scaled, -1, axis=-1))
        noise = max(1.4826 * float(np.median(np.abs(second))) / np.sqrt(1.5), 1e-3)
        layers.append(Layers(scaled[np.newaxis] / noise, np.ones(image.shape), np.ones(image.shape, dtype=np.bool_)))
    return layers


def find_shift(
    before: Layers, after: Layers, *, largest: float = 0.25, unchanged: BoolArray | None = None
) -> Registration:
    """Shift that brings the later images onto the earlier ones, where these did not change.

    Parameters
    ----------
    before, after
        Of :func:`composition_layers` or :func:`image_layers`.
    largest
        Share of the map by which it may be shifted.
    unchanged
        Pixels of the earlier state in which nothing changed, shape (rows, columns); None: found.

    Raises
    ------
    AssbValueError
        If the shift is larger than allowed, or ``unchanged`` has nothing that tells it.
    """
    if unchanged is not None:
        before = Layers(before.images, before.variance, before.valid & unchanged)
    shape = np.array(before.valid.shape)
    coarse = max(1, -(-int(shape.max()) // _COARSE_SIDE))
    step = max(1, -(-int(shape.max()) // _LARGEST_SIDE))
    one, other = before.binned(coarse), after.binned(coarse)
    span = [int(0.45 * n) if n > 1 else 0 for n in one.valid.shape]
    grid = np.array(list(product(*(range(-n, n + 1) for n in span))))
    total = _capped(_misfits(one, other, grid)).sum(axis=1) + _held(grid * coarse)
    first = grid[np.argmin(total)] * coarse
    if np.any(np.abs(first) > np.maximum(largest * shape, 1.0) + coarse):
        raise AssbValueError(
            f"The maps seem to be shifted by {first[0]:.1f} rows and {first[1]:.1f} columns, more than {largest:g} of "
            "the map: they do not show the same region, or too little structure. Give shift=, or register=False."
        )
    found = _refine(
        before.binned(step), after.binned(step), np.round(first / step).astype(int), step, whole=unchanged is not None
    )
    if unchanged is not None and np.all(found.std > 0.9 * _PRIOR):
        raise AssbValueError("What did not change has no edge to register by: name a region with more structure.")
    return found


def _refine(before: Layers, after: Layers, centre: NDArray[np.int64], step: int, *, whole: bool) -> Registration:
    """The shift near a first estimate, in pixels of which ``step`` were binned."""
    reach = [min(_REACH, n // 2) for n in before.valid.shape]
    grid = np.array(list(product(*(range(c - r, c + r + 1) for c, r in zip(centre, reach, strict=True)))))
    cube = _misfits(before, after, grid).reshape(2 * reach[0] + 1, 2 * reach[1] + 1, -1)
    # Akima's curves do not swing where a misfit rises to a hundred times the noise within a pixel.
    cube = np.minimum(cube - cube.min(axis=(0, 1)), 4.0 * _CAP)
    fine = []
    for axis, (c, r) in enumerate(zip(centre, reach, strict=True)):
        fine.append(np.linspace(c - r, c + r, 2 * r * _STEPS + 1))
        if r:
            cube = Akima1DInterpolator(np.arange(c - r, c + r + 1), cube, axis=axis, method="makima")(fine[axis])
    shifts = np.stack(np.meshgrid(*fine, indexing="ij"), axis=-1).reshape(-1, 2)
    misfit = cube.reshape(len(shifts), -1)
    held = _held(shifts * step)
    if whole:
        chosen = shifts[np.argmin(misfit.sum(axis=1) + held)]
        shift, std = _polish(before, after, chosen, np.ones(misfit.shape[1], dtype=np.bool_), step)
        return Registration(shift * step, np.maximum(std, _FINEST) * step)
    cost = _capped(misfit)
    alone, pair, gain = _two_shifts(cost, held)
    tells = np.ptp(cost, axis=0) > _FITS
    distance = float(np.hypot(*(shifts[pair[0]] - shifts[pair[1]]))) * step
    count = float(np.count_nonzero(tells))
    if gain < _CHANCE[0] * count + _CHANCE[1] * np.sqrt(count + 1.0) or distance < _APART:
        suits = cost[alone] < _FITS
        shift, std = _polish(before, after, shifts[alone], suits, step)
        std = np.maximum(std, _FINEST)
        one_sided = _one_sided(before, after, shift, std, suits)
        return Registration(
            shift * step,
            std * step,
            np.zeros(2) if one_sided else None,
            "every edge along it faces the same way" if one_sided else "",
        )
    better = cost[pair[0]] - cost[pair[1]]
    evidence = np.array([-float(better[better < 0.0].sum()), float(better[better > 0.0].sum())])
    ends = []
    for k, sign in ((0, -1.0), (1, 1.0)):
        suits = (sign * better > 0.0) & (cost[pair[k]] < _FITS)
        ends.append(_polish(before, after, shifts[pair[k]], suits, step))
    share = evidence / float(evidence.sum())
    if share.max() > _MAJORITY:
        shift, std = ends[int(np.argmax(share))]
        return Registration(shift * step, np.maximum(std, _FINEST) * step)
    # Both explain the maps: the one that asks for the smaller shift is taken, or what lies between them.
    a, b = ends[0][0], ends[1][0]
    part = float(np.clip(-(a @ (b - a)) / max(float((b - a) @ (b - a)), 1e-12), 0.0, 1.0))
    nearest = 0 if part < 0.5 else 1
    shift = a + part * (b - a)
    std = np.maximum(np.hypot(ends[nearest][1], np.abs(shift - ends[nearest][0])), _FINEST)
    return Registration(shift * step, std * step, ends[1 - nearest][0] * step, "only one part of the map shows it")


def _two_shifts(cost: FloatArray, held: FloatArray) -> tuple[int, tuple[int, int], float]:
    """The best shift of all tiles, the best two of which each tile takes one, and what the second gains."""
    alone = int(np.argmin(cost.sum(axis=1) + held))
    one = other = alone
    for _ in range(_ROUNDS):
        pair = one, other
        other = int(np.argmin(np.minimum(cost, cost[one]).sum(axis=1) + held))
        one = int(np.argmin(np.minimum(cost, cost[other]).sum(axis=1) + held))
        if (one, other) == pair:
            break
    gain = float(cost[alone].sum() - np.minimum(cost[one], cost[other]).sum())
    return alone, (one, other), gain


def _held(shift: NDArray[np.floating]) -> FloatArray:
    return np.asarray((np.asarray(shift, dtype=float) ** 2).sum(axis=-1) / _PRIOR**2)


def _capped(misfit: FloatArray) -> FloatArray:
    """What a shift says against a tile: above its best, and not without end."""
    return np.minimum(misfit - misfit.min(axis=0), _CAP)


def _blurred(image: FloatArray, order: int | tuple[int, int] = 0) -> FloatArray:
    return np.asarray(ndimage.gaussian_filter(image, _BLUR, order=order, mode="nearest"))


def _tile_starts(shape: tuple[int, int]) -> list[NDArray[np.int64]]:
    side = max(_LEAST_TILE, -(-max(shape) // _TILES))
    return [np.arange(max(round(n / side), 1)) * n // max(round(n / side), 1) for n in shape]


def _misfits(before: Layers, after: Layers, shifts: NDArray[np.int64]) -> FloatArray:
    """Misfit of every tile, less what noise makes of it, for shifts by whole pixels; shape (shifts, tiles)."""
    one, other = before.smooth(), after.smooth()
    rows, columns = before.valid.shape
    starts = _tile_starts((rows, columns))
    expected = len(one) / (4.0 * np.pi * _BLUR**2)
    found = np.empty((len(shifts), starts[0].size * starts[1].size))

    def by_tile(values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1).ravel())

    for k, (down, right) in enumerate(shifts):
        if abs(down) >= rows or abs(right) >= columns:
            found[k] = _CAP
            continue
        y, x = slice(max(down, 0), rows + min(down, 0)), slice(max(right, 0), columns + min(right, 0))
        v, u = slice(max(-down, 0), rows + min(-down, 0)), slice(max(-right, 0), columns + min(-right, 0))
        there = before.valid[y, x] & after.valid[v, u]
        weight = there / (before.variance[y, x] + after.variance[v, u])
        misfit = np.zeros((rows, columns))
        misfit[y, x] = ((one[:, y, x] - other[:, v, u]) ** 2).sum(axis=0) * weight - expected * there
        found[k] = by_tile(misfit)
    edges = (_slopes(one) ** 2).sum(axis=(0, 1))
    told = by_tile(edges * before.valid / before.variance)
    # Tiles without edges of their own would add the noise of noise to every shift.
    chance = by_tile(before.valid * len(one) / (4.0 * np.pi * _BLUR**4))
    weight = np.clip((told - _EDGES * chance) / np.maximum(told, 1e-9), 0.0, 1.0)
    return found * weight / (1.0 + 0.5 * _LOOSE**2 * told)


def _of_tiles(suits: BoolArray, shape: tuple[int, int]) -> FloatArray:
    """Pixels of tiles."""
    starts = _tile_starts(shape)
    sizes = [np.diff([*s, n]) for s, n in zip(starts, shape, strict=True)]
    tiles = suits.reshape(starts[0].size, starts[1].size).astype(float)
    return np.repeat(np.repeat(tiles, sizes[0], axis=0), sizes[1], axis=1)


def _moved_pair(
    before: Layers, after: Layers, shift: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Both images moved by half the shift, their weight, and gradients of their mean, shape (2, C, rows, columns)."""
    moved = []
    for layers, sign in ((before, -0.5), (after, 0.5)):
        images = np.array([ndimage.shift(i, sign * shift, order=3, mode="nearest") for i in layers.smooth()])
        there = ndimage.shift(layers.valid.astype(float), sign * shift, order=1, cval=0.0) > 0.99
        variance = ndimage.shift(layers.variance, sign * shift, order=1, mode="nearest")
        moved.append((images, there, variance))
    weight = (moved[0][1] & moved[1][1]) / (moved[0][2] + moved[1][2])
    mean = 0.5 * (moved[0][0] + moved[1][0])
    return moved[0][0], moved[1][0], weight, _slopes(mean)


def _slopes(images: FloatArray) -> FloatArray:
    """Gradients of images, shape (2, C, rows, columns); 0 along a single row or column."""
    long = [images.shape[axis] > 2 for axis in (1, 2)]
    return np.array(
        [np.gradient(images, axis=k + 1) if there else np.zeros_like(images) for k, there in enumerate(long)]
    )


def _polish(
    before: Layers, after: Layers, start: FloatArray, suits: BoolArray, step: int
) -> tuple[FloatArray, FloatArray]:
    """The shift of some tiles by scoring, and its standard error from the noise of both maps.

    Along a direction in which nothing has an edge it is 0, and as uncertain as before.
    """
    shift = np.array(start, dtype=float)
    used = _of_tiles(suits, before.valid.shape)
    for _ in range(3):
        one, other, weight, slope = _moved_pair(before, after, shift)
        there = weight * used
        noise = np.count_nonzero(there) * slope.shape[1] / (32.0 * np.pi * _BLUR**4)
        size, direction = np.linalg.eigh(np.einsum("icyx,jcyx,yx->ij", slope, slope, there) - noise * np.eye(2))
        told = size > 0.5 * noise if noise > 0.0 else np.zeros(2, dtype=np.bool_)
        inverse = (direction[:, told] / size[told]) @ direction[:, told].T
        # Where the later map lies too far down, it exceeds the earlier one against the gradient.
        score = np.einsum("icyx,cyx,yx->i", slope, other - one, there)
        shift = direction[:, told] @ (direction[:, told].T @ shift) + np.clip(inverse @ score, -1.0, 1.0)
    influence = np.array([[_blurred(g * there) for g in axis] for axis in slope])
    spread = 1.0 / np.where(weight > 0.0, weight, np.inf)
    variance = inverse @ np.einsum("icyx,jcyx,yx->ij", influence, influence, spread) @ inverse
    variance += (_PRIOR / step) ** 2 * direction[:, ~told] @ direction[:, ~told].T
    return shift, np.sqrt(np.maximum(variance.diagonal(), 0.0))


def _one_sided(before: Layers, after: Layers, shift: FloatArray, std: FloatArray, suits: BoolArray) -> bool:
    """Whether a shift shows at edges of one direction alone, as that of a boundary does that moved."""
    length = float(np.hypot(*shift))
    if not np.any(np.abs(shift) > np.maximum(3.0 * std, 0.3)):
        return False
    _, _, weight, slope = _moved_pair(before, after, shift)
    along = np.einsum("i,icyx->cyx", shift / length, slope)
    strength = along**2 * (weight * _of_tiles(suits, before.valid.shape))
    noise = 1.0 / (32.0 * np.pi * _BLUR**4) / 2.0 * np.count_nonzero(weight)
    best = max(range(len(along)), key=lambda c: float(strength[c].sum()))
    sides = [max(float(strength[best][along[best] * sign > 0.0].sum()) - noise, 0.0) for sign in (1.0, -1.0)]
    # The weaker side must tell the shift itself.
    return bool(min(sides) < _OPPOSITE * max(sides) or min(sides) * length**2 < 9.0)
