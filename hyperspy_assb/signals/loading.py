"""Reading spectra and diffraction patterns from files, with errors that name the file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import hyperspy.api as hs

from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbWarning

_EELS = ("EELS_ASSB", "EELS", "TEM EELS")
_EDS = ("EDS_TEM_ASSB", "EDS_TEM")
_SEM = "EDS_SEM"
_LARGE_FILE = 32 * 2**20
"""Bytes of a file, which may be compressed, from which on it is first looked at without reading it."""
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


def load_spectra(path: str | PathLike[str], *, lazy: bool = False) -> Any:
    """Load what spectra a file holds, EELS or X-rays; where both, EELS, with a warning.

    Parameters
    ----------
    path, lazy
        As for :func:`load_largest`.

    Raises
    ------
    AssbFileError
        As for :func:`load_signal`.
    """

    def choose(found: list[Any]) -> list[Any]:
        eels, x_rays = eels_spectra(found), x_ray_spectra(found)
        if eels and x_rays:
            warnings.warn(
                f"{path} holds EELS and X-ray spectra: EELS was taken; load_eds_spectrum_image reads the other.",
                AssbWarning,
                stacklevel=4,
            )
        return eels or x_rays

    signal = load_signal(path, {"lazy": lazy}, None, choose=choose, what=("EELS or X-ray spectrum", "spectra"))
    return as_type(signal, "EDS_TEM_ASSB" if x_ray_spectra([signal]) else "EELS_ASSB")


def as_far_as_memory(load: Callable[..., Any], path: str | PathLike[str]) -> Any:
    """What a file holds, in memory where it is small, and on disk where it is large and its format allows that.

    Parameters
    ----------
    load
        Loads a path, and takes ``lazy=``.
    path
        File, or folder of a ``.zspy``.
    """
    path = Path(path)
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    if sum(p.stat().st_size for p in files if p.exists()) < _LARGE_FILE:
        return load(path)
    try:
        signal = load(path, lazy=True)
    except AssbFileError as error:
        if isinstance(error.__cause__, NotImplementedError):  # a reader that knows no lazy data
            return load(path)
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
) -> Any:
    """The largest signal of a file of some kind; errors as :func:`load_signal` has them.

    Parameters
    ----------
    path, lazy, reader
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
        path, options, reader, choose=lambda found: [s for s in found if wanted(s)], what=(what, f"{what}s")
    )


def load_signal(
    path: str | PathLike[str],
    options: dict[str, Any],
    reader: str | None,
    *,
    choose: Callable[[list[Any]], list[Any]],
    what: tuple[str, str],
) -> Any:
    """The largest of the signals of a file that are chosen.

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

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file.
    AssbFileError
        If the file cannot be read (truncated, damaged, of an unknown format, a reader's package is missing), or holds
        nothing that is wanted or only empty signals. The message names the file; the error is an OSError and a
        ValueError.

    Warns
    -----
    AssbWarning
        If several are chosen, naming the one that was taken.
    """
    path = Path(path)
    if not path.exists():
        raise AssbFileNotFoundError(f"There is no file {path}.")
    if path.is_file() and path.stat().st_size == 0:
        raise AssbFileError(f"{path} is an empty file.")
    if reader is not None:
        options = {**options, "file_format": reader}
    try:
        loaded = hs.load(str(path), **options)
    # Readers fail on damaged files in every way there is: struct.error, KeyError, MemoryError, OSError ...
    except Exception as error:
        raise AssbFileError(_lacking_package(path, error) or _explain(path, reader, error)) from error
    candidates = choose(loaded if isinstance(loaded, list) else [loaded])
    if not candidates:
        raise AssbFileError(f"{path} holds no {what[0]}: {_describe(loaded)}.")
    filled = [s for s in candidates if s.data.size > 0 and s.data.dtype != object]
    if not filled:
        raise AssbFileError(
            f"{path} was read as an empty signal: it has no data, or lacks the header that says where they begin "
            "(a .msa file without #-lines)."
        )
    signal = max(filled, key=lambda s: s.data.size)
    if len(filled) > 1:
        warnings.warn(
            f"{path} holds {len(filled)} {what[1]}; the largest was taken: '{signal.metadata.General.title}'.",
            AssbWarning,
            stacklevel=3,
        )
    return signal


def eels_spectra(signals: list[Any]) -> list[Any]:
    """Those of the signals that are EELS; else the only one-dimensional one."""
    eels = [s for s in signals if s.metadata.Signal.signal_type in _EELS]
    if eels:
        return eels
    spectra = [s for s in signals if s.axes_manager.signal_dimension == 1 and not s.metadata.Signal.signal_type]
    return spectra if len(spectra) == 1 else []


def x_ray_spectra(signals: list[Any]) -> list[Any]:
    """Those of the signals that are X-ray spectra of a (S)TEM, or else of an SEM."""
    return [s for s in signals if s.metadata.Signal.signal_type in _EDS] or [
        s for s in signals if s.metadata.Signal.signal_type == _SEM
    ]


def named_x_ray_spectra(signals: list[Any]) -> list[Any]:
    """The same, of a file that is said to hold X-rays: else the only one-dimensional one that has no type."""
    plain = [s for s in signals if s.axes_manager.signal_dimension == 1 and not s.metadata.Signal.signal_type]
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


def _describe(loaded: Any) -> str:
    signals = loaded if isinstance(loaded, list) else [loaded]
    if not signals:
        return "it holds nothing"
    return "it holds " + ", ".join(str(s) for s in signals)


def _explain(path: Path, reader: str | None, error: Exception) -> str:
    message = f"{path} could not be read ({type(error).__name__}: {error})."
    if reader is None and path.suffix.lower() in {".hdf5", ".h5", ".csv"}:
        return message + " Several formats share this ending: name one with reader=."
    return message + " It is truncated, damaged, or not of the format that its ending says."
