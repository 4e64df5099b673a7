"""Particles of olivine as a table, and what they tell of the mechanism."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb.acom.maps.mechanism_tests import MechanismEvidence, weigh_mechanism
from hyperspy_assb.acom.maps.particles import MechanismOptions, Particles, find_particles
from hyperspy_assb.signals.acom.scan_maps import ScanMaps


@dataclass(frozen=True)
class Mechanism:
    """How the particles of olivine were delithiated: as wholes (domino-cascade) or piecewise (mosaic).

    Parameters
    ----------
    table
        One row a particle, largest first: area, diameter, share of FePO4, domains, orientation spread, disorientation
        and normal of LFP/FP boundaries, distance to amorphous material. A particle at the margin of the map may be
        larger than it seems.
    tests
        One row a question: statistic, permutation p value, particles.
    particles, evidence
        The same as arrays.
    labels
        Number of the particle of each pixel, 0 for none: a signal on the navigation axes.
    units
        Of lengths.
    options
        What counted as a particle.
    """

    table: pd.DataFrame = field(repr=False)
    tests: pd.DataFrame = field(repr=False)
    particles: Particles = field(repr=False)
    evidence: MechanismEvidence = field(repr=False)
    labels: Any = field(repr=False)
    units: str
    options: MechanismOptions = field(repr=False)

    def __repr__(self) -> str:
        return f"<Mechanism, {self.verdict} ({len(self.particles)} particles)>"

    @property
    def verdict(self) -> str:
        """In words."""
        return str(self.evidence.verdict)

    @property
    def conclusions(self) -> tuple[str, ...]:
        """What was found, in sentences."""
        found, count = self.evidence, len(self.particles)
        if not count:
            return ("There are no particles of olivine large enough to be looked at.",)
        lines = [f"{count} particles of olivine: {self.verdict}."]
        if np.isfinite(found.whole_large) and np.isfinite(found.whole_small):
            lines.append(
                f"Of those above {found.split_diameter:.3g} {self.units}, {100 * found.whole_large:.0f} % are of one "
                f"phase; of the smaller ones, {100 * found.whole_small:.0f} %."
            )
        lines += [
            f"{test.question}: {test.statistic:.3g}, p = {test.p:.2g} ({test.particles} particles)."
            for test in found.tests
            if np.isfinite(test.p)
        ]
        return tuple(line[0].upper() + line[1:] for line in lines)

    def plot(self) -> Any:
        """Plot the share of FePO4, the orientation spread and the distance to amorphous material against size."""
        from hyperspy_assb.plotting.acom_mechanism import plot_mechanism

        return plot_mechanism(self)


def mechanism_of(result: ScanMaps, *, options: MechanismOptions | None = None) -> Mechanism:
    """What :meth:`.OrientationMaps.mechanism` does."""
    options = options or MechanismOptions()
    pixel_size, units = result.pixel_size()
    units = units or "px"
    found = find_particles(result.found, pixel_size=pixel_size, classes=result.classes, options=options)
    evidence = weigh_mechanism(found, result.found.is_phase(options.delithiated), options=options)
    return Mechanism(
        table=particle_table(found, units, pixel_size, options),
        tests=pd.DataFrame(
            [
                {"test": t.name, "question": t.question, "statistic": t.statistic, "p": t.p, "particles": t.particles}
                for t in evidence.tests
            ]
        ),
        particles=found,
        evidence=evidence,
        labels=result.as_map(found.labels.astype(np.int32), "Particles"),
        units=units,
        options=options,
    )


def particle_table(
    found: Particles, units: str, pixel_size: tuple[float, float], options: MechanismOptions
) -> pd.DataFrame:
    """One row a particle."""
    kind = np.where(found.delithiated >= 0.5, options.delithiated, options.lithiated)
    return pd.DataFrame(
        {
            "particle": np.arange(1, len(found) + 1),
            "kind": np.where(found.mixed, "mixed", kind),
            "pixels": found.pixels,
            f"area ({units}²)": found.pixels * pixel_size[0] * pixel_size[1],
            f"diameter ({units})": found.diameter,
            options.delithiated: found.delithiated,
            f"{options.delithiated} expected": found.expected,
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
