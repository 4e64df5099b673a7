"""What is done in a step: a file is read, analysed, and its report written to an empty folder.

Everything else of the package is imported when a step begins: recipes are checked without it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperspy_assb.batching.options import READING
from hyperspy_assb.errors import AssbFileNotFoundError, AssbValueError
from hyperspy_assb.progress import progress_bar
from hyperspy_assb.report.output import Progress, figures_as, own_drawing, recorded_warnings

_FOR_X_RAYS = frozenset({"phases", "thickness", "k_factors", "absorption", "correct_energy"})
"""Options of a fit that only X-rays have: who gives one means X-rays, where the file does not say."""


@dataclass(frozen=True)
class Told:
    """What an analysis found, and what it warned of, in sentences."""

    findings: tuple[str, ...]
    warnings: tuple[str, ...]


def do_work(kind: str, files: Sequence[Path], options: Mapping[str, Any], folder: Path, progress: Progress) -> Told:
    """Analyse the files of a step, and write the result to an empty folder.

    Parameters
    ----------
    kind
        A key of :data:`.options.KINDS`.
    files
        What is analysed.
    options
        Of the kind, with paths where they name files.
    folder
        Where to.
    progress
        Called with stage, done and total.

    Raises
    ------
    FileNotFoundError
        If a file is missing, before anything is imported.
    Exception
        Whatever a reader or an analysis raises.
    """
    progress("read", 0, 0)
    for file in files:
        if not file.exists():
            raise AssbFileNotFoundError(f"There is no file {file}.")
    options = dict(options)
    with figures_as(options.pop("figures", "png")), own_drawing(), progress_bar(kind, report=progress):
        return _WORK[kind](list(files), options, folder, progress)


def _fit(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.report.fits import fit_edx, fit_low_loss

    reading = _reading(options)
    if _FOR_X_RAYS.intersection(options):
        reading["otherwise"] = "EDS"
    signal, messages = _read(files[0], **reading)
    steps = fit_edx if signal.metadata.Signal.signal_type == "EDS_TEM_ASSB" else fit_low_loss
    try:
        analysis = steps(signal, _plan(options), folder, progress, files=files, earlier_warnings=messages)
    except ValueError as error:
        if not messages:
            raise
        # What cannot be analysed may have been read as what it is not.
        raise AssbValueError(" ".join([str(error), *messages])) from error
    return Told(tuple(analysis.findings), tuple(analysis.warnings))


def _quantify(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.report.fits import fit_edx

    signal, messages = _read(files[0], edx=True, **_reading(options))
    analysis = fit_edx(signal, _plan(options), folder, progress, files=files, earlier_warnings=messages)
    return Told(tuple(analysis.findings), tuple(analysis.warnings))


def _interface(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.report.interfaces import analyse_interface, write_interface

    signal, messages = _read(files[0], edx=True, **_reading(options))
    progress("interface", 0, 0)
    analysis = analyse_interface(signal, options, files=files, earlier_warnings=messages)
    progress("write", 0, 0)
    write_interface(analysis, folder)
    return Told(analysis.findings, analysis.warnings)


def _compare(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.eels.comparison.options import ComparisonOptions
    from hyperspy_assb.report.comparison import compare_signals, read_states, write_comparison

    reading = _reading(options)
    box = options.pop("region", None)
    limits = None if box is None else [_limits(part) for part in box.split(",")]
    signals, regions, messages = read_states(files, limits, **reading)
    progress("compare", 0, 0)
    arguments = {key: options[key] for key in ("bias", "zero_loss") if key in options}
    chosen = {key: options[key] for key in ("normalisation", "permutations") if key in options}
    result, found = compare_signals(signals, region=regions, options=ComparisonOptions(**chosen), **arguments)
    progress("write", 0, 0)
    write_comparison(result, folder, (*messages, *found), files)
    said = tuple(message for message in (*messages, *found) if message not in result.notes)
    return Told(tuple(result.summary().splitlines()), said)


def _index(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.report.orientations import analyse_orientations, read_patterns, write_orientations

    reading = _reading(options)
    reading.pop("signal_type", None)  # patterns are whatever is two-dimensional
    stated = ("scale", "centre", "scan_rotation", "beam_energy", "precession_angle", "scan_shape")
    settings = {key: options[key] for key in stated if key in options}
    for name in ("centre", "scan_shape"):
        if name in settings:
            settings[name] = tuple(settings[name])
    signal, messages = read_patterns(files[0], settings=settings, **reading)
    chosen = {key: options[key] for key in ("calibrate", "refine") if key in options}
    analysis = analyse_orientations(
        signal, options["phases"], progress=progress, files=files, earlier_warnings=messages, **chosen
    )
    progress("write", 0, 0)
    write_orientations(analysis, folder)
    return Told(tuple(analysis.findings), tuple(analysis.warnings))


def _series(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.report.series import SeriesOptions, analyse_series

    options.pop("signal_type", None)  # a series is whatever has images against time
    beside: dict[str, Any] = {name: Path(options.pop(name)) for name in ("log", "control") if name in options}
    findings, messages = analyse_series(files[0], folder, SeriesOptions(**beside, **options), stage=progress)
    return Told(tuple(findings), tuple(messages))


def _lamella(files: list[Path], options: dict[str, Any], folder: Path, progress: Progress) -> Told:
    _import_quietly()
    from hyperspy_assb.lamella.lamella_recipe import run_lamella

    progress("register and compare", 0, 0)
    findings, messages = run_lamella(files[0], folder)
    return Told(tuple(findings), tuple(messages))


_WORK: Mapping[str, Callable[[list[Path], dict[str, Any], Path, Progress], Told]] = {
    "fit": _fit,
    "quantify": _quantify,
    "interface": _interface,
    "compare": _compare,
    "index": _index,
    "series": _series,
    "lamella": _lamella,
}


def _import_quietly() -> None:
    """Import what all analyses need: packages warn of one another meanwhile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("hyperspy_assb.signals.eels.signal")


def _reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options those that say how a file is read."""
    return {name: options.pop(name) for name in READING if name in options}


def _read(file: Path, *, edx: bool = False, **reading: Any) -> tuple[Any, tuple[str, ...]]:
    """Spectra of a file, and what was warned of when they were read."""
    from hyperspy_assb.signals.eds.signal import load_eds_spectrum_image
    from hyperspy_assb.signals.loading import as_far_as_memory, load_spectra

    with recorded_warnings() as messages:
        named = reading.get("signal_type") is not None
        load = load_eds_spectrum_image if edx and not named else load_spectra
        signal = as_far_as_memory(load, file, **reading)
    return signal, tuple(messages)


def _plan(options: dict[str, Any]) -> Any:
    from hyperspy_assb.report.recipe import Recipe

    tuples = {key: tuple(value) for key, value in options.items() if isinstance(value, list)}
    return Recipe(**{**options, **tuples})


def _limits(part: str) -> tuple[int, int]:
    low, high = part.split(":")
    return int(low), int(high)
