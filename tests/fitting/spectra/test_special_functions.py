"""Elementary and special functions of the compiled expressions."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from hyperspy_assb.fitting.spectra import special_functions as special


def _over(function):
    @numba.njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    def evaluate(x):
        x = np.asarray(x, dtype=float)
        out = np.empty_like(x)
        loop(x, out)
        return out

    return evaluate


exp, log, digamma = _over(special.exp), _over(special.log), _over(special.digamma)


@numba.njit(error_model="numpy")
def _power(base, exponent, out):
    for i in range(base.size):
        out[i] = special.power(base[i], exponent, special.log_abs(base[i]))


@numba.njit(error_model="numpy")
def _faddeeva(a, b, u, v):
    for i in range(a.size):
        u[i], v[i] = special.faddeeva(a[i], b[i])


@numba.njit(error_model="numpy")
def _sines(x, sine, cosine):
    for i in range(x.size):
        sine[i], cosine[i] = special.sin_cos(x[i])


def _sin_cos(x):
    sine, cosine = np.empty_like(x), np.empty_like(x)
    _sines(x, sine, cosine)
    return sine, cosine


def _w(a, b):
    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    u, v = np.empty(a.size), np.empty(a.size)
    _faddeeva(a.ravel(), b.ravel(), u, v)
    return (u + 1j * v).reshape(a.shape)


def test_exp_exactly():
    found = exp([0.0, -0.0, math.inf, -math.inf, math.nan, 710.0, -746.0, 1e300, -1e300])
    np.testing.assert_array_equal(found, [1.0, 1.0, math.inf, 0.0, math.nan, math.inf, 0.0, math.inf, 0.0])


@pytest.mark.parametrize("limits", [(-1e-3, 1e-3), (-1.0, 1.0), (-50.0, 50.0), (-708.0, 709.7)])
def test_exp_within_its_error(rng, limits):
    x = rng.uniform(*limits, 100_000)
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=1e-15)


def test_exp_underflows_gradually():
    x = np.linspace(-745.1, -708.0, 5000)
    with np.errstate(under="ignore"):
        np.testing.assert_allclose(exp(x), np.exp(x), rtol=1e-15, atol=1e-323)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 100.0, 1e5])
def test_sine_and_cosine_within_their_error(rng, limit):
    x = np.append(rng.uniform(-limit, limit, 100_000), [0.0, np.pi / 2, -np.pi, 0.75 * np.pi])
    sine, cosine = _sin_cos(x)
    np.testing.assert_allclose(sine, np.sin(x), rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(cosine, np.cos(x), rtol=0.0, atol=1e-15)


def test_sine_and_cosine_of_what_has_none():
    assert np.isnan(_sin_cos(np.array([np.nan, np.inf, -np.inf]))).all()


def test_log_exactly():
    found = log([1.0, 0.0, -0.0, math.inf, -1.0, -math.inf, math.nan])
    np.testing.assert_array_equal(found, [0.0, -math.inf, -math.inf, math.inf, math.nan, math.nan, math.nan])


def test_log_within_its_error(rng):
    x = np.concatenate([np.exp(rng.uniform(-744.0, 709.0, 100_000)), rng.uniform(0.5, 2.0, 100_000), [5e-324]])
    np.testing.assert_allclose(log(x), np.log(x), rtol=1e-15)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_exp_and_log_of_any_number(x):
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(exp([x]), np.exp([x]), rtol=1e-15, atol=1e-323)
        np.testing.assert_allclose(log([x]), np.log([x]), rtol=1e-15)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, -1.0, -3.0, 7.0, 0.5, -2.7, 1.0 / 3.0])
def test_power_has_the_signs_and_limits_of_pow(rng, exponent):
    base = np.concatenate([[0.0, 1.0, -1.0, math.inf, math.nan], rng.normal(0.0, 100.0, 1000)])
    found = np.empty_like(base)
    _power(base, exponent, found)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, base**exponent, rtol=2e-14)


@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [
        ("atan", np.arctan, 1e-15),
        ("tanh", np.tanh, 1e-15),
        ("erf", scipy.special.erf, 1e-15),
        ("erfc", scipy.special.erfc, 2e-13),
    ],
)
def test_functions_against_numpy_and_scipy(rng, name, reference, tolerance):
    function = _over(getattr(special, name))
    special_values = [0.0, -0.0, 1.0, -1.0, 8.0, 0.625, 0.66, math.inf, -math.inf, math.nan, 1e-300, 1e300]
    x = np.concatenate([special_values, rng.normal(0.0, 1.0, 50_000), rng.uniform(-28.0, 28.0, 50_000)])
    with np.errstate(under="ignore"):
        np.testing.assert_allclose(function(x), reference(x), rtol=tolerance, atol=1e-300)


def test_select_chooses():
    assert special.select(True, 1.0, math.nan) == 1.0
    assert special.select(False, math.nan, 2.0) == 2.0


def test_faddeeva_exactly():
    # w(0) = 1, w(i b) = exp(b^2) erfc(b), Im w(a) = 2 Dawson(a) / sqrt(pi)
    np.testing.assert_allclose(_w(0.0, 0.0), 1.0, rtol=0, atol=1e-13)
    b = np.linspace(0.0, 20.0, 101)
    np.testing.assert_allclose(_w(0.0, b), scipy.special.erfcx(b), rtol=0, atol=1e-13)
    a = np.linspace(-20.0, 20.0, 101)
    np.testing.assert_allclose(_w(a, 0.0).imag, 2.0 / math.sqrt(math.pi) * scipy.special.dawsn(a), rtol=0, atol=1e-13)


def test_faddeeva_against_scipy():
    far = np.geomspace(1e-12, 1e4, 150)
    a = np.concatenate([-far, np.linspace(-12.0, 12.0, 601), far])
    b = np.concatenate([[0.0], far, np.linspace(0.01, 12.0, 100)])[:, None]
    expected = scipy.special.wofz(a + 1j * b)
    np.testing.assert_allclose(_w(a, b), expected, rtol=0, atol=1e-13)
    # The Lorentzian wings of a Voigt profile keep their relative precision.
    wing = np.broadcast_to(b > 1e-3, expected.shape)
    np.testing.assert_allclose(_w(a, b)[wing].real, expected[wing].real, rtol=1e-8)


def test_faddeeva_derivatives_are_those_of_the_documentation(differentiate):
    a, b = np.meshgrid(np.linspace(-6.0, 6.0, 25), np.linspace(0.1, 6.0, 12))
    w = _w(a, b)
    by_a = differentiate(lambda theta: scipy.special.wofz(a + theta[0] + 1j * (b + theta[1])), [0.0, 0.0], 0, 1e-3)
    by_b = differentiate(lambda theta: scipy.special.wofz(a + theta[0] + 1j * (b + theta[1])), [0.0, 0.0], 1, 1e-3)
    u_a = -2.0 * (a * w.real - b * w.imag)
    v_a = -2.0 * (a * w.imag + b * w.real) + 2.0 / math.sqrt(math.pi)
    np.testing.assert_allclose(u_a + 1j * v_a, by_a, rtol=0, atol=1e-9)
    np.testing.assert_allclose(-v_a + 1j * u_a, by_b, rtol=0, atol=1e-9)


def test_faddeeva_below_the_axis_is_that_on_the_axis():
    np.testing.assert_array_equal(_w([0.3, 2.0], -0.7), _w([0.3, 2.0], 0.0))


def test_digamma():
    x = np.concatenate([np.linspace(-7.3, 30.0, 1001), [1e-8, 1e8, 0.0, -1.0, math.nan]])
    np.testing.assert_allclose(
        digamma(x), np.where(x == 0.0, math.nan, scipy.special.digamma(x)), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("name", ["exp", "log", "atan", "tanh", "erf", "erfc", "faddeeva"])
def test_the_loop_over_channels_is_vectorised(name):
    if name == "erfc" and numba.config.CPU_NAME == "generic":
        pytest.skip("with two lanes and no blend (SSE2) LLVM finds the branches of erfc cheaper")
    if name == "faddeeva":
        loop, arrays = _faddeeva, [np.ones(64) for _ in range(4)]
    else:
        function = getattr(special, name)

        @numba.njit(error_model="numpy")
        def loop(x, out):
            for i in range(x.size):
                out[i] = function(x[i])

        arrays = [np.ones(64), np.ones(64)]
    loop(*arrays)
    (code,) = loop.inspect_llvm().values()
    assert "x double>" in code
