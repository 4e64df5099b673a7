"""Peak memory of fits and comparisons of maps on disk, as the operating system counts it, against their size.

Maps of 1024 channels are the columns of the virtual battery, tiled, in files of HyperSpy. Each size runs in a process
of its own; what a pixel adds is the slope between the smallest and the largest, and what 512 x 512 pixels would need
follows. Run: python benchmarks/lazy_memory.py [--paths fit quantify zero_loss compare edx] [--sides 48 96]

Orientation mapping is measured by ``acom_memory.py``, plain models by ``fit_engine_memory.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

BAR = 2e9
"""Bytes."""
SETUP = """
import resource, sys, warnings, logging
warnings.simplefilter("ignore"); logging.disable(50)
from pathlib import Path
import dask.array as da
import numpy as np
import hyperspy.api as hs
import hyperspy_assb
from hyperspy_assb.simulation import micro_battery
path, side, edx = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "edx"
if sys.argv[4] == "write":
    battery = micro_battery(shape=(16, 16), seed=6)
    for name in ("before", "after"):
        s = getattr(battery, ("edx_" if edx else "eels_") + name)
        tile = np.asarray(s.data, dtype=np.uint16 if edx else np.float32)
        s.data = da.tile(da.from_array(tile), (side // 16, side // 16, 1))
        for axis, size in zip(s.axes_manager.navigation_axes, (side, side)): axis.size = size
        s = s.as_lazy(); s.data = s.data.rechunk((16, 16, -1))
        s.save(path.with_name(f"{name} {path.name}"), overwrite=True)
    sys.exit()
load = hyperspy_assb.load_eds_spectrum_image if edx else hyperspy_assb.load_spectrum_image
before, after = (load(path.with_name(f"{name} {path.name}"), lazy=True) for name in ("before", "after"))
rows = np.indices((side, side))
"""
PATHS = {
    "fit": """
from hyperspy_assb.report.analysis import analyse_low_loss
from hyperspy_assb.report.writing import write_analysis
out = path.with_suffix(".out"); out.mkdir()
write_analysis(analyse_low_loss(after), out)
""",
    "quantify": """
from hyperspy_assb.simulation import micro_battery
f = micro_battery(shape=(16, 16), seed=6).truth_after.fractions
pure = {p: np.tile(f[n] > 0.999, (side // 16, side // 16)) for p, n in (("LFP", "LiFePO4"), ("FP", "FePO4"))}
after.quantify_delithiation({p: m for p, m in pure.items() if m.any()}, ensemble=False, show_progressbar=False)
""",
    "zero_loss": "after.estimate_zero_loss()",
    "compare": "before.compare_low_loss(after)",
    "edx": "after.quantify_phases(thickness=80.0)",
}


def peak(name: str, path: Path, side: int) -> float:
    """Bytes that a process needs at most for a map of side x side pixels."""
    kind = "edx" if name == "edx" else "eels"
    run = [sys.executable, "-c"]
    subprocess.run([*run, SETUP, str(path), str(side), kind, "write"], check=True)
    code = SETUP + PATHS[name] + "\nprint('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    out = subprocess.run([*run, code, str(path), str(side), kind, "run"], check=True, capture_output=True, text=True)
    return 1024.0 * float(out.stdout.split("peak")[-1])


def main() -> int:
    """Measure, print a table, and return 1 if a path would need more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--paths", nargs="+", default=list(PATHS), choices=list(PATHS))
    parser.add_argument("--sides", nargs=2, type=int, default=[48, 96])
    given = parser.parse_args()
    missed = False
    print(f"{'path':12} {'side':>5} {'peak (MB)':>10} {'kB a pixel':>11} {'512 x 512 (MB)':>15}")
    for name in given.paths:
        found = []
        for side in given.sides:
            with tempfile.TemporaryDirectory() as folder:
                found.append(peak(name, Path(folder) / "map.hspy", side))
        pixels = [side**2 for side in given.sides]
        slope = (found[1] - found[0]) / (pixels[1] - pixels[0])
        whole = found[1] + slope * (512**2 - pixels[1])
        missed |= whole > BAR
        for side, value in zip(given.sides, found, strict=True):
            print(f"{name:12} {side:5} {value / 1e6:10.0f} {slope / 1e3:11.2f} {whole / 1e6:15.0f}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
