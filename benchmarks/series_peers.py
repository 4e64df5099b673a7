"""Drift of one series by this package, by HyperSpy and by pystackreg, in the same run: error and processor time.

python benchmarks/series_peers.py [--runs N] [--python PATH_OF_ONE_THAT_HAS_PYSTACKREG]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hyperspy.api as hs
import numpy as np

from hyperspy_assb.series.drift.mean_alignment import align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.simulation.series.image_series import SeriesConditions, image_series

STACKREG = """
import sys, time
import numpy as np
from pystackreg import StackReg
frames = np.load(sys.argv[1]).astype(float)
begin = time.process_time()
found = StackReg(StackReg.TRANSLATION).register_stack(frames, reference=sys.argv[3])
print(time.process_time() - begin)
np.save(sys.argv[2], -found[:, [1, 0], 2])
"""


def ours(counts: np.ndarray) -> tuple[np.ndarray, float]:
    begin = time.process_time()
    shift = align(FrameSeries(counts, np.arange(float(len(counts))))).shift
    return shift, time.process_time() - begin


def hyperspy(counts: np.ndarray, **options: object) -> tuple[np.ndarray, float]:
    signal = hs.signals.Signal2D(counts.astype(float))
    begin = time.process_time()
    shift = -signal.estimate_shift2D(sub_pixel_factor=20, show_progressbar=False, **options)
    return np.asarray(shift), time.process_time() - begin


def pystackreg(counts: np.ndarray, python: str, reference: str) -> tuple[np.ndarray, float]:
    with tempfile.TemporaryDirectory() as folder:
        frames, shift = Path(folder, "frames.npy"), Path(folder, "shift.npy")
        np.save(frames, counts)
        run = subprocess.run(
            [python, "-c", STACKREG, str(frames), str(shift), reference], capture_output=True, text=True, check=True
        )
        found = np.load(shift)
    return found, float(run.stdout.split()[-1])


def rms_of(left: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(left - left.mean(axis=0)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    ways = {
        "this package": ours,
        "HyperSpy, stat": lambda counts: hyperspy(counts, reference="stat"),
        "HyperSpy, cascade": lambda counts: hyperspy(counts, reference="cascade"),
        "HyperSpy, current": lambda counts: hyperspy(counts, reference="current"),
        "pystackreg, previous": lambda counts: pystackreg(counts, arguments.python, "previous"),
        "pystackreg, mean": lambda counts: pystackreg(counts, arguments.python, "mean"),
    }
    changing = {"boundary_growth": 0.5, "carbon": 0.1, "beam_change": -0.2, "crack_depth": 0.6}
    for kind, changes in (("static", {}), ("changing", changing)):
        errors: dict[str, list[float]] = {name: [] for name in ways}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for seed in range(arguments.runs):
            conditions = SeriesConditions(
                frames=arguments.frames, size=arguments.size, dose=20.0, oversampling=2, **changes
            )
            counts, truth = image_series(conditions, seed)
            for name, way in ways.items():
                try:
                    shift, taken = way(counts)
                except (subprocess.CalledProcessError, FileNotFoundError):
                    continue
                # Programs differ in which way a shift is counted: the better of both.
                errors[name].append(min(rms_of(shift - truth.shift), rms_of(-shift - truth.shift)))
                seconds[name].append(taken)
        for name in ways:
            if errors[name]:
                rms = float(np.sqrt(np.mean(np.square(errors[name]))))
                print(f"{kind:10}{name:22}{rms:9.4f} pixels{np.median(seconds[name]):9.2f} s of processor", flush=True)


if __name__ == "__main__":
    main()
