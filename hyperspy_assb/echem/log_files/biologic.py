"""BioLogic EC-Lab: text (.mpt) and binary (.mpr)."""

from __future__ import annotations

import re
import struct
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.echem.current_log import CurrentLog, FloatArray
from hyperspy_assb.errors import AssbFileError

_RANGE_OF_CODE = {code: 10.0 ** (37 - code) for code in range(35, 47)}
"""A; codes of the column "I Range": 37 is 1 A, 41 is 100 µA."""
_OVER_RANGE = 2.5
"""A VMP shows currents up to this multiple of its range."""
_DATES = ("%m/%d/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S", "%m.%d.%Y %H:%M:%S")
_TO_AMPERE = {"A": 1.0, "mA": 1e-3, "µA": 1e-6, "nA": 1e-9}

_FLAGS = {1, 2, 3, 21, 31, 65}
"""Columns of .mpr that share the first byte of a record."""
_COLUMNS: dict[int, tuple[str, str]] = {
    4: ("time/s", "<f8"),
    5: ("control/V/mA", "<f4"),
    6: ("Ewe/V", "<f4"),
    7: ("dq/mA.h", "<f8"),
    8: ("I/mA", "<f4"),
    9: ("Ece/V", "<f4"),
    11: ("<I>/mA", "<f8"),
    13: ("(Q-Qo)/mA.h", "<f8"),
    19: ("control/V", "<f4"),
    20: ("control/mA", "<f4"),
    23: ("dQ/mA.h", "<f8"),
    24: ("cycle number", "<f8"),
    27: ("Rcmp/Ohm", "<f4"),
    39: ("I Range", "<u2"),
    70: ("P/W", "<f4"),
    74: ("<Ece>/V", "<f8"),
    77: ("Ewe-Ece/V", "<f4"),
    174: ("<Ewe>/V", "<f4"),
    434: ("(Q-Qo)/C", "<f4"),
    467: ("Q charge/discharge/mA.h", "<f8"),
}
_DATA_OFFSET = {0: 100, 2: 405, 3: 1007}
"""Where the records begin in the data module of each version."""
_DATE_OFFSETS = (465, 469, 473, 585)
_MODULE_HEADER = 57


def read_mpt(path: Path) -> CurrentLog:
    """Read a text file of EC-Lab: Latin-1, decimal point or comma, either line end.

    Raises
    ------
    AssbFileError
        If it is not such a file, holds another technique (impedance, open circuit), or no rows.
    """
    lines = path.read_bytes().decode("latin-1").splitlines()
    counted = re.fullmatch(r"Nb header lines\s*:\s*(\d+)\s*", lines[1]) if len(lines) > 1 else None
    if counted is None or not lines[0].startswith("EC-Lab ASCII FILE"):
        raise AssbFileError(f"{path} is no text file of EC-Lab: its first lines do not say so.")
    head = int(counted[1])
    if len(lines) < head:
        raise AssbFileError(f"{path} ends within its header: export it again from EC-Lab.")
    technique = next((line.strip() for line in lines[2:head] if line.strip()), "")
    names = lines[head - 1].rstrip("\t").split("\t")
    rows = [line.rstrip("\t").split("\t") for line in lines[head:] if line.strip()]
    _check_columns(path, technique, names)
    if not rows:
        raise AssbFileError(f"{path} has a header and no rows: nothing was measured.")
    try:
        table = np.array([[float(text.replace(",", ".")) for text in row[: len(names)]] for row in rows])
    except ValueError as error:
        raise AssbFileError(f"{path} has entries in its rows that are not numbers ({error}): it is damaged.") from error
    columns = dict(zip(names, table.T, strict=True))
    return _as_log(path, columns, technique, _started(lines[:head]), _errors(columns))


def read_mpr(path: Path) -> CurrentLog:
    """Read a binary file of EC-Lab.

    Raises
    ------
    AssbFileError
        If it is cut, or holds a version or a column that is not known; export it as .mpt then.
    """
    content = path.read_bytes()
    if not content.startswith(b"BIO-LOGIC MODULAR FILE"):
        raise AssbFileError(f"{path} is no binary file of EC-Lab.")
    modules: dict[bytes, tuple[int, bytes]] = {}
    at = 52
    try:
        while at < len(content):
            if content[at : at + 6] != b"MODULE":
                raise AssbFileError(f"{path} is damaged, or of a version that is not known: export it as .mpt.")
            length, version = struct.unpack_from("<II", content, at + 41)
            start = at + _MODULE_HEADER
            if start + length > len(content):
                raise AssbFileError(f"{path} ends within a module: it was cut.")
            modules[content[at + 6 : at + 16].strip()] = (version, content[start : start + length])
            at = start + length
    except struct.error as error:
        raise AssbFileError(f"{path} ends within a header: it was cut.") from error
    if b"VMP data" not in modules:
        raise AssbFileError(f"{path} has settings and no data: nothing was measured.")
    columns, errors = _records(path, *modules[b"VMP data"])
    _check_columns(path, "", list(columns))
    started = None
    for offset in _DATE_OFFSETS:
        _, log = modules.get(b"VMP LOG", (0, b""))
        if len(log) >= offset + 8:
            (days,) = struct.unpack_from("<d", log, offset)
            if 35000.0 < days < 60000.0:  # years 1995 to 2064, counted from 1899-12-30
                started = datetime(1899, 12, 30) + timedelta(days=days)
                break
    return _as_log(path, columns, "", started, errors)


def _records(path: Path, version: int, data: bytes) -> tuple[dict[str, FloatArray], NDArray[np.bool_] | None]:
    if version not in _DATA_OFFSET:
        raise AssbFileError(f"{path} has data of the version {version}, which is not known: export it as .mpt.")
    count, width = struct.unpack_from("<IB", data, 0)
    numbers = np.frombuffer(data, dtype="u1" if version == 0 else "<u2", count=width, offset=5).tolist()
    unknown = sorted(set(numbers) - _FLAGS - set(_COLUMNS))
    if unknown:
        raise AssbFileError(f"{path} holds columns that are not known ({unknown}): export it as .mpt.")
    fields: list[tuple[str, str]] = [("flags", "u1")] if _FLAGS & set(numbers) else []
    fields += [_COLUMNS[number] for number in numbers if number not in _FLAGS]
    kind = np.dtype(fields)
    offset = _DATA_OFFSET[version]
    if len(data) < offset + count * kind.itemsize:
        raise AssbFileError(f"{path} holds fewer rows than it says: it was cut.")
    table = np.frombuffer(data, dtype=kind, count=count, offset=offset)
    columns = {name: table[name].astype(np.float64) for name, _ in fields if name != "flags"}
    return columns, (table["flags"] & 0x08) > 0 if 3 in numbers else None


def _check_columns(path: Path, technique: str, names: list[str]) -> None:
    named = f" ({technique})" if technique else ""
    if "freq/Hz" in names:
        raise AssbFileError(f"{path} holds impedances{named}, not a voltammogram.")
    if not any(name in names for name in ("<I>/mA", "I/mA")):
        raise AssbFileError(f"{path} holds no current{named}: it is not a voltammogram.")
    if "time/s" not in names or not any(name in names for name in ("Ewe/V", "<Ewe>/V")):
        raise AssbFileError(f"{path} lacks time or potential{named}: export time/s and Ewe/V from EC-Lab.")


def _errors(columns: dict[str, FloatArray]) -> NDArray[np.bool_] | None:
    return columns["error"] > 0 if "error" in columns else None


def _as_log(
    path: Path,
    columns: dict[str, FloatArray],
    technique: str,
    started: datetime | None,
    overload: NDArray[np.bool_] | None,
) -> CurrentLog:
    current = columns["<I>/mA"] if "<I>/mA" in columns else columns["I/mA"]
    full_scale = None
    if "I Range" in columns:
        codes = columns["I Range"].astype(int)
        full_scale = np.array([_OVER_RANGE * _RANGE_OF_CODE.get(code, np.nan) for code in codes.tolist()])
    control = columns.get("control/V")
    return CurrentLog(
        time=columns["time/s"],
        potential=columns["Ewe/V"] if "Ewe/V" in columns else columns["<Ewe>/V"],
        current=current * _TO_AMPERE["mA"],
        control=control,
        full_scale=full_scale,
        overload=overload,
        started=started,
        technique=technique,
        source=str(path),
    )


def _started(header: list[str]) -> datetime | None:
    for line in header:
        if line.startswith("Acquisition started on :"):
            text = line.partition(":")[2].strip()
            for form in _DATES:
                try:
                    return datetime.strptime(text, form)
                except ValueError:
                    continue
    return None
