"""A series of images and its voltammogram, analysed into a folder: tables, figures, film, and what they say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.plotting.series import plot_frames
from hyperspy_assb.provenance import record
from hyperspy_assb.report.film import write_film
from hyperspy_assb.report.html import Figure, Report, Table
from hyperspy_assb.report.key_numbers import key_numbers
from hyperspy_assb.report.output import Progress, write_record, write_table
from hyperspy_assb.report.series_numbers import ABOUT, opening_first, series_numbers
from hyperspy_assb.signals.echem.signal import load_voltammogram
from hyperspy_assb.signals.series.of_series import OfSeries
from hyperspy_assb.signals.series.series_loading import load_series
from hyperspy_assb.signals.series.signal import ASSBSTEMSeries

_MOST_ROWS = 60
"""Of a table in the report; the file holds all."""


@dataclass(frozen=True)
class SeriesOptions:
    """What is said of a series besides its file.

    Parameters
    ----------
    log
        Of the potentiostat or biasing holder.
    offset
        Time of the log in s when the series begins, "stamps" or "steps"; see :meth:`.ASSBSTEMSeries.set_potential`.
    interval
        s between frames, where the file does not say.
    dose
        Electrons per nm² in each frame, where the file does not say.
    control
        A series of the same specimen under the beam alone.
    film
        Whether a film is written.
    reader, dataset
        As for :func:`.load_series`.
    """

    log: Path | None = None
    offset: str = "stamps"
    interval: float | None = None
    dose: float | None = None
    control: Path | None = None
    film: bool = False
    reader: str | None = None
    dataset: str | None = None

    @property
    def files(self) -> list[Path]:
        """Those that are read besides the series."""
        return [path for path in (self.log, self.control) if path is not None]


def analyse_series(file: Path, folder: Path, options: SeriesOptions, *, stage: Progress) -> tuple[list[str], list[str]]:
    """Analyse a series, and write everything into a folder.

    Returns
    -------
    findings, messages
        What was found, and warnings, in sentences.
    """
    results: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        stage("read", 0, 1)
        series = _load(file, options)
        if options.log is not None:
            results |= _voltammogram(series, options.log, options.offset)
        found, untold = _measure(series, stage)
        control = None
        if options.control is not None:
            stage("control", 0, 1)
            control, _ = _measure(_load(options.control, options), lambda name, done, total: None)
            found, more = _beside_control(found, control)
            untold += more
        results |= found
    messages = list(dict.fromkeys(str(w.message) for w in caught if w.category in (UserWarning, AssbWarning)))
    stage("write", 0, 1)
    findings = list(dict.fromkeys([*opening_first(results), *untold]))
    if options.film:
        _, note = write_film(
            folder, series, results["drift"], grains=results.get("grains"), cracks=results.get("cracks")
        )
        findings += [note] if note else []
    report = Report("Series of images", subtitle=file.name)
    numbers = key_numbers(series_numbers(results), ABOUT)
    report.add("Findings", points=findings, tables=numbers, kind="findings")
    if messages:
        report.add("Warnings", points=messages, kind="warnings")
    report.add("Frames", figures=[_frames(series, results)])
    for name, result in results.items():
        result.save(folder / f"{name}.hspy", overwrite=True)
        table = result.to_dataframe()
        write_table(folder / f"{name}.csv", table)
        figure = Figure.of(result.plot().figure, name, name.capitalize())
        tables = [] if name == "kymograph" else [Table(table.head(_MOST_ROWS))]
        report.add(name.capitalize(), figures=[figure], tables=tables)
    entry = record("series", files=[file, *options.files], parameters={"offset": options.offset})
    dose = results["drift"].provenance["dose"]
    write_record(folder, {**entry, "dose": dose}, findings=findings, warnings=messages)
    report.write(folder)
    stage("write", 1, 1)
    return findings, messages


def _load(file: Path, options: SeriesOptions) -> ASSBSTEMSeries:
    series = load_series(file, times=options.interval, reader=options.reader, dataset=options.dataset)
    if options.dose is not None:
        series.set_dose(options.dose)
    return series


def _measure(series: ASSBSTEMSeries, stage: Progress) -> tuple[dict[str, Any], list[str]]:
    """Results by name, and what could not be told: a series without grains may have cracks, and the other way round."""
    stage("drift", 0, 1)
    found: dict[str, Any] = {"drift": series.correct_drift()}
    drift = found["drift"]
    untold: list[str] = []
    steps: dict[str, Callable[[], Any]] = {
        "grains": lambda: series.segment_grains(drift),
        "tracks": lambda: found["grains"].track(),
        "cracks": lambda: series.find_cracks(drift, grains=found.get("grains")),
        "beam": lambda: series.beam_effects(drift, grains=found.get("grains")),
        "kymograph": lambda: series.kymograph(_line(series, found.get("cracks")), drift),
    }
    for name, step in steps.items():
        if name == "tracks" and "grains" not in found:
            continue
        stage(name, 0, 1)
        try:
            found[name] = step()
        except AssbValueError as error:
            untold.append(str(error))
    return found, untold


def _beside_control(found: dict[str, Any], control: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Results whose notes say what the beam alone does, and what could not be compared."""
    compared, untold = dict(found), []
    for name in ("grains", "tracks", "cracks", "beam"):
        one, other = found.get(name), control.get(name)
        if isinstance(one, OfSeries) and isinstance(other, OfSeries):
            try:
                compared[name] = one.with_control(other)
            except AssbValueError as error:
                untold.append(str(error))
    return compared, list(dict.fromkeys(untold))


def _line(series: ASSBSTEMSeries, cracks: Any) -> Any:
    """Across the middle of the longest crack, so that its opening is seen; else through the middle of the field."""
    rows, columns = series.axes_manager._signal_shape_in_array
    if cracks is None or not cracks.cracks:
        return [(rows / 2.0, 0.1 * columns), (rows / 2.0, 0.9 * columns)]
    path = cracks.cracks[0].path
    middle = len(path) // 2
    along = path[min(middle + 5, len(path) - 1)] - path[max(middle - 5, 0)]
    normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    half = 0.12 * min(rows, columns)
    return [path[middle] - half * normal, path[middle] + half * normal]


def _frames(series: ASSBSTEMSeries, results: dict[str, Any]) -> Figure:
    """The first and the last frame with a position, with outlines of grains and cracks."""
    drift, grains, cracks = results["drift"], results.get("grains"), results.get("cracks")
    placed = np.flatnonzero(np.isfinite(drift.found.shift[:, 0]))
    numbers = [int(placed[0]), int(placed[-1])]
    moved = drift.apply(series)
    shown = [np.asarray(moved.data[k], dtype=float) for k in numbers]
    paths = [[] if cracks is None else [c.path for c in cracks.cracks if c.onset <= k] for k in numbers]
    labels = None if grains is None else grains.grains.labels
    titles = [f"{series.time[k]:.4g} s" for k in numbers]
    axes = plot_frames(shown, titles, labels=labels, cracks=paths, pixel=drift.pixel)
    return Figure.of(axes[0].figure, "frames", "First and last frame in the place of the first, with grains and cracks")


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
