"""Result folders that are either whole or not there, and what stands in each: the record of how it was made."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hyperspy_assb import staging
from hyperspy_assb.errors import AssbFileError, AssbWarning
from hyperspy_assb.file_locks import spare_locks

RECORD = "provenance.json"
"""In every folder of results: how it was made. A folder without it is somebody else's."""
Progress = Callable[[str, int, int], object]
"""Called with the stage ("zero loss", "calibrate", "quantify", "start", "fit", "write"), what is done and how much
there is (0: unknown)."""


class OutputError(AssbFileError):
    """A result cannot be written where it was asked for; the message says why in one line."""


def check_target(target: str | os.PathLike[str], *, force: bool = False, inputs: Iterable[Path] = ()) -> Path:
    """Check that a result folder can be written, before anything is computed.

    Parameters
    ----------
    target
        Folder of the result.
    force
        Whether a folder that is already there may be replaced.
    inputs
        Files that the result is made from; a folder that holds one of them is never replaced.

    Returns
    -------
    Path
        The folder, with symbolic links resolved.

    Raises
    ------
    OutputError
        If the target is a file; holds files and ``force`` is not set; holds files and is no result of this package;
        would take the inputs or the working folder with it; or cannot be written.
    """
    target = staging.resolved(staging.path_of(target, "out"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.clear_away(target)
        _check_replaceable(target, force=force, inputs=inputs)
        _probe(target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
    return target


def is_result(folder: Path) -> bool:
    """Whether this package has written a folder: it holds a record with its versions."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and isinstance(record.get("versions"), dict) and "action" in record


@contextmanager
def whole_folder(target: str | os.PathLike[str], *, force: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Write a result folder beside its target, and move it there when the block has ended without an error.

    What a killed process has left of writing to the same target is put back or removed first.

    Parameters
    ----------
    target, force, inputs
        As for :func:`check_target`.

    Yields
    ------
    Path
        An empty folder to write to. If the block raises, it is removed and the target is left as it was.

    Raises
    ------
    OutputError
        As :func:`check_target`, and if the folder cannot be moved.
    """
    inputs = tuple(inputs)
    target = check_target(target, force=force, inputs=inputs)
    part = staging.sibling(target, "part")
    try:
        part.mkdir()
        spare_locks((part, *inputs))
        yield part
        check_target(target, force=force, inputs=inputs)
        _flush(part)
        _replace(part, target)
    finally:
        staging.remove(part)


FIGURES = ("png", "svg")
"""Formats of the files of figures."""
_vector = ContextVar("vector", default=False)


@contextmanager
def figures_as(kind: str) -> Iterator[None]:
    """Figures that are drawn in the block are kept as PNG, and with "svg" as vectors as well."""
    token = _vector.set(kind == "svg")
    try:
        yield
    finally:
        _vector.reset(token)


def wants_vectors() -> bool:
    """Whether figures are kept as vectors as well."""
    return _vector.get()


@contextmanager
def own_drawing() -> Iterator[None]:
    """Draw without what a ``matplotlibrc`` in the working folder sets, and only meanwhile.

    That may be somebody's folder of data, and the settings have LaTeX draw all text.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        if mpl.matplotlib_fname() == "matplotlibrc":  # others have their folder before their name
            mpl.rcdefaults()
        yield


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Warnings of the package and of readers of files, each once; what concerns programmers goes on as it came."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield messages
    for item in caught:
        # Those of programmers, such as HyperSpy's of deprecation, are user warnings as well.
        if not (item.category is UserWarning or issubclass(item.category, AssbWarning)):
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
        elif str(item.message) not in messages:
            messages.append(str(item.message))


def write_record(folder: Path, record: Mapping[str, Any], *, findings: Sequence[str], warnings: Sequence[str]) -> None:
    """Write ``provenance.json``: how a result was made, what was found, and what the library warned of."""
    whole = {**record, "findings": list(findings), "warnings": list(warnings)}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    # Names of files may be no Unicode: what is left of them in JSON is this.
    (folder / RECORD).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


_FORMULA = re.compile(r"(^\s*|[;\t\n])(?=[=+\-@])")
"""Before what programs for spreadsheets execute, at the beginning of a cell; for some of them semicolons part cells."""


def plain_cell(value: Any) -> Any:
    """A cell of a table that no program for spreadsheets takes for a formula: with an apostrophe before it.

    Names of files, phases and members are whatever somebody wrote into a file.

    Examples
    --------
    >>> plain_cell("=HYPERLINK(A1)"), plain_cell("LiFePO4"), plain_cell("-1.5"), plain_cell(-1.5)
    ("'=HYPERLINK(A1)", 'LiFePO4', '-1.5', -1.5)
    """
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        float(value)
        return value
    # A carriage return begins a row, quoted or not.
    return _FORMULA.sub(r"\1'", value.replace("\r", " "))


def write_table(path: Path, table: Any, *, index: bool = False) -> None:
    """Write a table of pandas as CSV, texts as :func:`plain_cell` has them.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    table = table.reset_index() if index else table.copy(deep=False)
    table.columns = [plain_cell(name) for name in table.columns]
    # By numbers: two columns may have one name. Categories would not take other words.
    for number, kind in enumerate(table.dtypes):
        if kind.kind not in "biufc":
            table.isetitem(number, table.iloc[:, number].astype(object).map(plain_cell, na_action="ignore"))
    table.to_csv(path, index=False)


def _check_replaceable(target: Path, *, force: bool, inputs: Iterable[Path]) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file: the result needs a folder.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not force:
        raise OutputError(f"{target} is not empty: choose another folder, or replace it with --force.")
    # Replacing a folder deletes it: never one that a person lives in, nor one with the data.
    if target in (_home(), Path(target.anchor)) or Path.cwd().is_relative_to(target):
        raise OutputError(f"{target} is or contains the home or working folder: it is not replaced.")
    for path in inputs:
        if staging.resolved(Path(path)).is_relative_to(target):
            raise OutputError(f"{target} holds the input {Path(path).name}: it is not replaced.")
    if not is_result(target):
        raise OutputError(
            f"{target} has no {RECORD} of hyperspy_assb, so it is not a result: it is not replaced. Choose another "
            "folder."
        )


def _home() -> Path | None:
    """The home folder of the user; None where there is none, as for a number without a name."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _probe(target: Path) -> None:
    """Make and remove a folder where the result will be written."""
    probe = staging.sibling(target, "part")
    probe.mkdir()
    probe.rmdir()


def _flush(folder: Path) -> None:
    """What the name of a folder stands for is on the disk before the name is."""
    for path in folder.rglob("*"):
        staging.flush(path)
    staging.flush(folder)


def _replace(part: Path, target: Path) -> None:
    """Move a folder to its target; what is there stays until the new one is in place."""
    aside = None
    try:
        if target.exists():
            aside = staging.sibling(target, "aside")
            target.rename(aside)
        part.rename(target)
    except OSError as error:
        if aside is not None and aside.exists() and not target.exists():
            aside.rename(target)
        raise OutputError(f"{target} could not be written: {error.strerror or error}.") from error
    staging.flush(target.parent)
    if aside is not None:
        staging.remove(aside)
