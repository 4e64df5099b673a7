"""Profiles of elements against the distance from a boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.eds.composition.atoms import Composition
from hyperspy_assb.eds.eds_map import EDSMap, FloatArray
from hyperspy_assb.errors import AssbValueError

LEAST_BINS = 8
"""Bins that a fit needs: two plateaus, a position and a width, and as many again to tell whether they describe it."""
_SLACK = 5e-4
"""Share of a pixel or bin for what rounding does to pixels on an edge."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Elements against the distance from a boundary.

    Parameters
    ----------
    elements
        Symbols, M of them.
    distance
        nm, mean of the pixels of each of B bins; of any origin.
    members
        Distances of the pixels of each bin: what the model is averaged over.
    amount
        Per pixel, shape (B, M); not clipped at 0.
    covariance
        Shape (B, M, M).
    unit
        Of the amounts.
    """

    elements: tuple[str, ...]
    distance: FloatArray
    members: tuple[FloatArray, ...]
    amount: FloatArray
    covariance: FloatArray
    unit: str = "atoms/nm²"

    @cached_property
    def pixels(self) -> FloatArray:
        """Number of pixels of each bin."""
        return np.array([float(m.size) for m in self.members])

    @property
    def std(self) -> FloatArray:
        """Standard errors of the amounts, shape (B, M)."""
        return np.sqrt(np.einsum("bmm->bm", self.covariance))

    @cached_property
    def spacing(self) -> float:
        """nm between bins."""
        return float(np.median(np.diff(self.distance)))

    def subset(self, index: Sequence[int]) -> Profile:
        """Some of the elements."""
        return replace(
            self,
            elements=tuple(self.elements[i] for i in index),
            amount=self.amount[:, index],
            covariance=self.covariance[:, index][:, :, index],
        )


@dataclass(frozen=True)
class Strip:
    """A strip across a map, in the unit of its axes.

    Parameters
    ----------
    start, end
        Ends of the middle line: x (along rows) and y.
    width
        Of the strip; 0 takes one pixel.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    width: float


def distance_along(recorded: EDSMap, strip: Strip) -> FloatArray:
    """Distance in nm of every pixel along a strip, NaN beside it; shape of the map.

    Raises
    ------
    AssbValueError
        If the map has no two axes with a unit of length, or the strip has no length.
    """
    scales, unit = recorded.pixel_size()
    if len(recorded.shape) != 2:
        raise AssbValueError("A line can be drawn on a map; this signal has no two navigation axes.")
    y, x = (
        axis["offset"] * unit + scale * index
        for axis, scale, index in zip(recorded.axes, scales, np.indices(recorded.shape), strict=True)
    )
    start, end = np.array(strip.start) * unit, np.array(strip.end) * unit
    length = float(np.hypot(*(end - start)))
    if not length > 0.0:
        raise AssbValueError("The line has no length.")
    along = ((x - start[0]) * (end - start)[0] + (y - start[1]) * (end - start)[1]) / length
    across = ((y - start[1]) * (end - start)[0] - (x - start[0]) * (end - start)[1]) / length
    pixel = float(np.max(np.abs(scales)))
    half, slack = 0.5 * max(strip.width * unit, pixel), _SLACK * pixel
    inside = (along >= -slack) & (along <= length + slack) & (np.abs(across) <= half + slack)
    return np.where(inside, along, np.nan)


def distance_to_boundary(recorded: EDSMap, share: FloatArray, smooth: float) -> FloatArray:
    """Distance in nm of every pixel to a phase boundary, positive inside the phase; shape of the map.

    Parameters
    ----------
    recorded
        Map.
    share
        Share of the phase in each pixel.
    smooth
        Standard deviation in pixels over which the share is smoothed before the boundary is drawn at one half.

    Raises
    ------
    AssbValueError
        If the shapes differ, the axes have no unit of length, or the phase fills the map or none of it.
    """
    scales, _ = recorded.pixel_size()
    if share.shape != recorded.shape:
        raise AssbValueError(
            f"The map of the phase has the shape {share.shape}, but the navigation axes have {recorded.shape}."
        )
    # The level of the smoothed share runs between pixels: distances follow it, and not the steps of pixels.
    mask = ndimage.gaussian_filter(share, smooth) > 0.5
    if mask.all() or not mask.any():
        raise AssbValueError("The phase fills the map, or none of it: there is no boundary.")
    outer = ndimage.distance_transform_edt(~mask, sampling=np.abs(scales))
    inner = ndimage.distance_transform_edt(mask, sampling=np.abs(scales))
    half = 0.5 * float(np.min(np.abs(scales)))
    return np.where(mask, inner - half, half - outer)


def bin_pixels(distance: FloatArray, width: float) -> tuple[NDArray[np.int64], list[FloatArray]]:
    """Sort pixels into bins of a distance.

    Parameters
    ----------
    distance
        nm, shape (P,); NaN for pixels that are left out.
    width
        nm.

    Returns
    -------
    bins
        Number of the bin of each pixel, -1 for those left out; bins are consecutive and none is empty.
    members
        Distances in each bin.

    Raises
    ------
    AssbValueError
        If fewer than eight bins hold pixels: no profile could be fitted.
    """
    distance = np.asarray(distance, dtype=float).ravel()
    used = np.isfinite(distance)
    if not (width > 0.0 and used.any()):
        raise AssbValueError(
            "The profile is empty: bin width must be above 0, with pixels on both sides of the boundary."
        )
    raw = np.floor((distance[used] - distance[used].min()) / width + _SLACK).astype(int)
    present, number = np.unique(raw, return_inverse=True)
    if present.size < LEAST_BINS:
        raise AssbValueError(f"The profile has {present.size} bins of {width:g} nm; a fit needs {LEAST_BINS} or more.")
    bins = np.full(distance.size, -1)
    bins[used] = number
    return bins, [distance[bins == b] for b in range(present.size)]


def profile_of(composition: Composition, members: Sequence[FloatArray]) -> Profile:
    """The profile of spectra that were added up by distance.

    Raises
    ------
    AssbValueError
        If too few bins could be fitted.
    """
    good = composition.known
    if good.sum() < LEAST_BINS:
        raise AssbValueError(
            f"Only {good.sum()} bins of the profile hold enough counts; {LEAST_BINS} are needed: use wider bins."
        )
    kept = tuple(np.asarray(m) for m, ok in zip(members, good, strict=True) if ok)
    return Profile(
        elements=composition.elements,
        distance=np.array([m.mean() for m in kept]),
        members=kept,
        amount=composition.unclipped[good],
        covariance=composition.covariance[good],
    )
