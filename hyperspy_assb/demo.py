"""The virtual micro-battery from simulation to report: what the analysis finds, beside what was put in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.report import truth_figures
from hyperspy_assb.report.analysis import Analysis, analyse_low_loss
from hyperspy_assb.report.comparison import (
    ABOUT,
    compare_signals,
    comparison_figure,
    comparison_tables,
    write_comparison,
)
from hyperspy_assb.report.figures import populations_figure, spectrum_figures
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.output import Progress, write_record
from hyperspy_assb.report.spectra import choose_spectra
from hyperspy_assb.report.truth import (
    ELECTROLYTE_SHARE,
    OLIVINE_SHARE,
    STATES,
    THIN,
    compare_findings,
    electrolyte_findings,
    electrolyte_masks,
    judge_accuracy,
    judge_thickness,
)
from hyperspy_assb.report.writing import add_parameters, write_analysis
from hyperspy_assb.signals.eels.mean_spectra import mean_spectrum
from hyperspy_assb.simulation import micro_battery

PHASES = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")
FEWEST_PIXELS = 5
"""Pure pixels that a phase needs to serve as a reference."""


@dataclass(frozen=True)
class Demo:
    """A virtual battery and its analysis in both states.

    Parameters
    ----------
    battery
        Signals and truth.
    analyses
        By state, "before" and "after".
    findings
        In sentences, against the truth.
    warnings
        What the library warned of.
    comparison
        Low-loss spectra of the LAGP in both states; None where there are too few pixels of it.
    accuracy
        Bias and error of x by state, method and true x.
    thickness
        Error of x, and share that is flagged or without answer, against t/lambda.
    parameters
        What was simulated.
    """

    battery: Any = field(repr=False)
    analyses: dict[str, Analysis] = field(repr=False)
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    accuracy: pd.DataFrame = field(repr=False)
    thickness: pd.DataFrame = field(repr=False)
    parameters: dict[str, Any] = field(repr=False)
    comparison: Any = field(repr=False, default=None)


def run_demo(
    shape: tuple[int, int] = (64, 64), *, seed: int = 0, dose: float = 1e6, progress: Progress | None = None
) -> Demo:
    """Simulate a micro-battery before and after bias, and quantify both states.

    The state after bias is calibrated on its pure pixels, that before with the calibration of the other: a pristine
    electrode holds no FePO4.

    Parameters
    ----------
    shape
        Rows and columns.
    seed
        Seed of structure and noise.
    dose
        Electrons in a spectrum.
    progress
        Called as the demonstration goes on.

    Returns
    -------
    Demo
        Analyses, and how they compare with the truth.

    Raises
    ------
    AssbValueError
        If the map is too small to hold pure pixels of both olivines.
    """
    report = progress or (lambda stage, done, total: None)
    report("simulate", 0, 0)
    battery = micro_battery(shape=shape, seed=seed, dose=dose, signal_type="EELS_ASSB")
    pure = {name: battery.truth.after.pure(name) for name in PHASES}
    references = {name: mask for name, mask in pure.items() if mask.sum() >= FEWEST_PIXELS}
    lacking = [name for name in ("LiFePO4", "FePO4") if name not in references]
    if lacking:
        raise AssbValueError(
            f"A battery of {shape[0]}x{shape[1]} pixels with seed {seed} has fewer than {FEWEST_PIXELS} pure pixels of "
            f"{' and '.join(lacking)}: take a larger shape or another seed."
        )
    after = analyse_low_loss(battery.eels_after, references=references, progress=_named(report, "after"))
    before = analyse_low_loss(battery.eels_before, references=after.delithiation, progress=_named(report, "before"))
    analyses = {"before": before, "after": after}
    accuracy = judge_accuracy(battery, analyses)
    report("compare", 0, 0)
    comparison, messages = compare_electrolyte(battery)
    parameters = {
        "simulation": {"shape": list(shape), "seed": seed, "electrons per spectrum": dose},
        "references (pixels)": {name: int(mask.sum()) for name, mask in references.items()},
    }
    skipped = [name for name in PHASES if name not in references]
    if skipped:
        parameters["references (pixels)"]["left out, too few"] = ", ".join(skipped)
    return Demo(
        battery=battery,
        analyses=analyses,
        findings=(*compare_findings(battery, analyses, accuracy), *electrolyte_findings(battery, comparison)),
        warnings=tuple(dict.fromkeys([*before.warnings, *after.warnings, *messages])),
        accuracy=accuracy,
        thickness=judge_thickness(battery, analyses["after"]),
        parameters=parameters,
        comparison=comparison,
    )


def compare_electrolyte(battery: Any) -> tuple[Any, tuple[str, ...]]:
    """Compare the low-loss spectra of the LAGP before and after; None where there are too few pixels."""
    masks = electrolyte_masks(battery)
    if min(mask.sum() for mask in masks) < FEWEST_PIXELS:
        return None, ()
    return compare_signals([battery.eels_before, battery.eels_after], region=masks)


def write_demo(demo: Demo, folder: Path) -> None:
    """Write the demonstration to an empty folder: the report, tables, and the analysis of each state with its files."""
    if demo.comparison is not None:
        (folder / "comparison").mkdir()
        write_comparison(demo.comparison, folder / "comparison")
    reports = {}
    for state, analysis in demo.analyses.items():
        (folder / state).mkdir()
        reports[state] = write_analysis(analysis, folder / state)
    demo.accuracy.to_csv(folder / "accuracy.csv", index=False)
    demo.thickness.to_csv(folder / "thickness.csv", index=False)
    record = provenance.record("demo", parameters=demo.parameters)
    write_record(folder, record, findings=demo.findings, warnings=demo.warnings)
    build_demo_report(demo, reports["after"]).write(folder)


def build_demo_report(demo: Demo, after_report: Report) -> Report:
    """The report of a demonstration; figures of the state after bias are taken from the report of its own."""
    truth, analyses = demo.battery.truth, demo.analyses
    rows, columns = truth.after.x.shape
    report = Report(
        "Virtual micro-battery before and after bias",
        subtitle=f"Simulated low-loss EELS with known truth, {rows} × {columns} pixels of {truth.pixel_size:.3g} nm.",
    )
    report.add("Findings", points=demo.findings, kind="findings")
    if demo.warnings:
        report.add("Warnings", points=demo.warnings, kind="warnings")
    report.add(
        "Before and after",
        text="The same pixels in both states. Mean spectra have their zero loss aligned, and are given per t/λ.",
        figures=[*_comparisons(demo)],
    )
    if demo.comparison is not None:
        figures = [comparison_figure(demo.comparison, "lagp_comparison")]
        text = f"Columns of at least {100 * ELECTROLYTE_SHARE:.0f} % LAGP, crystalline or amorphous. {ABOUT}"
        report.add("LAGP before and after", text=text, figures=figures, tables=comparison_tables(demo.comparison))
    report.add("Truth and result", figures=[*truth_figures.truth_figures(demo.battery, analyses)])
    report.add(
        "Accuracy",
        text=f"Pixels with at least {100 * OLIVINE_SHARE:.0f} % of olivine and t/λ of at most {THIN:g}.",
        tables=[Table(demo.accuracy)],
    )
    report.add(
        "Thick pixels",
        text="Olivine pixels after bias: error of x against thickness. Above t/λ = 1 pixels are answered, but flagged.",
        figures=[truth_figures.thickness_figure(demo.thickness)],
        tables=[Table(demo.thickness)],
    )
    pure = {
        f"pure {name}": int(np.flatnonzero(truth.after.pure(name))[0])
        for name in ("LiFePO4", "FePO4", "LAGP")
        if truth.after.pure(name).any()
    }
    pixels = spectrum_figures(list(choose_spectra(analyses["after"].model, pure)))
    report.add("Fitted spectra after bias", figures=[*_drawn(after_report, "spectrum")[:3], *pixels])
    report.add("Maps after bias", figures=_drawn(after_report, "delithiation", "maps"))
    for state, analysis in analyses.items():
        report.add(f"Fit {state} bias", points=analysis.findings)
    after = analyses["after"]
    add_parameters(report, {**demo.parameters, **after.parameters}, after.provenance)
    return report


def _drawn(report: Report, *names: str) -> list[Figure]:
    """Figures of a report whose names begin with one of some words."""
    return [figure for figure in report.figures if figure.name.startswith(names)]


def _comparisons(demo: Demo) -> Iterator[Figure]:
    """Maps of x, distributions of x, and mean spectra of olivine and of LAGP, in both states."""
    truth = demo.battery.truth
    results = {state: demo.analyses[state].delithiation for state in STATES}
    yield truth_figures.change_figure(results, marked_particles(demo.battery))
    for state, result in results.items():
        figure = populations_figure(result, f"populations_{state}", f" {state} bias")
        if figure is not None:
            yield figure
    thin = (truth.after.t_over_lambda <= THIN) & (truth.before.t_over_lambda <= THIN)
    groups = {
        "olivine": (truth.before.olivine >= 0.8) & thin,
        "LAGP": (truth.before.fractions["LAGP"] >= 0.98) & thin,
    }
    for name, mask in groups.items():
        if mask.sum() >= FEWEST_PIXELS:
            signals = {state: getattr(demo.battery, f"eels_{state}") for state in STATES}
            spectra = [mean_spectrum(signals[s], mask, t_over_lambda=results[s].t_over_lambda) for s in STATES]
            yield truth_figures.spectra_figure(name, *spectra)


def marked_particles(battery: Any) -> dict[str, np.ndarray]:
    """Pixels of the largest thin particle of each kind: it stays, turns over, or becomes a mosaic."""
    truth = battery.truth
    particles, after = truth.particles, truth.after
    kinds = {
        "stays LiFePO4": ~particles.mosaic & ~particles.delithiated,
        "turns to FePO4": ~particles.mosaic & particles.delithiated,
        "mosaic": particles.mosaic,
    }
    found = {}
    for name, chosen in kinds.items():
        masks = [(after.particle_id == number + 1) & (after.t_over_lambda <= THIN) for number in np.flatnonzero(chosen)]
        largest = max(masks, key=np.sum, default=None)
        if largest is not None and largest.sum() >= FEWEST_PIXELS:
            found[name] = largest
    return found


def _named(report: Progress, state: str) -> Progress:
    """Progress of one state."""
    return lambda stage, done, total: report(f"{stage} {state}", done, total)
