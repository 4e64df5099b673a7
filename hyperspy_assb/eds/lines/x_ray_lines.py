"""X-ray lines of a battery: their shapes in a spectrum, and which of them lie on top of each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray, XRayLine
from hyperspy_assb.errors import AssbValueError, AssbWarning

CELL_ELEMENTS = ("C", "O", "Al", "P", "V", "Fe", "Ge")
"""Elements of the cell that X-rays show; Li is not among them."""
FOREIGN_ELEMENTS = ("Si", "Cu", "Ga", "Pt", "Au")
"""What the ion beam, the grid and the chip add."""
FAMILIES = ("Ka", "La", "Ma")

MN_KA = 5.8987
"""keV: the line at which the resolution of a detector is stated (exspy's database)."""
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
FIT_RANGE = (0.18, 15.0)
"""keV in which spectra are fitted: below lies the noise peak of the detector, above no line of the cell."""


@dataclass(frozen=True)
class Overlap:
    """Two lines of different elements that overlap in a spectrum.

    Parameters
    ----------
    first, second
        Names, such as "Ga_La"; the first has the lower energy.
    energy
        keV, of the first.
    distance
        eV between them.
    width
        eV: full width at half maximum there.
    """

    first: str
    second: str
    energy: float
    distance: float
    width: float


def line_width(energy: FloatArray | float, resolution: float, slope: float = DetectorShape.width_slope) -> FloatArray:
    """Full width at half maximum in keV of lines at energies in keV.

    Parameters
    ----------
    energy
        keV.
    resolution
        Full width at half maximum in eV at Mn Kα.
    slope
        Growth of its square in eV: ``DetectorShape.width_slope``.

    Returns
    -------
    width
        keV. C. E. Fiori and D. E. Newbury, SEM/1978/I, 401; as exspy has it.

    Examples
    --------
    >>> float(np.round(line_width(5.8987, 130.0), 3))
    0.13
    """
    squared = resolution**2 + 1000.0 * slope * (np.asarray(energy, dtype=float) - MN_KA)
    # Noise of the electronics is left at zero energy, whatever the resolution is said to be.
    return np.sqrt(np.maximum(squared, 900.0)) / 1000.0


def find_overlaps(lines: Iterable[XRayLine], resolution: float, *, minimum_weight: float = 0.2) -> list[Overlap]:
    """Pairs of lines of different elements that are nearer than twice their width.

    Parameters
    ----------
    lines
        All lines.
    resolution
        eV at Mn Kα.
    minimum_weight
        Lines weaker than this in their family are left out.

    Returns
    -------
    overlaps
        By energy.
    """
    strong = sorted((line for line in lines if line.weight >= minimum_weight), key=lambda line: line.energy)
    found = []
    for first, second in combinations(strong, 2):
        width = float(line_width(first.energy, resolution))
        if first.element != second.element and second.energy - first.energy < 2.0 * width:
            distance = 1000.0 * (second.energy - first.energy)
            found.append(Overlap(first.full_name, second.full_name, first.energy, distance, 1000.0 * width))
    return found


def in_range(lines: Sequence[XRayLine], low: float, high: float, beam_energy: float) -> list[XRayLine]:
    """Lines of families whose main line, or the strongest where tables lack it, lies between two energies in keV, and
    that the beam excites.
    """
    main: dict[tuple[str, str], XRayLine] = {}
    for line in sorted(lines, key=lambda line: (line.name != line.family, -line.weight)):
        main.setdefault((line.element, line.family), line)
    seen = {family for family, line in main.items() if low < line.energy < high}
    return [line for line in lines if (line.element, line.family) in seen and line.energy < beam_energy]


def elements_of(recorded: EDSMap, settings: EDSOptions) -> tuple[str, ...]:
    """Elements that are looked for in a map."""
    if settings.elements is not None:
        return tuple(dict.fromkeys((*settings.elements, *settings.spurious)))
    return tuple(dict.fromkeys((*CELL_ELEMENTS, *FOREIGN_ELEMENTS, *recorded.elements, *settings.spurious)))


@dataclass(frozen=True)
class LineChoice:
    """Lines of a map that are worth fitting.

    Parameters
    ----------
    elements
        Those of which there is a line.
    main
        Main lines of their families, by energy.
    overlaps
        Lines of different elements nearer than their width.
    left_out
        Main lines beyond the range of the axis.
    """

    elements: tuple[str, ...]
    main: tuple[XRayLine, ...]
    overlaps: tuple[Overlap, ...]
    left_out: tuple[str, ...]


def choose_lines(
    recorded: EDSMap, elements: Sequence[str] | None, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> LineChoice:
    """Lines of elements that lie in the range of a map, by default those of the cell and its preparation.

    Raises
    ------
    AssbValueError
        If an element is not known, or one is removed that is not there.

    Warns
    -----
    AssbWarning
        If no line of an element lies in the range.
    """
    chosen = list(dict.fromkeys([*(elements or (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)), *add]))
    unknown = [el for el in remove if el not in chosen]
    if unknown:
        raise AssbValueError(f"remove names {', '.join(unknown)}, which is not among {', '.join(chosen)}.")
    chosen = [el for el in chosen if el not in remove]
    everything = recorded.tables.lines_of(chosen)
    low, high = max(recorded.energy[0], FIT_RANGE[0]), min(recorded.energy[-1], FIT_RANGE[1])
    seen = in_range(everything, low, high, recorded.instrument.beam_energy)
    main = sorted((line for line in seen if line.name == line.family), key=lambda line: line.energy)
    names = {line.full_name for line in main}
    there = {line.element for line in main}
    lacking = [el for el in chosen if el not in there]
    if lacking:
        warnings.warn(f"No line of {', '.join(lacking)} lies in the range of the axis.", AssbWarning, stacklevel=4)
    return LineChoice(
        elements=tuple(el for el in chosen if el in there),
        main=tuple(main),
        overlaps=tuple(find_overlaps(seen, recorded.instrument.resolution)),
        left_out=tuple(line.full_name for line in everything if line.name in FAMILIES and line.full_name not in names),
    )
