"""Fisher scoring of one block of spectra: the loop around the compiled normal equations and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.solver import steps
from hyperspy_assb.fitting.spectra import normal_equations as normal
from hyperspy_assb.fitting.spectra.binding import Bound, Tie
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_PROJECT_AFTER = 6
"""Steps after which linear parameters follow the others: the joint steps of spectra that take longer creep along a
curved valley, which is straight for the others alone (variable projection; Golub and Pereyra, Inverse Probl. 19, R1
(2003))."""
_SHORT = 1e-3
"""Gain in log-likelihood of a short step."""
_FIRST_DAMPING = 1e-3
"""Damping of the first step: hardly any, for most starts are good."""
_FASTEST = 0.03
"""Least factor by which the gain is taken to fall from step to step: two of them alone do not tell more."""
_FAR = 0.25
"""Share of the squared height of a spectrum that is missed where half of its height is."""
_SOLVED = 1e-9
"""Gain in log-likelihood of an exact step after which there is nothing left to solve for."""
_EPSILON = 1e-15
"""Relative error of an expectation in floating point."""
_SAME_CURVATURE = 1e-7
"""Expected gain of a step, in units of what is gained by chance, below which the curvature stays as it was: the step is
less than a 2000th of a standard error."""
_LEARN_AFTER = 2
"""Steps after which the curvature is learnt from the steps themselves; most spectra are done by then."""


@dataclass(frozen=True, eq=False)
class Block:
    """What became of B spectra: parameters, errors, and why some have none."""

    theta: FloatArray
    std: FloatArray
    covariance: FloatArray
    objective: FloatArray
    held: NDArray[np.bool_]
    converged: NDArray[np.bool_]
    singular: NDArray[np.bool_]
    too_few: NDArray[np.bool_]
    masked: NDArray[np.bool_]
    iterations: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class BoundProblem:
    """What is common to all blocks: see :func:`.spectra_fit.fit_spectra`; bounds are those of the F free parameters."""

    bound: Bound
    free: NDArray[np.bool_]
    lower: FloatArray
    upper: FloatArray
    keep: NDArray[np.int64]
    ties: tuple[Tie, ...]
    scale: float
    shift: float
    minimum_counts: float
    tolerance: float
    max_iterations: int

    def fit(
        self,
        counts: NDArray[np.generic],
        theta: FloatArray,
        variance: FloatArray | None,
        skip: NDArray[np.bool_],
    ) -> Block:
        """Fit the spectra of a block.

        Parameters
        ----------
        counts
            Shape (B, all channels), of any real type.
        theta
            Starting values, shape (B, P); overwritten.
        variance
            A number, or shape (all channels,) or (B, all channels); None for Poisson counts.
        skip
            Spectra to leave out, shape (B,).
        """
        n, where = len(theta), np.flatnonzero(self.free)
        counts = _plain(counts)
        theta[:, where] = np.clip(theta[:, where], self.lower, self.upper)
        self._follow(theta)
        state = _State(n, where.size)
        converged, iterations = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int16)
        too_few, linear = np.zeros(n, dtype=bool), self._linear()
        if variance is not None and variance.ndim > 1 and skip.any():
            variance = np.where(skip[:, np.newaxis], 1.0, variance)
        if variance is not None and not self.ties and getattr(self.bound, "quadratic", False):
            known = _plain(np.broadcast_to(variance, counts.shape))
            own: Any = self.bound
            good = own.weighted(theta, counts, known, self.keep, state.equations)
            masked = skip | ~good
            active = np.flatnonzero(~masked)
            self._solve_quadratic(active, theta, state, frozen=~linear)
            converged[active] = True
        else:
            y = np.empty((n, self.keep.size))
            total, height, good = _load(counts, self.keep, self.scale, self.shift, y)
            masked = skip | ~good
            too_few = ~masked & (variance is None) & (total < self.minimum_counts)
            active = np.flatnonzero(~masked & ~too_few)
            weights = None if variance is None else self._weights(variance, n)
            if active.size and weights is not None and linear.all():
                self._accumulate(active, theta, y, weights, state)
                self._solve_quadratic(active, theta, state, frozen=~linear)
                converged[active] = True
            elif active.size:
                self._iterate(active, theta, y, weights, height, state, converged, iterations, linear)
        held = state.stuck.copy()
        done = np.flatnonzero(converged)
        covariance = np.zeros((n, where.size, where.size))
        singular = np.zeros(n, dtype=bool)
        singular[done] = ~steps.invert(done, state.information, held, covariance)
        std = np.zeros(theta.shape)
        std[:, where] = np.sqrt(np.maximum(np.einsum("sff->sf", covariance), 0.0))
        # What the data say nothing about has no standard error.
        blank = np.zeros(held.shape, dtype=bool)
        blank[done] = ~(np.einsum("sff->sf", state.information)[done] > 0.0)
        std[:, where] = np.where(blank, np.nan, std[:, where])
        for tie in self.ties:
            std[:, tie.target] = np.abs(tie.function(theta[:, tie.source])[1]) * std[:, tie.source]
        return Block(theta, std, covariance, state.objective, held, converged, singular, too_few, masked, iterations)

    def _weights(self, variance: FloatArray, n: int) -> FloatArray:
        whole = variance.ndim and self.keep.size == variance.shape[-1]
        chosen = variance[..., self.keep] if variance.ndim and not whole else variance
        normal.check_variances(int(np.sum(~(np.asarray(chosen) > 0.0))))
        weights = np.empty((n, self.keep.size))
        np.divide(1.0, chosen, out=weights)
        return weights

    def _linear(self) -> NDArray[np.bool_]:
        """Which free parameters the expectation is jointly linear in and nothing follows, shape (F,)."""
        linear = np.zeros(self.free.size, dtype=bool)
        moving = self.free.copy()
        for tie in self.ties:
            moving[tie.target] = moving[tie.source]
        linear[moving] = self.bound.linear
        for tie in self.ties:
            linear[tie.source] = False
        return linear[self.free]

    def _follow(self, theta: FloatArray) -> FloatArray | None:
        """Bring parameters to those they follow; returns how all moving ones depend on the free ones, (B, M, F)."""
        if not self.ties:
            return None
        slopes = np.zeros((*theta.shape, int(self.free.sum())))
        where = np.flatnonzero(self.free)
        slopes[:, where, np.arange(where.size)] = 1.0
        moving = self.free.copy()
        for tie in self.ties:
            theta[:, tie.target], slope = tie.function(theta[:, tie.source])
            slopes[:, tie.target] = slope[:, np.newaxis] * slopes[:, tie.source]
            moving[tie.target] = moving[tie.source]
        return slopes[:, moving]

    def _accumulate(
        self,
        rows: NDArray[np.int64],
        theta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        state: _State,
        *,
        curvature: bool = True,
    ) -> None:
        if not curvature:
            own: Any = self.bound
            own.accumulate(theta, rows, y, weights, self.scale, self.shift, state.equations, curvature=False)
            return
        if not self.ties:
            self.bound.accumulate(theta, rows, y, weights, self.scale, self.shift, state.equations)
            return
        tied = theta[rows]
        slopes = self._follow(tied)
        assert slopes is not None
        theta[rows] = tied
        n, m = len(theta), slopes.shape[1]
        moving = normal.NormalEquations(state.objective, np.zeros((n, m)), np.zeros((n, m, m)))
        self.bound.accumulate(theta, rows, y, weights, self.scale, self.shift, moving)
        state.score[rows] = np.einsum("smf,sm->sf", slopes, moving.score[rows])
        state.information[rows] = slopes.transpose(0, 2, 1) @ moving.information[rows] @ slopes

    def _is_far(
        self, rows: NDArray[np.int64], y: FloatArray, weights: FloatArray | None, height: FloatArray, state: _State
    ) -> NDArray[np.bool_]:
        """Where the start misses the spectra by as much as half of their height."""
        total = height[rows]
        if weights is not None:
            data = y[rows] - self.shift
            total = np.einsum("se,se,se->s", weights[rows], data, data)
        return 2.0 * state.objective[rows] > _FAR * total

    def _solve_quadratic(
        self, rows: NDArray[np.int64], theta: FloatArray, state: _State, *, frozen: NDArray[np.bool_]
    ) -> None:
        """Solve for parameters that the expectation is linear in: one evaluation tells all about them."""
        where = np.flatnonzero(self.free)
        position = theta[:, where]
        trial, gain = position.copy(), np.zeros(len(theta))
        damping, short = np.zeros(len(theta)), np.zeros(len(theta))
        # Each step is exact but for bounds that bind or let go, of which there are finitely many.
        for _ in range(2 * where.size + 2):
            steps.propose(
                rows,
                position,
                frozen,
                self.lower,
                self.upper,
                state.score,
                state.information,
                state.missing,
                damping,
                short,
                trial,
                gain,
                state.stuck,
            )
            change = trial[rows] - position[rows]
            curve = np.einsum("sij,sj->si", state.information[rows], change)
            state.objective[rows] -= np.einsum("si,si->s", change, state.score[rows] - 0.5 * curve)
            state.score[rows] -= curve
            position[rows] = trial[rows]
            rows = rows[((position[rows] == self.lower) | (position[rows] == self.upper)).any(axis=1)]
            rows = rows[gain[rows] > _SOLVED]
            if not rows.size:
                break
        theta[:, where] = position

    def _project(
        self,
        rows: NDArray[np.int64],
        theta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        state: _State,
        frozen: NDArray[np.bool_],
    ) -> None:
        """Bring the linear parameters to where they fit best for the others, and the normal equations with them."""
        where = np.flatnonzero(self.free)
        trial, gain = np.ascontiguousarray(theta[:, where]), np.zeros(len(theta))
        steps.propose(
            rows,
            np.ascontiguousarray(theta[:, where]),
            frozen,
            self.lower,
            self.upper,
            state.score,
            state.information,
            state.missing,
            np.full(len(theta), steps.LEAST_DAMPING),
            np.zeros(len(theta)),
            trial,
            gain,
            state.stuck,
        )
        theta[np.ix_(rows, where)] = trial[rows]
        self._accumulate(rows, theta, y, weights, state)

    def _iterate(
        self,
        active: NDArray[np.int64],
        theta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        height: FloatArray,
        state: _State,
        converged: NDArray[np.bool_],
        iterations: NDArray[np.int16],
        linear: NDArray[np.bool_],
    ) -> None:
        where = np.flatnonzero(self.free)
        nothing = np.zeros(where.size, dtype=bool)
        candidate = _State(len(theta), where.size)
        new_theta = theta.copy()
        gain, damping = np.zeros(len(theta)), np.full(len(theta), _FIRST_DAMPING)
        last_gain, failed = np.zeros(len(theta)), np.zeros(len(theta), dtype=bool)
        trial, small = np.zeros((len(theta), where.size)), np.zeros(len(theta))
        size = height + self.keep.size * self.shift if weights is None else np.einsum("se,se,se->s", weights, y, y)
        rounding = _EPSILON * size
        excess = 2.0 / max(self.keep.size - where.size, 1)
        self._accumulate(active, theta, y, weights, state)
        far = active[self._is_far(active, y, weights, height, state)]
        if far.size and linear.any():
            # The slopes of a shape of wrong height lead the others astray: amplitudes go first, by least squares
            # weighted by the counts themselves.
            known = 1.0 / np.maximum(y, 1.0) if weights is None else weights
            self._accumulate(far, theta, y, known, state)
            self._solve_quadratic(far[np.isfinite(state.objective[far])], theta, state, frozen=~linear)
            self._accumulate(far, theta, y, weights, state)
            new_theta[far] = theta[far]
        while active.size:
            position = np.ascontiguousarray(theta[:, where])
            # Where the model misses the data by many standard errors, the gain is judged by what it misses.
            scale = np.maximum(1.0, excess * state.objective[active])
            small[active] = _SHORT * np.where(np.isfinite(scale), scale, 1.0)
            arrays = (state.score, state.information, state.missing, damping, small, trial, gain, state.stuck)
            steps.propose(active, position, nothing, self.lower, self.upper, *arrays)
            # A damped step gains little where the data say little: whether that is all, only an undamped one tells.
            short = active[(gain[active] < small[active]) & (damping[active] > steps.UNDAMPED) & ~failed[active]]
            damping[short] = steps.LEAST_DAMPING
            steps.propose(short, position, nothing, self.lower, self.upper, *arrays)
            iterations[active] += 1
            new_theta[np.ix_(active, where)] = trial[active]
            # The gain falls from step to step by about the same factor; one step alone does not tell by which.
            second = (last_gain[active] > 0.0) & np.isfinite(last_gain[active])
            falling = np.divide(gain[active], last_gain[active], out=np.ones(active.size), where=second)
            left = gain[active] * np.clip(falling, _FASTEST, 1.0)
            # Rounding of the expectation alone makes a gradient that promises this much.
            finest = _EPSILON**2 * size[active]
            finished = (left < np.maximum(self.tolerance * scale, finest)) & (damping[active] <= steps.UNDAMPED)
            finished &= np.isfinite(state.objective[active])
            last_gain[active] = gain[active]
            ended = active[finished]
            converged[ended] = True
            state.objective[ended] -= gain[ended]  # of the last step, which is not evaluated
            if self.ties:
                own = new_theta[ended]
                self._follow(own)
                new_theta[ended] = own
            theta[ended] = new_theta[ended]
            going_on = ~finished & (damping[active] < steps.MOST_DAMPING) & (iterations[active] < self.max_iterations)
            active = active[going_on]
            if active.size:
                if weights is not None:
                    rounding[active] = _EPSILON * np.sqrt(size[active] * np.maximum(2.0 * state.objective[active], 0.0))
                late = np.zeros(active.size, dtype=bool)
                if weights is None and not self.ties and getattr(self.bound, "gives_score", False):
                    late = (gain[active] < _SAME_CURVATURE * scale[going_on]) & (damping[active] <= steps.UNDAMPED)
                if late.any():
                    rows = active[late]
                    self._accumulate(rows, new_theta, y, weights, candidate, curvature=False)
                    candidate.information[rows] = state.information[rows]
                self._accumulate(active[~late], new_theta, y, weights, candidate)
                slow = active[(iterations[active] >= _PROJECT_AFTER) & np.isfinite(candidate.objective[active])]
                if slow.size and linear.any() and not linear.all():
                    self._project(slow, new_theta, y, weights, candidate, ~linear)
                steps.decide(
                    active,
                    theta,
                    state.objective,
                    state.score,
                    state.information,
                    state.missing,
                    new_theta[:, where] - position,
                    iterations >= _LEARN_AFTER,
                    gain,
                    rounding,
                    damping,
                    failed,
                    new_theta,
                    candidate.objective,
                    candidate.score,
                    candidate.information,
                )


class _State:
    """Normal equations of the spectra of a block."""

    def __init__(self, n: int, f: int) -> None:
        self.equations = normal.NormalEquations(np.full(n, np.inf), np.zeros((n, f)), np.zeros((n, f, f)))
        self.objective, self.score, self.information = self.equations
        self.missing = np.zeros((n, f, f))
        self.stuck = np.zeros((n, f), dtype=bool)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Rows of numbers as the compiled loops take them; a copy only where they are not."""
    if values.dtype.kind not in "iuf" or values.dtype.itemsize not in (4, 8) or not values.dtype.isnative:
        values = values.astype(np.float64)
    return np.ascontiguousarray(values)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _load_run(counts: NDArray[np.generic], scale: float, shift: float, y: FloatArray) -> tuple[float, float]:
    total, size = 0.0, 0.0
    for k in range(y.size):
        value = counts[k] * scale
        total += value
        size += abs(value)
        y[k] = value + shift
    return total, size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _load(
    counts: NDArray[np.generic], keep: NDArray[np.int64], scale: float, shift: float, y: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Scale and shift the counts of the channels ``keep``; returns sums of them and of their absolute values before the
    shift, and whether there is something to fit.

    Nothing is to be fitted where a count is not finite, and where all are 0.
    """
    total, height, good = np.zeros(len(counts)), np.zeros(len(counts)), np.zeros(len(counts), dtype=np.bool_)
    for i in range(len(counts)):
        size, k = 0.0, 0
        while k < keep.size:
            # Runs of neighbouring channels are copied at once.
            stop = k + 1
            if keep[keep.size - 1] - keep[k] == keep.size - 1 - k:
                stop = keep.size
            first = keep[k]
            part, magnitude = _load_run(counts[i, first : first + stop - k], scale, shift, y[i, k:stop])
            total[i] += part
            size += magnitude
            k = stop
        height[i] = size
        good[i] = np.isfinite(size) and size > 0.0
    return total, height, good
