"""Orientation maps of a scan: the object that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.acom.crystals.crystal_phase import to_orix
from hyperspy_assb.acom.maps.area_fractions import AreaFractions, FractionOptions, area_fractions
from hyperspy_assb.acom.maps.grains import GrainBoundaries, GrainOptions, Grains, scan_boundaries, scan_grains
from hyperspy_assb.acom.maps.particles import MechanismOptions
from hyperspy_assb.plotting.colours import orientation_colours
from hyperspy_assb.signals.acom.mechanism import Mechanism, mechanism_of
from hyperspy_assb.signals.acom.phase_comparison import PhaseComparison, compare_phases
from hyperspy_assb.signals.acom.scan_maps import ScanMaps
from hyperspy_assb.signals.region_mask import region_mask


@dataclass(frozen=True)
class OrientationMaps(ScanMaps):
    """Phase and orientation in every pixel of a scan, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        What indexing found, as arrays; see :class:`~hyperspy_assb.acom.matching.indexed.IndexedScan`.
    axes
        Navigation axes, as dictionaries; none or one are taken as a scan of one pixel or of one row.
    record
        What was done, by which version.
    diffraction
        Beam energy, precession and range of the templates.
    notes
        What is to be known of the result, in sentences.
    """

    def __repr__(self) -> str:
        return f"<OrientationMaps, {self.verdict}>"

    @cached_property
    def verdict(self) -> str:
        """What the scan consists of, in a line."""
        ny, nx = self.found.phase.shape
        parts = [f"{name} {100 * share:.1f} %" for name, share in self.classes.shares.items()]
        left_out = self.classes.left_out
        text = ", ".join(parts) or "nothing indexed"
        return f"{text} ({ny} x {nx} pixels" + (f", {left_out} without an answer)" if left_out else ")")

    # -------------------------------------------------------------------- maps

    @cached_property
    def phase_map(self) -> Any:
        """Index into ``phases``, -1 where not indexed."""
        return self.as_map(np.asarray(self.found.phase).astype(np.int16), "phase_map")

    @cached_property
    def class_map(self) -> Any:
        """Index into ``classes.names`` (phases, then amorphous materials), -1 where there is none."""
        return self.as_map(self.classes.index.astype(np.int16), "class_map")

    @cached_property
    def correlation(self) -> Any:
        """Score of the best template, 0 to 1: the index."""
        return self.as_map(self.found.correlation, "correlation")

    @cached_property
    def reliability(self) -> Any:
        """100 (1 - Q2 / Q1): how far the best orientation is ahead of the next one of the same phase."""
        return self.as_map(self.found.reliability, "reliability")

    @cached_property
    def phase_reliability(self) -> Any:
        """The same for the best orientation of the next phase."""
        return self.as_map(self.found.phase_reliability, "phase_reliability")

    @cached_property
    def crystalline_score(self) -> Any:
        """Best score after the mean of each radius is removed, which amorphous material has not."""
        return self.as_map(self.found.crystalline_score, "crystalline_score")

    @cached_property
    def virtual_bright_field(self) -> Any:
        """Counts in the direct beam."""
        return self.as_map(self.found.virtual_bright_field, "virtual_bright_field")

    @cached_property
    def status(self) -> Any:
        """:class:`~hyperspy_assb.acom.matching.indexed.PatternStatus` as integers."""
        return self.as_map(np.asarray(self.found.status).astype(np.int8), "status")

    @cached_property
    def amorphous(self) -> Any:
        """True where the column is of amorphous material, or most of it."""
        return self.as_map(self.classes.amorphous, "amorphous")

    @cached_property
    def posterior(self) -> dict[str, Any]:
        """Probability of each phase, by name, given that one of them is there."""
        return {
            phase.name: self.as_map(np.asarray(self.found.posterior)[..., number], f"Probability of {phase.name}")
            for number, phase in enumerate(self.phases)
        }

    @cached_property
    def ring_amounts(self) -> dict[str, Any]:
        """Share of each amorphous material in the diffuse intensity, by name."""
        return {
            name: self.as_map(np.asarray(self.found.ring_amounts)[..., number], f"Share of {name}")
            for number, name in enumerate(self.found.ring_materials)
        }

    @cached_property
    def amorphous_shares(self) -> dict[str, Any]:
        """Share of each amorphous material in the thickness, by name; NaN where unknown."""
        return self._shares(self.found.amorphous_share, "Share of {} in the thickness")

    @cached_property
    def amorphous_share_errors(self) -> dict[str, Any]:
        """Standard errors of ``amorphous_shares``."""
        return self._shares(self.found.amorphous_share_std, "Standard error of the share of {} in the thickness")

    def _shares(self, values: Any, title: str) -> dict[str, Any]:
        if values is None:
            return {}
        return {
            name: self.as_map(np.asarray(values)[..., number], title.format(name))
            for number, name in enumerate(self.found.ring_materials)
        }

    # ------------------------------------------------------------ orientations

    def to_crystal_map(self) -> Any:
        """The maps as an orix CrystalMap; pixels that are not indexed have the phase -1.

        Returns
        -------
        orix.crystal_map.CrystalMap
            Rotations from the specimen to the crystal, positions in the unit of the axes, and the other maps as
            properties.
        """
        from orix.crystal_map import CrystalMap, PhaseList
        from orix.quaternion import Rotation

        found = self.found
        ny, nx = found.phase.shape
        (step_y, step_x), units = self.pixel_size()
        indexed = np.isfinite(found.orientation).all(axis=-1)
        rotations = np.where(indexed[..., None], found.orientation, [1.0, 0.0, 0.0, 0.0])
        y, x = np.indices((ny, nx))
        names = ("correlation", "reliability", "phase_reliability", "virtual_bright_field", "status")
        return CrystalMap(
            rotations=Rotation(rotations.reshape(-1, 4)),
            phase_id=np.where(indexed, found.phase, -1).ravel(),
            x=x.ravel() * step_x,
            y=y.ravel() * step_y,
            phase_list=PhaseList(dict(enumerate(to_orix(phase) for phase in found.phases))),
            prop={name: np.ravel(getattr(found, name)) for name in names} | {"class": self.classes.index.ravel()},
            scan_unit=units or "px",
        )

    def ipf(self, direction: str = "z") -> Any:
        """Colours of the crystal direction that lies along an axis of the specimen (inverse pole figure).

        Parameters
        ----------
        direction
            "x", "y" or "z"; z is towards the electron source.

        Returns
        -------
        Signal2D
            8-bit red, green and blue, an image with the axes of the scan; black where not indexed. Each phase has its
            own key, see :func:`hyperspy_assb.plotting.acom.plot_ipf_key`.

        Raises
        ------
        ValueError
            If there is no such axis.
        """
        data = orientation_colours(self.found.phase, self.found.orientation, self.phases, direction)
        image = hs.signals.Signal1D(data)
        image.change_dtype("rgb8")
        image = image.as_signal2D((0, 1))
        for axis, spec in zip(image.axes_manager.signal_axes, reversed(self.full_axes()), strict=True):
            axis.name, axis.scale, axis.offset, axis.units = (spec[key] for key in ("name", "scale", "offset", "units"))
        return self._named(image, f"Crystal direction along {direction}")

    # ------------------------------------------------------ grains and fractions

    def grain_boundaries(self, *, options: GrainOptions | None = None) -> GrainBoundaries:
        """Edges between pixels: grains of one phase, two phases, crystal beside none; see :class:`.GrainBoundaries`.

        Parameters
        ----------
        options
            Threshold, Friedel twins, smallest grain.
        """
        return scan_boundaries(self.found, options=options)

    def boundary_map(self, *, options: GrainOptions | None = None) -> Any:
        """Pixels beside a boundary: 1 between grains of one phase, 2 between phases, 0 elsewhere; a signal."""
        return self.as_map(self.grain_boundaries(options=options).pixels, "Grain boundaries")

    def grains(self, *, options: GrainOptions | None = None) -> Grains:
        """Connected pixels of one phase and orientation, as arrays; see :class:`.Grains`."""
        return scan_grains(self.found, options=options)

    def grain_table(self, *, options: GrainOptions | None = None) -> pd.DataFrame:
        """One row a grain: phase, area, diameter, centre, spread, whether it reaches the margin of the map."""
        found = self.grains(options=options)
        size, units = self.pixel_size()
        unit = units or "px"
        return pd.DataFrame(
            {
                "grain": np.arange(1, len(found) + 1),
                "phase": [self.phases[p].name for p in found.phase],
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

    def area_fractions(self, where: Any = None, *, options: FractionOptions | None = None) -> AreaFractions:
        """Area fractions as arrays; see :func:`hyperspy_assb.acom.maps.area_fractions.area_fractions`."""
        mask = None if where is None else region_mask(self.phase_map, where, name="where")
        if mask is not None:
            mask = mask.reshape(self.found.phase.shape)
        return area_fractions(self.classes, posterior=self.found.posterior, where=mask, options=options)

    def phase_fractions(self, where: Any = None, *, options: FractionOptions | None = None) -> pd.DataFrame:
        """Area fractions of phases and amorphous materials with intervals, in per cent.

        Parameters
        ----------
        where
            Pixels that are taken: a boolean array or signal on the navigation axes, or a HyperSpy ROI.
        options
            Confidence, resamples, blocks.

        Returns
        -------
        pandas.DataFrame
            One row a class: share of the area, standard errors (of another area like this one, and from uncertain
            phases), interval, mean probability, and the number of independent pixels that would scatter as much.
        """
        found = self.area_fractions(where, options=options)
        percent = f"{100 * found.confidence:g} %"
        table = pd.DataFrame(
            {
                "class": found.names,
                "area (%)": 100 * found.fraction,
                "std (%)": 100 * found.std,
                "std classification (%)": 100 * found.classification_std,
                f"low, {percent} (%)": 100 * found.low,
                f"high, {percent} (%)": 100 * found.high,
                "expected (%)": 100 * found.expected,
                "effective pixels": found.effective,
            }
        )
        table.attrs = {"pixels": found.pixels, "left out": found.left_out, "blocks": found.blocks}
        return table

    def mechanism(self, *, options: MechanismOptions | None = None) -> Mechanism:
        """Particles of olivine, and whether they tell of a domino-cascade or of a mosaic.

        See :class:`hyperspy_assb.signals.acom.mechanism.Mechanism`.

        Raises
        ------
        ValueError
            If one of the two olivines was not offered.
        """
        return mechanism_of(self, options=options)

    def compare_phases(self, after: ScanMaps, **arguments: Any) -> PhaseComparison:
        """What changed between this state and a later one; see :func:`hyperspy_assb.compare_phases`."""
        return compare_phases(self, after, **arguments)

    # ----------------------------------------------------------------- figures

    def plot(self, **arguments: Any) -> Any:
        """Plot all maps; see :func:`hyperspy_assb.plotting.acom.plot_orientations`."""
        from hyperspy_assb.plotting.acom import plot_orientations

        return plot_orientations(self, **arguments)

    def plot_match(self, patterns: Any, index: tuple[int, ...], **arguments: Any) -> Any:
        """Plot a pattern with the spots of the orientation that was found in it.

        Parameters
        ----------
        patterns
            The patterns that were indexed, an :class:`.ACOMPatterns`.
        index
            Row and column of the pixel (array order: y before x).
        **arguments
            For :func:`hyperspy_assb.plotting.acom.plot_match`.
        """
        from hyperspy_assb.plotting.acom import plot_match

        return plot_match(self, patterns, index, **arguments)


def load_orientations(path: str | Path) -> OrientationMaps:
    """Load what :meth:`OrientationMaps.save` wrote; see :meth:`.ScanMaps.load`."""
    return OrientationMaps.load(path)
