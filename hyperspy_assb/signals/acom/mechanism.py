"""Particles of an electrode, and what they tell of the mechanism."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.acom.maps.couples import needed_couple
from hyperspy_assb.acom.maps.mechanism_tests import MechanismEvidence, weigh_mechanism
from hyperspy_assb.acom.maps.particles import MechanismOptions, Particles, ParticleStatus, find_particles
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.acom.scan_maps import ScanMaps, with_classes
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal


@dataclass(frozen=True, eq=False)
class Mechanism(Result):
    """How the particles of an electrode were delithiated: as wholes (domino-cascade) or piecewise (mosaic).

    Parameters
    ----------
    particles
        The particles, as arrays.
    evidence
        Conclusions, with their tests.
    electrode
        Name of the electrode.
    lithiated, delithiated
        Names of its end members.
    pixel_size
        Height and width of a pixel in ``units``.
    units
        Of lengths.
    options
        What counted as a particle.

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
    >>> m = r.mechanism()
    >>> m.tests["test"].tolist()
    ['size', 'orientation', 'amorphous', 'wholes large', 'wholes small', 'interface']
    >>> len(m.table) == len(m.particles)
    True

    >>> m.labels.data.shape, m.status.data.shape
    ((4, 4), (4, 4))
    >>> len(m.summary()) > 0
    True
    >>> axes = m.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = ParticleStatus
    particles: Particles = field(repr=False)
    evidence: MechanismEvidence = field(repr=False)
    electrode: str
    lithiated: str
    delithiated: str
    pixel_size: tuple[float, float]
    units: str
    options: MechanismOptions = field(repr=False)

    def __repr__(self) -> str:
        return f"<Mechanism, {self.evidence.kind} ({len(self.particles)} particles)>"

    @cached_property
    def labels(self) -> BaseSignal:
        """Number of the particle of each pixel, 0 for none: labels for ``region=``."""
        return self._map(self.particles.labels.astype(np.int32), "Particles")

    @cached_property
    def status(self) -> BaseSignal:
        """Of what phase the pixel's particle is: :class:`~.acom.maps.particles.ParticleStatus` as integers."""
        signal = self._map(self.particles.status, "Particles by phase")
        return with_classes(signal, (f"{kind.value}: {kind.name.lower()}" for kind in ParticleStatus))

    @cached_property
    def tests(self) -> pd.DataFrame:
        """One row a question: statistic, one-sided permutation p value, particles that took part."""
        rows = [
            {"test": t.name, "question": t.question, "statistic": t.statistic, "p": t.p, "particles": t.particles}
            for t in self.evidence.tests
        ]
        return pd.DataFrame(rows)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a particle, largest first: what it is of, its size, its domains, where it lies.

        Area, diameter, share of the delithiated phase, domains, orientation spread, disorientation and normal of the
        boundaries between the phases, distance to amorphous material. A particle at the margin of the map may be larger
        than it seems.
        """
        found, units = self.particles, self.units
        words = np.array([self.lithiated, self.delithiated, "mixed"])
        return pd.DataFrame(
            {
                "particle": np.arange(1, len(found) + 1),
                "kind": words[found.kinds],
                "pixels": found.pixels,
                f"area ({units}²)": found.pixels * self.pixel_size[0] * self.pixel_size[1],
                f"diameter ({units})": found.diameter,
                self.delithiated: found.delithiated,
                f"{self.delithiated} expected": found.expected,
                "domains": found.domains,
                "spread (°)": found.spread,
                f"interface ({units})": found.interface,
                "disorientation (°)": found.disorientation,
                "normal a": found.normal[:, 0],
                "normal b": found.normal[:, 1],
                "normal c": found.normal[:, 2],
                "angle to a (°)": found.angle_to_a,
                f"distance to amorphous ({units})": found.amorphous_distance,
                "outline along amorphous": found.amorphous_contact,
                "at the margin": found.at_margin,
            }
        )

    def summary(self) -> str:
        """What the particles say, how large and small ones differ, every test with its p value, and the notes."""
        found, count = self.evidence, len(self.particles)
        if not count:
            nothing = f"There are no particles of {self.electrode} large enough to be looked at."
            return "\n".join((nothing, *self.notes))
        lines = [f"{count} particles of {self.electrode}: {found.kind}."]
        if np.isfinite(found.whole_large) and np.isfinite(found.whole_small):
            lines.append(
                f"Of those above {found.split_diameter:.3g} {self.units}, {100 * found.whole_large:.0f} % consist of "
                f"one phase; of the smaller ones, {100 * found.whole_small:.0f} %."
            )
        lines += [
            f"Test that {test.question}: {test.statistic:.3g}, p = {test.p:.2g} ({test.particles} particles)."
            for test in found.tests
            if np.isfinite(test.p)
        ]
        return "\n".join((*lines, *self.notes))

    def plot(self) -> NDArray[Any]:
        """Plot the share of the delithiated phase, the orientation spread and the distance to amorphous material.

        Returns
        -------
        numpy.ndarray
            The four matplotlib axes, shape (2, 2).
        """
        from hyperspy_assb.plotting.acom_mechanism import plot_mechanism

        return plot_mechanism(self)

    def _pixel_columns(self) -> Mapping[str, Any]:
        labels = self.particles.labels

        def of_particle(values: NDArray[Any]) -> NDArray[Any]:
            return np.append(values.astype(float), np.nan)[labels - 1]

        return {
            "particle": labels,
            f"diameter ({self.units})": of_particle(self.particles.diameter),
            f"share of {self.delithiated}": of_particle(self.particles.delithiated),
            "spread (°)": of_particle(self.particles.spread),
        }

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        labels = self.particles.labels[mask.reshape(self.particles.labels.shape)]
        labels = labels[labels > 0]
        own = np.unique(labels) - 1
        share = self.particles.delithiated[labels - 1]
        return {
            "particles": own.size,
            "mixed particles": int(self.particles.mixed[own].sum()),
            f"share of {self.delithiated}": float(share.mean()) if share.size else float("nan"),
        }

    def _shown(self) -> Any:
        return self.labels


def mechanism_of(
    result: ScanMaps, couple: Electrode | str | None = None, *, options: MechanismOptions | None = None
) -> Mechanism:
    """What :meth:`.OrientationMaps.mechanism` does."""
    options = options or MechanismOptions()
    pixel_size, units = result.pixel_size()
    known = needed_couple([phase.name for phase in result.phases], couple, by="The mechanism")
    found = find_particles(result.found, known, pixel_size=pixel_size, classes=result.classes, options=options)
    return Mechanism(
        particles=found,
        evidence=weigh_mechanism(found, result.found.is_phase(known.delithiated), options=options),
        electrode=known.name,
        lithiated=known.lithiated,
        delithiated=known.delithiated,
        pixel_size=pixel_size,
        units=units,
        options=options,
        axes=result.axes,
        provenance=result.provenance,
    )
