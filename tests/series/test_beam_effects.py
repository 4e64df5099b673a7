"""Carbon grows where the beam was; a beam that changes is no carbon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.series.beam_effects import measure_beam
from hyperspy_assb.series.drift.mean_alignment import Drift, align
from hyperspy_assb.series.frame_series import FrameSeries
from hyperspy_assb.simulation.series.image_series import SeriesConditions, image_series

PLAIN = SeriesConditions(frames=6, size=128, dose=60.0, oversampling=2)


def aligned(conditions: SeriesConditions, seed: int, *, where: np.ndarray | None = None) -> tuple[FrameSeries, Drift]:
    """A series, with carbon of a third of the brightness in some pixels."""
    counts, truth = image_series(conditions, seed)
    if where is not None:
        age = np.arange(conditions.frames) / (conditions.frames - 1)
        more = truth.expected + conditions.dose / 3.0 * age[:, None, None] * where
        counts = np.random.default_rng(seed).poisson(more)
    series = FrameSeries(counts, 10.0 * np.arange(conditions.frames))
    return series, align(series)


@pytest.mark.parametrize(
    ("changes", "true"), [({"beam_change": -0.3}, 0.0), ({"carbon": 0.3}, 0.3 / 1.15)], ids=["beam", "carbon"]
)
def test_carbon_is_told_from_the_beam(changes: dict[str, float], true: float) -> None:
    found = measure_beam(*aligned(replace(PLAIN, **changes), 1), {})
    (change,) = found.changes
    assert change.change == pytest.approx(true, abs=4.0 * change.change_std)
    assert change.change_std < 0.1
    # What is added takes contrast: a share of it over all that is there then.
    assert (found.contrast_change.change < -0.1) == (true > 0.0)


def test_carbon_where_the_beam_was() -> None:
    where = np.zeros((128, 128), dtype=bool)
    where[30:100, 30:100] = True
    found = measure_beam(*aligned(PLAIN, 2, where=where), {"mapped": where})
    assert found.names == ("mapped", "rest")
    (more,) = found.above_rest
    assert more.change == pytest.approx(1.0 / 3.0, rel=0.25)
    assert more.p_value < 1e-3
    # Inside less outside is known better than either.
    assert more.change_std < found.changes[0].change_std


def test_what_cannot_be_told_is_refused() -> None:
    series, drift = aligned(PLAIN, 3)
    small = np.zeros((128, 128), dtype=bool)
    small[60:70, 60:70] = True
    with pytest.raises(AssbValueError, match="'small' holds"):
        measure_beam(series, drift, {"small": small})
