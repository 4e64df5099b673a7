"""Sweeps, and points that are no measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperspy_assb.echem.current_log import CurrentLog
from hyperspy_assb.echem.log_files.vendors import read_log
from hyperspy_assb.echem.sweeps import PointStatus, find_sweeps
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.series.voltammogram import VoltammogramConditions, voltammogram


def simulated(seed: int = 1, **conditions: float) -> CurrentLog:
    return CurrentLog(*voltammogram(VoltammogramConditions(**conditions), seed))


@pytest.mark.parametrize("sweeps", [1, 2, 3, 6])
def test_each_sweep_is_found_whole(sweeps: int) -> None:
    found = find_sweeps(simulated(sweeps=sweeps)).sweeps
    assert [s.index.size for s in found] == [250] * sweeps
    assert [s.anodic for s in found] == [k % 2 == 0 for k in range(sweeps)]
    np.testing.assert_allclose(np.abs([s.rate for s in found]), 0.01, rtol=0.02)


def test_single_sweep_is_said() -> None:
    assert any("one sweep" in note for note in find_sweeps(simulated(sweeps=1)).notes)


def test_held_potential_is_no_sweep() -> None:
    log = simulated()
    held = np.full(100, log.potential[-1])
    time = np.concatenate([log.time, log.time[-1] + 2.0 * np.arange(1, 101)])
    longer = CurrentLog(time, np.concatenate([log.potential, held]), np.concatenate([log.current, held * 0]))
    found = find_sweeps(longer)
    assert len(found.sweeps) == 2
    assert np.all(found.status[-99:] == PointStatus.HELD)
    with pytest.raises(AssbValueError, match="no sweep"):
        find_sweeps(CurrentLog(time[:20], np.repeat([0.0, 5.0], 10), time[:20] * 0))


def test_shorts_are_found_and_noise_and_peaks_are_not(rng: np.random.Generator) -> None:
    log = simulated(flicker=5e-11)
    clean = find_sweeps(log)
    assert np.mean(clean.status == PointStatus.SHORT) < 0.01
    current = log.current.copy()
    current[[60, 61, 340]] += 2e-8
    found = find_sweeps(replace(log, current=current))
    assert np.all(found.status[[60, 61, 340]] == PointStatus.SHORT)
    assert any("soft shorts" in note for note in found.notes)
    # A peak of a curve without noise is smooth, however narrow.
    peaked = CurrentLog(*voltammogram(VoltammogramConditions(white=0.0, peaks=((2.5, 0.3, 5e-9),)), 1))
    assert not np.any(find_sweeps(peaked).status == PointStatus.SHORT)


@pytest.mark.parametrize("known", [True, False])
def test_clipping_is_named(known: bool) -> None:
    log = simulated(full_scale=1.5e-9)
    if known:
        log = replace(log, full_scale=np.full(log.time.size, 1.5e-9))
    found = find_sweeps(log)
    clipped = found.status == PointStatus.CLIPPED
    # Without the full scale, single points are not told from an extreme of noise.
    true = np.abs(log.current) == 1.5e-9
    assert not np.any(clipped & ~true)
    assert clipped.sum() >= true.sum() - (0 if known else 6) > 50
    assert any("1.5e-09 A, the end of the range" in note for note in found.notes)
    assert not any("clipped" in note for note in find_sweeps(simulated()).notes)


def test_gap_is_named() -> None:
    log = simulated()
    kept = np.ones(log.time.size, dtype=bool)
    kept[100:140] = False
    found = find_sweeps(CurrentLog(log.time[kept], log.potential[kept], log.current[kept]))
    assert any("1 gaps" in note for note in found.notes)
    np.testing.assert_allclose(found.gaps, [[log.time[99], log.time[140]]])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("solid_state_cv/cv.mpt", ["jumps 7 times", "at most by 476", "sweep 3 jump"]),
        ("biologic_cva_zir_peis/multiple_techniques_dataset_01_02_CVA_C01.mpt", ["14 points are clipped at 0.00025 A"]),
        ("biologic_cva_zir_peis/multiple_techniques_dataset_01_08_CVA_C01.mpt", ["9 points are clipped at 0.00025 A"]),
    ],
)
def test_real_curves_are_named_for_what_they_are(shared_data: Path, name: str, words: list[str]) -> None:
    notes = " ".join(find_sweeps(read_log(shared_data / "echem" / name)).notes)
    for word in words:
        assert word in notes


def test_a_clean_real_curve_is_clean(shared_data: Path) -> None:
    found = find_sweeps(read_log(shared_data / "echem/pt_cv/Pt_poly_cv.mpt"))
    assert len(found.sweeps) == 10
    assert np.all(found.status[found.sweeps[3].index] == PointStatus.MEASURED)
