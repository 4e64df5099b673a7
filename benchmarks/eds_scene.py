"""Random columns of the battery as X-ray spectra, and how well anyone could measure them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hyperspy_assb.simulation import XRayConditions, edx_to_signal, simulate_edx, true_k_factors
from hyperspy_assb.simulation.eds.column_spectra import expected_spectra, exposure, with_contamination
from hyperspy_assb.simulation.eds.physics import areal_densities, lines, x_ray_elements
from hyperspy_assb.simulation.eds.signals import CELL_ELEMENTS, FOREIGN_ELEMENTS, XRayTruth

PHASES = ("olivine", "LAGP", "Li3V2(PO4)3", "carbon")
MATERIALS = {"olivine": "LiFePO4"}


def odd_yields(rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    """Departures of every family's yield from the tables: 10 % for K, 20 % for L and M lines (standard deviations)."""
    families = sorted({f"{line.element}_{line.family}" for element in x_ray_elements() for line in lines(element)})
    return tuple((f, float(np.exp(rng.normal(0, 0.1 if f.endswith("K") else 0.2)))) for f in families)


def known_k_factors(conditions: XRayConditions) -> dict[str, float]:
    """Factors of the main lines as thin standards would give them on this microscope."""
    names = [
        line.name
        for element in x_ray_elements()
        for line in lines(element)
        if line.name.endswith("a") and line.energy < conditions.energy[-1]
    ]
    return dict(zip(names, true_k_factors(names, conditions), strict=True))


@dataclass(frozen=True)
class Scene:
    """
    Columns of olivine, LAGP, Li3V2(PO4)3 and carbon in random proportions, as on the map of a lamella.

    Attributes
    ----------
    counts
        Mean counts in a spectrum.
    thickness
        Range in nm.
    pixels
        Rows and columns of the map.
    vanadium
        Whether some columns hold Li3V2(PO4)3.
    conditions
        Microscope.
    """

    counts: float = 2000.0
    thickness: tuple[float, float] = (50.0, 150.0)
    pixels: tuple[int, int] = (32, 40)
    vanadium: bool = True
    conditions: XRayConditions = field(default_factory=XRayConditions)

    def columns(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Thickness in nm of each phase; pure columns, mixtures of two and of all."""
        n = int(np.prod(self.pixels))
        weights = np.array([1.0, 1.0, 1.0 if self.vanadium else 0.0, 0.6])
        share = rng.gamma(np.where(rng.random(n) < 0.5, 0.4, 1.0)[:, None] * weights + 1e-9)
        share /= share.sum(axis=1, keepdims=True)
        total = rng.uniform(*self.thickness, n)
        thickness = (share * total[:, None]).reshape(*self.pixels, 4)
        return {MATERIALS.get(name, name): thickness[..., i] for i, name in enumerate(PHASES)}

    def exposed(self) -> XRayConditions:
        """Conditions with the exposure of this scene."""
        return replace(self.conditions, counts_per_channel=self.counts / self.conditions.n_channels)

    def draw(self, columns: dict[str, np.ndarray], rng: np.random.Generator, *, signal_type: str = "EDS_TEM_ASSB"):
        """One noisy map as a signal, and its truth."""
        conditions, electrons = self.fixed(columns)
        counts = simulate_edx(columns, conditions, rng)
        signal = edx_to_signal(counts, conditions, pixel_size=5.0, signal_type=signal_type)
        atoms = with_contamination(areal_densities(columns), conditions)
        return signal, XRayTruth.from_columns(columns, atoms, electrons)

    def fixed(self, columns: dict[str, np.ndarray]) -> tuple[XRayConditions, float]:
        """Conditions whose live time gives the mean count, and the electrons of a pixel."""
        atoms = with_contamination(areal_densities(columns), self.conditions)
        electrons = exposure(atoms, self.exposed())
        scale = electrons / self.conditions.electrons
        return replace(self.conditions, live_time=self.conditions.live_time * scale), electrons

    def bounds(self, columns: dict[str, np.ndarray], pixels: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """
        Cramér-Rao bounds of some pixels.

        Returns
        -------
        dict
            "composition": standard deviation of the atomic per cent of each element of the cell; every element and the
            strength of the continuum are unknown. "phases": of the volume fraction of each phase; phases, foreign
            elements and the continuum are unknown. What the continuum says of the specimen is not used.
        """
        conditions, electrons = self.fixed(columns)
        flat = {name: t.reshape(-1)[pixels] for name, t in columns.items()}
        lines_only = replace(conditions, bremsstrahlung=0.0)
        densities = areal_densities(flat)
        atoms = with_contamination(densities, conditions)
        atoms = {el: np.broadcast_to(np.asarray(n, dtype=float), len(pixels)) for el, n in atoms.items()}
        whole = expected_spectra(atoms, conditions, electrons=electrons)
        bare = expected_spectra(atoms, lines_only, electrons=electrons)
        continuum = whole - bare

        def slope(change: dict[str, np.ndarray | float]) -> np.ndarray:
            moved = {el: n + change.get(el, 0.0) for el, n in atoms.items()}
            moved |= {el: np.broadcast_to(n, len(pixels)) for el, n in change.items() if el not in atoms}
            return expected_spectra(moved, lines_only, electrons=electrons) - bare

        step = 1.0  # atom/nm^2: small beside thousands
        foreign = [slope({el: step}) for el in FOREIGN_ELEMENTS]
        by_element = [slope({el: step}) for el in CELL_ELEMENTS]
        by_phase = []
        for name in PHASES:
            unit = areal_densities({MATERIALS.get(name, name): 0.05})
            by_phase.append(slope({el: float(n) for el, n in unit.items()}) / 0.05)
        amounts = np.stack([np.broadcast_to(densities.get(el, 0.0), len(pixels)) for el in CELL_ELEMENTS], axis=1)
        thickness = np.stack([flat[MATERIALS.get(name, name)] for name in PHASES], axis=1)
        return {
            "composition": dict(
                zip(
                    CELL_ELEMENTS,
                    100 * _share_errors([*by_element, *foreign, continuum], whole, amounts).T,
                    strict=True,
                )
            ),
            "phases": dict(
                zip(PHASES, _share_errors([*by_phase, *foreign, continuum], whole, thickness).T, strict=True)
            ),
        }


def _share_errors(slopes: list[np.ndarray], expected: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Bound of the shares of the first amounts, ``(pixels, amounts)``."""
    jacobian = np.stack(slopes, axis=2)
    # Soft channels below the first line carry no information that anyone uses.
    used = expected > 0
    weight = np.where(used, 1 / np.where(used, expected, 1), 0)
    fisher = np.einsum("pci,pc,pcj->pij", jacobian, weight, jacobian)
    scale = 1 / np.sqrt(np.einsum("pii->pi", fisher))
    covariance = np.linalg.inv(fisher * scale[:, :, None] * scale[:, None, :]) * scale[:, :, None] * scale[:, None, :]
    n = amounts.shape[1]
    total = amounts.sum(axis=1)
    share = amounts / total[:, None]
    change = (np.eye(n)[None] - share[:, :, None]) / total[:, None, None]
    return np.sqrt(np.einsum("pij,pjk,pik->pi", change, covariance[:, :n, :n], change))
