"""Elementary and special functions without branches, which LLVM vectorises inside a loop over channels.

The mathematical library that numba calls computes one value per call. The functions here are plain arithmetic, so that
the loop that calls them computes four or eight channels at once. All are numba functions of float64 scalars; NaN gives
NaN. They carry no fast-math flag but ``contract`` (fused multiply-add), because they rely on the order of operations.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from hyperspy_assb.fitting.kernels import FloatArray

_LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts (fdlibm): a product of the first with an integer below 2^20 is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# Adding this number rounds a float64 to an integer, which is then in the lowest bits.
_ROUND = 6755399441055744.0
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))
_SQRT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
_ONE_BITS = int(np.float64(1.0).view(np.int64))
_MANTISSA = (1 << 52) - 1
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


@intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The int64 that has the bits of a float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _float(typing_context: Any, value: Any) -> Any:
    """The float64 that has the bits of an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def exp(x: float) -> float:  # pragma: no cover - compiled
    """Exponential function, within 1e-15 relative.

    Cody-Waite reduction x = k ln 2 + r and the Taylor polynomial of exp(r), |r| <= ln(2)/2. Above 709.78 it is inf;
    below -708.4 it is subnormal or 0.
    """
    x = 711.0 if x > 711.0 else x
    x = -746.0 if x < -746.0 else x
    shifted = x * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r * r + r + 1.0
    # Two factors, since 2^k alone is not a normal number at either end.
    k = _bits(shifted) - _ROUND_BITS
    half = k >> 1
    return p * _float((half + 1023) << 52) * _float((k - half + 1023) << 52)


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def log(x: float) -> float:  # pragma: no cover - compiled
    """Natural logarithm, within 1e-15 relative; -inf at 0 and NaN below.

    x = 2^k m with sqrt(1/2) <= m < sqrt(2), and the polynomial of fdlibm's e_log.c in s = (m - 1)/(m + 1).
    """
    tiny = x < 2.2250738585072014e-308
    scaled = x * 18014398509481984.0 if tiny else x  # 2^54
    bits = _bits(scaled) + (_ONE_BITS - _SQRT_HALF_BITS)
    k = (bits >> 52) - 1023
    m = _float((bits & _MANTISSA) + _SQRT_HALF_BITS)
    # An integer to a float64 by its bits: the vector instruction for it is not on every machine.
    n = _float(k + _ROUND_BITS) - _ROUND - (54.0 if tiny else 0.0)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 1.479819860511658591e-01
    p = p * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = p * z + 6.666666666666735130e-01
    half = 0.5 * f * f
    result = n * _LN2_HIGH - ((half - (s * (half + z * p) + n * _LN2_LOW)) - f)
    result = x if x == math.inf else result
    result = -math.inf if x == 0.0 else result
    return result if x >= 0.0 else math.nan


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def log_abs(x: float) -> float:  # pragma: no cover - compiled
    """Natural logarithm of \\|x\\|, for :func:`power` and :func:`signed_log` to share."""
    return log(abs(x))


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def signed_log(x: float, log_of_abs: float) -> float:  # pragma: no cover - compiled
    """Natural logarithm of x, NaN below 0, from that of \\|x\\|."""
    return math.nan if x < 0.0 else log_of_abs


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def power(base: float, exponent: float, log_of_abs: float) -> float:  # pragma: no cover - compiled
    """``base**exponent`` from ln \\|base\\|, with the signs and limits of C's ``pow``.

    A negative base has a real power for an integer exponent (recognised below 2^51) and NaN otherwise. The relative
    error is about that of the product ``exponent ln base``: 1e-16 times its size.
    """
    shifted = exponent + _ROUND
    whole = shifted - _ROUND == exponent
    odd = (_bits(shifted) & 1) == 1
    magnitude = exp(exponent * log_of_abs)
    negative = math.nan if not whole else (-magnitude if odd else magnitude)
    result = negative if base < 0.0 else magnitude
    return 1.0 if exponent == 0.0 else result


@numba.njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def select(condition: bool, true: float, false: float) -> float:  # pragma: no cover - compiled
    """``true`` where the condition holds, else ``false``; what is not chosen does not matter, NaN or not."""
    return true if condition else false


def _weideman_coefficients(count: int) -> tuple[float, FloatArray]:
    """Scale L and coefficients of Z^0, Z^1, ... of Weideman's expansion of the Faddeeva function (his program 1)."""
    scale = math.sqrt(count / math.sqrt(2.0))
    size = 2 * count
    t = scale * np.tan(np.arange(-size + 1, size) * math.pi / (2 * size))
    samples = np.concatenate([[0.0], np.exp(-t * t) * (scale * scale + t * t)])
    spectrum = np.fft.fft(np.fft.fftshift(samples)).real / (2 * size)
    return scale, spectrum[1 : count + 1]


_SCALE, _COEFFICIENTS = _weideman_coefficients(32)


@intrinsic
def _clenshaw(typing_context: Any, twice_real: Any, modulus: Any) -> Any:
    """The last two terms of the Clenshaw recurrence for ``_COEFFICIENTS``, unrolled: two multiply-adds a coefficient.

    A loop inside the loop over channels would keep LLVM from vectorising the latter.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        s, t = arguments
        constants = [ir.Constant(ir.DoubleType(), float(c)) for c in _COEFFICIENTS]
        flags = ("contract",)
        previous, last = constants[-1], ir.Constant(ir.DoubleType(), 0.0)
        for constant in constants[-2:0:-1]:
            rest = builder.fsub(constant, builder.fmul(t, last, flags=flags), flags=flags)
            previous, last = builder.fadd(builder.fmul(s, previous, flags=flags), rest, flags=flags), previous
        rest = builder.fsub(constants[0], builder.fmul(t, last, flags=flags), flags=flags)
        return context.make_tuple(builder, signature.return_type, (previous, rest))

    return types.UniTuple(types.float64, 2)(types.float64, types.float64), generate


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def faddeeva(a: float, b: float) -> tuple[float, float]:  # pragma: no cover - compiled
    """Faddeeva function w(z) = exp(-z^2) erfc(-i z) at z = a + i b in the upper half plane.

    Parameters
    ----------
    a, b
        Real and imaginary part. Below the real axis, where w grows without bound, ``b`` is taken as 0.

    Returns
    -------
    u, v
        Real and imaginary part of w, within 1e-13 for all a and b >= 0. (The real part on the real axis, exp(-a^2),
        has this absolute error too.)

    Notes
    -----
    The rational approximation of J. A. C. Weideman, SIAM J. Numer. Anal. 31, 1497 (1994), with 32 terms, evaluated by
    a real recurrence. The derivatives follow from w' = -2 z w + 2 i / sqrt(pi): du/da = -2 (a u - b v),
    dv/da = -2 (a v + b u) + 2 / sqrt(pi), du/db = -dv/da, dv/db = du/da.
    """
    b = 0.0 if b < 0.0 else b
    # q = 1 / (L - i z) and Z = (L + i z) / (L - i z) = 2 L q - 1
    real = _SCALE + b
    norm = 1.0 / (real * real + a * a)
    q_real = real * norm
    q_imag = a * norm
    z_real = 2.0 * _SCALE * q_real - 1.0
    z_imag = 2.0 * _SCALE * q_imag
    first, rest = _clenshaw(2.0 * z_real, z_real * z_real + z_imag * z_imag)
    p_real = 2.0 * (z_real * first + rest)
    p_imag = 2.0 * (z_imag * first)
    # w = q (2 p q + 1 / sqrt(pi))
    c_real = p_real * q_real - p_imag * q_imag + 0.5 * _TWO_OVER_SQRT_PI
    c_imag = p_real * q_imag + p_imag * q_real
    return q_real * c_real - q_imag * c_imag, q_real * c_imag + q_imag * c_real


@numba.njit(cache=True, error_model="numpy", nogil=True)
def digamma(x: float) -> float:  # pragma: no cover - compiled
    """Derivative of ln Gamma, within 1e-14 of its larger terms; NaN at 0, -1, -2, ...

    Reflection (DLMF 5.5.4), recurrence (5.5.2) up to 10 and the asymptotic series (5.11.2).
    """
    if x <= 0.0 and x == math.floor(x):
        return math.nan
    result = 0.0
    if x < 0.0:
        result = -math.pi / math.tan(math.pi * x)
        x = 1.0 - x
    while x < 10.0:
        result -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = 1.0 / 240.0 - z * (1.0 / 132.0 - z * 691.0 / 32760.0)
    series = z * (1.0 / 12.0 - z * (1.0 / 120.0 - z * (1.0 / 252.0 - z * series)))
    return result + math.log(x) - 0.5 / x - series
