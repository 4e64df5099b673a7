"""Raw files that are missing, cut or something else: one error class, and one sentence with the name of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError

LOADERS = ("load_spectrum_image", "load_eds_spectrum_image", "load_patterns")


def cut(path: Path) -> None:
    hs.signals.Signal1D(np.arange(64.0)).save(path)
    path.write_bytes(path.read_bytes()[:300])


def letter(path: Path) -> None:
    path.write_text("Dear reader", "utf-8")


def empty(path: Path) -> None:
    path.touch()


def another(path: Path) -> None:
    hs.signals.Signal1D(np.arange(64.0)).save(path)
    loaded = hs.load(path)
    loaded.set_signal_type("DielectricFunction")
    loaded.save(path, overwrite=True)


@pytest.mark.parametrize("write", [cut, letter, empty])
@pytest.mark.parametrize("name", LOADERS)
def test_files_that_cannot_be_read(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "map.hspy"
    write(path)
    with pytest.raises(AssbFileError) as caught:
        getattr(hyperspy_assb, name)(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message
    # As before there was a class of its own.
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", LOADERS)
def test_files_that_hold_something_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / "map.hspy"
    another(path)
    with pytest.raises(AssbFileError, match=r"map\.hspy holds no .*: it holds"):
        getattr(hyperspy_assb, name)(path)


@pytest.mark.parametrize("name", [*LOADERS, "load"])
def test_missing_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(AssbFileNotFoundError, match=r"^There is no file .*map\.hspy"):
        getattr(hyperspy_assb, name)(tmp_path / "map.hspy")
