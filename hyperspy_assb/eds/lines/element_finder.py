"""Which elements the sum of all spectra shows, looked for among all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray, XRayLine
from hyperspy_assb.eds.lines.column_spectra import Builder, make_builder
from hyperspy_assb.eds.lines.shape_fit import fit_shapes
from hyperspy_assb.eds.lines.x_ray_lines import line_width
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED
from hyperspy_assb.reference import lines_by_levels

_NOT_LOOKED_FOR = {"Tc", "Pm", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Pa", "He", "Ne", "Ar", "Kr", "Xe"}
"""Radioactive elements and gases."""
_MISMATCH = 0.03
"""Relative error of lines and continuum in a channel, which is no element."""
_MISMATCH_FOUND = 0.015
"""The same where shapes and energies of lines were found in the spectrum."""
_UNSURE_WEIGHT = 0.7
"""Relative uncertainty of the weaker lines of a family."""
_UNSURE_M = 0.1
"""The same of M families at least, as a share of the main line: Mζ of two tables differs by a factor of 5, and some M
lines are in none."""
_MOST = 25
"""Elements at most."""
_INSEPARABLE = 0.45
"""Widths of a line within which main lines of two elements cannot be told apart by where they are."""
_AS_GOOD = 9.0
"""Difference of squared misfits up to which one element explains a line as well as another."""
_RIVALS = 0.6
"""Share of the largest significance from which another element is tried for the same line."""
_LEAST_HARDER = 0.1
"""Photons of a harder family for one of the softer, at least, where the beam excites it well."""
_WELL_EXCITED = (14.0, 0.5)
"""keV, and share of the beam energy, up to which a family is excited well."""
_LOUD = 3.0
"""Standard errors by which a family must be too weak to speak against its element."""
_NAMED = 6.0
"""Standard errors, two detection limits, from which on elements are named: what is less may be the shape of a line."""


@dataclass(frozen=True)
class FoundElement:
    """An element that a spectrum shows.

    Parameters
    ----------
    element
        Symbol.
    line
        Main line that stands out most, such as "S_Ka".
    energy
        keV.
    counts, std
        Photons of this line, and their standard error.
    alternatives
        Main lines of other elements that would explain it as well, such as ("Mo_La",).
    """

    element: str
    line: str
    energy: float
    counts: float
    std: float
    alternatives: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as "S K / Mo L": those that cannot be told apart are named together."""
        return " / ".join(f"{n.partition('_')[0]} {n.partition('_')[2][0]}" for n in (self.line, *self.alternatives))

    @property
    def elements(self) -> tuple[str, ...]:
        """The element and those that cannot be told from it."""
        return tuple(dict.fromkeys(n.partition("_")[0] for n in (self.line, *self.alternatives)))


@dataclass(frozen=True, eq=False)
class _Search:
    """A spectrum, and templates of all families of lines."""

    builder: Builder
    counts: FloatArray
    main: dict[str, XRayLine]
    templates: dict[str, FloatArray]
    threshold: float
    mismatch: float

    @classmethod
    def of(cls, builder: Builder, total: FloatArray, alpha: float, mismatch: float = _MISMATCH) -> _Search:
        # Of soft families whose main line is not there, such as M of Sn, the strongest.
        main: dict[str, XRayLine] = {}
        for line in sorted(builder.seen, key=lambda line: (line.name != line.family, -line.weight)):
            if line.weight > 0.0:
                main.setdefault(f"{line.element}_{line.family}", line)
        templates = {
            name: np.sum([line.weight * builder.shape(line) for line in builder.members(name)], axis=0) for name in main
        }
        # One of all families may stand out by chance in a share alpha of the spectra.
        threshold = max(-float(special.ndtri(alpha / max(len(main), 1))), _NAMED)
        return cls(builder, total[builder.channels], main, templates, threshold, mismatch)

    def families(self, element: str) -> list[str]:
        return [name for name, line in self.main.items() if line.element == element]

    def fit(self, elements: Sequence[str], without: str = "") -> tuple[FloatArray, FloatArray, dict[str, float]]:
        """Expected counts and design of the lines of some elements, but for one family, and of the continuum, and
        counts of the families.
        """
        names = [name for element in elements for name in self.families(element) if name != without]
        model = self.builder.build({}, names)
        start = model.model.guess(self.counts)
        padded = np.zeros(self.builder.energy.size)
        padded[self.builder.channels] = self.counts
        fit = replace(model, typical=start).fit(padded[np.newaxis])
        if fit.status[0] != CONVERGED:
            raise AssbValueError("Elements cannot be looked for: the summed spectrum cannot be fitted.")
        design = model.model.strength.T @ model.model.templates
        expected = np.maximum(model.model.expectation(fit.amounts[0]), 1e-9)
        return expected, design, dict(zip(names, fit.amounts[0].tolist(), strict=False))

    def unsure(self, counted: dict[str, float]) -> FloatArray:
        """Counts by which tables leave the weaker lines of M families that were counted unsure, a row for each line.

        Those of L families hide so much that what lies on them is named together with them: see :meth:`beneath`.
        """
        found = [np.zeros(self.counts.size)]
        for family, counts in counted.items():
            if family.endswith("_Ma") and not self.vague(family):
                found += [
                    max(_UNSURE_WEIGHT * line.weight, _UNSURE_M) * counts * self.builder.shape(line)
                    for line in self.builder.members(family)
                    if line.name != line.family
                ]
        return np.array(found)

    def projected(
        self, expected: FloatArray, design: FloatArray, counted: dict[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        """Templates of all families less what those of a fit can follow, and residuals, both in standard deviations:
        of counting, of a mismatch, and of the weaker lines of families that were counted.
        """
        root = 1.0 / np.sqrt(expected + (self.mismatch * expected) ** 2)
        own = design * root
        norm = np.linalg.norm(own, axis=1, keepdims=True)
        basis = np.linalg.qr((own / np.where(norm > 0.0, norm, 1.0)).T)[0]
        rows = np.array(list(self.templates.values())) * root
        rows, residual = rows - (rows @ basis) @ basis.T, (self.counts - expected) * root
        unsure = self.unsure(counted) * root
        _, size, along = np.linalg.svd(unsure - (unsure @ basis) @ basis.T, full_matrices=False)
        shrink = (1.0 - 1.0 / np.sqrt(1.0 + size**2))[:, np.newaxis] * along
        return rows - (rows @ along.T) @ shrink, residual - (along @ residual) @ shrink

    def beneath(self, line: XRayLine, counts: float, known: dict[str, float]) -> list[str]:
        """Families that were counted and have lines which cannot be told from a line of some counts, where tables leave
        these so unsure that they may be all of it.
        """
        width = float(line_width(line.energy, self.builder.instrument.resolution))
        together = []
        for family, amount in known.items():
            distance = {m: abs(m.energy - line.energy) for m in self.builder.members(family)}
            there = amount * sum(m.weight for m, apart in distance.items() if apart < _INSEPARABLE * width)
            # Where tables lack the main line, such as M of Sn, neither energies nor weights are known well.
            near = self.vague(family) and min(distance.values()) < width
            if counts < _UNSURE_WEIGHT * there or near:
                together.append(family)
        return together

    def vague(self, family: str) -> bool:
        """Whether tables lack the main line of a family."""
        return self.main[family].name != self.main[family].family

    def contradicted(self, name: str, value: dict[str, float], std: dict[str, float]) -> bool:
        """Whether a harder family of the element, which must show, does not."""
        line = self.main[name]
        limit = min(_WELL_EXCITED[0], _WELL_EXCITED[1] * self.builder.instrument.beam_energy)
        harder = [n for n in self.families(line.element) if line.energy < self.main[n].energy < limit]
        return any(value[n] + _LOUD * std[n] < _LEAST_HARDER * value[name] for n in harder)


def _gain(rows: FloatArray, residual: FloatArray) -> float:
    """By how much families, none negative, improve a fit, less what they would by chance."""
    amounts = optimize.nnls(rows @ rows.T, np.maximum(rows @ residual, 0.0))[0]
    left = residual - amounts @ rows
    return float(residual @ residual - left @ left) - 2.0 * len(rows)


def find_elements(recorded: EDSMap, settings: EDSOptions | None = None, *, alpha: float = 0.05) -> list[FoundElement]:
    """Look for all elements from B to U in the sum of all spectra of a map.

    Parameters
    ----------
    recorded
        The map.
    settings
        Range of the fit, and shape of lines; elements are not used.
    alpha
        Share of the spectra in which chance may name an element that is not there. Below 6 standard errors nothing is
        named at any alpha: line shapes leave as much.

    Returns
    -------
    found
        By significance.

    Raises
    ------
    AssbValueError
        If alpha is not between 0 and 1, or the spectrum cannot be fitted.
    """
    if not 0.0 < alpha < 1.0:
        raise AssbValueError(f"alpha must lie between 0 and 1: {alpha!r}.")
    settings = settings or EDSOptions()
    total = recorded.spectra.summed().total
    everything = tuple(el for el, lines in recorded.tables.lines.items() if lines and el not in _NOT_LOOKED_FOR)
    wide = replace(settings, elements=everything, absorption=False)
    builder = replace(make_builder(recorded, wide, need_factors=False), ties=())
    unlisted = [XRayLine(el, name, at, 0.0) for el in everything for name, at in lines_by_levels(el)]
    builder = replace(builder, lines=(*builder.lines, *unlisted))
    if settings.detector is not None:
        builder = replace(builder, detector=settings.detector)
    found = _pursue(_Search.of(builder, total, alpha))
    try:
        own = replace(settings, elements=tuple(f.element for f in found), absorption=False)
        shapes = fit_shapes(make_builder(recorded, own, need_factors=False), total, detector=settings.detector).builder
    except ValueError:
        return found
    found_at = {line.full_name: line for line in shapes.lines}
    better = replace(
        builder,
        lines=tuple(found_at.get(line.full_name, line) for line in builder.lines),
        instrument=shapes.instrument,
        detector=shapes.detector,
        offset=shapes.offset,
        gain=shapes.gain,
    )
    search = _Search.of(better, total, alpha, _MISMATCH_FOUND)
    found = _pursue(search)
    return sorted([*found, *_in_place_of(search, found)], key=lambda one: -one.counts / one.std)


def _in_place_of(search: _Search, chosen: Sequence[FoundElement]) -> list[FoundElement]:
    """Elements that explain counts as well as another family of a found element, which takes them unasked: N beside
    Ti, whose L lines lie near N K.
    """
    names, found = list(search.main), []
    known = {element for one in chosen for element in one.elements}
    for own in [name for one in chosen for name in search.families(one.element) if name != one.line]:
        expected, design, counted = search.fit([one.element for one in chosen], own)
        rows, residual = search.projected(expected, design, counted)
        information = np.maximum((rows**2).sum(axis=1), 1e-30)
        value, std = rows @ residual / information, 1.0 / np.sqrt(information)
        if value[names.index(own)] < search.threshold * std[names.index(own)]:
            continue
        by_name = dict(zip(names, value.tolist(), strict=True)), dict(zip(names, std.tolist(), strict=True))
        at = np.array([line.energy for line in search.builder.members(own)])
        near = float(line_width(search.main[own].energy, search.builder.instrument.resolution))
        least = _gain(rows[[names.index(own)]], residual) - _AS_GOOD
        for k in np.argsort(-value / std):
            other = search.main[names[k]]
            if value[k] < search.threshold * std[k]:
                break
            if other.element in known or np.abs(at - other.energy).min() > near or search.vague(names[k]):
                continue
            place = [names.index(name) for name in search.families(other.element)]
            if _gain(rows[place], residual) > least and not search.contradicted(names[k], *by_name):
                found.append(
                    FoundElement(other.element, names[k], other.energy, float(value[k]), float(std[k]), (own,))
                )
                known.add(other.element)
    return found


def _pursue(search: _Search) -> list[FoundElement]:
    """Add the element that explains most, one after the other, until none stands out."""
    chosen: list[FoundElement] = []
    names = list(search.main)
    expected, design, counted = search.fit([])
    for _ in range(_MOST):
        known = {found.element for found in chosen}
        rows, residual = search.projected(expected, design, counted)
        information = np.maximum((rows**2).sum(axis=1), 1e-30)
        value, std = rows @ residual / information, 1.0 / np.sqrt(information)
        ratio = np.where([search.main[n].element in known for n in names], -np.inf, value / std)
        by_name = dict(zip(names, value.tolist(), strict=True)), dict(zip(names, std.tolist(), strict=True))
        # A soft family of which tables lack the main line names no element.
        order = [k for k in np.argsort(-ratio) if ratio[k] > search.threshold and not search.vague(names[k])]
        order = [k for k in order if not search.contradicted(names[k], *by_name)]
        if not order:
            break
        best = order[0]
        line = search.main[names[best]]
        near = float(line_width(line.energy, search.builder.instrument.resolution))
        rivals = [
            k
            for k in order
            if abs(search.main[names[k]].energy - line.energy) < near and ratio[k] > _RIVALS * ratio[best]
        ]
        place = {k: [names.index(n) for n in search.families(search.main[names[k]].element)] for k in rivals}
        gains = {k: _gain(rows[own], residual) for k, own in place.items()}
        winner = max(gains, key=lambda k: gains[k])
        line = search.main[names[winner]]
        alternatives = tuple(
            names[k]
            for k in rivals
            if search.main[names[k]].element != line.element
            and (
                gains[winner] - gains[k] < _AS_GOOD
                or abs(search.main[names[k]].energy - line.energy) < _INSEPARABLE * near
            )
        )
        counts = float(value[winner])
        alternatives += tuple(search.beneath(line, counts, counted))
        chosen.append(FoundElement(line.element, names[winner], line.energy, counts, float(std[winner]), alternatives))
        expected, design, counted = search.fit([found.element for found in chosen])
    return chosen
