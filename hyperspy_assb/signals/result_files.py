"""Files of results: written whole or not at all, and read with errors that name the file.

A result is one HyperSpy signal, which whoever opens the file with HyperSpy alone sees, with everything else in its
metadata under ``ASSB.result``. It is written to a hidden sibling, flushed to disk, read back, and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperspy_assb import __version__, staging
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbValueError
from hyperspy_assb.file_locks import about_locks
from hyperspy_assb.signals.packing import Arrays, digest
from hyperspy_assb.signals.stored_pickles import refuse_pickles

FORMAT = 1
"""Version of the file format; older and newer ones are refused by name."""
ENDINGS = (".hspy", ".zspy")
_OLDER = (
    "comparison",
    "delithiation",
    "eds_comparison",
    "eds_composition",
    "eds_interface",
    "eds_phases",
    "orientations",
)
"""Nodes under which results were kept before there was one format."""
_SEAL = b"hyperspy_assb sha256 "
"""After the end of HDF5, which HDF5 does not mind: with the hash that follows, it tells damage."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packed:
    """What a file keeps of a result; see :mod:`hyperspy_assb.signals.packing`.

    Parameters
    ----------
    kind
        Name of the class.
    text, arrays
        The packed result.
    written_by
        Version of this package.
    """

    kind: str
    text: str
    arrays: Arrays
    written_by: str = __version__


def check_ending(path: Path) -> None:
    """Raise AssbValueError if a result cannot be kept in a file of that ending."""
    if path.suffix not in ENDINGS:
        raise AssbValueError(f"{path}: a result is saved whole in .hspy or .zspy; tables of it go to .csv by pandas.")


def write_result(path: Path, shown: Any, packed: Packed, *, overwrite: bool | None) -> None:
    """Write a result in place of what the file held, at once: whoever looks sees the old or the new one, whole.

    Parameters
    ----------
    path
        Ending in .hspy or .zspy; folders on the way are made.
    shown
        A HyperSpy signal, the file's own: its metadata are written into.
    packed
        The result.
    overwrite
        As in HyperSpy: None asks, False keeps what is there.

    Raises
    ------
    AssbValueError
        If the ending is another one, or ``overwrite`` none of the three.
    AssbFileError
        If the file cannot be written; what it held is still there.
    """
    check_ending(path)
    if overwrite not in (None, True, False):
        raise AssbValueError(f"overwrite must be None, True or False, not {overwrite!r}.")
    general = shown.metadata.General
    general.title = _clean_title(general.title)
    node = {
        "kind": packed.kind,
        "version": FORMAT,
        "written_by": packed.written_by,
        "digest": digest(packed.text, packed.arrays),
        "shown": _digest_of_shown(shown.data, [axis.get_axis_dictionary() for axis in shown.axes_manager._axes]),
        # A list, because HDF5 limits the length of single strings in metadata.
        "content": {"text": [packed.text], "arrays": packed.arrays},
    }
    shown.metadata.set_item("ASSB.result", node)
    # Links stay links.
    path = staging.resolved(path)
    part = staging.sibling(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.clear_away(path)
        if not _may_write(path, overwrite):
            _logger.warning("%s was kept as it is: the result was not saved.", path)
            return
        _write_signal(part, shown)
        if _digests_of(part) != (node["digest"], node["shown"]):
            raise OSError("what was written is not what is read back")
        if path.is_file():
            shutil.copymode(path, part)
        _replace(part, path)
    # HyperSpy, h5py and zarr raise what they like.
    except Exception as error:
        staging.remove(part)
        kept = "; the file is as it was" if _there(path) else ""
        raise AssbFileError(f"{path} could not be saved ({_in_words(error)}){kept}.") from error
    except BaseException:
        staging.remove(part)
        raise


def read_result(path: Path) -> Packed:
    """What :func:`write_result` wrote.

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file.
    AssbFileError
        If it is damaged, holds something else, was changed in HyperSpy, or has another version of the format. The
        message names the file.
    """
    with _reading(path):
        staging.restore(path)
        there, file, folder = path.exists(), path.is_file(), path.is_dir()
        empty = file and path.stat().st_size == 0
    if not there:
        raise AssbFileNotFoundError(f"There is no file {path}: check its name and folder.")
    if empty:
        raise AssbFileError(f"{path} is an empty file: save the result again.")
    if path.suffix not in ENDINGS:
        raise AssbFileError(f"{path} holds no result: results are files ending in .hspy or .zspy.")
    # Reading a pipe waits for ever.
    if not (file or folder):
        raise AssbFileError(f"{path} is neither a file nor a folder: name a file that a result's save wrote.")
    if folder and not _is_store(path):
        raise AssbFileError(f"{path} is a folder, and holds no result: name a file that a result's save wrote.")
    with _reading(path):
        signals = _read_signals(path)
    nodes = [_node_of(signal) for signal in signals]
    node, shown = next(((n["result"], s) for n, s in zip(nodes, signals, strict=True) if "result" in n), (None, {}))
    if node is None:
        older = next((n for n in nodes for name in _OLDER if name in n), None)
        if older is None:
            raise AssbFileError(
                f"{path} holds no result of hyperspy_assb: open it with hyperspy.api.load, or name a file that a "
                "result's save wrote."
            )
        raise AssbFileError(
            f"{path} is an older file, {_writer(_version_in(older))}, and its format is no longer read: repeat the "
            "analysis with this version and save it, or load it with that version."
        )
    with _reading(path):
        version, writer = int(node["version"]), str(node["written_by"])
    if version != FORMAT:
        remedy = "update hyperspy_assb" if version > FORMAT else "repeat the analysis and save it"
        raise AssbFileError(
            f"{path} is {_writer(writer)} in version {version} of the format, but this one reads version {FORMAT}: "
            f"{remedy}."
        )
    with _reading(path):
        (text,) = node["content"]["text"]
        arrays = {str(name): np.asarray(values) for name, values in node["content"].get("arrays", {}).items()}
        if digest(text, arrays) != node["digest"]:
            raise ValueError("its content is not what was written")
        # Files of the first versions have no hash of what they show.
        unchanged = node.get("shown") in (None, _digest_of_shown(shown["data"], shown["axes"]))
    if not unchanged:
        raise AssbFileError(
            f"{path} was changed in HyperSpy since its result was saved: the map it shows, or its axes, are no longer "
            "those of the result. Open it with hyperspy.api.load, or load the file that the result's save wrote."
        )
    return Packed(str(node["kind"]), text, arrays, writer)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a reader raises for a damaged file as one error; they fail in every way there is."""
    try:
        yield
    except AssbFileError:
        raise
    except PermissionError as error:
        raise AssbFileError(f"{path} could not be read: you may not read it ({_in_words(error)}).") from error
    except Exception as error:
        if locked := about_locks(error):
            raise AssbFileError(f"{path} could not be read. {locked}") from error
        raise AssbFileError(
            f"{path} could not be read ({_in_words(error)}): it is truncated, damaged, or not in the format of its "
            "extension; save the result again, or use a copy."
        ) from error


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _read_signals(path: Path) -> list[dict[str, Any]]:
    """The signals in a file, as dictionaries."""
    # The readers themselves: hs.load logs at length what they raise, and makes signals of any kind a file names.
    if path.suffix == ".hspy":
        from rsciio.hspy import file_reader

        _check_seal(path)
    else:
        from rsciio.zspy import file_reader

        refuse_pickles(path)
        # The reader logs an error where there is no store.
        if not path.is_dir():
            with zipfile.ZipFile(path) as archive:
                if ".zgroup" not in archive.namelist():
                    raise ValueError("it holds no zarr group")
    return list(file_reader(str(path)))


def _node_of(signal: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node ASSB of the metadata."""
    node = signal["metadata"].get("ASSB", {})
    return node if isinstance(node, Mapping) else {}


def _clean_title(title: str) -> str:
    """A title that names a group in both formats: a backslash parts groups in zarr, and a dot is the group itself."""
    title = title.replace("\\", "-")
    return title if title.strip("./") else title.replace(".", "-")


def _digest_of_shown(data: Any, axes: Sequence[Mapping[str, Any]]) -> str:
    """Hash of the map that HyperSpy shows, and of its axes; two files of one signal have the same in both formats."""
    kept = []
    for axis in axes:
        # In place of offset and scale, axes without one step have their values.
        where = [axis["offset"], axis["scale"]] if "scale" in axis else axis.get("axis", [])
        values = np.asarray(where, dtype=float).ravel().tolist()
        kept.append([str(axis.get("name")), bool(axis["navigate"]), *map(repr, values)])
    return digest(json.dumps(kept), {"data": np.asarray(data)})


def _check_seal(path: Path) -> None:
    """Keep damaged files from HDF5, which reads beyond its memory then; other programs may leave no seal."""
    whole = memoryview(path.read_bytes())
    end = len(whole) - hashlib.sha256().digest_size
    start = max(end - len(_SEAL), 0)
    if whole[start:end] == _SEAL and hashlib.sha256(whole[:start]).digest() != whole[end:]:
        raise ValueError("its bytes have changed since it was written")


def _digests_of(path: Path) -> tuple[str, str]:
    """The digests of the result and of the map in a file, whatever it says itself."""
    (signal,) = _read_signals(path)
    content = _node_of(signal)["result"]["content"]
    return digest(content["text"][0], content.get("arrays", {})), _digest_of_shown(signal["data"], signal["axes"])


def _write_signal(part: Path, signal: Any) -> None:
    """One flushed file, made in memory: where the disk is full, HDF5 crashes the process, and Python raises OSError."""
    with part.open("xb") as stream:
        if part.suffix == ".hspy":
            image = _hdf5_image(signal)
            stream.write(image + _SEAL + hashlib.sha256(image).digest())
        else:
            _write_zip(stream, signal)
        stream.flush()
        staging.flush_open(stream.fileno())


def write_map(path: Path, signal: Any) -> None:
    """Write a signal of HyperSpy as its ``save`` would in .hspy, but made in memory, as results are.

    Raises
    ------
    OSError
        If it cannot be written: no space, for instance, where HDF5 would crash.
    """
    path.write_bytes(_hdf5_image(signal))


def save_whole(path: Path, signal: Any, *, overwrite: bool | None, **options: Any) -> None:
    """``signal.save`` of HyperSpy, but the file appears whole or not at all.

    Parameters
    ----------
    path
        Ending in .hspy or .zspy.
    signal
        Of HyperSpy; it may be lazy.
    overwrite
        As in HyperSpy: None asks, False keeps what is there.
    options
        As for ``signal.save``.

    Raises
    ------
    OSError
        If the file cannot be renamed; and what HyperSpy raises.
    """
    path = staging.resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging.clear_away(path)
    if not _may_write(path, overwrite):
        return
    part = staging.sibling(path, "part")
    try:
        signal.save(part, **options)
        for written in (*part.rglob("*"), part) if part.is_dir() else (part,):
            staging.flush(written)
        _replace(part, path)
    finally:
        staging.remove(part)
    # As HyperSpy keeps them: where it is saved when no name is given.
    signal.tmp_parameters.folder, signal.tmp_parameters.filename = path.parent, path.stem


@contextlib.contextmanager
def hdf5_in_memory() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """An open file of h5py that is on no disk, and a function that tells its bytes so far."""
    import h5py

    def image() -> bytes:
        file.flush()
        return bytes(file.id.get_file_image())

    with h5py.File(secrets.token_hex(8), "w", driver="core", backing_store=False) as file:
        yield file, image


def _hdf5_image(signal: Any) -> bytes:
    """What ``signal.save`` would write in .hspy; RosettaSciIO's own function only writes to disk."""
    from hyperspy.misc import utils
    from rsciio.hspy._api import HyperspyWriter, version

    content = signal._to_dictionary(add_models=True)
    content["package_info"] = utils.get_object_package_info(signal)
    with hdf5_in_memory() as (file, image):
        file.attrs["file_format"] = "HyperSpy"
        file.attrs["file_format_version"] = version
        title = content["metadata"]["General"]["title"] or "__unnamed__"
        group = file.require_group("Experiments").require_group(title.replace("/", "-"))
        HyperspyWriter(file, content, group, compression="gzip", shuffle=True).write()
        return image()


def _write_zip(stream: Any, signal: Any) -> None:
    """What ``signal.save`` would write in .zspy, as one file: folders are not replaced at once."""
    import zarr

    # Not into the zip itself: there, every change of an attribute is one more entry.
    store = zarr.storage.MemoryStore()
    signal.save(store)
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(store):
            archive.writestr(name, bytes(store[name]))


def _replace(part: Path, path: Path) -> None:
    """Rename over what is there; where one of both is a folder, what is there is first moved aside."""
    aside = None
    if path.is_dir() and not (path.suffix == ".zspy" and _is_store(path)):
        raise IsADirectoryError("it is a folder, but not a HyperSpy file")
    if path.is_dir() or (path.exists() and part.is_dir()):
        aside = staging.sibling(path, "aside")
        path.rename(aside)
    try:
        part.replace(path)
    except BaseException:
        if aside is not None:
            aside.rename(path)
        raise
    staging.flush(path.parent)
    if aside is not None:
        staging.remove(aside)


def _may_write(path: Path, overwrite: bool | None) -> bool:
    if overwrite is None:
        from rsciio.utils.path import overwrite as ask

        return bool(ask(path))
    return overwrite or not path.exists()


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_store(folder: Path) -> bool:
    return (folder / ".zgroup").is_file() or (folder / "zarr.json").is_file()


def _writer(version: str) -> str:
    return f"written by hyperspy_assb {version}" if version else "written by an earlier hyperspy_assb"


def _version_in(node: Any) -> str:
    """Version of this package in the record of a result of an older format; empty if it has none."""
    if isinstance(node, str) and node[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            node = json.loads(node)
    if isinstance(node, Mapping):
        own = node.get("hyperspy-assb")
        if isinstance(own, str):
            return own
        # Mappings with their keys apart, as results of EDX were kept.
        keys = list(node.get("keys", ()))
        if "hyperspy-assb" in keys:
            return str(node["content"][f"i{keys.index('hyperspy-assb')}"])
        node = list(node.values())
    if isinstance(node, list | tuple):
        return next((found for found in map(_version_in, node) if found), "")
    return ""
