"""What the joint low-loss model is made of: its components, chosen by elements and energy range."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hyperspy_assb import reference
from hyperspy_assb.eels import lineshapes
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.edges.edge_terms import EDGES, FIXED_AT_FIRST, edge_name, edge_term
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, LineShape, Term

ELEMENTS = ("Li", "Fe", "P", "O")
"""Elements of the positive electrode, where neither the caller nor the metadata names any."""
BAND_ELEMENT = "Fe"
"""Where it is, the 5 eV band can be: its empty states are those of Fe3+ in FePO4."""
LOW_LOSS_EDGES = (20.0, 210.0)
"""Onsets in eV between which an edge is a component; below it is part of the valence scattering, and above it a
low-loss spectrum seldom reaches it."""
K_SHELL_ONLY = ("H", "He", "C", "N", "O", "F", "Ne")
"""Elements whose only edge lies above the low loss: nobody expects one there."""
AFTER_ONSET, LEAST_AFTER_ONSET = 45.0, 8.0
"""eV. How much of the last edge is fitted, and how much of an edge must lie in the range: without its maximum an edge
is a step that the continuum imitates."""
LEAST_END = 100.0
"""eV. Up to here spectra are fitted, where they go so far, also without an edge there."""
NOMINAL = MicroscopeParameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
"""What cross-sections are computed for where the microscope is not known; areal densities are relative then."""


@dataclass(frozen=True)
class LowLossOptions:
    """What goes into a low-loss model.

    Parameters
    ----------
    elements
        Chemical symbols; their edges up to 210 eV that lie in the range are fitted, and C brings the pi band.
    valence
        "continuum": a free-form single-scattering distribution; "plasmon": one Drude plasmon, for simple metals.
    valence_band
        Whether the 5 eV band of FePO4 is a component.
    breaks
        Breakpoints of the continuum in eV, without the last, which lies behind the range. They are wider apart than the
        5 eV band below 10 eV, and finer than the plasmons of oxides and phosphates are wide above.
    """

    elements: tuple[str, ...] = ELEMENTS
    valence: str = "continuum"
    valence_band: bool = True
    breaks: tuple[float, ...] = (2.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0, 25.0, 28.0, 31.0, 35.0, 40.0, 47.0, 100.0)

    def __post_init__(self) -> None:
        if self.valence not in ("continuum", "plasmon"):
            raise AssbValueError(f'valence must be "continuum" or "plasmon", not {self.valence!r}.')


@dataclass(frozen=True)
class Component:
    """A component of the joint model.

    Parameters
    ----------
    name
        Of the component; for an edge "Li_K".
    term
        Line shape and constants.
    fixed
        Parameters that are not fitted.
    shell
        Of an edge; else empty.
    arguments
        What it was made from: breakpoints, or element, beam energy and angles.
    """

    name: str
    term: Term
    fixed: tuple[str, ...] = ()
    shell: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, shape: LineShape, *fixed: str) -> Component:
        """A line shape without constants."""
        return cls(shape.name, Term(shape), fixed)


def choose_components(
    energy: FloatArray, microscope: MicroscopeParameters, options: LowLossOptions
) -> tuple[list[Component], int]:
    """The components of the joint model, without a dark level, and how many channels, from the first, are fitted.

    Parameters
    ----------
    energy
        Centres of the channels in eV, shape (E,).
    microscope
        Beam energy and angles; where one is None a nominal value is taken, and a warning says so.
    options
        What goes into the model.

    Warns
    -----
    AssbWarning
        If the beam energy or an angle is unset, so that areal densities are only relative.
    """
    last = float(energy[-1])
    known = {name: value if value is not None else getattr(NOMINAL, name) for name, value in asdict(microscope).items()}
    edges = _edges(options, last, known)
    end = min(last, max([LEAST_END, *(_onset(edge) + AFTER_ONSET for edge in edges)]))
    found = [Component.of(lineshapes.ZERO_LOSS_PEAK)]
    if options.valence == "continuum":
        breaks = [*(b for b in options.breaks if b < 0.8 * end), end + 1.0]
        array = np.asarray(breaks)
        term = Term(lineshapes.valence_continuum(array), lineshapes.spline_constants(array))
        found.append(Component(term.shape.name, term, arguments={"breaks": breaks}))
    else:
        found.append(Component.of(lineshapes.VOLUME_PLASMON))
    if options.valence_band:
        found.append(Component.of(lineshapes.VALENCE_BAND, "centre", "fwhm"))
    if "C" in options.elements:
        found.append(Component.of(lineshapes.CARBON_PI_BAND, "centre", "fwhm"))
    if edges and microscope.missing:
        warnings.warn(
            f"{', '.join(microscope.missing)} unset: cross-sections are for "
            + ", ".join(f"{k} {known[k]:g}" for k in microscope.missing)
            + " (keV, mrad), so areal densities are relative. Ratios calibrated on reference pixels do not need them.",
            AssbWarning,
            stacklevel=4,
        )
    channels = energy.size if end >= last else int(np.argmin(np.abs(energy - end))) + 1
    return [*found, *edges], channels


def _edges(options: LowLossOptions, end: float, microscope: dict[str, float]) -> list[Component]:
    edges = []
    for element in options.elements:
        reference.check_element(element)
        for shell, elements in EDGES.items():
            if element not in elements or _is_valence(element, shell, options):
                continue
            onset = reference.near_edge(element, shell)["onset_energy"]
            if LOW_LOSS_EDGES[0] < onset < min(end - LEAST_AFTER_ONSET, LOW_LOSS_EDGES[1]):
                term = edge_term(element, shell, ScatteringGeometry(**microscope))
                arguments = {"element": element, **microscope}
                edges.append(Component(edge_name(element, shell), term, FIXED_AT_FIRST, shell, arguments))
    return sorted(edges, key=_onset)


def _is_valence(element: str, shell: str, options: LowLossOptions) -> bool:
    """Whether an edge rises so slowly, where the continuum has breakpoints, that this describes it: Ge M4,5."""
    delayed = shell == "M4,5" and options.valence == "continuum"
    return delayed and reference.edge(element, shell).onset_energy < options.breaks[-2]


def explain_absent(options: LowLossOptions, end: float) -> str:
    """Which of the named elements have no edge in the model, and why, as a sentence; empty where all have one.

    Elements of which nobody expects an edge in the low loss, such as O, and C, which has its pi band, are not named.

    Parameters
    ----------
    options
        What goes into the model.
    end
        Energy in eV at which the spectra end.
    """
    reasons = []
    for element in dict.fromkeys(options.elements):
        reference.check_element(element)
        if element in K_SHELL_ONLY:
            continue
        shells = [shell for shell, elements in EDGES.items() if element in elements]
        onsets = {shell: reference.edge(element, shell).onset_energy for shell in shells}
        low = {shell: onset for shell, onset in onsets.items() if LOW_LOSS_EDGES[0] < onset < LOW_LOSS_EDGES[1]}
        if not low:
            reasons.append(
                f"{element}, of which the tables have no edge between {LOW_LOSS_EDGES[0]:g} and "
                f"{LOW_LOSS_EDGES[1]:g} eV"
            )
            continue
        fitted = {shell: onset for shell, onset in low.items() if not _is_valence(element, shell, options)}
        if not fitted:
            shell, onset = min(low.items(), key=lambda item: item[1])
            reasons.append(f"{element}, whose {shell} edge at {onset:g} eV is part of the free-form valence scattering")
            continue
        shell, onset = min(fitted.items(), key=lambda item: item[1])
        needed = reference.near_edge(element, shell)["onset_energy"] + LEAST_AFTER_ONSET
        if needed >= end:
            reasons.append(
                f"{element}, whose {shell} edge at {onset:g} eV needs spectra that reach {needed:g} eV (they end at "
                f"{end:g} eV)"
            )
    return f"Not in the model: {'; '.join(reasons)}." if reasons else ""


def _onset(edge: Component) -> float:
    return float(edge.term.shape.defaults()[1])
