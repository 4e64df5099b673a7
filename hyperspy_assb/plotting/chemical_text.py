"""Formulas as text of figures."""

from __future__ import annotations

import re

from hyperspy_assb.reference import MaterialError, parse_formula, shown_names

_ELECTRODE = re.compile(r"([A-Z][a-z]?)x(?=[A-Z(\[])")
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")


def formula_text(name: str) -> str:
    """Name of a material or an electrode as figures show it: subscripts of a formula, no underscores.

    A dollar of a name stays one.

    Examples
    --------
    >>> formula_text("LixFePO4"), formula_text("LixV2(PO4)3, x from 1"), formula_text("NMC811")
    ('Li$_x$FePO$_{4}$', 'Li$_x$V$_{2}$(PO$_{4}$)$_{3}$, x from 1', 'NMC811')
    >>> formula_text("amorphous_LAGP")
    'amorphous LAGP'
    """
    formula, comma, rest = name.partition(",")
    ion = _ELECTRODE.match(formula)
    host = formula[ion.end() :] if ion else formula
    try:
        parse_formula(host)
    except MaterialError:
        return plain_text(shown_names(name))
    first = f"{ion[1]}$_x$" if ion else ""
    return first + _NUMBER.sub(r"$_{\1}$", host) + comma + plain_text(rest)


def plain_text(name: str) -> str:
    """A user's name for a label, where matplotlib would read what stands between dollars as mathematics.

    Examples
    --------
    >>> print(plain_text("Na/SI, $_{CON$"))
    Na/SI, \\$_{CON\\$
    """
    return name.replace("$", r"\$")
