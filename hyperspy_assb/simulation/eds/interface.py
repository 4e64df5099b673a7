"""An EDX map of one interface between electrolyte and electrode, of known width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.eds.column_spectra import draw_counts, expected_spectra, exposure, with_contamination
from hyperspy_assb.simulation.eds.conditions import XRayConditions
from hyperspy_assb.simulation.eds.physics import atom_densities
from hyperspy_assb.simulation.eds.signals import CELL_ELEMENTS, edx_to_signal, shares

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal

#: 10-90 % width of an error function over its standard deviation.
WIDTH_OVER_SIGMA = float(2 * special.ndtri(0.9))
_FWHM_OVER_SIGMA = float(np.sqrt(8 * np.log(2)))


@dataclass(frozen=True)
class InterfaceOptions:
    """
    What the interface is.

    Attributes
    ----------
    width
        10-90 % width in nm of the error function by which the composition goes over, before probe and tilt broaden it;
        one for all elements, or one by element (0 for those that are not named).
    probe
        Full width at half maximum in nm of the beam, a Gaussian.
    tilt
        Angle in degrees between the interface and the beam: across the thickness the interface shifts by thickness
        times its tangent.
    migrated
        Atoms of an element that went over the boundary beside the interdiffusion, in atoms/nm^2 of boundary: Fe into
        the electrolyte, Ge into the electrode. They lie with an exponential profile beyond it and are missing before
        it.
    decay
        Decay length of this profile in nm.
    electrolyte, electrode
        A phase, or volume fractions of several; the electrode lies at positive distances.
    shape
        Rows and columns of the map.
    pixel_size
        nm.
    thickness
        nm.
    angle
        Direction in degrees in which the distance grows, from x to y; 0 crosses the map along x.
    position
        Where the boundary lies, in nm from the middle of the map in that direction; None draws it within a pixel.

    Examples
    --------
    >>> options = InterfaceOptions(width={"Fe": 4.0}, tilt=3.0)
    >>> round(options.smear, 1)
    4.2
    """

    width: float | Mapping[str, float] = 0.0
    probe: float = 1.5
    tilt: float = 0.0
    migrated: Mapping[str, float] = field(default_factory=dict)
    decay: float = 10.0
    electrolyte: str | Mapping[str, float] = "LAGP"
    electrode: str | Mapping[str, float] = "LiFePO4"
    shape: tuple[int, int] = (16, 64)
    pixel_size: float = 2.0
    thickness: float = 80.0
    angle: float = 0.0
    position: float | None = None

    def __post_init__(self) -> None:
        widths = self.width.values() if isinstance(self.width, Mapping) else (self.width,)
        if not all(value >= 0 for value in (*widths, self.probe)):
            raise AssbValueError("width and probe must be numbers not below 0, in nm")
        if not abs(self.tilt) < 80:
            raise AssbValueError(f"tilt must lie between -80 and 80 degrees, not at {self.tilt}")
        if not (self.decay > 0 and self.thickness > 0 and self.pixel_size > 0):
            raise AssbValueError("decay, thickness and pixel_size must be above 0, in nm")

    @property
    def smear(self) -> float:
        """Distance in nm over which the tilt spreads the interface."""
        return float(self.thickness * abs(np.tan(np.deg2rad(self.tilt))))

    def width_of(self, element: str) -> float:
        """
        10-90 % width of an element's profile, before probe and tilt.

        Parameters
        ----------
        element
            Symbol.

        Returns
        -------
        float
            nm.

        Examples
        --------
        >>> InterfaceOptions(width={"Fe": 4.0}).width_of("Ge")
        0.0
        """
        return self.width.get(element, 0.0) if isinstance(self.width, Mapping) else self.width


def _ramp(u: np.ndarray, sigma: float) -> np.ndarray:
    """Integral of the normal distribution function of the given sigma."""
    if sigma == 0:
        return np.maximum(u, 0.0)
    z = u / sigma
    return u * special.ndtr(z) + sigma * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def interface_profile(distance: np.ndarray, *, width: float, probe: float = 0.0, smear: float = 0.0) -> np.ndarray:
    """
    Share of the electrode's composition against the distance from the boundary.

    Parameters
    ----------
    distance
        nm, positive in the electrode.
    width
        10-90 % width of the error function in nm.
    probe
        Full width at half maximum of the beam in nm.
    smear
        Distance in nm over which the tilt spreads the interface evenly.

    Returns
    -------
    numpy.ndarray
        From 0 to 1: error function, convolved exactly with the Gaussian and the box.
    """
    distance = np.asarray(distance, dtype=float)
    sigma = np.hypot(width / WIDTH_OVER_SIGMA, probe / _FWHM_OVER_SIGMA)
    if smear > 1e-9:
        return (_ramp(distance + smear / 2, sigma) - _ramp(distance - smear / 2, sigma)) / smear
    return special.ndtr(distance / sigma) if sigma > 0 else np.heaviside(distance, 0.5)


def _migrated_up_to(distance: np.ndarray, decay: float, sigma: float) -> np.ndarray:
    """Share of an exponential that begins at 0, spread by a Gaussian, that lies before a distance."""
    if sigma == 0:
        return -np.expm1(-np.maximum(distance, 0) / decay)
    z, ratio = distance / sigma, sigma / decay
    return special.ndtr(z) - np.exp(ratio**2 / 2 - z * ratio + special.log_ndtr(z - ratio))


def migration_profile(distance: np.ndarray, *, decay: float, probe: float = 0.0, smear: float = 0.0) -> np.ndarray:
    """
    Density of one atom per nm^2 of boundary that has gone over it.

    Parameters
    ----------
    distance
        nm, positive beyond the boundary.
    decay
        Decay length in nm.
    probe, smear
        As in :func:`interface_profile`.

    Returns
    -------
    numpy.ndarray
        Atoms/nm^3; its integral over the distance is 1.
    """
    distance = np.asarray(distance, dtype=float)
    sigma = probe / _FWHM_OVER_SIGMA
    # Without smear, a box so narrow that it changes nothing.
    box = smear if smear > 1e-9 else 1e-4 * decay
    upper, lower = (_migrated_up_to(distance + s * box / 2, decay, sigma) for s in (1, -1))
    return (upper - lower) / box


@dataclass(frozen=True)
class InterfaceTruth:
    """
    What the map of an interface really shows.

    Attributes
    ----------
    options
        The interface.
    position
        Distance in nm of the boundary from the middle of the map.
    distance
        Distance of every pixel from the boundary in nm, positive in the electrode, ``(ny, nx)``.
    areal_density
        Atoms/nm^2 of each element under the beam, ``(ny, nx)``; probe and tilt included.
    atomic_percent
        Atomic per cent of each element of the cell that X-rays show.
    beyond
        Atoms/nm^2 of boundary of each element of one side only that lie on the other side: interdiffusion and
        migration, without what probe and tilt make of it.
    electrons
        Electrons for each pixel.

    Examples
    --------
    >>> truth = simulate_interface(InterfaceOptions(shape=(2, 8), width=5.0), rng=1).truth
    >>> truth.distance[0].round(), sorted(truth.beyond)
    (array([-7., -5., -3., -1.,  1.,  3.,  5.,  7.]), ['Al', 'Fe', 'Ge'])
    """

    options: InterfaceOptions
    position: float
    distance: np.ndarray
    areal_density: dict[str, np.ndarray]
    atomic_percent: dict[str, np.ndarray]
    beyond: dict[str, float]
    electrons: float


@dataclass(frozen=True)
class InterfaceScene:
    """
    A simulated map of an interface.

    Attributes
    ----------
    counts
        ``(ny, nx, n_channels)``.
    truth
        What is really there.
    conditions
        Conditions of the measurement.
    signal_type
        HyperSpy signal type of :attr:`signal`.

    Examples
    --------
    >>> scene = simulate_interface(InterfaceOptions(shape=(2, 8)), rng=1)
    >>> scene.counts.shape, scene.signal
    ((2, 8, 2048), <EDSTEMSpectrum, title: Virtual interface, X-rays, dimensions: (8, 2|2048)>)
    """

    counts: np.ndarray
    truth: InterfaceTruth
    conditions: XRayConditions
    signal_type: str = "EDS_TEM"

    @cached_property
    def signal(self) -> BaseSignal:
        """The map as HyperSpy signal."""
        return edx_to_signal(
            self.counts,
            self.conditions,
            electrons=self.truth.electrons,
            pixel_size=self.truth.options.pixel_size,
            title="Virtual interface, X-rays",
            signal_type=self.signal_type,
        )


def _densities(side: str | Mapping[str, float]) -> dict[str, float]:
    shares_of_volume = {side: 1.0} if isinstance(side, str) else side
    density: dict[str, float] = {}
    for name, share in shares_of_volume.items():
        for element, number in atom_densities(name).items():
            density[element] = density.get(element, 0.0) + share * number
    return density


def interface_atoms(distance: np.ndarray, options: InterfaceOptions | None = None) -> dict[str, np.ndarray]:
    """
    Atoms under the beam at distances from the interface.

    Parameters
    ----------
    distance
        nm, positive in the electrode.
    options
        The interface.

    Returns
    -------
    dict
        Atoms/nm^2 by element, without contamination; probe and tilt included.

    Raises
    ------
    AssbValueError
        If more atoms migrate than their side has.
    """
    options = options or InterfaceOptions()
    left, right = _densities(options.electrolyte), _densities(options.electrode)
    blur = {"probe": options.probe, "smear": options.smear}
    atoms = {}
    for element in {**left, **right}:
        a, b = left.get(element, 0.0), right.get(element, 0.0)
        share = interface_profile(distance, width=options.width_of(element), **blur)
        density = a + (b - a) * share
        if number := options.migrated.get(element, 0.0):
            if (a > 0) == (b > 0):
                raise AssbValueError(f"migrated: {element} must lie on one side of the interface, and on one only")
            beyond = -np.asarray(distance) if b > 0 else np.asarray(distance)
            density = density + number * migration_profile(beyond, decay=options.decay, **blur)
            density = density - number * migration_profile(-beyond, decay=options.decay, **blur)
            if density.min() < -1e-9:
                raise AssbValueError(f"migrated: near the boundary there are no {number:g} atoms/nm^2 of {element}")
        atoms[element] = np.maximum(density, 0.0) * options.thickness
    unknown = set(options.migrated) - set(atoms)
    if unknown:
        raise AssbValueError(f"migrated: neither side holds {', '.join(sorted(unknown))}")
    return atoms


def _beyond(options: InterfaceOptions) -> dict[str, float]:
    left, right = _densities(options.electrolyte), _densities(options.electrode)
    found = {}
    for element in {**left, **right}:
        a, b = left.get(element, 0.0), right.get(element, 0.0)
        if (a > 0) != (b > 0):
            sigma = options.width_of(element) / WIDTH_OVER_SIGMA
            found[element] = max(a, b) * sigma / np.sqrt(2 * np.pi) + options.migrated.get(element, 0.0)
    return found


def simulate_interface(
    options: InterfaceOptions | None = None,
    conditions: XRayConditions | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    electrons: float | None = None,
    noise: bool = True,
    signal_type: str = "EDS_TEM",
) -> InterfaceScene:
    """
    Simulate the EDX map of an interface of known width.

    Parameters
    ----------
    options
        The interface: width, probe, tilt, migration, geometry.
    conditions
        Microscope, detector, exposure, contamination.
    rng
        Source of the boundary's place within a pixel and of noise, or a seed.
    electrons
        Electrons for each pixel; by default those of the conditions.
    noise
        Whether to draw counts; if not, the expectation is returned.
    signal_type
        HyperSpy signal type of the scene's signal.

    Returns
    -------
    InterfaceScene
        Counts, truth, and the map as a signal.

    Examples
    --------
    >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
    >>> scene = simulate_interface(InterfaceOptions(width=12.0, shape=(4, 32)), rng=1)
    >>> scene.counts.shape
    (4, 32, 2048)
    """
    options, conditions = options or InterfaceOptions(), conditions or XRayConditions()
    rng = np.random.default_rng(rng)
    position = options.position
    if position is None:
        position = options.pixel_size * rng.uniform(-0.5, 0.5)
    ny, nx = options.shape
    y, x = ((np.arange(n) - (n - 1) / 2) * options.pixel_size for n in (ny, nx))
    cos, sin = np.cos(np.deg2rad(options.angle)), np.sin(np.deg2rad(options.angle))
    distance = x * cos + y[:, None] * sin - position
    # Rows are alike where the interface runs along y.
    rows = distance[:1] if options.angle == 0 else distance
    atoms = with_contamination(interface_atoms(rows, options), conditions)
    atoms = {element: np.broadcast_to(n, rows.shape) for element, n in atoms.items()}
    if electrons is None:
        electrons = exposure(atoms, conditions)
    expected = expected_spectra(atoms, conditions, electrons=electrons)
    expected = np.broadcast_to(expected, (ny, nx, conditions.n_channels))
    areal = {element: np.broadcast_to(n, (ny, nx)) for element, n in atoms.items()}
    truth = InterfaceTruth(
        options=options,
        position=float(position),
        distance=distance,
        areal_density=areal,
        atomic_percent=shares({el: areal.get(el, np.zeros((ny, nx))) for el in CELL_ELEMENTS}, 100.0),
        beyond=_beyond(options),
        electrons=float(electrons),
    )
    counts = draw_counts(expected, rng) if noise else expected.copy()
    return InterfaceScene(counts=counts, truth=truth, conditions=conditions, signal_type=signal_type)
