"""The signal of diffraction patterns: class, calibration, files, blocks."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb import load_patterns
from hyperspy_assb.acom.crystals.kinematical import electron_wavelength
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.signals import ACOMPatterns, LazyACOMPatterns
from hyperspy_assb.signals.acom.pattern_metadata import read_scan


def patterns(shape=(3, 4), size=(20, 24), *, scale=0.05, units="1/Å", centre=(11.0, 9.0), lazy=False):
    data = np.random.default_rng(0).poisson(3, (*shape, *size)).astype(np.uint16)
    s = hs.signals.Signal2D(data)
    for axis, name, place in zip(s.axes_manager.signal_axes, ("kx", "ky"), centre, strict=True):
        axis.name, axis.units, axis.scale, axis.offset = name, units, scale, -scale * place
    s.set_signal_type("ACOM")
    s.metadata.General.title = "scan"
    s.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    return s.as_lazy() if lazy else s


# ----------------------------------------------------------------------- class


def test_the_class_stays_whatever_is_done(tmp_path):
    s = patterns()
    assert type(s) is ACOMPatterns
    for other in (s.inav[1:], s.isig[2:5, :], s.deepcopy(), s.sum(), s * 2, s.inav[0, 0], s.rebin(scale=(1, 1, 2, 2))):
        assert type(other) is ACOMPatterns
    s.set_diffraction_calibration(scan_rotation=30.0, ellipticity=0.02, ellipse_azimuth=45.0)
    for other in (s.inav[1:], s.deepcopy(), s.sum()):
        assert repr(other.geometry) == repr(s.geometry)
    for ending in ("hspy", "zspy"):
        path = tmp_path / f"scan.{ending}"
        s.save(path)
        for lazy, kind in ((False, ACOMPatterns), (True, LazyACOMPatterns)):
            back = load_patterns(path, lazy=lazy)
            assert type(back) is kind
            assert repr(back.geometry) == repr(s.geometry)  # NaN is not NaN
    lazy = patterns(lazy=True)
    assert type(lazy) is LazyACOMPatterns
    lazy.compute()
    assert type(lazy) is ACOMPatterns


# ----------------------------------------------------------------- calibration


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        (0.05, "1/Å", 0.05),
        (0.05, "$A^{-1}$", 0.05),
        (0.05, "Å^-1", 0.05),
        (0.05, "1/angstrom", 0.05),
        (0.05, "Å⁻¹", 0.05),
        (0.5, "1/nm", 0.05),
        (0.5, "1 / nm", 0.05),
        (0.5, "nm$^{-1}$", 0.05),
        (2.0, "mrad", 2e-3 / electron_wavelength(200.0)),
    ],
)
def test_units_of_the_axes(scale, units, expected):
    s = patterns(scale=scale, units=units)
    assert s.geometry.scale == pytest.approx(expected, rel=1e-9)
    assert s.geometry.centre == pytest.approx((11.0, 9.0))


@pytest.mark.parametrize(("length", "camera"), [(0.016, 0.2), (0.016, 200.0)])
def test_lengths_on_the_camera(length, camera):
    s = patterns(scale=length, units="cm")
    with pytest.raises(ValueError, match="camera length is missing in the metadata"):
        _ = s.geometry
    s.metadata.set_item("Acquisition_instrument.TEM.camera_length", camera)
    assert s.geometry.scale == pytest.approx(0.16 / 200 / electron_wavelength(200.0))


def test_axes_without_an_offset_have_the_beam_in_the_middle():
    assert patterns(centre=(0.0, 0.0)).geometry.centre == (11.5, 9.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": ""}, "axis 'kx' of 'scan' is not calibrated"),
        ({"units": "px", "scale": 1.0}, "set_diffraction_calibration"),
        ({"scale": 7.8e-20}, "impossible for a diffraction pattern"),
        ({"scale": 30.0}, "half the frame is"),
        ({"centre": (30.0, 9.0)}, "axis 'kx' of 'scan' puts the direct beam at pixel 30, outside"),
        ({"centre": (3.0, -4.0)}, "axis 'ky' of 'scan' puts the direct beam at pixel -4, outside"),
    ],
)
def test_calibrations_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        _ = patterns(**change).geometry


def test_pixels_that_are_not_square_are_an_ellipse():
    s = patterns()
    s.axes_manager["ky"].scale, s.axes_manager["ky"].offset = 0.06, -0.06 * 9
    geometry = s.geometry
    np.testing.assert_allclose(geometry.to_reciprocal([[12.0, 9.0], [11.0, 10.0]]), [[0.05, 0], [0, 0.06]], atol=1e-12)
    s.set_diffraction_calibration(geometry=geometry)
    assert s.axes_manager["ky"].scale == pytest.approx(s.axes_manager["kx"].scale)
    np.testing.assert_allclose(s.geometry.to_reciprocal([[11.0, 10.0]]), [[0, 0.06]], atol=1e-12)


def test_an_axis_that_runs_backwards():
    s = patterns()
    s.axes_manager["ky"].scale, s.axes_manager["ky"].offset = -0.05, 0.05 * 9
    assert s.geometry.mirrored
    np.testing.assert_allclose(s.geometry.to_reciprocal([[11.0, 10.0]]), [[0.0, -0.05]], atol=1e-12)
    s.axes_manager["kx"].scale = -0.05
    with pytest.raises(ValueError, match="axis 'kx' of 'scan' runs backwards"):
        _ = s.geometry


def test_a_calibration_that_is_set_is_read_again():
    s = patterns(units="", scale=1.0)
    with pytest.raises(ValueError, match="not calibrated"):
        s.set_diffraction_calibration(centre=(10.0, 8.0))
    s.set_diffraction_calibration(0.04, centre=(10.0, 8.0), scan_rotation=-20.0, mirrored=True)
    assert s.geometry.scale == pytest.approx(0.04)
    assert s.geometry.centre == pytest.approx((10.0, 8.0))
    assert s.geometry.scan_rotation == pytest.approx(np.radians(-20.0))
    assert s.geometry.mirrored
    s.set_diffraction_calibration(0.03)
    assert s.geometry.centre == pytest.approx((10.0, 8.0))
    assert s.geometry.mirrored
    s.set_diffraction_calibration(centre=(3.0, 4.0))
    assert s.geometry.scale == pytest.approx(0.03)
    full = PatternGeometry(0.02, (5.0, 6.0), 0.03, 1.0, 0.5, False, 1e-5, (0.1, 0.2), 0.001)
    s.set_diffraction_calibration(geometry=full)
    found = s.geometry
    for name in ("scale", "centre", "ellipticity", "scan_rotation", "scale_std", "centre_std", "ellipticity_std"):
        assert getattr(found, name) == pytest.approx(getattr(full, name))
    with pytest.raises(ValueError, match="centre: 40 lies outside of the frame, which has 24 columns"):
        s.set_diffraction_calibration(centre=(40.0, 3.0))


def test_a_block_file_without_camera_length_and_energy():
    s = patterns(units="cm", scale=0.024)
    s.metadata.set_item("Acquisition_instrument.TEM", {"camera_length": 0.0, "beam_energy": 0.0})
    with pytest.raises(ValueError, match=r"camera length is missing.*beam_energy=.*--scale and --beam-energy"):
        _ = s.geometry
    s.set_diffraction_calibration(beam_energy=200)
    assert s.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    with pytest.raises(ValueError, match=r"\(scale=\.\.\.\), on the command line by --scale\. "):
        _ = s.geometry
    s.set_diffraction_calibration(0.024, beam_energy=80.0)
    assert s.geometry.scale == 0.024
    assert s.metadata.Acquisition_instrument.TEM.beam_energy == 80.0
    with pytest.raises(ValueError, match="beam_energy: 200000 keV"):
        s.set_diffraction_calibration(0.03, beam_energy=2e5)
    assert s.geometry.scale == 0.024


# ---------------------------------------------------------------------- blocks


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("size", [1, 4000, 10**9])
@pytest.mark.parametrize("shape", [(5, 7), (7,), ()])
def test_blocks_cover_the_scan_once(lazy, size, shape):
    s = patterns(shape, lazy=lazy)
    whole = np.asarray(s.data).reshape(*read_scan(s).shape, 20, 24)
    seen = np.zeros(read_scan(s).shape, dtype=int)
    for rows, columns, block in read_scan(s).blocks(block_bytes=size):
        np.testing.assert_array_equal(block, whole[rows, columns])
        assert block.nbytes <= max(size, 20 * 24 * 2)
        seen[rows, columns] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_sample_is_spread_over_the_scan(lazy):
    s = patterns((10, 12), lazy=lazy)
    sample = read_scan(s).sample(30)
    assert 20 <= len(sample) <= 45
    assert len(read_scan(s).sample(10**6)) == 120
    whole = {pattern.tobytes() for pattern in np.asarray(s.data).reshape(120, 20, 24)}
    assert {pattern.tobytes() for pattern in sample} <= whole
    assert len(read_scan(patterns(())).sample(5)) == 1


def test_a_series_of_scans_is_refused():
    with pytest.raises(ValueError, match="3 navigation axes"):
        read_scan(patterns((2, 2, 2)))


@pytest.mark.parametrize("lazy", [False, True])
def test_virtual_bright_field(lazy):
    s = patterns(lazy=lazy)
    found = s.virtual_bright_field(0.051, show_progressbar=False)
    data = np.asarray(s.data)
    expected = data[..., 9, 10:13].sum(axis=-1) + data[..., 8, 11] + data[..., 10, 11]
    np.testing.assert_array_equal(found.data, expected)
    assert found.axes_manager.navigation_shape == (4, 3)
    # At least 3 pixels around.
    assert (s.virtual_bright_field(show_progressbar=False).data > found.data).all()
    with pytest.raises(ValueError, match="radius: no pixel"):
        s.virtual_bright_field(-1.0, show_progressbar=False)


# ----------------------------------------------------------------------- files


def test_files_that_are_not_there_damaged_or_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*missing\.blo"):
        load_patterns(tmp_path / "missing.blo")
    (tmp_path / "empty.blo").touch()
    with pytest.raises(ValueError, match=r"empty\.blo is an empty file"):
        load_patterns(tmp_path / "empty.blo")
    (tmp_path / "broken.blo").write_bytes(b"IMGBLO" + bytes(40))
    with pytest.raises(ValueError, match=r"broken\.blo could not be read"):
        load_patterns(tmp_path / "broken.blo")
    hs.signals.Signal1D(np.zeros(5)).save(tmp_path / "line.hspy")
    with pytest.raises(ValueError, match=r"line\.hspy holds no diffraction pattern"):
        load_patterns(tmp_path / "line.hspy")


@pytest.mark.parametrize(
    ("file", "scan", "frame"),
    [
        ("blockfile/test1.blo", (3, 2), (144, 144)),
        ("merlin/001_4x2_6bit.mib", (2, 4), (256, 256)),
        ("merlin/002_4x2_6bit_roi128.mib", (2, 4), (128, 256)),
        ("sped_austenite/subset_data.hspy", (2, 2), (256, 256)),
        ("single_patterns/Amorphous.hspy", (), (512, 512)),
        ("single_patterns/au_xgrating_20cm.tif", (), (256, 256)),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.filterwarnings("ignore:Loading old file version")
def test_real_files(shared_data, file, scan, frame, lazy):
    s = load_patterns(shared_data / "diffraction" / file, lazy=lazy)
    assert type(s) is (LazyACOMPatterns if lazy else ACOMPatterns)
    assert s.data.shape == (*scan, *frame)
    blocks = list(read_scan(s, PatternGeometry(scale=0.01, centre=(1.0, 1.0))).blocks())
    assert sum(block.sum(dtype=float) for *_, block in blocks) > 0


@pytest.mark.filterwarnings("ignore:Loading old file version")
def test_calibration_of_real_files(shared_data):
    folder = shared_data / "diffraction"
    block = load_patterns(folder / "blockfile" / "test1.blo")
    # 0.016062 cm of a camera at 20 cm, 200 keV.
    assert block.geometry.scale == pytest.approx(0.016062 / 20 / electron_wavelength(200.0), rel=1e-4)
    steel = load_patterns(folder / "sped_austenite" / "subset_data.hspy")
    assert steel.geometry.scale == pytest.approx(0.01261, rel=1e-3)
    assert steel.geometry.centre == pytest.approx((128.0, 128.0), abs=0.1)
    with pytest.raises(ValueError, match="is not calibrated"):
        _ = load_patterns(folder / "merlin" / "001_4x2_6bit.mib").geometry
    with pytest.raises(ValueError, match="impossible for a diffraction pattern"):
        _ = load_patterns(folder / "single_patterns" / "Amorphous.hspy").geometry
