"""What results of one indexed scan have in common: its phases, calibration and axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase
from hyperspy_assb.acom.crystals.kinematical import Diffraction
from hyperspy_assb.acom.maps.area_fractions import ClassMap, classify_pixels
from hyperspy_assb.acom.matching.indexed import IndexedScan
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.signals.result import Result

_UNKNOWN = ("<undefined>", "None", "")
"""What axes call a name or a unit that they do not have."""


@dataclass(frozen=True, eq=False)
class ScanMaps(Result):
    """What indexing found in a scan, with the axes that its maps have as signals.

    Parameters
    ----------
    found
        What indexing found, as arrays; see :class:`~hyperspy_assb.acom.matching.indexed.IndexedScan`.
    diffraction
        Beam energy, precession and range of the templates.
    """

    found: IndexedScan = field(repr=False)
    diffraction: Diffraction = field(default_factory=Diffraction, repr=False)

    @property
    def geometry(self) -> PatternGeometry:
        """The calibration that was used, refined if it was asked for."""
        return self.found.geometry

    @property
    def phases(self) -> tuple[CrystalPhase, ...]:
        """Phases that were offered."""
        return self.found.phases

    @cached_property
    def classes(self) -> ClassMap:
        """Phase or amorphous material of every pixel, as an array."""
        return classify_pixels(self.found)

    def full_axes(self) -> list[dict[str, Any]]:
        """Axes of the rows and of the columns, made up where the scan has fewer."""
        ny, nx = self.found.phase.shape
        made = [
            {"name": "y", "scale": 1.0, "offset": 0.0, "units": "", "size": ny},
            {"name": "x", "scale": 1.0, "offset": 0.0, "units": "", "size": nx},
        ]
        for place, axis in zip(range(2 - len(self.axes), 2), self.axes, strict=True):
            # Axes of an array have neither a name nor a unit.
            known = {key: axis[key] for key in ("name", "units") if str(axis[key]) not in _UNKNOWN}
            made[place] |= known | {key: axis[key] for key in ("scale", "offset", "size") if key in axis}
        return made

    def pixel_size(self) -> tuple[tuple[float, float], str]:
        """Height and width of a pixel, and their unit: "px" where the axes have none, or two."""
        axes = self.full_axes()
        units = [str(axis["units"]) for axis in axes]
        if len(self.axes) < 2:
            # A line has no height of its own: its pixels are taken to be square.
            axes[0] = axes[1]
            units[0] = units[1]
        if not units[1] or units[0] != units[1]:
            return (1.0, 1.0), "px"
        return (abs(float(axes[0]["scale"])), abs(float(axes[1]["scale"]))), units[1]


def with_classes(signal: Any, words: Iterable[str]) -> Any:
    """A map of numbers that says in its metadata what they mean."""
    signal.metadata.set_item("ASSB.classes", list(words))
    return signal


def numbered(names: Iterable[str], *, none: str) -> list[str]:
    """Names by their number, and what -1 means."""
    return [f"-1: {none}", *(f"{number}: {name}" for number, name in enumerate(names))]
