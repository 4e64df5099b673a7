"""Series and logs from which nothing can be measured say what is wrong, and what to do."""

from __future__ import annotations

import struct
from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.errors import AssbFileError, AssbValueError, AssbWarning
from hyperspy_assb.series.drift.mean_alignment import FrameStatus
from hyperspy_assb.signals import ASSBSTEMSeries
from hyperspy_assb.simulation.series import (
    SeriesConditions,
    VoltammogramConditions,
    simulate_series,
    simulate_voltammogram,
)

SMALL = SeriesConditions(frames=6, size=96, oversampling=2)


@pytest.fixture
def series() -> ASSBSTEMSeries:
    return simulate_series(SMALL, seed=1)[0]


def write_ser(path: Path, frames: np.ndarray, seconds: list[int]) -> Path:
    """A TIA series of images: header, one dimension, where the images lie, and each image with its tag."""
    count, rows, columns = frames.shape
    name = b"Number"
    dimension = struct.pack("<IddII", count, 0.0, 1.0, 0, len(name)) + name + struct.pack("<I", 0)
    table = 34 + len(dimension)
    size, tag = 50 + 4 * rows * columns, 8
    places = [table + 16 * count + k * (size + tag) for k in range(count)]
    header = struct.pack("<HHHIIIIQI", 0x4949, 0x0197, 0x0220, 0x4122, 0x4152, count, count, table, 1)
    body = header + dimension + struct.pack(f"<{2 * count}Q", *places, *(at + size for at in places))
    for image, second in zip(frames, seconds, strict=True):
        body += 2 * struct.pack("<ddI", 0.0, 2e-9, 0) + struct.pack("<HII", 6, columns, rows)
        body += image[::-1].astype("<i4").tobytes() + struct.pack("<HHI", 0x4152, 0, second)
    path.write_bytes(body)
    return path


# ---------------------------------------------------------------------------------------------------------- frames


def test_one_frame(series: ASSBSTEMSeries) -> None:
    one = series.inav[:1]
    for act in (one.correct_drift, one.segment_grains, one.find_cracks, one.beam_effects):
        with pytest.raises(AssbValueError, match="1 frame"):
            act()
    with pytest.raises(AssbValueError, match="against one of time"):
        series.inav[0].correct_drift()


def test_two_frames(series: ASSBSTEMSeries) -> None:
    two = series.inav[:2]
    drift = two.correct_drift()
    assert np.all(np.isfinite(drift.found.shift))
    with pytest.raises(AssbValueError, match="cracks need at least 4"):
        two.find_cracks(drift)
    with pytest.raises(AssbValueError, match="changes of grains need at least 4"):
        two.segment_grains(drift).track()


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda frames: np.zeros_like(frames[2]), FrameStatus.BLANK),
        (lambda frames: np.full_like(frames[2], 65535), FrameStatus.SATURATED),
        (lambda frames: np.minimum(frames[2] * 260, 4095), FrameStatus.SATURATED),
        (lambda frames: frames[1], FrameStatus.DUPLICATE),
    ],
    ids=["blank", "saturated", "saturated at 12 bits", "duplicate"],
)
def test_frames_that_are_no_measurement_are_named(series: ASSBSTEMSeries, spoil: object, status: FrameStatus) -> None:
    series.data[2] = spoil(series.data)
    drift = series.correct_drift()
    assert drift.found.status.tolist() == [status if k == 2 else 0 for k in range(6)]
    assert status.name.lower() in drift.summary()
    grains = series.segment_grains(drift)
    assert np.isnan(grains.boundaries.area[2])
    assert np.isfinite(np.delete(grains.boundaries.area, 2)).all()


def test_few_electrons_are_not_saturated() -> None:
    """Of frames of a few electrons, many pixels are at the largest value."""
    series, _ = simulate_series(SeriesConditions(frames=3, size=96, oversampling=2, dose=1.0), seed=1)
    series.data = np.minimum(series.data, 2)
    assert not np.any(series.correct_drift().found.status == FrameStatus.SATURATED)


def test_frames_in_colour(tmp_path: Path) -> None:
    rgb = hs.signals.Signal1D(np.random.default_rng(1).integers(0, 255, (4, 8, 9, 3)).astype(np.uint8))
    rgb.change_dtype("rgb8")
    rgb.save(tmp_path / "colour.hspy")
    with pytest.raises(AssbValueError, match="colour"):
        hyperspy_assb.load_series(tmp_path / "colour.hspy", times=1.0)


# ------------------------------------------------------------------------------------------------------------ files


def test_ser_has_the_times_at_which_its_frames_were_stored(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).poisson(20.0, (4, 16, 18))
    series = hyperspy_assb.load_series(write_ser(tmp_path / "a.ser", frames, [100, 103, 105, 109]))
    assert series.time.tolist() == [0.0, 3.0, 5.0, 9.0]
    np.testing.assert_array_equal(series.data, frames)
    with pytest.warns(AssbWarning, match="one second"):
        fast = hyperspy_assb.load_series(write_ser(tmp_path / "b.ser", frames, [100, 101, 101, 102]))
    np.testing.assert_allclose(np.diff(fast.time), 0.6)
    with pytest.raises(AssbValueError, match="run back"):
        hyperspy_assb.load_series(write_ser(tmp_path / "c.ser", frames, [100, 103, 101, 104]))


def test_ser_stored_in_one_second(shared_data: Path) -> None:
    path = shared_data / "files/128x128x5-diffraction_preview_1.ser"
    with pytest.raises(AssbValueError, match="one second"):
        hyperspy_assb.load_series(path)
    series = hyperspy_assb.load_series(path, times=0.5)
    assert series.time.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    # The file states pixels of 4e16 nm.
    assert np.isnan(series.pixel_size)


def test_dm4_of_one_image_is_no_series(shared_data: Path) -> None:
    path = shared_data / "series/haadf_particles/JEOL HAADF Image.dm4"
    with pytest.raises(AssbFileError, match="not frames against time"):
        hyperspy_assb.load_series(path)
    two = hyperspy_assb.load_series([path, path], times=2.0)
    assert two.pixel_size == pytest.approx(1.249, abs=1e-3)
    # The file states a beam current of 0, which is none.
    assert two.dose is None


@pytest.mark.parametrize("name", ["film.mp4", "film.AVI", "film.mov", "film.webm"])
def test_films_hold_no_counts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 64)
    with pytest.raises(AssbFileError, match="not counts"):
        hyperspy_assb.load_series(tmp_path / name)


@pytest.mark.parametrize("ending", ["ser", "dm4", "tif", "emd", "hspy"])
@pytest.mark.parametrize("content", [b"", b"\x49\x49\x97\x01\x20\x02" + b"\0" * 20], ids=["empty", "header only"])
def test_files_without_frames_are_named(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(content)
    with pytest.raises(AssbFileError, match=rf"cut\.{ending}"):
        hyperspy_assb.load_series(path)


def frame(path: Path, second: int, *, scale: float = 1.0, magnification: float = 1e5) -> Path:
    image = hs.signals.Signal2D(np.random.default_rng(second).poisson(20.0, (8, 9)))
    for axis in image.axes_manager.signal_axes:
        axis.scale, axis.units = scale, "nm"
    image.metadata.set_item("Acquisition_instrument.TEM.magnification", magnification)
    image.metadata.General.date, image.metadata.General.time = "2024-05-01", f"10:00:{second:02d}"
    image.save(path)
    return path


def test_magnification_that_changes(tmp_path: Path) -> None:
    first = frame(tmp_path / "a.hspy", 1)
    for other in (frame(tmp_path / "b.hspy", 3, scale=0.5), frame(tmp_path / "c.hspy", 5, magnification=2e5)):
        with pytest.raises(AssbValueError, match=rf"{other.name}.* magnification changes"):
            hyperspy_assb.load_series([first, other])


def test_files_out_of_order(tmp_path: Path) -> None:
    paths = [frame(tmp_path / f"{k}.hspy", second) for k, second in enumerate((1, 9, 5))]
    with pytest.raises(AssbValueError, match=r"2\.hspy was not recorded after .*1\.hspy"):
        hyperspy_assb.load_series(paths)
    assert hyperspy_assb.load_series(paths, times=[0.0, 1.0, 2.0]).time[2] == 2.0


def test_time_is_missing_or_runs_back(series: ASSBSTEMSeries) -> None:
    axis = series.axes_manager.navigation_axes[0]
    axis.units = ""
    for act in (series.correct_drift, series.find_cracks, series.beam_effects):
        with pytest.raises(AssbValueError, match="set_frame_times"):
            act()
    axis.units, axis.scale = "s", -1.0
    with pytest.raises(AssbValueError, match="runs back"):
        series.correct_drift()


# --------------------------------------------------------------------------------------------------------- the log


@pytest.mark.parametrize("offset", [1e5, (-1e5, 1.0)])
def test_log_and_series_that_do_not_overlap(series: ASSBSTEMSeries, offset: object) -> None:
    with pytest.raises(AssbValueError, match="do not overlap"):
        series.set_potential(simulate_voltammogram(seed=1), offset=offset)
    assert series.potential is None


@pytest.mark.parametrize("offset", [np.nan, (10.0, -1.0)])
def test_offset_that_is_none(series: ASSBSTEMSeries, offset: object) -> None:
    with pytest.raises(AssbValueError, match="offset must be"):
        series.set_potential(simulate_voltammogram(seed=1), offset=offset)


def test_beam_that_is_always_on_makes_no_steps(series: ASSBSTEMSeries) -> None:
    with pytest.raises(AssbValueError, match="the beam is always on"):
        series.set_potential(simulate_voltammogram(seed=1), offset="steps")


def test_potential_is_known_as_well_as_the_clocks(series: ASSBSTEMSeries) -> None:
    cv = simulate_voltammogram(VoltammogramConditions(white=0.0), seed=1)
    series.set_potential(cv, offset=(100.0, 3.0))
    # 3 s at 10 mV/s.
    np.testing.assert_allclose(series.potential_std, 0.03, atol=3e-3)
    series.set_potential(cv, offset=100.0)
    assert np.isnan(series.potential_std).all()


def test_log_of_one_sweep(series: ASSBSTEMSeries) -> None:
    cv = simulate_voltammogram(VoltammogramConditions(sweeps=1), seed=1)
    assert any("one sweep" in note for note in cv.notes)
    series.set_potential(cv, offset=50.0)
    assert np.isfinite(series.potential).all()


@pytest.mark.parametrize("text", ["", "Time (s),Voltage (V),Current (A)\n"], ids=["empty", "header only"])
def test_log_without_rows_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cv.csv").write_text(text, "utf-8")
    with pytest.raises(AssbFileError, match=r"cv\.csv"):
        hyperspy_assb.load_voltammogram(tmp_path / "cv.csv")
