"""Where lines lie, how wide they are, their tails and the ratios within their families, from a summed spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import lsq_linear

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import FloatArray, XRayLine
from hyperspy_assb.eds.lines.column_spectra import Builder, SpectrumModel
from hyperspy_assb.eds.lines.detected_lines import LineShapes
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, TemplateFit

_STEPS = 30
"""Steps of scoring at most; one that made the fit worse is halved, and counts as well."""
_STANDS_OUT = 10.0
"""Standard errors above which a line says where the axis lies."""
_BEGIN = (
    *({"offset": step} for step in (0.0, -0.05, 0.05, -0.1, 0.1, -0.15, 0.15)),
    *({"gain": step} for step in (-0.06, -0.04, -0.02, 0.02, 0.04, 0.06)),
)
"""From where the search may begin, the stated axis first: lines are then nearer than they are wide."""
_MUCH_BETTER = 0.6
"""Share of the deviance with the stated axis below which another one is where the search begins."""
_LONGEST = 4.0
"""Channels by which the axis moves in one step: shapes are linear in it over no more."""
_FINEST = 21.0
"""eV: resolution below which no detector is."""
_FLAT = 0.01
"""Deviance: what a step that makes the fit worse by less was about is a tenth of a standard error at most."""
_SETTLED = 0.02
"""Standard errors below which a step is the last."""
_NEAR = 5.0
"""Steps of the derivatives within which the axis must lie before the shape of lines is free."""
_ASTRAY = 0.01
"""Square of the relative misfit above which an axis is looked for elsewhere."""
_EITHER = 12.0**-0.5
"""Standard deviation of the share of a tail that factors count with its line: anything from none to all."""
_WEAKEST = 0.02
"""Share of the main line below which a weaker line of its family tells nothing."""


@dataclass(frozen=True)
class _Unknown:
    """A property of the detector: what is likely of it, the longest step, the step of its derivative, its limits."""

    likely: float
    longest: float
    small: float
    low: float
    high: float


# The first three are hardly held; the others as what is known of silicon detectors has them.
_UNKNOWN = {
    "offset": _Unknown(0.1, 0.04, 2e-4, -np.inf, np.inf),
    "gain": _Unknown(0.02, 0.02, 2e-5, -0.5, 0.5),
    "resolution": _Unknown(40.0, 25.0, 0.2, _FINEST, 400.0),
    "width_slope": _Unknown(0.2, 0.2, 0.005, 1.5, 3.5),
    "tail_depth": _Unknown(15.0, 10.0, 0.2, 0.0, 80.0),
    "tail_length": _Unknown(40.0, 30.0, 1.0, 20.0, 250.0),
    "escape": _Unknown(0.1, 0.2, 0.02, 0.0, 2.0),
    "carbon_window": _Unknown(1.0, 0.5, 0.01, 0.0, 5.0),
}
AXIS = ("offset", "gain", "resolution")
DETECTOR = tuple(name for name in _UNKNOWN if name not in AXIS)
_START_TAIL = 3.0
"""nm from which the depth of tails starts: at 0, nothing would be known of their length."""
_RATIO = {"K": 0.1, "L": 0.7, "M": 0.7}
"""Relative uncertainty of the tables' ratios of weaker lines to the main one of the family."""
_SHIFT = "energy"
"""In place of a group of weaker lines: the energy of all lines of a family."""
_UNSURE_ENERGY, _LONGEST_SHIFT = 1.0, 3.0
"""eV: uncertainty of energies by tables and by what atoms are bound to, and the longest step."""
_LONGEST_RATIO = 0.7
_LEAST_RATIO = 0.02
_ROUNDING = 1e-13
"""Share of the largest information below which there is none."""
_APART = ("Lb1", "Ll", "Ln")
"""Lines that are far enough from the main one to be told apart, each by itself."""


@dataclass(frozen=True, eq=False)
class ShapeFit:
    """Lines as the summed spectrum has them.

    Parameters
    ----------
    builder
        With the axis, the resolution, the detector and the ratios of lines that were found.
    offset, gain, resolution
        keV, relative, and eV at Mn Kα.
    covariance
        Of these three from counting, whatever the shape of lines is.
    detector
        Shape of lines.
    detector_std
        Standard error of each of its properties, by name; of those that were given, 0.
    ratios
        Weaker lines over what tables say of them, by name such as "Fe_Ll".
    lines
        Energy in keV of main lines with enough counts, by name.
    counts, expected
        In the channels that are fitted.
    """

    builder: Builder
    offset: float
    gain: float
    resolution: float
    covariance: FloatArray
    detector: DetectorShape
    detector_std: dict[str, float]
    ratios: dict[str, float]
    lines: dict[str, float]
    counts: FloatArray
    expected: FloatArray


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the spectra of a sum, which have lines, continuum and absorption of their own.

    Parameters
    ----------
    total
        Counts of all channels.
    absorber
        Atoms/nm^2 of each element in their mean column.
    """

    total: FloatArray
    absorber: Mapping[str, float]


@dataclass(frozen=True)
class _State:
    """Values of the unknown properties, and by how much lines depart from tables, by family and group: relative
    strength of weaker ones, and energy of all (eV).
    """

    values: dict[str, float]
    ratios: dict[tuple[str, str], float]

    def applied(self, builder: Builder) -> Builder:
        """A builder whose lines are these."""

        def departed(line: XRayLine) -> XRayLine:
            family, which = _group(line)
            ratio, shift = self.ratios.get((family, which), 0.0), self.ratios.get((family, _SHIFT), 0.0)
            return replace(line, weight=line.weight * (1.0 + ratio), energy=line.energy + 0.001 * shift)

        return replace(
            builder,
            lines=tuple(map(departed, builder.lines)) if self.ratios else builder.lines,
            instrument=replace(builder.instrument, resolution=self.values["resolution"]),
            detector=DetectorShape(**{name: self.values[name] for name in DETECTOR}),
            offset=self.values["offset"],
            gain=self.values["gain"],
        )

    def moved(self, free: tuple[str, ...], keys: list[tuple[str, str]], step: FloatArray) -> _State:
        values, ratios = dict(self.values), dict(self.ratios)
        for name, change in zip(free, step, strict=False):
            unknown = _UNKNOWN[name]
            values[name] = float(np.clip(values[name] + change, unknown.low, unknown.high))
        for key, change in zip(keys, step[len(free) :], strict=True):
            ratios[key] = max(ratios.get(key, 0.0) + float(change), _lowest(key))
        return _State(values, ratios)

    def room(self, free: tuple[str, ...], keys: list[tuple[str, str]]) -> FloatArray:
        """How far each can go down and up, shape (2, n)."""
        low = [_UNKNOWN[name].low for name in free] + [_lowest(key) for key in keys]
        high = [_UNKNOWN[name].high for name in free] + [np.inf] * len(keys)
        return np.array([low, high]) - self.vector(free, keys)

    def vector(self, free: tuple[str, ...], keys: list[tuple[str, str]]) -> FloatArray:
        return np.array([*(self.values[name] for name in free), *(self.ratios.get(key, 0.0) for key in keys)])


def _group(line: XRayLine) -> tuple[str, str]:
    """Family, and which of its weaker lines: those that share an uncertainty; "" is the main line."""
    which = "" if line.name == line.family else line.name if line.name in _APART else "others"
    return f"{line.element}_{line.family}", which


def _lowest(key: tuple[str, str]) -> float:
    return -np.inf if key[1] == _SHIFT else _LEAST_RATIO - 1.0


def fit_shapes(
    builder: Builder, total: FloatArray, *, detector: DetectorShape | None = None, parts: Sequence[Part] = ()
) -> ShapeFit:
    """Find axis, resolution, shape of lines and ratios within families from a summed spectrum, by maximum likelihood.

    Parameters
    ----------
    builder
        Lines and instrument, with the axis as it is said to be.
    total
        Counts of all channels.
    detector
        Shape of lines where it is known; None: found, held by what is known of such detectors.
    parts
        Sums of spectra that are unlike and add up to the total; empty: it is one.

    Returns
    -------
    ShapeFit
        The heights of all lines and of the continuum are unknown as well.

    Raises
    ------
    AssbValueError
        If fewer than two lines stand out, or the spectrum cannot be fitted.
    """
    total = np.asarray(total, dtype=float)
    parts = parts or (Part(total, builder.absorber),)
    found, misfit = _fit_from(builder, parts, detector, elsewhere=False)
    if misfit > _ASTRAY:
        # Lines further off than they are wide may lead to those of others.
        try:
            other, left = _fit_from(builder, parts, detector, elsewhere=True)
        except AssbValueError:
            return found
        return other if left < misfit else found
    return found


def _fit_from(
    builder: Builder, parts: Sequence[Part], detector: DetectorShape | None, *, elsewhere: bool
) -> tuple[ShapeFit, float]:
    """:func:`fit_shapes` from the stated axis or the nearest of a few, and the square of the relative misfit left."""
    total = np.sum([part.total for part in parts], axis=0)
    counts = total[builder.channels]
    main = {line.full_name: line for line in builder.countable_families}
    families = list(main)
    # The axis first: beside a wrong one, tails and widths find a place of their own.
    free: tuple[str, ...] = AXIS
    everything = AXIS if detector is not None else (*AXIS, *DETECTOR)
    known = detector or DetectorShape(tail_depth=_START_TAIL)
    first = {"offset": 0.0, "gain": 0.0, "resolution": builder.instrument.resolution}
    centre = {**first, **{name: getattr(known, name) for name in DETECTOR}, "tail_depth": 0.0}
    state = _State({**centre, "tail_depth": known.tail_depth}, {})
    state = best = _nearest(builder, state, families, total) if elsewhere else state
    keys: list[tuple[str, str]] = []
    told: dict[str, float] = {}
    least = np.inf
    starts: list[FloatArray | None] = [None] * len(parts)
    channel = float(builder.energy[1] - builder.energy[0])
    covariance = np.eye(len(free))

    def departure(of: _State) -> tuple[FloatArray, FloatArray]:
        """How far the properties are from what is likely, and how far they may be."""
        held = [_UNKNOWN[name].likely for name in free]
        held += [_UNSURE_ENERGY if key[1] == _SHIFT else _RATIO[key[0].split("_")[1][0]] for key in keys]
        away = of.vector(free, keys) - np.array([*(centre[name] for name in free), *(0.0 for _ in keys)])
        # Axis and resolution are held only where hardly any line tells them.
        away[: len(AXIS)] = 0.0
        return away, np.array(held)

    def settled(step: FloatArray) -> bool:
        limit = _SETTLED * np.sqrt(covariance.diagonal()) + 1e-9
        if free != everything:
            step, limit = step[: len(AXIS)], np.maximum(limit[: len(AXIS)], [_NEAR * _UNKNOWN[n].small for n in AXIS])
        return bool(np.all(np.abs(step) < limit))

    for _ in range(_STEPS):
        fits = [_PartFit.of(state.applied(builder), part, families, s) for part, s in zip(parts, starts, strict=True)]
        deviance = sum(fit.deviance for fit in fits)
        away, held = departure(state)
        penalty = deviance + float(np.sum((away / held) ** 2))
        if penalty > least + 1e-9:
            # The last step was too long.
            middle = 0.5 * (state.vector(free, keys) - best.vector(free, keys))
            state = best.moved(free, keys, middle)
            if settled(middle) or penalty < least + _FLAT:
                if free == everything:
                    break
                free, least, state = everything, np.inf, best
            continue
        if not np.isfinite(deviance):
            raise AssbValueError("The energy axis cannot be checked: the summed spectrum cannot be fitted.")
        least, best, starts = penalty, state, [*(fit.amounts for fit in fits)]
        strong = {name: counts for fit in fits for name, counts in fit.standing_out(families).items()}
        # Lines that come out once the axis is nearer join.
        told = {**told, **strong}
        keys = _uncertain_ratios(builder, told)
        away, held = departure(state)
        expected = np.sum([fit.expected for fit in fits], axis=0)
        score = _Score.of([fit.profiled(state, families, free, keys) for fit in fits], held, away)
        longest = np.array(
            [_UNKNOWN[name].longest for name in free]
            + [_LONGEST_SHIFT if key[1] == _SHIFT else _LONGEST_RATIO for key in keys]
        )
        longest[0] = max(_LONGEST * channel, longest[0])
        room = state.room(free, keys)
        step, covariance = score.step(np.maximum(room[0], -longest), np.minimum(room[1], longest))
        if settled(step):
            if free == everything:
                break
            free, least = everything, np.inf
            continue
        state = best.moved(free, keys, step)
    if len(strong) < 2:
        raise AssbValueError(
            "The energy axis cannot be checked: fewer than two lines stand out of the summed spectrum."
        )
    std = np.sqrt(covariance.diagonal())
    errors = {name: float(std[free.index(name)]) if name in free else 0.0 for name in DETECTOR}
    doubt = float(np.hypot(_EITHER * best.values["tail_depth"], errors["tail_depth"])) if detector is None else 0.0
    shapes = ShapeFit(
        builder=replace(best.applied(builder), tail_doubt=doubt),
        **{name: best.values[name] for name in AXIS},
        covariance=covariance[:3, :3],
        detector=DetectorShape(**{name: best.values[name] for name in DETECTOR}),
        detector_std=errors,
        ratios={
            line.full_name: 1.0 + best.ratios[_group(line)] for line in builder.seen if _group(line) in best.ratios
        },
        lines={name: main[name].energy for name in strong},
        counts=counts,
        expected=expected,
    )
    return shapes, float(np.sum((counts - expected) ** 2 - expected) / np.sum(expected**2))


def _nearest(builder: Builder, state: _State, families: list[str], total: FloatArray) -> _State:
    """The state with that axis of a few with which the counts fit much better, if there is one."""
    found = []
    for axis in _BEGIN:
        tried = _State({**state.values, **axis}, state.ratios)
        model = tried.applied(builder).build({}, families)
        found.append((_fitted(model, model.model.guess(total[builder.channels]), total)[1], tried))
    best = min(found, key=lambda one: one[0])
    # Where elements are missing in the list, no axis is much better than another.
    return best[1] if best[0] < _MUCH_BETTER * found[0][0] else state


def _fitted(model: SpectrumModel, start: FloatArray, total: FloatArray) -> tuple[TemplateFit, float]:
    """The fit of the amounts, and its deviance: infinite where it did not converge."""
    fit = replace(model, typical=start).fit(total[np.newaxis])
    return fit, float(fit.deviance[0]) if fit.status[0] == CONVERGED else np.inf


@dataclass(frozen=True, eq=False)
class _PartFit:
    """Lines and continuum of a part, with the detector as it is taken to be.

    Parameters
    ----------
    builder, model
        Of the part.
    counts, expected
        In the channels that are fitted.
    amounts, std
        Counts of families, and heights of the continuum at the nodes.
    deviance
        Infinite where the fit did not converge.
    """

    builder: Builder
    model: SpectrumModel
    counts: FloatArray
    expected: FloatArray
    amounts: FloatArray
    std: FloatArray
    deviance: float

    @classmethod
    def of(cls, builder: Builder, part: Part, families: list[str], start: FloatArray | None) -> _PartFit:
        builder = replace(builder, absorber=part.absorber)
        model = builder.build({}, families)
        counts = part.total[builder.channels]
        start = model.model.guess(counts) if start is None else np.maximum(start, 1e-9 * start.max())
        fit, deviance = _fitted(model, start, part.total)
        std = np.sqrt(np.maximum(fit.covariance[0].diagonal(), 0.0))
        return cls(builder, model, counts, model.model.expectation(fit.amounts[0]), fit.amounts[0], std, deviance)

    def standing_out(self, families: list[str]) -> dict[str, float]:
        """Counts of the families of lines that are far above their errors."""
        rows = zip(families, self.amounts, self.std, strict=False)
        return {name: float(value) for name, value, std in rows if value > _STANDS_OUT * std}

    def profiled(
        self, state: _State, families: list[str], free: tuple[str, ...], keys: list[tuple[str, str]]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Score and information of the properties, whatever the amounts are, and the latter with these as they are."""
        own = self.builder
        height = dict(zip(families, self.amounts, strict=False))
        by = _Slopes.of(own, state, height, self.amounts[len(families) :])
        slopes = [by.by(name) for name in free]
        slopes += [
            by.of_energy(key[0])
            if key[1] == _SHIFT
            else height[_host(own, key[0])] * _part(own, key) / (1.0 + state.ratios.get(key, 0.0))
            for key in keys
        ]
        root = np.sqrt(np.maximum(self.expected, 1e-9))
        design = self.model.model.strength.T[self.amounts > 0.0] @ self.model.model.templates / root
        size = np.linalg.norm(design, axis=1, keepdims=True)
        design = design / np.where(size > 0.0, size, 1.0)
        by_property, residual = np.array(slopes) / root, (self.counts - self.expected) / root
        follow = np.linalg.pinv(design @ design.T, hermitian=True) @ (design @ by_property.T)
        whole = by_property @ by_property.T
        gradient = by_property @ residual - follow.T @ (design @ residual)
        return gradient, whole - (by_property @ design.T) @ follow, whole


def _uncertain_ratios(builder: Builder, strong: dict[str, float]) -> list[tuple[str, str]]:
    """Groups of weaker lines of families that stand out, of hidden ones those that are not hidden as well; and the
    energies of families.
    """
    hidden = {tie.hidden for tie in builder.ties}
    found: dict[tuple[str, str], float] = {}
    for name in strong:
        for line in builder.together(name):
            family, which = _group(line)
            if which in ("Ll", "Ln") or (which and family not in hidden):
                found[_group(line)] = found.get(_group(line), 0.0) + line.weight
    keys = [key for key, weight in found.items() if weight > _WEAKEST]
    return keys + [(family, _SHIFT) for family in strong if family not in hidden]


def _part(builder: Builder, key: tuple[str, str]) -> FloatArray:
    """Weaker lines of one group, for one count in the main line of the family that tells them."""
    lines = builder.together(_host(builder, key[0]))
    return np.asarray(sum(line.weight * builder.shape(line) for line in lines if _group(line) == key))


def _host(builder: Builder, family: str) -> str:
    """The family whose counts tell those of a family: itself, or that of its tie."""
    return {tie.hidden: tie.host for tie in builder.ties}.get(family, family)


@dataclass(frozen=True, eq=False)
class _Slopes:
    """Changes of the expected counts per change of a property of the detector.

    Parameters
    ----------
    builder, state
        Whose lines they are, and its properties.
    lines
        Which of the lines that are seen stand out.
    height
        Counts of each.
    continuum
        Height at the nodes.
    """

    builder: Builder
    state: _State
    lines: list[int]
    height: FloatArray
    continuum: FloatArray

    @classmethod
    def of(cls, builder: Builder, state: _State, height: dict[str, float], continuum: FloatArray) -> _Slopes:
        total: dict[int, float] = {}
        for family, counts in height.items():
            for line in builder.together(family):
                place = builder.place[line.full_name]
                total[place] = total.get(place, 0.0) + counts * line.weight
        return cls(builder, state, list(total), np.array(list(total.values())), continuum)

    def by(self, name: str) -> FloatArray:
        """Shape (E,)."""
        if name == "offset":
            return self.height @ self._moved
        if name == "gain":
            return (self.height * np.array([self.builder.seen[k].energy for k in self.lines])) @ self._moved
        other, small = self._other(name), _UNKNOWN[name].small
        if name == "carbon_window":
            return np.asarray(self.continuum @ (other.hats[1] - self.builder.hats[1]) / small)
        energy = np.array([self.builder.seen[k].energy for k in self.lines])
        if name == "escape":
            shapes = replace(self._own, escaped=other.escaped(energy))
        elif name == "tail_depth":
            shapes = replace(self._own, lost=other.lost(energy))
        elif name == "tail_length":
            shapes = replace(self._own, tail=other.tails_of(self.lines))
        else:
            shapes = other.shapes_of(self.lines)
        return np.asarray(self.height @ (shapes.whole() - self._own.whole()) / small)

    def of_energy(self, family: str) -> FloatArray:
        """The same per eV by which the lines of a family are higher, shape (E,)."""
        lines = [self.builder.seen[k] for k in self.lines]
        chosen = [f"{line.element}_{line.family}" == family for line in lines]
        return 0.001 * (self.height * chosen) @ self._moved

    @cached_property
    def _own(self) -> LineShapes:
        return self.builder.shapes.only(self.lines)

    @cached_property
    def _moved(self) -> FloatArray:
        """Change of each line per keV by which all are higher."""
        other = self._other("offset").shapes_of(self.lines)
        return (other.whole() - self._own.whole()) / _UNKNOWN["offset"].small

    def _other(self, name: str) -> Builder:
        moved = _State({**self.state.values, name: self.state.values[name] + _UNKNOWN[name].small}, {})
        return moved.applied(self.builder)


@dataclass(frozen=True)
class _Score:
    """Score and information of the properties, each in a unit of its own."""

    gradient: FloatArray
    information: FloatArray
    scale: FloatArray

    @classmethod
    def of(
        cls, parts: Sequence[tuple[FloatArray, FloatArray, FloatArray]], held: FloatArray, away: FloatArray
    ) -> _Score:
        gradient, information, whole = (np.sum(one, axis=0) for one in zip(*parts, strict=True))
        # What was known before counts as well: a property that no line tells would have a unit of next to nothing.
        scale = np.sqrt(whole.diagonal() + 1.0 / held**2)
        gradient = (gradient - away / held**2) / scale
        return cls(gradient, information / np.outer(scale, scale) + np.diag(1.0 / (held * scale) ** 2), scale)

    def step(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Step of the properties towards the maximum, as far as it may go, and their covariance without limits.

        Parameters
        ----------
        low, high
            How far each may go down and up, shape (n,). All go as far as is best within: cut one by one, steps of
            properties that hang together would lead uphill.
        """
        size, axes = np.linalg.eigh(self.information)
        root = np.sqrt(np.maximum(size, _ROUNDING * size[-1]))
        limits = np.minimum(low, 0.0) * self.scale, np.maximum(high, 1e-12) * self.scale
        found = lsq_linear(root[:, np.newaxis] * axes.T, axes.T @ self.gradient / root, limits, method="bvls")
        inverse = (axes / root**2) @ axes.T
        return found.x / self.scale, inverse / np.outer(self.scale, self.scale)
