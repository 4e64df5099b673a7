"""Fits of maps: failed spectra are started again; lazy maps are read block by block, here or by dask.distributed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitResult, SolverOptions, Status, fit_spectra
from hyperspy_assb.fitting.spectra.binding import Model, Tie
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_TASKS_A_THREAD = 4
"""Tasks that wait for a thread of a worker, so that it never waits for them."""


@dataclass(frozen=True, eq=False)
class Job:
    """A model and the spectra of a map that it is fitted to; see :func:`.solvers.fit_spectra`.

    Parameters
    ----------
    rows
        Which spectra, on flattened navigation axes, shape (S,).
    """

    model: Model
    start: FloatArray
    free: NDArray[np.bool_]
    lower: FloatArray
    upper: FloatArray
    mask: NDArray[np.bool_]
    ties: tuple[Tie, ...]
    rows: NDArray[np.bool_]

    def part(self, positions: NDArray[np.int64]) -> Job:
        """The same for some spectra of the map, shape (B,), by their places on the flattened navigation axes."""
        model: Any = self.model
        start = self.start[positions]
        if getattr(model, "numbers_spectra", False):
            model, start = model.part(positions), start.copy()
            start[:, -1] = np.arange(len(positions))
        return replace(self, model=model, start=start, rows=self.rows[positions])


def fit_map(
    counts: NDArray[Any],
    job: Job,
    *,
    detector: Detector | None,
    variance: NDArray[Any] | None,
    relative: bool,
    options: SolverOptions,
    progress: Callable[[int], object] | None = None,
) -> FitResult:
    """Fit the spectra of a map, and start those that fail again from fitted neighbours.

    Parameters
    ----------
    counts
        Shape (navigation..., E).
    job
        What to fit to which spectra.
    detector, variance, options, progress
        As in :func:`.solvers.fit_spectra`; ``variance`` may have the shape of the counts.
    relative
        Whether the variance is only known up to a factor, which the residuals of each spectrum tell.
    """
    shape, channels = counts.shape[:-1], job.mask.size
    flat = counts.reshape(-1, counts.shape[-1])[:, :channels]
    if variance is not None and variance.ndim:
        variance = variance[..., :channels]
        variance = variance.reshape(-1, channels) if variance.ndim > 1 else variance
    common: dict[str, Any] = {
        "free": job.free,
        "lower": job.lower,
        "upper": job.upper,
        "mask": job.mask,
        "ties": job.ties,
        "detector": detector,
        "options": options,
    }
    # What is linear in everything has one minimum, and finds it from anywhere.
    model_linear = getattr(job.model, "linear", None)
    linear = model_linear is not None and bool(model_linear[job.free].all())
    bounded = np.isfinite(job.lower[job.free]).any() or np.isfinite(job.upper[job.free]).any()
    unit = np.ones(len(flat))
    if relative and variance is not None and (bounded or not linear):
        unit = _fine_unit(flat, job, variance)
        variance = np.broadcast_to(variance * unit[:, np.newaxis], flat.shape)
    first = options.mean_first and not linear
    start = _start(flat, job, variance, common) if first else job.start
    result = fit_spectra(job.model, flat, start, skip=~job.rows, variance=variance, progress=progress, **common)
    for attempt in range(options.restarts):
        again = job.rows & (result.failed | _suspect(result, unit))
        taken = result.usable & ~again
        if not again.any() or not taken.any():
            break
        values = result.values[_neighbours(taken, again, shape, attempt)]
        start = job.start[again].copy()
        moving = job.free
        start[:, moving] = values[:, moving]
        known = variance[again] if variance is not None and variance.ndim > 1 else variance
        other = fit_spectra(job.model, flat[again], start, variance=known, **common)
        least = 0.01 * np.maximum(1.0, other.deviance / np.maximum(other.dof, 1))
        better = other.usable & ~(result.deviance[again] <= other.deviance + least)
        rows = np.flatnonzero(again)[better]
        result.replace_rows(rows, other.take(better))
    if relative:
        result.scale_errors()
        result.deviance[...] *= unit
    return result


def _fine_unit(flat: NDArray[Any], job: Job, variance: NDArray[Any]) -> FloatArray:
    """By what a variance that is known up to a factor becomes that of a millionth of each spectrum, shape (S,).

    The solver stops within small parts of a standard error, which must mean the same whatever the unit of the data is.
    Powers of 4 leave every digit as it is.
    """
    size = np.empty(len(flat))
    keep = ~job.mask
    for first in range(0, len(flat), 256):
        rows = slice(first, first + 256)
        values = np.where(keep, flat[rows], 0.0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = keep / (variance[rows] if variance.ndim == 2 else variance)
            size[rows] = np.sum(values * values * weights, axis=1) / keep.sum()
    size[~job.rows | ~np.isfinite(size) | (size <= 0.0)] = 1e12
    return np.asarray(np.exp2(2.0 * np.rint(0.5 * np.log2(1e-12 * size))))


def _neighbours(
    usable: NDArray[np.bool_], wanted: NDArray[np.bool_], shape: tuple[int, ...], attempt: int
) -> NDArray[np.int64]:
    """Places of the nearest fitted spectra; on later attempts, of fitted spectra drawn from the whole map."""
    if attempt == 0 and shape:
        nearest = ndimage.distance_transform_edt(~usable.reshape(shape), return_distances=False, return_indices=True)
        return np.ravel_multi_index(tuple(nearest), shape).ravel()[wanted]
    return np.random.default_rng(attempt).choice(np.flatnonzero(usable), int(wanted.sum()))


def _start(flat: NDArray[Any], job: Job, variance: NDArray[Any] | None, common: dict[str, Any]) -> FloatArray:
    """Starting values: those of the mean spectrum where all spectra would start alike, and it can be fitted."""
    rows = np.flatnonzero(job.rows)
    if rows.size < 2 or np.any(job.start[rows] != job.start[rows[:1]]):
        return job.start
    rows = rows[np.linspace(0, rows.size - 1, min(rows.size, 256)).astype(int)]
    spectra = np.where(job.mask, 0.0, np.asarray(flat[rows], dtype=np.float64))
    finite = np.isfinite(spectra).all(axis=1)
    if not finite.any():
        return job.start
    mean = spectra[finite].mean(axis=0, keepdims=True)
    if variance is not None and variance.ndim > 1:
        variance = np.asarray(variance[rows], dtype=np.float64)[finite].mean(axis=0)
    found = fit_spectra(job.model, mean, job.start[rows[:1]], variance=variance, **common)
    # A component that the mean pushes against a bound has lost its shape: single spectra had better not start there.
    if found.status[0] != Status.CONVERGED:
        return job.start
    return np.broadcast_to(found.values, job.start.shape)


def _suspect(result: FitResult, unit: FloatArray) -> NDArray[np.bool_]:
    """Fits that may have ended in the wrong place: at a bound, or with a deviance, in ``unit``, far above most."""
    good = result.usable
    if not good.any():
        return good
    ratio = unit * result.deviance / np.maximum(result.dof, 1)
    middle = np.median(ratio[good])
    spread = 1.4826 * np.median(np.abs(ratio[good] - middle))
    suspect = good & ((ratio > middle + 6.0 * spread) | (result.status == Status.AT_BOUND))
    # Where that is common, it is the sample and not the fit.
    return suspect & (suspect.sum() < 0.1 * good.sum())


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
        yield numbers.ravel(), _fit_all(counts, jobs, known, detector, relative, options, progress)
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
        return positions, delayed(_fit_all, pure=False)(block, parts, known, detector, relative, options)

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


def _fit_all(
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
