"""Figures of an analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_assb.eels.delithiation.end_members import end_members
from hyperspy_assb.eels.delithiation.populations import FEWEST
from hyperspy_assb.plotting import (
    FitPlotOptions,
    MapOptions,
    plot_delithiation,
    plot_fit,
    plot_map,
    plot_populations,
    plot_status_map,
)
from hyperspy_assb.plotting.delithiation import plot_x
from hyperspy_assb.plotting.material_colours import colour_of
from hyperspy_assb.plotting.style import COLOURS
from hyperspy_assb.reference import shown_names
from hyperspy_assb.report.analysis import Analysis, Map
from hyperspy_assb.report.delithiation import FALSE_FINDS, FOUND_WORDS
from hyperspy_assb.report.html import Figure
from hyperspy_assb.report.spectra import FittedSpectrum
from hyperspy_assb.signals.eels.delithiation import Delithiation

WINDOWS = ((2.0, 12.0), (40.0, 80.0))
"""Energies in eV that are shown enlarged: the 5 eV band, and Fe M2,3 with Li K."""
LABELS = ("Reduced deviance", "t/λ", "p value", "Recorded electrons")
"""First words of the label of a map that its colour bar repeats."""
_BACKGROUND = ("zero loss", "valence", "plasmon")


def plot_spectrum(spectrum: FittedSpectrum) -> Any:
    """A fitted spectrum as a whole and enlarged, with its residuals in standard deviations."""
    fitted = np.isfinite(spectrum.model)
    start, end = spectrum.energy[fitted][[0, -1]]
    windows = [w for w in WINDOWS if w[0] < end - 5.0 and w[1] > start]
    figure = plt.figure(figsize=(5.0 + 4.0 * len(windows), 4.2), layout="constrained")
    # A component has its colour in every panel, and one legend below them, where no curve is.
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(spectrum.components)}
    grid = figure.add_gridspec(2, 1 + len(windows), height_ratios=(4, 1), width_ratios=(1.2, *[1] * len(windows)))
    for column, window in enumerate([(start, end), *windows]):
        top = figure.add_subplot(grid[0, column])
        axes = (top, figure.add_subplot(grid[1, column], sharex=top))
        whole = column == 0
        shown = (spectrum.energy >= window[0]) & (spectrum.energy <= window[1])
        plot_fit(
            spectrum.energy,
            spectrum.counts,
            spectrum.model,
            _visible(spectrum, shown, whole=whole),
            scale="log" if whole else "linear",
            energy_range=window,
            axes=axes,
            options=FitPlotOptions(
                std=spectrum.std,
                title="whole fitted range (logarithmic)" if whole else f"{window[0]:g} to {window[1]:g} eV",
                legend=False,
                colours=colours,
            ),
        )
        if not whole:
            for axis in axes:
                axis.set_ylabel("")
    entries = {text: line for ax in figure.axes for line, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    order = sorted(entries, key=["measured", "model", *spectrum.components].index)
    figure.legend([entries[text] for text in order], order, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _visible(spectrum: FittedSpectrum, shown: np.ndarray, *, whole: bool) -> dict[str, np.ndarray]:
    """Components worth a line: all over the whole range, and enlarged those that reach one per cent of the counts."""
    if whole:
        return {name: part for name, part in spectrum.components.items() if name in _BACKGROUND}
    limit = 0.01 * np.nanmax(np.abs(spectrum.model[shown]))
    return {name: part for name, part in spectrum.components.items() if np.nanmax(np.abs(part[shown])) > limit}


def spectrum_figures(spectra: Sequence[FittedSpectrum]) -> Iterator[Figure]:
    """A figure for each chosen spectrum."""
    for number, spectrum in enumerate(spectra, 1):
        where = ", ".join(map(str, spectrum.index))
        caption = (
            f"{spectrum.name[0].upper()}{spectrum.name[1:]}, pixel ({where}): "
            f"reduced deviance {spectrum.reduced_deviance:.2f}, t/λ {spectrum.t_over_lambda:z.2f}. "
            "Below: residuals in standard deviations σ of the detector; the band is ±1 σ."
        )
        yield Figure.of(plot_spectrum(spectrum), f"spectrum_{number}_{spectrum.name.replace(' ', '_')}", caption)


def plot_maps(maps: Sequence[Map], columns: int = 3) -> Any:
    """Several maps in one figure."""
    rows_of, columns_of = np.atleast_2d(maps[0].signal.data).shape[-2:]
    strip = max(rows_of, columns_of) >= 6 * min(rows_of, columns_of)
    columns = min(1 if strip else columns, len(maps))
    rows = -(-len(maps) // columns)
    height = 1.9 if strip else float(np.clip(4.6 * rows_of / columns_of, 1.6, 5.5))
    figure, axes = plt.subplots(
        rows, columns, figsize=(8.0 if strip else 4.6 * columns, height * rows), layout="constrained", squeeze=False
    )
    for ax, item in zip(axes.flat, maps, strict=False):
        draw_map(item, ax)
    for ax in axes.flat[len(maps) :]:
        ax.set_axis_off()
    return figure


def draw_map(item: Map, ax: Any) -> None:
    """One map on given axes, with the colours that suit what it shows."""
    signal = item.signal
    values = signal.data
    if values.ndim == 2 and values.shape[0] >= 6 * values.shape[1]:
        signal = signal.transpose(navigation_axes=(1, 0), signal_axes=0)
    if item.words is not None:
        # As the result itself draws where a material is found.
        found = {0: "white", 1: "#d9d9d9", 2: colour_of(item.label)} if item.words == FOUND_WORDS else None
        plot_status_map(signal, item.words, title=shown_names(item.label), ax=ax, colours=found)
        return
    colours: dict[str, Any] = {}
    if item.electrode is not None:
        plot_x(signal, item.electrode, title=shown_names(item.label), ax=ax)
        return
    if "error" in item.label or "uncertainty" in item.label:
        colours = {"cmap": "magma_r", "vmin": 0.0}
    elif item.label.startswith("p value"):
        colours = {"vmin": 0.0, "vmax": 1.0}
    label = next((word for word in LABELS if item.label.startswith(word)), "")
    plot_map(signal, label=label, title=shown_names(item.label), ax=ax, options=MapOptions(units=item.units), **colours)


def map_figures(analysis: Analysis) -> Iterator[Figure]:
    """Maps of the fit, by subject."""
    maps = analysis.maps
    if next(iter(maps.values())).signal.data.size == 1:
        return
    groups = {
        "fit": (
            ["t_over_lambda", "electrons", "zero_loss_centre", "zero_loss_fwhm", "reduced_deviance"],
            "Thickness over the inelastic mean free path, recorded electrons, position and width of the zero loss, and "
            "quality of the fit.",
        ),
        "status": (["fit_status"], "Status of the fit in each pixel."),
        "band": (
            ["band_area", "band_area_std", "band_significance"],
            "The 5 eV band of FePO4: its area as a share of the zero loss, its standard error, and their ratio.",
        ),
        "plasmon": (
            ["plasmon_energy", "plasmon_energy_std", "plasmon_fwhm"],
            "The plasmon: its energy, the standard error of that from counting, and its width.",
        ),
        "areal_densities": (
            [name for name in maps if name.startswith("areal_density") and not name.endswith("_std")],
            "Areal densities of the elements from their edges.",
        ),
        "areal_density_errors": (
            [name for name in maps if name.startswith("areal_density") and name.endswith("_std")],
            "Standard errors of the areal densities from counting.",
        ),
    }
    for name, (wanted, caption) in groups.items():
        present = [maps[key] for key in wanted if key in maps]
        if present:
            yield Figure.of(plot_maps(present), f"maps_{name}", caption)


def delithiation_figures(analysis: Analysis) -> Iterator[Figure]:
    """Figures of x: the combined estimate, the others beside it, how x is distributed, and what else is there."""
    result, maps = analysis.delithiation, analysis.maps
    if result is None or result.x.data.size == 1:
        return
    electrode = result.electrode
    caption = (
        f"x in {electrode.name} per pixel, not clipped, its standard uncertainty (counting and systematic), the "
        "status of every pixel, and how x is distributed."
    )
    yield Figure.of(plot_delithiation(result)[0, 0].get_figure(root=True), "delithiation", caption)
    populations = populations_figure(result)
    if populations is not None:
        yield populations
    names = [f"x_{method}" for method in result.methods if method != "combined"]
    if len(names) > 1:
        caption = "x by each of the estimates that are combined, and how well they agree (p value)."
        yield Figure.of(plot_maps([maps[name] for name in (*names, "agreement")], 2), "delithiation_estimates", caption)
    others = [f"amount_{phase}" for phase in result.amounts if phase not in end_members(electrode)]
    caption = (
        f"Where {electrode.delithiated} is found (at most {100 * FALSE_FINDS:g} % of them are false), how well the "
        "phases explain the spectra, and t/λ of the phases beside the electrode."
    )
    shown = [maps[name] for name in ("delithiated", "mixture_deviance", *others)]
    yield Figure.of(plot_maps(shown), "delithiation_phases", caption)


def populations_figure(result: Delithiation, name: str = "populations", what: str = "") -> Figure | None:
    """How x is distributed, with the phases or the solid solution that it was read as; None for too few pixels."""
    shown = result.with_method("combined")
    if shown.quantified.sum() < FEWEST:
        return None
    ax = plot_populations(shown.fit_populations(shown.quantified))
    caption = (
        f"Distribution of x{what} over the quantified pixels, and its interpretation; the curves are broadened by the "
        "errors of the pixels from counting."
    )
    return Figure.of(ax.get_figure(root=True), name, caption)
