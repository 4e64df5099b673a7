"""How the X-rays of the virtual battery are measured: beam, geometry, detector, what does not belong to the battery."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hyperspy_assb.simulation.conditions import Beam

ELEMENTARY_CHARGE = 1.602176634e-19  # C, SI
MN_KA = 5.8987  # keV, the line at which the resolution of a detector is given


@dataclass(frozen=True)
class XRayDetector:
    """
    A silicon drift detector.

    Attributes
    ----------
    energy_resolution
        Full width at half maximum in eV at Mn Kα.
    width_slope
        Square of the width (eV^2) per eV of photon energy: 2.5 eV, from the statistics of charge in silicon (C. E.
        Fiori and D. E. Newbury, SEM/1978/I, 401).
    elevation_angle, azimuth_angle
        Direction of the detector in degrees, as in HyperSpy: above the plane of the untilted lamella, and from the
        direction perpendicular to the tilt axis.
    solid_angle
        sr.
    layers
        Element and thickness in nm of what absorbs in front of the crystal: contact, dead layer, window.
    open_share
        Open share of the area of the window with its grid.
    crystal
        Thickness of the crystal in mm.
    charge_loss_depth
        Depth in nm of the layer below the entrance from which part of the charge is lost: photons absorbed there are
        counted in a tail below their line.
    tail_length
        Decay length of this tail as a share of the photon energy.
    escape
        Strength of the escape peaks relative to that of theory (S. J. B. Reed and N. G. Ware, J. Phys. E 5, 582
        (1972)).
    resolving_time
        Photons that arrive within this time (s) are counted as one of the summed energy.

    Examples
    --------
    >>> XRayDetector.ideal().open_share, len(XRayDetector.polymer_window().layers)
    (1.0, 3)
    """

    energy_resolution: float = 130.0
    width_slope: float = 2.5
    elevation_angle: float = 18.0
    azimuth_angle: float = 45.0
    solid_angle: float = 0.7
    layers: tuple[tuple[str, float], ...] = (("Al", 25.0), ("Si", 30.0))
    open_share: float = 1.0
    crystal: float = 0.45
    charge_loss_depth: float = 6.0
    tail_length: float = 0.08
    escape: float = 1.0
    resolving_time: float = 2e-7

    @classmethod
    def polymer_window(cls) -> XRayDetector:
        """Make a smaller detector behind a polymer window on a silicon grid (thicknesses of the usual size)."""
        return cls(
            solid_angle=0.13,
            elevation_angle=22.0,
            azimuth_angle=0.0,
            layers=(("C", 300.0), ("Al", 65.0), ("Si", 60.0)),
            open_share=0.77,
        )

    @classmethod
    def ideal(cls) -> XRayDetector:
        """Make a detector that counts every photon at its energy, spread by its resolution only."""
        return cls(layers=(), crystal=np.inf, charge_loss_depth=0.0, escape=0.0, resolving_time=0.0)


@dataclass(frozen=True)
class Contamination:
    """
    Atoms that do not belong to the battery; areal densities in atoms/nm^2 where the lamella is.

    Attributes
    ----------
    gallium
        Implanted by the ion beam, both surfaces together; 20 atoms/nm^2 are 1.4 atoms for 100 of Fe in 100 nm of
        LiFePO4.
    platinum, platinum_edge, platinum_decay
        Platinum everywhere, and more of it at the upper edge of the lamella, from the cap, which fades with this
        length in nm.
    gold
        From the pads of the chip.
    stray_copper, stray_silicon
        Grid and chip, hit by stray electrons and X-rays: seen everywhere, in vacuum too, as if so many atoms/nm^2 lay
        under the beam.

    Examples
    --------
    >>> Contamination().stray, Contamination.none().gallium
    ({'Cu': 25.0, 'Si': 25.0}, 0)
    """

    gallium: float = 20.0
    platinum: float = 1.0
    platinum_edge: float = 6.0
    platinum_decay: float = 120.0
    gold: float = 0.5
    stray_copper: float = 25.0
    stray_silicon: float = 25.0

    @classmethod
    def none(cls) -> Contamination:
        """Make a clean lamella in a clean microscope."""
        return cls(gallium=0, platinum=0, platinum_edge=0, gold=0, stray_copper=0, stray_silicon=0)

    @property
    def stray(self) -> dict[str, float]:
        """Atoms/nm^2 of each element that is seen everywhere."""
        return {"Cu": self.stray_copper, "Si": self.stray_silicon}


@dataclass(frozen=True)
class XRayConditions:
    """
    Conditions of an EDX measurement.

    Attributes
    ----------
    dispersion
        Channel width in keV.
    n_channels
        Number of channels.
    offset
        Energy of the centre of the first channel in keV.
    probe_current
        nA.
    live_time
        s for each pixel.
    counts_per_channel
        Where given, the live time becomes the one that gives this mean over pixels and channels.
    tilt_alpha, tilt_beta
        Tilt of the stage in degrees. They change the take-off angle only; the thicknesses are those along the beam.
    bremsstrahlung
        Strength of the continuum relative to that of Kramers.
    yields
        Families of lines, such as ``("Ge_L", 1.2)``, whose photons are so many times as many as the tables say. Tables
        of yields are good to 5 to 20 %, and an analysis may well use the same ones: here nature departs from them.
    gain_error, offset_error
        Miscalibration: a line of energy E appears at ``E (1 + gain_error) + offset_error``, in keV.
    beam
        Beam energy; its angles do not matter.
    detector
        Detector.
    contamination
        What does not belong to the battery.

    Examples
    --------
    >>> conditions = XRayConditions(n_channels=1024, dispersion=0.02)
    >>> conditions.energy.shape, conditions.channel_edges.shape
    ((1024,), (1025,))
    >>> round(conditions.take_off_angle, 1), f"{conditions.electrons:.2g}"
    (18.0, '6.2e+08')
    """

    dispersion: float = 0.01
    n_channels: int = 2048
    offset: float = 0.0
    probe_current: float = 1.0
    live_time: float = 0.1
    counts_per_channel: float | None = None
    tilt_alpha: float = 0.0
    tilt_beta: float = 0.0
    bremsstrahlung: float = 1.0
    yields: tuple[tuple[str, float], ...] = ()
    gain_error: float = 0.0
    offset_error: float = 0.0
    beam: Beam = field(default_factory=Beam)
    detector: XRayDetector = field(default_factory=XRayDetector)
    contamination: Contamination = field(default_factory=Contamination)

    def yield_factor(self, family: str) -> float:
        """
        How far nature departs from the tables.

        Parameters
        ----------
        family
            Such as "Ge_L".

        Returns
        -------
        float
            1 for families that ``yields`` does not name.

        Examples
        --------
        >>> XRayConditions(yields=(("Fe_La", 0.8),)).yield_factor("Fe_La")
        0.8
        """
        return dict(self.yields).get(family, 1.0)

    @property
    def energy(self) -> np.ndarray:
        """Energies of the channel centres in keV as the calibration says, ``(n_channels,)``."""
        return self.offset + self.dispersion * np.arange(self.n_channels)

    @property
    def channel_edges(self) -> np.ndarray:
        """True energies in keV between which the channels count, ``(n_channels + 1,)``."""
        edges = self.offset + self.dispersion * (np.arange(self.n_channels + 1) - 0.5)
        return (edges - self.offset_error) / (1 + self.gain_error)

    @property
    def take_off_angle(self) -> float:
        """Angle in degrees between the surface of the lamella and the way to the detector."""
        alpha, beta = np.deg2rad([self.tilt_alpha, self.tilt_beta])
        elevation, azimuth = np.deg2rad([self.detector.elevation_angle, self.detector.azimuth_angle])
        towards = np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth)])
        # Component along the normal of the tilted lamella; a positive tilt turns it to the detector.
        sine = np.cos(alpha) * np.cos(beta) * np.sin(elevation)
        sine += np.sin(alpha) * np.cos(beta) * towards[0] + np.sin(beta) * towards[1]
        return float(np.rad2deg(np.arcsin(sine)))

    @property
    def electrons(self) -> float:
        """Electrons in the live time of a pixel."""
        return self.probe_current * 1e-9 * self.live_time / ELEMENTARY_CHARGE
