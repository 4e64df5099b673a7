"""The volume plasmon."""

from __future__ import annotations

from hyperspy_assb.components.base import KernelComponent
from hyperspy_assb.eels.lineshapes import VOLUME_PLASMON


class VolumePlasmon(KernelComponent):
    """Volume plasmon of a damped free-electron gas (Drude).

    Parameters
    ----------
    intensity : float
        Contribution to t/lambda, in the limit of a narrow plasmon.
    plasmon_energy : float
        Pole of the undamped loss function in eV.
    fwhm : float
        Damping in eV.

    Notes
    -----
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 3.43.
    """

    def __init__(self, intensity: float = 0.3, plasmon_energy: float = 25.0, fwhm: float = 10.0) -> None:
        super().__init__(
            VOLUME_PLASMON,
            position="plasmon_energy",
            values={"intensity": intensity, "plasmon_energy": plasmon_energy, "fwhm": fwhm},
        )
