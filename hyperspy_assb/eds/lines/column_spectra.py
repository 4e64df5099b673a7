"""X-ray spectra of columns of atoms as sums of templates: lines tied to amounts, absorption, continuum."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter1d

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray, Instrument, MassAbsorption, XRayLine
from hyperspy_assb.eds.lines.detected_lines import (
    SI_KA,
    LineShapes,
    channel_edges,
    escape_share,
    gaussians,
    tail_share,
    tails,
)
from hyperspy_assb.eds.lines.families import Tie, find_ties, with_ties
from hyperspy_assb.eds.lines.sensitivity import AVOGADRO, COMPUTED, Sensitivities, choose_sensitivities
from hyperspy_assb.eds.lines.x_ray_lines import FIT_RANGE, FWHM_PER_SIGMA, elements_of, in_range, line_width
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

_ALIKE_CONTINUUM = 0.4
"""Optical depth of the typical column from one part of the continuum to the next; between them it is interpolated."""
_SLIGHT = 0.2
"""Share of a part below which a turn is none."""
_MERGED = 0.6
"""Standard deviations of a line over which channels are added up: of what they say of its height, half as much of
the square over 24 is lost, 0.8 % in a standard error."""
_CARBON_EDGE = 0.2842
"""keV."""
# Windows of polymer are of polyimide, C22H10N2O5: mass fractions of what absorbs.
_POLYIMIDE = {"C": 0.691, "N": 0.073, "O": 0.209}
_STEPS_BELOW = 3.0
"""keV below which absorption edges make steps of the continuum that the resolution must smooth."""
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
    bins
        Of these channels, those from which on they may be added up: a fraction of a line width at a time.
    shapes
        Relative uncertainty of the counts of each group by the shapes of its lines, shape (G,).
    """

    model: TemplateModel
    names: tuple[str, ...]
    groups: tuple[str, ...]
    doubt: FloatArray
    depth: FloatArray
    channels: slice
    typical: FloatArray
    energy: FloatArray
    bins: NDArray[np.int64]
    shapes: FloatArray

    def fit(
        self,
        counts: Any,
        *,
        exposure: FloatArray | None = None,
        threads: int | None = None,
        merged: bool = False,
        max_iterations: int = 200,
    ) -> TemplateFit:
        """Fit spectra, shape (N, all channels), each recorded ``exposure`` times as long as one.

        Columns that let nothing out, so that more of them would look the same, count as undetermined. Where channels
        are ``merged`` errors grow by less than a hundredth, and the fit is faster.
        """
        fit = fit_templates(
            counts,
            self.model,
            self.typical,
            channels=self.channels,
            bins=self.bins if merged else None,
            exposure=exposure,
            threads=threads,
            max_iterations=max_iterations,
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
        return np.sqrt(known**2 + self.shapes**2 + slope**2 * squared)

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


def _leaving(depth: FloatArray) -> FloatArray:
    """Share of what a layer makes evenly over its depth that leaves it."""
    depth = np.maximum(depth, 1e-9)
    return -np.expm1(-depth) / depth


def _in_parts(depths: FloatArray) -> FloatArray:
    """A coordinate along which depths of some amounts, shape (amounts, energies), change by so much from one whole
    number to the next; where their sum turns, as before and behind an edge of absorption, it is a whole number.
    """
    passed = np.abs(np.diff(depths, prepend=depths[:, :1])).sum(axis=0) / _ALIKE_CONTINUUM
    rises = np.diff(depths.sum(axis=0)) > 0.0
    turns = [0, *(np.flatnonzero(np.diff(rises)) + 1), depths.shape[1] - 1]
    starts = [0]
    for k in turns[1:]:
        if passed[starts[-1] + 1 : k + 1].sum() > _SLIGHT or k == turns[-1]:
            starts.append(int(k))
    for a, b in pairwise(starts):
        whole = passed[a + 1 : b + 1].sum()
        passed[a + 1 : b + 1] *= np.ceil(whole) / max(whole, 1e-300)
    return np.asarray(np.cumsum(passed))


def _alike(depths: FloatArray) -> list[int]:
    """Where parts of a spectrum begin that are absorbed alike by each of some amounts, shape (amounts, parts)."""
    starts = [0]
    for k in range(1, depths.shape[1]):
        if np.any(np.abs(depths[:, k] - depths[:, starts[-1]]) > 2.0 * _ALIKE):
            starts.append(k)
    return starts


class _ByElement(dict[str, tuple[FloatArray, FloatArray]]):
    """Something of elements that is looked up once for each."""

    def __init__(self, look_up: Callable[[str], tuple[FloatArray, FloatArray]]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, element: str) -> tuple[FloatArray, FloatArray]:
        self[element] = self._look_up(element)
        return self[element]


def _of_groups(
    rows: Sequence[FloatArray], templates: list[FloatArray], group: list[int], groups: int, size: int
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
    absorber
        Atoms/nm^2 of each element in the mean column, through which the continuum leaves.
    tail_doubt
        nm of silicon from which photons may be counted in a tail or in their line, where this was found from a
        spectrum.
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
    absorber: Mapping[str, float] = field(default_factory=dict)
    tail_doubt: float = 0.0

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
    def bins(self) -> NDArray[np.int64]:
        """Channels from which on some may be added up."""
        centre = self.energy[self.channels]
        sigma = line_width(centre, self.instrument.resolution, self.detector.width_slope) / FWHM_PER_SIGMA
        several = np.maximum(np.rint(_MERGED * sigma / (centre[1] - centre[0])), 1.0)
        # A new bin where the number of bins so far passes a whole one.
        number = np.floor(np.cumsum(1.0 / several) - 1.0 / several + 1e-9)
        return np.flatnonzero(np.diff(number, prepend=-1.0)).astype(np.int64)

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
        return float(_leaving(self._depth(atoms, np.array([main.energy])))[0])

    def doubt_of_leaving(self, element: str, atoms: Mapping[str, float]) -> FloatArray:
        """Relative change, by the other source of absorption, of what leaves at the softest line of an element, for one
        atom/nm^2 more of each element in a column of some atoms/nm^2.
        """
        place = min((self.place[family] for family in self.families(element)), key=lambda k: self.seen[k].energy)
        depth = max(sum(n * self._of_one[el][0][place] for el, n in atoms.items()), 1e-6)
        left = -np.expm1(-depth) / depth
        slope = (np.exp(-depth) - left) / depth / left if self.absorption else 0.0
        return slope * np.array([self._of_one[el][1][place] for el in atoms])

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
        return self._whole[self.place[line.full_name]]

    @cached_property
    def place(self) -> dict[str, int]:
        """Where lines are among those that are seen."""
        return {line.full_name: k for k, line in enumerate(self.seen)}

    @cached_property
    def _whole(self) -> FloatArray:
        return self.shapes.whole()

    @cached_property
    def shapes(self) -> LineShapes:
        """What the lines that are seen are made of."""
        return self.shapes_of(range(len(self.seen)))

    def shapes_of(self, which: Sequence[int]) -> LineShapes:
        """What some of the lines that are seen are made of."""
        lines = [self.seen[k] for k in which]
        energy = np.array([line.energy for line in lines])
        shares = {"lost": self.lost(energy), "escaped": self.escaped(energy)}
        at = energy * (1.0 + self.gain) + self.offset
        return LineShapes.of(self.edges, lines, at, self.instrument.resolution, detector=self.detector, **shares)

    def tails_of(self, which: Sequence[int]) -> FloatArray:
        """Tails of some of the lines that are seen."""
        at = np.array([self.seen[k].energy for k in which]) * (1.0 + self.gain) + self.offset
        return tails(self.edges, at, self.instrument.resolution, self.detector)

    def escaped(self, energy: FloatArray) -> FloatArray:
        """Share of the photons of lines at some energies that are counted in their escape peaks."""
        silicon = self.mass_absorption("Si", np.append(energy, SI_KA))
        return self.detector.escape * escape_share(silicon[:-1], float(silicon[-1]), energy)

    def lost(self, energy: FloatArray) -> FloatArray:
        """Share of the photons of lines at some energies that are counted in their tails."""
        return tail_share(self.mass_absorption("Si", np.append(energy, SI_KA))[:-1], self.detector.tail_depth)

    def members(self, family: str) -> list[XRayLine]:
        """Lines of a family such as "Fe_La"."""
        return list(self._by_family.get(family, ()))

    @cached_property
    def _by_family(self) -> dict[str, list[XRayLine]]:
        found: dict[str, list[XRayLine]] = {}
        for line in self.seen:
            found.setdefault(f"{line.element}_{line.family}", []).append(line)
        return found

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

    def _absorbed(self, amounts: Mapping[str, Mapping[str, float]]) -> tuple[FloatArray, FloatArray]:
        """:meth:`_depth` of one unit of each amount at the lines that are seen, shape (amounts, lines), and what two
        sources differ by in it, absorbers taken as independent.
        """
        depth, doubt = np.zeros((2, len(amounts), len(self.seen)))
        for k, atoms in enumerate(amounts.values()):
            for element, number in atoms.items():
                if element != "Li":
                    own, other = self._of_one[element]
                    depth[k] += number * own
                    doubt[k] += (number * other) ** 2
        return depth, np.sqrt(doubt)

    @cached_property
    def _of_one(self) -> _ByElement:
        """What one atom/nm^2 of an element absorbs of the lines that are seen, and what two sources differ by in it."""
        at = np.array([line.energy for line in self.seen])

        def look_up(element: str) -> tuple[FloatArray, FloatArray]:
            own = self._path(element, 1.0) * self.mass_absorption(element, at)
            if self.other_absorption is None or not self.absorption:
                return own, np.zeros_like(own)
            return own, own - self._path(element, 1.0) * self.other_absorption(element, at)

        return _ByElement(look_up)

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
        """Share of the continuum of the mean column that the column itself and the window let through, in the
        channels: edges of absorption as steps that the resolution smooths, which no smooth function follows.
        """
        centre = self.energy[self.channels]
        passed = np.ones_like(centre)
        if self.detector.carbon_window > 0.0:
            film = {el: share * self.mass_absorption(el, centre) for el, share in _POLYIMIDE.items()}
            above = float(self.mass_absorption("C", np.array([1.02 * _CARBON_EDGE]))[0])
            passed = np.exp(-self.detector.carbon_window * sum(film.values()) / (_POLYIMIDE["C"] * above))
        if self.absorber and self.absorption:
            passed = passed * _leaving(self._depth(self.absorber, centre))
        soft = int(np.searchsorted(centre, _STEPS_BELOW))
        if soft < 2 or np.ptp(passed) == 0.0:
            return passed
        sigma = line_width(centre, self.instrument.resolution, self.detector.width_slope) / FWHM_PER_SIGMA
        reach = min(soft + round(0.5 / (centre[1] - centre[0])), centre.size)
        spread = gaussians(self.edges[: reach + 1], centre[:soft], sigma[:soft])
        return np.concatenate([spread @ passed[:reach] / spread.sum(axis=1), passed[soft:]])

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
        if continuum is not None:
            hats, slopes = self._continuum_parts(continuum, amounts, typical)
        templates, strength, depth, group, doubt = [], [], [], [], []
        per_line, doubts = self._absorbed(amounts)
        elements = sorted({element for atoms in amounts.values() for element in atoms})
        # Hidden families have a calibration of their own.
        groups = [*elements, *(tie.hidden for tie in self.ties)]
        for element in elements:
            for family in self.families(element):
                if family in free_families or family not in self.sensitivities.cross_section:
                    continue
                counts = electrons * self.sensitivities.of(family)
                for part, weight in self._merged(family, per_line, typical):
                    templates.append(counts * weight @ self._whole[part])
                    strength.append([atoms.get(element, 0.0) for atoms in amounts.values()])
                    weight = weight / max(weight.sum(), 1e-12)
                    depth.append(per_line[:, part] @ weight if self.absorption else np.zeros(len(names)))
                    group.append(groups.index(family if family in groups else element))
                    doubt.append(doubts[:, part] @ weight)
        lines = len(templates)
        rows = np.zeros((lines + len(free_families) + len(hats), size))
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
            rows[first:, column] = 1.0
            if self.absorption:
                absorption[first:, : len(names)] = slopes
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
            bins=self.bins,
            shapes=np.array([self._unsure_shape(name) for name in groups]),
        )

    def _unsure_shape(self, group: str) -> float:
        """Relative uncertainty of the counts of an element or of a hidden family by what shapes of lines leave open.

        Tails that are shorter than lines are wide look like a part of them; whether a factor counts them is not known.
        """
        families = [group] if "_" in group else [f for f in self.families(group) if f in self._factors]
        energy = np.array([self.seen[self.place[family]].energy for family in families])
        if not energy.size or not self.tail_doubt:
            return _SHAPES
        tail = tail_share(self.mass_absorption("Si", energy), self.tail_doubt)
        return float(np.hypot(_SHAPES, tail.min()))

    @property
    def _factors(self) -> Mapping[str, float]:
        return self.sensitivities.cross_section

    def _merged(
        self, family: str, per_line: FloatArray, typical: FloatArray | None
    ) -> list[tuple[NDArray[np.int64], FloatArray]]:
        """Lines of a family, those together that are absorbed alike: which of those that are seen, and their weights.

        Parameters
        ----------
        family
            Such as "Fe_La".
        per_line, typical
            What one unit of each amount absorbs of each line, and amounts of the mean spectrum.
        """
        members = sorted(self.members(family), key=lambda line: line.energy)
        place = np.array([self.place[line.full_name] for line in members])
        weight = np.array([line.weight for line in members])
        column = np.ones(len(per_line)) if typical is None else 3.0 * typical[: len(per_line)]
        starts = _alike(column[:, np.newaxis] * per_line[:, place])
        return [(place[a:b], weight[a:b]) for a, b in pairwise([*starts, len(members)])]

    def _continuum_parts(
        self, height: FloatArray, amounts: Mapping[str, Mapping[str, float]], typical: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Continuum of some height at the nodes in parts that are absorbed alike, before absorption by the amounts, and
        how one unit of each of these absorbs each part.

        Shape (parts, channels) and (parts, amounts). Parts fade into each other as absorption changes with energy, and
        so at its edges, as no node does.
        """
        centre = self.energy[self.channels]
        whole = np.maximum(height @ self.hats[1], 1e-300)
        if not self.absorption or not amounts:
            return whole[np.newaxis], np.zeros((1, len(amounts)))
        edge = float(line_width(np.array(0.5), self.instrument.resolution, self.detector.width_slope)) / FWHM_PER_SIGMA
        columns = [*amounts.values(), self.absorber]
        depths = np.array([self._depth(atoms, centre) for atoms in columns])
        depths = gaussian_filter1d(depths, edge / (centre[1] - centre[0]), mode="nearest")
        number: dict[str, float] = {}
        for atoms, much in zip(amounts.values(), itertools.repeat(1.0) if typical is None else typical, strict=False):
            for element, n in atoms.items():
                number[element] = number.get(element, 0.0) + n * float(much)
        deep = np.array([self._depth({element: n}, centre) for element, n in number.items()])
        if typical is None:
            # How much there is of each is not known: then as much as is opaque.
            deep *= _OPAQUE / np.maximum(deep.max(axis=1, keepdims=True), 1e-300)
        passed = _in_parts(deep)
        at = np.arange(np.rint(passed[-1]) + 1.0)
        shares = np.maximum(1.0 - np.abs(passed - at[:, np.newaxis]), 0.0)
        used = shares.any(axis=1)
        *depth, mean = (np.interp(at[used], passed, one) for one in depths)
        # What the mean column absorbs is in the continuum that is seen, and comes back with the amounts.
        return shares[used] * whole / _leaving(mean)[:, np.newaxis], np.transpose(depth)

    def estimate_continuum(self, total: FloatArray) -> FloatArray:
        """Height of the continuum at the nodes, from a summed spectrum in which every family of lines is free.

        Parameters
        ----------
        total
            Counts of all channels.

        Returns
        -------
        height
            Shape (nodes,), for the counts of ``total``; before absorption, if the mean column is known.

        Raises
        ------
        AssbValueError
            If the spectrum is empty or cannot be fitted.
        """
        height = self.fit_sum(total).continuum
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
                "The continuum could not be found: the summed spectrum is empty, holds no X-ray spectrum, or its "
                "energy axis is far off: correct_energy_calibration() puts that right (on the command line, "
                "--correct-energy)."
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
