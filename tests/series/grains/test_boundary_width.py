"""Boundaries are as wide as they are, and grow as they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.drift.mean_alignment import Drift, align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.series.grains.boundary_width import BoundaryWidths, fit_boundaries
from hyperspy_assb.series.grains.grain_labels import GrainMap, find_grains, map_of_labels
from hyperspy_assb.series.grains.line_course import distance_at
from hyperspy_assb.simulation.series.image_series import SeriesConditions, SeriesTruth, image_series

GROWING = SeriesConditions(frames=8, size=160, boundary_growth=0.5)


def fitted(conditions: SeriesConditions, seed: int) -> tuple[Drift, GrainMap, BoundaryWidths, SeriesTruth]:
    counts, truth = image_series(conditions, seed)
    series = FrameSeries(counts, np.arange(conditions.frames, dtype=float))
    drift = align(series)
    noise = np.sqrt(np.maximum(drift.noise[0] * np.nan_to_num(drift.mean) + drift.noise[1], 1e-9) / conditions.frames)
    grains = find_grains(drift.mean, np.isfinite(drift.mean), noise)
    return drift, grains, fit_boundaries(series, drift, grains), truth


def slope(found: BoundaryWidths, grains: GrainMap, truth: SeriesTruth) -> float:
    """Of the area against that of the scene in the same pixels."""
    return float(np.polyfit(truth.dark[:, grains.told].mean(axis=1, dtype=np.float64), found.area, 1)[0])


@pytest.fixture(scope="module")
def bright() -> tuple[Drift, GrainMap, BoundaryWidths, SeriesTruth]:
    return fitted(replace(GROWING, dose=300.0), 1)


def test_width_depth_and_blur_are_those_of_the_scene(
    bright: tuple[Drift, GrainMap, BoundaryWidths, SeriesTruth],
) -> None:
    _, _, found, _ = bright
    assert found.depth == pytest.approx(0.3, abs=0.02)
    assert found.blur == pytest.approx(1.05, abs=0.15)
    assert found.width[0] == pytest.approx(3.0, abs=0.2)
    assert found.width[-1] == pytest.approx(4.5, abs=0.25)


def test_area_grows_as_it_does(bright: tuple[Drift, GrainMap, BoundaryWidths, SeriesTruth]) -> None:
    _, grains, found, truth = bright
    assert slope(found, grains, truth) == pytest.approx(1.0, abs=0.06)


def test_grains_are_those_of_the_scene(bright: tuple[Drift, GrainMap, BoundaryWidths, SeriesTruth]) -> None:
    _, grains, _, truth = bright
    inside = (grains.distance > 4.0) & np.isfinite(grains.distance)
    pairs = {(int(a), int(b)) for a, b in zip(grains.labels[inside], truth.labels[inside], strict=True)}
    # Each grain that is found lies in one of the scene but for few pixels.
    shares = []
    for label in np.unique(grains.labels[inside]):
        true = truth.labels[inside & (grains.labels == label)]
        shares.append(np.bincount(true).max() / true.size)
    assert np.median(shares) == 1.0
    assert len(pairs) < 1.5 * len(shares)


def test_distances_of_labels_are_those_of_a_straight_line() -> None:
    labels = np.ones((40, 40), dtype=np.int32)
    labels[:, 20:] = 2
    found = map_of_labels(labels, np.ones((40, 40)))
    true = np.abs(np.arange(40) - 19.5)
    np.testing.assert_allclose(found.distance[20], true, atol=0.2)
    np.testing.assert_allclose(
        distance_at(found.lines, np.array([0.0, 0.5]))[20], np.abs(np.arange(40) - 20.0), atol=0.3
    )


def test_own_labels_are_taken() -> None:
    counts, truth = image_series(GROWING, 2)
    series = FrameSeries(counts, np.arange(8.0))
    drift = align(series)
    grains = map_of_labels(truth.labels.astype(np.int32), np.nan_to_num(drift.mean, nan=np.nanmean(drift.mean)))
    found = fit_boundaries(series, drift, grains)
    assert slope(found, grains, truth) == pytest.approx(1.0, abs=0.2)


def test_a_field_without_lines_has_no_grains() -> None:
    with pytest.raises(AssbValueError, match="No grains"):
        find_grains(np.full((80, 80), 20.0), np.ones((80, 80), dtype=bool), np.full((80, 80), 1.0))


@pytest.mark.slow
@pytest.mark.parametrize(("dose", "low", "high"), [(20.0, 0.95, 1.05), (5.0, 0.9, 1.1)])
def test_slope_of_the_area(dose: float, low: float, high: float) -> None:
    slopes = []
    for seed in range(12):
        _, grains, found, truth = fitted(replace(GROWING, frames=12, size=192, dose=dose), seed)
        slopes.append(slope(found, grains, truth))
    error = float(np.std(slopes, ddof=1) / np.sqrt(len(slopes)))
    assert low - 2.0 * error < np.mean(slopes) < high + 2.0 * error
