"""Figures of a delithiation result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D

from hyperspy_assb.eels.delithiation.end_members import METHODS
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.maps import outline, plot_map, plot_status_map
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.plotting.style import COLOURS, with_error
from hyperspy_assb.reference import Electrode

STATUS_NAMES = {
    DelithiationStatus.QUANTIFIED: "quantified",
    DelithiationStatus.THICK: "t/λ above 1",
    DelithiationStatus.UNEXPLAINED: "not a mixture of the references",
    DelithiationStatus.NO_ELECTRODE: "no electrode material",
    DelithiationStatus.NOT_FITTED: "not fitted",
    DelithiationStatus.DISAGREES: "estimates disagree",
    DelithiationStatus.UNCERTAIN: "too uncertain",
    DelithiationStatus.OUTSIDE: "unlike the references",
    DelithiationStatus.NOT_COUNTS: "no counts: errors unknown",
}
SHOWN = (-0.2, 1.2)
"""Lithiated fractions at the ends of the colour bar."""
REGION_COLOURS = ("black", COLOURS[2], COLOURS[7], COLOURS[3], COLOURS[6])
"""Of outlines, apart from the colours of x and of its change."""
_PALE, _DARKER = "#f7f4ea", 0.6
"""Of the middle between the end members, and how much of its brightness a colour keeps beyond them."""


def fraction_colours(electrode: Electrode) -> LinearSegmentedColormap:
    """Colour map of the lithiated fraction from -0.2 to 1.2: at 0 and 1 the colours of the end members.

    Parameters
    ----------
    electrode
        The electrode.

    Returns
    -------
    LinearSegmentedColormap
        Pale in the middle, and darker beyond the end members.

    Examples
    --------
    >>> from matplotlib.colors import to_hex
    >>> from hyperspy_assb.reference import electrode
    >>> colours = fraction_colours(electrode("LixFePO4"))
    >>> to_hex(colours((1.0 - -0.2) / 1.4)), colour_of("LiFePO4")
    ('#d6...', '#d62728')
    """
    low, high = (to_rgb(colour_of(name)) for name in (electrode.delithiated, electrode.lithiated))
    places = (np.array([SHOWN[0], 0.0, 0.5, 1.0, SHOWN[1]]) - SHOWN[0]) / (SHOWN[1] - SHOWN[0])
    darker = [tuple(_DARKER * part for part in colour) for colour in (low, high)]
    colours = [darker[0], low, to_rgb(_PALE), high, darker[1]]
    return LinearSegmentedColormap.from_list(electrode.name, list(zip(places, colours, strict=True)), N=512)


def x_label(electrode: Electrode) -> str:
    """What x is, for the axes of figures.

    Examples
    --------
    >>> from hyperspy_assb.reference import electrode
    >>> x_label(electrode("LixCoO2"))
    'x in Li$_x$CoO$_{2}$'
    """
    return f"x in {formula_text(electrode.name)}"


def method_text(result: Any) -> str:
    """What x of a result is from, in words: of "combined", what it combines."""
    signatures = {"valence": "5 eV band", "lithium": "Li K"}
    own = [text for name, text in signatures.items() if name in result.methods]
    if edges := [name for name in result.methods if name not in METHODS]:
        return f"fine structure of {' and '.join(edges) if result.method == 'combined' else result.method}"
    if result.method in signatures:
        return f"{signatures[result.method]} per formula unit"
    if result.method == "references" or not own:
        return "mixture of reference spectra"
    return f"{', '.join(['reference spectra', *own[:-1]])} and {own[-1]} combined"


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

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
    >>> from hyperspy_assb.simulation.battery import spectra_to_signal
    >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
    >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
    >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
    >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
    >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
    >>> [ax.get_title(loc="left") for ax in plot_delithiation(d)[0]]
    ['Li content: x in Li$_x$FePO$_{4}$', 'Uncertainty: standard uncertainty of x']
    """
    figure = plt.figure(figsize=(10.0, 8.6), layout="constrained")
    by = "" if result.calibration == "references" else f" ({result.calibration})"
    figure.suptitle(f"{formula_text(result.electrode.name)}: {method_text(result)}{by}")
    # Rows of their own: the legend of the status must not push the maps above it apart, nor make its map smaller.
    axes = np.stack([row.subplots(1, 2) for row in figure.subfigures(2, 1, height_ratios=(1.0, 1.32))])
    plot_x(result.x, result.electrode, title=f"{result.electrode.ion} content", ax=axes[0, 0])
    error = result.x._deepcopy_with_new_data(np.hypot(result.x_std.data, result.x_systematic.data))
    plot_map(error, label="standard uncertainty of x", title="Uncertainty", ax=axes[0, 1], cmap="magma_r", vmin=0.0)
    plot_status_map(result.status, STATUS_NAMES, title="Status", ax=axes[1, 0])
    plot_distribution(result, ax=axes[1, 1])
    axes[1, 1].set_box_aspect(0.75)
    for ax in axes[1]:
        ax.set_anchor("N")
    return axes


def plot_delithiation_change(
    before: Any, after: Any, *, region: Mapping[str, Any] | None = None, labels: tuple[str, str] = ("before", "after")
) -> np.ndarray:
    """Plot x in two states, and its difference, with regions marked.

    Parameters
    ----------
    before, after : Delithiation
        What was quantified in the same pixels of both states.
    region
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
        If the states are of two electrodes, or they or a region have another shape.

    Notes
    -----
    The mean x of a region is weighted by formula units, and its error holds counting and calibration; see
    :func:`~hyperspy_assb.eels.delithiation.region_statistics.region_statistics`.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
    >>> from hyperspy_assb.simulation.battery import spectra_to_signal
    >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
    >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
    >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
    >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
    >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
    >>> axes = plot_delithiation_change(d, d, region={"FePO4": pure["FePO4"]})
    >>> axes[2].get_title(loc="left")
    'x after - x before: change of x'
    """
    shape, electrode = before.x.data.shape, before.electrode
    if after.electrode.name != electrode.name:
        raise AssbValueError(f"The states are of {electrode.name} and {after.electrode.name}: x is not of one kind.")
    if after.x.data.shape != shape:
        raise AssbValueError(
            f"The states have the shapes {shape} and {after.x.data.shape}: maps of the same pixels are needed."
        )
    masks = {name: np.asarray(getattr(part, "data", part), dtype=bool) for name, part in (region or {}).items()}
    for name, mask in masks.items():
        if mask.shape != shape:
            raise AssbValueError(
                f"region[{name!r}] has the shape {mask.shape}, but the maps have {shape} (y before x)."
            )
    height = 4.4 + 0.22 * len(masks)
    figure, axes = plt.subplots(1, 3, figsize=(13.8, height), layout="constrained")
    for ax, result, label in zip(axes, (before, after), labels, strict=False):
        plot_x(result.x, electrode, title=f"x {label}", ax=ax)
    change = after.x._deepcopy_with_new_data(after.x.data - before.x.data)
    most = SHOWN[1] * electrode.ions_removed
    title = f"x {labels[1]} - x {labels[0]}"
    plot_map(change, label="change of x", title=title, ax=axes[2], cmap="PuOr", vmin=-most, vmax=most)
    lines = []
    for number, (name, mask) in enumerate(masks.items()):
        colour = REGION_COLOURS[number % len(REGION_COLOURS)]
        for ax in axes:
            outline(ax, mask, colour=colour)
        words = f"{formula_text(name)}: x = {_region_x(before, mask)} {labels[0]}, {_region_x(after, mask)} {labels[1]}"
        lines.append(Line2D([], [], color=colour, linewidth=2.0, label=words))
    if lines:
        figure.legend(handles=lines, loc="outside lower left", frameon=False, fontsize="small")
    return axes


def plot_x(x: Any, electrode: Electrode, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Plot a map of x in the colours of the end members.

    Parameters
    ----------
    x
        Ions per formula unit, shape (rows, columns) or (pixels,), or a HyperSpy signal of that shape.
    electrode
        The electrode.
    title, ax
        As for :func:`.plot_map`.

    Returns
    -------
    Axes
        The axes.
    """
    low, high = (electrode.x_of(end) for end in SHOWN)
    colours = fraction_colours(electrode)
    return plot_map(x, label=x_label(electrode), title=title, ax=ax, cmap=colours, vmin=low, vmax=high)


def plot_distribution(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot a histogram of x over the pixels that are quantified.

    Parameters
    ----------
    result : Delithiation
        What was quantified; what lies beyond the axis is counted at its ends.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes; how many of the pixels are quantified, and their median uncertainty, stand in the title.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
    >>> from hyperspy_assb.simulation.battery import spectra_to_signal
    >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
    >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
    >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
    >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
    >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
    >>> plot_distribution(d).get_title(loc="left")
    '18 of 18 pixels quantified, median uncertainty ...'
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 3.6), layout="constrained")
    electrode, quantified = result.electrode, result.quantified
    low, high = electrode.x_of(-0.5), electrode.x_of(1.5)
    values = np.clip(result.x.data[quantified], low, high)
    _, edges, bars = ax.hist(values, bins=np.linspace(low, high, 41), linewidth=0)
    colours = fraction_colours(electrode)
    middles = electrode.fraction_of((edges[:-1] + edges[1:]) / 2.0)
    for bar, middle in zip(bars, middles, strict=True):
        # The pale middle of the colours would not show on white.
        bar.set_facecolor(colours((middle - SHOWN[0]) / (SHOWN[1] - SHOWN[0])))
        bar.set_edgecolor("#8a8a8a")
        bar.set_linewidth(0.4)
    ax.set_xticks(np.linspace(low, high, 5))
    for end in (0.0, 1.0):
        ax.axvline(electrode.x_of(end), color="black", linewidth=0.8, linestyle=":")
    ax.set_xlabel(x_label(electrode))
    ax.set_ylabel("pixels")
    title = f"{int(quantified.sum())} of {quantified.size} pixels quantified"
    if quantified.any():
        error = np.hypot(result.x_std.data[quantified], result.x_systematic.data[quantified])
        title += f", median uncertainty {np.median(error):.3f}"
    ax.set_title(title, loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_delithiated_pixels(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot where the delithiated end member is found.

    Parameters
    ----------
    result : DelithiatedPixels
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    known = np.isfinite(result.p_value.data)
    classes = result.found._deepcopy_with_new_data(np.where(known, 1 + result.found.data, 0).astype(np.int8))
    name = formula_text(result.delithiated)
    return plot_status_map(
        classes,
        {0: "no x", 1: "not found", 2: f"{name} found"},
        title=f"{name}, {100 * result.fdr:g} % of the detections may be false",
        colours={0: "white", 1: "#d9d9d9", 2: colour_of(result.delithiated)},
        uncounted=(0,),
        ax=ax,
    )


def plot_reference_suggestion(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot which pixels are proposed for which material.

    Parameters
    ----------
    result : ReferenceSuggestion
        What was found.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
        The axes.
    """
    numbers = result.found.material.reshape(result.shape)
    classes = result.status._deepcopy_with_new_data((1 + numbers).astype(np.int8))
    colours = {0: "#d9d9d9"}
    for k, name in enumerate(result.names):
        colours[k + 1] = "white" if name == "vacuum" else colour_of(name)
    return plot_status_map(
        classes,
        {0: "none", **{k + 1: formula_text(name) for k, name in enumerate(result.names)}},
        title="Pixels proposed as references",
        colours=colours,
        ax=ax,
    )


def _region_x(result: Any, mask: np.ndarray) -> str:
    """x of a region with its error."""
    found, electrode = result.region_statistics(mask), result.electrode
    if not found.n_answered:
        return "no answer"
    error = electrode.ions_removed * float(np.hypot(found.fraction_std, found.fraction_systematic))
    return with_error(electrode.x_of(found.fraction), error)
