"""Grains that shrink, and grains that are lost and gained, are found; others are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.boundary_width import fit_boundaries
from hyperspy_assb.series.grains.grain_changes import EventKind, GrainChanges, GrainStatus, end_frames, track_grains
from hyperspy_assb.series.grains.grain_labels import find_grains
from hyperspy_assb.simulation.series.image_series import SeriesConditions, SeriesTruth, image_series

PLAIN = SeriesConditions(frames=8, size=144, dose=40.0, oversampling=2)
NULL = {
    "static": {},
    "carbon": {"carbon": 0.15},
    "dark level falls": {"carbon": -0.15},
    "brightening": {"brightening": 0.2, "brightening_frame": 4},
}


def tracked(
    conditions: SeriesConditions, seed: int, *, backwards: bool = False
) -> tuple[GrainChanges, np.ndarray, SeriesTruth]:
    """Changes of the grains, what true grain each is, and the truth."""
    counts, truth = image_series(conditions, seed)
    series = FrameSeries(counts[::-1] if backwards else counts, np.arange(conditions.frames, dtype=float))
    drift = align(series)
    noise = np.sqrt(np.maximum(drift.noise[0] * np.nan_to_num(drift.mean) + drift.noise[1], 1e-9) / conditions.frames)
    grains = find_grains(drift.mean, np.isfinite(drift.mean), noise)
    found = track_grains(
        series.time, fit_boundaries(series, drift, grains), end_frames(series, drift), grains.labels, 0.05
    )
    inside = grains.insides()
    true = [np.bincount(truth.labels[inside == n], minlength=1).argmax() - 1 for n in range(1, found.change.size + 1)]
    return found, np.array(true), truth


def test_grains_that_shrink_are_found() -> None:
    found, true, truth = tracked(replace(PLAIN, shrinking=0.25, shrinkage=2.0), 3)
    shrinks = truth.shrinks[true]
    assert shrinks.sum() >= 3
    claimed = found.status == GrainStatus.SHRINKS
    assert claimed[shrinks].mean() > 0.6
    assert claimed[~shrinks].sum() <= 1
    assert np.all(found.p_shrinks[claimed] <= 0.05)


def test_areas_change_as_they_do() -> None:
    found, true, truth = tracked(replace(PLAIN, boundary_growth=0.5, dose=200.0), 4)
    area = truth.grain_area[:, true]
    # Grains at the edge of the field are seen in part.
    whole = area[0] > 500.0
    change = (area[-1] - area[0])[whole] / area.mean(axis=0)[whole]
    assert np.median(found.change[whole] / change) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("kind", ["static", "dark level falls"])
def test_nothing_is_claimed_where_nothing_changes(kind: str) -> None:
    found, _, _ = tracked(replace(PLAIN, **NULL[kind]), 5)
    assert not np.any(found.status == GrainStatus.SHRINKS)
    assert found.events == ()


@pytest.mark.parametrize("backwards", [False, True])
def test_grains_that_become_one(backwards: bool) -> None:
    found, _, truth = tracked(replace(PLAIN, lost=1, dose=100.0), 2, backwards=backwards)
    assert len(truth.lost) == 1
    kinds = [event.kind for event in found.events]
    assert kinds == [EventKind.GAINED if backwards else EventKind.LOST]
    (event,) = found.events
    row, column = (round(value) for value in event.place)
    assert truth.labels[row, column] in truth.lost[0]
    assert (event.depth_before > event.depth_after) is not backwards


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(AssbValueError, match="at least 4"):
        tracked(replace(PLAIN, frames=3), 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NULL)
def test_share_of_false_claims(kind: str) -> None:
    size = 10
    false = sum(
        np.any(tracked(replace(PLAIN, **NULL[kind]), seed)[0].status == GrainStatus.SHRINKS) for seed in range(size)
    )
    assert false <= stats.binom.ppf(0.999, size, 0.05)
