"""Production and absorption of X-rays in thin material: per atom, per electron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from hyperspy_assb import reference
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.conditions import Beam
from hyperspy_assb.simulation.eels.dielectric import phase, phase_names

FINE_STRUCTURE = 7.2973525693e-3  # CODATA 2018
ELECTRON_RADIUS = 2.8179403262e-6  # nm, CODATA 2018
BOHR_RADIUS = 0.0529177211  # nm, CODATA 2018
ATOMIC_MASS = 1.66053906660e-24  # g, CODATA 2018
NM2_PER_CM2 = 1e14

# Elements that the virtual battery has but whose X-rays no detector sees.
_INVISIBLE = {"Li": (3, 6.94)}


@dataclass(frozen=True)
class Line:
    """
    A characteristic line.

    Attributes
    ----------
    name
        As in exspy, such as "Fe_Ka".
    element, family
        Symbol, and shell "K", "L" or "M".
    energy
        keV.
    share
        Share of the photons of its family.
    """

    name: str
    element: str
    family: str
    energy: float
    share: float


def x_ray_elements() -> tuple[str, ...]:
    """Elements whose X-rays are simulated."""
    return reference.x_ray_elements()


def atomic_number_and_mass(element: str) -> tuple[int, float]:
    """
    Atomic number and atomic mass.

    Parameters
    ----------
    element
        Symbol.

    Returns
    -------
    tuple
        Z, and mass in u.
    """
    if element in _INVISIBLE:
        return _INVISIBLE[element]
    if element not in x_ray_elements():
        known = ", ".join((*_INVISIBLE, *x_ray_elements()))
        raise AssbValueError(f"element {element!r}: the virtual battery simulates the X-rays of {known} only")
    atom = reference.x_ray_atom(element)
    return atom.number, atom.mass


def ionisation_cross_section(element: str, shell: str, beam_energy: float) -> float:
    """
    Cross-section of ionisation by electron impact.

    Parameters
    ----------
    element
        Symbol.
    shell
        Such as "K", "L3", "M5".
    beam_energy
        keV.

    Returns
    -------
    float
        nm^2; 0 below the edge. Analytical formulas of D. Bote, F. Salvat, A. Jablonski and C. J. Powell, At. Data Nucl.
        Data Tables 95, 871 (2009), to distorted-wave and plane-wave Born calculations.
    """
    constants = reference.x_ray_atom(element).subshells[shell]
    overvoltage = 1e3 * beam_energy / constants.edge
    if overvoltage <= 1:
        return 0.0
    if overvoltage <= 16:
        a1, a2, a3, a4, a5 = constants.low
        s = 1 / (1 + overvoltage)
        fit = a1 + a2 * overvoltage + a3 * s + a4 * s**3 + a5 * s**5
        value = (overvoltage - 1) * (fit / overvoltage) ** 2
    else:
        b, a, g1, g2, g3, g4 = constants.high
        beam = Beam(beam_energy=beam_energy)
        momentum = np.sqrt(beam.gamma**2 - 1)
        fit = (2 * np.log(momentum) - beam.beta_squared) * (1 + g1 / momentum)
        fit += g2 + g3 / np.sqrt(beam.gamma) + g4 / momentum
        value = overvoltage / (overvoltage + b) * a / beam.beta_squared * fit
    return float(4 * np.pi * BOHR_RADIUS**2 * value)


@cache
def photon_yield(element: str, family: str, beam_energy: float) -> float:
    """
    Photons of a family of lines per electron, for one atom per nm^2.

    Parameters
    ----------
    element
        Symbol.
    family
        "K", "L" or "M".
    beam_energy
        keV.

    Returns
    -------
    float
        nm^2: ionisation of every subshell, vacancies that move on within the shell (Coster-Kronig), fluorescence.
        Vacancies that the decay of a deeper shell leaves are rare beside those that the beam makes, and are left out.
    """
    shells = {name: row for name, row in reference.x_ray_atom(element).subshells.items() if name[0] == family}
    vacancies = {name: ionisation_cross_section(element, name, beam_energy) for name in shells}
    photons = 0.0
    for name, row in shells.items():  # from the inner subshell out, as in the table
        photons += vacancies[name] * row.fluorescence
        for higher, probability in row.transfer.items():
            vacancies[higher] += vacancies[name] * probability
    return photons


@cache
def lines(element: str) -> tuple[Line, ...]:
    """
    Characteristic lines of an element.

    Parameters
    ----------
    element
        Symbol.

    Returns
    -------
    tuple
        Lines of the families that are simulated. Energies and weights within a family are those of exspy's database,
        which every analysis uses too; they are constants of nature here.
    """
    from exspy.material import elements  # seconds: only when spectra are wanted

    table = elements[element].Atomic_properties.Xray_lines.as_dictionary()
    families = {name[0] for name in reference.x_ray_atom(element).subshells}
    found = []
    for family in sorted(families):
        rows = {name: row for name, row in table.items() if name[0] == family}
        total = sum(row["weight"] for row in rows.values())
        found += [
            Line(f"{element}_{name}", element, family, row["energy (keV)"], row["weight"] / total)
            for name, row in rows.items()
        ]
    return tuple(found)


def mass_absorption(element: str, energy: np.ndarray) -> np.ndarray:
    """
    Mass absorption coefficient.

    Parameters
    ----------
    element
        Symbol.
    energy
        keV.

    Returns
    -------
    numpy.ndarray
        cm^2/g, of the tables of C. T. Chantler et al. (NIST, https://dx.doi.org/10.18434/T4HS32) through exspy; below
        0.03 keV, where some of them end, the value there.
    """
    from exspy.material import mass_absorption_coefficient

    return np.asarray(mass_absorption_coefficient(element, np.maximum(np.atleast_1d(energy), 0.03)))


def optical_depth(atoms: Mapping[str, np.ndarray], energy: np.ndarray, take_off_angle: float) -> np.ndarray:
    """
    Absorption of photons that cross the whole lamella towards the detector.

    Parameters
    ----------
    atoms
        Areal density along the beam in atoms/nm^2 of each element, ``(pixels,)``.
    energy
        keV, ``(n,)``.
    take_off_angle
        Degrees.

    Returns
    -------
    numpy.ndarray
        Mass absorption coefficient times mass thickness over the sine of the angle, ``(pixels, n)``.
    """
    mass = np.stack([n * atomic_number_and_mass(el)[1] for el, n in atoms.items()], axis=-1)
    coefficients = np.stack([mass_absorption(el, energy) for el in atoms])
    return mass @ coefficients * (ATOMIC_MASS * NM2_PER_CM2 / np.sin(np.deg2rad(take_off_angle)))


def absorption_factor(depth: np.ndarray) -> np.ndarray:
    """
    Share of the photons that leave, if they are made evenly over the thickness.

    Parameters
    ----------
    depth
        Of :func:`optical_depth`.

    Returns
    -------
    numpy.ndarray
        ``(1 - exp(-depth)) / depth``.
    """
    depth = np.asarray(depth, dtype=float)
    return np.where(depth > 1e-8, -np.expm1(-depth) / np.maximum(depth, 1e-8), 1 - depth / 2)


def bremsstrahlung(energy: np.ndarray, beam: Beam) -> np.ndarray:
    """
    Continuum of an atom of atomic number 1; it grows as the square of the atomic number.

    Parameters
    ----------
    energy
        Photon energy in keV.
    beam
        Beam.

    Returns
    -------
    numpy.ndarray
        nm^2/keV: ``16 pi / (3 sqrt 3) alpha r_e^2 / (beta^2 E) (1 - E / E_0)``, H. A. Kramers, Philos. Mag. 46, 836
        (1923). At 200 keV more is radiated than that, but forward: towards the detector the two nearly make up for
        each other.
    """
    energy = np.asarray(energy, dtype=float)
    strength = 16 * np.pi / (3 * np.sqrt(3)) * FINE_STRUCTURE * ELECTRON_RADIUS**2 / beam.beta_squared
    seen = (energy > 0.03) & (energy < beam.beam_energy)
    return np.where(seen, strength / np.where(seen, energy, 1) * (1 - energy / beam.beam_energy), 0.0)


@cache
def atom_densities(name: str) -> dict[str, float]:
    """
    Atoms per nm^3 of each element of a phase.

    Parameters
    ----------
    name
        A phase of the virtual battery, or of the reference tables, such as "Li3V2(PO4)3".

    Returns
    -------
    dict
        By symbol.
    """
    if name in phase_names():
        p = phase(name)
        return {element: number / p.volume for element, number in p.atoms.items()}
    p = reference.material(name)
    return {element: p.atom_density(element) for element in p.composition}


def areal_densities(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    Atoms of each element in columns of phases.

    Parameters
    ----------
    columns
        Thickness in nm of each phase, shapes that broadcast.

    Returns
    -------
    dict
        Atoms/nm^2 by symbol.
    """
    arrays = dict(
        zip(columns, np.broadcast_arrays(*[np.asarray(c, dtype=float) for c in columns.values()]), strict=True)
    )
    atoms: dict[str, np.ndarray] = {}
    for name, thickness in arrays.items():
        if not np.all(thickness >= 0):
            raise AssbValueError(f"columns[{name!r}]: thicknesses must be numbers not below 0, in nm")
        for element, density in atom_densities(name).items():
            atoms[element] = atoms.get(element, 0.0) + density * thickness
    return atoms
