"""How many counts an atom gives in an X-ray line: from k-factors, zeta factors, or computed."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, ElementTables, XRayLine
from hyperspy_assb.errors import AssbFileNotFoundError, AssbValueError, see
from hyperspy_assb.reference import x_ray_atom, x_ray_elements

BOHR_RADIUS = 0.0529177211  # nm, CODATA 2018
ELECTRON_REST = 510.99895  # keV, CODATA 2018
AVOGADRO = 6.02214076e23
COMPUTED = "computed"
GIVEN_K, GIVEN_ZETA = "k-factors", "zeta factors"
COUNTS = "counts"
"""Of each element its best main line, one count an atom: amounts are counts."""
_SOFT = (1.0, 0.35)
"""keV below which a window that nobody told of matters, and the relative uncertainty that it makes."""
K_UNCERTAINTY = 0.05
"""Relative, of a k-factor from standards whose own uncertainty is not told."""
_OVERVOLTAGE = 0.6
"""Share of the beam energy up to which lines are excited well."""
_HARDEST = 14.0
"""keV: lines beyond, such as the K lines of Pt, lie outside the usual range of spectra."""


@dataclass(frozen=True)
class Sensitivities:
    """What the detector counts of an atom.

    Parameters
    ----------
    cross_section
        Counts per electron and per atom/nm^2, in nm^2, of the main line of a family, such as "Fe_Ka".
    uncertainty
        Relative standard uncertainty of each.
    kind
        "computed", "k-factors" or "zeta factors".
    source
        In words, for results and reports.
    absolute
        Whether the numbers hold as they are; if not, only their ratios do.
    mass
        Atomic masses in u of elements beyond those of the table of X-ray constants.
    """

    cross_section: Mapping[str, float]
    uncertainty: Mapping[str, float]
    kind: str
    source: str
    absolute: bool = True
    mass: Mapping[str, float] = field(default_factory=dict)

    def k_factors(self, lines: Sequence[str]) -> list[float]:
        """Cliff-Lorimer factors relative to the first line: weight fraction is proportional to k times counts.

        Raises
        ------
        AssbValueError
            If a line has no factor.
        """
        factors = [self.mass_of(line) / self.of(line) for line in lines]
        return [factor / factors[0] for factor in factors]

    def zeta_factors(self, lines: Sequence[str]) -> list[float]:
        """Zeta factors in kg/m^2: mass thickness of the element per count and electron."""
        # u per nm^2 is 1 / AVOGADRO g per nm^2, which is 1e15 / AVOGADRO kg/m^2.
        return [1e15 * self.mass_of(line) / (AVOGADRO * self.of(line)) for line in lines]

    def of(self, line: str) -> float:
        """The cross-section of a line.

        Raises
        ------
        AssbValueError
            If it has none, naming those that have.
        """
        if line not in self.cross_section:
            raise AssbValueError(
                f"{line} has no factor in the {self.source}; it has {', '.join(self.cross_section)}. Add the line to "
                "the table, or leave out the element."
            )
        return self.cross_section[line]

    def mass_of(self, line: str) -> float:
        """Atomic mass in u of the element of a line."""
        return _mass(line, self.mass)


Factors = Mapping[str, float] | str | PathLike[str] | Sensitivities | None
"""Factors by line, a table of them in a file, or the word "computed"."""


def ionisation_cross_section(element: str, subshell: str, beam_energy: float) -> float:
    """Cross-section in nm^2 of ionisation by electron impact.

    Parameters
    ----------
    element, subshell
        Such as "Fe", "K".
    beam_energy
        keV.

    Returns
    -------
    cross_section
        0 below the edge.

    Notes
    -----
    Analytical fit to distorted-wave and plane-wave Born calculations: D. Bote, F. Salvat, A. Jablonski and C. J.
    Powell, At. Data Nucl. Data Tables 95, 871 (2009), doi 10.1016/j.adt.2009.08.001.

    Examples
    --------
    >>> round(1e8 * ionisation_cross_section("Fe", "K", 200.0), 2)  # 1e-22 cm2
    3.18
    """
    shell = x_ray_atom(element).subshells[subshell]
    u = 1000.0 * beam_energy / shell.edge
    if u <= 1.0:
        return 0.0
    area = 4.0 * np.pi * BOHR_RADIUS**2
    if u <= 16.0:
        a1, a2, a3, a4, a5 = shell.low
        inverse = 1.0 / (1.0 + u)
        polynomial = a1 + a2 * u + (a3 + a4 * inverse**2 + a5 * inverse**4) * inverse
        return float(area * (u - 1.0) * (polynomial / u) ** 2)
    b, a, g1, g2, g3, g4 = shell.high
    tau = beam_energy / ELECTRON_REST
    momentum = np.sqrt(tau * (tau + 2.0))  # of the electron, in units of mc
    gamma = tau + 1.0
    beta2 = (momentum / gamma) ** 2
    bracket = (2.0 * np.log(momentum) - beta2) * (1.0 + g1 / momentum) + g2 + g3 / np.sqrt(gamma) + g4 / momentum
    return float(area * u / (u + b) * a / beta2 * bracket)


def photons_per_electron(element: str, shell: str, beam_energy: float) -> float:
    """Photons of a shell ("K", "L", "M") per electron and atom/nm^2, in nm^2.

    Fluorescence yields and Coster-Kronig transfers: W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63,
    121 (2002), doi 10.1016/S0969-806X(01)00227-4. Vacancies left by deeper shells are left out.
    """
    subshells = [s for name, s in x_ray_atom(element).subshells.items() if name.startswith(shell)]
    holes = {s.name: ionisation_cross_section(element, s.name, beam_energy) for s in subshells}
    total = 0.0
    for subshell in subshells:
        total += subshell.fluorescence * holes[subshell.name]
        for name, probability in subshell.transfer.items():
            holes[name] += probability * holes[subshell.name]
    return total


def compute_sensitivities(
    lines: Iterable[XRayLine], beam_energy: float, *, solid_angle: float | None = None
) -> Sensitivities:
    """Cross-sections of the main lines from first principles, for a detector that counts every photon.

    Parameters
    ----------
    lines
        Lines of the families in question, weaker lines included.
    beam_energy
        keV.
    solid_angle
        sr; None: only ratios are known.

    Returns
    -------
    Sensitivities
        With relative uncertainties of 10 % for K lines above 1.4 keV, 20 % for softer ones and for L, 30 % for M: what
        X. Llovet, C. J. Powell, F. Salvat and A. Jablonski, J. Phys. Chem. Ref. Data 43, 013102 (2014), doi
        10.1063/1.4832851, find between calculation and experiment; and of 35 % for lines below 1 keV, of which a
        polymer window keeps back up to 40 %, and a detector without a window nearly none.

    Raises
    ------
    UnknownReferenceError
        If there are no constants for an element.
    """
    lines = list(lines)
    share = 1.0 if solid_angle is None else solid_angle / (4.0 * np.pi)
    values, errors = {}, {}
    for line in lines:
        if line.name != line.family or line.name[0] not in {s[0] for s in x_ray_atom(line.element).subshells}:
            continue
        family = sum(other.weight for other in lines if (other.element, other.family) == (line.element, line.family))
        photons = photons_per_electron(line.element, line.name[0], beam_energy)
        if not photons > 0.0:  # the beam does not ionise the shell
            continue
        values[line.full_name] = photons * line.weight / family * share
        known = {"K": 0.1 if line.energy > 1.4 else 0.2, "L": 0.2, "M": 0.3}[line.name[0]]
        errors[line.full_name] = max(known, _SOFT[1]) if line.energy < _SOFT[0] else known
    text = f"factors computed for {beam_energy:g} keV (Bote et al. 2009, Elam et al. 2002; detector efficiency 1)"
    return Sensitivities(values, errors, COMPUTED, text, absolute=solid_angle is not None)


def from_k_factors(
    factors: Mapping[str, float],
    computed: Sensitivities,
    *,
    uncertainty: Mapping[str, float] | float = K_UNCERTAINTY,
    source: str = "k-factors given",
) -> Sensitivities:
    """Sensitivities whose ratios are those of Cliff-Lorimer factors, and whose scale is computed.

    Parameters
    ----------
    factors
        k of each line, in weight: weight fraction is proportional to k times counts.
    computed
        Sets the scale, which matters for thickness and absorption only: the mean over lines by their uncertainties.
    uncertainty
        Relative, of each line or of all.
    source
        Where they are from.

    Raises
    ------
    AssbValueError
        If a factor is not above 0.
    """
    _check(factors, "k_factors must hold numbers above 0, by line, such as {'Fe_Ka': 1.2, 'P_Ka': 1.0}")
    relative = {line: computed.mass_of(line) / k for line, k in factors.items()}
    shared = [line for line in relative if line in computed.cross_section]
    scale = 1.0
    if shared:
        # Hard K lines are computed best, and no window keeps them back.
        weight = [computed.uncertainty[line] ** -2 for line in shared]
        logs = [np.log(computed.cross_section[line] / relative[line]) for line in shared]
        scale = float(np.exp(np.average(logs, weights=weight)))
    return Sensitivities(
        {line: scale * value for line, value in relative.items()},
        _by_line(uncertainty, relative),
        GIVEN_K,
        source,
        absolute=computed.absolute and bool(shared),
        mass=computed.mass,
    )


def from_zeta_factors(
    factors: Mapping[str, float],
    *,
    uncertainty: Mapping[str, float] | float = K_UNCERTAINTY,
    source: str = "zeta factors given",
    mass: Mapping[str, float] | None = None,
) -> Sensitivities:
    """Sensitivities from zeta factors in kg/m^2, which are absolute; ``mass`` is that of :class:`Sensitivities`.

    M. Watanabe and D. B. Williams, J. Microsc. 221, 89 (2006), doi 10.1111/j.1365-2818.2006.01549.x.

    Raises
    ------
    AssbValueError
        If a factor is not above 0.
    """
    _check(factors, "zeta_factors must hold numbers above 0 in kg/m^2, by line")
    mass = mass or {}
    values = {line: 1e15 * _mass(line, mass) / (AVOGADRO * z) for line, z in factors.items()}
    return Sensitivities(values, _by_line(uncertainty, values), GIVEN_ZETA, source, mass=mass)


def read_factors(path: str | PathLike[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Factors of lines from a table.

    Parameters
    ----------
    path
        Comma-separated text of factors of main lines (Kα1 and Kα2 together, Lα, Mα), for the counts of that line alone;
        k in weight. With a header: ``line``, ``factor`` (or ``k``, ``zeta``), and, if known, ``uncertainty``
        (relative).

    Returns
    -------
    factors, uncertainty
        By line; of lines without an uncertainty, 0.05.

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file.
    AssbValueError
        If a column is missing or a number cannot be read; the message names the file and the line.
    """
    path = Path(path)
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text, skipinitialspace=True))
    names = [name for name in ("factor", "k", "zeta") if rows and name in rows[0]]
    if not rows or "line" not in rows[0] or not names:
        raise AssbValueError(f"{path} must be a table with the columns line, factor and, if known, uncertainty.")
    factors, errors = {}, {}
    for row in rows:
        try:
            line = row["line"].strip()
            value, uncertainty = float(row[names[0]]), float(row.get("uncertainty") or K_UNCERTAINTY)
        except (TypeError, ValueError, AttributeError) as error:
            raise AssbValueError(f"{path}: the row of {row['line']!r} holds no number ({error}).") from error
        if line in factors:
            raise AssbValueError(f"{path} has two rows of {line}.")
        if not 0.0 <= uncertainty < 1.0:
            raise AssbValueError(f"{path}: the uncertainty of {line} is relative, such as 0.05, not {uncertainty:g}.")
        factors[line], errors[line] = value, uncertainty
    return factors, errors


def choose_sensitivities(recorded: EDSMap, lines: Sequence[XRayLine], settings: EDSOptions) -> Sensitivities:
    """Sensitivities of the lines of a map, from what was given or computed.

    Raises
    ------
    AssbValueError
        If both kinds of factors are given, a word is not known, a factor is not above 0, or absorption is asked for
        and nothing tells the thickness.
    AssbFileNotFoundError
        If there is no such file.
    """
    factors = _given_or_computed(recorded, lines, settings)
    scaled = recorded.instrument.electrons is not None and factors.absolute
    if settings.absorption and settings.thickness is None and not scaled:
        lacking = [
            f"{name} ({item})"
            for name, item in recorded.lacking.items()
            if name != "solid_angle" or factors.kind != GIVEN_ZETA
        ]
        raise AssbValueError(
            f"Missing in the metadata: {', '.join(lacking)}. Without it, thickness and absorption are unknown: set "
            "it, give thickness= in nm, or leave absorption out by "
            "EDSOptions(absorption=False). " + see("edx")
        )
    return factors


def count_main_lines(lines: Iterable[XRayLine], beam_energy: float) -> Sensitivities:
    """One count an atom in the main line of each element: the hardest that the beam excites well.

    Parameters
    ----------
    lines
        Lines in the range of the fit.
    beam_energy
        keV.
    """
    main = [line for line in lines if line.name == line.family]
    well = min(_HARDEST, _OVERVOLTAGE * beam_energy)
    best: dict[str, XRayLine] = {}
    for line in main:
        known = best.get(line.element)
        if known is None or (line.energy < well, line.energy) > (known.energy < well, known.energy):
            best[line.element] = line
    names = [line.full_name for line in best.values()]
    return Sensitivities(
        dict.fromkeys(names, 1.0),
        dict.fromkeys(names, 0.0),
        COUNTS,
        "counts of main lines, no factors",
        absolute=False,
        mass={line.element: 1.0 for line in main},
    )


def _given_or_computed(recorded: EDSMap, lines: Sequence[XRayLine], settings: EDSOptions) -> Sensitivities:
    if settings.k_factors is not None and settings.zeta_factors is not None:
        raise AssbValueError("Give k_factors or zeta_factors, not both.")
    if isinstance(settings.k_factors, Sensitivities):
        return settings.k_factors
    solid_angle = recorded.solid_angle
    if solid_angle is not None and not 0.0 < solid_angle <= 4.0 * np.pi:
        raise AssbValueError(
            f"The solid angle must be between 0 and 4π sr, not {solid_angle} (metadata "
            "Acquisition_instrument.TEM.Detector.EDS.solid_angle)."
        )
    known = [line for line in lines if line.element in x_ray_elements()]
    computed = compute_sensitivities(known, recorded.instrument.beam_energy, solid_angle=solid_angle)
    if settings.zeta_factors is not None:
        factors, errors, source = _given(settings.zeta_factors, "zeta_factors")
        return from_zeta_factors(
            factors, uncertainty=errors, source=source, mass=_other_masses(factors, recorded.tables)
        )
    if settings.k_factors is None or settings.k_factors == "computed":
        return _one_family(computed, known)
    factors, errors, source = _given(settings.k_factors, "k_factors")
    computed = replace(computed, mass=_other_masses(factors, recorded.tables))
    return from_k_factors(factors, computed, uncertainty=errors, source=source)


def _given(factors: Any, name: str) -> tuple[dict[str, float], Any, str]:
    if isinstance(factors, Mapping):
        return dict(factors), K_UNCERTAINTY, f"{name} given by the user"
    if isinstance(factors, (str, PathLike)):
        if not Path(factors).is_file():
            raise AssbFileNotFoundError(f"{name}: there is no file {factors}.")
        return *read_factors(factors), f"{name} of the file {Path(factors).name}"
    raise AssbValueError(f'{name} must be a dictionary by line, such as {{"Fe_Ka": 1.2}}, a file, or "computed".')


def _other_masses(lines: Collection[str], tables: ElementTables) -> dict[str, float]:
    """Atomic masses of the elements of main lines for which there are no X-ray constants."""
    elements = {line.partition("_")[0] for line in lines}
    unknown = sorted(element for element in elements if element not in tables.mass)
    if unknown:
        raise AssbValueError(f"Factors are by line, such as Fe_Ka: there is no element {', '.join(unknown)}.")
    main = {line.full_name for line in tables.lines_of(elements) if line.name == line.family}
    if other := sorted(set(lines) - main):
        raise AssbValueError(f"Factors are of main lines, such as Fe_Ka or Fe_La, which {', '.join(other)} is not.")
    return {element: tables.mass[element] for element in elements - set(x_ray_elements())}


def _one_family(computed: Sensitivities, lines: Sequence[XRayLine]) -> Sensitivities:
    """One family for each element, the one that is best known: computed ratios of families are off by 20 %."""
    best: dict[str, str] = {}
    for line in lines:
        if line.full_name not in computed.cross_section or line.energy >= _HARDEST:
            continue
        known = best.get(line.element)
        if known is None or computed.uncertainty[line.full_name] < computed.uncertainty[known]:
            best[line.element] = line.full_name
    kept = set(best.values())
    return replace(
        computed,
        cross_section={line: value for line, value in computed.cross_section.items() if line in kept},
        uncertainty={line: value for line, value in computed.uncertainty.items() if line in kept},
    )


def _check(factors: Mapping[str, float], words: str) -> None:
    bad = [f"{line} has {value:g}" for line, value in factors.items() if not (np.isfinite(value) and value > 0.0)]
    if bad or not factors:
        raise AssbValueError(f"{words}; {', '.join(bad) or 'there are none'}.")


def _mass(line: str, known: Mapping[str, float]) -> float:
    element = line.partition("_")[0]
    return known[element] if element in known else x_ray_atom(element).mass


def _by_line(uncertainty: Mapping[str, float] | float, lines: Iterable[str]) -> dict[str, float]:
    if isinstance(uncertainty, Mapping):
        return {line: float(uncertainty.get(line, K_UNCERTAINTY)) for line in lines}
    return dict.fromkeys(lines, float(uncertainty))
