"""Contrast of regions of a series against time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.series.frame_series import FloatArray
from hyperspy_assb.series.region_contrast import Lead, Step
from hyperspy_assb.signals.series.of_series import OfSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class ContrastSeries(OfSeries):
    """Contrast of regions, its steps, and how long these come before cracks; its figure shows it against time.

    Parameters
    ----------
    names
        Of the regions.
    contrast, contrast_std
        Brightness over that of the rest of the field, less 1, with the error of counting, shape (R, T).
    steps
        Changes at once, in order of time.
    lead
        Over cracks; None without cracks.
    alpha
        Level of the test for steps.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=10, size=96), seed=1)
    >>> found = series.region_contrast({"secondary": truth.bright})
    >>> found.contrast.shape, "changes at once" in found.summary()
    ((1, 10), True)
    """

    names: tuple[str, ...]
    contrast: FloatArray = field(repr=False)
    contrast_std: FloatArray = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    lead: Lead | None
    alpha: float

    def summary(self) -> str:
        """Each step with its height, and the lead over cracks if it can be tested."""
        lines = [
            f"{step.region} becomes {'brighter' if step.height > 0 else 'darker'} by {abs(step.height):.3f} ± "
            f"{step.height_std:.3f} at {step.time:.4g} s (p = {step.p:.2g})."
            for step in self.steps
        ]
        if not lines:
            lines.append(f"The contrast of no region changes at once (alpha = {self.alpha:g}).")
        if self.lead is not None:
            if np.isnan(self.lead.p):
                lines.append(
                    f"Steps before cracks: {self.lead.events}. At least 3 are needed to test whether steps precede "
                    "cracks more often than by chance."
                )
            else:
                lines.append(
                    f"Steps come {self.lead.time:.3g} s before the next crack in the mean of {self.lead.events} (p = "
                    f"{self.lead.p:.2g} against steps at any other time)."
                )
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_contrast

        return plot_contrast(self, ax=ax)

    def _shown(self) -> Any:
        axes = [
            {"name": "region", "size": len(self.names), "navigate": True},
            {"name": "time", "axis": self.time, "units": "s", "navigate": False},
        ]
        return hs.signals.Signal1D(self.contrast.copy(), axes=axes)

    def _table(self) -> pd.DataFrame:
        columns = self._frame_columns()
        for number, name in enumerate(self.names):
            columns[name] = self.contrast[number]
            columns[f"{name} std"] = self.contrast_std[number]
        return pd.DataFrame(columns)
