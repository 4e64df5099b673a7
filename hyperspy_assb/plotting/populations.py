"""The distribution of x with what was read from it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from hyperspy_assb.eels.delithiation.populations import Populations, Verdict
from hyperspy_assb.fitting.statistics.mixtures import Mixture
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.plotting.style import COLOURS, QUIET, with_error

LIMITS = (-0.5, 1.5)
NAMES = ("FePO$_4$", "LiFePO$_4$", "columns with both")
FINE = 8
"""Points of a curve in each bin of the histogram."""
QUANTILES = 64


def plot_populations(
    x: ArrayLike, std: ArrayLike, populations: Populations, *, bins: int = 50, ax: Axes | None = None
) -> Axes:
    """Plot a histogram of x with the populations that it was read as, broadened by the errors of the pixels.

    Parameters
    ----------
    x, std
        Lithium content and its standard error from counting, any shape; NaN is left out, and x beyond -0.5 and 1.5 is
        counted at the ends of the axis.
    populations
        What :func:`~hyperspy_assb.eels.delithiation.populations.fit_populations` found for them.
    bins
        Of the histogram.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes; the verdict stands in the title.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 3.8), layout="constrained")
    values, errors = np.ravel(np.asarray(x, dtype=float)), np.ravel(np.asarray(std, dtype=float))
    known = np.isfinite(values) & np.isfinite(errors)
    values, errors = values[known], errors[known]
    edges = np.linspace(*LIMITS, bins + 1)
    ax.hist(np.clip(values, *LIMITS), bins=edges, color="#d4dae0", linewidth=0, label=f"{values.size} pixels")
    grid = np.linspace(*LIMITS, FINE * bins + 1)
    scale = values.size * (edges[1] - edges[0])
    one = scale * _broadened(populations.one, grid, values, errors)[0]
    phases = scale * _broadened(populations.phases, grid, values, errors)
    verdict = populations.verdict
    if verdict is Verdict.TWO_PHASE:
        mixture = populations.phases
        colours = (colour_of("FePO4"), colour_of("LiFePO4"), COLOURS[2])
        for number, curve in enumerate(phases):
            ax.fill_between(grid, curve, color=colours[number], alpha=0.25, linewidth=0)
            ax.plot(grid, curve, color=colours[number], linewidth=1.2, label=_label(mixture, number))
        ax.plot(grid, phases.sum(axis=0), color="black", linewidth=1.4, label="sum")
    else:
        name = "one population"
        if verdict is not Verdict.UNDECIDED:
            name += f", x = {with_error(populations.one.mean[0], populations.one.mean_std[0])}"
        ax.plot(grid, one, color=COLOURS[3], linewidth=1.6, label=name)
        ax.plot(grid, phases.sum(axis=0), color="black", linewidth=1.2, linestyle="--", label="two phases")
    for end in (0.0, 1.0):
        ax.axvline(end, color=QUIET, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlim(*LIMITS)
    ax.set_xlabel("x in Li$_x$FePO$_4$")
    ax.set_ylabel("pixels")
    ax.set_ylim(0.0, 1.12 * max(ax.dataLim.ymax, 1.0))
    ax.set_title(_title(populations), loc="left", fontsize="medium")
    ax.legend(fontsize="small", frameon=False, loc="best")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _broadened(mixture: Mixture, grid: np.ndarray, values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Density of each population on the grid, averaged over the errors of its pixels and over the width of a bin."""
    # A pixel belongs to each population with a probability: errors of LiFePO4 and of FePO4 differ.
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
    words = str(populations.verdict)
    verdict = words[0].upper() + words[1:]
    if populations.verdict is Verdict.UNDECIDED:
        verdict = "Two phases or one: cannot be told"
    return f"{verdict} (ΔBIC = {populations.bic_difference:.0f})"


def _label(mixture: Mixture, number: int) -> str:
    """Share and position of a population."""
    text = f"{NAMES[number]} {with_error(100 * mixture.share[number], 100 * mixture.share_std[number])} %"
    if number < 2:
        text += f", x = {with_error(mixture.mean[number], mixture.mean_std[number])}"
    return text
