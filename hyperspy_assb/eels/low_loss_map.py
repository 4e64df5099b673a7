"""Low-loss spectra as they were recorded: all that an analysis is told of a signal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.fitting.solver.spectra_fit import Detector

FloatArray = NDArray[np.float64]
_READ = 2**27
"""Bytes of spectra on disk that are read at a time, as numbers of 64 bits."""
BLOCK = 2**25
"""The same of those that are worked on at a time."""


def one_after_the_other(counts: Any) -> Any:
    """Spectra of a map, shape (..., E), as shape (S, E); those on disk in blocks of whole rows of the map.

    Dask would make the blocks as small as one row, and read each piece of the file once for every row in it.
    """
    if not isinstance(counts, np.ndarray) and counts.ndim == 3:
        stored = max(counts.chunks[0])
        most = max(_READ // max(8 * counts.shape[1] * counts.shape[2], 1), 1)
        counts = counts.rechunk((-(-stored // -(-stored // most)) if stored else -1, -1, -1))
    return counts.reshape(-1, counts.shape[-1])


def blocks_of(counts: Any) -> Iterator[tuple[slice, Any]]:
    """Spectra, shape (S, E), with their places: all at once where they are in memory, else block by block."""
    if isinstance(counts, np.ndarray) or not len(counts):
        yield slice(0, len(counts)), np.asarray(counts)
        return
    first, rows = 0, max(BLOCK // (8 * counts.shape[1]), 1)
    for size in counts.chunks[0] if hasattr(counts, "__dask_graph__") else (len(counts),):
        last = first + size
        # What is read at once is not read again for its parts.
        together = max(size if 8 * size * counts.shape[1] <= _READ else rows, 1)
        for start in range(first, last, together):
            read = np.asarray(counts[start : min(start + together, last)])
            for begin in range(0, len(read), rows):
                part = read[begin : begin + rows]
                yield slice(start + begin, start + begin + len(part)), part
        first = last


@dataclass(frozen=True)
class LowLossMap:
    """Low-loss spectra, and what is known of how they were recorded.

    Parameters
    ----------
    counts
        NumPy or dask array of S spectra, shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    microscope
        Beam energy and angles as they were recorded, placeholders included.
    detector
        Gain and read noise; None where nobody measured them.
    elements
        Chemical symbols of the specimen, where they were recorded.
    shape
        Of the navigation axes, whose product is S.
    title, file
        Of the signal, and of the file that it was read from.
    beam_current, dwell_time
        In nA and s; NaN where unset.
    """

    counts: Any
    energy: FloatArray
    microscope: MicroscopeParameters
    detector: Detector | None = None
    elements: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    title: str = ""
    file: str = ""
    beam_current: float = np.nan
    dwell_time: float = np.nan

    @property
    def scale(self) -> float:
        """Width of a channel in eV."""
        return float((self.energy[-1] - self.energy[0]) / (self.energy.size - 1))

    def sample(self, count: int) -> Any:
        """All spectra that are in memory; of those on disk so many, evenly over the map, shape (P, E)."""
        if isinstance(self.counts, np.ndarray):
            return self.counts
        rows = np.unique(np.linspace(0, len(self.counts) - 1, min(count, len(self.counts))).astype(int))
        return np.asarray(self.counts[rows])

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """As :func:`blocks_of` the counts."""
        return blocks_of(self.counts)

    def add_channels(self, count: int) -> LowLossMap:
        """The same with `count` neighbouring channels added up to one, which keeps the noise that of counting."""
        if count == 1:
            return self
        whole = self.energy.size - self.energy.size % count
        counts = self.counts[:, :whole]
        detector = self.detector
        return replace(
            self,
            counts=counts.reshape(len(counts), -1, count).sum(axis=-1),
            energy=self.energy[:whole].reshape(-1, count).mean(axis=1),
            detector=detector and Detector(detector.gain, detector.read_noise * count**0.5),
        )
