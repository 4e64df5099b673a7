"""Files of HDF5 in folders whose file systems have no locks, as many of networks: read without them.

HDF5 locks what it opens, and fails where that cannot be done. Whether it does is a variable of the environment that it
reads once, when h5py is imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

_VARIABLE = "HDF5_USE_FILE_LOCKING"
_NONE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_SAID = re.compile(r"unable to lock file, errno = (\d+)")


def spare_locks(paths: Iterable[Path]) -> None:
    """Have HDF5 do without locks if there are none where a file or folder lies, unless the user has said otherwise.

    Of no effect once h5py is imported.
    """
    if _VARIABLE not in os.environ and "h5py" not in sys.modules and any(map(_lacks_locks, paths)):
        os.environ[_VARIABLE] = "FALSE"


def about_locks(error: BaseException) -> str:
    """What to do if HDF5 could not lock a file; empty if an error is another one.

    Examples
    --------
    >>> about_locks(OSError("unable to lock file, errno = 11"))
    'Another program has it open for writing: close it there.'
    >>> about_locks(OSError("No such file"))
    ''
    """
    found = _SAID.search(str(error))
    if found is None:
        return ""
    if int(found[1]) in _NONE:
        return f"Its file system has no locks: set {_VARIABLE}=FALSE before Python starts, or take a copy elsewhere."
    return "Another program has it open for writing: close it there."


def _lacks_locks(path: Path) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # of Windows, whose locks HDF5 does not use
        return False
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in _NONE
        finally:
            os.close(handle)
    return False
