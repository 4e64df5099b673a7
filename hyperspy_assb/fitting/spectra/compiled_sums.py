"""Line shapes summed, and their normal equations built, spectrum by spectrum in compiled code.

Kernels are called by their address, so that one compiled loop serves every model: a new model costs no compilation.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbTypeError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Kernel, Term
from hyperspy_assb.fitting.spectra.special_functions import log

SMALLEST = 1e-2
"""Expected electrons in a channel below which counts are no longer weighted by their Poisson variance; standard errors
of what lies below, such as an empty background, are then too large."""

_TILE = 256
"""Channels whose derivatives fit into the first-level cache."""

_VECTOR = types.Array(types.float64, 1, "C")
_MATRIX = types.Array(types.float64, 2, "C")
_ARGUMENTS = (_VECTOR, _VECTOR, _VECTOR, _VECTOR, _MATRIX)

# Sums may be taken in any order, which lets them run in vector registers; NaN and infinity keep their meaning.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


@cache
def kernel_address(kernel: Kernel) -> int:
    """Address of the machine code of a kernel, which is kept alive.

    Raises
    ------
    TypeError
        If the kernel is not a numba function.
    """
    dispatcher: Any = kernel
    if not hasattr(dispatcher, "overloads"):
        raise AssbTypeError(f"{kernel!r} is not compiled: decorate it with numba.njit.")
    if _ARGUMENTS not in dispatcher.overloads:
        dispatcher.compile(_ARGUMENTS)
    compiled = dispatcher.overloads[_ARGUMENTS]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def _kernel_call(
    typing_context: Any, address: Any, energy: Any, parameters: Any, constants: Any, values: Any, gradients: Any
) -> Any:
    """Call a kernel at an address with numba's own calling convention."""
    signature = types.void(types.uintp, *_ARGUMENTS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        called = signature.args[1:]
        function = context.call_conv.get_function_type(types.void, called)
        pointer = builder.inttoptr(arguments[0], function.as_pointer())
        status, _ = context.call_conv.call_function(builder, pointer, types.void, called, arguments[1:])
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return signature, generate


_call_kernel: Any = intrinsic(_kernel_call)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _weigh(
    mu: FloatArray, y: FloatArray, weights: FloatArray, poisson: bool, out_weight: FloatArray, out_residual: FloatArray
) -> float:
    """Weights and weighted residuals of a spectrum; returns half the deviance, or half the sum of squares.

    Negative counts keep the quasi-likelihood mu - y log(mu). Below a small expectation the deviance goes on as that of
    a normal deviate of this variance, with the same slope: a start that is negative somewhere finds its way back.
    """
    total = 0.0
    if not poisson:
        for e in range(y.size):
            residual = y[e] - mu[e]
            out_weight[e] = weights[e]
            out_residual[e] = residual * weights[e]
            total += 0.5 * residual * out_residual[e]
        return total
    # Three plain loops, since LLVM does not vectorise the whole.
    for e in range(y.size):
        out_weight[e] = 1.0 / max(mu[e], SMALLEST)
        out_residual[e] = (y[e] - mu[e]) * out_weight[e]
    for e in range(y.size):
        total += y[e] * log((y[e] if y[e] > 0.0 else 1.0) * out_weight[e])
    rest = 0.0
    for e in range(y.size):
        # Not as a difference of squares: where there is no lack it is exactly 0, fused multiply-add or not.
        positive = max(mu[e], SMALLEST)
        lack, beyond = positive - mu[e], y[e] - positive
        rest += lack * (beyond + 0.5 * lack) / SMALLEST - beyond
    return total + rest


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _score(
    jacobian: FloatArray, moving: NDArray[np.int64], scale: float, residual: FloatArray, score: FloatArray
) -> None:  # pragma: no cover - compiled
    """Score alone; see :func:`_products`. Two rows at a time."""
    n = moving.size
    for i in range(0, n, 2):
        k = min(i + 1, n - 1)
        first, second = jacobian[moving[i]], jacobian[moving[k]]
        su, sv = 0.0, 0.0
        for e in range(residual.size):
            su += first[e] * residual[e]
            sv += second[e] * residual[e]
        score[i], score[k] = su * scale, sv * scale


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _products(
    jacobian: FloatArray,
    moving: NDArray[np.int64],
    scale: float,
    weight: FloatArray,
    residual: FloatArray,
    scratch: FloatArray,
    score: FloatArray,
    information: FloatArray,
) -> None:
    """Score and information from the derivatives in the rows ``moving`` of ``jacobian``, times ``scale``.

    Tile by tile, so that the rows stay in the cache, and four rows against two at a time, in registers. ``scratch`` has
    the shape (2, E).
    """
    n = moving.size
    score[:] = 0.0
    information[:, :] = 0.0
    for start in range(0, weight.size, _TILE):
        tile = slice(start, min(start + _TILE, weight.size))
        w, r = weight[tile], residual[tile]
        u, v = scratch[0], scratch[1]
        for i in range(0, n, 2):
            k = min(i + 1, n - 1)
            first, second = jacobian[moving[i], tile], jacobian[moving[k], tile]
            su, sv = 0.0, 0.0
            for e in range(w.size):
                su += first[e] * r[e]
                sv += second[e] * r[e]
                u[e] = first[e] * w[e]
                v[e] = second[e] * w[e]
            score[i] += su
            if k > i:
                score[k] += sv
            for j in range(0, k + 1, 4):
                a, b = jacobian[moving[j], tile], jacobian[moving[min(j + 1, k)], tile]
                c, d = jacobian[moving[min(j + 2, k)], tile], jacobian[moving[min(j + 3, k)], tile]
                ua, ub, uc, ud = 0.0, 0.0, 0.0, 0.0
                va, vb, vc, vd = 0.0, 0.0, 0.0, 0.0
                for e in range(w.size):
                    ua += u[e] * a[e]
                    ub += u[e] * b[e]
                    uc += u[e] * c[e]
                    ud += u[e] * d[e]
                    va += v[e] * a[e]
                    vb += v[e] * b[e]
                    vc += v[e] * c[e]
                    vd += v[e] * d[e]
                for offset, (in_u, in_v) in enumerate(((ua, va), (ub, vb), (uc, vc), (ud, vd))):
                    if j + offset <= k:
                        information[i, j + offset] += in_u
                        if k > i:
                            information[k, j + offset] += in_v
    for i in range(n):
        score[i] *= scale
        for j in range(i + 1):
            information[i, j] *= scale * scale
            information[j, i] = information[i, j]


def evaluate_term(term: Term, energy: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """One term in many spectra: values, shape (S, E), and derivatives, (S, P, E), for parameters of shape (S, P)."""
    parameters = np.ascontiguousarray(parameters)
    values = np.empty((len(parameters), energy.size))
    gradients = np.empty((len(parameters), term.size, energy.size))
    _evaluate_many(kernel_address(term.shape.kernel), term.constants, energy, parameters, values, gradients)
    return values, gradients


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _evaluate_many(
    address: int,
    constants: FloatArray,
    energy: FloatArray,
    theta: FloatArray,
    values: FloatArray,
    gradients: FloatArray,
) -> None:
    for s in range(len(theta)):
        _call_kernel(address, energy, theta[s], constants, values[s], gradients[s])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def accumulate(
    expectation: FloatArray,
    jacobian: FloatArray,
    rows: NDArray[np.int64],
    y: FloatArray,
    weights: FloatArray,
    poisson: bool,
    objective: FloatArray,
    score: FloatArray,
    information: FloatArray,
) -> None:
    """Normal equations of some spectra of a block from their expectations and derivatives.

    Parameters
    ----------
    expectation, jacobian
        Of the spectra ``rows``, shapes (R, E) and (R, F, E), in the units of ``y``.
    rows
        Which spectra of the block they are, shape (R,).
    y, weights
        Of all spectra of the block, shape (B, E); ``weights`` is not read where ``poisson``.
    objective, score, information
        Rows of shapes (B,), (B, F) and (B, F, F) that are overwritten; infinite where the expectation is not finite.
    """
    channels = y.shape[1]
    weight, residual, scratch = np.empty(channels), np.empty(channels), np.empty((2, channels))
    moving = np.arange(jacobian.shape[1])
    for i in range(rows.size):
        r = rows[i]
        known = weights[r] if not poisson else y[r]
        value = _weigh(expectation[i], y[r], known, poisson, weight, residual)
        objective[r] = value if np.isfinite(value) else np.inf
        _products(jacobian[i], moving, 1.0, weight, residual, scratch, score[r], information[r])


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def _add(total: FloatArray, factor: float, row: FloatArray) -> None:
    for e in range(total.size):
        total[e] += factor * row[e]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def evaluate_sum(
    addresses: NDArray[np.uintp],
    starts: NDArray[np.int64],
    constants: FloatArray,
    constant_starts: NDArray[np.int64],
    fixed_shape: NDArray[np.bool_],
    energy: FloatArray,
    background: FloatArray,
    theta: FloatArray,
    linear: NDArray[np.bool_],
    values: FloatArray,
    mu: FloatArray,
    jacobian: FloatArray,
) -> None:
    """Sum of terms for one spectrum, shape (E,), and all its derivatives, shape (P, E).

    Rows of terms of fixed shape are read from ``jacobian``, those of the others are written.
    """
    for e in range(mu.size):
        mu[e] = background[e]
    for t in range(addresses.size):
        first, last = starts[t], starts[t + 1]
        if fixed_shape[t]:
            for k in range(first, last):
                if linear[k] and theta[k] != 0.0:
                    _add(mu, theta[k], jacobian[k])
        else:
            own = constants[constant_starts[t] : constant_starts[t + 1]]
            _call_kernel(addresses[t], energy, theta[first:last], own, values, jacobian[first:last])
            _add(mu, 1.0, values)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def accumulate_sum(
    addresses: NDArray[np.uintp],
    starts: NDArray[np.int64],
    constants: FloatArray,
    constant_starts: NDArray[np.int64],
    fixed_shape: NDArray[np.bool_],
    energy: FloatArray,
    background: FloatArray,
    columns: FloatArray,
    linear: NDArray[np.bool_],
    scale: float,
    shift: float,
    theta: FloatArray,
    moving: NDArray[np.int64],
    rows: NDArray[np.int64],
    y: FloatArray,
    weights: FloatArray,
    poisson: bool,
    curvature: bool,
    objective: FloatArray,
    score: FloatArray,
    information: FloatArray,
) -> None:
    """Normal equations of some spectra of a block for a sum of terms; see :func:`accumulate`.

    The expectation in the units of ``y`` is ``scale`` times the sum of the terms, plus ``shift``; ``columns``, shape
    (P, E), holds the derivatives of the terms of fixed shape. Spectra in a row that have the same parameters, as at a
    common start, share their expectation. The information is left as it is without ``curvature``.
    """
    channels = y.shape[1]
    weight, residual, scratch = np.empty(channels), np.empty(channels), np.empty((2, channels))
    values, mu = np.empty(channels), np.empty(channels)
    jacobian = columns.copy()
    last = -1
    for i in range(rows.size):
        r = rows[i]
        shared = last >= 0
        for k in range(theta.shape[1] if shared else 0):
            shared &= theta[r, k] == theta[last, k]
        if not shared:
            evaluate_sum(
                addresses,
                starts,
                constants,
                constant_starts,
                fixed_shape,
                energy,
                background,
                theta[r],
                linear,
                values,
                mu,
                jacobian,
            )
            for e in range(channels):
                mu[e] = scale * mu[e] + shift
        known = weights[r] if not poisson else y[r]
        value = _weigh(mu, y[r], known, poisson, weight, residual)
        objective[r] = value if np.isfinite(value) else np.inf
        if not curvature or (shared and poisson):
            _score(jacobian, moving, scale, residual, score[r])
            if curvature:
                information[r] = information[last]
        else:
            _products(jacobian, moving, scale, weight, residual, scratch, score[r], information[r])
        last = r
