"""Lithiated fraction against its truth: bias, scatter over the Cramér-Rao bound, and coverage, in bins of the truth.

Every seed draws new references and new test pixels. One thing at a time leaves the usual scene: 1e6 electrons in a
spectrum, t/lambda 0.2 to 1.0, 30 to 100 % electrode, 0.2 eV channels, 0.8 eV resolution.

Run: python benchmarks/delithiation.py [--seeds 20] [--scenes dose thickness ...] [--csv FILE]
"""

from __future__ import annotations

import argparse
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from delithiation_scene import BINS, Scene, bound

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.simulation import EELSConditions
from hyperspy_assb.simulation.conditions import Detector

USUAL = Scene()
OPTICS = USUAL.conditions


def _axis(dispersion: float, channels: int, offset: float, resolution: float = 0.8) -> Scene:
    own = EELSConditions(dispersion=dispersion, n_channels=channels, offset=offset, energy_resolution=resolution)
    return replace(USUAL, conditions=own)


SCENES: dict[str, dict[str, Scene]] = {
    "usual": {"1e6 electrons": USUAL},
    "detector": {
        "gain 5, read noise 3": replace(
            USUAL, conditions=replace(OPTICS, detector=Detector(gain=5.0, read_noise=3.0, dark_offset=0.0))
        )
    },
    "dose": {f"{dose:.0e} electrons": replace(USUAL, dose=dose) for dose in (1e4, 1e5, 1e7)},
    "thickness": {f"t/lambda {t:g}": replace(USUAL, thickness=(0.95 * t, 1.05 * t)) for t in (0.2, 0.5, 1.0, 1.5)},
    "others": {f"{100 * (1 - o):.0f} % others": replace(USUAL, electrode=(o, o)) for o in (1.0, 0.65, 0.3)},
    "electrodes": {
        " / ".join(couple): replace(USUAL, couple=couple)
        for couple in (
            ("LiCoO2", "CoO2"),
            ("NMC811", "delithiated NMC811"),
            ("Na3V2(PO4)3", "NaV2(PO4)3"),
        )
    },
    "dispersion": {
        "0.05 eV channels": _axis(0.05, 2048, -5.0),
        "0.1 eV channels": _axis(0.1, 1024, -5.0),
        "0.5 eV channels": _axis(0.5, 512, -20.0),
    },
    "resolution": {
        f"{r:g} eV resolution": _axis(0.1 if r < 0.5 else 0.2, 1024, -5.0 if r < 0.5 else -10.0, r)
        for r in (0.2, 0.5, 1.5)
    },
}


def run(scene: Scene, seed: int) -> pd.DataFrame:
    """One row for each test pixel and method."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng([seed, 4])
    signal, masks = scene.draw_references(rng)
    columns, x = scene.columns(rng)
    try:
        standard = signal.quantify_delithiation(masks, show_progressbar=False)
    except ValueError as error:
        return pd.DataFrame({"seed": seed, "truth": x, "method": "combined", "x": np.nan, "refused": str(error)})
    start = time.perf_counter()
    found = scene.signal(scene.draw(columns, rng)).quantify_delithiation(standard, show_progressbar=False)
    seconds = time.perf_counter() - start
    best, rows = bound(scene, columns), []
    for method in found.methods:
        own = found.with_method(method)
        status = own.status.data
        rows.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "method": method,
                    "truth": x,
                    "x": own.fraction.data,
                    "std": own.fraction_std.data,
                    "systematic": own.fraction_systematic.data,
                    "bound": best,
                    "flagged": (status != DelithiationStatus.QUANTIFIED) & np.isfinite(own.x.data),
                    "seconds": seconds,
                }
            )
        )
    return pd.concat(rows)


def summarise(pixels: pd.DataFrame) -> pd.DataFrame:
    """One line for each method and bin of the true x."""
    lines = []
    for method, group in pixels.groupby("method", sort=False):
        for name, (low, high) in BINS.items():
            part = group[(group.truth >= low) & (group.truth < high)]
            if "std" not in part:
                continue
            error, stated = part.x - part.truth, np.hypot(part["std"], part.systematic)
            known = error.notna()
            lines.append(
                {
                    "method": method,
                    "bin": name,
                    "pixels": len(part),
                    "answered": known.mean(),
                    "flagged": part.flagged.mean(),
                    "bias": error.mean(),
                    "RMSE": np.sqrt((error**2).mean()),
                    "RMSE / bound": np.sqrt((error**2).mean() / (part.bound[known] ** 2).mean()),
                    "RMS of error / bound": np.sqrt(((error / part.bound) ** 2).mean()),
                    "systematic": part.systematic.median(),
                    "68 %": (error.abs() < stated)[known].mean(),
                    "95 %": (error.abs() < 1.96 * stated)[known].mean(),
                }
            )
    return pd.DataFrame(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--csv")
    options = parser.parse_args()
    tables = []
    with ProcessPoolExecutor(max_workers=2) as pool:
        for group in options.scenes:
            for name, scene in SCENES[group].items():
                pixels = pd.concat(pool.map(partial(run, scene), range(options.seeds)))
                table = summarise(pixels)
                table.insert(0, "scene", name)
                refused = pixels["refused"].dropna().unique() if "refused" in pixels else []
                print(table.round(3).to_string(index=False), flush=True)
                for reason in refused:
                    print(f"  refused: {reason}")
                tables.append(table)
                if options.csv:
                    pd.concat(tables).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
