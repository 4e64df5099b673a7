"""Maps of a scan as HyperSpy signals on its axes, and the file that holds them all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.acom.crystals.crystal_phase import pack_phase, unpack_phase
from hyperspy_assb.acom.crystals.kinematical import Diffraction
from hyperspy_assb.acom.maps.area_fractions import ClassMap, classify_pixels
from hyperspy_assb.acom.matching.indexed import IndexedScan, PatternStatus, map_names
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.errors import AssbValueError

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
class ScanMaps:
    """What indexing found in a scan, with the axes that its maps have as signals.

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

    def as_map(self, values: NDArray[Any], name: str) -> Any:
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

    def full_axes(self) -> list[dict[str, Any]]:
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

    def pixel_size(self) -> tuple[tuple[float, float], str]:
        """Rows and columns, and the unit; ("", pixels) where the axes have none."""
        axes = self.full_axes()
        units = [str(axis["units"]) for axis in axes]
        units = ["" if unit in ("<undefined>", "None", "") else unit for unit in units]
        if len(self.axes) < 2:
            # A line has no height of its own: its pixels are taken to be square.
            axes[0] = axes[1]
            units[0] = units[1]
        if not units[1] or units[0] != units[1]:
            return (1.0, 1.0), ""
        return (abs(float(axes[0]["scale"])), abs(float(axes[1]["scale"]))), units[1]

    def save(self, path: str | Path, *, overwrite: bool | None = None) -> None:
        """Save everything in one file: one signal with the maps along its first axis, all else in its metadata.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks.
        """
        shape = self.found.phase.shape
        names = map_names(self.found)
        columns, layout = [], []
        for name in names:
            values = np.asarray(getattr(self.found, name))
            layout.append({"name": name, "shape": list(values.shape[2:]), "dtype": values.dtype.str})
            columns.append(np.moveaxis(values.reshape(*shape, -1), -1, 0).astype(np.float64))
        rest = {
            item.name: getattr(self.found, item.name)
            for item in fields(self.found)
            if item.name not in (*names, "phases", "geometry")
        }
        signal = hs.signals.BaseSignal(np.concatenate(columns))
        for axis, spec in zip(signal.axes_manager._axes, [None, *self.full_axes()], strict=True):
            if spec is None:
                axis.name = "quantity"
            else:
                for key in ("name", "scale", "offset", "units"):
                    setattr(axis, key, spec[key])
        signal.metadata.General.title = "Orientation maps"
        content = {
            "layout": layout,
            "rest": provenance.to_plain(rest),
            "geometry": provenance.to_plain(self.geometry),
            "diffraction": provenance.to_plain(self.diffraction),
            "phases": [{key: np.asarray(v).tolist() for key, v in pack_phase(p).items()} for p in self.phases],
            "axes": provenance.to_plain([dict(axis) for axis in self.axes]),
            "notes": list(self.notes),
            "provenance": provenance.to_plain(self.record),
        }
        signal.metadata.set_item("ASSB.orientations", json.dumps(content))
        signal.save(str(path), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load what :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds something else.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"There is no file {path}.")
        signal = hs.load(str(path))
        node = signal.metadata.get_item("ASSB.orientations", None) if not isinstance(signal, list) else None
        if node is None:
            raise AssbValueError(f"{path} holds no orientation maps: it was not written by OrientationMaps.save.")
        content = json.loads(node)
        columns = np.asarray(signal.data)
        shape = columns.shape[1:]
        maps, start = {}, 0
        for entry in content["layout"]:
            count = int(np.prod(entry["shape"], dtype=int))
            part = np.moveaxis(columns[start : start + count], 0, -1).reshape(*shape, *entry["shape"])
            maps[entry["name"]] = np.ascontiguousarray(part).astype(entry["dtype"])
            start += count
        numbers = ("scale", "ellipticity", "ellipse_azimuth", "scan_rotation", "mirrored")
        geometry = {name: content["geometry"][name] for name in numbers}
        geometry["centre"] = tuple(content["geometry"]["centre"])
        for name in ("scale_std", "ellipticity_std"):
            geometry[name] = _number(content["geometry"][name])
        geometry["centre_std"] = tuple(_number(value) for value in content["geometry"]["centre_std"])
        rest = {key: tuple(value) if isinstance(value, list) else value for key, value in content["rest"].items()}
        known = {item.name for item in fields(IndexedScan)}
        scan = IndexedScan(
            phases=tuple(unpack_phase({key: np.array(value) for key, value in p.items()}) for p in content["phases"]),
            geometry=PatternGeometry(**geometry),
            **{key: value for key, value in {**rest, **maps}.items() if key in known},
        )
        return cls(
            found=scan,
            axes=tuple(content["axes"]),
            record=content["provenance"],
            diffraction=Diffraction(**content["diffraction"]),
            notes=tuple(content["notes"]),
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
