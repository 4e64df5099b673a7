"""Maps on disk: every stored chunk is read once in a pass over the spectra."""

from __future__ import annotations

from collections import Counter
from typing import Any

import dask.array as da
import numpy as np
import pytest

from hyperspy_assb.eds.eds_map import Spectra
from hyperspy_assb.eels.low_loss_map import blocks_of, one_after_the_other

SHAPE = (40, 30, 64)


def stored(chunks: tuple[int, int, int], reads: Counter[Any]) -> Any:
    """A map whose numbers tell their places, and which counts how often each of its chunks is read."""
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)

    def read(block_info: Any = None) -> Any:
        where = block_info[None]
        reads[where["chunk-location"]] += 1
        return values[tuple(slice(*bounds) for bounds in where["array-location"])]

    whole = da.core.normalize_chunks(chunks, SHAPE)
    return da.map_blocks(read, chunks=whole, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))


@pytest.mark.parametrize("chunks", [(8, 8, 64), (3, 7, 64), (40, 5, 16), (1, 30, 64), (40, 30, 64)])
@pytest.mark.parametrize("kind", ["EELS", "EDX"])
def test_a_stored_chunk_is_read_once(kind: str, chunks: tuple[int, int, int]) -> None:
    reads: Counter[Any] = Counter()
    data = stored(chunks, reads)
    blocks = blocks_of(one_after_the_other(data)) if kind == "EELS" else Spectra(data).blocks()
    found, end = [], 0
    for part, block in blocks:
        assert part.start == end
        end = part.stop
        found.append(block)
    assert np.array_equal(np.concatenate(found).ravel(), np.arange(np.prod(SHAPE)))
    assert set(reads.values()) == {1}


def test_rows_that_do_not_fit_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperspy_assb.eels.low_loss_map._READ", 8 * 30 * 64 * 11)
    monkeypatch.setattr("hyperspy_assb.eels.low_loss_map.BLOCK", 8 * 30 * 64 * 11)
    monkeypatch.setattr("hyperspy_assb.eds.eds_map._READ", 8 * 30 * 64 * 11)
    data = stored((40, 8, 64), Counter())
    for blocks in (blocks_of(one_after_the_other(data)), Spectra(data).blocks()):
        found = [block for _, block in blocks]
        assert max(map(len, found)) == 10 * 30
        assert np.array_equal(np.concatenate(found).ravel(), np.arange(np.prod(SHAPE)))


def test_a_map_without_pixels() -> None:
    data = da.zeros((0, 30, 64), dtype=np.float32)
    assert [block.shape for _, block in blocks_of(one_after_the_other(data))] == [(0, 64)]
