"""How the virtual battery is looked at: microscope, spectrometer, detector."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hyperspy_assb.errors import AssbValueError

ELECTRON_REST_ENERGY = 510998.95  # eV, CODATA 2018
BOHR_RADIUS = 0.0529177211  # nm, CODATA 2018
HBAR_C = 197.3269804  # eV nm, CODATA 2018


@dataclass(frozen=True)
class Beam:
    """
    Beam and angles.

    Attributes
    ----------
    beam_energy
        keV.
    convergence_angle
        Half angle of the incident cone in mrad; the cone is filled evenly and incoherently.
    collection_angle
        Half angle of the spectrometer entrance in mrad.

    Examples
    --------
    >>> beam = Beam(beam_energy=200.0)
    >>> round(beam.gamma, 3), round(beam.beta_squared, 3), round(1e-3 * beam.m0_v2)
    (1.391, 0.483, 247)
    """

    beam_energy: float = 200.0
    convergence_angle: float = 8.0
    collection_angle: float = 15.0

    @property
    def gamma(self) -> float:
        """Lorentz factor."""
        return 1 + 1e3 * self.beam_energy / ELECTRON_REST_ENERGY

    @property
    def beta_squared(self) -> float:
        """Square of the velocity over that of light."""
        return 1 - self.gamma**-2

    @property
    def m0_v2(self) -> float:
        """Rest mass times squared velocity, eV."""
        return ELECTRON_REST_ENERGY * self.beta_squared

    def characteristic_angle(self, energy: np.ndarray) -> np.ndarray:
        """
        Characteristic angle of inelastic scattering.

        Parameters
        ----------
        energy
            Energy loss in eV.

        Returns
        -------
        numpy.ndarray
            ``E / (gamma m0 v^2)`` in rad.

        Examples
        --------
        >>> 1e3 * Beam().characteristic_angle(np.array([25.0])).round(6)
        array([0.073])
        """
        return np.asarray(energy) / (self.gamma * self.m0_v2)


@dataclass(frozen=True)
class Detector:
    """
    What the spectrometer camera makes of the electrons.

    Attributes
    ----------
    gain
        Counts for an electron.
    dark_offset
        Counts added to every channel.
    read_noise
        Standard deviation of the read noise in counts.
    light_spread
        Standard deviation in channels of a blur that acts after the electrons were counted, and so correlates the
        noise of neighbouring channels; 0 for a detector that counts electrons.
    core_spread
        Standard deviation in channels of the spread of single electrons (enters the expectation).
    tail_strength
        Share of the electrons spread into the long tails, 40 % of them exponential (decay length 6 channels)
        and 60 % Lorentzian (half width 4 channels).
    x_ray_spikes
        Expected number of X-ray hits in a spectrum.

    Examples
    --------
    >>> Detector().read_noise, Detector.scintillator().light_spread > Detector().light_spread
    (0.0, True)
    """

    gain: float = 1.0
    dark_offset: float = 0.0
    read_noise: float = 0.0
    light_spread: float = 0.0
    core_spread: float = 0.5
    tail_strength: float = 0.02
    x_ray_spikes: float = 0.0

    @classmethod
    def scintillator(cls) -> Detector:
        """Make a fibre-coupled scintillator camera: gain, read noise, dark level, correlated noise, spikes."""
        return cls(
            gain=4.0,
            dark_offset=20.0,
            read_noise=3.0,
            light_spread=0.6,
            core_spread=0.6,
            tail_strength=0.05,
            x_ray_spikes=0.002,
        )


@dataclass(frozen=True)
class EELSConditions:
    """
    Conditions of a low-loss EELS measurement.

    Attributes
    ----------
    dispersion
        Channel width in eV.
    n_channels
        Number of channels.
    offset
        Energy of the centre of the first channel in eV.
    energy_resolution
        Full width at half maximum of the zero loss in eV, before the detector spreads it. The profile is the energy
        distribution of tunnelling electrons, which is steep on the gain side and long on the loss side,
        convolved with a Gaussian.
    zero_loss_jitter
        Standard deviation in eV of the zero-loss position, drawn for each spectrum.
    beam
        Beam energy and angles.
    detector
        Detector.
    optics
        What the phases are made of: "oscillators", an invention within what is known, or "computed", for the olivines
        and LAGP, from first principles (``hyperspy_assb.reference.computed_optics``; mean of the directions).
    hubbard_u
        U on Fe 3d in eV, of computed optics.

    Examples
    --------
    >>> conditions = EELSConditions(n_channels=512, dispersion=0.2)
    >>> conditions.energy.shape, round(float(conditions.energy[1] - conditions.energy[0]), 3)
    ((512,), 0.2)
    """

    dispersion: float = 0.2
    n_channels: int = 1024
    offset: float = -10.0
    energy_resolution: float = 0.8
    zero_loss_jitter: float = 0.1
    beam: Beam = field(default_factory=Beam)
    detector: Detector = field(default_factory=Detector)
    optics: str = "oscillators"
    hubbard_u: float = 4.3

    def __post_init__(self) -> None:
        if self.optics not in ("oscillators", "computed"):
            raise AssbValueError(f'optics must be "oscillators" or "computed", not {self.optics!r}')

    @property
    def energy(self) -> np.ndarray:
        """Energies of the channel centres in eV, ``(n_channels,)``."""
        return self.offset + self.dispersion * np.arange(self.n_channels)
