"""Scale, centre and ellipse refined on the patterns of a scan themselves.

Geometry and lattice compete: patterns of LiFePO4 look much like those of FePO4 at a camera length that is some per cent
longer. So no phase is taken for granted. From every scale within range all phases and orientations are matched; where
many patterns agree, the geometry is refined by least squares on the places of the spots, matched again, and so on until
it stays. One geometry must then hold for the whole scan: the one with the highest sum of the best scores is taken.
Another one that is not significantly worse (paired over grains, each of which is one observation) keeps a share of the
probability, and its distance widens the standard errors. A scan of a single orientation cannot tell some phases from a
scale and an ellipse; its errors then say so.

The standard errors are those of White for clusters (Liang and Zeger, Biometrika 73, 13 (1986)): spots of one grain
share its strain and its dynamical scattering, so that a grain, not a spot, is the unit that is independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from hyperspy_assb.acom._calibration_spots import Geometer
from hyperspy_assb.acom._geometry_fit import CalibrationError, fit_geometry
from hyperspy_assb.acom.bank import TemplateBank
from hyperspy_assb.acom.centres import find_centres
from hyperspy_assb.acom.geometry import PatternGeometry
from hyperspy_assb.acom.polar import checked_centres, checked_patterns
from hyperspy_assb.fitting.kernels import FloatArray

HOPELESS = 0.75
"""A geometry whose mean score stays below this share of that of another one is not refined to its end."""


@dataclass(frozen=True)
class SelfCalibrationOptions:
    """How the geometry is searched and refined.

    Parameters
    ----------
    scale_range
        By how much the stated scale may be wrong, relative. It should be as wide as lattices that compete differ, so
        that the alternatives are found.
    scale_step
        Relative step of the search.
    centre_range
        By how many pixels the stated centre may be wrong, where no direct beam is seen.
    coarse_patterns, patterns
        So many patterns for the search, and for the refinement, those of the highest scores.
    starts
        So many local maxima of the search are refined.
    rounds
        Of refinement and matching, at most.
    capture
        Spots are looked for so many pixels from where they are expected, in the first round; half of that in the last.
    spots
        Of each pattern, the heaviest.
    shift_std
        Standard deviation of the direct beam about the centre that is given for a pattern, in pixels.
    grain_angle
        Degrees within which orientations belong to one grain.
    threads
        Number of threads; all cores if None.
    """

    scale_range: float = 0.07
    scale_step: float = 0.01
    centre_range: float = 4.0
    coarse_patterns: int = 64
    patterns: int = 200
    starts: int = 3
    rounds: int = 6
    capture: float = 3.5
    spots: int = 48
    shift_std: float = 0.3
    grain_angle: float = 3.0
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale_range <= 0.3:
            raise ValueError(f"scale_range: from 0 to 0.3, not {self.scale_range}.")
        if not 0.001 <= self.scale_step <= 0.05:
            raise ValueError(f"scale_step: from 0.001 to 0.05, not {self.scale_step}.")
        for name in ("coarse_patterns", "patterns", "starts", "rounds", "spots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: 1 or more, not {getattr(self, name)}.")
        if not 1.0 <= self.capture <= 20.0:
            raise ValueError(f"capture: from 1 to 20 pixels, not {self.capture}.")


@dataclass(frozen=True)
class Candidate:
    """A geometry that patterns agree with.

    Parameters
    ----------
    geometry
        With the errors that it has if it is the right one.
    score
        Mean of the best scores.
    probability
        That it is the right one of those found.
    phase_share
        Share of the patterns that look like each phase, shape (P,).
    """

    geometry: PatternGeometry
    score: float
    probability: float
    phase_share: FloatArray


@dataclass(frozen=True)
class SelfCalibration:
    """What patterns say of their geometry.

    Parameters
    ----------
    geometry
        Refined, with standard errors that include the ambiguity between candidates.
    centres
        Column and row of the direct beam of each pattern that was given, shifted by `shift`, shape (B, 2).
    shift
        Centre of the diffraction patterns less the centres that were given or found, in pixels, shape (2,).
    candidates
        All geometries that were refined, the best first.
    residual
        Root mean square of the distances of spots from where they are expected, in pixels.
    patterns, spots, grains
        Numbers that were used.
    ambiguous
        Whether another candidate, with another scale, has a probability above 5 %.
    """

    geometry: PatternGeometry
    centres: FloatArray
    shift: FloatArray
    candidates: tuple[Candidate, ...]
    residual: float
    patterns: int
    spots: int
    grains: int
    ambiguous: bool


def calibrate_on_patterns(
    patterns: ArrayLike,
    bank: TemplateBank,
    geometry: PatternGeometry,
    *,
    centres: ArrayLike | None = None,
    options: SelfCalibrationOptions | None = None,
) -> SelfCalibration:
    """Refine scale, centre and ellipse on patterns of a scan.

    Parameters
    ----------
    patterns
        Any real type, shape (B, ny, nx): some hundreds, evenly over the scan, of as many grains as possible.
    bank
        Templates of all phases that may be there.
    geometry
        Approximate one; scan rotation and mirroring are kept.
    centres
        Column and row of the direct beam of each pattern, NaN where unknown, shape (B, 2). By default they are found by
        :func:`~hyperspy_assb.acom.preparation.find_centres`, and that of the geometry is taken where there is none.
    options
        See :class:`SelfCalibrationOptions`.

    Returns
    -------
    calibration
        See :class:`SelfCalibration`.

    Raises
    ------
    CalibrationError
        If too few patterns have spots that agree with a lattice.
    ValueError
        If shapes do not go together, or a centre lies outside of the frame.
    """
    o = options or SelfCalibrationOptions()
    patterns = checked_patterns(patterns)
    if not len(patterns):
        raise ValueError("patterns: none were given.")
    places = _places(patterns, geometry, centres, o)
    geometer = Geometer(bank, geometry, patterns.shape[1:], o)
    some = _evenly(len(patterns), max(o.coarse_patterns, 1))
    if centres is None:
        # Without a direct beam, what was found are spots, each pattern's own.
        stated = np.broadcast_to(np.asarray(geometry.centre, dtype=float), places.shape)
        starts, top = _search_scales(geometer, patterns[some], places[some], geometry, o)
        here = geometer.at(starts[0])
        if here.match(patterns[some], stated[some]).best.mean() > top:
            others, _ = _search_scales(geometer, patterns[some], stated[some], geometry, o)
            shift = _search_centre(geometer, patterns[some], stated[some], others[0], o)
            places = checked_centres(stated + shift, geometry, patterns.shape)
            starts, _ = _search_scales(geometer, patterns[some], places[some], geometry, o)
    else:
        starts, _ = _search_scales(geometer, patterns[some], places[some], geometry, o)
    # The patterns of the highest scores, at the best start.
    scores = geometer.at(starts[0]).match(patterns, places).best
    order = np.argsort(-scores, kind="stable")[: o.patterns]
    order = np.sort(order[scores[order] > 0.0])
    if len(order) < 1:
        raise CalibrationError(
            "patterns: none has spots outside of the direct beam; the geometry cannot be refined on them."
        )
    good, near = patterns[order], places[order]
    found: list[_Found] = []
    for start in starts:
        try:
            found.append(_refine(geometer, good, near, start, o, max((f.scores.mean() for f in found), default=0.0)))
        except CalibrationError:
            continue
    if not found:
        raise CalibrationError(
            f"patterns: no geometry within {100 * o.scale_range:g} % of the scale {geometry.scale:g} 1/Å per pixel "
            "makes spots agree with a phase of the bank; check the stated calibration and the phases."
        )
    return _conclude(found, near, places, o, _flatness(bank))


def _places(
    patterns: NDArray[np.generic], geometry: PatternGeometry, centres: ArrayLike | None, o: SelfCalibrationOptions
) -> FloatArray:
    if centres is None:
        places = find_centres(patterns, threads=o.threads)
    else:
        places = np.array(centres, dtype=float)
        if places.shape != (len(patterns), 2):
            raise ValueError(f"centres: column and row for each of {len(patterns)} patterns, not {places.shape}.")
    unknown = ~np.isfinite(places).all(axis=1)
    # Where some are known, they tell more than what was stated.
    middle = np.asarray(geometry.centre) if unknown.all() else np.median(places[~unknown], axis=0)
    if centres is None and not unknown.all():
        # A spot that was taken for the direct beam.
        away = np.linalg.norm(places - middle, axis=1)
        unknown |= away > max(4.0, 6.0 * float(np.median(away[~unknown])))
    places[unknown] = middle
    return checked_centres(places, geometry, patterns.shape)


def _evenly(count: int, number: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, number)).round().astype(np.int64))


def _search_scales(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    geometry: PatternGeometry,
    o: SelfCalibrationOptions,
) -> tuple[list[PatternGeometry], float]:
    """Geometries at the local maxima of the mean score over the scale, the highest first, and that score."""
    half = int(np.ceil(o.scale_range / o.scale_step))
    factors = 1.0 + o.scale_step * np.arange(-half, half + 1)
    trials = [replace(geometry, scale=geometry.scale * float(factor)) for factor in factors]
    total = np.array([geometer.at(trial).match(patterns, places).best.mean() for trial in trials])
    padded = np.pad(total, 1, constant_values=-np.inf)
    tops = np.flatnonzero((total >= padded[:-2]) & (total > padded[2:]))
    tops = tops[np.argsort(-total[tops], kind="stable")][: o.starts]
    return [trials[i] for i in tops], float(total.max())


def _search_centre(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    geometry: PatternGeometry,
    o: SelfCalibrationOptions,
) -> FloatArray:
    """Shift of all centres within `centre_range` that gives the highest mean score, in pixels."""
    here = geometer.at(geometry)
    side = np.arange(-np.floor(o.centre_range / 2.0), np.floor(o.centre_range / 2.0) + 1) * 2.0
    trials = np.array([(x, y) for x in side for y in side])
    ny, nx = patterns.shape[1:]
    inside = [bool(((places + t > -0.5) & (places + t < (nx - 0.5, ny - 0.5))).all()) for t in trials]
    trials = trials[inside]
    total = [here.match(patterns, places + trial).best.mean() for trial in trials]
    return np.asarray(trials[int(np.argmax(total))])


@dataclass(frozen=True)
class _Found:
    geometry: PatternGeometry
    shift: FloatArray
    covariance: FloatArray
    scores: FloatArray
    phase: NDArray[np.int64]
    grain: NDArray[np.int64]
    residual: float
    spots: int


def _refine(
    geometer: Geometer,
    patterns: NDArray[np.generic],
    places: FloatArray,
    start: PatternGeometry,
    o: SelfCalibrationOptions,
    level: float = 0.0,
) -> _Found:
    """Match and fit in turn until the geometry stays; given up if the score stays far below a level."""
    geometry, shift = start, np.zeros(2)
    captures = np.linspace(o.capture, 0.5 * o.capture, max(o.rounds, 2))
    for k in range(o.rounds):
        here = geometer.at(geometry)
        matched = here.match(patterns, places + shift, refine=True)
        if k >= 2 and matched.best.mean() < HOPELESS * level:
            raise CalibrationError("patterns: far fewer spots agree than with another geometry.")
        moved = here.displacements(patterns, places + shift, matched, float(captures[k]))
        fit = fit_geometry(moved, geometry, shift_std=o.shift_std)
        change = abs(fit.geometry.scale / geometry.scale - 1.0) + float(np.abs(fit.matrix_change).max())
        geometry, shift = fit.geometry, shift + fit.shift
        if k >= 2 and change < 1e-4 and np.abs(fit.shift).max() < 0.02:
            break
    here = geometer.at(geometry)
    matched = here.match(patterns, places + shift, refine=True)
    grain = here.grains(matched, o.grain_angle)
    moved = here.displacements(patterns, places + shift, matched, float(captures[-1]))
    fit = fit_geometry(moved, geometry, shift_std=o.shift_std, grain=grain)
    return _Found(
        fit.geometry,
        shift + fit.shift,
        fit.covariance,
        matched.best,
        matched.phase,
        grain,
        fit.residual,
        fit.spots,
    )


def _flatness(bank: TemplateBank) -> float:
    """Relative error of places on a flat camera, at three fifths of the largest radius.

    Templates have a reflection at the sine of its diffraction angle (the projection of its vector), a flat camera has
    it at the tangent, farther out by half of the square of the angle.
    """
    return 0.5 * (0.6 * bank.max_radius / bank.diffraction.wavenumber) ** 2


def _conclude(
    found: list[_Found], near: FloatArray, places: FloatArray, o: SelfCalibrationOptions, flatness: float
) -> SelfCalibration:
    found.sort(key=lambda f: -float(f.scores.mean()))
    best = found[0]
    distinct = [best]
    for other in found[1:]:
        same = any(abs(other.geometry.scale / f.geometry.scale - 1.0) < 0.3 * o.scale_step for f in distinct)
        if not same:
            distinct.append(other)
    weights = np.array([1.0] + [_odds_of_better(best, other) for other in distinct[1:]])
    weights /= weights.sum()
    middle = np.median(near, axis=0)
    vectors = np.array([_vector(f, middle) for f in distinct])
    spread = vectors - vectors[0]
    covariance = sum(w * f.covariance for w, f in zip(weights, distinct, strict=True))
    # About the best one, which is what is reported, not about the mean.
    covariance = covariance + np.einsum("c,ci,cj->ij", weights, spread, spread)
    covariance[0, 0] += flatness**2
    geometry = _with_errors(best, covariance, middle + best.shift)
    candidates = tuple(
        Candidate(
            _with_errors(f, f.covariance, middle + f.shift),
            float(f.scores.mean()),
            float(w),
            np.bincount(f.phase[f.phase >= 0], minlength=1) / max(int((f.phase >= 0).sum()), 1),
        )
        for f, w in zip(distinct, weights, strict=True)
    )
    return SelfCalibration(
        geometry=geometry,
        centres=places + best.shift,
        shift=best.shift,
        candidates=candidates,
        residual=best.residual,
        patterns=len(near),
        spots=best.spots,
        grains=len(np.unique(best.grain)),
        ambiguous=bool(weights[0] < 0.95),
    )


def _odds_of_better(best: _Found, other: _Found) -> float:
    """Odds of another geometry against the best: p value over its complement of the paired difference of scores."""
    labels = np.unique(best.grain, return_inverse=True)[1]
    number = np.bincount(labels)
    difference = np.bincount(labels, best.scores - other.scores) / number
    # Of one or two grains, the scatter of the differences is not known: that of the scores stands in for it.
    count = len(difference)
    ratio = float(difference.mean() / max(best.scores.mean(), 1e-12))
    if count < 3:
        return float(np.exp(-max(ratio, 0.0) / 0.05))
    error = float(difference.std(ddof=1) / np.sqrt(count))
    if error <= 0.0:
        return 1.0 if ratio <= 0.0 else 0.0
    p = float(student.sf(difference.mean() / error, count - 1))
    return p / (1.0 - p) if p < 1.0 else 1.0


def _vector(found: _Found, middle: FloatArray) -> FloatArray:
    """Logarithm of the scale, two components of the ellipse, and the centre."""
    g = found.geometry
    e = g.ellipticity
    return np.array(
        [
            np.log(g.scale),
            e * np.cos(2.0 * g.ellipse_azimuth),
            e * np.sin(2.0 * g.ellipse_azimuth),
            *(middle + found.shift),
        ]
    )


def _with_errors(found: _Found, covariance: FloatArray, centre: FloatArray) -> PatternGeometry:
    std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    g = found.geometry
    along = np.array([np.cos(2.0 * g.ellipse_azimuth), np.sin(2.0 * g.ellipse_azimuth)])
    ellipse = float(np.sqrt(max(along @ covariance[1:3, 1:3] @ along, 0.0)))
    return replace(
        g,
        centre=(float(centre[0]), float(centre[1])),
        scale_std=float(g.scale * std[0]),
        centre_std=(float(std[3]), float(std[4])),
        ellipticity_std=ellipse,
    )
