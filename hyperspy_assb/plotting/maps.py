"""Maps: one value per pixel, with a scale bar, and a colour bar or a legend in units."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hyperspy_assb.plotting.style import COLOURS, MISSING, QUIET, as_map, quantity, robust_limits

_STRIP = 6
"""Maps this many times as wide as high are drawn as a strip with a position axis instead of a scale bar."""


@dataclass(frozen=True)
class MapOptions:
    """What the values and the pixels of a map are measured in.

    Parameters
    ----------
    units
        Unit of the values, for the colour bar.
    scale, scale_units
        Pixel size and its unit; without a unit the scale is in pixels.
    missing_label
        What the legend calls pixels without a value.

    Examples
    --------
    >>> options = MapOptions(units="eV", scale=5.0, scale_units="nm")
    >>> plot_map(np.eye(8), label="shift", options=options).figure.axes[0].child_axes[0].get_ylabel()
    'shift (eV)'
    """

    units: str = ""
    scale: float | None = None
    scale_units: str | None = None
    missing_label: str = "no value"


def plot_map(
    data: Any,
    *,
    label: str = "",
    title: str = "",
    ax: Axes | None = None,
    cmap: str | Colormap = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    options: MapOptions | None = None,
) -> Axes:
    """Plot one value per pixel.

    A line scan (one row or one column) becomes a strip over a position axis. Pixels without a finite value are grey
    and counted in a legend.

    Parameters
    ----------
    data
        Shape (rows, columns) or (pixels,), or a HyperSpy signal of that shape, which brings its own pixel size.
    label
        What the values are, for the colour bar.
    title
        Title of the axes.
    ax
        Axes to draw on; new ones if None.
    cmap
        A matplotlib colour map, or its name.
    vmin, vmax
        Colour limits; those left out span the values but for 1 % at either end, which the colour bar shows by arrows.
    options
        Units, pixel size, and what pixels without a value are called.

    Returns
    -------
    Axes
        The axes of the map.

    Examples
    --------
    >>> pixels = MapOptions(scale=5.0, scale_units="nm")
    >>> ax = plot_map(np.eye(8), label="x", title="x in LixFePO4", options=pixels)
    >>> ax.get_title(loc="left")
    'x in LixFePO4'
    """
    options = MapOptions() if options is None else options
    values, scale, scale_units = as_map(data, options.scale, options.scale_units)
    values = values.astype(float)
    low, high = robust_limits(values)
    vmin, vmax = low if vmin is None else vmin, high if vmax is None else vmax
    colours = plt.get_cmap(cmap).with_extremes(bad=MISSING)
    ax, image, strip = _draw(values, ax, scale, scale_units, cmap=colours, vmin=vmin, vmax=vmax)
    finite = values[np.isfinite(values)]
    below, above = bool((finite < vmin).any()), bool((finite > vmax).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = ax.figure.colorbar(
        image,
        # Part of the axes of the map, so that it stays beside the image whatever else the figure holds.
        cax=ax.inset_axes((1.02, 0.0, 0.015, 1.0) if strip else (1.03, 0.0, 0.05, 1.0)),
        orientation="vertical",
        extend=extend[below, above],
    )
    what = quantity(label, options.units)
    if strip:
        # There is no room for words beside a bar this low.
        title = quantity(title, options.units) if label in title else f"{title}: {what}" if title else what
    else:
        bar.set_label(what)
    bar.outline.set_visible(False)
    missing = values.size - finite.size
    if missing:
        _legend(ax, [(MISSING, f"{options.missing_label} ({missing} px)")], strip=strip)
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def plot_status_map(
    status: Any,
    labels: Mapping[int, str],
    *,
    title: str = "",
    scale: float | None = None,
    scale_units: str | None = None,
    ax: Axes | None = None,
    colours: Mapping[int, str] | None = None,
    uncounted: Collection[int] = (),
) -> Axes:
    """Plot one class per pixel, with the name and the share of each class in a legend.

    Parameters
    ----------
    status
        Integer classes, shape (rows, columns) or (pixels,), or a HyperSpy signal of that shape.
    labels
        Names of the classes. A class without a name is shown as its number; a name without pixels is left out.
    title
        Title of the axes.
    scale, scale_units
        As in ``MapOptions``.
    ax
        Axes to draw on; new ones if None.
    colours
        Colours of the classes; those left out are taken from a palette, the lowest class being pale.
    uncounted
        Classes that do not count in the shares, such as pixels without an answer: the legend gives
        the number of their pixels.

    Returns
    -------
    Axes
        The axes of the map.

    Examples
    --------
    >>> ax = plot_status_map(np.tri(4, dtype=int), {0: "carbon", 1: "LAGP"})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['carbon: 37.5 %', 'LAGP: 62.5 %']
    """
    values, scale, scale_units = as_map(status, scale, scale_units)
    values = values.astype(int)
    classes, counts = np.unique(values, return_counts=True)
    names = {int(key): str(name) for key, name in labels.items()}
    palette = dict(zip(sorted(set(names) | set(classes.tolist())), ("#dfe8ee", *COLOURS[1:], *COLOURS), strict=False))
    palette |= dict(colours or {})
    shown = [palette[int(key)] for key in classes]
    ax, _, strip = _draw(
        np.searchsorted(classes, values),
        ax,
        scale,
        scale_units,
        cmap=ListedColormap(shown),
        norm=BoundaryNorm(np.arange(classes.size + 1) - 0.5, max(classes.size, 1)),
    )
    whole = max(int(counts[~np.isin(classes, list(uncounted))].sum()), 1)
    entries = [
        (
            colour,
            f"{names.get(int(key), int(key))}: {f'{count} px' if key in uncounted else _percent(count / whole)}",
        )
        for colour, key, count in zip(shown, classes, counts, strict=True)
    ]
    handles = [Patch(facecolor=colour, edgecolor=QUIET, linewidth=0.5, label=name) for colour, name in entries]
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.55 if strip else -0.08),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        handlelength=1.2,
        handleheight=1.0,
    )
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def outline(ax: Axes, region: Any, *, colour: str = "black", linewidth: float = 1.6) -> LineCollection:
    """Draw a line around the pixels of a region, along their edges.

    Parameters
    ----------
    ax
        Axes of a map with as many rows and columns; not of a strip.
    region
        Boolean, shape (rows, columns), True inside.
    colour, linewidth
        Of the line.

    Returns
    -------
    LineCollection
        One line for each edge between a pixel inside and one outside.

    Examples
    --------
    >>> inside = np.zeros((4, 4), dtype=bool)
    >>> inside[1, 1] = True
    >>> len(outline(plot_map(np.eye(4)), inside).get_segments())
    4
    """
    inside = np.pad(np.atleast_2d(np.asarray(region, dtype=bool)), 1)
    rows, columns = np.nonzero(inside[:, 1:] != inside[:, :-1])
    upright = [((x - 0.5, y - 1.5), (x - 0.5, y - 0.5)) for y, x in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(inside[1:] != inside[:-1])
    level = [((x - 1.5, y - 0.5), (x - 0.5, y - 0.5)) for y, x in zip(rows, columns, strict=True)]
    lines = LineCollection([*upright, *level], colors=colour, linewidths=linewidth, capstyle="projecting")
    ax.add_collection(lines, autolim=False)
    return lines


def add_scale_bar(ax: Axes, *, width: int, scale: float = 1.0, units: str = "") -> Line2D:
    """Draw a scale bar of a round length under a map.

    Parameters
    ----------
    ax
        Axes of the map, whose x axis counts pixels.
    width
        Number of columns of the map.
    scale, units
        Pixel size and its unit; without a unit the length is given in pixels.

    Returns
    -------
    Line2D
        The bar.

    Examples
    --------
    >>> _, ax = plt.subplots()
    >>> bar = add_scale_bar(ax, width=64, scale=2.0, units="nm")
    >>> ax.texts[0].get_text()
    '20 nm'
    """
    if not units:
        scale, units = 1.0, "px"
    length = _round_length(width * scale / 4)
    if units == "px":
        length = max(1.0, round(length))
    transform = ax.get_xaxis_transform()
    left = -0.5
    (bar,) = ax.plot(
        [left, left + length / scale],
        [-0.045, -0.045],
        transform=transform,
        color="black",
        linewidth=3,
        solid_capstyle="butt",
        clip_on=False,
        scalex=False,
        scaley=False,
    )
    ax.annotate(
        f"{length:g} {units}",
        (left + length / scale, -0.045),
        xycoords=transform,
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        annotation_clip=False,
    )
    return bar


def _draw(
    values: np.ndarray, ax: Axes | None, scale: float, units: str, **options: Any
) -> tuple[Axes, AxesImage, bool]:
    """Draw the image of a map, as a strip if it is a line scan, and say which it was."""
    if values.shape[1] == 1 and values.shape[0] > 1:
        values = values.T
    rows, columns = values.shape
    strip = columns >= _STRIP * rows and columns > 1
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 1.8) if strip else (4.4, 3.8), layout="constrained")
    if strip:
        step = scale if units else 1.0
        extent = (-0.5 * step, (columns - 0.5) * step, rows - 0.5, -0.5)
        image = ax.imshow(values, aspect="auto", interpolation="nearest", extent=extent, **options)
        ax.set_box_aspect(0.12)
        ax.set_xlabel(quantity("position", units or "px"))
        ax.set_yticks([] if rows == 1 else range(rows))
    else:
        image = ax.imshow(values, aspect="equal", interpolation="nearest", **options)
        ax.set_xticks([])
        ax.set_yticks([])
        add_scale_bar(ax, width=columns, scale=scale, units=units)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax, image, strip


def _legend(ax: Axes, entries: list[tuple[str, str]], *, strip: bool) -> None:
    """Explain colours below a map, at the right, beside the scale bar."""
    handles = [Patch(facecolor=colour, edgecolor=QUIET, linewidth=0.5, label=name) for colour, name in entries]
    ax.legend(
        handles=handles,
        loc="lower right" if strip else "upper right",
        bbox_to_anchor=(1.0, 1.0) if strip else (1.0, -0.01),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        handlelength=1.2,
        handleheight=1.0,
    )


def _round_length(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a length."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"
