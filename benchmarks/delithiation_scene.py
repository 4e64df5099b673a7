"""Columns of known x for the benchmarks of the delithiation: references, test pixels, and the Cramér-Rao bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal
from hyperspy_assb.simulation.eels.dielectric import phase
from hyperspy_assb.simulation.eels.spectra import mean_free_path, relative_thickness

OTHERS = ("LAGP", "amorphous_LAGP", "carbon")
BINS = {"x < 0.1": (-np.inf, 0.1), "0.1 to 0.9": (0.1, 0.9), "x > 0.9": (0.9, np.inf)}


@dataclass(frozen=True)
class Scene:
    """What is simulated.

    Parameters
    ----------
    dose
        Expected electrons of a spectrum, zero loss included.
    thickness
        Range of t/lambda of the test pixels.
    electrode
        Range of the share of the electrode; the rest is LAGP, amorphous LAGP and carbon.
    conditions
        Microscope and detector.
    references
        Pure pixels of each phase.
    pixels
        Test pixels.
    couple
        The end members, with and without ions.
    """

    dose: float = 1e6
    thickness: tuple[float, float] = (0.2, 1.0)
    electrode: tuple[float, float] = (0.3, 1.0)
    conditions: EELSConditions = field(default_factory=EELSConditions)
    references: int = 40
    pixels: int = 180
    couple: tuple[str, str] = ("LiFePO4", "FePO4")

    @property
    def phases(self) -> tuple[str, ...]:
        """All phases, the end members first."""
        return (*self.couple, *OTHERS)

    def columns(self, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Thickness in nm of each phase in the test pixels, and their lithiated share: a third each below 0.1, between,
        above 0.9."""
        n = self.pixels
        third = n // 3
        # Half of those near the ends are pure.
        low, high = rng.uniform(0.0, 0.1, third), rng.uniform(0.9, 1.0, third)
        low[::2], high[::2] = 0.0, 1.0
        x = np.concatenate([low, rng.uniform(0.1, 0.9, n - 2 * third), high])
        share = rng.uniform(*self.electrode, n)
        other = rng.dirichlet(np.ones(3), n) * (1.0 - share)[:, np.newaxis]
        volume = np.stack([x * phase(self.couple[0]).volume, (1 - x) * phase(self.couple[1]).volume], axis=1)
        volume *= (share / volume.sum(axis=1))[:, np.newaxis]
        shares = dict(zip(self.phases, np.concatenate([volume, other], axis=1).T, strict=True))
        return self.scale(shares, rng.uniform(*self.thickness, n), rng), x

    def scale(
        self, shares: Mapping[str, np.ndarray], thickness: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Columns of given t/lambda, with 1 to 4 nm of carbon on their surfaces."""
        inverse = sum(np.asarray(s) / mean_free_path(p, self.conditions.beam) for p, s in shares.items())
        film = rng.uniform(1.0, 4.0, thickness.size)
        nm = thickness / inverse
        for _ in range(3):  # surface losses and the film count as well
            columns = {p: nm * np.asarray(s) for p, s in shares.items()}
            columns["carbon"] = columns.get("carbon", 0.0) + film
            nm = np.maximum(nm * thickness / relative_thickness(columns, self.conditions), 1.0)
        return columns

    def draw(self, columns: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Recorded counts, shape (S, E)."""
        return simulate_spectra(columns, self.conditions, rng, dose=self.dose)

    def signal(self, counts: np.ndarray):
        """Counts as a signal."""
        return spectra_to_signal(counts, self.conditions, signal_type="EELS_ASSB")

    def draw_references(self, rng: np.random.Generator, *, thickness: tuple[float, float] = (0.15, 1.3)):
        """A signal of pure pixels of all phases, of a range of t/lambda, and of vacuum, and their masks."""
        n, counts, labels = self.references, [], []
        for name in self.phases:
            counts.append(self.draw(self.scale({name: np.ones(n)}, rng.uniform(*thickness, n), rng), rng))
            labels += [name] * n
        counts.append(self.draw({self.couple[0]: np.zeros(n // 2)}, rng))
        labels += ["vacuum"] * (n // 2)
        masks = {name: np.array([label == name for label in labels]) for name in (*self.phases, "vacuum")}
        return self.signal(np.concatenate(counts)), masks


def bound(scene: Scene, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Cramér-Rao bound of the lithiated share, shape (S,), where end members and line shapes are known exactly.

    The thickness of every phase, the dose, and position and width of the zero loss are unknown. Gain and read noise
    enter the variance of the channels.
    """

    conditions, dose = scene.conditions, scene.dose

    def expect(c: Mapping[str, np.ndarray], *, own: EELSConditions = conditions, shift: float = 0.0) -> np.ndarray:
        return simulate_spectra(c, own, dose=dose, zero_loss_shift=shift, noise=False)

    base = {name: np.asarray(columns.get(name, 0.0), dtype=float) + np.zeros(1) for name in scene.phases}
    size = max(v.size for v in base.values())
    base = {name: np.broadcast_to(v, (size,)) for name, v in base.items()}
    mean = expect(base)
    slopes = []
    for name in scene.phases:
        step = 0.5
        two = expect({**base, name: base[name] + 2 * step})
        one = expect({**base, name: base[name] + step})
        slopes.append((4 * one - 3 * mean - two) / (2 * step))
    slopes.append(mean - conditions.detector.dark_offset)
    slopes.append((expect(base, shift=0.01) - expect(base, shift=-0.01)) / 0.02)
    width = conditions.energy_resolution
    wider, narrower = (expect(base, own=replace(conditions, energy_resolution=width * f)) for f in (1.01, 0.99))
    slopes.append((wider - narrower) / (0.02 * width))
    jacobian = np.stack(slopes, axis=1)
    detector = conditions.detector
    variance = detector.gain * np.maximum(mean - detector.dark_offset, 1e-6) + detector.read_noise**2
    information = np.einsum("spe,sqe->spq", jacobian / variance[:, np.newaxis], jacobian, optimize=True)
    scale = np.sqrt(np.einsum("spp->sp", information))
    outer = scale[:, :, np.newaxis] * scale[:, np.newaxis]
    covariance = np.linalg.inv(information / outer) / outer
    volumes = [phase(name).volume for name in scene.couple]
    lithium, empty = (base[name] / volume for name, volume in zip(scene.couple, volumes, strict=True))
    hosts = lithium + empty
    gradient = np.zeros((size, jacobian.shape[1]))
    gradient[:, 0] = empty / hosts**2 / volumes[0]
    gradient[:, 1] = -lithium / hosts**2 / volumes[1]
    return np.sqrt(np.einsum("sp,spq,sq->s", gradient, covariance, gradient))
