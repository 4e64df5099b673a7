"""The quality bar of delithiation: the virtual micro-battery, whose x is known in every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.simulation import micro_battery

PHASES = ("LiFePO4", "FePO4", "LAGP", "amorphous_LAGP", "carbon", "vacuum")

METHODS = ("combined", "references", "valence", "lithium")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quantified():
    """Both states by every method; `before` with the calibration of `after`."""
    # The first seed whose lamella has 50 pixels in every bin of both states: fewer would not tell a bias of 0.05.
    battery = micro_battery((64, 64), seed=6, signal_type="EELS_ASSB")
    references = {phase: battery.truth.after.pure(phase) for phase in PHASES}
    after = battery.eels_after.quantify_delithiation(references, show_progressbar=False)
    before = battery.eels_before.quantify_delithiation(after, show_progressbar=False)
    states = {"after": (after, battery.truth.after), "before": (before, battery.truth.before)}
    return {(state, m): (found.with_method(m), truth) for state, (found, truth) in states.items() for m in METHODS}


def chosen(truth):
    """Pixels that the bar is about: enough olivine, and thin enough."""
    return (truth.olivine >= 0.3) & (truth.t_over_lambda <= 0.8)


STATES = [(state, method) for state in ("after", "before") for method in METHODS]


@pytest.mark.parametrize(("state", "method"), STATES)
def test_almost_every_pixel_is_answered(quantified, state, method):
    result, truth = quantified[state, method]
    pixels = chosen(truth)
    assert pixels.sum() > 500
    assert np.isfinite(result.x.data)[pixels].mean() >= 0.95


@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.1), (0.1, 0.9), (0.9, 1.01)])
@pytest.mark.parametrize(("state", "method"), STATES)
def test_x_is_unbiased(quantified, state, method, low, high):
    result, truth = quantified[state, method]
    known = np.nan_to_num(truth.x, nan=-9.0)
    pixels = chosen(truth) & (known > low) & (known <= high) & np.isfinite(result.x.data)
    assert pixels.sum() >= 50
    limit = 0.02 if method in ("combined", "references") else 0.05
    assert abs(np.mean((result.x.data - truth.x)[pixels])) < limit


@pytest.mark.parametrize("state", ["after", "before"])
def test_intervals_cover_the_truth(quantified, state):
    """Neighbours share the noise of the references, so that the shares vary more than binomially."""
    result, truth = quantified[state, "combined"]
    pixels = chosen(truth) & np.isfinite(result.x.data)
    error = np.abs(result.x.data - truth.x)[pixels] / np.hypot(result.x_std.data, result.x_systematic.data)[pixels]
    assert 0.62 < np.mean(error < 1.0) < 0.76
    assert 0.92 < np.mean(error < 1.96) < 0.985


@pytest.mark.parametrize("method", METHODS)
def test_delithiation_is_seen(quantified, method):
    """What the experiment asks: large particles have lost their lithium between the two states."""
    after, truth = quantified["after", method]
    before, earlier = quantified["before", method]
    pixels = chosen(truth) & chosen(earlier) & np.isfinite(after.x.data) & np.isfinite(before.x.data)
    change, known = (after.x.data - before.x.data)[pixels], (truth.x - earlier.x)[pixels]
    # Each state may be off by 0.05.
    for kind in (known < -0.8, np.abs(known) < 0.02):
        assert kind.sum() > 50
        assert abs(np.mean((change - known)[kind])) < 0.1
    assert np.mean(change[known < -0.8] < -0.5) > 0.95
