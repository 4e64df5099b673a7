"""What the fit engine is compared with: SciPy with the exact Jacobian, HyperSpy, and the Cramér-Rao bound."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from fit_engine_scenes import (
    LOWER,
    START,
    TRUTH,
    FloatArray,
    aluminium_edge,
    channel_width,
    expectation,
    lithium_area,
    lithium_edge,
)
from scipy.optimize import least_squares
from scipy.special import wofz

PROCESSES = 2
SQRT_TWO, SQRT_PI, SQRT_TWO_PI = np.sqrt(2.0), np.sqrt(np.pi), np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class LowLoss:
    """Expectation and exact Jacobian of one spectrum of scene A, for one who fits with SciPy.

    Parameters
    ----------
    energy
        Energies in eV, shape (E,).
    edges
        Shapes of the two edges, shape (2, E).
    """

    energy: FloatArray
    edges: FloatArray

    @classmethod
    def on(cls, energy: FloatArray) -> LowLoss:
        """The model on an energy axis."""
        return cls(energy, np.array([lithium_edge(energy) / lithium_area(), aluminium_edge(energy)]))

    def expectation(self, p: FloatArray) -> FloatArray:
        """Expected counts, shape (E,)."""
        e = np.maximum(self.energy, 0.0)
        square = p[5] ** 2
        z = (self.energy - p[1] + 1j * p[3]) / (p[2] * SQRT_TWO)
        density = p[0] / (p[2] * SQRT_TWO_PI) * wofz(z).real
        density += p[4] * square * p[6] * e / ((e**2 - square) ** 2 + (e * p[6]) ** 2)
        density += p[7] / (p[9] * SQRT_TWO_PI) * np.exp(-0.5 * ((self.energy - p[8]) / p[9]) ** 2)
        density += p[10] * self.edges[0] + p[11] * self.edges[1]
        return density * channel_width(self.energy)

    def jacobian(self, p: FloatArray) -> FloatArray:
        """Derivatives by formula, shape (E, 12)."""
        out = np.empty((12, self.energy.size))
        z = (self.energy - p[1] + 1j * p[3]) / (p[2] * SQRT_TWO)
        w = wofz(z)
        slope = -2.0 * z * w + 2j / SQRT_PI  # dw/dz
        norm = 1.0 / (p[2] * SQRT_TWO_PI)
        out[0] = norm * w.real
        out[1] = -p[0] * norm * slope.real / (p[2] * SQRT_TWO)
        out[2] = -p[0] * norm / p[2] * (w + z * slope).real
        out[3] = -p[0] * norm * slope.imag / (p[2] * SQRT_TWO)
        e = np.maximum(self.energy, 0.0)
        e2, square = e**2, p[5] ** 2
        denominator = (e2 - square) ** 2 + e2 * p[6] ** 2
        out[4] = square * e * p[6] / denominator
        out[5] = p[4] * 2.0 * p[5] * e * p[6] * (denominator + 2.0 * square * (e2 - square)) / denominator**2
        out[6] = p[4] * square * e * (denominator - 2.0 * e2 * p[6] ** 2) / denominator**2
        u = (self.energy - p[8]) / p[9]
        out[7] = np.exp(-0.5 * u**2) / (np.sqrt(2 * np.pi) * p[9])
        out[8] = p[7] * out[7] * u / p[9]
        out[9] = p[7] * out[7] * (u**2 - 1.0) / p[9]
        out[10:] = self.edges
        out *= channel_width(self.energy)
        return out.T


def fit_least_squares(model: LowLoss, counts: FloatArray, start: FloatArray = START) -> FloatArray:
    """Weighted least squares of each spectrum, as fast as SciPy gets: MINPACK, exact Jacobian; shape (S, 12)."""
    out = np.empty((len(counts), 12))
    for row, n in enumerate(np.asarray(counts, dtype=float)):
        weight = 1.0 / np.sqrt(np.maximum(n, 1.0))

        def residual(p: FloatArray, n: FloatArray = n, weight: FloatArray = weight) -> FloatArray:
            return (model.expectation(p) - n) * weight

        def slope(p: FloatArray, weight: FloatArray = weight) -> FloatArray:
            return model.jacobian(p) * weight[:, np.newaxis]

        scale = np.where(start == 0, 0.1, np.abs(start))
        out[row] = least_squares(residual, start, slope, method="lm", x_scale=scale).x
    return out


def chi_squared(model: LowLoss, counts: FloatArray, values: FloatArray) -> FloatArray:
    """Weighted sum of squares, shape (S,), with the variance that the counts give."""
    pairs = zip(np.asarray(counts, dtype=float), values, strict=True)
    return np.array([((model.expectation(p) - n) ** 2 / np.maximum(n, 1.0)).sum() for n, p in pairs])


def deviance(model: LowLoss, counts: FloatArray, values: FloatArray) -> FloatArray:
    """Poisson deviance, shape (S,); infinite where a channel expects less than nothing."""
    out = np.full(len(counts), np.inf)
    for row, (n, p) in enumerate(zip(np.asarray(counts, dtype=float), values, strict=True)):
        mu = model.expectation(p)
        if np.isfinite(mu).all() and (mu > 0).all():
            out[row] = 2.0 * (mu - n + n * np.log(np.where(n > 0, n, 1.0) / mu)).sum()
    return out


def fit_poisson(model: LowLoss, counts: FloatArray, start: FloatArray, scale: FloatArray) -> FloatArray:
    """Poisson maximum likelihood of each spectrum from given starting values (S, 12); shape (S, 12).

    The sum of squares of deviance residuals is the deviance. Bounds are those of the HyperSpy components.
    """
    out = np.empty((len(counts), 12))
    for row, (n, first) in enumerate(zip(np.asarray(counts, dtype=float), start, strict=True)):
        residual, slope = partial(_deviance_residual, model, n), partial(_deviance_slope, model, n)
        bounds = (LOWER, np.full(12, np.inf))
        out[row] = least_squares(residual, first, slope, bounds=bounds, x_scale=scale, ftol=1e-11, xtol=1e-10).x
    return out


def _deviance_residual(model: LowLoss, n: FloatArray, p: FloatArray) -> FloatArray:
    mu = np.maximum(model.expectation(p), 1e-9)
    half = mu - n + n * np.log(np.where(n > 0, n, 1.0) / mu)
    return np.sign(mu - n) * np.sqrt(np.maximum(2.0 * half, 0.0))


def _deviance_slope(model: LowLoss, n: FloatArray, p: FloatArray) -> FloatArray:
    mu = np.maximum(model.expectation(p), 1e-9)
    residual = _deviance_residual(model, n, p)
    near = np.abs(mu - n) < 1e-4 * mu
    factor = np.where(near, 1.0 / np.sqrt(mu), (1.0 - n / mu) / np.where(near, 1.0, residual))
    return model.jacobian(p) * factor[:, np.newaxis]


# ---------------------------------------------------------------------------------------------------------------------
# In processes
# ---------------------------------------------------------------------------------------------------------------------
class Pool:
    """Processes of one thread each that fit scene A with SciPy."""

    def __init__(self, model: LowLoss, pool: ProcessPoolExecutor) -> None:
        self.model = model
        self._pool = pool

    def _split(self, *arrays: FloatArray) -> Iterator[tuple[FloatArray, ...]]:
        size = max(1, min(50, len(arrays[0]) // (2 * PROCESSES)))
        for first in range(0, len(arrays[0]), size):
            yield tuple(a[first : first + size] for a in arrays)

    def least_squares(self, counts: FloatArray) -> FloatArray:
        """:func:`fit_least_squares` of all spectra from the common starting values."""
        futures = [self._pool.submit(fit_least_squares, self.model, *part) for part in self._split(counts)]
        return np.concatenate([future.result() for future in futures])

    def least_squares_from(self, counts: FloatArray, start: FloatArray) -> FloatArray:
        """The same, each spectrum from its own starting values."""
        futures = [self._pool.submit(_least_squares_each, self.model, *p) for p in self._split(counts, start)]
        return np.concatenate([future.result() for future in futures])

    def poisson(self, counts: FloatArray, start: FloatArray, scale: FloatArray) -> FloatArray:
        """:func:`fit_poisson` of all spectra."""
        futures = [self._pool.submit(fit_poisson, self.model, *p, scale) for p in self._split(counts, start)]
        return np.concatenate([future.result() for future in futures])


def _least_squares_each(model: LowLoss, counts: FloatArray, start: FloatArray) -> FloatArray:
    rows = [fit_least_squares(model, n[np.newaxis], p)[0] for n, p in zip(counts, start, strict=True)]
    return np.array(rows)


@contextmanager
def pool_for(energy: FloatArray) -> Iterator[Pool]:
    """Started and warm processes; their linear algebra has one thread."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    try:
        with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as executor:
            pool = Pool(LowLoss.on(energy), executor)
            warm = np.tile(expectation(energy, TRUTH), (8 * PROCESSES, 1))
            pool.least_squares(warm)
            yield pool
    finally:
        os.environ.clear()
        os.environ.update(before)


# ---------------------------------------------------------------------------------------------------------------------
# HyperSpy, and the bound
# ---------------------------------------------------------------------------------------------------------------------
def hyperspy_fit(model: Any, optimizer: str = "lm") -> None:
    """HyperSpy's own loop over the pixels, with its default gradients."""
    model.multifit(optimizer=optimizer, show_progressbar=False)


def forget_all_but_first(model: Any) -> None:
    """Every pixel but the first takes the result of the pixel before: what HyperSpy does when nothing is stored."""
    for component in model:
        for parameter in component.parameters:
            parameter.map["is_set"] = False


def numerical_jacobian(energy: FloatArray, p: FloatArray, step: float = 1e-3) -> FloatArray:
    """Derivatives of the simulated expectation by central differences of eighth order, shape (12, E)."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    out = np.zeros((p.size, energy.size))
    for k in range(p.size):
        unit = np.zeros(p.size)
        unit[k] = step * (abs(p[k]) if p[k] else 1.0)
        for order, weight in weights.items():
            difference = expectation(energy, p + order * unit) - expectation(energy, p - order * unit)
            out[k] += weight * difference / unit[k]
    return out


def cramer_rao(energy: FloatArray, p: FloatArray) -> FloatArray:
    """Smallest standard deviation of an unbiased estimate of each parameter from Poisson counts, shape (12,)."""
    slopes = numerical_jacobian(energy, p)
    return np.sqrt(np.diag(np.linalg.inv(slopes / expectation(energy, p) @ slopes.T)))
