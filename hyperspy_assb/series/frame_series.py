"""A series of frames as the science of it takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.progress import counted

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_BLOCK = 64 * 2**20
"""Bytes of frames that are held at once."""


@dataclass(frozen=True, eq=False)
class FrameSeries:
    """Frames against time.

    Parameters
    ----------
    frames
        Shape (T, Y, X), a NumPy array or a dask array; of the latter a few frames are computed at a time.
    time
        Beginning of each frame in s, shape (T,).
    pixel
        Size of a pixel in nm; NaN if it is not known.
    potential
        V at each frame, shape (T,); NaN where it is not known.
    """

    frames: Any
    time: FloatArray
    pixel: float = float("nan")
    potential: FloatArray | None = None

    @property
    def count(self) -> int:
        """Number of frames."""
        return int(self.frames.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    def __iter__(self) -> Iterator[FloatArray]:
        """Frame by frame, a few in memory at once."""
        size = max(1, _BLOCK // (self.shape[0] * self.shape[1] * self.frames.dtype.itemsize))
        blocks = (np.asarray(self.frames[first : first + size]) for first in range(0, self.count, size))
        for frame in counted(chain.from_iterable(blocks), self.count):
            yield frame.astype(np.float64)
