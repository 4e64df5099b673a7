"""Scene D: many realisations of one spectrum, fitted, against the Cramér-Rao bound."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from fit_engine_peers import Pool, cramer_rao, deviance, pool_for
from fit_engine_scenes import (
    AMPLITUDES,
    NAMES,
    TRUTH,
    FloatArray,
    Scene,
    draw,
    empty_spectrum,
    energy_axis,
    fitted,
    low_loss_model,
    set_values,
)
from fit_engine_table import Report, ours

WORSE = 0.01
"""A deviance higher by more than this is not the lowest one."""


@dataclass(frozen=True)
class Realisations:
    """Counts of one true spectrum, its parameters and their bound.

    Parameters
    ----------
    scene
        Counts and model.
    truth
        Shape (12,).
    start
        Common starting values, shape (12,).
    bound
        Cramér-Rao bound of the standard deviation, shape (12,).
    """

    scene: Scene
    truth: FloatArray
    start: FloatArray
    bound: FloatArray


def realise(count: int, dose: float, seed: int) -> Realisations:
    """``dose`` is the fraction of 1e6 counts."""
    from fit_engine_scenes import START

    energy = energy_axis()
    truth, start = TRUTH.copy(), START.copy()
    truth[AMPLITUDES] *= dose
    start[AMPLITUDES] *= dose
    counts = draw(energy, np.tile(truth, (count, 1)), np.random.default_rng(seed))
    scene = Scene(counts, energy, low_loss_model, lambda model: set_values(model, start), empty_spectrum)
    return Realisations(scene, truth, start, cramer_rao(energy, truth))


def best_deviance(pool: Pool, data: Realisations, report: Report, label: str) -> FloatArray:
    """Deviance of SciPy's fit from the truth, shape (S,); its own scatter and bias go into the table."""
    counts = data.scene.counts
    values = pool.poisson(counts, np.tile(data.truth, (len(counts), 1)), data.bound)
    scatter, bias = values.std(axis=0, ddof=1) / data.bound, (values.mean(axis=0) - data.truth) / data.bound
    report.add("D", f"{label}: SciPy from the truth, scatter / bound", f"{scatter.min():.3f} to {scatter.max():.3f}")
    report.add("D", f"{label}: SciPy from the truth, |bias| / bound", worst(np.abs(bias)))
    relative = np.abs(values.mean(axis=0) / data.truth - 1)
    report.add("D", f"{label}: SciPy from the truth, |bias| / value", worst(relative))
    return deviance(pool.model, counts, values)


def worst(figures: FloatArray) -> str:
    """The largest of twelve figures and whose it is."""
    return f"{np.max(figures):.4f} ({NAMES[int(np.argmax(figures))]})"


def within(report: Report, what: str, figures: FloatArray, low: float, high: float) -> None:
    """All twelve figures should lie between two bars."""
    text = f"{figures.min():.3f} ({NAMES[int(np.argmin(figures))]}) to {figures.max():.3f} ({NAMES[figures.argmax()]})"
    report.add("D", what, text, f"{low} to {high}", low <= figures.min() and figures.max() <= high)


def below(report: Report, what: str, figures: FloatArray, bar: float) -> None:
    """All twelve figures should be below a bar."""
    report.add("D", what, worst(figures), f"< {bar}", bool(np.max(figures) < bar))


def run_d(report: Report) -> None:
    """Scatter, bias, stated errors and false convergence at two doses."""
    count = 128 if report.quick else 4096
    with pool_for(energy_axis()) as pool:
        for label, dose, seed in (("1e6 counts", 1.0, 11), ("1e6/30 counts", 1 / 30, 12)):
            data = realise(count, dose, seed)
            report.add("D", f"{label}: bound / value", worst(data.bound / data.truth))
            start = time.perf_counter()
            lowest = best_deviance(pool, data, report, label)
            report.add("D", f"{label}: SciPy from the truth, 2 processes, s", f"{time.perf_counter() - start:.1f}")
            with report.expecting("D", f"{label}: ours"):
                judge(report, pool, data, lowest, label, full=dose == 1.0)


def judge(report: Report, pool: Pool, data: Realisations, lowest: FloatArray, label: str, *, full: bool) -> None:
    """Fit with our engine and compare; ``full`` for the dose at which the bound should be reached."""
    model = data.scene.model()
    data.scene.reset(model)
    result = ours(model)
    good = result.usable
    values, stated = fitted(model)[good], fitted(model, "std")[good]
    report.add("D", f"{label}: ours, called converged", f"{good.sum()} of {good.size}")
    scatter, bias = values.std(axis=0, ddof=1), np.abs(values.mean(axis=0) - data.truth)
    if full:
        within(report, f"{label}: scatter / bound", scatter / data.bound, 0.97, 1.05)
        below(report, f"{label}: |bias| / bound", bias / data.bound, 0.05)
        within(report, f"{label}: stated std / scatter", np.median(stated, axis=0) / scatter, 0.95, 1.05)
    else:
        below(report, f"{label}: |bias| / value", bias / np.abs(data.truth), 0.01)
    failed = deviance(pool.model, data.scene.counts[good], values) > lowest[good] + WORSE
    report.at_most("D", f"{label}: called converged, but not at the lowest deviance", int(failed.sum()), 0)
