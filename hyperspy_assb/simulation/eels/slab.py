"""Energy loss in a slab: bulk, surface and retardation terms, after Kröger, and the collection aperture."""

from __future__ import annotations

import numpy as np
from scipy import interpolate

from hyperspy_assb.simulation.conditions import BOHR_RADIUS, HBAR_C, Beam


def aperture_overlap(angle: np.ndarray, *, convergence: float, collection: float) -> np.ndarray:
    """
    Share of an evenly filled incident cone that enters the spectrometer after a deflection.

    Parameters
    ----------
    angle
        Deflection in rad.
    convergence, collection
        Half angles in rad.

    Returns
    -------
    numpy.ndarray
        Between 0 and 1: common area of two discs at this distance over the area of the incident disc. Undeflected
        electrons outside the entrance count as lost, so it is relative to the zero loss that is collected.
    """
    angle = np.asarray(angle, dtype=float)
    big, small = max(convergence, collection), min(convergence, collection)
    if convergence <= 1e-6 * collection:
        return (angle < collection).astype(float)
    d = np.clip(angle, max(big - small, 1e-12), big + small)
    x = np.clip((d**2 + small**2 - big**2) / (2 * d * small), -1, 1)
    y = np.clip((d**2 + big**2 - small**2) / (2 * d * big), -1, 1)
    chord = np.sqrt(np.maximum((big + small - d) * (d + small - big) * (d - small + big) * (d + big + small), 0))
    area = small**2 * np.arccos(x) + big**2 * np.arccos(y) - chord / 2
    return np.clip(area / (np.pi * small**2), 0, 1)


def angle_grid(energy: np.ndarray, beam: Beam, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """
    Angles and weights of the integral over the collected solid angle.

    Parameters
    ----------
    energy
        Energy losses in eV, ``(n,)``, all above 0.
    beam
        Beam and angles.
    size
        Number of angles; 60 % of them lie below four characteristic angles, where guided light lies.

    Returns
    -------
    angle, weight : numpy.ndarray
        ``(n, size)``, rad and sr: ``sum(weight * f(angle))`` is the integral of ``2 pi theta f`` times the overlap of
        incident cone and spectrometer entrance.
    """
    theta_e = beam.characteristic_angle(energy)[:, None]
    convergence, collection = 1e-3 * beam.convergence_angle, 1e-3 * beam.collection_angle
    largest = convergence + collection
    inner = int(0.6 * size)
    split = np.minimum(4 * theta_e, 0.5 * largest)
    # Midpoints in theta^1.5 inside and in log(theta) outside.
    edges_in = split * np.linspace(0, 1, inner + 1) ** 1.5
    edges_out = split * (largest / split) ** np.linspace(0, 1, size - inner + 1)
    edges = np.concatenate([edges_in, edges_out[:, 1:]], axis=1)
    angle = np.sqrt((edges[:, 1:] ** 2 + edges[:, :-1] ** 2) / 2)
    overlap = aperture_overlap(angle, convergence=convergence, collection=collection)
    return angle, np.pi * np.diff(edges**2, axis=1) * overlap


def aperture_integral(energy: np.ndarray, beam: Beam) -> np.ndarray:
    """
    Integral of the Lorentzian of inelastic scattering over the collected angles.

    Parameters
    ----------
    energy
        Energy losses in eV, ``(n,)``, all above 0.
    beam
        Beam and angles.

    Returns
    -------
    numpy.ndarray
        ``(n,)``; for parallel illumination it is ``ln(1 + (collection_angle / theta_E)^2)``.
    """
    # Smooth in log(energy): a spline through a few hundred knots is exact enough for long grids.
    knots = np.geomspace(0.99 * np.min(energy), 1.01 * np.max(energy), 300)
    # Exact over each ring for the Lorentzian; the overlap is taken at its middle.
    theta_e = beam.characteristic_angle(knots)
    largest = 1e-3 * (beam.convergence_angle + beam.collection_angle)
    edges = np.concatenate([[0.0], np.geomspace(1e-7, largest, 600)])
    middle = (edges[1:] + edges[:-1]) / 2
    overlap = aperture_overlap(
        middle, convergence=1e-3 * beam.convergence_angle, collection=1e-3 * beam.collection_angle
    )
    primitive = np.log1p((edges[None, :] / theta_e[:, None]) ** 2)
    return interpolate.CubicSpline(np.log(knots), np.diff(primitive, axis=1) @ overlap)(np.log(energy))


def bulk_probability(energy: np.ndarray, loss_function: np.ndarray, beam: Beam) -> np.ndarray:
    """
    Single-scattering probability in the bulk, without retardation.

    Parameters
    ----------
    energy
        Energy losses in eV, ``(n,)``, all above 0.
    loss_function
        Im(-1/eps) at these energies.
    beam
        Beam and angles.

    Returns
    -------
    numpy.ndarray
        Probability per eV and nm of path, for an electron that is collected: Egerton, Electron Energy-Loss Spectroscopy
        in the Electron Microscope (3rd ed., 2011), eq. 4.26.
    """
    return loss_function * aperture_integral(energy, beam) / (np.pi * BOHR_RADIUS * beam.m0_v2)


def kroger(angle: np.ndarray, energy: np.ndarray, eps: np.ndarray, thickness: np.ndarray, beam: Beam) -> np.ndarray:
    """
    Double-differential loss probability of a slab in vacuum at normal incidence, with retardation.

    Parameters
    ----------
    angle
        Scattering angle in rad.
    energy
        Energy loss in eV.
    eps
        Complex permittivity, imaginary part positive.
    thickness
        nm.
    beam
        Beam; its angles are not used.

    Returns
    -------
    numpy.ndarray
        Probability per sr and eV; all arguments are broadcast. Kröger, Z. Phys. 216, 115 (1968), in the form of Egerton
        (2011), eq. 3.84, which counts bulk, Cherenkov, surface and guided-light losses and the Begrenzung.
    """
    beta2 = beam.beta_squared
    theta2 = np.asarray(angle) ** 2
    theta_e = beam.characteristic_angle(energy)
    theta_e2 = theta_e**2
    eps = np.conj(eps)  # the formula is written for eps1 - i eps2
    half = np.asarray(thickness) * energy / (2 * HBAR_C * np.sqrt(beta2))
    wavenumber = beam.gamma * beam.m0_v2 / (HBAR_C * np.sqrt(beta2))  # of the beam electron, nm^-1

    decay = np.sqrt(theta2 - eps * theta_e2 * beta2 + 0j)
    decay0 = np.sqrt(theta2 - theta_e2 * beta2 + 0j)
    phi2 = decay**2 + theta_e2
    phi02 = decay0**2 + theta_e2
    phi012 = theta2 + theta_e2 * (1 - (eps + 1) * beta2)
    tanh = np.tanh(decay * half / theta_e)
    even = 1 / (decay0 * eps + decay * tanh)
    odd = 1 / (decay0 * eps + decay / tanh)
    sin, cos = np.sin(half), np.cos(half)

    bulk = thickness * (1 - eps * beta2) / (eps * phi2)
    a = phi012**2 / eps * (sin**2 * even + cos**2 * odd)
    b = beta2 * decay0 * theta_e * phi012 * (even - odd) * 2 * sin * cos
    c = -(beta2**2) * decay0 * decay * theta_e2 * (cos**2 * tanh * even + sin**2 / tanh * odd)
    surface = 2 * theta2 * (eps - 1) ** 2 / (wavenumber * phi02**2 * phi2**2) * (a + b + c)
    return (bulk - surface).imag / (np.pi**2 * BOHR_RADIUS * beam.m0_v2)


def surface_table(energy: np.ndarray, eps: np.ndarray, thickness: np.ndarray, beam: Beam) -> np.ndarray:
    """
    What surfaces and retardation add to the bulk loss of slabs.

    Parameters
    ----------
    energy
        Energy losses in eV, ``(n,)``, all above 0.
    eps
        Complex permittivity, ``(n,)``.
    thickness
        Thicknesses in nm, ``(m,)``.
    beam
        Beam and angles.

    Returns
    -------
    numpy.ndarray
        ``(m, n)``, probability per eV: the loss of the slab less thickness times :func:`bulk_probability`. Negative
        where the Begrenzung takes more from the bulk plasmon than the surfaces give.
    """
    # Light guided in a perfectly clear slab would be a row of poles; a little absorption makes them integrable.
    eps = eps.real + 1j * np.maximum(eps.imag, 0.02 * np.abs(eps.real))
    angle, weight = angle_grid(energy, beam)
    theta_e = beam.characteristic_angle(energy)[:, None]
    plain = (-(1 / eps).imag)[:, None] / ((angle**2 + theta_e**2) * np.pi**2 * BOHR_RADIUS * beam.m0_v2)
    table = np.empty((len(thickness), len(energy)))
    for i, t in enumerate(thickness):
        table[i] = ((kroger(angle, energy[:, None], eps[:, None], t, beam) - t * plain) * weight).sum(axis=1)
    return table
