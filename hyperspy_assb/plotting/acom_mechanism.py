"""Figures of particles, and of what changed between two states."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.maps import plot_status_map
from hyperspy_assb.plotting.material_colours import class_colours
from hyperspy_assb.plotting.style import COLOURS


def plot_mechanism(result: Any) -> np.ndarray:
    """Plot the share of the delithiated phase, the orientation spread and the distance to amorphous material.

    Parameters
    ----------
    result : Mechanism
        Particles and what they tell.

    Returns
    -------
    axes
        The four axes, shape (2, 2).
    """
    particles, evidence, units = result.particles, result.evidence, result.units
    figure, axes = plt.subplots(2, 2, figsize=(10.0, 8.0), layout="constrained")
    figure.suptitle(evidence.kind[0].upper() + evidence.kind[1:])
    share, diameter = particles.delithiated, particles.diameter
    name = formula_text(result.delithiated)
    _scatter(axes[0, 0], diameter, share, particles.at_margin)
    axes[0, 0].set_xlabel(f"diameter ({units})")
    axes[0, 0].set_ylabel(f"share of {name}")
    axes[0, 0].set_ylim(-0.05, 1.05)
    if np.isfinite(evidence.split_diameter):
        axes[0, 0].axvline(evidence.split_diameter, color="black", linewidth=0.8, linestyle=":")
    _titled(axes[0, 0], evidence, "size")
    _scatter(axes[0, 1], diameter, particles.spread, particles.at_margin)
    axes[0, 1].set_xlabel(f"diameter ({units})")
    axes[0, 1].set_ylabel("orientation spread (°)")
    _titled(axes[0, 1], evidence, "orientation")
    _scatter(axes[1, 0], particles.amorphous_distance, 4 * share * (1 - share), particles.at_margin)
    axes[1, 0].set_xlabel(f"distance to amorphous material ({units})")
    axes[1, 0].set_ylabel("mixing, 4 f (1 - f)")
    _titled(axes[1, 0], evidence, "amorphous")
    bins = np.linspace(0.0, 1.0, 11)
    large = diameter > evidence.split_diameter
    weights = particles.pixels / max(int(particles.pixels.sum()), 1)
    axes[1, 1].hist(
        [share[large], share[~large]],
        bins=bins,
        weights=[weights[large], weights[~large]],
        stacked=True,
        color=[COLOURS[0], COLOURS[1]],
        label=[f"above {evidence.split_diameter:.3g} {units}", "below"],
    )
    axes[1, 1].set_xlabel(f"share of {name} in a particle")
    axes[1, 1].set_ylabel(f"share of {formula_text(result.electrode)}")
    axes[1, 1].legend(frameon=False, fontsize="small")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return axes


def plot_phase_comparison(result: Any) -> np.ndarray:
    """Plot the phases of two states, what became of them, and their area fractions with intervals.

    Parameters
    ----------
    result : PhaseComparison
        Two states.

    Returns
    -------
    axes
        The four axes, shape (2, 2).
    """
    figure = plt.figure(figsize=(10.4, 10.2), layout="constrained")
    axes = np.stack([row.subplots(1, 2) for row in figure.subfigures(2, 1)])
    names = result.found.classes.names
    colours = class_colours(names)
    labels = {-1: "no answer", **dict(enumerate(map(formula_text, names)))}
    for ax, state in zip(axes[0], ("before", "after"), strict=True):
        signal = getattr(result, f"{state}_map")
        plot_status_map(signal, labels, title=state.capitalize(), colours=colours, uncounted=(-1,), ax=ax)
    plot_status_map(
        result.status,
        result.change_names,
        title="What became of it",
        colours=dict(enumerate(("#eef1f4", "#c8cfd6", COLOURS[0], "#1a9641", COLOURS[1], "white"))),
        uncounted=(5,),
        ax=axes[1, 0],
    )
    _bars(axes[1, 1], result)
    for ax in axes.flat[:3]:
        ax.set_anchor("N")
    return axes


def _bars(ax: Axes, result: Any) -> None:
    table = result.fractions
    place = np.arange(len(table))
    for state, offset, colour in (("before", -0.2, "#9fb4c4"), ("after", 0.2, COLOURS[0])):
        value = table[f"{state} (%)"].to_numpy()
        ax.bar(place + offset, value, width=0.4, color=colour, label=state)
        low, high = (table[f"{state} {end} (%)"].to_numpy() for end in ("low", "high"))
        error = np.clip([value - low, high - value], 0, None)
        ax.errorbar(place + offset, value, yerr=error, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
    ax.set_xticks(place, [formula_text(name) for name in table["class"]], rotation=20, ha="right")
    ax.set_ylabel("area (%)")
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_box_aspect(0.8)
    ax.set_title(f"Area, with {100 * result.found.classes.confidence:g} % intervals", loc="left", fontsize="medium")


def _scatter(ax: Axes, x: np.ndarray, y: np.ndarray, at_margin: np.ndarray) -> None:
    ax.plot(x[~at_margin], y[~at_margin], "o", color=COLOURS[0], markersize=5)
    ax.plot(x[at_margin], y[at_margin], "o", color=COLOURS[0], markersize=5, fillstyle="none", label="at the margin")
    if at_margin.any():
        ax.legend(frameon=False, fontsize="small")


def _titled(ax: Axes, evidence: Any, name: str) -> None:
    test = evidence[name]
    text = f"p = {test.p:.2g}" if np.isfinite(test.p) else "not tested"
    ax.set_title(f"{test.particles} particles, {text}", loc="left", fontsize="medium")
