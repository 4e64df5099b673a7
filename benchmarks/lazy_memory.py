"""Peak memory of analyses of maps on disk, as the operating system counts it, against their size.

Maps of 972 channels are the columns of the virtual battery, tiled, and scans its patterns, in files of HyperSpy. Each
size runs in a process of its own, what has the name of a command through the command line, reading from disk whatever
the size. What a pixel adds is the slope between the smaller and the larger; what 512 x 512 spectra or 256 x 256
patterns would need follows. One size: that alone is measured.

Run: python benchmarks/lazy_memory.py [--paths fit compare edx index quantify zero_loss] [--sides 64 128]

Plain models are measured by ``fit_engine_memory.py``, the search for orientations alone by ``acom_memory.py``.
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
names = ("before", "after")
if sys.argv[4] == "write" and sys.argv[3] == "index":
    from hyperspy_assb.simulation import DiffractionConditions
    from hyperspy_assb.simulation.acom.scan import simulate_scan
    from hyperspy_assb.simulation.lamella import build_lamella
    state = build_lamella((16, 16), np.random.default_rng(0)).after
    s = simulate_scan(state, DiffractionConditions(dtype="uint8"), pixel_size=10.0, signal_type="ACOM")
    s.data = da.tile(da.from_array(np.asarray(s.data)), (side // 16, side // 16, 1, 1))
    for axis in s.axes_manager.navigation_axes: axis.size = side
    s = s.as_lazy(); s.data = s.data.rechunk((16, 16, -1, -1))
    s.save(path.with_name(f"after {path.name}"), overwrite=True, compression=None)
    sys.exit()
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
files = [str(path.with_name(f"{name} {path.name}")) for name in names]
if sys.argv[4] == "command":
    from hyperspy_assb.cli import app
    from hyperspy_assb.signals import loading
    loading._LARGE_FILE = loading._LARGE_DATA = 0
    def command(*words):
        try: app([*words, "--out", str(path.with_suffix(".out"))])
        except SystemExit as leave: assert not leave.code, leave.code
else:
    before, after = (hyperspy_assb.load_spectrum_image(file, lazy=True) for file in files)
"""
PATHS = {
    "fit": "command('fit', files[1])",
    "compare": "command('compare', *files, '--permutations', '199')",
    "edx": "command('fit', files[1], '--elements', 'C,O,Al,P,Fe,Ge', '--thickness', '80')",
    "index": "command('index', files[1], '--phases', 'lfp,fp,lagp')",
    "quantify": """
from hyperspy_assb.simulation import micro_battery
f = micro_battery(shape=(16, 16), seed=6).truth_after.fractions
pure = {p: np.tile(f[n] > 0.999, (side // 16, side // 16)) for p, n in (("LFP", "LiFePO4"), ("FP", "FePO4"))}
after.quantify_delithiation({p: m for p, m in pure.items() if m.any()}, ensemble=False, show_progressbar=False)
""",
    "zero_loss": "after.estimate_zero_loss()",
}
COMMANDS = ("fit", "compare", "edx", "index")


def peak(name: str, path: Path, side: int) -> float:
    """Bytes that a process needs at most for a map of side x side pixels."""
    kind = name if name in ("edx", "index") else "eels"
    run = [sys.executable, "-c"]
    subprocess.run([*run, SETUP, str(path), str(side), kind, "write"], check=True)
    code = SETUP + PATHS[name] + "\nprint('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    run += [code, str(path), str(side), kind, "command" if name in COMMANDS else "run"]
    out = subprocess.run(run, check=True, capture_output=True, text=True)
    return 1024.0 * float(out.stdout.split("peak")[-1])


def main() -> int:
    """Measure, print a table, and return 1 if a path would need more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--paths", nargs="+", default=list(PATHS), choices=list(PATHS))
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 128])
    given = parser.parse_args()
    missed = False
    print(f"{'path':12} {'side':>5} {'peak (MB)':>10} {'kB a pixel':>11} {'whole (MB)':>11}")
    for name in given.paths:
        found = []
        for side in given.sides:
            with tempfile.TemporaryDirectory() as folder:
                found.append(peak(name, Path(folder) / "map.hspy", side))
        pixels = [side**2 for side in given.sides]
        slope = (found[-1] - found[0]) / max(pixels[-1] - pixels[0], 1)
        whole = found[-1] + max(slope, 0.0) * ((256 if name == "index" else 512) ** 2 - pixels[-1])
        missed |= max(whole, *found) > BAR
        for side, value in zip(given.sides, found, strict=True):
            print(f"{name:12} {side:5} {value / 1e6:10.0f} {slope / 1e3:11.2f} {whole / 1e6:11.0f}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
