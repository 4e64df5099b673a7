"""Scattering by valence electrons at a few eV: the bands of FePO4 and of carbon, and a free-form continuum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hyperspy_assb.components.base import KernelComponent
from hyperspy_assb.eels.lineshapes import CARBON_PI_BAND, VALENCE_BAND, spline_constants, valence_continuum


class FePO4ValenceBand(KernelComponent):
    """The band near 5 eV that FePO4 has and LiFePO4 has not, as a Gaussian.

    Parameters
    ----------
    intensity : float
        Area, as a contribution to t/lambda.
    centre : float
        Energy of the maximum in eV.
    fwhm : float
        Full width at half maximum in eV.

    Notes
    -----
    Transitions into empty Fe 3d states: Moreau, Mauchamp and Boucher, Appl. Phys. Lett. 94, 123111 (2009).
    """

    def __init__(self, intensity: float = 0.01, centre: float = 5.2, fwhm: float = 2.0) -> None:
        super().__init__(
            VALENCE_BAND, position="centre", values={"intensity": intensity, "centre": centre, "fwhm": fwhm}
        )


class CarbonPiBand(KernelComponent):
    """The pi plasmon of sp2 carbon near 6 eV, as the loss function of one damped oscillator.

    Parameters
    ----------
    intensity : float
        Contribution to t/lambda, in the limit of a narrow band.
    centre : float
        Position in eV.
    fwhm : float
        Damping in eV.
    """

    def __init__(self, intensity: float = 0.01, centre: float = 6.0, fwhm: float = 4.0) -> None:
        super().__init__(
            CARBON_PI_BAND, position="centre", values={"intensity": intensity, "centre": centre, "fwhm": fwhm}
        )


class ValenceContinuum(KernelComponent):
    """Free-form single-scattering distribution of the valence electrons: cubic B-splines in ln E, over E^2.

    Parameters
    ----------
    breaks : sequence of float
        Breakpoints in eV, increasing. Scattering begins at the first.

    Notes
    -----
    All parameters are linear and unbounded. It vanishes smoothly at the first breakpoint.
    """

    def __init__(self, breaks: Sequence[float] = (2.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 34.0, 42.0, 60.0, 200.0)):
        breaks = [float(b) for b in breaks]
        array = np.asarray(breaks)
        super().__init__(valence_continuum(array), spline_constants(array), init={"breaks": breaks})
