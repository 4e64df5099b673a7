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
BLOCK = 32 * 2**20
"""Bytes of spectra on disk that are in memory at a time, as numbers of 64 bits."""


def blocks_of(counts: Any) -> Iterator[tuple[slice, Any]]:
    """Spectra, shape (S, E), with their places: all at once where they are in memory, else block by block."""
    if isinstance(counts, np.ndarray):
        yield slice(0, len(counts)), counts
        return
    first, rows = 0, max(BLOCK // (8 * counts.shape[1]), 1)
    for size in counts.chunks[0]:
        last = first + size
        for begin in range(first, last, rows):
            part = slice(begin, min(begin + rows, last))
            yield part, np.asarray(counts[part])
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
