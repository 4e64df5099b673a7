"""An X-ray map as it was recorded, what is known of the elements in it, and what its quantification is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import LineComponent

FloatArray = NDArray[np.float64]
MassAbsorption = Callable[[str, FloatArray], FloatArray]
"""Mass absorption coefficients in cm^2/g of an element at energies in keV."""

ELEMENTARY_CHARGE = 1.602176634e-19  # C
_READ = 2**28
"""Bytes of spectra on disk that are read at a time, as numbers of 64 bits."""
_BLOCK = 4096
"""Spectra that are worked on at a time: enough to keep all threads busy, few enough to fit into memory."""
_SAME_PIXELS, _SAME_BEAM = 0.02, 0.01
"""Relative differences up to which two maps were recorded alike: magnifications are calibrated no better."""


@dataclass(frozen=True)
class XRayLine:
    """A characteristic line.

    Parameters
    ----------
    element, name
        Symbol, and the name within the element: "Fe", "Ka".
    energy
        keV: the mean of its components.
    weight
        Intensity relative to the main line of its family ("Ka", "La", "Ma").
    components
        Lines that a detector shows as this one, such as Kα1 and Kα2, their offsets from ``energy``; empty: it is
        single, and as wide as the detector makes it.
    """

    element: str
    name: str
    energy: float
    weight: float
    components: tuple[LineComponent, ...] = ()

    @classmethod
    def from_strongest(
        cls, element: str, name: str, energy: float, weight: float, components: tuple[LineComponent, ...]
    ) -> XRayLine:
        """A line whose strongest component has some energy in keV, from which the offsets are counted."""
        mean = sum(part.share * part.offset for part in components)
        moved = tuple(replace(part, offset=part.offset - mean) for part in components)
        return cls(element, name, energy + mean, weight, moved)

    @cached_property
    def family(self) -> str:
        """Main line of the family: "Ka", "La" or "Ma"."""
        return f"{self.name[0]}a"

    @cached_property
    def full_name(self) -> str:
        """Such as "Fe_Ka"."""
        return f"{self.element}_{self.name}"


@dataclass(frozen=True, eq=False)
class ElementTables:
    """Lines, masses and absorption of all elements.

    Parameters
    ----------
    lines
        Lines of each element; empty for those without any.
    mass
        Atomic masses in u.
    mass_absorption
        Looks up mass absorption coefficients.
    other_absorption
        The same of a second source: what the two differ by is how well they are known. None: there is none.
    """

    lines: Mapping[str, tuple[XRayLine, ...]]
    mass: Mapping[str, float]
    mass_absorption: MassAbsorption
    other_absorption: MassAbsorption | None = None

    def lines_of(self, elements: Iterable[str]) -> tuple[XRayLine, ...]:
        """All lines of some elements.

        Raises
        ------
        AssbValueError
            If there is no such element.
        """
        found: list[XRayLine] = []
        for element in elements:
            if element not in self.lines:
                raise AssbValueError(f"{element!r} is not a chemical element.")
            found += self.lines[element]
        return tuple(found)


@dataclass(frozen=True)
class Instrument:
    """How the spectra were recorded.

    Parameters
    ----------
    resolution
        Full width at half maximum in eV at Mn Kα.
    beam_energy
        keV.
    take_off_angle
        Degrees between the lamella and the way to the detector.
    electrons
        Electrons for each spectrum; None: not known, and a thickness is needed.
    """

    resolution: float
    beam_energy: float
    take_off_angle: float
    electrons: float | None = None

    def __post_init__(self) -> None:
        if not 20.0 < self.resolution < 400.0:
            raise AssbValueError(f"energy_resolution_MnKa must lie between 20 and 400 eV, not at {self.resolution:g}.")
        if not 0.5 < self.take_off_angle <= 90.0:
            raise AssbValueError(
                f"The take-off angle is {self.take_off_angle:g} degrees: X-rays would not leave the lamella towards "
                "the detector. Check the tilt of the stage and the angles of the detector."
            )


def count_electrons(current: float | None, live_time: float | None) -> float | None:
    """Electrons for each spectrum from a current in nA and a live time in s; None where one of them is not known.

    Raises
    ------
    AssbValueError
        If one of them is not above 0.
    """
    if current is None or live_time is None:
        return None
    electrons = float(current) * 1e-9 * float(live_time) / ELEMENTARY_CHARGE
    if not electrons > 0.0:
        raise AssbValueError(
            f"beam_current ({current:g} nA) and live_time ({live_time:g} s) must be above 0: "
            "set_microscope_parameters()."
        )
    return electrons


class Spectra:
    """Spectra one after the other, on flattened navigation axes; those on disk are read in blocks of rows.

    Parameters
    ----------
    data
        Counts, shape (..., channels): an array or a dask array.
    """

    def __init__(self, data: Any) -> None:
        self.shape = data.shape
        self.channels = int(data.shape[-1])
        self._lazy = not isinstance(data, np.ndarray) and data.ndim > 1
        if self._lazy:
            self._data = data if data.ndim > 2 else data[:, np.newaxis]
            width = int(np.prod(data.shape[1:-1], dtype=int))
            stored = max(1, *(int(chunk) for chunk in data.chunks[0]))
            most = max(1, _READ // max(8 * width * self.channels, 1))
            # All rows of a stored block, or so many at a time that they fit in memory.
            self.block = max(1, width) * -(-stored // -(-stored // most))
        else:
            self._data, self.block = np.asarray(data).reshape(-1, self.channels), _BLOCK

    def __len__(self) -> int:
        return int(np.prod(self.shape[:-1], dtype=int))

    def __getitem__(self, part: slice) -> NDArray[Any]:
        if not self._lazy:
            return np.asarray(self._data[part])
        width = int(np.prod(self.shape[1:-1], dtype=int))
        first, last = part.start // width, -(-part.stop // width)
        read = np.asarray(self._data[first:last]).reshape(-1, self.channels)
        return read[part.start - first * width : part.stop - first * width]

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Slices and arrays, one block after the other."""
        for begin in range(0, len(self), self.block):
            part = slice(begin, min(begin + self.block, len(self)))
            yield part, self[part]

    def summed(self) -> Summed:
        """Add up the spectra, reading each once.

        Raises
        ------
        AssbValueError
            If counts are negative or not finite, or all spectra are empty.
        """
        total, count, largest = np.zeros(self.channels), 0, 0.0
        for _, block in self.blocks():
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                raise AssbValueError("The spectra hold NaN or infinity: leave these pixels out.")
            if block.dtype.kind in "if" and block.size and block.min() < 0:
                raise AssbValueError(
                    "Counts cannot be negative: X-rays are counted one by one. Was a background subtracted?"
                )
            total += block.sum(axis=0, dtype=float)
            each = block.sum(axis=1, dtype=float)
            count += int(np.count_nonzero(each))
            largest = max(largest, float(each.max(initial=0.0)))
        if not total.sum() > 0.0:
            raise AssbValueError("The map is empty: no spectrum holds a single count.")
        return Summed(total, count, largest)

    def summed_by(self, group: NDArray[np.int64], groups: int) -> FloatArray:
        """Add up the spectra of each group, shape (groups, channels).

        Parameters
        ----------
        group
            Number of the group of each spectrum, shape (N,); -1 for those left out.
        groups
            How many there are.
        """
        total = np.zeros((groups, self.channels))
        for part, block in self.blocks():
            used = np.flatnonzero(group[part] >= 0)
            ones, place = np.ones(used.size), (group[part][used], used)
            total += sparse.csr_array((ones, place), shape=(groups, len(block))) @ block
        return total


@dataclass(frozen=True, eq=False)
class Summed:
    """Sum of all spectra, and what it was made of.

    Parameters
    ----------
    total
        Counts, shape (channels,).
    spectra
        Spectra that are not empty.
    largest
        Counts of the largest of them.
    """

    total: FloatArray
    spectra: int
    largest: float


@dataclass(frozen=True, eq=False)
class EDSMap:
    """An X-ray map: everything that the science takes from a file.

    Parameters
    ----------
    spectra
        Counts.
    energy
        Centres of the channels in keV, shape (channels,).
    axes
        Navigation axes in the order of arrays: name, size, scale, offset and units of each.
    instrument
        Microscope and detector.
    solid_angle
        Of the detector in sr; None: not known.
    tables
        Of the elements.
    elements, lines
        Symbols and main lines that the file names.
    bulk
        Whether it was recorded in an SEM, where X-rays come from a volume and not from a column.
    lacking
        Of beam current, live time and solid angle, those that the file does not say, by name, with their place in the
        metadata.
    """

    spectra: Spectra
    energy: FloatArray
    axes: tuple[Mapping[str, Any], ...]
    instrument: Instrument
    solid_angle: float | None
    tables: ElementTables
    elements: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    bulk: bool = False
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the map; empty for a single spectrum."""
        return tuple(self.spectra.shape[:-1])

    def pixel_size(self) -> tuple[FloatArray, float]:
        """Pixel size along the axes in nm, and nm in their unit.

        Raises
        ------
        AssbValueError
            If there is no axis, or they have no unit of length in common.
        """
        if not self.axes:
            raise AssbValueError("A profile needs a map or a line of spectra, not a single spectrum.")
        factor = {"nm": 1.0, "µm": 1e3, "um": 1e3, "Å": 0.1, "A": 0.1, "pm": 1e-3}
        units = {str(axis["units"]) for axis in self.axes}
        if len(units) != 1 or not units <= set(factor):
            raise AssbValueError(
                f"The navigation axes are in {', '.join(sorted(units))}: set scale and units (nm, µm or Å) of both."
            )
        unit = factor[units.pop()]
        return np.array([axis["scale"] * unit for axis in self.axes], dtype=float), unit

    def must_be_thin(self) -> None:
        """Raise an AssbValueError if nothing can be said of columns of atoms, as of a map that an SEM recorded."""
        if self.bulk:
            raise AssbValueError(
                "This map was recorded in an SEM (ASSB.bulk in its metadata): its X-rays come from a volume, and the "
                "quantification of thin films does not hold. fit_line_counts() and interface_profile() (of counts) do."
            )

    def must_fit(self, after: EDSMap) -> None:
        """Raise a ValueError if a later map cannot be compared with this one: shapes, pixels, beam energies."""
        if after.shape != self.shape or not 1 <= len(self.shape) <= 2:
            raise AssbValueError(
                f"before has the navigation shape {self.shape} and after {after.shape}: both need the same one or two "
                "navigation axes."
            )
        for one, other in zip(self.axes, after.axes, strict=True):
            alike = np.isclose(one["scale"], other["scale"], rtol=_SAME_PIXELS)
            if not alike or one["units"] != other["units"]:
                raise AssbValueError(
                    f"The pixels of axis {one['name']!r} are {one['scale']:g} {one['units']} before and "
                    f"{other['scale']:g} {other['units']} after: record both at one magnification, or rebin."
                )
        energies = self.instrument.beam_energy, after.instrument.beam_energy
        if not np.isclose(*energies, rtol=_SAME_BEAM):
            raise AssbValueError(
                f"beam_energy is {energies[0]:g} keV before and {energies[1]:g} keV after: factors differ."
            )


@dataclass(frozen=True)
class EDSOptions:
    """What an X-ray quantification is told: one record for all maps that are to be quantified alike.

    Parameters
    ----------
    k_factors
        Cliff-Lorimer factors by line (weight fraction is proportional to k times counts), a table in a file, or
        "computed"; None: computed, unless there are zeta factors.
    zeta_factors
        Zeta factors in kg/m^2 by line, or a table in a file.
    thickness
        Mean thickness in nm; None: that of electrons and absolute factors.
    absorption
        Whether X-rays are absorbed on their way out.
    fit_range
        keV; None: 0.18 to 15.
    elements
        Elements that are looked for, one or several; None: those of the cell, of the preparation, and of the metadata.
    detector
        Shape of lines: how their width grows, their tails and escape peaks; None: found from the sum of all spectra.
    spurious
        Elements of the grid, the chip or the pole piece: their lines are fitted, unabsorbed, and are no atoms of the
        column.

    Raises
    ------
    AssbValueError
        If the thickness is not a number above 0, or there is no element.

    Examples
    --------
    >>> from hyperspy_assb.eds.eds_map import EDSOptions
    >>> from hyperspy_assb.simulation import micro_battery
    >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
    >>> alike = EDSOptions(thickness=80.0, absorption=False)
    >>> s.quantify_phases(quantification=alike).provenance["parameters"]["absorption"]
    False
    """

    k_factors: Any = None
    zeta_factors: Any = None
    thickness: float | None = None
    absorption: bool = True
    fit_range: tuple[float, float] | None = None
    elements: Sequence[str] | None = None
    detector: DetectorShape | None = None
    spurious: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.elements is not None:
            named = (self.elements,) if isinstance(self.elements, str) else tuple(self.elements)
            object.__setattr__(self, "elements", named)
        spurious = (self.spurious,) if isinstance(self.spurious, str) else tuple(self.spurious)
        object.__setattr__(self, "spurious", spurious)
        value = self.thickness
        if value is not None and not (np.ndim(value) == 0 and np.isfinite(value) and value > 0.0):
            raise AssbValueError(f"thickness must be one number above 0 nm, the mean of the map, not {value!r}.")
        if self.elements is not None and not self.elements:
            raise AssbValueError(
                "elements must name at least one element; None takes those of the cell and its preparation."
            )

    def told(self, **direct: Any) -> EDSOptions:
        """These options with what was told besides; None: nothing.

        Raises
        ------
        AssbValueError
            If something is told twice.
        """
        given = {name: value for name, value in direct.items() if value is not None}
        for name in given:
            if getattr(self, name) is not None:
                raise AssbValueError(f"{name} is given twice, also in quantification=EDSOptions(...): leave one out.")
        return replace(self, **given)
