"""Damaged patterns are indexed as the undamaged ones, and what was wrong is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hyperspy_assb.acom import simulate_bank
from hyperspy_assb.acom.crystals.disorientation import disorientation, symmetry_of
from hyperspy_assb.acom.crystals.frames import upper
from hyperspy_assb.acom.matching.indexed import PatternStatus
from hyperspy_assb.simulation import DiffractionConditions
from hyperspy_assb.simulation.acom.patterns import PatternOptions, simulate_patterns
from hyperspy_assb.simulation.acom.scan import patterns_to_signal

SIDE, FRAME, SCALE = 5, 96, 0.021
CONDITIONS = DiffractionConditions(shape=(FRAME, FRAME), scale=SCALE, electrons=2e4, descan=(0.0, 0.0), beams=16)


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return upper(rng.standard_normal((SIDE * SIDE, 4))), rng.integers(0, 2, SIDE * SIDE)


def draw(truth: tuple[np.ndarray, np.ndarray], shift: np.ndarray | None = None) -> np.ndarray:
    rng = np.random.default_rng(4)
    options = PatternOptions(shift=shift)
    found = simulate_patterns(truth[0], ["LiFePO4", "FePO4"], CONDITIONS, rng, phase=truth[1], options=options)
    return np.asarray(found).reshape(SIDE, SIDE, FRAME, FRAME).astype(np.uint16)


@pytest.fixture(scope="module")
def patterns(truth: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return draw(truth)


@pytest.fixture(scope="module")
def bank() -> Any:
    return simulate_bank(["lfp", "fp"], resolution=2.5)


def signal_of(patterns: np.ndarray) -> Any:
    return patterns_to_signal(patterns, CONDITIONS, pixel_size=5.0, title="scan", signal_type="ACOM")


def right(maps: Any, truth: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of patterns with the right phase within 3 degrees."""
    good = np.zeros(SIDE * SIDE, dtype=bool)
    phase, orientation = maps.found.phase.ravel(), maps.found.orientation.reshape(-1, 4)
    for number, crystal in enumerate(maps.phases):
        at = (phase == number) & (truth[1] == number)
        good[at] = disorientation(orientation[at], truth[0][at], symmetry_of(crystal)) < 3.0
    return float(good.mean())


def index(signal: Any, bank: Any, **arguments: Any) -> Any:
    return signal.index_orientations(bank, show_progressbar=False, **({"calibrate": False} | arguments))


@pytest.fixture(scope="module")
def undamaged(patterns: np.ndarray, bank: Any, truth: tuple[np.ndarray, np.ndarray]) -> float:
    maps = index(signal_of(patterns), bank)
    assert maps.notes == ()
    return right(maps, truth)


def marked(d: np.ndarray) -> np.ndarray:
    d[..., 30, 60], d[..., 70:74, :] = 65535, 65535
    return d


def cross(d: np.ndarray) -> np.ndarray:
    d[..., 46:50, :], d[..., 46:50] = 0, 0
    return d


def hot(d: np.ndarray) -> np.ndarray:
    counts = np.random.default_rng(0).poisson(800, (*d.shape[:2], 3, 3))
    d[..., 20:23, 30:33] += counts.astype(d.dtype)
    return d


def column(d: np.ndarray) -> np.ndarray:
    d[..., 60] += np.random.default_rng(0).poisson(40, d[..., 60].shape).astype(d.dtype)
    return d


def with_nan(d: np.ndarray) -> np.ndarray:
    d = d.astype(np.float32)
    d[..., 40, 50:60] = np.nan
    return d


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (marked, "385 marked by the detector"),
        (cross, "dead"),
        (hot, "9 hot"),
        (column, "96 in bright or dark rows and columns"),
        (with_nan, "10 marked by the detector"),
        (lambda d: (d / d.max()).astype(np.float32), "for an electron"),
        (lambda d: (d * 37.5).astype(np.float32), "37.5 for an electron"),
        (lambda d: d.astype(np.int32) - 1, "for an electron above -1"),
    ],
    ids=["marked", "cross", "hot cluster", "bright column", "NaN", "maximum 1", "gain 37.5", "dark reference"],
)
def test_damaged_patterns_are_indexed_as_undamaged_ones(
    patterns: np.ndarray, truth: Any, bank: Any, undamaged: float, damage: Any, told: str
) -> None:
    maps = index(signal_of(damage(patterns.copy())), bank)
    assert undamaged >= 0.9
    assert right(maps, truth) >= undamaged - 0.041
    assert any(told in note for note in maps.notes)
    assert not (maps.status.data == PatternStatus.EMPTY).any()


def test_a_mask_is_honoured_whoever_gives_it(patterns: np.ndarray, truth: Any, bank: Any, undamaged: float) -> None:
    # Noise like that of good pixels, but bright: nothing but the mask tells.
    damaged = patterns.copy()
    damaged[..., 20:32, 20:32] += np.random.default_rng(1).poisson(30, (SIDE, SIDE, 12, 12)).astype(np.uint16)
    mask = np.zeros((FRAME, FRAME), dtype=bool)
    mask[20:32, 20:32] = True
    by_user = index(signal_of(damaged), bank, mask=mask)
    of_file = signal_of(damaged)
    of_file.original_metadata.set_item("entry.instrument.detector.pixel_mask", mask.astype(np.uint32))
    by_file = index(of_file, bank)
    lazy = index(signal_of(damaged).as_lazy(), bank, mask=mask)
    for maps in (by_user, by_file, lazy):
        assert any("144 given as a mask" in note for note in maps.notes)
        assert maps.provenance["parameters"]["detector pixels left out"] == 144
        assert right(maps, truth) >= undamaged - 0.041
        np.testing.assert_array_equal(maps.found.phase, by_user.found.phase)
    plain = signal_of(patterns).virtual_bright_field()
    masked = signal_of(patterns).virtual_bright_field(mask=mask)
    np.testing.assert_array_equal(plain.data, masked.data)


@pytest.mark.slow
def test_the_calibration_does_not_move(patterns: np.ndarray, truth: Any, bank: Any) -> None:
    scales = [index(signal_of(d), bank, calibrate=True).geometry.scale for d in (patterns, marked(patterns.copy()))]
    assert scales[1] == pytest.approx(scales[0], rel=3e-4)
    assert scales[0] == pytest.approx(SCALE, rel=1e-3)


def test_a_beam_that_wanders_is_followed(truth: Any, bank: Any, undamaged: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1.0) - 0.5
    shift = np.stack([14.0 * x, 10.0 * y], axis=-1)
    maps = index(signal_of(draw(truth, shift=shift.reshape(-1, 2))), bank, calibrate=True)
    assert right(maps, truth) >= undamaged - 0.041
    assert any("wanders over the scan" in note for note in maps.notes)
    middle = np.array(signal_of(np.zeros((1, 1, FRAME, FRAME), dtype=np.uint16)).geometry.centre)
    np.testing.assert_allclose(maps.found.centre, shift + middle, atol=0.5)


def test_a_beam_that_is_lost_is_said(truth: Any, bank: Any) -> None:
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1.0) - 0.5
    damaged = draw(truth, shift=np.stack([14.0 * x, 10.0 * y], axis=-1).reshape(-1, 2))
    # Spots are there, but where the beam should be, nothing is.
    v, u = np.indices((FRAME, FRAME))
    hidden = np.hypot(v - 47.5 - 10.0 * y[2, 4], u - 47.5 - 14.0 * x[2, 4]) < 25.0
    damaged[2, 4][hidden] = 0
    maps = index(signal_of(damaged), bank, calibrate=True)
    assert maps.status.data[2, 4] == PatternStatus.NO_BEAM
    assert maps.found.phase[2, 4] == -1
    assert any("In 1 of 25 patterns the direct beam was not found" in note for note in maps.notes)
