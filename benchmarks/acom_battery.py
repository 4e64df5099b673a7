"""Maps of the virtual battery after bias against the truth: classes, amorphous material, boundaries, mechanism.

The lamella holds LiFePO4, FePO4, LAGP, carbon and amorphous LAGP, as the one of the paper; its patterns come from the
independent simulator. Where materials lie above each other, the true class of a pixel is the thickest. It is indexed
as a user would, with the default options, and lazily.

Run: python benchmarks/acom_battery.py [--shape 128] [--seeds 6 7] [--resolution 1.5]

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from scipy.ndimage import binary_dilation  # noqa: E402

from hyperspy_assb.acom import simulate_bank  # noqa: E402
from hyperspy_assb.acom.templates.bank import TemplateBank  # noqa: E402
from hyperspy_assb.simulation import micro_battery  # noqa: E402

CRYSTALS = ("LiFePO4", "FePO4", "LAGP")
# Name in the simulation: name in the maps.
AMORPHOUS = {"carbon": "carbon", "amorphous_LAGP": "amorphous_LAGP"}
LARGE = 25  # pixels of a particle that is judged


class Verdicts:
    """Rows with a figure and a bar."""

    def __init__(self) -> None:
        self.missed = 0

    def add(self, what: str, figure: str, bar: str = "", met: bool | None = None) -> None:
        """One figure."""
        self.missed += met is False
        print(
            f"{what:<48} | {figure:>34} | {bar:>12} | {'' if met is None else 'met' if met else 'MISSED'}", flush=True
        )


def edges(labels: Any) -> Any:
    """Pixels beside (or above) a neighbour with another label, where both have one."""
    found = np.zeros(labels.shape, dtype=bool)
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        differ = (labels[one] != labels[other]) & (labels[one] >= 0) & (labels[other] >= 0)
        found[one] |= differ
        found[other] |= differ
    return found


def boundary_score(true: Any, found: Any) -> tuple[float, float, float]:
    """F1, precision and recall, where one pixel beside is right."""
    around = np.ones((3, 3))
    precision = float((found & binary_dilation(true, around)).sum() / max(found.sum(), 1))
    recall = float((true & binary_dilation(found, around)).sum() / max(true.sum(), 1))
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall


def judge_particles(battery: Any, state: Any, mechanism: Any) -> dict[str, list[int]]:
    """Particles whose kind is right, and all that can be judged, of each kind."""
    counts = {"whole": [0, 0], "mosaic": [0, 0]}
    table, particles = mechanism.particles, battery.truth.particles
    for i in range(len(table)):
        ids, sizes = np.unique(state.particle_id[table.labels == i + 1], return_counts=True)
        ids, sizes = ids[ids > 0], sizes[ids > 0]
        if table.pixels[i] < LARGE or not len(ids) or sizes.max() < 0.8 * table.pixels[i]:
            continue
        true = ids[sizes.argmax()] - 1
        mosaic = bool(particles.mosaic[true])
        if mosaic:
            right = bool(table.mixed[i])
        else:
            right = not table.mixed[i] and (table.delithiated[i] > 0.5) == bool(particles.delithiated[true])
        entry = counts["mosaic" if mosaic else "whole"]
        entry[0] += right
        entry[1] += 1
    return counts


def run(seed: int, shape: tuple[int, int], bank: TemplateBank, verdicts: Verdicts) -> None:
    """One lamella."""
    battery = micro_battery(shape=shape, seed=seed)
    patterns = battery.simulate_patterns("after", lazy=True, chunks=(16, 16))
    begin = time.perf_counter()
    maps = patterns.index_orientations(bank, show_progressbar=False)
    seconds = time.perf_counter() - begin
    verdicts.add(f"seed {seed}: {shape[0]} x {shape[1]} patterns with their simulation", f"{seconds:.0f} s")
    for note in maps.notes:
        print("   note:", note)

    state = battery.truth.after
    names = (*CRYSTALS, *AMORPHOUS)
    shares = np.stack([state.fractions[name] for name in (*names, "vacuum")])
    true = shares.argmax(axis=0)
    solid = true < len(names)
    table = maps.phase_fractions()
    found_names = {**{name: name for name in CRYSTALS}, **AMORPHOUS}
    for i, name in enumerate(names):
        label = found_names[name]
        share = float(maps.classes.is_(label)[solid].mean())
        truth = float((true == i)[solid].mean())
        verdicts.add(
            f"area of {label}: truth, found",
            f"{truth:.1%}, {share:.1%}",
            "1.5 points",
            abs(share - truth) <= 0.015,
        )
    print(table.round(2).to_string())

    lattice_free, called = (true >= len(CRYSTALS)) & solid, maps.amorphous.data
    recall = (called & lattice_free).sum() / lattice_free.sum()
    precision = (called & lattice_free).sum() / max((called & solid).sum(), 1)
    pure = shares[len(CRYSTALS) : len(names)].sum(axis=0) > 0.9 * shares[: len(names)].sum(axis=0)
    verdicts.add("amorphous: recall", f"{recall:.3f}", ">= 0.95", bool(recall >= 0.95))
    verdicts.add("amorphous: precision", f"{precision:.3f}", ">= 0.95", bool(precision >= 0.95))
    verdicts.add("   recall where 9/10 are amorphous", f"{(called & pure & solid).sum() / (pure & solid).sum():.3f}")
    crystal = true < len(CRYSTALS)
    verdicts.add("right phase of crystals", f"{((maps.found.phase == true) & crystal).sum() / crystal.sum():.3f}")
    labels = np.where(crystal, state.grain_id * len(names) + true, -1)
    f1, precision, recall = boundary_score(edges(labels), maps.grain_boundaries().boundaries.pixels > 0)
    verdicts.add("boundaries: F1 (precision, recall)", f"{f1:.3f} ({precision:.2f}, {recall:.2f})", ">= 0.9", f1 >= 0.9)
    mechanism = maps.mechanism()
    for kind, (right, total) in judge_particles(battery, state, mechanism).items():
        verdicts.add(f"particles, {kind}: right", f"{right} of {total}", "all", right == total)
    for line in mechanism.summary().splitlines():
        print("  ", line)


def main() -> int:
    """Run all seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, default=128, help="rows and columns of the scan")
    parser.add_argument("--seeds", type=int, nargs="+", default=[6])
    parser.add_argument("--resolution", type=float, default=1.5, help="degrees between templates")
    arguments = parser.parse_args()
    verdicts = Verdicts()
    bank = simulate_bank(["lfp", "fp", "lagp"], resolution=arguments.resolution)
    for seed in arguments.seeds:
        run(seed, (arguments.shape, arguments.shape), bank, verdicts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verdicts.add("peak memory", f"{peak:.2f} GB")
    return int(verdicts.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
