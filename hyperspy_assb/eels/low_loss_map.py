"""Low-loss spectra as they were recorded: all that an analysis is told of a signal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.fitting.solver.spectra_fit import Detector

FloatArray = NDArray[np.float64]


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

    def in_memory(self) -> LowLossMap:
        """The same with its counts in memory."""
        return replace(self, counts=np.asarray(self.counts))

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
