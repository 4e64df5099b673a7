"""A scan put together from the blocks in which it was indexed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hyperspy_assb.acom.matching.indexed import IndexedScan, map_names


class ScanAssembler:
    """Maps that fill block by block.

    Parameters
    ----------
    shape
        Rows and columns of the scan.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._first: IndexedScan | None = None
        self._first_shape: tuple[int, int] = (0, 0)
        self._maps: dict[str, Any] = {}
        self._filled = np.zeros(shape, dtype=bool)

    def put(self, rows: slice, columns: slice, block: IndexedScan) -> None:
        """Take in what was found in a block of the scan.

        Raises
        ------
        ValueError
            If the block is of another size than its place.
        """
        place = self._filled[rows, columns]
        if place.shape != np.shape(block.phase):
            raise ValueError(f"The block has the shape {np.shape(block.phase)}, but its place has {place.shape}.")
        if self._first is None:
            self._first = block
            self._first_shape = place.shape
            for name in map_names(block):
                values = getattr(block, name)
                self._maps[name] = np.empty((*self.shape, *values.shape[2:]), dtype=values.dtype)
        for name, whole in self._maps.items():
            whole[rows, columns] = getattr(block, name)
        place[...] = True

    def finish(self) -> IndexedScan:
        """The whole scan.

        Raises
        ------
        ValueError
            If a part of it is missing.
        """
        if self._first is None or not self._filled.all():
            raise ValueError(f"{int((~self._filled).sum())} of the {self._filled.size} pixels were not indexed.")
        return replace(self._first, **self._maps)
