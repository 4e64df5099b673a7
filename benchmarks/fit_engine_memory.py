"""Memory of the batched fit of a map that is read lazily, with threads and on a cluster of two processes.

Writes a map of scene A block by block, opens it lazily in a new process and fits it there.

Run: python benchmarks/fit_engine_memory.py [--size 512]

Ends with exit code 1 if a bar is missed or the engine does not take the model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHANNELS, WIDTH = 1024, 0.1
BLOCK = 32
BAR_GB = 1.5
SAME = 1e-10
"""Relative difference of values from threads and from processes."""


def peak_gb(who: int = resource.RUSAGE_SELF) -> float:
    """Largest resident memory so far, in GB."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(who).ru_maxrss * unit / 1e9


def cpu_seconds() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def write(path: Path, size: int) -> None:
    """A map of ``size`` x ``size`` spectra; no more than a few blocks are in memory."""
    import dask.array as da
    import numpy as np
    from fit_engine_scenes import draw, empty_spectrum, energy_axis, lithium_edge, quiet, varied_truth

    quiet()
    energy = energy_axis(CHANNELS, WIDTH)
    lithium_edge(energy)  # once, before the threads

    def block(block_info=None) -> np.ndarray:
        where = block_info[None]
        rows, columns, channels = where["chunk-shape"]
        rng = np.random.default_rng([5, *where["chunk-location"]])
        truth = varied_truth(rows * columns, rng, side=columns)
        return draw(energy, truth, rng).reshape(rows, columns, channels)

    sides = da.core.normalize_chunks((BLOCK, BLOCK, CHANNELS), (size, size, CHANNELS))
    data = da.map_blocks(block, chunks=sides, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    signal = empty_spectrum(energy, np.ones((1, 1, CHANNELS), np.float32)).as_lazy()
    lazy = signal._deepcopy_with_new_data(data)
    lazy.axes_manager.navigation_axes[0].size = lazy.axes_manager.navigation_axes[1].size = size
    lazy.save(path, chunks=(min(BLOCK, size), min(BLOCK, size), CHANNELS), show_progressbar=False)
    print(json.dumps({"peak": peak_gb()}))


def fit(path: Path, out: Path) -> None:
    """Fit the map in this process; values go into a file, times and memory to the output as JSON."""
    import hyperspy.api as hs
    import numpy as np
    from fit_engine_scenes import fitted, low_loss_model, quiet
    from fit_engine_table import ours

    quiet()
    model = low_loss_model(hs.load(path, lazy=True))
    found = {"before": peak_gb(), "why": None}
    start = time.perf_counter()
    try:
        result = ours(model)
        found |= {"seconds": time.perf_counter() - start, "peak": peak_gb(), "usable": float(np.mean(result.usable))}
        np.save(out, fitted(model))
    # The engine says what it cannot compile: that is a row of the table, not a failure of the run.
    except NotImplementedError as error:
        found["why"] = str(error)
    print(json.dumps(found))


def fit_on_cluster(path: Path, out: Path) -> None:
    """The same with a client of two workers of one thread."""
    import logging

    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.ERROR
    )
    with cluster, Client(cluster) as client:
        before = client.run(cpu_seconds)
        fit(path, out)
        after, peaks = client.run(cpu_seconds), client.run(peak_gb)
    cpu = [after[worker] - before[worker] for worker in before]
    print(json.dumps({"workers": cpu, "worker_peak": max(peaks.values())}))


def in_new_process(step: str, *arguments: object) -> dict:
    """Run one step of this file; this process stays small, for a child inherits the peak of its parent."""
    command = [sys.executable, str(Path(__file__).resolve()), "--step", step, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        sys.exit(f"the step {step!r} failed")
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def compare(report, first: Path, second: Path) -> None:
    """Values from the cluster against those from threads."""
    import numpy as np

    a, b = np.load(first), np.load(second)
    report.at_most("G", "fitted in one place only", int((np.isfinite(a) != np.isfinite(b)).sum()), 0)
    largest = np.nanmax(np.abs(a - b) / np.maximum(np.abs(a), np.finfo(float).tiny), initial=0.0)
    report.at_most("G", "largest relative difference between the two", float(largest), SAME)


def run_g(report, size: int) -> None:
    """Write, fit with threads, fit on a cluster, compare."""
    with tempfile.TemporaryDirectory() as folder:
        path, threads, processes = (Path(folder) / name for name in ("map.zspy", "threads.npy", "processes.npy"))
        written = in_new_process("write", path, size)
        report.add("G", f"writing {size} x {size} x {CHANNELS} float32, peak", f"{written['peak']:.2f} GB")
        for what, step, out in (("2 threads", "fit", threads), ("cluster, 2 processes", "cluster", processes)):
            found = in_new_process(step, path, out)
            if found["why"]:
                report.missing("G", what, found["why"])
                continue
            report.add("G", f"{what}: memory before the fit", f"{found['before']:.2f} GB")
            report.at_most("G", f"{what}: peak memory", found["peak"], BAR_GB, " GB")
            report.add("G", f"{what}: time, usable", f"{found['seconds']:.1f} s, {found['usable']:.4%}")
            if "workers" in found:
                report.at_most("G", f"{what}: peak memory of a worker", found["worker_peak"], BAR_GB, " GB")
                report.at_least("G", f"{what}: least processor time of a worker", min(found["workers"]), 0.5, " s")
        if threads.exists() and processes.exists():
            compare(report, threads, processes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="pixels along each side of the map")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, path, argument = options.step
        steps = {"write": lambda: write(Path(path), int(argument))}
        steps |= {"fit": lambda: fit(Path(path), Path(argument))}
        steps |= {"cluster": lambda: fit_on_cluster(Path(path), Path(argument))}
        steps[step]()
        return 0
    from fit_engine_table import Report

    report = Report(repeats=1)
    run_g(report, options.size)
    report.print()
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
