"""References from diffraction end to end: x calibrated on pixels that 4D-STEM finds pure, beside those of the truth.

Virtual lamellae after bias; EELS and EDX in one scan, patterns in another, turned by 4° and with other pixels. Fe of
EDX is registered on the olivine of the orientation maps.

Run: python benchmarks/lamella_references.py [--shape 64] [--seeds 6 7 8]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from hyperspy_assb import Lamella
from hyperspy_assb.acom import simulate_bank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.registration.affine import Affine
from hyperspy_assb.simulation import MATERIALS, DiffractionScan, micro_battery, patterns_to_signal
from hyperspy_assb.simulation.scan_views import ScanView, seen_by

FEWEST = 5
OLIVINE, THIN = 0.3, 0.8


def look(seed: int, size: int, bank):
    """A battery, and its lamella with maps and spectra in one frame."""
    battery = micro_battery(
        shape=(size, size), seed=seed, dose=1e6, signal_type="EELS_ASSB", edx_signal_type="EDS_TEM_ASSB"
    )
    pixel = battery.truth.pixel_size
    view = ScanView((size, size), 0.88 * pixel, 4.0, (0.512 * size * pixel, 0.492 * size * pixel))
    own = battery.diffraction_scan("after")
    scan = DiffractionScan(seen_by(battery.truth.after, pixel, view), own.conditions, own.seed, own.noise_seed)
    patterns = patterns_to_signal(scan.patterns(), own.conditions, pixel_size=view.pixel_size)
    maps = patterns.index_orientations(bank, show_progressbar=False)
    lamella = Lamella(f"seed {seed}")
    lamella.add("acom", maps, bias=5.0)
    lamella.add("eels", battery.eels_after, bias=5.0)
    frame = lamella.members["acom"].frame
    cos, sin = np.cos(np.deg2rad(view.angle)), np.sin(np.deg2rad(view.angle))
    true = Affine(np.array([[cos, sin], [-sin, cos]]), np.array(view.middle) - 0.5 * pixel, frame.centre)
    ends = [k for k, phase in enumerate(maps.phases) if phase.name in ("LiFePO4", "FePO4")]
    images = {"acom": np.isin(maps.phase_map.data, ends), "eels": battery.edx_after.isig[6.2:6.6].sum(axis=-1)}
    try:
        table = lamella.register("acom", images=images)
        found, places = lamella.members["eels"].registration.transform, frame.positions()
        off = np.sqrt(((found(places) - true(places)) ** 2).sum(axis=-1).mean())
        print(f"  registered to {off:.1f} nm (stated {table.loc['eels', 'error (nm)']:.1f}), pixels of {pixel:.1f} nm")
    except AssbValueError as error:
        print(f"  refused, the truth is taken: {error}")
        lamella.register("acom", transforms={"eels": true})
    return battery, lamella


def main() -> None:
    """Print a table for each lamella."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[6, 7, 8])
    arguments = parser.parse_args()
    bank = simulate_bank(["lfp", "fp", "lagp"])
    for seed in arguments.seeds:
        begin = time.process_time()
        print(f"seed {seed}")
        battery, lamella = look(seed, arguments.shape, bank)
        truth = battery.truth.after
        sources = {
            "diffraction": {name: mask.data for name, mask in lamella.references("eels").items()},
            "truth": {name: truth.pure(name) for name in MATERIALS},
        }
        for source, masks in sources.items():
            chosen = {name: mask for name, mask in masks.items() if mask.sum() >= FEWEST}
            shares = {n: f"{int(m.sum())} of {truth.fractions[n][m].mean():.3f}" for n, m in chosen.items()}
            print(f"  {source}: pixels and their true share {shares}")
            found = battery.eels_after.quantify_delithiation(chosen)
            for method in found.methods:
                by = found.with_method(method)
                judged = by.quantified & (truth.olivine >= OLIVINE) & (truth.t_over_lambda <= THIN)
                error = (by.x.data - truth.x)[judged]
                sigma = np.hypot(by.x_std.data, by.x_systematic.data)[judged]
                print(
                    f"    {method}: n {judged.sum()}, bias {error.mean():.4f} (median {np.median(error):.4f}), 68 % "
                    f"interval holds {np.mean(np.abs(error) <= sigma):.3f}"
                )
        print(f"  {time.process_time() - begin:.0f} s of processor", flush=True)


if __name__ == "__main__":
    main()
