"""Populations: readings and coverage on drawn pixels whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eels.delithiation import populations
from hyperspy_assb.eels.delithiation.populations import PopulationStatus, fit_populations
from hyperspy_assb.fitting.statistics.mixtures import fit_mixture

SHARE, LOW, HIGH, WIDTH = 0.3, 0.02, 0.97, 0.03


ENDS = ((-populations.POSITION, populations.POSITION), (1 - populations.POSITION, 1 + populations.POSITION))


def phases_only(x, std, *, bridge=False):
    """The reading with two phases alone, as `fit_populations` makes it, where many are wanted."""
    return fit_mixture(x, std, mean_limits=ENDS, width_limit=populations.WIDTH, bridge=bridge)


def draw(rng, kind, size, error):
    """x with its errors: the errors differ by a factor of three between pixels."""
    std = error * rng.uniform(0.5, 1.5, size)
    pure = np.where(rng.random(size) < SHARE, LOW, HIGH) + WIDTH * rng.standard_normal(size)
    truth = {
        "two-phase": lambda: pure,
        "bridged": lambda: np.where(rng.random(size) < 0.2, rng.uniform(LOW, HIGH, size), pure),
        "solid solution": lambda: rng.normal(0.5, 0.15, size),
        "spread evenly": lambda: rng.uniform(0.0, 1.0, size),
        "LiFePO4": lambda: rng.normal(0.98, 0.02, size),
        "FePO4": lambda: rng.normal(0.03, 0.02, size),
    }[kind]()
    return truth + std * rng.standard_normal(size), std


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "size", "error", "status"),
    [
        ("two-phase", 50, 0.2, PopulationStatus.TWO_PHASE),
        ("two-phase", 1000, 0.05, PopulationStatus.TWO_PHASE),
        ("bridged", 300, 0.1, PopulationStatus.TWO_PHASE),
        ("solid solution", 200, 0.05, PopulationStatus.SOLID_SOLUTION),
        ("solid solution", 2000, 0.2, PopulationStatus.SOLID_SOLUTION),
        ("LiFePO4", 200, 0.1, PopulationStatus.ONE_PHASE),
        ("FePO4", 200, 0.1, PopulationStatus.ONE_PHASE),
        # Too noisy, or what columns with both phases and a solid solution give alike.
        ("two-phase", 100, 0.6, PopulationStatus.UNDECIDED),
        ("solid solution", 100, 0.6, PopulationStatus.UNDECIDED),
        ("spread evenly", 500, 0.1, PopulationStatus.UNDECIDED),
    ],
)
def test_readings(kind, size, error, status):
    found = [fit_populations(*draw(np.random.default_rng(seed), kind, size, error)).status for seed in range(10)]
    assert found.count(status) >= 9, found


@pytest.mark.parametrize("error", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("kind", ["two-phase", "solid solution"])
@pytest.mark.slow
def test_the_opposite_is_hardly_ever_said(kind, error):
    opposite = {"two-phase": PopulationStatus.SOLID_SOLUTION, "solid solution": PopulationStatus.TWO_PHASE}[kind]
    found = [fit_populations(*draw(np.random.default_rng(seed), kind, 100, error)).status for seed in range(15)]
    assert found.count(opposite) <= 1, found


def test_errors_cover_the_truth():
    fits = [phases_only(*draw(np.random.default_rng(seed), "two-phase", 300, 0.12)) for seed in range(100)]
    for name, truth in (("share", [SHARE, 1 - SHARE]), ("mean", [LOW, HIGH])):
        z = np.array([(getattr(f, name) - truth) / getattr(f, f"{name}_std") for f in fits])
        # Known truth; 100 draws tell the root mean square to 1 / sqrt(200) = 7 %, and the mean to 10 %.
        assert np.all(np.abs(np.mean(z, axis=0)) < 3 / np.sqrt(100)), name
        assert np.all(np.abs(np.sqrt(np.mean(z**2, axis=0)) - 1) < 3 / np.sqrt(200)), name


@pytest.mark.slow
def test_shares_of_three_kinds_of_columns_are_covered():
    fits = [phases_only(*draw(np.random.default_rng(seed), "bridged", 300, 0.08), bridge=True) for seed in range(60)]
    z = np.array([(f.share - [0.8 * SHARE, 0.8 * (1 - SHARE), 0.2]) / f.share_std for f in fits])
    assert np.all(np.abs(np.mean(z, axis=0)) < 3 / np.sqrt(60))
    assert np.all(np.abs(np.sqrt(np.mean(z**2, axis=0)) - 1) < 3 / np.sqrt(120))


def test_standard_errors_are_those_of_the_bootstrap(rng):
    x, std = draw(rng, "two-phase", 400, 0.1)
    known = fit_populations(x, std).two
    again = [phases_only(x[i], std[i]) for i in rng.integers(0, 400, (80, 400))]
    for name in ("share", "mean"):
        scatter = np.std([getattr(f, name) for f in again], axis=0, ddof=1)
        # 80 draws tell a standard deviation to 8 %.
        np.testing.assert_allclose(getattr(known, f"{name}_std"), scatter, rtol=0.25)


def test_the_intrinsic_width_is_found(rng):
    found = fit_populations(*draw(rng, "two-phase", 4000, 0.05)).two
    np.testing.assert_array_less(np.abs(found.width - WIDTH), 3 * found.width_std)
    assert np.all(found.width_std < 0.01)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-0.1, 0.1))
def test_shifting_x_shifts_the_means_and_order_does_not_matter(seed, shift):
    rng = np.random.default_rng(seed)
    x, std = draw(rng, "two-phase", 200, 0.08)
    order = rng.permutation(200)
    one, two = fit_populations(x, std), fit_populations(x[order] + shift, std[order])
    np.testing.assert_allclose(two.one.mean - shift, one.one.mean, atol=1e-4)
    np.testing.assert_allclose(two.two.mean - shift, one.two.mean, atol=1e-4)
    np.testing.assert_allclose(two.two.share, one.two.share, atol=1e-4)


def test_pixels_without_x_are_left_out_and_counted(rng):
    x, std = draw(rng, "two-phase", 120, 0.1)
    known = fit_populations(x, std)
    more = fit_populations(
        np.append(x, [np.nan] * 5 + [0.4]).reshape(-1, 6), np.append(std, [0.1] * 5 + [np.nan]).reshape(-1, 6)
    )
    assert (more.n_pixels, more.n_left_out) == (120, 6)
    assert more.bic_difference == known.bic_difference
    assert known.n_left_out == 0


def test_x_is_not_clipped(rng):
    x, std = draw(rng, "two-phase", 4000, 0.1)
    assert fit_populations(x, std).phases.mean[1] == pytest.approx(HIGH, abs=0.01)
    assert fit_populations(x + 0.1, std).phases.mean[1] == pytest.approx(HIGH + 0.1, abs=0.01)


def test_one_precise_pixel_does_not_make_a_population(rng):
    x, std = draw(rng, "LiFePO4", 200, 0.1)
    x[0], std[0] = 0.0, 1e-6
    found = fit_populations(x, std)
    assert np.isfinite(found.phases.log_likelihood)
    assert found.status is not PopulationStatus.TWO_PHASE


def test_the_accepted_reading_is_that_of_the_status():
    for kind, error in (("two-phase", 0.1), ("solid solution", 0.05), ("two-phase", 0.6)):
        found = fit_populations(*draw(np.random.default_rng(0), kind, 100, error))
        is_one = found.accepted is found.one
        assert is_one == (found.status is not PopulationStatus.TWO_PHASE)


@pytest.mark.parametrize("shape", [(0,), (20,), (4, 5)])
def test_a_region_without_x_says_what_to_do(shape):
    with pytest.raises(ValueError, match=r"Only 0 of the \d+ pixels have an x.*that contains the electrode.*status"):
        fit_populations(np.full(shape, np.nan), np.full(shape, np.nan))


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"shape \(20,\), but std has \(21,\)"):
        fit_populations(np.zeros(20), np.ones(21))
    with pytest.raises(ValueError, match=r"above 0, but 20 pixels"):
        fit_populations(np.zeros(20), np.zeros(20))
