"""X-ray lines of a battery: their shapes in a spectrum, and which of them lie on top of each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray, XRayLine
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.reference import LineComponent

CELL_ELEMENTS = ("C", "O", "Al", "P", "V", "Fe", "Ge")
"""Elements of the cell that X-rays show; Li is not among them."""
FOREIGN_ELEMENTS = ("Si", "Cu", "Ga", "Pt", "Au")
"""What the ion beam, the grid and the chip add."""
FAMILIES = ("Ka", "La", "Ma")

MN_KA = 5.8987
"""keV: the line at which the resolution of a detector is stated (exspy's database)."""
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
# Silicon: K alpha line in keV, fluorescence yield and jump ratio of the K edge, W. T. Elam, B. D. Ravel and J. R.
# Sieber, Radiat. Phys. Chem. 63, 121 (2002), doi 10.1016/S0969-806X(01)00227-4.
SI_KA, SI_K_EDGE, SI_YIELD, SI_JUMP = 1.7397, 1.839, 0.0429, 10.37

FIT_RANGE = (0.18, 15.0)
"""keV in which spectra are fitted: below lies the noise peak of the detector, above no line of the cell."""
_NARROW = 1e-5
"""keV: natural width below which a line is as wide as the detector makes it."""
_WIDE = 5.0
"""Standard deviations beyond which a line is nothing."""
_TAIL_ENDS = 3.0
"""Lengths of its tail by which a line reaches further down."""
SILICON_DENSITY = 2.33  # g/cm^3
_NM = 1e-7  # cm


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


def channel_edges(energy: FloatArray) -> FloatArray:
    """Edges in keV of channels whose centres are given, uniform."""
    step = (energy[-1] - energy[0]) / (energy.size - 1)
    return np.append(energy - step / 2.0, energy[-1] + step / 2.0)


def gaussian(
    edges: FloatArray, energy: float, resolution: float, slope: float = DetectorShape.width_slope
) -> FloatArray:
    """Counts of a line of one count, in channels with the given edges; exactly 0 beyond five standard deviations."""
    sigma = float(line_width(energy, resolution, slope)) / FWHM_PER_SIGMA
    near = _near(edges, energy - _WIDE * sigma, energy + _WIDE * sigma)
    values = np.zeros(edges.size - 1)
    own = edges[near.start : near.stop + 1]
    part = np.diff(special.ndtr((own - energy) / sigma))
    values[near] = without_tails(part, (own[1:] + own[:-1]) / 2.0, energy, sigma)
    return values


def _near(edges: FloatArray, low: float, high: float) -> slice:
    """Channels between two energies, at least in part."""
    first, last = np.searchsorted(edges, [low, high])
    return slice(max(int(first) - 1, 0), min(max(int(last), 1), edges.size - 1))


def without_tails(values: FloatArray, energy: FloatArray, centre: float, sigma: float) -> FloatArray:
    """A line, exactly 0 beyond five standard deviations from its centre."""
    return np.where(np.abs(energy - centre) < _WIDE * sigma, values, 0.0)


def escape_share(absorption: FloatArray, absorption_at_ka: float, energy: FloatArray) -> FloatArray:
    """Share of the photons counted by a silicon detector whose silicon Kα photon leaves it again.

    Parameters
    ----------
    absorption
        Mass absorption coefficients of silicon at the energies.
    absorption_at_ka
        The same at its Kα line.
    energy
        keV.

    Returns
    -------
    share
        0 below the K edge. S. J. B. Reed and N. G. Ware, J. Phys. E 5, 582 (1972), doi 10.1088/0022-3735/5/6/029.
    """
    ratio = absorption_at_ka / absorption
    share = 0.5 * SI_YIELD * (1.0 - 1.0 / SI_JUMP) * (1.0 - ratio * np.log1p(1.0 / ratio))
    return np.where(np.asarray(energy) > SI_K_EDGE, share, 0.0)


def tail_share(absorption: FloatArray, depth: float) -> FloatArray:
    """Share of the photons counted that are absorbed in a layer of silicon, and counted in the tail of their line.

    Parameters
    ----------
    absorption
        Mass absorption coefficients of silicon at their energies in cm^2/g.
    depth
        nm of the layer.
    """
    return -np.expm1(-np.asarray(absorption) * SILICON_DENSITY * depth * _NM)


def tail(
    edges: FloatArray, energy: float, resolution: float, length: float, slope: float = DetectorShape.width_slope
) -> FloatArray:
    """Counts of a tail of one count: an exponential below the line, spread by the resolution.

    Parameters
    ----------
    edges
        Of the channels in keV.
    energy, length
        Of the line, and decay length of the tail, in keV.
    resolution, slope
        As for :func:`line_width`.

    Returns
    -------
    counts
        Exactly 0 beyond five standard deviations above and, with three lengths more, below.
    """
    sigma = float(line_width(energy, resolution, slope)) / FWHM_PER_SIGMA
    near = _near(edges, energy - _WIDE * sigma - _TAIL_ENDS * length, energy + _WIDE * sigma)
    z, ratio = (edges[near.start : near.stop + 1] - energy) / sigma, sigma / length
    values = np.zeros(edges.size - 1)
    below = np.exp(np.minimum(0.5 * ratio**2 + z * ratio + special.log_ndtr(-z - ratio), 0.0))
    values[near] = np.maximum(np.diff(special.ndtr(z) + below), 0.0)
    return values


def voigt(
    edges: FloatArray, energy: float, resolution: float, width: float, slope: float = DetectorShape.width_slope
) -> FloatArray:
    """Counts of a line of one count and of some natural width (keV), in channels with the given edges.

    0 beyond five standard deviations of what the detector adds, where 0.3 % of a line of 3 eV lie.
    """
    if width < _NARROW:
        return gaussian(edges, energy, resolution, slope)
    sigma = float(line_width(energy, resolution, slope)) / FWHM_PER_SIGMA
    near = _near(edges, energy - _WIDE * sigma, energy + _WIDE * sigma)
    own = edges[near.start : near.stop + 1]
    middle = (own[1:] + own[:-1]) / 2.0
    at_edges, inside = (special.voigt_profile(e - energy, sigma, 0.5 * width) for e in (own, middle))
    values = np.zeros(edges.size - 1)
    # Simpson's rule: channels are narrower than lines.
    part = (at_edges[1:] + 4.0 * inside + at_edges[:-1]) / 6.0 * np.diff(own)
    values[near] = without_tails(part, middle, energy, sigma)
    return values


def line_shape(
    edges: FloatArray,
    line: XRayLine,
    resolution: float,
    escape: float = 0.0,
    *,
    lost: float = 0.0,
    detector: DetectorShape | None = None,
) -> FloatArray:
    """A line with one count in its peak and, beside it, its tail and its escape peak.

    Parameters
    ----------
    edges
        Edges of the channels in keV, shape (E + 1,).
    line
        With its components.
    resolution
        eV at Mn Kα.
    escape
        Of :func:`escape_share`.
    lost
        Of :func:`tail_share`.
    detector
        Width and length of the tail; None: as usual.

    Returns
    -------
    counts
        Shape (E,).
    """
    detector = detector or DetectorShape()
    slope = detector.width_slope
    parts = line.components or (LineComponent(0.0, 1.0, 0.0),)
    shape = np.asarray(
        sum(part.share * voigt(edges, line.energy + part.offset, resolution, part.width, slope) for part in parts)
    )
    peak = 1.0 - escape - lost
    if lost > 0.0:
        shape = shape + lost / peak * tail(edges, line.energy, resolution, 0.001 * detector.tail_length, slope)
    if escape > 0.0:
        shape = shape + escape / peak * gaussian(edges, line.energy - SI_KA, resolution, slope)
    return shape


def in_range(lines: Sequence[XRayLine], low: float, high: float, beam_energy: float) -> list[XRayLine]:
    """Lines of families whose main line lies between two energies in keV, and that the beam excites."""
    seen = {(line.element, line.family) for line in lines if line.name == line.family and low < line.energy < high}
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
