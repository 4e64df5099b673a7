"""Speed and exactness of the batched fit, beside HyperSpy and SciPy in the same run.

Scenes: A 12 parameters of a low-loss spectrum; B 2 parameters that are not linear and 8 that are; C 5 linear ones with
their own weights in every pixel; D scatter, bias and stated errors against the Cramér-Rao bound; E the first call in a
new process; F scaling with spectra and channels. Memory: fit_engine_memory.py.

Run: python benchmarks/fit_engine.py [--scenes ABCDEF] [--repeats 5] [--quick] [--figure]

Ends with exit code 1 if a bar is missed or the engine does not take a model.
"""

from __future__ import annotations

import argparse
import os
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # small matrices: more threads slow HyperSpy and SciPy down

import numpy as np  # noqa: E402
from fit_engine_exactness import run_d  # noqa: E402
from fit_engine_first_call import run_e  # noqa: E402
from fit_engine_peers import chi_squared, cramer_rao, deviance, forget_all_but_first, hyperspy_fit, pool_for  # noqa: E402
from fit_engine_scaling import run_f  # noqa: E402
from fit_engine_scenes import (  # noqa: E402
    TRUTH,
    FloatArray,
    Scene,
    fitted,
    free_values,
    quiet,
    scene_a,
    scene_b,
    scene_c,
)
from fit_engine_table import Report, median_seconds, ours  # noqa: E402

from hyperspy_assb.fitting.solver.spectra_fit import FitProblem, fit_spectra  # noqa: E402
from hyperspy_assb.models.compile import Compiled, compile_model  # noqa: E402

WORSE = 0.01
"""A fit whose sum of squares is higher by more is not at the optimum."""


def hyperspy_rate(scene: Scene, count: int, repeats: int, optimizer: str = "lm", *, chain: bool = False) -> tuple:
    """Spectra per second of HyperSpy and its fitted model; ``chain`` starts each pixel where the last one ended."""
    model = scene.model(count, weights=True)

    def before() -> None:
        scene.reset(model)
        if chain:
            forget_all_but_first(model)

    seconds = median_seconds(lambda: hyperspy_fit(model, optimizer), repeats, before)
    return count / seconds, model


def our_rate(scene: Scene, repeats: int, workers: int, loss: str) -> tuple:
    """Spectra per second of our engine, after one call that compiles, its model and its last result."""
    model = scene.model(weights=loss == "ls")
    last = [ours(model, workers, loss)]

    def call() -> None:
        last[0] = ours(model, workers, loss)

    seconds = median_seconds(call, repeats, lambda: scene.reset(model))
    return len(scene.counts) / seconds, model, last[0]


def run_a(report: Report) -> None:
    """Speed of the low-loss fit, and how many fits end elsewhere than at the optimum."""
    scene = scene_a(256 if report.quick else 4096)
    subset, many = (16, 64) if report.quick else (144, 1000)
    rate, model = hyperspy_rate(scene, subset, report.repeats)
    chained, _ = hyperspy_rate(scene, subset, report.repeats, chain=True)
    counts, truth = scene.counts[:many], scene.truth[:many]
    with pool_for(scene.energy) as pool:
        seconds = median_seconds(lambda: pool.least_squares(counts), report.repeats)
        values, from_truth = pool.least_squares(counts), pool.least_squares_from(counts, truth)
        likeliest = pool.poisson(counts, truth, cramer_rao(scene.energy, TRUTH))
        low_loss = pool.model
    objectives = {"ls": (chi_squared, from_truth), "ML-poisson": (deviance, likeliest)}
    least = chi_squared(low_loss, counts, from_truth)
    worse = not_at_optimum(chi_squared(low_loss, counts[:subset], fitted(model)), least[:subset])
    report.add("A", "HyperSpy lm, spectra/s", f"{rate:.1f}")
    report.add("A", "HyperSpy lm, each from the pixel before, spectra/s", f"{chained:.1f}")
    report.add("A", "HyperSpy lm, not at the optimum", f"{worse} of {subset}")
    worse = not_at_optimum(chi_squared(low_loss, counts, values), least)
    report.add("A", "SciPy, exact Jacobian, 2 processes, spectra/s", f"{many / seconds:.0f}")
    report.add("A", "SciPy, not at the optimum", f"{worse} of {many}")
    for loss, (objective, best) in objectives.items():
        for workers, bar in ((2, 100.0), (1, 50.0)):
            what = f"ours, {loss}, {workers} thread{'s' * (workers > 1)}"
            with report.expecting("A", what):
                own, model, result = our_rate(scene, report.repeats, workers, loss)
                report.add("A", f"{what}, spectra/s", f"{own:,.0f}")
                report.at_least("A", f"{what}, over HyperSpy", own / rate, bar, "x")
                report.add("A", f"{what}, over HyperSpy from the pixel before", f"{own / chained:.0f}x")
                if workers == 2:
                    report.at_least("A", f"{what}, over SciPy", own * seconds / many, 10.0, "x")
                report.add("A", f"{what}, not usable", f"{(~result.usable).sum()} of {len(scene.counts)}")
                own_objective = objective(low_loss, counts, fitted(model)[:many])
                worse = not_at_optimum(own_objective, objective(low_loss, counts, best))
                report.add("A", f"{what}, not at the optimum", f"{worse} of {many}")


def not_at_optimum(found: FloatArray, best: FloatArray) -> int:
    """How many fits are worse than SciPy's from the truth; one that gave no values is."""
    return int((~(found < best + WORSE)).sum())


def difference(model, reference) -> float:
    """Largest difference of the free parameters from HyperSpy's, in standard errors that we state."""
    other = free_values(reference)
    values, std = free_values(model)[: len(other)], free_values(model, "std")[: len(other)]
    return float(np.max(np.abs(values - other) / std))


def run_b(report: Report) -> None:
    """Speed with few parameters that are not linear."""
    scene = scene_b(512 if report.quick else 20_000)
    subset = 16 if report.quick else 144
    rate, reference = hyperspy_rate(scene, subset, report.repeats)
    report.add("B", "HyperSpy lm, spectra/s", f"{rate:.1f}")
    for loss in ("ls", "ML-poisson"):
        what = f"ours, {loss}, 2 threads"
        with report.expecting("B", what):
            own, model, result = our_rate(scene, report.repeats, 2, loss)
            report.at_least("B", f"{what}, spectra/s", own, 20_000)
            report.add("B", f"{what}, over HyperSpy", f"{own / rate:.0f}x")
            report.add("B", f"{what}, not usable", f"{(~result.usable).sum()} of {len(scene.counts)}")
            if loss == "ls":
                report.at_most("B", f"{what}, difference from HyperSpy in std", difference(model, reference), 0.01)


def run_c(report: Report) -> None:
    """Speed of a linear fit with weights of each pixel."""
    scene = scene_c(1024 if report.quick else 30_000)
    subset = 16 if report.quick else 196
    rates = {}
    for optimizer in ("lstsq", "lm"):
        rates[optimizer], reference = hyperspy_rate(scene, subset, report.repeats, optimizer)
        report.add("C", f"HyperSpy {optimizer}, weights of each pixel, spectra/s", f"{rates[optimizer]:.1f}")
    what = "ours, ls, 2 threads"
    with report.expecting("C", what):
        own, model, _ = our_rate(scene, report.repeats, 2, "ls")
        report.at_least("C", f"{what}, spectra/s", own, 300_000)
        report.add("C", f"{what}, over HyperSpy", f"{own / max(rates.values()):.0f}x")
        report.at_most("C", f"{what}, difference from HyperSpy in std", difference(model, reference), 0.01)
    with report.expecting("C", "ours, arrays only"):
        compiled = compile_model(scene.model(weights=True))
        seconds = median_seconds(lambda: fit_arrays(scene, compiled), report.repeats)
        report.at_least("C", "ours, arrays only, 2 threads, spectra/s", len(scene.counts) / seconds, 300_000)


def fit_arrays(scene: Scene, compiled: Compiled) -> object:
    """The engine's linear fit of counts with a variance, without a HyperSpy model around it."""
    parts = {name: getattr(compiled, name) for name in ("model", "start", "free", "lower", "upper")}
    return fit_spectra(scene.counts, FitProblem(**parts), variance=scene.variance)


SCENES = {"A": run_a, "B": run_b, "C": run_c, "D": run_d, "E": run_e, "F": run_f}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default="ABCDEF", help="letters of the scenes to run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small scenes, one repeat: shows that all runs")
    parser.add_argument("--figure", action="store_true", help="save the figure of scene F for the documentation")
    options = parser.parse_args()
    if unknown := set(options.scenes) - set(SCENES):
        parser.error(f"no scene {', '.join(sorted(unknown))}: there are {', '.join(SCENES)}")
    quiet()
    report = Report(1 if options.quick else options.repeats, options.quick)
    for letter in options.scenes:
        print(f"scene {letter} ...", file=sys.stderr, flush=True)
        if letter == "F":
            run_f(report, figure=options.figure)
        else:
            SCENES[letter](report)
    report.print()
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
