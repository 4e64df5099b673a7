"""Low-loss spectra as they were recorded: all that an analysis is told of a signal."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.microscope import MicroscopeParameters, check_microscope_parameters
from hyperspy_assb.fitting.solver.spectra_fit import Detector

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LowLossMap:
    """Low-loss spectra, and what is known of how they were recorded.

    Parameters
    ----------
    counts
        NumPy or dask array, shape (..., E).
    energy
        Centres of the channels in eV, shape (E,).
    microscope
        Beam energy and angles as they were recorded, placeholders included.
    detector
        Gain and read noise; None where nobody measured them.
    elements
        Chemical symbols of the specimen, where they were recorded.
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
    title: str = ""
    file: str = ""
    beam_current: float = np.nan
    dwell_time: float = np.nan

    @property
    def scale(self) -> float:
        """Width of a channel in eV."""
        return float((self.energy[-1] - self.energy[0]) / (self.energy.size - 1))

    @property
    def flat(self) -> Any:
        """The counts as an array of spectra, shape (S, E)."""
        return self.counts.reshape(-1, self.energy.size)

    @property
    def size(self) -> int:
        """Number of spectra."""
        return int(np.prod(self.counts.shape[:-1]))

    def in_memory(self) -> LowLossMap:
        """The same with its counts in memory."""
        return replace(self, counts=np.asarray(self.counts))

    def take(self, rows: NDArray[np.int_]) -> NDArray[Any]:
        """Some of the spectra, by their places on the flattened navigation axes, shape (R, E)."""
        return np.asarray(self.flat[rows])

    def sample(self, most: int) -> NDArray[np.int_]:
        """Places of an even choice of at most so many spectra, the first and the last included."""
        return np.unique(np.linspace(0, self.size - 1, min(most, self.size)).astype(int))

    def add_channels(self, count: int) -> LowLossMap:
        """The same with `count` neighbouring channels added up to one, which keeps the noise that of counting."""
        if count == 1:
            return self
        whole = self.energy.size - self.energy.size % count
        counts = self.counts[..., :whole]
        detector = self.detector
        return replace(
            self,
            counts=counts.reshape(*counts.shape[:-1], -1, count).sum(axis=-1),
            energy=self.energy[:whole].reshape(-1, count).mean(axis=1),
            detector=detector and Detector(detector.gain, detector.read_noise * count**0.5),
        )

    def check_microscope(self) -> MicroscopeParameters:
        """Beam energy and angles that can be used; a UserWarning for each that cannot."""
        recorded = self.microscope
        parameters, messages = check_microscope_parameters(
            recorded.beam_energy, recorded.convergence_angle, recorded.collection_angle
        )
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=3)
        return parameters
