"""Templates: the spots of every phase in every orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hyperspy_assb.acom.phases import CrystalPhase
from hyperspy_assb.fitting.kernels import FloatArray


@dataclass(frozen=True)
class TemplateBank:
    """Kinematical patterns of N orientations of some phases, each of up to K spots.

    In-plane rotation is left to the search: of all orientations with one zone axis, one is in the bank.

    Parameters
    ----------
    phases
        What the templates are of.
    phase
        Index into `phases` of each template, ascending, shape (N,).
    orientations
        Specimen to crystal, shape (N, 4); see :mod:`hyperspy_assb.acom.frames`.
    radius
        Length of the reciprocal vectors in 1/Å, 0 where there is no spot, shape (N, K).
    azimuth
        In radians from +x towards +y, shape (N, K).
    intensity
        Kinematical intensity, averaged over the precession, brightest first, 0 where there is no spot, shape (N, K).
    count
        Spots of each template, shape (N,).
    beam_energy
        keV.
    precession_angle
        Degrees.
    max_radius
        1/Å.
    resolution
        Degrees between neighbouring zone axes.
    """

    phases: tuple[CrystalPhase, ...]
    phase: NDArray[Any]
    orientations: FloatArray
    radius: FloatArray
    azimuth: FloatArray
    intensity: FloatArray
    count: NDArray[Any]
    beam_energy: float
    precession_angle: float
    max_radius: float
    resolution: float

    def __len__(self) -> int:
        return len(self.phase)
