"""Files of HDF5 where there are no locks; whole commands there are tested with the surroundings."""

from __future__ import annotations

import errno
import os
import sys

import h5py  # noqa: F401 - as after any file was read
import pytest

from hyperspy_assb import load_spectrum_image
from hyperspy_assb.errors import AssbFileError
from hyperspy_assb.file_locks import spare_locks
from hyperspy_assb.simulation import micro_battery

fcntl = pytest.importorskip("fcntl")
VARIABLE = "HDF5_USE_FILE_LOCKING"


@pytest.mark.parametrize(
    ("number", "imported", "said", "then"),
    [
        (errno.ENOLCK, False, None, "FALSE"),
        (errno.ENOLCK, True, None, None),
        (errno.ENOLCK, False, "TRUE", "TRUE"),
        (errno.EAGAIN, False, None, None),
        (0, False, None, None),
    ],
)
def test_locks_are_spared_where_there_are_none(number, imported, said, then, tmp_path, monkeypatch):
    def flock(handle, what):
        if number:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    if said is not None:
        monkeypatch.setenv(VARIABLE, said)
    if not imported:
        monkeypatch.delitem(sys.modules, "h5py")
    spare_locks([tmp_path / "missing", tmp_path])
    assert os.environ.get(VARIABLE) == then


def test_a_file_that_is_being_written(tmp_path):
    path = tmp_path / "map.hspy"
    micro_battery(shape=(2, 2), seed=1).eels_after.save(path)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AssbFileError, match="Another program has it open for writing"):
            load_spectrum_image(path)
    load_spectrum_image(path)
