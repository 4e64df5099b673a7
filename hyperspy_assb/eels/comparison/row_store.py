"""Rows of numbers that were made block by block: in memory, or in a file without a name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.low_loss_map import BLOCK


class RowStore:
    """Rows of single precision, written in order and read by slices.

    What is read from a file is memory of the reader for as long as it is looked at, which a map of the file into memory
    would not be.

    Parameters
    ----------
    columns
        Numbers of a row.
    on_disk
        Whether the rows go to a file in the folder for temporary files, which lasts as long as the store.

    Examples
    --------
    >>> store = RowStore(3, on_disk=True)
    >>> for value in (0.0, 2.0):
    ...     store.append(np.full((2, 3), value))
    >>> len(store), store[1:3].tolist()
    (4, [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    """

    def __init__(self, columns: int, *, on_disk: bool) -> None:
        self._rows = np.empty((0, columns), dtype=np.float32)
        self._count = 0
        self._file: Any = tempfile.TemporaryFile(prefix="hyperspy_assb-") if on_disk else None  # noqa: SIM115

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows, shape (P, columns).

        Raises
        ------
        OSError
            If there is no space for temporary files.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        if self._file is not None:
            self._file.write(rows.data)
        else:
            self._rows = np.concatenate([self._rows, rows]) if self._count else rows
        self._count += len(rows)

    def __len__(self) -> int:
        return self._count

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Rows with their places: all at once where they are in memory."""
        step = max(self._count if self._file is None else BLOCK // (8 * self._rows.shape[1]), 1)
        for first in range(0, self._count, step):
            yield slice(first, first + step), self[first : first + step]

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        if self._file is None:
            return self._rows[part]
        first, last, _ = part.indices(self._count)
        found = np.empty((max(last - first, 0), self._rows.shape[1]), dtype=np.float32)
        self._file.seek(found.itemsize * found.shape[1] * first)
        self._file.readinto(found.data)
        return found
