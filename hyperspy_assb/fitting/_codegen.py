"""From an expression to the source of a numba kernel, by SymPy.

Imported only when a kernel is not in the cache: SymPy takes longer to import than a cached kernel to load.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.pycode import PythonCodePrinter

_MATH = ("sin", "cos", "tan", "asin", "acos", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "gamma")
# Functions of hyperspy_assb.fitting.special.
_SPECIAL = ("atan", "digamma", "erf", "erfc", "exp", "faddeeva", "log_abs", "power", "select", "signed_log", "tanh")
# SymPy's name of a function to that of the generated code.
_CODE = {name: f"math.{name}" for name in _MATH} | {"loggamma": "math.lgamma", "RealAbs": "abs"}
_CODE |= {name: name for name in ("atan", "erf", "erfc", "exp", "tanh")}
# Names that NumPy, SciPy and numexpr know and SymPy does not.
_ALIASES: dict[str, Callable[..., Any]] = {
    "arcsin": sympy.asin,
    "arccos": sympy.acos,
    "arctan": sympy.atan,
    "arctan2": sympy.atan2,
    "arcsinh": sympy.asinh,
    "arccosh": sympy.acosh,
    "arctanh": sympy.atanh,
    "heaviside": lambda x, at_zero: _step(x, sympy.S.Zero, at_zero, sympy.S.One),
    "power": sympy.Pow,
    "square": lambda x: x**2,
    "log10": lambda x: sympy.log(x) / sympy.log(10),
    "log2": lambda x: sympy.log(x) / sympy.log(2),
    "log1p": lambda x: sympy.log(1 + x),
    "expm1": lambda x: sympy.exp(x) - 1,
    "gammaln": sympy.loggamma,
}
_RECIPROCALS = {"sec": sympy.cos, "csc": sympy.sin, "cot": sympy.tan}
_RECIPROCALS |= {"sech": sympy.cosh, "csch": sympy.sinh, "coth": sympy.tanh}


class Select(sympy.Function):  # type: ignore[misc,unused-ignore]
    """``where(condition, true, false)``; its derivative is that of the chosen branch, steps do not count."""

    nargs = 3
    is_extended_real = True

    @classmethod
    def eval(cls, condition: Any, true: Any, false: Any) -> Any:
        if condition == sympy.true or true == false:
            return true
        return false if condition == sympy.false else None

    def _eval_derivative(self, symbol: Any) -> Any:
        condition, true, false = self.args
        return Select(condition, true.diff(symbol), false.diff(symbol))


class RealAbs(sympy.Function):  # type: ignore[misc,unused-ignore]
    """``Abs`` of what is known to be real; SymPy would have to prove it before it gives the sign as derivative."""

    nargs = 1
    is_extended_real = True

    def fdiff(self, argindex: int = 1) -> Any:
        return _step(self.args[0], -sympy.S.One, sympy.S.Zero, sympy.S.One)


class FaddeevaReal(sympy.Function):  # type: ignore[misc,unused-ignore]
    """Real part of the Faddeeva function at a + i b."""

    nargs = 2
    is_extended_real = True

    def fdiff(self, argindex: int = 1) -> Any:
        a, b = self.args
        u, v = FaddeevaReal(a, b), FaddeevaImag(a, b)
        return -2 * (a * u - b * v) if argindex == 1 else 2 * (a * v + b * u) - 2 / sympy.sqrt(sympy.pi)


class FaddeevaImag(sympy.Function):  # type: ignore[misc,unused-ignore]
    """Imaginary part of the Faddeeva function at a + i b."""

    nargs = 2
    is_extended_real = True

    def fdiff(self, argindex: int = 1) -> Any:
        a, b = self.args
        u, v = FaddeevaReal(a, b), FaddeevaImag(a, b)
        return -2 * (a * v + b * u) + 2 / sympy.sqrt(sympy.pi) if argindex == 1 else -2 * (a * u - b * v)


def _step(x: Any, below: Any, at_zero: Any, above: Any) -> Any:
    return Select(x > 0, above, Select(x < 0, below, at_zero))


def parse(expression: str) -> Any:
    """Expression with its ``;`` substitutions made one after the other, as HyperSpy does."""
    first, *substitutions = (part.strip() for part in expression.split(";"))
    parsed = sympy.sympify(first)
    for substitution in filter(None, substitutions):
        name, _, value = substitution.partition("=")
        parsed = parsed.subs(name.strip(), sympy.sympify(value.strip()))
    return parsed


class _Reader:
    """Rewrites a parsed expression in the functions that have derivatives and code."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def _unsupported(self, name: str) -> NotImplementedError:
        return NotImplementedError(f"There is no compiled form of {name}() in the expression {self._expression!r}.")

    def real(self, node: Any) -> Any:
        """The node as a real expression."""
        real, imaginary = self.parts(node)
        if imaginary != 0:
            raise NotImplementedError(f"The expression {self._expression!r} is complex; take re() or im() of it.")
        return real

    def parts(self, node: Any) -> tuple[Any, Any]:
        """Real and imaginary part."""
        zero = sympy.S.Zero
        if node is sympy.I:
            return zero, sympy.S.One
        if node.is_Atom:
            return node, zero
        name = node.func.__name__
        if name in ("where", "Piecewise", "ITE", "Select"):
            return self._choice(name, node), zero
        parts = [self.parts(argument) for argument in node.args]
        if name in ("re", "real", "im", "imag"):
            return parts[0][name in ("im", "imag")], zero
        if name == "wofz":
            a, b = parts[0]
            return FaddeevaReal(a, b), FaddeevaImag(a, b)
        if all(imaginary == 0 for _, imaginary in parts):
            return self._real_function(node, name, [real for real, _ in parts]), zero
        return self._complex_function(node, name, parts)

    def condition(self, node: Any) -> Any:
        """Condition between real expressions."""
        if node in (sympy.true, sympy.false):
            return node
        if isinstance(node, sympy.core.relational.Relational):
            return node.func(*[self.real(side) for side in node.args])
        if isinstance(node, (sympy.And, sympy.Or, sympy.Not)):
            return node.func(*[self.condition(argument) for argument in node.args])
        raise NotImplementedError(f"{node} is not a comparison, in the expression {self._expression!r}.")

    def _choice(self, name: str, node: Any) -> Any:
        if name != "Piecewise":
            if len(node.args) != 3:
                raise ValueError(f"where() takes a condition and two values, in the expression {self._expression!r}.")
            condition, true, false = node.args
            return Select(self.condition(condition), self.real(true), self.real(false))
        result = sympy.nan
        for value, condition in reversed(node.args):
            result = Select(self.condition(condition), self.real(value), result)
        return result

    def _real_function(self, node: Any, name: str, arguments: Sequence[Any]) -> Any:
        if node.is_Pow:
            base, exponent = arguments
            # x**2.0 and x**0.5 are products and roots, too.
            if exponent.is_Float and (2 * float(exponent)).is_integer():
                exponent = sympy.Rational(int(2 * float(exponent)), 2)
            return sympy.exp(exponent * sympy.log(base)) if base.is_number and base > 0 else base**exponent
        if node.is_Add or node.is_Mul or name in _CODE or name in ("log", "FaddeevaReal", "FaddeevaImag"):
            return node.func(*arguments)
        if name == "Abs":
            return RealAbs(*arguments)
        if name == "Heaviside":
            return _step(arguments[0], sympy.S.Zero, arguments[1], sympy.S.One)
        if name == "sign":
            return _step(arguments[0], -sympy.S.One, sympy.S.Zero, sympy.S.One)
        if name in ("Max", "Min"):
            result = arguments[0]
            for other in arguments[1:]:
                result = Select(result > other if name == "Max" else result < other, result, other)
            return result
        if name in ("conjugate", "re", "real"):
            return arguments[0]
        if name in _RECIPROCALS:
            return 1 / _RECIPROCALS[name](*arguments)
        if name == "polygamma" and arguments[0] == 0:
            return node.func(*arguments)
        if name == "factorial":
            return sympy.gamma(arguments[0] + 1)
        if isinstance(node, AppliedUndef) and name in _ALIASES:
            return self.real(_ALIASES[name](*arguments))
        raise self._unsupported(name)

    def _complex_function(self, node: Any, name: str, parts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        if node.is_Add:
            return sympy.Add(*[real for real, _ in parts]), sympy.Add(*[imaginary for _, imaginary in parts])
        if node.is_Mul:
            return _product(parts)
        real, imaginary = parts[0]
        if node.is_Pow and node.exp.is_Integer:
            real, imaginary = _product([(real, imaginary)] * abs(int(node.exp)))
            if node.exp > 0:
                return real, imaginary
            norm = real**2 + imaginary**2
            return real / norm, -imaginary / norm
        if name == "exp":
            return sympy.exp(real) * sympy.cos(imaginary), sympy.exp(real) * sympy.sin(imaginary)
        if name == "conjugate":
            return real, -imaginary
        if name == "Abs":
            return sympy.sqrt(real**2 + imaginary**2), sympy.S.Zero
        raise self._unsupported(f"complex {name}")


def _product(parts: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
    real, imaginary = sympy.S.One, sympy.S.Zero
    for a, b in parts:
        real, imaginary = real * a - imaginary * b, real * b + imaginary * a
    return real, imaginary


def jointly_linear(values: Any, derivatives: Sequence[Any], symbols: Sequence[Any]) -> tuple[list[bool], bool]:
    """Which symbols the values are jointly linear in, the first ones first, and whether nothing else is added.

    A symbol in a condition or in ``Abs`` is not linear, although its second derivative is zero where it exists.
    """
    steps = {symbol for node in values.atoms(Select) for symbol in node.args[0].free_symbols}
    steps |= {symbol for node in values.atoms(sympy.Abs, RealAbs) for symbol in node.free_symbols}
    chosen: set[Any] = set()
    for symbol, derivative in zip(symbols, derivatives, strict=True):
        if symbol in steps or derivative == 0:
            continue
        others = chosen | {symbol}
        if not derivative.free_symbols & others or not sympy.expand(derivative).free_symbols & others:
            chosen.add(symbol)
    rest = values.subs(dict.fromkeys(chosen, 0))
    return [symbol in chosen for symbol in symbols], bool(sympy.expand(rest) == 0)


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


def _shared(formulas: list[Any], letter: str) -> tuple[list[tuple[Any, Any]], list[Any]]:
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
{head}    for i in range(energy.size):
        x = energy[i]
{body}
'''


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
        Python source; the same kernel as of a :class:`~hyperspy_assb.fitting.kernels.LineShape`.

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
        raise ValueError(f"{sorted(unknown)} of the expression {expression!r} is neither x nor among {parameters}.")
    x = sympy.Symbol("x", real=True)
    # A prefix, since a parameter may have the name of a Python keyword or of a variable of the kernel.
    symbols = [sympy.Symbol(f"p_{name}", real=True) for name in parameters]
    real = dict(zip(parameters, symbols, strict=True)) | {"x": x}
    reader = _Reader(expression)
    values = reader.real(parsed.xreplace({symbol: real[symbol.name] for symbol in parsed.free_symbols}))
    derivatives = [reader.real(values.diff(symbol)) for symbol in symbols]
    linear, homogeneous = jointly_linear(values, derivatives, symbols)

    lowering = _Lowering(x)
    results = [lowering.hoist(lowering.lower(formula)) for formula in [values, *derivatives]]
    before, invariants = _shared(list(lowering.invariants), "s")
    inside, results = _shared(results, "t")
    before += zip(lowering.invariants.values(), invariants, strict=True)
    used = {symbol for _, formula in [*before, *inside] for symbol in formula.free_symbols}
    used.update(*[formula.free_symbols for formula in results])
    head = [f"{symbol} = parameters[{k}]" for k, symbol in enumerate(symbols) if symbol in used]
    head += [f"{name} = {_text(formula)}" for name, formula in before]
    body = [f"{name} = {_text(formula)}" for name, formula in inside]
    body += [f"values[i] = {_text(results[0])}"]
    body += [f"gradients[{k}, i] = {_text(formula)}" for k, formula in enumerate(results[1:])]
    code = "\n".join([*head, *body])
    special = [name for name in _SPECIAL if re.search(rf"(?<![.\w]){name}\(", code)]
    return _TEMPLATE.format(
        imports=f"\nfrom hyperspy_assb.fitting.special import {', '.join(special)}\n" if special else "",
        expression=expression,
        parameters=parameters,
        linear=tuple(linear),
        homogeneous=homogeneous,
        head=textwrap.indent("".join(f"{line}\n" for line in head), " " * 4),
        body=textwrap.indent("\n".join(body), " " * 8),
    )
