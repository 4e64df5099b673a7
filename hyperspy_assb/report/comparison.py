"""A comparison as files: tables, figure, result and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.key_numbers import KeyNumber, key_numbers
from hyperspy_assb.report.output import recorded_warnings, write_record, write_table
from hyperspy_assb.report.writing import add_parameters
from hyperspy_assb.signals.eels.signal import load_spectrum_image
from hyperspy_assb.signals.loading import as_far_as_memory, load_spectra

_COLUMNS = (
    "state",
    "band",
    "low (eV)",
    "high (eV)",
    "unit",
    "before",
    "after",
    "change",
    "std",
    "std systematic",
    "change (%)",
    "p",
    "p corrected",
    "Hedges g",
    "status",
)
ABOUT = (
    "The zero-loss peak and plural scattering are removed by Fourier-log deconvolution; bands are shares of t/λ, "
    "compared at one thickness. p values come from permutations of blocks of neighbouring pixels, corrected for "
    "the number of bands."
)


def read_states(
    files: Sequence[Path],
    limits: Sequence[tuple[int, int]] | None,
    *,
    reader: str | None = None,
    signal_type: str | None = None,
    dataset: str | None = None,
) -> tuple[list[Any], list[Any] | None, tuple[str, ...]]:
    """EELS signals of files, the region of each, and what was warned of when they were read.

    Parameters
    ----------
    files
        One for each state.
    limits
        Pixels that are compared, in every state; None: all.
    reader, signal_type, dataset
        Of every file, as for :func:`.loading.load_spectra`; without a signal type as :func:`.load_spectrum_image`.

    Raises
    ------
    AssbValueError
        If a file cannot be read, or the limits do not fit its navigation axes.
    """
    with recorded_warnings() as messages:
        reading = {"reader": reader, "dataset": dataset}
        if signal_type is None:
            signals = [as_far_as_memory(load_spectrum_image, file, **reading) for file in files]
        else:
            signals = [as_far_as_memory(load_spectra, file, signal_type=signal_type, **reading) for file in files]
    if limits is None:
        return signals, None, tuple(messages)
    regions = []
    for signal, file in zip(signals, files, strict=True):
        shape = signal.axes_manager._navigation_shape_in_array
        if len(shape) != len(limits) or any(not low < high <= n for (low, high), n in zip(limits, shape, strict=True)):
            raise AssbValueError(f"The region does not fit {Path(file).name}, whose pixels are {shape} (y before x).")
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(low, high) for low, high in limits)] = True
        regions.append(mask)
    return signals, regions, tuple(messages)


def compare_signals(signals: Sequence[Any], **arguments: Any) -> tuple[Any, tuple[str, ...]]:
    """Compare states; the result, and what the library warned of."""
    with recorded_warnings() as messages:
        result = signals[0].compare_low_loss(list(signals[1:]), **arguments)
    return result, tuple(messages)


def comparison_figure(result: Any, name: str = "comparison") -> Figure:
    """Spectra and difference with their confidence bands."""
    axes = result.plot()
    count = ", ".join(str(n) for n in result.states["pixels"])
    caption = (
        f"Mean single scattering of each state ({count} pixels) and the difference, with 95 % confidence bands. "
        "Shaded: named bands that changed. Bars: clusters of channels that changed."
    )
    return Figure.of(axes[0].figure, name, caption)


def comparison_tables(result: Any) -> list[Table]:
    """Bands, significant clusters, states and trend."""
    columns = [name for name in _COLUMNS if name != "state" or len(result.states) > 2]
    clusters = result.clusters[result.clusters["significant"].astype(bool)]
    errors = dict.fromkeys(("before", "after", "change"), ("std", "std systematic"))
    found = [Table(result.bands[columns], "Bands.", errors), Table(_upright(result.states), "States.")]
    if len(clusters):
        found.insert(1, Table(clusters.drop(columns="significant"), "Clusters of channels that changed."))
    if len(result.trend):
        found.append(Table(result.trend, "Slope over the potential."))
    return found


def comparison_numbers(result: Any) -> Iterator[KeyNumber]:
    """Every band before and after."""
    for _, band in result.bands.iterrows():
        name = str(band["band"])
        if np.isfinite(band["low (eV)"]):  # energy and width of the plasmon have no limits
            name += f", {band['low (eV)']:g} to {band['high (eV)']:g} eV"
        p = band["p corrected"]
        yield KeyNumber(
            name if len(result.states) == 2 else f"{band['state']}: {name}",
            band["after"],
            band["unit"],
            float(np.hypot(band["std"], np.nan_to_num(band["std systematic"]))),
            f"p = {p:.2g}" if np.isfinite(p) else "",
            band["before"],
        )


def build_comparison_report(result: Any, messages: Sequence[str], files: Sequence[str | PathLike[str]]) -> Report:
    """The page of a comparison."""
    record = provenance.record("compare", files=files, parameters=result.settings, methods=_methods())
    names = ", ".join(entry["name"] for entry in record["files"])
    report = Report("Comparison of low-loss spectra", subtitle=names)
    about = "Uncertainty of the change, systematic part included; p corrected for the number of bands."
    report.add(
        "Findings",
        points=result.summary().splitlines(),
        tables=key_numbers(comparison_numbers(result), about),
        kind="findings",
    )
    others = [message for message in messages if message not in result.notes]
    if others:
        report.add("Warnings", points=others, kind="warnings")
    report.add("Spectra and difference", text=ABOUT, figures=[comparison_figure(result)])
    report.add("Bands and states", tables=comparison_tables(result))
    add_parameters(report, {"settings": result.settings}, record)
    return report


def write_comparison(
    result: Any, folder: Path, messages: Sequence[str] = (), files: Sequence[str | PathLike[str]] = ()
) -> Report:
    """Write a comparison to an empty folder.

    There will be ``report.html``, ``bands.csv``, ``clusters.csv``, ``states.csv``, ``comparison.hspy``,
    ``provenance.json`` and ``figures/comparison.png``.
    """
    for name in ("bands", "clusters", "states"):
        write_table(folder / f"{name}.csv", getattr(result, name))
    result.save(folder / "comparison.hspy", overwrite=True)
    record = provenance.record("compare", files=files, parameters=result.settings, methods=_methods())
    write_record(folder, record, findings=result.summary().splitlines(), warnings=messages)
    report = build_comparison_report(result, messages, files)
    report.write(folder)
    return report


def _methods() -> list[str]:
    return ["fourier_log", "cluster_permutation", "max_statistic", "hyperspy", "numpy", "scipy", "numba"]


def _upright(states: pd.DataFrame) -> pd.DataFrame:
    """One column a state, with the digits that uncertainties leave."""
    table = Table(states)
    texts = pd.DataFrame([[text for text, _ in row] for row in table.rows], columns=table.columns)
    turned = texts.set_index("state").T
    return turned.rename_axis("quantity").reset_index().rename_axis(None, axis=1)
