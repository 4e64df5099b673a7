"""Keys of steps: what a result depends on, as one hash, so that what is done is not done again.

The key goes into the folder of a result as its last file, before the folder is moved to its place: where it stands, the
result is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperspy_assb import __version__
from hyperspy_assb.batching.steps import Step
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError
from hyperspy_assb.file_locks import spare_locks

KEY_FILE = "step.json"
"""In the folder of a result: its key, and what went into it."""
_FORMAT = 1
"""To be raised where the same options come to mean something else."""
_COMPANIONS = {
    ".rpl": ("{stem}.raw",),
    ".mib": ("{stem}.hdr",),
    ".hdr": ("{stem}.mib",),
    ".dens": ("{stem}.bin",),
    ".emi": ("{stem}_*.ser",),  # one file of data for each detector
    ".spd": ("{stem}.spc", "{stem}.ipr", "{stem}.csv"),
    ".tvips": ("{stem}_*.tvips",),
}
"""Patterns of the files that readers open beside the one that is named, by its ending."""
_MOVIE = re.compile(r"(\d{8}_\d+_).*movie", re.DOTALL)
"""Beginning of the names of all that a camera of Direct Electron wrote of one scan."""
_LINKING = (".h5", ".hdf5", ".hdf", ".nxs")
"""Endings of files of HDF5 whose data detectors write into others."""
_NAMED = {".xml": ("*.raw",), ".asw": ("**/*.pts", "**/*.img", "**/*.map", "**/*.eds")}
"""The same where the file itself names them: of what fits the patterns, those whose names stand in it."""


def key_content(step: Step, needed: Mapping[str, str]) -> dict[str, Any]:
    """What the result of a step depends on: contents, not names, of its files; options; version.

    Parameters
    ----------
    step
        The step.
    needed
        Keys of the steps that it needs, by their names.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    return {
        "format": _FORMAT,
        "version": __version__,
        "kind": step.kind,
        "options": dict(step.options),
        "files": [hash_input(path) for path in step.files],
        "reads": {text: hash_input(path) for text, path in step.reads.items()},
        "needs": {text: needed[name] for text, name in step.needs.items()},
        "materials": [hash_input(path) for path in step.materials],
    }


def key_of(content: Mapping[str, Any]) -> str:
    """The hash of what a result depends on."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_key(folder: Path, step: Step, content: Mapping[str, Any]) -> None:
    """Write the key into the folder of a result that is otherwise whole."""
    text = json.dumps({"key": key_of(content), "step": step.name, **content}, indent=2, sort_keys=True)
    (folder / KEY_FILE).write_text(text + "\n", encoding="utf-8")


def read_key(folder: Path) -> str | None:
    """The key in a folder; None where there is none that can be read."""
    try:
        content = json.loads((folder / KEY_FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    key = content.get("key") if isinstance(content, dict) else None
    return key if isinstance(key, str) else None


def hash_input(path: Path) -> str:
    """Hash of the content of a file, with those of the files that readers open beside it.

    Raises
    ------
    OSError
        If it cannot be read; FileNotFoundError if it is missing.
    """
    if not path.exists():
        raise AssbFileNotFoundError(f"There is no file {path}.")
    # Not at the top: help and errors of the command line do not wait for NumPy.
    from hyperspy_assb.provenance import describe_file

    hashes = [str(describe_file(file)["sha256"]) for file in (path, *_beside(path)) if file.exists()]
    return "+".join(hashes)


def _beside(path: Path) -> list[Path]:
    """Files that readers open beside one."""
    ending = path.suffix.lower()
    if ending in _NAMED:
        content = path.read_bytes()
        found = [file for pattern in _NAMED[ending] for file in path.parent.glob(pattern)]
        return sorted(file for file in found if os.fsencode(file.name) in content)
    if ending in _LINKING:
        return _linked(path)
    if ending == ".mrc":
        movie = _MOVIE.match(path.name)
        found = list(path.parent.glob(f"{_escaped(movie[1])}*")) if movie else []
        return sorted(file for file in found if file != path and file.suffix in (".mrc", ".txt", ".csv"))
    stem = _escaped(path.stem.removesuffix("_000") if ending == ".tvips" else path.stem)
    patterns = [pattern.replace("{stem}", stem) for pattern in _COMPANIONS.get(ending, ())]
    return sorted({file for pattern in patterns for file in path.parent.glob(pattern)} - {path})


def _linked(path: Path) -> list[Path]:
    """Files that one of HDF5 takes data from: by links, virtual data sets, and data that lie outside."""
    spare_locks((path,))
    import h5py

    names: set[str] = set()

    def of_link(name: bytes, told: Any) -> None:
        if told.type == h5py.h5l.TYPE_EXTERNAL:
            names.add(file.get(name, getlink=True).filename)

    def of_item(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.update(os.fsdecode(place) for place, *_ in item.external or ())
            names.update(source.file_name for source in (item.virtual_sources() if item.is_virtual else ()))

    # What is damaged is told by the reader.
    with contextlib.suppress(OSError, KeyError, RuntimeError, ValueError), h5py.File(path) as file:
        file.id.links.visit(of_link, info=True)
        file.visititems(of_item)
    return sorted({path.parent / name for name in names} - {path, path.parent / "."})


def marks_of(step: Step) -> dict[Path, tuple[int, ...]]:
    """Size, times and number of each file of a step that is there: where these are the same, the content is."""
    marks: dict[Path, tuple[int, ...]] = {}
    for path in (*step.files, *step.reads.values(), *step.materials):
        for entry in (path, *_beside(path)) if path.exists() else ():
            for file in entry.rglob("*") if entry.is_dir() else (entry,):
                with contextlib.suppress(OSError):
                    found = file.stat()
                    marks[file] = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    return marks


def check_unchanged(step: Step, needed: Mapping[str, str], key: str, marks: Mapping[Path, tuple[int, ...]]) -> None:
    """Check that what a result was made of is what its key says; files that were moved away since are passed over.

    Parameters
    ----------
    step, needed
        As for :func:`key_content`.
    key
        Taken before the files were read.
    marks
        Of :func:`marks_of`, taken before the key.

    Raises
    ------
    AssbFileError
        If a file has another content now.
    """
    now = marks_of(step)
    changed = [path for path, mark in now.items() if marks.get(path, mark) != mark]
    if changed and key_of(key_content(step, needed)) != key:
        raise AssbFileError(f"{changed[0]} was changed while it was read: run it again when it is written whole.")


def _escaped(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
