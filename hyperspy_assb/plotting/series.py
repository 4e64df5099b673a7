"""Figures of image series."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.plotting.style import COLOURS, QUIET


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_drift(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the position of each frame against time, with standard errors; frames without one are marked below.

    Parameters
    ----------
    result : DriftCorrection
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    table = result.to_dataframe()
    time = table["time (s)"].to_numpy() if "time (s)" in table else np.arange(len(table))
    scale, unit = (result.pixel, "nm") if np.isfinite(result.pixel) else (1.0, "pixels")
    for number, name in enumerate("yx"):
        value = table[f"shift {name} (pixels)"].to_numpy() * scale
        std = table[f"shift {name} std (pixels)"].to_numpy() * scale
        ax.errorbar(time, value, std, color=COLOURS[number], linewidth=1.0, elinewidth=0.8, label=name)
    failed = (table["status"] != "placed").to_numpy()
    if failed.any():
        bottom = np.full(failed.sum(), 0.02)
        ax.plot(time[failed], bottom, "x", color=QUIET, transform=ax.get_xaxis_transform(), label="no position")
    ax.set_xlabel("time (s)" if "time (s)" in table else "frame")
    ax.set_ylabel(f"position of the content ({unit})")
    ax.legend(fontsize="small", edgecolor="none")
    return ax


def _add_potential(result: Any, ax: Axes) -> None:
    if result.potential is None:
        return
    right = ax.twinx()
    right.plot(result.time, result.potential, color=QUIET, linewidth=0.8, linestyle=":")
    right.set_ylabel("potential (V)", color=QUIET)
    right.spines["top"].set_visible(False)


def plot_boundaries(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the share of the field that boundaries take against time, with the potential beside it.

    Parameters
    ----------
    result : GrainSeries
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    b = result.boundaries
    ax.errorbar(
        result.time, 100.0 * b.area, 100.0 * b.area_std, color=COLOURS[0], marker="o", markersize=3, linewidth=1.0
    )
    ax.set_xlabel("time (s)")
    ax.set_ylabel("boundaries (% of the field)")
    _add_potential(result, ax)
    return ax


def plot_cracks(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the lines that appear on the mean of the frames, coloured by what they are.

    Parameters
    ----------
    result : CrackSeries
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes, in pixels of the first frame.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 4.8), layout="constrained")
    low, high = np.nanpercentile(result.mean, [1, 99])
    ax.imshow(result.mean, cmap="gray", vmin=low, vmax=high)
    named = set()
    for line in result.lines:
        kind = line.kind.name.lower()
        rows, columns = line.path.T
        label = None if kind in named else kind
        ax.plot(columns, rows, color=COLOURS[int(line.kind) + 1], linewidth=1.4, label=label)
        named.add(kind)
    ax.set_axis_off()
    if named:
        ax.legend(fontsize="small", loc="upper right")
    return ax


def plot_contrast(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the contrast of regions against time, with its steps and the potential.

    Parameters
    ----------
    result : ContrastSeries
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    colours = {}
    for number, name in enumerate(result.names):
        colours[name] = COLOURS[number % len(COLOURS)]
        ax.errorbar(
            result.time,
            result.contrast[number],
            result.contrast_std[number],
            color=colours[name],
            label=name,
            linewidth=1.0,
        )
    for step in result.steps:
        ax.axvline(step.time, color=colours[step.region], linewidth=0.8, linestyle="--")
    ax.set_xlabel("time (s)")
    ax.set_ylabel("contrast against the rest")
    ax.legend(fontsize="small", edgecolor="none")
    _add_potential(result, ax)
    return ax
