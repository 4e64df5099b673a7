"""Orientation maps of a scan: the object that holds them, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import to_orix
from hyperspy_assb.acom.crystals.disorientation import symmetry_of
from hyperspy_assb.acom.crystals.kinematical import Diffraction
from hyperspy_assb.acom.maps.area_fractions import (
    AreaFractions,
    ClassMap,
    FractionOptions,
    area_fractions,
    classify_pixels,
)
from hyperspy_assb.acom.maps.grains import (
    GrainBoundaries,
    GrainOptions,
    Grains,
    boundaries_of_grains,
    find_grains,
    grain_boundaries,
)
from hyperspy_assb.acom.maps.particles import MechanismOptions
from hyperspy_assb.acom.matching.indexed import IndexedScan, PatternStatus
from hyperspy_assb.acom.patterns.geometry import PatternGeometry

if TYPE_CHECKING:
    from hyperspy_assb.signals.acom.mechanism import Mechanism
    from hyperspy_assb.signals.acom.phase_comparison import PhaseComparison

TITLES = {
    "phase_map": "Phase",
    "correlation": "Correlation with the best template",
    "reliability": "Reliability of the orientation",
    "phase_reliability": "Reliability of the phase",
    "crystalline_score": "Crystalline score",
    "virtual_bright_field": "Virtual bright field",
    "status": "Status",
    "amorphous": "Amorphous",
    "class_map": "Phase or amorphous material",
}
UNITS = {"virtual_bright_field": "Counts", "reliability": "%", "phase_reliability": "%"}


@dataclass(frozen=True)
class OrientationMaps:
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

    found: IndexedScan = field(repr=False)
    axes: tuple[dict[str, Any], ...] = field(repr=False, default=())
    record: dict[str, Any] = field(default_factory=dict, repr=False)
    diffraction: Diffraction = field(default_factory=Diffraction, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"<OrientationMaps, {self.verdict}>"

    @cached_property
    def verdict(self) -> str:
        """What the scan consists of, in a line."""
        ny, nx = self.found.phase.shape
        classes = self.classes
        taken = max(int((classes.index >= 0).sum()), 1)
        parts = [
            f"{name} {100 * np.sum(classes.index == number) / taken:.1f} %"
            for number, name in enumerate(classes.names)
            if np.any(classes.index == number)
        ]
        left_out = int((classes.index < 0).sum())
        text = ", ".join(parts) or "nothing indexed"
        return f"{text} ({ny} x {nx} pixels" + (f", {left_out} without an answer)" if left_out else ")")

    # -------------------------------------------------------------------- maps

    @property
    def geometry(self) -> PatternGeometry:
        """The calibration that was used, refined if it was asked for."""
        return self.found.geometry

    @property
    def phases(self) -> tuple[Any, ...]:
        """Phases that were offered."""
        return self.found.phases

    @cached_property
    def classes(self) -> ClassMap:
        """Phase or amorphous material of every pixel, as an array."""
        return classify_pixels(self.found)

    @cached_property
    def phase_map(self) -> Any:
        """Index into ``phases``, -1 where not indexed."""
        return self._map(np.asarray(self.found.phase).astype(np.int16), "phase_map")

    @cached_property
    def class_map(self) -> Any:
        """Index into ``classes.names`` (phases, then amorphous materials), -1 where there is none."""
        return self._map(self.classes.index.astype(np.int16), "class_map")

    @cached_property
    def correlation(self) -> Any:
        """Score of the best template, 0 to 1: the index."""
        return self._map(self.found.correlation, "correlation")

    @cached_property
    def reliability(self) -> Any:
        """100 (1 - Q2 / Q1): how far the best orientation is ahead of the next one of the same phase."""
        return self._map(self.found.reliability, "reliability")

    @cached_property
    def phase_reliability(self) -> Any:
        """The same for the best orientation of the next phase."""
        return self._map(self.found.phase_reliability, "phase_reliability")

    @cached_property
    def crystalline_score(self) -> Any:
        """Best score after the mean of each radius is removed, which amorphous material has not."""
        return self._map(self.found.crystalline_score, "crystalline_score")

    @cached_property
    def virtual_bright_field(self) -> Any:
        """Counts in the direct beam."""
        return self._map(self.found.virtual_bright_field, "virtual_bright_field")

    @cached_property
    def status(self) -> Any:
        """:class:`~hyperspy_assb.acom.matching.indexed.PatternStatus` as integers."""
        return self._map(np.asarray(self.found.status).astype(np.int8), "status")

    @cached_property
    def amorphous(self) -> Any:
        """True where the column is of amorphous material, or most of it."""
        return self._map(self.classes.amorphous, "amorphous")

    @cached_property
    def posterior(self) -> dict[str, Any]:
        """Probability of each phase, by name, given that one of them is there."""
        return {
            phase.name: self._map(np.asarray(self.found.posterior)[..., number], f"Probability of {phase.name}")
            for number, phase in enumerate(self.phases)
        }

    @cached_property
    def ring_amounts(self) -> dict[str, Any]:
        """Share of each amorphous material in the diffuse intensity, by name."""
        return {
            name: self._map(np.asarray(self.found.ring_amounts)[..., number], f"Share of {name}")
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
            name: self._map(np.asarray(values)[..., number], title.format(name))
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
        (step_y, step_x), units = self._pixel_size()
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
        from hyperspy_assb.plotting.colours import orientation_colours

        data = orientation_colours(self.found.phase, self.found.orientation, self.phases, direction)
        image = hs.signals.Signal1D(data)
        image.change_dtype("rgb8")
        image = image.as_signal2D((0, 1))
        for axis, spec in zip(image.axes_manager.signal_axes, reversed(self._full_axes()), strict=True):
            axis.name, axis.scale, axis.offset, axis.units = (spec[key] for key in ("name", "scale", "offset", "units"))
        return self._named(image, f"Crystal direction along {direction}")

    # ------------------------------------------------------ grains and fractions

    @cached_property
    def _symmetries(self) -> list[NDArray[np.float64]]:
        return [symmetry_of(phase) for phase in self.phases]

    def grain_boundaries(self, *, options: GrainOptions | None = None) -> GrainBoundaries:
        """Edges between pixels: grains of one phase, two phases, crystal beside none; see :class:`.GrainBoundaries`.

        Parameters
        ----------
        options
            Threshold, Friedel twins, smallest grain.
        """
        options = options or GrainOptions()
        arguments = (self.found.phase, self.found.orientation, self._symmetries)
        found = grain_boundaries(*arguments, options=options)
        if options.min_pixels > 1:
            found = boundaries_of_grains(find_grains(*arguments, boundaries=found, options=options), found)
        return found

    def boundary_map(self, *, options: GrainOptions | None = None) -> Any:
        """Pixels beside a boundary: 1 between grains of one phase, 2 between phases, 0 elsewhere; a signal."""
        return self._map(self.grain_boundaries(options=options).pixels, "Grain boundaries")

    def grains(self, *, options: GrainOptions | None = None) -> Grains:
        """Connected pixels of one phase and orientation, as arrays; see :class:`.Grains`."""
        return find_grains(self.found.phase, self.found.orientation, self._symmetries, options=options)

    def grain_table(self, *, options: GrainOptions | None = None) -> pd.DataFrame:
        """One row a grain: phase, area, diameter, centre, spread, whether it reaches the margin of the map."""
        found = self.grains(options=options)
        (step_y, step_x), units = self._pixel_size()
        area = found.pixels * step_x * step_y
        unit = units or "px"
        return pd.DataFrame(
            {
                "grain": np.arange(1, len(found) + 1),
                "phase": [self.phases[p].name for p in found.phase],
                "pixels": found.pixels,
                f"area ({unit}²)": area,
                f"diameter ({unit})": 2.0 * np.sqrt(area / np.pi),
                f"x ({unit})": found.centre[:, 1] * step_x,
                f"y ({unit})": found.centre[:, 0] * step_y,
                "spread (°)": found.spread,
                "Friedel twins": found.twinned,
                "at the margin": found.at_margin,
            }
        )

    def area_fractions(self, where: Any = None, *, options: FractionOptions | None = None) -> AreaFractions:
        """Area fractions as arrays; see :func:`hyperspy_assb.acom.maps.area_fractions.area_fractions`."""
        mask = None if where is None else self._mask(where)
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
        from hyperspy_assb.signals.acom.mechanism import mechanism_of

        return mechanism_of(self, options=options)

    def compare_phases(self, after: OrientationMaps, **arguments: Any) -> PhaseComparison:
        """What changed between this state and a later one; see :func:`hyperspy_assb.compare_phases`."""
        from hyperspy_assb.signals.acom.phase_comparison import compare_phases

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

    # ------------------------------------------------------------------- files

    def save(self, path: str | Path, *, overwrite: bool | None = None) -> None:
        """Save everything in one file.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks.
        """
        from hyperspy_assb.signals.acom.orientation_files import save_orientations

        save_orientations(self, path, overwrite=overwrite)

    # ----------------------------------------------------------------- private

    def _map(self, values: NDArray[Any], name: str) -> Any:
        """A signal whose axes are all navigation axes."""
        signal = self._on_axes(np.asarray(values)).transpose(signal_axes=0)
        if name in UNITS:
            quantity = "Counts" if UNITS[name] == "Counts" else f"{TITLES[name]} ({UNITS[name]})"
            signal.metadata.set_item("Signal.quantity", quantity)
        return self._named(signal, TITLES.get(name, name))

    def _named(self, signal: Any, title: str) -> Any:
        signal.metadata.General.title = title
        signal.metadata.set_item("ASSB.provenance", self.record)
        if title == TITLES["phase_map"]:
            signal.metadata.set_item("ASSB.classes", ["-1: not indexed", *self._words(p.name for p in self.phases)])
        if title == TITLES["class_map"]:
            signal.metadata.set_item("ASSB.classes", ["-1: no answer", *self._words(self.classes.names)])
        if title == TITLES["status"]:
            signal.metadata.set_item("ASSB.classes", [f"{s.value}: {s.name.lower()}" for s in PatternStatus])
        return signal

    @staticmethod
    def _words(names: Any) -> list[str]:
        return [f"{number}: {name}" for number, name in enumerate(names)]

    def _full_axes(self) -> list[dict[str, Any]]:
        """Axes of the rows and of the columns, made up where the scan has fewer."""
        ny, nx = self.found.phase.shape
        made = [
            {"name": "y", "scale": 1.0, "offset": 0.0, "units": "", "size": ny},
            {"name": "x", "scale": 1.0, "offset": 0.0, "units": "", "size": nx},
        ]
        for place, axis in zip(range(2 - len(self.axes), 2), self.axes, strict=True):
            made[place] = {key: axis[key] for key in ("name", "scale", "offset", "units", "size")}
        return made

    def _on_axes(self, data: NDArray[Any]) -> Any:
        """A signal of an array (ny, nx, ...) with the scan axes first."""
        shape = tuple(axis["size"] for axis in self.axes) or (1,)
        axes = [dict(axis) for axis in self.axes] or [{"size": 1}]
        extra = [{"size": n, "navigate": False} for n in data.shape[2:]]
        return hs.signals.BaseSignal(data.reshape(*shape, *data.shape[2:]), axes=[*axes, *extra])

    def _pixel_size(self) -> tuple[tuple[float, float], str]:
        """Rows and columns, and the unit; ("", pixels) where the axes have none."""
        axes = self._full_axes()
        units = [str(axis["units"]) for axis in axes]
        units = ["" if unit in ("<undefined>", "None", "") else unit for unit in units]
        if len(self.axes) < 2:
            # A line has no height of its own: its pixels are taken to be square.
            axes[0] = axes[1]
            units[0] = units[1]
        if not units[1] or units[0] != units[1]:
            return (1.0, 1.0), ""
        return (abs(float(axes[0]["scale"])), abs(float(axes[1]["scale"]))), units[1]

    def _mask(self, where: Any) -> NDArray[np.bool_]:
        from hyperspy_assb.signals.region_mask import region_mask

        return region_mask(self._map_template(), where, name="where").reshape(self.found.phase.shape)

    def _map_template(self) -> Any:
        return self.phase_map
