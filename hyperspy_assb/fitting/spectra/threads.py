"""Work on many items in threads of this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

THREAD_BLOCK = 16
"""Items, such as patterns, that a thread takes at a time: enough to outlast its start, few enough that threads end
together."""


THREADS_VARIABLE = "HYPERSPY_ASSB_NUM_THREADS"
"""Environment variable that limits the threads of a process, where several share a machine."""


def available_threads() -> int:
    """Cores that this process may use: those of the system, or fewer by ``HYPERSPY_ASSB_NUM_THREADS``."""
    named = os.environ.get(THREADS_VARIABLE, "")
    return min(int(named), _cores()) if named.isdecimal() and int(named) > 0 else _cores()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def in_threads(
    work: Callable[[int, int], object], count: int, threads: int | None, *, block: int = THREAD_BLOCK
) -> None:
    """Call ``work(begin, end)`` for all of `count` items in blocks.

    Blocks are taken as threads become free, so that none waits for a slow one. After an error or an interrupt, none is
    begun. (numba's own threads would do as well, but its simplest threading layer stops the process if two threads of
    dask use it at once.)
    """
    threads = threads or available_threads()
    edges = [(begin, min(begin + block, count)) for begin in range(0, count, block)]
    if threads == 1 or len(edges) < 2:
        for begin, end in edges:
            work(begin, end)
        return
    with ThreadPoolExecutor(threads) as pool:
        # Of what is submitted one by one, an interrupt would leave all to be done.
        for _ in pool.map(lambda edge: work(*edge), edges):
            pass
