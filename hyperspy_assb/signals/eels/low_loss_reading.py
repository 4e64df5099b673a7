"""From a signal to the request of an analysis, and from arrays back to signals on its navigation axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.low_loss_map import LowLossMap, one_after_the_other
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError
from hyperspy_assb.models.recorded_noise import recorded_detector
from hyperspy_assb.models.recorded_signal import (
    check_data,
    recorded_data,
    recorded_elements,
    recorded_number,
    recorded_text,
    title_of,
)
from hyperspy_assb.reference.energy_units import energy_unit
from hyperspy_assb.signals.energy_axes import energy_on_navigation, turn_energy_axis

_TEM = "Acquisition_instrument.TEM."
MICROSCOPE_ITEMS = {
    "beam_energy": _TEM + "beam_energy",
    "convergence_angle": _TEM + "convergence_angle",
    "collection_angle": _TEM + "Detector.EELS.collection_angle",
}
"""Where HyperSpy keeps beam energy and angles."""


def read_low_loss(
    signal: Any,
    *,
    minimum_end: float | None = None,
    zero_loss: bool = True,
    purpose: str = "",
    unusable: str = "zero",
) -> LowLossMap:
    """Read spectra, axis and metadata of a signal.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        A lazy one keeps its counts where they are.
    minimum_end, zero_loss, purpose
        As for :func:`read_energy_axis`.
    unusable
        As for :func:`.recorded_data`.

    Raises
    ------
    ValueError, NotImplementedError
        As for :func:`read_energy_axis` and :func:`.recorded_data`, or if the metadata hold what is no number.
    """
    energy = read_energy_axis(signal, minimum_end=minimum_end, zero_loss=zero_loss, purpose=purpose)
    counts = recorded_data(signal, unusable=unusable)

    def number(item: str) -> float:
        # Files hold 0 where nobody entered a value.
        return recorded_number(signal, _TEM + item) or np.nan

    return LowLossMap(
        counts=one_after_the_other(counts),
        energy=energy,
        microscope=read_microscope(signal),
        detector=recorded_detector(signal.metadata),
        elements=recorded_elements(signal),
        shape=counts.shape[:-1],
        title=recorded_text(signal, "General.title"),
        file=recorded_text(signal, "General.original_filename"),
        beam_current=number("beam_current"),
        dwell_time=number("Detector.EELS.dwell_time"),
    )


def read_microscope(signal: Any) -> MicroscopeParameters:
    """Beam energy and angles as they were recorded, placeholders included."""
    return MicroscopeParameters(**{name: recorded_number(signal, item) for name, item in MICROSCOPE_ITEMS.items()})


def read_energy_axis(
    signal: Any, *, minimum_end: float | None = None, zero_loss: bool = False, purpose: str = ""
) -> NDArray[np.float64]:
    """Centres of the channels in eV, shape (E,), of a signal that has data and an axis that can be used.

    Parameters
    ----------
    signal : ASSBEELSSpectrum
        Spectra.
    minimum_end
        Energy in eV that the axis must reach; None: any.
    zero_loss
        Whether the zero-loss peak must be in range.
    purpose
        What the range is for, named in the message.

    Raises
    ------
    ValueError
        If the signal is empty, the axis is not in eV, reversed or too short, or there is no zero-loss peak in range.
    NotImplementedError
        If the axis is non-uniform.
    """
    check_data(signal)
    recorded_elements(signal)  # which exspy takes for granted, whatever is done with the signal
    axis = signal.axes_manager.signal_axes[0]
    name = f"energy axis of {title_of(signal)}"
    if not axis.is_uniform:
        raise AssbNotImplementedError(f"The {name} is non-uniform: EELS signals with such axes are not supported.")
    if signal.data.dtype.kind not in "buif":
        raise AssbValueError(f"{title_of(signal)} holds {signal.data.dtype} values: counts are real numbers.")
    turned = energy_on_navigation(signal)
    if turned is not None:
        raise AssbValueError(f"{title_of(signal)} has its energies on a navigation axis: {turn_energy_axis(turned)}")
    units = axis.units
    if isinstance(units, str) and units.strip() and energy_unit(units) != "eV":
        known = energy_unit(units)
        relabel = f"units = {known!r} and " if known and known != units else ""
        raise AssbValueError(
            f"The {name} is in {units}, not eV: for s.axes_manager.signal_axes[0], {relabel}convert_to_units('eV') "
            "converts keV and meV; set units = 'eV' if only the label is wrong."
        )
    checks.check_energy_axis(axis.axis, name=name)
    if zero_loss:
        checks.check_zero_loss_in_range(axis.axis)
    checks.check_energy_range(axis.axis, minimum_end=minimum_end, purpose=purpose)
    return np.array(axis.axis, dtype=np.float64)


def on_navigation_axes(signal: Any, values: NDArray[Any], *, title: str, quantity: str = "") -> Any:
    """Dress an array of shape (...) as a signal on the navigation axes of another."""
    values = np.asarray(values)
    shape = signal.axes_manager._navigation_shape_in_array or (1,)
    dressed = signal._get_navigation_signal(data=values.reshape(shape))
    if signal.axes_manager.navigation_dimension:
        dressed = dressed.transpose(signal_axes=0)
    dressed.metadata.General.title = f"{title} of {recorded_text(signal, 'General.title')}"
    if quantity:
        dressed.metadata.set_item("Signal.quantity", quantity)
    return dressed
