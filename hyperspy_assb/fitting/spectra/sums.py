"""Sums of line shapes as the compiled solver takes them: fixed shapes are kept, the others evaluated at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra import compiled_sums as compiled
from hyperspy_assb.fitting.spectra import normal_equations as normal
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, LineShape, Parameter, Role, Term

_BLOCK, _LINEAR_BLOCK = 256, 512
"""Spectra that are best fitted together, in general and where there is little to do for each."""


class SumModel:
    """Expectation of many spectra as a plain sum of terms, and its derivatives.

    Parameters
    ----------
    terms
        The components; the parameter vector is theirs, one after the other.
    energy
        Where the terms are evaluated, shape (E,).
    scale
        What the sum is multiplied with: the width of a channel where the terms are densities.
    """

    def __init__(self, terms: Sequence[Term], energy: FloatArray, *, scale: float = 1.0) -> None:
        self.terms = tuple(terms)
        self.energy: FloatArray = np.ascontiguousarray(energy, dtype=np.float64)
        self.scale = float(scale)
        stops = np.cumsum([term.size for term in self.terms], dtype=int)
        self.slices = tuple(slice(stop - term.size, stop) for term, stop in zip(self.terms, stops, strict=True))
        self.n_parameters = int(stops[-1]) if stops.size else 0
        self.linear: NDArray[np.bool_] = np.array([q for term in self.terms for q in term.linear], dtype=bool)

    def expectation(self, parameters: FloatArray) -> FloatArray:
        """Expected counts per channel, shape (S, E), for parameters of shape (S, P)."""
        return self.evaluate(parameters, np.zeros(self.n_parameters, dtype=bool))[0]

    def evaluate(self, parameters: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Expected counts, shape (S, E), and derivatives, shape (S, F, E), for parameters of shape (S, P)."""
        parameters = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
        expectation = np.zeros((len(parameters), self.energy.size))
        jacobian = np.empty((len(parameters), self.n_parameters, self.energy.size))
        for i in range(len(parameters)):
            for term, where in zip(self.terms, self.slices, strict=True):
                expectation[i] += term.evaluate(self.energy, parameters[i, where], jacobian[i, where])
        return expectation * self.scale, jacobian[:, free] * self.scale

    def bind(self, start: FloatArray, moving: NDArray[np.bool_], keep: NDArray[np.bool_]) -> BoundSum:
        """The model of some spectra in the channels ``keep``, shape (E,), when only parameters ``moving`` change.

        Terms whose shape is the same in all spectra, by the starting values, shape (S, P), are evaluated here.
        """
        fixed = np.array([self.is_fixed(t, start, moving) for t in range(len(self.terms))], dtype=bool)
        columns = np.zeros((self.n_parameters, self.energy.size))
        background = np.zeros(self.energy.size)
        for t in np.flatnonzero(fixed):
            term, where = self.terms[t], self.slices[t]
            unit = np.where(term.linear, 1.0, start[0, where])
            values = term.evaluate(self.energy, unit, columns[where])
            columns[where][~term.linear] = 0.0
            if not term.homogeneous:
                background += values - columns[where].sum(axis=0)
        return BoundSum(
            self,
            np.ascontiguousarray(self.energy[keep]),
            fixed,
            np.ascontiguousarray(columns[:, keep]),
            background[keep],
            np.flatnonzero(moving),
        )

    def is_fixed(self, index: int, start: FloatArray, moving: NDArray[np.bool_]) -> bool:
        """Whether a term has the same shape in all spectra, whatever its linear parameters are."""
        where = self.slices[index]
        shape = ~self.terms[index].linear
        own = start[:, where][:, shape]
        return len(start) > 0 and not moving[where][shape].any() and bool(np.all(own == own[:1]))


@dataclass(frozen=True, eq=False)
class BoundSum:
    """A :class:`SumModel` on the channels that are fitted, with what does not change evaluated."""

    model: SumModel
    energy: FloatArray
    fixed_shape: NDArray[np.bool_]
    columns: FloatArray
    background: FloatArray
    moving: NDArray[np.int64]

    @property
    def block_size(self) -> int:
        """Spectra that are best fitted together: more where there is little to do for each."""
        return _LINEAR_BLOCK if self.fixed_shape.all() else _BLOCK

    gives_score = True
    """Whether :meth:`accumulate` can leave the information as it is, which takes half the time."""

    @property
    def linear(self) -> NDArray[np.bool_]:
        """Which of the moving parameters the expectation is jointly linear in, shape (M,)."""
        return self.model.linear[self.moving]

    @cached_property
    def _tables(self) -> tuple[NDArray[np.uintp], NDArray[np.int64], FloatArray, NDArray[np.int64]]:
        terms = self.model.terms
        addresses = [
            0 if f else compiled.kernel_address(t.shape.kernel) for t, f in zip(terms, self.fixed_shape, strict=True)
        ]
        starts = np.concatenate([[0], np.cumsum([t.size for t in terms])]).astype(np.int64)
        constants = np.concatenate([np.zeros(0), *(t.constants for t in terms)])
        constant_starts = np.concatenate([[0], np.cumsum([t.constants.size for t in terms])]).astype(np.int64)
        return np.array(addresses, dtype=np.uintp), starts, constants, constant_starts

    @property
    def quadratic(self) -> bool:
        """Whether everything is linear, and little enough for :meth:`weighted`."""
        return bool(self.fixed_shape.all()) and 0 < self.moving.size <= normal.MOST_COLUMNS

    @cached_property
    def _products(self) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
        columns = self.columns[self.moving] * self.model.scale
        others = np.setdiff1d(np.flatnonzero(self.model.linear), self.moving)
        return columns, normal.pair_products(columns), others

    def weighted(
        self,
        theta: FloatArray,
        counts: NDArray[Any],
        variance: NDArray[Any],
        keep: NDArray[np.int64],
        out: normal.NormalEquations,
    ) -> NDArray[np.bool_]:
        """Overwrite the normal equations of least squares of all spectra of a block, where everything is linear.

        They follow from products of the columns, which are the same for all spectra; returns which of these are finite
        and not all 0. See :func:`.normal.normal_equations`.
        """
        columns, pairs, others = self._products
        base = self.background * self.model.scale
        fixed = theta[:, others]
        if np.all(fixed == fixed[:1]):
            base = base + self.model.scale * (fixed[0] @ self.columns[others])
        else:
            counts = counts.astype(np.float64)
            counts[:, keep] -= self.model.scale * (fixed @ self.columns[others])
        good, bad = normal.normal_equations(counts, variance, keep, base, columns, pairs, *out)
        normal.check_variances(bad)
        amplitudes = theta[:, self.moving]
        if amplitudes.any():
            curve = np.einsum("sij,sj->si", out.information, amplitudes)
            out.objective[...] -= np.einsum("si,si->s", amplitudes, out.score - 0.5 * curve)
            out.score[...] -= curve
        return good

    def accumulate(
        self,
        theta: FloatArray,
        rows: NDArray[np.int64],
        y: FloatArray,
        weights: FloatArray | None,
        scale: float,
        shift: float,
        out: normal.NormalEquations,
        *,
        curvature: bool = True,
    ) -> None:
        """Overwrite the normal equations of some spectra of a block; see :func:`.compiled.accumulate_sum`."""
        addresses, starts, constants, constant_starts = self._tables
        compiled.accumulate_sum(
            addresses,
            starts,
            constants,
            constant_starts,
            self.fixed_shape,
            self.energy,
            self.background,
            self.columns,
            self.model.linear,
            scale * self.model.scale,
            shift,
            theta,
            self.moving,
            rows,
            y,
            y if weights is None else weights,
            weights is None,
            curvature,
            *out,
        )


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _columns_kernel(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:
    """Background plus the sum of parameters times columns; ``constants`` holds them one after the other."""
    n = energy.size
    for e in range(n):
        values[e] = constants[e]
    for k in range(parameters.size):
        for e in range(n):
            gradients[k, e] = constants[(k + 1) * n + e]
            values[e] += parameters[k] * gradients[k, e]


class ColumnShape(LineShape):
    """A line shape of fixed columns, which may stand on something that no parameter changes."""

    homogeneous = False


def column_term(name: str, linear: NDArray[np.bool_], columns: FloatArray, background: FloatArray) -> Term:
    """A term from columns on the channels of a spectrum.

    Parameters
    ----------
    name
        Name of the term.
    linear
        Which parameters have a column, shape (P,); the others change nothing.
    columns
        Values for 1 of each parameter, shape (P, E).
    background
        Values where all parameters are 0, shape (E,).
    """
    parameters = tuple(Parameter(f"p{k}", 0.0, "", linear=bool(flag)) for k, flag in enumerate(linear))
    chosen = np.where(linear[:, np.newaxis], columns, 0.0)
    shape = ColumnShape(name, parameters, _columns_kernel, Role.ADDITIVE)
    return Term(shape, np.concatenate([background, chosen.ravel()]))
