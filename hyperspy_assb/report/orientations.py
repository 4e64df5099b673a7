"""Orientation maps as files: maps, tables, figures and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.acom.maps.area_fractions import NOT_OFFERED
from hyperspy_assb.acom.maps.couples import find_couple
from hyperspy_assb.acom.maps.grains import GrainOptions
from hyperspy_assb.plotting.acom import plot_match
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.key_numbers import KeyNumber, key_numbers
from hyperspy_assb.report.output import Progress, recorded_warnings, write_record, write_table
from hyperspy_assb.report.writing import add_parameters
from hyperspy_assb.signals.acom.crystal_map import setting_notes
from hyperspy_assb.signals.acom.indexing import index_orientations
from hyperspy_assb.signals.acom.mechanism import Mechanism
from hyperspy_assb.signals.acom.orientations import OrientationMaps
from hyperspy_assb.signals.acom.pattern_metadata import read_scan
from hyperspy_assb.signals.acom.signal import load_patterns
from hyperspy_assb.signals.beam_dose import dose_of
from hyperspy_assb.signals.result_files import write_map

GRAINS = GrainOptions(min_pixels=2)
"""Single pixels that were indexed wrongly are no grains."""
EXAMPLES = 6
_OVERLAPS = 5.0
"""Per cent of the area below which "not offered" is no finding: overlaps of small offered crystals reach 3.4 %."""
ABOUT = (
    "Templates in every orientation, every in-plane angle and both mirror settings, square root of the counts, the "
    "mean of each radius removed; orientations refined below the spacing of the templates. The frame: x along the rows "
    "of the scan, y down its columns, z towards the electron source."
)


@dataclass(frozen=True)
class OrientationAnalysis:
    """Orientation maps with what is said of them.

    Parameters
    ----------
    result
        The maps.
    mechanism
        Particles of the electrode; None where not both of its end members were offered.
    findings, warnings
        In sentences.
    matches
        Pictures of patterns with their templates.
    record
        What was done, to which files.
    """

    result: OrientationMaps = field(repr=False)
    mechanism: Mechanism | None = field(repr=False)
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    matches: tuple[Figure, ...] = field(repr=False)
    record: dict[str, Any] = field(repr=False)


def read_patterns(
    path: Path, *, settings: dict[str, Any], reader: str | None = None, dataset: str | None = None
) -> tuple[Any, tuple[str, ...]]:
    """Lazy patterns of a file, with what was said of them on the command line; and what was warned of.

    Parameters
    ----------
    path
        Of any format that HyperSpy reads.
    settings
        Of ``scale``, ``centre``, ``scan_rotation`` (degrees), ``beam_energy`` (keV), ``precession_angle`` (degrees) and
        ``scan_shape`` (rows and columns), those that are given.
    reader, dataset
        As for :func:`.load_patterns`.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file cannot be read, or a value cannot be.
    """
    with recorded_warnings() as messages:
        signal = load_patterns(path, lazy=True, reader=reader, dataset=dataset, scan_shape=settings.get("scan_shape"))
    for name in ("beam_energy", "precession_angle"):
        if settings.get(name) is not None:
            signal.metadata.set_item(f"Acquisition_instrument.TEM.{name}", float(settings[name]))
    given = {key: settings[key] for key in ("scale", "centre", "scan_rotation") if settings.get(key) is not None}
    if given:
        signal.set_diffraction_calibration(**given)
    return signal, tuple(messages)


def analyse_orientations(
    signal: Any,
    bank: Any,
    *,
    calibrate: bool = True,
    refine: bool = True,
    progress: Progress | None = None,
    files: Sequence[str | PathLike[str]] = (),
    earlier_warnings: Sequence[str] = (),
) -> OrientationAnalysis:
    """Index patterns, and say what was found.

    Parameters
    ----------
    signal
        Patterns, lazy or not.
    bank
        Templates, or names or CIFs of phases.
    calibrate, refine
        As for :meth:`.ACOMPatterns.index_orientations`.
    progress
        Called with stage, done and total.
    files
        Which the patterns were read from.
    earlier_warnings
        Of reading them.
    """
    report = progress or (lambda stage, done, total: None)
    with recorded_warnings() as messages:
        result = index_orientations(
            read_scan(signal), bank, calibrate=calibrate, refine=refine, progress=report, dose=dose_of(signal)
        )
    report("grains", 0, 0)
    couple = find_couple([phase.name for phase in result.phases])
    mechanism = None if couple is None else result.mechanism(couple)
    findings = [line for line in result.summary().splitlines() if line not in result.notes]
    if mechanism is not None:
        findings += mechanism.summary().splitlines()[:2]
    record = {**result.provenance, "files": [provenance.describe_file(path) for path in files if Path(path).is_file()]}
    report("figures", 0, 0)
    return OrientationAnalysis(
        result=result,
        mechanism=mechanism,
        findings=tuple(findings),
        warnings=tuple(dict.fromkeys([*earlier_warnings, *messages, *result.notes, *setting_notes(result.phases)])),
        matches=tuple(match_figures(result, signal)),
        record=record,
    )


def match_figures(result: OrientationMaps, signal: Any, count: int = EXAMPLES) -> list[Figure]:
    """A pattern of every phase with its template, and of amorphous material: that of the median correlation.

    Patterns are read one by one, as the scan may not fit in memory.
    """
    import matplotlib.pyplot as plt

    classes, figures = result.classes, []
    for number, name in enumerate(classes.names[:count]):
        places = np.argwhere(classes.index == number)
        if not len(places):
            continue
        score = result.found.correlation[tuple(places.T)]
        place = places[np.argsort(score, kind="stable")[len(score) // 2]]
        index = tuple(int(i) for i in place[2 - len(result.axes) :])
        _, ax = plt.subplots(figsize=(5.2, 5.4), layout="constrained")
        plot_match(result, signal, index, ax=ax)
        slug = "".join(c if c.isalnum() else "_" for c in name)
        crystal = int(result.found.phase[tuple(place)])
        template = "" if crystal < 0 else f", with the template of {result.phases[crystal].name}"
        caption = f"{name}: pattern of median correlation, at row {place[0]}, column {place[1]}{template}."
        figures.append(Figure.of(ax.get_figure(root=True), f"match_{slug}", caption))
    return figures


def map_figure(result: OrientationMaps) -> Figure:
    """All maps on one page."""
    axes = result.plot(options=GRAINS)
    caption = (
        "Virtual bright field, index and reliability; orientation along x, y and z with the key of the colours; phases "
        "with their share of the area, boundaries (black: grains of one phase, green: phases) and reliability of the "
        "phase. Black or grey: not indexed."
    )
    return Figure.of(axes[0, 0].get_figure(root=True), "maps", caption)


def orientation_numbers(result: OrientationMaps) -> Iterator[KeyNumber]:
    """Area of every class."""
    columns = ["class", "area (%)", "std (%)", "std classification (%)"]
    for name, area, std, doubt in result.phase_fractions()[columns].to_numpy():
        error, unit = float(np.hypot(std, doubt)), "% of the area"
        if name == NOT_OFFERED:
            yield KeyNumber("not offered, or overlapping crystals", area, unit, error, floor=_OVERLAPS)
        else:
            yield KeyNumber(name, area, unit, error)


def build_orientation_report(analysis: OrientationAnalysis) -> Report:
    """The page of an analysis."""
    result, record = analysis.result, analysis.record
    shape = " × ".join(map(str, result.found.phase.shape))
    names = ", ".join(entry["name"] for entry in record["files"])
    report = Report("Phases and orientations", subtitle=f"4D-STEM, {shape} patterns" + (f", {names}" if names else ""))
    fractions = result.phase_fractions()
    numbers = orientation_numbers(result)
    about = "Of the patterns with an answer; another area like this one would differ by so much."
    report.add("Findings", points=analysis.findings, tables=key_numbers(numbers, about), kind="findings")
    if analysis.warnings:
        report.add("Warnings", points=analysis.warnings, kind="warnings")
    report.add("Maps", text=ABOUT, figures=[map_figure(result)])
    report.add("Patterns and templates", figures=list(analysis.matches))
    report.add(
        "Area fractions",
        tables=[Table(fractions, "In per cent of the patterns with an answer.")],
    )
    if analysis.mechanism is not None and len(analysis.mechanism.particles):
        axes = analysis.mechanism.plot()
        mechanism = analysis.mechanism
        caption = (
            f"Particles of {mechanism.electrode}: share of {mechanism.delithiated}, orientation spread and distance to "
            "amorphous material by size."
        )
        report.add(
            "Mechanism",
            points=analysis.mechanism.summary().splitlines(),
            figures=[Figure.of(axes[0, 0].figure, "mechanism", caption)],
            tables=[
                Table(analysis.mechanism.tests, "Permutation tests, one-sided."),
                Table(analysis.mechanism.table.head(40), "Particles, largest first; all of them are in particles.csv."),
            ],
        )
    parameters = dict(record["parameters"])
    nested = {key: parameters.pop(key) for key in ("geometry", "stated geometry", "options") if key in parameters}
    nested = {key: value for key, value in nested.items() if isinstance(value, dict)}
    add_parameters(report, {"indexing": parameters, **nested}, record)
    return report


def write_orientations(analysis: OrientationAnalysis, folder: Path) -> Report:
    """Write an analysis to an empty folder.

    There will be ``report.html``, ``orientations.hspy`` (everything, see :func:`hyperspy_assb.load`),
    ``orientations.ang``, ``.ctf`` and ``.h5`` for other programs, ``fractions.csv``, ``grains.csv``,
    ``boundaries.csv``, ``particles.csv`` and ``tests.csv`` with both end members of an electrode,
    ``provenance.json``, ``figures/*.png`` and ``maps/*.hspy``.

    Returns
    -------
    Report
        The report that was written.
    """
    result = analysis.result
    result.save(folder / "orientations.hspy", overwrite=True)
    for ending in ("ang", "ctf", "h5"):
        result.export(folder / f"orientations.{ending}", overwrite=True)
    grains = result.grain_boundaries(options=GRAINS)
    tables: dict[str, pd.DataFrame] = {
        "fractions": result.phase_fractions(),
        "grains": grains.table,
        "boundaries": grains.lengths,
    }
    if analysis.mechanism is not None:
        tables |= {"particles": analysis.mechanism.table, "tests": analysis.mechanism.tests}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)
    (folder / "maps").mkdir()
    names = ("class_map", "correlation", "reliability", "phase_reliability", "twin_reliability")
    maps = {name: getattr(result, name) for name in (*names, "virtual_bright_field", "status")}
    for name, signal in (maps | {"kernel_misorientation": result.kernel_misorientation()}).items():
        write_map(folder / "maps" / f"{name}.hspy", signal)
    record = provenance.to_plain(analysis.record)
    write_record(folder, record, findings=analysis.findings, warnings=analysis.warnings)
    report = build_orientation_report(analysis)
    report.write(folder)
    return report
