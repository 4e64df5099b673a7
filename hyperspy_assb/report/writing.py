"""An analysis as files: maps, table, figures and the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb.fitting.solver.spectra_fit import usable
from hyperspy_assb.report import figures
from hyperspy_assb.report.analysis import Analysis
from hyperspy_assb.report.delithiation import delithiation_numbers
from hyperspy_assb.report.html import Report, Table, key_table
from hyperspy_assb.report.key_numbers import KeyNumber, key_numbers, sigmas
from hyperspy_assb.report.output import write_record, write_table
from hyperspy_assb.signals.result_files import write_map


def build_report(analysis: Analysis) -> Report:
    """The report of an analysis: findings first, then spectra, maps, tables, warnings and every parameter."""
    shape = next(iter(analysis.maps.values())).signal.data.shape
    size = " × ".join(map(str, shape)) + " spectra" if np.prod(shape) > 1 else "one spectrum"
    names = ", ".join(entry["name"] for entry in analysis.provenance["files"])
    report = Report(analysis.title, subtitle=f"Low-loss EELS, {size}" + (f", from {names}" if names else ""))
    about = "All pixels together. Uncertainties of areas and densities are from counting alone."
    numbers = key_numbers(_numbers(analysis), about)
    report.add("Findings", points=analysis.findings, tables=numbers, kind="findings")
    if analysis.warnings:
        report.add("Warnings", points=analysis.warnings, kind="warnings")
    if analysis.delithiation is not None:
        report.add("Delithiation", figures=list(figures.delithiation_figures(analysis)))
    report.add("Fitted spectra", figures=list(figures.spectrum_figures(analysis.spectra)))
    maps = list(figures.map_figures(analysis))
    if maps:
        report.add("Maps", figures=maps)
    report.add("Values", tables=[Table(summarise(analysis), "Over all pixels; the table of every pixel is table.csv.")])
    add_parameters(report, analysis.parameters, analysis.provenance)
    return report


def _numbers(analysis: Analysis) -> Iterator[KeyNumber]:
    """x where there are references; t/λ, the plasmon, the 5 eV band and areal densities, as means over the pixels."""
    if analysis.delithiation is not None:
        yield from delithiation_numbers(analysis.delithiation)
    maps = analysis.maps
    fitted = usable(np.ravel(maps["fit_status"].signal.data))
    for name, item in maps.items():
        chosen = name in ("t_over_lambda", "plasmon_energy", "band_area") or name.startswith("areal_density")
        if not chosen or name.endswith("_std"):
            continue
        values = np.ravel(item.signal.data)
        errors = np.ravel(maps[f"{name}_std"].signal.data) if f"{name}_std" in maps else np.full(values.size, np.nan)
        known = fitted & np.isfinite(values)
        if not known.any():
            continue
        mean = float(values[known].mean())
        error = float(np.sqrt(np.sum(errors[known] ** 2)) / known.sum())
        # Edges that are not separated are in each other's errors, but in what is left out of the model as well.
        absent = name == "plasmon_energy" or "(not separated)" in item.label
        yield KeyNumber(item.label, mean, item.units, error, "" if absent else sigmas(mean, error))


def add_parameters(report: Report, parameters: dict[str, Any], record: dict[str, Any]) -> None:
    """Add what was asked for, all parameters, files, versions and citations."""
    tables = [key_table(values, title.capitalize()) for title, values in parameters.items()]
    tables += [key_table(entry, "File") for entry in record["files"]]
    tables.append(key_table({"time (UTC)": record["time"], **record["versions"]}, "Versions"))
    report.add("Parameters and versions", tables=tables)
    report.add("Works to cite", points=record["citations"])


def summarise(analysis: Analysis) -> pd.DataFrame:
    """Median and spread of every map."""
    rows = []
    for item in analysis.maps.values():
        if item.words is not None:
            continue
        values = np.ravel(item.signal.data)
        values = values[np.isfinite(values)]
        quantiles = np.quantile(values, [0.5, 0.05, 0.95]) if values.size else [np.nan] * 3
        rows.append((item.label, item.units, *quantiles, values.size))
    return pd.DataFrame(rows, columns=["quantity", "unit", "median", "5 %", "95 %", "pixels with a value"])


def write_analysis(analysis: Analysis, folder: Path) -> Report:
    """Write an analysis to an empty folder.

    Parameters
    ----------
    analysis
        What to write.
    folder
        There will be ``report.html``, ``table.csv``, ``provenance.json``, ``figures/*.png``, ``maps/*.hspy`` and, with
        references, ``delithiation.hspy``, which holds x by every method and serves as references for another signal of
        the specimen.

    Returns
    -------
    Report
        The report that was written.
    """
    write_maps(analysis, folder / "maps")
    write_table(folder / "table.csv", analysis.table)
    if analysis.delithiation is not None:
        analysis.delithiation.save(folder / "delithiation.hspy", overwrite=True)
    write_record(folder, analysis.provenance, findings=analysis.findings, warnings=analysis.warnings)
    report = build_report(analysis)
    report.write(folder)
    return report


def write_maps(analysis: Analysis, folder: Path) -> None:
    """Write every map as a file of its own, with label, unit and the meaning of its classes in the metadata."""
    folder.mkdir()
    for name, item in analysis.maps.items():
        signal = item.signal.deepcopy()
        signal.metadata.General.title = item.label
        signal.metadata.set_item("Signal.quantity", f"{item.label} ({item.units})" if item.units else item.label)
        if item.words is not None:
            signal.metadata.set_item("ASSB.classes", [f"{key}: {word}" for key, word in item.words.items()])
        write_map(folder / f"{name}.hspy", signal)
