"""Reference candidates on virtual lamellae: purity of the proposed pixels, phases that are missed, wrong names.

Run ``python benchmarks/reference_candidates.py --seeds 20 --first 100``; each lamella is looked at before and after
bias, and once without the pixels that hold FePO4.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace

import numpy as np

from hyperspy_assb.eels.delithiation.reference_candidates import suggest_candidates
from hyperspy_assb.reference import electrode
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.simulation import micro_battery

BESIDE = ("LAGP", "carbon")


def main() -> None:
    """Print one line a map, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--shape", type=int, default=40)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    couple = electrode("LixFePO4")
    proposed = pure = named = wrong = cases = missed = empty = false = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        battery = micro_battery(shape=(arguments.shape,) * 2, seed=seed, signal_type="EELS_ASSB")
        for state, truth, signal in (
            ("before", battery.truth.before, battery.eels_before),
            ("after", battery.truth.after, battery.eels_after),
        ):
            spectra = read_low_loss(signal)
            fractions = {name: np.ravel(values) for name, values in truth.fractions.items()}
            found = suggest_candidates(spectra, couple, BESIDE)
            got, line = dict.fromkeys(fractions, 0), []
            for k, name in enumerate(found.names):
                inside = found.material == k
                true = max(fractions, key=lambda q, inside=inside: fractions[q][inside].mean())
                got[true] += int(inside.sum())
                good = int((fractions[true][inside] >= 0.95).sum())
                line.append(f"{name} is {true}: {good} of {inside.sum()}")
                if name != "vacuum":
                    proposed, pure = proposed + int(inside.sum()), pure + good
                if not name.startswith("material"):
                    named += 1
                    wrong += name != true and (name, true) != ("LAGP", "amorphous_LAGP")
            for name, number in got.items():
                if name != "vacuum" and (fractions[name] >= 0.98).sum() >= 30:
                    cases += 1
                    if number < 10:
                        missed += 1
                        line.append(f"MISSED {name}: {number} of {(fractions[name] >= 0.98).sum()}")
            print(seed, state, "; ".join(line), flush=True)
            if state == "before":
                rows = fractions["FePO4"] == 0.0
                without = replace(spectra, counts=spectra.counts[rows], shape=(int(rows.sum()),))
                empty += 1
                false += "FePO4" in suggest_candidates(without, couple, BESIDE).names
    print(f"{pure} of {proposed} proposed pixels are 95 % pure ({pure / max(proposed, 1):.4f})")
    print(f"{missed} of {cases} phases with 30 pure pixels got fewer than 10")
    print(f"{wrong} of {named} names are wrong; FePO4 was proposed in {false} of {empty} maps without it")


if __name__ == "__main__":
    main()
