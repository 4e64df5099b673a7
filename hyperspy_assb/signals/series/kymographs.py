"""Brightness along a line of a series against time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.series.frame_series import FloatArray
from hyperspy_assb.signals.series.of_series import OfSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Kymograph(OfSeries):
    """Brightness along a line that follows the drift, over the median of each frame. Its figure is the image of it.

    Parameters
    ----------
    points
        Rows and columns, one pixel apart, in the place of the first frame, shape (P, 2).
    brightness
        Shape (T, P); NaN of frames without a position, and of points out of view.
    width
        Pixels across the line that are averaged.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=4, size=96), seed=1)
    >>> found = series.kymograph([(20.0, 20.0), (60.0, 50.0)])
    >>> found.brightness.shape, found.length
    ((4, 51), 500.0)
    >>> print(found.summary().splitlines()[0])
    Brightness along 500 nm in 4 frames.
    """

    points: FloatArray = field(repr=False)
    brightness: FloatArray = field(repr=False)
    width: float

    @property
    def length(self) -> float:
        """Of the line in nm, in pixels if their size is not known."""
        return float(len(self.points) - 1) * (self.pixel if np.isfinite(self.pixel) else 1.0)

    def summary(self) -> str:
        """How long the line is, and the notes."""
        unit = "nm" if np.isfinite(self.pixel) else "pixels"
        seen = int(np.isfinite(self.brightness).any(axis=1).sum())
        return "\n".join((f"Brightness along {self.length:.4g} {unit} in {seen} frames.", *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_kymograph

        return plot_kymograph(self, ax=ax)

    def _shown(self) -> Any:
        return hs.signals.Signal2D(self.brightness.copy())

    def _table(self) -> pd.DataFrame:
        columns = self._frame_columns()
        names = [f"({row:.1f}, {column:.1f})" for row, column in self.points]
        return pd.concat([pd.DataFrame(columns), pd.DataFrame(self.brightness, columns=names)], axis=1)
