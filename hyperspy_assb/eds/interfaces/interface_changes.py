"""Interfaces of two states: whether they grew, and whether more lies beyond them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from hyperspy_assb.eds.interfaces.interface_width import InterfaceFit, Width
from hyperspy_assb.errors import AssbValueError

_SAME_PROBE = (0.05, 1e-3)
"""Share, and nm, by which the probes of two states may differ: no probe is known better."""


@dataclass(frozen=True)
class Change:
    """A number before and after.

    Parameters
    ----------
    what
        Such as "width" or "Fe beyond the boundary".
    before, after
        Values.
    change, std
        After less before, and its standard error: of a width, those of its variance in nm^2; of what lies beyond the
        boundary, those of what was recorded, in nm.
    p_value
        Two-sided: of a change at least as large, where there is none.
    p_grew
        One-sided: of a growth at least as large.
    """

    what: str
    before: float
    after: float
    change: float
    std: float
    p_value: float
    p_grew: float


def compare_interfaces(before: InterfaceFit, after: InterfaceFit) -> list[Change]:
    """Whether an interface grew, and whether more lies beyond it.

    Parameters
    ----------
    before, after
        Fits of the same boundary in two states, with the same direction.

    Returns
    -------
    changes
        Of the width of all elements together, of the width of each, and of what lies beyond the boundary.

    Raises
    ------
    AssbValueError
        If the probes differ: what it puts beyond the boundary would pass for migration.
    """
    if not np.isclose(before.probe, after.probe, rtol=_SAME_PROBE[0], atol=_SAME_PROBE[1]):
        raise AssbValueError(
            f"The probe was {before.probe:g} nm before and {after.probe:g} nm after: amounts beyond the boundary "
            "cannot be compared. Record both states with one probe."
        )
    found = [_change("width", before.common, after.common)]
    for element, width in before.widths.items():
        other = after.widths.get(element)
        if other is not None and not width.reason and not other.reason:
            found.append(_change(f"width of {element}", width, other))
    for element, one in before.beyond.items():
        other_beyond = after.beyond.get(element)
        if other_beyond is not None:
            std = float(np.hypot(one.recorded_std, other_beyond.recorded_std))
            tested = _tested(f"{element} beyond the boundary", one.recorded, other_beyond.recorded, std)
            found.append(replace(tested, before=one.amount, after=other_beyond.amount))
    return found


def _change(what: str, one: Width, other: Width) -> Change:
    tested = _tested(what, one.variance, other.variance, float(np.hypot(one.variance_std, other.variance_std)))
    return replace(tested, before=one.value, after=other.value)


def _tested(what: str, one: float, other: float, std: float) -> Change:
    z = (other - one) / std if std > 0.0 else 0.0
    return Change(what, one, other, other - one, std, float(2.0 * special.ndtr(-abs(z))), float(special.ndtr(-z)))
