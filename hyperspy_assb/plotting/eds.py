"""Figures of EDX results: composition, phases, interfaces, changes."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.plotting.chemical_text import formula_text
from hyperspy_assb.plotting.maps import plot_map, plot_status_map
from hyperspy_assb.plotting.material_colours import class_colours
from hyperspy_assb.plotting.style import COLOURS

STATUS_NAMES = {
    PhaseStatus.GOOD: "explained",
    PhaseStatus.EMPTY: "no counts",
    PhaseStatus.NOT_FITTED: "not fitted",
    PhaseStatus.VACUUM: "no material",
    PhaseStatus.UNEXPLAINED: "not a mixture of the phases",
    PhaseStatus.RESIDUAL: "something else in the spectrum",
}


def _grid(count: int, *, columns: int = 3, size: tuple[float, float] = (3.5, 3.2)) -> list[Axes]:
    rows = -(-count // columns)
    columns = min(columns, count)
    _, axes = plt.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), layout="constrained", squeeze=False
    )
    flat = list(axes.ravel())
    for ax in flat[count:]:
        ax.set_axis_off()
    return flat[:count]


def plot_summed_spectrum(summed: Any, *, ax: Axes | None = None) -> Axes:
    """Plot a summed spectrum with the fit of its lines and continuum; names stand over lines that are there.

    Parameters
    ----------
    summed : SummedFit
        Of :meth:`hyperspy_assb.eds.lines.column_spectra.Builder.fit_sum`.
    ax
        Axes to draw on; new ones if None.
    """
    ax = plt.subplots(figsize=(9.0, 4.2), layout="constrained")[1] if ax is None else ax
    ax.step(summed.energy, summed.recorded, where="mid", color="0.35", lw=0.8, label="recorded, all pixels")
    ax.plot(summed.energy, summed.expected, color=COLOURS[0], lw=1.2, label="lines and continuum")
    top = float(summed.recorded.max())
    linear = max(1e-4 * top, 1.0)
    ax.set_yscale("symlog", linthresh=linear)
    # Powers below the linear part stand too near to 0.
    ax.set_yticks([0.0, *10.0 ** np.arange(np.ceil(np.log10(linear) + 0.2), np.log10(20.0 * top))])
    ax.set_ylim(0.0, 20.0 * top)
    shown = [
        (line, height)
        for line, height, std in zip(summed.lines, summed.counts, summed.std, strict=True)
        if height > 10.0 * std
    ]
    last = -np.inf
    for line, _ in sorted(shown, key=lambda pair: pair[0].energy):
        at = int(np.argmin(np.abs(summed.energy - line.energy)))
        # Names of neighbours stand one above the other.
        high = 1.3 if line.energy - last > 0.02 * float(np.ptp(summed.energy)) else 5.0
        last = line.energy if high < 5.0 else -np.inf
        ax.annotate(
            _line_text(line.full_name),
            (line.energy, summed.recorded[at]),
            (line.energy, max(float(summed.recorded[at]) * high, 2.0)),
            ha="center",
            va="bottom",
            rotation=90,
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6},
        )
    ax.set(xlabel="Energy (keV)", ylabel="Counts", xlim=(summed.energy[0], summed.energy[-1]))
    ax.legend(frameon=False, loc="upper right")
    return ax


def _line_text(name: str) -> str:
    """Name of an X-ray line as microscopists write it: "Ga_La" is Ga Lα."""
    element, _, line = name.partition("_")
    return f"{element} {line.translate({ord('a'): 'α', ord('b'): 'β'})}"


def plot_line_counts(result: Any) -> np.ndarray:
    """Plot the counts of every line as maps.

    Parameters
    ----------
    result : LineCounts
        What was fitted.

    Returns
    -------
    axes
        One for each line.
    """
    axes = _grid(len(result.lines), columns=4, size=(3.6, 3.1))
    for ax, line in zip(axes, result.lines, strict=True):
        plot_map(result.counts[line], label="counts", title=_line_text(line), ax=ax)
    return np.array(axes)


def plot_composition(result: Any) -> np.ndarray:
    """Plot the atomic per cent of every element as maps.

    Parameters
    ----------
    result : EDSComposition
        What was quantified.

    Returns
    -------
    axes
        One for each element.
    """
    axes = _grid(len(result.elements))
    for ax, element in zip(axes, result.elements, strict=True):
        plot_map(result.atomic_percent[element], label=f"{element} (at. %, without Li)", title=element, ax=ax)
    return np.array(axes)


def plot_phases(result: Any) -> np.ndarray:
    """Plot the volume fraction of every phase, the largest phase of each pixel, and the status.

    Parameters
    ----------
    result : EDSPhases
        What was quantified.

    Returns
    -------
    axes
        One for each phase, then of the phase map and of the status.
    """
    axes = _grid(len(result.phases) + 2)
    for ax, phase in zip(axes, result.phases, strict=False):
        title = "olivine (LiFePO$_4$ and FePO$_4$)" if phase == "olivine" else formula_text(phase)
        plot_map(result.volume_fraction[phase], label="volume fraction", title=title, ax=ax, vmin=0.0, vmax=1.0)
    names = {-1: "none", **dict(enumerate(map(formula_text, result.phases)))}
    materials = dict(result.found.options.phases)
    colours = class_colours(materials.get(phase, phase) for phase in result.phases)
    del colours[-1]  # pale, as in the other maps
    plot_status_map(result.phase_map, names, title="Largest phase", colours=colours, ax=axes[-2])
    plot_status_map(result.status, STATUS_NAMES, title="Status", ax=axes[-1])
    return np.array(axes)


def plot_unmixing(result: Any) -> np.ndarray:
    """Plot the composition of every component with its error, its share in every pixel, and the status.

    Parameters
    ----------
    result : EDSUnmixing
        What was unmixed.

    Returns
    -------
    axes
        Of the compositions, then one for each component, then of the status.
    """
    found, names = result.found, list(map(formula_text, result.components))
    axes = _grid(len(names) + 2)
    place, width = np.arange(len(found.elements)), 0.8 / len(names)
    for k, name in enumerate(names):
        error = 100.0 * np.hypot(found.shares_std[k], found.shares_systematic[k])
        at = place + (k - 0.5 * (len(names) - 1)) * width
        axes[0].bar(at, 100.0 * found.shares[k], width, yerr=error, color=COLOURS[k % len(COLOURS)], label=name)
    axes[0].set_xticks(place, found.elements)
    axes[0].set(ylabel="at. % (without Li)", title="Composition", ylim=(0.0, None))
    axes[0].legend(frameon=False)
    for ax, component, name in zip(axes[1:], result.components, names, strict=False):
        plot_map(result.share[component], label="share of the atoms", title=name, ax=ax, vmin=0.0, vmax=1.0)
    plot_status_map(result.status, STATUS_NAMES, title="Status", ax=axes[-1])
    return np.array(axes)


def plot_interface(result: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the profile of every element with a step, with error bars and the fit of all together.

    Parameters
    ----------
    result : InterfaceProfile
        What was fitted.
    ax
        Axes to draw on; new ones if None.
    """
    ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")[1] if ax is None else ax
    profile, found = result.found.profile, result.found
    fine = np.linspace(profile.distance[0], profile.distance[-1], 400)
    curves = found.curve(fine)
    shown = [el for el in profile.elements if el in found.beyond]
    for k, element in enumerate(shown):
        i = profile.elements.index(element)
        colour = COLOURS[k % len(COLOURS)]
        std = np.sqrt(profile.covariance[:, i, i])
        ax.errorbar(
            profile.distance, profile.amount[:, i], std, fmt="o", ms=3, lw=1, color=colour, label=element, capsize=0
        )
        ax.plot(fine, curves[:, i], color=colour)
    low, high = result.width_interval
    ax.axvline(result.position, color="0.4", lw=1, ls=":")
    ax.set(
        xlabel="Distance (nm)",
        ylabel="Atoms in the column (atoms/nm²)" if "atoms" in profile.unit else f"Amount ({profile.unit})",
    )
    ax.set_title(
        f"10-90 % width {result.width:.2f} nm ({low:.2f} to {high:.2f}), corrected for a probe of {found.probe:.3g} nm"
    )
    ax.legend(frameon=False)
    return ax


def plot_composition_change(result: Any) -> np.ndarray:
    """Plot the change of every element; titles count the blocks that changed by more than noise.

    Parameters
    ----------
    result : CompositionComparison
        What was compared.

    Returns
    -------
    axes
        One for each element.
    """
    axes = _grid(len(result.elements))
    for ax, element in zip(axes, result.elements, strict=True):
        values = result.difference[element].data
        limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        plot_map(
            result.difference[element],
            label="change (at. %)",
            title=_title(result, element),
            ax=ax,
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
        )
    return np.array(axes)


def _title(result: Any, element: str) -> str:
    changed = result.changed[element].data
    tested = int(np.isfinite(result.q_value[element].data).sum())
    return f"{element}: {int((changed > 0).sum())} up, {int((changed < 0).sum())} down of {tested}"
