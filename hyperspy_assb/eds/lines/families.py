"""Families of lines of one element: those that another element hides, and those that the sum of all spectra ties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hyperspy_assb.eds.eds_map import Instrument, XRayLine
from hyperspy_assb.eds.lines.sensitivity import Sensitivities, compute_sensitivities
from hyperspy_assb.eds.lines.x_ray_lines import line_width
from hyperspy_assb.reference import x_ray_elements

_NEAR = 0.5
"""Widths of a line within which another one hides it."""


@dataclass(frozen=True)
class Tie:
    """A family that cannot be counted beside another element, and that which tells it.

    Parameters
    ----------
    hidden, host
        Such as "V_La" and "V_Ka".
    ratio
        Counts of the main line of the first for one count of the other.
    uncertainty
        Relative, of the ratio.
    """

    hidden: str
    host: str
    ratio: float
    uncertainty: float


def hidden_families(lines: Sequence[XRayLine], resolution: float) -> dict[str, str]:
    """Families that cannot be counted beside another element, and the family of their own element that tells them.

    Parameters
    ----------
    lines
        All lines in the range.
    resolution
        eV at Mn Kα.

    Returns
    -------
    hosts
        Such as {"V_La": "V_Ka"}: V Lα lies 12 eV below O Kα, which is all that is seen of O.

    Examples
    --------
    >>> from hyperspy_assb.signals.eds.map_reading import element_tables
    >>> hidden_families(element_tables().lines_of(["O", "P", "Fe"]), 130.0)
    {}
    """
    main = [line for line in lines if line.name == line.family]
    families = Counter(line.element for line in main)
    hardest = {line.element: line for line in sorted(main, key=lambda line: line.energy)}
    alone = [line for line in main if families[line.element] == 1]
    hosts = {}
    for line in main:
        near = _NEAR * float(line_width(line.energy, resolution))
        if line is not hardest[line.element] and any(abs(other.energy - line.energy) < near for other in alone):
            hosts[line.full_name] = hardest[line.element].full_name
    return hosts


def find_ties(lines: Sequence[XRayLine], factors: Sensitivities, instrument: Instrument) -> tuple[Tie, ...]:
    """Ties of hidden families, by the factors of both where these are known, or as computed."""
    hosts = hidden_families(lines, instrument.resolution)
    computed: Mapping[str, float] = {}
    uncertain: Mapping[str, float] = {}
    if hosts:
        known = [line for line in lines if line.element in x_ray_elements()]
        both = compute_sensitivities(known, instrument.beam_energy)
        computed, uncertain = both.cross_section, both.uncertainty
    ties = []
    for hidden, host in hosts.items():
        for values, errors in ((factors.cross_section, factors.uncertainty), (computed, uncertain)):
            if hidden in values and host in values:
                ties.append(Tie(hidden, host, values[hidden] / values[host], errors[hidden]))
                break
    return tuple(ties)


def with_ties(factors: Sensitivities, ties: Sequence[Tie]) -> Sensitivities:
    """Factors that hold those of hidden families where they have their hosts'."""
    own, errors = dict(factors.cross_section), dict(factors.uncertainty)
    for tie in ties:
        if tie.host in own:
            own[tie.hidden] = own[tie.host] * tie.ratio
            errors[tie.hidden] = tie.uncertainty
    return replace(factors, cross_section=own, uncertainty=errors)
