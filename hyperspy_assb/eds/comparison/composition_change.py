"""Composition before and after: maps brought on top of each other, and differences that are more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import Analysis, prepare_map, quantify_elements, shares
from hyperspy_assb.eds.eds_map import EDSMap, FloatArray, Settings
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.false_discovery import false_discovery

_REPLICATES = 12
"""Pairs of maps with as much noise again, whose shifts scatter by the error of the shift."""
_UPSAMPLE = 50
"""Steps in a pixel to which a shift is found."""
_WORTH_SAYING = 0.05
"""Pixels above which a shift is told."""
_MATERIAL = 5.0
"""Standard errors below which a column counts as empty: its shares would be quotients of noise."""
_ROUNDS = 12
"""Measurements of what is left of a shift, at most."""


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


def estimate_shift(
    before: FloatArray, after: FloatArray, before_std: FloatArray, after_std: FloatArray, *, largest: float = 0.25
) -> tuple[FloatArray, FloatArray]:
    """Shift that brings the later maps onto the earlier ones.

    Parameters
    ----------
    before, after
        Maps of M quantities, shape (M, rows, columns); NaN where there is nothing.
    before_std, after_std
        Standard errors.
    largest
        Share of the map by which it may be shifted.

    Returns
    -------
    shift, std
        Rows and columns: the later map is to be moved by so much. The errors are the scatter over maps with as much
        noise again.

    Raises
    ------
    AssbValueError
        If the maps have no structure above their noise, or the shift is larger than allowed.

    Notes
    -----
    Cross-correlation with a refined grid: M. Guizar-Sicairos, S. T. Thurman and J. R. Fienup, Opt. Lett. 33, 156
    (2008), doi 10.1364/OL.33.000156, of the combination of elements that varies most.
    """
    weight = _weights(before, before_std)
    shape = np.array(before.shape[1:])
    if weight is None:
        raise AssbValueError(
            "The maps show no structure above their noise: they cannot be registered (register=False)."
        )
    images = [np.einsum("m,mij->ij", weight, _filled(maps)) for maps in (before, after)]
    noise = [np.sqrt(np.einsum("m,mij->ij", weight**2, np.nan_to_num(std) ** 2)) for std in (before_std, after_std)]
    shift = _shift(*images)
    if np.any(np.abs(shift) > largest * shape):
        raise AssbValueError(
            f"The maps seem to be shifted by {shift[0]:.1f} rows and {shift[1]:.1f} columns, more than {largest:g} of "
            "the map: they do not show the same region, or too little structure. Give shift=, or register=False."
        )
    rng = np.random.default_rng(0)
    replicates = []
    for _ in range(_REPLICATES):
        first, second = (i + s * rng.standard_normal(i.shape) for i, s in zip(images, noise, strict=True))
        replicates.append(_shift(first, second, shift))
    return shift, np.maximum(np.std(replicates, axis=0), 1.0 / _UPSAMPLE)


def _weights(maps: FloatArray, std: FloatArray) -> FloatArray | None:
    """Combination of maps in units of their noise that varies most; None where nothing does."""
    valid = np.isfinite(maps).all(axis=0) & np.isfinite(std).all(axis=0)
    scale = np.array([np.median(s[valid]) if valid.any() else np.nan for s in std])
    if valid.sum() < 16 or not np.all(scale > 0.0):
        return None
    covariance = np.atleast_2d(np.cov(maps[:, valid] / scale[:, np.newaxis]))
    # Noise of shares is correlated, for they add up: of each quantity alone it has the variance 1.
    if covariance.diagonal().max() < 1.0 + 4.0 * np.sqrt(2.0 / valid.sum()):
        return None
    return np.linalg.eigh(covariance)[1][:, -1] / scale


def _filled(maps: FloatArray) -> FloatArray:
    return np.where(np.isfinite(maps), maps, np.nanmedian(maps, axis=(1, 2), keepdims=True))


def _shift(reference: FloatArray, moving: FloatArray, start: FloatArray | None = None) -> FloatArray:
    # Slow to import, and nothing else here needs it.
    from skimage.registration import phase_cross_correlation

    window = np.outer(*[np.hanning(n + 2)[1:-1] if n > 4 else np.ones(n) for n in reference.shape])
    still = (reference - reference.mean()) * window
    shift = np.zeros(2) if start is None else start.copy()
    for _ in range(_ROUNDS):
        moved = ndimage.shift(moving, shift, order=1, mode="nearest")
        # The window stands still and draws the maximum towards 0: what is left is measured again.
        step = phase_cross_correlation(  # type: ignore[no-untyped-call]
            still, (moved - moved.mean()) * window, upsample_factor=_UPSAMPLE, normalization=None
        )[0]
        shift = shift + np.asarray(step, dtype=np.float64)
        if np.all(np.abs(step) < 1.5 / _UPSAMPLE) or np.any(np.abs(shift) > 0.5 * np.array(reference.shape)):
            break
    return shift


def compare_compositions(
    elements: Sequence[str],
    before: FloatArray,
    before_covariance: FloatArray,
    after: FloatArray,
    after_covariance: FloatArray,
    options: CompositionOptions | None = None,
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
    shift, shift_std = np.zeros(2), np.zeros(2)
    if options.shift is not None:
        shift = np.asarray(options.shift, dtype=float)
    elif options.register:
        percent = [_percent(a, c) for a, c in ((before, before_covariance), (after, after_covariance))]
        shift, shift_std = estimate_shift(
            percent[0][0], percent[1][0], percent[0][1], percent[1][1], largest=options.largest_shift
        )
    states = [
        _resampled(a, c, move, options.block)
        for a, c, move in ((before, before_covariance, -0.5 * shift), (after, after_covariance, 0.5 * shift))
    ]
    (first, first_std), (second, second_std) = (_percent(a, c) for a, c in states)
    mean = 0.5 * (_filled(first) + _filled(second)) if np.isfinite(first).any() else first
    variance = first_std**2 + second_std**2
    if np.any(shift_std > 0.0):
        for axis, error in enumerate(shift_std):
            if mean.shape[axis + 1] > 2:
                slope = np.gradient(ndimage.gaussian_filter1d(mean, 1.0, axis=axis + 1), axis=axis + 1)
                variance = variance + (slope * error / options.block) ** 2
    difference, std = second - first, np.sqrt(variance)
    p_value = 2.0 * special.ndtr(-np.abs(difference / std))
    q_value = false_discovery(p_value)
    found = np.nan_to_num(q_value, nan=1.0) <= options.fdr
    return CompositionChange(
        elements=tuple(elements),
        shift=(float(shift[0]), float(shift[1])),
        shift_std=(float(shift_std[0]), float(shift_std[1])),
        block=options.block,
        before=first,
        after=second,
        difference=difference,
        std=std,
        p_value=p_value,
        q_value=q_value,
        changed=np.where(found, np.sign(np.nan_to_num(difference)), 0).astype(np.int8),
    )


def compare_maps(
    before: EDSMap, after: EDSMap, settings: Settings, options: CompositionOptions
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
    change = compare_compositions(elements, *states[0], *states[1], options)
    if np.hypot(*change.shift) > _WORTH_SAYING:
        notes.append(
            f"The later map was shifted by {change.shift[0]:+.2f} ± {change.shift_std[0]:.2f} rows and "
            f"{change.shift[1]:+.2f} ± {change.shift_std[1]:.2f} columns."
        )
    record = provenance.record(
        "compare_composition",
        parameters={**prepared.parameters, "options": asdict(options), "shift": list(change.shift)},
        methods=(*prepared.methods, "registration", "scikit-image", "false_discovery"),
    )
    return Analysis(change, tuple(notes), record)


def _percent(atoms: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Atomic per cent and standard errors, shape (M, rows, columns); NaN where there is no material above its error."""
    rows, columns, m = atoms.shape
    share, std = shares(atoms.reshape(-1, m), covariance.reshape(-1, m, m))
    with np.errstate(invalid="ignore"):
        nothing = ~(atoms.sum(axis=2) > _MATERIAL * np.sqrt(covariance.sum(axis=(2, 3)))).ravel()
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
