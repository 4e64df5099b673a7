"""Files and folders that appear whole: what is being written stands under a hidden name beside its place.

The name tells machine and process, so that what a killed process left is known for that, and put back or removed.
Only the standard library and the errors are imported here: the command line waits for this module.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from hyperspy_assb.errors import AssbFileError, AssbTypeError, AssbValueError

_SHOWN = 40
"""Characters of a name that a hidden name begins with."""
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a file system says that has no such service."""
_ours: set[str] = set()
"""Names that this process made. Containers give every run the same number: a name with our number that is not here was
made by another process, which is no more."""


def path_of(value: object, argument: str) -> Path:
    """The path that a user gave, with ``~`` expanded.

    Parameters
    ----------
    value
        What was given.
    argument
        Its name, for errors.

    Returns
    -------
    Path
        Neither resolved nor looked for.

    Raises
    ------
    AssbTypeError
        If it is no path.
    AssbValueError
        If no file can have it.

    Examples
    --------
    >>> path_of("maps/before.hspy", "path").name
    'before.hspy'
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise AssbTypeError(f"{argument} must be the path of a file, as text or a Path, not a {type(value).__name__}.")
    if not path or "\0" in path:
        raise AssbValueError(f"{argument} must be the path of a file, not {path[:60]!r}.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise AssbValueError(f"{argument}: there is no home folder for {path[:60]!r}.") from error


def resolved(path: Path) -> Path:
    """A path without symbolic links.

    Parameters
    ----------
    path
        Of a file or folder that need not be there.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    AssbFileError
        If its links lead in a circle.

    Examples
    --------
    >>> resolved(Path("maps/../result.hspy")).name
    'result.hspy'
    """
    try:
        return path.resolve()
    except (RuntimeError, OSError) as error:  # of Python up to 3.12, and from 3.13 on
        raise AssbFileError(f"{path} cannot be followed: its symbolic links lead in a circle.") from error


def sibling(path: Path, role: str) -> Path:
    """A hidden name beside a file or folder, which tells the process that uses it; nothing is made.

    Parameters
    ----------
    path
        The place of what is written.
    role
        "part" (being written) or "aside" (what was there before, until the new one is in its place).

    Examples
    --------
    >>> hidden = sibling(Path("maps/result.hspy"), "part")
    >>> hidden.parent.name, hidden.name.startswith(".result.hspy."), hidden.suffixes[-2:]
    ('maps', True, ['.part', '.hspy'])
    """
    name = f"{_prefix(path)}{os.getpid()}-{secrets.token_hex(4)}.{role}{_ending(path)}"
    _ours.add(name)
    return path.with_name(name)


def leftovers(path: Path) -> dict[str, list[Path]]:
    """What processes of this machine that are no more have left of writing to a place, by its role."""
    found: dict[str, list[Path]] = {"part": [], "aside": []}
    if not path.parent.is_dir():
        return found
    prefix = _prefix(path)
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)-[0-9a-f]{{8}}\.(part|aside){re.escape(_ending(path))}")
    # Names as they are: a folder of many results is listed for each of them.
    for name in sorted(name for name in os.listdir(path.parent) if name.startswith(prefix)):  # noqa: PTH208
        match = pattern.fullmatch(name)
        if match and not _in_use(name, int(match[1])):
            found[match[2]].append(path.with_name(name))
    return found


def restore(path: Path) -> None:
    """Put back what was moved aside for a new one that never came.

    Raises
    ------
    OSError
        If it cannot be renamed.
    """
    if not path.exists():
        _put_back(path, leftovers(path)["aside"])


def clear_away(path: Path) -> None:
    """Undo or finish what dead processes began: put back what is missing, and remove the rest.

    Raises
    ------
    OSError
        As for :func:`restore`.
    """
    left = leftovers(path)
    if not path.exists():
        _put_back(path, left["aside"])
    for entry in (*left["part"], *left["aside"]):
        remove(entry)


def _put_back(path: Path, asides: list[Path]) -> None:
    for aside in asides[:1]:
        aside.rename(path)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file under a hidden name, which becomes its own when the block has ended without an error.

    Yields
    ------
    Path
        Where to write; nothing is there, nor what dead processes left of the same file.

    Raises
    ------
    OSError
        If it cannot be renamed.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "table.csv"
    >>> with whole_file(place) as hidden:
    ...     _ = hidden.write_text("x")
    >>> [path.name for path in place.parent.iterdir()]
    ['table.csv']
    """
    clear_away(path)
    part = sibling(path, "part")
    try:
        yield part
        part.replace(path)
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Remove a file or folder if that can be done."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Bring a file or the names in a folder to the disk, where the system can.

    Raises
    ------
    OSError
        If a file cannot be written to the disk.
    """
    is_folder = path.is_dir()
    # Not every system opens folders, and Windows flushes only what is open for writing.
    with contextlib.suppress(OSError) if is_folder else contextlib.nullcontext():
        handle = os.open(path, os.O_RDONLY if is_folder or os.name != "nt" else os.O_RDWR)
        try:
            flush_open(handle)
        finally:
            os.close(handle)


def flush_open(handle: int) -> None:
    """Bring an open file to the disk, where its file system can: some of networks cannot.

    Raises
    ------
    OSError
        If it can, and did not: a full or broken disk.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _prefix(path: Path) -> str:
    # Names may have 255 bytes; those that share a beginning must not take what was moved aside for each other.
    name = path.name if len(path.name) <= _SHOWN else f"{path.name[:_SHOWN]}~{_digest(path.name)}"
    return f".{name}.{_digest(platform.node())}-"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _ending(path: Path) -> str:
    # Readers go by the ending of a file; a folder may be called v1.long text, which is none.
    return path.suffix if len(path.suffix) <= 8 else ""


def _in_use(name: str, process: int) -> bool:
    return name in _ours if process == os.getpid() else _alive(process)


def _alive(process: int) -> bool:
    if os.name == "nt":
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    with contextlib.suppress(OSError, IndexError):
        # Killed, and its parent has not yet looked.
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


def _alive_on_windows(process: int) -> bool:
    """There, signal 0 is none: a process is asked for by a handle that may wait for its end."""
    import ctypes

    synchronize, timed_out = 0x0010_0000, 0x102
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(synchronize, False, process)
    if not handle:
        return False
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == timed_out)
    finally:
        kernel.CloseHandle(handle)
