"""The series as a signal: reading, times, dose, potential, drift."""

from __future__ import annotations

from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbValueError, AssbWarning
from hyperspy_assb.signals import ASSBSTEMSeries, LazyASSBSTEMSeries
from hyperspy_assb.simulation.series import (
    SeriesConditions,
    VoltammogramConditions,
    simulate_series,
    simulate_voltammogram,
)

SMALL = SeriesConditions(frames=5, size=96)


@pytest.fixture
def series() -> ASSBSTEMSeries:
    return simulate_series(SMALL, seed=1)[0]


def frames(
    unit: object = "s", name: str = "Time", scale: float = 2.0, shape: tuple[int, ...] = (3, 8, 9)
) -> ASSBSTEMSeries:
    axes = [{"name": name, "size": shape[0], "scale": scale, "units": unit, "navigate": True}]
    axes += [
        {"name": n, "size": s, "scale": 0.5, "units": "nm", "navigate": False}
        for n, s in zip("yx", shape[1:], strict=True)
    ]
    signal = hs.signals.Signal2D(np.arange(np.prod(shape)).reshape(shape).astype(np.uint16), axes=axes)
    signal.set_signal_type("STEM_SERIES_ASSB")
    return signal


@pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1e-3), ("min", 60.0), ("h", 3600.0)])
@pytest.mark.parametrize("name", ["Time", "z", "depth", "image series"])
def test_time_is_told_by_its_unit_whatever_its_name(name: str, unit: str, factor: float) -> None:
    np.testing.assert_allclose(frames(unit, name).time, np.array([0.0, 2.0, 4.0]) * factor)


@pytest.mark.parametrize("unit", ["nm", "", None])
def test_axis_that_is_no_time_is_refused(unit: object) -> None:
    with pytest.raises(AssbValueError, match="set_frame_times"):
        _ = frames(unit).time
    with pytest.raises(AssbValueError, match="that of the pixels"):
        _ = frames(unit, scale=0.5).time


def test_time_that_runs_back_is_refused() -> None:
    with pytest.raises(AssbValueError, match="runs back or stands at frame 1"):
        _ = frames(scale=-1.0).time


def test_frame_times_are_set() -> None:
    signal = frames("nm")
    signal.set_frame_times([0.0, 5.0, 6.0])
    assert signal.time.tolist() == [0.0, 5.0, 6.0]
    assert signal.inav[1:].time.tolist() == [5.0, 6.0]
    signal.set_frame_times(4.0)
    assert signal.time.tolist() == [0.0, 4.0, 8.0]


@pytest.mark.parametrize("times", [0.0, -1.0, [0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, np.nan]])
def test_times_that_cannot_be(times: object) -> None:
    with pytest.raises(AssbValueError, match="times"):
        frames().set_frame_times(times)


def test_dose_is_known_or_not_and_never_nothing(series: ASSBSTEMSeries) -> None:
    assert series.dose is None
    series.metadata.set_item("Acquisition_instrument.TEM.beam_current", 0.0)
    assert series.dose is None
    series.set_dose(beam_current=0.05, dwell_time=2e-6)
    assert series.dose == pytest.approx(0.05e-9 * 2e-6 / 1.602176634e-19 / 100.0)
    series.set_dose(7.0)
    assert series.dose == 7.0
    with pytest.raises(AssbValueError, match="above 0"):
        series.set_dose(0.0)


def test_potential_follows_the_frames(series: ASSBSTEMSeries) -> None:
    cv = simulate_voltammogram(VoltammogramConditions(white=0.0), seed=1)
    assert series.potential is None
    assert series.set_potential(cv, offset=100.0) == (100.0, pytest.approx(np.nan, nan_ok=True))
    # Middle of each frame: 100 + 10 k + 5 s at 10 mV/s.
    np.testing.assert_allclose(series.potential, 1.05 + 0.1 * np.arange(5), atol=0.02)
    np.testing.assert_allclose(series.inav[2:].potential, series.potential[2:])


def test_log_that_does_not_overlap(series: ASSBSTEMSeries) -> None:
    cv = simulate_voltammogram(seed=1)
    with pytest.raises(AssbValueError, match="do not overlap"):
        series.set_potential(cv, offset=1e5)
    with pytest.warns(AssbWarning, match="2 of 5 frames lie outside"):
        series.set_potential(cv, offset=(-15.0, 1.0))
    assert np.isnan(series.potential[0])


def test_offset_by_time_stamps(series: ASSBSTEMSeries) -> None:
    cv = simulate_voltammogram(seed=1)
    with pytest.raises(AssbValueError, match="series does not say"):
        series.set_potential(cv)
    series.metadata.General.date, series.metadata.General.time = "2024-05-01", "10:01:30"
    with pytest.raises(AssbValueError, match="voltammogram does not say"):
        series.set_potential(cv)
    cv.metadata.set_item("ASSB.voltammogram.started", "2024-05-01T10:00:00")
    assert series.set_potential(cv)[0] == 90.0
    with pytest.raises(AssbValueError, match="offset must be"):
        series.set_potential(cv, offset="guess")


def test_offset_by_the_steps_of_the_beam() -> None:
    series = simulate_series(SeriesConditions(frames=8, size=64, interval=60.0), seed=1)[0]
    series.set_dose(exposure=30.0)
    beam = tuple((170.0 + 60.0 * k, 200.0 + 60.0 * k) for k in range(8))
    lit = simulate_voltammogram(VoltammogramConditions(beam=beam, beam_step=4e-10), seed=2)
    offset, std = series.set_potential(lit, offset="steps")
    assert offset == pytest.approx(170.0, abs=4.0 * std)
    assert std < 10.0
    dark = simulate_voltammogram(seed=2)
    with pytest.raises(AssbValueError, match="no step"):
        series.set_potential(dark, offset="steps")


def test_colour_is_refused() -> None:
    rgb = hs.signals.Signal1D(np.zeros((3, 8, 9, 3), dtype=np.uint8))
    rgb.change_dtype("rgb8")
    rgb.set_signal_type("STEM_SERIES_ASSB")
    rgb.axes_manager.navigation_axes[0].units = "s"
    with pytest.raises(AssbValueError, match="colour"):
        rgb.correct_drift()


@pytest.mark.parametrize("lazy", [False, True])
def test_series_survives_its_file(series: ASSBSTEMSeries, tmp_path: Path, lazy: bool) -> None:
    series.save(tmp_path / "series.hspy")
    loaded = hyperspy_assb.load_series(tmp_path / "series.hspy", lazy=lazy)
    assert type(loaded) is (LazyASSBSTEMSeries if lazy else ASSBSTEMSeries)
    np.testing.assert_array_equal(loaded.correct_drift().found.shift, series.correct_drift().found.shift)


@pytest.mark.parametrize("lazy", [False, True])
def test_drift_result(series: ASSBSTEMSeries, tmp_path: Path, lazy: bool) -> None:
    if lazy:
        series = series.as_lazy()
    drift = series.correct_drift()
    assert "The frames drift over" in drift.summary()
    assert list(drift.to_dataframe()["status"]) == ["placed"] * 5
    assert drift.plot().get_ylabel() == "position of the content (nm)"
    assert drift.shift["y"].axes_manager.navigation_shape == (5,)
    moved = drift.series
    assert moved._lazy is lazy
    data = np.asarray(moved.data)
    inner = data[:, 20:-20, 20:-20]
    # Moved back, the frames look more alike.
    raw = np.asarray(series.data)[:, 20:-20, 20:-20].astype(float)
    assert np.corrcoef(inner[0].ravel(), inner[-1].ravel())[0, 1] > np.corrcoef(raw[0].ravel(), raw[-1].ravel())[0, 1]
    drift.save(tmp_path / "drift.hspy")
    loaded = hyperspy_assb.load(tmp_path / "drift.hspy")
    assert loaded.summary() == drift.summary()
    with pytest.raises(AssbValueError, match="apply"):
        _ = loaded.series
    np.testing.assert_array_equal(np.asarray(loaded.apply(series).data), data)
    with pytest.raises(AssbValueError, match="shape"):
        loaded.apply(series.inav[:3])


def test_stacks_of_several_formats(shared_data: Path) -> None:
    folder = shared_data / "series/stack_formats"
    assert hyperspy_assb.load_series(folder / "fei_example_tem_stack.emd").time.tolist() == [0.0, 0.8]
    for name in ("test_loading_image_saved_with_imageJ_stack.tif", "test_stackbuilder_imagestack.dm3"):
        with pytest.raises(AssbValueError, match="set_frame_times"):
            hyperspy_assb.load_series(folder / name)
        assert hyperspy_assb.load_series(folder / name, times=2.5).time[1] == 2.5
    dm = hyperspy_assb.load_series(folder / "test_loading_image_saved_with_DM_stack.tif")
    assert dm.time.tolist() == [0.0, 2.5]
    # Its pixels are not square: a mistake of the file.
    assert np.isnan(dm.pixel_size)
    with pytest.raises(AssbValueError, match="that of the pixels"):
        hyperspy_assb.load_series(shared_data / "series/grain_boundary_migration/GB_disp.tif")


def test_files_of_single_frames(tmp_path: Path) -> None:
    paths = []
    for number, scale in enumerate([0.5, 0.5, 0.7]):
        frame = hs.signals.Signal2D(np.full((8, 9), number, dtype=np.uint16))
        for axis in frame.axes_manager.signal_axes:
            axis.scale, axis.units = scale, "nm"
        frame.metadata.General.date, frame.metadata.General.time = "2024-05-01", f"10:00:0{3 * number}"
        paths.append(tmp_path / f"frame {number}.hspy")
        frame.save(paths[-1])
    assert hyperspy_assb.load_series(paths[:2]).time.tolist() == [0.0, 3.0]
    with pytest.raises(AssbValueError, match="magnification changes"):
        hyperspy_assb.load_series(paths)
    with pytest.raises(AssbFileError, match="not frames against time"):
        hyperspy_assb.load_series(paths[0])


def test_files_that_are_no_series(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0" * 100)
    with pytest.raises(AssbFileError, match="compressed pictures, not counts"):
        hyperspy_assb.load_series(film)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0" + b"\0" * 20)
    with pytest.raises(AssbFileError, match=r"broken\.tif"):
        hyperspy_assb.load_series(broken)
    with pytest.raises(AssbFileNotFoundError):
        hyperspy_assb.load_series(tmp_path / "nothing.dm4")
