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
_MOST = 50_000_000
"""Bytes of a description."""


def refuse_pickles(path: Path) -> None:
    """Look at the codecs of a store, folder or zip, before anything in it is decoded.

    Parameters
    ----------
    path
        Of any file or folder; what is no store of zarr is passed over.

    Raises
    ------
    AssbFileError
        If one of its arrays is pickled, or a description is larger than any store needs: zips hold gigabytes of blanks
        in some megabytes.
    """
    for text in _descriptions(path):
        if text is None:
            raise AssbFileError(f"{path} has descriptions of more than {_MOST // 10**6} MB: no store needs them.")
        if _asks_for_pickle(text):
            raise AssbFileError(
                f"{path} contains pickled objects, which could run any code: it is not read. Spectra, patterns and "
                "results are saved without them."
            )


def _asks_for_pickle(text: bytes) -> bool:
    try:
        return '"id": "pickle"' in json.dumps(json.loads(text))
    except (ValueError, RecursionError):  # the reader says what is wrong with it
        return False


def _descriptions(path: Path) -> Iterator[bytes | None]:
    """The descriptions of a store; None in place of one that is too large."""
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        if path.is_dir():
            for name in _DESCRIPTIONS:
                for found in path.rglob(name):
                    yield None if found.stat().st_size > _MOST else found.read_bytes()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if entry.filename.rpartition("/")[2] in _DESCRIPTIONS:
                        yield None if entry.file_size > _MOST else archive.read(entry)
