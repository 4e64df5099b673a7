"""Orientation maps as crystal maps of orix, and as files of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, to_orix
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.acom.crystals.orix_setting import in_orix_setting
from hyperspy_assb.errors import AssbFileError, AssbValueError
from hyperspy_assb.signals.acom.scan_maps import ScanMaps
from hyperspy_assb.signals.result_files import hdf5_in_memory
from hyperspy_assb.staging import path_of

if TYPE_CHECKING:
    from orix.crystal_map import CrystalMap

_MAPS = ("correlation", "reliability", "phase_reliability", "twin_reliability", "virtual_bright_field", "status")
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
"""Names, as orix writes no other colours to files."""
_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "Å": 1e-4, "mm": 1e3}
_LAUE_NUMBERS = {
    "-1": 1,
    "2/m": 2,
    "mmm": 3,
    "4/m": 4,
    "4/mmm": 5,
    "-3": 6,
    "-3m": 7,
    "6/m": 8,
    "6/mmm": 9,
    "m-3": 10,
    "m-3m": 11,
}
"""Of channel text files."""


def crystal_map_of(result: ScanMaps, *, for_file: bool = False) -> CrystalMap:
    """The maps as a crystal map of orix.

    Parameters
    ----------
    result
        Phases, orientations and the maps beside them.
    for_file
        Whether phases are in the setting in which a file is read: see
        :func:`~hyperspy_assb.acom.crystals.orix_setting.in_orix_setting`.
    """
    from orix.crystal_map import CrystalMap, PhaseList
    from orix.quaternion import Rotation

    found = result.found
    shape = found.phase.shape
    (step_y, step_x), units = result.pixel_size()
    indexed = np.isfinite(found.orientation).all(axis=-1) & (np.asarray(found.phase) >= 0)
    rotations = np.where(indexed[..., None], found.orientation, [1.0, 0.0, 0.0, 0.0])
    entries = []
    for number, phase in enumerate(found.phases):
        if for_file:
            entry, turn, _ = in_orix_setting(phase)
            here = indexed & (found.phase == number)
            rotations[here] = upper(multiply(turn, rotations[here]))
        else:
            entry = to_orix(phase)
        entry.color = _COLOURS[number % len(_COLOURS)]
        entries.append(entry)
    y, x = np.indices(shape)
    maps = {name: np.ravel(getattr(found, name)) for name in _MAPS if getattr(found, name) is not None}
    return CrystalMap(
        rotations=Rotation(rotations.reshape(-1, 4)),
        phase_id=np.where(indexed, found.phase, -1).ravel(),
        x=x.ravel() * step_x,
        y=y.ravel() * step_y,
        phase_list=PhaseList(dict(enumerate(entries))),
        prop=maps | {"class": result.classes.index.ravel()},
        scan_unit=units,
    )


def setting_notes(phases: Sequence[CrystalPhase]) -> tuple[str, ...]:
    """Which phases are in another setting in files of other programs than here."""
    notes = (in_orix_setting(phase)[2] for phase in phases)
    return tuple(note for note in notes if note)


def export_crystal_map(result: ScanMaps, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write a result for other programs, by the ending of the path; see :meth:`.OrientationMaps.export`."""
    path = path_of(path, "path")
    if path.suffix.lower() not in (".ang", ".ctf", ".h5"):
        raise AssbValueError(f"path: {path.name} does not end with .ang, .ctf or .h5.")
    if path.exists() and not overwrite:
        raise AssbFileError(f"{path} is there already: overwrite=True replaces it.")
    if path.suffix.lower() == ".ctf":
        path.write_text(_channel_text(result), encoding="utf-8")
        return
    from orix import io

    crystal_map = crystal_map_of(result, for_file=True)
    if path.suffix.lower() == ".h5":
        path.write_bytes(_orix_image(crystal_map))
        return
    # Files of EDAX have no place for NaN, and are in µm.
    crystal_map.prop["reliability"] = np.nan_to_num(crystal_map.prop["reliability"]) / 100.0
    factor = _MICROMETRES.get(crystal_map.scan_unit, 1.0)
    crystal_map._x, crystal_map._y = crystal_map._x * factor, crystal_map._y * factor
    io.save(
        str(path),
        crystal_map,
        overwrite=True,
        image_quality_prop="virtual_bright_field",
        confidence_index_prop="reliability",
        pattern_fit_prop="correlation",
    )


def _orix_image(crystal_map: CrystalMap) -> bytes:
    """What orix would write in .h5, which it only does to disk."""
    import orix
    from orix.io.plugins.orix_hdf5 import crystalmap2dict, dict2hdf5group

    content = {"manufacturer": "orix", "version": orix.__version__, "crystal_map": crystalmap2dict(crystal_map)}
    with hdf5_in_memory() as (file, image):
        dict2hdf5group(content, file["/"])
        return image()


def _channel_text(result: ScanMaps) -> str:
    """The maps as a channel text file: MAD is 1 less the correlation, BC the reliability, BS that of the phase."""
    crystal_map = crystal_map_of(result, for_file=True)
    ny, nx = result.found.phase.shape
    (step_y, step_x), units = result.pixel_size()
    factor = _MICROMETRES.get(units, 1.0)
    # orix forgets phases that no pixel has.
    phases = [in_orix_setting(phase)[0] for phase in result.phases]
    lines = ["Channel Text File", "Prj\thyperspy_assb", "Author\thyperspy_assb", "JobMode\tGrid"]
    lines += [f"XCells\t{nx}", f"YCells\t{ny}", f"XStep\t{step_x * factor:.9g}", f"YStep\t{step_y * factor:.9g}"]
    lines += ["AcqE1\t0", "AcqE2\t0", "AcqE3\t0"]
    lines += ["Euler angles refer to Sample Coordinate system (CS0)!\tMag\t0\tCoverage\t0\tDevice\t0\tKV\t0"]
    lines += [f"Phases\t{len(phases)}"]
    for phase in phases:
        cell = phase.structure.lattice.abcABG()
        group = 0 if phase.space_group is None else phase.space_group.number
        sides, angles = (";".join(f"{value:.6g}" for value in part) for part in (cell[:3], cell[3:]))
        lines.append(f"{sides}\t{angles}\t{phase.name}\t{_LAUE_NUMBERS[phase.point_group.laue.name]}\t{group}")
    lines.append("Phase\tX\tY\tBands\tError\tEuler1\tEuler2\tEuler3\tMAD\tBC\tBS")
    euler = crystal_map.rotations.to_euler(degrees=True).reshape(-1, 3)
    indexed = crystal_map.phase_id >= 0
    maps = {name: np.nan_to_num(crystal_map.prop[name]) for name in ("correlation", "reliability", "phase_reliability")}
    for k in range(ny * nx):
        row: tuple[Any, ...] = (
            crystal_map.phase_id[k] + 1,
            f"{(k % nx) * step_x * factor:.9g}",
            f"{(k // nx) * step_y * factor:.9g}",
            0,
            0 if indexed[k] else 3,
            *(f"{angle:.5f}" for angle in euler[k]),
            f"{1.0 - maps['correlation'][k]:.4f}",
            round(maps["reliability"][k]),
            round(maps["phase_reliability"][k]),
        )
        lines.append("\t".join(map(str, row)))
    return "\n".join(lines) + "\n"
