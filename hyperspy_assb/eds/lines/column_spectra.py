"""X-ray spectra of columns of atoms as sums of templates: lines tied to amounts, absorption, continuum."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special
from scipy.interpolate import BSpline

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray, Instrument, MassAbsorption, XRayLine
from hyperspy_assb.eds.lines.families import Tie, find_ties, with_ties
from hyperspy_assb.eds.lines.sensitivity import AVOGADRO, COMPUTED, Sensitivities, choose_sensitivities
from hyperspy_assb.eds.lines.x_ray_lines import (
    FIT_RANGE,
    FWHM_PER_SIGMA,
    SI_KA,
    channel_edges,
    elements_of,
    escape_share,
    in_range,
    line_shape,
    line_width,
    tail_share,
)
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.fixed_shape_fit import TemplateModel, fit_templates
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, UNDETERMINED, TemplateFit
from hyperspy_assb.reference import added_lines, line_components

CONTINUUM = "continuum"
FREE_CONTINUUM_ABOVE = 0.05
"""Share of all counts from which on a spectrum is too much of the sum to take the shape of its continuum from it."""
# Nodes in keV between which the continuum is interpolated, in the gaps between the lines of the cell.
_NODES = (0.2, 0.38, 0.6, 0.84, 1.03, 1.33, 1.62, 1.88, 2.4, 3.2, 4.3, 5.8, 7.4, 9.2, 11.8, 14.0, 17.0, 20.0)
_NODES_ABOVE = (25.0, 30.0, 40.0)
_ALIKE = 0.005
"""Lines of a family of which as much is absorbed, to this share, by three times the typical amounts
are one template."""

_CARBON_EDGE = 0.2842
"""keV."""
# Just above the edge of carbon its absorption is so many times that below, and falls with this power of the energy:
# W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63, 121 (2002).
_CARBON_JUMP, _CARBON_FALL = 18.0, 2.6
_THICKNESS = 0.1
"""Relative uncertainty of a thickness, with which absorption goes."""
_SHAPES = 0.01
"""Relative error of the counts of an element by shapes of lines that are not quite those of the model, and by what
overlaps."""
_BELOW_BEAM = 0.98
"""Share of the beam energy up to which spectra are fitted: the continuum ends there."""
_OPAQUE = 3.0
"""Optical depth of a column from which on it may be any deeper, where its error is as large."""


@dataclass(frozen=True, eq=False)
class SpectrumModel:
    """Expected spectra of amounts of named things.

    Parameters
    ----------
    model
        Templates, on the channels that are fitted.
    names
        Of the amounts: phases (nm), elements (atoms/nm^2), families of lines (counts), and the continuum.
    groups
        Of templates that share a calibration: elements, and hidden families such as "V_La".
    doubt, depth
        Shape (G, K): by how much tables of absorption differ for the lines of each group, per unit of each amount; and
        their optical depth.
    channels
        Channels that are fitted.
    typical
        Amounts of the mean spectrum.
    energy
        Centres of the channels that are fitted, keV.
    """

    model: TemplateModel
    names: tuple[str, ...]
    groups: tuple[str, ...]
    doubt: FloatArray
    depth: FloatArray
    channels: slice
    typical: FloatArray
    energy: FloatArray

    def fit(self, counts: Any, *, exposure: FloatArray | None = None, threads: int | None = None) -> TemplateFit:
        """Fit spectra, shape (N, all channels), each recorded ``exposure`` times as long as one.

        Columns that let nothing out, so that more of them would look the same, count as undetermined.
        """
        fit = fit_templates(
            counts, self.model, self.typical, channels=self.channels, exposure=exposure, threads=threads
        )
        deepest = np.argmax(np.nan_to_num(fit.amounts) @ self.model.absorption.T, axis=1)
        slope = self.model.absorption[deepest]
        depth = np.einsum("nk,nk->n", slope, fit.amounts)
        std = np.sqrt(np.einsum("nk,nkm,nm->n", slope, fit.covariance, slope))
        opaque = (depth > _OPAQUE) & (std > 0.5 * depth)
        fit.status[opaque] = UNDETERMINED
        for values in (fit.amounts, fit.unclipped, fit.covariance, fit.by_group):
            values[opaque] = np.nan
        return fit

    def calibration(self, amounts: FloatArray, known: FloatArray) -> FloatArray:
        """Relative uncertainty of the strength of each group, shape (N, G): of its calibration, and of absorption by
        tables and by the thickness.

        Parameters
        ----------
        amounts
            Shape (N, K).
        known
            Relative uncertainty of the calibration of each group, shape (G,).
        """
        amounts = np.maximum(np.nan_to_num(amounts), 0.0)
        depth = np.maximum(amounts @ self.depth.T, 1e-6)
        left = -np.expm1(-depth) / depth
        # What leaves changes by this for a change of the depth.
        slope = np.abs((np.exp(-depth) - left) / depth / left)
        squared = (amounts**2) @ (self.doubt**2).T + (_THICKNESS * (amounts @ self.depth.T)) ** 2
        return np.sqrt(known**2 + _SHAPES**2 + slope**2 * squared)

    def index(self, names: Sequence[str]) -> list[int]:
        """Where amounts are."""
        return [self.names.index(name) for name in names]

    @cached_property
    def line_names(self) -> tuple[str, ...]:
        """Names of the amounts that are not the continuum."""
        return tuple(name for name in self.names if not name.startswith(CONTINUUM))


def _quadratic_splines(nodes: FloatArray, energy: FloatArray) -> FloatArray:
    """Quadratic B-splines around some nodes, shape (nodes, energies); constant beyond them.

    Straight lines between nodes would leave what is curved to soft lines such as C Kα.
    """
    between = 0.5 * (nodes[1:-2] + nodes[2:-1])
    knots = np.concatenate([[nodes[0]] * 3, between, [nodes[-1]] * 3])
    found: FloatArray = BSpline.design_matrix(np.clip(energy, nodes[0], nodes[-1]), knots, 2).toarray().T
    return found


def _of_groups(
    rows: list[list[float]], templates: list[FloatArray], group: list[int], groups: int, size: int
) -> FloatArray:
    """Mean of something of templates over each group, weighted by their counts, shape (groups, size)."""
    found = np.zeros((groups, size))
    if not rows:
        return found
    values, weight = np.array(rows), np.array([template.sum() for template in templates])
    for k in set(group):
        own = np.array(group) == k
        found[k, : values.shape[1]] = np.average(values[own], axis=0, weights=np.maximum(weight[own], 1e-300))
    return found


@dataclass(frozen=True, eq=False)
class SummedFit:
    """Lines and continuum of a summed spectrum.

    Parameters
    ----------
    energy, recorded, expected
        Centres of the channels in keV, counts, and fitted counts.
    lines
        Main lines.
    counts, std
        Photons of each, and standard errors.
    continuum
        Height at the nodes.
    """

    energy: FloatArray
    recorded: FloatArray
    expected: FloatArray
    lines: tuple[XRayLine, ...]
    counts: FloatArray
    std: FloatArray
    continuum: FloatArray


@dataclass(frozen=True, eq=False)
class Builder:
    """Everything from which models of one signal are built.

    Parameters
    ----------
    energy
        Centres of all channels in keV.
    lines
        All lines of all elements in question.
    instrument
        How the spectra were recorded.
    sensitivities
        Counts per atom.
    mass_absorption
        Coefficients.
    fit_range
        keV.
    absorption
        Whether X-rays are absorbed on their way out.
    elements
        Those that are looked for.
    detector
        Shape of lines.
    offset, gain
        keV, and relative: a line of energy E is looked for at ``E (1 + gain) + offset``.
    ties
        Of families that another element hides.
    other_absorption
        Mass absorption coefficients of a second source; None: there is none.
    """

    energy: FloatArray
    lines: tuple[XRayLine, ...]
    instrument: Instrument
    sensitivities: Sensitivities
    mass_absorption: MassAbsorption
    fit_range: tuple[float, float]
    absorption: bool = True
    elements: tuple[str, ...] = ()
    detector: DetectorShape = field(default_factory=DetectorShape)
    offset: float = 0.0
    gain: float = 0.0
    ties: tuple[Tie, ...] = ()
    other_absorption: MassAbsorption | None = None

    @cached_property
    def channels(self) -> slice:
        """Channels in the range of the fit."""
        inside = np.flatnonzero((self.energy >= self.fit_range[0]) & (self.energy <= self.fit_range[1]))
        if inside.size < 20:
            raise AssbValueError(
                f"The energy axis runs from {self.energy[0]:g} to {self.energy[-1]:g} keV: there are {inside.size} "
                f"channels between {self.fit_range[0]:g} and {self.fit_range[1]:g} keV."
            )
        return slice(int(inside[0]), int(inside[-1]) + 1)

    @cached_property
    def edges(self) -> FloatArray:
        """Edges of the channels that are fitted."""
        return channel_edges(self.energy[self.channels])

    @cached_property
    def seen(self) -> list[XRayLine]:
        """Lines in the range."""
        low, high = self.edges[0], self.edges[-1]
        return in_range(self.lines, low + 0.02, high - 0.1, self.instrument.beam_energy)

    def families(self, element: str) -> list[str]:
        """Main lines of an element in the range, such as ["Fe_Ka", "Fe_La"]."""
        return [line.full_name for line in self.seen if line.element == element and line.name == line.family]

    @cached_property
    def countable_families(self) -> list[XRayLine]:
        """Main lines in the range of all families whose photons can be counted: those that no other element hides."""
        hidden = {tie.hidden for tie in self.ties}
        return [line for line in self.seen if line.name == line.family and line.full_name not in hidden]

    def free_families(self, elements: Collection[str]) -> tuple[str, ...]:
        """Families whose counts are tied to no atoms of some elements, for want of a factor."""
        factors = self.sensitivities.cross_section
        return tuple(
            line.full_name
            for line in self.seen
            if line.name == line.family and not (line.element in elements and line.full_name in factors)
        )

    def with_best_families(self, elements: Collection[str]) -> Builder:
        """The same with a factor of one family of each of some elements, the one that is best known; hidden ones stay.

        Of several, the hardest counts: absorption and windows matter least for it.
        """
        factors, hidden = self.sensitivities, {tie.hidden for tie in self.ties}
        energy = {line.full_name: line.energy for line in self.seen}
        kept = set(factors.cross_section)
        for element in elements:
            known = [f for f in self.families(element) if f in factors.cross_section and f not in hidden]
            if known:
                kept -= set(known) - {min(known, key=lambda f: (factors.uncertainty[f], -energy[f]))}
        own = {family: value for family, value in factors.cross_section.items() if family in kept}
        return replace(self, sensitivities=replace(factors, cross_section=own))

    def leaving(self, family: str, atoms: Mapping[str, float]) -> float:
        """Share of the photons of a family that leave a column of some atoms/nm^2."""
        if not self.absorption:
            return 1.0
        main = next(line for line in self.seen if line.full_name == family)
        depth = max(float(self._depth(atoms, np.array([main.energy]))[0]), 1e-9)
        return float(-np.expm1(-depth) / depth)

    def countable(self, needed: Collection[str]) -> list[str]:
        """Elements whose atoms are counted: those with a line in the range and a factor, or that are needed."""
        factors = self.sensitivities.cross_section
        families = {element: self.families(element) for element in self.elements}
        return [
            element
            for element, own in families.items()
            if own and (element in needed or any(family in factors for family in own))
        ]

    def shape(self, line: XRayLine) -> FloatArray:
        """A line of one count in its peak, with its tail and escape peak, in the channels that are fitted."""
        if line.full_name not in self._shapes:
            self._shapes[line.full_name] = self._shape(line)
        return self._shapes[line.full_name]

    @cached_property
    def _shapes(self) -> dict[str, FloatArray]:
        return {}

    def _shape(self, line: XRayLine) -> FloatArray:
        silicon = self.mass_absorption("Si", np.array([line.energy, SI_KA]))
        escaped = self.detector.escape * escape_share(silicon[:1], float(silicon[1]), np.array([line.energy]))
        lost = tail_share(silicon[:1], self.detector.tail_depth)
        return line_shape(
            self.edges,
            replace(line, energy=line.energy * (1.0 + self.gain) + self.offset),
            self.instrument.resolution,
            float(escaped[0]),
            lost=float(lost[0]),
            detector=self.detector,
        )

    def members(self, family: str) -> list[XRayLine]:
        """Lines of a family such as "Fe_La"."""
        return [line for line in self.seen if f"{line.element}_{line.family}" == family]

    def together(self, family: str) -> list[XRayLine]:
        """Lines of a family, and those of hidden families that it tells, in its own units."""
        found = self.members(family)
        for tie in self.ties:
            if tie.host == family:
                found += [replace(line, weight=line.weight * tie.ratio) for line in self.members(tie.hidden)]
        return found

    def _depth(self, atoms: Mapping[str, float], energy: FloatArray) -> FloatArray:
        """Absorption over the whole thickness by one unit of something, towards the detector."""
        total = np.zeros_like(energy)
        for element, number in atoms.items():
            if element != "Li":  # 0.3 % of the mass of the cell, and nearly transparent
                total += self._path(element, number) * self.mass_absorption(element, energy)
        return total

    def _path(self, element: str, number: float) -> float:
        """g/cm^2 of some atoms/nm^2 towards the detector."""
        path = 1.0 / np.sin(np.deg2rad(self.instrument.take_off_angle))
        return float(1e14 / AVOGADRO * number * self.sensitivities.mass_of(f"{element}_") * path)

    def _doubt(self, atoms: Mapping[str, float], energy: float) -> float:
        """What two sources differ by in :meth:`_depth`, absorbers taken as independent."""
        if self.other_absorption is None or not self.absorption:
            return 0.0
        at = np.array([energy])
        return float(
            np.sqrt(
                sum(
                    (self._path(el, n) * float(self.mass_absorption(el, at)[0] - self.other_absorption(el, at)[0])) ** 2
                    for el, n in atoms.items()
                    if el != "Li"
                )
            )
        )

    @cached_property
    def bare_continuum(self) -> FloatArray:
        """Kramers' continuum in the channels, of any strength: H. A. Kramers, Philos. Mag. 46, 836 (1923)."""
        centre = self.energy[self.channels]
        return np.maximum(1.0 / centre - 1.0 / self.instrument.beam_energy, 1e-6)

    @cached_property
    def hats(self) -> tuple[FloatArray, FloatArray]:
        """Nodes in keV, and smooth functions that add up to 1, times Kramers' continuum behind the window."""
        centre = self.energy[self.channels]
        inside = [e for e in (*_NODES, *_NODES_ABOVE) if centre[0] + 0.04 < e < centre[-1] - 0.3]
        nodes = np.array([centre[0], *inside, centre[-1]])
        return nodes, _quadratic_splines(nodes, centre) * self.bare_continuum * self._behind_window

    @cached_property
    def _behind_window(self) -> FloatArray:
        """Share of the continuum that carbon in front of the detector lets through, in the channels."""
        depth, centre = self.detector.carbon_window, self.energy[self.channels]
        width = float(line_width(_CARBON_EDGE, self.instrument.resolution, self.detector.width_slope))
        below = special.ndtr((_CARBON_EDGE - centre) / width * FWHM_PER_SIGMA)
        falling = (np.maximum(centre, _CARBON_EDGE) / _CARBON_EDGE) ** -_CARBON_FALL
        return below * np.exp(-depth / _CARBON_JUMP) + (1.0 - below) * np.exp(-depth * falling)

    def build(
        self,
        amounts: Mapping[str, Mapping[str, float]],
        free_families: Sequence[str] = (),
        *,
        continuum: FloatArray | None = None,
        electrons: float = 1.0,
        bounded: bool = True,
        typical: FloatArray | None = None,
    ) -> SpectrumModel:
        """Build a model.

        Parameters
        ----------
        amounts
            Atoms/nm^2 of each element in one unit of something: a nm of a phase, or one atom/nm^2 of an element.
        free_families
            Families of lines whose counts are amounts of their own, and are not tied to any atoms.
        continuum
            Height of the continuum, free of absorption, at the nodes: its strength alone is fitted; None: each node
            is an amount.
        electrons
            For each spectrum.
        bounded
            Whether amounts cannot be negative.
        typical
            Amounts of the mean spectrum; by default 1.
        """
        names = list(amounts)
        size = len(names) + len(free_families)
        nodes, hats = self.hats
        size += 1 if continuum is not None else nodes.size
        own = {name: self._depth(atoms, nodes) for name, atoms in amounts.items()}
        templates, strength, depth, group, doubt = [], [], [], [], []
        elements = sorted({element for atoms in amounts.values() for element in atoms})
        # Hidden families have a calibration of their own.
        groups = [*elements, *(tie.hidden for tie in self.ties)]
        for element in elements:
            for family in self.families(element):
                if family in free_families or family not in self.sensitivities.cross_section:
                    continue
                counts = electrons * self.sensitivities.of(family)
                for energy, shape in self._merged(family, amounts, typical):
                    templates.append(shape * counts)
                    strength.append([atoms.get(element, 0.0) for atoms in amounts.values()])
                    absorbed = [self._depth(atoms, np.array([energy]))[0] for atoms in amounts.values()]
                    depth.append(absorbed if self.absorption else [0.0] * len(names))
                    group.append(groups.index(family if family in groups else element))
                    doubt.append([self._doubt(atoms, energy) for atoms in amounts.values()])
        lines = len(templates)
        rows = np.zeros((lines + len(free_families) + nodes.size, size))
        absorption = np.zeros_like(rows)
        if lines:
            rows[:lines, : len(names)] = strength
            absorption[:lines, : len(names)] = depth
        for k, family in enumerate(free_families):
            templates.append(np.sum([line.weight * self.shape(line) for line in self.together(family)], axis=0))
            rows[lines + k, len(names) + k] = 1.0
        first = lines + len(free_families)
        templates += list(hats)
        column = len(names) + len(free_families)
        if continuum is not None:
            rows[first:, column] = continuum
            if self.absorption:
                absorption[first:, : len(names)] = np.transpose(list(own.values()))
        else:
            rows[first:, column:] = np.eye(nodes.size)
        last = (CONTINUUM,) if continuum is not None else tuple(f"{CONTINUUM} {e:.2f} keV" for e in nodes)
        model = TemplateModel(
            templates=np.array(templates),
            strength=rows,
            absorption=absorption,
            group=np.array([*group, *[-1] * (len(templates) - lines)], dtype=np.int64),
            bounded=np.full(size, bounded),
        )
        return SpectrumModel(
            model=model,
            names=(*names, *free_families, *last),
            groups=tuple(groups),
            doubt=_of_groups(doubt, templates[:lines], group, len(groups), size),
            depth=_of_groups(depth, templates[:lines], group, len(groups), size),
            channels=self.channels,
            typical=np.ones(size) if typical is None else typical,
            energy=self.energy[self.channels],
        )

    def _merged(
        self, family: str, amounts: Mapping[str, Mapping[str, float]], typical: FloatArray | None
    ) -> list[tuple[float, FloatArray]]:
        """Lines of a family, those together that are absorbed alike: energy and shape relative to the main line."""
        members = sorted(self.members(family), key=lambda line: line.energy)
        energies = np.array([line.energy for line in members])
        column = np.ones(len(amounts)) if typical is None else 3.0 * typical[: len(amounts)]
        depths = np.array([c * self._depth(atoms, energies) for c, atoms in zip(column, amounts.values(), strict=True)])
        merged: list[tuple[float, FloatArray]] = []
        begin = 0
        for k in range(1, len(members) + 1):
            alike = k < len(members) and np.all(np.abs(depths[:, k] - depths[:, begin]) <= 2.0 * _ALIKE)
            if not alike:
                part = members[begin:k]
                weight = np.array([line.weight for line in part])
                shape = np.sum([line.weight * self.shape(line) for line in part], axis=0)
                merged.append((float(weight @ energies[begin:k] / max(weight.sum(), 1e-12)), shape))
                begin = k
        return merged

    def estimate_continuum(
        self,
        total: FloatArray,
        amounts: Mapping[str, Mapping[str, float]] | None = None,
        mean: FloatArray | None = None,
    ) -> FloatArray:
        """Height of the continuum at the nodes, from a summed spectrum in which every family of lines is free.

        Parameters
        ----------
        total
            Counts of all channels.
        amounts, mean
            Of one unit, and how much there is on average: what the specimen absorbs of the continuum is taken out.

        Returns
        -------
        height
            Shape (nodes,), for the counts of ``total``.

        Raises
        ------
        AssbValueError
            If the spectrum is empty or cannot be fitted.
        """
        summed = self.fit_sum(total)
        nodes, _ = self.hats
        height = summed.continuum
        if amounts is not None and mean is not None and self.absorption:
            depth = sum(m * self._depth(a, nodes) for m, a in zip(mean, amounts.values(), strict=True))
            depth = np.maximum(np.asarray(depth), 1e-9)
            height = height * depth / -np.expm1(-depth)
        # A node without any counts would leave channels without expectation.
        return np.maximum(height, 1e-6 * height.max())

    def fit_sum(self, total: FloatArray) -> SummedFit:
        """Fit a summed spectrum in which every family of lines and every node of the continuum is free.

        Parameters
        ----------
        total
            Counts of all channels.

        Raises
        ------
        AssbValueError
            If the spectrum is empty or cannot be fitted.
        """
        lines = tuple(self.countable_families)
        total = np.asarray(total, dtype=float)
        model = self.build({}, [line.full_name for line in lines])
        fit = replace(model, typical=model.model.guess(total[self.channels])).fit(total[np.newaxis])
        if fit.status[0] != CONVERGED:
            raise AssbValueError(
                "The continuum could not be found: the summed spectrum is empty, or holds no X-ray spectrum."
            )
        return SummedFit(
            energy=model.energy,
            recorded=total[self.channels],
            expected=model.model.expectation(fit.amounts[0]),
            lines=lines,
            counts=fit.amounts[0][: len(lines)],
            std=fit.std[0][: len(lines)],
            continuum=fit.amounts[0][len(lines) :],
        )


def make_builder(recorded: EDSMap, settings: EDSOptions, *, need_factors: bool = True) -> Builder:
    """What models of the spectra of a map are built from.

    Raises
    ------
    AssbValueError
        If something is missing or wrong; the message names it.
    """
    energy, beam_energy = recorded.energy, recorded.instrument.beam_energy
    low, high = settings.fit_range or FIT_RANGE
    low, high = max(low, energy[0]), min(high, energy[-1], _BELOW_BEAM * beam_energy)
    elements = elements_of(recorded, settings)
    added = [
        XRayLine.from_strongest(element, name, at, weight, line_components(element, name))
        for element in elements
        for name, at, weight in added_lines(element)
    ]
    lines = in_range((*recorded.tables.lines_of(elements), *added), low, high, beam_energy)
    factors = Sensitivities({}, {}, COMPUTED, "no factors")
    if need_factors:
        factors = choose_sensitivities(recorded, lines, settings)
    ties = find_ties(lines, factors, recorded.instrument)
    return Builder(
        energy=energy,
        lines=tuple(lines),
        instrument=recorded.instrument,
        sensitivities=with_ties(factors, ties),
        ties=ties,
        mass_absorption=recorded.tables.mass_absorption,
        other_absorption=recorded.tables.other_absorption,
        fit_range=(low, high),
        absorption=settings.absorption,
        elements=elements,
    )


def fit_summed_spectrum(recorded: EDSMap, settings: EDSOptions) -> SummedFit:
    """Fit lines and continuum of the sum of all spectra of a map; errors as :meth:`Builder.fit_sum` has them."""
    builder = make_builder(recorded, settings, need_factors=False)
    return builder.fit_sum(recorded.spectra.summed().total)
