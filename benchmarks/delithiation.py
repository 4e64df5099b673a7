"""Bias, scatter and coverage of x on the virtual battery, for each estimator and state, in bins of the true x.

Run: python benchmarks/delithiation.py [--size 64] [--seeds 3] [--dose 1e6]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd

from hyperspy_assb.signals.delithiation import assemble, collect_features
from hyperspy_assb.simulation import micro_battery

PHASES = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")
BINS = {"x < 0.1": (-np.inf, 0.1), "0.1 to 0.9": (0.1, 0.9), "x > 0.9": (0.9, np.inf)}
THICKNESS = {"t/lambda <= 0.8": (0.0, 0.8), "0.8 to 1.6": (0.8, 1.6)}


def collect(size: int, seed: int, dose: float) -> pd.DataFrame:
    """One row a pixel with at least 30 % olivine, for each state and method."""
    battery = micro_battery(shape=(size, size), seed=seed, dose=dose, signal_type="EELS_ASSB")
    pure = {phase: battery.truth.after.pure(phase) for phase in PHASES}
    pure = {phase: mask for phase, mask in pure.items() if mask.sum() >= 5}
    rows, standard = [], pure
    for state in ("after", "before"):
        signal, truth = getattr(battery, f"eels_{state}"), getattr(battery.truth, state)
        start = time.perf_counter()
        result = signal.quantify_delithiation(standard, "valence", show_progressbar=False)
        seconds = time.perf_counter() - start
        standard = result if state == "after" else standard
        features = collect_features(result.model)
        wanted = (truth.fractions["LiFePO4"] + truth.fractions["FePO4"]) >= 0.3
        for method in ("valence", "lithium"):
            found = assemble(signal, features, result.standard, method, {}, None)
            rows.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "state": state,
                        "truth": truth.x[wanted],
                        "t": truth.t_over_lambda[wanted],
                        "x": found.x.data[wanted],
                        "std": np.hypot(found.x_std.data, found.x_systematic.data)[wanted],
                        "seconds": seconds,
                    }
                )
            )
    return pd.concat(rows)


def summarise(pixels: pd.DataFrame) -> pd.DataFrame:
    """One line for each method, state, thickness and bin of the true x."""
    lines = []
    for (method, state), group in pixels.groupby(["method", "state"]):
        for thickness, (thin, thick) in THICKNESS.items():
            for name, (low, high) in BINS.items():
                part = group[(group.t > thin) & (group.t <= thick) & (group.truth >= low) & (group.truth < high)]
                error = (part.x - part.truth).dropna()
                inside = np.abs(error) < part["std"][np.isfinite(part.x)]
                lines.append(
                    {
                        "method": method,
                        "state": state,
                        "thickness": thickness,
                        "bin": name,
                        "pixels": len(part),
                        "answered": part.x.notna().mean(),
                        "bias": error.mean(),
                        "median abs error": error.abs().median(),
                        "scatter": error.std(),
                        "stated": part["std"].median(),
                        "coverage of 68 %": inside.mean(),
                    }
                )
    return pd.DataFrame(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dose", type=float, default=1e6)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    pixels = pd.concat([collect(options.size, seed, options.dose) for seed in range(options.seeds)])
    print(summarise(pixels).round(3).to_string(index=False))
    print(f"median time for one {options.size} x {options.size} image: {pixels.seconds.median():.1f} s")


if __name__ == "__main__":
    main()
