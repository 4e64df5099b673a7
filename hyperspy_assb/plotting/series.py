"""Figures of image series."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from hyperspy_assb.plotting.maps import add_scale_bar
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
    _scale_bar(ax, result.mean, result.pixel)
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


def plot_tracks(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the change of the area of every grain as a map; those that change by more than their error are outlined.

    Parameters
    ----------
    result : GrainTracks
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes, in pixels of the first frame.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 4.6), layout="constrained")
    found, labels = result.found, result.labels
    change = np.append(np.nan, 100.0 * found.change)[labels]
    limit = float(np.nanpercentile(np.abs(change), 98.0)) if np.isfinite(change).any() else 1.0
    image = ax.imshow(np.ma.masked_invalid(change), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="change of the area (%)")
    _outline(ax, labels, colour=QUIET, linewidth=0.4)
    for grains, colour, name in ((result.shrinking, COLOURS[0], "shrinks"), (result.growing, COLOURS[1], "grows")):
        for number, grain in enumerate(grains):
            ax.contour(labels == grain, [0.5], colors=[colour], linewidths=1.6)
            if number == 0:
                ax.plot([], [], color=colour, linewidth=1.6, label=name)
    for places, marker, name in ((result.lost, "x", "lost"), (result.gained, "+", "gained")):
        if places:
            rows, columns = zip(*places, strict=True)
            ax.plot(columns, rows, marker, color="black", markersize=8, label=name)
    ax.set_axis_off()
    _scale_bar(ax, labels, result.pixel)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", loc="upper right")
    return ax


def plot_beam_effects(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot what is added to the brightness, and the contrast, against the dose, or against time if it is not known.

    Parameters
    ----------
    result : BeamSeries
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    ax = _axes(ax)
    x = result.time if result.accumulated_dose is None else result.accumulated_dose
    found = result.found
    for number, name in enumerate(found.names):
        label = "additive" if name == "field" else f"additive, {name}"
        values, std = 100.0 * found.additive[number], 100.0 * found.additive_std[number]
        ax.errorbar(x, values, std, color=COLOURS[number % len(COLOURS)], marker="o", markersize=3, lw=1.0, label=label)
    ax.plot(x, 100.0 * (found.contrast - 1.0), color=QUIET, linewidth=1.0, linestyle="--", label="contrast")
    ax.set_xlabel("time (s)" if result.accumulated_dose is None else "accumulated dose (electrons per nm²)")
    ax.set_ylabel("change (% of the mean)")
    ax.legend(fontsize="small", edgecolor="none")
    return ax


def plot_kymograph(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the brightness along a line against time.

    Parameters
    ----------
    result : Kymograph
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes: time to the right, along the line downwards.
    """
    ax = _axes(ax)
    scale, unit = (result.pixel, "nm") if np.isfinite(result.pixel) else (1.0, "pixels")
    seen = result.brightness[np.isfinite(result.brightness)]
    low, high = np.percentile(seen, [1.0, 99.0]) if seen.size else (0.0, 1.0)
    # Frames may be taken at uneven times: each is as wide as the time to the next.
    time = result.time
    step = np.diff(time) if time.size > 1 else np.ones(1)
    edges = np.append(time, time[-1] + step[-1])
    along = (np.arange(len(result.points) + 1) - 0.5) * scale
    image = np.ma.masked_invalid(result.brightness.T)
    ax.pcolormesh(edges, along, image, cmap="gray", vmin=low, vmax=high, rasterized=True)
    ax.invert_yaxis()
    ax.set_xlabel("time (s)")
    ax.set_ylabel(f"along the line ({unit})")
    _add_potential(result, ax)
    return ax


def plot_frames(
    frames: Any, titles: Any, *, labels: Any = None, cracks: Any = (), pixel: float = np.nan, axes: Any = None
) -> Any:
    """Show frames with the outlines of grains, and with cracks.

    Parameters
    ----------
    frames
        Images in the place of the first frame, shape (N, Y, X).
    titles
        Of each.
    labels
        Grains from 1, shape (Y, X); None: no outlines.
    cracks
        For each frame, the paths of its cracks, rows and columns of shape (P, 2).
    pixel
        Size of a pixel in nm, for the scale bar; NaN where it is not known.
    axes
        N pairs of axes to draw on; new ones if None.

    Returns
    -------
    ndarray of Axes
        Shape (N,).
    """
    if axes is None:
        _, axes = plt.subplots(1, len(frames), figsize=(4.0 * len(frames), 4.2), layout="constrained", squeeze=False)
    axes = np.atleast_1d(axes).ravel()
    low, high = np.nanpercentile(frames, [1.0, 99.0])
    for number, (ax, frame, title) in enumerate(zip(axes, frames, titles, strict=True)):
        ax.imshow(frame, cmap="gray", vmin=low, vmax=high)
        if labels is not None:
            _outline(ax, labels, colour=COLOURS[0], linewidth=0.5)
        for path in cracks[number] if len(cracks) else ():
            ax.plot(path[:, 1], path[:, 0], color=COLOURS[1], linewidth=1.4)
        ax.set_title(title, fontsize="medium")
        ax.set_axis_off()
        _scale_bar(ax, frame, pixel)
    return axes


def _scale_bar(ax: Axes, image: np.ndarray, pixel: float) -> None:
    known = bool(np.isfinite(pixel))
    add_scale_bar(ax, width=image.shape[1], scale=pixel if known else 1.0, units="nm" if known else "")


def _outline(ax: Axes, labels: np.ndarray, *, colour: str, linewidth: float) -> None:
    """Lines between grains, between the pixels."""
    segments = []
    for axis in (0, 1):
        first, second = (labels[:-1], labels[1:]) if axis == 0 else (labels[:, :-1], labels[:, 1:])
        rows, columns = np.nonzero((first != second) & (first > 0) & (second > 0))
        if axis == 0:
            begin, end = (columns - 0.5, rows + 0.5), (columns + 0.5, rows + 0.5)
        else:
            begin, end = (columns + 0.5, rows - 0.5), (columns + 0.5, rows + 0.5)
        segments.append(np.stack([np.stack(begin, axis=1), np.stack(end, axis=1)], axis=1))
    ax.add_collection(LineCollection(np.concatenate(segments), colors=[colour], linewidths=linewidth))
