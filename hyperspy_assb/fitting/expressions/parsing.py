"""What an expression in SymPy's notation means as a real function of x and parameters, with derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError
from hyperspy_assb.fitting.expressions.checked_text import formula

# Functions that numba or :mod:`~hyperspy_assb.fitting.spectra.special_functions` compute, by SymPy's names.
COMPILED = {"sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"}
COMPILED |= {"exp", "log", "erf", "erfc", "gamma", "loggamma", "FaddeevaReal", "FaddeevaImag", "RealAbs"}
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
    parsed = formula(first)
    for substitution in filter(None, substitutions):
        name, _, value = substitution.partition("=")
        if not value.strip():
            raise AssbValueError(f"{substitution!r} in {expression!r} is no substitution, as u = x / a would be.")
        parsed = parsed.subs(name.strip(), formula(value))
    return parsed


class Reader:
    """Rewrites a parsed expression in the functions that have derivatives and code."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def _unsupported(self, name: str) -> NotImplementedError:
        return NotImplementedError(f"There is no compiled form of {name}() in the expression {self._expression!r}.")

    def real(self, node: Any) -> Any:
        """The node as a real expression."""
        real, imaginary = self.parts(node)
        if imaginary != 0:
            raise AssbNotImplementedError(f"The expression {self._expression!r} is complex; take re() or im() of it.")
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
        raise AssbNotImplementedError(f"{node} is not a comparison, in the expression {self._expression!r}.")

    def _choice(self, name: str, node: Any) -> Any:
        if name != "Piecewise":
            if len(node.args) != 3:
                raise AssbValueError(
                    f"where() takes a condition and two values, in the expression {self._expression!r}."
                )
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
        if node.is_Add or node.is_Mul or name in COMPILED:
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
