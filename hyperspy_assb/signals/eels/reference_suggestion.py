"""Pixels that a map proposes as references of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance, reference
from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.delithiation.reference_candidates import (
    NEIGHBOURS,
    PURE,
    Candidates,
    CandidateStatus,
    suggest_candidates,
)
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels.delithiation_estimate import DEFAULT_ELECTRODE
from hyperspy_assb.signals.eels.low_loss_reading import read_low_loss
from hyperspy_assb.signals.result import Result, navigation_axes

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal
    from matplotlib.axes import Axes

BESIDE = ("LAGP", "carbon")
"""Materials of the cell that are looked for beside the electrode."""


@dataclass(frozen=True, eq=False)
class ReferenceSuggestion(Result):
    """Pixels that may be of one material, as HyperSpy signals on the navigation axes.

    Nothing uses them unasked: look at the map, and give ``references`` to ``quantify_delithiation`` if it is right.

    Parameters
    ----------
    found
        The candidates, as arrays; see :class:`~hyperspy_assb.eels.delithiation.reference_candidates.Candidates`.
    electrode
        Whose end members were looked for.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.eels.delithiation.reference_candidates import Candidates
    >>> from hyperspy_assb.reference import electrode
    >>> from hyperspy_assb.signals.eels.reference_suggestion import CandidateStatus, ReferenceSuggestion
    >>> material, status = np.array([0, -1]), np.array([0, 2])
    >>> found = Candidates(("FePO4",), material, np.array([0.99, 0.6]), status, np.ones(2), ("Fe 1",))
    >>> suggestion = ReferenceSuggestion(found, electrode("LixFePO4"), axes=({"name": "x", "size": 2},))
    >>> print(suggestion.summary())
    FePO4: 1 pixel (Fe 1).
    No pixel is proposed for LiFePO4.
    >>> suggestion.references["FePO4"].data
    array([ True, False])
    >>> suggestion.names, suggestion.share.data
    (('FePO4',), array([0.99, 0.6 ]))
    >>> [CandidateStatus(value).name for value in suggestion.status.data]
    ['PROPOSED', 'MIXED']
    """

    statuses: ClassVar[type[IntEnum] | None] = CandidateStatus
    found: Candidates = field(repr=False)
    electrode: Electrode

    @property
    def names(self) -> tuple[str, ...]:
        """Materials that are proposed; "material 1" and so on where the edges fit no known material."""
        return self.found.names

    @cached_property
    def references(self) -> dict[str, BaseSignal]:
        """Boolean signals by material, as ``quantify_delithiation`` takes them; those without a name are left out."""
        known = [name for k, name in enumerate(self.names) if not self._is_unnamed(k)]
        return {name: self.pixels(name) for name in known}

    @cached_property
    def share(self) -> BaseSignal:
        """Share of the most likely material in t/λ; NaN where it was not determined."""
        return self._map(self.found.share, "Share of the likeliest material")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.eels.delithiation.reference_candidates.CandidateStatus` as integers."""
        return self._map(self.found.status.astype(np.int8), "Status")

    def pixels(self, name: str) -> BaseSignal:
        """Pixels that are proposed for a material.

        Parameters
        ----------
        name
            One of ``names``.

        Returns
        -------
        BaseSignal
            Boolean, on the navigation axes.

        Raises
        ------
        AssbValueError
            If nothing is proposed for it.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.eels.delithiation.reference_candidates import Candidates
        >>> from hyperspy_assb.reference import electrode
        >>> found = Candidates(("FePO4",), np.array([0, -1]), np.ones(2), np.array([0, 2]), np.ones(2), ("",))
        >>> suggestion = ReferenceSuggestion(found, electrode("LixFePO4"), axes=({"name": "x", "size": 2},))
        >>> suggestion.pixels("FePO4").data
        array([ True, False])
        """
        if name not in self.names:
            raise AssbValueError(f"Nothing is proposed for {name!r}, but for {', '.join(self.names) or 'no material'}.")
        return self._map(self.found.material == self.names.index(name), f"Proposed for {name}")

    def summary(self) -> str:
        """How many pixels are proposed for what, and by which evidence; end members without any; the notes."""
        lines = []
        for k, (name, told) in enumerate(zip(self.names, self.found.evidence, strict=True)):
            number = int(np.sum(self.found.material == k))
            lines.append(f"{name}: {number} pixel{'s' if number != 1 else ''} ({told}).")
        missing = [name for name in end_members(self.electrode) if name not in self.names]
        lines += [f"No pixel is proposed for {name}." for name in missing]
        return "\n".join((*lines, *self.notes))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the proposed pixels as a map.

        Parameters
        ----------
        ax
            Axes to draw on; new ones if None.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.eels.delithiation.reference_candidates import Candidates
        >>> from hyperspy_assb.reference import electrode
        >>> found = Candidates(("FePO4",), np.array([0, -1]), np.ones(2), np.array([0, 2]), np.ones(2), ("",))
        >>> suggestion = ReferenceSuggestion(found, electrode("LixFePO4"), axes=({"name": "x", "size": 2},))
        >>> suggestion.plot().get_title(loc="left")
        'Pixels proposed as references'
        """
        from hyperspy_assb.plotting.delithiation import plot_reference_suggestion

        return plot_reference_suggestion(self, ax=ax)

    def _is_unnamed(self, k: int) -> bool:
        inside = self.found.material == k
        return bool((self.found.status[inside] == CandidateStatus.UNNAMED).any())

    def _pixel_columns(self) -> Mapping[str, Any]:
        names = np.array([*self.names, ""], dtype=object)
        return {
            "material": names[self.found.material],
            "share": self.found.share,
            "t/λ": self.found.t_over_lambda,
        }

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = mask.ravel()
        counts = {name: int(np.sum(self.found.material[inside] == k)) for k, name in enumerate(self.names)}
        return {"n_pixels": int(inside.sum()), **counts}

    def _shown(self) -> Any:
        return self._map(self.found.material, "Material that a pixel is proposed for")


def suggest_references(
    signal: Any, electrode: str | Electrode | None, materials: Sequence[str] | None, fewest: int
) -> ReferenceSuggestion:
    """See :meth:`hyperspy_assb.signals.ASSBEELSSpectrum.suggest_references`."""
    couple = reference.electrode(electrode or DEFAULT_ELECTRODE) if not isinstance(electrode, Electrode) else electrode
    beside = tuple(reference.material(name).name for name in (BESIDE if materials is None else materials))
    if fewest < NEIGHBOURS:
        raise AssbValueError(f"fewest must be {NEIGHBOURS} or more, not {fewest}: fewer pixels are no material.")
    spectra = read_low_loss(signal, minimum_end=70.0, purpose="the edges that identify materials")
    found = suggest_candidates(spectra, couple, beside, fewest=fewest)
    notes = [
        "These are candidates, which are never used automatically: look at the map, and pass them to "
        "quantify_delithiation if they are right. A material that is pure nowhere has no candidates, or mixed ones."
    ]
    if any(name.startswith("material ") for name in found.names):
        notes.append("Numbered entries are one material each, whose edges fit none of the materials in question.")
    parameters = {"electrode": couple.name, "materials": beside, "fewest": fewest, "share": PURE, "file": spectra.file}
    record = provenance.record("suggest_references", parameters=parameters, methods=["hyperspy", "numpy", "scipy"])
    return ReferenceSuggestion(found, couple, axes=navigation_axes(signal), notes=tuple(notes), provenance=record)
