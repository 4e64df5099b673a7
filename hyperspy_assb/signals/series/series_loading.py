"""Series of STEM images from files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import ArrayLike

from hyperspy_assb.errors import AssbFileError, AssbValueError, AssbWarning
from hyperspy_assb.models.recorded_signal import recorded_number
from hyperspy_assb.signals.loading import as_type, load_signal
from hyperspy_assb.signals.series.series_reading import pixel_size, read_series, started
from hyperspy_assb.signals.series.signal import ASSBSTEMSeries
from hyperspy_assb.staging import path_of

_FILMS = {".mp4", ".avi", ".mov", ".wmv", ".mkv", ".gif", ".webm", ".mpg", ".mpeg", ".m4v", ".flv", ".ogv", ".apng"}
_MAGNIFICATION = "Acquisition_instrument.TEM.magnification"
_SAME_SIZE = 1e-3
"""Relative difference up to which pixels and magnifications are the same."""


def load_series(
    path: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    times: float | ArrayLike | None = None,
    lazy: bool = False,
    reader: str | None = None,
    dataset: str | int | None = None,
) -> ASSBSTEMSeries:
    """Load a series of STEM images: ``.dm4``, ``.emd``, ``.ser``, TIFF stacks, ``.hspy``, or one file for each frame.

    TIA keeps the second in which each frame of a ``.ser`` was stored: these are its times.

    Parameters
    ----------
    path
        One file with all frames, or files of single frames in their order.
    times
        Interval in s between frames, or beginning of each, where the file does not say.
    lazy, reader, dataset
        As for :func:`~hyperspy_assb.load_spectrum_image`.

    Returns
    -------
    ASSBSTEMSeries
        Frames against time.

    Raises
    ------
    AssbFileError
        If a file is missing (then also a FileNotFoundError), damaged, a film, or holds no series; it names the file.
    AssbValueError
        If frames differ in shape or magnification, are in colour, or their times are not known.

    Warns
    -----
    AssbWarning
        If a file holds several stacks of images (the largest is taken), or times are known to a second only.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from hyperspy_assb.simulation.series import SeriesConditions, simulate_series
    >>> series, _ = simulate_series(SeriesConditions(frames=3, size=64), seed=1)
    >>> path = Path(tempfile.mkdtemp()) / "series.hspy"
    >>> series.save(path)
    >>> load_series(path).time.tolist()
    [0.0, 10.0, 20.0]
    """
    several = isinstance(path, Sequence) and not isinstance(path, str | bytes)
    paths = [path_of(p, "path") for p in (path if several else [path])]
    found = [_load_frames(p, lazy=lazy, reader=reader, dataset=dataset) for p in paths]
    if len(found) > 1:
        _check_alike(paths, found)
        signal = hs.stack(found) if all(s.axes_manager.navigation_dimension == 0 for s in found) else None
        if signal is None:
            raise AssbValueError("Several files must hold one frame each; load a file that holds several alone.")
        times = times if times is not None else _stamps(paths, found)
    else:
        signal = found[0]
        if signal.axes_manager.navigation_dimension != 1:
            raise AssbFileError(f"{paths[0]} holds {signal}, not frames against time: give the files of all frames.")
        times = times if times is not None else _tia_times(paths[0], signal)
    signal = as_type(signal, "STEM_SERIES_ASSB")
    if times is not None:
        signal.set_frame_times(times)
    read_series(signal)
    return signal


def _load_frames(path: Path, *, lazy: bool, reader: str | None, dataset: str | int | None) -> Any:
    if path.suffix.lower() in _FILMS and path.exists():
        raise AssbFileError(
            f"{path} is a film: its frames are compressed pictures, not counts, and errors cannot be derived from "
            "them. Load the original recording of the microscope."
        )

    def images(found: list[Any]) -> list[Any]:
        return [s for s in found if s.axes_manager.signal_dimension == 2]

    what = ("image", "stacks of images")
    return load_signal(path, {"lazy": lazy}, reader, choose=images, what=what, dataset=dataset)


def _check_alike(paths: list[Path], found: list[Any]) -> None:
    first = found[0]
    for path, signal in zip(paths, found, strict=True):
        if signal.data.shape != first.data.shape:
            raise AssbValueError(f"{path} has the shape {signal.data.shape}, but {paths[0]} has {first.data.shape}.")
        sizes = pixel_size(first), pixel_size(signal)
        if abs(sizes[0] - sizes[1]) > _SAME_SIZE * sizes[0]:
            raise AssbValueError(
                f"{path} has pixels of {sizes[1]:.4g} nm, but {paths[0]} of {sizes[0]:.4g} nm: the magnification "
                "changes. Load the frames of one magnification."
            )
        one, other = (recorded_number(s, _MAGNIFICATION) for s in (first, signal))
        if one and other and abs(other / one - 1.0) > _SAME_SIZE:
            raise AssbValueError(
                f"{path} has the magnification {other:g}, but {paths[0]} has {one:g}: the "
                "magnification changes. Load the frames of one magnification."
            )


def _stamps(paths: list[Path], found: list[Any]) -> np.ndarray | None:
    """Times of the frames in s after the first, from their time stamps; None if one has none."""
    stamps = [started(signal) for signal in found]
    if any(stamp is None for stamp in stamps):
        return None
    times = np.array([(stamp - stamps[0]).total_seconds() for stamp in stamps if stamp is not None])
    late = np.flatnonzero(np.diff(times) <= 0.0)
    if late.size:
        raise AssbValueError(
            f"{paths[late[0] + 1]} was not recorded after {paths[late[0]]}, as their time stamps say: bring the files "
            "into their order, or give times=."
        )
    return times


def _tia_times(path: Path, signal: Any) -> np.ndarray | None:
    """Times of frames in s from the seconds in which TIA stored them; None of other files."""
    told = signal.original_metadata.get_item("ser_header_parameters.Time", None)
    axis = signal.axes_manager.navigation_axes[0]
    if told is None or np.size(told) != axis.size or axis.size < 2 or np.asarray(told).dtype.kind not in "iuf":
        return None
    seconds = np.asarray(told, dtype=np.float64)
    seconds -= seconds[0]
    if np.any(np.diff(seconds) < 0.0):
        raise AssbValueError(f"{path}: the times at which its frames were stored run back. Give times=, in s.")
    if not seconds[-1] > 0.0:
        raise AssbValueError(
            f"{path}: all of its frames were stored in one second, and nothing else says when they were taken. Give "
            "the interval between them by times=, in s."
        )
    if np.all(np.diff(seconds) > 0.0):
        return seconds
    # Several frames in one second: they follow each other evenly, as far as the file can say.
    number = np.arange(seconds.size)
    interval = float(np.polyfit(number, seconds, 1)[0])
    warnings.warn(
        f"{path}: several frames were stored in one second; frames are taken to follow each other in {interval:.3g} s. "
        "Give times= if you know them.",
        AssbWarning,
        stacklevel=3,
    )
    return interval * number
