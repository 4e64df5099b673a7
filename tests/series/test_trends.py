"""Changes along a line, and against those of another series."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.series.trends import compare_counts, compare_rates, trend_of


def test_change_of_a_line_is_exact() -> None:
    time = np.array([0.0, 1.0, 4.0, 10.0])
    found = trend_of(time, 3.0 + 0.2 * time, np.full(4, 0.01))
    assert found.change == pytest.approx(2.0)
    assert found.mean == pytest.approx(3.75)
    assert found.relative[0] == pytest.approx(2.0 / 3.75)


def test_frames_that_are_not_known_are_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, 4.0])
    assert trend_of(np.arange(4.0), values, np.ones(4)).change == pytest.approx(3.0)
    assert np.isnan(trend_of(np.arange(4.0), np.full(4, np.nan), np.ones(4)).change)
    assert np.isnan(trend_of(np.arange(4.0), np.full(4, np.nan), np.ones(4)).p_value)


def test_error_is_that_of_counts_or_of_the_scatter(rng: np.random.Generator) -> None:
    time = np.arange(12.0)
    changes, stds = [], []
    for _ in range(400):
        found = trend_of(time, rng.normal(0.0, 1.0, 12), np.full(12, 1e-4))
        changes.append(found.change)
        stds.append(found.change_std)
    assert np.sqrt(np.mean(np.square(stds))) == pytest.approx(np.std(changes), rel=0.12)
    counted = trend_of(time, np.zeros(12), np.full(12, 4.0))
    x = (time - time.mean()) / 11.0
    assert counted.change_std == pytest.approx(2.0 / np.sqrt(np.square(x).sum()))


def test_rates_and_counts_per_dose() -> None:
    here, _, there, _, difference, std, p = compare_rates((4.0, 0.3), (4.0, 0.4), (2.0, 4.0))
    assert (here, there, difference) == (2.0, 1.0, 1.0)
    assert std == pytest.approx(np.hypot(0.15, 0.1))
    assert p < 1e-6
    assert compare_counts((3, 3), (1.0, 1.0))[-1] == pytest.approx(1.0)
    assert compare_counts((0, 0), (1.0, 1.0))[-1] == 1.0
    # 12 against none: 2 / 2^12 exactly.
    assert compare_counts((12, 0), (1.0, 1.0))[-1] == pytest.approx(2.0 / 2.0**12)
