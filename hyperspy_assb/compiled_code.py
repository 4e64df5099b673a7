"""What numba keeps of compiled code may be damaged, foreign, read-only or shared: the run goes on, compiling anew.

numba ends a run where a file of its cache is cut, where no folder can be written, and where the disk is full; lets two
processes that save at once name each other's code; executes what anybody wrote into its folder; and joins the two parts
of a generalised ufunc (orix has some) from two processes, which crashes at the first call. All of this happens to
whoever starts several processes with an empty cache. This module mends the methods of numba's cache for the process;
files stay readable for numba without it. It is imported by every technique before it compiles anything.

numba also heeds a file of settings in the working folder, which may be somebody's folder of data, and be told there to
take compiled code from beside it: here the environment alone is heeded.

numba registers some of its types, and those of other packages, at the first call of a compiled function. Another
thread that asks for the type of a value meanwhile ends with "dictionary changed size during iteration". Here they are
registered before any thread begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import pickle
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core import caching, entrypoints
from numba.core import config as numba_config
from numba.experimental import function_type  # noqa: F401 - registers types
from numba.np.ufunc import wrappers

from hyperspy_assb.errors import AssbValueError

_SEAL = b"hyperspy_assb sha256 "
"""Behind the end of a pickle, which does not mind: with the hash that follows, it tells damage."""
_OLD = 3600.0
"""Seconds after which a file that no index names is removed; younger ones may be named in a moment."""
_logger = logging.getLogger(__name__)
_told: set[str] = set()
_settings: Any = numba_config
_PLACE = "NUMBA_CACHE_DIR"
_named_by_stranger: str = "" if _PLACE in os.environ else str(_settings._env_reloader.old_environ.get(_PLACE, ""))
"""Folder of compiled code that stood in a file of settings when numba was imported; caches may have been set to it."""


def _tell(message: str, *values: object) -> None:
    """Log once in a process."""
    if message not in _told:
        _told.add(message)
        _logger.warning(message, *values)


def may_be_trusted(path: str | os.PathLike[str]) -> bool:
    """Whether only this user, the system, or the owner of the package it belongs to can have written a file or folder.

    Parameters
    ----------
    path
        What would be executed. Missing: False.
    """
    try:
        found = Path(path).stat()
        if not hasattr(os, "geteuid"):
            return True
        owners = {os.geteuid(), 0}
        folder = Path(path).parent
        if folder.name == "__pycache__":
            # Whoever owns the source could have changed that.
            owners.add(folder.parent.stat().st_uid)
    except OSError:
        return False
    return found.st_uid in owners and not found.st_mode & 0o002


def _sealed(data: bytes) -> bytes:
    return data + _SEAL + hashlib.sha256(data).digest()


def _read(path: str) -> bytes:
    """The content of a file of the cache.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is damaged, or may be somebody else's.
    """
    data = Path(path).read_bytes()
    if _named_by_stranger and Path(path).resolve().is_relative_to(Path(_named_by_stranger).resolve()):
        _tell("%s is named by settings in the working folder: compiled code is not taken from there.", path)
        raise AssbValueError("not to be trusted")
    if not may_be_trusted(path):
        _tell("%s belongs to another user, or everybody may write to it: compiled code is not taken from there.", path)
        raise AssbValueError("not to be trusted")
    end = len(data) - hashlib.sha256().digest_size
    start = max(end - len(_SEAL), 0)
    # Files of numba itself have no seal.
    if data[start:end] == _SEAL and hashlib.sha256(data[:start]).digest() != data[end:]:
        raise AssbValueError("damaged")
    return data


def _load_index(self: Any) -> dict[Any, str]:
    """As in numba; what cannot be read is as good as absent."""
    try:
        stream = io.BytesIO(_read(self._index_path))
        if pickle.load(stream) != self._version:
            return {}
        stamp, overloads = pickle.load(stream)
    except FileNotFoundError:
        return {}
    # A damaged pickle raises whatever it likes.
    except Exception as error:  # noqa: BLE001
        _logger.info("%s cannot be used (%s): its functions are compiled again.", self._index_path, error)
        return {}
    return dict(overloads) if stamp == self._source_stamp else {}


def _load_data(self: Any, name: str) -> Any:
    return pickle.loads(_read(self._data_path(name)))


def _save_index(self: Any, overloads: dict[Any, str]) -> None:
    data = pickle.dumps(self._version, protocol=-1) + self._dump((self._source_stamp, overloads))
    with self._open_for_write(self._index_path) as stream:
        stream.write(_sealed(data))


def _save_data(self: Any, name: str, data: Any) -> None:
    with self._open_for_write(self._data_path(name)) as stream:
        stream.write(_sealed(self._dump(data)))


def _save(self: Any, key: Any, data: Any) -> None:
    """The code first, under a name that no other process takes; then the index that names it."""
    overloads = self._load_index()
    name = self._data_name(secrets.randbits(48))
    self._save_data(name, data)
    overloads[key] = name
    self._save_index(overloads)
    beginning = self._data_name(0).removesuffix("0.nbc")
    for path in Path(self._cache_path).glob(f"{_escaped(beginning)}*"):
        # What nobody names: code of an older source, of a process that was slower, or half of a file.
        with contextlib.suppress(OSError):
            named = path.name in overloads.values() or path.name == self._index_name
            if not named and time.time() - path.stat().st_mtime > _OLD:
                path.unlink()


def _escaped(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    def load_overload(self: Any, signature: Any, target_context: Any) -> Any:
        try:
            return load(self, signature, target_context)
        except Exception as error:  # noqa: BLE001 - unpickling and linking raise whatever they like
            _logger.info("%s: compiled again (%s: %s).", self, type(error).__name__, error)
            return None

    return load_overload


def _saving(save: Callable[..., None]) -> Callable[..., None]:
    def save_overload(self: Any, signature: Any, data: Any) -> None:
        try:
            save(self, signature, data)
        except OSError as error:
            _tell(
                "Compiled code cannot be kept in %s (%s): every start compiles again.", self.cache_path, error.strerror
            )

    return save_overload


def _numbering(begin: Callable[..., None]) -> Callable[..., None]:
    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        """As in numba; but what is kept of the wrapper is for the very kernel that it calls, by its symbol."""
        begin(self, *arguments, **named)
        file = getattr(self.cache, "_cache_file", None)
        if file is not None:
            symbol = hashlib.sha256(self.fndesc.llvm_func_name.encode()).hexdigest()[:12]
            base = f"{file._index_name.removesuffix('.nbi')}-{symbol}"
            file._index_name = f"{base}.nbi"
            file._index_path = str(Path(file._cache_path) / file._index_name)
            file._data_name_pattern = f"{base.replace('{', '{{').replace('}', '}}')}.{{number:d}}.nbc"

    return __init__


class _LastResort(caching.UserWideCacheLocator):
    """A folder of this process, where no other can be written: numba would raise an error, at import."""

    _folder: str | None = None

    def __init__(self, function: Any, file: str) -> None:
        self._py_file = file
        self._lineno = function.__code__.co_firstlineno
        if _LastResort._folder is None:
            _LastResort._folder = _temporary()
        inside: str = self.get_suitable_cache_subpath(file)  # type: ignore[no-untyped-call,unused-ignore]
        self._cache_path = str(Path(_LastResort._folder) / inside)

    def ensure_cache_path(self) -> None:
        """Nothing is checked: what cannot be kept is not kept."""
        with contextlib.suppress(OSError):
            super().ensure_cache_path()  # type: ignore[no-untyped-call,unused-ignore]


def _temporary() -> str:
    try:
        folder = tempfile.TemporaryDirectory(prefix="hyperspy_assb-numba-", ignore_cleanup_errors=True)
    except OSError:
        return str(Path(tempfile.gettempdir(), f"hyperspy_assb-none-{secrets.token_hex(8)}"))
    _alive.append(folder)
    return folder.name


_alive: list[Any] = []
"""Folders that last as long as the process."""


def _mend() -> None:
    # numba has no types, and its methods are not meant to be replaced.
    cache: Any = caching.Cache
    file: Any = caching.IndexDataCacheFile
    places: Any = caching.CacheImpl
    wrapper: Any = wrappers._GufuncWrapper
    if getattr(cache, "_mended_by_hyperspy_assb", False):
        return
    file._load_index, file._load_data = _load_index, _load_data
    file._save_index, file._save_data, file.save = _save_index, _save_data, _save
    cache.load_overload = _loading(cache.load_overload)
    cache.save_overload = _saving(cache.save_overload)
    places._locator_classes = [*places._locator_classes, _LastResort]
    wrapper.__init__ = _numbering(wrapper.__init__)
    cache._mended_by_hyperspy_assb = True


_mend()
_settings._config_fname = os.devnull
_settings.reload_config()
entrypoints.init_all()  # type: ignore[no-untyped-call,unused-ignore]
