"""Figures of the demonstration: spectra before and after bias, truth beside result, error against thickness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hyperspy_assb.plotting import plot_map
from hyperspy_assb.plotting.delithiation import SIGNATURE_NAMES
from hyperspy_assb.plotting.style import COLOURS, QUIET
from hyperspy_assb.report.html import Figure

_PANELS = ((1.5, 12.0), (12.0, 45.0), (45.0, 80.0))
_MARKS = {"5 eV band": (4.0, 7.0), "Li K": (55.0, 65.0)}
_STATE_COLOURS = {"before": COLOURS[0], "after": COLOURS[1]}


def comparison_figure(name: str, spectra: Mapping[str, tuple[np.ndarray, ...]], pixels: int) -> Figure:
    """Mean spectra of both states over their difference, with the 5 eV band and the Li K window marked."""
    figure, axes = plt.subplots(2, 3, figsize=(13.0, 5.4), height_ratios=(2, 1), sharex="col", layout="constrained")
    energy, before, before_std = spectra["before"]
    other, after, after_std = spectra["after"]
    difference = np.interp(energy, other, after) - before
    std = np.hypot(before_std, np.interp(energy, other, after_std))
    for column, (low, high) in enumerate(_PANELS):
        top, bottom = axes[:, column]
        shown = (energy >= low) & (energy <= high)
        for state, (loss, values, _) in spectra.items():
            here = (loss >= low) & (loss <= high)
            top.plot(loss[here], 1e3 * values[here], color=_STATE_COLOURS[state], linewidth=1.2, label=f"{state} bias")
        bottom.fill_between(
            energy[shown],
            1e3 * (difference - std)[shown],
            1e3 * (difference + std)[shown],
            color="#c9d6df",
            linewidth=0,
        )
        bottom.plot(energy[shown], 1e3 * difference[shown], color="black", linewidth=1.0)
        bottom.axhline(0, color=QUIET, linewidth=0.8)
        for mark, (start, end) in _MARKS.items():
            if start >= low and end <= high:
                for ax in (top, bottom):
                    ax.axvspan(start, end, color="#f5ecd0", linewidth=0, zorder=0)
                top.text(0.5 * (start + end), 0.97, mark, transform=top.get_xaxis_transform(), ha="center", va="top")
        top.set_ylim(bottom=0)
        top.set_title(f"{low:g} to {high:g} eV", loc="left", fontsize="medium")
        bottom.set_xlabel("energy loss (eV)")
        bottom.set_xlim(low, high)
        for ax in (top, bottom):
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("counts per channel\n(‰ of the zero loss)")
    axes[1, 0].set_ylabel("after − before\n(‰)")
    axes[0, 1].legend(frameon=False, fontsize="small", loc="lower center")
    caption = (
        f"Mean spectra of {pixels} {name} pixels before and after bias, and their difference; the grey band is its "
        "standard error from counting."
    )
    return Figure.of(figure, f"before_after_{name.lower()}", caption)


def truth_figures(battery: Any, analyses: Mapping[str, Any]) -> Iterator[Figure]:
    """Maps of the true x, and of what each method found, for each state; and true and fitted t/lambda."""
    for state, analysis in analyses.items():
        truth = getattr(battery.truth, state)
        like = next(iter(analysis.delithiation.values())).x
        shown = {"truth": like._deepcopy_with_new_data(truth.x)}
        shown |= {SIGNATURE_NAMES[method]: result.x for method, result in analysis.delithiation.items()}
        figure, axes = plt.subplots(1, len(shown), figsize=(4.6 * len(shown), 4.0), layout="constrained", squeeze=False)
        for ax, (title, signal) in zip(axes[0], shown.items(), strict=True):
            plot_map(signal, label="x in LixFePO4", title=title, ax=ax, cmap="RdYlBu", vmin=-0.2, vmax=1.2)
        caption = (
            f"x in LixFePO4 {state} bias: what was put in, and what each method found. Grey: no olivine, or no answer."
        )
        yield Figure.of(figure, f"truth_{state}", caption)
    truth, analysis = battery.truth.after, analyses["after"]
    fitted = analysis.maps["t_over_lambda"].signal
    figure, axes = plt.subplots(1, 3, figsize=(13.8, 4.0), layout="constrained")
    high = float(np.nanquantile(truth.t_over_lambda, 0.99))
    plot_map(
        fitted._deepcopy_with_new_data(truth.t_over_lambda), label="t/λ", title="truth", ax=axes[0], vmin=0, vmax=high
    )
    plot_map(fitted, label="t/λ", title="fit", ax=axes[1], vmin=0, vmax=high)
    difference = fitted._deepcopy_with_new_data(fitted.data - truth.t_over_lambda)
    limit = float(np.nanquantile(np.abs(difference.data), 0.99))
    plot_map(difference, label="t/λ", title="fit − truth", ax=axes[2], cmap="RdBu_r", vmin=-limit, vmax=limit)
    yield Figure.of(
        figure, "truth_thickness", "Thickness over the inelastic mean free path after bias: truth, fit, difference."
    )


def thickness_figure(table: pd.DataFrame) -> Figure:
    """Error of x and flagged share against t/lambda."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.6), layout="constrained")
    for number, (method, rows) in enumerate(table.groupby("method", sort=False)):
        style = {"color": COLOURS[number], "marker": "o", "markersize": 4, "linewidth": 1.2}
        left.plot(rows["t/λ (median)"], rows["median absolute error"], label=SIGNATURE_NAMES[method], **style)
        if number == 0:
            right.plot(rows["t/λ (median)"], rows["flagged (%)"], label="flagged", **style)
            right.plot(rows["t/λ (median)"], rows["no answer (%)"], label="no answer", **{**style, "color": QUIET})
    left.set_ylabel("median absolute error of x")
    right.set_ylabel("pixels with olivine (%)")
    right.set_ylim(0, 105)
    left.set_ylim(bottom=0)
    for ax in (left, right):
        ax.set_xlabel("true t/λ")
        ax.legend(frameon=False, fontsize="small")
        ax.spines[["top", "right"]].set_visible(False)
    caption = (
        "After bias: error of x, and share of the olivine pixels that are flagged or get no answer, against thickness."
    )
    return Figure.of(figure, "thickness", caption)
