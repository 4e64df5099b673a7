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
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts (fdlibm): a product of the first with an integer below 2^20 is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_TWO_OVER_PI = 2.0 / math.pi
# pi/2 in three parts (Cephes): products of the first two with an integer below 2^20 are exact.
_HALF_PI = (2.0 * 7.85398125648498535156e-1, 2.0 * 3.77489470793079817668e-8, 2.0 * 2.69515142907905952645e-15)
# Adding this number rounds a float64 to an integer, which is then in the lowest bits.
_ROUND = 6755399441055744.0
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))
_SQRT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
_ONE_BITS = int(np.float64(1.0).view(np.int64))
_MANTISSA = (1 << 52) - 1
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
# numba's type of an intrinsic takes the typing context as the first argument of a call.
_intrinsic: Any = intrinsic


@_intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The int64 that has the bits of a float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@_intrinsic
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
def sin_cos(x: float) -> tuple[float, float]:  # pragma: no cover - compiled
    r"""Sine and cosine, within 1e-15 absolute for \|x\| up to 1e5.

    Cody-Waite reduction x = k pi/2 + r and the polynomials of Cephes (S. L. Moshier) for \|r\| <= pi/4.
    """
    shifted = x * _TWO_OVER_PI + _ROUND
    n = shifted - _ROUND
    k = _bits(shifted) - _ROUND_BITS
    r = ((x - n * _HALF_PI[0]) - n * _HALF_PI[1]) - n * _HALF_PI[2]
    z = r * r
    p = 1.58962301576546568060e-10
    p = p * z - 2.50507477628578072866e-8
    p = p * z + 2.75573136213857245213e-6
    p = p * z - 1.98412698295895385996e-4
    p = p * z + 8.33333333332211858878e-3
    p = p * z - 1.66666666666666307295e-1
    sine = r + r * z * p
    q = -1.13585365213876817300e-11
    q = q * z + 2.08757008419747316778e-9
    q = q * z - 2.75573141792967388112e-7
    q = q * z + 2.48015872888517045348e-5
    q = q * z - 1.38888888888730564116e-3
    q = q * z + 4.16666666666665929218e-2
    cosine = 1.0 - 0.5 * z + z * z * q
    odd = (k & 1) == 1
    first, second = (cosine if odd else sine), (sine if odd else cosine)
    first = -first if (k & 2) == 2 else first
    second = -second if ((k + 1) & 2) == 2 else second
    return first, second


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})
def _complex_exp(values: FloatArray, out: FloatArray) -> None:  # pragma: no cover - compiled
    for k in range(values.size // 2):
        size, angle = exp(values[2 * k]), sin_cos(values[2 * k + 1])
        out[2 * k], out[2 * k + 1] = size * angle[1], size * angle[0]


def complex_exp(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Exponential of an array of complex numbers of moderate angles, many times as fast as numpy's."""
    values = np.ascontiguousarray(values)
    out = np.empty_like(values)
    _complex_exp(values.reshape(-1).view(np.float64), out.reshape(-1).view(np.float64))
    return out


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

    A negative base, be it -inf, has a real power for an integer exponent (recognised below 2^51) and NaN otherwise. The
    sign of a zero base is ignored. The relative error is about 1e-16 times the product ``exponent ln base``.
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


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def atan(x: float) -> float:  # pragma: no cover - compiled
    """Inverse tangent, within 1e-15 relative: the reduction and the rational function of Cephes (S. L. Moshier)."""
    y = abs(x)
    large = y > 2.414213562373095
    middle = y > 0.66
    numerator = -1.0 if large else (y - 1.0 if middle else y)
    denominator = y if large else (y + 1.0 if middle else 1.0)
    offset = 0.5 * math.pi if large else (0.25 * math.pi if middle else 0.0)
    t = numerator / denominator
    z = t * t
    p = -0.8750608600031904
    p = p * z - 16.157537187333652
    p = p * z - 75.00855792314705
    p = p * z - 122.88666844901361
    p = p * z - 64.85021904942025
    q = z + 24.858464901423062
    q = q * z + 165.02700983169885
    q = q * z + 432.88106049129027
    q = q * z + 485.3903996359137
    q = q * z + 194.5506571482614
    # What pi/2 and pi/4 lack as float64.
    rest = 6.123233995736766e-17 if large else (3.061616997868383e-17 if middle else 0.0)
    return math.copysign(offset + (t + (t * z * p / q + rest)), x)


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def tanh(x: float) -> float:  # pragma: no cover - compiled
    """Hyperbolic tangent, within 1e-15 relative: by the exponential, near 0 by a rational function of Cephes."""
    z = x * x
    p = -0.9643991794250523
    p = p * z - 99.28772310019185
    p = p * z - 1614.6876844170845
    q = z + 112.81167849163293
    q = q * z + 2235.4883906010045
    q = q * z + 4844.063053251255
    near = x + x * z * p / q
    decay = exp(-2.0 * abs(x))
    far = math.copysign((1.0 - decay) / (1.0 + decay), x)
    return near if abs(x) < 0.625 else far


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def _erf_near(x: float) -> float:  # pragma: no cover - compiled
    r"""Error function for \|x\| < 1, by a rational function of Cephes."""
    z = x * x
    p = 9.604973739870516
    p = p * z + 90.02601972038427
    p = p * z + 2232.005345946843
    p = p * z + 7003.325141128051
    p = p * z + 55592.30130103949
    q = z + 33.56171416475031
    q = q * z + 521.3579497801527
    q = q * z + 4594.323829709801
    q = q * z + 22629.000061389095
    q = q * z + 49267.39426086359
    return x * p / q


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def _erfcx_middle(x: float) -> float:  # pragma: no cover - compiled
    """exp(x^2) erfc(x) for 1 <= x <= 8, by a rational function of Cephes."""
    p = 2.461969814735305e-10
    p = p * x + 0.5641895648310689
    p = p * x + 7.463210564422699
    p = p * x + 48.63719709856814
    p = p * x + 196.5208329560771
    p = p * x + 526.4451949954773
    p = p * x + 934.5285271719576
    p = p * x + 1027.5518868951572
    p = p * x + 557.5353353693994
    q = x + 13.228195115474499
    q = q * x + 86.70721408859897
    q = q * x + 354.9377788878199
    q = q * x + 975.7085017432055
    q = q * x + 1823.9091668790973
    q = q * x + 2246.3376081871097
    q = q * x + 1656.6630919416134
    q = q * x + 557.5353408177277
    return p / q


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def erf(x: float) -> float:  # pragma: no cover - compiled
    """Error function, within 1e-15 relative."""
    y = abs(x)
    y = 8.0 if y > 8.0 else y
    far = math.copysign(1.0 - exp(-y * y) * _erfcx_middle(y), x)
    return _erf_near(x) if y < 1.0 else far


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"}, forceinline=True)
def erfc(x: float) -> float:  # pragma: no cover - compiled
    """Complementary error function, within 2e-13 relative; above 26.5 it is subnormal or 0."""
    y = abs(x)
    y = 30.0 if y > 30.0 else y
    p = 0.5641895835477551
    p = p * y + 1.275366707599781
    p = p * y + 5.019050422511805
    p = p * y + 6.160210979930536
    p = p * y + 7.4097426995044895
    p = p * y + 2.9788666537210022
    q = y + 2.2605286322011726
    q = q * y + 9.396035249380015
    q = q * y + 12.048953980809666
    q = q * y + 17.08144507475659
    q = q * y + 9.608968090632859
    q = q * y + 3.369076451000815
    scaled = p / q if y > 8.0 else _erfcx_middle(y)
    far = exp(-y * y) * scaled
    far = 2.0 - far if x < 0.0 else far
    return 1.0 - _erf_near(x) if y < 1.0 else far


def _weideman_coefficients(count: int) -> tuple[float, FloatArray]:
    """Scale L and coefficients of Z^0, Z^1, ... of Weideman's expansion of the Faddeeva function (his program 1)."""
    scale = math.sqrt(count / math.sqrt(2.0))
    size = 2 * count
    t = scale * np.tan(np.arange(-size + 1, size) * math.pi / (2 * size))
    samples = np.concatenate([[0.0], np.exp(-t * t) * (scale * scale + t * t)])
    spectrum = np.fft.fft(np.fft.fftshift(samples)).real / (2 * size)
    return scale, spectrum[1 : count + 1]


_SCALE, _COEFFICIENTS = _weideman_coefficients(32)


@_intrinsic
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

    pair: Any = types.Tuple([types.float64, types.float64])  # type: ignore[no-untyped-call]
    return pair(types.float64, types.float64), generate


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
