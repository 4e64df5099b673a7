"""Damped, bounded steps of Fisher scoring from normal equations: compiled, one spectrum after the other."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.normal_equations import cholesky, solve

SINGULAR_PIVOT = 1e-12
"""Share of the variance of a derivative that the others must leave unexplained for its parameter to be estimated."""
UNDAMPED, LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e-9, 1e12
"""Damping, in units of the scaled curvature: up to which it does not matter; the least, which makes up for rounding
where parameters hardly differ in effect; and above which nothing moves, for the normal equations are not finite."""
_HARDER = 10.0
"""By what the damping grows where a step fails: within a few tries it spans all that helps."""
_FIRST_TRIED = 1e-12
"""Damping tried first where an undamped step cannot be solved for: above rounding."""
_SMALLEST_PIVOT = 1e-14
"""Pivot, of a matrix with ones on its diagonal, that rounding may leave of 0: a step is not solved for below it."""
_GOOD, _FAIR = 0.9, 0.5
"""Share of the expected gain above which a step was foreseen well, or fairly."""
_MUCH_BOLDER, _BOLDER, _CAUTIOUS = 0.01, 0.3, 0.5
"""By what the damping falls after a good or a fair step, and by no more than what after a step that failed."""
_WORSE = 1e-9
"""Share of the objective by which a step may seem worse by rounding."""
_PARALLEL = 1e-8
"""Squared cosine between a step and what it teaches below which the rank-one update is left out: it would divide by
nearly 0 (Nocedal and Wright, Numerical Optimization, 2nd ed. (2006), eq. 6.26)."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def propose(
    rows: NDArray[np.int64],
    position: FloatArray,
    frozen: NDArray[np.bool_],
    lower: FloatArray,
    upper: FloatArray,
    score: FloatArray,
    information: FloatArray,
    missing: FloatArray,
    damping: FloatArray,
    short: FloatArray,
    trial: FloatArray,
    gain: FloatArray,
    stuck: NDArray[np.bool_],
) -> None:
    """Solve for a step, hold what would leave its bounds at the bound, and solve again for the others.

    Clipping alone would leave the others where they make up for a change that was not made.

    Parameters
    ----------
    rows
        Spectra of the block to step, shape (R,).
    position
        Free parameters, shape (B, F), within the bounds.
    frozen
        Parameters that stand still in this step, shape (F,).
    lower, upper
        Bounds, shape (F,).
    score, information
        Gradient of the log-likelihood, shape (B, F), and its expected curvature, shape (B, F, F).
    missing
        What the true curvature has beyond the expected one, as far as it is known, shape (B, F, F); forgotten where
        the sum is not positive definite.
    damping
        Levenberg damping in units of the scaled curvature, shape (B,); grows where a step cannot be solved for.
    short
        Gain below which a fit may be at its end, shape (B,).
    trial, gain, stuck
        Overwritten: new parameters, shape (B, F); the log-likelihood that they are expected to gain, shape (B,); which
        parameters the likelihood pushes against a bound, or nothing depends on, shape (B, F).
    """
    n = position.shape[1]
    root, scaled, factor = np.empty(n), np.empty((n, n)), np.empty((n, n))
    held, change = np.empty(n, dtype=np.bool_), np.empty(n)
    for i in range(rows.size):
        r = rows[i]
        for k in range(n):
            diagonal = information[r, k, k]
            below = position[r, k] <= lower[k] and score[r, k] < 0.0
            above = position[r, k] >= upper[k] and score[r, k] > 0.0
            stuck[r, k] = below or above or not diagonal > 0.0
            held[k] = stuck[r, k] or frozen[k]
            root[k] = np.sqrt(diagonal) if diagonal > 0.0 else 1.0
            change[k] = 0.0
        for k in range(n):
            for j in range(n):
                scaled[k, j] = (information[r, k, j] + missing[r, k, j]) / (root[k] * root[j])
        passes, learnt = 0, False
        while True:
            learnt = False
            for k in range(n):
                for j in range(n):
                    factor[k, j] = scaled[k, j]
                    learnt |= missing[r, k, j] != 0.0
                factor[k, k] += damping[r]
            if not cholesky(factor, held, _SMALLEST_PIVOT):
                if learnt:
                    # Not convex: what was learnt does not hold here.
                    for k in range(n):
                        for j in range(n):
                            missing[r, k, j] = 0.0
                            scaled[k, j] = information[r, k, j] / (root[k] * root[j])
                    continue
                damping[r] = max(_HARDER * damping[r], _FIRST_TRIED)
                if damping[r] > MOST_DAMPING:  # not finite: stand still
                    change[:] = 0.0
                    break
                continue
            for k in range(n):
                if not held[k]:
                    change[k] = score[r, k] / root[k]
                    for j in range(n):
                        if held[j]:
                            change[k] -= scaled[k, j] * change[j]
            solve(factor, held, change)
            inside = True
            for k in range(n):
                if held[k]:
                    continue
                aim = position[r, k] + change[k] / root[k]
                if aim < lower[k] or aim > upper[k]:
                    aim = min(max(aim, lower[k]), upper[k])
                    change[k] = (aim - position[r, k]) * root[k]
                    held[k] = True
                    inside = False
            passes += 1
            if inside or passes > n:
                break
        expected = 0.0
        for k in range(n):
            if change[k] != 0.0:
                curve = damping[r] * change[k]
                for j in range(n):
                    curve += scaled[k, j] * change[j]
                expected += change[k] * (score[r, k] / root[k] - 0.5 * curve)
            aim = position[r, k] + change[k] / root[k]
            trial[r, k] = min(max(aim, lower[k]), upper[k])
        gain[r] = abs(expected)
        if learnt and gain[r] < short[r]:
            # A curvature that was learnt too large would promise too little: the expected one has the last word.
            for k in range(n):
                for j in range(n):
                    factor[k, j] = information[r, k, j] / (root[k] * root[j])
                factor[k, k] += LEAST_DAMPING
                change[k] = 0.0 if held[k] else score[r, k] / root[k]
            if cholesky(factor, held, _SMALLEST_PIVOT):
                solve(factor, held, change)
                expected = 0.0
                for k in range(n):
                    expected += 0.5 * change[k] * score[r, k] / root[k]
                gain[r] = max(gain[r], expected)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def decide(
    rows: NDArray[np.int64],
    theta: FloatArray,
    objective: FloatArray,
    score: FloatArray,
    information: FloatArray,
    missing: FloatArray,
    change: FloatArray,
    learn: NDArray[np.bool_],
    gain: FloatArray,
    rounding: FloatArray,
    damping: FloatArray,
    failed: NDArray[np.bool_],
    new_theta: FloatArray,
    new_objective: FloatArray,
    new_score: FloatArray,
    new_information: FloatArray,
) -> None:
    """Take the steps that do not make the fit worse, and adapt the damping, in place; shapes as in :func:`propose`.

    What is worse by no more than ``rounding``, shape (B,), the error of the objective in floating point, is not worse.

    Where it is to ``learn``, shape (B,), the missing curvature follows from how the score differs from what was
    expected after ``change``, shape (B, F): the symmetric rank-one update, as NL2SOL augments Gauss-Newton (Dennis, Gay
    and Welsch, ACM Trans. Math. Softw. 7, 348 (1981)). Without it, a feature at the limit of detection, whose shape
    hardly matters, takes dozens of steps.
    """
    n = score.shape[1]
    surplus = np.empty(n)
    for i in range(rows.size):
        r = rows[i]
        # Negative counts can make it negative.
        if new_objective[r] <= objective[r] + _WORSE * (abs(objective[r]) + 1.0) + rounding[r]:
            gained = objective[r] - new_objective[r]
            factor = _MUCH_BOLDER if gained > _GOOD * gain[r] else (_BOLDER if gained > _FAIR * gain[r] else 1.0)
            # After a step that failed, the next one is not much bolder than the one that succeeded.
            damping[r] = max(damping[r] * (max(factor, _CAUTIOUS) if failed[r] else factor), LEAST_DAMPING)
            failed[r] = False
            if learn[r]:
                product, one, two = 0.0, 0.0, 0.0
                for k in range(n):
                    value = score[r, k] - new_score[r, k]
                    for j in range(n):
                        value -= (new_information[r, k, j] + missing[r, k, j]) * change[r, j]
                    # What stood still, at a bound or without effect, tells nothing: 0 keeps it out of the update.
                    value = value if change[r, k] != 0.0 else 0.0
                    surplus[k] = value
                    size = max(new_information[r, k, k], 1e-300)
                    product += value * change[r, k]
                    one += value * value / size
                    two += change[r, k] * change[r, k] * size
                if product * product > _PARALLEL * one * two:
                    for k in range(n):
                        for j in range(n):
                            missing[r, k, j] += surplus[k] * surplus[j] / product
            objective[r] = new_objective[r]
            for k in range(theta.shape[1]):
                theta[r, k] = new_theta[r, k]
            for k in range(n):
                score[r, k] = new_score[r, k]
                for j in range(n):
                    information[r, k, j] = new_information[r, k, j]
        else:
            if damping[r] < UNDAMPED:
                for k in range(n):
                    for j in range(n):
                        missing[r, k, j] = 0.0  # what was learnt has led astray
            damping[r] = _HARDER * max(damping[r], UNDAMPED)
            failed[r] = True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def invert(
    rows: NDArray[np.int64], information: FloatArray, held: NDArray[np.bool_], covariance: FloatArray
) -> NDArray[np.bool_]:
    """Covariance from information, shape (B, F, F), zero for what is held, shape (B, F); False where it is singular."""
    n = information.shape[1]
    good = np.ones(rows.size, dtype=np.bool_)
    root, factor, unit = np.empty(n), np.empty((n, n)), np.empty(n)
    for i in range(rows.size):
        r = rows[i]
        for k in range(n):
            root[k] = np.sqrt(information[r, k, k]) if not held[r, k] else 1.0
        for k in range(n):
            for j in range(n):
                factor[k, j] = information[r, k, j] / (root[k] * root[j])
        good[i] = cholesky(factor, held[r], SINGULAR_PIVOT)
        if not good[i]:
            continue
        for k in range(n):
            unit[:] = 0.0
            if not held[r, k]:
                unit[k] = 1.0
                solve(factor, held[r], unit)
            for j in range(n):
                covariance[r, k, j] = unit[j] / (root[k] * root[j])
    return good
