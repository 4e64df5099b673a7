"""Figures of a delithiation result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.region_statistics import region_statistics
from hyperspy_assb.plotting.maps import outline, plot_map, plot_status_map
from hyperspy_assb.plotting.style import COLOURS, with_error

STATUS_NAMES = {
    DelithiationStatus.QUANTIFIED: "quantified",
    DelithiationStatus.THICK: "t/λ above 1",
    DelithiationStatus.UNEXPLAINED: "not a mixture of the references",
    DelithiationStatus.NO_ELECTRODE: "no olivine",
    DelithiationStatus.NOT_FITTED: "not fitted",
    DelithiationStatus.DISAGREES: "estimates disagree",
    DelithiationStatus.UNCERTAIN: "too uncertain to tell",
}
SIGNATURE_NAMES = {
    "combined": "reference spectra, 5 eV band and Li K combined",
    "references": "mixture of reference spectra",
    "valence": "5 eV band per Fe",
    "lithium": "Li K per Fe",
}
REGION_COLOURS = ("black", COLOURS[2], COLOURS[7], COLOURS[3], COLOURS[6])
"""Of outlines, apart from the colours of x and of its change."""


def plot_delithiation(result: Any) -> np.ndarray:
    """Plot x, its uncertainty and the status as maps, and the distribution of x.

    Parameters
    ----------
    result : Delithiation
        What was quantified.

    Returns
    -------
    axes
        The four axes, shape (2, 2).
    """
    figure = plt.figure(figsize=(10.0, 8.6), layout="constrained")
    by = f" ({result.calibration})" if result.builtin else ""
    figure.suptitle(f"Li$_x$FePO$_4$: {SIGNATURE_NAMES[result.method]}{by}")
    # Rows of their own: the legend of the status must not push the maps above it apart, nor make its map smaller.
    axes = np.stack([row.subplots(1, 2) for row in figure.subfigures(2, 1, height_ratios=(1.0, 1.32))])
    _plot_x(result.x, title="Lithium content", ax=axes[0, 0])
    error = result.x._deepcopy_with_new_data(np.hypot(result.x_std.data, result.x_systematic.data))
    plot_map(error, label="standard uncertainty of x", title="Uncertainty", ax=axes[0, 1], cmap="magma_r", vmin=0.0)
    plot_status_map(result.status, STATUS_NAMES, title="Status", ax=axes[1, 0])
    plot_distribution(result.x.data, error.data, ax=axes[1, 1])
    axes[1, 1].set_box_aspect(0.75)
    for ax in axes[1]:
        ax.set_anchor("N")
    return axes


def plot_delithiation_change(
    before: Any, after: Any, *, regions: Mapping[str, Any] | None = None, labels: tuple[str, str] = ("before", "after")
) -> np.ndarray:
    """Plot x in two states, and its difference, with regions marked.

    Parameters
    ----------
    before, after : Delithiation
        What was quantified in the same pixels of both states.
    regions
        Boolean arrays or signals by name, which are outlined, and named in a legend with their x in both states.
    labels
        Names of the two states.

    Returns
    -------
    axes
        The three axes.

    Raises
    ------
    ValueError
        If the states, or a region, have another shape.

    Notes
    -----
    The mean x of a region is weighted by its Fe, and its error holds counting and calibration; see
    :func:`~hyperspy_assb.eels.delithiation.region_statistics.region_statistics`.
    """
    shape = before.x.data.shape
    if after.x.data.shape != shape:
        raise ValueError(
            f"The states have the shapes {shape} and {after.x.data.shape}: maps of the same pixels are needed."
        )
    masks = {name: np.asarray(getattr(where, "data", where), dtype=bool) for name, where in (regions or {}).items()}
    for name, mask in masks.items():
        if mask.shape != shape:
            raise ValueError(f"The region {name!r} has the shape {mask.shape}, but the maps have {shape} (y before x).")
    height = 4.4 + 0.22 * len(masks)
    figure, axes = plt.subplots(1, 3, figsize=(13.8, height), layout="constrained")
    for ax, result, label in zip(axes, (before, after), labels, strict=False):
        _plot_x(result.x, title=f"x {label}", ax=ax)
    change = after.x._deepcopy_with_new_data(after.x.data - before.x.data)
    plot_map(
        change,
        label="change of x",
        title=f"x {labels[1]} - x {labels[0]}",
        ax=axes[2],
        cmap="PuOr",
        vmin=-1.2,
        vmax=1.2,
    )
    lines = []
    for number, (name, mask) in enumerate(masks.items()):
        colour = REGION_COLOURS[number % len(REGION_COLOURS)]
        for ax in axes:
            outline(ax, mask, colour=colour)
        words = f"{name}: x = {_region_x(before, mask)} {labels[0]}, {_region_x(after, mask)} {labels[1]}"
        lines.append(Line2D([], [], color=colour, linewidth=2.0, label=words))
    if lines:
        figure.legend(handles=lines, loc="outside lower left", frameon=False, fontsize="small")
    return axes


def _plot_x(x: Any, *, title: str, ax: Axes) -> None:
    """A map of x, in the colours that all maps of x have."""
    plot_map(x, label="x in Li$_x$FePO$_4$", title=title, ax=ax, cmap="RdYlBu", vmin=-0.2, vmax=1.2)


def _region_x(result: Any, mask: np.ndarray) -> str:
    """x of a region with its error."""
    names = ("x", "x_std", "x_systematic", "electrode_share", "t_over_lambda")
    found = region_statistics(np.ravel(mask), **{name: np.ravel(getattr(result, name).data) for name in names})
    if not found.n_answered:
        return "no answer"
    return with_error(found.x, float(np.hypot(found.x_std, found.x_systematic)))


def plot_distribution(x: Any, uncertainty: Any = None, *, ax: Axes | None = None) -> Axes:
    """Plot a histogram of x.

    Parameters
    ----------
    x
        Lithium content, any shape; NaN is left out, and what lies beyond the axis is counted at its ends.
    uncertainty
        Standard uncertainty of each; its median stands in the title.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 3.6), layout="constrained")
    values = np.ravel(np.asarray(x, dtype=float))
    values = values[np.isfinite(values)]
    ax.hist(np.clip(values, -0.5, 1.5), bins=np.linspace(-0.5, 1.5, 41), color=COLOURS[0], linewidth=0)
    ax.set_xticks(np.linspace(-0.5, 1.5, 5))
    for end in (0.0, 1.0):
        ax.axvline(end, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlabel("x in Li$_x$FePO$_4$")
    ax.set_ylabel("pixels")
    title = f"{values.size} pixels"
    if uncertainty is not None and values.size:
        title += f", median uncertainty {np.nanmedian(uncertainty):.3f}"
    ax.set_title(title, loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
