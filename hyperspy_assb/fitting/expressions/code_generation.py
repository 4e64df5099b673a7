"""From an expression to the source of a numba kernel, by SymPy.

Imported only when a kernel is not in the cache: SymPy takes longer to import than a cached kernel to load.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import sympy
from sympy.printing.pycode import PythonCodePrinter

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.expressions.parsing import Reader, jointly_linear, parse

_MATH = ("sin", "cos", "tan", "asin", "acos", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "gamma")
# Functions of hyperspy_assb.fitting.spectra.special_functions.
_SPECIAL = ("atan", "digamma", "erf", "erfc", "exp", "faddeeva", "log_abs", "power", "select", "signed_log", "tanh")
# SymPy's name of a function to that of the generated code.
_CODE = {name: f"math.{name}" for name in _MATH} | {"loggamma": "math.lgamma", "RealAbs": "abs"}
_CODE |= {name: name for name in ("atan", "erf", "erfc", "exp", "tanh")}
# Rows that one loop writes: beyond 14, LLVM does not check whether they overlap, and computes channel by channel.
_ROWS = 12


class _Lowering:
    """Rewrites a real expression in the functions of the generated code, and moves what has no x out of the loop."""

    def __init__(self, x: Any) -> None:
        self._x = x
        self.invariants: dict[Any, Any] = {}

    def lower(self, node: Any) -> Any:
        """The node in functions that are spelt as in the code."""
        if node.is_Atom:
            return node
        if node.is_number:
            return sympy.Float(node.evalf(20), 20)
        arguments = [self.lower(argument) for argument in node.args]
        name = node.func.__name__
        if node.is_Pow:
            base, exponent = arguments
            if node.exp.is_Integer:
                return base**node.exp
            if node.exp.is_Rational and node.exp.q == 2:
                return sympy.Function("math.sqrt")(base) ** node.exp.p
            return sympy.Function("power")(base, exponent, sympy.Function("log_abs")(base))
        if name == "log":
            logarithm = sympy.Function("log_abs")(*arguments)
            return logarithm if node.args[0].is_positive else sympy.Function("signed_log")(*arguments, logarithm)
        if name in ("FaddeevaReal", "FaddeevaImag"):
            # One call gives both parts; `item` is an index.
            return sympy.Function("item")(sympy.Function("faddeeva")(*arguments), int(name == "FaddeevaImag"))
        if name == "polygamma":
            return sympy.Function("digamma")(arguments[1])
        if name == "Select":
            return sympy.Function("select")(*arguments)
        return sympy.Function(_CODE[name])(*arguments) if name in _CODE else node.func(*arguments)

    def hoist(self, node: Any) -> Any:
        """The node with names for what does not depend on x."""
        if node.is_Atom or node.is_number:
            return node
        if self._x not in node.free_symbols:
            return self.invariants.setdefault(node, sympy.Symbol(f"c{len(self.invariants)}", real=True))
        if node.is_Pow and node.exp.is_Integer:
            return self.hoist(node.base) ** node.exp
        arguments = node.args
        if node.is_Add or node.is_Mul:
            fixed = [a for a in arguments if self._x not in a.free_symbols]
            varying = [a for a in arguments if self._x in a.free_symbols]
            arguments = [node.func(*fixed), *varying] if fixed else varying
        return node.func(*[self.hoist(argument) for argument in arguments])


class _Printer(PythonCodePrinter):  # type: ignore[misc,unused-ignore]
    def _print_Float(self, number: Any) -> str:
        return repr(float(number))

    def _print_Integer(self, number: Any) -> str:
        return str(number) if abs(number) < 2**53 else repr(float(number))

    def _print_Rational(self, number: Any) -> str:
        return repr(float(number))

    def _print_Pow(self, node: Any, rational: bool = False) -> str:
        # numba raises where 0 is to the power of a negative integer; a division gives infinity.
        if node.exp.is_Integer and node.exp < 0:
            return f"(1.0/({self._print(node.base**-node.exp)}))"
        return super()._print_Pow(node, rational=rational)

    def _print_NaN(self, number: Any) -> str:
        return "math.nan"

    def _print_BooleanAtom(self, value: Any) -> str:
        return str(bool(value))

    def _print_Function(self, node: Any) -> str:
        if node.func.__name__ == "item":
            return f"{self._print(node.args[0])}[{node.args[1]}]"
        return f"{node.func.__name__}({', '.join(self._print(argument) for argument in node.args)})"


def _shared(formulas: Sequence[Any], letter: str) -> tuple[list[tuple[Any, Any]], list[Any]]:
    """Common subexpressions of the formulas, by name, and the formulas in those names."""
    return sympy.cse(formulas, symbols=sympy.numbered_symbols(letter, real=True))


def _text(formula: Any) -> str:
    return _Printer({"fully_qualified_modules": True}).doprint(formula)


_TEMPLATE = '''\
"""Values and derivatives of an expression: written by hyperspy_assb, to be read by its users but not edited."""

import math

import numba
{imports}
EXPRESSION = {expression!r}
PARAMETERS = {parameters!r}
LINEAR = {linear!r}
HOMOGENEOUS = {homogeneous!r}


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={{"contract", "nsz", "arcp"}})
def kernel(energy, parameters, constants, values, gradients):
{head}{loops}
'''

_LOOP = """\
for i in range(energy.size):
    x = energy[i]
{body}"""


def _loops(results: Sequence[Any]) -> tuple[str, set[Any]]:
    """The loops over channels that write the values and derivatives, and the symbols that are used in them."""
    targets = ["values[i]", *[f"gradients[{k}, i]" for k in range(len(results) - 1)]]
    loops: list[str] = []
    used: set[Any] = set()
    for start in range(0, len(results), _ROWS):
        inside, formulas = _shared(results[start : start + _ROWS], "t")
        lines = [*inside, *zip(targets[start:], formulas, strict=False)]
        used.update(*[formula.free_symbols for _, formula in lines])
        body = "\n".join(f"{target} = {_text(formula)}" for target, formula in lines)
        loops.append(_LOOP.format(body=textwrap.indent(body, " " * 4)))
    return "\n".join(loops), used


def kernel_source(expression: str, parameters: tuple[str, ...]) -> str:
    """Source of the module that holds the kernel of an expression and what is known of its parameters.

    Parameters
    ----------
    expression
        Expression in x and the parameters.
    parameters
        Names of its other symbols, in kernel order.

    Returns
    -------
    source
        Python source; the same kernel as of a :class:`~hyperspy_assb.fitting.spectra.line_shape.LineShape`.

    Raises
    ------
    ValueError
        If the expression has a symbol that is neither x nor among the parameters, or y.
    NotImplementedError
        If a function has no compiled form.
    """
    parsed = parse(expression)
    unknown = {symbol.name for symbol in parsed.free_symbols} - ({"x", *parameters} - {"y"})
    if unknown:
        raise AssbValueError(f"{sorted(unknown)} of the expression {expression!r} is neither x nor among {parameters}.")
    x = sympy.Symbol("x", real=True)
    # A prefix, since a parameter may have the name of a Python keyword or of a variable of the kernel.
    symbols = [sympy.Symbol(f"p_{name}", real=True) for name in parameters]
    real = dict(zip(parameters, symbols, strict=True)) | {"x": x}
    reader = Reader(expression)
    values = reader.real(parsed.xreplace({symbol: real[symbol.name] for symbol in parsed.free_symbols}))
    derivatives = [reader.real(values.diff(symbol)) for symbol in symbols]
    linear, homogeneous = jointly_linear(values, derivatives, symbols)

    lowering = _Lowering(x)
    results = [lowering.hoist(lowering.lower(formula)) for formula in [values, *derivatives]]
    loops, used = _loops(results)
    before, invariants = _shared(list(lowering.invariants), "s")
    before += zip(lowering.invariants.values(), invariants, strict=True)
    used.update(*[formula.free_symbols for _, formula in before])
    head = [f"{symbol} = parameters[{k}]" for k, symbol in enumerate(symbols) if symbol in used]
    head += [f"{name} = {_text(formula)}" for name, formula in before]
    code = "\n".join([*head, loops])
    special = [name for name in _SPECIAL if re.search(rf"(?<![.\w]){name}\(", code)]
    return _TEMPLATE.format(
        imports=f"\nfrom hyperspy_assb.fitting.spectra.special_functions import {', '.join(special)}\n"
        if special
        else "",
        expression=expression,
        parameters=parameters,
        linear=tuple(linear),
        homogeneous=homogeneous,
        head=textwrap.indent("".join(f"{line}\n" for line in head), " " * 4),
        loops=textwrap.indent(loops, " " * 4),
    )
