"""What a detector makes of lines: width, tail, escape peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbValueError


@dataclass(frozen=True)
class DetectorShape:
    """Shape of a line as a silicon detector records it, beside its resolution at Mn Kα.

    Parameters
    ----------
    width_slope
        Growth of the square of the width (eV²) for each eV of photon energy: 20.2 eV times the Fano factor, 2.5 eV for
        0.124. C. E. Fiori and D. E. Newbury, SEM/1978/I, 401.
    tail_depth
        nm of silicon below the entrance from which part of the charge is lost: photons absorbed there are in the tail
        below their line.
    tail_length
        Decay length of the tail in eV.
    escape
        Strength of escape peaks relative to that of a half-space of silicon (S. J. B. Reed and N. G. Ware, J. Phys. E
        5, 582 (1972)).
    carbon_window
        Optical depth of the carbon in front of the detector just above its K edge: 0 without a window, about 1 with one
        of polymer.

    Raises
    ------
    AssbValueError
        If one of them cannot be.

    Examples
    --------
    >>> from hyperspy_assb.eds.detector import DetectorShape
    >>> DetectorShape().width_slope, DetectorShape(tail_depth=10.0).tail_depth
    (2.5, 10.0)
    """

    width_slope: float = 2.5
    tail_depth: float = 0.0
    tail_length: float = 80.0
    escape: float = 1.0
    carbon_window: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "width_slope": (1.0, 4.0, "eV"),
            "tail_depth": (0.0, 500.0, "nm"),
            "tail_length": (5.0, 1000.0, "eV"),
            "escape": (0.0, 5.0, "times theory"),
            "carbon_window": (0.0, 10.0, "optical depths"),
        }
        for name, (low, high, unit) in limits.items():
            value: Any = getattr(self, name)
            if not (np.ndim(value) == 0 and np.isfinite(value) and low <= value <= high):
                raise AssbValueError(f"{name} of the detector must lie between {low:g} and {high:g} {unit}: {value!r}.")
