"""Fits of maps that are read block by block, in this process or on the workers of a dask.distributed client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from hyperspy_assb.fitting.solver.map_fit import Job, fit_map
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitResult, SolverOptions

_TASKS_A_THREAD = 4
"""Tasks that wait for a thread of a worker, so that it never waits for them."""


def fit_blocks(
    counts: Any,
    jobs: list[Job],
    *,
    detector: Detector | None,
    variance: Any,
    relative: bool,
    options: SolverOptions,
    progress: Callable[[int], object] | None = None,
) -> Iterator[tuple[NDArray[np.int64], list[FitResult]]]:
    """Fit a map block by block, each read when its turn comes.

    Parameters
    ----------
    counts
        NumPy or dask array, shape (navigation..., E); a NumPy array is one block.
    jobs
        What to fit to which spectra.
    variance
        None, a number, or an array of shape (E,) or that of the counts.
    detector, relative, options, progress
        As in :func:`.maps.fit_map`.

    Yields
    ------
    positions, results
        Places of the spectra of a block on the flattened navigation axes, and a result for each job.
    """
    shape = counts.shape[:-1]
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    if isinstance(counts, np.ndarray):
        known = None if variance is None else np.asarray(variance)
        yield numbers.ravel(), _fit(counts, jobs, known, detector, relative, options, progress)
        return
    counts = counts.rechunk({counts.ndim - 1: -1})
    per_spectrum = variance is not None and np.ndim(variance) == counts.ndim
    if per_spectrum:
        variance = da.asarray(variance).rechunk(counts.chunks)  # type: ignore[no-untyped-call,unused-ignore]
    client = _client()
    if client is not None:
        options = replace(options, workers=1)

    def task(index: tuple[int, ...]) -> tuple[NDArray[np.int64], Any]:
        where = tuple(
            slice(sum(sizes[:i]), sum(sizes[: i + 1])) for sizes, i in zip(counts.chunks[:-1], index, strict=True)
        )
        positions = numbers[where].ravel()
        parts = delayed([job.part(positions) for job in jobs], traverse=False)
        known = variance.blocks[index].to_delayed().ravel()[0] if per_spectrum else variance
        block = counts.blocks[index].to_delayed().ravel()[0]
        return positions, delayed(_fit, pure=False)(block, parts, known, detector, relative, options)

    for positions, results in _computed(map(task, np.ndindex(counts.numblocks[:-1])), client):
        if progress is not None:
            progress(len(positions))
        yield positions, results


def _client() -> Any:
    """The client of dask.distributed that is in use, if there is one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _computed(
    tasks: Iterator[tuple[NDArray[np.int64], Any]], client: Any
) -> Iterator[tuple[NDArray[np.int64], list[FitResult]]]:
    """Results in the order in which they come, with their places; only a few tasks exist at a time."""
    if client is None:
        for positions, task in tasks:
            yield positions, task.compute(scheduler="threads")
        return
    from distributed import as_completed

    places = {}

    def submit() -> list[Any]:
        """The next task, if there is one."""
        for positions, task in tasks:
            future = client.compute(task)
            places[future.key] = positions
            return [future]
        return []

    waiting = sum(client.nthreads().values()) * _TASKS_A_THREAD
    futures = as_completed([f for _ in range(waiting) for f in submit()])  # type: ignore[no-untyped-call,unused-ignore]
    for future in futures:
        yield places.pop(future.key), future.result()
        for following in submit():
            futures.add(following)  # type: ignore[no-untyped-call,unused-ignore]


def _fit(
    counts: NDArray[Any],
    jobs: list[Job],
    variance: NDArray[Any] | None,
    detector: Detector | None,
    relative: bool,
    options: SolverOptions,
    progress: Callable[[int], object] | None = None,
) -> list[FitResult]:
    known = None if variance is None else np.asarray(variance)
    results = []
    for k, job in enumerate(jobs):
        results.append(
            fit_map(
                counts,
                job,
                detector=detector,
                variance=known,
                relative=relative,
                options=options,
                progress=progress if k == 0 else None,
            )
        )
    return results
