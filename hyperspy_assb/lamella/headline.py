"""What the page of a lamella says first, in words and numbers; dose and carbon of each signal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hyperspy_assb.acom.maps.couples import find_couple
from hyperspy_assb.lamella.agreement import Claim
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.report.delithiation import carbon_of, delithiation_numbers, state_x
from hyperspy_assb.report.edx import volume_numbers
from hyperspy_assb.report.key_numbers import KeyNumber, two_states
from hyperspy_assb.report.orientations import orientation_numbers
from hyperspy_assb.report.series_numbers import series_numbers
from hyperspy_assb.signals.beam_dose import dose_of
from hyperspy_assb.signals.result import Result

_SENTENCES = 3
_STATE = "electrons per nm²"
NUMBERS = (
    "The first and the last state, or the only one. Uncertainty and significance are those of the change, with the "
    "errors of the states taken as independent."
)
_OF_KIND: dict[str, tuple[str, Callable[[Any], Iterator[KeyNumber]]]] = {
    "Delithiation": ("EELS", delithiation_numbers),
    "OrientationMaps": ("4D-STEM", orientation_numbers),
    "EDSPhases": ("EDX", volume_numbers),
}
_SERIES = {
    "CrackSeries": "cracks",
    "GrainSeries": "grains",
    "GrainTracks": "tracks",
    "BeamSeries": "beam",
    "Resistance": "resistance",
}


def headline(lamella: Any, claims: Sequence[Claim]) -> list[str]:
    """What happened to the lamella, in at most three sentences: lithium, phases, and whether signals agree."""
    found = [*_lithium(lamella), *_phases(lamella), *_agreement(claims)]
    return found[:_SENTENCES]


def lamella_numbers(lamella: Any) -> Iterator[KeyNumber]:
    """Numbers of the results of a lamella, before and after where there are two states."""
    for kind, (technique, numbers) in _OF_KIND.items():
        found = [numbers(lamella[key]) for key in states_of(lamella, kind)]
        for number in two_states(*found) if len(found) == 2 else found[0] if found else ():
            yield replace(number, quantity=f"{technique}: {number.quantity}")
    kinds = {member.kind: key for key, member in reversed(lamella.members.items())}
    yield from series_numbers({name: lamella[kinds[kind]] for kind, name in _SERIES.items() if kind in kinds})


def states_of(lamella: Any, kind: str) -> list[str]:
    """Keys of a kind of member: the first and the last potential, or the only one."""
    keys = [key for key, member in lamella.members.items() if member.kind == kind]
    known = sorted((key for key in keys if np.isfinite(lamella.members[key].bias)), key=lambda k: _bias(lamella, k))
    if len(known) > 1 and _bias(lamella, known[0]) < _bias(lamella, known[-1]):
        return [known[0], known[-1]]
    return keys[:1]


def _bias(lamella: Any, key: str) -> float:
    return float(lamella.members[key].bias)


def _lithium(lamella: Any) -> Iterator[str]:
    told = []
    keys = states_of(lamella, "Delithiation")
    for key in keys:
        found = lamella[key]
        if found.quantified.any():
            told.append(f"{state_x(found.region_statistics(found.quantified), found.electrode)}{_at(lamella, key)}")
    if told:
        name = lamella[keys[0]].electrode.name
        yield f"EELS: x in {name}, over all pixels that are quantified, is {', and '.join(told)}."


def _phases(lamella: Any) -> Iterator[str]:
    keys = states_of(lamella, "OrientationMaps")
    if not keys:
        return
    tables = [lamella[key].phase_fractions().set_index("class") for key in keys]
    couple = find_couple([phase.name for phase in lamella[keys[-1]].phases])
    told = []
    for name in (*(() if couple is None else (couple.delithiated,)), "amorphous_LAGP"):
        shares = [
            with_error(table.loc[name, "area (%)"], table.loc[name, "std (%)"]) if name in table.index else "0"
            for table in tables
        ]
        places = [f"{share} %{_at(lamella, key)}" for share, key in zip(shares, keys, strict=True)]
        told.append(f"{name.replace('_', ' ')} fills {' and '.join(places)}")
    yield f"4D-STEM: of the area, {'; '.join(told)}."


def _agreement(claims: Sequence[Claim]) -> Iterator[str]:
    found = [claim.sentence for claim in claims if claim.subject == "x and phase of particles"]
    # Of the last state: before bias there is little to agree on.
    yield from found[-1:]


def _at(lamella: Any, key: str) -> str:
    bias = _bias(lamella, key)
    return f" at {bias:g} V" if np.isfinite(bias) else ""


def dose_of_member(lamella: Any, key: str) -> float:
    """Electrons per nm² of a member, of the signal that it was computed from, or of one with its pixels and state."""
    member = lamella.members[key]
    found = _own_dose(lamella[key])
    if found is not None:
        return found
    for other, beside in lamella.members.items():
        same = other != key and lamella._root(other) == lamella._root(key) and beside.frame is not None
        if same and (beside.bias == member.bias or np.isnan([beside.bias, member.bias]).all()):
            found = _own_dose(lamella[other])
            if found is not None and _technique(beside.kind) == _technique(member.kind):
                return found
    return float("nan")


def _own_dose(held: Any) -> float | None:
    if isinstance(held, Result):
        record = held.provenance.get("dose") or {}
        stated = record.get(_STATE)
        return None if stated is None else float(stated)
    stated = dose_of(held).get(_STATE)
    return None if stated is None else float(stated)


def _technique(kind: str) -> str:
    """A detector sees what the beam of its own scan does."""
    for words, name in ((("EELS", "Delithiation"), "EELS"), (("EDS",), "EDX"), (("ACOM", "Orientation"), "4D-STEM")):
        if any(word in kind for word in words):
            return name
    return kind


def carbon_of_member(lamella: Any, key: str) -> str:
    """Carbon that a member sees, in words; empty if it sees none or does not tell."""
    held, kind = lamella[key], lamella.members[key].kind
    if kind == "Delithiation":
        found = None if held.standard is None else carbon_of(held, held.quantified)
        return "" if found is None else f"t/λ {with_error(*found)}"
    if kind == "OrientationMaps":
        share = held.classes.shares.get("carbon")
        return "" if share is None else f"{100 * share:z.1f} % of the area"
    if kind == "EDSComposition" and "C" in held.elements:
        row = held.mean().loc["C"]
        return f"{with_error(row.iloc[0], row.iloc[1])} at. %"
    if kind == "EDSPhases" and "carbon" in held.phases:
        return f"{100 * float(np.nanmean(held.volume_fraction['carbon'].data)):z.1f} % of the volume"
    return ""
