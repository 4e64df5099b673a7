"""Where the spots of matched patterns lie; scale, ellipse and centre from these places, by least squares; and which of
several geometries that were refined on the same patterns holds, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from hyperspy_assb.acom.crystals.kinematical import Diffraction
from hyperspy_assb.acom.matching.refinement_kernels import Desk, Lattices, brightness, spots_at
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

LEAST_HEIGHT = 4.0
"""Brightness of a spot over the mean of its radius below which its place is not used, in standard deviations."""
PLACE_VARIANCE = 0.02
"""A seventh of a pixel, squared: spots are not brightest at their middle."""
DISTURBING = 0.3
"""Weight of a neighbour over that of a spot above which it shifts its top."""
LEAST_SPOTS = 8
"""Places of spots that a fit needs: it has five parameters, and each pattern three more."""
MANY_GRAINS = 60
"""Grains from which on the standard error needs no widening for their number."""

CERTAIN_GEOMETRY = 0.95
"""Probability of the best geometry below which the calibration is ambiguous."""
SCORE_SCATTER = 0.05
"""Relative scatter of the score between geometries that is assumed where one or two grains do not tell it."""


class CalibrationError(AssbValueError):
    """The patterns do not allow a calibration; the message says why, and what to do."""


@dataclass(frozen=True)
class Displacements:
    """Spots: their pattern (M,), expected and observed places less the centre in pixels (M, 2), variance (M,)."""

    pattern: NDArray[np.int64]
    expected: FloatArray
    observed: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class GeometryFit:
    """A geometry fitted to places of spots.

    Parameters
    ----------
    geometry
        Refined scale and ellipse; the centre is that of the one it began from.
    shift
        By how many pixels the centre lies farther along columns and rows, shape (2,).
    covariance
        Of the logarithm of the scale, of ``e cos 2a`` and ``e sin 2a`` (e the ellipticity, a its azimuth) and of the
        shift, shape (5, 5).
    matrix_change
        Symmetric matrix by which places about the centre changed, shape (2, 2).
    residual
        Root mean square of the distances of the spots that count, in pixels.
    spots
        Number of those.
    """

    geometry: PatternGeometry
    shift: FloatArray
    covariance: FloatArray
    matrix_change: FloatArray
    residual: float
    spots: int


def fit_geometry(
    moved: Displacements,
    geometry: PatternGeometry,
    *,
    shift_std: float = 0.3,
    grain: NDArray[np.int64] | None = None,
    rounds: int = 30,
) -> GeometryFit:
    """Least squares for the geometry over spots whose expected and observed places are known.

    Each pattern has its own rotation, which its orientation takes up, and its own small shift of the direct beam.
    Outliers, which are spots of other lattices and of noise, lose their weight (biweight of Tukey).

    Parameters
    ----------
    moved
        Expected and observed places.
    geometry
        With which places were expected.
    shift_std
        Standard deviation of the shift of single patterns in pixels.
    grain
        To which grain each pattern belongs, shape (B,); each pattern is one by default.
    rounds
        Of reweighting, at most.

    Raises
    ------
    CalibrationError
        If there are too few spots.
    """
    if len(moved.pattern) < LEAST_SPOTS:
        raise CalibrationError(
            f"patterns: only {len(moved.pattern)} spots lie where a lattice expects them, {LEAST_SPOTS} are needed."
        )
    x, y = moved.expected.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    # Scale (isotropic), ellipse (two), shift (two); then rotation and shift of the pattern.
    common = np.stack(
        [np.stack([x, x, y, one, zero], axis=1), np.stack([y, -y, x, zero, one], axis=1)], axis=1
    )  # (M, 2, 5)
    own = np.stack([np.stack([-y, one, zero], axis=1), np.stack([x, zero, one], axis=1)], axis=1)  # (M, 2, 3)
    target = moved.observed - moved.expected
    labels, index = np.unique(moved.pattern, return_inverse=True)
    weight = 1.0 / moved.variance
    solution, residual = np.zeros(5), target
    robust = np.ones(len(x))
    scale = 1.0
    for _ in range(rounds):
        new, nuisance, normal, scores = _solve(common, own, target, weight * robust, index, len(labels), shift_std)
        residual = target - common @ new - np.einsum("mij,mj->mi", own, nuisance[index])
        distance = np.sqrt((residual**2).sum(axis=1) * weight)
        scale = max(1.4826 * float(np.median(np.abs(distance))) / 1.1774 / 1.0, 1e-6)
        robust = np.clip(1.0 - (distance / (4.685 * scale)) ** 2, 0.0, None) ** 2
        done = np.abs(new - solution).max() < 1e-7
        solution = new
        if done:
            break
    if int((robust > 0.1).sum()) < 8:
        raise CalibrationError("patterns: too few spots agree with each other on a geometry.")
    # Weights that fall with the distance bend the sum of squares less than they weigh: the radial derivative of the
    # biweight for one of the two directions, the weight itself for the other.
    u2 = np.minimum((distance / (4.685 * scale)) ** 2, 1.0)
    bend = 0.5 * ((1.0 - u2) * (1.0 - 5.0 * u2) + (1.0 - u2) ** 2)
    normal = normal * max(float((weight * bend).sum() / (weight * robust).sum()), 0.3)
    inverse = np.linalg.pinv(normal)
    groups = np.arange(len(labels)) if grain is None else np.unique(grain[labels], return_inverse=True)[1]
    number = int(groups.max()) + 1
    sums = np.zeros((number, 5))
    np.add.at(sums, groups, scores)
    between = sums.T @ sums
    covariance = inverse @ between @ inverse * (number / max(number - 5.0, 1.0))
    # One grain shows no scatter between grains: as a floor, the errors as if all spots were independent.
    plain = inverse * scale**2
    floor = np.sqrt(np.maximum(np.diag(plain) / np.maximum(np.diag(covariance), 1e-30), 1.0))
    covariance = covariance * np.outer(floor, floor)
    # Small numbers of grains: the standard deviation with the same 95 % limit as Student's distribution.
    widen = float(student.ppf(0.975, max(number - 1, 1)) / 1.96) if number < MANY_GRAINS else 1.0
    covariance = covariance * min(widen, 4.0) ** 2
    change = np.array([[solution[0] + solution[1], solution[2]], [solution[2], solution[0] - solution[1]]])
    # Places of pixels from reciprocal vectors grow by 1 + change; as 1/Å per pixel that is its inverse. The components
    # of the ellipse are half the differences of the logarithms of the axes.
    jacobian = np.diag([-1.0, 2.0, 2.0, 1.0, 1.0])
    good = robust > 0.0
    return GeometryFit(
        changed_geometry(geometry, change),
        solution[3:].copy(),
        jacobian @ covariance @ jacobian.T,
        change,
        float(np.sqrt((residual[good] ** 2).sum(axis=1).mean())),
        int(good.sum()),
    )


def _solve(
    common: FloatArray,
    own: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    index: NDArray[np.int64],
    count: int,
    shift_std: float,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weighted least squares with parameters of each pattern taken out.

    Returns the common parameters, those of each pattern (count, 3), the normal matrix, and the derivatives of each
    pattern's sum of squares (halved) at the solution (count, 5).
    """
    w = weight[:, None, None]
    cc = np.zeros((count, 5, 5))
    co = np.zeros((count, 5, 3))
    oo = np.zeros((count, 3, 3))
    ct = np.zeros((count, 5))
    ot = np.zeros((count, 3))
    np.add.at(cc, index, np.einsum("mki,mkj->mij", common * w, common))
    np.add.at(co, index, np.einsum("mki,mkj->mij", common * w, own))
    np.add.at(oo, index, np.einsum("mki,mkj->mij", own * w, own))
    np.add.at(ct, index, np.einsum("mki,mk->mi", common * w, target))
    np.add.at(ot, index, np.einsum("mki,mk->mi", own * w, target))
    oo += np.diag([1e-9, shift_std**-2, shift_std**-2])
    gain = np.linalg.solve(oo, np.swapaxes(co, 1, 2))  # (count, 3, 5)
    reduced = cc - co @ gain
    right = ct - np.einsum("bij,bj->bi", np.swapaxes(gain, 1, 2), ot)
    normal = reduced.sum(axis=0)
    solution = np.linalg.pinv(normal, rcond=1e-12) @ right.sum(axis=0)
    nuisance = np.linalg.solve(oo, (ot - np.einsum("bji,j->bi", co, solution))[..., None])[..., 0]
    return solution, nuisance, normal, right - reduced @ solution


def changed_geometry(geometry: PatternGeometry, change: FloatArray) -> PatternGeometry:
    """A geometry whose pixels about the centre are those of another one times ``1 + change``, but for a rotation."""
    pixels = (np.eye(2) + change) @ np.linalg.inv(geometry.scale * geometry.straightening)
    # Symmetric part of the polar decomposition: the rotation is left to the orientations.
    values, vectors = np.linalg.eigh(pixels @ pixels.T)
    values = np.sqrt(values)
    azimuth = float(np.arctan2(vectors[1, 1], vectors[0, 1])) % np.pi
    return replace(
        geometry,
        scale=float(1.0 / np.sqrt(values[0] * values[1])),
        ellipticity=float(values[1] / values[0] - 1.0),
        ellipse_azimuth=azimuth,
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def locate_spots(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    noise: float,
    cx: float,
    cy: float,
    orientation: FloatArray,
    lattices: Lattices,
    phase: int,
    optics: Any,
    capture: float,
    sigma: float,
    desk: Desk,
    out: FloatArray,
) -> None:
    """Expected and observed places of spots less the centre, and their variance, into `out` (K, 5).

    The observed place is the top of the smoothed pattern within `capture` pixels, by a paraboloid through the 3 x 3
    pixels about it. Spots nearer to each other than that are left out.
    """
    ny, nx = image.shape
    spots = desk.spots
    count = spots_at(orientation, np.zeros(3), lattices, phase, optics, desk.listed, desk.near, spots)
    order = np.argsort(-spots[:count, 2])
    most = min(len(out), count)
    pixels = np.empty((count, 2))
    for k in range(count):
        x, y = spots[k, 0], spots[k, 1]
        pixels[k, 0] = optics.j00 * x + optics.j01 * y
        pixels[k, 1] = optics.j10 * x + optics.j11 * y
    reach = int(np.ceil(capture))
    for rank in range(most):
        k = order[rank]
        px, py = cx + pixels[k, 0], cy + pixels[k, 1]
        alone = True
        for m in range(count):
            # Faint ones do not disturb.
            if m != k and spots[m, 2] > DISTURBING * spots[k, 2]:
                d2 = (pixels[m, 0] - pixels[k, 0]) ** 2 + (pixels[m, 1] - pixels[k, 1]) ** 2
                if d2 < (capture + sigma) ** 2:
                    alone = False
        if not alone:
            continue
        i0, j0 = int(np.rint(px)), int(np.rint(py))
        if i0 - reach < 1 or j0 - reach < 1 or i0 + reach > nx - 2 or j0 + reach > ny - 2:
            continue
        best, bi, bj = -np.inf, -1, -1
        for j in range(j0 - reach, j0 + reach + 1):
            for i in range(i0 - reach, i0 + reach + 1):
                if (i - px) ** 2 + (j - py) ** 2 <= capture * capture and image[j, i] > best:
                    best, bi, bj = image[j, i], i, j
        if bi < 0:
            continue
        # A top, not the slope of a spot outside.
        top = True
        for v in range(-1, 2):
            for u in range(-1, 2):
                if image[bj + v, bi + u] > best:
                    top = False
        if not top:
            continue
        dx = 0.5 * (image[bj, bi + 1] - image[bj, bi - 1])
        dy = 0.5 * (image[bj + 1, bi] - image[bj - 1, bi])
        xx = image[bj, bi + 1] - 2.0 * best + image[bj, bi - 1]
        yy = image[bj + 1, bi] - 2.0 * best + image[bj - 1, bi]
        xy = 0.25 * (image[bj + 1, bi + 1] - image[bj + 1, bi - 1] - image[bj - 1, bi + 1] + image[bj - 1, bi - 1])
        determinant = xx * yy - xy * xy
        if not (determinant > 0.0 and xx < 0.0):
            continue
        sx = -(yy * dx - xy * dy) / determinant
        sy = -(xx * dy - xy * dx) / determinant
        if sx * sx + sy * sy > 1.0:
            continue
        vx, vy = bi + sx - cx, bj + sy - cy
        # Brightness over the mean of the radius, in standard deviations of the noise.
        det = optics.j00 * optics.j11 - optics.j01 * optics.j10
        gx = (optics.j11 * vx - optics.j01 * vy) / det
        gy = (optics.j00 * vy - optics.j10 * vx) / det
        height = brightness(image, mean, gx, gy, cx, cy, optics) / noise
        if not height > LEAST_HEIGHT:
            continue
        out[rank, 0], out[rank, 1] = pixels[k, 0], pixels[k, 1]
        out[rank, 2], out[rank, 3] = vx, vy
        out[rank, 4] = (sigma / height) ** 2 + PLACE_VARIANCE


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
        As of :class:`GeometryFit`.
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


def flatness_of(diffraction: Diffraction) -> float:
    """Relative error of places on a flat camera, at three fifths of the largest radius.

    Templates have a reflection at the sine of its diffraction angle (the projection of its vector), a flat camera has
    it at the tangent, farther out by half of the square of the angle.
    """
    return 0.5 * (0.6 * diffraction.max_radius / diffraction.wavenumber) ** 2


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
