"""Result folders that are either whole or not there, and what stands in each: the record of how it was made."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyperspy_assb.errors import AssbFileError, AssbWarning

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
        If the target is a file, holds files and ``force`` is not set, would take the inputs or the working folder with
        it, or cannot be written.
    """
    target = Path(target).expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file: the result needs a folder.")
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise OutputError(f"{target} is not empty: choose another folder, or replace it with --force.")
        # Replacing a folder deletes it: never one that a person lives in, nor one with the data.
        if target in (Path.home(), Path(target.anchor)) or Path.cwd().is_relative_to(target):
            raise OutputError(f"{target} is the home or working folder, or holds it: it is not replaced.")
        for path in inputs:
            if Path(path).resolve().is_relative_to(target):
                raise OutputError(f"{target} holds the input {Path(path).name}: it is not replaced.")
    _probe(target)
    return target


@contextmanager
def whole_folder(target: str | os.PathLike[str], *, force: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Write a result folder beside its target, and move it there when the block has ended without an error.

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
    target = check_target(target, force=force, inputs=inputs)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        check_target(target, force=force, inputs=inputs)
        _replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
    (folder / "provenance.json").write_text(text + "\n", encoding="utf-8")


def _probe(target: Path) -> None:
    """Create the parent folder and a temporary folder in it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)).rmdir()
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error


def _replace(staging: Path, target: Path) -> None:
    """Move a folder to its target; what is there stays until the new one is in place."""
    old = None
    try:
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)) / "old"
            target.rename(old)
        staging.rename(target)
    except OSError as error:
        if old is not None and old.exists() and not target.exists():
            old.rename(target)
        raise OutputError(f"{target} could not be written: {error.strerror or error}.") from error
    finally:
        if old is not None:
            shutil.rmtree(old.parent, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
