"""DualEELS of columns of known composition; FU: formula units of the simulated crystals per nm^3."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.pure_edges import DualSpectra
from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss, simulate_spectra
from hyperspy_assb.simulation.conditions import Detector

UNITS = {"LiFePO4": 13.72, "FePO4": 14.72}
PURE = 40


@dataclass(frozen=True)
class Scene:
    """What is looked at, and how.

    Parameters
    ----------
    dose
        Electrons of the core loss; the low loss has 10^6.
    lagp
        Largest share of LAGP in the thickness of mixed columns.
    jitter
        Standard deviation of the energy shift in eV.
    """

    dose: float = 2e8
    lagp: float = 0.0
    jitter: float = 0.3
    resolution: float = 0.8
    dispersion: float = 0.25
    detector: Detector = field(default_factory=Detector)
    mixed: int = 120

    def draw(self, seed: int) -> tuple[DualSpectra, dict[str, NDArray[np.bool_]], NDArray[np.float64]]:
        """Spectra, pure pixels (of LAGP as well, if there is any), and the true lithiated fraction."""
        rng = np.random.default_rng(seed)
        fraction = np.concatenate([np.ones(PURE), np.zeros(PURE), rng.uniform(0.0, 1.0, self.mixed)])
        share = np.concatenate([np.zeros(2 * PURE), self.lagp * rng.uniform(0.0, 1.0, self.mixed)])
        if self.lagp:
            fraction, share = np.append(fraction, np.full(PURE, 0.5)), np.append(share, np.ones(PURE))
        nm = rng.uniform(40.0, 110.0, fraction.size)
        lithiated, delithiated = fraction / UNITS["LiFePO4"], (1.0 - fraction) / UNITS["FePO4"]
        olivine = nm * (1.0 - share) / (lithiated + delithiated)
        columns = {"LiFePO4": olivine * lithiated, "FePO4": olivine * delithiated, "LAGP": nm * share}
        low = EELSConditions(
            dispersion=self.dispersion,
            n_channels=round(120.0 / self.dispersion),
            offset=-15.0,
            energy_resolution=self.resolution,
            detector=self.detector,
        )
        core, shift = core_loss_conditions(low), rng.normal(0.0, self.jitter, fraction.size)
        spectra = DualSpectra(
            simulate_core_loss(columns, core, rng, dose=self.dose, zero_loss_shift=shift),
            core.energy,
            simulate_spectra(columns, low, rng, dose=1e6, zero_loss_shift=shift),
            low.energy,
        )
        place = np.arange(fraction.size)
        pure = {"LiFePO4": place < PURE, "FePO4": (place >= PURE) & (place < 2 * PURE)}
        if self.lagp:
            pure["LAGP"] = place >= 2 * PURE + self.mixed
        return spectra, pure, fraction
