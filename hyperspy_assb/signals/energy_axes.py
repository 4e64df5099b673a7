"""Energy axes that are not where spectra have them."""

from __future__ import annotations

from typing import Any

from hyperspy_assb.reference.energy_units import energy_unit


def energy_on_navigation(signal: Any) -> Any | None:
    """The navigation axis of a signal that is its energy, as of a stack of energy-filtered images; None without one.

    An axis of potentials or beam energies beside spectra is none: then the signal axis is an energy too.
    """
    manager = signal.axes_manager
    if any(energy_unit(axis.units) for axis in manager.signal_axes):
        return None
    for axis in manager.navigation_axes:
        if energy_unit(axis.units) or str(axis.name).casefold().startswith(("energy", "e loss", "e-loss")):
            return axis
    return None


def turn_energy_axis(axis: Any) -> str:
    """What turns a navigation axis, which is the energy, into that of spectra."""
    name = str(axis.name)
    number = axis.axes_manager.navigation_axes.index(axis)
    chosen = repr(name) if name and name != "<undefined>" else str(number)
    return (
        f"s = hs.load(...).as_signal1D({chosen}), s.set_signal_type('EELS_ASSB') and s.save('turned.hspy') make "
        "spectra of it."
    )
