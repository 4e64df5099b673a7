"""Pixels that hold the delithiated end member of an electrode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.region_statistics import Discovery
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal
    from matplotlib.axes import Axes


class FindStatus(IntEnum):
    """What is known of the delithiated end member in a pixel."""

    DELITHIATED = 0
    NOT_FOUND = 1
    NO_ANSWER = 2


@dataclass(frozen=True, eq=False)
class DelithiatedPixels(Result):
    """Where the delithiated end member is found, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    finds
        p values and finds, as arrays; see :class:`~hyperspy_assb.eels.delithiation.region_statistics.Discovery`.
    fdr
        Expected share of false finds among all.
    delithiated
        Name of the end member.

    Examples
    --------
    >>> from hyperspy_assb.eels.delithiation.region_statistics import find_excess
    >>> from hyperspy_assb.signals.eels.delithiated_pixels import DelithiatedPixels, FindStatus
    >>> found = DelithiatedPixels(find_excess([6.0, 0.3]), 0.05, "FePO4", axes=({"name": "x", "size": 2},))
    >>> print(found.summary())
    FePO4 is found in 1 of 2 pixels with an x; at most 5 % of these detections (0) are expected to be false.

    >>> found.found.data, bool(found.p_value.data[0] < found.q_value.data[1])
    (array([ True, False]), True)
    >>> [FindStatus(value).name for value in found.status.data]
    ['DELITHIATED', 'NOT_FOUND']
    >>> axes = found.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = FindStatus
    finds: Discovery = field(repr=False)
    fdr: float
    delithiated: str

    @cached_property
    def p_value(self) -> BaseSignal:
        """Probability of at least so little of the ion in the lithiated end member; NaN where x is."""
        return self._map(self.finds.p_value, f"p value of no {self.delithiated}")

    @cached_property
    def q_value(self) -> BaseSignal:
        """Smallest false discovery rate at which the pixel is among the finds."""
        return self._map(self.finds.adjusted, f"False discovery rate at which {self.delithiated} is found")

    @cached_property
    def found(self) -> BaseSignal:
        """Boolean: whether the pixel is among the finds at ``fdr``."""
        return self._map(self.finds.found, f"{self.delithiated} found at a false discovery rate of {self.fdr:g}")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`FindStatus` as integers: found, not found, or without an x."""
        status = np.where(self.finds.found, FindStatus.DELITHIATED, FindStatus.NOT_FOUND)
        status = np.where(np.isfinite(self.finds.p_value), status, FindStatus.NO_ANSWER)
        return self._map(status.astype(np.int8), "Status")

    def summary(self) -> str:
        """In how many pixels the end member is found, how many of them may be false, and the notes."""
        return "\n".join((self._in_one_sentence(), *self.notes))

    def plot(self) -> Axes:
        """Plot the finds as a map; returns the matplotlib axes."""
        from hyperspy_assb.plotting.delithiation import plot_delithiated_pixels

        return plot_delithiated_pixels(self)

    def _in_one_sentence(self) -> str:
        known, number = int(np.isfinite(self.finds.p_value).sum()), int(self.finds.found.sum())
        text = f"{self.delithiated} is found in {number} of {known} pixels with an x"
        if number:
            text += (
                f"; at most {100 * self.fdr:g} % of these detections ({self.fdr * number:.0f}) are expected to be false"
            )
        return text + "."

    def _pixel_columns(self) -> Mapping[str, Any]:
        return {"p value": self.finds.p_value, "q value": self.finds.adjusted, "found": self.finds.found}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = mask.ravel()
        known, found = int(np.isfinite(self.finds.p_value[inside]).sum()), int(self.finds.found[inside].sum())
        share = found / known if known else float("nan")
        return {"n_pixels": int(inside.sum()), "n_answered": known, "n_found": found, "found": share}

    def _shown(self) -> Any:
        return self.q_value
