"""Scene E: time of the first fit in a new process, with an empty and with a warm cache.

Run alone, it is that process: it prints its times as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fit_engine_table import Report, ours

BARS = {"empty cache": 15.0, "warm cache": 2.0}


def child() -> None:
    """Fit 64 spectra of scene A once."""
    start = time.perf_counter()
    from fit_engine_scenes import quiet, scene_a

    quiet()
    import hyperspy_assb

    _ = hyperspy_assb.multifit
    model = scene_a(64).model()
    built = time.perf_counter()
    times = {"before": built - start, "call": None, "why": None}
    try:
        ours(model)
        times["call"] = time.perf_counter() - built
    # The engine says what it cannot compile: that is a row of the table, not a failure of the run.
    except NotImplementedError as error:
        times["why"] = str(error)
    print(json.dumps(times))


def measure(cache: Path) -> dict:
    """Times of a new process with its caches in a folder."""
    folders = {name: str(cache / name.lower()) for name in ("HYPERSPY_ASSB_CACHE_DIR", "NUMBA_CACHE_DIR")}
    command = [sys.executable, str(Path(__file__).resolve())]
    done = subprocess.run(command, env={**os.environ, **folders}, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_e(report: Report) -> None:
    """Median over new caches, each used twice."""
    found = {name: [] for name in BARS}
    for _ in range(report.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for times in found.values():
                times.append(measure(Path(folder)))
                if times[-1]["call"] is None:
                    break
        if any(times and times[-1]["call"] is None for times in found.values()):
            break
    for name, bar in BARS.items():
        if not found[name] or found[name][-1]["call"] is None:
            why = next(times[-1]["why"] for times in found.values() if times and times[-1]["why"])
            report.missing("E", f"first call, {name}", why)
            continue
        report.at_most("E", f"first call, {name}", statistics.median(t["call"] for t in found[name]), bar, " s")
        before = statistics.median(t["before"] for t in found[name])
        report.add("E", f"imports and building the model before it, {name}", f"{before:.1f} s")


if __name__ == "__main__":
    child()
