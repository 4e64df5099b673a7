"""From the metadata of an X-ray signal to what the science takes: lines, instrument, sensitivities, spectra."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from exspy import preferences
from exspy.material import elements as element_database
from exspy.material import mass_absorption_coefficient
from numpy.typing import NDArray

from hyperspy_assb.eds.composition.atoms import Scene, prepare_scene
from hyperspy_assb.eds.lines import axis_check as calibration
from hyperspy_assb.eds.lines import sensitivity
from hyperspy_assb.eds.lines.column_spectra import Builder, FloatArray, Instrument
from hyperspy_assb.eds.lines.sensitivity import Sensitivities
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FOREIGN_ELEMENTS, XRayLine, in_range
from hyperspy_assb.reference import x_ray_elements

TEM = "Acquisition_instrument.TEM."
EDS = TEM + "Detector.EDS."
DEFAULTS = "ASSB.exspy_defaults"
"""Where it is noted which values of the metadata nobody measured."""
DEFAULT_VALUES = {
    "tilt_stage": lambda: preferences.EDS.eds_tilt_stage,
    "elevation_angle": lambda: preferences.EDS.eds_detector_elevation,
    "azimuth_angle": lambda: preferences.EDS.eds_detector_azimuth,
    "energy_resolution_MnKa": lambda: preferences.EDS.eds_mn_ka,
}
_ENOUGH = 1e4
"""Counts with which an axis that cannot be checked is worth a word."""
FIT_RANGE = (0.18, 15.0)
"""keV in which spectra are fitted."""
Factors = Mapping[str, float] | str | PathLike[str] | Sensitivities | None


@dataclass(frozen=True)
class Settings:
    """What an X-ray quantification is told.

    Parameters
    ----------
    k_factors
        Cliff-Lorimer factors by line (weight fraction is proportional to k times counts), a table in a file, or
        "computed"; None: computed, unless there are zeta factors.
    zeta_factors
        Zeta factors in kg/m^2 by line, or a table in a file.
    thickness
        Mean thickness in nm, where electrons or absolute factors are not known.
    absorption
        Whether X-rays are absorbed on their way out.
    fit_range
        keV; None: 0.18 to 15.
    elements
        Elements that are looked for; None: those of the cell, of the preparation, and of the metadata.

    Raises
    ------
    ValueError
        If the thickness is not a number above 0, or there is no element.
    """

    k_factors: Factors = None
    zeta_factors: Factors = None
    thickness: float | None = None
    absorption: bool = True
    fit_range: tuple[float, float] | None = None
    elements: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        value = self.thickness
        if value is not None and not (np.ndim(value) == 0 and np.isfinite(value) and value > 0.0):
            raise ValueError(f"thickness must be one number above 0 nm, the mean of the map, not {value!r}.")
        if self.elements is not None and not self.elements:
            raise ValueError("elements must name at least one element; None: those of the cell and its preparation.")


def database_lines(elements: Sequence[str]) -> tuple[XRayLine, ...]:
    """All lines of elements, with the energies and weights of exspy's database.

    Raises
    ------
    ValueError
        If there is no such element.
    """
    found = []
    for element in elements:
        if element not in element_database:
            raise ValueError(f"{element!r} is not a chemical element.")
        table = element_database[element].Atomic_properties.get_item("Xray_lines", None)
        if table is not None:
            found += [
                XRayLine(element, name, float(row["energy (keV)"]), float(row["weight"]))
                for name, row in table.as_dictionary().items()
            ]
    return tuple(found)


class MassAbsorption:
    """Mass absorption coefficients in cm^2/g, of exspy's database (C. T. Chantler et al., NIST), looked up once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], FloatArray] = {}

    def __call__(self, element: str, energy: FloatArray) -> FloatArray:
        # Some tables end at 0.03 keV.
        energy = np.maximum(np.atleast_1d(np.asarray(energy, dtype=float)), 0.03)
        key = element, energy.tobytes()
        if key not in self._known:
            self._known[key] = np.asarray(mass_absorption_coefficient(element, energy), dtype=float)
        return self._known[key]


def elements_of(signal: Any, settings: Settings) -> tuple[str, ...]:
    """Elements that are looked for."""
    if settings.elements is not None:
        return tuple(dict.fromkeys(settings.elements))
    noted = signal.metadata.get_item("Sample.elements", None)
    # Old files hold arrays of strings of NumPy.
    named = [] if noted is None else [str(element) for element in noted]
    return tuple(dict.fromkeys((*CELL_ELEMENTS, *FOREIGN_ELEMENTS, *named)))


def energy_axis(signal: Any) -> FloatArray:
    """Centres of the channels in keV.

    Raises
    ------
    ValueError
        If the signal is empty, or its axis is not in keV or eV, or runs backwards.
    NotImplementedError
        If the axis is not uniform.
    """
    title = signal.metadata.get_item("General.title", "") or "signal"
    if signal.data.size == 0 or signal.data.dtype == object:
        raise ValueError(f"'{title}' is empty: no spectrum was read from its file.")
    axis = signal.axes_manager.signal_axes[0]
    if not axis.is_uniform:
        raise NotImplementedError(f"The energy axis of '{title}' is non-uniform: interpolate it first.")
    units = str(axis.units)
    if units not in ("keV", "eV"):
        raise ValueError(
            f"The energy axis of '{title}' is in {units}, not keV or eV: set s.axes_manager.signal_axes[0].units."
        )
    if axis.scale <= 0.0:
        raise ValueError(f"The energy axis of '{title}' runs backwards: its scale must be above 0.")
    return np.asarray(axis.axis, dtype=float) * (0.001 if units == "eV" else 1.0)


def read_instrument(signal: Any, *, need_angle: bool = True) -> Instrument:
    """What the metadata say of the microscope and the detector.

    Raises
    ------
    ValueError
        If the beam energy, the resolution or an angle is not there, naming it and how to set it.

    Warns
    -----
    UserWarning
        If a value is exspy's default, because the file held none.
    """
    items = {
        "beam_energy": (TEM + "beam_energy", "beam energy in keV", True),
        "energy_resolution_MnKa": (EDS + "energy_resolution_MnKa", "energy resolution in eV at Mn Kα", True),
        "tilt_stage": (TEM + "Stage.tilt_alpha", "tilt of the stage in degrees", need_angle),
        "azimuth_angle": (EDS + "azimuth_angle", "azimuth of the detector in degrees", need_angle),
        "elevation_angle": (EDS + "elevation_angle", "elevation of the detector in degrees", need_angle),
    }
    for name, (item, words, needed) in items.items():
        value = signal.metadata.get_item(item, None)
        if needed and (value is None or not np.isscalar(value) or not np.isfinite(value)):
            angle = " for the take-off angle" if name in ("tilt_stage", "azimuth_angle", "elevation_angle") else ""
            raise ValueError(
                f"The {words} is missing{angle} (metadata {item}): set it with s.set_microscope_parameters({name}=...)."
            )
    invented = set(signal.metadata.get_item(DEFAULTS, None) or ())
    # Whoever set one of them will have looked at all.
    if any(signal.metadata.get_item(items[name][0], None) != DEFAULT_VALUES[name]() for name in invented):
        invented = set()
    guessed = [f"{items[name][1]}: {signal.metadata.get_item(items[name][0]):g}" for name in items if name in invented]
    if guessed:
        warnings.warn(
            "The file does not say everything; exspy's defaults are used, which nobody measured: "
            + "; ".join(guessed)
            + ". "
            "Set what is known with s.set_microscope_parameters().",
            UserWarning,
            stacklevel=3,
        )
    angle = signal.get_take_off_angle() if need_angle else 90.0
    electrons = None
    current, live = (
        signal.metadata.get_item(TEM + "beam_current", None),
        signal.metadata.get_item(EDS + "live_time", None),
    )
    if current is not None and live is not None:
        electrons = float(current) * 1e-9 * float(live) / 1.602176634e-19
        if not electrons > 0.0:
            raise ValueError(
                f"beam_current ({current:g} nA) and live_time ({live:g} s) must be above 0: "
                "set_microscope_parameters()."
            )
    return Instrument(
        resolution=float(signal.metadata.get_item(items["energy_resolution_MnKa"][0])),
        beam_energy=float(signal.metadata.get_item(items["beam_energy"][0])),
        take_off_angle=float(angle),
        electrons=electrons,
    )


def read_sensitivities(signal: Any, lines: Sequence[XRayLine], settings: Settings, beam_energy: float) -> Sensitivities:
    """Sensitivities of lines, from what was given or computed.

    Raises
    ------
    ValueError
        If both kinds of factors are given, a word is not known, or a factor is not above 0.
    FileNotFoundError
        If there is no such file.
    """
    if settings.k_factors is not None and settings.zeta_factors is not None:
        raise ValueError("Give k_factors or zeta_factors, not both.")
    if isinstance(settings.k_factors, Sensitivities):
        return settings.k_factors
    solid_angle = signal.metadata.get_item(EDS + "solid_angle", None)
    if solid_angle is not None and not 0.0 < float(solid_angle) <= 4.0 * np.pi:
        raise ValueError(f"The solid angle must be between 0 and 4π sr, not {solid_angle} (metadata {EDS}solid_angle).")
    known = [line for line in lines if line.element in x_ray_elements()]
    computed = sensitivity.compute_sensitivities(known, beam_energy, solid_angle=solid_angle)
    if settings.zeta_factors is not None:
        factors, errors, source = _given(settings.zeta_factors, "zeta_factors")
        return sensitivity.from_zeta_factors(factors, uncertainty=errors, source=source, mass=_masses(factors))
    if settings.k_factors is None or settings.k_factors == "computed":
        return _one_family(computed, known)
    factors, errors, source = _given(settings.k_factors, "k_factors")
    computed = replace(computed, mass=_masses(factors))
    return sensitivity.from_k_factors(factors, computed, uncertainty=errors, source=source)


def _masses(lines: Collection[str]) -> dict[str, float]:
    """Atomic masses of the elements of lines for which there are no X-ray constants."""
    elements = {line.partition("_")[0] for line in lines}
    unknown = sorted(element for element in elements if element not in element_database)
    if unknown:
        raise ValueError(f"Factors are by line, such as Fe_Ka: there is no element {', '.join(unknown)}.")
    main = {line.full_name for line in database_lines(sorted(elements)) if line.name == line.family}
    if other := sorted(set(lines) - main):
        raise ValueError(f"Factors are of main lines, such as Fe_Ka or Fe_La, which {', '.join(other)} is not.")
    others = elements - set(x_ray_elements())
    return {element: float(element_database[element].General_properties.atomic_weight) for element in others}


def _one_family(computed: Sensitivities, lines: Sequence[XRayLine]) -> Sensitivities:
    """One family for each element, the one that is best known: computed ratios of families are off by 20 %."""
    best: dict[str, str] = {}
    for line in lines:
        if line.full_name not in computed.cross_section:
            continue
        # K lines beyond the usual range of spectra, such as those of Pt, are of no use.
        usable = line.energy < 14.0
        known = best.get(line.element)
        if usable and (known is None or computed.uncertainty[line.full_name] < computed.uncertainty[known]):
            best[line.element] = line.full_name
    kept = set(best.values())
    return Sensitivities(
        {line: value for line, value in computed.cross_section.items() if line in kept},
        {line: value for line, value in computed.uncertainty.items() if line in kept},
        computed.kind,
        computed.source,
        absolute=computed.absolute,
    )


def _given(factors: Any, name: str) -> tuple[dict[str, float], Any, str]:
    if isinstance(factors, Mapping):
        return dict(factors), sensitivity.K_UNCERTAINTY, f"{name} given by the user"
    if isinstance(factors, (str, PathLike)):
        if not Path(factors).is_file():
            raise FileNotFoundError(f"{name}: there is no file {factors}.")
        values, errors = sensitivity.read_factors(factors)
        return values, errors, f"{name} of the file {Path(factors).name}"
    raise ValueError(f'{name} must be a dictionary by line, such as {{"Fe_Ka": 1.2}}, a file, or "computed".')


def make_builder(signal: Any, settings: Settings, *, need_factors: bool = True) -> Builder:
    """What models of a signal are built from.

    Raises
    ------
    ValueError
        If something is missing or wrong; the message names it.
    """
    energy = energy_axis(signal)
    instrument = read_instrument(signal, need_angle=need_factors and settings.absorption)
    low, high = settings.fit_range or FIT_RANGE
    low, high = max(low, energy[0]), min(high, energy[-1], 0.98 * instrument.beam_energy)
    lines = in_range(database_lines(elements_of(signal, settings)), low, high, instrument.beam_energy)
    if need_factors:
        factors = read_sensitivities(signal, lines, settings, instrument.beam_energy)
        if (
            settings.absorption
            and settings.thickness is None
            and (instrument.electrons is None or not factors.absolute)
        ):
            need = {"beam_current": TEM + "beam_current", "live_time": EDS + "live_time"}
            if factors.kind != sensitivity.GIVEN_ZETA:
                need["solid_angle"] = EDS + "solid_angle"
            lacking = [
                f"{name} ({item})" for name, item in need.items() if signal.metadata.get_item(item, None) is None
            ]
            raise ValueError(
                f"Missing in the metadata: {', '.join(lacking)}. Without it the thickness, and with it the absorption "
                "of X-rays, is not known: set it, give thickness= in nm, or leave absorption out (absorption=False)."
            )
    else:
        factors = Sensitivities({}, {}, sensitivity.COMPUTED, "no factors")
    return Builder(
        energy=energy,
        lines=tuple(lines),
        instrument=instrument,
        sensitivities=factors,
        mass_absorption=MassAbsorption(),
        fit_range=(low, high),
        absorption=settings.absorption,
    )


class Spectra:
    """Spectra of a signal one after the other, on flattened navigation axes; lazy ones are read in blocks of rows."""

    def __init__(self, signal: Any) -> None:
        data = signal.data
        self._shape = data.shape
        self.lazy = bool(getattr(signal, "_lazy", False))
        if self.lazy and data.ndim > 1:
            self._data = data if data.ndim > 2 else data[:, np.newaxis] if data.ndim == 2 else data
            rows = max(int(chunk) for chunk in data.chunks[0])
            self.block = rows * int(np.prod(data.shape[1:-1], dtype=int))
        else:
            flat = np.asarray(data).reshape(-1, data.shape[-1])
            self._data, self.block = flat, 4096

    def __len__(self) -> int:
        return int(np.prod(self._shape[:-1], dtype=int)) if len(self._shape) > 1 else 1

    def __getitem__(self, part: slice) -> NDArray[Any]:
        if not self.lazy or len(self._shape) < 2:
            return np.asarray(self._data[part])
        width = int(np.prod(self._shape[1:-1], dtype=int))
        first, last = part.start // width, -(-part.stop // width)
        read = np.asarray(self._data[first:last]).reshape(-1, self._shape[-1])
        return read[part.start - first * width : part.stop - first * width]

    def blocks(self) -> Any:
        """Slices and arrays, one block after the other."""
        for begin in range(0, len(self), self.block):
            part = slice(begin, min(begin + self.block, len(self)))
            yield part, self[part]


@dataclass(frozen=True)
class Summed:
    """Sum of all spectra that are used, and what it was made of."""

    total: FloatArray
    spectra: int
    largest: float


def sum_spectra(spectra: Spectra, where: NDArray[np.bool_] | None = None) -> Summed:
    """Add up spectra, reading each once.

    Raises
    ------
    ValueError
        If counts are negative or not finite, or all spectra are empty.
    """
    total, count, largest = np.zeros(spectra._shape[-1]), 0, 0.0
    for part, block in spectra.blocks():
        used = block if where is None else block[where[part]]
        if used.dtype.kind == "f" and not np.isfinite(used).all():
            raise ValueError("The spectra hold NaN or infinity: leave these pixels out.")
        if used.dtype.kind in "if" and used.size and used.min() < 0:
            raise ValueError("Counts cannot be negative: X-rays are counted one by one. Was a background subtracted?")
        total += used.sum(axis=0, dtype=float)
        each = used.sum(axis=1, dtype=float)
        count += int(np.count_nonzero(each))
        largest = max(largest, float(each.max(initial=0.0)))
    if not total.sum() > 0.0:
        raise ValueError("The map is empty: no spectrum holds a single count.")
    return Summed(total, count, largest)


def check_calibration(builder: Builder, total: FloatArray) -> calibration.EnergyCalibration | None:
    """How far lines are from where the axis says; a warning for each thing that is off; None where nothing can tell.

    Warns
    -----
    UserWarning
        For each finding.
    """
    try:
        found = calibration.estimate_calibration(builder, total)
    except ValueError as error:
        if total.sum() > _ENOUGH:
            warnings.warn(str(error), UserWarning, stacklevel=3)
        return None
    for finding in found.findings:
        warnings.warn(finding, UserWarning, stacklevel=3)
    return found


def make_scene(signal: Any, builder: Builder, settings: Settings, summed: Summed, *, tell: bool = True) -> Scene:
    """What the sum of all spectra says of each."""
    wanted = elements_of(signal, settings)
    seen = {line.element for line in builder.seen}
    factors = builder.sensitivities.cross_section
    cell = set(CELL_ELEMENTS) | set(settings.elements or ())
    # Foreign elements without a factor are fitted, but not counted; those of the cell need one.
    elements = [
        element
        for element in wanted
        if element in seen and (element in cell or any(family in factors for family in builder.families(element)))
    ]
    return prepare_scene(
        builder,
        summed.total,
        summed.spectra,
        elements,
        thickness=settings.thickness,
        largest_share=summed.largest / summed.total.sum(),
    )
