"""Figures of the demonstration: spectra before and after bias, truth beside result, error against thickness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum
from hyperspy_assb.plotting import plot_before_after, plot_delithiation_change, plot_map
from hyperspy_assb.plotting.delithiation import plot_x
from hyperspy_assb.plotting.style import COLOURS, QUIET
from hyperspy_assb.report.html import Figure

METHOD_TEXT = {
    "combined": "all combined",
    "references": "mixture of reference spectra",
    "valence": "5 eV band",
    "lithium": "Li K",
}
"""Methods in a legend."""


def spectra_figure(name: str, before: MeanSpectrum, after: MeanSpectrum) -> Figure:
    """Mean spectra of both states over their difference, with the 5 eV band and the Li K window marked."""
    top, _ = plot_before_after(
        before, after, labels=("before bias", "after bias"), title=f"{before.n_pixels} {name} pixels"
    )
    caption = (
        f"Mean spectra of {before.n_pixels} {name} pixels before and after bias, and their difference; the bands are "
        "standard errors, from how the pixels differ."
    )
    return Figure.of(top.get_figure(root=True), f"before_after_{name.lower()}", caption)


def change_figure(results: Mapping[str, Any], regions: Mapping[str, np.ndarray]) -> Figure:
    """Maps of x in both states and of its change, with some particles marked."""
    axes = plot_delithiation_change(results["before"], results["after"], region=regions)
    caption = (
        "x in LixFePO4 before and after bias, and its change. Grey: no olivine, or no answer. Outlined: particles, "
        "whose x is the mean weighted by formula units, with its uncertainty."
    )
    return Figure.of(axes[0].get_figure(root=True), "delithiation_change", caption)


def truth_figures(battery: Any, analyses: Mapping[str, Any]) -> Iterator[Figure]:
    """Maps of the true x, and of what each method found, for each state; and true and fitted t/lambda."""
    for state, analysis in analyses.items():
        truth = getattr(battery.truth, state)
        found = analysis.delithiation.x
        true = found._deepcopy_with_new_data(truth.x)
        error = found._deepcopy_with_new_data(found.data - truth.x)
        figure, axes = plt.subplots(1, 3, figsize=(13.8, 4.0), layout="constrained")
        for ax, signal, title in zip(axes, (true, found), ("truth", "found"), strict=False):
            plot_x(signal, analysis.delithiation.electrode, title=title, ax=ax)
        plot_map(error, label="x", title="found − truth", ax=axes[2], cmap="RdBu_r", vmin=-0.2, vmax=0.2)
        caption = (
            f"x in LixFePO4 {state} bias: what was put in, what the combined estimate found, and the difference. Grey: "
            "no olivine, or no answer."
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
        left.plot(rows["t/λ (median)"], rows["median absolute error"], label=METHOD_TEXT[method], **style)
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
