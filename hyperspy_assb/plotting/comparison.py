"""Figure of a comparison: spectra, their difference, and what changed."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.style import COLOURS, QUIET

_Z95 = 1.96
_SHADES = {"changed": "#f5ecd0"}


def plot_comparison(result: Any, *, energy_range: tuple[float, float] | None = None) -> np.ndarray:
    """Plot the mean single scattering of the states above their difference, with 95 % confidence bands.

    Parameters
    ----------
    result : LowLossComparison
        What was compared.
    energy_range
        Losses in eV that are shown; None: all that were compared.

    Returns
    -------
    axes
        Spectra and difference, shape (2,). Bands that changed are shaded; clusters that changed are bars below the
        difference.

    Examples
    --------
    >>> from hyperspy_assb.eels.comparison.options import ComparisonOptions
    >>> from hyperspy_assb.simulation import micro_battery
    >>> battery = micro_battery(shape=(6, 6), seed=1, signal_type="EELS_ASSB")
    >>> options = ComparisonOptions(permutations=19)
    >>> axes = plot_comparison(battery.eels_before.compare_low_loss(battery.eels_after, options=options))
    >>> axes[1].get_xlabel()
    'energy loss (eV)'
    """
    figure, axes = plt.subplots(2, 1, figsize=(8.0, 6.2), height_ratios=(3, 2), sharex=True, layout="constrained")
    top, bottom = axes
    start, end = result.settings["start (eV)"], result.settings["end (eV)"]
    low, high = energy_range or (start, end)
    names = result.names
    spectra = [(result.before.data, _std(result.before))]
    spectra += list(zip(np.atleast_2d(result.after.data), np.atleast_2d(_std(result.after)), strict=True))
    loss = result.before.axes_manager.signal_axes[0].axis
    shown = (loss >= low) & (loss <= high)
    for number, ((values, std), name) in enumerate(zip(spectra, names, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        label = formula_text(name) if len(names) == 2 else f"{name} V"
        _with_band(top, loss[shown], 1e3 * values[shown], 1e3 * std[shown], colour, label)
    differences = list(zip(np.atleast_2d(result.difference.data), np.atleast_2d(_std(result.difference)), strict=True))
    for number, (values, std) in enumerate(differences):
        colour = "black" if len(differences) == 1 else COLOURS[(number + 1) % len(COLOURS)]
        _with_band(bottom, loss[shown], 1e3 * values[shown], 1e3 * std[shown], colour, "")
    bottom.axhline(0, color=QUIET, linewidth=0.8)
    _mark_bands(axes, result, low, high)
    _mark_clusters(bottom, result)
    # Steep losses below the plasmon would press everything else flat.
    steep = np.nanquantile(np.concatenate([np.abs(v[shown]) for v, _ in differences]), 0.99)
    margin = 1.6 * max(float(steep), 1e-12) * 1e3
    bottom.set_ylim(-margin, margin)
    top.set_ylim(bottom=0)
    top.set_xlim(low, high)
    top.set_ylabel("single scattering\n(‰ of t/λ per eV)")
    bottom.set_ylabel("after − before\n(‰ of t/λ per eV)")
    bottom.set_xlabel("energy loss (eV)")
    top.legend(frameon=False, loc="upper right")
    source = "blocks" if result.settings["p from"] == "blocks" else "counting alone"
    bottom.set_title(f"95 % confidence, from {source}; bars: clusters that changed", loc="left", fontsize="small")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels()
    return axes


def _std(signal: Any) -> np.ndarray:
    return np.sqrt(np.maximum(signal.get_noise_variance().data, 0.0))


def _with_band(ax: Any, loss: Any, values: Any, std: Any, colour: str, label: str) -> None:
    ax.fill_between(loss, values - _Z95 * std, values + _Z95 * std, color=colour, alpha=0.25, linewidth=0)
    ax.plot(loss, values, color=colour, linewidth=1.1, label=label or None)


def _mark_bands(axes: np.ndarray, result: Any, low: float, high: float) -> None:
    """Shade the bands that changed, and name them."""
    changed = result.bands[result.bands["status"].isin(_SHADES) & result.bands["low (eV)"].notna()]
    for row in changed.drop_duplicates("band").to_dict("records"):
        begin, end = max(row["low (eV)"], low), min(row["high (eV)"], high)
        if end <= begin:
            continue
        for ax in axes:
            ax.axvspan(begin, end, color=_SHADES[row["status"]], linewidth=0, zorder=0)
        axes[0].text(
            0.5 * (begin + end),
            0.98,
            row["band"],
            transform=axes[0].get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="top",
            fontsize="x-small",
            color=QUIET,
        )


def _mark_clusters(ax: Any, result: Any) -> None:
    """Bars below the difference where a cluster changed."""
    for row in result.clusters[result.clusters["significant"].astype(bool)].to_dict("records"):
        ax.plot(
            [row["low (eV)"], row["high (eV)"]],
            [0.04, 0.04],
            transform=ax.get_xaxis_transform(),
            color=COLOURS[1] if row["sign"] == "more" else COLOURS[0],
            linewidth=4,
            solid_capstyle="butt",
        )
