"""What follows from the orientations of a scan: maps, tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Self

import hyperspy.api as hs
import numpy as np
import pandas as pd

from hyperspy_assb.acom.maps.grains import THRESHOLD, GrainOptions, scan_grains
from hyperspy_assb.acom.maps.local_misorientation import kernel_average_misorientation
from hyperspy_assb.acom.maps.selection import select_pixels
from hyperspy_assb.acom.maps.texture import CONE, DIRECTIONS, pole_densities
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.permutation import correct_by_holm
from hyperspy_assb.plotting.colours import orientation_colours
from hyperspy_assb.signals.acom.scan_maps import ScanMaps

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal, Signal2D
    from orix.crystal_map import CrystalMap

_GRAINS = GrainOptions(min_pixels=2)
"""Single pixels that were indexed wrongly are no grains."""


@dataclass(frozen=True, eq=False)
class OrientedMaps(ScanMaps):
    """What follows from the orientations of a scan; see :class:`~.orientations.OrientationMaps`."""

    @cached_property
    def twin_reliability(self) -> BaseSignal:
        """How far the orientation is ahead of what half a turn about the beam, or a zone axis near it, makes of it."""
        values = self.found.twin_reliability
        known = np.full(self.found.phase.shape, np.nan) if values is None else values
        return self._map(known, "Reliability against half a turn", "%")

    @cached_property
    def strain(self) -> dict[str, BaseSignal]:
        """Refined length of a, b and c relative to that of the phase, less 1; empty where they were not refined.

        They are refined with ``options=IndexingOptions(refine=RefineOptions(lattice=3))``. The scale is shared by all:
        differences between pixels are better known than their mean.
        """
        scale = self.found.lattice_scale
        return {} if scale is None else self._maps(np.asarray(scale) - 1.0, "abc", "Strain along {}")

    def kernel_misorientation(self, *, reach: int = 1, threshold: float = THRESHOLD) -> BaseSignal:
        """Mean disorientation of each pixel from its neighbours in the same grain.

        Parameters
        ----------
        reach
            Neighbours are up to so many rows and columns away.
        threshold
            Degrees above which a neighbour is of another grain, and is left out.

        Returns
        -------
        BaseSignal
            Degrees, on the navigation axes; NaN where there is no such neighbour.

        Raises
        ------
        ValueError
            If the reach is below 1, or the threshold not between 0 and 180.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> r.kernel_misorientation(reach=2)
        <BaseSignal, title: Kernel average misorientation, dimensions: (4, 4|)>
        """
        found = kernel_average_misorientation(self.found, reach=reach, threshold=threshold)
        return self._map(found, "Kernel average misorientation", "°")

    def select(
        self,
        *,
        correlation: float | None = None,
        reliability: float | None = None,
        phase_reliability: float | None = None,
        twin_reliability: float | None = None,
        posterior: float | None = None,
    ) -> Self:
        """Take the answers of pixels out that stay below what is asked of them.

        Parameters
        ----------
        correlation
            Smallest score of the best template, 0 to 1; None asks nothing, as for the others.
        reliability, phase_reliability, twin_reliability
            Smallest reliability of the orientation, of the phase, and against half a turn, 0 to 100.
        posterior
            Smallest probability of the phase, 0 to 1.

        Returns
        -------
        OrientationMaps
            The same result, in which these pixels are not indexed; a note says how many they are.

        Raises
        ------
        ValueError
            If a limit is out of range, or the result does not know what is asked for.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> sure = r.select(posterior=0.9)
        >>> int((sure.phase_map.data >= 0).sum()) <= int((r.phase_map.data >= 0).sum())
        True
        """
        asked = {
            "correlation": correlation,
            "reliability": reliability,
            "phase_reliability": phase_reliability,
            "twin_reliability": twin_reliability,
            "posterior": posterior,
        }
        found, out = select_pixels(self.found, **asked)
        limits = ", ".join(f"{name.replace('_', ' ')} {limit:g}" for name, limit in asked.items() if limit is not None)
        note = f"{int(out.sum())} of {out.size} patterns were taken out: below {limits}."
        notes = (*self.notes, note) if limits else self.notes
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return type(self)(**{**given, "found": found, "notes": notes})

    def texture(
        self,
        phase: str,
        *,
        directions: Sequence[tuple[int, int, int]] = DIRECTIONS,
        cone: float = CONE,
        options: GrainOptions | None = None,
    ) -> pd.DataFrame:
        """Whether crystal directions of a phase prefer an axis of the specimen, grain by grain.

        Parameters
        ----------
        phase
            Name of the phase.
        directions
            Indices u, v, w of directions of its lattice.
        cone
            Degrees about an axis within which a direction counts as along it.
        options
            What counts as a grain.

        Returns
        -------
        pandas.DataFrame
            One row a direction and axis: grains, those with an equivalent direction within the cone, how many random
            grains would have one, the density in multiples of a random distribution, and p, one-sided, as it is and
            corrected for the number of rows (Holm).

        Raises
        ------
        ValueError
            If the phase was not offered, or has no grain; or a direction or the cone cannot be.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> table = r.texture("LiFePO4", directions=[(1, 0, 0)])
        >>> table.axis.tolist(), table.columns[-1]
        (['x', 'y', 'z'], 'p corrected')
        """
        names = [entry.name for entry in self.phases]
        if phase not in names:
            raise AssbValueError(f"phase: one of {', '.join(names)}, not {phase}.")
        number = names.index(phase)
        grains = scan_grains(self.found, options=options or _GRAINS)
        own = grains.orientation[grains.phase == number]
        found = pole_densities(own, self.phases[number], directions=directions, cone=cone)
        p = np.array([row.p for row in found])
        return pd.DataFrame(
            {
                "direction": [f"[{' '.join(map(str, row.direction))}]" for row in found],
                "axis": [row.axis for row in found],
                "grains": [row.grains for row in found],
                "within": [row.within for row in found],
                "expected": [row.grains * row.random for row in found],
                "density": [row.density for row in found],
                "p": p,
                "p corrected": correct_by_holm(p),
            }
        )

    # ------------------------------------------------------------ for other programs

    def to_crystal_map(self) -> CrystalMap:
        """The maps as an orix CrystalMap; pixels that are not indexed have the phase -1.

        Returns
        -------
        orix.crystal_map.CrystalMap
            Rotations from the specimen to the crystal, positions in the unit of the axes, and the other maps as
            properties.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> crystal_map = r.to_crystal_map()
        >>> crystal_map.shape, crystal_map.scan_unit, crystal_map.phases["FePO4"].space_group.number
        ((4, 4), 'nm', 62)
        """
        from hyperspy_assb.signals.acom.crystal_map import crystal_map_of

        return crystal_map_of(self)

    def export(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write phases and orientations for other programs.

        Parameters
        ----------
        path
            Ends with ``.ang`` (EDAX), ``.ctf`` (Channel 5) or ``.h5`` (orix).
        overwrite
            Whether a file that is there is replaced.

        Raises
        ------
        ValueError
            If the ending is none of these.
        OSError
            If the file is there, and is not to be replaced.

        Notes
        -----
        These files name a Laue group, and who reads them takes 2/m to be about c: monoclinic phases are written with
        their axes c, a, b as a, b, c. Lengths in ``.ang`` and ``.ctf`` are in µm.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "maps.ctf"
        >>> r.export(path)
        >>> path.read_text().splitlines()[0]
        'Channel Text File'
        """
        from hyperspy_assb.signals.acom.crystal_map import export_crystal_map

        export_crystal_map(self, path, overwrite=overwrite)

    def ipf(self, direction: str = "z") -> Signal2D:
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

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, calibrate=False, show_progressbar=False)
        >>> r.ipf("z")
        <Signal2D, title: Crystal direction along z, dimensions: (|4, 4)>
        """
        data = orientation_colours(self.found.phase, self.found.orientation, self.phases, direction)
        image = hs.signals.Signal1D(data)
        image.change_dtype("rgb8")
        image = image.as_signal2D((0, 1))
        for axis, spec in zip(image.axes_manager.signal_axes, reversed(self.full_axes()), strict=True):
            axis.name, axis.scale, axis.offset, axis.units = (spec[key] for key in ("name", "scale", "offset", "units"))
        image.metadata.General.title = f"Crystal direction along {direction}"
        image.metadata.set_item("ASSB.provenance", self.provenance)
        return image
