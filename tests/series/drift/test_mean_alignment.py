"""Frames are found where they are, with errors that hold the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from scipy import stats

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import FrameStatus, align, shift_frame
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.simulation.series.image_series import SeriesConditions, image_series

SMALL = SeriesConditions(frames=8, size=128, oversampling=3)


def as_series(frames: np.ndarray) -> FrameSeries:
    return FrameSeries(frames, np.arange(len(frames), dtype=float))


def error(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return found - (true - true.mean(axis=0))


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    counts, truth = image_series(SMALL, 1)
    return counts, truth.shift


def test_shifted_frame_is_where_it_is_moved_to() -> None:
    y, x = np.mgrid[:64, :64].astype(float)
    blob = np.exp(-0.5 * ((y - 30.0) ** 2 + (x - 33.0) ** 2) / 9.0)
    moved = shift_frame(blob, np.array([2.3, -1.75]))
    np.testing.assert_allclose(moved, np.exp(-0.5 * ((y - 32.3) ** 2 + (x - 31.25) ** 2) / 9.0), atol=1e-6)


def test_positions_hold_the_truth(scene: tuple[np.ndarray, np.ndarray]) -> None:
    counts, shift = scene
    drift = align(as_series(counts))
    assert np.all(drift.status == FrameStatus.PLACED)
    pull = error(drift.shift, shift) / drift.shift_std
    assert np.sqrt(np.mean(np.square(pull))) < 1.6
    np.testing.assert_allclose(drift.shift.mean(axis=0), 0.0, atol=1e-12)


def test_noise_free_positions_are_exact() -> None:
    _, truth = image_series(replace(SMALL, dose=1e6), 2)
    drift = align(as_series(truth.expected))
    assert np.abs(error(drift.shift, truth.shift)).max() < 2e-3


def test_lazy_frames_give_the_same(scene: tuple[np.ndarray, np.ndarray]) -> None:
    counts, _ = scene
    lazy = align(as_series(da.from_array(counts, chunks=(3, -1, -1))))
    np.testing.assert_array_equal(lazy.shift, align(as_series(counts)).shift)


def test_reference_region_stays_where_content_moves() -> None:
    """The right half moves steadily by itself; the left half tells the drift."""
    _, truth = image_series(replace(SMALL, size=160, frames=6), 3)
    moving = np.stack([shift_frame(frame, np.array([0.0, 0.8 * k])) for k, frame in enumerate(truth.expected)])
    frames = truth.expected.copy()
    frames[:, :, 90:] = moving[:, :, 90:]
    frames = np.random.default_rng(1).poisson(np.clip(frames, 0.0, None))
    reference = np.zeros((160, 160), dtype=bool)
    reference[:, :84] = True
    named = np.abs(error(align(as_series(frames), reference).shift, truth.shift)).max()
    assert named < 0.25


def test_frames_that_cannot_be_placed_are_flagged(
    scene: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    counts, shift = scene
    frames = counts.astype(np.uint16)
    frames[2] = 0
    frames[4] = 65535
    frames[5] = frames[3]
    frames[5], frames[4] = frames[4].copy(), frames[3]
    drift = align(as_series(frames))
    assert drift.status.tolist() == [
        FrameStatus.PLACED,
        FrameStatus.PLACED,
        FrameStatus.BLANK,
        FrameStatus.PLACED,
        FrameStatus.DUPLICATE,
        FrameStatus.SATURATED,
        FrameStatus.PLACED,
        FrameStatus.PLACED,
    ]
    good = drift.status == FrameStatus.PLACED
    assert np.all(np.isnan(drift.shift[~good]))
    assert np.abs(error(drift.shift[good], shift[good])).max() < 0.6


def test_a_frame_of_something_else_is_flagged(scene: tuple[np.ndarray, np.ndarray]) -> None:
    counts, _ = scene
    other, _ = image_series(SMALL, 99)
    frames = counts.copy()
    frames[5] = other[5]
    status = align(as_series(frames)).status
    assert status[5] in (FrameStatus.UNLIKE, FrameStatus.LOST)
    assert np.all(np.delete(status, 5) == FrameStatus.PLACED)


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (np.ones((1, 64, 64)), "1 frame"),
        (np.zeros((3, 64, 64)), "0 of 3 frames show contrast"),
    ],
)
def test_too_few_frames(frames: np.ndarray, why: str) -> None:
    with pytest.raises(AssbValueError, match=why):
        align(as_series(frames))


def test_two_frames_are_enough() -> None:
    counts, truth = image_series(replace(SMALL, frames=2), 4)
    drift = align(as_series(counts))
    assert np.abs(error(drift.shift, truth.shift) / drift.shift_std).max() < 4.0


def test_small_reference_is_refused(scene: tuple[np.ndarray, np.ndarray]) -> None:
    reference = np.zeros((128, 128), dtype=bool)
    reference[60:70, 60:70] = True
    with pytest.raises(AssbValueError, match="reference"):
        align(as_series(scene[0]), reference)


def test_known_rigid_shifts_of_others(shared_data: Path) -> None:
    files = sorted((shared_data / "series/dic_challenge_rigid").glob("Sample3-*.tif"))
    frames = np.array([tifffile.imread(path)[128:384, 128:384] for path in files])
    found = align(as_series(frames)).shift
    true = np.repeat(np.linspace(0.0, 1.0, 11)[:, None], 2, axis=1)
    assert np.abs(error(found, true)).max() < 0.002


@pytest.mark.slow
def test_real_series_agrees_with_another_program(shared_data: Path) -> None:
    """pystackreg's corrected series differs from the raw one by its shifts, in whole frames of the cell series."""
    folder = shared_data / "series/cell_series_pystackreg"
    raw, moved = (tifffile.imread(folder / f"pc12-{name}.tif") for name in ("unreg", "reg-translation"))
    ours = align(as_series(raw)).shift
    theirs = [align(as_series(np.stack([b, a]).astype(float))).shift for a, b in zip(raw[1:], moved[1:], strict=True)]
    theirs = np.array([[0.0, 0.0], *(pair[1] - pair[0] for pair in theirs)])
    assert np.abs((ours - ours[0]) - theirs).max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("dose", [20.0, 5.0])
def test_coverage(dose: float) -> None:
    inside = []
    for seed in range(12):
        counts, truth = image_series(SeriesConditions(frames=12, size=160, dose=dose), seed)
        drift = align(as_series(counts))
        inside.append(np.abs(error(drift.shift, truth.shift)) < drift.shift_std)
    # Frames of one scene share its mean: about half of them count.
    low, high = stats.binom.interval(0.998, np.size(inside) // 2, 0.68)
    assert low <= np.sum(inside) / 2 <= high
