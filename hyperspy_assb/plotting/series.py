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
