"""Tables of in situ series and voltammograms: false finds, coverage, slopes, drift against its bound.

python benchmarks/series.py [voltammogram] [drift] [boundaries] [grains] [cracks] [--runs N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hyperspy_assb.echem.beam_change import compare_beam
from hyperspy_assb.echem.current_log import CurrentLog
from hyperspy_assb.echem.peaks import find_peaks
from hyperspy_assb.echem.resistance import lines_of_cycles
from hyperspy_assb.echem.sweeps import find_sweeps
from hyperspy_assb.series.cracks.crack_paths import LineKind, find_lines
from hyperspy_assb.series.drift.mean_alignment import align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.boundary_width import fit_boundaries
from hyperspy_assb.series.grains.grain_changes import EventKind, GrainStatus, end_frames, track_grains
from hyperspy_assb.series.grains.grain_labels import find_grains
from hyperspy_assb.series.trends import trend_of
from hyperspy_assb.simulation.series.image_series import SeriesConditions, image_series
from hyperspy_assb.simulation.series.voltammogram import VoltammogramConditions, voltammogram

CURVES = {
    "white": {},
    "1/f": {"white": 2e-11, "flicker": 1e-10},
    "drift": {"flicker": 3e-11, "drift": 2e-12},
    "shorts": {"flicker": 3e-11, "shorts": 6},
    "clipped": {"flicker": 3e-11, "full_scale": 1.9e-9},
}
BEAM = ((150.0, 300.0), (400.0, 550.0), (700.0, 850.0))
STEP = 2e-10
MARGIN = 24
"""Pixels at each edge that the bound of the drift leaves out, as the window and the drift do."""


def voltammograms(runs: int) -> None:
    print(f"{'curves':10}{'false peaks':>14}{'covered R':>12}{'covered C':>12}{'covered step':>14}")
    for name, changes in CURVES.items():
        false, resistance, capacitance, step = [], [], [], []
        for seed in range(runs):
            conditions = VoltammogramConditions(**changes)
            swept = find_sweeps(CurrentLog(*voltammogram(conditions, seed)))
            false.append(len(find_peaks(swept)[0]) > 0)
            (line,) = lines_of_cycles(swept)
            resistance.append(abs(line.conductance - 1e-9) < line.conductance_std)
            capacitance.append(abs(line.capacitance - 2e-8) < line.capacitance_std)
            lit = find_sweeps(CurrentLog(*voltammogram(replace(conditions, beam=BEAM, beam_step=STEP), seed)))
            change = compare_beam(lit, BEAM)
            step.append(abs(change.step - STEP) < change.step_std)
        shares = [100.0 * float(np.mean(values)) for values in (false, resistance, capacitance, step)]
        print(f"{name:10}{shares[0]:12.1f} %{shares[1]:10.1f} %{shares[2]:10.1f} %{shares[3]:12.1f} %", flush=True)


def bound(expected: np.ndarray) -> float:
    """Cramér-Rao bound of a shift, gain and offset of the frame not being known, content known."""
    rows, columns = np.gradient(expected)
    inner = slice(MARGIN, -MARGIN)
    shapes = np.stack([v[inner, inner].ravel() for v in (rows, columns, expected, np.ones_like(expected))])
    information = (shapes / expected[inner, inner].ravel()) @ shapes.T
    return float(np.sqrt(np.diag(np.linalg.inv(information))[:2].mean()))


def drifts(runs: int) -> None:
    changing = {"boundary_growth": 0.5, "carbon": 0.1, "beam_change": -0.2, "crack_depth": 0.6}
    print(f"{'content':10}{'dose':>6}{'rms (pixels)':>14}{'over bound':>12}{'covered':>10}{'s':>8}")
    for name, changes in (("static", {}), ("changing", changing)):
        for dose in (20.0, 5.0):
            errors, inside, bounds, seconds = [], [], [], []
            for seed in range(runs):
                conditions = SeriesConditions(frames=16, size=192, dose=dose, oversampling=2, **changes)
                counts, truth = image_series(conditions, seed)
                begin = time.perf_counter()
                drift = align(FrameSeries(counts, np.arange(16.0)))
                seconds.append(time.perf_counter() - begin)
                error = drift.shift - truth.shift + truth.shift.mean(axis=0)
                errors.append(error)
                inside.append(np.abs(error) < drift.shift_std)
                bounds.append(bound(truth.expected[0]))
            rms = float(np.sqrt(np.mean(np.square(errors))))
            ratio = rms / float(np.sqrt(np.mean(np.square(bounds))))
            covered, taken = 100.0 * np.mean(inside), np.median(seconds)
            print(f"{name:10}{dose:6.0f}{rms:14.4f}{ratio:12.2f}{covered:8.1f} %{taken:8.1f}", flush=True)


def boundaries(runs: int) -> None:
    print(f"{'dose':>6}{'slope of the area':>20}{'error':>8}{'depth':>8}")
    for dose in (20.0, 5.0):
        slopes, depths = [], []
        for seed in range(runs):
            conditions = SeriesConditions(frames=12, size=192, dose=dose, boundary_growth=0.5)
            counts, truth = image_series(conditions, seed)
            series = FrameSeries(counts, np.arange(12.0))
            drift = align(series)
            noise = np.sqrt(np.maximum(drift.noise[0] * np.nan_to_num(drift.mean) + drift.noise[1], 1e-9) / 12.0)
            found = fit_boundaries(series, drift, find_grains(drift.mean, np.isfinite(drift.mean), noise))
            slopes.append(np.polyfit(truth.boundary_area / 192.0**2, found.area, 1)[0])
            depths.append(found.depth)
        error = np.std(slopes, ddof=1) / np.sqrt(runs)
        print(f"{dose:6.0f}{np.mean(slopes):20.3f}{error:8.3f}{np.mean(depths):8.3f}", flush=True)


def grains(runs: int) -> None:
    kinds = {
        "static": {},
        "beam": {"beam_change": -0.2},
        "carbon": {"carbon": 0.15},
        "dark level": {"carbon": -0.15},
        "brightening": {"brightening": 0.2, "brightening_frame": 5},
        "shrinking": {"shrinking": 0.2, "shrinkage": 1.5},
        "lost": {"lost": 1},
    }
    print(f"{'series':14}{'shrinks':>10}{'grows':>10}{'lost':>8}{'gained':>8}{'growth / error (rms)':>24}")
    for name, changes in kinds.items():
        claims, pulls = [], []
        for seed in range(runs):
            conditions = SeriesConditions(frames=12, size=192, oversampling=2, **changes)
            series = FrameSeries(image_series(conditions, seed)[0], np.arange(12.0))
            drift = align(series)
            noise = np.sqrt(np.maximum(drift.noise[0] * np.nan_to_num(drift.mean) + drift.noise[1], 1e-9) / 12.0)
            found = find_grains(drift.mean, np.isfinite(drift.mean), noise)
            fitted = fit_boundaries(series, drift, found)
            changed = track_grains(series.time, fitted, end_frames(series, drift), found.labels, 0.05)
            kind = [event.kind for event in changed.events]
            status = changed.status
            claims.append(
                [
                    np.any(status == GrainStatus.SHRINKS),
                    np.any(status == GrainStatus.GROWS),
                    EventKind.LOST in kind,
                    EventKind.GAINED in kind,
                ]
            )
            trend = trend_of(series.time, fitted.area, fitted.covariance)
            pulls.append(trend.change / trend.change_std)
        shares = 100.0 * np.mean(claims, axis=0)
        shown = "".join(f"{share:{width}.1f} %" for share, width in zip(shares, (8, 8, 6, 6), strict=True))
        print(f"{name:14}{shown}{np.sqrt(np.mean(np.square(pulls))):24.2f}", flush=True)


def cracks(runs: int) -> None:
    kinds = {
        "static": {},
        "beam": {"beam_change": -0.2},
        "carbon": {"carbon": 0.15},
        "widening": {"boundary_growth": 0.5},
        "jitter": {"jitter": 0.3},
        "brightening": {"brightening": 0.2, "brightening_frame": 5},
        "crack": {"crack_depth": 0.6},
    }
    print(f"{'series':14}{'any line':>10}{'cracks':>10}")
    for name, changes in kinds.items():
        lines, called = [], []
        for seed in range(runs):
            conditions = SeriesConditions(frames=12, size=192, oversampling=2, **changes)
            series = FrameSeries(image_series(conditions, seed)[0], np.arange(12.0))
            found, _ = find_lines(series, align(series), None, 0.05)
            lines.append(len(found) > 0)
            called.append(any(line.kind is LineKind.CRACK for line in found))
        print(f"{name:14}{100.0 * np.mean(lines):8.1f} %{100.0 * np.mean(called):8.1f} %", flush=True)


TABLES: dict[str, Callable[[int], None]] = {
    "voltammogram": voltammograms,
    "drift": drifts,
    "boundaries": boundaries,
    "grains": grains,
    "cracks": cracks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=list(TABLES), default=None)
    parser.add_argument("--runs", type=int, default=100, help="simulations of each kind")
    arguments = parser.parse_args()
    for name in arguments.tables or TABLES:
        TABLES[name](arguments.runs)


if __name__ == "__main__":
    main()
