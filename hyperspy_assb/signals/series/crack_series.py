"""Cracks of a series."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.series.cracks.crack_paths import Crack, LineKind
from hyperspy_assb.series.frame_series import FloatArray
from hyperspy_assb.signals.series.of_series import OfSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class CrackSeries(OfSeries):
    """Dark lines that appear in a series: cracks, boundaries that widen, and uncertain ones.

    Its figure shows them on the mean of the frames.

    Parameters
    ----------
    lines
        All of them, longest first.
    threshold
        Response in standard errors that chance reaches in a share ``alpha`` of series.
    alpha
        That share.
    mean
        Mean of the frames, for figures, shape (Y, X).
    origins
        Name of the region that each line begins in; "" without named regions.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=4, size=176, oversampling=2), seed=1)
    >>> found = series.find_cracks()
    >>> found.cracks, found.onsets.size, found.summary().startswith("No crack")
    ((), 0, True)
    """

    lines: tuple[Crack, ...] = field(repr=False)
    threshold: float
    alpha: float
    mean: FloatArray = field(repr=False)
    origins: tuple[str, ...] = ()

    @property
    def cracks(self) -> tuple[Crack, ...]:
        """Those that are darker than boundaries ever were."""
        return tuple(line for line in self.lines if line.kind is LineKind.CRACK)

    @property
    def onsets(self) -> FloatArray:
        """Times in s at which cracks appear, in order."""
        return np.sort([float(self.time[crack.onset]) for crack in self.cracks])

    def summary(self) -> str:
        """Each crack with its length, onset and growth, and how many other lines there are."""
        scale, unit = (self.pixel, "nm") if np.isfinite(self.pixel) else (1.0, "pixels")
        lines = []
        for crack in self.cracks:
            first, last = (self.time[k] for k in crack.onset_interval)
            text = (
                f"A crack of {np.nanmax(crack.length) * scale:.3g} {unit} appears at "
                f"{self.time[crack.onset]:.4g} s (68 %: {first:.4g} to {last:.4g} s)"
            )
            if self.potential is not None:
                text += f", at {self.potential[crack.onset]:.3g} V"
            text += f"; its opening is at least {crack.opening * scale:.2g} ± {crack.opening_std * scale:.1g} {unit}"
            if np.isfinite(crack.growth):
                text += f" and grows by {crack.growth * scale:.2g} ± {crack.growth_std * scale:.1g} {unit}/s"
            if np.isfinite(crack.on_boundary):
                text += f"; {100.0 * crack.on_boundary:.0f} % of it runs along boundaries (p = {crack.p_boundary:.2g})"
            lines.append(text + ".")
        if not lines:
            lines.append(f"No crack is found (alpha = {self.alpha:g}).")
        for kind, words in (
            (LineKind.WIDENING, "lines that appear are boundaries that widen"),
            (
                LineKind.UNDECIDED,
                "lines that appear are neither for certain darker than boundaries nor widened boundaries",
            ),
        ):
            count = sum(line.kind is kind for line in self.lines)
            if count:
                lines.append(f"{count} {words}.")
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_cracks

        return plot_cracks(self, ax=ax)

    def _counted(self) -> dict[str, int]:
        return {"cracks": len(self.cracks)}

    def _shown(self) -> Any:
        return hs.signals.Signal2D(self.mean.copy())

    def _table(self) -> pd.DataFrame:
        rows = []
        for number, line in enumerate(self.lines):
            rows.append(
                {
                    "kind": line.kind.name.lower(),
                    "length (pixels)": float(np.nanmax(line.length)),
                    "opening (pixels)": line.opening,
                    "opening std (pixels)": line.opening_std,
                    "onset (s)": float(self.time[line.onset]),
                    "onset from (s)": float(self.time[line.onset_interval[0]]),
                    "onset to (s)": float(self.time[line.onset_interval[1]]),
                    "growth (pixels/s)": line.growth,
                    "growth std (pixels/s)": line.growth_std,
                    "darkness": line.darkness,
                    "darkness std": line.darkness_std,
                    "share on boundaries": line.on_boundary,
                    "p of that share": line.p_boundary,
                    "begins in": self.origins[number] if self.origins else "",
                }
            )
        return pd.DataFrame(rows)
