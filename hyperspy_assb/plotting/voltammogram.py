"""Figures of voltammograms."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.plotting.style import COLOURS, QUIET, si_prefix


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _unit(current: np.ndarray) -> tuple[float, str]:
    factor, prefix = si_prefix(float(np.nanpercentile(np.abs(current), 99.0)))
    return factor, f"{prefix}A"


def _curve(result: Any, ax: Axes) -> tuple[float, str]:
    factor, unit = _unit(result.current)
    ax.plot(result.potential, result.current / factor, color=QUIET, linewidth=0.7)
    # Shorts would else hide the curve.
    low, high = np.nanpercentile(result.current / factor, [0.5, 99.5])
    margin = 0.1 * (high - low) + np.finfo(float).tiny
    ax.set_ylim(low - margin, high + margin)
    ax.set_xlabel("potential (V)")
    ax.set_ylabel(f"current ({unit})")
    return factor, unit


def plot_lines(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot a voltammogram with the lines that resistance and capacitance are taken from.

    Parameters
    ----------
    result : Resistance or Capacitance
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    factor, _ = _curve(result, ax)
    lines = getattr(result, "cycles", ()) or result.sweeps
    middle = float(np.median(result.current)) / factor
    for number, line in enumerate(lines):
        potential = np.array([line.low, line.high])
        value = (potential - potential.mean()) * line.conductance / factor + middle
        label = f"sweep{'s' if len(line.sweeps) > 1 else ''} {' and '.join(map(str, line.sweeps))}"
        ax.plot(potential, value, color=COLOURS[number % len(COLOURS)], linewidth=1.4, label=label)
    ax.legend(fontsize="small", edgecolor="none")
    return ax


def plot_peaks(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot a voltammogram with the peaks that stand out, each with its width.

    Parameters
    ----------
    result : VoltammogramPeaks
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    factor, unit = _curve(result, ax)
    for number, peak in enumerate(result.peaks):
        colour = COLOURS[number % len(COLOURS)]
        ax.axvspan(peak.potential - peak.width / 2, peak.potential + peak.width / 2, color=colour, alpha=0.2, lw=0)
        top = ax.get_ylim()[1 if peak.height > 0 else 0]
        label = f"{peak.height / factor:.2g} {unit}\nsweep {peak.sweep}"
        place = "top" if peak.height > 0 else "bottom"
        ax.annotate(label, (peak.potential, top), ha="center", va=place, fontsize="x-small", color=colour)
    if not result.peaks:
        limit = max(s.limit for s in result.searches) / factor
        ax.set_title(f"no peak above {limit:.2g} {unit}", fontsize="small")
    return ax


def plot_beam(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the current against time, with the times when the beam was on.

    Parameters
    ----------
    result : BeamComparison
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    factor, unit = _unit(result.current)
    ax.plot(result.time, result.current / factor, color=QUIET, linewidth=0.7)
    for number, (first, last) in enumerate(result.intervals):
        ax.axvspan(first, last, color=COLOURS[0], alpha=0.15, lw=0, label=None if number else "beam on")
    ax.set_xlabel("time (s)")
    ax.set_ylabel(f"current ({unit})")
    ax.legend(fontsize="small", edgecolor="none")
    return ax
