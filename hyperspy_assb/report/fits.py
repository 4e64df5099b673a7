"""Fits of one file as a recipe says, written to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.report.analysis import Analysis, analyse_low_loss
from hyperspy_assb.report.edx import EDXAnalysis, analyse_edx, write_edx
from hyperspy_assb.report.output import Progress
from hyperspy_assb.report.recipe import Recipe, load_references
from hyperspy_assb.report.writing import write_analysis


def fit_low_loss(signal: Any, plan: Recipe, folder: Path, progress: Progress, **told: Any) -> Analysis:
    """Fit an EELS map as a recipe says, and write everything to an empty folder.

    Parameters
    ----------
    signal
        An EELS signal of this package.
    plan
        What to fit.
    folder
        Where to.
    progress
        Called with stage, done and total.
    told
        ``files`` and ``earlier_warnings`` of :func:`.analyse_low_loss`.

    Raises
    ------
    AssbValueError
        If the recipe names phases, or references that cannot be used.
    """
    if plan.phases:
        raise AssbValueError("Low-loss maps take their phases from --references; --phases is for EDX.")
    references = load_references(plan.references, signal)
    analysis = analyse_low_loss(signal, plan.elements, plan.valence, references, progress, **told)
    progress("write", 0, 0)
    write_analysis(analysis, folder)
    return analysis


def fit_edx(signal: Any, plan: Recipe, folder: Path, progress: Progress, **told: Any) -> EDXAnalysis:
    """Quantify an EDX map as a recipe says, and write everything to an empty folder.

    Parameters
    ----------
    signal
        An EDX signal of this package.
    plan, folder, progress, told
        As for :func:`fit_low_loss`.

    Raises
    ------
    AssbValueError
        If the recipe has references, or something is missing in the metadata.
    """
    if plan.references:
        raise AssbValueError("EDX maps take no references: LiFePO4 and FePO4 have the same X-ray lines.")
    try:
        settings = EDSOptions(
            elements=None if plan.elements is None else tuple(plan.elements),
            thickness=plan.thickness,
            k_factors=plan.k_factors,
            absorption=plan.absorption,
        )
        analysis = analyse_edx(
            signal, settings, phases=plan.phases, correct_energy=plan.correct_energy, progress=progress, **told
        )
    except ValueError as error:
        if "thickness=" in str(error):
            raise AssbValueError(f"{error} On the command line: --thickness, or --no-absorption.") from error
        raise
    progress("write", 0, 0)
    write_edx(analysis, folder)
    return analysis
