"""Expressions as line shapes: values, derivatives, linearity, and the cache of compiled kernels."""

from __future__ import annotations

import ast
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, erfc, wofz
from scipy.special import gamma as gamma_function

from hyperspy_assb.fitting.expressions import expression_shapes as expressions
from hyperspy_assb.fitting.expressions.expression_shapes import (
    ExpressionLineShape,
    cache_directory,
    expression_line_shape,
)
from hyperspy_assb.fitting.spectra.line_shape import Role

# No point is at a step of a component.
X = np.linspace(-30.13, 71.37, 1000)

COMPONENTS = {
    "Arctan": ({"A": 3.0, "k": 0.4, "x0": 12.0}, {"A"}),
    "Bleasdale": ({"a": 2.0, "b": 0.31, "c": -0.4}, set()),
    "Doniach": ({"A": 2.0, "alpha": 0.3, "centre": 14.0, "sigma": 5.0}, {"A"}),
    "Erf": ({"A": 2.0, "origin": 11.0, "sigma": 6.0}, {"A"}),
    "Exponential": ({"A": 2.0, "tau": 23.0}, {"A"}),
    "Gaussian": ({"A": 2.0, "centre": 15.0, "sigma": 6.0}, {"A"}),
    "GaussianHF": ({"height": 2.0, "centre": 15.0, "fwhm": 13.0}, {"height"}),
    "HeavisideStep": ({"A": 2.0, "n": 7.0}, {"A"}),
    "Logistic": ({"a": 2.0, "b": 1.3, "c": 0.3, "origin": 8.0}, {"a"}),
    "Lorentzian": ({"A": 2.0, "centre": 15.0, "gamma": 6.0}, {"A"}),
    "PowerLaw": ({"A": 1e4, "left_cutoff": 3.0, "origin": -40.0, "r": 2.7}, {"A"}),
    "RC": ({"V0": 1.0, "Vmax": 2.0, "tau": 31.0}, {"V0", "Vmax"}),
    "SkewNormal": ({"A": 2.0, "scale": 9.0, "shape": -2.1, "x0": 17.0}, {"A"}),
    "Voigt": ({"area": 2.0, "centre": 15.0, "gamma": 1.5, "sigma": 6.0}, {"area"}),
    "DoublePowerLaw": (
        {"A": 1e4, "left_cutoff": 3.0, "origin": -40.0, "r": 2.7, "ratio": 0.6, "shift": 11.0},
        {"A"},
    ),
    "EELSArctan": ({"A": 3.0, "k": 0.4, "x0": 12.0}, {"A"}),
    "SEE": ({"A": 2.0, "B": 6.0, "Phi": 4.0}, {"A"}),
    "VolumePlasmonDrude": ({"fwhm": 6.0, "intensity": 2.0, "plasmon_energy": 21.0}, {"intensity"}),
}


@pytest.fixture(scope="module")
def make():
    """Component by name, with its parameter values set, and its values as a function of them."""
    import hyperspy.api as hs

    def component(name, values, **arguments):
        if name in ("DoublePowerLaw", "EELSArctan", "SEE", "VolumePlasmonDrude"):
            import exspy

            made = getattr(exspy.components, name)(**arguments)
        elif name == "Bleasdale":
            # HyperSpy's own wants numexpr; this is its expression.
            text = "where((a + b * x) > 0, pow(a + b * x, -1 / c), 0)"
            made = hs.model.components1D.Expression(text, name, compute_gradients=False)
        else:
            made = getattr(hs.model.components1D, name)(**arguments)
        for parameter in made.parameters:
            parameter.value = values[parameter.name]
        symbols = tuple(made._rename_pars_inv.get(name, name) for name in made._parameter_strings)
        return made, symbols, [values[name] for name in made._parameter_strings]

    return component


def _check(made, symbols, parameters, differentiate, tolerance=1e-12):
    shape = expression_line_shape(made._str_expression, symbols)
    values, gradients = shape.evaluate(X, parameters)
    expected = np.broadcast_to(made.function(X), X.shape)
    scale = np.max(np.abs(expected)) if tolerance > 1e-12 else 0.0
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=tolerance * scale)

    def function(theta):
        return np.broadcast_to(made._f(X, *theta), X.shape)

    for k, (name, value) in enumerate(zip(symbols, parameters, strict=True)):
        numerical = differentiate(function, parameters, k, 1e-3 * max(abs(value), 1.0) / 4)
        size = max(np.max(np.abs(numerical)), 1e-300)
        np.testing.assert_allclose(gradients[k], numerical, rtol=0, atol=1e-6 * size, err_msg=name)
    return shape


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", COMPONENTS)
def test_components_of_hyperspy_and_exspy(make, differentiate, name):
    values, linear = COMPONENTS[name]
    made, symbols, parameters = make(name, values)
    shape = _check(made, symbols, parameters, differentiate, 1e-9 if name == "Voigt" else 1e-12)
    marked = {own for own, parameter in zip(made._parameter_strings, shape.parameters, strict=True) if parameter.linear}
    assert marked == linear
    assert shape.homogeneous is bool(linear)


@pytest.mark.parametrize("order", [1, 2, 5, 11])
def test_polynomials(make, order):
    names = [f"a{k:0{len(str(order))}}" for k in range(order + 1)]
    values = {name: (-1) ** k * 0.9**k for k, name in enumerate(names)}
    made, symbols, parameters = make("Polynomial", values, order=order)
    shape = expression_line_shape(made._str_expression, symbols)
    found, gradients = shape.evaluate(X, parameters)
    np.testing.assert_allclose(found, made.function(X), rtol=1e-12, atol=1e-12 * np.max(np.abs(found)))
    np.testing.assert_allclose(gradients, [X ** int(name[1:]) for name in symbols], rtol=1e-13)
    assert all(parameter.linear for parameter in shape.parameters)
    assert shape.homogeneous


def test_exact_values_and_derivatives_of_a_line():
    shape = expression_line_shape("a * x**2 + b / x", ("a", "b"))
    values, gradients = shape.evaluate([1.0, 2.0, -4.0], [3.0, 8.0])
    np.testing.assert_array_equal(values, [11.0, 16.0, 46.0])
    np.testing.assert_array_equal(gradients, [[1.0, 4.0, 16.0], [1.0, 0.5, -0.25]])
    assert isinstance(shape, ExpressionLineShape)
    assert shape.role is Role.ADDITIVE
    assert shape.parameter_names == ("a", "b")


def test_parameters_come_in_the_order_asked_for():
    values, gradients = expression_line_shape("a * x + b", ("b", "a")).evaluate([2.0], [1.0, 10.0])
    np.testing.assert_array_equal(values, [21.0])
    np.testing.assert_array_equal(gradients, [[1.0], [2.0]])


def test_substitutions_are_made_one_after_the_other():
    # The example of HyperSpy's documentation, in one dimension.
    shape = expression_line_shape("A*B/(A+B) ; A = sin(x)+one; B = cos(y) - two; y = tan(x)", ("one", "two"))
    a, b = np.sin(X) + 1.5, np.cos(np.tan(X)) - 3.0
    values, gradients = shape.evaluate(X, [1.5, 3.0])
    np.testing.assert_allclose(values, a * b / (a + b), rtol=1e-11)
    np.testing.assert_allclose(gradients, [b**2 / (a + b) ** 2, -(a**2) / (a + b) ** 2], rtol=1e-10)


def test_what_is_not_chosen_may_be_nan():
    shape = expression_line_shape("where(x > c, A * (x - c)**-r, log(x - 100))", ("A", "c", "r"))
    values, gradients = shape.evaluate([4.0, 101.0, 200.0], [2.0, 3.0, 0.5])
    np.testing.assert_allclose(values, [2.0, 2.0 / np.sqrt(98.0), 2.0 / np.sqrt(197.0)], rtol=1e-14)
    assert np.all(np.isfinite(gradients))
    values, gradients = expression_line_shape("where(x > c, A * (x - c)**-r, 0)", ("A", "c", "r")).evaluate(
        [2.0, 3.0, 4.0], [2.0, 3.0, 0.5]
    )
    np.testing.assert_array_equal(values, [0.0, 0.0, 2.0])
    np.testing.assert_array_equal(gradients[:, :2], 0.0)
    np.testing.assert_allclose(gradients[:, 2], [1.0, 1.0, 0.0], rtol=1e-15)  # 1, A r, -A ln 1


def test_a_negative_base_has_integer_powers():
    values = expression_line_shape("x**r", ("r",)).evaluate([-2.0, -2.0, 0.0, 2.0], [3.0])[0]
    np.testing.assert_allclose(values, [-8.0, -8.0, 0.0, 8.0], rtol=1e-15)
    assert np.isnan(expression_line_shape("x**r", ("r",)).evaluate([-2.0], [2.5])[0])


# Text, numpy values and derivatives with respect to a, at a = 1.3.
FUNCTIONS = {
    "where((x > 0) & (x < a), a * x, -1)": (
        lambda x, a: np.where((x > 0) & (x < a), a * x, -1.0),
        lambda x, a: np.where((x > 0) & (x < a), x, 0.0),
    ),
    "where(~(x > 0) | (x > 2), a, 2 * a)": (
        lambda x, a: np.where((x <= 0) | (x > 2), a, 2 * a),
        lambda x, a: np.where((x <= 0) | (x > 2), 1.0, 2.0),
    ),
    "Piecewise((a, x < 0), (a**2, x < 1), (3, True))": (
        lambda x, a: np.select([x < 0, x < 1], [a, a**2], 3.0),
        lambda x, a: np.select([x < 0, x < 1], [1.0, 2 * a], 0.0),
    ),
    "Abs(x - a)": (lambda x, a: np.abs(x - a), lambda x, a: -np.sign(x - a)),
    "Abs(log(x**2) - a)": (
        lambda x, a: np.abs(np.log(x**2) - a),
        lambda x, a: -np.sign(np.log(x**2) - a),
    ),
    "a * 10**20 * x": (lambda x, a: a * 1e20 * x, lambda x, a: 1e20 * x),
    "a * sign(x)": (lambda x, a: a * np.sign(x), lambda x, a: np.sign(x)),
    "heaviside(x - a, 0.5)": (lambda x, a: np.heaviside(x - a, 0.5), lambda x, a: 0.0 * x),
    "Max(x, a, 0)": (lambda x, a: np.maximum(x, a), lambda x, a: np.where(x < a, 1.0, 0.0)),
    "Min(x, a)": (lambda x, a: np.minimum(x, a), lambda x, a: np.where(x > a, 1.0, 0.0)),
    "sqrt(x**2 + a)": (lambda x, a: np.sqrt(x**2 + a), lambda x, a: 0.5 / np.sqrt(x**2 + a)),
    "(x**2 + a)**1.5": (lambda x, a: (x**2 + a) ** 1.5, lambda x, a: 1.5 * np.sqrt(x**2 + a)),
    "(x**2 + a)**(1/3)": (lambda x, a: np.cbrt(x**2 + a), lambda x, a: np.cbrt(x**2 + a) ** -2 / 3),
    "10**(a * x / 9)": (lambda x, a: 10 ** (a * x / 9), lambda x, a: np.log(10) * x / 9 * 10 ** (a * x / 9)),
    "log(x**2 + a**2) + log10(a)": (
        lambda x, a: np.log(x**2 + a**2) + np.log10(a),
        lambda x, a: 2 * a / (x**2 + a**2) + 1 / (a * np.log(10)),
    ),
    "tanh(a * x) + E": (lambda x, a: np.tanh(a * x) + np.e, lambda x, a: x / np.cosh(a * x) ** 2),
    "arctan2(x, a)": (lambda x, a: np.arctan2(x, a), lambda x, a: -x / (x**2 + a**2)),
    "erfc(a * x)": (
        lambda x, a: erfc(a * x),
        lambda x, a: -2 * x / np.sqrt(np.pi) * np.exp(-((a * x) ** 2)),
    ),
    "sec(x / 9) * a": (lambda x, a: a / np.cos(x / 9), lambda x, a: 1 / np.cos(x / 9)),
    "asinh(a * x)": (lambda x, a: np.arcsinh(a * x), lambda x, a: x / np.sqrt(1 + (a * x) ** 2)),
    "gamma(x**2 + a)": (
        lambda x, a: gamma_function(x**2 + a),
        lambda x, a: gamma_function(x**2 + a) * digamma(x**2 + a),
    ),
    "real(wofz((x + 1j * a) / 2))": (lambda x, a: wofz((x + 1j * a) / 2).real, None),
    "im(3 * wofz(x + I * a) + 1 / (x + I))": (lambda x, a: (3 * wofz(x + 1j * a) + 1 / (x + 1j)).imag, None),
    "re(exp(I * a * x))": (lambda x, a: np.cos(a * x), lambda x, a: -x * np.sin(a * x)),
    "Abs((x + I * a)**2)": (lambda x, a: x**2 + a**2, lambda x, a: 2 * a + 0 * x),
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions(differentiate, text):
    function, derivative = FUNCTIONS[text]
    x = np.linspace(-5.03, 5.11, 77)
    values, gradients = expression_line_shape(text, ("a",)).evaluate(x, [1.3])
    np.testing.assert_allclose(values, function(x, 1.3), rtol=1e-12, atol=1e-12)
    if derivative is None:
        expected = differentiate(lambda theta: function(x, theta[0]), [1.3], 0, 1e-3)
        np.testing.assert_allclose(gradients[0], expected, rtol=0, atol=1e-9)
    else:
        np.testing.assert_allclose(gradients[0], derivative(x, 1.3), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "names", "linear", "homogeneous"),
    [
        ("a * b * x", "a b", (True, False), True),
        ("a * x + b + 1", "a b", (True, True), False),
        ("(a + b)**2 - a**2 + x", "a b", (True, False), False),
        ("a * exp(-x / t) + b * c * x", "a b c t", (True, True, False, False), True),
        ("where(x > c, a * x, b)", "a b c", (True, True, False), True),
        ("Abs(a * x)", "a", (False,), False),
        ("sin(a * x)", "a", (False,), False),
        ("Heaviside(x - n, 0.5) * A", "A n", (True, False), True),
        ("a / (x + b) + c", "a b c", (True, False, True), True),
    ],
)
def test_parameters_that_are_jointly_linear(text, names, linear, homogeneous):
    shape = expression_line_shape(text, tuple(names.split()))
    assert tuple(parameter.linear for parameter in shape.parameters) == linear
    assert shape.homogeneous is homogeneous


@settings(max_examples=30, deadline=None)
@given(centre=st.floats(-50, 50), width=st.floats(1e-3, 1e3), height=st.floats(-1e6, 1e6, allow_subnormal=False))
def test_a_gaussian_anywhere(centre, width, height):
    shape = expression_line_shape("height * exp(-((x - centre) / width)**2 / 2)", ("height", "centre", "width"))
    values, gradients = shape.evaluate(X, [height, centre, width])
    u = (X - centre) / width
    with np.errstate(under="ignore"):
        expected = np.exp(-u * u / 2)
    # The relative error of exp(y) is that of y, times y.
    tolerance = {"rtol": 1e-12, "atol": 1e-250}
    np.testing.assert_allclose(values, height * expected, **tolerance)
    np.testing.assert_allclose(gradients[0], expected, **tolerance)
    np.testing.assert_allclose(gradients[1], height * expected * u / width, rtol=1e-11, atol=1e-250)
    np.testing.assert_allclose(gradients[2], height * expected * u * u / width, rtol=1e-11, atol=1e-250)


def test_symbols_that_are_no_parameters_are_named():
    with pytest.raises(ValueError, match=r"\['width', 'y'\]"):
        expression_line_shape("a * x + y * width", ("a",))


def test_a_second_dimension_is_refused():
    with pytest.raises(ValueError, match=r"\['y'\]"):
        expression_line_shape("a * x + y", ("a", "y"))


@pytest.mark.parametrize(
    ("text", "words"), [("a *", "'a \\*' is no formula"), ("a * x; b", "'b' .* is no substitution")]
)
def test_text_that_cannot_be_parsed(text, words):
    with pytest.raises(ValueError, match=words):
        expression_line_shape(text, ("a",))


@pytest.mark.parametrize("text", ["a * besselj(0, x)", "a * Si(x)", "a * nonsense(x)", "polygamma(1, a * x)"])
def test_functions_without_a_compiled_form_are_named(text):
    name = text.replace("a * ", "").split("(")[0]
    with pytest.raises(NotImplementedError, match=re.escape(f"of {name}() in the expression {text!r}")):
        expression_line_shape(text, ("a",))


def test_complex_values_are_refused():
    with pytest.raises(NotImplementedError, match="is complex"):
        expression_line_shape("a * wofz(x)", ("a",))


def test_a_condition_must_be_a_comparison():
    with pytest.raises(NotImplementedError, match="not a comparison"):
        expression_line_shape("where(x, a, 0)", ("a",))
    with pytest.raises(ValueError, match="a condition and two values"):
        expression_line_shape("where(x > 0, a)", ("a",))


def test_parameters_may_have_any_name():
    shape = expression_line_shape(
        "energy * x + values + t0 + select + p_x", ("energy", "p_x", "select", "t0", "values")
    )
    np.testing.assert_array_equal(shape.evaluate([2.0], [1.0, 2.0, 3.0, 4.0, 5.0])[0], [16.0])


def test_many_parameters():
    # More rows than one loop writes.
    names = tuple(f"{letter}{k}" for k in range(9) for letter in "Ac")
    shape = expression_line_shape("+".join(f"A{k} * exp(-(x - c{k})**2)" for k in range(9)), names)
    height, centre = np.linspace(1.0, 2.0, 9)[:, None], np.linspace(-20.0, 60.0, 9)[:, None]
    peaks = np.exp(-((X - centre) ** 2))
    values, gradients = shape.evaluate(X, np.hstack([height, centre]).ravel())
    np.testing.assert_allclose(values, np.sum(height * peaks, axis=0), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(gradients[::2], peaks, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(gradients[1::2], 2 * height * (X - centre) * peaks, rtol=1e-12, atol=1e-300)
    assert [parameter.linear for parameter in shape.parameters] == [True, False] * 9


def test_line_shapes_are_made_once_and_pickled_as_their_expression():
    shape = expression_line_shape("a * x", ("a",))
    assert expression_line_shape("a * x", ("a",)) is shape
    assert pickle.loads(pickle.dumps(shape)) is shape


# The cache


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _python(code: str, cache: Path) -> str:
    environment = os.environ | {"HYPERSPY_ASSB_CACHE_DIR": str(cache)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return run.stdout


SCRIPT = """
import sys
from hyperspy_assb.fitting.expressions.expression_shapes import expression_line_shape
expression_line_shape("7 * x", ()).evaluate([1.0], [])
shape = expression_line_shape("where(x > b, a * exp(-x / t), 0)", ("a", "b", "t"))
values, gradients = shape.evaluate([1.0, 2.0], [3.0, 1.5, 2.0])
print([values.tolist(), "sympy" in sys.modules, sum(shape.kernel.stats.cache_hits.values()),
       [p.linear for p in shape.parameters], shape.homogeneous])
"""


def test_a_second_process_neither_imports_sympy_nor_compiles(cache):
    first, second = (ast.literal_eval(_python(SCRIPT, cache)) for _ in range(2))
    assert first[1:3] == [True, 0]
    assert second[1:3] == [False, 1]
    assert first[0] == second[0] == pytest.approx([0.0, 3.0 * np.exp(-1.0)], rel=1e-15)
    assert first[3:] == second[3:] == [[True, False, False], True]


def test_the_layer_imports_no_framework(cache):
    module = "hyperspy_assb.fitting.expressions.expression_shapes"
    code = f"import sys, {module}; print([n in sys.modules for n in ('sympy', 'hyperspy')])"
    assert _python(code, cache) == "[False, False]\n"


@pytest.mark.parametrize("damage", [b"", b"raise SystemExit(3)\n", b"\x00\xff", None])
def test_a_damaged_file_is_written_again(cache, monkeypatch, damage):
    monkeypatch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(cache))
    before = set(cache_directory().glob("*.py"))
    expressions._load("31 * a + x", ("a",))
    (path,) = set(cache_directory().glob("*.py")) - before
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    module = expressions._load("31 * a + x", ("a",))
    assert module.LINEAR == (True,)
    assert path.read_bytes() == whole
    assert not list(cache_directory().glob(".*"))
    path.unlink()


def test_the_cache_directory_is_that_of_the_platform(monkeypatch, tmp_path):
    monkeypatch.delenv("HYPERSPY_ASSB_CACHE_DIR", raising=False)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert cache_directory() == platformdirs.user_cache_path("hyperspy-assb", appauthor=False) / "expressions"
    if sys.platform == "linux":
        assert cache_directory() == tmp_path / "XDG_CACHE_HOME" / "hyperspy-assb" / "expressions"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_directory() == tmp_path / "HOME" / ".cache" / "hyperspy-assb" / "expressions"


def test_a_directory_that_cannot_be_written_is_replaced_for_the_process(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(tmp_path / "file"))
    directory = cache_directory()
    assert directory.is_dir()
    assert tmp_path not in directory.parents
    assert cache_directory() == directory


def test_a_file_that_cannot_be_written_goes_to_the_temporary_directory(monkeypatch, tmp_path):
    missing = tmp_path / "removed"
    monkeypatch.setattr(expressions, "cache_directory", lambda: missing)
    module = expressions._load("37 * a + x", ("a",))
    assert Path(module.__file__).is_file()
    assert not missing.exists()
