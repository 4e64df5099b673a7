"""The top of the zero-loss peak: a shape shared by all pixels, and its position in each of them.

The density is ``exp(-u**2 / 2 + b3 u**3 + ... + b8 u**8)`` with ``u = (channel - centre) / width``. It has no linear
term, so its mode is at ``u = 0`` whatever the coefficients; it is positive; and on the stretch that is fitted it can
follow any smooth peak. It is integrated over each channel, not sampled at its middle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Noise = tuple[float, float]
"""Variance of a channel over its expectation, and the part of the variance that does not depend on it."""
Rule = tuple[FloatArray, FloatArray]
"""Nodes and weights of a Gauss-Legendre quadrature over a channel."""
Windows = tuple[FloatArray, NDArray[np.bool_], IntArray, IntArray]
"""Recorded counts and the channels that take part, shape (P, E) each; the first channel of each pixel's window, and the
one after its last, shape (P,)."""

LOWEST_ORDER = 3
HIGHEST_ORDER = 8
REACH = 4.0
"""Beyond this many widths from the mode the density keeps its value: polynomials are not to be extrapolated."""
# Channels with fewer expected counts than this share of the maximum are weighted as if they had as many: there the
# model is least to be trusted, and they tell next to nothing about the position.
_FLOOR = 0.03
_OVERFLOW = 4.0
# In 2 log-likelihood; a shape parameter that is not needed gains more than this in 1 of 2000 spectra.
_NEEDED_GAIN = 12.0
_N_SHAPE = HIGHEST_ORDER - LOWEST_ORDER + 1


@dataclass(frozen=True)
class PeakShape:
    """The shape of the top of the zero-loss peak, common to all pixels of a spectrum image.

    Parameters
    ----------
    coefficients
        Coefficients b3 to b8 of the logarithm of the density, shape (6,), pure numbers.
    mode_std
        Standard deviation of the mode, in widths, that comes from the error of the coefficients and is the same in
        all pixels.
    """

    coefficients: FloatArray = field(default_factory=lambda: np.zeros(_N_SHAPE))
    mode_std: float = 0.0

    def density(self, u: FloatArray) -> FloatArray:
        """Density relative to that at the mode, at distances `u` in widths, any shape."""
        return np.exp(self.log_density(np.clip(u, -REACH, REACH)))

    def log_density(self, u: FloatArray) -> FloatArray:
        """Logarithm of the density relative to that at the mode, not limited to where it was fitted."""
        return -0.5 * u**2 + sum(b * u ** (LOWEST_ORDER + i) for i, b in enumerate(self.coefficients))

    def half_width(self) -> float:
        """Full width at half maximum, in widths."""
        u = np.linspace(0, REACH, 4001)
        sides = [self.density(u), self.density(-u)]
        return float(sum(u[np.argmax(side < 0.5)] if (side < 0.5).any() else REACH for side in sides))

    def has_one_mode(self) -> bool:
        """Whether nothing within 2.5 widths is higher than the mode."""
        u = np.linspace(-2.5, 2.5, 501)
        return bool(np.all(self.density(u) <= 1 + 1e-12))


@numba.njit(cache=True, inline="always")
def _log_density(u: float, b: FloatArray) -> float:
    u = min(max(u, -REACH), REACH)
    value = 0.0
    for i in range(b.size - 1, -1, -1):
        value = value * u + b[i]
    return min(u * u * (-0.5 + value * u), _OVERFLOW)


@numba.njit(cache=True)
def _expected(channel: float, theta: FloatArray, b: FloatArray, rule: Rule, out: FloatArray) -> None:
    """Expected counts of a channel, then its derivatives by ln amplitude, centre, ln width and each coefficient."""
    nodes, weights = rule
    amplitude = np.exp(theta[0])
    width = np.exp(theta[2])
    left = (channel - 0.5 - theta[1]) / width
    right = (channel + 0.5 - theta[1]) / width
    out[:] = 0.0
    for q in range(nodes.size):
        u = 0.5 * (left + right) + 0.5 * (right - left) * nodes[q]
        part = amplitude * 0.5 * (right - left) * weights[q] * np.exp(_log_density(u, b))
        out[0] += part
        if b.size:
            u = min(max(u, -REACH), REACH)
            power = part * u * u
            for i in range(b.size):
                power *= u
                out[4 + i] += power
    density_left = amplitude * np.exp(_log_density(left, b))
    density_right = amplitude * np.exp(_log_density(right, b))
    out[1] = out[0]
    out[2] = (density_left - density_right) / width
    out[3] = left * density_left - right * density_right


@numba.njit(cache=True)
def _sums(
    data: Windows,
    pixel: int,
    theta: FloatArray,
    b: FloatArray,
    noise: Noise,
    rule: Rule,
    score: FloatArray,
    information: FloatArray,
) -> tuple[float, float, int]:
    """Score and information of one pixel; returns its quasi-log-likelihood, Pearson's chi-squared and channels."""
    counts, use, start, stop = data[0][pixel], data[1][pixel], data[2][pixel], data[3][pixel]
    gain, read = noise
    n = 3 + b.size
    row = np.empty(1 + n)
    score[:] = 0.0
    information[:] = 0.0
    likelihood = 0.0
    chi2 = 0.0
    used = 0
    floor = _FLOOR * np.exp(theta[0] - theta[2])
    for j in range(start, stop):
        if not use[j]:
            continue
        _expected(j, theta, b, rule, row)
        expected = max(row[0], 1e-12 * floor)
        variance = gain * max(expected, floor) + read
        residual = counts[j] - expected
        used += 1
        chi2 += residual * residual / variance
        # Relative to a perfect fit, or the sum would lose the digits that tell two models apart.
        perfect = max(counts[j], floor)
        likelihood += (
            (counts[j] + read / gain) * np.log((gain * expected + read) / (gain * perfect + read)) - expected + perfect
        ) / gain
        for p in range(n):
            score[p] += row[1 + p] * residual / variance
            for q in range(p + 1):
                information[p, q] += row[1 + p] * row[1 + q] / variance
    for p in range(n):
        for q in range(p):
            information[q, p] = information[p, q]
    return likelihood, chi2, used


@numba.njit(cache=True)
def fit_pixels(
    data: Windows, theta: FloatArray, b: FloatArray, noise: Noise, rule: Rule
) -> tuple[FloatArray, FloatArray, IntArray, NDArray[np.bool_]]:
    """Fit amplitude, centre and width of each pixel by Fisher scoring, the shape being given.

    Parameters
    ----------
    data
        The pixels.
    theta
        ln amplitude, centre in channels, ln width in channels, shape (P, 3): starting values, then the fitted ones.
    b
        Coefficients of the shape.
    noise, rule
        Of the counts; over a channel.

    Returns
    -------
    information, chi2, used, converged
        Shapes (P, 3, 3), (P,), (P,) and (P,).
    """
    n_pixels = theta.shape[0]
    information = np.zeros((n_pixels, 3, 3))
    chi2 = np.zeros(n_pixels)
    used = np.zeros(n_pixels, dtype=np.int64)
    converged = np.zeros(n_pixels, dtype=np.bool_)
    score_all = np.empty(3 + b.size)
    information_all = np.empty((3 + b.size, 3 + b.size))
    for i in range(n_pixels):
        for _ in range(60):
            _, chi2[i], used[i] = _sums(data, i, theta[i], b, noise, rule, score_all, information_all)
            information[i] = information_all[:3, :3]
            matrix = information_all[:3, :3].copy()
            for p in range(3):
                matrix[p, p] = matrix[p, p] * (1 + 1e-9) + 1e-300
            if not np.all(np.isfinite(matrix)) or matrix[1, 1] <= 0 or np.linalg.det(matrix) <= 0:
                break
            step = np.linalg.solve(matrix, score_all[:3])
            width = np.exp(theta[i, 2])
            # Far from the answer a full step overshoots; near it none of the limits acts.
            scale = 1.0
            scale = min(scale, 1.0 / (abs(step[0]) + 1e-300))
            scale = min(scale, 0.5 * width / (abs(step[1]) + 1e-300))
            scale = min(scale, 0.3 / (abs(step[2]) + 1e-300))
            theta[i] += scale * step
            if scale == 1.0 and abs(step[1]) < 1e-7 * width and abs(step[2]) < 1e-6:
                converged[i] = True
                break
    return information, chi2, used, converged


@numba.njit(cache=True)
def _joint(
    data: Windows,
    theta: FloatArray,
    b: FloatArray,
    active: IntArray,
    noise: Noise,
    rule: Rule,
    own_step: FloatArray,
    coupling: FloatArray,
) -> tuple[FloatArray, FloatArray, float, float, int]:
    """Information and score of the shape with every pixel's own parameters projected out (Schur complement)."""
    m = active.size
    schur = np.zeros((m, m))
    reduced = np.zeros(m)
    likelihood = 0.0
    chi2 = 0.0
    used = 0
    score = np.empty(3 + b.size)
    information = np.empty((3 + b.size, 3 + b.size))
    own = np.empty((3, 3))
    mixed = np.empty((3, m))
    for i in range(theta.shape[0]):
        value, part, channels = _sums(data, i, theta[i], b, noise, rule, score, information)
        likelihood += value
        chi2 += part
        used += channels
        for p in range(3):
            for q in range(3):
                own[p, q] = information[p, q]
            own[p, p] = own[p, p] * (1 + 1e-9) + 1e-300
            for a in range(m):
                mixed[p, a] = information[p, 3 + active[a]]
        own_step[i] = np.linalg.solve(own, score[:3])
        coupling[i] = np.linalg.solve(own, mixed)
        for a in range(m):
            reduced[a] += score[3 + active[a]]
            for p in range(3):
                reduced[a] -= mixed[p, a] * own_step[i, p]
            for c in range(m):
                schur[a, c] += information[3 + active[a], 3 + active[c]]
                for p in range(3):
                    schur[a, c] -= mixed[p, a] * coupling[i, p, c]
    return schur, reduced, likelihood, chi2, used


def quadrature(width: float) -> Rule:
    """Nodes and weights over a channel that integrate a peak of this width (in channels) to better than 1e-7."""
    return np.polynomial.legendre.leggauss(8 if width < 1.2 else 4 if width < 4 else 2)


def _fit_shape(
    data: Windows, theta: FloatArray, start: FloatArray, active: IntArray, noise: Noise, rule: Rule
) -> tuple[PeakShape, FloatArray, float, float, int] | None:
    """Fit the active coefficients and every pixel's own parameters together; None if that fails."""
    theta, b = theta.copy(), start.copy()
    orders = active + LOWEST_ORDER
    # A weak prior: no term changes the density by more than a factor e**2 at two widths without good reason.
    prior = np.diag((2.0**orders / 2.0) ** 2)
    previous = -np.inf
    damping = 1.0
    own_step = np.empty((theta.shape[0], 3))
    coupling = np.empty((theta.shape[0], 3, active.size))
    for _ in range(40):
        try:
            schur, reduced, value, chi2, used = _joint(data, theta, b, active, noise, rule, own_step, coupling)
        except np.linalg.LinAlgError:
            return None
        value -= 0.5 * float(b[active] @ prior @ b[active])
        if not np.isfinite(value):
            return None
        matrix = schur + prior
        step = np.linalg.solve(matrix, reduced - prior @ b[active]) if active.size else np.zeros(0)
        own = own_step - np.einsum("ipa,a->ip", coupling, step)
        gained = value - previous
        previous = value
        # Where the shape misses the peaks by many standard errors, the gain is judged by what it misses.
        left = 0.01 * max(1.0, chi2 / max(used - theta.size - active.size, 1))
        if abs(gained) < left and np.abs(step * 2.0**orders).max(initial=0.0) < 1e-3:
            moved = (coupling[:, 1, :] / np.exp(theta[:, 2:])).mean(axis=0)
            variance = float(moved @ np.linalg.inv(matrix) @ moved) if active.size else 0.0
            return PeakShape(b.copy(), np.sqrt(max(variance, 0.0))), theta, value, chi2, used
        if gained < -1.0:
            damping = max(0.5 * damping, 0.1)
        limit = max(
            np.abs(step * 2.0**orders).max(initial=0.0) / 0.5,
            np.abs(own[:, 1] / np.exp(theta[:, 2])).max() / 0.3,
            np.abs(own[:, 2]).max() / 0.3,
            1.0,
        )
        b[active] += damping / limit * step
        theta += damping / limit * own
    return None


def estimate_shape(
    data: Windows, theta: FloatArray, noise: Noise, rule: Rule, *, known_gain: bool
) -> tuple[PeakShape, FloatArray]:
    """Find the simplest shape that describes the peaks of all these pixels.

    Starts from a Gaussian and adds the next odd or even coefficient as long as the likelihood asks for it.

    Parameters
    ----------
    data, theta, noise, rule
        As in :func:`fit_pixels`.
    known_gain
        Whether the gain is true; otherwise the scatter around the best shape decides what is significant.

    Returns
    -------
    shape, theta
        The shape, and each pixel's own parameters fitted with it.
    """
    active = np.zeros(0, dtype=np.int64)
    best = _fit_shape(data, theta, np.zeros(_N_SHAPE), active, noise, rule)
    if best is None:
        return PeakShape(), theta
    n_own = 3 * theta.shape[0]
    path = [(active, *best)]
    while active.size < _N_SHAPE:
        trials = []
        for parity in (0, 1):
            free = [i for i in range(parity, _N_SHAPE, 2) if i not in active]
            if not free or path[-1][5] - n_own - active.size < 2:
                continue
            wider = np.sort(np.append(active, free[0])).astype(np.int64)
            fitted = _fit_shape(data, path[-1][2], path[-1][1].coefficients, wider, noise, rule)
            if fitted is not None and fitted[0].has_one_mode():
                trials.append((wider, *fitted))
        if not trials:
            break
        path.append(max(trials, key=lambda trial: trial[3]))
        active = path[-1][0]
    dispersion, freedom = _dispersion([(chi2, used - n_own - a.size) for a, _, _, _, chi2, used in path], known_gain)
    # With few channels the scatter itself is uncertain, and an F test asks for more than a likelihood ratio.
    needed = _NEEDED_GAIN * (1 + 8 / freedom)
    chosen = max(path, key=lambda step: 2 * step[3] / dispersion - needed * step[0].size)
    return PeakShape(chosen[1].coefficients, chosen[1].mode_std * np.sqrt(dispersion)), chosen[2]


def _dispersion(fits: list[tuple[float, int]], known_gain: bool) -> tuple[float, float]:
    """Variance over what the gain says, from the scatter around the best of the shapes, and its degrees of freedom."""
    scatter = [(chi2 / freedom, float(freedom)) for chi2, freedom in fits if freedom >= 4]
    if not scatter:
        return 1.0, np.inf
    smallest, freedom = min(scatter)
    if known_gain and smallest <= 1:
        return 1.0, np.inf
    return max(smallest, 1e-12), freedom
