"""What holds for a region as a whole: its Li/Fe with an error that does not shrink too far, and where FePO4 is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from hyperspy_assb.eels.delithiation.lithium_content import DelithiationStatus, LithiumContent
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.fitting.statistics.false_discovery import false_discovery

Pixels = NDArray[np.intp]


@dataclass(frozen=True)
class RegionStatistics:
    """Lithium content of a region.

    Parameters
    ----------
    n_pixels, n_answered
        Pixels of the region, and those of them with an x.
    x
        Li per Fe of the region: mean of x by the Fe in each pixel; NaN if no pixel has an x.
    x_std
        Its standard error from counting.
    x_systematic
        Its systematic uncertainty: pixels of one calibration are off together, so it is their mean and does not shrink.
    x_best
        Mean of x by inverse variance, the least noisy one, of whatever pixels are measured best.
    x_best_std
        Its standard error from counting.
    x_spread
        Standard deviation of x between pixels, weighted by Fe, what counting adds taken out; 0 if that explains all.
    iron_phosphate
        Share of FePO4 in the olivine if there are two phases, 1 - x; its errors are those of x.
    t_over_lambda
        Median of all pixels of the region.
    olivine_fraction
        Share of the olivines in t/lambda of all pixels of the region.
    """

    n_pixels: int
    n_answered: int
    x: float
    x_std: float
    x_systematic: float
    x_best: float
    x_best_std: float
    x_spread: float
    iron_phosphate: float
    t_over_lambda: float
    olivine_fraction: float


@dataclass(frozen=True)
class Discovery:
    """Where something is found, with the share of false finds under control.

    Parameters
    ----------
    p_value
        Probability of at least this significance where there is nothing; NaN where nothing was measured.
    adjusted
        Smallest level at which the pixel is among the finds.
    found
        Whether it is among them at the level asked for.
    """

    p_value: FloatArray
    adjusted: FloatArray
    found: NDArray[np.bool_]


def name_regions(labels: ArrayLike, names: Sequence[str] | Mapping[int, str] | None = None) -> dict[str, Pixels]:
    """Pixels of each region of a mask or a label image.

    Parameters
    ----------
    labels
        Any shape; boolean, or integers where 0 (or less) is no region.
    names
        Of the labels 1, 2, ..., or by label; those without a name are called by their number.

    Returns
    -------
    regions
        Flat indices by name, in the order of the labels; "region" for a mask.

    Raises
    ------
    TypeError
        If the labels are neither boolean nor integers.
    ValueError
        If no pixel is labelled, a name is given twice, or there are fewer labels than names.

    Examples
    --------
    >>> {name: pixels.tolist() for name, pixels in name_regions([[0, 2], [1, 2]], ["core", "rim"]).items()}
    {'core': [2], 'rim': [1, 3]}
    """
    flat = np.asarray(labels)
    if flat.dtype == bool:
        return {"region": np.flatnonzero(flat)}
    if not np.issubdtype(flat.dtype, np.integer):
        raise TypeError(f"Labels must be integers, 0 where there is no region, not {flat.dtype}.")
    flat = flat.ravel()
    order = np.argsort(flat, kind="stable")
    values, starts = np.unique(flat[order], return_index=True)
    pixels = dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))
    pixels = {label: where for label, where in pixels.items() if label > 0}
    if not pixels:
        raise ValueError("The label image holds no region: none of its pixels is above 0.")
    named = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or (), start=1))
    unknown = sorted(set(named) - set(pixels))
    if unknown:
        raise ValueError(f"There are names for the labels {unknown}, which no pixel has.")
    regions = {named.get(label, str(label)): where for label, where in pixels.items()}
    if len(regions) < len(pixels):
        raise ValueError("Two labels have the same name: give each region its own.")
    return regions


def region_statistics(
    pixels: ArrayLike,
    *,
    x: FloatArray,
    x_std: FloatArray,
    x_systematic: FloatArray,
    olivine_fraction: FloatArray,
    t_over_lambda: FloatArray,
) -> RegionStatistics:
    """Lithium content of a region.

    Parameters
    ----------
    pixels
        Boolean, shape (S,), or indices.
    x, x_std, x_systematic
        Lithium content and its uncertainties, shape (S,); NaN where there is no answer.
    olivine_fraction, t_over_lambda
        Share of the olivines in t/lambda, and t/lambda, shape (S,). Their product counts Fe.

    Returns
    -------
    statistics
        NaN where no pixel has an x.

    Notes
    -----
    Weighted by Fe, the mean of the Li/Fe of the pixels is the Li/Fe of the region. The weights are taken as known.
    Inverse variance would favour thick pixels and, by their noise, one side of x.
    """
    pixels = np.asarray(pixels)
    where = np.flatnonzero(pixels) if pixels.dtype == bool else pixels
    x, std, systematic = x[where], x_std[where], x_systematic[where]
    thickness = t_over_lambda[where]
    iron = olivine_fraction[where] * thickness
    answered = np.isfinite(x) & np.isfinite(std) & np.isfinite(systematic) & (iron > 0.0)
    measured = np.isfinite(iron)
    all_thickness = float(thickness[measured].sum())
    value = error = common = best = best_error = spread = np.nan
    if answered.any():
        x, std, systematic = x[answered], std[answered], systematic[answered]
        share = iron[answered] / iron[answered].sum()
        value = float(share @ x)
        error = float(np.sqrt(share**2 @ std**2))
        common = float(share @ systematic)
        # Counting adds the errors of the pixels to the scatter, less that of the mean, which follows them.
        excess = float(share @ ((x - value) ** 2 - std**2)) + error**2
        spread = float(np.sqrt(max(excess, 0.0)))
        certain = np.maximum(std, 1e-12) ** -2.0
        best = float(certain @ x / certain.sum())
        best_error = float(certain.sum() ** -0.5)
    return RegionStatistics(
        n_pixels=int(where.size),
        n_answered=int(answered.sum()),
        x=value,
        x_std=error,
        x_systematic=common,
        x_best=best,
        x_best_std=best_error,
        x_spread=spread,
        iron_phosphate=1.0 - value,
        t_over_lambda=float(np.median(thickness[measured])) if measured.any() else np.nan,
        olivine_fraction=float(iron[measured].sum()) / all_thickness if all_thickness > 0.0 else np.nan,
    )


def tabulate_regions(
    regions: Mapping[str, Pixels], content: LithiumContent, t_over_lambda: FloatArray
) -> dict[str, dict[str, float]]:
    """What holds for each region, by its name: its statistics, and how many of its pixels have each status."""
    maps = {name: getattr(content, name) for name in ("x", "x_std", "x_systematic", "olivine_fraction")}
    return {
        name: asdict(region_statistics(pixels, **maps, t_over_lambda=t_over_lambda))
        | {s.name.lower(): int(np.sum(content.status[pixels] == s)) for s in DelithiationStatus}
        for name, pixels in regions.items()
    }


def find_iron_phosphate(content: LithiumContent, level: float) -> Discovery:
    """Pixels that hold FePO4: x is below 1 by more than its uncertainty, counting and systematic."""
    uncertainty = np.hypot(content.x_std, content.x_systematic)
    return find_excess((1.0 - content.x) / uncertainty, level=level)


def find_excess(
    significance: ArrayLike, *, level: float = 0.05, dependence: Literal["positive", "any"] = "positive"
) -> Discovery:
    """Pixels where something is there, at a controlled share of false ones among them.

    Parameters
    ----------
    significance
        Standard errors above nothing, any shape; NaN where nothing was measured.
    level
        Expected share of false finds among all, between 0 and 1.
    dependence
        Between the errors of the pixels: "positive" (independent, or together through one calibration) or "any", which
        finds less; see :func:`.false_discovery.false_discovery`.

    Returns
    -------
    discovery
        Of the shape of the significance.

    Raises
    ------
    ValueError
        If the level or the dependence is none of these.

    Notes
    -----
    The p value is the one-sided one of a normal deviate. In an image without anything, the level is also the
    probability of any find at all.

    Examples
    --------
    >>> find_excess([6.0, 0.3, -1.0, np.nan]).found
    array([ True, False, False, False])
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}.")
    if dependence not in ("positive", "any"):
        raise ValueError(f"dependence must be 'positive' or 'any', not {dependence!r}.")
    p = np.asarray(special.ndtr(-np.asarray(significance, dtype=float)))
    adjusted = false_discovery(p, dependence)
    return Discovery(p_value=p, adjusted=adjusted, found=adjusted <= level)
