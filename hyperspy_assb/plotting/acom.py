"""Figures of orientation maps."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from hyperspy_assb.acom.crystals.crystal_phase import cell_axes
from hyperspy_assb.acom.crystals.frames import matrices
from hyperspy_assb.acom.crystals.kinematical import simulate_spots
from hyperspy_assb.acom.maps.grains import BoundaryKind, GrainOptions
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.colours import key_image, orientation_colours, symmetry_group
from hyperspy_assb.plotting.maps import add_scale_bar, plot_map, plot_status_map
from hyperspy_assb.plotting.material_colours import class_colours
from hyperspy_assb.plotting.style import COLOURS

BOUNDARY_COLOURS = {BoundaryKind.GRAIN: "black", BoundaryKind.PHASE: "#1a9641"}
"""Black between grains of one phase, green between phases."""


def plot_orientations(result: Any, *, options: GrainOptions | None = None) -> np.ndarray:
    """Plot what is known of every pixel, as in a page of results.

    Virtual bright field, index (correlation), reliability; orientation along x, y and z with the keys of their colours;
    phases with their area, boundaries (black: grains of one phase, green: phases), reliability of the phase.

    Parameters
    ----------
    result : OrientationMaps
        What was indexed.
    options
        What counts as a boundary.

    Returns
    -------
    axes
        The nine axes of the maps, shape (3, 3).
    """
    figure = plt.figure(figsize=(10.4, 13.6), layout="constrained")
    rows = figure.subfigures(4, 1, height_ratios=(1.0, 0.92, 0.5, 1.4))
    axes = np.empty((3, 3), dtype=object)
    for row, part in enumerate((rows[0], rows[1], rows[3])):
        axes[row] = part.subplots(1, 3)
    plot_map(result.virtual_bright_field, title="Virtual bright field", label="counts", cmap="gray", ax=axes[0, 0])
    plot_map(result.correlation, title="Index", label="correlation", cmap="gray", vmin=0.0, ax=axes[0, 1])
    plot_map(result.reliability, title="Reliability", label="100 (1 - Q2/Q1)", cmap="magma", vmin=0.0, ax=axes[0, 2])
    for ax, direction in zip(axes[1], "xyz", strict=True):
        plot_ipf_map(result, direction, ax=ax)
    plot_ipf_keys(result, figure=rows[2])
    plot_phases(result, ax=axes[2, 0])
    plot_boundaries(
        result.grain_boundaries(options=options), background=result.found.virtual_bright_field, ax=axes[2, 1]
    )
    plot_map(
        result.phase_reliability,
        title="Reliability of the phase",
        label="100 (1 - Q2/Q1)",
        cmap="magma",
        vmin=0.0,
        ax=axes[2, 2],
    )
    for ax in axes[2]:
        ax.set_anchor("N")
    return axes


def plot_phases(result: Any, *, title: str = "Phases", ax: Axes | None = None) -> Axes:
    """Plot phases and amorphous materials with their shares of the area.

    Parameters
    ----------
    result : OrientationMaps
        What was indexed.
    title, ax
        As for :func:`~hyperspy_assb.plotting.maps.plot_map`.

    Returns
    -------
    Axes
        The axes of the map.
    """
    names = result.classes.names
    return plot_status_map(
        result.class_map,
        {-1: "no answer", **dict(enumerate(map(formula_text, names)))},
        title=title,
        colours=class_colours(names),
        uncounted=(-1,),
        ax=ax,
    )


def plot_ipf_map(result: Any, direction: str, *, ax: Axes | None = None) -> Axes:
    """Plot the colours of the crystal direction along an axis of the specimen.

    Parameters
    ----------
    result : OrientationMaps
        What was indexed.
    direction
        "x", "y" or "z".
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes of the map.
    """
    colours = orientation_colours(result.found.phase, result.found.orientation, result.phases, direction)
    (_, step), units = result.pixel_size()
    return _image(colours, (step, units), title=f"Orientation along {direction}", ax=ax)


def plot_ipf_keys(result: Any, *, figure: Figure | SubFigure | None = None) -> list[Axes]:
    """Plot the colour key of every Laue group that is in the map, with the phases it belongs to.

    Parameters
    ----------
    result : OrientationMaps
        What was indexed.
    figure
        To draw in; a new one if None.

    Returns
    -------
    list of Axes
        One for each Laue group.
    """
    groups: dict[str, list[Any]] = {}
    for number, phase in enumerate(result.phases):
        if np.any(result.found.phase == number):
            groups.setdefault(symmetry_group(phase).laue.name, []).append(phase)
    columns = max(len(groups), 3)
    figure = plt.figure(figsize=(3.2 * columns, 2.4), layout="constrained") if figure is None else figure
    found = []
    for position, phases in enumerate(groups.values()):
        ax = figure.add_subplot(1, columns, position + 1)
        names = ", ".join(formula_text(phase.name) for phase in phases)
        found.append(plot_ipf_key(phases[0], title=f"{names} ({symmetry_group(phases[0]).name})", ax=ax))
    return found


def plot_ipf_key(phase: Any, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Plot the colour key of a phase: the fundamental sector in stereographic projection.

    Parameters
    ----------
    phase
        A :class:`~hyperspy_assb.acom.crystals.crystal_phase.CrystalPhase`, or a point group of orix.
    title
        Title of the axes.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes of the key.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(3.2, 2.6), layout="constrained")
    outline, corners, labels, shades, extent = key_image(phase)
    ax.imshow(shades, origin="lower", extent=extent, interpolation="bilinear")
    ax.plot(*outline.T, color="black", linewidth=1.0)
    middle = corners.mean(axis=0)
    for corner, label in zip(corners, labels, strict=True):
        away = (corner - middle) / max(float(np.linalg.norm(corner - middle)), 1e-9)
        ax.annotate(
            label,
            corner,
            xytext=tuple(5 * away),
            textcoords="offset points",
            ha="left" if away[0] > 0.3 else "right" if away[0] < -0.3 else "center",
            va="bottom" if away[1] > 0.3 else "top" if away[1] < -0.3 else "center",
            fontsize="small",
        )
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.margins(0.25)
    ax.set_title(title, fontsize="medium", pad=22)
    return ax


def plot_boundaries(result: Any, *, background: np.ndarray | None = None, ax: Axes | None = None) -> Axes:
    """Plot boundaries between grains of one phase in black, and between phases in green.

    Parameters
    ----------
    result : GrainMaps
        Grains and their boundaries.
    background
        An image that is shown, pale, below them, shape (ny, nx); without one, what is no grain is pale grey.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes of the map.
    """
    found, labels = result.boundaries, result.grains.labels
    if background is None:
        grey = np.where(labels > 0, 1.0, 0.9)
    else:
        image = np.asarray(background, dtype=float)
        low, high = np.nanpercentile(image, [1, 99]) if np.isfinite(image).any() else (0.0, 1.0)
        grey = 0.72 + 0.28 * np.clip((np.nan_to_num(image, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    pixel_size, units = result.pixel_size, result.units
    scale = pixel_size[1], units
    ax = _image(np.repeat(grey[..., None], 3, axis=2), scale, title="Grain boundaries", ax=ax)
    width = float(np.clip(160.0 / max(labels.shape), 0.5, 1.6))
    handles = []
    for kind, words in ((BoundaryKind.GRAIN, "of one phase"), (BoundaryKind.PHASE, "between phases")):
        draw_edges(ax, found.right == kind, found.below == kind, colour=BOUNDARY_COLOURS[kind], linewidth=width)
        length = f"{found.length(kind, pixel_size):.0f} {units}"
        handles.append(Line2D([], [], color=BOUNDARY_COLOURS[kind], linewidth=2.0, label=f"{words}: {length}"))
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.08),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
    )
    return ax


def draw_edges(
    ax: Axes, right: np.ndarray, below: np.ndarray, *, colour: str = "black", linewidth: float = 1.0
) -> LineCollection:
    """Draw edges between pixels of a map.

    Parameters
    ----------
    ax
        Axes of the map.
    right
        True where the edge between pixels (y, x) and (y, x + 1) is drawn, shape (ny, nx - 1).
    below
        The same between (y, x) and (y + 1, x), shape (ny - 1, nx).
    colour, linewidth
        Of the lines.

    Returns
    -------
    LineCollection
        One line for each edge.
    """
    upright = [((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)) for y, x in zip(*np.nonzero(right), strict=True)]
    level = [((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)) for y, x in zip(*np.nonzero(below), strict=True)]
    lines = LineCollection([*upright, *level], colors=colour, linewidths=linewidth, capstyle="projecting")
    ax.add_collection(lines, autolim=False)
    return lines


def plot_match(
    result: Any, patterns: Any, index: tuple[int, ...], *, max_spots: int = 80, ax: Axes | None = None
) -> Axes:
    """Plot a pattern with the spots of the orientation that was found in it.

    Parameters
    ----------
    result : OrientationMaps
        What was indexed.
    patterns : ACOMPatterns
        The patterns that were indexed.
    index
        Row and column of the pixel (y before x); the place in a line.
    max_spots
        Spots to draw, the brightest.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes of the pattern, in 1/Å.

    Raises
    ------
    IndexError
        If there is no such pixel.
    ValueError
        If the patterns are not those of the maps.
    """
    shape = patterns.axes_manager._navigation_shape_in_array
    if shape != tuple(axis["size"] for axis in result.axes):
        raise AssbValueError(
            f"The patterns have {shape} pixels, the maps {result.found.phase.shape}: not the same scan."
        )
    image = np.asarray(patterns.data[tuple(index)] if shape else patterns.data, dtype=float)
    place = (*(0,) * (2 - len(index)), *index)
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 5.4), layout="constrained")
    geometry = result.geometry
    rows, columns = image.shape
    scale, (column, row) = geometry.scale, geometry.centre
    extent = (
        (-0.5 - column) * scale,
        (columns - 0.5 - column) * scale,
        (rows - 0.5 - row) * scale,
        (-0.5 - row) * scale,
    )
    # The square root makes noise even, as in matching.
    shown = np.sqrt(np.clip(image - np.percentile(image, 1), 0, None))
    ax.imshow(shown, cmap="gray_r", extent=extent, vmax=max(np.percentile(shown, 99.7), 1e-9), interpolation="nearest")
    ax.set_xlabel("$k_x$ (1/Å)")
    ax.set_ylabel("$k_y$ (1/Å)")
    found = int(result.found.phase[place])
    if found < 0:
        status = PatternStatus(int(result.found.status[place])).name.lower().replace("_", " ")
        ax.set_title(f"{status}, crystalline score {result.found.crystalline_score[place]:.2f}", loc="left")
        return ax
    phase, orientation = result.phases[found], result.found.orientation[place]
    lattice = (1.0, 1.0, 1.0) if result.found.lattice_scale is None else result.found.lattice_scale[place]
    spots = simulate_spots(
        phase,
        orientation,
        diffraction=result.diffraction,
        lattice_scale=lattice if np.isfinite(lattice).all() else (1.0, 1.0, 1.0),
        max_spots=max_spots,
    )
    count = int(spots.count[0])
    cosine, sine = np.cos(geometry.scan_rotation), np.sin(geometry.scan_rotation)
    x, y, intensity = spots.x[0, :count], spots.y[0, :count], spots.intensity[0, :count]
    pixels = geometry.to_pixels(np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1))
    centre = _centre_of(result, place)
    pixels += np.asarray(centre) - geometry.centre
    size = np.sqrt(intensity / max(intensity.max(initial=0.0), 1e-12))
    for (c, r), radius in zip(pixels, size, strict=True):
        ax.add_patch(
            Circle(
                ((c - column) * scale, (r - row) * scale),
                radius=(0.012 + 0.03 * radius) * (extent[1] - extent[0]) / 2,
                fill=False,
                edgecolor=COLOURS[1],
                linewidth=0.9,
            )
        )
    ax.plot((centre[0] - column) * scale, (centre[1] - row) * scale, "+", color=COLOURS[0], markersize=9)
    ax.set_xlim(extent[0], extent[1])
    ax.set_ylim(extent[2], extent[3])
    ax.set_title(
        f"{formula_text(phase.name)} near {zone_axis(phase, orientation)}, "
        f"correlation {result.found.correlation[place]:.2f}\n"
        f"reliability {result.found.reliability[place]:.0f}, of the phase {result.found.phase_reliability[place]:.0f}",
        loc="left",
        fontsize="medium",
    )
    return ax


def zone_axis(phase: Any, orientation: np.ndarray, *, max_index: int = 5) -> str:
    """The lattice direction of small indices that is nearest to the beam, such as "[1 0 2]", with its angle.

    Parameters
    ----------
    phase
        A :class:`~hyperspy_assb.acom.crystals.crystal_phase.CrystalPhase`.
    orientation
        Specimen to crystal, shape (4,).
    max_index
        Largest index.
    """
    beam = matrices(orientation) @ [0.0, 0.0, 1.0]
    span = np.arange(-max_index, max_index + 1)
    indices = np.stack(np.meshgrid(span, span, span, indexing="ij"), axis=-1).reshape(-1, 3)
    indices = indices[(np.gcd.reduce(indices, axis=1) == 1)]
    directions = indices @ cell_axes(phase)
    angle = np.degrees(np.arccos(np.clip(directions @ beam / np.linalg.norm(directions, axis=1), -1.0, 1.0)))
    # Small indices are worth an angle: a direction of indices up to 5 is always within a few degrees.
    best = np.argmin(angle + 0.5 * np.abs(indices).sum(axis=1))
    u, v, w = indices[best]
    return f"[{u} {v} {w}] ({angle[best]:.1f}°)"


def _centre_of(result: Any, place: tuple[int, ...]) -> tuple[float, float]:
    """Column and row of the direct beam of a pattern: its own, where that is known."""
    centres = getattr(result.found, "centre", None)
    if centres is None or not np.isfinite(centres[place]).all():
        return result.geometry.centre
    return float(centres[place][0]), float(centres[place][1])


def _image(colours: np.ndarray, scale: tuple[float, str], *, title: str, ax: Axes | None) -> Axes:
    """An image in red, green and blue with the scale bar of the maps."""
    if ax is None:
        _, ax = plt.subplots(figsize=(4.4, 3.8), layout="constrained")
    ax.imshow(colours, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    step, units = scale
    add_scale_bar(ax, width=colours.shape[1], scale=step, units="" if units == "px" else units)
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


__all__ = [
    "draw_edges",
    "plot_boundaries",
    "plot_ipf_key",
    "plot_ipf_keys",
    "plot_ipf_map",
    "plot_match",
    "plot_orientations",
    "plot_phases",
    "zone_axis",
]
