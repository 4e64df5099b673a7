"""EDX maps as files: maps, tables, figures and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.lines.column_spectra import fit_summed_spectrum
from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.plotting.eds import plot_composition, plot_phases, plot_summed_spectrum
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.key_numbers import KeyNumber, key_numbers, sigmas
from hyperspy_assb.report.output import Progress, recorded_warnings, write_record, write_table
from hyperspy_assb.report.writing import add_parameters
from hyperspy_assb.signals.eds.compositions import EDSComposition, EDSPhases
from hyperspy_assb.signals.eds.map_reading import read_map
from hyperspy_assb.signals.result_files import write_map

ABOUT = (
    "All lines of an element are fitted together with those that overlap them and with the continuum, by Poisson "
    "likelihood, with absorption in the specimen. Uncertainties are from counting; the calibration of an element is "
    "common to all pixels, and its uncertainty is in the tables."
)


@dataclass(frozen=True)
class EDXAnalysis:
    """Elements and phases of an EDX map with what is said of them.

    Parameters
    ----------
    phases
        Phases, and the composition.
    summed
        The summed spectrum and its fit.
    findings, warnings
        In sentences.
    record
        What was done, to which files.
    """

    phases: EDSPhases = field(repr=False)
    summed: Any = field(repr=False)
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    record: dict[str, Any] = field(repr=False)

    @property
    def composition(self) -> EDSComposition:
        """Elements of every pixel."""
        return self.phases.composition

    @property
    def explained(self) -> bool:
        """Whether there is a pixel that a mixture of the phases explains."""
        return bool(np.any(self.phases.found.status == PhaseStatus.GOOD))


def analyse_edx(
    signal: Any,
    settings: EDSOptions | None = None,
    *,
    phases: Sequence[str] | None = None,
    correct_energy: bool = False,
    progress: Progress | None = None,
    files: Sequence[str | PathLike[str]] = (),
    earlier_warnings: Sequence[str] = (),
) -> EDXAnalysis:
    """Quantify elements and phases, and say what was found.

    Parameters
    ----------
    signal
        An EDX signal of this package, lazy or not.
    settings
        Elements, thickness, k-factors, absorption; None: as :meth:`.ASSBEDSTEMSpectrum.quantify_phases` has them.
    phases
        Materials that are looked for; None: those of the cell.
    correct_energy
        Whether energy axis and resolution are first corrected by the lines of the summed spectrum.
    progress
        Called with stage, done and total.
    files
        Which the spectra were read from.
    earlier_warnings
        Of reading them.
    """
    settings = settings or EDSOptions()
    report = progress or (lambda stage, done, total: None)
    report("fit", 0, 0)
    with recorded_warnings() as messages:
        found = signal.correct_energy_calibration() if correct_energy else None
        quantified = signal.quantify_phases(phases, quantification=settings)
        summed = fit_summed_spectrum(read_map(signal, need_angle=False), replace(settings, absorption=False))
    findings = tuple(quantified.summary().splitlines())
    if found is not None:
        findings = (*findings, *(f"Before it was corrected: {text}" for text in found.notes))
    record = {
        **quantified.provenance,
        "files": [provenance.describe_file(path) for path in files if Path(path).is_file()],
    }
    return EDXAnalysis(
        phases=quantified,
        summed=summed,
        findings=findings,
        warnings=tuple(dict.fromkeys([*earlier_warnings, *messages])),
        record=record,
    )


def build_xray_report(analysis: EDXAnalysis) -> Report:
    """The page of an analysis."""
    phases, record = analysis.phases, analysis.record
    shape = " × ".join(map(str, phases.shape))
    names = ", ".join(entry["name"] for entry in record["files"])
    report = Report("Elements and phases", subtitle=f"EDX, {shape} spectra" + (f", {names}" if names else ""))
    about = "All pixels together. Uncertainties hold counting and calibration; significance: counting alone."
    report.add("Findings", points=analysis.findings, tables=key_numbers(_numbers(analysis), about), kind="findings")
    if analysis.warnings:
        report.add("Warnings", points=analysis.warnings, kind="warnings")
    figure = Figure.of(
        plot_summed_spectrum(analysis.summed).get_figure(root=True),
        "summed_spectrum",
        "Sum of all spectra with the fit of its lines and continuum; counts are on a logarithmic scale.",
    )
    report.add("Spectrum", text=ABOUT, figures=[figure])
    maps = plot_phases(phases)
    fractions = []
    if analysis.explained:
        table = phases.phase_fractions().reset_index()
        fractions.append(Table(table, "Fractions of volume, mass and area."))
    report.add(
        "Phases",
        figures=[
            Figure.of(
                maps[0].get_figure(root=True),
                "phases",
                "Volume fraction of every phase in the column, the phase with the largest volume, and the status of "
                "every pixel. Grey: no value.",
            )
        ],
        tables=fractions,
    )
    caption = "Atomic per cent of every element, Li not among them. Grey: no value."
    maps = plot_composition(analysis.composition)
    whole = []
    if analysis.composition.found.known.any():
        table = analysis.composition.mean().reset_index()
        whole.append(Table(table, "All pixels together."))
    report.add(
        "Composition",
        figures=[Figure.of(maps[0].get_figure(root=True), "composition", caption)],
        tables=whole,
    )
    parameters = dict(record["parameters"])
    factors = {line: f"{value:.3e}" for line, value in dict(parameters.pop("factor_of", {})).items()}
    add_parameters(report, {"quantification": parameters, "cross-sections (nm²)": factors}, record)
    return report


def _numbers(analysis: EDXAnalysis) -> Iterator[KeyNumber]:
    """Volume fractions where phases explain something, and elements."""
    if analysis.explained:
        yield from volume_numbers(analysis.phases)
    if analysis.composition.found.known.any():
        for element, row in analysis.composition.mean().iterrows():
            error = float(np.hypot(row["std"], row["systematic"]))
            yield KeyNumber(element, row["at. %"], "at. %", error, sigmas(row["at. %"], row["std"]))


def volume_numbers(phases: EDSPhases) -> Iterator[KeyNumber]:
    """Volume fraction of every phase in all pixels together."""
    for name, row in phases.phase_fractions().groupby("phase", sort=False).first().iterrows():
        error = float(np.hypot(row["volume std"], row["volume systematic"]))
        told = sigmas(row["volume"], row["volume std"])
        yield KeyNumber(f"volume of {name}", 100 * row["volume"], "%", 100 * error, told)


def write_edx(analysis: EDXAnalysis, folder: Path) -> Report:
    """Write an analysis to an empty folder.

    There will be ``report.html``, ``phases.hspy`` (everything, see :func:`hyperspy_assb.load`),
    ``table.csv`` (pixels), ``composition.csv``, ``fractions.csv`` where the phases explain something,
    ``provenance.json``, ``figures/*.png`` and ``maps/*.hspy``.

    Returns
    -------
    Report
        The report that was written.
    """
    phases = analysis.phases
    phases.save(folder / "phases.hspy", overwrite=True)
    position = phases.to_dataframe()
    elements = analysis.composition.to_dataframe()
    table = pd.concat([position, elements[[c for c in elements if c not in position]]], axis=1)
    write_table(folder / "table.csv", table)
    write_table(folder / "composition.csv", analysis.composition.mean(), index=True)
    if analysis.explained:
        write_table(folder / "fractions.csv", phases.phase_fractions(), index=True)
    (folder / "maps").mkdir()
    maps = {f"volume_fraction_{name}": item for name, item in phases.volume_fraction.items()}
    maps |= {f"atomic_percent_{name}": item for name, item in analysis.composition.atomic_percent.items()}
    maps |= {"phase_map": phases.phase_map, "status": phases.status}
    for name, item in maps.items():
        slug = "".join(c if c.isalnum() else "_" for c in name)
        write_map(folder / "maps" / f"{slug}.hspy", item)
    record = provenance.to_plain(analysis.record)
    write_record(folder, record, findings=analysis.findings, warnings=analysis.warnings)
    report = build_xray_report(analysis)
    report.write(folder)
    return report
