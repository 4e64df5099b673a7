"""The dose that the metadata of a scan tell."""

from __future__ import annotations

from typing import Any

from hyperspy_assb.models.recorded_signal import recorded_number
from hyperspy_assb.provenance import dose

_TEM = "Acquisition_instrument.TEM"
_CURRENT = f"{_TEM}.beam_current"
_DWELL = (
    f"{_TEM}.Detector.EELS.dwell_time",
    f"{_TEM}.Detector.EELS.exposure",
    f"{_TEM}.Detector.Camera.exposure",
    f"{_TEM}.Detector.EDS.live_time",
    f"{_TEM}.dwell_time",
)
"""s in a pixel, where readers of files put them."""
_STATED = "ASSB.dose"
_NANOMETRES = {"nm": 1.0, "µm": 1e3, "um": 1e3, "pm": 1e-3, "å": 0.1, "angstrom": 0.1, "m": 1e9}


def dose_of(signal: Any) -> dict[str, float | None]:
    """Electrons in a pixel and per nm², as :func:`hyperspy_assb.provenance.dose` has them.

    Electrons per nm² that the user states as ``ASSB.dose`` come before what follows from current, time and pixels.

    Raises
    ------
    AssbValueError
        If the metadata hold something else than numbers; the message names the item.
    """
    current = recorded_number(signal, _CURRENT)
    dwell = next((value for item in _DWELL if (value := recorded_number(signal, item))), None)
    found = dose(current, dwell, _pixel_area(signal))
    stated = recorded_number(signal, _STATED)
    return {**found, "electrons per nm²": stated} if stated else found


def _pixel_area(signal: Any) -> float | None:
    """nm²; of a line scan, as if its pixels were square; None of a single spectrum, or without units."""
    sides = []
    for axis in signal.axes_manager.navigation_axes:
        factor = _NANOMETRES.get(str(axis.units).strip().lower())
        if factor is not None and hasattr(axis, "scale"):
            sides.append(abs(float(axis.scale)) * factor)
    return float(sides[0] * sides[-1]) if sides and sides[0] * sides[-1] > 0.0 else None
