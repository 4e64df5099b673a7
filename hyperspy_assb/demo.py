"""The virtual lamella from simulation to report: what every technique finds before and after bias, and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.acom import simulate_bank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.lamella.lamella import Lamella
from hyperspy_assb.lamella.lamella_report import build_report, page_text
from hyperspy_assb.registration.affine import Affine
from hyperspy_assb.report import truth_figures
from hyperspy_assb.report.analysis import Analysis, analyse_low_loss
from hyperspy_assb.report.comparison import compare_signals, write_comparison
from hyperspy_assb.report.figures import populations_figure, spectrum_figures
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.output import Progress, recorded_warnings, write_record, write_table
from hyperspy_assb.report.spectra import choose_spectra
from hyperspy_assb.report.truth import (
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
from hyperspy_assb.simulation import DiffractionScan, micro_battery, patterns_to_signal
from hyperspy_assb.simulation.scan_views import ScanView, seen_by
from hyperspy_assb.simulation.series import simulate_voltammogram

CRYSTALS = ("LiFePO4", "FePO4", "LAGP")
END_MEMBERS = CRYSTALS[:2]
BIAS = {"before": 0.0, "after": 5.0}
"""V."""
TURNED, SMALLER, ASIDE = 4.0, 0.88, (0.012, -0.008)
"""The 4D-STEM scan beside that of EELS and EDX: degrees, size of its pixels, shift of its middle over the field."""
OLIVINE_BANDS = ("FePO4 valence", "valence transitions", "volume plasmon", "Li K")
"""From 4 to 7 eV it is FePO4 that is looked for in olivine, and carbon in LAGP."""
IRON = 6.2, 6.6
"""keV around Fe Kα."""
PHASES = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")
FEWEST_PIXELS = 5
"""Pure pixels that a phase needs to serve as a reference."""


@dataclass(frozen=True)
class Demo:
    """A virtual lamella with the analysis of all its signals.

    Parameters
    ----------
    battery
        Signals and truth.
    lamella
        Signals and results in one frame.
    analyses
        Of EELS by state, "before" and "after".
    findings
        In sentences: those of the lamella, then those against the truth.
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
    lamella: Lamella = field(repr=False)
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
    """Simulate a lamella before and after bias, look at it with EELS, EDX and 4D-STEM, and bring all into one frame.

    EELS and EDX are recorded in one scan, diffraction patterns in another one, turned and with other pixels; how they
    lie in each other is found from the images. Diffraction names the pure pixels on which EELS after bias is
    calibrated; the state before is read with the same calibration.

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
        The lamella, analyses, and how they compare with the truth.

    Raises
    ------
    AssbValueError
        If the map is too small to hold pure pixels of both olivines.
    """
    report = progress or (lambda stage, done, total: None)
    report("simulate", 0, 0)
    battery = micro_battery(shape=shape, seed=seed, dose=dose, signal_type="EELS_ASSB", edx_signal_type="EDS_TEM_ASSB")
    area = battery.truth.pixel_size**2
    lamella = Lamella("virtual battery")
    with recorded_warnings() as messages:
        view = _add_patterns(lamella, battery, report)
        for state in STATES:
            signal = getattr(battery, f"eels_{state}")
            signal.metadata.set_item("ASSB.dose", dose / area)
            lamella.add(f"EELS {state}", signal, bias=BIAS[state], frame=None if state == "before" else "EELS before")
        notes = _register(lamella, battery, view, report)
        references, sentence = _references(lamella, battery)
    after = analyse_low_loss(battery.eels_after, references=references, progress=_named(report, "after"))
    before = analyse_low_loss(battery.eels_before, references=after.delithiation, progress=_named(report, "before"))
    analyses = {"before": before, "after": after}
    for state in STATES:
        lamella.add(f"EELS fit {state}", analyses[state].delithiation, bias=BIAS[state], frame=f"EELS {state}")
    report("compare", 0, 0)
    comparison, warned = compare_electrolyte(battery)
    if comparison is not None:
        lamella.add("LAGP before and after", comparison)
    messages = [*messages, *warned]
    with recorded_warnings() as more:
        turned_over = compare_olivine(lamella, references)
        if turned_over is not None:
            lamella.add("LiFePO4 that became FePO4", turned_over)
        _add_edx(lamella, battery, report)
        report("voltammogram", 0, 0)
        voltammogram = simulate_voltammogram(seed=seed)
        lamella.add("resistance", voltammogram.resistance())
        lamella.add("peaks", voltammogram.find_peaks())
    accuracy = judge_accuracy(battery, analyses)
    parameters = {
        "simulation": {"shape": list(shape), "seed": seed, "electrons per spectrum": dose},
        "references (pixels)": {name: int(np.sum(getattr(m, "data", m))) for name, m in references.items()},
    }
    claims = [claim.sentence for claim in lamella.agreement()]
    against = (*compare_findings(battery, analyses, accuracy, sentence), *electrolyte_findings(battery, comparison))
    return Demo(
        battery=battery,
        lamella=lamella,
        analyses=analyses,
        findings=(*claims, *notes, *against),
        warnings=tuple(dict.fromkeys([*messages, *before.warnings, *after.warnings, *more])),
        accuracy=accuracy,
        thickness=judge_thickness(battery, analyses["after"]),
        parameters=parameters,
        comparison=comparison,
    )


def _add_patterns(lamella: Lamella, battery: Any, report: Progress) -> ScanView:
    """Simulate and index the patterns of both states."""
    truth = battery.truth
    extent = np.array(truth.after.thickness.shape) * truth.pixel_size
    view = ScanView(
        truth.after.thickness.shape, SMALLER * truth.pixel_size, TURNED, tuple((0.5 + np.array(ASIDE)) * extent)
    )
    report("templates", 0, 0)
    bank = simulate_bank(list(CRYSTALS))
    for state in STATES:
        report(f"patterns {state}", 0, 0)
        own = battery.diffraction_scan(state)
        seen = seen_by(getattr(truth, state), truth.pixel_size, view)
        scan = DiffractionScan(seen, own.conditions, own.seed, own.noise_seed)
        patterns = patterns_to_signal(
            scan.patterns(), own.conditions, pixel_size=view.pixel_size, title=f"Virtual battery {state} bias"
        )
        patterns.metadata.set_item("ASSB.dose", own.conditions.electrons / view.pixel_size**2)
        report(f"index {state}", 0, 0)
        maps = patterns.index_orientations(bank, show_progressbar=False)
        beside = None if state == "before" else "4D-STEM before"
        lamella.add(f"4D-STEM {state}", maps, bias=BIAS[state], frame=beside)
        lamella.add(f"patterns {state}", patterns, bias=BIAS[state], frame=f"4D-STEM {state}")
    return view


def _register(lamella: Lamella, battery: Any, view: ScanView, report: Progress) -> list[str]:
    """Find how the scans lie in each other, and say how far that is from the truth; refused, the truth is taken."""
    report("register", 0, 0)
    frame = lamella._framed("4D-STEM before")
    true = Affine(_rotation(view), np.array(view.middle) - 0.5 * battery.truth.pixel_size, frame.centre)
    # Fe is in olivine alone, whose pixels diffraction names.
    iron = battery.edx_before.isig[IRON[0] : IRON[1]].sum(axis=-1)
    maps = lamella["4D-STEM before"]
    ends = [number for number, phase in enumerate(maps.phases) if phase.name in END_MEMBERS]
    olivine = maps.phase_map._deepcopy_with_new_data(np.isin(maps.phase_map.data, ends))
    try:
        lamella.register("4D-STEM before", images={"4D-STEM before": olivine, "EELS before": iron})
    except AssbValueError as error:
        lamella.register("4D-STEM before", transforms={"EELS before": true})
        return [f"The registration was refused, and the true one is taken: {error}"]
    registration = lamella.members["EELS before"].registration
    if registration is None:
        return []
    found, places = registration.transform, frame.positions()
    off = float(np.sqrt(((found(places) - true(places)) ** 2).sum(axis=-1).mean()))
    stated = float(np.sqrt((found.position_std(places) ** 2).mean()))
    return [
        f"The scans of EELS and 4D-STEM, turned by {view.angle:g}° against each other, are registered to {off:.2g} nm "
        f"(pixels of {battery.truth.pixel_size:.3g} nm; stated: {stated:.2g} nm)."
    ]


def _rotation(view: ScanView) -> np.ndarray:
    """Matrix from the axes of the view to those of the lamella, rows before columns."""
    cos, sin = np.cos(np.deg2rad(view.angle)), np.sin(np.deg2rad(view.angle))
    return np.array([[cos, sin], [-sin, cos]])


def _references(lamella: Lamella, battery: Any) -> tuple[dict[str, Any], str]:
    """Pure pixels by diffraction; those of the truth where diffraction finds too few of an end member."""
    found = {
        name: mask
        for name, mask in lamella.references("EELS after", source="4D-STEM after").items()
        if mask.data.sum() >= FEWEST_PIXELS
    }
    if all(name in found for name in END_MEMBERS):
        return found, "The calibration takes its pure pixels from diffraction; they are judged with the others."
    pure = {name: battery.truth.after.pure(name) for name in PHASES}
    found = {name: mask for name, mask in pure.items() if mask.sum() >= FEWEST_PIXELS}
    lacking = [name for name in END_MEMBERS if name not in found]
    if lacking:
        rows, columns = battery.truth.after.x.shape
        raise AssbValueError(
            f"A battery of {rows}x{columns} pixels has fewer than {FEWEST_PIXELS} pure pixels of "
            f"{' and '.join(lacking)}: take a larger shape or another seed."
        )
    return found, (
        "Diffraction finds too few pure pixels, so the calibration takes them from the truth of the state after bias; "
        "they are judged with the others."
    )


def _add_edx(lamella: Lamella, battery: Any, report: Progress) -> None:
    """Elements and phases of both states, and the interface of olivine and LAGP."""
    probe = battery.truth.pixel_size
    for state in STATES:
        report(f"EDX {state}", 0, 0)
        signal = getattr(battery, f"edx_{state}")
        phases = signal.quantify_phases()
        lamella.add(f"EDX {state}", signal, bias=BIAS[state], frame=f"EELS {state}")
        lamella.add(f"EDX phases {state}", phases, bias=BIAS[state], frame=f"EELS {state}")
        lamella.add(f"elements {state}", phases.composition, bias=BIAS[state], frame=f"EELS {state}")
        try:
            profile = signal.interface_profile(boundary=phases, phase="olivine", probe=probe)
        except AssbValueError:
            continue
        lamella.add(f"interface {state}", profile, bias=BIAS[state])


def compare_olivine(lamella: Lamella, references: dict[str, Any]) -> Any:
    """Spectra of pixels that are FePO4 after bias, and were LiFePO4 before; None where there are too few."""
    try:
        before = lamella.references("EELS before", source="4D-STEM before")
    except (AssbValueError, KeyError):
        return None
    after = references.get("FePO4")
    if after is None or "LiFePO4" not in before:
        return None
    mask = np.asarray(before["LiFePO4"].data) & np.asarray(getattr(after, "data", after))
    if mask.sum() < FEWEST_PIXELS:
        return None
    return compare_signals([lamella["EELS before"], lamella["EELS after"]], region=mask, bands=OLIVINE_BANDS)[0]


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
    write_table(folder / "accuracy.csv", demo.accuracy)
    write_table(folder / "thickness.csv", demo.thickness)
    record = provenance.record("demo", parameters=demo.parameters)
    write_record(folder, record, findings=demo.findings, warnings=demo.warnings)
    lamella = demo.lamella
    report = build_report(lamella, lamella.agreement(), more=lambda page: _add_truth(page, demo, reports["after"]))
    report.title = "Virtual battery before and after bias"
    rows, columns = demo.battery.truth.after.x.shape
    report.subtitle = (
        f"EELS, EDX and 4D-STEM of a simulated lamella in one frame, {rows} × {columns} pixels of "
        f"{demo.battery.truth.pixel_size:.3g} nm, with the dose and the carbon of each signal."
    )
    report.write(folder)
    (folder / "report.html").write_text(page_text(lamella, report), encoding="utf-8")


def _add_truth(report: Report, demo: Demo, after_report: Report) -> None:
    """What was found, beside what was put in; figures of the fit are taken from the report of its own."""
    truth, analyses = demo.battery.truth, demo.analyses
    report.add("Against the truth", points=demo.findings, kind="findings")
    if demo.warnings:
        report.add("Warnings", points=demo.warnings, kind="warnings")
    report.add(
        "Before and after",
        text="The same pixels in both states. Mean spectra have their zero loss aligned, and are given per t/λ.",
        figures=[*_comparisons(demo)],
    )
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


def _drawn(report: Report, *names: str) -> list[Figure]:
    """Figures of a report whose names begin with one of some words."""
    return [figure for figure in report.figures if figure.name.startswith(names)]


def _comparisons(demo: Demo) -> Iterator[Figure]:
    """Maps of x, distributions of x, and mean spectra of olivine and of LAGP, in both states."""
    truth = demo.battery.truth
    results: dict[str, Any] = {state: demo.analyses[state].delithiation for state in STATES}
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
