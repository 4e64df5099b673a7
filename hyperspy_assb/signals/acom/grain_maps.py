"""Grains of a scan and the boundaries between them, as maps and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.acom.maps.grains import (
    BoundaryKind,
    GrainBoundaries,
    GrainOptions,
    Grains,
    bounded_grains,
)
from hyperspy_assb.signals.acom.scan_maps import ScanMaps, with_classes
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal
    from matplotlib.axes import Axes

_KINDS = {
    BoundaryKind.GRAIN: "between grains of one phase",
    BoundaryKind.PHASE: "between phases",
    BoundaryKind.MARGIN: "between crystals and what is not indexed",
    BoundaryKind.FRIEDEL: "between orientations that half a turn about the beam, or a zone axis near it, connects",
}


@dataclass(frozen=True, eq=False)
class GrainMaps(Result):
    """Connected pixels of one phase and orientation, and what lies between them.

    Parameters
    ----------
    boundaries
        What lies on the edges between pixels, as arrays.
    grains
        The grains, as arrays.
    phases
        Names of the phases that were offered.
    pixel_size
        Height and width of a pixel in ``units``.
    units
        Of lengths.
    options
        What counts as a boundary, and as a grain.

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
    >>> g = r.grain_boundaries()
    >>> g.status
    <BaseSignal, title: Boundaries, dimensions: (4, 4|)>
    >>> g.table.columns[:4].tolist()
    ['grain', 'phase', 'pixels', 'area (nm²)']
    >>> g.length("PHASE") == g.boundaries.length(2, g.pixel_size)
    True

    >>> bool(g.labels.data.max() == len(g.table))
    True
    >>> len(g.summary()) > 0
    True
    >>> g.lengths["boundary"].tolist()
    ['GRAIN', 'PHASE', 'MARGIN', 'FRIEDEL']
    >>> axes = g.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = BoundaryKind
    boundaries: GrainBoundaries = field(repr=False)
    grains: Grains = field(repr=False)
    phases: tuple[str, ...]
    pixel_size: tuple[float, float]
    units: str
    options: GrainOptions

    @cached_property
    def labels(self) -> BaseSignal:
        """Number of the grain of each pixel from 1 upwards, 0 where not indexed: labels for ``region=``."""
        return self._map(self.grains.labels.astype(np.int32), "Grains")

    @cached_property
    def status(self) -> BaseSignal:
        """What each pixel is beside: :class:`~hyperspy_assb.acom.maps.grains.BoundaryKind` as integers."""
        signal = self._map(self.boundaries.kinds, "Boundaries")
        return with_classes(signal, (f"{kind.value}: {kind.name.lower()}" for kind in BoundaryKind))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a grain: phase, area, diameter, centre, spread, whether it reaches the margin of the map."""
        found, size, unit = self.grains, self.pixel_size, self.units
        return pd.DataFrame(
            {
                "grain": np.arange(1, len(found) + 1),
                "phase": [self.phases[p] for p in found.phase],
                "pixels": found.pixels,
                f"area ({unit}²)": found.area(size),
                f"diameter ({unit})": found.diameter(size),
                f"x ({unit})": found.centre[:, 1] * size[1],
                f"y ({unit})": found.centre[:, 0] * size[0],
                "spread (°)": found.spread,
                "Friedel twins": found.twinned,
                "at the margin": found.at_margin,
            }
        )

    def length(self, kind: BoundaryKind | str) -> float:
        """Length of all boundaries of a kind along pixel edges, in ``units``.

        Parameters
        ----------
        kind
            ``"GRAIN"``, ``"PHASE"``, ``"MARGIN"`` or ``"FRIEDEL"``; see
            :class:`~hyperspy_assb.acom.maps.grains.BoundaryKind`.

        Returns
        -------
        float
            An oblique straight line is overestimated by up to the square root of two.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> g = r.grain_boundaries()
        >>> g.length("GRAIN") >= 0.0
        True
        >>> g.lengths_in_words()
        'Boundaries: ... nm between grains of one phase, ... nm between phases.'
        """
        return self.boundaries.length(BoundaryKind[kind] if isinstance(kind, str) else kind, self.pixel_size)

    @cached_property
    def lengths(self) -> pd.DataFrame:
        """One row a kind of boundary: length, and length over the area that is indexed."""
        area = float((self.grains.labels > 0).sum()) * self.pixel_size[0] * self.pixel_size[1]
        kinds = [kind for kind in BoundaryKind if kind != BoundaryKind.NONE]
        length = np.array([self.length(kind) for kind in kinds])
        return pd.DataFrame(
            {
                "boundary": [kind.name for kind in kinds],
                "what it is": [_KINDS[kind] for kind in kinds],
                f"length ({self.units})": length,
                f"length per area (1/{self.units})": length / area if area else np.full(len(kinds), np.nan),
            }
        )

    def lengths_in_words(self) -> str:
        """Lengths of the boundaries between grains and between phases, in a sentence."""
        parts = [f"{self.length(k):.0f} {self.units} {_KINDS[k]}" for k in (BoundaryKind.GRAIN, BoundaryKind.PHASE)]
        return f"Boundaries: {', '.join(parts)}."

    def summary(self) -> str:
        """Grains by phase with their median diameter, and lengths of the boundaries."""
        lines = []
        for number, name in enumerate(self.phases):
            own = self.grains.phase == number
            if own.any():
                diameter = float(np.median(self.grains.diameter(self.pixel_size)[own]))
                lines.append(f"{name}: {own.sum()} grains, median diameter {diameter:.3g} {self.units}.")
        return "\n".join((*(lines or ["There are no grains."]), self.lengths_in_words(), *self.notes))

    def plot(self) -> Axes:
        """Plot boundaries between grains of one phase in black, and between phases in green.

        Returns
        -------
        matplotlib.axes.Axes
            The axes of the map.
        """
        from hyperspy_assb.plotting.acom import plot_boundaries

        return plot_boundaries(self)

    def _pixel_columns(self) -> Mapping[str, Any]:
        angle = np.zeros(self.grains.labels.shape)
        found = self.boundaries
        for edges, first, second in (
            (found.right_angle, np.s_[:, :-1], np.s_[:, 1:]),
            (found.below_angle, np.s_[:-1], np.s_[1:]),
        ):
            for side in (first, second):
                angle[side] = np.fmax(angle[side], edges)
        return {"grain": self.grains.labels, "largest disorientation (°)": angle}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = np.unique(self.grains.labels[mask.reshape(self.grains.labels.shape)])
        own = inside[inside > 0] - 1
        diameter = self.grains.diameter(self.pixel_size)[own]
        return {
            "grains": own.size,
            f"median diameter ({self.units})": float(np.median(diameter)) if own.size else float("nan"),
        }

    def _shown(self) -> Any:
        return self.labels


def grain_maps_of(result: ScanMaps, *, options: GrainOptions | None = None) -> GrainMaps:
    """What :meth:`.OrientationMaps.grain_boundaries` does."""
    options = options or GrainOptions()
    pixel_size, units = result.pixel_size()
    boundaries, grains = bounded_grains(result.found, options=options)
    return GrainMaps(
        boundaries=boundaries,
        grains=grains,
        phases=tuple(phase.name for phase in result.phases),
        pixel_size=pixel_size,
        units=units,
        options=options,
        axes=result.axes,
        provenance=result.provenance,
    )
