"""Reading spectra and diffraction patterns from files, with errors that name the file."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np

from hyperspy_assb.eels.checks import reaches_zero_loss
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbWarning
from hyperspy_assb.file_locks import about_locks
from hyperspy_assb.models.recorded_signal import recorded_text
from hyperspy_assb.reference.energy_units import energy_unit
from hyperspy_assb.signals.energy_axes import energy_on_navigation, turn_energy_axis
from hyperspy_assb.signals.stored_pickles import refuse_pickles
from hyperspy_assb.staging import path_of

SIGNAL_TYPES = {
    "EELS": "EELS_ASSB",
    "EDS": "EDS_TEM_ASSB",
    "ACOM": "ACOM",
    "STEM_SERIES": "STEM_SERIES_ASSB",
}
"""What a user may call the signals of a file, and the type that they are given."""
_EELS = ("EELS_ASSB", "EELS", "TEM EELS")
_EDS = ("EDS_TEM_ASSB", "EDS_TEM")
_SEM = "EDS_SEM"
_LARGE_FILE = 2**16
"""Bytes of a file from which on it is first looked at without reading it: zeros are compressed a thousand times, and
maps of X-rays consist of them."""
_LARGE_DATA = 256 * 2**20
"""Bytes of data that stay on disk: a fit holds several copies of what is in memory, in 64 bits."""
_EXTRAS = {
    "sparse": "rosettasciio[eds-stream]",
    "h5py": "rosettasciio[hdf5]",
    "zarr": "rosettasciio[zspy]",
    "tifffile": "rosettasciio[tiff]",
    "imagecodecs": "imagecodecs",
    "mrcz": "rosettasciio[mrcz]",
    "pyUSID": "rosettasciio[usid]",
}
"""What installs the packages without which some readers fail: Velox keeps photons as a stream."""


def load_spectra(
    path: str | PathLike[str],
    *,
    lazy: bool = False,
    reader: str | None = None,
    signal_type: str | None = None,
    dataset: str | int | None = None,
    otherwise: str = "EELS",
) -> Any:
    """Load what spectra a file holds, EELS or X-rays; where both, EELS, with a warning.

    Parameters
    ----------
    path, lazy, reader, dataset
        As for :func:`load_largest`.
    signal_type
        A key of :data:`SIGNAL_TYPES` that is spectra: what they are, whatever the file says; None: what it says.
    otherwise
        What they are where neither says it.

    Raises
    ------
    AssbFileError
        As for :func:`load_signal`.

    Warns
    -----
    AssbWarning
        If the file does not say what its spectra are, and nor does the caller.
    """

    def choose(found: list[Any]) -> list[Any]:
        if signal_type is not None:
            return [s for s in found if s.axes_manager.signal_dimension == 1]
        eels, x_rays = eels_spectra(found), x_ray_spectra(found)
        if eels and x_rays:
            warnings.warn(
                f"{path} holds EELS and X-ray spectra: EELS was taken; load_eds_spectrum_image (--signal-type EDS) "
                "reads the other.",
                AssbWarning,
                stacklevel=4,
            )
        return eels or x_rays

    what = ("EELS or X-ray spectrum", "spectra")
    signal = load_signal(path, {"lazy": lazy}, reader, choose=choose, what=what, dataset=dataset)
    if signal_type is None and not signal.metadata.Signal.signal_type:
        signal_type = otherwise
        warnings.warn(
            f"{path} does not say whether its spectra are EELS or X-rays: they were read as "
            f"{'EELS' if otherwise == 'EELS' else 'X-rays'}. Set --signal-type EELS or EDS.",
            AssbWarning,
            stacklevel=2,
        )
    if signal_type is None:
        signal_type = "EDS" if x_ray_spectra([signal]) else "EELS"
    return as_type(signal, SIGNAL_TYPES[signal_type])


def as_far_as_memory(load: Callable[..., Any], path: str | PathLike[str], **reading: Any) -> Any:
    """What a file holds, in memory where it is small, and on disk where it is large and its format allows that.

    Parameters
    ----------
    load
        Loads a path, and takes ``lazy=``.
    path
        File, or folder of a ``.zspy``.
    **reading
        What ``load`` takes beside.
    """
    path = path_of(path, "path")
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    if sum(p.stat().st_size for p in files if p.exists()) < _LARGE_FILE:
        return load(path, **reading)
    try:
        signal = load(path, lazy=True, **reading)
    except AssbFileError as error:
        if isinstance(error.__cause__, NotImplementedError):  # a reader that knows no lazy data
            return load(path, **reading)
        raise
    if signal.data.nbytes < _LARGE_DATA:
        signal.compute(show_progressbar=False)
    return signal


def as_type(signal: Any, signal_type: str) -> Any:
    """The signal with its type set, where it is not yet that."""
    if signal.metadata.Signal.signal_type != signal_type:
        signal.set_signal_type(signal_type)
    return signal


def load_largest(
    path: str | PathLike[str],
    *,
    lazy: bool,
    reader: str | None,
    signal_type: str,
    wanted: Callable[[Any], bool],
    what: str,
    dataset: str | int | None = None,
) -> Any:
    """The largest signal of a file of some kind; errors as :func:`load_signal` has them.

    Parameters
    ----------
    path, lazy, reader, dataset
        As for :func:`load_signal`.
    signal_type
        What it is loaded as, whatever the file calls it.
    wanted
        Whether a signal is of the kind.
    what
        What the kind is called.
    """
    options = {"lazy": lazy, "signal_type": signal_type}
    return load_signal(
        path,
        options,
        reader,
        choose=lambda found: [s for s in found if wanted(s)],
        what=(what, f"{what}s"),
        dataset=dataset,
    )


def load_signal(
    path: str | PathLike[str],
    options: dict[str, Any],
    reader: str | None,
    *,
    choose: Callable[[list[Any]], list[Any]],
    what: tuple[str, str],
    dataset: str | int | None = None,
) -> Any:
    """One of the signals of a file that are chosen: the low loss before the core loss, and then the largest.

    Parameters
    ----------
    path
        File to read.
    options
        Of ``hs.load``.
    reader
        Name of the reader, where the ending of the file does not tell; None: by the ending.
    choose
        Takes from the signals of the file those that are wanted.
    what
        What is wanted, in the singular and in the plural, for messages.
    dataset
        Which signal of the file is meant: its title or a part of it that no other has, or its number, from 0 in the
        order of ``hs.load``.

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file.
    AssbFileError
        If the file cannot be read (truncated, damaged, of an unknown format, a reader's package is missing), or holds
        nothing that is wanted, or only empty or complex signals. The message names the file; the error is an OSError
        and a ValueError.

    Warns
    -----
    AssbWarning
        If several are chosen, naming all of them and the one that was taken.
    """
    path = path_of(path, "path")
    if not path.exists():
        raise AssbFileNotFoundError(f"There is no file {path}.")
    if path.is_file() and path.stat().st_size == 0:
        raise AssbFileError(f"{path} is an empty file.")
    refuse_pickles(path)
    if reader is not None:
        options = {**options, "file_format": reader}
    try:
        # Axes without a usable scale are named where they are needed; HyperSpy multiplies them here.
        with np.errstate(invalid="ignore", over="ignore"), warnings.catch_warnings():
            # Old files are as good as new ones.
            warnings.filterwarnings("ignore", "Loading old file version")
            loaded = hs.load(str(path), **options)
    # Readers fail on damaged files in every way there is: struct.error, KeyError, MemoryError, OSError ...
    except Exception as error:
        raise AssbFileError(_lacking_package(path, error) or _explain(path, reader, error)) from error
    signals = loaded if isinstance(loaded, list) else [loaded]
    named = signals if dataset is None else [_named(path, signals, dataset)]
    candidates = choose(named)
    if not candidates:
        raise AssbFileError(f"{path} holds no {what[0]}: {_describe(named)}.{_hint_at_energy(named)}")
    filled = [s for s in candidates if s.data.size > 0 and s.data.dtype != object]
    if not filled:
        raise AssbFileError(
            f"{path} was read as an empty signal: it has no data, or lacks the header that says where they begin "
            "(a .msa file without #-lines)."
        )
    counts = [s for s in filled if s.data.dtype.kind != "c"]
    if not counts:
        raise AssbFileError(
            f"{path} holds complex numbers, as of a Fourier transform or a wave, and no counts: save the recorded data."
        )
    signal = max(counts, key=lambda s: (_reaches_zero_loss(s), s.data.size))
    if len(counts) > 1:
        warnings.warn(
            f"{path} holds {len(counts)} {what[1]}: {_listed(signals, counts)}. "
            f"Number {_number(signals, signal)} was taken; dataset= (--dataset) with a title or number takes another.",
            AssbWarning,
            stacklevel=3,
        )
    return signal


def _named(path: Path, signals: list[Any], dataset: str | int) -> Any:
    """The signal of a file that is meant by its title, a part of it, or its number."""
    wanted = str(dataset).strip().casefold()
    titles = [recorded_text(s, "General.title").casefold() for s in signals]
    found = [k for k, title in enumerate(titles) if title == wanted and wanted]
    if not found and wanted.isdecimal():
        found = [int(wanted)] if int(wanted) < len(signals) else []
    elif not found:
        found = [k for k, title in enumerate(titles) if wanted and wanted in title]
    if len(found) == 1:
        return signals[found[0]]
    problem = "matches no title" if not found else f"fits {len(found)}"
    raise AssbFileError(
        f"dataset {dataset!r} {problem} of the signals of {path}: {_listed(signals, signals)}. Give a title or number."
    )


def _listed(signals: list[Any], some: list[Any]) -> str:
    return "; ".join(_numbered(signals, s) for s in some)


def _number(signals: list[Any], signal: Any) -> int:
    return next(k for k, s in enumerate(signals) if s is signal)


def _numbered(signals: list[Any], signal: Any) -> str:
    """Number, title, shape and energies of one of the signals of a file."""
    number = _number(signals, signal)
    title = recorded_text(signal, "General.title")
    shape = " x ".join(map(str, signal.data.shape))
    text = f"{number}: '{title}' ({shape})" if title else f"{number} ({shape})"
    axes = signal.axes_manager.signal_axes
    if len(axes) == 1 and axes[0].size and energy_unit(axes[0].units):
        text += f", {axes[0].low_value:.4g} to {axes[0].high_value:.4g} {energy_unit(axes[0].units)}"
    return text


def _reaches_zero_loss(signal: Any) -> bool:
    """Whether an EELS signal can hold the zero-loss peak, which the core loss of the same pixels has not."""
    axes = signal.axes_manager.signal_axes
    if signal.metadata.Signal.signal_type not in _EELS or len(axes) != 1 or not axes[0].size:
        return False
    return reaches_zero_loss([axes[0].low_value, axes[0].high_value])


def eels_spectra(signals: list[Any]) -> list[Any]:
    """Those of the signals that are EELS; else the only one-dimensional one."""
    eels = [s for s in _spectra(signals) if s.metadata.Signal.signal_type in _EELS]
    if eels:
        return eels
    spectra = _untyped(signals)
    return spectra if len(spectra) == 1 else []


def x_ray_spectra(signals: list[Any]) -> list[Any]:
    """Those of the signals that are X-ray spectra of a (S)TEM, or else of an SEM."""
    spectra = _spectra(signals)
    return [s for s in spectra if s.metadata.Signal.signal_type in _EDS] or [
        s for s in spectra if s.metadata.Signal.signal_type == _SEM
    ]


def _spectra(signals: list[Any]) -> list[Any]:
    """Those of the signals that are spectra; what was read from nothing has no axis at all."""
    return [s for s in signals if s.axes_manager.signal_dimension == 1 or s.data.size == 0 or s.data.dtype == object]


def named_x_ray_spectra(signals: list[Any]) -> list[Any]:
    """The same, of a file that is said to hold X-rays: else the only one-dimensional one that has no type."""
    plain = _untyped(signals)
    return x_ray_spectra(signals) or (plain if len(plain) == 1 else [])


def _lacking_package(path: Path, error: BaseException) -> str:
    """In words, the package without which a reader failed; nothing where it failed otherwise.

    Some readers raise the error themselves, without the name, or raise another because of it.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for link in chain:
        if not isinstance(link, ImportError):
            continue
        said = str(link)
        name = (link.name or "").partition(".")[0] or next((p for p in _EXTRAS if p.lower() in said.lower()), "")
        if not name:
            return f"{path} needs a package that is not installed: {said}"
        return f'{path} needs the package {name!r}, which is not installed: pip install "{_EXTRAS.get(name, name)}".'
    return ""


def _untyped(signals: list[Any]) -> list[Any]:
    """Spectra of which the file does not say what they are."""
    return [s for s in signals if s.axes_manager.signal_dimension == 1 and not s.metadata.Signal.signal_type]


def _hint_at_energy(signals: list[Any]) -> str:
    """How to turn a stack whose frames are energies; empty where no signal can be one."""
    for signal in signals:
        axis = energy_on_navigation(signal)
        if axis is not None:
            return f" Its energies are on a navigation axis: {turn_energy_axis(axis)}"
        if signal.axes_manager.signal_dimension == 2 and signal.axes_manager.navigation_dimension == 1:
            return " If its frames are energies: " + turn_energy_axis(signal.axes_manager.navigation_axes[0])
    return ""


def _describe(signals: list[Any]) -> str:
    if not signals:
        return "it holds nothing"
    return "it holds " + ", ".join(str(s) for s in signals)


def _explain(path: Path, reader: str | None, error: Exception) -> str:
    several = re.search(r"multiple file readers.*\[(.*)\]", str(error), re.DOTALL)
    if reader is None and several:
        names = several[1].replace("'", "")
        return f"{path} could not be read (its extension is that of {names}): name its format by reader= (--reader)."
    if locked := about_locks(error):
        return f"{path} could not be read. {locked}"
    # By what failed: the words are those of Python, for values of other types.
    called = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    if "symbol of a chemical element" in str(error) or "add_elements" in called:
        return f"{path} could not be read: Sample.elements of its metadata contains an unknown element ({error})."
    if path.is_dir() and "No filename matches" in str(error):
        return f"{path} is a folder, not a file: name the files in it, such as {path / '*.dm4'}."
    if isinstance(error, MemoryError):
        return (
            f"{path} needs more memory than there is ({str(error) or 'no more is free'}): load it with lazy=True, or "
            "close other programs. A damaged header may claim too much as well."
        )
    message = f"{path} could not be read ({type(error).__name__}: {error})."
    if reader is not None:
        return f"{message} It is truncated, damaged, or not in the format of the reader {reader!r}."
    return message + " It is truncated, damaged, or not in the format of its extension."
