"""Truth maps of the virtual lamella in one state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.eels.dielectric import phase, phase_names

#: Materials in the order of the sample labels; all but vacuum are phases with a dielectric function.
MATERIALS = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")


@dataclass(frozen=True)
class Particles:
    """
    Olivine particles.

    Attributes
    ----------
    radius
        Radius in nm of the circle of the same area, ``(n,)``, before neighbours cut it.
    centre
        x and y in nm, ``(n, 2)``.
    mosaic
        True for small particles that become mosaics of both phases.
    delithiated
        True for large particles that are FePO4 after bias.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> particles = micro_battery(shape=(16, 16), seed=6).truth.particles
    >>> len(particles.radius) == len(particles.centre), bool(particles.mosaic.any())
    (True, True)
    """

    radius: np.ndarray
    centre: np.ndarray
    mosaic: np.ndarray
    delithiated: np.ndarray


def _most_frequent(labels: np.ndarray) -> np.ndarray:
    """Most frequent label along the last axis; the smallest one of equals."""
    labels = np.sort(labels, axis=-1)
    count = np.zeros(labels.shape, dtype=np.int16)
    for i in range(labels.shape[-1]):
        count += labels == labels[..., i : i + 1]
    return np.take_along_axis(labels, count.argmax(axis=-1)[..., None], axis=-1)[..., 0]


@dataclass(frozen=True)
class LamellaState:
    """
    What lies in every pixel, all maps in array order ``(ny, nx)``.

    Attributes
    ----------
    fractions
        Share of the column of each of ``MATERIALS``; they add up to 1 with vacuum, which is the share of the
        pixel's area that lies beyond the edge of the lamella. The carbon film is not counted here.
    x
        Li in LixFePO4: Li over Fe of the olivine in the column; NaN without olivine.
    grain_id
        The grain that fills the largest part of the column; 0 where this is carbon, amorphous LAGP or vacuum.
    particle_id
        The same for olivine particles, 0 for everything else; a mosaic particle has many grains.
    orientation
        Unit quaternion of that grain ``(ny, nx, 4)``, scalar first and not below 0: the rotation from the specimen
        to the crystal, as in orix. NaN where there is no grain.
    grain_orientations
        Quaternions by grain number, ``(grains, 4)``; row 0 has no meaning.
    thickness
        Thickness of the lamella in nm, averaged over the pixel, film not included.
    carbon_film
        Carbon on both surfaces together, in nm, averaged over the pixel.
    t_over_lambda
        Mean number of inelastic events, film and surface losses included; None until beam and angles are known.
    sample_material, sample_grain
        Labels of the 32 samples of each column, ``(ny, nx, 32)``: index into ``MATERIALS``, and grain number. Four
        places of the pixel with eight depths each, from the top down.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> state = micro_battery(shape=(8, 8), seed=6).truth.after
    >>> state.olivine.shape, sorted(state.fractions)
    ((8, 8), ['FePO4', 'LAGP', 'LiFePO4', 'amorphous_LAGP', 'carbon', 'vacuum'])
    >>> state.columns()["LAGP"].shape
    (8, 8)
    """

    fractions: dict[str, np.ndarray]
    x: np.ndarray
    grain_id: np.ndarray
    particle_id: np.ndarray
    orientation: np.ndarray
    grain_orientations: np.ndarray
    thickness: np.ndarray
    carbon_film: np.ndarray
    sample_material: np.ndarray
    sample_grain: np.ndarray
    t_over_lambda: np.ndarray | None = None

    @classmethod
    def from_samples(
        cls,
        material: np.ndarray,
        grain: np.ndarray,
        particle: np.ndarray,
        *,
        grain_orientations: np.ndarray,
        thickness: np.ndarray,
        carbon_film: np.ndarray,
    ) -> LamellaState:
        """
        Average samples of the columns into maps.

        Parameters
        ----------
        material, grain, particle
            Labels of the samples, ``(ny, nx, samples)``.
        grain_orientations
            Quaternions by grain number.
        thickness, carbon_film
            Maps in nm.

        Returns
        -------
        LamellaState
            Without t/lambda.

        Examples
        --------
        >>> import numpy as np
        >>> labels = np.zeros((1, 2, 8), dtype=int)
        >>> flat = np.full((1, 2), 80.0)
        >>> turned = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
        >>> state = LamellaState.from_samples(
        ...     labels, labels + 1, labels, grain_orientations=turned, thickness=flat, carbon_film=0 * flat
        ... )
        >>> state.fractions[MATERIALS[0]]
        array([[1., 1.]])
        """
        fractions = {name: (material == i).mean(axis=2) for i, name in enumerate(MATERIALS)}
        lithium = fractions["LiFePO4"] / phase("LiFePO4").volume
        iron = lithium + fractions["FePO4"] / phase("FePO4").volume
        x = np.divide(lithium, iron, out=np.full(iron.shape, np.nan), where=iron > 0)
        grain_id = _most_frequent(grain)
        orientation = np.where(grain_id[..., None] > 0, grain_orientations[grain_id], np.nan)
        return cls(
            fractions=fractions,
            x=x,
            grain_id=grain_id,
            particle_id=_most_frequent(particle),
            orientation=orientation,
            grain_orientations=grain_orientations,
            thickness=thickness,
            carbon_film=carbon_film,
            sample_material=material,
            sample_grain=grain.astype(np.int32),
        )

    @property
    def olivine(self) -> np.ndarray:
        """Share of LiFePO4 and FePO4 together."""
        return self.fractions["LiFePO4"] + self.fractions["FePO4"]

    def pure(self, name: str, *, threshold: float = 0.98, film_share: float | None = None) -> np.ndarray:
        """
        Pixels that hold one material only, as references for a fit.

        Parameters
        ----------
        name
            One of ``MATERIALS``.
        threshold
            Smallest share of the column; the carbon film is not counted.
        film_share
            Largest thickness of the carbon film over that of the lamella; None does not look at the film.

        Returns
        -------
        numpy.ndarray
            ``(ny, nx)``, True where pure.

        Raises
        ------
        AssbValueError
            If there is no such material.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> state = micro_battery(shape=(16, 16), seed=6).truth.after
        >>> int(state.pure("LAGP").sum()) > 0
        True
        """
        if name not in self.fractions:
            raise AssbValueError(f"unknown material {name!r}; there are {', '.join(MATERIALS)}")
        mask = self.fractions[name] >= threshold
        if film_share is not None:
            mask &= self.carbon_film <= film_share * self.thickness
        return mask

    def columns(self) -> dict[str, np.ndarray]:
        """
        Thickness of each phase, the film added to carbon.

        Returns
        -------
        dict
            nm, averaged over the pixel; ready for :func:`hyperspy_assb.simulation.simulate_spectra`.
        """
        solid = 1 - self.fractions["vacuum"]
        scale = np.divide(self.thickness, solid, out=np.zeros_like(solid), where=solid > 0)
        columns = {name: self.fractions[name] * scale for name in phase_names()}
        columns["carbon"] = columns["carbon"] + self.carbon_film
        return columns

    def areal_density(self, element: str) -> np.ndarray:
        """
        Atoms of an element in the column.

        Parameters
        ----------
        element
            Symbol.

        Returns
        -------
        numpy.ndarray
            Atoms per nm^2, the carbon film included.

        Raises
        ------
        AssbValueError
            If no phase of the battery holds the element.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> state = micro_battery(shape=(8, 8), seed=6).truth.after
        >>> bool((state.areal_density("Fe") >= 0).all())
        True
        """
        phases = {name: phase(name) for name in phase_names()}
        if not any(element in p.atoms for p in phases.values()):
            raise AssbValueError(f"no phase of the virtual battery holds {element!r}")
        columns = self.columns()
        return sum(columns[name] * p.atoms.get(element, 0.0) / p.volume for name, p in phases.items())
