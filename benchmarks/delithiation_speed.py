"""Time of `quantify_delithiation`, combined method, against the size of the image; 1024 channels.

An image is the virtual battery after bias, tiled; the references are pure pixels of one tile. Reading the file is not
counted, the calibration is.

Run: python benchmarks/delithiation_speed.py [--sides 64 128 256 512] [--figure]
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.simulation import micro_battery

TILE = 64
PHASES = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "delithiation_speed.png"


def main() -> None:
    """Time every size once, and print a table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512], help="multiples of 64")
    parser.add_argument("--figure", action="store_true", help=f"write docs/images/{FIGURE.name}")
    options = parser.parse_args()
    battery = micro_battery(shape=(TILE, TILE), seed=0, signal_type="EELS_ASSB")
    tile, pure = battery.eels_after, {name: battery.truth.after.pure(name) for name in PHASES}
    quantify(tile, pure, 1)  # compiles
    _, standard, _ = quantify(tile, pure, 1)
    print(f"{'pixels':>12} {'whole s':>8} {'given a calibration s':>22} {'spectra/s':>10} {'answered %':>11}")
    whole, fit = [], []
    for side in options.sides:
        all_in, found, data = quantify(tile, pure, side // TILE)
        start = time.perf_counter()
        data.quantify_delithiation(standard, show_progressbar=False)
        fit.append(time.perf_counter() - start)
        whole.append(all_in)
        answered = 100 * np.isfinite(found.x.data).mean()
        size = f"{side} x {side}"
        print(f"{size:>12} {all_in:8.1f} {fit[-1]:22.1f} {side**2 / fit[-1]:10.0f} {answered:11.1f}", flush=True)
    if options.figure:
        draw([side**2 for side in options.sides], whole, fit)


def quantify(tile, pure: dict, repeats: int) -> tuple[float, Delithiation, object]:
    """Seconds, the result, and the image that was quantified."""
    image = tile._deepcopy_with_new_data(np.tile(tile.data, (repeats, repeats, 1)))
    rows, columns = image.data.shape[:2]
    for axis, size in zip(image.axes_manager.navigation_axes, (columns, rows), strict=True):
        axis.size = size
    masks = {}
    for name, mask in pure.items():
        masks[name] = np.zeros((rows, columns), dtype=bool)
        masks[name][:TILE, :TILE] = mask
    start = time.perf_counter()
    found = image.quantify_delithiation(masks, show_progressbar=False)
    return time.perf_counter() - start, found, image


def draw(pixels: list[int], whole: list[float], fit: list[float]) -> None:
    """Time against pixels, and a line of slope one."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    middle = len(pixels) // 2
    ax.loglog(pixels, fit[middle] * np.array(pixels) / pixels[middle], "--", color="0.6", label="slope 1")
    ax.loglog(pixels, whole, "o-", label="with calibration")
    slope = np.polyfit(np.log(pixels), np.log(fit), 1)[0]
    ax.loglog(pixels, fit, "s-", label=f"given a calibration, slope {slope:.2f}")
    ax.axhline(60.0, color="C3", linewidth=0.8, linestyle=":", label="one minute")
    ax.set_xlabel("spectra of 1024 channels")
    ax.set_ylabel("time (s)")
    ax.legend(frameon=False, fontsize="small")
    figure.savefig(FIGURE, dpi=150)


if __name__ == "__main__":
    main()
