"""Figures of a delithiation result."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.eels.delithiation import DelithiationStatus
from hyperspy_assb.plotting.maps import plot_map, plot_status_map
from hyperspy_assb.plotting.style import COLOURS

STATUS_NAMES = {
    DelithiationStatus.QUANTIFIED: "quantified",
    DelithiationStatus.THICK: "t/λ above 1",
    DelithiationStatus.UNEXPLAINED: "not a mixture of the references",
    DelithiationStatus.NO_OLIVINE: "no olivine",
    DelithiationStatus.NOT_FITTED: "not fitted",
    DelithiationStatus.DISAGREES: "estimates disagree",
    DelithiationStatus.UNCERTAIN: "too uncertain to tell",
}
SIGNATURE_NAMES = {
    "combined": "whole spectrum, 5 eV band and Li K",
    "references": "mixture of reference spectra",
    "valence": "5 eV band per Fe",
    "lithium": "Li K per Fe",
}


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
    figure = plt.figure(figsize=(10.0, 7.6), layout="constrained")
    figure.suptitle(f"LixFePO4 from the {SIGNATURE_NAMES[result.method]}")
    # Rows of their own: the legend of the status must not push the maps above it apart.
    axes = np.stack([row.subplots(1, 2) for row in figure.subfigures(2, 1)])
    plot_map(
        result.x, label="x in LixFePO4", title="Lithium content", ax=axes[0, 0], cmap="RdYlBu", vmin=-0.2, vmax=1.2
    )
    error = result.x._deepcopy_with_new_data(np.hypot(result.x_std.data, result.x_systematic.data))
    plot_map(error, label="standard uncertainty of x", title="Uncertainty", ax=axes[0, 1], cmap="magma_r", vmin=0.0)
    plot_status_map(result.status, STATUS_NAMES, title="Status", ax=axes[1, 0])
    plot_distribution(result.x.data, error.data, ax=axes[1, 1])
    return axes


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
    for end in (0.0, 1.0):
        ax.axvline(end, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlabel("x in LixFePO4")
    ax.set_ylabel("pixels")
    title = f"{values.size} pixels"
    if uncertainty is not None and values.size:
        title += f", median uncertainty {np.nanmedian(uncertainty):.3f}"
    ax.set_title(title, loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
