"""Mixtures: closed forms, derivatives, invariants, limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from hyperspy_assb.fitting.statistics.mixtures import NARROWEST, _log_densities, _Problem, fit_mixture

ENDS = ((-0.2, 0.2), (0.8, 1.2))


def two_phases(rng, size=300, error=0.1):
    """x of pixels that are FePO4 or LiFePO4, and their errors."""
    std = error * rng.uniform(0.5, 1.5, size)
    return np.where(rng.random(size) < 0.3, 0.02, 0.97) + std * rng.standard_normal(size), std


def test_one_population_with_equal_errors_has_a_closed_form(rng):
    x = rng.normal(0.4, 0.5, 200)
    fitted = fit_mixture(x, np.full(200, 0.3))
    # Truth by algebra: mean, variance less that of the errors, Fisher information of a normal sample.
    variance = np.var(x)
    width = np.sqrt(variance - 0.09)
    np.testing.assert_allclose(fitted.mean, x.mean(), atol=1e-6)
    np.testing.assert_allclose(fitted.width, width, rtol=1e-5)
    np.testing.assert_allclose(fitted.mean_std, np.sqrt(variance / 200), rtol=1e-4)
    np.testing.assert_allclose(fitted.width_std, variance / np.sqrt(2 * 200) / width, rtol=1e-3)
    assert fitted.log_likelihood == pytest.approx(stats.norm(x.mean(), np.sqrt(variance)).logpdf(x).sum(), rel=1e-9)
    assert fitted.bic == pytest.approx(2 * np.log(200) - 2 * fitted.log_likelihood)
    assert (fitted.share.tolist(), fitted.share_std.tolist()) == ([1.0], [0.0])


def test_values_that_scatter_less_than_their_errors_have_the_smallest_width(rng):
    fitted = fit_mixture(rng.normal(0.0, 0.01, 50), np.full(50, 0.1))
    np.testing.assert_allclose(fitted.width, NARROWEST * 0.1)
    assert np.isnan(fitted.width_std[0])
    assert fitted.mean_std[0] == pytest.approx(0.1 / np.sqrt(50), rel=0.01)


def test_far_populations_are_counted():
    x = np.array([0.0] * 30 + [1.0] * 70)
    fitted = fit_mixture(x, np.full(100, 0.05), mean_limits=ENDS)
    np.testing.assert_allclose(fitted.share, [0.3, 0.7], atol=1e-6)
    np.testing.assert_allclose(fitted.mean, [0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(fitted.share_std, np.sqrt(0.3 * 0.7 / 100), rtol=1e-3)  # binomial


def test_a_population_without_values_has_no_error(rng):
    fitted = fit_mixture(rng.normal(1.0, 0.1, 200), np.full(200, 0.1), mean_limits=ENDS, width_limit=0.1)
    assert fitted.share[0] < 0.01
    assert np.isnan(fitted.mean_std[0])
    assert np.isfinite(fitted.mean_std[1])


def test_derivatives(rng, differentiate):
    x, std = two_phases(rng, 40)
    problem = _Problem(x, std, ENDS, 0.1, True)
    theta = np.array([0.03, 0.95, 0.4, 0.3, 0.3, 0.5])
    gradient = problem(theta)[1]
    for i in range(theta.size):
        numeric = differentiate(lambda t: problem(t)[0], theta, i, 1e-4)
        assert gradient[i] == pytest.approx(numeric, abs=1e-8)


def test_densities_are_densities(rng):
    fitted = fit_mixture(*two_phases(rng), mean_limits=ENDS, width_limit=0.1, bridge=True)
    grid = np.linspace(-3.0, 4.0, 4001)
    area = integrate.trapezoid(fitted.density(grid, 0.2), grid, axis=1)
    np.testing.assert_allclose(area, fitted.share, atol=1e-6)
    assert fitted.share.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("x", [-8.0, -2.0, 0.5, 3.0, 9.0])
def test_the_bridge_is_a_blurred_box(x):
    values, std, ends = np.array([x]), np.array([0.2]), np.array([0.1, 0.9])
    own = _log_densities(values, std, ends, np.full(2, 0.01), True)[0][2, 0]
    # Truth by quadrature of the box with the error.
    nodes = np.linspace(0.1, 0.9, 4001)
    logs = stats.norm(nodes, 0.2).logpdf(x)
    expected = logs.max() + np.log(integrate.trapezoid(np.exp(logs - logs.max()), nodes) / 0.8)
    assert own == pytest.approx(expected, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-3.0, 3.0), scale=st.floats(0.1, 10.0))
def test_order_origin_and_unit_do_not_matter(seed, shift, scale):
    rng = np.random.default_rng(seed)
    x, std = two_phases(rng, 120)
    order = rng.permutation(120)
    one = fit_mixture(x, std, mean_limits=ENDS, width_limit=0.1)
    limits = tuple(tuple(scale * (np.array(limit) + shift)) for limit in ENDS)
    two = fit_mixture((scale * (x + shift))[order], scale * std[order], mean_limits=limits, width_limit=0.1 * scale)
    np.testing.assert_allclose(two.share, one.share, atol=1e-4)
    np.testing.assert_allclose(two.mean / scale - shift, one.mean, atol=1e-4)
    np.testing.assert_allclose(two.width / scale, one.width, atol=3e-3)
    assert two.log_likelihood == pytest.approx(one.log_likelihood - 120 * np.log(scale), abs=1e-3)


@pytest.mark.parametrize(
    ("x", "std", "message"),
    [([0.0, np.nan], [0.1, 0.1], "finite"), ([0.0, 1.0], [0.1, 0.0], "above 0"), ([0.0, 1.0], [0.1, np.inf], "finite")],
)
def test_bad_values(x, std, message):
    with pytest.raises(ValueError, match=message):
        fit_mixture(np.array(x), np.array(std))


def test_a_bridge_has_two_ends():
    with pytest.raises(ValueError, match="two populations"):
        fit_mixture(np.zeros(3), np.ones(3), bridge=True)
