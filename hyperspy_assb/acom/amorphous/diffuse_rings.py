"""Diffuse rings of amorphous materials: their profiles, and how much of each is in a pattern.

The radial profile of a pattern without its Bragg spots (:mod:`hyperspy_assb.acom.patterns.radial_profiles`) is a sum
of the profiles of amorphous materials, none of them negative, and of a smooth background of inelastic scattering. That
is a non-negative sum of exponentials, a completely monotone function: it falls and has no bump anywhere, so it cannot
pass for a ring, nor a ring for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from hyperspy_assb import reference
from hyperspy_assb.acom.patterns.radial_profiles import ProfileFit, RadialProfiles, fit_profiles, smooth_background
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.reference.materials import materials


@dataclass(frozen=True)
class RingProfile:
    """Diffuse intensity of an amorphous material.

    Parameters
    ----------
    name
        Of the material.
    radius
        1/Å, ascending, shape (R,).
    level
        Intensity per area, in any unit, shape (R,).
    level_std
        Its standard error if it was measured.
    powder
        Whether these are the rings of many small crystals.
    """

    name: str
    radius: FloatArray
    level: FloatArray
    level_std: FloatArray | None = None
    powder: bool = False

    def __post_init__(self) -> None:
        if self.radius.ndim != 1 or self.radius.shape != self.level.shape or len(self.radius) < 4:
            raise AssbValueError(f"{self.name}: radius and level need one shape (R,), at least 4 long.")
        if not (np.diff(self.radius) > 0.0).all():
            raise AssbValueError(f"{self.name}: radii must ascend.")
        if not (np.isfinite(self.level).all() and self.level.max() > 0.0):
            raise AssbValueError(f"{self.name}: the level must be finite, and above 0 somewhere.")

    def at(self, radius: FloatArray) -> FloatArray:
        """Intensity at other radii; 0 beyond those that are known."""
        return np.interp(radius, self.radius, self.level, left=0.0, right=0.0)


def table_profile(name: str) -> RingProfile:
    """Rings of a material by its row, as Gaussians without background.

    Raises
    ------
    UnknownReferenceError
        If there is no such material.
    MissingFactError
        If its row has no rings.
    """
    radius = np.linspace(0.02, 2.0, 397)
    level = np.zeros_like(radius)
    found = reference.material(name)
    for ring in found.needed("rings", by="Telling amorphous materials apart"):
        level += ring.height * np.exp(-4.0 * np.log(2.0) * ((radius - ring.radius) / ring.fwhm) ** 2)
    return RingProfile(found.name, radius, level)


def measure_profile(profiles: RadialProfiles, name: str) -> RingProfile:
    """Rings of a material from patterns of nothing else, such as those of a region of the scan.

    Parameters
    ----------
    profiles
        Of these patterns.
    name
        Of the material.

    Returns
    -------
    profile
        Mean level in counts, weighted by its errors, without the smooth background, which every pattern has its own of.

    Raises
    ------
    ValueError
        If there are no patterns, or they show no ring.
    """
    if not len(profiles):
        raise AssbValueError(f"{name}: no pattern to measure the rings on.")
    known = np.isfinite(profiles.level).all(axis=0)
    # One scale for all, so that thick places do not count more than their noise.
    size = np.nansum(profiles.level, axis=1)
    if not (size > 0.0).all():
        raise AssbValueError(f"{name}: {int((size <= 0.0).sum())} patterns of the region are empty.")
    level = (profiles.level[:, known] / size[:, None]).mean(axis=0) * size.mean()
    std = np.sqrt((profiles.level_std[:, known] ** 2).mean(axis=0) / len(profiles))
    radius = profiles.radius[known]
    if len(radius) < 8:
        raise AssbValueError(f"{name}: only {len(radius)} rings lie within the frame in all patterns.")
    # The highest smooth background below the profile: what rises above it pulls it up only a little.
    columns = smooth_background(radius)
    variance = np.maximum(std, 1e-3 * level.max() + 1e-12) ** 2
    weight = np.ones_like(level)
    fit = np.zeros_like(level)
    for _ in range(50):
        amounts = fit_profiles(level[None], (variance / weight)[None], columns)
        fit = amounts.fitted[0]
        new = np.where(level > fit, 0.01, 1.0)
        if np.array_equal(new, weight):
            break
        weight = new
    rings = np.maximum(level - fit, 0.0)
    if not rings.max() > max(4.0 * float(std[int(np.argmax(rings))]), 1e-6 * float(level.max())):
        raise AssbValueError(f"{name}: the patterns of the region show no diffuse ring beyond {radius[0]:.3g} 1/Å.")
    return RingProfile(name, radius, rings, std)


@dataclass(frozen=True)
class RingFit:
    """Amorphous materials in B patterns.

    Parameters
    ----------
    materials
        Names of the A materials.
    powder
        Which of them are powders of crystals, shape (A,).
    amounts, amounts_std
        Factors of their profiles and standard errors, widened where the fit is worse than the noise, shape (B, A).
    share, share_std
        Of the diffuse counts in the range of the profile, rings of each material alone, shape (B, A).
    significance
        Of the rings of these materials together: by how many standard deviations of a normal distribution the fit
        without them is worse, misfit taken as noise, shape (B,); 0 where rings do not improve it.
    structure
        Of rings of any material: by how many standard deviations the profile is not a smooth background, shape (B,).
    width
        Full width at half of the height of the highest ring over a smooth background, whatever its material, in 1/Å,
        NaN where none stands out, shape (B,). Those of a powder of crystals are as wide as spots, those of amorphous
        material as wide as 1 over the distance to which its order reaches, 1 to 3 nm.
    background
        Smooth background in counts per pixel, shape (B, R).
    reduced_squares
        Weighted sum of squares over the degrees of freedom, shape (B,).
    """

    materials: tuple[str, ...]
    powder: NDArray[np.bool_]
    amounts: FloatArray
    amounts_std: FloatArray
    share: FloatArray
    share_std: FloatArray
    significance: FloatArray
    structure: FloatArray
    width: FloatArray
    background: FloatArray
    reduced_squares: FloatArray

    @property
    def material(self) -> NDArray[np.int64]:
        """Index of the material with the largest share, -1 where there is none, shape (B,)."""
        best = np.argmax(self.share, axis=1)
        return np.where(self.share.max(axis=1) > 0.0, best, -1)


def fit_rings(
    profiles: RadialProfiles, materials: Sequence[RingProfile | str] | None = None, *, model_error: float = 0.02
) -> RingFit:
    """Fit the rings of amorphous materials and a smooth background to radial profiles.

    Parameters
    ----------
    profiles
        Of patterns.
    materials
        Profiles measured on a region of the scan (:func:`measure_profile`), which is best, or names of the table of
        references; all of the table by default.
    model_error
        Relative error of a level that profiles of real materials have beside the noise, such as from thickness or
        texture. It keeps bright patterns from being fitted to rings that are not there.

    Returns
    -------
    fit
        See :class:`RingFit`. The weights are those of the counts that the fit expects, not of those that were drawn.

    Raises
    ------
    ValueError
        If a material has no intensity in the range of the profiles, or two have one name.
    """
    chosen = [m if isinstance(m, RingProfile) else table_profile(m) for m in materials or tabulated_materials()]
    names = tuple(m.name for m in chosen)
    if len(set(names)) < len(names):
        raise AssbValueError(f"materials: each with its own name, not {names}.")
    radius = profiles.radius
    rings = np.array([m.at(radius) for m in chosen]).reshape(len(chosen), len(radius))
    for material, row in zip(chosen, rings, strict=True):
        if not row.max() > 0.0:
            raise AssbValueError(
                f"{material.name}: its rings lie outside of {radius[0]:.3g} to {radius[-1]:.3g} 1/Å; check the scale."
            )
    ground = smooth_background(radius)
    columns = np.concatenate([rings, ground])
    level = profiles.level
    known = np.isfinite(level)
    variance = profile_variance(profiles, columns, model_error=model_error)
    full = fit_profiles(level, variance, columns)
    plain = fit_profiles(level, variance, ground)  # with the same weights
    freedom = np.maximum(full.freedom, 1)
    reduced = full.squares / freedom
    widen = np.maximum(reduced, 1.0)
    number = len(chosen)
    gain = (plain.squares - full.squares) / widen
    # Non-negative amounts: half of a chi-square, or less.
    p = 0.5 * chi2.sf(np.maximum(gain, 0.0), number)
    significance = np.where(gain > 0.0, _sigma_of(p, gain), 0.0)
    weight = profiles.pixels * known
    diffuse = np.maximum((np.where(known, full.fitted, 0.0) * weight).sum(axis=1), 1e-300)
    area = weight @ rings.T
    dark = ~((np.where(known, full.fitted, 0.0) * weight).sum(axis=1) > 0.0)
    return RingFit(
        materials=names,
        powder=np.array([m.powder for m in chosen]),
        amounts=full.amounts[:, :number],
        amounts_std=full.errors[:, :number] * np.sqrt(widen)[:, None],
        share=full.amounts[:, :number] * area / diffuse[:, None],
        share_std=np.where(
            dark[:, None], np.inf, full.errors[:, :number] * np.sqrt(widen)[:, None] * area / diffuse[:, None]
        ),
        significance=significance,
        structure=np.maximum(smoothness_violation(plain), 0.0),
        width=_widths(level - plain.fitted, np.sqrt(variance), radius),
        background=full.amounts[:, number:] @ ground,
        reduced_squares=reduced,
    )


def smoothness_violation(smooth: ProfileFit) -> FloatArray:
    """By how many standard deviations profiles are not the smooth background that was fitted to them, shape (B,)."""
    # Wilson and Hilferty: the cube root of a chi-square is nearly normal.
    nu = np.maximum(smooth.freedom, 1)
    return np.asarray((np.cbrt(smooth.squares / nu) - (1.0 - 2.0 / (9.0 * nu))) / np.sqrt(2.0 / (9.0 * nu)))


def profile_variance(profiles: RadialProfiles, columns: FloatArray, *, model_error: float = 0.02) -> FloatArray:
    """Variance of each level, 0 where it is not known, shape (B, R).

    Parameters
    ----------
    profiles
        Of B patterns.
    columns
        What the levels are a sum of, shape (K, R). The error of a level is that of this smooth course: that of a level
        that happens to be low is not low.
    model_error
        Relative error beside the noise.
    """
    level = profiles.level
    known = np.isfinite(level)
    dispersion = profiles.dispersion
    expected = np.where(known, np.maximum(level, 0.0), 0.0)
    variance = np.zeros_like(level)
    for again in range(3):
        floor = 1.0 / np.maximum(profiles.pixels, 1.0)
        counted = dispersion[:, None] * np.maximum(expected, floor) / np.maximum(profiles.pixels, 1.0)
        variance = np.where(known, counted + (model_error * expected) ** 2, 0.0)
        if again < 2:
            expected = fit_profiles(level, variance, columns).fitted
    return variance


def _widths(excess: FloatArray, std: FloatArray, radius: FloatArray) -> FloatArray:
    """Full width at half of the height of the highest ring of each profile, NaN where it is below four errors."""
    widths = np.full(len(excess), np.nan)
    for b in range(len(excess)):
        row = np.where(np.isfinite(excess[b]) & (std[b] > 0.0), excess[b], 0.0)
        # By its area, rings far out count as those near the direct beam do.
        top = int(np.argmax(row * np.sqrt(radius)))
        if not row[top] > 4.0 * std[b][top]:
            continue
        edges = []
        for step in (-1, 1):
            k = top
            while 0 <= k + step < len(row) and row[k + step] > 0.5 * row[top]:
                k += step
            if 0 <= k + step < len(row):
                share = (row[k] - 0.5 * row[top]) / max(row[k] - row[k + step], 1e-300)
                edges.append(radius[k] + step * share * (radius[1] - radius[0]))
            else:
                edges.append(radius[k])
        widths[b] = edges[1] - edges[0]
    return widths


def _sigma_of(p: FloatArray, gain: FloatArray) -> FloatArray:
    """Standard deviations that a one-sided p stands for; of a p that is too small to say, the root of the gain."""
    from scipy.stats import norm

    return np.where(p > 1e-290, np.maximum(norm.isf(np.maximum(p, 1e-300)), 0.0), np.sqrt(np.maximum(gain, 0.0)))


def tabulated_materials() -> list[str]:
    """Names of the materials whose rings are in the table."""
    # Materials that share their rings cannot be told apart: the first stands for all.
    names: dict[tuple[reference.Ring, ...], str] = {}
    for row in materials.values():
        if row.rings:
            names.setdefault(row.rings, row.name)
    return list(names.values())
