"""Does the X-ray analysis keep its word? Each line is measured on the virtual battery and set beside its bar.

Run: python benchmarks/eds.py [--only mixtures widths migration speed map] [--quick]

mixtures    composition and phase fractions of random columns: bias, scatter over the Cramér-Rao bound, coverage
widths      diffusion width of interfaces from 0 to 50 nm: how often its 68 % interval holds the truth
migration   nothing moved: how often the test says so at the 5 % level, and that it finds what did move
speed       counts by model fit against exspy's own multifit of the same model, same pixels
map         256 x 256 x 2048, lazy: time and memory

The environment variable HYPERSPY_ASSB_SEEDS sets the seeds of the test of migration (1000); widths have no more than
100. Ends with exit code 1 if a bar is missed; a quick run does not judge.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace

import eds_map
import eds_methods as methods
import numpy as np
from eds_scene import PHASES, Scene, known_k_factors, odd_yields
from fit_engine_scenes import quiet
from fit_engine_table import Report

from hyperspy_assb.simulation import (
    InterfaceOptions,
    InterfaceScene,
    XRayConditions,
    edx_to_signal,
    simulate_edx,
    simulate_interface,
)

LEVELS = (500.0, 2000.0, 20000.0)
SEEDS = int(os.environ.get("HYPERSPY_ASSB_SEEDS", "1000"))
WIDTHS = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def within(report: Report, scene: str, what: str, value: float, low: float, high: float, unit: str = "") -> None:
    """A figure that should lie in a range."""
    report.add(scene, what, f"{value:.3g}{unit}", f"{low:g} to {high:g}{unit}", low <= value <= high)


# What a part asks of eds_methods.py, beside the lines' counts.
NEEDS = {
    "mixtures": ("composition", "phases"),
    "widths": ("diffusion_width",),
    "migration": ("change",),
    "speed": ("line_counts", "exspy_line_counts"),
}


def _away(truth: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Pixels where a share is far enough from 0 and 1 that not being negative does not matter."""
    return (truth > 4 * bound) & (truth < 1 - 4 * bound)


def mixtures(report: Report, quick: bool) -> None:
    """Composition and phases of random columns."""
    for counts in LEVELS:
        rng = np.random.default_rng([2, int(counts)])
        # The analysis computes with tables; nature departs from them, and standards tell by how much.
        conditions = XRayConditions(yields=odd_yields(rng))
        factors = known_k_factors(conditions)
        scene = Scene(counts=counts, pixels=(8, 16) if quick else (40, 50), conditions=conditions)
        columns = scene.columns(rng)
        signal, truth = scene.draw(columns, rng)
        n = int(np.prod(scene.pixels))
        sample = rng.permutation(n)[: min(n, 60 if quick else 400)]
        bounds = scene.bounds(columns, sample)
        name = f"{counts:g} counts, {n} pixels"
        start = time.perf_counter()
        found = methods.composition(signal, factors)
        report.add("composition", f"{name}: time", f"{time.perf_counter() - start:.2f} s")
        for element, (value, _) in found.items():
            real = truth.atomic_percent[element]
            rich = real > 5
            if rich.sum() < 0.1 * n:
                continue
            bias = 100 * (np.nanmean(value[rich]) / real[rich].mean() - 1)
            report.at_most("composition", f"{name}: {element}, bias relative", abs(bias), 3.0, " %")
        _scatter(report, "composition", name, found, truth.atomic_percent, bounds["composition"], sample, whole=100.0)
        found = methods.phases(signal, factors)
        for phase in PHASES:
            value, _ = found[phase]
            bias = 100 * np.nanmean(value - truth.volume_fraction[phase])
            report.at_most("phases", f"{name}: {phase}, bias", abs(bias), 2.0, " points")
        _scatter(report, "phases", name, found, truth.volume_fraction, bounds["phases"], sample, whole=1.0)
        answered = np.mean([np.isfinite(value).mean() for value, _ in found.values()])
        report.add("phases", f"{name}: pixels answered", f"{100 * answered:.1f} %")


def _scatter(report, scene, name, found, truth, bounds, sample, *, whole: float) -> None:
    """Scatter over the bound, and coverage of the 68 % interval."""
    ratios, inside = [], []
    for part, (value, std) in found.items():
        real, bound = truth[part].ravel()[sample], bounds[part]
        error = value.ravel()[sample] - real
        use = _away(real / whole, bound / whole) & np.isfinite(error)
        if use.sum() < 0.1 * len(sample):
            continue
        ratio = np.sqrt(np.mean(((error - error[use].mean()) / bound)[use] ** 2))
        ratios.append(ratio)
        report.at_most(scene, f"{name}: {part}, scatter over the bound", ratio, 1.1)
        real, error = truth[part].ravel(), value.ravel() - truth[part].ravel()
        far = _away(real / whole, np.median(bound) / whole) & np.isfinite(error)
        inside.append(np.abs(error[far]) < std.ravel()[far])
    share = np.concatenate(inside)
    within(report, scene, f"{name}: 68 % interval covers", 100 * share.mean(), 65, 71, " %")


def _interface(options: InterfaceOptions, conditions: XRayConditions, rng: np.random.Generator) -> InterfaceScene:
    return simulate_interface(options, conditions, rng, signal_type="EDS_TEM_ASSB")


def widths(report: Report, quick: bool) -> None:
    """Intervals of the diffusion width."""
    seeds = 10 if quick else min(SEEDS, 100)
    conditions = XRayConditions(counts_per_channel=0.5)
    cases = {f"{width:g} nm": InterfaceOptions(width=width) for width in WIDTHS}
    cases["10 nm, tilted by 5 degrees"] = InterfaceOptions(width=10.0, tilt=5.0)
    cases["10 nm, boundary at 20 degrees in the map"] = InterfaceOptions(width=10.0, angle=20.0, shape=(40, 64))
    for name, options in cases.items():
        held, values, low, high = [], [], [], []
        for seed in range(seeds):
            scene = _interface(options, conditions, np.random.default_rng([11, seed]))
            value, interval = methods.diffusion_width(scene)
            held.append(interval[0] <= options.width <= interval[1])
            values.append(value)
            low.append(interval[0])
            high.append(interval[1])
        figure = f"median {np.nanmedian(values):.2f} nm, interval {np.nanmedian(low):.2f} to {np.nanmedian(high):.2f}"
        report.add("widths", f"{name}: {seeds} seeds", figure)
        if options.tilt:
            # Nobody told the analysis of the tilt: what it adds is shown, not judged.
            continue
        if options.width == 0:
            # The truth lies on the edge of what is possible: an interval that begins at 0 always holds it.
            report.at_least("widths", f"{name}: intervals that hold 0", 100 * np.mean(held), 58.0, " %")
        else:
            share = 100 * np.mean(held)
            within(report, "widths", f"{name}: intervals that hold it", share, 58, 78, " %")


def migration(report: Report, quick: bool) -> None:
    """Tests of two states of one interface."""
    seeds = 60 if quick else SEEDS
    conditions = XRayConditions(counts_per_channel=0.3)
    options = InterfaceOptions(width=8.0, shape=(8, 48))
    wide = replace(options, width=14.0)
    moved = replace(options, migrated={"Fe": 4.0, "Ge": 3.0})
    cases = {"nothing": (options, seeds), "wider by 6 nm": (wide, seeds // 10), "Fe and Ge": (moved, seeds // 10)}
    for name, (after, count) in cases.items():
        p: dict[str, list[float]] = {}
        for seed in range(count):
            rng = np.random.default_rng([17, seed])
            pair = [_interface(o, conditions, rng) for o in (options, after)]
            for what, value in methods.change(*pair).items():
                p.setdefault(what, []).append(value)
        for what, values in p.items():
            rate = 100 * np.mean(np.array(values) <= 0.05)
            if after is options:
                within(report, "migration", f"{name}, {count} seeds: {what} at 5 %", rate, 3.5, 6.5, " %")
            else:
                report.add("migration", f"{name}, {count} seeds: {what} found at 5 %", f"{rate:.0f} %")


def speed(report: Report, quick: bool) -> None:
    """Counts by model fit, against exspy."""
    ours_n, peer_n = (256, 16) if quick else (1024, 64)
    conditions = XRayConditions(counts_per_channel=1.0)
    columns = {"LiFePO4": 40.0, "LAGP": 40.0, "Li3V2(PO4)3": 20.0, "carbon": np.full((ours_n,), 10.0)}
    counts = simulate_edx(columns, conditions, np.random.default_rng(5)).reshape(16, -1, conditions.n_channels)
    signal = edx_to_signal(counts, conditions, pixel_size=5.0, signal_type="EDS_TEM_ASSB")
    methods.line_counts(signal.inav[:4, :4])
    start = time.perf_counter()
    ours = methods.line_counts(signal)
    seconds = (time.perf_counter() - start) / ours_n
    few = signal.inav[: max(peer_n // 16, 1), : min(peer_n, 16)]
    for optimizer in ("lm", "lstsq"):
        peer, peer_seconds = methods.exspy_line_counts(few, optimizer)
        report.add("speed", f"a pixel by exspy's multifit ({optimizer})", f"{1e3 * peer_seconds:.1f} ms")
        what = f"times as fast as exspy's multifit ({optimizer})"
        if optimizer == "lm":
            report.at_least("speed", what, peer_seconds / seconds, 100.0)
        else:
            report.add("speed", what, f"{peer_seconds / seconds:.1f}")
        for line in ("O_Ka", "P_Ka", "Fe_Ka", "Ge_Ka", "Al_Ka"):
            if line in ours and line in peer:
                ratio = np.nanstd(ours[line]) / np.nanstd(peer[line])
                # Equal within two standard errors of the peer's standard deviation.
                bar = 1 + 2 / np.sqrt(2 * peer[line].size)
                report.at_most("speed", f"{line}: our standard deviation over exspy's ({optimizer})", ratio, bar)
    report.add("speed", f"a pixel, {ours_n} pixels", f"{1e3 * seconds:.3f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"mixtures": mixtures, "widths": widths, "migration": migration, "speed": speed}
    parser.add_argument("--only", nargs="+", choices=(*parts, "map"), default=[*parts, "map"])
    parser.add_argument("--quick", action="store_true", help="few pixels and seeds: that it runs, no measurement")
    options = parser.parse_args()
    quiet()
    report = Report(repeats=1, title="X-rays", quick=options.quick)
    for name, part in parts.items():
        if name not in options.only:
            continue
        absent = [need for need in NEEDS[name] if not hasattr(methods, need)]
        if absent:
            report.missing(name, "all", f"no analysis for {', '.join(absent)}")
        else:
            part(report, options.quick)
    if "map" in options.only:
        eds_map.run(report, 64 if options.quick else 256)
    report.print()
    # A quick run shows that everything runs; its figures say nothing.
    return 0 if options.quick else report.exit_code


if __name__ == "__main__":
    sys.exit(main())
