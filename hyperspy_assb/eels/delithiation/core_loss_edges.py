"""Which edges of a core-loss range tell the end members of an electrode apart, and where they are fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode, UnknownReferenceError
from hyperspy_assb.reference.ionisation_edges import edges

_SHELLS = ("K", "L2,3")
"""Whose fine structure shows the 2p states of oxygen and the 3d states of a metal."""
_LEAST_ONSET = 200.0
"""eV; below, edges overlap and are part of the low loss."""
_BEFORE, _AFTER = 36.0, 50.0
"""eV before the onset, for the background, and above it, where the last fine structure ends."""
_LEAST_BEFORE, _LEAST_AFTER = 12.0, 25.0
"""eV that must have been recorded of them."""
_PRE_EDGE = 6.0
"""eV below the tabulated onset where the fine structure begins: the pre-edge of O K, chemical shifts, resolution."""
_COUNTED = 22.0
"""eV above the onset from which the continuum counts atoms: fine structure differs below."""


@dataclass(frozen=True)
class EdgeRange:
    """A range of energies with one edge, or several that overlap.

    Parameters
    ----------
    name
        Of its edges, as "O K" or "V L2,3 and O K".
    elements
        Whose edges these are.
    channels
        Of the energy axis.
    onset, last_onset
        Of the first and of the last edge in eV.
    """

    name: str
    elements: tuple[str, ...]
    channels: slice
    onset: float
    last_onset: float

    @property
    def below(self) -> float:
        """Energy in eV below which there is background only."""
        return self.onset - _PRE_EDGE

    @property
    def counted_from(self) -> float:
        """Energy in eV above which all phases have like continua."""
        return self.last_onset + _COUNTED

    def holds(self, phase: str) -> bool | None:
        """Whether a phase has one of the elements; None of what is no material of the table."""
        try:
            return bool(set(self.elements) & set(reference.material(phase).composition))
        except UnknownReferenceError:
            return None

    def coarse(self, energy: FloatArray) -> NDArray[np.intp]:
        """First channels of wide bins in the range: 2 eV at fine structure, 8 eV elsewhere."""
        own = energy[self.channels]
        fine = (own > self.below) & (own < self.last_onset + 18.0)
        width = np.where(fine, 2.0, 8.0)
        place = np.floor(np.cumsum((own[1] - own[0]) / width))
        return np.flatnonzero(np.diff(place, prepend=-1.0) > 0)


def edge_ranges(energy: FloatArray, electrode: Electrode) -> tuple[EdgeRange, ...]:
    """The ranges in which the end members of an electrode have edges.

    Parameters
    ----------
    energy
        Centres of the channels in eV, shape (E,).
    electrode
        The electrode.

    Raises
    ------
    AssbValueError
        If no edge lies in the range.

    Examples
    --------
    >>> from hyperspy_assb.reference import electrode
    >>> [found.name for found in edge_ranges(np.arange(470.0, 800.0, 0.5), electrode("LixFePO4"))]
    ['O K', 'Fe L2,3']
    """
    both = set.intersection(*(set(reference.material(name).composition) for name in end_members(electrode)))
    known = sorted(
        (edge.onset_energy, edge.element, edge.shell)
        for edge in edges()
        if edge.element in both and edge.shell in _SHELLS and edge.onset_energy > _LEAST_ONSET
    )
    usable = [row for row in known if energy[0] <= row[0] - _LEAST_BEFORE and energy[-1] >= row[0] + _LEAST_AFTER]
    if not usable:
        names = ", ".join(f"{symbol} {shell} at {onset:g} eV" for onset, symbol, shell in known) or "none is known"
        raise AssbValueError(
            f"The energy axis, {energy[0]:g} to {energy[-1]:g} eV, has no edge of {electrode.name} ({names}) with "
            f"{_LEAST_BEFORE:g} eV before it and {_LEAST_AFTER:g} eV above it."
        )
    return tuple(_range(energy, group) for group in _overlapping(usable))


def _overlapping(rows: Iterable[tuple[float, str, str]]) -> list[list[tuple[float, str, str]]]:
    groups: list[list[tuple[float, str, str]]] = []
    for row in rows:
        if groups and row[0] - _LEAST_BEFORE < groups[-1][-1][0] + _LEAST_AFTER:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _range(energy: FloatArray, group: Sequence[tuple[float, str, str]]) -> EdgeRange:
    first, last = group[0][0], group[-1][0]
    start, stop = np.searchsorted(energy, [first - _BEFORE, last + _AFTER])
    return EdgeRange(
        name=" and ".join(f"{symbol} {shell}" for _, symbol, shell in group),
        elements=tuple(symbol for _, symbol, _ in group),
        channels=slice(int(start), int(stop)),
        onset=first,
        last_onset=last,
    )
