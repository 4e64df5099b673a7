"""Whether factors that were given can be what they are said to be."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.eds.lines.sensitivity import GIVEN_K, Sensitivities

_ODD = 2.5
"""Factors by which one may differ from what is computed, beside the others."""
_SOFT = 2.0
"""How much more uncertain factors of lines below 1 keV and of L and M lines are: windows, yields."""
_ENOUGH = 4
"""Lines from which on the convention can be told."""
_SLOPE = 0.35
"""How near to the power of the atomic mass the ratios must go."""


def odd_factors(given: Sensitivities, computed: Sensitivities) -> tuple[str, ...]:
    """What speaks against k-factors, in words; nothing where they may be right.

    Parameters
    ----------
    given
        Of main lines: Kα (Kα1 and Kα2 together), Lα or Mα, in weight: weight fraction is proportional to k times the
        counts of the main line.
    computed
        From first principles.

    Returns
    -------
    notes
        Factors for atomic per cent are told as such, others by name.

    Examples
    --------
    >>> from hyperspy_assb.eds.lines.sensitivity import Sensitivities
    >>> computed = Sensitivities({"P_Ka": 1.0, "Fe_Ka": 1.0, "Ge_Ka": 1.0}, {}, "computed", "")
    >>> given = Sensitivities({"P_Ka": 1.0, "Fe_Ka": 1.1, "Ge_Ka": 0.1}, {}, "k-factors", "")
    >>> print(odd_factors(given, computed)[0].partition(":")[0])
    The k-factor of Ge_Ka is 10 times what the other factors suggest
    """
    shared = [line for line in given.cross_section if line in computed.cross_section]
    if given.kind != GIVEN_K or len(shared) < 3:
        return ()
    logs = np.array([np.log(computed.cross_section[line] / given.cross_section[line]) for line in shared])
    mass = np.log([computed.mass_of(line) for line in shared])
    if len(shared) >= _ENOUGH and np.ptp(mass) > 1.0:
        slope, start = np.polyfit(mass, logs, 1)
        left = float(np.std(logs - slope * mass - start))
        # k in weight is the mass over the counts an atom gives.
        if abs(slope + 1.0) < _SLOPE and left < 0.5 * float(np.std(logs)):
            return (
                "The k-factors look like those for atomic fractions. Factors for weight fractions are needed: "
                "multiply them by the atomic mass.",
            )
    away = np.exp(logs - np.median(logs))
    notes = []
    for line, ratio in zip(shared, away, strict=True):
        element, _, name = line.partition("_")
        bar = _ODD * (_SOFT if name[0] != "K" or element in ("B", "C", "N", "O", "F") else 1.0)
        if not 1.0 / bar < ratio < bar:
            notes.append(
                f"The k-factor of {line} is {ratio:.3g} times what the other factors suggest: factors refer to the "
                "main line (Kα1 and Kα2 together, Lα, Mα), in weight, for the counts of that line alone."
            )
    return tuple(notes)
