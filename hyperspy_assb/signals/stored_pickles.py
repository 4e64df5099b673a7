"""Stores of zarr that ask for a pickle to be opened, which runs whatever the file says.

numcodecs refuses that by itself from 0.15.2 on, unless the process allows it; here it is never wanted.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from hyperspy_assb.errors import AssbFileError

_DESCRIPTIONS = (".zarray", ".zmetadata", "zarr.json")


def refuse_pickles(path: Path) -> None:
    """Look at the codecs of a store, folder or zip, before anything in it is decoded.

    Parameters
    ----------
    path
        Of any file or folder; what is no store of zarr is passed over.

    Raises
    ------
    AssbFileError
        If one of its arrays is pickled.
    """
    if any(map(_asks_for_pickle, _descriptions(path))):
        raise AssbFileError(
            f"{path} contains pickled objects, which could run any code: it is not read. Spectra, patterns and results "
            "are saved without them."
        )


def _asks_for_pickle(text: bytes) -> bool:
    try:
        return '"id": "pickle"' in json.dumps(json.loads(text))
    except (ValueError, RecursionError):  # the reader says what is wrong with it
        return False


def _descriptions(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        if path.is_dir():
            for name in _DESCRIPTIONS:
                yield from (found.read_bytes() for found in path.rglob(name))
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from (archive.read(n) for n in archive.namelist() if n.rpartition("/")[2] in _DESCRIPTIONS)
