"""Logs in tables of text: Keithley-like CSV, DENSsolutions Impulse, Protochips."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from hyperspy_assb.echem.current_log import CurrentLog, FloatArray
from hyperspy_assb.errors import AssbFileError

_PREFIX = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}
_TIME_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "min": 60.0, "h": 3600.0}
_WORDS = {
    "time": re.compile(r"(experiment |elapsed |relative )?time\b.*|t\b.*|seconds", re.IGNORECASE),
    "potential": re.compile(
        r"((channel \w+ |source |smu\w* |cell |working )?(voltage|potential)\b.*|ewe\b.*|[ev]\b.*|bias( voltage)?\b.*)",
        re.IGNORECASE,
    ),
    "current": re.compile(r"((channel \w+ |smu\w* |cell )?current\b.*|<?i>?\b.*|reading\b.*)", re.IGNORECASE),
}
_ROWS_OF_HEADER = 60
"""Within so many lines, the names of the columns are looked for."""


@dataclass(frozen=True)
class _Column:
    """A column, its unit, and the factor to SI."""

    name: str
    number: int
    factor: float


def read_protochips(path: Path) -> CurrentLog:
    """Read a log of a Protochips holder: units and dates stand in the notes of its first rows.

    Raises
    ------
    AssbFileError
        If no channel has both current and voltage, a unit is missing, or a row holds what is no number.
    """
    rows = list(csv.reader(_lines(path)))
    names = [name.strip() for name in rows[0]]
    notes = [row[1].strip() for row in rows[1:] if len(row) > 1 and "=" in row[1]]
    stated = {key.strip().lower(): value.strip() for key, _, value in (note.partition("=") for note in notes)}
    pairs = [n[: -len("Current")] for n in names if n.endswith("Current") and n[: -len("Current")] + "Voltage" in names]
    if not pairs:
        raise AssbFileError(f"{path} logs no current and voltage ({', '.join(names[2:])}): it is not a voltammogram.")
    for unit in ("time units", "current units", "voltage units"):
        if unit not in stated:
            raise AssbFileError(f"{path} does not state its {unit}: a row of its notes is missing.")
    # Rows with notes are the header, repeated values and all.
    data = [row for row in rows[1:] if len(row) == len(names) and not row[1].strip()]
    if not data:
        raise AssbFileError(f"{path} has a header and no rows: nothing was measured.")
    factors = {
        "time": _TIME_UNITS.get(stated["time units"].lower(), np.nan),
        "current": {"amps": 1.0, "milliamps": 1e-3, "microamps": 1e-6}.get(stated["current units"].lower(), np.nan),
        "voltage": {"volts": 1.0, "millivolts": 1e-3}.get(stated["voltage units"].lower(), np.nan),
    }
    unknown = [name for name, factor in factors.items() if not np.isfinite(factor)]
    if unknown:
        raise AssbFileError(f"{path} states a unit of {unknown[0]} that is not known: {stated[unknown[0] + ' units']}.")
    time = _numbers(path, data, _Column("Time", 0, factors["time"]), ",")
    found = []
    for channel in pairs:
        current = _numbers(path, data, _Column("", names.index(channel + "Current"), factors["current"]), ",")
        potential = _numbers(path, data, _Column("", names.index(channel + "Voltage"), factors["voltage"]), ",")
        found.append((channel.strip(), potential, current))
    # The channel that was used: others log zeros.
    channel, potential, current = max(found, key=lambda item: float(np.ptp(item[1])))
    started = None
    if "date (yyyy.mm.dd)" in stated and "time (hh:mm:ss.ms)" in stated:
        text = f"{stated['date (yyyy.mm.dd)']} {stated['time (hh:mm:ss.ms)']}"
        started = datetime.strptime(text, "%Y.%m.%d %H:%M:%S.%f")
    return CurrentLog(time, potential, current, started=started, technique=channel, source=str(path))


def read_table(path: Path) -> CurrentLog:
    """Read a table with named columns of time, potential and current, with units in their names.

    Comma, semicolon or tabulator between columns, decimal point or comma, UTF-8 or Latin-1, any line end; lines before
    the names of the columns are left out.

    Raises
    ------
    AssbFileError
        If a column or its unit is missing, naming it, or a row holds what is no number.
    """
    lines = [line for line in _lines(path) if line.strip()]
    for number, line in enumerate(lines[:_ROWS_OF_HEADER]):
        delimiter = max("\t;,", key=line.count)
        names = [name.strip().strip('"') for name in line.split(delimiter)]
        found = {what: _find(names, what) for what in _WORDS}
        if sum(column is not None for column in found.values()) >= 2:
            first = number + 1
            break
    else:
        raise AssbFileError(f"{path} has no columns of time, potential and current: it is not a voltammogram.")
    missing = [what for what, column in found.items() if column is None]
    if missing:
        raise AssbFileError(
            f"{path} lacks a column of {' and '.join(missing)} with its unit: it has {', '.join(names)}. Name columns "
            'such as "Time (s)", "Voltage (V)", "Current (A)".'
        )
    rows = [row for row in csv.reader(lines[first:], delimiter=delimiter) if any(text.strip() for text in row)]
    if not rows:
        raise AssbFileError(f"{path} has a header and no rows: nothing was measured.")
    decimal = "." if delimiter == "," else ","
    time, potential, current = (
        _numbers(path, rows, column, delimiter, decimal=decimal) for column in found.values() if column is not None
    )
    return CurrentLog(time, potential, current, technique="table", source=str(path))


def _find(names: list[str], what: str) -> _Column | None:
    for number, name in enumerate(names):
        if _WORDS[what].fullmatch(name):
            unit = re.search(r"[(\[/]\s*([^)\]]+?)\s*[)\]]?$", name)
            symbol = unit[1] if unit else ""
            if what == "time":
                factor = _TIME_UNITS.get(
                    symbol.lower(), 1.0 if name.lower() in ("experiment time", "seconds") else None
                )
            else:
                factor = _factor(symbol, "V" if what == "potential" else "A")
            if factor is not None:
                return _Column(name, number, factor)
    return None


def _factor(symbol: str, unit: str) -> float | None:
    return _PREFIX.get(symbol[:-1]) if symbol.endswith(unit) else None


def _numbers(path: Path, rows: list[list[str]], column: _Column, delimiter: str, *, decimal: str = ".") -> FloatArray:
    values = np.empty(len(rows))
    for number, row in enumerate(rows):
        try:
            text = row[column.number].strip()
            values[number] = float(text.replace(",", ".") if decimal == "," else text) if text else np.nan
        except (ValueError, IndexError) as error:
            shown = delimiter.join(row)[:60]
            raise AssbFileError(
                f"{path} has an entry that is not a number in row {number + 1} of its data: {shown!r}."
            ) from error
    return values * column.factor


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.splitlines()
