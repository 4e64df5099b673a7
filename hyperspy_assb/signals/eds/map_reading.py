"""From an EDX signal and its metadata to the map that the science takes."""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from typing import Any

import numpy as np
from exspy import preferences
from exspy.material import elements as element_database
from exspy.material import mass_absorption_coefficient

from hyperspy_assb.eds.eds_map import EDSMap, ElementTables, FloatArray, Instrument, Spectra, XRayLine, count_electrons
from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError, AssbWarning
from hyperspy_assb.models.recorded_signal import (
    check_data,
    recorded_data,
    recorded_elements,
    recorded_names,
    recorded_number,
    title_of,
)
from hyperspy_assb.reference import line_components, mass_absorption
from hyperspy_assb.reference.energy_units import energy_unit
from hyperspy_assb.signals.result import navigation_axes

TEM = "Acquisition_instrument.TEM."
EDS = TEM + "Detector.EDS."
DEFAULTS = "ASSB.exspy_defaults"
"""Where it is noted which values of the metadata nobody measured."""
BULK = "ASSB.bulk"
"""Where it is noted that a map was recorded in an SEM."""
DEFAULT_VALUES = {
    "tilt_stage": lambda: preferences.EDS.eds_tilt_stage,
    "elevation_angle": lambda: preferences.EDS.eds_detector_elevation,
    "azimuth_angle": lambda: preferences.EDS.eds_detector_azimuth,
    "energy_resolution_MnKa": lambda: preferences.EDS.eds_mn_ka,
}
_ANGLES = ("tilt_stage", "azimuth_angle", "elevation_angle")
_SCALE = {"beam_current": TEM + "beam_current", "live_time": EDS + "live_time", "solid_angle": EDS + "solid_angle"}
"""What tells the thickness, where it is in the metadata."""
_LARGEST_ENERGY = 1e4
"""keV: more than the electrons of any microscope have."""
_SOFTEST = 0.03
"""keV: some tables of absorption end there."""


class MassAbsorption:
    """Mass absorption coefficients in cm^2/g, of exspy's database (C. T. Chantler et al., NIST), looked up once."""

    def __call__(self, element: str, energy: FloatArray) -> FloatArray:
        energy = np.maximum(np.atleast_1d(np.asarray(energy, dtype=float)), _SOFTEST)
        return _mass_absorption(element, energy.tobytes())


@lru_cache(maxsize=4096)
def _mass_absorption(element: str, energy: bytes) -> FloatArray:
    return np.asarray(mass_absorption_coefficient(element, np.frombuffer(energy)), dtype=float)


@cache
def _lines_and_masses() -> tuple[dict[str, tuple[XRayLine, ...]], dict[str, float]]:
    lines, mass = {}, {}
    for element, entry in element_database:
        table = entry.Atomic_properties.get_item("Xray_lines", None)
        lines[element] = tuple(
            XRayLine.from_strongest(
                element, name, float(row["energy (keV)"]), float(row["weight"]), line_components(element, name)
            )
            for name, row in (table.as_dictionary() if table is not None else {}).items()
        )
        mass[element] = float(entry.General_properties.atomic_weight)
    return lines, mass


def element_tables() -> ElementTables:
    """Lines, masses and absorption of exspy's database."""
    return ElementTables(*_lines_and_masses(), MassAbsorption(), mass_absorption)


def energy_axis(signal: Any) -> FloatArray:
    """Centres of the channels in keV.

    Raises
    ------
    AssbValueError
        If the signal is empty, or its axis is not in keV or eV, or runs backwards.
    AssbNotImplementedError
        If the axis is not uniform.
    """
    check_data(signal)
    axis = signal.axes_manager.signal_axes[0]
    name = f"energy axis of {title_of(signal)}"
    if not axis.is_uniform:
        raise AssbNotImplementedError(f"The {name} is non-uniform: interpolate it first.")
    if energy_unit(axis.units) not in ("keV", "eV"):
        raise AssbValueError(f"The {name} is in {axis.units}, not keV or eV: set s.axes_manager.signal_axes[0].units.")
    if axis.scale <= 0.0:
        raise AssbValueError(f"The {name} runs backwards: its scale must be above 0.")
    energy = np.asarray(axis.axis, dtype=float) / units_per_keV(signal)
    if np.abs(energy).max() > _LARGEST_ENERGY:
        raise AssbValueError(
            f"The {name} runs from {energy[0]:g} to {energy[-1]:g} keV, where no detector counts X-rays: set its "
            "scale, offset and units."
        )
    return energy


def units_per_keV(signal: Any) -> float:
    """Units of the energy axis in one keV."""
    return 1000.0 if energy_unit(signal.axes_manager.signal_axes[0].units) == "eV" else 1.0


def read_instrument(signal: Any, *, need_angle: bool = True) -> Instrument:
    """What the metadata say of the microscope and the detector.

    Raises
    ------
    AssbValueError
        If the beam energy, the resolution or an angle is not there, naming it and how to set it.

    Warns
    -----
    AssbWarning
        If a value is exspy's default, because the file held none.
    """
    items = {
        "beam_energy": (TEM + "beam_energy", "beam energy in keV", True),
        "energy_resolution_MnKa": (EDS + "energy_resolution_MnKa", "energy resolution in eV at Mn Kα", True),
        "tilt_stage": (TEM + "Stage.tilt_alpha", "tilt of the stage in degrees", need_angle),
        "azimuth_angle": (EDS + "azimuth_angle", "azimuth of the detector in degrees", need_angle),
        "elevation_angle": (EDS + "elevation_angle", "elevation of the detector in degrees", need_angle),
    }
    values = {name: recorded_number(signal, item, negative=name in _ANGLES) for name, (item, _, _) in items.items()}
    for name, (item, words, needed) in items.items():
        if needed and values[name] is None:
            angle = " for the take-off angle" if name in _ANGLES else ""
            raise AssbValueError(
                f"The {words} is missing{angle} (metadata {item}): set it with s.set_microscope_parameters({name}=...)."
            )
    invented = set(recorded_names(signal, DEFAULTS)) & set(values)
    # Whoever set one of them will have looked at all.
    if any(values[name] != DEFAULT_VALUES[name]() for name in invented):
        invented = set()
    guessed = [f"{words}: {values[name]:g}" for name, (_, words, _) in items.items() if name in invented]
    if guessed:
        warnings.warn(
            "The file does not say everything; exspy's defaults are used, which nobody measured: "
            + "; ".join(guessed)
            + ". Set what is known with s.set_microscope_parameters().",
            AssbWarning,
            stacklevel=4,
        )
    return Instrument(
        take_off_angle=float(signal.get_take_off_angle()) if need_angle else 90.0,
        electrons=count_electrons(*(_scale_of(signal, name) for name in ("beam_current", "live_time"))),
        resolution=float(values["energy_resolution_MnKa"]),
        beam_energy=float(values["beam_energy"]),
    )


def _scale_of(signal: Any, name: str) -> float | None:
    """Beam current, live time or solid angle; None where it is not there, or 0, which stands for what was not set."""
    return recorded_number(signal, _SCALE[name]) or None


def read_map(signal: Any, *, need_angle: bool = True) -> EDSMap:
    """Everything that the science takes from an EDX signal.

    Parameters
    ----------
    signal
        With any navigation axes, lazy or not.
    need_angle
        Whether X-rays are absorbed on their way out, so that the way must be known.

    Raises
    ------
    AssbValueError, AssbNotImplementedError
        As for :func:`energy_axis`, :func:`read_instrument` and :func:`.recorded_data`, or if the metadata hold what is
        no number.
    """
    energy = energy_axis(signal)
    bulk = signal.metadata.get_item(BULK, False) is True
    instrument = read_instrument(signal, need_angle=need_angle and not bulk)
    solid_angle = _scale_of(signal, "solid_angle")
    return EDSMap(
        spectra=Spectra(recorded_data(signal)),
        energy=energy,
        axes=navigation_axes(signal),
        instrument=instrument,
        solid_angle=solid_angle,
        tables=element_tables(),
        elements=recorded_elements(signal),
        lines=recorded_names(signal, "Sample.xray_lines"),
        bulk=bulk,
        lacking={name: item for name, item in _SCALE.items() if _scale_of(signal, name) is None},
    )
