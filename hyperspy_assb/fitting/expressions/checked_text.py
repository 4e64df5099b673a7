"""Formulas as text: nothing but arithmetic and functions of numbers gets past this module to SymPy, which evaluates it.

Models in files carry expressions, and so do those that a colleague sends.
"""

from __future__ import annotations

import ast
import builtins
import re
from typing import Any

import sympy
from sympy.core.function import FunctionClass

from hyperspy_assb.errors import AssbValueError

_CHARACTERS = re.compile(r"[\w\s.,+\-*/^%()<>=!&|~]*")
_MAX_LENGTH = 20_000
_NODES = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Call,
    ast.Name,
    ast.Constant,
    ast.Tuple,
    ast.Load,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)
_CALLED = {"sqrt", "cbrt", "root", "abs", "max", "min", "pow", "And", "Or", "Not", "Add", "Mul", "Pow", "Rational"}
"""What SymPy or Python has beside functions, and takes numbers."""


def formula(text: str) -> Any:
    """What a text means to SymPy, if it is a formula.

    Parameters
    ----------
    text
        Numbers, symbols, operators, comparisons, and calls of functions.

    Returns
    -------
    sympy.Expr
        As of :func:`sympy.sympify`.

    Raises
    ------
    ValueError
        If it is anything else: attributes, texts, indices, keywords, functions that do more than to compute.

    Examples
    --------
    >>> formula("A * exp(-x**2 / 2)")
    A*exp(-x**2/2)
    >>> try:
    ...     formula("__import__('os').system('echo')")
    ... except ValueError as error:
    ...     print(error)
    "__import__('os').system('echo')" is no formula: it may hold numbers, symbols, operators and functions only.
    """
    if not _is_formula(text):
        raise AssbValueError(
            f"{text[:200]!r} is no formula: it may hold numbers, symbols, operators and functions only."
        )
    return sympy.sympify(text)


def _is_formula(text: str) -> bool:
    # The text also stands in the source of the kernel: no quotes, no comments.
    if len(text) > _MAX_LENGTH or _CHARACTERS.fullmatch(text) is None:
        return False
    # A factorial is the only thing that SymPy reads and Python does not.
    plain = re.sub(r"(?<=[\w)])!+(?!=)", "", text)
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _NODES) and _is_harmless(node) for node in ast.walk(tree))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float | complex)
    if not isinstance(node, ast.Call):
        return True
    if not isinstance(node.func, ast.Name) or node.keywords:
        return False
    name = node.func.id
    known = getattr(sympy, name, None)
    # A name that nobody has is a function without a meaning, which is refused where one is needed.
    return name in _CALLED or isinstance(known, FunctionClass) or (known is None and not hasattr(builtins, name))
