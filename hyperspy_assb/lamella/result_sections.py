"""Figures and tables of the results of a lamella, technique by technique in the order of the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import matplotlib.pyplot as plt

from hyperspy_assb.report.comparison import comparison_figure, comparison_tables
from hyperspy_assb.report.html import Figure, Table
from hyperspy_assb.report.interfaces import width_table
from hyperspy_assb.report.orientations import GRAINS
from hyperspy_assb.signals.result import Result

_ORDER = {
    "Phases and orientations": ("OrientationMaps", "PhaseComparison", "Mechanism"),
    "Series and potential": (
        "DriftCorrection",
        "GrainSeries",
        "GrainTracks",
        "CrackSeries",
        "ContrastSeries",
        "Resistance",
        "VoltammogramPeaks",
        "BeamComparison",
    ),
    "Low-loss EELS": ("Delithiation", "LowLossComparison"),
    "Core-loss EELS": ("FineStructure",),
    "EDX": ("EDSPhases", "EDSComposition", "CompositionComparison", "InterfaceProfile"),
}
_OTHERS = "Other results"
_POINTS = 4
"""Sentences of a summary that are repeated; the notes of a result stand in its own report."""


@dataclass(frozen=True)
class Part:
    """What the page shows of one technique."""

    heading: str
    points: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def result_parts(lamella: Any) -> Iterator[Part]:
    """Parts with something to show."""
    kinds = {kind: heading for heading, names in _ORDER.items() for kind in names}
    for heading in (*_ORDER, _OTHERS):
        part = Part(heading)
        ranked = [
            key
            for key, member in lamella.members.items()
            if kinds.get(member.kind, _OTHERS) == heading and isinstance(lamella[key], Result)
        ]
        order = list(_ORDER.get(heading, ()))
        ranked.sort(key=lambda key: order.index(lamella.members[key].kind) if order else 0)
        for key in ranked:
            _show(part, key, lamella[key], lamella.members[key].kind)
        if part.figures or part.points:
            yield part


def _show(part: Part, key: str, held: Any, kind: str) -> None:
    told = [line for line in held.summary().splitlines() if line not in held.notes]
    part.points.extend(f"{key}: {line}" for line in told[:_POINTS])
    name = "".join(c if c.isalnum() else "_" for c in key)
    if kind == "LowLossComparison":
        figure = comparison_figure(held, name)
        part.figures.append(Figure(figure.name, figure.png, f"{key}. {figure.caption}"))
        part.tables.append(replace(comparison_tables(held)[0], caption=f"{key}: bands"))
        return
    axes = held.plot(options=GRAINS) if kind == "OrientationMaps" else held.plot()
    first = next(iter(axes.flat)) if hasattr(axes, "flat") else axes
    part.figures.append(Figure.of(first.get_figure(root=True), name, f"{key}: {_CAPTIONS.get(kind, kind)}"))
    plt.close("all")
    if kind == "OrientationMaps":
        fractions = held.phase_fractions()
        part.tables.append(Table(fractions, f"{key}: area fractions"))
    elif kind == "InterfaceProfile":
        part.tables.append(Table(width_table(held), f"{key}: widths from 10 to 90 %"))


_CAPTIONS = {
    "OrientationMaps": (
        "virtual bright field, index and reliability; orientation along x, y and z with the key of the colours; phases "
        "with their share of the area, boundaries (black: of one phase, green: of two), reliability of the phase."
    ),
    "Delithiation": "x of every pixel, its uncertainty, status, and how x is distributed.",
    "FineStructure": "x from the fine structure of the edges, its uncertainty, status, and how x is distributed.",
    "EDSPhases": "volume fraction of each phase.",
    "EDSComposition": "elements in atomic per cent.",
    "InterfaceProfile": "elements across the interface with standard errors, and the fit of all together.",
    "CompositionComparison": "changes of the composition.",
    "PhaseComparison": "which phase became which.",
    "Mechanism": "delithiated share, orientation spread and distance to amorphous material of particles, by size.",
    "DriftCorrection": "position of the content against time, with its error.",
    "GrainSeries": "area of the grain boundaries against time.",
    "GrainTracks": "area of each grain against time.",
    "CrackSeries": "cracks and boundaries that widen, with the frame in which each begins.",
    "ContrastSeries": "contrast of the regions against the rest of the field.",
    "Resistance": "voltammogram with the lines whose slope is the conductance.",
    "VoltammogramPeaks": "voltammogram with its significant peaks.",
    "BeamComparison": "effects of the beam, with and without bias.",
}
