"""Amorphous material whose rings are not where the table has them: its name, its share, and carbon that is not there.

Scans of grains of LiFePO4 and FePO4, some with amorphous material in the column, beside that material alone; all radii
of its rings lie up to 12 % off those of the simulator's model. For each scan the name that is found and the share of
the material in the columns are held against the truth.

Run: python benchmarks/acom_amorphous.py [--scans 40] [--seed 1]
"""

from __future__ import annotations

import argparse
from unittest import mock

import numpy as np

from hyperspy_assb.acom import simulate_bank
from hyperspy_assb.acom.amorphous.ring_identity import UNKNOWN
from hyperspy_assb.signals.acom.signal import ACOMPatterns
from hyperspy_assb.simulation import DiffractionConditions, PatternOptions, simulate_patterns
from hyperspy_assb.simulation.acom import amorphous

SIZE = 12
NM = 60.0


def stretched(factor: float):
    """The scattering of the simulator with all radii longer by a factor."""
    original = amorphous._scattering

    def scattering(name: str, size: int):
        rings, alone = original(name, size)
        at = np.arange(len(rings))
        return np.interp(at / factor, at, rings), alone

    return mock.patch.object(amorphous, "_scattering", scattering)


def one(bank, material: str, factor: float, rng: np.random.Generator) -> dict[str, object]:
    """One scan: the left half is grains, the right half amorphous."""
    left = np.arange(SIZE * SIZE) % SIZE < SIZE // 2
    grain = (np.arange(SIZE * SIZE) // SIZE // 3) * 2 + (np.arange(SIZE * SIZE) % SIZE) // 3
    orientations = rng.normal(size=(grain.max() + 1, 4))
    orientations = (orientations / np.linalg.norm(orientations, axis=1, keepdims=True))[grain]
    phase = np.where(left, rng.integers(0, 2, grain.max() + 1)[grain], -1)
    share = np.where(left, np.where(rng.uniform(size=left.size) < 0.5, rng.uniform(0.2, 0.7, left.size), 0.0), 1.0)
    conditions = DiffractionConditions().with_shape((128, 128))
    with stretched(factor):
        patterns = simulate_patterns(
            orientations,
            ["LiFePO4", "FePO4"],
            conditions,
            rng,
            phase=phase,
            thickness=NM * (1 - share),
            options=PatternOptions(amorphous={material: NM * share}),
        )
    s = ACOMPatterns(patterns.reshape(SIZE, SIZE, 128, 128))
    for axis in s.axes_manager.navigation_axes:
        axis.scale, axis.units = 10.0, "nm"
    for axis in s.axes_manager.signal_axes:
        axis.scale, axis.units, axis.offset = conditions.scale, "1/Å", -64 * conditions.scale
    s.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    r = s.index_orientations(bank, calibrate=False, show_progressbar=False)
    shares = {name: np.nan_to_num(value.data.ravel()) for name, value in r.amorphous_share.items()}
    pure = {name: float(values[~left].mean()) for name, values in shares.items()}
    name = max(pure, key=pure.__getitem__)
    found, std = r.amorphous_share[name].data.ravel(), r.amorphous_share_std[name].data.ravel()
    mixed = left & (share > 0)
    wrong = [n for n in shares if n not in (material, UNKNOWN)]
    return {
        "name": name,
        "falsely": max((float(shares[n].mean()) for n in wrong), default=0.0),
        "error": (found - share)[mixed],
        "std": std[mixed],
        "without": found[left & (share == 0)],
    }


def main() -> None:
    """Print names, shares and their errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    bank = simulate_bank(["lfp", "fp"], resolution=2.0)
    rng = np.random.default_rng(arguments.seed)
    for material in ("amorphous_LAGP", "carbon"):
        rows = [one(bank, material, rng.uniform(0.88, 1.12), rng) for _ in range(arguments.scans // 2)]
        names = [row["name"] for row in rows]
        error, std = (np.concatenate([row[key] for row in rows]) for key in ("error", "std"))
        told = np.isfinite(std)
        print(
            f"{material}: named {names.count(material)}, unknown {names.count(UNKNOWN)} of {len(rows)} scans;"
            f" the other one at most {max(row['falsely'] for row in rows):.1%} of a scan\n"
            f"  share known in {told.mean():.0%} of {len(error)} mixed pixels: bias {np.nanmean(error):+.3f},"
            f" scatter {np.nanstd(error):.3f}, stated {np.nanmedian(std):.3f},"
            f" within 68 % {(np.abs(error) < std)[told].mean():.2f},"
            f" by scan {np.mean([np.mean(np.abs(r['error']) < r['std']) for r in rows]):.2f};"
            f" where there is none {np.nanmean(np.concatenate([r['without'] for r in rows])):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
