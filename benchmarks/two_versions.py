"""Two checkouts of the project against each other: rates and figures of merit in one run, paired.

Each checkout has one process that keeps its compiled code; the workloads run in turn, A B, B A ..., on the same
simulated data, and the ratio is taken pair by pair, so that a machine that changes its speed changes both.

Run: python benchmarks/two_versions.py BEFORE AFTER [--pairs 7] [--only engine delithiation acom edx]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

ANSWER = "answer: "
"""Begins the lines that are read: libraries print others."""

Timed = tuple[float, dict[str, float]]
"""Spectra or patterns in a second, and figures of merit."""


def engine() -> Callable[[], Timed]:
    """12 parameters of a low-loss spectrum, from one start."""
    from fit_engine_scenes import fitted, scene_a
    from fit_engine_table import ours

    scene = scene_a(4096)
    model = scene.model()

    def run() -> Timed:
        scene.reset(model)
        start = time.perf_counter()
        ours(model)
        seconds = time.perf_counter() - start
        error = (fitted(model) - scene.truth) / scene.truth.std(axis=0).clip(1e-3)
        return len(scene.counts) / seconds, {"usable": _share(model.fit_quality.status.data <= 1), "rms": _rms(error)}

    return run


def delithiation() -> Callable[[], Timed]:
    """x of 128 x 128 pixels, with calibration."""
    return _delithiation(calibrated=False)


def delithiation_calibrated() -> Callable[[], Timed]:
    """x of 128 x 128 pixels, given a calibration."""
    return _delithiation(calibrated=True)


def _delithiation(*, calibrated: bool) -> Callable[[], Timed]:
    from delithiation_speed import PHASES, TILE, quantify

    from hyperspy_assb.simulation import micro_battery

    battery = micro_battery(shape=(TILE, TILE), seed=0, signal_type="EELS_ASSB")
    pure = {name: battery.truth.after.pure(name) for name in PHASES}
    _, first, image = quantify(battery.eels_after, pure, 2)
    truth = battery.truth.after
    error_of = np.where(truth.olivine >= 0.3, np.tile(truth.x, (1, 1)), np.nan)

    def run() -> Timed:
        if calibrated:
            start = time.perf_counter()
            found = image.quantify_delithiation(first, show_progressbar=False)
            seconds = time.perf_counter() - start
        else:
            seconds, found, _ = quantify(battery.eels_after, pure, 2)
        error = found.x.data[:TILE, :TILE] - error_of
        known = np.isfinite(error)
        spread = np.abs(error[known]) / found.x_std.data[:TILE, :TILE][known]
        merit = {"answered": known.sum() / np.isfinite(error_of).sum(), "bias": float(error[known].mean())}
        return found.x.data.size / seconds, {**merit, "rms": _rms(error[known]), "within 1 std": _share(spread < 1.0)}

    return run


def acom() -> Callable[[], Timed]:
    """Search, refinement and posterior of 1,000 patterns, LiFePO4 and FePO4 at 1 degree."""
    from acom import indexer, simulate_bank
    from acom_scenes import NAMES, errors, scene

    bank = simulate_bank(list(NAMES), resolution=1.0)
    data = scene(1000)
    whole = indexer(bank, data)

    def run() -> Timed:
        start = time.perf_counter()
        found = whole.index(data.patterns)
        seconds = time.perf_counter() - start
        right, median, within = errors(data, found.phase, found.phase_orientations, bank)
        return len(data.patterns) / seconds, {"right phase": right, "degrees": median, "within 3": within}

    return run


def edx() -> Callable[[], Timed]:
    """Phases of 32 x 40 columns at 2,000 counts, by the signal's method."""
    from eds_scene import MATERIALS, PHASES, Scene

    scene = Scene()
    rng = np.random.default_rng(3)
    columns = scene.columns(rng)
    signal, _ = scene.draw(columns, rng)
    total = sum(columns[MATERIALS.get(name, name)] for name in PHASES)
    olivine = columns["LiFePO4"] / total

    def run() -> Timed:
        start = time.perf_counter()
        found = signal.quantify_phases()
        seconds = time.perf_counter() - start
        error = found.volume_fraction["olivine"].data - olivine
        return olivine.size / seconds, {"bias": float(np.nanmean(error)), "rms": _rms(error)}

    return run


WORKLOADS = {
    "engine": engine,
    "delithiation": delithiation,
    "delithiation_calibrated": delithiation_calibrated,
    "acom": acom,
    "edx": edx,
}


def _share(values: object) -> float:
    return float(np.mean(np.asarray(getattr(values, "data", values), dtype=float)))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.asarray(values) ** 2)))


def serve() -> None:
    """Prepare and run workloads that are named line by line, until the input ends."""
    warnings.simplefilter("ignore")
    import hyperspy.api as hs

    hs.preferences.General.show_progressbar = False
    name, run = None, None
    for line in sys.stdin:
        if line.strip() != name:
            name = line.strip()
            run = WORKLOADS[name]()
            run()  # compiles
        print(ANSWER + json.dumps(run()), flush=True)


def start(checkout: Path) -> subprocess.Popen[str]:
    """A process that imports the package and the benchmarks of one checkout."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(checkout), str(checkout / "benchmarks")])
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).resolve()), "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env={**os.environ, **one, "PYTHONPATH": path, "MPLBACKEND": "Agg"},
    )


def ask(process: subprocess.Popen[str], name: str) -> Timed:
    """One run of a workload."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(name + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith(ANSWER):
            rate, merit = json.loads(line.removeprefix(ANSWER))
            return rate, merit
    sys.exit(f"{name} failed in {process.args[2]}")


def main() -> None:
    """Run all pairs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, help="two folders: before, after")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    before, after = (path.resolve() for path in options.checkouts)
    for name in options.only:
        processes = [start(before), start(after)]
        for process in processes:
            ask(process, name)
        found: list[list[Timed]] = [[], []]
        for pair in range(options.pairs):
            for which in (0, 1) if pair % 2 == 0 else (1, 0):
                found[which].append(ask(processes[which], name))
        for process in processes:
            process.communicate()
        rates = np.array([[rate for rate, _ in one] for one in found])
        ratio = rates[1] / rates[0]
        print(
            f"{name}: before {np.median(rates[0]):,.0f}/s, after {np.median(rates[1]):,.0f}/s, "
            f"ratio {np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f}, {options.pairs} pairs)"
        )
        for one, label in zip(found, ("before", "after"), strict=True):
            print(f"  {label}: " + ", ".join(f"{key} {value:.4g}" for key, value in one[-1][1].items()), flush=True)


if __name__ == "__main__":
    main()
