"""A fitted spectrum: counts, model, components, and the residuals in standard deviations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from hyperspy_assb.plotting.style import COLOURS, QUIET, robust_limits


@dataclass(frozen=True, eq=False)
class FitPlotOptions:
    """What else belongs to the figure of a fit.

    Parameters
    ----------
    std
        Standard deviation of each channel, shape (E,). If None, the square root of the model, as for Poisson counts.
    title
        Title over the spectrum.
    legend
        Whether to name the lines.
    colours
        Of components, by name; those left out are taken from a palette.

    Examples
    --------
    >>> FitPlotOptions(title="pixel (3, 4)", legend=False).std is None
    True
    """

    std: ArrayLike | None = None
    title: str = ""
    legend: bool = True
    colours: Mapping[str, str] | None = None


def plot_fit(
    energy: ArrayLike,
    counts: ArrayLike,
    model: ArrayLike,
    components: Mapping[str, ArrayLike] | None = None,
    *,
    scale: Literal["linear", "sqrt", "log"] = "linear",
    energy_range: tuple[float, float] | None = None,
    axes: tuple[Axes, Axes] | None = None,
    options: FitPlotOptions | None = None,
) -> tuple[Axes, Axes]:
    """Plot a measured spectrum with its model, and the standardised residuals below.

    Parameters
    ----------
    energy
        Energy loss in eV, shape (E,).
    counts, model
        Measured and expected counts, shape (E,). The model may be NaN where it was not fitted.
    components
        Expected counts of the parts of the model, by name.
    scale
        Of the counts. "sqrt" gives Poisson noise the same height everywhere and shows negative counts; "log" does not.
    energy_range
        Energies to show, in eV; the counts are scaled to what is shown.
    axes
        Axes for the spectrum and for the residuals; new ones if None.
    options
        Standard deviation, title and legend.

    Returns
    -------
    spectrum, residuals
        The two axes.

    Examples
    --------
    >>> energy = np.arange(50.0)
    >>> model = 100.0 + 900.0 * np.exp(-0.5 * ((energy - 20.0) / 4.0) ** 2)
    >>> counts = np.random.default_rng(1).poisson(model)
    >>> spectrum, residuals = plot_fit(energy, counts, model, {"level": np.full(50, 100.0)}, scale="sqrt")
    >>> [text.get_text() for text in spectrum.get_legend().get_texts()]
    ['measured', 'level', 'model']
    """
    options = FitPlotOptions() if options is None else options
    if axes is None:
        _, axes = plt.subplots(
            2, 1, figsize=(6.4, 4.6), sharex=True, height_ratios=(4, 1), layout="constrained", squeeze=True
        )
    top, bottom = axes
    energy, counts, model = (np.asarray(values, dtype=float) for values in (energy, counts, model))
    sigma = np.sqrt(np.clip(model, 1.0, None)) if options.std is None else np.asarray(options.std, dtype=float)
    shown = np.ones(energy.size, dtype=bool)
    if energy_range is not None:
        shown = (energy >= energy_range[0]) & (energy <= energy_range[1])
    parts = {name: np.asarray(part, dtype=float)[shown] for name, part in (components or {}).items()}
    energy, counts, model, sigma = energy[shown], counts[shown], model[shown], sigma[shown]

    top.plot(energy, counts, ".", color="#404040", markersize=3.5, label="measured", zorder=3, rasterized=True)
    for number, (name, part) in enumerate(parts.items()):
        colour = (options.colours or {}).get(name, COLOURS[number % len(COLOURS)])
        top.plot(energy, part, color=colour, linewidth=1.2, label=name, zorder=2)
    top.plot(energy, model, color="black", linewidth=1.3, label="model", zorder=4)
    _scale_counts(top, scale, counts, model)
    top.set_ylabel("counts per channel")
    top.set_title(options.title, loc="left", fontsize="medium")
    if options.legend:
        legend_box = top.legend(fontsize="small", ncols=1 if len(parts) < 5 else 2, edgecolor="none", framealpha=0.8)
        legend_box.set_zorder(5)

    residuals = (counts - model) / np.where(sigma > 0, sigma, np.nan)
    bottom.axhspan(-1, 1, color="#dfe8ee", linewidth=0, zorder=0)
    bottom.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
    bottom.plot(energy, residuals, ".", color="#404040", markersize=2.5, rasterized=True)
    low, high = robust_limits(residuals, share=0.005)
    limit = max(3.5, 1.15 * max(abs(low), abs(high))) if np.isfinite(residuals).any() else 3.5
    bottom.set_ylim(-limit, limit)
    bottom.set_ylabel("residual (σ)")
    bottom.set_xlabel("energy loss (eV)")
    if energy.size:
        bottom.set_xlim(energy[0], energy[-1])
        top.set_xlim(energy[0], energy[-1])
    top.tick_params(labelbottom=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    top.figure.align_ylabels(axes)
    return top, bottom


def _scale_counts(ax: Axes, scale: str, counts: np.ndarray, model: np.ndarray) -> None:
    """Set scale and limits of the counts by the measured spectrum and the model, not by the components."""
    both = np.concatenate([counts, model])
    both = both[np.isfinite(both)]
    if both.size == 0:
        return
    low, high = float(both.min()), float(both.max())
    if scale == "log":
        positive = both[both > 0]
        ax.set_yscale("log", nonpositive="mask")
        if positive.size:
            ax.set_ylim(max(0.5 * float(np.quantile(positive, 0.01)), high * 1e-7), 2 * high)
        return
    if scale == "sqrt":
        ax.set_yscale(
            "function",
            functions=(lambda y: np.sign(y) * np.sqrt(np.abs(y)), lambda y: np.sign(y) * np.asarray(y) ** 2),
        )
    margin = 0.06 * (high - min(low, 0.0)) or 1.0
    ax.set_ylim(min(low, 0.0) - margin * (low < 0), high + margin)
