"""What the answer for a pattern leaves unexplained: a second crystal in the column, or a crystal that was not offered.

The spots of the answer are masked, and what is left is indexed like a pattern of its own. That is done only where at
least two spots are left that stand out of the noise, so that patterns of one crystal cost little more than before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.crystal_phase import cell_axes
from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.crystals.frames import matrices
from hyperspy_assb.acom.crystals.kinematical import reflections
from hyperspy_assb.acom.matching.crystal_amounts import intensities, take_out
from hyperspy_assb.acom.matching.explanation import explain, places_of
from hyperspy_assb.acom.matching.matcher import MatchArrays, Matcher
from hyperspy_assb.acom.matching.posterior import probabilities
from hyperspy_assb.acom.matching.refinement import Refined, Refiner
from hyperspy_assb.acom.matching.refinement_kernels import desk_for
from hyperspy_assb.acom.patterns.bright_spots import MOST_SPOTS, SpotFinder
from hyperspy_assb.acom.patterns.polar import PreparedBlock, flatten, sample
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

REST_SPOTS = 2
"""Spots that the answer must leave for what is left to be indexed."""
REST_SIGNIFICANCE = 5.0
"""Standard deviations by which these stand out."""
NODE = 0.8
"""Distance in standard deviations of a spot within which it is at a node: four times the error of a bright spot."""
MASK = 2.5
"""Radius of what is masked about a spot, in standard deviations of a spot."""
SAME_CRYSTAL = 8.0
"""Degrees within which a second answer of the same phase is the first one again, bent or imperfect."""
Weigh = Callable[[PreparedBlock, Refined, FloatArray], None]
"""Writes the logarithm of the evidence for each phase of some patterns, (B, P)."""
UNKNOWN_SCALE, UNKNOWN_ELLIPSE = 0.02, 0.01
"""Relative error of a scale, and of an ellipse of the lenses, that were not refined."""


@dataclass(frozen=True)
class Looked:
    """What the answers for B patterns explain.

    Parameters
    ----------
    spots
        Spots that stand out of the noise, shape (B,).
    brightness
        Root of the sum of their squared significances, shape (B,).
    evidence
        Logarithm of the likelihood ratio of the answer to a lattice that is not there, from the places of spots,
        shape (B,).
    both_evidence
        Of both answers, that of the first alone where there is no second one, shape (B,).
    gain
        By how much that of both is above that of either alone, 0 where nothing was left to be indexed, shape (B,).
    accounted
        Electrons that the answers account for by their kinematical intensities, over those in all spots, shape (B,).
    score
        Of the first answer, shape (B,).
    strain
        By how much the first lattice was strained to meet the spots (Frobenius norm), without its turn and what
        scale and ellipse may be off by, shape (B,).
    second_phase, second_orientation, second_score
        The second answer: -1, NaN and 0 where nothing is left to be indexed, shapes (B,), (B, 4) and (B,).
    second_posterior
        Probability of each phase given that one of them is the second crystal, NaN where there is none, shape (B, P).
    amount, amount_std
        Thickness of the first and of the second crystal in common units and standard errors, from the intensities of
        their spots, shape (B, 2); NaN where there is none.
    """

    spots: NDArray[np.int64]
    brightness: FloatArray
    evidence: FloatArray
    both_evidence: FloatArray
    gain: FloatArray
    accounted: FloatArray
    score: FloatArray
    strain: FloatArray
    second_phase: NDArray[np.int64]
    second_orientation: FloatArray
    second_score: FloatArray
    second_posterior: FloatArray
    amount: FloatArray
    amount_std: FloatArray

    @classmethod
    def empty(cls, count: int, phases: int) -> Looked:
        """Nothing found yet."""
        whole, real = np.zeros(count, dtype=np.int64), np.zeros(count)
        return cls(
            spots=whole,
            brightness=real,
            evidence=real.copy(),
            both_evidence=real.copy(),
            gain=real.copy(),
            accounted=real.copy(),
            score=real.copy(),
            strain=real.copy(),
            second_phase=np.full(count, -1, dtype=np.int64),
            second_orientation=np.full((count, 4), np.nan),
            second_score=real.copy(),
            second_posterior=np.full((count, phases), np.nan),
            amount=np.full((count, 2), np.nan),
            amount_std=np.full((count, 2), np.nan),
        )

    def part(self, begin: int, end: int) -> Looked:
        """The same memory for a few of the patterns."""
        return Looked(*(getattr(self, item.name)[begin:end] for item in fields(self)))

    @classmethod
    def join(cls, parts: list[Looked]) -> Looked:
        """Several blocks, one after the other."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))


class SecondLook:
    """Looks at what answers leave of patterns.

    Parameters
    ----------
    bank
        Phases.
    matcher
        That searches what is left.
    refiner
        That refines it.
    weigh
        That weighs phases.
    finder
        Finds spots.
    """

    def __init__(
        self, bank: TemplateBank, matcher: Matcher, refiner: Refiner, weigh: Weigh, finder: SpotFinder
    ) -> None:
        self.matcher, self.refiner, self.weigh, self.finder = matcher, refiner, weigh, finder
        self.area = float(np.prod(matcher.shape))
        geometry = matcher.geometry
        scale_std = geometry.scale_std / geometry.scale
        self.calibration_off = (
            np.sqrt(2.0) * (scale_std if np.isfinite(scale_std) else UNKNOWN_SCALE),
            np.sqrt(0.5) * (geometry.ellipticity_std if np.isfinite(geometry.ellipticity_std) else UNKNOWN_ELLIPSE),
        )
        self.symmetry = [symmetry_of(phase) for phase in bank.phases]
        self.cells = [cell_axes(phase) for phase in bank.phases]
        # Kinematical intensity for a thickness: the structure factor by the volume of the cell, squared.
        self.strength = np.array(
            [
                reflections(phase, max_radius=bank.diffraction.max_radius).intensity.max()
                / abs(np.linalg.det(cell_axes(phase))) ** 2
                for phase in bank.phases
            ]
        )
        self.strength = self.strength / self.strength.mean()

    def look_block(self, block: PreparedBlock, refined: Refined, evidence: FloatArray, out: Looked) -> None:
        """Judge the answers for a few patterns, in this thread."""
        desk = _Desk(self, block)
        indexed = np.isfinite(evidence).any(axis=1) & (block.power > 0.0)
        rest = []
        for b in np.flatnonzero(indexed).tolist():
            p = int(np.argmax(evidence[b]))
            desk.read(b)
            out.spots[b] = desk.count
            out.brightness[b] = np.sqrt((desk.spots[: desk.count, 2] ** 2).sum())
            out.score[b] = refined.score[b, p]
            desk.put(0, _Lattice.of(refined, b, p))
            out.evidence[b] = out.both_evidence[b] = desk.explain(1)
            out.strain[b] = desk.strain
            left = (desk.belongs[: desk.count] < 0) & (desk.spots[: desk.count, 2] >= REST_SIGNIFICANCE)
            if left.sum() >= REST_SPOTS:
                left[left] = ~desk.on_nodes(_Lattice.of(refined, b, p), np.flatnonzero(left))
            out.amount[b, 0], out.amount_std[b, 0] = desk.amounts(1)[:, 0] / self.strength[p]
            out.accounted[b] = desk.accounted
            if left.sum() >= REST_SPOTS:
                desk.mask(b)
                rest.append(b)
        if rest:
            self._second(block, np.array(rest), desk, refined, evidence, out)

    def _second(
        self,
        block: PreparedBlock,
        rows: NDArray[np.int64],
        desk: _Desk,
        refined: Refined,
        evidence: FloatArray,
        out: Looked,
    ) -> None:
        """Index what is left of some patterns; where that explains more than the answer did, it becomes the answer."""
        left = self._unwrapped(block, rows, desk.masked)
        phases = evidence.shape[1]
        found = MatchArrays.empty(len(rows), phases, 2)
        self.matcher.search_block(left, found)
        rest = Refined.empty(len(rows), phases)
        self.refiner.refine_block(left, found.orientation, found.score, rest)
        weight = np.full((len(rows), phases), -np.inf)
        self.weigh(left, rest, weight)
        for k, b in enumerate(rows):
            first = _Lattice.of(refined, b, int(np.argmax(evidence[b])))
            second = self._another(weight[k], rest, k, first)
            if second is None:
                continue
            posterior = probabilities(weight[k])
            desk.read(b)
            desk.put(0, second)
            alone = desk.explain(1)
            if alone > out.evidence[b]:
                before = probabilities(evidence[b])
                if self._replace(block, b, second, refined, evidence):
                    first, second = _Lattice.of(refined, b, second.phase), first
                    posterior = before
                    out.score[b] = first.score
                    desk.put(0, first)
                    out.evidence[b] = desk.explain(1)
                    out.strain[b] = desk.strain
                    out.amount[b, 0], out.amount_std[b, 0] = desk.amounts(1)[:, 0] / self.strength[first.phase]
                    out.accounted[b] = desk.accounted
            desk.put(0, first)
            desk.put(1, second)
            both = desk.explain(2)
            out.both_evidence[b] = max(both, out.evidence[b])
            # Of two answers each of which explains the pattern alone, one is there.
            out.gain[b] = both - max(out.evidence[b], alone)
            if out.gain[b] > 0.0:
                out.second_phase[b], out.second_orientation[b] = second.phase, second.orientation
                out.second_score[b] = second.score
                out.second_posterior[b] = posterior
                out.amount[b], out.amount_std[b] = desk.amounts(2) / self.strength[[first.phase, second.phase]]
                out.accounted[b] = desk.accounted

    def _another(self, weight: FloatArray, rest: Refined, k: int, first: _Lattice) -> _Lattice | None:
        """The likeliest answer for what is left that is not the first one again."""
        for p in np.argsort(-weight, kind="stable"):
            if not np.isfinite(weight[p]):
                break
            found = _Lattice.of(rest, k, int(p))
            same = found.phase == first.phase and (
                disorientation(found.orientation, first.orientation, self.symmetry[first.phase]) < SAME_CRYSTAL
            )
            if not same:
                return found
        return None

    def _replace(self, block: PreparedBlock, b: int, lattice: _Lattice, refined: Refined, evidence: FloatArray) -> bool:
        """Try a lattice that was found in what was left as the answer for the whole pattern: whether it is."""
        one = _some(block, np.array([b]))
        phases = evidence.shape[1]
        start = np.full((1, phases, 1, 4), np.nan)
        start[0, lattice.phase, 0] = lattice.orientation
        trial = Refined.empty(1, phases)
        self.refiner.refine_block(one, start, np.ones((1, phases, 1)), trial)
        p = lattice.phase
        together = Refined(*(getattr(refined, item.name)[b : b + 1].copy() for item in fields(Refined)))
        for item in fields(Refined):
            getattr(together, item.name)[0, p] = getattr(trial, item.name)[0, p]
        weight = np.full((1, phases), -np.inf)
        self.weigh(one, together, weight)
        if int(np.argmax(weight[0])) != p:
            return False
        for item in fields(Refined):
            getattr(refined, item.name)[b] = getattr(together, item.name)[0]
        evidence[b] = weight[0]
        return True

    def _unwrapped(
        self, block: PreparedBlock, rows: NDArray[np.int64], images: dict[int, NDArray[np.float32]]
    ) -> PreparedBlock:
        """The masked patterns in polar coordinates."""
        preparation = self.matcher.preparation
        flat = np.empty((len(rows), *block.flat.shape[1:]), dtype=np.float32)
        means = np.empty((len(rows), block.means.shape[1]), dtype=np.float32)
        masked = np.stack([images[b] for b in rows])
        power = np.empty(len(rows))
        for k, b in enumerate(rows):
            x, y = block.centres[b]
            sample(masked[k], np.float32(x), np.float32(y), preparation.offsets, flat[k])
            power[k] = flatten(flat[k], flat[k], means[k])
        return replace(_some(block, rows), images=masked, flat=flat, means=means, power=power)


@dataclass(frozen=True)
class _Lattice:
    """A crystal in a pattern."""

    phase: int
    orientation: FloatArray
    scale: FloatArray
    shift: FloatArray
    score: float

    @classmethod
    def of(cls, refined: Refined, b: int, p: int) -> _Lattice:
        """That of a phase in a pattern."""
        return cls(
            p,
            refined.orientation[b, p].copy(),
            refined.lattice_scale[b, p].copy(),
            refined.shift[b, p].copy(),
            float(refined.score[b, p]),
        )


def _some(block: PreparedBlock, rows: NDArray[np.int64]) -> PreparedBlock:
    """Some patterns of a block."""
    return PreparedBlock(*(getattr(block, item.name)[rows] for item in fields(PreparedBlock)))


class _Desk:
    """Memory for one pattern at a time: its spots, and the reflections of one or two lattices."""

    def __init__(self, look: SecondLook, block: PreparedBlock) -> None:
        self.look, self.block = look, block
        self.room = desk_for(look.refiner.lattices)
        room = len(self.room.listed)
        self.place = np.empty((2 * room, 4))
        self.ends, self.density = np.zeros(3, dtype=np.int64), np.zeros(2)
        self.strains = np.zeros((2, 2, 2))
        self.spots, self.belongs = np.empty((MOST_SPOTS, 4)), np.empty(MOST_SPOTS, dtype=np.int64)
        self.level = np.empty(look.finder.radii)
        shape = block.patterns.shape[1:]
        self.image = np.empty(shape, dtype=np.float32)
        self.masked: dict[int, NDArray[np.float32]] = {}
        self.count, self.cx, self.cy, self.accounted = 0, 0.0, 0.0, 0.0

    def read(self, b: int) -> None:
        """Spots of a pattern."""
        finder = self.look.finder
        self.cx, self.cy = (float(v) for v in self.block.centres[b])
        finder.smoothed(self.block.patterns[b], self.image)
        self.count = finder.find(self.image, self.cx, self.cy, self.level, self.spots)

    def put(self, h: int, lattice: _Lattice) -> None:
        """Reflections of the first (0) or second (1) lattice; those of the first must be put before."""
        strain = np.where(np.isfinite(lattice.scale), lattice.scale - 1.0, 0.0)
        begin = int(self.ends[h])
        self.ends[h + 1], self.density[h] = places_of(
            lattice.orientation,
            strain,
            self.look.refiner.lattices,
            lattice.phase,
            self.look.refiner.optics,
            self.look.area,
            self.room,
            self.place,
            begin,
        )
        self.place[begin : self.ends[h + 1], :2] += lattice.shift

    def explain(self, lattices: int) -> float:
        """See :func:`explain`."""
        return float(
            explain(
                self.spots,
                self.count,
                self.place,
                self.ends[: lattices + 1],
                self.density[:lattices],
                self.look.finder.sigma,
                self.strains[:lattices],
                self.belongs,
            )
        )

    def on_nodes(self, lattice: _Lattice, spots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some spots are at nodes of the first lattice, those counted that should be dark: double diffraction
        lights them."""
        optics = self.look.refiner.optics
        cell = self.look.cells[lattice.phase] * np.nan_to_num(lattice.scale, nan=1.0)[:, None]
        pixels = np.linalg.solve(np.eye(2) + self.strains[0], (self.spots[spots, :2] - lattice.shift).T)
        x, y = np.linalg.solve([[optics.j00, optics.j01], [optics.j10, optics.j11]], pixels)
        along = x * x + y * y
        along /= optics.wavenumber + np.sqrt(optics.wavenumber**2 - along)
        rotation = matrices(lattice.orientation[None])[0]
        indices = cell @ rotation @ np.array([x, y, along])
        off = rotation.T @ np.linalg.solve(cell, indices - np.rint(indices))
        reach = optics.cut + optics.precession * np.hypot(x, y)
        aside = np.hypot(optics.j00 * off[0] + optics.j01 * off[1], optics.j10 * off[0] + optics.j11 * off[1])
        return np.asarray((aside < NODE * self.look.finder.sigma) & (np.abs(off[2]) < reach))

    @property
    def strain(self) -> float:
        """By how much the first lattice was strained, without its turn and what scale and ellipse may be
        off by."""
        strain = 0.5 * (self.strains[0] + self.strains[0].T)
        even = 0.5 * np.trace(strain)
        # The two parts are at right angles: what is even, by the scale, and the rest, by an ellipse of the lenses.
        parts = np.sqrt(2.0) * abs(even), np.linalg.norm(strain - even * np.eye(2))
        return float(
            np.hypot(*(max(part - off, 0.0) for part, off in zip(parts, self.look.calibration_off, strict=True)))
        )

    def amounts(self, lattices: int) -> FloatArray:
        """How much of each lattice there is in the pattern, and its standard error, shape (2, L)."""
        out = np.full((2, lattices), np.nan)
        intensities(
            self.image,
            self.cx,
            self.cy,
            self.level,
            self.look.finder.frame,
            self.look.finder.area,
            self.look.finder.sigma,
            self.place,
            self.ends[: lattices + 1],
            self.strains[:lattices],
            out,
        )
        whole = [self.place[self.ends[h] : self.ends[h + 1], 3].sum() for h in range(lattices)]
        self.accounted = float(out[0] @ whole) / max(float(self.spots[: self.count, 3].sum()), 1.0)
        return out

    def mask(self, b: int) -> None:
        """The image of the pattern that is matched, without the spots of the first lattice."""
        masked = self.block.images[b].copy()
        take_out(
            masked,
            self.cx,
            self.cy,
            self.block.means[b],
            self.look.finder.frame,
            self.place[: self.ends[1]],
            self.strains[0],
            MASK * self.look.finder.sigma,
        )
        self.masked[b] = masked
