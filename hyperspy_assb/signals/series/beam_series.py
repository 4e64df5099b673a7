"""What the beam does in a series, against dose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.series.beam_effects import BeamEffects, contrast_of
from hyperspy_assb.series.drift.mean_alignment import Drift
from hyperspy_assb.series.frame_series import FloatArray
from hyperspy_assb.series.trends import Trend
from hyperspy_assb.signals.series.of_series import WITHOUT_CONTROL, OfSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class BeamSeries(OfSeries):
    """Dose, brightness that is added (carbon that builds up), and contrast. Its figure shows them against the dose.

    Parameters
    ----------
    found
        Frame by frame, as arrays; see :class:`~hyperspy_assb.series.beam_effects.BeamEffects`.
    dose
        Electrons per nm² in each frame; None if it is not known.
    alpha
        Level of the tests.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=8, size=128, carbon=0.3, dose=60.0), seed=1)
    >>> series.set_dose(30.0)
    >>> beam = series.beam_effects()
    >>> beam.accumulated_dose.tolist()
    [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0]
    >>> change, std = beam.carbon_index
    >>> bool(abs(change - 0.3 / 1.15) < 4.0 * std), beam.contrast_loss[0] > 0.1
    (True, True)
    >>> "as carbon that builds up does" in beam.summary()
    True
    """

    found: BeamEffects = field(repr=False)
    dose: float | None
    alpha: float

    @property
    def accumulated_dose(self) -> FloatArray | None:
        """Electrons per nm² that the specimen has seen at the end of each frame, shape (T,); None: not known."""
        return None if self.dose is None else self.dose * np.arange(1.0, self.time.size + 1.0)

    @property
    def carbon_index(self) -> tuple[float, float]:
        """Brightness that is added from the first to the last frame, as a share of the mean, with its standard error.

        In the first named region, less the rest of the field; without regions, of the whole field.
        """
        trend = self.found.above_rest[0] if self.found.above_rest else self.found.changes[0]
        return trend.change, trend.change_std

    @property
    def contrast_loss(self) -> tuple[float, float]:
        """Contrast that is lost from the first to the last frame, as a share, with its standard error."""
        trend = self.found.contrast_change
        return -trend.change, trend.change_std

    def summary(self) -> str:
        """What is added in each region, what contrast is lost, and the notes."""
        found = self.found
        lines = []
        for name, trend in zip(found.names, found.changes, strict=True):
            where = "" if name == "field" else f" ({name})"
            lines.append(f"Brightness that is added{where}: {self._told(trend)}.")
        for name, trend in zip(found.names, found.above_rest, strict=False):
            lines.append(f"In {name} more than in the rest: {self._told(trend)}.")
        loss, std = self.contrast_loss
        lines.append(f"Contrast that is lost: {_share(loss, std)}.")
        return "\n".join((*lines, *self.notes))

    def _told(self, trend: Trend) -> str:
        change = _share(trend.change, trend.change_std)
        if not trend.p_value < self.alpha:
            return f"{change}, no more than its error (p = {trend.p_value:.2g})"
        what = "as carbon that builds up does" if trend.change > 0.0 else "as a dark level that falls does, or etching"
        return f"{change}, {what} (p = {trend.p_value:.2g})"

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_beam_effects

        return plot_beam_effects(self, ax=ax)

    def _shown(self) -> Any:
        axes = [
            {"name": "region", "size": len(self.found.names), "navigate": True},
            {"name": "time", "axis": self.time, "units": "s", "navigate": False},
        ]
        return hs.signals.Signal1D(self.found.additive.copy(), axes=axes)

    def _over_dose(self) -> dict[str, tuple[float, float]]:
        return {"additive brightness (share)": self.carbon_index, "contrast that is lost (share)": self.contrast_loss}

    def _table(self) -> pd.DataFrame:
        columns = self._frame_columns()
        if self.accumulated_dose is not None:
            columns["dose (electrons per nm²)"] = self.accumulated_dose
        for number, name in enumerate(self.found.names):
            columns[f"additive, {name} (share)"] = self.found.additive[number]
            columns[f"additive, {name} std"] = self.found.additive_std[number]
        return pd.DataFrame(columns | {"contrast": self.found.contrast})


def _share(value: float, std: float) -> str:
    return f"{with_error(100.0 * value, 100.0 * std, signed=True)} %"


def beam_notes(dose: Mapping[str, Any], drift: Drift) -> tuple[str, ...]:
    """What stands beside every claim: the dose, the contrast, and whether the beam alone is known."""
    total, each = dose["electrons per nm²"], dose["electrons per nm² and frame"]
    if total is None:
        told = "The dose is not known: state it by set_dose."
    else:
        told = f"Each frame has {each:.3g} electrons per nm², all together {total:.3g}."
    _, trend = contrast_of(drift)
    if np.isfinite(trend.change):
        told += f" The contrast of the frames changes by {_share(trend.change, trend.change_std)}."
    return (f"{told} {WITHOUT_CONTROL}",)
