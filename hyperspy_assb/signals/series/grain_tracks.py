"""Grains of a series that shrink, grow, are lost or gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.series.grains.grain_changes import EventKind, GrainChanges, GrainStatus
from hyperspy_assb.signals.series.of_series import OfSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EVENTS = {
    EventKind.LOST: "two grains become one",
    EventKind.GAINED: "one grain becomes two (a crack does so too)",
}
_MOST = 10
"""Grains that the summary names."""


@dataclass(frozen=True, eq=False)
class GrainTracks(OfSeries):
    """Area of each grain against time, and which grains change. Its figure is a map of the changes.

    Parameters
    ----------
    found
        Areas, changes, p values and events, as arrays; see
        :class:`~hyperspy_assb.series.grains.grain_changes.GrainChanges`.
    labels
        Grain of each pixel from 1, in the place of the first frame, shape (Y, X).
    alpha
        Level of the tests, over all grains.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=6, size=128), seed=1)
    >>> tracks = series.track()
    >>> tracks.shrinking, tracks.growing, tracks.lost, tracks.gained
    ((), (), (), ())
    >>> tracks.to_dataframe().columns[:3].tolist()
    ['grain', 'area (pixels)', 'change (share)']
    >>> print(tracks.summary().splitlines()[0])
    No grain shrinks by more than its error (alpha = 0.05, 14 grains).
    """

    found: GrainChanges = field(repr=False)
    labels: NDArray[np.int32] = field(repr=False)
    alpha: float

    @property
    def shrinking(self) -> tuple[int, ...]:
        """Labels of the grains that shrink."""
        return self._of(GrainStatus.SHRINKS)

    @property
    def growing(self) -> tuple[int, ...]:
        """Labels of the grains that grow."""
        return self._of(GrainStatus.GROWS)

    @property
    def lost(self) -> tuple[tuple[float, float], ...]:
        """Row and column of each line between grains that goes: one grain less."""
        return tuple(event.place for event in self.found.events if event.kind is EventKind.LOST)

    @property
    def gained(self) -> tuple[tuple[float, float], ...]:
        """Row and column of each line that comes up within a grain: one grain more."""
        return tuple(event.place for event in self.found.events if event.kind is EventKind.GAINED)

    def summary(self) -> str:
        """Which grains shrink and grow, how many are lost and gained, and the notes."""
        found = self.found
        tested = int((found.status != GrainStatus.UNKNOWN).sum())
        scale, unit = (self.pixel, "nm") if np.isfinite(self.pixel) else (1.0, "pixels")
        lines = []
        for grains, word, p in ((self.shrinking, "shrink", found.p_shrinks), (self.growing, "grow", found.p_grows)):
            if grains:
                lines.append(
                    f"{len(grains)} of {tested} grains {word} by more than their error (alpha = {self.alpha:g}, Holm): "
                    f"{self._changes(grains, p)}."
                )
            elif word == "shrink":
                lines.append(f"No grain shrinks by more than its error (alpha = {self.alpha:g}, {tested} grains).")
        for event in found.events:
            row, column = (value * scale for value in event.place)
            what = (
                "two grains become one"
                if event.kind is EventKind.LOST
                else "one grain becomes two (a crack does so too)"
            )
            lines.append(
                f"At ({row:.4g}, {column:.4g}) {unit} (y, x) {what}: the line between them is {event.depth_before:.2f} "
                f"darker at first, {event.depth_after:.2f} at last (p = {event.p:.2g})."
            )
        unknown = int((found.status == GrainStatus.UNKNOWN).sum())
        if unknown:
            lines.append(f"{unknown} grains are too small, or visible in too few frames, to be judged.")
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_tracks

        return plot_tracks(self, ax=ax)

    def _changes(self, grains: Sequence[int], p: NDArray[np.float64]) -> str:
        found = self.found
        order = sorted(grains, key=lambda n: p[n - 1])[:_MOST]
        told = [
            f"{n} by {with_error(100 * found.change[n - 1], 100 * found.change_std[n - 1], signed=True)} %"
            for n in order
        ]
        return ", ".join(told) + (" ..." if len(grains) > _MOST else "")

    def _of(self, status: GrainStatus) -> tuple[int, ...]:
        return tuple(int(n) + 1 for n in np.flatnonzero(self.found.status == status))

    def _shown(self) -> Any:
        change = np.append(np.nan, self.found.change)
        return hs.signals.Signal2D(change[self.labels])

    def _over_dose(self) -> dict[str, tuple[float, float]]:
        """Mean relative change of the area of all grains that were told."""
        known = np.isfinite(self.found.change_std)
        if not known.any():
            return {}
        std = float(np.sqrt(np.mean(np.square(self.found.change_std[known]))))
        # What is added to frames moves all grains together: errors of the mean do not fall with their number.
        return {"area of the grains (share)": (float(self.found.change[known].mean()), std)}

    def _table(self) -> pd.DataFrame:
        found = self.found
        with np.errstate(invalid="ignore"):
            mean = np.array([np.nanmean(a) if np.isfinite(a).any() else np.nan for a in found.area.T])
        return pd.DataFrame(
            {
                "grain": np.arange(1, found.change.size + 1),
                "area (pixels)": mean,
                "change (share)": found.change,
                "change std": found.change_std,
                "p shrinks": found.p_shrinks,
                "p grows": found.p_grows,
                "status": [GrainStatus(s).name.lower() for s in found.status],
            }
        )
