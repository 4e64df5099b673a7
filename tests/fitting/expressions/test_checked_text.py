"""No text executes anything on its way to a formula."""

from __future__ import annotations

import hashlib
import os

import pytest
import sympy

from hyperspy_assb.fitting.expressions import expression_shapes as shapes
from hyperspy_assb.fitting.expressions.checked_text import formula
from hyperspy_assb.fitting.expressions.expression_shapes import expression_line_shape

# What each would do is to make the folder "ran" beside the test.
HOSTILE = [
    "__import__('os').mkdir('ran')",
    "x + __import__('os').mkdir('ran')",
    "x; y = __import__('os').mkdir('ran')",
    "x.__class__.__base__.__subclasses__()",
    "(1).__class__",
    "exec(chr(112))",
    "eval(x)",
    "ｅｖａｌ(x)",
    "open(x)",
    "getattr(x, x)",
    "breakpoint()",
    "input()",
    "exit()",
    "sympify(x)",
    "S(x)",
    "parse_expr(x)",
    "lambdify(x, x)",
    "preview(x)",
    "plot(x)",
    "Lambda(x, x)(1)",
    "(lambda: 1)()",
    "[y for y in (1,)]",
    "x[0]",
    "{x}",
    "f(x=1)",
    "f(*x)",
    "x if x else 1",
    "x := 1",
    "f'{x}'",
    'x #"""\n',
    '"""',
    "x\\\n",
    "`x`",
    "x; import os",
    "(" * 10_000 + "x" + ")" * 10_000,
    "x" * 30_000,
    "print(x)",
    "globals()",
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused_and_nothing_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, NotImplementedError)):
        expression_line_shape(text, ("a",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "a * exp(-((x - x0) / w)**2 / 2)",
        "where(x > x0, a, b)",
        "Piecewise((a, x > 0), (0, True))",
        "a*x! + gamma(x)",
        "-a^2 % 3 + Max(a, 1e-3) - sqrt(x) + Abs(x)",
        "(x > 1) & ~(x > 2)",
        "wofz(x + 1j)",
        "Rational(1, 3) * 2j",
        "nobody(x)",
        "μ * x + σ",
    ],
)
def test_formulas_are_read_as_before(text):
    assert formula(text) == sympy.sympify(text)


def test_each_function_of_sympy_that_may_be_called_only_computes():
    known = [name for name in dir(sympy) if isinstance(getattr(sympy, name), sympy.core.function.FunctionClass)]
    assert len(known) > 100
    assert not {"lambdify", "sympify", "S", "preview", "Lambda", "init_printing", "source"} & set(known)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files")
def test_a_kernel_that_others_may_have_written_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSPY_ASSB_CACHE_DIR", str(tmp_path))
    name = hashlib.sha256(shapes._version() + repr(("a * x + 5", ("a",))).encode()).hexdigest()
    source = f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n"
    path = shapes.cache_directory() / f"expression_{name}.py"
    path.write_text(source + shapes._checksum(source))
    path.chmod(0o666)
    values, _ = expression_line_shape("a * x + 5", ("a",)).evaluate([1.0], [2.0])
    assert values == [7.0]
    assert not (tmp_path / "ran").exists()
    (tmp_path / "expressions").chmod(0o777)
    assert tmp_path not in shapes.cache_directory().parents
