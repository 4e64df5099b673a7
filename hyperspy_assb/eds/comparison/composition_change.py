"""Composition before and after: maps brought on top of each other, and differences that are more than noise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from hyperspy_assb import provenance
from hyperspy_assb.eds.comparison.registration import Registration, composition_layers, find_shift, image_layers
from hyperspy_assb.eds.composition.atoms import quantify_elements, shares
from hyperspy_assb.eds.composition.map_analysis import Analysis, prepare_map
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.statistics.false_discovery import false_discovery

_SAME_FIELD = 0.05
"""Share by which the sides of an image and of a map may differ, to show one field."""
_WORTH_SAYING = 0.05
"""Pixels above which a shift is told."""
_MATERIAL = 5.0
"""Standard errors below which a column counts as empty: its shares would be quotients of noise."""


@dataclass(frozen=True)
class CompositionOptions:
    """How two states are compared.

    Parameters
    ----------
    block
        Pixels along each side that are taken together.
    register
        Whether the later map is brought onto the earlier one.
    shift
        Pixels (rows, columns) by which the later map is shifted, where that is known; None: found.
    largest_shift
        Share of the map by which it may be shifted.
    fdr
        Expected share of false finds among all.
    """

    block: int = 1
    register: bool = True
    shift: tuple[float, float] | None = None
    largest_shift: float = 0.25
    fdr: float = 0.05

    def __post_init__(self) -> None:
        if self.block < 1:
            raise AssbValueError(f"block must be 1 or more pixels, not {self.block}.")
        if not 0.0 < self.fdr < 1.0:
            raise AssbValueError(f"fdr must lie between 0 and 1, not at {self.fdr}.")


class BlockStatus(IntEnum):
    """What became of a block; differences are NaN where it is above 0."""

    COMPARED = 0
    EMPTY = 1
    """One of the states has no material above its error there, or was not recorded there."""


@dataclass(frozen=True, eq=False)
class CompositionChange:
    """Change of the atomic per cent of M elements on a map of blocks.

    Parameters
    ----------
    elements
        Symbols.
    shift, shift_std
        Pixels (rows, columns) by which the later map was shifted, and standard errors.
    block
        Pixels along each side of a block.
    before, after
        Atomic per cent, shape (M, rows, columns); NaN where one of the maps has nothing.
    difference, std
        After less before, and its standard error: counting in both states, and what an error of the shift makes of
        gradients.
    p_value, q_value
        Two-sided, and corrected for many tests.
    changed
        -1, 0 or 1: where an element went down, did not change by more than its noise, or went up.
    other
        The same with another shift, where shift and change explain each other; None: they do not.
    ambiguity
        Why there is another, in words.
    """

    elements: tuple[str, ...]
    shift: tuple[float, float]
    shift_std: tuple[float, float]
    block: int
    before: FloatArray
    after: FloatArray
    difference: FloatArray
    std: FloatArray
    p_value: FloatArray
    q_value: FloatArray
    changed: NDArray[np.int8]
    other: CompositionChange | None = None
    ambiguity: str = ""

    @property
    def status(self) -> NDArray[np.int8]:
        """:class:`BlockStatus`, shape (rows, columns)."""
        missing = np.isnan(self.difference).any(axis=0)
        return np.where(missing, BlockStatus.EMPTY, BlockStatus.COMPARED).astype(np.int8)

    def axes(self, pixels: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
        """Axes of the blocks from those of the pixels."""
        found = []
        for axis, size in zip(pixels, self.difference.shape[-len(pixels) :], strict=True):
            step = min(self.block, axis["size"])
            offset = axis["offset"] + 0.5 * (step - 1) * axis["scale"]
            found.append({**axis, "size": size, "scale": axis["scale"] * step, "offset": offset})
        return tuple(found)


@dataclass(frozen=True)
class RegionChange:
    """Mean change of an element in a region.

    Parameters
    ----------
    region, element
        Names.
    before, after, change, std
        Atomic per cent of the region as a whole.
    p_value
        Two-sided.
    blocks, up, down
        Blocks with an answer, and those in which it went up or down.
    """

    region: str
    element: str
    before: float
    after: float
    change: float
    std: float
    p_value: float
    blocks: int
    up: int
    down: int


@dataclass(frozen=True, eq=False)
class Reference:
    """What two maps are registered on, where that is not what they show themselves.

    Parameters
    ----------
    images
        Two images of the same field, before and after, such as HAADF; any number of pixels. None: the maps.
    unchanged
        Pixels of the map in which nothing changed, shape (rows, columns); None: found.
    """

    images: tuple[FloatArray, ...] | None = None
    unchanged: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.images is not None and len(self.images) != 2:
            raise AssbValueError(f"images must be two, before and after, not {len(self.images)}.")


def compare_compositions(
    elements: Sequence[str],
    before: FloatArray,
    before_covariance: FloatArray,
    after: FloatArray,
    after_covariance: FloatArray,
    options: CompositionOptions | None = None,
    reference: Reference | None = None,
) -> CompositionChange:
    """Compare the composition of two states of one region.

    Parameters
    ----------
    elements
        Symbols, M of them.
    before, after
        Atoms/nm^2, not clipped, shape (rows, columns, M); NaN where there is nothing.
    before_covariance, after_covariance
        Shape (rows, columns, M, M).
    options
        Blocks, registration, false discovery rate.
    reference
        What the maps are registered on.

    Returns
    -------
    CompositionChange
        Differences with errors.

    Raises
    ------
    AssbValueError
        If the maps differ in shape, or cannot be registered.

    Notes
    -----
    Both maps are moved by half the shift, so that interpolation blurs them alike; its weights enter the variances.
    False discovery rate: Y. Benjamini and Y. Hochberg, J. R. Stat. Soc. B 57, 289 (1995), doi
    10.1111/j.2517-6161.1995.tb02031.x, valid for tests that are independent or positively dependent, as neighbours are.
    """
    options = options or CompositionOptions()
    if before.shape != after.shape:
        raise AssbValueError(
            f"The maps have {before.shape[0]} x {before.shape[1]} and {after.shape[0]} x {after.shape[1]} pixels (rows "
            "x columns): crop them to the same region."
        )
    states = (before, before_covariance), (after, after_covariance)
    if options.shift is not None:
        found = Registration(np.asarray(options.shift, dtype=float), np.zeros(2))
    elif not options.register:
        found = Registration(np.zeros(2), np.zeros(2))
    else:
        found = _registered(states, elements, options.largest_shift, reference or Reference())
    change = _differences(elements, states, found, options)
    if found.other is None:
        return change
    other = _differences(elements, states, Registration(found.other, found.std), options)
    return replace(change, other=other, ambiguity=found.reason)


def _registered(
    states: Sequence[tuple[FloatArray, FloatArray]], elements: Sequence[str], largest: float, reference: Reference
) -> Registration:
    """The shift of the later map, in pixels of the map."""
    shape = states[0][0].shape[:2]
    if reference.images is None:
        material = [~_empty(*state) for state in states]
        return find_shift(
            *composition_layers(states, elements, material), largest=largest, unchanged=reference.unchanged
        )
    images = [np.atleast_2d(np.asarray(image, dtype=float)) for image in reference.images]
    size = images[0].shape
    ratio = np.array(size) / np.array(shape)
    if images[1].shape != size or len(size) != 2 or abs(ratio[0] / ratio[1] - 1.0) > _SAME_FIELD:
        raise AssbValueError(
            f"images have {' and '.join(' x '.join(map(str, i.shape)) for i in images)} pixels, and the map "
            f"{shape[0]} x {shape[1]}: both must show the field of the map."
        )
    where = reference.unchanged
    if where is not None:
        row, column = (np.arange(n) * m // n for n, m in zip(size, shape, strict=True))
        where = where[np.ix_(row, column)]
    found = find_shift(*image_layers(images), largest=largest, unchanged=where)
    other = None if found.other is None else found.other / ratio
    return Registration(found.shift / ratio, found.std / ratio, other, found.reason)


def _differences(
    elements: Sequence[str],
    states: Sequence[tuple[FloatArray, FloatArray]],
    found: Registration,
    options: CompositionOptions,
) -> CompositionChange:
    """Differences of two states of which the later one is moved."""
    moved = [
        _resampled(a, c, sign * found.shift, options.block) for (a, c), sign in zip(states, (-0.5, 0.5), strict=True)
    ]
    (first, first_std), (second, second_std) = (_percent(a, c) for a, c in moved)
    mean = 0.5 * (_filled(first) + _filled(second)) if np.isfinite(first).any() else first
    counting = first_std**2 + second_std**2
    variance = counting.copy()
    for axis, error in enumerate(found.std):
        if error > 0.0 and mean.shape[axis + 1] > 2:
            slope = np.gradient(ndimage.gaussian_filter1d(mean, 1.0, axis=axis + 1), axis=axis + 1)
            # Noise has slopes as well, a seventh of its variance at this width, and the mean of two has half of it.
            real = np.maximum(slope**2 - 0.25 * counting / (4.0 * np.sqrt(np.pi)), 0.0)
            variance += real * (error / options.block) ** 2
    difference, std = second - first, np.sqrt(variance)
    p_value = 2.0 * special.ndtr(-np.abs(difference / std))
    q_value = false_discovery(p_value)
    finds = np.nan_to_num(q_value, nan=1.0) <= options.fdr
    return CompositionChange(
        elements=tuple(elements),
        shift=(float(found.shift[0]), float(found.shift[1])),
        shift_std=(float(found.std[0]), float(found.std[1])),
        block=options.block,
        before=first,
        after=second,
        difference=difference,
        std=std,
        p_value=p_value,
        q_value=q_value,
        changed=np.where(finds, np.sign(np.nan_to_num(difference)), 0).astype(np.int8),
    )


def compare_maps(
    before: EDSMap,
    after: EDSMap,
    settings: EDSOptions,
    options: CompositionOptions,
    reference: Reference | None = None,
) -> Analysis[CompositionChange]:
    """Compare the composition of two states of one region; errors and warnings are those of :func:`.prepare_map` and
    of :func:`compare_compositions`.

    Raises
    ------
    AssbValueError
        If the maps differ in shape, pixel size or beam energy.
    """
    before.must_fit(after)
    rows = before.shape if len(before.shape) == 2 else (1, *before.shape)
    states, notes = [], []
    elements: list[str] = []
    for name, recorded in (("before", before), ("after", after)):
        prepared = prepare_map(recorded, settings)
        found = quantify_elements(prepared.scene, recorded.spectra)
        elements = elements or [el for el in CELL_ELEMENTS if el in found.elements] or list(found.elements)
        found, m = found.subset(elements), len(elements)
        states.append((found.unclipped.reshape(*rows, m), found.covariance.reshape(*rows, m, m)))
        notes += [f"{name}: {text}" for text in prepared.notes]
    reference = reference or Reference()
    change = compare_compositions(elements, *states[0], *states[1], options, reference)
    if np.hypot(*change.shift) > _WORTH_SAYING:
        notes.append(f"The later map was shifted by {_in_words(change)}.")
    if change.other is not None:
        told = (
            f"Shift and change explain each other here ({change.ambiguity}): the maps fit with a shift of "
            f"{_in_words(change)}, as used, and with one of {_in_words(change.other)} and other changes "
            "(other_reading). Images recorded with the maps (images=) or a region in which nothing changed "
            "(unchanged=) decide."
        )
        warnings.warn(told, AssbWarning, stacklevel=3)
        notes.insert(0, told)
    registered_on = "images" if reference.images is not None else "maps"
    if reference.unchanged is not None:
        registered_on += ", where nothing changed"
    record = provenance.record(
        "compare_composition",
        parameters={
            **prepared.parameters,
            "options": asdict(options),
            "shift": list(change.shift),
            "on": registered_on,
        },
        methods=(*prepared.methods, "registration", "false_discovery"),
    )
    return Analysis(change, tuple(notes), record)


def _in_words(change: CompositionChange) -> str:
    rows, columns = (f"{s:+.2f} ± {e:.2f}" for s, e in zip(change.shift, change.shift_std, strict=True))
    return f"{rows} rows and {columns} columns"


def _empty(atoms: FloatArray, covariance: FloatArray) -> NDArray[np.bool_]:
    """Columns without material above its error."""
    with np.errstate(invalid="ignore"):
        return np.asarray(~(atoms.sum(axis=2) > _MATERIAL * np.sqrt(covariance.sum(axis=(2, 3)))))


def _filled(maps: FloatArray) -> FloatArray:
    return np.where(np.isfinite(maps), maps, np.nanmedian(maps, axis=(1, 2), keepdims=True))


def _percent(atoms: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Atomic per cent and standard errors, shape (M, rows, columns); NaN where there is no material above its error."""
    rows, columns, m = atoms.shape
    share, std = shares(atoms.reshape(-1, m), covariance.reshape(-1, m, m))
    nothing = _empty(atoms, covariance).ravel()
    share[nothing], std[nothing] = np.nan, np.nan
    return tuple(100.0 * v.T.reshape(m, rows, columns) for v in (share, std))  # type: ignore[return-value]


def _kernel(move: float, block: int) -> tuple[FloatArray, int]:
    """Weights of pixels in a block of a map that is moved, and which pixel the first is for the block
    that begins at 0."""
    whole = int(np.floor(-move))
    part = -move - whole
    box = np.ones(block) / block
    return np.convolve(box, [1.0 - part, part]) if part > 1e-9 else box, whole


def _resampled(
    atoms: FloatArray, covariance: FloatArray, move: FloatArray, block: int
) -> tuple[FloatArray, FloatArray]:
    """Means over blocks of a map that is moved, and their covariance; NaN where a pixel is missing."""
    values, spread = atoms, covariance
    for axis in (0, 1):
        weights, first = _kernel(float(move[axis]), block if atoms.shape[axis] >= block else atoms.shape[axis])
        size = atoms.shape[axis]
        step = min(block, size)
        starts = np.arange(0, size - step + 1, step)
        index = starts[:, np.newaxis] + first + np.arange(weights.size)
        outside = (index < 0) | (index >= size)
        index = np.clip(index, 0, size - 1)
        values = _combine(values, weights, index, outside, axis)
        spread = _combine(spread, weights**2, index, outside, axis)
    return values, spread


def _combine(
    values: FloatArray, weights: FloatArray, index: NDArray[np.int64], outside: NDArray[np.bool_], axis: int
) -> FloatArray:
    moved = np.moveaxis(values, axis, 0)
    total = np.zeros((len(index), *moved.shape[1:]))
    for k, weight in enumerate(weights):
        total += weight * moved[index[:, k]]
    total[(outside & (weights > 1e-9)).any(axis=1)] = np.nan
    return np.moveaxis(total, 0, axis)


def region_changes(change: CompositionChange, regions: Mapping[str, NDArray[np.bool_]]) -> list[RegionChange]:
    """Mean change of each element in each region: which elements moved where.

    Parameters
    ----------
    change
        Of two states.
    regions
        Blocks by name, shape (rows, columns) of the blocks.

    Returns
    -------
    changes
        In the order of regions and elements; regions without an answer are left out.
    """
    found = []
    for name, where in regions.items():
        valid = where & np.isfinite(change.difference).all(axis=0)
        n = int(valid.sum())
        if not n:
            continue
        for m, element in enumerate(change.elements):
            before, after = change.before[m][valid].mean(), change.after[m][valid].mean()
            std = float(np.sqrt(np.sum(change.std[m][valid] ** 2))) / n
            found.append(
                RegionChange(
                    region=name,
                    element=element,
                    before=float(before),
                    after=float(after),
                    change=float(after - before),
                    std=std,
                    p_value=float(2.0 * special.ndtr(-abs(after - before) / std)),
                    blocks=n,
                    up=int(np.sum(change.changed[m][valid] > 0)),
                    down=int(np.sum(change.changed[m][valid] < 0)),
                )
            )
    return found
