"""Spectra of a region before and after delithiation, and their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb import reference
from hyperspy_assb.eels.delithiation.pure_edges import PureEdges
from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum, spectrum_difference
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.plotting.style import COLOURS, QUIET
from hyperspy_assb.reference import Electrode
from hyperspy_assb.reference.materials import materials


@dataclass(frozen=True)
class Mark:
    """A signature that is marked in the figure.

    Parameters
    ----------
    band
        Its name in the table of bands.
    signature
        Its name in the table of electrodes.
    text
        What it is called in the figure.
    zoom
        Energies of its inset in eV.
    colour, place
        Of the band, and of the inset in fractions of the axes.
    """

    band: str
    signature: str
    text: str
    zoom: tuple[float, float]
    colour: str
    place: tuple[float, float, float, float]


MARKS = (
    Mark("FePO4 valence", "FePO4 5 eV band", "FePO$_4$ band", (2.0, 10.0), "#fbe3c8", (0.14, 0.60, 0.35, 0.34)),
    Mark("Li K maximum", "Li K", "Li K", (50.0, 70.0), "#d8ead9", (0.63, 0.60, 0.35, 0.34)),
)


def plot_before_after(
    before: MeanSpectrum,
    after: MeanSpectrum,
    *,
    labels: tuple[str, str] = ("before", "after"),
    energy_range: tuple[float, float] = (0.0, 85.0),
    start: float = 2.0,
    title: str = "",
    electrode: Electrode | None = None,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Plot the mean spectra of a region in two states, and their difference below.

    The signatures of the electrode are marked, and enlarged in insets.

    Parameters
    ----------
    before, after
        Mean spectra per zero loss and t/lambda.
    labels
        Names of the two states.
    energy_range
        Energies to show, in eV.
    start
        Energy in eV below which the zero loss rules: neither the difference nor the heights of the axes follow it.
    title
        Title over the spectra.
    electrode
        Whose signatures are marked; None: the 5 eV band of FePO4 and Li K.
    axes
        Axes for the spectra and for the difference; new ones if None.

    Returns
    -------
    spectra, difference
        The two axes; the insets are children of the first.

    Raises
    ------
    ValueError
        If the spectra have no energies in common above ``start``.

    Examples
    --------
    >>> import numpy as np
    >>> energy = np.arange(0.0, 90.0, 0.5)
    >>> plasmon = 0.05 * np.exp(-(((energy - 24.0) / 8.0) ** 2))
    >>> band = 0.003 * np.exp(-(((energy - 5.0) / 1.0) ** 2))
    >>> before = MeanSpectrum(energy, plasmon, np.full(energy.shape, 1e-4), 100)
    >>> after = MeanSpectrum(energy, plasmon + band, np.full(energy.shape, 1e-4), 100)
    >>> spectra, difference = plot_before_after(before, after)
    >>> len(spectra.child_axes), difference.get_xlabel()
    (2, 'energy loss (eV)')
    """
    difference = spectrum_difference(after, before)
    shown = (difference.energy >= max(start, energy_range[0])) & (difference.energy <= energy_range[1])
    if not shown.any():
        raise AssbValueError(f"The spectra have no common energies between {start:g} and {energy_range[1]:g} eV.")
    if axes is None:
        _, axes = plt.subplots(2, 1, figsize=(7.2, 5.8), sharex=True, height_ratios=(2.2, 1), layout="constrained")
    top, bottom = axes
    states = [(before, labels[0], COLOURS[0]), (after, labels[1], COLOURS[1])]
    for spectrum, label, colour in states:
        _draw(top, spectrum, colour, label=label)
    highest = max(_extremes(spectrum, (start, energy_range[1]))[1] for spectrum, _, _ in states)
    marks = [mark for mark in MARKS if electrode is None or mark.signature in electrode.signatures]
    # The upper half is for the insets.
    top.set_ylim(0.0, (2.3 if marks else 1.15) * highest)
    top.set_xlim(*energy_range)
    top.set_ylabel("scattering per I$_0$ and t/λ (1/eV)")
    top.set_title(title, loc="left", fontsize="medium")
    top.legend(fontsize="small", frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.38))
    top.tick_params(labelbottom=False)
    for mark in marks:
        _add_inset(top, states, mark, marks)

    energy, values, std = (array[shown] for array in (difference.energy, difference.density, difference.std))
    bottom.axhline(0.0, color=QUIET, linewidth=0.8)
    bottom.fill_between(energy, values - 2 * std, values + 2 * std, color="#c9c9c9", linewidth=0, label="± 2 σ")
    bottom.plot(energy, values, color="black", linewidth=1.0, label=f"{labels[1]} - {labels[0]}")
    low, high = _extremes(difference, (start, energy_range[1]))
    margin = 0.15 * (high - low) or 1.0
    bottom.set_ylim(low - margin, high + margin)
    bottom.set_xlabel("energy loss (eV)")
    bottom.set_ylabel("difference (1/eV)")
    bottom.legend(fontsize="small", frameon=False, loc="upper center")
    for ax in axes:
        _mark(ax, marks)
        ax.spines[["top", "right"]].set_visible(False)
    for mark in marks:
        end = reference.band(mark.band).window[1]
        if energy_range[0] < end < energy_range[1]:
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            bottom.annotate(mark.text, (end, 0.97), xytext=(4, 0), va="top", fontsize="small", **place)
    top.figure.align_ylabels(axes)
    return top, bottom


def _draw(ax: Axes, spectrum: MeanSpectrum, colour: str, *, label: str | None = None) -> None:
    """A spectrum with its standard error."""
    low, high = spectrum.density - spectrum.std, spectrum.density + spectrum.std
    ax.fill_between(spectrum.energy, low, high, color=colour, alpha=0.3, linewidth=0)
    ax.plot(spectrum.energy, spectrum.density, color=colour, linewidth=1.3, label=label)


def _add_inset(
    ax: Axes,
    states: list[tuple[MeanSpectrum, str, str]],
    mark: Mark,
    marks: Sequence[Mark],
) -> None:
    """Enlarged part of the spectra; nothing where they do not reach."""
    ranges = [_extremes(spectrum, mark.zoom) for spectrum, _, _ in states]
    if not np.isfinite(ranges).all():
        return
    inset = ax.inset_axes(mark.place)
    for spectrum, _, colour in states:
        _draw(inset, spectrum, colour)
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    inset.set_xlim(*mark.zoom)
    inset.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    inset.tick_params(labelsize="x-small")
    inset.set_xlabel("energy loss (eV)", fontsize="x-small", labelpad=1.0)
    inset.set_ylabel("1/eV", fontsize="x-small", labelpad=4.0)
    inset.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2), useMathText=True)
    inset.yaxis.get_offset_text().set_size("x-small")
    _mark(inset, marks)


def _mark(ax: Axes, marks: Sequence[Mark]) -> None:
    """Windows of the bands behind the lines, where they are in sight."""
    low, high = ax.get_xlim()
    for mark in marks:
        window = reference.band(mark.band).window
        if window[1] > low and window[0] < high:
            ax.axvspan(*window, color=mark.colour, linewidth=0, zorder=0)
    ax.set_xlim(low, high)


def _extremes(spectrum: MeanSpectrum, limits: tuple[float, float]) -> tuple[float, float]:
    """Lowest and highest value between two energies; NaN where there is none."""
    inside = (spectrum.energy >= limits[0]) & (spectrum.energy <= limits[1])
    if not inside.any():
        return np.nan, np.nan
    return float(spectrum.density[inside].min()), float(spectrum.density[inside].max())


def plot_pure_edges(edges: Mapping[str, PureEdges]) -> NDArray[np.object_]:
    """Plot the edges of the phases, for as many formula units of each end member.

    Parameters
    ----------
    edges
        By the name of each range.

    Returns
    -------
    numpy.ndarray
        One of the matplotlib axes for each range.

    Examples
    --------
    >>> energy = np.arange(500.0, 510.0)
    >>> counts = np.array([np.maximum(energy - 503.0, 0.0), np.maximum(energy - 504.0, 0.0)])
    >>> edges = PureEdges(energy, ("LiFePO4", "FePO4"), counts, counts, np.ones(2), 0.05, 3.0)
    >>> plot_pure_edges({"O K": edges})[0].get_xlabel()
    'Energy loss (eV)'
    """
    figure, axes = plt.subplots(1, len(edges), figsize=(5.0 * len(edges), 3.8), squeeze=False, layout="constrained")
    figure.suptitle("Edges of the pure pixels above their background")
    for ax, (name, pure) in zip(axes[0], edges.items(), strict=True):
        units = np.append(pure.hosts, np.ones(len(pure.phases) - 2))
        for phase, counts, unit in zip(pure.phases, pure.counts, units, strict=True):
            known = phase in materials
            ax.plot(
                pure.energy,
                counts / unit,
                color=colour_of(phase) if known else None,
                label=formula_text(phase) if known else phase,
            )
        ax.axhline(0.0, color=QUIET, linewidth=0.8, zorder=0)
        ax.set_title(name, loc="left")
        ax.set_xlabel("Energy loss (eV)")
        ax.set_xlim(pure.energy[0], pure.energy[-1])
    axes[0, 0].set_ylabel("Counts per channel\n(end members: equal formula units)")
    axes[0, 0].legend()
    return np.asarray(axes[0])
