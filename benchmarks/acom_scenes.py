"""Patterns of the benchmark of orientation mapping, their truth, and how far results are from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.frames import multiply
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.simulation import PatternOptions, simulate_patterns
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions

NAMES = ("LiFePO4", "FePO4")


@dataclass(frozen=True)
class Scene:
    """Patterns with known phases and orientations.

    Parameters
    ----------
    patterns
        Counts, shape (B, ny, nx).
    orientations
        Specimen to crystal, shape (B, L, 4) for the L crystals of each, the thickest first.
    phase
        Of each crystal, shape (B, L).
    geometry
        True calibration.
    """

    patterns: Any
    orientations: Any
    phase: Any
    geometry: PatternGeometry

    def some(self, count: int) -> Scene:
        """The first few."""
        return replace(
            self, patterns=self.patterns[:count], orientations=self.orientations[:count], phase=self.phase[:count]
        )


def scene(
    count: int,
    *,
    names: tuple[str, ...] = NAMES,
    dose: float = 1.0,
    overlapping: bool = False,
    size: int = 256,
    seed: int = 1,
    strain: Any = None,
    **conditions: Any,
) -> Scene:
    """Patterns of the independent simulator: two-beam intensities that scatter, background, Poisson noise, beam shift.

    Parameters
    ----------
    count
        Number of patterns; phases take turns, orientations and thicknesses are random.
    names
        Phases.
    dose
        Electrons relative to 10,000 for each pattern.
    overlapping
        Two grains in each column, the second 40 percent of the thickness.
    size
        Rows and columns of a pattern; the field of view stays the same.
    seed
        Of everything.
    strain
        Relative elongations along a, b, c, shape (B, 3).
    **conditions
        Others of :class:`DiffractionConditions`.
    """
    rng = np.random.default_rng(seed)
    layers = 2 if overlapping else 1
    orientations = rng.normal(size=(count, layers, 4))
    orientations /= np.linalg.norm(orientations, axis=-1, keepdims=True)
    phase = (np.arange(count)[:, None] + np.arange(layers)) % len(names)
    total = rng.uniform(40.0, 100.0, (count, 1))
    thickness = total * (np.array([0.6, 0.4]) if overlapping else 1.0)
    settings = DiffractionConditions(electrons=1e4 * dose, **conditions).with_shape((size, size))
    patterns = simulate_patterns(
        orientations,
        list(names),
        settings,
        rng,
        phase=phase,
        thickness=thickness,
        options=PatternOptions(
            shift=rng.normal(0.0, 0.15, (count, 2)),
            strain=None if strain is None else np.repeat(np.asarray(strain)[:, None], layers, axis=1),
        ),
    )
    column, row = settings.direct_beam_position
    geometry = PatternGeometry(scale=settings.scale, centre=(float(column), float(row)))
    return Scene(patterns, orientations, phase, geometry)


def disorientation(first: Any, second: Any, phase: Any, bank: TemplateBank) -> Any:
    """Degrees between orientations (B, 4) of phases (B,); 180 where one is NaN. The Friedel twin counts as wrong."""
    angles = np.full(len(first), 180.0)
    for p in range(len(bank.phases)):
        here = (phase == p) & np.isfinite(first).all(axis=1)
        images = multiply(symmetry_of(bank.phases[p])[:, None], first[here][None])
        cosine = np.abs(np.einsum("sni,ni->sn", images, second[here])).max(axis=0)
        angles[here] = np.degrees(2.0 * np.arccos(np.minimum(cosine, 1.0)))
    return angles


def errors(scene_: Scene, phase: Any, orientations: Any, bank: TemplateBank) -> tuple[float, float, float]:
    """Share of right phases, median disorientation in the true phase, share within 3 degrees and of the right phase.

    Parameters
    ----------
    scene_
        Truth; of overlapping crystals the one counts that was found.
    phase
        Found, (B,).
    orientations
        Found for each phase, (B, P, 4).
    bank
        Phases.
    """
    layers = scene_.phase.shape[1]
    angles, right = [], []
    for layer in range(layers):
        true = scene_.phase[:, layer]
        of_phase = orientations[np.arange(len(true)), true]
        angles.append(disorientation(of_phase, scene_.orientations[:, layer], true, bank))
        right.append(phase == true)
    which = np.argmin(np.where(right, angles, 1e3), axis=0)
    rows = np.arange(len(which))
    angle, ok = np.array(angles)[which, rows], np.array(right)[which, rows]
    return float(ok.mean()), float(np.median(angle)), float(((angle < 3.0) & ok).mean())
