"""What is claimed of simulated series: false cracks and shrinkage where there are none, power, lengths, onsets, areas.

python benchmarks/series_claims.py run KIND... --first N --runs N --out FILE.jsonl
python benchmarks/series_claims.py report FILE.jsonl...

One line of the file is one series, written as soon as it is done: it may run in the background, and be stopped; what is
there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, stats

from hyperspy_assb.series.cracks.crack_paths import Crack, LineKind, find_lines
from hyperspy_assb.series.drift.mean_alignment import Drift, align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.boundary_width import fit_boundaries
from hyperspy_assb.series.grains.grain_changes import EventKind, GrainStatus, end_frames, track_grains
from hyperspy_assb.series.grains.grain_labels import find_grains
from hyperspy_assb.series.trends import trend_of
from hyperspy_assb.simulation.series.image_series import SeriesConditions, SeriesTruth, image_series

NULLS: dict[str, dict[str, Any]] = {
    "static": {},
    "beam": {"beam_change": -0.2},
    "carbon": {"carbon": 0.15},
    "widening": {"boundary_growth": 0.5},
    "jitter": {"jitter": 0.3},
    "brightening": {"brightening": 0.2, "brightening_frame": 5},
}
OTHERS: dict[str, dict[str, Any]] = {
    "crack 20": {"crack_depth": 0.6, "dose": 20.0},
    "crack 5": {"crack_depth": 0.6, "dose": 5.0},
    "growth 20": {"boundary_growth": 0.5, "dose": 20.0, "oversampling": 3},
    "growth 5": {"boundary_growth": 0.5, "dose": 5.0, "oversampling": 3},
    "null 5": {"dose": 5.0},
}
KINDS = NULLS | OTHERS
FRAMES, SIZE = 12, 192
NEAR = 3.0
"""Pixels from the true path within which points of a line belong to it."""
TURN = 24
"""Points of the true path that lie in the region where it begins."""


def run_one(kind: str, seed: int, parts: str) -> dict[str, Any]:
    begin = time.process_time()
    conditions = SeriesConditions(**({"frames": FRAMES, "size": SIZE, "oversampling": 2} | KINDS[kind]))
    counts, truth = image_series(conditions, seed)
    series = FrameSeries(counts, np.arange(float(FRAMES)))
    simulated = time.process_time() - begin
    drift = align(series)
    row: dict[str, Any] = {"kind": kind, "seed": seed}
    if not kind.startswith("growth") and parts != "grains":
        row |= _cracks(series, drift, truth, kind)
    if not kind.startswith("crack") and parts != "cracks":
        row |= _grains(series, drift, truth)
    return row | {"s": time.process_time() - begin, "s of simulation": simulated}


def _cracks(series: FrameSeries, drift: Drift, truth: SeriesTruth, kind: str) -> dict[str, Any]:
    lines, _ = find_lines(series, drift, None, 0.05)
    row: dict[str, Any] = {
        "lines": len(lines),
        "cracks": sum(line.kind is LineKind.CRACK for line in lines),
    }
    if not kind.startswith("crack"):
        return row
    own = [line for line in lines if _share_near(line, truth) > 0.5]
    row["seen"] = len(own) > 0
    called = [line for line in own if line.kind is LineKind.CRACK]
    row["found"] = len(called) > 0
    row["false"] = sum(line.kind is LineKind.CRACK for line in lines) - len(called)
    if called:
        line = called[0]
        row["length"] = float(np.nanmax(line.length)) / float(truth.crack_reach[-1])
        row["onset"] = line.onset - int(np.argmax(truth.crack_reach > 0.0))
        row["begins"] = _begins_right(line, truth)
    return row


def _share_near(line: Crack, truth: SeriesTruth) -> float:
    away = np.linalg.norm(line.path[:, None] - truth.crack[None], axis=2).min(axis=1)
    return float(np.mean(away < NEAR))


def _begins_right(line: Crack, truth: SeriesTruth) -> bool:
    """Of two regions, that lie on either side of a line across the path, whether it is the one where it begins."""
    across = truth.crack[TURN] - truth.crack[TURN - 1]
    beyond = (line.path[line.first] - truth.crack[TURN]) @ across > 0.0
    return bool(np.mean(beyond) < 0.5)


def _grains(series: FrameSeries, drift: Drift, truth: SeriesTruth) -> dict[str, Any]:
    noise = np.sqrt(np.maximum(drift.noise[0] * np.nan_to_num(drift.mean) + drift.noise[1], 1e-9) / FRAMES)
    found = find_grains(drift.mean, np.isfinite(drift.mean), noise)
    fitted = fit_boundaries(series, drift, found)
    changed = track_grains(series.time, fitted, end_frames(series, drift), found.labels, 0.05)
    kinds = [event.kind for event in changed.events]
    true = truth.dark[:, found.told].mean(axis=1, dtype=np.float64)
    trend = trend_of(series.time, fitted.area, fitted.covariance)
    truly = float(trend_of(series.time, true, np.zeros(FRAMES)).change)
    row: dict[str, Any] = {
        "shrinks": int(np.sum(changed.status == GrainStatus.SHRINKS)),
        "grows": int(np.sum(changed.status == GrainStatus.GROWS)),
        "lost": kinds.count(EventKind.LOST),
        "gained": kinds.count(EventKind.GAINED),
        "growth error": trend.change - truly,
        "growth std": trend.change_std,
        "area": float(np.nanmean(fitted.area)) / float(true.mean()),
        "depth": fitted.depth,
        "blur": fitted.blur,
        "width": float(np.nanmean(fitted.width)),
        "grain area": _grain_bias(found.labels, fitted.grain_area, truth, drift),
    }
    if np.ptp(true) > 0.0:
        row["slope"] = trend.change / truly
        row["slope std"] = trend.change_std / truly
    return row


def _grain_bias(labels: np.ndarray, area: np.ndarray, truth: SeriesTruth, drift: Drift) -> list[float]:
    """Found over true area of grains that are whole in the field and are one grain of the scene, less 1."""
    rim = ndimage.binary_dilation(~np.isfinite(drift.mean))
    rim[[0, -1]] = rim[:, [0, -1]] = True
    cut, truly_cut = set(labels[rim].tolist()), set(truth.labels[rim].tolist())
    found = []
    for number in range(1, int(labels.max()) + 1):
        own = truth.labels[labels == number]
        best = int(np.bincount(own).argmax())
        of_one = min(np.mean(own == best), np.mean(labels[truth.labels == best] == number))
        if number not in cut and best not in truly_cut and of_one > 0.9:
            found.append(float(np.nanmean(area[:, number - 1] / truth.grain_area[:, best - 1])) - 1.0)
    return found


def report(rows: list[dict[str, Any]]) -> None:
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_kind[row["kind"]].append(row)
    for kind in sorted(by_kind, key=list(KINDS).index):
        own = by_kind[kind]
        print(
            f"{kind}: {len(own)} series, {np.median([r['s'] - r['s of simulation'] for r in own]):.1f} s of processor"
        )
        for name in ("lines", "cracks", "shrinks", "grows", "lost", "gained", "false", "seen", "found", "begins"):
            known = [bool(r[name]) for r in own if name in r]
            if known:
                low, high = stats.binomtest(sum(known), len(known)).proportion_ci(0.95)
                print(f"  {name:8} {sum(known):4} of {len(known):4}   ({100 * low:.1f} to {100 * high:.1f} %)")
        known = [r["length"] for r in own if "length" in r]
        if known:
            within = np.mean(np.abs(np.array(known) - 1.0) <= 0.1)
            print(f"  length over truth {np.mean(known):.3f}, median {np.median(known):.3f}, within 10 % {within:.3f}")
            onsets = np.array([r["onset"] for r in own if "onset" in r])
            print(f"  onset within one frame {np.mean(np.abs(onsets) <= 1):.3f}, mean {onsets.mean():.2f}")
        slopes = np.array([[r["slope"], r["slope std"]] for r in own if "slope" in r])
        if slopes.size:
            spread = slopes[:, 0].std(ddof=1)
            inside = np.mean(np.abs(slopes[:, 0] - 1.0) < slopes[:, 1])
            print(
                f"  slope {slopes[:, 0].mean():.3f} +- {spread / np.sqrt(len(slopes)):.3f}, scatter {spread:.3f}, "
                f"stated {np.median(slopes[:, 1]):.3f}, 68 % hold {100 * inside:.0f} %"
            )
        if "growth error" in own[0]:
            pulls = np.array([r["growth error"] / r["growth std"] for r in own])
            print(
                f"  growth: pulls mean {pulls.mean():.2f}, rms {np.sqrt(np.mean(pulls**2)):.2f}, 68 % hold "
                f"{100 * np.mean(np.abs(pulls) < 1):.0f} %; area over truth {np.mean([r['area'] for r in own]):.3f}, "
                f"depth {np.mean([r['depth'] for r in own]):.3f}, blur {np.mean([r['blur'] for r in own]):.2f}, width "
                f"{np.mean([r['width'] for r in own]):.2f}"
            )
            grains = np.concatenate([r["grain area"] for r in own])
            if grains.size:
                error = np.std([np.mean(r["grain area"]) for r in own if r["grain area"]]) / np.sqrt(len(own))
                print(f"  grain areas: {100 * grains.mean():.2f} +- {100 * error:.2f} % of {grains.size} whole grains")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("kinds", nargs="+", choices=[*KINDS, "nulls"])
    run.add_argument("--first", type=int, default=0, help="first seed")
    run.add_argument("--runs", type=int, default=100, help="seeds of each kind")
    run.add_argument("--parts", choices=["both", "cracks", "grains"], default="both")
    run.add_argument("--out", type=Path, required=True)
    shown = commands.add_parser("report")
    shown.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "report":
        report([json.loads(line) for path in arguments.files for line in path.read_text().splitlines()])
        return
    there = set()
    if arguments.out.exists():
        there = {(r["kind"], r["seed"]) for r in map(json.loads, arguments.out.read_text().splitlines())}
    kinds = list(NULLS) if "nulls" in arguments.kinds else arguments.kinds
    with arguments.out.open("a") as file:
        # Kinds in turn: where it is stopped, all have as many.
        for seed in range(arguments.first, arguments.first + arguments.runs):
            for kind in kinds:
                if (kind, seed) not in there:
                    file.write(json.dumps(run_one(kind, seed, arguments.parts)) + "\n")
                    file.flush()


if __name__ == "__main__":
    main()
