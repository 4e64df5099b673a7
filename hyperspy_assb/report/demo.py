"""The virtual micro-battery from simulation to report: what the analysis finds, beside what was put in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.eels.delithiation import DelithiationStatus
from hyperspy_assb.eels.quantification import METHODS
from hyperspy_assb.plotting.delithiation import SIGNATURE_NAMES
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.report import demo_figures
from hyperspy_assb.report.analysis import Analysis, Progress, analyse_low_loss
from hyperspy_assb.report.comparison import (
    ABOUT,
    compare_signals,
    comparison_figure,
    comparison_tables,
    write_comparison,
)
from hyperspy_assb.report.delithiation import FALSE_FINDS, carbon_of, quantified_pixels, state_x, statistics_of
from hyperspy_assb.report.figures import populations_figure, spectrum_figures
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.spectra import choose_spectra
from hyperspy_assb.report.writing import add_parameters, write_analysis
from hyperspy_assb.signals.regions import mean_spectrum
from hyperspy_assb.simulation import micro_battery

PHASES = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")
STATES = ("before", "after")
FEWEST_PIXELS = 5
"""Pure pixels that a phase needs to serve as a reference."""
ELECTROLYTE_SHARE = 0.9
"""Pixels whose column holds at least this share of LAGP are compared before and after."""
OLIVINE_SHARE, THIN = 0.3, 0.8
"""Pixels that are judged: at least this share of olivine in the column, and at most this t/lambda."""
BINS = {"x < 0.1": (-np.inf, 0.1), "0.1 to 0.9": (0.1, 0.9), "x > 0.9": (0.9, np.inf)}
THICKNESS_BINS = (0.0, 0.3, 0.5, 0.8, 1.0, 1.2, 1.5, np.inf)


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
    ValueError
        If the map is too small to hold pure pixels of both olivines.
    """
    report = progress or (lambda stage, done, total: None)
    report("simulate", 0, 0)
    battery = micro_battery(shape=shape, seed=seed, dose=dose, signal_type="EELS_ASSB")
    pure = {name: battery.truth.after.pure(name) for name in PHASES}
    references = {name: mask for name, mask in pure.items() if mask.sum() >= FEWEST_PIXELS}
    lacking = [name for name in ("LiFePO4", "FePO4") if name not in references]
    if lacking:
        raise ValueError(
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
        findings=(*_findings(battery, analyses, accuracy), *_electrolyte_findings(battery, comparison)),
        warnings=tuple(dict.fromkeys([*before.warnings, *after.warnings, *messages])),
        accuracy=accuracy,
        thickness=judge_thickness(battery, analyses["after"]),
        parameters=parameters,
        comparison=comparison,
    )


def electrolyte_masks(battery: Any) -> list[np.ndarray]:
    """Pixels that hold nothing but LAGP, crystalline or amorphous, in each state."""
    states = [getattr(battery.truth, state) for state in STATES]
    return [s.fractions["LAGP"] + s.fractions["amorphous_LAGP"] >= ELECTROLYTE_SHARE for s in states]


def compare_electrolyte(battery: Any) -> tuple[Any, tuple[str, ...]]:
    """Compare the low-loss spectra of the LAGP before and after; None where there are too few pixels."""
    masks = electrolyte_masks(battery)
    if min(mask.sum() for mask in masks) < FEWEST_PIXELS:
        return None, ()
    return compare_signals([battery.eels_before, battery.eels_after], region=masks)


def judge_accuracy(battery: Any, analyses: dict[str, Analysis]) -> pd.DataFrame:
    """Bias and error of x in thin pixels that hold olivine, by state, method and true x."""
    rows = []
    for state in STATES:
        truth = getattr(battery.truth, state)
        judged = (truth.olivine >= OLIVINE_SHARE) & (truth.t_over_lambda <= THIN)
        for method in METHODS:
            result = analyses[state].delithiation.select(method)
            answered = result.status.data == DelithiationStatus.QUANTIFIED
            sigma = np.hypot(result.x_std.data, result.x_systematic.data)
            error = result.x.data - truth.x
            for name, (low, high) in BINS.items():
                here = judged & (truth.x >= low) & (truth.x <= high)
                good = here & answered & np.isfinite(error)
                row = {"state": state, "method": method, "true x": name, "pixels": int(here.sum())}
                if good.any():
                    row |= {
                        "answered (%)": 100 * good.sum() / here.sum(),
                        "bias (median)": np.median(error[good]),
                        "median absolute error": np.median(np.abs(error[good])),
                        "median stated uncertainty": np.median(sigma[good]),
                        "truth within 1σ (%)": 100 * np.mean(np.abs(error[good]) <= sigma[good]),
                    }
                rows.append(row)
    return pd.DataFrame(rows)


def judge_thickness(battery: Any, analysis: Analysis) -> pd.DataFrame:
    """Error of x after bias, and the share of olivine pixels flagged or without an answer, against true t/lambda."""
    truth = battery.truth.after
    rows = []
    for method in METHODS:
        result = analysis.delithiation.select(method)
        error, status = np.abs(result.x.data - truth.x), result.status.data
        for low, high in pairwise(THICKNESS_BINS):
            here = (truth.olivine >= OLIVINE_SHARE) & (truth.t_over_lambda > low) & (truth.t_over_lambda <= high)
            if not here.any():
                continue
            answered = np.isfinite(error) & here
            flagged = answered & (status != DelithiationStatus.QUANTIFIED)
            rows.append(
                {
                    "method": method,
                    "t/λ": f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}",
                    "t/λ (median)": np.median(truth.t_over_lambda[here]),
                    "pixels": int(here.sum()),
                    "median absolute error": np.median(error[answered]) if answered.any() else np.nan,
                    "flagged (%)": 100 * flagged.sum() / here.sum(),
                    "no answer (%)": 100 * (here & ~np.isfinite(result.x.data)).sum() / here.sum(),
                }
            )
    return pd.DataFrame(rows)


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
    record |= {"findings": list(demo.findings), "warnings": list(demo.warnings)}
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "provenance.json").write_text(text + "\n", encoding="utf-8")
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
    report.add("Truth and result", figures=[*demo_figures.truth_figures(demo.battery, analyses)])
    report.add(
        "Accuracy",
        text=f"Pixels with at least {100 * OLIVINE_SHARE:.0f} % of olivine and t/λ of at most {THIN:g}.",
        tables=[Table(demo.accuracy)],
    )
    report.add(
        "Thick pixels",
        text="Olivine pixels after bias: error of x against thickness. Above t/λ = 1 pixels are answered, but flagged.",
        figures=[demo_figures.thickness_figure(demo.thickness)],
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
    yield demo_figures.change_figure(results, marked_particles(demo.battery))
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
            yield demo_figures.spectra_figure(name, *spectra)


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


def _findings(battery: Any, analyses: dict[str, Analysis], accuracy: pd.DataFrame) -> Iterator[str]:
    """What was found, the combined estimate first, beside what was put in."""
    results = {state: analyses[state].delithiation for state in STATES}
    for state, result in results.items():
        yield _compare_content(state, result, getattr(battery.truth, state))
    rows = accuracy[accuracy["method"] == "combined"].dropna(subset="median absolute error")
    for state, known in rows.groupby("state", sort=False):
        worst = known.loc[known["median absolute error"].idxmax()]
        covered = np.average(known["truth within 1σ (%)"], weights=known["pixels"])
        yield (
            f"{state.capitalize()} bias: the median absolute error of x is {worst['median absolute error']:.3f} where "
            f"it is largest ({worst['true x']}, {worst['pixels']} pixels); the stated uncertainty covers the truth in "
            f"{covered:.0f} % of the pixels (68 % expected)."
        )
    for state, result in results.items():
        yield _compare_finds(state, result, getattr(battery.truth, state))
    yield from _compare_carbon(battery, results)
    yield (
        "The calibration takes its pure pixels from the truth of the state after bias; they are judged with the others."
    )
    for state, analysis in analyses.items():
        # What the analysis itself says of the agreement, the distribution of x and the dose.
        words = (
            "The estimates",
            "The olivine",
            "Whether the olivine",
            "The number of recorded electrons",
            "Carbon is not",
        )
        yield from (
            f"{state.capitalize()} bias: {s[0].lower()}{s[1:]}" for s in analysis.findings if s.startswith(words)
        )
    yield from (str(item) for item in analyses["after"].separability if item.edge == "Li_K")


def _compare_content(state: str, result: Any, truth: Any) -> str:
    judged = quantified_pixels(result) & (truth.olivine >= OLIVINE_SHARE) & (truth.t_over_lambda <= THIN)
    if not judged.any():
        return f"{state.capitalize()} bias, no pixel could be quantified."
    # Fe of a column, by which the mean x of a region is weighted.
    iron = truth.areal_density("Fe")[judged]
    return (
        f"{state.capitalize()} bias, x of LixFePO4 is {state_x(statistics_of(result, judged))} from "
        f"{SIGNATURE_NAMES['combined']}, in {int(judged.sum())} pixels with at least {100 * OLIVINE_SHARE:.0f} % of "
        f"olivine and t/λ of at most {THIN:g}; the truth of the same pixels is "
        f"{np.average(truth.x[judged], weights=iron):.3f}."
    )


def _compare_finds(state: str, result: Any, truth: Any) -> str:
    found = result.find_iron_phosphate(FALSE_FINDS).found.data
    olivine = np.isfinite(result.x.data)
    text = (
        f"{state.capitalize()} bias, FePO4 is found in {int(found.sum())} of {int(olivine.sum())} pixels with olivine"
    )
    if found.any():
        # A column without olivine, of which the noise makes one, holds no FePO4 either.
        false = found & ~(truth.fractions["FePO4"] > 0)
        text += (
            f", {100 * false.sum() / found.sum():.1f} % of them wrongly (at most {100 * FALSE_FINDS:g} % were accepted)"
        )
    held = olivine & (truth.fractions["FePO4"] > 0)
    if held.any():
        text += f"; {100 * np.mean(found[held]):.0f} % of the pixels that hold some are found"
    return text + "."


def _compare_carbon(battery: Any, results: dict[str, Any]) -> Iterator[str]:
    """Growth of carbon on the pixels that are quantified in both states."""
    shared = np.all([quantified_pixels(result) for result in results.values()], axis=0)
    carbon = [carbon_of(result, shared) for result in results.values()]
    if not shared.any() or None in carbon:
        return
    (first, first_error), (second, second_error) = carbon
    film = [float(np.mean(getattr(battery.truth, state).carbon_film[shared])) for state in STATES]
    yield (
        f"Carbon on the olivine is t/λ = {with_error(first, first_error)} before and "
        f"{with_error(second, second_error)} after bias, in the {int(shared.sum())} pixels quantified in both states, "
        "beyond that of the reference pixels: a growth of "
        f"{with_error(second - first, float(np.hypot(first_error, second_error)))} (errors from counting), "
        f"which x is free of; the film that was put in grew from {film[0]:.2f} to {film[1]:.2f} nm."
    )


def _electrolyte_findings(battery: Any, comparison: Any) -> list[str]:
    """What changed in the LAGP, beside the amorphous share that was put in."""
    if comparison is None:
        return []
    shares = [
        100 * getattr(battery.truth, state).fractions["amorphous_LAGP"][mask].mean()
        for state, mask in zip(STATES, electrolyte_masks(battery), strict=True)
    ]
    changed = comparison.bands.loc[comparison.bands["conclusion"] == "changed", "band"]
    found = ", ".join(changed) if len(changed) else "no band"
    return [
        f"LAGP, of which {shares[0]:.0f} % were amorphous before and {shares[1]:.0f} % after: beyond noise, thickness "
        f"and calibration changed {found}."
    ]


def _named(report: Progress, state: str) -> Progress:
    """Progress of one state."""
    return lambda stage, done, total: report(f"{stage} {state}", done, total)
