"""The table that a report opens with: each quantity rounded to two digits of its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from hyperspy_assb.report.html import Table, rounded


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
    """

    quantity: str
    value: float
    unit: str = ""
    uncertainty: float = math.nan
    significance: str = ""
    before: float | None = None


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
                "unit": number.unit,
                "uncertainty": rounded(number.uncertainty, number.uncertainty),
                "significance": number.significance,
            }
        )
    table = pd.DataFrame(rows)
    empty = [name for name in table.columns[1:] if table[name].isin(["", "–"]).all()]
    return [Table(table.drop(columns=empty), caption)]
