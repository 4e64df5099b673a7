"""A large EDX map that is read lazily: time and memory of the counts of every line.

Writes the map block by block, opens it lazily in a new process and measures it there.

Run: python benchmarks/eds_map.py [--size 256]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fit_engine_memory import peak_gb

BLOCK = 32


def write(path: Path, size: int) -> None:
    """A map of ``size`` x ``size`` spectra of 2048 channels; a few blocks are in memory at a time."""
    import dask.array as da
    import numpy as np
    from eds_scene import Scene
    from fit_engine_scenes import quiet

    from hyperspy_assb.simulation import edx_to_signal, simulate_edx

    quiet()
    scene = Scene(pixels=(BLOCK, BLOCK))
    # One exposure for all blocks.
    conditions, _ = scene.fixed(scene.columns(np.random.default_rng(0)))

    def block(block_info=None) -> np.ndarray:
        where = block_info[None]
        rng = np.random.default_rng([3, *where["chunk-location"]])
        return simulate_edx(scene.columns(rng), conditions, rng).astype(np.uint16)

    chunks = da.core.normalize_chunks((BLOCK, BLOCK, conditions.n_channels), (size, size, conditions.n_channels))
    data = da.map_blocks(block, chunks=chunks, dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16))
    first = np.zeros((1, 1, conditions.n_channels), np.uint16)
    signal = edx_to_signal(first, conditions, pixel_size=5.0, signal_type="EDS_TEM_ASSB").as_lazy()
    lazy = signal._deepcopy_with_new_data(data)
    lazy.axes_manager.navigation_axes[0].size = lazy.axes_manager.navigation_axes[1].size = size
    lazy.save(path, chunks=(BLOCK, BLOCK, conditions.n_channels), show_progressbar=False)
    print(json.dumps({"written": peak_gb()}))


def measure(path: Path) -> None:
    """Counts of all lines of the map, and its phases where there is an analysis for them, in this process."""
    import eds_methods as methods
    import hyperspy.api as hs
    from fit_engine_scenes import quiet

    quiet()
    signal = hs.load(path, lazy=True)
    # Compiled code comes from the cache of earlier sessions, as with every user but on the first day.
    steps = {name: getattr(methods, name) for name in ("line_counts", "phases") if hasattr(methods, name)}
    for step in steps.values():
        step(signal.inav[:2, :2])
    found = {"before": peak_gb()}
    for name, step in steps.items():
        start = time.perf_counter()
        step(signal)
        found[name] = time.perf_counter() - start
    found["peak"] = peak_gb()
    print(json.dumps(found))


def in_new_process(step: str, *arguments: object) -> dict:
    """Run one step of this file in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--step", step, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        sys.exit(f"the step {step!r} failed")
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def run(report, size: int) -> None:
    """Write, measure, compare with the bars."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.zspy"
        in_new_process("write", path, size)
        found = in_new_process("measure", path)
    what = f"{size} x {size} x 2048, lazy"
    report.add("map", f"{what}: memory before", f"{found['before']:.2f} GB")
    for name in ("line_counts", "phases"):
        if name in found:
            report.at_most("map", f"{what}: {name}", found[name], 60.0, " s")
        else:
            report.missing("map", f"{what}: {name}", "no analysis for it")
    report.at_most("map", f"{what}: peak memory", found["peak"], 1.5, " GB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels along each side of the map")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, path, *rest = options.step
        {"write": lambda: write(Path(path), int(rest[0])), "measure": lambda: measure(Path(path))}[step]()
        return 0
    from fit_engine_table import Report

    report = Report(repeats=1, title="X-rays")
    run(report, options.size)
    report.print()
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
