"""Chemical formulas, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from types import MappingProxyType

from hyperspy_assb.reference.data_files import MaterialError
from hyperspy_assb.reference.elements import elements

_TOKEN = re.compile(r"(?P<symbol>[A-Z][a-z]?)|(?P<open>[(\[])|(?P<close>[)\]])")
_SYMBOL = re.compile("[A-Z][a-z]?")
_MAYBE_HYDRATE = re.compile(r"(?<=[0-9])(?<![^0-9]0)\.(?=[1-9][0-9]*[A-Z(])")
_WATER = re.compile(r"[0-9]+\(?H2O\)?")
_GROUP = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_CLOSES = {"(": ")", "[": "]"}
_LONGEST = 200


@cache
def parse_formula(formula: str) -> Mapping[str, float]:
    """Atoms per formula unit, in the order of the formula.

    Parameters
    ----------
    formula
        Symbols of elements, each with an optional number, and groups of them in ( ) or [ ]. Numbers are decimal and
        above 0. Nothing else: no charges, spaces or hydrate dots. A dot that may be one, as in FePO4.2H2O, is refused.

    Raises
    ------
    MaterialError
        If it is anything else; the message says what and where.

    Examples
    --------
    >>> dict(parse_formula("Li1.5Al0.5Ge1.5(PO4)3"))
    {'Li': 1.5, 'Al': 0.5, 'Ge': 1.5, 'P': 3.0, 'O': 12.0}
    """

    def bad(at: int, why: str) -> MaterialError:
        return MaterialError(f"formula {formula!r}, character {at + 1}: {why}.")

    if not formula or len(formula) > _LONGEST:
        raise MaterialError(f"formula must be text such as 'LiFePO4' of 1 to {_LONGEST} characters, not {formula!r}.")
    # One group of atoms for each bracket that is open, with the bracket and where it stands.
    stack: list[tuple[str, int, dict[str, Fraction]]] = [("", 0, {})]
    at = 0
    while at < len(formula):
        token = _TOKEN.match(formula, at)
        if token is None:
            raise bad(at, f"{formula[at]!r} is neither an element nor a bracket")
        if token["open"]:
            stack.append((token["open"], at, {}))
            at = token.end()
            continue
        if token["symbol"]:
            symbol = token["symbol"]
            if symbol not in elements():
                raise bad(at, f"{symbol!r} is not an element")
            group = {symbol: Fraction(1)}
        else:
            bracket, _, group = stack.pop()
            if _CLOSES.get(bracket) != token["close"]:
                raise bad(at, f"{token['close']!r} closes no bracket of its kind")
            if not group:
                raise bad(at, "the brackets are empty")
        amount = _AMOUNT.match(formula, token.end())
        factor = Fraction(amount[0]) if amount else Fraction(1)
        if factor == 0:
            raise bad(token.end(), "a number must be above 0")
        held = stack[-1][2]
        for symbol, number in group.items():
            held[symbol] = held.get(symbol, Fraction(0)) + factor * number
        at = amount.end() if amount else token.end()
    if len(stack) > 1:
        raise bad(stack[-1][1], f"{stack[-1][0]!r} is never closed")
    for dot in _MAYBE_HYDRATE.finditer(formula):
        # Groups may hold what stands outside of them as well: LiFePO4F0.5(OH)0.5.
        first, second = (_GROUP.sub("", part) for part in (formula[: dot.start()], formula[dot.end() :]))
        if "(" in first or "[" in first:  # within a group
            continue
        if set(_SYMBOL.findall(first)) & set(_SYMBOL.findall(second)) or _WATER.fullmatch(formula, dot.end()):
            raise bad(
                dot.start(),
                "this dot may be that of a number or may join two compounds: write a hydrate as FePO4(H2O)2, and each "
                "element once",
            )
    return MappingProxyType({symbol: float(number) for symbol, number in stack[0][2].items()})
