"""The file of orientation maps."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import hyperspy.api as hs
import numpy as np

from hyperspy_assb import provenance
from hyperspy_assb.acom.crystals.crystal_phase import pack_phase, unpack_phase
from hyperspy_assb.acom.crystals.kinematical import Diffraction
from hyperspy_assb.acom.matching.indexed import IndexedScan
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.scan.assembly import map_names
from hyperspy_assb.signals.acom.orientations import OrientationMaps


def save_orientations(result: OrientationMaps, path: str | Path, *, overwrite: bool | None = None) -> None:
    """What :meth:`.OrientationMaps.save` does: one signal with the maps along its first axis, all else in metadata."""
    shape = result.found.phase.shape
    names = map_names(result.found)
    columns, layout = [], []
    for name in names:
        values = np.asarray(getattr(result.found, name))
        layout.append({"name": name, "shape": list(values.shape[2:]), "dtype": values.dtype.str})
        columns.append(np.moveaxis(values.reshape(*shape, -1), -1, 0).astype(np.float64))
    rest = {
        item.name: getattr(result.found, item.name)
        for item in fields(result.found)
        if item.name not in (*names, "phases", "geometry")
    }
    signal = hs.signals.BaseSignal(np.concatenate(columns))
    for axis, spec in zip(signal.axes_manager._axes, [None, *result._full_axes()], strict=True):
        if spec is None:
            axis.name = "quantity"
        else:
            for key in ("name", "scale", "offset", "units"):
                setattr(axis, key, spec[key])
    signal.metadata.General.title = "Orientation maps"
    content = {
        "layout": layout,
        "rest": provenance.to_plain(rest),
        "geometry": provenance.to_plain(result.geometry),
        "diffraction": provenance.to_plain(result.diffraction),
        "phases": [{key: np.asarray(v).tolist() for key, v in pack_phase(p).items()} for p in result.phases],
        "axes": provenance.to_plain([dict(axis) for axis in result.axes]),
        "notes": list(result.notes),
        "provenance": provenance.to_plain(result.record),
    }
    signal.metadata.set_item("ASSB.orientations", json.dumps(content))
    signal.save(str(path), overwrite=overwrite)


def load_orientations(path: str | Path) -> OrientationMaps:
    """Load what :meth:`OrientationMaps.save` wrote.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no file {path}.")
    signal = hs.load(str(path))
    node = signal.metadata.get_item("ASSB.orientations", None) if not isinstance(signal, list) else None
    if node is None:
        raise ValueError(f"{path} holds no orientation maps: it was not written by OrientationMaps.save.")
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
    return OrientationMaps(
        found=scan,
        axes=tuple(content["axes"]),
        record=content["provenance"],
        diffraction=Diffraction(**content["diffraction"]),
        notes=tuple(content["notes"]),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
