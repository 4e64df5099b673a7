"""The signal class: conversion, files, metadata, zero-loss peak, and every kind of bad input."""

from __future__ import annotations

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from exspy.signals import EELSSpectrum

from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.eels.zero_loss.position import ZeroLossStatus
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.signals import ASSBEELSSpectrum, LazyASSBEELSSpectrum, load_spectrum_image


def make(shape=(3, 4), *, offset=-10.0, scale=0.1, size=700, centre=0.3, seed=0):
    rng = np.random.default_rng(seed)
    energy = offset + scale * np.arange(size)
    mean = 2e4 * np.exp(-0.5 * ((energy - centre) / 0.4) ** 2) + 50 * np.exp(-0.5 * ((energy - 23) / 5) ** 2)
    signal = EELSSpectrum(rng.poisson(mean, (*shape, size)).astype(np.float32))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units, axis.name = offset, scale, "eV", "Energy loss"
    signal.metadata.General.title = "test"
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=9.5, collection_angle=9.0)
    signal.metadata.set_item("ASSB.note", "kept")
    signal.set_signal_type("EELS_ASSB")
    return signal


# ------------------------------------------------------------------------------------------------ the class


def test_conversion_keeps_everything():
    signal = make()
    before = signal.deepcopy()
    signal.set_signal_type("EELS")
    assert type(signal) is EELSSpectrum
    signal.set_signal_type("EELS_ASSB")
    assert type(signal) is ASSBEELSSpectrum
    np.testing.assert_array_equal(signal.data, before.data)
    assert signal.axes_manager.as_dictionary() == before.axes_manager.as_dictionary()
    assert signal.metadata.as_dictionary() == before.metadata.as_dictionary()
    assert signal.axes_manager[-1].is_binned


@pytest.mark.parametrize("signal_type", ["EELS", "TEM EELS"])
def test_exspy_keeps_its_own_signals(signal_type):
    signal = hs.signals.Signal1D(np.ones(10))
    signal.set_signal_type(signal_type)
    assert type(signal) is EELSSpectrum


def test_class_and_metadata_survive_slicing_and_arithmetic():
    signal = make()
    for other in (
        signal.inav[0],
        signal.isig[-1.0:5.0],
        signal + 1,
        signal.sum(),
        signal.deepcopy(),
        signal.rebin(scale=(1, 1, 2)),
    ):
        assert type(other) is ASSBEELSSpectrum
        assert other.metadata.ASSB.note == "kept"
    lazy = signal.as_lazy()
    assert type(lazy) is LazyASSBEELSSpectrum
    assert type(lazy.inav[0]) is LazyASSBEELSSpectrum
    lazy.compute()
    assert type(lazy) is ASSBEELSSpectrum


@pytest.mark.parametrize("extension", ["hspy", "zspy"])
@pytest.mark.parametrize("lazy", [False, True])
def test_class_survives_files(tmp_path, extension, lazy):
    signal = make()
    path = tmp_path / f"signal.{extension}"
    (signal.as_lazy() if lazy else signal).save(path)
    loaded = hs.load(path, lazy=lazy)
    assert type(loaded) is (LazyASSBEELSSpectrum if lazy else ASSBEELSSpectrum)
    np.testing.assert_array_equal(np.asarray(loaded.data), signal.data)
    assert loaded.metadata.ASSB.note == "kept"
    assert loaded.axes_manager[-1].is_binned
    signal.set_signal_type("EELS")
    signal.save(path, overwrite=True)
    converted = hs.load(path, lazy=lazy, signal_type="EELS_ASSB")
    assert isinstance(converted, ASSBEELSSpectrum)


# ------------------------------------------------------------------------------------------------ microscope


def test_good_microscope_parameters_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make().check_microscope_parameters() == MicroscopeParameters(200.0, 9.5, 9.0)


def test_placeholders_and_volts():
    signal = make()
    signal.set_microscope_parameters(beam_energy=300000.0, convergence_angle=0.0, collection_angle=100.0)
    with pytest.warns(UserWarning, match="convergence_angle|corrected|collection_angle") as caught:
        parameters = signal.check_microscope_parameters()
    assert parameters == MicroscopeParameters(300.0, None, None)
    text = " ".join(str(warning.message) for warning in caught)
    for words in ("corrected to 300 keV", "convergence_angle is 0 mrad", "collection_angle is 100 mrad", "Missing:"):
        assert words in text
    assert signal.metadata.Acquisition_instrument.TEM.beam_energy == 300000.0


def test_microscope_parameters_are_written_on_demand():
    signal = make()
    signal.set_microscope_parameters(beam_energy=300000.0, convergence_angle=0.0, collection_angle=100.0)
    with pytest.warns(UserWarning, match="convergence_angle|corrected|collection_angle"):
        signal.check_microscope_parameters(update=True)
    tem = signal.metadata.Acquisition_instrument.TEM
    assert tem.beam_energy == 300.0
    assert not tem.has_item("convergence_angle")
    assert not tem.has_item("Detector.EELS.collection_angle")
    with pytest.warns(UserWarning, match="Missing: convergence_angle, collection_angle"):
        signal.check_microscope_parameters()


def test_missing_microscope_parameters_are_named():
    signal = ASSBEELSSpectrum(np.ones(20))
    with pytest.warns(UserWarning, match="Missing: beam_energy, convergence_angle, collection_angle"):
        assert signal.check_microscope_parameters().missing == ("beam_energy", "convergence_angle", "collection_angle")


# ------------------------------------------------------------------------------------------------ zero-loss peak


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
@pytest.mark.parametrize("lazy", [False, True])
def test_centre_lies_on_the_navigation_axes(shape, lazy):
    signal = make(shape)
    signal = signal.as_lazy() if lazy else signal
    centre = signal.estimate_zero_loss_centre()
    assert centre.axes_manager.navigation_shape == signal.axes_manager.navigation_shape
    assert centre.axes_manager.signal_dimension == 0
    assert centre.metadata.Signal.quantity == "Zero-loss centre (eV)"
    np.testing.assert_allclose(centre.data, 0.3, atol=0.01)
    np.testing.assert_allclose(np.sqrt(centre.get_noise_variance().data), 0.4 / np.sqrt(2e5), rtol=0.3)


def test_maps_of_the_zero_loss():
    signal = make()
    signal.data[1, 2] = 0
    maps = signal.estimate_zero_loss()
    assert maps.status.data[1, 2] == ZeroLossStatus.EMPTY
    assert np.isnan(maps.centre.data[1, 2])
    assert np.isfinite(maps.centre.data).sum() == 11
    np.testing.assert_allclose(np.nanmean(maps.fwhm.data), 0.942, rtol=0.01)
    empty = signal.find_empty_pixels()
    assert empty.data.dtype == bool
    assert empty.data.sum() == 1
    assert empty.data[1, 2]


@pytest.mark.parametrize("method", ["fit", "mirror", "reference"])
@pytest.mark.parametrize("lazy", [False, True])
def test_removal_gives_a_signal_with_variance(method, lazy):
    signal = make()
    reference = make((), seed=5).isig[:130] if method == "reference" else None
    before = signal.data.copy()
    removed = (signal.as_lazy() if lazy else signal).remove_zero_loss(method, reference=reference)
    assert type(removed) is (LazyASSBEELSSpectrum if lazy else ASSBEELSSpectrum)
    np.testing.assert_array_equal(signal.data, before)
    assert removed.axes_manager.as_dictionary() == signal.axes_manager.as_dictionary()
    assert removed.metadata.ASSB.Zero_loss.removed_by == method
    assert removed.metadata.ASSB.note == "kept"
    assert removed.get_noise_variance().data.shape == removed.data.shape
    left = np.asarray(removed.isig[1.7:3.0].data).sum(axis=-1)
    assert np.abs(left).max() < 60
    np.testing.assert_allclose(np.asarray(removed.isig[20.0:26.0].data), signal.isig[20.0:26.0].data, atol=20)


def test_mirror_says_how_far_it_reaches():
    with pytest.warns(UserWarning, match="Only 5.3 eV are recorded below the zero-loss peak"):
        make(offset=-5.0).remove_zero_loss("mirror")


# ------------------------------------------------------------------------------------------------ bad input


def methods():
    return [
        lambda s: s.estimate_zero_loss(),
        lambda s: s.estimate_zero_loss_centre(),
        lambda s: s.remove_zero_loss(),
    ]


@pytest.mark.parametrize("method", methods())
class TestBadInput:
    def test_empty_signal(self, method):
        signal = ASSBEELSSpectrum(np.zeros(0))
        signal.metadata.General.title = "headerless"
        with pytest.raises(ValueError, match="'headerless' is empty"):
            method(signal)

    def test_nan(self, method):
        signal = make()
        signal.data[1, 2, 100] = np.nan
        with pytest.warns(AssbWarning, match="in 1 of 12 pixels: they are left out"):
            found = method(signal)
        maps = getattr(found, "centre", found)
        assert np.isnan(maps.data[1, 2]).all()
        assert np.isfinite(maps.data[0, 0]).any()

    def test_axis_not_in_ev(self, method):
        signal = make()
        signal.axes_manager[-1].units = "keV"
        with pytest.raises(ValueError, match=r"energy axis of 'test' is in keV, not eV: .*convert_to_units"):
            method(signal)

    def test_reversed_axis(self, method):
        signal = make()
        signal.axes_manager[-1].scale *= -1
        with pytest.raises(ValueError, match="energy axis of 'test' is reversed"):
            method(signal)

    def test_non_uniform_axis(self, method):
        signal = make()
        signal.axes_manager[-1].convert_to_non_uniform_axis()
        with pytest.raises(NotImplementedError, match="energy axis of 'test' is non-uniform"):
            method(signal)

    def test_no_zero_loss_in_range(self, method):
        signal = make()
        signal.axes_manager[-1].offset = 100
        with pytest.raises(ValueError, match="no zero-loss peak in the range of the energy axis, 100 to"):
            method(signal)


def test_core_loss_without_peak():
    energy = np.arange(10, 500, 0.5)
    signal = ASSBEELSSpectrum(1e6 * energy**-2.0)
    signal.axes_manager[-1].offset, signal.axes_manager[-1].scale = 10, 0.5
    with pytest.raises(ValueError, match="no zero-loss peak in range: none of the 1 spectra"):
        signal.estimate_zero_loss()


def test_all_pixels_zero():
    signal = make()
    signal.data[:] = 0
    with pytest.raises(ValueError, match="no zero-loss peak in range: none of the 12 spectra"):
        signal.estimate_zero_loss()
    assert signal.find_empty_pixels().data.all()


def test_range_that_stops_before_50_ev():
    signal = make(size=560)
    signal.validate_energy_axis()
    with pytest.raises(ValueError, match=r"ends at 45\.9 eV, but must reach 50 eV for quantification"):
        signal.validate_energy_axis(minimum_end=50, purpose="quantification")


@pytest.mark.parametrize("reference", [np.ones(700), "vacuum"])
def test_reference_must_be_a_signal(reference):
    with pytest.raises(ValueError, match="reference must be a signal"):
        make().remove_zero_loss("reference", reference=reference)


def test_reference_must_be_one_spectrum():
    with pytest.raises(ValueError, match="has navigation axes"):
        make().remove_zero_loss("reference", reference=make())


@pytest.mark.parametrize("lazy", [False, True])
def test_wrong_method(lazy):
    signal = make().as_lazy() if lazy else make()
    with pytest.raises(ValueError, match="'fit', 'mirror', 'reference'"):
        signal.remove_zero_loss("guess")
    with pytest.raises(ValueError, match="needs reference="):
        signal.remove_zero_loss("reference")


# ------------------------------------------------------------------------------------------------ files


def test_load_converts(tmp_path):
    signal = make()
    signal.set_signal_type("EELS")
    signal.save(tmp_path / "a.hspy")
    assert type(load_spectrum_image(tmp_path / "a.hspy")) is ASSBEELSSpectrum
    assert type(load_spectrum_image(str(tmp_path / "a.hspy"), lazy=True)) is LazyASSBEELSSpectrum


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.dm3"):
        load_spectrum_image(tmp_path / "missing.dm3")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("garbage.dm3", bytes(range(256)) * 20, r"garbage\.dm3 could not be read .* truncated, damaged"),
        ("zero.dm3", b"", r"zero\.dm3 is an empty file"),
        ("what.xyz", b"text", r"what\.xyz could not be read"),
        ("table.hdf5", b"text", r"table\.hdf5 could not be read .* reader="),
        ("headerless.msa", b"1.0, 2.0\n2.0, 3.0\n", r"headerless\.msa"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_spectrum_image(tmp_path / name)


def test_file_without_spectrum(tmp_path):
    hs.signals.Signal2D(np.ones((4, 5))).save(tmp_path / "image.hspy")
    with pytest.raises(ValueError, match=r"image\.hspy holds no EELS spectrum: it holds <Signal2D"):
        load_spectrum_image(tmp_path / "image.hspy")


def test_truncated_real_file(shared_data, tmp_path):
    content = (shared_data / "eels/nmc_battery/EELS_ZLP_EELS_Spectrum_Image.dm3").read_bytes()
    (tmp_path / "half.dm3").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.dm3 could not be read .* truncated"):
        load_spectrum_image(tmp_path / "half.dm3")


# ------------------------------------------------------------------------------------------------ real files


@pytest.mark.parametrize(
    ("name", "low", "high", "fwhm", "channel"),
    [
        ("nmc_battery/EELS_ZLP_EELS_Spectrum_Image.dm3", -3.5, -2.7, 2.3, 0.3),
        ("lowloss_map/lowloss_16x16_0.3eV.dm3", 7.0, 10.4, 1.3, 0.3),
        ("aluminium/AL-DFoffset0.00.dm3", -0.15, -0.12, 0.16, 0.02),
        ("tio2_dual/tio2_low_loss.dm4", -0.85, 0.6, 0.48, 0.025),
    ],
)
def test_zero_loss_of_real_files(shared_data, name, low, high, fwhm, channel):
    """Not a known truth: the peak is where a look at the spectra finds it, within two channels of the maximum."""
    signal = load_spectrum_image(shared_data / "eels" / name)
    maps = signal.estimate_zero_loss()
    assert (maps.status.data == ZeroLossStatus.OK).all()
    assert low < maps.centre.data.min()
    assert maps.centre.data.max() < high
    assert np.median(maps.fwhm.data) == pytest.approx(fwhm, rel=0.05)
    highest = signal.axes_manager[-1].axis[signal.data.argmax(axis=-1)]
    distance = np.abs(highest - maps.centre.data.reshape(highest.shape)) / channel
    assert np.median(distance) < 0.75
    assert distance.max() < 2.5


def test_halves_of_a_real_map_agree_on_the_jitter(shared_data):
    """Odd and even pixels share no noise; a row-to-row drift must appear alike in both."""
    signal = load_spectrum_image(shared_data / "eels/lowloss_map/lowloss_16x16_0.3eV.dm3")
    odd = signal.inav[1::2].estimate_zero_loss_centre().data
    even = signal.inav[::2].estimate_zero_loss_centre().data
    whole = signal.estimate_zero_loss_centre().data
    np.testing.assert_allclose(whole[:, 1::2], odd, atol=0.02)
    np.testing.assert_allclose(whole[:, ::2], even, atol=0.02)


# Gatan's gain is in electrons per count.
@pytest.mark.filterwarnings("ignore:.*was recorded, but the counts scatter:hyperspy_assb.errors.AssbWarning")
@pytest.mark.filterwarnings("ignore:Only .* eV are recorded below")
@pytest.mark.parametrize("method", ["fit", "mirror"])
@pytest.mark.parametrize(
    "name", ["nmc_battery/EELS_ZLP_EELS_Spectrum_Image.dm3", "lowloss_map/lowloss_16x16_0.3eV.dm3"]
)
def test_removal_from_real_files(shared_data, name, method):
    """Beyond 15 eV nearly nothing is taken away, at the peak nearly all, and what is left is not negative."""
    signal = load_spectrum_image(shared_data / "eels" / name)
    centre = signal.estimate_zero_loss_centre().data[..., None]
    removed = signal.remove_zero_loss(method)
    distance = signal.axes_manager[-1].axis - centre
    assert np.isfinite(removed.data).all()

    def share(low, high):
        band = (distance > low) & (distance < high)
        return np.where(band, removed.data, 0).sum() / np.where(band, signal.data, 0).sum()

    assert abs(share(-1, 1)) < 0.06
    assert share(15, 30) > 0.9
    assert 0 < share(4, 7) < 0.9
