"""X-ray spectra of given columns of material."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.eds.conditions import XRayConditions
from hyperspy_assb.simulation.eds.detector import broadening, charge_loss, efficiency, escape_share, line_shape, pile_up
from hyperspy_assb.simulation.eds.physics import (
    Line,
    absorption_factor,
    areal_densities,
    atomic_number_and_mass,
    bremsstrahlung,
    lines,
    optical_depth,
    photon_yield,
    x_ray_elements,
)

_BLOCK = 512  # pixels at a time


@dataclass(frozen=True)
class _Table:
    """Lines of all elements, and the continuum, for one set of conditions."""

    lines: tuple[Line, ...]
    strength: np.ndarray  # (lines,) nm^2 towards the detector
    shape: np.ndarray  # (lines, n_channels)
    continuum: np.ndarray  # (n_channels,) nm^2 for atomic number 1, before the resolution
    centres: np.ndarray  # (n_channels,) true energies in keV


@lru_cache(maxsize=4)
def _table(conditions: XRayConditions) -> _Table:
    detector = conditions.detector
    towards = detector.solid_angle / (4 * np.pi)
    edges = conditions.channel_edges
    seen = tuple(
        line
        for element in x_ray_elements()
        for line in lines(element)
        # Lines beyond the range may still lose their tail into it; far ones do not matter.
        if line.energy < edges[-1] + 1.0
    )
    strength = [_photons(line, conditions) * towards for line in seen]
    centres = (edges[1:] + edges[:-1]) / 2
    positive = np.maximum(centres, 0.02)
    continuum = conditions.bremsstrahlung * towards * bremsstrahlung(centres, conditions.beam) * np.diff(edges)
    return _Table(
        lines=seen,
        strength=np.array(strength),
        shape=np.array([line_shape(line.energy, conditions) for line in seen]),
        continuum=continuum * efficiency(positive, detector),
        centres=positive,
    )


def _photons(line: Line, conditions: XRayConditions) -> float:
    """Photons of a line per electron and atom/nm^2, in nm^2, departures from the tables included."""
    photons = photon_yield(line.element, line.family, conditions.beam.beam_energy) * line.share
    return photons * conditions.yield_factor(f"{line.element}_{line.family}")


def _without_exposure(conditions: XRayConditions) -> XRayConditions:
    """Conditions on which the tables depend, so that exposures share one."""
    return replace(conditions, probe_current=1.0, live_time=1.0, counts_per_channel=None)


def _spectra_per_electron(atoms: Mapping[str, np.ndarray], conditions: XRayConditions, *, absorbed: bool) -> np.ndarray:
    """Expected counts per electron, ``(pixels, n_channels)``, without pile-up."""
    if not atoms:
        return np.zeros((1, conditions.n_channels))
    table = _table(_without_exposure(conditions))
    energy = np.array([line.energy for line in table.lines])
    none = np.zeros(len(next(iter(atoms.values()))))
    made = np.stack([atoms.get(line.element, none) for line in table.lines], axis=-1) * table.strength
    squared = sum(atomic_number_and_mass(element)[0] ** 2 * n for element, n in atoms.items())
    background = squared[:, None] * table.continuum
    if absorbed:
        made = made * absorption_factor(optical_depth(atoms, energy, conditions.take_off_angle))
        background *= absorption_factor(optical_depth(atoms, table.centres, conditions.take_off_angle))
    return made @ table.shape + (broadening(_without_exposure(conditions)) @ background.T).T


def expected_spectra(
    atoms: Mapping[str, np.ndarray], conditions: XRayConditions | None = None, *, electrons: float | None = None
) -> np.ndarray:
    """
    Expected X-ray spectra of columns of atoms.

    Parameters
    ----------
    atoms
        Atoms/nm^2 of each element in the column, shapes that broadcast; each column is taken as evenly mixed.
    conditions
        Conditions. Stray X-rays of their contamination are added; what lies on the lamella must be among the atoms.
    electrons
        Electrons for each pixel; by default those of probe current and live time, or those that give the mean count
        asked for.

    Returns
    -------
    numpy.ndarray
        Expected counts, ``(..., n_channels)``.
    """
    conditions = conditions or XRayConditions()
    electrons = exposure(atoms, conditions) if electrons is None else electrons
    shape = np.broadcast_shapes(*[np.shape(n) for n in atoms.values()])
    out = np.empty((int(np.prod(shape)), conditions.n_channels))
    for part, spectra in _blocks(atoms, shape, conditions, electrons):
        out[part] = spectra
    return out.reshape(*shape, conditions.n_channels)


def _blocks(
    atoms: Mapping[str, np.ndarray], shape: tuple[int, ...], conditions: XRayConditions, electrons: float
) -> Iterator[tuple[slice, np.ndarray]]:
    """Expected spectra of some pixels at a time."""
    flat = {element: np.broadcast_to(np.asarray(n, dtype=float), shape).ravel() for element, n in atoms.items()}
    stray = {element: np.full(1, n) for element, n in conditions.contamination.stray.items() if n > 0}
    unseen = np.zeros(conditions.n_channels)
    if stray:
        unseen = _spectra_per_electron(stray, conditions, absorbed=False)[0]
    live_time = conditions.live_time * electrons / conditions.electrons
    for begin in range(0, int(np.prod(shape)), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        counts = _spectra_per_electron({k: v[part] for k, v in flat.items()}, conditions, absorbed=True)
        yield part, pile_up(electrons * (counts + unseen), conditions, live_time)


def exposure(atoms: Mapping[str, np.ndarray], conditions: XRayConditions) -> float:
    """
    Electrons for each pixel.

    Parameters
    ----------
    atoms
        See :func:`expected_spectra`; they matter only where the conditions ask for a mean count.
    conditions
        Conditions.

    Returns
    -------
    float
        Number of electrons.
    """
    if conditions.counts_per_channel is None:
        return conditions.electrons
    # Counts grow as the live time at a fixed current, pile-up included.
    plain = replace(conditions, counts_per_channel=None)
    shape = np.broadcast_shapes(*[np.shape(n) for n in atoms.values()])
    total = sum(spectra.sum() for _, spectra in _blocks(atoms, shape, plain, plain.electrons))
    mean = total / (np.prod(shape) * plain.n_channels * plain.electrons)
    if not mean > 0:
        raise AssbValueError(
            "counts_per_channel: nothing under the beam gives X-rays; give probe_current and live_time instead"
        )
    return float(conditions.counts_per_channel / mean)


def with_contamination(
    atoms: Mapping[str, np.ndarray],
    conditions: XRayConditions,
    *,
    solid: np.ndarray | float = 1.0,
    depth: np.ndarray | float = np.inf,
) -> dict[str, np.ndarray]:
    """
    Add what the ion beam and the chip leave on the lamella.

    Parameters
    ----------
    atoms
        Atoms/nm^2 by element.
    conditions
        Conditions; their contamination is used.
    solid
        Share of each pixel that is not vacuum.
    depth
        Distance in nm from the upper edge of the lamella.

    Returns
    -------
    dict
        Atoms/nm^2 by element, Ga, Pt and Au included.
    """
    c = conditions.contamination
    platinum = c.platinum + c.platinum_edge * np.exp(-np.maximum(depth, 0.0) / c.platinum_decay)
    added = {"Ga": c.gallium * solid, "Pt": platinum * solid, "Au": c.gold * solid}
    return {**atoms, **{el: atoms.get(el, 0.0) + n for el, n in added.items() if np.any(np.asarray(n) > 0)}}


def draw_counts(expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Draw Poisson counts.

    Parameters
    ----------
    expected
        Expected counts.
    rng
        Source of the noise.

    Returns
    -------
    numpy.ndarray
        Counts as detectors store them: uint16, uint32 where that is too small.
    """
    counts = rng.poisson(expected)
    return counts.astype(np.uint16 if counts.max(initial=0) < 2**16 else np.uint32)


def draw_spectra(
    atoms: Mapping[str, np.ndarray], conditions: XRayConditions, rng: np.random.Generator, *, electrons: float
) -> np.ndarray:
    """
    Draw the X-ray spectra of columns of atoms, without ever holding all expectations.

    Parameters
    ----------
    atoms, conditions, electrons
        See :func:`expected_spectra`.
    rng
        Source of the noise.

    Returns
    -------
    numpy.ndarray
        Counts, ``(..., n_channels)``: uint16, or uint32 where that is too small.
    """
    shape = np.broadcast_shapes(*[np.shape(n) for n in atoms.values()])
    out = np.empty((int(np.prod(shape)), conditions.n_channels), np.uint16)
    for part, spectra in _blocks(atoms, shape, conditions, electrons):
        counts = draw_counts(spectra, rng)
        if counts.dtype.itemsize > out.dtype.itemsize:
            out = out.astype(counts.dtype)
        out[part] = counts
    return out.reshape(*shape, conditions.n_channels)


def simulate_edx(
    columns: Mapping[str, np.ndarray],
    conditions: XRayConditions | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    noise: bool = True,
) -> np.ndarray:
    """
    Simulate X-ray spectra of columns of material.

    Parameters
    ----------
    columns
        Thickness in nm of each phase that the beam crosses, any shapes that broadcast; the keys are phases of the
        virtual battery ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon") or of the reference tables
        ("Li3V2(PO4)3"). An empty column (all 0) is vacuum.
    conditions
        Microscope, detector, exposure, contamination.
    rng
        Source of noise, or a seed.
    noise
        Whether to draw counts; if not, the expectation is returned.

    Returns
    -------
    numpy.ndarray
        ``(..., n_channels)``: counts as uint16, or expected counts as float64, on the energies ``conditions.energy``.

    Notes
    -----
    Thin films: every layer sees the same beam; photons are made evenly over the thickness and absorbed on their way
    out through a lamella of the column's own composition. Secondary fluorescence and broadening of the beam are left
    out.

    Examples
    --------
    >>> from hyperspy_assb.simulation import simulate_edx
    >>> counts = simulate_edx({"LiFePO4": 60.0, "carbon": [0.0, 3.0]}, rng=1)
    >>> counts.shape
    (2, 2048)
    """
    conditions = conditions or XRayConditions()
    atoms = areal_densities(columns)
    total = sum(np.asarray(c, dtype=float) for c in columns.values())
    atoms = with_contamination(atoms, conditions, solid=np.asarray(total > 0, dtype=float))
    electrons = exposure(atoms, conditions)
    if not noise:
        return expected_spectra(atoms, conditions, electrons=electrons)
    return draw_spectra(atoms, conditions, np.random.default_rng(rng), electrons=electrons)


def sensitivity(line: str, conditions: XRayConditions | None = None) -> float:
    """
    What a line gives in the full-energy peak of a thin film: the EDX cross-section.

    Parameters
    ----------
    line
        Such as "Fe_Ka".
    conditions
        Conditions.

    Returns
    -------
    float
        Counts per electron and atom/nm^2 (nm^2) in the Gaussian of this line, without those in its tail and escape
        peak; 1 nm^2 is 1e10 barn, the unit of exspy's cross-sections.

    Raises
    ------
    AssbValueError
        If the line is not simulated.

    Examples
    --------
    >>> sensitivity("Fe_Ka") > sensitivity("Ge_Ka")
    True
    """
    conditions = conditions or XRayConditions()
    found = [known for known in lines(line.partition("_")[0]) if known.name == line]
    if not found:
        raise AssbValueError(
            f"line {line!r}: the virtual battery simulates {', '.join(k.name for k in lines(line.partition('_')[0]))}"
        )
    (known,) = found
    detector = conditions.detector
    made = _photons(known, conditions)
    whole = 1 - charge_loss(known.energy, detector)[0] - escape_share(known.energy, detector)[0]
    return float(made * detector.solid_angle / (4 * np.pi) * efficiency(known.energy, detector)[0] * whole)


def true_k_factors(line_names: list[str], conditions: XRayConditions | None = None) -> list[float]:
    """
    Cliff-Lorimer factors of the virtual microscope, as thin standards would give them.

    Parameters
    ----------
    line_names
        Such as ``["Fe_Ka", "P_Ka"]``.
    conditions
        Conditions.

    Returns
    -------
    list
        ``k`` in weight fraction = k x counts of the line, relative to the first line.

    Examples
    --------
    >>> [round(k, 2) for k in true_k_factors(["P_Ka", "Fe_Ka"])]
    [1.0, 1.33]
    """
    factors = [atomic_number_and_mass(name.partition("_")[0])[1] / sensitivity(name, conditions) for name in line_names]
    return [factor / factors[0] for factor in factors]
