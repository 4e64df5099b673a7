"""Reading spectra and diffraction patterns from files, with errors that name the file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs

if TYPE_CHECKING:
    from hyperspy_assb.signals.eds.signal import ASSBEDSTEMSpectrum
    from hyperspy_assb.signals.eels.signal import ASSBEELSSpectrum

_EELS = ("EELS_ASSB", "EELS", "TEM EELS")
_EDS = ("EDS_TEM_ASSB", "EDS_TEM")
_EXTRAS = {"sparse": "rosettasciio[eds-stream]", "h5py": "rosettasciio[hdf5]", "zarr": "rosettasciio[zspy]"}
"""What installs the packages without which some readers fail: Velox keeps photons as a stream."""


def load_spectrum_image(
    path: str | PathLike[str], *, lazy: bool = False, reader: str | None = None
) -> ASSBEELSSpectrum:
    """Load the EELS spectrum or spectrum image of a file.

    Parameters
    ----------
    path
        File to read, in any format that HyperSpy reads.
    lazy
        Whether the data stay on disk until they are needed.
    reader
        Name of the reader, where the ending of the file does not tell (``.hdf5``); None: by the ending.

    Returns
    -------
    ASSBEELSSpectrum
        The largest of the EELS signals in the file; where none says that it is EELS, its only one-dimensional signal.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read (truncated, damaged, or of an unknown format), holds no spectrum, or only an empty
        one. The message names the file.

    Warns
    -----
    UserWarning
        If the file holds several EELS signals, naming the one that was taken.
    """
    return _as(_load(path, {"lazy": lazy}, reader, choose=_spectra, what=("EELS spectrum", "spectra")), "EELS_ASSB")


def load_eds_spectrum_image(
    path: str | PathLike[str], *, lazy: bool = False, reader: str | None = None
) -> ASSBEDSTEMSpectrum:
    """Load the X-ray spectrum or spectrum image of a file: Velox ``.emd``, Bruker ``.bcf``, ``.hspy``, ``.dm4``.

    Parameters
    ----------
    path, lazy, reader
        As for :func:`load_spectrum_image`.

    Returns
    -------
    ASSBEDSTEMSpectrum
        The largest of the X-ray signals of a (S)TEM in the file; images beside them are left.

    Raises
    ------
    FileNotFoundError, ValueError
        As for :func:`load_spectrum_image`, and if a package is missing that the reader needs, naming it.

    Warns
    -----
    UserWarning
        If the file holds several X-ray signals, naming the one that was taken.
    """
    return _as(_load(path, {"lazy": lazy}, reader, choose=_x_rays, what=("X-ray spectrum", "spectra")), "EDS_TEM_ASSB")


def load_spectra(path: str | PathLike[str]) -> ASSBEELSSpectrum | ASSBEDSTEMSpectrum:
    """Load what spectra a file holds, EELS or X-rays; where both, EELS, with a warning.

    Raises
    ------
    FileNotFoundError, ValueError
        As for :func:`load_spectrum_image`.
    """

    def choose(found: list[Any]) -> list[Any]:
        eels, x_rays = _spectra(found), _x_rays(found)
        if eels and x_rays:
            warnings.warn(
                f"{path} holds EELS and X-ray spectra: EELS was taken; load_eds_spectrum_image reads the other.",
                UserWarning,
                stacklevel=4,
            )
        return eels or x_rays

    signal = _load(path, {}, None, choose=choose, what=("EELS or X-ray spectrum", "spectra"))
    return _as(signal, "EDS_TEM_ASSB" if signal.metadata.Signal.signal_type in _EDS else "EELS_ASSB")


def _as(signal: Any, signal_type: str) -> Any:
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
    """The largest signal of a file of some kind; errors as :func:`load_spectrum_image` has them.

    Parameters
    ----------
    path, lazy, reader
        As for :func:`load_spectrum_image`.
    signal_type
        What it is loaded as, whatever the file calls it.
    wanted
        Whether a signal is of the kind.
    what
        What the kind is called.
    """
    options = {"lazy": lazy, "signal_type": signal_type}
    return _load(path, options, reader, choose=lambda found: [s for s in found if wanted(s)], what=(what, f"{what}s"))


def _load(
    path: str | PathLike[str],
    options: dict[str, Any],
    reader: str | None,
    *,
    choose: Callable[[list[Any]], list[Any]],
    what: tuple[str, str],
) -> Any:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file.")
    if reader is not None:
        options = {**options, "file_format": reader}
    try:
        loaded = hs.load(str(path), **options)
    except ModuleNotFoundError as error:
        package = str(error.name or error).partition(".")[0]
        raise ValueError(
            f"{path} needs the package {package!r}, which is not installed: pip install "
            f'"{_EXTRAS.get(package, package)}".'
        ) from error
    # Readers fail on damaged files in every way there is: struct.error, KeyError, MemoryError, OSError ...
    except Exception as error:
        raise ValueError(_explain(path, reader, error)) from error
    candidates = choose(loaded if isinstance(loaded, list) else [loaded])
    if not candidates:
        raise ValueError(f"{path} holds no {what[0]}: {_describe(loaded)}.")
    filled = [s for s in candidates if s.data.size > 0 and s.data.dtype != object]
    if not filled:
        raise ValueError(
            f"{path} was read as an empty signal: it has no data, or lacks the header that says where they begin "
            "(a .msa file without #-lines)."
        )
    signal = max(filled, key=lambda s: s.data.size)
    if len(filled) > 1:
        warnings.warn(
            f"{path} holds {len(filled)} {what[1]}; the largest was taken: '{signal.metadata.General.title}'.",
            UserWarning,
            stacklevel=3,
        )
    return signal


def check_result_path(path: str | PathLike[str]) -> None:
    """Raise ValueError if a result cannot be kept whole in a file of that ending."""
    if Path(path).suffix not in {".hspy", ".zspy"}:
        raise ValueError(f"{path}: a result is saved whole in .hspy or .zspy; tables of it go to .csv by pandas.")


def _spectra(signals: list[Any]) -> list[Any]:
    """Those of the signals that are EELS; else the only one-dimensional one."""
    eels = [s for s in signals if s.metadata.Signal.signal_type in _EELS]
    if eels:
        return eels
    spectra = [s for s in signals if s.axes_manager.signal_dimension == 1 and not s.metadata.Signal.signal_type]
    return spectra if len(spectra) == 1 else []


def _x_rays(signals: list[Any]) -> list[Any]:
    return [s for s in signals if s.metadata.Signal.signal_type in _EDS]


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
