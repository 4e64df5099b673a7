"""Truth against result: what a virtual experiment put in, and what the analysis found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.maps import MapOptions, plot_map
from hyperspy_assb.plotting.style import COLOURS, QUIET, as_map, quantity, robust_limits


def plot_truth_result(
    truth: Any,
    result: Any,
    *,
    std: Any = None,
    label: str = "",
    cmap: str = "viridis",
    axes: Sequence[Axes] | None = None,
    options: MapOptions | None = None,
) -> tuple[Axes, Axes, Axes, Axes]:
    """Plot truth, result, their difference, and one against the other.

    Parameters
    ----------
    truth, result
        Shape (rows, columns) or (pixels,), or HyperSpy signals; only pixels where both are finite are compared.
    std
        Stated standard deviation of the result, of the same shape. With it, the share of pixels whose 68 % interval
        covers the truth is written on the plot.
    label
        What is compared.
    cmap
        As for :func:`~hyperspy_assb.plotting.plot_map`; both maps have the same colours.
    axes
        Four axes; a new row of four if None.
    options
        Units and pixel size of the maps.

    Returns
    -------
    tuple of Axes
        Truth, result, difference, and result against truth.

    Raises
    ------
    AssbValueError
        If truth and result differ in shape.

    Examples
    --------
    >>> truth = np.linspace(0.0, 1.0, 16).reshape(4, 4)
    >>> result = truth + np.random.default_rng(1).normal(0.0, 0.1, truth.shape)
    >>> axes = plot_truth_result(truth, result, std=np.full((4, 4), 0.1), label="x")
    >>> len(axes)
    4
    """
    if axes is None:
        _, axes = plt.subplots(1, 4, figsize=(14, 3.3), layout="constrained", width_ratios=(1, 1, 1, 1))
    options = MapOptions() if options is None else options
    result_values, scale, scale_units = as_map(result, options.scale, options.scale_units)
    options = replace(options, scale=scale, scale_units=scale_units)
    truth_values = as_map(truth, scale, scale_units)[0].astype(float)
    result_values = result_values.astype(float)
    if truth_values.shape != result_values.shape:
        raise AssbValueError(f"Truth has the shape {truth_values.shape}, the result {result_values.shape}.")
    known = np.isfinite(truth_values) & np.isfinite(result_values)
    vmin, vmax = robust_limits(np.concatenate([truth_values[known], result_values[known]]))
    plot_map(truth_values, title="truth", ax=axes[0], cmap=cmap, label=label, vmin=vmin, vmax=vmax, options=options)
    plot_map(result_values, title="result", ax=axes[1], cmap=cmap, label=label, vmin=vmin, vmax=vmax, options=options)
    difference = result_values - truth_values
    low, high = robust_limits(difference)
    limit = max(abs(low), abs(high))
    plot_map(
        difference,
        label="result - truth",
        title="difference",
        ax=axes[2],
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        options=options,
    )

    x, y = truth_values[known], result_values[known]
    sigma = None if std is None else as_map(std, scale, scale_units)[0].astype(float)[known]
    ax = axes[3]
    low, high = robust_limits(np.concatenate([x, y]), share=0.002)
    margin = 0.05 * (high - low)
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color=QUIET, linewidth=1, zorder=1)
    ax.plot(x, y, ".", color=COLOURS[0], markersize=3, alpha=min(1.0, 30 / max(x.size, 1) ** 0.5), rasterized=True)
    ax.set(xlim=limits, ylim=limits, xlabel=quantity(f"true {label}".strip(), options.units))
    ax.set_ylabel(quantity(f"{label} found".strip(), options.units))
    ax.set_aspect("equal", adjustable="box")
    ax.set_title(_agreement(y - x, sigma), loc="left", fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return axes[0], axes[1], axes[2], ax


def _agreement(difference: np.ndarray, sigma: np.ndarray | None) -> str:
    """Mean and root mean square of a difference, and how often one standard deviation covers zero."""
    if difference.size == 0:
        return "no pixel with a value"
    lines = f"mean {difference.mean():+.3g}, rms {np.sqrt(np.mean(difference**2)):.3g}"
    if sigma is not None and (sigma > 0).any():
        covered = np.abs(difference[sigma > 0]) <= sigma[sigma > 0]
        lines += f"\n±1σ covers the truth in {100 * covered.mean():.0f} % of {covered.size} px"
    return lines
