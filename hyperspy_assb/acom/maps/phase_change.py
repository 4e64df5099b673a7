"""Two states of one area: registered, and what became of every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.maps.area_fractions import (
    LEFT_OUT,
    AreaFractions,
    ClassMap,
    FractionOptions,
    area_fractions,
    block_fractions,
    classify_pixels,
)
from hyperspy_assb.acom.maps.couples import find_couple
from hyperspy_assb.acom.matching.indexed import IndexedScan
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

_MIN_OVERLAP = 0.3
"""Share of the smaller scan that both must show: less cannot be registered reliably."""
_EVEN = 1e-9
"""Share of its level by which an image must vary to have something to register."""


class PixelChange(IntEnum):
    """What became of a pixel between two states."""

    UNCHANGED = 0
    """The same phase or amorphous material in both states."""
    OTHER = 1
    """Another change than those below."""
    DELITHIATED = 2
    """The lithiated phase of the electrode became the delithiated one."""
    AMORPHISED = 3
    """A crystal became amorphous."""
    LITHIATED = 4
    """The delithiated phase of the electrode became the lithiated one."""
    UNKNOWN = 5
    """No answer in one of the states."""


@dataclass(frozen=True)
class Registration:
    """Where the later scan lies on the earlier one.

    Parameters
    ----------
    shift
        Rows and columns: pixel (y, x) of the earlier scan shows what (y + shift[0], x + shift[1]) of the later one
        shows.
    correlation
        Of the two images where they overlap, -1 to 1.
    before, after
        Slices (rows, columns) of the common area in either scan.
    """

    shift: tuple[int, int]
    correlation: float
    before: tuple[slice, slice]
    after: tuple[slice, slice]


@dataclass(frozen=True)
class PhaseChange:
    """Area fractions of two states of the same pixels, and what became what.

    Parameters
    ----------
    names
        Classes of either state, K of them.
    before, after
        Share of the pixels that have a class in both states, shape (K,).
    change
        After less before, shape (K,).
    change_std
        Standard error of the change from the scatter of blocks, shape (K,).
    low, high
        Ends of the interval of the change, shape (K,).
    transitions
        Share of the pixels that were of class i and became class j, shape (K, K).
    before_index, after_index
        Class of each pixel of the common area, shape (ny, nx).
    confidence
        Of the interval.
    pixels
        That have a class in both states.
    """

    names: tuple[str, ...]
    before: FloatArray
    after: FloatArray
    change: FloatArray
    change_std: FloatArray
    low: FloatArray
    high: FloatArray
    transitions: FloatArray
    before_index: NDArray[np.int64]
    after_index: NDArray[np.int64]
    confidence: float
    pixels: int


@dataclass(frozen=True)
class StateChange:
    """Two indexed scans of one area compared.

    Parameters
    ----------
    registration
        Where the later scan lies on the earlier one.
    classes
        What became what.
    before, after
        Area fractions of the pixels that have a class in both states.
    kind
        See :class:`PixelChange`, shape (ny, nx) of the common area.
    exchanged
        Names of the lithiated and of the delithiated phase whose exchange was looked for; empty if there are none.
    """

    registration: Registration
    classes: PhaseChange
    before: AreaFractions
    after: AreaFractions
    kind: NDArray[np.int8]
    exchanged: tuple[str, ...] = ()


def compare_scans(
    before: IndexedScan,
    after: IndexedScan,
    *,
    shift: tuple[int, int] | None = None,
    couple: Electrode | str | None = None,
    options: FractionOptions | None = None,
) -> StateChange:
    """Register two indexed scans of one area on their virtual bright fields, and compare them pixel by pixel.

    Parameters
    ----------
    before, after
        With the same pixel size; the shapes may differ.
    shift
        Where it is known: rows and columns by which the later scan is displaced.
    couple
        The electrode whose phases' exchange is looked for; None: the one that is among the phases, if any.
    options
        Confidence, resamples, blocks.

    Raises
    ------
    ValueError
        If the scans have too little in common, or it is not clear which couple is meant.
    """
    names = list(dict.fromkeys(phase.name for scan in (before, after) for phase in scan.phases))
    known = find_couple(names, couple)
    place = register_scans(before.virtual_bright_field, after.virtual_bright_field, shift=shift)
    options = options or FractionOptions()
    states = ((before, place.before), (after, place.after))
    whole = [classify_pixels(scan) for scan, _ in states]
    first, second = (
        ClassMap(c.names, c.index[part], c.crystalline) for c, (_, part) in zip(whole, states, strict=True)
    )
    found = compare_classes(first, second, options=options)
    common = (found.before_index != LEFT_OUT) & (found.after_index != LEFT_OUT)
    fractions = [
        area_fractions(c, posterior=scan.posterior[part], region=common, options=options)
        for c, (scan, part) in zip((first, second), states, strict=True)
    ]
    exchanged = () if known is None else (known.lithiated, known.delithiated)
    amorphised = common & ~first.amorphous & second.amorphous
    kind = np.where(found.before_index == found.after_index, PixelChange.UNCHANGED, PixelChange.OTHER).astype(np.int8)
    kind[first.is_(*exchanged[:1]) & second.is_(*exchanged[1:])] = PixelChange.DELITHIATED
    kind[first.is_(*exchanged[1:]) & second.is_(*exchanged[:1])] = PixelChange.LITHIATED
    kind[amorphised] = PixelChange.AMORPHISED
    kind[~common] = PixelChange.UNKNOWN
    return StateChange(
        registration=place,
        classes=found,
        before=fractions[0],
        after=fractions[1],
        kind=kind,
        exchanged=exchanged,
    )


def register_scans(before: ArrayLike, after: ArrayLike, *, shift: tuple[int, int] | None = None) -> Registration:
    """Find how far a later scan is displaced, to a pixel: classes cannot be interpolated.

    Parameters
    ----------
    before, after
        An image of either scan, such as the virtual bright field, with the same pixel size; the shapes may differ.
    shift
        Where it is known: rows and columns.

    Raises
    ------
    ValueError
        If less than 30 % of the smaller scan is in common.

    Notes
    -----
    Correlation by scikit-image, both images with a smooth rim, which may be wrong by a pixel where the shift is large:
    from what it finds, and from no shift at all, the shift goes to where the images are most alike in what they have in
    common.
    """
    from skimage.registration import phase_cross_correlation

    one, other = (_filled(image) for image in (before, after))
    if shift is None:
        shape = tuple(max(a, b) for a, b in zip(one.shape, other.shape, strict=True))
        candidates = [(0, 0)]
        if not (_is_even(one) or _is_even(other)):
            images = _windowed(one, shape), _windowed(other, shape)
            found, _, _ = phase_cross_correlation(*images, normalization=None)  # type: ignore[no-untyped-call]
            # scikit-image gives the shift that brings the second image onto the first.
            candidates.insert(0, (-round(float(found[0])), -round(float(found[1]))))
        shift = max(_climb(one, other, candidate) for candidate in candidates)[1]
    place = _overlap(one.shape, other.shape, shift)
    if place is None:
        raise AssbValueError(
            f"The scans have less than {100 * _MIN_OVERLAP:.0f} % of the smaller one in common (shift {shift} of rows, "
            "columns): they do not show the same area, or give the shift."
        )
    return Registration((int(shift[0]), int(shift[1])), _alike(one, other, shift), *place)


def compare_classes(before: ClassMap, after: ClassMap, *, options: FractionOptions | None = None) -> PhaseChange:
    """What became of every pixel.

    Parameters
    ----------
    before, after
        Of the same pixels; classes of one name are one class.
    options
        Confidence, resamples, blocks.

    Raises
    ------
    ValueError
        If shapes differ, or no pixel has a class in both.

    Notes
    -----
    The blocks of both states are drawn together: what a pixel was before is known, and most of the scatter between
    areas drops out of the change.
    """
    options = options or FractionOptions()
    if before.index.shape != after.index.shape:
        raise AssbValueError(
            f"before and after: the same pixels, not shapes {before.index.shape} and {after.index.shape}."
        )
    crystals = [*before.names[: before.crystalline], *after.names[: after.crystalline]]
    others = [*before.names[before.crystalline :], *after.names[after.crystalline :]]
    names = tuple(dict.fromkeys([*crystals, *others]))
    one, other = (_renumber(classes, names) for classes in (before, after))
    taken = (one != LEFT_OUT) & (other != LEFT_OUT)
    if not taken.any():
        raise AssbValueError("No pixel has a class in both states.")
    count = len(names)
    pairs = np.bincount(one[taken] * count + other[taken], minlength=count * count).reshape(count, count)
    transitions = pairs / taken.sum()
    kinds = np.arange(count)
    difference = (other[..., None] == kinds).astype(float) - (one[..., None] == kinds)
    change, std, low, high = block_fractions(difference, taken, options)
    return PhaseChange(
        names=names,
        before=transitions.sum(axis=1),
        after=transitions.sum(axis=0),
        change=change,
        change_std=std,
        low=low,
        high=high,
        transitions=transitions,
        before_index=one,
        after_index=other,
        confidence=options.confidence,
        pixels=int(taken.sum()),
    )


def compare_within(
    found: PhaseChange, region: NDArray[np.bool_], *, options: FractionOptions | None = None
) -> PhaseChange | None:
    """The same for some of the pixels, shape (ny, nx); None if none of them has a class in both states."""
    count = len(found.names)
    one, other = (
        ClassMap(found.names, np.where(region, index, LEFT_OUT), count)
        for index in (found.before_index, found.after_index)
    )
    if not ((one.index != LEFT_OUT) & (other.index != LEFT_OUT)).any():
        return None
    return compare_classes(one, other, options=options)


def _renumber(classes: ClassMap, names: tuple[str, ...]) -> NDArray[np.int64]:
    number = np.array([*(names.index(name) for name in classes.names), LEFT_OUT], dtype=np.int64)
    return np.asarray(number[classes.index])


def _filled(image: ArrayLike) -> FloatArray:
    values = np.array(image, dtype=float)
    if values.ndim != 2:
        raise AssbValueError(f"Images to register have two dimensions, not the shape {values.shape}.")
    known = np.isfinite(values)
    values[~known] = np.median(values[known]) if known.any() else 0.0
    return values


def _windowed(image: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The image less its mean, without an edge, in a frame of a given shape."""
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    frame = np.zeros(shape)
    frame[: image.shape[0], : image.shape[1]] = (image - image.mean()) * window
    return frame


def _is_even(image: FloatArray) -> bool:
    # What is left of a constant is rounding, and so is the difference of shifts along stripes.
    return bool(np.abs(image - image.mean()).max() < _EVEN * max(np.abs(image).max(), 1e-300))


def _overlap(
    one: tuple[int, ...], other: tuple[int, ...], shift: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    first, second = [], []
    for n, m, s in zip(one, other, shift, strict=True):
        begin, end = max(0, -s), min(n, m - s)
        if end - begin < 1:
            return None
        first.append(slice(begin, end))
        second.append(slice(begin + s, end + s))
    area = (first[0].stop - first[0].start) * (first[1].stop - first[1].start)
    if area < _MIN_OVERLAP * min(np.prod(one), np.prod(other)):
        return None
    return (first[0], first[1]), (second[0], second[1])


def _climb(one: FloatArray, other: FloatArray, shift: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """How alike the images are at the best shift that can be reached by steps of at most two pixels, and that shift."""
    best = (_alike(one, other, shift), shift)
    steps = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    while True:
        y, x = best[1]
        reached = max((_alike(one, other, (y + v, x + u)), (y + v, x + u)) for v, u in steps)
        if reached[0] <= best[0]:
            return best
        best = reached


def _alike(one: FloatArray, other: FloatArray, shift: tuple[int, int]) -> float:
    place = _overlap(one.shape, other.shape, shift)
    if place is None:
        return -1.0
    if _is_even(one[place[0]]) or _is_even(other[place[1]]):
        return 0.0
    a, b = (part - part.mean() for part in (one[place[0]], other[place[1]]))
    return round(float((a * b).sum()) / float(np.sqrt((a**2).sum() * (b**2).sum())), 9)
