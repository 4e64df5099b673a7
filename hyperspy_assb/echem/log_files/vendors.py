"""Which reader a log needs."""

from __future__ import annotations

from os import PathLike

from hyperspy_assb.echem.current_log import CurrentLog, checked_log
from hyperspy_assb.echem.log_files.biologic import read_mpr, read_mpt
from hyperspy_assb.echem.log_files.delimited import read_protochips, read_table
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError
from hyperspy_assb.staging import path_of


def read_log(path: str | PathLike[str]) -> CurrentLog:
    """Read the log of a potentiostat or biasing holder.

    Raises
    ------
    AssbFileError
        If it is missing, of another kind, damaged, or holds no potential and current; the message names the file.
    """
    path = path_of(path, "path")
    if not path.is_file():
        raise AssbFileNotFoundError(f"There is no file {path}: check its name and folder.")
    start = path.read_bytes()[:4096]
    if not start:
        raise AssbFileError(f"{path} is an empty file.")
    if start.startswith(b"BIO-LOGIC MODULAR FILE"):
        return checked_log(read_mpr(path))
    if start.startswith(b"EC-Lab ASCII FILE"):
        return checked_log(read_mpt(path))
    if start.startswith(b"num_header_lines"):
        raise AssbFileError(f"{path} is a log of a mass spectrometer (Zilien): load the .mpt file beside it.")
    if b"\0" in start:
        raise AssbFileError(f"{path} is a binary file of a kind that is not known: export it as text.")
    first = start.decode("latin-1").splitlines()[0].lower().replace(" ", "")
    if first.startswith("time,notes"):
        return checked_log(read_protochips(path))
    return checked_log(read_table(path))
