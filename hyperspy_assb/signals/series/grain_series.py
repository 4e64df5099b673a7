"""Grains of a series and the boundaries between them, against time."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hyperspy.signals import Signal2D

from hyperspy_assb.series.frame_series import FloatArray
from hyperspy_assb.series.grains.boundary_width import BoundaryWidths
from hyperspy_assb.series.grains.grain_labels import GrainMap
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MISFIT = 1.5


@dataclass(frozen=True, eq=False, kw_only=True)
class OfSeries(Result):
    """What results of series share: times and potentials of the frames, and tables of rows instead of pixels.

    Parameters
    ----------
    time
        Beginning of each frame in s, shape (T,).
    potential
        V, shape (T,); None where no log was set.
    pixel
        Size of a pixel in nm; NaN if it is not known.
    """

    time: FloatArray = field(repr=False)
    potential: FloatArray | None = field(default=None, repr=False)
    pixel: float = float("nan")

    @abstractmethod
    def _table(self) -> pd.DataFrame:
        """Rows of the table."""

    def _frame_columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"time (s)": self.time}
        if self.potential is not None:
            columns["potential (V)"] = self.potential
        return columns


@dataclass(frozen=True, eq=False)
class GrainSeries(OfSeries):
    """Grains of the mean of a series, and the width, depth and area of their boundaries in each frame.

    Parameters
    ----------
    grains
        Labels, distances and levels, in the place of the first frame.
    boundaries
        Fits of the frames.

    Examples
    --------
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, truth = simulate_series(SeriesConditions(frames=4, size=128), seed=1)
    >>> found = series.segment_grains()
    >>> found.labels.data.shape, len(found.growth), "grains" in found.summary()
    ((128, 128), 2, True)
    """

    grains: GrainMap = field(repr=False)
    boundaries: BoundaryWidths = field(repr=False)

    @property
    def labels(self) -> Signal2D:
        """Grain of each pixel from 1, in the place of the first frame, as an image."""
        return Signal2D(self.grains.labels)

    @property
    def growth(self) -> tuple[float, float]:
        """Change of the boundary area from the first to the last frame as a share of its mean, with its standard error.

        Along a line through the frames; the errors of depth and blur, which all frames share, are in it.
        """
        good = np.isfinite(self.boundaries.area)
        time, area = self.time[good], self.boundaries.area[good]
        centred = (time - time.mean()) / max(float(np.ptp(time)), 1e-30)
        weight = centred / np.square(centred).sum()
        mean = float(area.mean())
        covariance = self.boundaries.covariance[np.ix_(good, good)]
        slope = float(weight @ area)
        gradient = weight / mean - slope / mean**2 / area.size
        scatter = np.square(area - mean - slope * centred).sum() / max(area.size - 2, 1)
        variance = max(float(gradient @ covariance @ gradient), float(scatter * np.square(gradient).sum()))
        return slope / mean, float(np.sqrt(variance))

    def summary(self) -> str:
        """How many grains there are, how wide their boundaries, and how their area changes."""
        b = self.boundaries
        scale, unit = (self.pixel, "nm") if np.isfinite(self.pixel) else (1.0, "pixels")
        growth, std = self.growth
        lines = [
            f"{int(self.grains.labels.max())} grains. Their boundaries are {np.nanmean(b.width) * scale:.3g} {unit} "
            f"wide ({b.depth:.3f} ± {b.depth_std:.3f} darker) and take {100.0 * np.nanmean(b.area):.1f} % of "
            "the field.",
            f"From the first to the last frame their area changes by {100.0 * growth:.1f} ± {100.0 * std:.1f} % of its "
            "mean.",
        ]
        if b.misfit > _MISFIT:
            lines.append(
                f"A box that is blurred does not describe the boundaries (mean square of the residuals {b.misfit:.1f}"
                "): their depths differ, and areas are those of boundaries of the mean depth."
            )
        return "\n".join((*lines, *self.notes))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the boundary area against time, with the potential.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=4, size=128), seed=1)
        >>> series.segment_grains().plot().get_xlabel()
        'time (s)'
        """
        from hyperspy_assb.plotting.series import plot_boundaries

        return plot_boundaries(self, ax=ax)

    def _shown(self) -> Any:
        return self.labels

    def _table(self) -> pd.DataFrame:
        b = self.boundaries
        columns = self._frame_columns() | {
            "width (pixels)": b.width,
            "width std (pixels)": b.width_std,
            "area (share of the field)": b.area,
            "area std": b.area_std,
        }
        return pd.DataFrame(columns)
