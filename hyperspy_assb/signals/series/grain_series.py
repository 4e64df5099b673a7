"""Grains of a series and the boundaries between them, against time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hyperspy.signals import Signal2D

from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.series.grains.boundary_width import BoundaryWidths
from hyperspy_assb.series.grains.grain_changes import EndFrames, track_grains
from hyperspy_assb.series.grains.grain_labels import GrainMap
from hyperspy_assb.series.trends import trend_of
from hyperspy_assb.signals.series.grain_tracks import GrainTracks
from hyperspy_assb.signals.series.of_series import OfSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MISFIT = 1.5


@dataclass(frozen=True, eq=False)
class GrainSeries(OfSeries):
    """Grains of the mean of a series, and the width, depth and area of their boundaries in each frame.

    Its figure shows the area of the boundaries against time, with the potential.

    Parameters
    ----------
    grains
        Labels, distances and levels, in the place of the first frame.
    boundaries
        Fits of the frames.
    ends
        Means of the first and of the last frames, for :meth:`track`.

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
    ends: EndFrames = field(repr=False)

    @property
    def labels(self) -> Signal2D:
        """Grain of each pixel from 1, in the place of the first frame, as an image."""
        return Signal2D(self.grains.labels)

    @property
    def growth(self) -> tuple[float, float]:
        """Change of the boundary area from the first to the last frame as a share of its mean, with its standard error.

        Along a line through the frames; the errors of depth and blur, which all frames share, are in it, and what may
        have been added to the brightness.
        """
        return trend_of(self.time, self.boundaries.area, self.boundaries.covariance).relative

    def track(self, *, alpha: float = 0.05) -> GrainTracks:
        """Tell which grains shrink and grow, and which are lost or gained.

        Parameters
        ----------
        alpha
            Share of series without a change in which any grain is said to shrink (Holm); the same for growth, and for
            loss and gain together.

        Returns
        -------
        GrainTracks
            Area of each grain against time, its change with error and p values, and lines that go or come.

        Raises
        ------
        AssbValueError
            If alpha is not between 0 and 1, or there are fewer than four frames with a position.

        Examples
        --------
        >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
        >>> series, truth = simulate_series(SeriesConditions(frames=6, size=128), seed=1)
        >>> print(series.segment_grains().track().summary().splitlines()[0])
        No grain shrinks by more than its error (alpha = 0.05, 14 grains).
        """
        return GrainTracks(
            track_grains(self.time, self.boundaries, self.ends, self.grains.labels, alpha),
            self.grains.labels,
            float(alpha),
            time=self.time,
            potential=self.potential,
            potential_std=self.potential_std,
            pixel=self.pixel,
            provenance=self.provenance,
            notes=self.notes,
        )

    def summary(self) -> str:
        """How many grains there are, how wide their boundaries, and how their area changes."""
        b = self.boundaries
        scale, unit = (self.pixel, "nm") if np.isfinite(self.pixel) else (1.0, "pixels")
        growth, std = self.growth
        lines = [
            f"{int(self.grains.labels.max())} grains. Their boundaries are {np.nanmean(b.width) * scale:.3g} {unit} "
            f"wide ({with_error(b.depth, b.depth_std)} darker) and take {100.0 * np.nanmean(b.area):.1f} % of "
            "the field.",
            f"From the first to the last frame the area of the boundaries changes by "
            f"{with_error(100.0 * growth, 100.0 * std, signed=True)} % of its mean.",
        ]
        if b.misfit > _MISFIT:
            lines.append(
                f"A blurred box does not describe the boundaries (mean square of the residuals {b.misfit:.1f}"
                "): their depths differ, and areas assume the mean depth."
            )
        if not b.brightness.known:
            lines.append(
                "Added brightness (carbon, dark level) cannot be determined: the grains have one brightness, "
                "or are too few. If it grows, boundaries seem to become narrower."
            )
        return "\n".join((*lines, *self.notes))

    def _draw(self, ax: Axes | None) -> Axes:
        from hyperspy_assb.plotting.series import plot_boundaries

        return plot_boundaries(self, ax=ax)

    def _shown(self) -> Any:
        return self.labels

    def _over_dose(self) -> dict[str, tuple[float, float]]:
        return {"area of the boundaries (share)": self.growth}

    def _table(self) -> pd.DataFrame:
        b = self.boundaries
        columns = self._frame_columns() | {
            "width (pixels)": b.width,
            "width std (pixels)": b.width_std,
            "area (share of the field)": b.area,
            "area std": b.area_std,
            "additive brightness (share)": b.brightness.additive[:, 0],
            "additive std": b.brightness.additive_std[:, 0],
        }
        return pd.DataFrame(columns)
