"""Errors hold the truth, and there is no peak where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.echem.beam_change import compare_beam
from hyperspy_assb.echem.current_log import CurrentLog
from hyperspy_assb.echem.peaks import find_peaks
from hyperspy_assb.echem.resistance import line_of_sweep, lines_of_cycles
from hyperspy_assb.echem.sweeps import SweptLog, find_sweeps
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.flicker_noise import blocks, contrasts, estimate
from hyperspy_assb.simulation.series.voltammogram import VoltammogramConditions, flicker_noise, voltammogram

KINDS = {
    "white": {},
    "flicker": {"white": 2e-11, "flicker": 1e-10},
    "drift": {"flicker": 3e-11, "drift": 2e-12},
    "shorts": {"flicker": 3e-11, "shorts": 6},
    "clipped": {"flicker": 3e-11, "full_scale": 1.9e-9},
}
CONDUCTANCE, CAPACITANCE = 1e-9, 2e-8
BEAM = ((150.0, 300.0), (400.0, 550.0), (700.0, 850.0))


def swept(seed: int, **conditions: object) -> SweptLog:
    return find_sweeps(CurrentLog(*voltammogram(VoltammogramConditions(**conditions), seed)))


def covered(found: float, std: float, true: float) -> bool:
    return abs(found - true) < std


def binomial(share: float, size: int) -> tuple[float, float]:
    """Shares between which 99.8 % of the experiments with this size lie."""
    low, high = stats.binom.interval(0.998, size, share)
    return low / size, high / size


def test_noise_free_line_is_exact() -> None:
    (line,) = lines_of_cycles(swept(1, white=1e-18))
    assert line.conductance == pytest.approx(CONDUCTANCE, rel=1e-6)
    assert line.capacitance == pytest.approx(CAPACITANCE, rel=1e-2)


def test_noise_is_told_apart(rng: np.random.Generator) -> None:
    time = np.arange(200.0)
    known = contrasts(time, np.ones((200, 1)))
    shape = np.linspace(-1, 1, 200)[:, None]
    white = estimate(rng.normal(size=200), known, shape)
    flicker = estimate(flicker_noise(200, rng), known, shape)
    assert white.ratio < 0.1 < 3.0 < flicker.ratio


def test_blocks_keep_the_order_and_the_size() -> None:
    parts = blocks(np.arange(1000), 300)
    assert {part.size for part in parts} == {4}
    assert np.concatenate(parts).tolist() == list(range(1000))


@pytest.mark.parametrize("size", [pytest.param(60, id="few"), pytest.param(400, id="many", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["flicker", "drift"])
def test_intervals_hold_the_truth(kind: str, size: int) -> None:
    lines = [lines_of_cycles(swept(seed, **KINDS[kind]))[0] for seed in range(size)]
    low, high = binomial(0.68, size)
    low, high = min(low, 0.62), max(high, 0.74)
    assert low <= np.mean([covered(x.conductance, x.conductance_std, CONDUCTANCE) for x in lines]) <= high
    assert low <= np.mean([covered(x.capacitance, x.capacitance_std, CAPACITANCE) for x in lines]) <= high


@pytest.mark.slow
def test_beam_step_intervals_hold_the_truth() -> None:
    size = 200
    found = [compare_beam(swept(seed, **KINDS["flicker"], beam=BEAM, beam_step=2e-10), BEAM) for seed in range(size)]
    low, high = binomial(0.68, size)
    assert low <= np.mean([covered(x.step, x.step_std, 2e-10) for x in found]) <= high


def test_a_beam_step_is_found() -> None:
    change = compare_beam(swept(3, beam=BEAM, beam_step=5e-10, flicker=3e-11), BEAM)
    assert change.step == pytest.approx(5e-10, abs=4.0 * change.step_std)
    assert change.p < 1e-6
    assert change.switches == 6


@pytest.mark.parametrize(
    ("intervals", "why"),
    [
        (((5000.0, 6000.0),), "they do not overlap"),
        (((300.0, 200.0),), "from 300 to 200"),
        (((-1.0, 1e5),), "off in 0"),
    ],
)
def test_beam_intervals_that_tell_nothing(intervals: tuple[tuple[float, float], ...], why: str) -> None:
    with pytest.raises(AssbValueError, match=why):
        compare_beam(swept(1), intervals)


def test_drift_is_in_the_sweep_and_not_in_the_cycle() -> None:
    found = swept(1, drift=5e-12, white=1e-12)
    assert line_of_sweep(found, 0).conductance == pytest.approx(CONDUCTANCE + 5e-12 / 0.01, rel=1e-2)
    assert lines_of_cycles(found)[0].conductance == pytest.approx(CONDUCTANCE, rel=1e-2)


def test_one_sweep_has_no_cycle() -> None:
    with pytest.raises(AssbValueError, match="whole cycle"):
        lines_of_cycles(swept(1, sweeps=1))


def test_window_without_points() -> None:
    with pytest.raises(AssbValueError, match="between 7 and 8 V"):
        line_of_sweep(swept(1), 0, (7.0, 8.0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_peak_where_there_is_none(kind: str) -> None:
    size = 100
    false = sum(len(find_peaks(swept(seed, **KINDS[kind]))[0]) > 0 for seed in range(size))
    assert false <= stats.binom.ppf(0.999, size, 0.05)


def test_a_peak_is_found_where_it_is() -> None:
    found = swept(5, flicker=3e-11, sweeps=4, peaks=((3.2, 0.5, 8e-10),))
    peaks, searches = find_peaks(found)
    assert [peak.sweep for peak in peaks] == [1, 3]
    for peak in peaks:
        assert peak.potential == pytest.approx(3.2, abs=0.1)
        assert peak.height == pytest.approx(8e-10, abs=4.0 * peak.height_std)
        assert peak.charge == pytest.approx(8e-10 * 0.5 * 1.0645 / 0.01, rel=0.4)
        assert peak.p <= 0.05
    assert len(searches) == 4


@pytest.mark.slow
def test_limit_is_kept() -> None:
    """A peak of 1.3 times the stated limit is found in 90 %."""
    conditions = {"flicker": 3e-11, "white": 5e-11}
    limits = [find_peaks(swept(seed, **conditions))[1][0].limit for seed in range(8)]
    height = 1.3 * float(np.median(limits))
    found = [find_peaks(swept(seed, **conditions, peaks=((2.5, 0.5, height),)))[0] for seed in range(40)]
    power = np.mean([any(abs(peak.potential - 2.5) < 0.3 for peak in peaks) for peaks in found])
    assert power >= binomial(0.9, 40)[0]


def test_alpha_is_a_probability() -> None:
    with pytest.raises(AssbValueError, match="alpha"):
        find_peaks(swept(1), 5.0)
