"""Raw files that are missing, cut or something else: one error class, and one sentence with the name of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbWarning
from hyperspy_assb.signals.loading import load_spectra

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


def map_of(title: str, first: float, *, signal_type: str = "EELS", size: int = 64, dtype: type = float):
    signal = hs.signals.Signal1D(np.ones((2, 3, size), dtype=dtype))
    signal.set_signal_type(signal_type)
    signal.metadata.General.title = title
    axis = signal.axes_manager.signal_axes[0]
    axis.name, axis.offset, axis.scale, axis.units = "Energy loss", first, 0.5, "eV"
    return signal


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A file whose reader gives these signals, in this order."""

    def of(*signals) -> Path:
        path = tmp_path / "several.emd"
        path.write_bytes(b"1")
        monkeypatch.setattr(hs, "load", lambda *args, **options: [s.deepcopy() for s in signals])
        return path

    return of


def test_of_several_maps_the_low_loss_is_taken_and_all_are_named(several) -> None:
    path = several(map_of("core loss", 480.0, size=96), map_of("low loss", -10.0))
    with pytest.warns(AssbWarning, match=r"0: 'core loss' .* 480 to .*; 1: 'low loss' .*Number 1 was taken.*--dataset"):
        signal = hyperspy_assb.load_spectrum_image(path)
    assert signal.metadata.General.title == "low loss"


@pytest.mark.parametrize("dataset", ["core loss", "CORE", 0, "0"])
def test_a_dataset_is_chosen_by_title_or_number(several, dataset) -> None:
    path = several(map_of("core loss", 480.0), map_of("low loss", -10.0))
    assert hyperspy_assb.load_spectrum_image(path, dataset=dataset).metadata.General.title == "core loss"


@pytest.mark.parametrize(
    ("dataset", "words"), [("loss", "fits 2"), ("edx", "matches no title"), (7, "matches no title")]
)
def test_a_dataset_that_is_not_there_is_told_with_those_that_are(several, dataset, words) -> None:
    path = several(map_of("core loss", 480.0), map_of("low loss", -10.0))
    with pytest.raises(AssbFileError, match=rf"{words} .*0: 'core loss'.*1: 'low loss'"):
        hyperspy_assb.load_spectrum_image(path, dataset=dataset)


def test_a_dataset_of_another_kind_is_refused(several) -> None:
    path = several(map_of("low loss", -10.0), hs.signals.Signal2D(np.ones((4, 4))))
    with pytest.raises(AssbFileError, match="holds no EELS spectrum: it holds <Signal2D"):
        hyperspy_assb.load_spectrum_image(path, dataset=1)


@pytest.mark.parametrize("signal_type", ["", "EELS"])
def test_complex_spectra_are_refused_in_words(several, signal_type) -> None:
    signal = hs.signals.ComplexSignal1D(np.fft.fft(np.arange(64.0)))
    signal.metadata.Signal.signal_type = signal_type
    with pytest.raises(AssbFileError, match="complex numbers"):
        hyperspy_assb.load_spectrum_image(several(signal))


def test_counts_beside_complex_spectra_are_taken(several) -> None:
    transform = hs.signals.ComplexSignal1D(np.fft.fft(np.arange(640.0)))
    transform.metadata.Signal.signal_type = "EELS"
    assert hyperspy_assb.load_spectrum_image(several(transform, map_of("low", -10.0))).metadata.General.title == "low"


@pytest.mark.parametrize("name", ["Energy loss", "image series"])
def test_a_stack_of_images_is_told_how_to_turn_it(several, name) -> None:
    stack = map_of("stack", -10.0).as_signal2D((0, 1))
    stack.metadata.Signal.signal_type = ""
    stack.axes_manager.navigation_axes[0].name = name
    path = several(stack)
    with pytest.raises(AssbFileError, match=rf"energies are on a navigation axis.*as_signal1D\('{name}'\)"):
        hyperspy_assb.load_spectrum_image(path)
    turned = stack.as_signal1D(name)
    turned.set_signal_type("EELS_ASSB")
    assert turned.validate_energy_axis()[0] == -10.0


@pytest.mark.parametrize(("signal_type", "expected"), [(None, "EELS_ASSB"), ("EDS", "EDS_TEM_ASSB")])
def test_spectra_of_a_file_that_does_not_say_what_they_are(several, signal_type, expected) -> None:
    path = several(map_of("map", 0.0, signal_type=""))
    if signal_type is None:
        with pytest.warns(AssbWarning, match="does not say whether its spectra are EELS or X-rays"):
            signal = load_spectra(path)
    else:
        signal = load_spectra(path, signal_type=signal_type)
    assert signal.metadata.Signal.signal_type == expected


def test_readers_that_share_an_ending_are_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("1,2\n", "utf-8")
    with pytest.raises(AssbFileError, match=r"could not be read .*Impulse.* reader= \(--reader\)"):
        hyperspy_assb.load_spectrum_image(path)


def test_a_file_that_memory_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "large.hspy"
    signal = hs.signals.Signal1D(np.ones((2, 3, 64)))
    signal.axes_manager.signal_axes[0].units = "eV"
    signal.save(path)
    with h5py.File(path, "r+") as file:
        group = next(iter(file["Experiments"].values()))
        del group["data"]
        group.create_dataset("data", shape=(10**6, 10**6, 2048), dtype="f8", chunks=(16, 16, 64))
    with pytest.raises(AssbFileError, match=r"large\.hspy needs more memory than there is .*load it with lazy=True"):
        load_spectra(path)
