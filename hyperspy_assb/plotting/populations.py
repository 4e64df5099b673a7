"""The distribution of x with what was read from it."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.eels.delithiation.populations import Populations, PopulationStatus
from hyperspy_assb.fitting.statistics.mixtures import Mixture
from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.delithiation import x_label
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.plotting.style import COLOURS, QUIET, with_error
from hyperspy_assb.reference import Electrode

LIMITS = (-0.5, 1.5)
"""Lithiated fractions at the ends of the axis."""
FINE = 8
"""Points of a curve in each bin of the histogram."""
QUANTILES = 64


def plot_populations(result: Any, *, bins: int = 50, ax: Axes | None = None) -> Axes:
    """Plot a histogram of x with the populations that it was read as, broadened by the errors of the pixels.

    Parameters
    ----------
    result : DelithiationPopulations
        What the distribution of x was read as, with the pixels; what lies beyond the axis is counted at its ends.
    bins
        Of the histogram.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes; which reading holds stands in the title.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.eels.delithiation.populations import fit_populations
    >>> from hyperspy_assb.reference import electrode
    >>> from hyperspy_assb.signals.eels.phase_coexistence import DelithiationPopulations
    >>> fraction, std = np.append(np.zeros(60), np.ones(140)), np.full(200, 0.1)
    >>> fraction = fraction + np.random.default_rng(0).normal(0.0, std)
    >>> found = fit_populations(fraction, std)
    >>> populations = DelithiationPopulations(found, electrode("LixFePO4"), fraction, std)
    >>> plot_populations(populations, bins=40).get_title(loc="left")
    'Two-phase (ΔBIC = 369)'
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 3.8), layout="constrained")
    populations, electrode = result.found, result.electrode
    values, errors = np.ravel(result.fraction), np.ravel(result.fraction_std)
    known = np.isfinite(values) & np.isfinite(errors)
    values, errors = values[known], errors[known]
    edges = np.linspace(*LIMITS, bins + 1)
    at = electrode.x_of(edges)
    counts = electrode.x_of(np.clip(values, *LIMITS))
    ax.hist(counts, bins=at, color="#d4dae0", linewidth=0, label=f"{values.size} pixels")
    grid = np.linspace(*LIMITS, FINE * bins + 1)
    x = electrode.x_of(grid)
    scale = values.size * (edges[1] - edges[0])
    one = scale * _broadened(populations.one, grid, values, errors)[0]
    phases = scale * _broadened(populations.phases, grid, values, errors)
    if populations.status is PopulationStatus.TWO_PHASE:
        mixture = populations.phases
        colours = (colour_of(electrode.delithiated), colour_of(electrode.lithiated), COLOURS[2])
        for number, curve in enumerate(phases):
            ax.fill_between(x, curve, color=colours[number], alpha=0.25, linewidth=0)
            ax.plot(x, curve, color=colours[number], linewidth=1.2, label=_label(electrode, mixture, number))
        ax.plot(x, phases.sum(axis=0), color="black", linewidth=1.4, label="sum")
    else:
        name = "one population"
        if populations.status is not PopulationStatus.UNDECIDED:
            name += f", x = {_position(electrode, populations.one, 0)}"
        ax.plot(x, one, color=COLOURS[3], linewidth=1.6, label=name)
        ax.plot(x, phases.sum(axis=0), color="black", linewidth=1.2, linestyle="--", label="two phases")
    for end in (0.0, 1.0):
        ax.axvline(electrode.x_of(end), color=QUIET, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlim(at[0], at[-1])
    ax.set_xlabel(x_label(electrode))
    ax.set_ylabel("pixels")
    ax.set_ylim(0.0, 1.12 * max(ax.dataLim.ymax, 1.0))
    ax.set_title(_title(populations), loc="left", fontsize="medium")
    ax.legend(fontsize="small", frameon=False, loc="best")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_mixture_comparison(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot how far spectra of intermediate x lie off the straight line between the end members.

    Parameters
    ----------
    result : DelithiationMixtures
        What was compared.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes: one bar a parameter of the line shape, in standard errors.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
    found = result.found
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.nan_to_num(found.curvature / found.curvature_std)
    places = np.arange(len(found.names))
    ax.barh(places, away, color=COLOURS[0])
    ax.set_yticks(places, [name.replace("_", " ") for name in found.names], fontsize="small")
    ax.invert_yaxis()
    for limit in (-2.0, 2.0):
        ax.axvline(limit, color=QUIET, linewidth=0.8, linestyle=":")
    ax.set_xlabel("distance from mixtures (standard errors)")
    told = "" if not np.isfinite(found.p_value) else f" (p = {found.p_value:.2g})"
    ax.set_title(f"{formula_text(result.electrode.name)}: {found.status}{told}", loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _broadened(mixture: Mixture, grid: np.ndarray, values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Density of each population on the grid, averaged over the errors of its pixels and over the width of a bin."""
    # A pixel belongs to each population with a probability: errors of the end members differ.
    belongs = mixture.density(values, errors) + 1e-300
    belongs /= belongs.sum(axis=0)
    order = np.argsort(errors)
    inside = np.full(FINE + 1, 1.0 / FINE)
    inside[[0, -1]] /= 2.0
    curves = []
    for number, weights in enumerate(belongs):
        # Quantiles stand for all of them: a map has more pixels than a curve has points.
        total = np.cumsum(weights[order])
        at = np.searchsorted(total, total[-1] * (np.arange(QUANTILES) + 0.5) / QUANTILES)
        density = np.mean([mixture.density(grid, error)[number] for error in errors[order][at]], axis=0)
        curves.append(np.convolve(density, inside, mode="same"))
    return np.array(curves)


def _title(populations: Populations) -> str:
    words = str(populations.status)
    reading = words[0].upper() + words[1:]
    if populations.status is PopulationStatus.UNDECIDED:
        reading = "Two phases or one: undecided"
    return f"{reading} (ΔBIC = {populations.bic_difference:.0f})"


def _label(electrode: Electrode, mixture: Mixture, number: int) -> str:
    """Share and position of a population."""
    names = (formula_text(electrode.delithiated), formula_text(electrode.lithiated), "columns with both")
    text = f"{names[number]} {with_error(100 * mixture.share[number], 100 * mixture.share_std[number])} %"
    return text if number == 2 else f"{text}, x = {_position(electrode, mixture, number)}"


def _position(electrode: Electrode, mixture: Mixture, number: int) -> str:
    return with_error(electrode.x_of(mixture.mean[number]), electrode.ions_removed * mixture.mean_std[number])
