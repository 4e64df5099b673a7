"""Orientations below the grid of the bank, and lattice parameters, from the patterns themselves."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, cell_axes
from hyperspy_assb.acom.crystals.kinematical import Diffraction, reflections
from hyperspy_assb.acom.matching.matcher import MatchOptions
from hyperspy_assb.acom.matching.near_ties import TIES, NearTies, near_ties_of, refine_candidates
from hyperspy_assb.acom.matching.refinement_kernels import Ascent, Desk, Lattices, Optics, Seen, desk_for
from hyperspy_assb.acom.patterns.direct_beam import checked_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import checked_patterns
from hyperspy_assb.acom.patterns.polar import PolarGrid, Preparation, PreparedBlock, polar_grid
from hyperspy_assb.acom.templates.bank import SpotWeighting, TemplateBank
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.spectra.threads import in_threads


@dataclass(frozen=True)
class RefineOptions:
    """What is refined, and how far.

    Parameters
    ----------
    first_step
        Degrees of the first step of tilts and turn; 0.6 of the resolution of the bank if None.
    rounds
        How often the steps are halved, less 1.
    candidates
        Other orientations of a phase, such as the second best and the Friedel twin, are refined if their score is at
        least this share of its best one's.
    least
        A phase is refined if its score is at least this share of the best one's.
    lattice
        Lattice parameters to refine: 0 for none, 1 for one factor for all, 3 for a, b and c.
    lattice_std
        Standard deviation that is expected of them, relative. It holds those that a pattern does not show, such as the
        length along the beam.
    centre_std
        Standard deviation that is expected of the place of the direct beam, in pixels; 0 does not refine it.
    excitation_width
        Half width of the rods of the reflections in 1/Å. Narrower than that of the bank, which must reach from one
        orientation of its grid to the next: here it is that of a crystal some tens of nm thick.
    """

    first_step: float | None = None
    rounds: int = 3
    candidates: float = 0.85
    least: float = 0.6
    lattice: int = 0
    lattice_std: float = 0.01
    centre_std: float = 0.0
    excitation_width: float = 0.002

    def __post_init__(self) -> None:
        if self.lattice not in (0, 1, 3):
            raise AssbValueError(f"lattice: 0, 1 or 3 lattice parameters, not {self.lattice}.")
        if self.rounds < 0:
            raise AssbValueError(f"rounds: 0 or more, not {self.rounds}.")
        if self.first_step is not None and not 0.0 < self.first_step <= 5.0:
            raise AssbValueError(f"first_step: above 0 and up to 5 degrees, or None, not {self.first_step}.")
        if not self.lattice_std > 0.0:
            raise AssbValueError(f"lattice_std: above 0, not {self.lattice_std}.")
        if not self.centre_std >= 0.0:
            raise AssbValueError(f"centre_std: 0 or above, not {self.centre_std}.")
        if not self.excitation_width > 0.0:
            raise AssbValueError(f"excitation_width: above 0 1/Å, not {self.excitation_width}.")


@dataclass(frozen=True)
class Refined:
    """Refined orientations of P phases in B patterns.

    Parameters
    ----------
    orientation
        Specimen to crystal, NaN where there was none, shape (B, P, 4).
    score
        Normalised correlation, as of :class:`~hyperspy_assb.acom.matching.matcher.Matches` but for all spots, 0 where
        there was no orientation, shape (B, P).
    lattice_scale
        a, b, c relative to those of the phase, shape (B, P, 3); 1 if not refined, NaN where there was no orientation.
    shift
        By how many pixels the direct beam lies farther along columns and rows, shape (B, P, 2).
    candidate
        Which of the orientations that were given it began from, shape (B, P).
    tied_orientation, tied_score
        The best ones more than 5 degrees away from it and from each other, refined as well, and their scores: NaN and 0
        where none comes near, shapes (B, P, T, 4) and (B, P, T).
    """

    orientation: FloatArray
    score: FloatArray
    lattice_scale: FloatArray
    shift: FloatArray
    candidate: NDArray[np.int64]
    tied_orientation: FloatArray
    tied_score: FloatArray

    @classmethod
    def empty(cls, count: int, phases: int) -> Refined:
        """Nothing yet."""
        return cls(
            np.full((count, phases, 4), np.nan),
            np.zeros((count, phases)),
            np.full((count, phases, 3), np.nan),
            np.zeros((count, phases, 2)),
            np.zeros((count, phases), dtype=np.int64),
            np.full((count, phases, TIES, 4), np.nan),
            np.zeros((count, phases, TIES)),
        )

    def part(self, begin: int, end: int) -> Refined:
        """The same memory for a few of the patterns."""
        return Refined(*(getattr(self, item.name)[begin:end] for item in fields(self)))


def lattices_of(phases: Sequence[CrystalPhase], max_radius: float, weighting: SpotWeighting) -> Lattices:
    """Reflections of some phases, up to a radius in 1/Å."""
    parts, weight, begin = [], [], [0]
    for phase in phases:
        found = reflections(phase, max_radius=max_radius)
        reciprocal = np.linalg.inv(cell_axes(phase)).T
        parts.append(found.indices[:, :, None] * reciprocal)
        length = np.linalg.norm(parts[-1].sum(axis=1), axis=1)
        weight.append(weighting.of(found.intensity / found.intensity.max(), length))
        begin.append(begin[-1] + len(found.indices))
    whole = np.concatenate(parts)
    vectors = whole.sum(axis=1)
    table = np.column_stack([vectors, np.linalg.norm(vectors, axis=1)]).T
    return Lattices(
        whole,
        np.ascontiguousarray(table, dtype=np.float32),
        np.concatenate(weight),
        np.array(begin, dtype=np.int64),
    )


class Refiner:
    """Reflections of the phases of a bank, laid out for patterns of one geometry.

    Parameters
    ----------
    phases
        Whose orientations are refined.
    diffraction
        How the electrons meet them.
    resolution
        Degrees by which the orientations to be refined may be wrong: the resolution of a bank.
    geometry
        Where reciprocal space lies on the detector.
    grid
        Polar grid on which the mean of each radius was taken.
    weighting
        Of the spots.
    scale_std
        Relative standard error of the scale, which is refined in each pattern where lattice parameters are not.
    options
        What is refined.
    """

    def __init__(
        self,
        phases: Sequence[CrystalPhase],
        diffraction: Diffraction,
        resolution: float,
        geometry: PatternGeometry,
        grid: PolarGrid,
        *,
        weighting: SpotWeighting | None = None,
        scale_std: float = 0.0,
        options: RefineOptions | None = None,
    ) -> None:
        self.options = options or RefineOptions()
        weighting = weighting or SpotWeighting()
        self.lattices = lattices_of(phases, diffraction.max_radius, weighting)
        self.ties = near_ties_of(phases)
        self.optics = Optics(
            diffraction.wavenumber,
            float(np.radians(diffraction.precession_angle)),
            self.options.excitation_width,
            diffraction.max_excitation_error,
            weighting.intensity,
            weighting.radius,
            grid.min_radius,
            grid.radial_step,
            *_pixels_per_vector(geometry),
        )
        o = self.options
        step = np.radians(0.6 * resolution if o.first_step is None else o.first_step)
        strain = o.lattice_std if o.lattice else scale_std
        self.refines_scale = o.lattice == 0 and scale_std > 0.0
        self.steps = np.array([step] * 3 + [o.centre_std] * 2 + ([strain] if o.lattice < 2 else [strain] * 3))
        self.prior = np.where(self.steps > 0.0, self.steps, np.inf)
        self.prior[:3] = np.inf

    def at(self, geometry: PatternGeometry) -> Refiner:
        """The same for another geometry: reflections do not depend on it."""
        other = copy.copy(self)
        other.optics = self.optics._replace(
            **dict(zip(("j00", "j01", "j10", "j11"), _pixels_per_vector(geometry), strict=True))
        )
        return other

    def refine_block(self, block: PreparedBlock, orientations: FloatArray, scores: FloatArray, out: Refined) -> None:
        """Refine a few patterns in this thread.

        S candidates of each phase (B, P, S, 4), NaN where there is none, and their scores (B, P, S).
        """
        _refine_patterns(
            block.images,
            block.means,
            block.flat,
            block.power,
            block.centres,
            orientations,
            scores,
            self.options.least,
            self.options.candidates,
            self.options.rounds,
            self.steps,
            self.prior,
            self.lattices,
            self.optics,
            self.ties,
            desk_for(self.lattices),
            out.orientation,
            out.score,
            out.lattice_scale,
            out.shift,
            out.candidate,
            out.tied_orientation,
            out.tied_score,
        )


def _pixels_per_vector(geometry: PatternGeometry) -> list[float]:
    """The matrix from 1/Å on the axes of the scan to pixels from the centre, row by row."""
    turn = geometry.scan_rotation
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return [float(value) for value in (geometry.to_pixels(axes) - np.asarray(geometry.centre)).T.ravel()]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _noise(flat: NDArray[np.float32], power: float) -> float:
    """Standard deviation of brightnesses between spots, from the median, of every 11th sample."""
    between = 1.4826 * float(np.median(np.abs(flat.ravel()[::11])))
    return max(between, 0.01 * np.sqrt(power / flat.size))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _refine_patterns(
    images: NDArray[np.float32],
    means: NDArray[np.float32],
    flat: NDArray[np.float32],
    power: FloatArray,
    centres: FloatArray,
    orientations: FloatArray,
    scores: FloatArray,
    least: float,
    share: float,
    rounds: int,
    steps: FloatArray,
    prior: FloatArray,
    lattices: Lattices,
    optics: Optics,
    ties: NearTies,
    desk: Desk,
    orientation_out: FloatArray,
    score_out: FloatArray,
    lattice_out: FloatArray,
    shift_out: FloatArray,
    candidate_out: NDArray[np.int64],
    tied_out: FloatArray,
    tied_scores_out: FloatArray,
) -> None:
    chosen = np.zeros(8)
    for b in range(len(power)):
        if not power[b] > 0.0:
            continue
        top = scores[b].max()
        ascent = Ascent(steps, prior, rounds, np.sqrt(power[b]), _noise(flat[b], power[b]))
        seen = Seen(images[b], means[b], centres[b, 0], centres[b, 1])
        for p in range(scores.shape[1]):
            if np.isfinite(orientations[b, p, 0]).all() and scores[b, p, 0] < least * top:
                orientation_out[b, p] = orientations[b, p, 0]
                score_out[b, p] = scores[b, p, 0]
                lattice_out[b, p] = 1.0
                continue
            best, candidate_out[b, p] = refine_candidates(
                orientations[b, p],
                scores[b, p],
                p,
                share,
                ascent,
                lattices,
                seen,
                optics,
                ties,
                desk,
                tied_out[b, p],
                tied_scores_out[b, p],
                orientation_out[b, p],
                chosen,
            )
            if best > -np.inf:
                score_out[b, p] = max(best, 0.0)
                shift_out[b, p] = chosen[3:5]
                for i in range(3):
                    lattice_out[b, p, i] = 1.0 + chosen[5 + i]


def refine_orientations(
    patterns: ArrayLike,
    orientations: ArrayLike,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    scores: ArrayLike | None = None,
    centres: ArrayLike | None = None,
    options: RefineOptions | None = None,
    match_options: MatchOptions | None = None,
) -> Refined:
    """Refine orientations, and lattice parameters if asked for, by the correlation of patterns with simulated spots.

    For every step the spots of the phase are simulated anew, and the smoothed pattern (square root, mean of each radius
    removed) is read at their places: no grid of orientations, radii or azimuths limits the result.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx).
    orientations
        Of each phase, specimen to crystal, within about a degree of the truth, shape (B, P, 4), or several candidates
        of each, (B, P, S, 4); NaN where there is none.
    bank
        Phases, and how the electrons meet them.
    geometry
        Where reciprocal space lies on the detector.
    scores
        Of each orientation, shape (B, P) or (B, P, S): phases and candidates far below the best are left as they are.
        Without scores all are refined.
    centres
        Column and row of the direct beam of each pattern in pixels, shape (B, 2); that of the geometry if None.
    options
        What is refined.
    match_options
        Weights of spots, smoothing, radii and threads, as for the matching.

    Returns
    -------
    refined
        See :class:`Refined`.

    Raises
    ------
    ValueError
        If shapes do not go together, a centre lies outside of the frame, or counts are not finite.
    """
    patterns = checked_patterns(patterns)
    places = checked_centres(centres, geometry, patterns.shape)
    match_options = match_options or MatchOptions()
    start = np.array(orientations, dtype=float)
    expected = (len(patterns), len(bank.phases))
    if start.ndim == 3:
        start = start[:, :, None]
    if start.ndim != 4 or start.shape[:2] != expected or start.shape[3] != 4:
        shapes = f"{(*expected, 4)}, not {np.asarray(orientations).shape}"
        raise AssbValueError(f"orientations: of each phase in each pattern, shape {shapes}.")
    known = np.ones(start.shape[:3]) if scores is None else np.array(scores, dtype=float)
    known = known[:, :, None] if known.ndim == 2 else known
    if known.shape != start.shape[:3]:
        raise AssbValueError(
            f"scores: one for each orientation, shape {start.shape[:3]}, not {np.asarray(scores).shape}."
        )
    grid = polar_grid(
        patterns.shape[1:],
        geometry,
        max_radius=bank.max_radius,
        min_radius=match_options.min_radius,
        azimuths=match_options.azimuths,
    )
    preparation = Preparation(geometry, grid, match_options.smoothing)
    refiner = Refiner(
        bank.phases,
        bank.diffraction,
        bank.resolution,
        geometry,
        grid,
        weighting=match_options.weighting,
        options=options,
    )
    refined = Refined.empty(*expected)

    def work(begin: int, end: int) -> None:
        block = preparation.prepare(patterns[begin:end], places[begin:end], begin)
        refiner.refine_block(block, start[begin:end], known[begin:end], refined.part(begin, end))

    in_threads(work, len(patterns), match_options.threads)
    return refined


def score_orientations(
    patterns: ArrayLike,
    orientations: ArrayLike,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    centres: ArrayLike | None = None,
    match_options: MatchOptions | None = None,
) -> FloatArray:
    """Score of given orientations without any search, as for candidates of a calibration.

    Parameters are those of :func:`refine_orientations`.

    Returns
    -------
    scores
        0 where the orientation is NaN, shape (B, P).
    """
    options = RefineOptions(rounds=0)
    return refine_orientations(
        patterns, orientations, bank, geometry, centres=centres, options=options, match_options=match_options
    ).score
