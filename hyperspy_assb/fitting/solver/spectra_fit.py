"""Poisson maximum likelihood and least squares for many spectra at once, by damped Fisher scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.scoring import Block, BoundProblem
from hyperspy_assb.fitting.spectra.binding import Model, Tie, bind
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

BLOCK = 32
"""Spectra fitted or judged together, where a model does not say what suits it: their derivatives take little memory."""
_AS_GOOD = 1e-3
"""Difference in deviance, in units of the reduced one, that rounding and the last step may make."""
_KEPT = 30 << 20
"""Bytes; the C library of Linux keeps what is freed up to 32 MiB, and no more."""


class Status(IntEnum):
    """What became of the fit of one spectrum."""

    CONVERGED = 0
    AT_BOUND = 1
    NOT_CONVERGED = 2
    SINGULAR = 3
    TOO_FEW_COUNTS = 4
    MASKED = 5

    @property
    def usable(self) -> bool:
        """Whether the fitted values stand."""
        return self in (Status.CONVERGED, Status.AT_BOUND)


def usable(status: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the fitted values stand, of the shape of ``status``.

    Parameters
    ----------
    status
        :class:`Status` as integers.
    """
    return np.isin(status, [s for s in Status if s.usable])


@dataclass(frozen=True)
class Detector:
    """How the detector turns electrons into recorded counts: ``gain`` times a Poisson number, plus read noise.

    Parameters
    ----------
    gain
        Recorded counts per electron.
    read_noise
        Standard deviation of the read noise of a channel, in recorded counts.
    """

    gain: float = 1.0
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise AssbValueError(f"gain must be above 0 counts per electron, not {self.gain}.")
        if not self.read_noise >= 0:
            raise AssbValueError(f"read_noise must be at least 0 counts, not {self.read_noise}.")

    def variance(self, expectation: FloatArray) -> FloatArray:
        """Variance of recorded counts with the given expectation."""
        return self.gain * np.maximum(expectation, 0.0) + self.read_noise**2


@dataclass(frozen=True, eq=False, kw_only=True)
class FitProblem:
    """A model, and what is fitted to which spectra and channels.

    Parameters
    ----------
    model
        Gives expectations and derivatives.
    start
        Starting values, shape (P,) or (S, P). Fixed parameters keep them.
    free
        Which parameters are fitted, shape (P,); all by default.
    lower, upper
        Bounds, shape (P,); infinite where there is none.
    mask
        Channels to leave out, shape (E,); none by default.
    ties
        Parameters that follow others, each after the one that it follows; they are neither free nor bounded.
    rows
        Which spectra are fitted, shape (S,), on flattened navigation axes; all by default.

    Raises
    ------
    ValueError
        If shapes do not agree, or a lower bound is above the upper one.
    """

    model: Model
    start: FloatArray
    free: NDArray[np.bool_] = field(default_factory=lambda: np.array(True))
    lower: FloatArray = field(default_factory=lambda: np.array(-np.inf))
    upper: FloatArray = field(default_factory=lambda: np.array(np.inf))
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.array(False))
    ties: tuple[Tie, ...] = ()
    rows: NDArray[np.bool_] = field(default_factory=lambda: np.array(True))

    def __post_init__(self) -> None:
        p = self.model.n_parameters
        for name, kind in (("start", float), ("free", bool), ("lower", float), ("upper", float)):
            value = np.asarray(getattr(self, name), dtype=kind)
            if name != "start" and value.shape not in ((), (p,)):
                raise AssbValueError(f"free, lower and upper must have the shape ({p},), one entry a parameter.")
            object.__setattr__(self, name, value if value.ndim else np.full(p, value))
        for name in ("mask", "rows"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=bool))
        if not np.all(self.lower <= self.upper):
            wrong = np.flatnonzero(~(self.lower <= self.upper)).tolist()
            raise AssbValueError(f"The lower bound is not below the upper one for the parameters {wrong}.")

    def over(self, shape: tuple[int, int]) -> FitProblem:
        """The same with starting values, mask and rows written out for counts of the shape (S, E)."""
        return replace(
            self,
            start=np.broadcast_to(self.start, (shape[0], self.free.size)),
            mask=np.broadcast_to(self.mask, shape[1:]),
            rows=np.broadcast_to(self.rows, shape[:1]),
        )

    def part(self, positions: NDArray[np.int64]) -> FitProblem:
        """The same for some spectra of a map, shape (B,), by their places on the flattened navigation axes."""
        model: Any = self.model
        start = self.start[positions]
        if getattr(model, "numbers_spectra", False):
            model, start = model.part(positions), start.copy()
            start[:, -1] = np.arange(len(positions))
        return replace(self, model=model, start=start, rows=self.rows[positions])


@dataclass(frozen=True)
class SolverOptions:
    """How far the solver goes.

    Parameters
    ----------
    max_iterations
        Steps tried per spectrum.
    tolerance
        Converged when less than this is left to gain in log-likelihood (0.5 is one standard error) after the last
        step, going by how fast the gain of the steps falls; times the reduced deviance where that is above 1, and where
        rounding of the expectation allows no less.
    minimum_counts
        Spectra with fewer electrons are not fitted, if the counts are taken as Poisson numbers.
    covariance
        Whether the covariance is kept, beside the standard errors.
    mean_first
        Whether the mean spectrum of a map is fitted first, and the others start from there, where all would otherwise
        start from the same values.
    restarts
        Times that spectra of a map that were not fitted, or much worse than most, are started again: from the nearest
        fitted one, then from others. The better fit is kept.
    block_size
        Spectra fitted together; by default what suits the model.
    workers
        Threads.
    """

    max_iterations: int = 200
    tolerance: float = 1e-10
    minimum_counts: float = 100.0
    covariance: bool = True
    mean_first: bool = True
    restarts: int = 1
    block_size: int | None = None
    workers: int = 2


@dataclass(frozen=True)
class FitResult:
    """Fitted parameters of S spectra.

    Parameters
    ----------
    values
        All parameters, shape (S, P); NaN where ``status`` is not usable.
    std
        Standard errors, shape (S, P); 0 for fixed parameters and those at a bound, NaN where the data say nothing about
        a parameter, which then stands still like one at a bound.
    covariance
        Covariance of the free parameters, shape (S, F, F), or None if it was not asked for.
    free
        Which parameters are free, shape (P,).
    deviance
        Poisson deviance, or weighted sum of squares, shape (S,).
    dof
        Fitted channels minus free parameters, shape (S,).
    status
        :class:`Status` as integers, shape (S,).
    iterations
        Steps taken, shape (S,).
    """

    values: FloatArray
    std: FloatArray
    covariance: FloatArray | None
    free: NDArray[np.bool_]
    deviance: FloatArray
    dof: NDArray[np.int64]
    status: NDArray[np.int8]
    iterations: NDArray[np.int16]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Where the fitted values stand, shape (S,)."""
        return usable(self.status)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Where there was something to fit, and no end was found, shape (S,)."""
        return (self.status == Status.NOT_CONVERGED) | (self.status == Status.SINGULAR)

    def best(self) -> int | None:
        """The best of several fits of one spectrum; None where none is usable.

        Of those that are as good but for rounding it is the first: they may differ in what has no effect.
        """
        if not self.usable.any():
            return None
        deviance = np.where(self.usable, self.deviance, np.inf)
        least = float(deviance.min())
        return int(np.argmax(deviance <= least + _AS_GOOD * max(1.0, least / max(int(self.dof[0]), 1))))

    def take(self, rows: NDArray[np.bool_]) -> FitResult:
        """The results of some spectra, shape (S,)."""
        covariance = None if self.covariance is None else self.covariance[rows]
        chosen = {name: getattr(self, name)[rows] for name in ("values", "std", "deviance", "dof")}
        return FitResult(
            **chosen,
            covariance=covariance,
            free=self.free,
            status=self.status[rows],
            iterations=self.iterations[rows],
        )

    @classmethod
    def join(cls, parts: Sequence[FitResult]) -> FitResult:
        """Results of the parts of a map as one; all have the same free parameters."""
        first = parts[0]
        names = ("values", "std", "deviance", "dof", "status", "iterations")
        joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        covariances = [part.covariance for part in parts if part.covariance is not None]
        return cls(**joined, free=first.free, covariance=np.concatenate(covariances) if covariances else None)

    def replace_rows(self, rows: NDArray[np.int64], other: FitResult) -> None:
        """Take the results of the spectra ``rows`` from another that holds just those."""
        for name in ("values", "std", "deviance", "dof", "status", "iterations"):
            getattr(self, name)[rows] = getattr(other, name)
        if self.covariance is not None:
            self.covariance[rows] = other.covariance

    def scale_errors(self) -> None:
        """Judge the unknown variance of the data by what each fit leaves: multiply errors by the reduced deviance."""
        factor = self.deviance / np.maximum(self.dof, 1)
        self.std[...] *= np.sqrt(factor)[:, np.newaxis]
        if self.covariance is not None:
            self.covariance[...] *= factor[:, np.newaxis, np.newaxis]


def fit_spectra(
    counts: ArrayLike,
    problem: FitProblem,
    *,
    detector: Detector | None = None,
    variance: ArrayLike | None = None,
    options: SolverOptions | None = None,
    progress: Callable[[int], object] | None = None,
) -> FitResult:
    """Fit a model to many spectra, by Poisson maximum likelihood or by weighted least squares.

    Read noise is treated as a shifted Poisson number: the variance is right to all orders that standard errors need,
    and negative counts are as good as any.

    Parameters
    ----------
    counts
        Recorded counts, shape (S, E). Spectra with a non-finite count, or with no counts at all, are not fitted.
    problem
        What is fitted to which of them.
    detector
        Gain and read noise; a perfect counter by default.
    variance
        Variance of each channel, a number or shape (E,) or (S, E): least squares with these weights, and no likelihood.
    options
        See ``SolverOptions``.
    progress
        Called with the number of spectra done since the last call.

    Returns
    -------
    result
        Spectra that could not be fitted have NaN values and say why in ``status``.

    Raises
    ------
    ValueError
        If shapes do not agree, or a variance is not above 0.

    Notes
    -----
    Fisher scoring with Levenberg damping: Osborne, Int. Stat. Rev. 60, 99 (1992). Shifted Poisson: Snyder et al.,
    J. Opt. Soc. Am. A 10, 1014 (1993).
    """
    _keep_memory()
    counts = np.asarray(counts)
    if counts.ndim != 2:
        raise AssbValueError(f"counts must have the shape (spectra, channels), not {counts.shape}.")
    problem = problem.over(counts.shape)
    n, p = problem.start.shape
    free, keep = problem.free, ~problem.mask
    detector = Detector() if detector is None or variance is not None else detector
    options = SolverOptions() if options is None else options
    if variance is not None:
        variance = np.asarray(variance)
        if variance.ndim == 2 and variance.shape != counts.shape:
            raise AssbValueError(f"variance must have the shape {counts.shape} of the counts, not {variance.shape}.")

    bound = BoundProblem(
        bound=bind(problem.model, problem.start, free, keep, problem.ties),
        free=free,
        lower=problem.lower[free],
        upper=problem.upper[free],
        keep=np.flatnonzero(keep),
        ties=problem.ties,
        scale=1.0 / detector.gain,
        shift=(detector.read_noise / detector.gain) ** 2,
        minimum_counts=options.minimum_counts,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
    )
    f = int(free.sum())
    result = FitResult(
        values=np.full((n, p), np.nan),
        std=np.full((n, p), np.nan),
        covariance=np.full((n, f, f), np.nan) if options.covariance else None,
        free=free,
        deviance=np.full(n, np.nan),
        dof=np.full(n, keep.sum() - f),
        status=np.full(n, Status.MASKED, dtype=np.int8),
        iterations=np.zeros(n, dtype=np.int16),
    )

    def fit_block(where: slice) -> int:
        known = variance if variance is None or variance.ndim < 2 else variance[where]
        start = np.array(problem.start[where], order="C")
        _store(bound.fit(counts[where], start, known, ~problem.rows[where]), where, result)
        return where.stop - where.start

    # Small maps are shared out among the threads.
    size = options.block_size or min(
        int(getattr(bound.bound, "block_size", BLOCK)), max(-(-n // options.workers), BLOCK)
    )
    blocks = [slice(i, min(i + size, n)) for i in range(0, n, size)]
    with ThreadPoolExecutor(max_workers=options.workers) as pool:
        try:
            for done in pool.map(fit_block, blocks):
                if progress is not None:
                    progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return result


def _keep_memory() -> None:
    """Have the C library keep memory that is freed, up to tens of MB.

    It gives arrays back to the system that are larger than any it has seen freed; to get them again for every block
    costs as much time as the fit of some models. This array is never touched, and takes no memory.
    """
    np.empty(_KEPT, dtype=np.uint8)


def _store(block: Block, where: slice, result: FitResult) -> None:
    """Write what became of a block; what could not be fitted stays NaN."""
    status = np.full(len(block.theta), Status.NOT_CONVERGED, dtype=np.int8)
    status[block.converged] = np.where(block.held[block.converged].any(axis=1), Status.AT_BOUND, Status.CONVERGED)
    status[block.converged & block.singular] = Status.SINGULAR
    status[block.too_few] = Status.TOO_FEW_COUNTS
    status[block.masked] = Status.MASKED
    result.status[where] = status
    result.iterations[where] = block.iterations
    fitted = block.converged & ~block.singular
    good: Any = slice(None) if fitted.all() else fitted
    rows: Any = where if fitted.all() else np.arange(where.start, where.stop)[fitted]
    result.values[rows] = block.theta[good]
    result.std[rows] = block.std[good]
    result.deviance[rows] = 2.0 * block.objective[good]
    if result.covariance is not None:
        result.covariance[rows] = block.covariance[good]
