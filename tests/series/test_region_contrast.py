"""Steps of contrast are found where they are; leads over cracks are no more than chance when they are chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.region_contrast import find_steps, lead_over, region_brightness
from hyperspy_assb.simulation.series.image_series import SeriesConditions, image_series

TIME = 10.0 * np.arange(24)


def test_contrast_follows_the_region_and_not_the_beam() -> None:
    conditions = SeriesConditions(frames=12, size=128, brightening=0.2, brightening_frame=6, beam_change=-0.3)
    counts, truth = image_series(conditions, 6)
    series = FrameSeries(counts, 10.0 * np.arange(12))
    contrast, std = region_brightness(series, align(series), {"secondary": truth.bright})
    rise = contrast[0, 6:].mean() - contrast[0, :6].mean()
    assert rise == pytest.approx(0.2 * (1.0 + contrast[0, :6].mean()), rel=0.2)
    assert np.all(std > 0.0)
    (step,) = find_steps(series.time, {"secondary": contrast[0]}, 0.05)
    assert step.frame == 6
    assert step.time == 55.0


def test_all_of_the_field_is_no_region() -> None:
    series = FrameSeries(image_series(SeriesConditions(frames=3, size=96), 1)[0], np.arange(3.0))
    with pytest.raises(AssbValueError, match="whole field"):
        region_brightness(series, align(series), {"all": np.ones((96, 96), dtype=bool)})


def test_few_frames_tell_no_step() -> None:
    with pytest.raises(AssbValueError, match="10 are needed"):
        find_steps(TIME[:5], {"a": np.zeros(5)}, 0.05)


@pytest.mark.parametrize("size", [pytest.param(20, id="few"), pytest.param(200, id="many", marks=pytest.mark.slow)])
def test_share_of_false_steps(rng: np.random.Generator, size: int) -> None:
    false = 0
    for _ in range(size):
        series = {name: rng.normal(0.0, 0.01, 24) + 5e-5 * TIME for name in "ab"}
        false += len(find_steps(TIME, series, 0.05)) > 0
    assert false <= stats.binom.ppf(0.999, size, 0.05)


@pytest.mark.parametrize("size", [pytest.param(60, id="few"), pytest.param(600, id="many", marks=pytest.mark.slow)])
def test_lead_is_uniform_by_chance(rng: np.random.Generator, size: int) -> None:
    draws = [lead_over(rng.uniform(0, 240, 4), np.sort(rng.uniform(0, 240, 5)), (0.0, 240.0)).p for _ in range(size)]
    known = np.array([p for p in draws if np.isfinite(p)])
    assert np.mean(known < 0.05) <= stats.binom.ppf(0.999, known.size, 0.05) / known.size


def test_lead_that_is_real() -> None:
    cracks = np.array([40.0, 100.0, 170.0, 220.0])
    lead = lead_over(cracks - 3.0, cracks, (0.0, 240.0))
    assert lead.time == pytest.approx(3.0)
    assert lead.p < 0.1


def test_fewer_than_three_events_are_not_testable() -> None:
    lead = lead_over(np.array([10.0, 50.0]), np.array([20.0, 60.0]), (0.0, 240.0))
    assert lead.events == 2
    assert np.isnan(lead.p)
    assert lead_over(np.array([]), np.array([1.0]), (0.0, 1.0)).events == 0
