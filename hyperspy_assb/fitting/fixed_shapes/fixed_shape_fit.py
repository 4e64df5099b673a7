"""Batched Poisson fit of spectra that are sums of narrow fixed templates, with few amounts that cannot be negative.

Expected counts are ``sum_t w_t D_t``, where every template ``D_t`` covers few channels, and its weight follows from the
amounts ``a``: ``w_t = (S a)_t f((U a)_t)`` with ``f(x) = (1 - exp(-x)) / x``, what leaves a layer that emits evenly
over its depth and absorbs. With ``U = 0`` everything is linear.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.kernels import EMPTY, Problem, TemplateFit, fit_block, score_block
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.progress import counted

_MOST_THREADS = 8
"""Threads by default at most: reading the counts is the limit beyond."""
_FEW = 8
"""Spectra that are fitted sooner than threads start."""
_BLOCK = 4096
"""Spectra at a time: enough to keep all threads busy, few enough to fit into memory."""


@dataclass(frozen=True, eq=False)
class TemplateModel:
    """Templates, and how their weights follow from the amounts.

    Parameters
    ----------
    templates
        Shape (T, E), counts for unit weight; zero outside the few channels that each covers.
    strength
        S, shape (T, K).
    absorption
        U, shape (T, K).
    group
        Which templates share a calibration, shape (T,), as numbers from 0; -1 for those that have none.
    bounded
        Which amounts cannot be negative, shape (K,).
    """

    templates: FloatArray
    strength: FloatArray
    absorption: FloatArray
    group: NDArray[np.int64]
    bounded: NDArray[np.bool_]

    @cached_property
    def sparse(self) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Templates channel by channel: where each channel begins, which templates reach it, their values."""
        by_channel = self.templates.T
        used = by_channel != 0.0
        starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64)
        return starts, np.nonzero(used)[1].astype(np.int64), np.ascontiguousarray(by_channel[used])

    def merged(self, bins: NDArray[np.int64]) -> TemplateModel:
        """The same on fewer channels: those from each of some numbers, shape (B,), to the next are added up."""
        return replace(self, templates=np.add.reduceat(self.templates, bins, axis=1))

    def weights(self, amounts: FloatArray) -> FloatArray:
        """Weights of the templates, shape (..., T), for amounts of shape (..., K)."""
        depth = amounts @ self.absorption.T
        small = np.abs(depth) < 1e-5
        safe = np.where(small, 1.0, depth)
        return (amounts @ self.strength.T) * np.where(small, 1.0 - depth / 2.0, -np.expm1(-safe) / safe)

    def guess(self, counts: FloatArray) -> FloatArray:
        """Amounts above 0 to start the fit of a spectrum from, shape (K,): each as its own channels allow.

        Parameters
        ----------
        counts
            Shape (E,).

        Raises
        ------
        ValueError
            If the counts are not finite.
        """
        if not np.isfinite(counts).all():
            raise AssbValueError("A spectrum must be finite: it holds NaN or infinity. Leave these pixels out.")
        norm = (self.templates**2).sum(axis=1)
        height = (counts @ self.templates.T) / np.where(norm > 0.0, norm, np.inf)
        share = self.strength / np.maximum(self.strength.sum(axis=0), 1e-300)
        # As much as gives a hundred-thousandth of the counts, whatever its unit.
        least = 1e-5 * max(float(counts.sum()), 1.0) / np.maximum(self.templates.sum(axis=1) @ self.strength, 1e-300)
        return np.maximum(0.3 * (height @ share), least)

    def expectation(self, amounts: FloatArray) -> FloatArray:
        """Expected counts, shape (..., E), for amounts of shape (..., K)."""
        return self.weights(np.asarray(amounts, dtype=float)) @ self.templates


def fit_templates(
    counts: Any,
    model: TemplateModel,
    start: FloatArray,
    *,
    channels: slice = slice(None),
    bins: NDArray[np.int64] | None = None,
    exposure: FloatArray | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-4,
    threads: int | None = None,
) -> TemplateFit:
    """Fit the amounts of many spectra by maximum likelihood of Poisson counts.

    Parameters
    ----------
    counts
        Shape (N, all channels), of any real type; an array, or something that gives arrays by slices, ``block`` spectra
        at a time.
    model
        Templates, on the E channels that are fitted.
    start
        Amounts of a spectrum of typical composition, shape (K,), above 0; scaled to the counts of each spectrum.
    channels
        Which of all channels are fitted.
    bins
        Numbers of those of these from which on channels are added up, as in :meth:`TemplateModel.merged`, before the
        fit; None: all count for themselves. The templates are given on all channels.
    exposure
        How many times longer than one each spectrum was recorded, shape (N,): of a sum of spectra, how many they were.
    max_iterations, tolerance
        Steps, and the change of half the deviance below which they end.
    threads
        Number of threads; by default as many as there are processors.

    Returns
    -------
    TemplateFit
        Amounts with covariance and status.

    Raises
    ------
    ValueError
        If shapes do not fit, or counts are negative or not finite.

    Notes
    -----
    Fisher scoring with an active set for the bounds; a step that does not raise the likelihood is halved.
    """
    whole = model.templates.shape[1]
    model = model if bins is None else model.merged(bins)
    start = np.ascontiguousarray(start, dtype=np.float64)
    if start.shape != (model.strength.shape[1],) or not np.all(start > 0.0):
        raise AssbValueError(f"start must hold {model.strength.shape[1]} amounts above 0.")
    n, size = len(counts), len(start)
    groups = int(model.group.max(initial=-1)) + 1
    fit = TemplateFit(
        amounts=np.full((n, size), np.nan),
        unclipped=np.full((n, size), np.nan),
        covariance=np.full((n, size, size), np.nan),
        by_group=np.full((n, size, groups), np.nan),
        deviance=np.full(n, np.nan),
        pearson=np.full(n, np.nan),
        mismatch=np.full(n, np.nan),
        status=np.full(n, EMPTY, dtype=np.int8),
        iterations=np.zeros(n, dtype=np.int16),
    )
    times = np.ones(n) if exposure is None else np.ascontiguousarray(exposure, dtype=np.float64)
    if times.shape != (n,) or not np.all(times > 0.0):
        raise AssbValueError(f"exposure must hold {n} numbers above 0.")
    problem = _problem(model, start, max_iterations)

    def run(part: slice, block: NDArray[Any]) -> None:
        fit_block(block, times[part], problem, tolerance, TemplateFit._make(values[part] for values in fit))

    workers = threads or min(cpu_count() or 1, _MOST_THREADS)
    with ThreadPoolExecutor(workers) as pool:
        blocks = _blocks(counts, channels, bins, whole)
        # Not the few of a calibration.
        for part, block in blocks if n < _FEW else counted(blocks, n, size=lambda item: len(item[1])):
            if len(block) < _FEW:
                run(part, block)
                continue
            bounds = np.linspace(0, len(block), workers + 1).astype(int)
            jobs = [
                pool.submit(run, slice(part.start + a, part.start + b), block[a:b])
                for a, b in pairwise(bounds)
                if b > a
            ]
            for job in jobs:
                job.result()
    return fit


def _problem(model: TemplateModel, start: FloatArray, max_iterations: int) -> Problem:
    overlap = model.templates @ model.templates.T
    return Problem(
        *model.sparse,
        overlap=overlap,
        beside=np.concatenate([[0], np.cumsum(np.count_nonzero(overlap, axis=1))]).astype(np.int64),
        neighbour=np.nonzero(overlap)[1].astype(np.int64),
        strength=np.ascontiguousarray(model.strength, dtype=np.float64),
        absorption=np.ascontiguousarray(model.absorption, dtype=np.float64),
        group=model.group.astype(np.int64),
        bounded=model.bounded,
        start=start,
        max_iterations=max_iterations,
    )


def score_templates(
    counts: NDArray[np.float32], model: TemplateModel, amounts: FloatArray, *, exposure: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Derivatives of the likelihood of some spectra by given amounts.

    Parameters
    ----------
    counts
        Shape (N, E), on the channels of the model.
    model
        Templates.
    amounts
        Shape (N, K).
    exposure
        As for :func:`fit_templates`.

    Returns
    -------
    score, information, by_group
        Shapes (N, K), (N, K, K) and (N, K, G): the last is the information that amounts share with a relative change of
        the strength of each group.
    """
    n, size = amounts.shape
    groups = int(model.group.max(initial=-1)) + 1
    found = np.empty((n, size)), np.empty((n, size, size)), np.empty((n, size, groups))
    problem = _problem(model, np.ones(size), 0)
    amounts = np.ascontiguousarray(amounts, dtype=np.float64)
    score_block(np.ascontiguousarray(counts, dtype=np.float32), amounts, exposure, problem, *found)
    return found


def _blocks(
    counts: Any, channels: slice, bins: NDArray[np.int64] | None, whole: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Some spectra at a time, as numbers of one type: one compiled kernel serves all."""
    size = int(getattr(counts, "block", _BLOCK))
    for begin in range(0, len(counts), size):
        part = slice(begin, min(begin + size, len(counts)))
        block = np.asarray(counts[part])[:, channels]
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            raise AssbValueError("counts must be finite: some channels hold NaN or infinity.")
        if block.dtype.kind in "if" and block.size and block.min() < 0:
            raise AssbValueError(
                "counts cannot be negative: X-rays are counted one by one. Was a background subtracted?"
            )
        if block.shape[1] != whole:
            raise AssbValueError(f"There are {block.shape[1]} channels, and templates for {whole}.")
        own = np.ascontiguousarray(block, dtype=np.float32)
        yield part, own if bins is None else np.add.reduceat(own, bins, axis=1)
