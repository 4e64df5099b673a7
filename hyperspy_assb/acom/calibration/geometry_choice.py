"""Which of several geometries that were refined on the same patterns holds, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.templates.bank import TemplateBank
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

CERTAIN_GEOMETRY = 0.95
"""Probability of the best geometry below which the calibration is ambiguous."""
SCORE_SCATTER = 0.05
"""Relative scatter of the score between geometries that is assumed where one or two grains do not tell it."""


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


@dataclass(frozen=True)
class GeometryTrial:
    """A geometry refined on K patterns.

    Parameters
    ----------
    geometry, covariance, residual, spots
        As of :class:`~hyperspy_assb.acom.calibration.geometry_fit.GeometryFit`.
    shift
        Of the centre from where it was looked for, in pixels, shape (2,).
    scores, phase, grain
        Best score of each pattern, its phase, and the grain that it belongs to, shape (K,).
    """

    geometry: PatternGeometry
    shift: FloatArray
    covariance: FloatArray
    scores: FloatArray
    phase: NDArray[np.int64]
    grain: NDArray[np.int64]
    residual: float
    spots: int


def flatness_of(bank: TemplateBank) -> float:
    """Relative error of places on a flat camera, at three fifths of the largest radius.

    Templates have a reflection at the sine of its diffraction angle (the projection of its vector), a flat camera has
    it at the tangent, farther out by half of the square of the angle.
    """
    return 0.5 * (0.6 * bank.max_radius / bank.diffraction.wavenumber) ** 2


def conclude(
    found: list[GeometryTrial], near: FloatArray, places: FloatArray, *, same_scale: float, flatness: float
) -> SelfCalibration:
    """The best of several geometries, with errors that know of the others.

    Parameters
    ----------
    found
        Refined on the same patterns.
    near, places
        Column and row of the direct beam of these patterns, and of all that were given, shapes (K, 2) and (B, 2).
    same_scale
        Relative difference of scales below which two geometries are one.
    flatness
        Relative error of places that is common to all, see :func:`flatness_of`.
    """
    found.sort(key=lambda f: -float(f.scores.mean()))
    best = found[0]
    distinct = [best]
    for other in found[1:]:
        same = any(abs(other.geometry.scale / f.geometry.scale - 1.0) < same_scale for f in distinct)
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
        ambiguous=bool(weights[0] < CERTAIN_GEOMETRY),
    )


def _odds_of_better(best: GeometryTrial, other: GeometryTrial) -> float:
    """Odds of another geometry against the best: p value over its complement of the paired difference of scores."""
    labels = np.unique(best.grain, return_inverse=True)[1]
    number = np.bincount(labels)
    difference = np.bincount(labels, best.scores - other.scores) / number
    # Of one or two grains, the scatter of the differences is not known: that of the scores stands in for it.
    count = len(difference)
    ratio = float(difference.mean() / max(best.scores.mean(), 1e-12))
    if count < 3:
        return float(np.exp(-max(ratio, 0.0) / SCORE_SCATTER))
    error = float(difference.std(ddof=1) / np.sqrt(count))
    if error <= 0.0:
        return 1.0 if ratio <= 0.0 else 0.0
    p = float(student.sf(difference.mean() / error, count - 1))
    return p / (1.0 - p) if p < 1.0 else 1.0


def _vector(found: GeometryTrial, middle: FloatArray) -> FloatArray:
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


def _with_errors(found: GeometryTrial, covariance: FloatArray, centre: FloatArray) -> PatternGeometry:
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
