"""Figures of the precision that can be expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from hyperspy_assb.plotting.style import COLOURS, QUIET


def plot_precision(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the relative standard error of each parameter against the dose, both on logarithmic axes.

    Parameters
    ----------
    result : Precision
        What was predicted; see :func:`hyperspy_assb.predict_precision`. One dose becomes a line of two decades around
        it.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes. Parameters without a bound, or with the value 0, are named in the legend only.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel
    >>> model = hs.signals.Signal1D(np.zeros(100)).create_model()
    >>> model.append(DarkLevel(1.0))
    >>> ax = plot_precision(hyperspy_assb.predict_precision(model, [1e2, 1e4]))
    >>> ax.get_ylabel()
    'relative standard error (%)'
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
    doses = np.unique(np.ravel(result.dose))
    low, high = doses[0], doses[-1]
    if low == high:
        low, high = low / 10.0, high * 10.0
    shown = np.geomspace(low, high, 61)
    for number, name in enumerate(result.names):
        colour, style = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        line = 100.0 * result.relative_at(*name, shown)
        known = bool(np.isfinite(line).all())
        label = ".".join(name) + ("" if known else " (no relative precision)")
        ax.plot(shown, line if known else np.full(shown.size, np.nan), style, color=colour, linewidth=1.3, label=label)
    for dose in doses:
        ax.axvline(dose, color=QUIET, linewidth=0.6, linestyle=":", zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel("dose (electrons in the fitted range)")
    ax.set_ylabel("relative standard error (%)")
    ax.legend(fontsize="small", edgecolor="none", loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_correlation(correlation: ArrayLike, names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Plot the correlations of parameters as an image.

    Parameters
    ----------
    correlation
        From -1 to 1, shape (F, F); NaN where there is none.
    names
        Of the parameters, F of them.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> ax = plot_correlation([[1.0, -0.4], [-0.4, 1.0]], ["band", "dark level"])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['band', 'dark level']
    """
    if ax is None:
        size = 3.0 + 0.22 * len(names)
        _, ax = plt.subplots(figsize=(size + 1.2, size), layout="constrained")
    image = ax.imshow(np.asarray(correlation, dtype=float), cmap="RdBu_r", vmin=-1.0, vmax=1.0)
    ax.figure.colorbar(image, ax=ax, label="correlation")
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
    ax.set_yticks(range(len(names)), names, fontsize="small")
    return ax
