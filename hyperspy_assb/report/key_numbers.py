"""The table that a report opens with: each quantity rounded to two digits of its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from hyperspy_assb.report.html import Table, rounded

ONE_STATE = "one state only"
"""Where a table of changes has a number of one state."""


@dataclass(frozen=True)
class KeyNumber:
    """A quantity that a report opens with.

    Parameters
    ----------
    quantity
        What it is.
    value
        Its value; of two states, that after.
    unit
        Of value and uncertainty.
    uncertainty
        Standard uncertainty; of two states, that of the change. NaN: not known.
    significance
        In words with its measure, as "5.3 σ" or "p = 0.002".
    before
        The value before; None where there is one state.
    floor
        Below it, a value is no finding: false detections reach as far.
    """

    quantity: str
    value: float
    unit: str = ""
    uncertainty: float = math.nan
    significance: str = ""
    before: float | None = None
    floor: float = 0.0


def sigmas(value: float, uncertainty: float) -> str:
    """By how many standard uncertainties a value is off nothing; empty where that is not known.

    Examples
    --------
    >>> sigmas(1.0, 0.2), sigmas(1.0, float("nan"))
    ('5.0 σ', '')
    """
    if not (math.isfinite(value) and math.isfinite(uncertainty) and uncertainty > 0.0):
        return ""
    ratio = value / uncertainty
    text = f"{ratio:.1f} σ" if abs(ratio) < 10.0 else f"{ratio:.0f} σ"
    return text.replace("-", "−", 1)


def two_states(before: Iterable[KeyNumber], after: Iterable[KeyNumber]) -> Iterator[KeyNumber]:
    """The same quantities before and after, whose errors are taken as independent: a shared part counts twice.

    A share or area that one state does not name is nothing there; other quantities are left out, as are counts of a
    number that differs.

    Examples
    --------
    >>> one, other = KeyNumber("x", 1.0, "Li", 0.03), KeyNumber("x", 0.5, "Li", 0.04)
    >>> next(two_states([one], [other]))
    KeyNumber(quantity='x', value=0.5, unit='Li', uncertainty=0.05, significance='−10 σ', before=1.0, floor=0.0)
    """
    first, last = ({number.quantity: number for number in state} for state in (before, after))
    for name in dict.fromkeys([*first, *last]):
        known = first.get(name) or last[name]
        zero = KeyNumber(name, 0.0, known.unit, 0.0)
        one, other = first.get(name, zero), last.get(name, zero)
        if one.unit != other.unit or (zero in (one, other) and not known.unit.startswith("%")):
            continue
        error = math.hypot(one.uncertainty, other.uncertainty)
        significance = sigmas(other.value - one.value, error)
        yield KeyNumber(name, other.value, known.unit, error, significance, one.value, known.floor)


def _significance(number: KeyNumber, two: bool) -> str:
    if max(number.value, number.before or 0.0) < number.floor:
        return "within the false rate"
    return number.significance or (ONE_STATE if two and number.before is None else "–")


def key_numbers(numbers: Iterable[KeyNumber], caption: str) -> list[Table]:
    """The numbers as one table, without the columns that are empty; no table without numbers."""
    numbers = list(numbers)
    if not numbers:
        return []
    two = any(number.before is not None for number in numbers)
    rows = []
    for number in numbers:
        before = math.nan if number.before is None else number.before
        rows.append(
            {
                "quantity": number.quantity,
                "before": rounded(before, number.uncertainty),
                "after" if two else "value": rounded(number.value, number.uncertainty),
                "unit": number.unit.replace(" %", "\N{NO-BREAK SPACE}%"),
                "uncertainty": rounded(number.uncertainty, number.uncertainty),
                "significance": _significance(number, two),
            }
        )
    table = pd.DataFrame(rows)
    empty = [name for name in table.columns[1:] if table[name].isin(["", "–"]).all()]
    return [Table(table.drop(columns=empty), caption)]
