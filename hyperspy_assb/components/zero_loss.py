"""The zero-loss peak, and the level that the detector adds."""

from __future__ import annotations

from hyperspy_assb.components.base import KernelComponent
from hyperspy_assb.eels.lineshapes import DARK_LEVEL, ZERO_LOSS_PEAK


class ZeroLossPeak(KernelComponent):
    """Asymmetric pseudo-Voigt zero-loss peak on the tails of the detector.

    The width grows smoothly from the gain to the loss side, w(E) = 2 fwhm / (1 + exp(-asymmetry (E - centre))).

    Parameters
    ----------
    intensity : float
        Area in counts.
    centre : float
        Position in eV.
    fwhm : float
        Full width at half maximum at the centre, in eV.
    asymmetry : float
        Growth rate of the width in 1/eV; positive means wider on the loss side.
    lorentz_fraction : float
        Lorentzian share of the core, 0 to 1.
    tail_fraction : float
        Share of the exponential tails on both sides, which the detector's point spread adds.
    tail_length : float
        Decay length of the tails in eV.

    Notes
    -----
    Stancik and Brauns, Vib. Spectrosc. 47, 66 (2008), doi 10.1016/j.vibspec.2008.02.009.
    """

    def __init__(
        self,
        intensity: float = 1.0,
        centre: float = 0.0,
        fwhm: float = 0.8,
        asymmetry: float = 0.0,
        lorentz_fraction: float = 0.1,
        tail_fraction: float = 0.02,
        tail_length: float = 5.0,
    ) -> None:
        super().__init__(
            ZERO_LOSS_PEAK,
            position="centre",
            values={
                "intensity": intensity,
                "centre": centre,
                "fwhm": fwhm,
                "asymmetry": asymmetry,
                "lorentz_fraction": lorentz_fraction,
                "tail_fraction": tail_fraction,
                "tail_length": tail_length,
            },
        )


class DarkLevel(KernelComponent):
    """What the detector adds to every channel after dark subtraction; it does not take part in scattering.

    Parameters
    ----------
    level : float
        In counts per eV.
    """

    def __init__(self, level: float = 0.0) -> None:
        super().__init__(DARK_LEVEL, values={"level": level})
