"""An interface profile as files: result, table, figure and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.interfaces.map_interface import ProfileOptions
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.output import recorded_warnings, write_record, write_table
from hyperspy_assb.report.writing import add_parameters
from hyperspy_assb.signals.eds.interface_profile import InterfaceProfile

ABOUT = (
    "Atoms of each element per area along the profile, with error functions of one position and width fitted to all "
    "elements together, corrected for the probe. Widths are from 10 to 90 %, with intervals of 68 %."
)


@dataclass(frozen=True)
class InterfaceAnalysis:
    """An interface profile with what is said of it.

    Parameters
    ----------
    profile
        Profile and fits.
    findings, warnings
        In sentences.
    record
        What was done, to which files.
    """

    profile: InterfaceProfile = field(repr=False)
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    record: dict[str, Any] = field(repr=False)


def analyse_interface(
    signal: Any,
    options: Mapping[str, Any],
    *,
    files: Sequence[str | PathLike[str]] = (),
    earlier_warnings: Sequence[str] = (),
) -> InterfaceAnalysis:
    """Fit the profile across an interface, and say what was found.

    Parameters
    ----------
    signal
        An EDX signal of this package.
    options
        ``probe`` and, where they are given, ``reach`` and ``elements`` of
        :meth:`.ASSBEDSTEMSpectrum.interface_profile`; ``bin_width`` and ``smooth`` of its :class:`.ProfileOptions`;
        ``k_factors``, ``thickness`` and ``absorption`` of :class:`.EDSOptions`; ``line``, a list of x1, y1, x2, y2 and
        width in the units of the axes; ``phase``, whose boundary is found by ``quantify_phases`` first. With neither,
        the profile runs along the columns.
    files
        Which the spectra were read from.
    earlier_warnings
        Of reading them.

    Raises
    ------
    ValueError
        If a line and a phase are given, and as ``interface_profile`` has it.
    """
    chosen = dict(options)
    line, phase = chosen.pop("line", None), chosen.pop("phase", None)
    if line is not None and phase is not None:
        raise AssbValueError("Give line or phase, not both.")
    if line is not None:
        import hyperspy.api as hs

        chosen["line"] = hs.roi.Line2DROI(*line)
    settings = EDSOptions(**_taken(chosen, "k_factors", "thickness", "absorption"))
    drawn = ProfileOptions(**_taken(chosen, "bin_width", "smooth"))
    with recorded_warnings() as messages:
        if phase is not None:
            chosen |= {"boundary": signal.quantify_phases(quantification=settings), "phase": phase}
        profile = signal.interface_profile(quantification=settings, options=drawn, **chosen)
    described = [provenance.describe_file(path) for path in files if Path(path).is_file()]
    return InterfaceAnalysis(
        profile=profile,
        findings=tuple(profile.summary().splitlines()),
        warnings=tuple(dict.fromkeys([*earlier_warnings, *messages])),
        record=provenance.to_plain({**profile.provenance, "files": described}),
    )


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Some of the options, which are no longer among the others."""
    return {name: options.pop(name) for name in names if name in options}


def width_table(profile: InterfaceProfile) -> pd.DataFrame:
    """Width of each element as a reader needs it, with units; without columns in which nothing stands."""
    names = {
        "position": "position (nm)",
        "position_std": "position std (nm)",
        "p_fit": "p of the fit",
        "left": "left (atoms/nm²)",
        "right": "right (atoms/nm²)",
        "reason": "note",
    }
    table = profile.widths.reset_index().drop(columns=["variance", "variance_std"]).rename(columns=names)
    if "poor side" in table:
        table["poor side"] = table["poor side"].map({-1: "smaller distances", 1: "larger distances"})
    return table.drop(columns=[name for name in ("note",) if name in table and not table[name].astype(bool).any()])


def write_interface(analysis: InterfaceAnalysis, folder: Path) -> Report:
    """Write an interface profile to an empty folder.

    There will be ``report.html``, ``interface.hspy`` (everything, see :func:`hyperspy_assb.load`), ``profile.csv``,
    ``widths.csv``, ``provenance.json`` and ``figures/interface.png``.

    Returns
    -------
    Report
        The report that was written.
    """
    profile, record = analysis.profile, analysis.record
    profile.save(folder / "interface.hspy", overwrite=True)
    write_table(folder / "profile.csv", profile.to_dataframe())
    write_table(folder / "widths.csv", profile.widths, index=True)
    write_record(folder, record, findings=analysis.findings, warnings=analysis.warnings)
    names = ", ".join(entry["name"] for entry in record["files"])
    report = Report("Interface profile", subtitle="EDX" + (f", {names}" if names else ""))
    report.add("Findings", points=analysis.findings, kind="findings")
    if analysis.warnings:
        report.add("Warnings", points=analysis.warnings, kind="warnings")
    figure = Figure.of(
        profile.plot().get_figure(root=True),
        "interface",
        "Elements across the interface with their standard errors, and the fit of all together.",
    )
    report.add("Profile", text=ABOUT, figures=[figure], tables=[Table(width_table(profile), "Widths.")])
    add_parameters(report, {"profile": record["parameters"]}, record)
    report.write(folder)
    return report
