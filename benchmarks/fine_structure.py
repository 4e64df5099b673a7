"""x from O K and Fe L2,3 on simulated DualEELS: bias, scatter, coverage and silent errors by each edge and combined.

Each row is a scene of 40 pure pixels of each phase and 240 mixed columns of 40 to 110 nm. A pixel errs silently if it
is called quantified and its x is off by more than 0.1 and by more than three of its stated errors.

Run: python benchmarks/fine_structure.py [--seeds 4]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.eels.delithiation.core_loss_scenes import PURE, Scene  # isort: skip

from hyperspy_assb.eels.delithiation.fine_structure import quantify_fine_structure
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.reference import electrode
from hyperspy_assb.simulation.conditions import Detector

USUAL = Scene(mixed=240)
SCENES = {
    "usual: 2e8 electrons, 0.8 eV, jitter 0.3 eV": USUAL,
    "2e7 electrons": replace(USUAL, dose=2e7),
    "2e9 electrons": replace(USUAL, dose=2e9),
    "2e10 electrons": replace(USUAL, dose=2e10),
    "resolution 0.3 eV, 0.1 eV a channel": replace(USUAL, resolution=0.3, dispersion=0.1),
    "jitter 1 eV": replace(USUAL, jitter=1.0),
    "gain 5, not recorded": replace(USUAL, detector=Detector(gain=5.0)),
    "up to 50 % LAGP, named": replace(USUAL, lagp=0.5),
    "up to 50 % LAGP, not named": replace(USUAL, lagp=0.5),
    "up to 10 % LAGP, not named": replace(USUAL, lagp=0.1),
}
BINS = ((0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    seeds = parser.parse_args().seeds
    rows = []
    for name, scene in SCENES.items():
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(500, 500 + seeds):
            spectra, pure, truth = scene.draw(seed)
            if "not named" in name:
                del pure["LAGP"]
            mixed = slice(2 * PURE, 2 * PURE + scene.mixed)
            for method, content in quantify_fine_structure(spectra, pure, electrode("LixFePO4")).contents.items():
                error = np.hypot(content.fraction_std, content.fraction_systematic)
                values = np.stack([truth, content.fraction - truth, error, content.status])
                found.setdefault(method, []).append(values[:, mixed])
        for method, parts in found.items():
            truth, off, error, status = np.concatenate(parts, axis=1)
            good = status == DelithiationStatus.QUANTIFIED
            row = {"scene": name, "edges": method, "quantified": good.mean()}
            for low, high in BINS:
                inside = good & (truth >= low) & (truth < high)
                row[f"bias {low:.2f} to {high:.2f}"] = off[inside].mean() if inside.any() else np.nan
            if good.any():
                row |= {"scatter": off[good].std(), "stated": np.median(error[good])}
                row["within 1 error"] = np.mean(np.abs(off[good]) < error[good])
            row["silent"] = np.mean(good & (np.abs(off) > 0.1) & (np.abs(off) > 3.0 * error))
            rows.append(row)
    with pd.option_context("display.width", 220, "display.max_columns", None):
        print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
