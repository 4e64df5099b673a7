"""Profiles of elements against the distance from a boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eds.composition.atoms import Composition

FloatArray = NDArray[np.float64]


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
        Per pixel, shape (B, M): atoms/nm^2, or whatever the unit of the fit was; not clipped at 0.
    covariance
        Shape (B, M, M).
    """

    elements: tuple[str, ...]
    distance: FloatArray
    members: tuple[FloatArray, ...]
    amount: FloatArray
    covariance: FloatArray

    @cached_property
    def pixels(self) -> FloatArray:
        """Number of pixels of each bin."""
        return np.array([float(m.size) for m in self.members])

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
    ValueError
        If fewer than eight bins hold pixels: no profile could be fitted.
    """
    distance = np.asarray(distance, dtype=float).ravel()
    used = np.isfinite(distance)
    if not (width > 0.0 and used.any()):
        raise ValueError("The profile is empty: bin width must be above 0, and pixels must lie beside the boundary.")
    # Half a thousandth of a bin keeps equally spaced pixels from falling on edges.
    raw = np.floor((distance[used] - distance[used].min()) / width + 5e-4).astype(int)
    present, number = np.unique(raw, return_inverse=True)
    if present.size < 8:
        raise ValueError(f"The profile has {present.size} bins of {width:g} nm; a fit needs 8 or more.")
    bins = np.full(distance.size, -1)
    bins[used] = number
    return bins, [distance[bins == b] for b in range(present.size)]


def profile_of(composition: Composition, members: Sequence[FloatArray]) -> Profile:
    """The profile of spectra that were added up by distance.

    Raises
    ------
    ValueError
        If too few bins could be fitted.
    """
    good = np.asarray(np.isfinite(composition.unclipped).all(axis=1))
    if good.sum() < 8:
        raise ValueError(f"Only {good.sum()} bins of the profile hold enough counts; 8 are needed: use wider bins.")
    kept = tuple(np.asarray(m) for m, ok in zip(members, good, strict=True) if ok)
    return Profile(
        elements=composition.elements,
        distance=np.array([m.mean() for m in kept]),
        members=kept,
        amount=composition.unclipped[good],
        covariance=composition.covariance[good],
    )
