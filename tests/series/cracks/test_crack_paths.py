"""Cracks are found where and when they are, and nothing else is called one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.cracks.crack_paths import Crack, LineKind, find_lines
from hyperspy_assb.series.drift.mean_alignment import align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.grain_labels import map_of_labels
from hyperspy_assb.simulation.series.image_series import SeriesConditions, SeriesTruth, image_series

PLAIN = SeriesConditions(frames=10, size=176, oversampling=2, crack_onset=5)
NULL = {
    "static": {},
    "beam": {"beam_change": -0.2},
    "carbon": {"carbon": 0.15},
    "widening": {"boundary_growth": 0.5},
    "jitter": {"jitter": 0.3},
    "brightening": {"brightening": 0.2, "brightening_frame": 5},
}


def lines(
    conditions: SeriesConditions, seed: int, *, with_grains: bool = False
) -> tuple[tuple[Crack, ...], SeriesTruth]:
    counts, truth = image_series(conditions, seed)
    series = FrameSeries(counts, 10.0 * np.arange(conditions.frames))
    drift = align(series)
    grains = map_of_labels(truth.labels.astype(np.int32), np.ones(series.shape)) if with_grains else None
    return find_lines(series, drift, grains, 0.05)[0], truth


@pytest.fixture(scope="module")
def cracked() -> tuple[Crack, SeriesTruth]:
    found, truth = lines(replace(PLAIN, crack_depth=0.8, dose=40.0), 1, with_grains=True)
    return found[0], truth


def test_a_deep_crack_is_one(cracked: tuple[Crack, SeriesTruth]) -> None:
    crack, truth = cracked
    assert crack.kind is LineKind.CRACK
    away = np.linalg.norm(crack.path[:, None] - truth.crack[None], axis=2).min(axis=1)
    assert np.median(away) < 1.0
    assert abs(crack.onset - 5) <= 1
    assert crack.onset_interval[0] <= crack.onset <= crack.onset_interval[1]
    assert np.nanmax(crack.length) == pytest.approx(60.0, rel=0.2)
    # 2 pixels wide and 0.8 deep: as dark as an empty gap of 1.6 pixels, less what boundaries had taken before.
    assert 1.0 < crack.opening < 1.8
    assert crack.growth > 3.0 * crack.growth_std
    assert 0.0 <= crack.on_boundary <= 1.0
    assert 0.0 < crack.p_boundary <= 1.0


@pytest.mark.parametrize("kind", ["static", "widening"])
def test_no_crack_where_there_is_none(kind: str) -> None:
    found, _ = lines(replace(PLAIN, **NULL[kind]), 3)
    assert not [line for line in found if line.kind is LineKind.CRACK]


def test_too_few_frames() -> None:
    with pytest.raises(AssbValueError, match="at least 4"):
        lines(replace(PLAIN, frames=3), 1)


def test_alpha_is_a_probability() -> None:
    counts, _ = image_series(PLAIN, 1)
    series = FrameSeries(counts, np.arange(10.0))
    with pytest.raises(AssbValueError, match="alpha"):
        find_lines(series, align(series), None, 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NULL)
def test_share_of_false_cracks(kind: str) -> None:
    size = 30
    false = sum(
        any(line.kind is LineKind.CRACK for line in lines(replace(PLAIN, **NULL[kind]), seed)[0])
        for seed in range(size)
    )
    assert false <= stats.binom.ppf(0.999, size, 0.05)
