"""Members of a lamella, and the files that hold them."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError
from hyperspy_assb.registration.affine import ImageFrame
from hyperspy_assb.registration.image_registration import ImageRegistration
from hyperspy_assb.signals.result import load
from hyperspy_assb.signals.stored_pickles import refuse_pickles

_RESULT = "metadata/ASSB/result"
_SAME = 1e-6
"""Relative difference of axes that are the same."""


@dataclass(frozen=True, eq=False)
class Member:
    """One signal or result of a lamella.

    Parameters
    ----------
    kind
        Name of its class.
    frame
        Where its pixels lie; None for what has none, such as a voltammogram.
    axes
        Of its rows and columns.
    path, sha256
        The file that holds it, and the hash of that; empty while it is in memory alone.
    bias
        Potential in V at which it was recorded; NaN if none was given.
    frame_of
        Key of the member whose pixels it shares; empty if it has a frame of its own.
    registration
        From the reference to it; None until it is registered.
    reference
        Whether it is the one on which others were registered.
    """

    kind: str
    frame: ImageFrame | None
    axes: tuple[dict[str, Any], ...] = ()
    path: str = ""
    sha256: str = ""
    bias: float = float("nan")
    frame_of: str = ""
    registration: ImageRegistration | None = None
    reference: bool = False


def read_member(path: Path, key: str) -> Any:
    """A result, or else a signal that HyperSpy reads lazily."""
    if not path.exists():
        raise AssbFileNotFoundError(f"{key}: there is no file {path}.")
    refuse_pickles(path)
    why = "it has no result"
    # A signal is not read to see that it is no result: it may be larger than the memory.
    if not _is_plain_signal(path):
        try:
            return load(path)
        except AssbFileError as error:
            why = str(error)
    try:
        found = hs.load(str(path), lazy=True)
    except Exception as error:
        raise AssbFileError(f"{key}: {path} holds neither a result ({why}) nor a signal ({error}).") from error
    if isinstance(found, list):
        raise AssbFileError(f"{key}: {path} holds {len(found)} signals: load it, and add one of them.")
    return found


def _is_plain_signal(path: Path) -> bool:
    """Whether a file of HyperSpy's has no result among its metadata; what cannot be told is none."""
    if path.is_dir():
        return path.suffix == ".zspy" and not any(path.glob(f"Experiments/*/{_RESULT}"))
    if path.suffix != ".hspy":
        return False
    import h5py

    try:
        with h5py.File(path) as file:
            return not any(_RESULT in experiment for experiment in file["Experiments"].values())
    except (OSError, KeyError, AttributeError):
        return False


def give_back() -> None:
    """Let the system have what was let go of: of many arrays, glibc keeps the room."""
    # Other libraries do so by themselves.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def bytes_of(held: Any) -> int:
    """Size of the arrays of a result."""
    if isinstance(held, np.ndarray):
        return int(held.nbytes)
    if is_dataclass(held) and not isinstance(held, type):
        return sum(bytes_of(getattr(held, one.name)) for one in fields(held))
    if isinstance(held, Mapping):
        return sum(map(bytes_of, held.values()))
    return sum(map(bytes_of, held)) if isinstance(held, tuple | list) else 0


def file_of(what: Any) -> Path | None:
    """The file that HyperSpy read a signal from or wrote it to, if it is there."""
    parameters = getattr(what, "tmp_parameters", None)
    if parameters is None or not parameters.has_item("filename") or not parameters.has_item("extension"):
        return None
    folder = parameters.folder if parameters.has_item("folder") else ""
    extension = str(parameters.extension)
    path = Path(folder or ".") / f"{parameters.filename}{extension if extension.startswith('.') else '.' + extension}"
    return path if path.exists() else None


def problem_of(key: str, member: Member) -> str:
    """What is wrong with the file of a member; empty if nothing is."""
    path = Path(member.path)
    if not path.exists():
        return f"{key}: its file {path} was moved or deleted: name it by lamella.relocate({key!r}, path)."
    if provenance.describe_file(path)["sha256"] != member.sha256:
        return f"{key}: its file {path} was changed since it was added: add its new content under another key."
    return ""


def plain_axis(axis: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"name": str(axis.get("name") or ""), "size": int(axis["size"])}
    kept |= {"scale": float(axis.get("scale", 1.0)), "offset": float(axis.get("offset", 0.0))}
    units = axis.get("units")
    return {**kept, "units": units if isinstance(units, str) else "", "navigate": True}


def same_frame(one: ImageFrame | None, other: ImageFrame | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    near = np.allclose(one.pixel, other.pixel, rtol=_SAME) and np.allclose(
        one.origin, other.origin, rtol=0.0, atol=_SAME * one.coarseness
    )
    return bool(near)
