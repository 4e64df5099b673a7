"""Scans that come as one line or as one array, axes that are exchanged, scales that are none."""

from __future__ import annotations

import dataclasses

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb import load_patterns
from hyperspy_assb.signals.acom.scan_shape import as_pattern_scan
from hyperspy_assb.signals.acom.signal import ACOMPatterns, LazyACOMPatterns


def counts(*shape):
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def signal_of(data, lazy=False):
    signal = hs.signals.Signal2D(data).as_lazy() if lazy else hs.signals.Signal2D(data)
    signal.set_signal_type("ACOM")
    return signal


@pytest.mark.parametrize("lazy", [False, True])
def test_a_line_is_folded_in_the_order_in_which_it_came(lazy):
    data = counts(6, 8, 9)
    signal = signal_of(data, lazy)
    signal.axes_manager[0].scale, signal.axes_manager[0].units = 5.0, "nm"
    signal.set_diffraction_calibration(0.05, centre=(4, 4))
    found = as_pattern_scan(signal, (2, 3))
    assert type(found) is (LazyACOMPatterns if lazy else ACOMPatterns)
    np.testing.assert_array_equal(np.asarray(found.data), data.reshape(2, 3, 8, 9))
    assert found.axes_manager.navigation_shape == (3, 2)
    np.testing.assert_equal(dataclasses.asdict(found.geometry), dataclasses.asdict(signal.geometry))
    assert signal.data.shape == (6, 8, 9)


@pytest.mark.parametrize("lazy", [False, True])
def test_one_array_is_rows_columns_and_patterns(lazy):
    data = counts(2, 3, 4, 5)
    whole = hs.signals.BaseSignal(da.from_array(data) if lazy else data)
    whole = whole.as_lazy() if lazy else whole
    found = as_pattern_scan(whole)
    np.testing.assert_array_equal(np.asarray(found.data), data)
    assert found.axes_manager.signal_shape == (5, 4)
    assert found.axes_manager.navigation_shape == (3, 2)


def test_a_wrong_shape_is_told_the_right_ones():
    with pytest.raises(ValueError, match=r"there are 6 patterns; rows and columns may be .*\(2, 3\)"):
        as_pattern_scan(signal_of(counts(6, 8, 9)), (2, 4))


def test_what_a_file_holds_is_folded(tmp_path):
    signal_of(counts(6, 8, 9)).save(tmp_path / "line.hspy")
    assert load_patterns(tmp_path / "line.hspy", scan_shape=(3, 2)).data.shape == (3, 2, 8, 9)
    with pytest.raises(ValueError, match=r"line\.hspy: scan_shape: 5 x 5"):
        load_patterns(tmp_path / "line.hspy", scan_shape=(5, 5))


@pytest.mark.parametrize("lazy", [False, True])
def test_files_of_one_array(shared_data, lazy):
    found = load_patterns(shared_data / "files" / "py4DSTEM_size2x3x4x5.h5", reader="EMD", lazy=lazy)
    assert found.data.shape == (2, 3, 4, 5)
    found = load_patterns(shared_data / "files" / "map4x4.xml", reader="EMPAD", lazy=lazy, scan_shape=(2, 8))
    assert found.data.shape[:2] == (2, 8)


def test_exchanged_axes_are_named():
    signal = signal_of(counts(8, 9, 3, 4))
    for axis in signal.axes_manager.navigation_axes:
        axis.units, axis.scale = "1/nm", 0.5
    for axis in signal.axes_manager.signal_axes:
        axis.units, axis.scale = "nm", 5.0
    with pytest.raises(ValueError, match=r"exchanged.*s = s\.T"):
        signal.index_orientations(["lfp"])
    assert signal.T.geometry.scale == pytest.approx(0.05)


@pytest.mark.parametrize("units", ["1/nm", "nm^-1"])
def test_a_scale_of_one_is_none(units):
    signal = signal_of(counts(2, 2, 64, 64))
    for axis in signal.axes_manager.signal_axes:
        axis.units, axis.scale = units, 1.0
    with pytest.raises(ValueError, match=r"exactly 1 .*set_diffraction_calibration"):
        _ = signal.geometry
    signal.set_diffraction_calibration(0.1)
    assert signal.geometry.scale == 0.1


def test_axes_without_names_are_mapped_and_saved(tmp_path, make_scan, rng):
    import hyperspy_assb
    from hyperspy_assb.acom.crystals.frames import upper
    from hyperspy_assb.signals.acom.orientations import OrientationMaps

    signal = signal_of(counts(4, 5, 8, 9))
    axes = tuple({**axis, "navigate": True} for axis in signal.axes_manager._get_navigation_axes_dicts())
    maps = OrientationMaps(make_scan(np.zeros((4, 5), dtype=int), upper(rng.normal(size=(4, 5, 4)))), axes=axes)
    assert [axis.name for axis in maps.ipf("z").axes_manager.signal_axes] == ["x", "y"]
    assert maps.pixel_size() == ((1.0, 1.0), "px")
    for result in (maps, maps.grain_boundaries()):
        result.save(tmp_path / "maps.hspy", overwrite=True)
        assert hyperspy_assb.load(tmp_path / "maps.hspy").shape == (4, 5)
    maps.export(tmp_path / "maps.ang")
