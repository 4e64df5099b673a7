"""A series of images and its voltammogram, analysed into a folder: tables, figures, film, and what they say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.provenance import record
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.output import write_record
from hyperspy_assb.signals.echem.signal import load_voltammogram
from hyperspy_assb.signals.series.signal import ASSBSTEMSeries, load_series


def analyse_series(
    file: Path,
    folder: Path,
    *,
    log: Path | None,
    offset: str,
    interval: float | None,
    film: bool,
    stage: Callable[[str, int, int], None],
    reader: str | None = None,
    dataset: str | None = None,
) -> tuple[list[str], list[str]]:
    """Analyse a series, and write everything into a folder; ``reader`` and ``dataset`` are of :func:`.load_series`.

    Returns
    -------
    findings, messages
        What was found, and warnings, in sentences.
    """
    results: dict[str, Any] = {}
    untold: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        stage("read", 0, 1)
        series = load_series(file, times=interval, reader=reader, dataset=dataset)
        if log is not None:
            results |= _voltammogram(series, log, offset)
        stage("drift", 0, 1)
        drift = results["drift"] = series.correct_drift()
        # A series without grains may have cracks, and the other way round: what cannot be told is said.
        for name in ("grains", "cracks"):
            stage(name, 0, 1)
            try:
                results[name] = (
                    series.segment_grains(drift)
                    if name == "grains"
                    else series.find_cracks(drift, grains=results.get("grains"))
                )
            except AssbValueError as error:
                untold.append(str(error))
    messages = list(dict.fromkeys(str(w.message) for w in caught if w.category in (UserWarning, AssbWarning)))
    stage("write", 0, 1)
    findings = list(dict.fromkeys([*(line for r in results.values() for line in r.summary().splitlines()), *untold]))
    report = Report("Series of images", subtitle=file.name)
    report.add("Findings", points=findings, kind="findings")
    if messages:
        report.add("Warnings", points=messages, kind="warnings")
    for name, result in results.items():
        result.save(folder / f"{name}.hspy", overwrite=True)
        table = result.to_dataframe()
        table.to_csv(folder / f"{name}.csv", index=False)
        figure = Figure.of(result.plot().figure, name, name.capitalize())
        report.add(name.capitalize(), figures=[figure], tables=[Table(table)])
    if film:
        _write_film(drift, folder / "film.png")
    entry = record("series", files=[file] if log is None else [file, log], parameters={"offset": offset})
    write_record(folder, {**entry, "dose": series.dose}, findings=findings, warnings=messages)
    report.write(folder)
    stage("write", 1, 1)
    return findings, messages


def _voltammogram(series: ASSBSTEMSeries, log: Path, offset: str) -> dict[str, Any]:
    cv = load_voltammogram(log)
    given: float | str = offset
    if offset not in ("stamps", "steps"):
        try:
            given = float(offset)
        except ValueError as error:
            raise AssbValueError(f"offset must be a number of s, stamps or steps, not {offset!r}.") from error
    series.set_potential(cv, offset=given)
    return {"resistance": cv.resistance(), "peaks": cv.find_peaks()}


def _write_film(drift: Any, path: Path) -> None:
    """Frames moved back, with time and potential, as an animated PNG."""
    try:
        from imageio import v3 as imageio
    except ModuleNotFoundError as error:
        raise AssbValueError('A film needs imageio: pip install "hyperspy-assb[series]".') from error
    moved = drift.series
    data = np.asarray(moved.data)
    low, high = np.nanpercentile(data, [1.0, 99.0])
    potential = moved.potential
    pictures = []
    figure, ax = plt.subplots(figsize=(4.0, 4.2), layout="constrained")
    image = ax.imshow(np.zeros(data.shape[1:]), cmap="gray", vmin=low, vmax=high)
    ax.set_axis_off()
    for number, frame in enumerate(data):
        image.set_data(frame)
        volts = "" if potential is None or not np.isfinite(potential[number]) else f", {potential[number]:.2f} V"
        ax.set_title(f"{moved.time[number]:.4g} s{volts}")
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    imageio.imwrite(path, np.stack(pictures), extension=".png", plugin="pillow", duration=200)
