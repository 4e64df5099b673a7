"""Area fractions of phases and of amorphous materials, with intervals that know of spatial correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperspy_assb.acom.maps.variogram import find_correlation
from hyperspy_assb.acom.matching.indexed import NOT_INDEXED, IndexedScan, PatternStatus
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.blocks import choose_block_size, estimate_correlation, split_into_blocks

LEFT_OUT = -1
"""The class of a pixel that has none: empty, saturated, or without an answer."""
AMORPHOUS = "amorphous"
"""The class of amorphous pixels whose material is not told."""
NOT_OFFERED = "not offered"
"""The class of crystals that none of the phases that were offered explains."""


@dataclass(frozen=True)
class ClassMap:
    """What every pixel consists of.

    Parameters
    ----------
    names
        Phases first, in the order in which they were offered, then amorphous materials, then ``"not offered"``.
    index
        Index into `names`, ``LEFT_OUT`` where there is none, shape (ny, nx); of two crystals, the thicker.
    crystalline
        How many of the names are phases.
    second, second_share, second_share_std
        The other of two crystals in a column: index into `names`, ``LEFT_OUT`` where there is none, its share in
        the column and the standard error, shape (ny, nx); None where it was not looked for.
    """

    names: tuple[str, ...]
    index: NDArray[np.int64]
    crystalline: int
    second: NDArray[np.int64] | None = None
    second_share: FloatArray | None = None
    second_share_std: FloatArray | None = None

    def is_(self, *names: str) -> NDArray[np.bool_]:
        """Pixels of one of some classes; none where there is no such class."""
        wanted = [number for number, name in enumerate(self.names) if name in names]
        return np.isin(self.index, wanted)

    @property
    def amorphous(self) -> NDArray[np.bool_]:
        """Pixels of an amorphous material."""
        return (self.index >= self.crystalline) & ~self.is_(NOT_OFFERED)

    def members(self) -> FloatArray:
        """Share of each class in every pixel, 0 where there is none, shape (ny, nx, K)."""
        whole = (self.index[..., None] == np.arange(len(self.names))).astype(float)
        if self.second is None or self.second_share is None:
            return whole
        share = np.where(self.second == LEFT_OUT, 0.0, self.second_share)[..., None]
        return whole * (1.0 - share) + share * (self.second[..., None] == np.arange(len(self.names)))

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels with a class that each class has, by name; those that are not there left out."""
        taken = max(int((self.index != LEFT_OUT).sum()), 1)
        counts = [int(np.sum(self.index == number)) for number in range(len(self.names))]
        return {name: count / taken for name, count in zip(self.names, counts, strict=True) if count}

    @property
    def left_out(self) -> int:
        """Pixels without a class."""
        return int((self.index == LEFT_OUT).sum())


@dataclass(frozen=True)
class FractionOptions:
    """How area fractions and their intervals are found.

    Parameters
    ----------
    confidence
        Of the intervals.
    resamples
        Bootstrap resamples of the blocks.
    block_pixels
        Pixels of a block; None: three correlation lengths wide, but at least twelve blocks.
    seed
        Of the resampling.

    Examples
    --------
    >>> from hyperspy_assb.acom import FractionOptions
    >>> FractionOptions(confidence=0.68).resamples
    999
    """

    confidence: float = 0.95
    resamples: int = 999
    block_pixels: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.confidence < 1.0:
            raise AssbValueError(f"confidence: between 0 and 1, not {self.confidence}.")
        if self.resamples < 19:
            raise AssbValueError(f"resamples: at least 19, not {self.resamples}.")
        if self.block_pixels is not None and self.block_pixels < 1:
            raise AssbValueError(f"block_pixels: at least 1, not {self.block_pixels}.")


@dataclass(frozen=True)
class AreaFractions:
    """Share of each class in the area that was classified.

    Parameters
    ----------
    names
        Classes, K of them.
    fraction
        Share of the area, two crystals in a column counted by their shares, shape (K,).
    std
        Standard error from the scatter of blocks, as of another area of the same specimen, shape (K,).
    classification_std
        Standard error from pixels whose phase, or share of two crystals, is not certain, taking those of a block to be
        wrong together, shape (K,); NaN where no posterior was given, 0 for amorphous materials, whose probability is
        not known.
    expected
        Mean posterior probability, which differs from `fraction` where certainty is low, shape (K,); NaN where no
        posterior was given.
    low, high
        Ends of the interval, from both errors, shape (K,).
    effective
        Independent pixels that would scatter as much, shape (K,); NaN for a class that fills none or all of the area.
    confidence
        Of the interval.
    pixels, left_out
        Pixels that were classified, and those that were not (empty, saturated, no answer).
    blocks
        Blocks that were resampled.
    """

    names: tuple[str, ...]
    fraction: FloatArray
    std: FloatArray
    classification_std: FloatArray
    expected: FloatArray
    low: FloatArray
    high: FloatArray
    effective: FloatArray
    confidence: float
    pixels: int
    left_out: int
    blocks: int


def classify_pixels(scan: IndexedScan) -> ClassMap:
    """What every pixel consists of: the phase that was indexed, or the amorphous material of the largest share.

    Pixels with a lattice and amorphous material count as what is the largest part of the column, and as their phase
    where that is not known. Two crystals in a column have a share each.
    """
    crystalline = len(scan.phases)
    names = [*(phase.name for phase in scan.phases), *scan.ring_materials]
    index = np.where(np.asarray(scan.phase) == NOT_INDEXED, LEFT_OUT, scan.phase).astype(np.int64)
    amorphous = np.asarray(scan.status) == PatternStatus.AMORPHOUS
    index[np.asarray(scan.status) == PatternStatus.EMPTY] = LEFT_OUT
    amounts = np.nan_to_num(np.reshape(scan.ring_amounts, (*index.shape, len(scan.ring_materials))), nan=0.0)
    if scan.amorphous_share is not None:
        share = np.nan_to_num(scan.amorphous_share, nan=0.0)
        thickest = (1.0 - share.sum(axis=-1)) * _thicker_crystal(scan)
        mostly = (share.max(axis=-1, initial=0.0) > thickest) & (index != LEFT_OUT)
        amounts = np.where((mostly & ~amorphous)[..., None], share, amounts)
        amorphous |= mostly
    told = amorphous & (amounts.max(axis=-1, initial=0.0) > 0.0)
    if told.any():
        index[told] = crystalline + amounts[told].argmax(axis=-1)
    if (amorphous & ~told).any():
        names.append(AMORPHOUS)
        index[amorphous & ~told] = len(names) - 1
    foreign = np.asarray(scan.status) == PatternStatus.NOT_OFFERED
    if foreign.any():
        names.append(NOT_OFFERED)
        index[foreign] = len(names) - 1
    if scan.second_phase is None or scan.second_share is None:
        return ClassMap(tuple(names), index, crystalline)
    two = (scan.second_phase != NOT_INDEXED) & (index == scan.phase)
    second, share = np.where(two, scan.second_phase, LEFT_OUT), np.where(two, scan.second_share, 0.0)
    thicker = share > 0.5
    index[thicker], second[thicker] = second[thicker], index[thicker]
    share[thicker] = 1.0 - share[thicker]
    return ClassMap(tuple(names), index, crystalline, second.astype(np.int64), share, scan.second_share_std)


def _thicker_crystal(scan: IndexedScan) -> FloatArray:
    """Share of the thickest phase in what is crystalline of the columns, (ny, nx)."""
    if scan.second_phase is None or scan.second_share is None:
        return np.ones(np.shape(scan.phase))
    other = (scan.second_phase != NOT_INDEXED) & (scan.second_phase != scan.phase)
    return np.where(other, np.maximum(scan.second_share, 1.0 - scan.second_share), 1.0)


def area_fractions(
    classes: ClassMap,
    *,
    posterior: FloatArray | None = None,
    region: NDArray[np.bool_] | None = None,
    options: FractionOptions | None = None,
) -> AreaFractions:
    """Area fractions with an interval by a block bootstrap.

    Parameters
    ----------
    classes
        Of every pixel; see ``classify_pixels``.
    posterior
        Probability of each phase given that one of them is there, shape (ny, nx, P).
    region
        Pixels that are taken, shape (ny, nx); all by default.
    options
        Confidence, resamples, blocks.

    Raises
    ------
    ValueError
        If shapes do not fit, or no pixel has a class.

    Notes
    -----
    Neighbouring pixels are of one grain: resampling single pixels would make intervals several times too narrow. Blocks
    as wide as three correlation lengths are drawn with replacement (S. N. Lahiri, Resampling Methods for Dependent
    Data, Springer (2003), doi 10.1007/978-1-4757-3803-2). What neighbouring blocks still know of each other, and the
    mean of the area that all have in common, is put right by the ratio that follows from the semivariogram of the
    class. The interval is that of Student's t for the number of blocks on the
    scale of log p/(1 - p), so that it stays between 0 and 1. Of a class without pixels the upper end is the share that
    as many blocks as there are would miss, once in 1/(1 - confidence) times. What the interval covers is the area
    from which the scan is a sample; the area of the scan itself is known to `classification_std`.
    """
    options = options or FractionOptions()
    taken = classes.index != LEFT_OUT
    if region is not None:
        if np.shape(region) != taken.shape:
            raise AssbValueError(f"region: shape {taken.shape}, as the map, not {np.shape(region)}.")
        taken = taken & np.asarray(region, dtype=bool)
    if not taken.any():
        raise AssbValueError("No pixel has a class: all are empty, saturated, or without an answer.")
    if posterior is not None and np.shape(posterior) != (*taken.shape, classes.crystalline):
        raise AssbValueError(f"posterior: shape {(*taken.shape, classes.crystalline)}, not {np.shape(posterior)}.")
    position = np.argwhere(taken)
    shares = classes.members()
    member = shares[taken]
    block = _blocks(member, position, options)
    count = int(block.max()) + 1
    sums = _sum_by(block, member, count)
    sizes = np.bincount(block, minlength=count).astype(float)
    total = sizes.sum()
    fraction = sums.sum(axis=0) / total
    std = _bootstrap(sums, sizes, options) * _dependence(np.moveaxis(shares, -1, 0), taken, count)
    unsure, expected = _classification(classes, taken, posterior, block)
    both = np.hypot(std, np.nan_to_num(unsure))
    low, high = _interval(fraction, both, count, options.confidence)
    spread = fraction * (1.0 - fraction)
    effective = np.divide(spread, std**2, out=np.full(len(fraction), np.nan), where=std > 0.0)
    return AreaFractions(
        names=classes.names,
        fraction=fraction,
        std=std,
        classification_std=unsure,
        expected=expected,
        low=low,
        high=high,
        effective=effective,
        confidence=options.confidence,
        pixels=int(total),
        left_out=int((~taken).sum() if region is None else (np.asarray(region, dtype=bool) & ~taken).sum()),
        blocks=count,
    )


def block_fractions(
    values: FloatArray, taken: NDArray[np.bool_], options: FractionOptions
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Means over an area with a block bootstrap, for values that are not shares, such as changes.

    Parameters
    ----------
    values
        Shape (ny, nx, K).
    taken
        The area, shape (ny, nx).
    options
        Confidence, resamples, blocks.

    Returns
    -------
    mean, std, low, high
        Shape (K,); the interval is that of Student's t for the number of blocks.
    """
    inside = values[taken]
    block = _blocks(inside, np.argwhere(taken), options)
    count = int(block.max()) + 1
    sums = _sum_by(block, inside, count)
    std = _bootstrap(sums, np.bincount(block).astype(float), options)
    std = std * _dependence(np.moveaxis(values, -1, 0), taken, count)
    mean = inside.mean(axis=0)
    reach = stats.t.ppf(0.5 + options.confidence / 2.0, count - 1) * std if count > 1 else np.full(len(mean), np.nan)
    return mean, std, mean - reach, mean + reach


def _blocks(member: NDArray[Any], position: NDArray[np.int64], options: FractionOptions) -> NDArray[np.int64]:
    size = options.block_pixels
    if size is None:
        size = choose_block_size(estimate_correlation(member.astype(float), position), len(position), 2)
    return split_into_blocks(position, size)


def _sum_by(block: NDArray[np.int64], values: FloatArray, count: int) -> FloatArray:
    """Sums of the rows (P, K) of each block, shape (count, K)."""
    sums = [np.bincount(block, weights=column, minlength=count) for column in values.T]
    return np.stack(sums, axis=1).astype(np.float64)


def _bootstrap(sums: FloatArray, sizes: FloatArray, options: FractionOptions) -> FloatArray:
    """Standard error of the fractions from blocks drawn with replacement."""
    count = len(sizes)
    if count < 2:
        return np.full(sums.shape[1], np.nan)
    draws = np.random.default_rng(options.seed).multinomial(count, np.full(count, 1.0 / count), size=options.resamples)
    drawn = (draws @ sums) / (draws @ sizes)[:, None]
    # Drawing from the sample itself makes the variance too small by (n - 1)/n.
    return np.asarray(drawn.std(axis=0, ddof=1) * np.sqrt(count / (count - 1.0)))


def _dependence(images: FloatArray, taken: NDArray[np.bool_], blocks: int) -> FloatArray:
    """Factor of the standard error of each image for what neighbouring blocks know of each other."""
    factor = np.ones(len(images))
    if blocks < 2:
        return factor
    for number, image in enumerate(images):
        found = find_correlation(image, taken)
        scatter = found.block_variance(taken.sum() / blocks) - found.mean_variance
        if scatter > 0.0:
            factor[number] = np.sqrt(max(found.mean_variance * (blocks - 1) / scatter, 1.0))
    return factor


def _classification(
    classes: ClassMap, taken: NDArray[np.bool_], posterior: FloatArray | None, block: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Standard error from uncertain phases, and the mean posterior."""
    total = int(taken.sum())
    if posterior is None:
        return np.full(len(classes.names), np.nan), np.full(len(classes.names), np.nan)
    probability = np.zeros((total, len(classes.names)))
    index = classes.index[taken]
    crystal = index < classes.crystalline
    rows = np.flatnonzero(crystal)
    probability[rows, : classes.crystalline] = np.asarray(posterior, dtype=float)[taken][crystal]
    # A pixel whose posterior is not known counts as what it was taken for; so does one of two crystals.
    members, unsure = classes.members()[taken], np.zeros(total)
    mixed = np.zeros(total, dtype=bool)
    if classes.second is not None and classes.second_share_std is not None:
        mixed = classes.second[taken] != LEFT_OUT
        unsure = np.where(mixed, np.nan_to_num(classes.second_share_std[taken]), 0.0)
    unknown = ~np.isfinite(probability).all(axis=1) | ~crystal | mixed
    probability[unknown] = members[unknown]
    scatter = np.where(mixed[:, None], unsure[:, None] * (members > 0.0), np.sqrt(probability * (1.0 - probability)))
    together = _sum_by(block, scatter, int(block.max()) + 1)
    return np.sqrt((together**2).sum(axis=0)) / total, probability.mean(axis=0)


def _interval(fraction: FloatArray, std: FloatArray, blocks: int, confidence: float) -> tuple[FloatArray, FloatArray]:
    spread = fraction * (1.0 - fraction)
    inside = (spread > 0.0) & np.isfinite(std)
    low, high = np.zeros_like(fraction), np.ones_like(fraction)
    if blocks > 1 and inside.any():
        reach = stats.t.ppf(0.5 + confidence / 2.0, blocks - 1)
        centre = np.log(fraction[inside] / (1.0 - fraction[inside]))
        step = reach * std[inside] / spread[inside]
        low[inside], high[inside] = _logistic(centre - step), _logistic(centre + step)
    missed = 1.0 - (1.0 - confidence) ** (1.0 / blocks)
    high[fraction == 0.0] = missed
    low[fraction == 1.0] = 1.0 - missed
    return low, high


def _logistic(value: Any) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * value)))
