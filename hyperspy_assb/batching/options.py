"""What can be done to a file in a batch, and which options each kind of analysis takes.

Only the standard library is needed to check a recipe: it is refused before anything is imported or run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from hyperspy_assb.errors import AssbValueError

Check = Callable[[Any], Any]
"""Gives the value as a step keeps it, or raises ValueError with what was expected."""
MOST = 10**6
"""Permutations, or rows of a scan."""
_LARGEST = 1e300


class RecipeError(AssbValueError):
    """A recipe cannot be run; the message names the table and what to write instead."""


@dataclass(frozen=True)
class Kind:
    """A kind of analysis.

    Parameters
    ----------
    about
        What it does, for messages and the page of the batch.
    options
        Checks by the names of the options.
    states
        Whether it takes the files of several states together; otherwise each file by itself.
    files
        Options whose values are names of files, or lists in which some are.
    required
        Options without which it cannot run.
    result
        File in the folder that other analyses refer to; empty for none.
    """

    about: str
    options: Mapping[str, Check]
    states: bool = False
    files: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    result: str = ""


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; whole ones of TOML may be too large for any."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _number(low: float, high: float, unit: str) -> Check:
    def check(value: Any) -> float:
        if not is_number(value) or not low <= value <= high:
            raise AssbValueError(f"a number from {low:g} to {high:g}{' ' if unit else ''}{unit}")
        return float(value)

    return check


def _whole_number(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise AssbValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str:
        if value not in words:
            raise AssbValueError(f"one of {', '.join(words)}")
        return str(value)

    return check


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise AssbValueError("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise AssbValueError("a text")
    return value


def _title(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise AssbValueError("the title of a signal of the file, or its number from 0")
    return value


def _texts(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or not all(isinstance(p, str) and p.strip() for p in parts):
        raise AssbValueError('a list such as ["Li", "Fe"]')
    return list(dict.fromkeys(part.strip() for part in parts))


def _numbers(count: int) -> Check:
    def check(value: Any) -> list[float]:
        if not isinstance(value, list) or len(value) != count or not all(map(is_number, value)):
            raise AssbValueError(f"a list of {count} numbers")
        return [float(v) for v in value]

    return check


def _counts(count: int) -> Check:
    def check(value: Any) -> list[int]:
        plain = isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
        if not plain or len(value) != count or not all(1 <= v <= MOST for v in value):
            raise AssbValueError(f"a list of {count} whole numbers from 1 to {MOST}")
        return [int(v) for v in value]

    return check


def _offset(value: Any) -> str:
    if is_number(value):
        return str(float(value))
    if value not in ("stamps", "steps"):
        raise AssbValueError("a number of s, stamps or steps")
    return str(value)


_BOUNDS = re.compile(r"\s*\d{0,9}:\d{0,9}\s*(,\s*\d{0,9}:\d{0,9}\s*)*")


def is_box(text: Any) -> bool:
    """Whether a text names a box of pixels, as ``"0:8,0:8"`` (rows, then columns; the end is not included)."""
    return isinstance(text, str) and _BOUNDS.fullmatch(text) is not None


def holds_pixels(box: str) -> bool:
    """Whether every end of a box that is named stands behind its begin."""
    bounds = [part.split(":") for part in box.split(",")]
    return all(int(low or 0) < int(high or 10**9) for low, high in bounds)


def _box(value: Any) -> str:
    # Where a region ends is said here: files of several states need not have one size.
    whole = is_box(value) and re.fullmatch(r"[^:]+:[^:]+(,[^:]+:[^:]+)*", value.replace(" ", ""))
    if not whole or not holds_pixels(value):
        raise AssbValueError('pixels such as "0:40,10:64" (rows, columns; the end is not included)')
    return str(value).replace(" ", "")


_EDX: dict[str, Check] = {
    "elements": _texts,
    "phases": _texts,
    "thickness": _number(1e-3, 1e4, "nm"),
    "k_factors": _text,
    "absorption": _boolean,
}


def _reading(*signal_types: str) -> dict[str, Check]:
    """Options that every kind has: how its files are read, and its figures are written."""
    return {"reader": _text, "signal_type": _one_of(*signal_types), "dataset": _title, "figures": _one_of("png", "svg")}


READING = ("reader", "signal_type", "dataset")
"""Names of the options that say how a file is read."""

KINDS: Mapping[str, Kind] = {
    "fit": Kind(
        "every pixel of a low-loss map is fitted, and delithiation quantified where references are named; of an EDX "
        "map, elements and phases",
        {
            "valence": _one_of("continuum", "plasmon"),
            "references": _texts,
            "correct_energy": _boolean,
            **_EDX,
            **_reading("EELS", "EDS"),
        },
        files=("k_factors", "references"),
        result="delithiation.hspy",
    ),
    "quantify": Kind(
        "elements and phases of an EDX map",
        {"correct_energy": _boolean, **_EDX, **_reading("EDS")},
        files=("k_factors",),
    ),
    "interface": Kind(
        "the width of an interface in an EDX map",
        {
            "probe": _number(0.0, 1e3, "nm"),
            "line": _numbers(5),
            "phase": _text,
            "bin_width": _number(1e-3, 1e4, "nm"),
            "reach": _number(1e-3, 1e6, "nm"),
            "smooth": _number(0.0, 1e3, "pixels"),
            **{name: check for name, check in _EDX.items() if name != "phases"},
            **_reading("EDS"),
        },
        files=("k_factors",),
        required=("probe",),
    ),
    # Potentials of the states, option bias, are said with the input, and checked there.
    "compare": Kind(
        "low-loss bands of two or more states",
        {
            "region": _box,
            "zero_loss": _one_of("common", "each"),
            "normalisation": _one_of("log_ratio", "area", "none"),
            "permutations": _whole_number(19, MOST),
            **_reading("EELS"),
        },
        states=True,
    ),
    "index": Kind(
        "phases and orientations of a 4D-STEM scan",
        {
            "phases": _texts,
            "scale": _number(1e-6, 10.0, "1/Å per pixel"),
            "centre": _numbers(2),
            "scan_rotation": _number(-360.0, 360.0, "degrees"),
            "beam_energy": _number(1.0, 3000.0, "keV"),
            "precession_angle": _number(0.0, 10.0, "degrees"),
            "scan_shape": _counts(2),
            "calibrate": _boolean,
            "refine": _boolean,
            **_reading("ACOM"),
        },
        files=("phases",),
        required=("phases",),
    ),
    "series": Kind(
        "drift, grains, cracks and effects of the beam in a series of images, against time and potential",
        {
            "log": _text,
            "offset": _offset,
            "interval": _number(1e-9, 1e9, "s"),
            "dose": _number(1e-9, 1e300, "electrons per nm²"),
            "control": _text,
            "film": _boolean,
            **_reading("STEM_SERIES"),
        },
        files=("log", "control"),
    ),
    # Its input is a recipe of its own, which names the files.
    "lamella": Kind(
        "all signals and results of a lamella in one frame, by its own recipe", {"figures": _one_of("png", "svg")}
    ),
}
"""Kinds of analysis by name."""


def check_options(kind: str, options: Mapping[str, Any], place: str, *, complete: bool = True) -> dict[str, Any]:
    """Options as a step keeps them.

    Parameters
    ----------
    kind
        A key of ``KINDS``.
    options
        As they were read.
    place
        Where they stand, for messages.
    complete
        Whether they are all options of the step, so that one which is required must be among them.

    Raises
    ------
    RecipeError
        If a name is not known, a value cannot be, or one is missing.
    """
    known = KINDS[kind].options
    found = {}
    for name, value in options.items():
        check_name(name, known, f"{place} ({kind})")
        try:
            found[name] = known[name](value)
        except ValueError as error:
            raise RecipeError(f"{place}: {name} = {value!r} must be {error}.") from None
    missing = [name for name in KINDS[kind].required if complete and name not in found]
    if missing:
        raise RecipeError(f"{place}: {kind} needs {missing[0]}.")
    return found


def check_name(name: str, known: Mapping[str, Any] | tuple[str, ...], place: str) -> None:
    """Raise RecipeError for a name that is none of those known, with the one that may have been meant."""
    if name not in known:
        close = get_close_matches(name, list(known), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}."
        raise RecipeError(f"{place} has {name!r}, which is not known: {hint}")
