"""Fits of maps: failed spectra are started again; lazy maps are read block by block, here or by dask.distributed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions, Status, fit_spectra
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_TYPICAL = 256
"""Spectra, spread over a map, whose mean is fitted first: enough for a good start, few to read."""
_READ = 256
"""Spectra that are weighed at once: some MB."""
_FINE = 1e-12
"""Square of a millionth, the share of a spectrum that counts as its standard error where that is not known."""
_BETTER = 0.01
"""Gain in deviance, in units of the reduced one, that makes another end better: a tenth of a standard error."""
_OUTLYING = 6.0
"""Standard deviations above the median, by the median absolute deviation, from which a deviance stands out."""
_STD_OVER_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_COMMON = 0.1
"""Share of the spectra from which outliers belong to the sample."""
_TASKS_A_THREAD = 4
"""Tasks that wait for a thread of a worker, so that it never waits for them."""


def fit_map(
    counts: NDArray[Any],
    problem: FitProblem,
    *,
    detector: Detector | None = None,
    variance: NDArray[Any] | None = None,
    relative: bool = False,
    options: SolverOptions | None = None,
    progress: Callable[[int], object] | None = None,
) -> FitResult:
    """Fit the spectra of a map, and start those that fail again from fitted neighbours.

    Parameters
    ----------
    counts
        Shape (navigation..., E).
    problem
        What to fit to which spectra.
    detector, variance, options, progress
        As in :func:`.spectra_fit.fit_spectra`; ``variance`` may have the shape of the counts.
    relative
        Whether the variance is only known up to a factor, which the residuals of each spectrum tell.
    """
    options = SolverOptions() if options is None else options
    shape, channels = counts.shape[:-1], problem.mask.size if problem.mask.ndim else counts.shape[-1]
    flat = counts.reshape(-1, counts.shape[-1])[:, :channels]
    if variance is not None and variance.ndim:
        variance = variance[..., :channels]
        variance = variance.reshape(-1, channels) if variance.ndim > 1 else variance
    problem = problem.over(flat.shape)
    common: dict[str, Any] = {"detector": detector, "options": options}
    # What is linear in everything has one minimum, and finds it from anywhere.
    model_linear = getattr(problem.model, "linear", None)
    linear = model_linear is not None and bool(model_linear[problem.free].all())
    bounded = np.isfinite(problem.lower[problem.free]).any() or np.isfinite(problem.upper[problem.free]).any()
    unit = np.ones(len(flat))
    if relative and variance is not None and (bounded or not linear):
        unit = _fine_unit(flat, problem, variance)
        variance = np.broadcast_to(variance * unit[:, np.newaxis], flat.shape)
    first = options.mean_first and not linear
    start = _start(flat, problem, variance, common) if first else problem.start
    result = fit_spectra(flat, replace(problem, start=start), variance=variance, progress=progress, **common)
    for attempt in range(options.restarts):
        again = problem.rows & (result.failed | _suspect(result, unit))
        taken = result.usable & ~again
        if not again.any() or not taken.any():
            break
        values = result.values[_neighbours(taken, again, shape, attempt)]
        start = problem.start[again].copy()
        moving = problem.free
        start[:, moving] = values[:, moving]
        known = variance[again] if variance is not None and variance.ndim > 1 else variance
        part = replace(problem, start=start, rows=problem.rows[again])
        other = fit_spectra(flat[again], part, variance=known, **common)
        least = _BETTER * np.maximum(1.0, other.deviance / np.maximum(other.dof, 1))
        better = other.usable & ~(result.deviance[again] <= other.deviance + least)
        rows = np.flatnonzero(again)[better]
        result.replace_rows(rows, other.take(better))
    if relative:
        result.scale_errors()
        result.deviance[...] *= unit
    return result


def _fine_unit(flat: NDArray[Any], problem: FitProblem, variance: NDArray[Any]) -> FloatArray:
    """By what a variance that is known up to a factor becomes that of a millionth of each spectrum, shape (S,).

    The solver stops within small parts of a standard error, which must mean the same whatever the unit of the data is.
    Powers of 4 leave every digit as it is.
    """
    size = np.empty(len(flat))
    keep = ~problem.mask
    for first in range(0, len(flat), _READ):
        rows = slice(first, first + _READ)
        values = np.where(keep, flat[rows], 0.0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = keep / (variance[rows] if variance.ndim == 2 else variance)
            size[rows] = np.sum(values * values * weights, axis=1) / keep.sum()
    size[~problem.rows | ~np.isfinite(size) | (size <= 0.0)] = 1.0 / _FINE
    return np.asarray(np.exp2(2.0 * np.rint(0.5 * np.log2(_FINE * size))))


def _neighbours(
    usable: NDArray[np.bool_], wanted: NDArray[np.bool_], shape: tuple[int, ...], attempt: int
) -> NDArray[np.int64]:
    """Places of the nearest fitted spectra; on later attempts, of fitted spectra drawn from the whole map."""
    if attempt == 0 and shape:
        nearest = ndimage.distance_transform_edt(~usable.reshape(shape), return_distances=False, return_indices=True)
        return np.ravel_multi_index(tuple(nearest), shape).ravel()[wanted]
    return np.random.default_rng(attempt).choice(np.flatnonzero(usable), int(wanted.sum()))


def _start(
    flat: NDArray[Any], problem: FitProblem, variance: NDArray[Any] | None, common: dict[str, Any]
) -> FloatArray:
    """Starting values: those of the mean spectrum where all spectra would start alike, and it can be fitted."""
    rows = np.flatnonzero(problem.rows)
    if rows.size < 2 or np.any(problem.start[rows] != problem.start[rows[:1]]):
        return problem.start
    rows = rows[np.linspace(0, rows.size - 1, min(rows.size, _TYPICAL)).astype(int)]
    spectra = np.where(problem.mask, 0.0, np.asarray(flat[rows], dtype=np.float64))
    finite = np.isfinite(spectra).all(axis=1)
    if not finite.any():
        return problem.start
    mean = spectra[finite].mean(axis=0, keepdims=True)
    if variance is not None and variance.ndim > 1:
        variance = np.asarray(variance[rows], dtype=np.float64)[finite].mean(axis=0)
    first = replace(problem, start=problem.start[rows[0]], rows=problem.rows[rows[:1]])
    found = fit_spectra(mean, first, variance=variance, **common)
    # A component that the mean pushes against a bound has lost its shape: single spectra had better not start there.
    if found.status[0] != Status.CONVERGED:
        return problem.start
    return np.broadcast_to(found.values, problem.start.shape)


def _suspect(result: FitResult, unit: FloatArray) -> NDArray[np.bool_]:
    """Fits that may have ended in the wrong place: at a bound, or with a deviance, in ``unit``, far above most."""
    good = result.usable
    if not good.any():
        return good
    ratio = unit * result.deviance / np.maximum(result.dof, 1)
    middle = np.median(ratio[good])
    spread = _STD_OVER_MAD * np.median(np.abs(ratio[good] - middle))
    suspect = good & ((ratio > middle + _OUTLYING * spread) | (result.status == Status.AT_BOUND))
    # Where that is common, it is the sample and not the fit.
    return suspect & (suspect.sum() < _COMMON * good.sum())


def fit_blocks(
    counts: Any,
    problems: list[FitProblem],
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
    problems
        What to fit to which spectra.
    variance
        None, a number, or an array of shape (E,) or that of the counts.
    detector, relative, options, progress
        As in :func:`.fit_map`.

    Yields
    ------
    positions, results
        Places of the spectra of a block on the flattened navigation axes, and a result for each problem.
    """
    shape = counts.shape[:-1]
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    if isinstance(counts, np.ndarray):
        known = None if variance is None else np.asarray(variance)
        yield numbers.ravel(), _fit_all(counts, problems, known, detector, relative, options, progress)
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
        parts = delayed([problem.part(positions) for problem in problems], traverse=False)
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
    problems: list[FitProblem],
    variance: NDArray[Any] | None,
    detector: Detector | None,
    relative: bool,
    options: SolverOptions,
    progress: Callable[[int], object] | None = None,
) -> list[FitResult]:
    known = None if variance is None else np.asarray(variance)
    results = []
    for k, problem in enumerate(problems):
        results.append(
            fit_map(
                counts,
                problem,
                detector=detector,
                variance=known,
                relative=relative,
                options=options,
                progress=progress if k == 0 else None,
            )
        )
    return results
