"""Camera length, centre and ellipse from the rings of a known polycrystal.

For a known single crystal, or for the scan itself, see :mod:`hyperspy_assb.acom.calibration.self_calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from scipy.stats import t as student

from hyperspy_assb.acom.calibration.geometry_fit import CalibrationError
from hyperspy_assb.acom.crystals.powder_rings import KnownRings
from hyperspy_assb.acom.patterns.direct_beam import find_centres
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.preparation import find_symmetry_centre
from hyperspy_assb.acom.patterns.radial_profiles import fit_profiles, smooth_background
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

LEAST_CORRELATION = 0.5
"""Correlation of the radial profile with the known rings below which they are not seen."""
LEAST_PLACES = 12
"""Places on rings that a fit needs."""
WINDOWS = (0.06, 0.05, 0.04, 0.04)
"""Half of the width, relative to its radius, in which a ring is looked for: narrower as the geometry gets better."""
SEEN_REACH = 0.98
"""Share of the way to the edge of the frame to which rings are used."""
BEAM_PIXELS = 6.0
"""Pixels from the centre in which the direct beam hides all rings."""
LEAST_RADII, LEAST_COMPARED = 20, 12
"""Radii in pixels that the profile needs, and of these between the rings, where it is compared with them."""
SCALE_SEARCH_STEP = 0.003
"""Relative step of the scales that are tried: a fraction of the width of a ring."""
RING_WIDTH = 0.02
"""Standard deviation of a ring, relative to its radius, as the search for the scale has it."""
BEFORE_FIRST, BEHIND_LAST = 0.75, 1.08
"""Radii over that of the first and of the last ring between which the profile is compared."""
BACKGROUND_PARTS, LEAST_BACKGROUND = 12.0, 4.0
"""The background is what is smooth over one of so many parts of the profile, and over so many pixels at least."""
PROFILE_SCALE, PROFILE_TRIALS = 0.02, 41
"""By how much the scale of the whole profile may differ from that of the places, and scales that are tried."""
ONE_GROUP = 0.09
"""Relative distance of rings below which they are left out together."""
ERROR_OF_ONE_GROUP = 0.1
"""Error of a single group of rings, which says nothing of it itself, in widths of a ring."""
STRONG_RING = 0.1
"""Intensity over that of a ring above which a neighbour counts."""
NEAREST_RING = 0.08
"""Relative distance of a strong neighbour below which a ring is not located."""
WINDOW_PIXELS, WINDOW_OF_GAP = 3.0, 0.45
"""Half of the window: so many pixels at least, and this share of the distance to the next ring at most."""
BESIDE, STEPS = 1.8, 41
"""A ring is sampled so many windows to either side, for the background beside it, at so many radii."""
TOP_SHARE = 0.6
"""Share of the window about its highest place through which a parabola is drawn."""
LEAST_HEIGHT, LARGEST_WEIGHT = 4.0, 400.0
"""Standard deviations by which a ring stands out in a sector, and weight of a place (their square) at most."""
OUTLIER = 0.005
"""Relative distance of a place from its ring above which it counts less."""
MOST_WIDENING = 3.0
"""Factor by which few rings or sectors widen a standard error, at most."""


@dataclass(frozen=True)
class RingCalibration:
    """What the rings of a known material say of the geometry.

    Parameters
    ----------
    geometry
        With standard errors.
    rings
        Radii in 1/Å of the rings that were used.
    residual
        Root mean square distance of the measured places from their ring, in pixels.
    places
        Column and row of these, shape (M, 2).
    """

    geometry: PatternGeometry
    rings: FloatArray
    residual: float
    places: FloatArray


def calibrate_on_rings(
    pattern: ArrayLike,
    rings: KnownRings,
    *,
    centre: tuple[float, float] | None = None,
    scale: float | None = None,
    scale_range: float = 0.2,
    sectors: int = 36,
    mask: ArrayLike | None = None,
) -> RingCalibration:
    """Measure camera length, centre and ellipse on the rings of a known polycrystal.

    The scale is first found by comparing the radial profile, background removed, with the known rings; then every ring
    that is not too near to another is located in each sector, and centre and ellipse are fitted to all these places by
    robust least squares. At last the scale is refined on the whole profile, as rings of free heights and one width on a
    smooth background, so that rings that run together do not shift it. The standard errors of centre and ellipse are
    those with sectors, or rings, taken as independent of each other (texture shifts a sector); that of the scale comes
    from leaving out one group of rings after another.

    Parameters
    ----------
    pattern
        Any real type, shape (ny, nx).
    rings
        Of :mod:`hyperspy_assb.acom.crystals.powder_rings`.
    centre
        Column and row in pixels, approximately; found by the direct beam, or by symmetry, if None.
    scale
        1/Å per pixel, approximately; if None, every scale with at least three rings in the frame is tried.
    scale_range
        By how much that may be wrong, relative.
    sectors
        Of a ring.
    mask
        True where pixels are left out, shape (ny, nx).

    Returns
    -------
    calibration
        See :class:`RingCalibration`.

    Raises
    ------
    CalibrationError
        If the rings are not found, or too few places of them.
    ValueError
        If the pattern has another shape, or the centre lies outside of it.
    """
    image = np.asarray(pattern, dtype=float)
    if image.ndim != 2:
        raise AssbValueError(f"pattern: shape (ny, nx), not {image.shape}.")
    keep = np.isfinite(image) if mask is None else np.isfinite(image) & ~np.asarray(mask, dtype=bool)
    place = _centre_of(image, keep, centre)
    reach = float(min(max(place[0], image.shape[1] - 1 - place[0]), max(place[1], image.shape[0] - 1 - place[1])))
    approximate = _find_scale(image, keep, place, rings, scale, scale_range, reach)
    geometry = PatternGeometry(scale=approximate, centre=(float(place[0]), float(place[1])))
    fit = None
    for window in WINDOWS:
        points, ring, sector, weight = _locate(image, keep, geometry, rings, reach, sectors, window)
        fit = _fit_ellipse(points, rings.radius[ring], weight, geometry)
        geometry = fit[0]
    assert fit is not None
    geometry = _with_errors(*fit, ring, sector)
    factor, error = _scale_of_profile(image, keep, geometry, rings, reach)
    geometry = replace(
        geometry, scale=geometry.scale * factor, scale_std=float(np.hypot(geometry.scale_std, geometry.scale * error))
    )
    residual = _radii(points, geometry) - rings.radius[ring]
    return RingCalibration(
        geometry,
        rings.radius[np.unique(ring)],
        float(np.sqrt(np.average(residual**2, weights=weight))) / geometry.scale,
        points,
    )


def _centre_of(image: FloatArray, keep: NDArray[np.bool_], centre: tuple[float, float] | None) -> FloatArray:
    ny, nx = image.shape
    if centre is not None:
        place = np.asarray(centre, dtype=float)
        if place.shape != (2,) or not ((place > -0.5) & (place < (nx - 0.5, ny - 0.5))).all():
            raise AssbValueError(f"centre: column and row within a frame of {nx} columns and {ny} rows, not {centre}.")
        return place
    place = find_centres(np.where(keep, image, np.min(image, where=keep, initial=np.inf))[None])[0]
    if not np.isfinite(place).all():
        place = find_symmetry_centre(image, mask=~keep)
    if not np.isfinite(place).all():
        raise CalibrationError("pattern: neither a direct beam nor a centre of symmetry was found; give centre=.")
    return place


def _find_scale(
    image: FloatArray,
    keep: NDArray[np.bool_],
    place: FloatArray,
    rings: KnownRings,
    scale: float | None,
    scale_range: float,
    reach: float,
) -> float:
    """The scale at which the radial profile correlates best with the known rings."""
    y, x = np.indices(image.shape)
    distance = np.hypot(x - place[0], y - place[1])
    bins = int(reach)
    index = np.minimum(distance.astype(int), bins)
    number = np.bincount(index[keep], minlength=bins + 1)[:bins]
    sums = np.bincount(index[keep], weights=image[keep], minlength=bins + 1)[:bins]
    radius = np.arange(bins) + 0.5
    profile = np.where(number > 0, sums / np.maximum(number, 1), np.nan)
    known = np.isfinite(profile) & (radius > BEAM_PIXELS)
    if known.sum() < LEAST_RADII:
        raise CalibrationError(f"pattern: fewer than {LEAST_RADII} pixels from the centre to the edge of the frame.")
    # Rings over the background, at all radii of the same weight.
    filled = np.interp(radius, radius[known], np.log(np.maximum(profile[known], 1e-12 * np.nanmax(profile))))
    wide = max(bins / BACKGROUND_PARTS, LEAST_BACKGROUND)
    contrast = _high_pass(filled, wide)
    if scale is None:
        third = rings.radius[min(2, len(rings.radius) - 1)]
        low, high = third / (SEEN_REACH * reach), rings.radius[0] / 8.0
    else:
        if not scale > 0.0:
            raise AssbValueError(f"scale: above 0 1/Å per pixel, not {scale}.")
        low, high = scale * (1.0 - scale_range), scale * (1.0 + scale_range)
    trials = np.exp(np.arange(np.log(low), np.log(high), SCALE_SEARCH_STEP))
    best, found = -np.inf, low
    for trial in trials:
        middle = rings.radius / trial
        width = np.maximum(RING_WIDTH * middle, 1.0)
        inside = middle < reach
        expected = (
            np.sqrt(rings.intensity[inside, None])
            * np.exp(-0.5 * ((radius - middle[inside, None]) / width[inside, None]) ** 2)
        ).sum(axis=0)
        # Only where rings could be seen: from before the first to behind the last one.
        use = known & (radius > BEFORE_FIRST * middle[0]) & (radius < BEHIND_LAST * middle[inside].max(initial=0.0))
        if use.sum() < LEAST_COMPARED:
            continue
        a = _high_pass(expected, wide)[use]
        b = contrast[use]
        a, b = a - a.mean(), b - b.mean()
        size = np.sqrt((a @ a) * (b @ b))
        value = float(a @ b / size) if size > 0.0 else 0.0
        # A few points fit anything.
        value *= np.sqrt(1.0 - 8.0 / max(float(use.sum()), 9.0))
        if value > best:
            best, found = value, float(trial)
    if not best > LEAST_CORRELATION:
        raise CalibrationError(
            f"pattern: the rings of {rings.name} are not seen (correlation {max(best, 0.0):.2f}) at scales from "
            f"{low:.3g} to {high:.3g} 1/Å per pixel; give scale= or another material."
        )
    return found


def _high_pass(values: FloatArray, width: float) -> FloatArray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(values, 1.0, mode="nearest") - gaussian_filter1d(values, width, mode="nearest")


def _scale_of_profile(
    image: FloatArray, keep: NDArray[np.bool_], geometry: PatternGeometry, rings: KnownRings, reach: float
) -> tuple[float, float]:
    """Factor of the scale that fits the whole profile best, and its standard error."""
    y, x = np.indices(image.shape)
    radius = np.linalg.norm(geometry.to_reciprocal(np.stack([x, y], axis=-1)), axis=-1)
    step, end = geometry.scale, SEEN_REACH * reach * geometry.scale
    inside = rings.radius[rings.radius < end / 1.03]
    first = 0.8 * inside[0]
    bins = int((end - first) / step)
    index = np.floor((radius - first) / step).astype(int)
    use = keep & (index >= 0) & (index < bins)
    number = np.bincount(index[use], minlength=bins)[:bins]
    profile = np.bincount(index[use], weights=image[use], minlength=bins)[:bins] / np.maximum(number, 1)
    place = np.bincount(index[use], weights=radius[use], minlength=bins)[:bins] / np.maximum(number, 1)
    # Rings far out are as certain as bright ones: errors are relative, with a floor.
    variance = np.where(number > 0, np.maximum(profile, 1e-3 * profile.max()) ** 2, 0.0)
    ground = smooth_background(place)
    factors = np.linspace(1.0 - PROFILE_SCALE, 1.0 + PROFILE_SCALE, PROFILE_TRIALS)
    widths = np.geomspace(1.0, 8.0, 16) * step
    gap = np.flatnonzero(np.diff(inside) > ONE_GROUP * inside[:-1]) + 1
    groups = np.split(np.arange(len(inside)), gap)

    def misfit(factor: float, width: float, part: NDArray[np.float64]) -> float:
        # The scale grows with `factor`: what was measured lies at larger radii then.
        lines = np.exp(-0.5 * ((place * factor - inside[:, None]) / width) ** 2)
        return float(fit_profiles(profile[None], part[None], np.concatenate([lines, ground])).squares[0])

    def best_of(part: NDArray[np.float64], trials: FloatArray) -> float:
        values = np.array([misfit(f, width, part) for f in trials])
        k = int(np.clip(np.argmin(values), 1, len(values) - 2))
        bend = values[k - 1] - 2.0 * values[k] + values[k + 1]
        move = 0.5 * (values[k - 1] - values[k + 1]) / bend if bend > 0.0 else 0.0
        return float(trials[k] + np.clip(move, -1.0, 1.0) * (trials[1] - trials[0]))

    width = float(widths[int(np.argmin([misfit(1.0, w, variance) for w in widths]))])
    whole = best_of(variance, factors)
    width = float(widths[int(np.argmin([misfit(whole, w, variance) for w in widths]))])
    whole = best_of(variance, factors)
    left_out = []
    for group in groups:
        near = (place > inside[group[0]] - 2.0 * width) & (place < inside[group[-1]] + 2.0 * width)
        if len(groups) > 1 and (variance[~near] > 0.0).sum() > LEAST_COMPARED:
            left_out.append(best_of(np.where(near, 0.0, variance), factors))
    count = len(left_out)
    if count < 2:
        return whole, ERROR_OF_ONE_GROUP * width / float(inside[0])
    deviation = np.array(left_out) - np.mean(left_out)
    error = float(np.sqrt((count - 1.0) / count * (deviation @ deviation)))
    return whole, error * min(float(student.ppf(0.975, count - 1)) / 1.96, MOST_WIDENING)


def _radii(points: FloatArray, geometry: PatternGeometry) -> FloatArray:
    return np.linalg.norm(geometry.to_reciprocal(points), axis=1)


def _locate(
    image: FloatArray,
    keep: NDArray[np.bool_],
    geometry: PatternGeometry,
    rings: KnownRings,
    reach: float,
    sectors: int,
    window: float,
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Places where rings are met in sectors, their ring and sector, and weights (significance squared)."""
    from scipy.ndimage import map_coordinates

    azimuth = (np.arange(8 * sectors) + 0.5) * (2.0 * np.pi / (8 * sectors))
    unit = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)
    points, which, where, weights = [], [], [], []
    valid = keep.astype(float)
    for k, radius in enumerate(rings.radius):
        others = np.delete(rings.radius, k)
        strong = np.delete(rings.intensity, k) > STRONG_RING * rings.intensity[k]
        gap = np.abs(others[strong] / radius - 1.0).min(initial=np.inf)
        pixels_out = radius / geometry.scale
        # No narrower than some pixels, and not as far as the next ring.
        half = min(max(window, WINDOW_PIXELS / pixels_out), WINDOW_OF_GAP * gap)
        if gap < NEAREST_RING or pixels_out > SEEN_REACH * reach or half * pixels_out < 2.0:
            continue
        steps = np.linspace(-BESIDE * half, BESIDE * half, STEPS)
        vectors = (radius * (1.0 + steps))[:, None, None] * unit
        pixels = geometry.to_pixels(vectors)
        at = [pixels[..., 1], pixels[..., 0]]
        values = map_coordinates(np.where(keep, image, 0.0), at, order=1, cval=np.nan)
        seen = map_coordinates(valid, at, order=1, cval=0.0) > 0.99
        values = np.where(seen & np.isfinite(values), values, np.nan).reshape(len(steps), sectors, 8)
        number = np.isfinite(values).sum(axis=2)
        with np.errstate(invalid="ignore"):
            profile = np.where(number >= 4, np.nansum(values, axis=2) / np.maximum(number, 1), np.nan)
        for s in range(sectors):
            row = profile[:, s]
            if not np.isfinite(row).all():
                continue
            inner = np.abs(steps) <= half
            line = np.polyval(np.polyfit(steps[~inner], row[~inner], 1), steps)
            noise = float(np.std(row[~inner] - line[~inner])) + 1e-12
            excess = row - line
            top = int(np.argmax(np.where(inner, excess, -np.inf)))
            near = np.abs(steps - steps[top]) <= TOP_SHARE * half
            c = np.polyfit(steps[near], excess[near], 2)
            if c[0] >= 0.0 or not excess[top] > LEAST_HEIGHT * noise:
                continue
            shift = -0.5 * c[1] / c[0]
            if abs(shift) > half:
                continue
            angle = (s + 0.5) * 2.0 * np.pi / sectors
            vector = radius * (1.0 + shift) * np.array([np.cos(angle), np.sin(angle)])
            points.append(geometry.to_pixels(vector))
            which.append(k)
            where.append(s)
            weights.append(min((excess[top] / noise) ** 2, LARGEST_WEIGHT))
    if len(points) < LEAST_PLACES or len(set(where)) < sectors // 4:
        raise CalibrationError(
            f"pattern: rings of {rings.name} are met in {len(points)} places only; {LEAST_PLACES}, about at least a "
            "quarter of the turn, are needed."
        )
    return np.array(points), np.array(which), np.array(where), np.array(weights)


def _fit_ellipse(
    points: FloatArray, radius: FloatArray, weight: FloatArray, start: PatternGeometry
) -> tuple[PatternGeometry, FloatArray, FloatArray]:
    """Geometry whose rings go through points; also the weighted derivatives (M, 5) and residuals (M,), relative."""
    root = np.sqrt(weight / weight.mean())

    def geometry_of(p: FloatArray) -> PatternGeometry:
        size = float(np.hypot(p[3], p[4]))
        return PatternGeometry(
            scale=float(np.exp(p[2])),
            centre=(float(p[0]), float(p[1])),
            ellipticity=min(size, 0.9),
            ellipse_azimuth=float(0.5 * np.arctan2(p[4], p[3])) % np.pi,
        )

    def residuals(p: FloatArray) -> FloatArray:
        return root * (_radii(points, geometry_of(p)) / radius - 1.0)

    e, a = start.ellipticity, start.ellipse_azimuth
    first = np.array([*start.centre, np.log(start.scale), e * np.cos(2 * a), e * np.sin(2 * a)])
    solution = least_squares(residuals, first, loss="soft_l1", f_scale=OUTLIER, x_scale=[1.0, 1.0, 0.01, 0.01, 0.01])
    return geometry_of(solution.x), solution.jac, solution.fun


def _with_errors(
    geometry: PatternGeometry,
    jacobian: FloatArray,
    residual: FloatArray,
    ring: NDArray[np.int64],
    sector: NDArray[np.int64],
) -> PatternGeometry:
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    covariance = inverse * float(residual @ residual) / max(len(residual) - 5, 1)
    variance = np.diag(covariance).copy()
    e, a = geometry.ellipticity, geometry.ellipse_azimuth
    along = np.array([np.cos(2 * a), np.sin(2 * a)])
    ellipse = float(along @ covariance[3:, 3:] @ along)
    for groups in (sector, ring):
        labels = np.unique(groups, return_inverse=True)[1]
        number = int(labels.max()) + 1
        if number < 3:
            continue
        sums = np.zeros((number, 5))
        np.add.at(sums, labels, jacobian * residual[:, None])
        sandwich = inverse @ (sums.T @ sums) @ inverse * number / (number - 1)
        sandwich *= min(float(student.ppf(0.975, number - 1)) / 1.96, MOST_WIDENING) ** 2
        variance = np.maximum(variance, np.diag(sandwich))
        ellipse = max(ellipse, float(along @ sandwich[3:, 3:] @ along))
    std = np.sqrt(np.maximum(variance, 0.0))
    return PatternGeometry(
        scale=geometry.scale,
        centre=geometry.centre,
        ellipticity=e,
        ellipse_azimuth=a,
        scale_std=float(geometry.scale * std[2]),
        centre_std=(float(std[0]), float(std[1])),
        ellipticity_std=float(np.sqrt(max(ellipse, 0.0))),
    )
