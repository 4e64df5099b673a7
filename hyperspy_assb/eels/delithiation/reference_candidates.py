"""Pixels of a map that may be of one material: candidates for references, found in the map itself.

The single-scattering distribution of a column, per t/lambda, is the mean of those of its materials: pixels fill a
simplex whose corners are the materials. Noise is reduced to the components that stand out of it; corners are those of
the largest simplex in a point cloud from which lone pixels are left out. A corner with hardly a pixel is moved to
where points are densest nearby. A pixel is a candidate if it is explained by the corners, and by one of them almost
alone. What has no pure pixel has no corner, or a corner that is a mixture: no look at the map alone can tell, so that
candidates are named by their edges, and numbered where these fit no material.

References
----------
Largest simplex: M. E. Winter, Proc. SPIE 3753, 266 (1999), doi:10.1117/12.366289 (N-FINDR). Start by the farthest point
from those before: J. M. P. Nascimento and J. M. B. Dias, IEEE Trans. Geosci. Remote Sens. 43, 898 (2005),
doi:10.1109/TGRS.2005.844293.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import nnls
from scipy.spatial import KDTree

from hyperspy_assb.eels.delithiation.computed_phases import band_share, computed_contrast, confirm
from hyperspy_assb.eels.delithiation.corner_names import geometry_of, name_corners
from hyperspy_assb.eels.delithiation.standard import VACUUM
from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.scattering.single_scattering import (
    Grid,
    end_exponent,
    estimate_single_scattering,
    fit_zero_loss_shape,
    sum_aligned,
)
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.eels.zero_loss.recorded_noise import low_loss_noise
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference import Electrode

THINNEST, THICKEST = 0.1, 2.0
"""t/lambda between which a pixel is looked at: thinner, it is mostly surface and noise; thicker, the logarithm of the
deconvolution is near its limit."""
FEWEST_PIXELS = 50
"""Pixels with a specimen below which no simplex is sought."""
NEIGHBOURS = 10
"""Pixels that a corner must have nearby: one that is alone is a fault of the camera, or an edge."""
MOST_COMPONENTS, MOST_CORNERS = 6, 10
APART = 8.0
"""Noise of a pixel by which a new corner must lie out of the plane of those before."""
PURE = 0.97
"""Share of one material in t/lambda from which a pixel is a candidate."""
UNLIKE = 0.06
"""Share of its distance from the middle by which a spectrum may differ from its neighbours, or from what the corners
explain: t/lambda and the deconvolution are not better known."""
ONE_MATERIAL = 15.0
"""Noise of a pixel up to which two corners of one name are one material, of unequal thickness or film."""
MOST_SHIFTS, FARTHEST = 30, 3.0
"""Steps of a corner to where points are densest, and how far that may be in the widths of what is taken as near."""
STILL_OUT = 0.7
"""Share of its distance from the mixtures of the others that a corner keeps when it is moved."""
_SAMPLE = 20000
"""Pixels among which corners are sought."""
_BLOCK = 4096


class CandidateStatus(IntEnum):
    """What is known of a pixel as a reference."""

    PROPOSED = 0
    """Of one material, which is named."""
    UNNAMED = 1
    """Of one material, which fits none that was looked for."""
    MIXED = 2
    """Of several."""
    UNEXPLAINED = 3
    """No mixture of the corners: noise, a spike, or something that is nowhere pure."""
    OUT_OF_RANGE = 4
    """Too thin or too thick to be looked at."""
    NOT_MEASURED = 5
    """Without a zero-loss peak, or not finite."""


@dataclass(frozen=True)
class Candidates:
    """Pixels that are proposed, of S.

    Parameters
    ----------
    names
        Of the M materials: of the table, "vacuum", or "material 1" and so on.
    material
        Number of the material of each pixel, shape (S,); -1 where it is not proposed.
    share
        Of the likeliest material in t/lambda, shape (S,); NaN where it was not looked at.
    status
        :class:`CandidateStatus`, shape (S,).
    t_over_lambda
        Shape (S,).
    evidence
        What a material was named by, as a sentence, for each.
    """

    names: tuple[str, ...]
    material: NDArray[np.int16]
    share: FloatArray
    status: NDArray[np.int8]
    t_over_lambda: FloatArray
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class _Points:
    """Pixels as points of the simplex."""

    rows: NDArray[np.intp]
    scores: FloatArray
    noise: FloatArray
    """Standard deviation of each score, shape (P,)."""
    band: FloatArray
    """Share of the losses that tells the end members apart, shape (P,)."""

    @property
    def distance(self) -> FloatArray:
        """From the middle of all, in units of the noise, shape (P,)."""
        return _length(self.scores - np.median(self.scores, axis=0)) / self.noise


def suggest_candidates(
    spectra: LowLossMap, electrode: Electrode, materials: Sequence[str], *, fewest: int = NEIGHBOURS
) -> Candidates:
    """Find pixels that may serve as references.

    Parameters
    ----------
    spectra
        Low-loss map with the zero-loss peak, in memory.
    electrode
        Whose end members are looked for.
    materials
        Names of others that may be there.
    fewest
        Pixels below which a material is not proposed.

    Raises
    ------
    AssbValueError
        If fewer than :data:`FEWEST_PIXELS` pixels have a specimen between :data:`THINNEST` and :data:`THICKEST`, or
        their noise hides every difference.
    """
    counts = np.asarray(spectra.counts)
    finite = np.isfinite(counts).all(axis=1)
    counts = np.where(finite[:, np.newaxis], counts, 0.0).astype(float)
    found = estimate_centre(counts, spectra.energy)
    centre = np.where(finite, np.ravel(found.centre), np.nan)
    measured = np.isfinite(centre)
    fwhm = float(np.nanmedian(found.fwhm)) if measured.any() else np.nan
    status = np.full(len(counts), CandidateStatus.NOT_MEASURED, dtype=np.int8)
    status[measured] = CandidateStatus.OUT_OF_RANGE
    material, share = np.full(len(counts), -1, dtype=np.int16), np.full(len(counts), np.nan)
    thickness, points = _points(spectra, counts, centre, fwhm)
    vertices = find_corners(points.scores, points.noise)
    shares, explained = _mixtures(points, vertices)
    bare = ((shares > PURE) & explained[:, np.newaxis]).sum(axis=0) < fewest
    if bare.any():
        vertices = settle_corners(points.scores, points.noise, vertices, bare)
        shares, explained = _mixtures(points, vertices)
    nearest = [np.argsort(_length(points.scores - corner))[:NEIGHBOURS] for corner in vertices]
    named = name_corners(spectra, counts, centre, [points.rows[rows] for rows in nearest], electrode, materials)
    contrast = computed_contrast(electrode, geometry_of(spectra))
    shown = [float(np.median(points.band[rows])) if len(rows) else np.nan for rows in nearest]
    named = [confirm(*told, own, electrode, contrast) for told, own in zip(named, shown, strict=True)]
    names: list[str] = []
    evidence: list[str] = []
    groups: list[list[int]] = []
    for k, (name, sentence) in enumerate(named):
        same = [
            g
            for g, members in enumerate(groups)
            if name and names[g] == name and _apart(points, vertices, members, k) < ONE_MATERIAL
        ]
        if same:
            groups[same[0]].append(k)
        else:
            groups.append([k])
            names.append(name)
            evidence.append(sentence)
    total = np.array([shares[:, members].sum(axis=1) for members in groups]).reshape(len(groups), -1).T
    best = total.argmax(axis=1) if len(groups) else np.zeros(len(total), dtype=int)
    largest = total[np.arange(len(total)), best] if len(groups) else np.zeros(len(points.rows))
    pure = explained & (largest > PURE)
    share[points.rows] = largest
    status[points.rows] = np.where(explained, CandidateStatus.MIXED, CandidateStatus.UNEXPLAINED)
    kept: list[str] = []
    told: list[str] = []
    order = sorted(range(len(groups)), key=lambda g: -int(np.sum(pure & (best == g))))
    for g in order:
        rows = points.rows[pure & (best == g)]
        if rows.size < fewest:
            continue
        # Of two materials of one name, the spectra do not tell which is which: the larger keeps it.
        known = names[g] and names[g] not in kept
        kept.append(names[g] if known else f"material {sum(n.startswith('material') for n in kept) + 1}")
        also = f"The edges match {names[g]}, but the spectra do not. " if names[g] and not known else ""
        told.append(also + evidence[g])
        material[rows] = len(kept) - 1
        status[rows] = CandidateStatus.PROPOSED if known else CandidateStatus.UNNAMED
    empty = measured & (thickness < VACUUM)
    if empty.sum() >= fewest:
        kept.append("vacuum")
        told.append(f"t/λ is below {VACUUM:g}")
        material[empty], status[empty], share[empty] = len(kept) - 1, CandidateStatus.PROPOSED, 1.0
    return Candidates(tuple(kept), material, share, status, thickness, tuple(told))


def _mixtures(points: _Points, vertices: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Shares of the corners in each point, (P, M), and whether these explain it, (P,)."""
    shares = unmix(points.scores, vertices)
    away = _length(points.scores - shares @ vertices) / points.noise
    limit = np.sqrt(2.0 * stats.chi2.ppf(0.999, points.scores.shape[1]))
    return shares, away < np.maximum(limit, 0.5 * UNLIKE * points.distance)


def _points(spectra: LowLossMap, counts: FloatArray, centre: FloatArray, fwhm: float) -> tuple[FloatArray, _Points]:
    """t/lambda of every pixel, shape (S,), and the points of those that can be looked at."""
    energy, thickness = spectra.energy, np.full(len(counts), np.nan)
    good = np.flatnonzero(np.isfinite(centre))
    if good.size < FEWEST_PIXELS:
        raise AssbValueError(
            f"{good.size} pixels have a zero-loss peak; a simplex of materials needs {FEWEST_PIXELS}: give a larger "
            "map."
        )
    gain = low_loss_noise(counts, energy, centre, fwhm, spectra.detector).broad.gain
    grid = Grid.of(energy)
    total = sum_aligned(counts[good], energy, centre[good], grid)
    first = float(energy[0] - centre[good].max())
    shape = fit_zero_loss_shape(total, grid, fwhm=fwhm, first=first, gain=gain)
    exponent = end_exponent(counts[good], energy, centre[good])
    end = float(energy[-1] - centre[good].max())
    bounds: list[float] = [max(3.0, 2.5 * fwhm)]
    while bounds[-1] < end:
        bounds.append(bounds[-1] + max(0.8, 0.05 * bounds[-1], 2.0 * grid.step))
    starts = np.searchsorted(grid.step * np.arange(int(end / grid.step) + 1), bounds[:-1])
    values: list[FloatArray] = []
    bands: list[FloatArray] = []
    variance: list[FloatArray] = []
    for begin in range(0, good.size, _BLOCK):
        rows = good[begin : begin + _BLOCK]
        own = estimate_single_scattering(counts[rows], energy, centre[rows], shape, end=end, exponent=exponent)
        thickness[rows] = own.t_over_lambda
        bands.append(band_share(own.distribution, own.loss))
        values.append(np.add.reduceat(own.distribution, starts, axis=1)[:, :-1].astype(float))
        # Counting noise of the same losses: what deconvolution adds to it is small where the peak is narrow.
        running = np.concatenate([np.zeros((rows.size, 1)), np.cumsum(counts[rows], axis=1)], axis=1)
        place = np.round((centre[rows] - energy[0]) / grid.step).astype(int)[:, np.newaxis] + starts
        inside = np.diff(np.take_along_axis(running, np.clip(place, 0, energy.size), axis=1), axis=1)
        variance.append(gain * np.maximum(inside, gain) / own.intensity[:, np.newaxis] ** 2)
    x, v = np.concatenate(values), np.concatenate(variance)
    t = thickness[good]
    with np.errstate(invalid="ignore"):
        used = (t > THINNEST) & (t < THICKEST) & np.isfinite(x).all(axis=1)
    if used.sum() < FEWEST_PIXELS:
        raise AssbValueError(
            f"{used.sum()} pixels have t/λ between {THINNEST:g} and {THICKEST:g}; a simplex of materials needs "
            f"{FEWEST_PIXELS}: give a larger map, or name pure pixels yourself."
        )
    x, v = x[used] / t[used, np.newaxis], v[used] / t[used, np.newaxis] ** 2
    typical = np.sqrt(np.median(v, axis=0))
    white = (x - x.mean(axis=0)) / typical
    noise = np.sqrt((v / typical**2).mean(axis=1))
    _, size, components = np.linalg.svd(white / noise[:, np.newaxis], full_matrices=False)
    edge = 1.1 * (np.sqrt(white.shape[0]) + np.sqrt(white.shape[1]))
    count = min(int(np.sum(size > edge)), MOST_COMPONENTS)
    if not count:
        raise AssbValueError(
            "No pixel differs from the others by more than its noise: the map holds one material, or its dose is too "
            "low to look for others."
        )
    return thickness, _Points(good[used], white @ components[:count].T, noise, np.concatenate(bands)[used])


def find_corners(scores: FloatArray, noise: FloatArray) -> FloatArray:
    """Corners of the largest simplex in a cloud of points, shape (M, K).

    Parameters
    ----------
    scores
        Points, shape (P, K).
    noise
        Standard deviation of a coordinate, shape (P,).
    """
    near, index = KDTree(scores).query(scores, NEIGHBOURS)
    smooth = scores[index].mean(axis=1)
    far = _length(smooth - np.median(scores, axis=0))
    dense = near[:, -1] < np.maximum(2.0 * np.sqrt(2.0 * scores.shape[1]) * noise, UNLIKE * far)
    if not dense.any():
        dense[:] = True
    cloud, typical = smooth[dense], float(np.median(noise[dense]))
    if len(cloud) > _SAMPLE:
        cloud = cloud[np.linspace(0, len(cloud) - 1, _SAMPLE).astype(int)]
    chosen = [int(np.argmax(_length(cloud - np.median(scores, axis=0))))]
    while len(chosen) < min(MOST_CORNERS, scores.shape[1] + 1):
        height = _height(cloud, cloud[chosen])
        if height.max() < APART * typical:
            break
        chosen.append(int(height.argmax()))
    for _ in range(5):
        before = list(chosen)
        for k in range(len(chosen)):
            others = chosen[:k] + chosen[k + 1 :]
            if not others:
                continue
            # The volume is that of the others times the height above them.
            height = _height(cloud, cloud[others])
            if height.max() > height[chosen[k]] * (1.0 + 1e-9):
                chosen[k] = int(height.argmax())
        if chosen == before:
            break
    corners: FloatArray = cloud[chosen]
    return corners


def settle_corners(scores: FloatArray, noise: FloatArray, corners: FloatArray, moved: NDArray[np.bool_]) -> FloatArray:
    """Some corners moved to where points are densest nearby, shape (M, K): pure pixels are alike, mixtures are spread.

    The farthest points may be those of unusual thickness or film; with a corner there, the bulk of a material would be
    mixtures. Mean shift: K. Fukunaga and L. D. Hostetler, IEEE Trans. Inf. Theory 21, 32 (1975),
    doi:10.1109/TIT.1975.1055330.
    """
    middle = np.median(scores, axis=0)
    settled = np.array(corners)
    for k in np.flatnonzero(moved):
        corner = corners[k]
        own = 2.0 * np.sqrt(scores.shape[1]) * float(np.median(noise))
        width = max(own, 0.5 * UNLIKE * float(_length(corner - middle)))
        place = corner
        for _ in range(MOST_SHIFTS):
            distance = _length(scores - place) / width
            weight = np.where(distance < 3.0, np.exp(-0.5 * distance**2), 0.0)
            if not weight.any():
                break
            before, place = place, weight @ scores / weight.sum()
            if _length(place - before) < 1e-3 * width:
                break
        others = np.delete(corners, k, axis=0)
        out, still_out = (float(_length(p - unmix(p[np.newaxis], others)[0] @ others)) for p in (corner, place))
        # Farther away, it is another material; and where it is a mixture of the others, it is none.
        if _length(place - corner) < FARTHEST * width and still_out > STILL_OUT * out:
            settled[k] = place
    return settled


def unmix(scores: FloatArray, corners: FloatArray) -> FloatArray:
    """Shares of the corners in each point, shape (P, M), not below 0 and of the sum 1: the nearest mixture."""
    heavy = 1e3 * max(float(np.abs(corners).max()), 1.0)
    system = np.vstack([corners.T, np.full(len(corners), heavy)])
    shares: FloatArray = np.array([nnls(system, np.append(point, heavy))[0] for point in scores])
    return shares.reshape(len(scores), -1)


def _height(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Distance of points from the plane through some corners, shape (P,)."""
    away = points - corners[0]
    if len(corners) > 1:
        plane = np.linalg.qr((corners[1:] - corners[0]).T)[0]
        away = away - (away @ plane) @ plane.T
    return _length(away)


def _apart(points: _Points, corners: FloatArray, members: Sequence[int], k: int) -> float:
    """Distance of a corner from the nearest of some others, in units of the noise."""
    return float(_length(corners[list(members)] - corners[k]).min() / np.median(points.noise))


def _length(vectors: FloatArray) -> FloatArray:
    length: FloatArray = np.sqrt(np.sum(vectors**2, axis=-1))
    return length
