"""Energy-differential cross-sections of inner-shell ionisation within a collection angle, without downloads.

K shells: hydrogenic generalised oscillator strength (Egerton's SIGMAK3 [1]_) integrated over momentum transfer. L and M
shells: tabulated optical oscillator strength in the dipole approximation, rolled off towards the Bethe ridge. Both with
relativistic kinematics and with the correction for the convergence of the probe. Densities are per eV and per atom; the
onset is a sharp step, without fine structure and without broadening.

References
----------
.. [1] R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed., Springer (2011),
   sections 3.6, 4.5 and appendix B; doi 10.1007/978-1-4419-9583-4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import Edge, edge, oscillator_strength

FloatArray = NDArray[np.float64]

RYDBERG = 13.605693122990  # eV, CODATA 2022
BOHR_RADIUS = 0.0529177210544  # nm, CODATA 2022
ELECTRON_REST_ENERGY = 510998.95069  # eV, CODATA 2022

_ATOMIC_NUMBERS = {"Li": 3, "C": 6, "O": 8}
_MOMENTUM_NODES, _MOMENTUM_WEIGHTS = np.polynomial.legendre.leggauss(96)

_CUTOFF = {"L": 0.45, "M": 1.0, "N": 1.0}
"""Momentum q_c at which the oscillator strength has fallen to one half, in units of that of the Bethe ridge.

L: fitted to the hydrogenic L shells of V and Fe between 0.5 and 100 mrad. M: 3p -> 3d of Fe with Slater orbitals,
exponents 4.61 and 3.73 (E. Clementi, D. L. Raimondi, J. Chem. Phys. 38, 2686 (1963)), whose strength begins as
1 - 0.21 (q a0)^2; taken over for the other M shells, and
for N4,5, whose 4d -> 4f is as compact."""

TABLE_RANGE = 1500.0
"""Energy above the onset, in eV, that :func:`edge_table` reaches."""
TABLE_SCALE = 20.0
"""Energy above the onset, in eV, where the grid of :func:`edge_table` turns from uniform to geometric."""
TABLE_POINTS = 2041
"""Points of :func:`edge_table`: those of the stored tables and seven between each two."""


@dataclass(frozen=True)
class ScatteringGeometry:
    """Beam and angles of a measurement.

    Parameters
    ----------
    beam_energy
        Kinetic energy of the electrons, in keV.
    convergence_angle
        Convergence semi-angle, in mrad; 0 for a parallel beam.
    collection_angle
        Collection semi-angle, in mrad.

    Raises
    ------
    ValueError
        If a value cannot be what it is called; the message names the parameter and its unit.

    Examples
    --------
    >>> ScatteringGeometry(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0).collection_angle
    15.0
    """

    beam_energy: float
    convergence_angle: float
    collection_angle: float

    def __post_init__(self) -> None:
        for name in ("beam_energy", "convergence_angle", "collection_angle"):
            if not np.isfinite(getattr(self, name)):
                raise AssbValueError(f"{name} must be a finite number, not {getattr(self, name)}.")
        if self.beam_energy > 5000:
            raise AssbValueError(f"beam_energy is in keV; {self.beam_energy:g} looks like volts: divide it by 1000.")
        if self.beam_energy < 1:
            raise AssbValueError(f"beam_energy is in keV and must be at least 1, not {self.beam_energy:g}.")
        if not 0 <= self.convergence_angle <= 500:
            raise AssbValueError(f"convergence_angle is in mrad, 0 to 500, not {self.convergence_angle:g}.")
        if self.collection_angle <= 0:
            raise AssbValueError(f"collection_angle must be positive, not {self.collection_angle:g} mrad.")
        if self.collection_angle < 0.05:
            raise AssbValueError(f"collection_angle is in mrad; {self.collection_angle:g} looks like radians.")
        if self.collection_angle > 1000 * np.pi:
            raise AssbValueError(f"collection_angle is in mrad and at most 1000 pi, not {self.collection_angle:g}.")

    @property
    def gamma(self) -> float:
        """Total over rest energy of the electron."""
        return 1 + self.beam_energy * 1e3 / ELECTRON_REST_ENERGY

    @property
    def effective_incident_energy(self) -> float:
        """T = m v^2 / 2 in eV, which replaces the beam energy in non-relativistic formulae."""
        return 0.5 * ELECTRON_REST_ENERGY * (1 - self.gamma**-2)

    def characteristic_angle(self, energy: ArrayLike) -> FloatArray:
        """theta_E = E / (2 gamma T) in mrad at energy losses in eV; shape of ``energy``."""
        return 1e3 * np.asarray(energy, dtype=np.float64) / (2 * self.gamma * self.effective_incident_energy)

    def bethe_ridge_angle(self, energy: ArrayLike) -> FloatArray:
        """Angle of the Bethe ridge, sqrt(2 theta_E), in mrad at energy losses in eV; shape of ``energy``.

        There (q a0)^2 = E / R; the dipole approximation holds well below it.
        """
        return 1e3 * np.sqrt(2e-3 * self.characteristic_angle(energy))

    def effective_collection_angle(self, energy: ArrayLike) -> FloatArray:
        """Collection angle in mrad that with a parallel beam would collect as much; shape of ``energy``.

        Parameters
        ----------
        energy
            Energy losses in eV.

        Notes
        -----
        Egerton's CONCOR2 (appendix B of [1]_): Lorentzian scattering of a uniformly filled cone, relative to the
        zero-loss electrons that pass the aperture (not to all of them, which matters where alpha exceeds beta).

        References
        ----------
        .. [1] R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011).
        """
        theta = 1e-3 * self.characteristic_angle(energy)
        alpha, beta = 1e-3 * self.convergence_angle, 1e-3 * self.collection_angle
        if alpha < 1e-3 * beta:  # the correction is of the order (alpha / beta)^2, and lost in rounding
            return np.full(theta.shape, self.collection_angle)
        a2, b2, t2 = alpha**2, beta**2, theta**2
        first = np.sqrt((a2 + b2 + t2) ** 2 - 4 * a2 * b2) - a2 - b2 - t2
        second = 2 * b2 * np.log((np.sqrt((a2 + t2 - b2) ** 2 + 4 * b2 * t2) + a2 + t2 - b2) / (2 * t2))
        third = 2 * a2 * np.log((np.sqrt((b2 + t2 - a2) ** 2 + 4 * a2 * t2) + b2 + t2 - a2) / (2 * t2))
        # (collected by the cone) / (collected by the parallel beam), times the logarithm of the latter
        logarithm = (first + second + third) / (2 * min(a2, b2))
        return 1e3 * theta * np.sqrt(np.expm1(logarithm))


def hydrogenic_k_strength(energy: FloatArray, momentum: FloatArray, atomic_number: int) -> FloatArray:
    """Generalised oscillator strength of a K shell in the hydrogenic model with Slater screening.

    Parameters
    ----------
    energy
        Energy loss in eV; broadcast with ``momentum``.
    momentum
        (q a0)^2, the squared momentum transfer in units of the Bohr radius.
    atomic_number
        Of the atom.

    Returns
    -------
    df/dE in 1/eV per atom.

    Notes
    -----
    Egerton's SIGMAK3 (2011, section 3.6.1 and appendix B.6): two electrons, effective charge Z - 0.5 (one electron and
    Z for hydrogen). Below the hydrogenic threshold, which inner screening puts above the true one, its analytic
    continuation is used.
    """
    charge = atomic_number - 0.5 if atomic_number > 1 else 1.0
    electrons = 2 if atomic_number > 1 else 1
    q = momentum / charge**2
    k2 = energy / (RYDBERG * charge**2) - 1
    k = np.maximum(np.sqrt(np.abs(k2)), 1e-5)  # both branches meet smoothly at k = 0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        free = np.exp(-2 / k * (np.arctan2(2 * k, q - k2 + 1))) / -np.expm1(-2 * np.pi / k)
        bound = np.exp(-1 / k * np.log((q + 1 - k2 + 2 * k) / (q + 1 - k2 - 2 * k)))
    exponential = np.where(k2 >= 0, free, bound)
    denominator = ((q - k2 + 1) ** 2 + 4 * k2) ** 3
    strength = 128 * electrons * energy / (RYDBERG**2 * charge**4) * (q + k2 / 3 + 1 / 3) * exponential / denominator
    return np.asarray(strength, dtype=np.float64)


def _momentum_range(energy: FloatArray, geometry: ScatteringGeometry) -> tuple[FloatArray, FloatArray]:
    """Least and greatest (q a0)^2 at energy losses in eV, by relativistic kinematics; shape of ``energy``."""
    kinetic = geometry.beam_energy * 1e3
    rest = ELECTRON_REST_ENERGY
    before = kinetic * (kinetic + 2 * rest)  # (pc)^2
    after = (kinetic - energy) * (kinetic - energy + 2 * rest)
    unit = 2 * rest * RYDBERG  # (hbar c / a0)^2
    # p0 - p1 without cancellation
    difference = energy * (2 * kinetic - energy + 2 * rest) / (np.sqrt(before) + np.sqrt(after))
    half_angle = 0.5e-3 * np.minimum(geometry.effective_collection_angle(energy), 1e3 * np.pi)
    least = difference**2 / unit
    return least, least + 4 * np.sqrt(before * after) / unit * np.sin(half_angle) ** 2


def _hydrogenic(energy: FloatArray, shifted: FloatArray, found: Edge, geometry: ScatteringGeometry) -> FloatArray:
    low, high = _momentum_range(energy, geometry)
    middle, half = 0.5 * np.log(low * high), 0.5 * np.log(high / low)
    momentum = np.exp(middle[:, None] + half[:, None] * _MOMENTUM_NODES)
    strength = hydrogenic_k_strength(shifted[:, None], momentum, _ATOMIC_NUMBERS[found.element])
    return half * (strength @ _MOMENTUM_WEIGHTS)  # integral over ln q^2


def _dipole(energy: FloatArray, shifted: FloatArray, found: Edge, geometry: ScatteringGeometry) -> FloatArray:
    relative = shifted - found.onset_energy
    theta2 = geometry.characteristic_angle(energy) ** 2
    angle2 = geometry.effective_collection_angle(energy) ** 2
    limit2 = (_CUTOFF[found.shell[0]] * geometry.bethe_ridge_angle(energy)) ** 2
    # integral of d ln(q^2) / (1 + q^2 / q_c^2): the dipole logarithm, less what lies beyond the dipole region
    logarithm = np.log1p(angle2 / theta2) - np.log1p(angle2 / (theta2 + limit2))
    return _optical_strength(found.element, found.shell)(relative) * logarithm


@lru_cache(maxsize=64)
def _optical_strength(element: str, shell: str) -> Callable[[FloatArray], FloatArray]:
    """df/dE over energy above the onset: monotone cubic of the stored table, a power law beyond it."""
    relative_energy, strength = oscillator_strength(element, shell)
    inside = PchipInterpolator(relative_energy, strength)
    onset = edge(element, shell).onset_energy
    last, before = onset + relative_energy[-1], onset + relative_energy[-20]
    exponent = np.log(strength[-20] / strength[-1]) / np.log(last / before)

    def evaluate(relative: FloatArray) -> FloatArray:
        beyond = strength[-1] * (np.maximum(relative + onset, last) / last) ** -exponent
        return np.where(relative <= relative_energy[-1], inside(np.minimum(relative, relative_energy[-1])), beyond)

    return evaluate


def differential_cross_section(
    element: str, shell: str, energy: ArrayLike, geometry: ScatteringGeometry, *, onset_energy: float | None = None
) -> FloatArray:
    """Cross-section per eV of energy loss for scattering into the collection aperture.

    Parameters
    ----------
    element, shell
        An edge of :func:`hyperspy_assb.reference.edges`.
    energy
        Energy loss in eV, shape (E,).
    geometry
        Beam energy and angles.
    onset_energy
        Onset in eV, if not that of the tables: the oscillator strength is moved with it, the kinematics is not.

    Returns
    -------
    d(sigma)/dE in nm^2/eV per atom, shape (E,); zero below the onset and at and above the beam energy.

    Raises
    ------
    UnknownReferenceError
        If the tables do not have this edge.

    Notes
    -----
    Bethe theory [1]_: ``4 pi a0^2 R^2 / (E T)`` times the integral of the oscillator strength df/dE over ln q^2, with
    T = m v^2 / 2. In the dipole region df/dE does not depend on q: the integral is ``ln(1 + (beta / theta_E)^2)``.
    For the L and M shells df/dE is taken to fall as ``1 / (1 + (q / q_c)^2)``, with q_c on the Bethe ridge for the M
    shells (18 mrad at 200 kV and 55 eV) and at 0.45 of it for the L shells. An aperture far beyond q_c adds nothing;
    one near it is wrong by some 5 %, a smaller one by less. Retardation is neglected, as in Egerton's programs and in
    exspy (2 to 3 % at 200 kV, the same for edges of nearly the same energy).

    Cross-sections of single atoms leave out the screening of the solid: a loss spectrum has ``eps2 / |eps|^2`` where
    these have ``eps2``. With ``eps1`` about 0.75 at 55 eV in the phosphates (free electrons), edges there are some 1.7
    times as strong as computed, Li K and Fe M2,3 alike: their ratio is right, a number of atoms per area is not.

    The hydrogenic Li K falls from its threshold on, while measured absorption of lithium rises to a maximum 10 eV above
    it. Within 100 eV of the onset both agree to 1 %, within 50 eV to 7 %, but within 20 eV the hydrogenic strength is
    1.3 times and within 10 eV 1.5 times the measured one: narrow windows at Li K need a fine-structure model.

    References
    ----------
    .. [1] R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), section 3.6.

    Examples
    --------
    >>> geometry = ScatteringGeometry(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
    >>> (differential_cross_section("Li", "K", [50.0, 60.0], geometry) > 0).tolist()
    [False, True]
    """
    found = edge(element, shell)
    energy = np.asarray(energy, dtype=np.float64)
    if energy.ndim != 1:
        raise AssbValueError(f"energy must have one dimension, not {energy.ndim}.")
    onset = found.onset_energy if onset_energy is None else float(onset_energy)
    result = np.zeros(energy.size)
    above = (energy >= onset) & (energy > 0) & (energy < geometry.beam_energy * 1e3)
    loss = energy[above]
    if loss.size == 0:
        return result
    shifted = loss - onset + found.onset_energy
    integral = (_hydrogenic if found.gos == "hydrogenic" else _dipole)(loss, shifted, found, geometry)
    prefactor = 4 * np.pi * BOHR_RADIUS**2 * RYDBERG**2 / geometry.effective_incident_energy
    result[above] = prefactor / loss * integral
    return result


def integrated_cross_section(element: str, shell: str, window: float, geometry: ScatteringGeometry) -> float:
    """Cross-section in an energy window that begins at the onset.

    Parameters
    ----------
    element, shell
        An edge of :func:`hyperspy_assb.reference.edges`.
    window
        Width of the window in eV.
    geometry
        Beam energy and angles.

    Returns
    -------
    sigma in nm^2 per atom.

    Raises
    ------
    ValueError
        If the window is not positive.
    UnknownReferenceError
        If the tables do not have this edge.
    """
    if not window > 0:
        raise AssbValueError(f"window must be positive, not {window:g} eV.")
    # Gauss-Legendre in 256 parts that widen as the table does, so the steps and maxima near the onset are resolved.
    nodes, weights = np.polynomial.legendre.leggauss(4)
    edges_ = TABLE_SCALE * np.expm1(np.linspace(0, np.log1p(window / TABLE_SCALE), 257))
    half = 0.5 * np.diff(edges_)
    relative = 0.5 * (edges_[1:] + edges_[:-1])[:, None] + half[:, None] * nodes
    values = differential_cross_section(element, shell, edge(element, shell).onset_energy + relative.ravel(), geometry)
    return float(np.sum(values.reshape(relative.shape) * weights * half[:, None]))


@lru_cache(maxsize=256)
def edge_table(
    element: str, shell: str, geometry: ScatteringGeometry, *, onset_energy: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """Cross-section of an edge on a fixed grid of energies above the onset, for use in compiled code.

    Parameters
    ----------
    element, shell
        An edge of :func:`hyperspy_assb.reference.edges`.
    geometry
        Beam energy and angles.
    onset_energy
        Onset in eV at which the kinematics is computed; that of the tables by default.

    Returns
    -------
    relative_energy
        Energy above the onset in eV, shape (K,): ``TABLE_SCALE * expm1(step * arange(K))`` from 0 to ``TABLE_RANGE``,
        ``step = log1p(TABLE_RANGE / TABLE_SCALE) / (K - 1)``, so the interval of an energy is
        ``floor(log1p(relative / TABLE_SCALE) / step)`` without a search. Read only.
    values
        d(sigma)/dE in nm^2/eV per atom, shape (K,), with its full step at the onset; monotone cubic interpolation is
        right to 1e-3 of the largest value. Read only.

    Notes
    -----
    Moving the table by s eV with a fitted onset leaves the kinematic factor, nearly 1/E, where it was: wrong by
    about 100 s/E per cent (2 % for 1 eV at Li K). Make the table anew with ``onset_energy`` where that matters.
    """
    onset = edge(element, shell).onset_energy if onset_energy is None else float(onset_energy)
    step = np.log1p(TABLE_RANGE / TABLE_SCALE) / (TABLE_POINTS - 1)
    relative = TABLE_SCALE * np.expm1(step * np.arange(TABLE_POINTS))
    values = differential_cross_section(element, shell, onset + relative, geometry, onset_energy=onset)
    relative.setflags(write=False)  # cached: shared by every caller
    values.setflags(write=False)
    return relative, values
