"""Fisher information, variance inflation, and what the deviance says about a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from hyperspy_assb.eels.lineshapes import DARK_LEVEL, VALENCE_BAND
from hyperspy_assb.fitting.solver.fit_statistics import (
    SEPARABLE,
    chi_squared_p_value,
    deviance_moments,
    deviance_p_value,
    evaluate_reduced,
    fisher_information,
    information_criteria,
    variance_inflation,
)
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra.binding import Tie
from hyperspy_assb.fitting.spectra.line_shape import Term
from hyperspy_assb.fitting.spectra.sums import SumModel

NOTHING = np.full(2, np.inf)


class Line:
    """Counts a + b E: everything about it is known by hand."""

    n_parameters = 2

    def __init__(self, energy):
        self.energy = energy

    def evaluate(self, parameters, free):
        parameters = np.atleast_2d(parameters)
        jacobian = np.broadcast_to(
            np.stack([np.ones_like(self.energy), self.energy]), (len(parameters), 2, len(self.energy))
        )
        return parameters[:, :1] + parameters[:, 1:] * self.energy, jacobian[:, free]


def inflation(rho, *, scale=(1.0, 1.0), prior=NOTHING, target=0):
    information = np.array([[[1.0, rho], [rho, 1.0]]]) * np.outer(scale, scale)
    return variance_inflation(information, target, np.array([1 - target]), prior)[0]


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.6, 0.9, -0.999])
@pytest.mark.parametrize("target", [0, 1])
def test_two_correlated_parameters(rho, target):
    # Exact: the inverse of [[1, rho], [rho, 1]] has 1 / (1 - rho^2) on its diagonal.
    assert inflation(rho, target=target) == pytest.approx(1.0 / (1.0 - rho**2), rel=1e-9)


def test_prior_knowledge_bounds_the_inflation():
    # Exact: a prior of the standard deviation s adds 1 / s^2 to the information: 1 / (1 - rho^2 / (1 + 1 / s^2)).
    rho, s = 0.95, 0.5
    assert inflation(rho, prior=np.array([np.inf, s])) == pytest.approx(1.0 / (1.0 - rho**2 / (1.0 + s**-2)), rel=1e-9)
    assert inflation(rho, prior=np.array([np.inf, 1e-6])) == pytest.approx(1.0, abs=1e-9)


def test_two_equal_contributions_are_far_beyond_separable():
    assert inflation(1.0) > 1e10 > SEPARABLE


def test_a_confounder_without_information_does_no_harm():
    information = np.array([[[4.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(variance_inflation(information, 0, np.array([1]), NOTHING), 1.0, rtol=1e-9)


def test_what_is_not_a_confounder_counts_in_both():
    # Exact: with the third parameter unknown in both, the inflation is that of the information with it projected out.
    information = np.array([[[2.0, 0.8, 0.5], [0.8, 1.0, 0.4], [0.5, 0.4, 3.0]]])
    unknown = information[0][:2, :2] - np.outer(information[0][:2, 2], information[0][:2, 2]) / 3.0
    expected = np.linalg.inv(unknown)[0, 0] * unknown[0, 0]
    found = variance_inflation(information, 0, np.array([1]), np.full(3, np.inf))[0]
    assert found == pytest.approx(expected, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    rho=st.floats(-0.99, 0.99),
    scale=st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)),
    target=st.sampled_from([0, 1]),
)
def test_units_do_not_matter(rho, scale, target):
    assert inflation(rho, scale=scale, target=target) == pytest.approx(inflation(rho, target=target), rel=1e-7)
    assert inflation(rho, scale=scale, target=target) >= 1.0 - 1e-9


def test_fisher_information_of_a_line():
    # Exact: sum over channels of g g^T / variance.
    energy = np.array([0.0, 1.0, 2.0, 3.0])
    theta = np.array([[10.0, 5.0]])
    mask = np.array([False, False, False, True])
    detector = Detector(gain=2.0, read_noise=3.0)
    variance = 2.0 * np.array([10.0, 15.0, 20.0]) + 9.0
    design = np.stack([np.ones(3), energy[:3]])
    found = fisher_information(Line(energy), theta, np.ones(2, dtype=bool), detector=detector, mask=mask)
    np.testing.assert_allclose(found[0], (design / variance) @ design.T, rtol=1e-12)
    only = fisher_information(Line(energy), theta, np.array([False, True]), detector=detector, mask=mask)
    np.testing.assert_allclose(only[0], [[np.sum(energy[:3] ** 2 / variance)]], rtol=1e-12)


@pytest.mark.slow
def test_the_inverse_of_the_information_is_the_covariance_of_a_fit(rng):
    energy = np.linspace(0.0, 4.0, 50)
    model, detector = Line(energy), Detector(gain=3.0, read_noise=2.0)
    free, mask = np.ones(2, dtype=bool), energy > 3.5
    truth = np.array([200.0, 40.0])
    counts = 3.0 * rng.poisson(model.evaluate(truth, free)[0] / 3.0) + rng.normal(0.0, 2.0, (1, 50))
    # The covariance is that of the last but one step.
    options = SolverOptions(tolerance=1e-20)
    result = fit_spectra(counts, FitProblem(model=model, start=truth, mask=mask), detector=detector, options=options)
    information = fisher_information(model, result.values, free, detector=detector, mask=mask)
    np.testing.assert_allclose(result.covariance[0], np.linalg.inv(information[0]), rtol=1e-6)


# ------------------------------------------------------------------------------------------- parameters that follow


def test_what_follows_moves_along():
    # Exact: b = a^2 / 100 makes the derivative for a that of the line plus 2 a / 100 times that of the slope.
    energy = np.array([0.0, 1.0, 2.0])
    tie = Tie(1, 0, lambda values: (values**2 / 100.0, values / 50.0))
    free = np.array([True, False])
    expectation, jacobian = evaluate_reduced(Line(energy), np.array([[10.0, 999.0]]), free, [tie])
    np.testing.assert_allclose(expectation[0], 10.0 + energy, rtol=1e-14)
    np.testing.assert_allclose(jacobian[0], [1.0 + 0.2 * energy], rtol=1e-14)


def test_the_information_of_tied_parameters_is_that_of_the_fit(rng):
    energy = np.linspace(0.0, 4.0, 50)
    tie = Tie(1, 0, lambda values: (0.2 * values, np.full_like(values, 0.2)))
    model, free = Line(energy), np.array([True, False])
    counts = rng.poisson(200.0 + 40.0 * energy, (1, 50)).astype(float)
    result = fit_spectra(counts, FitProblem(model=model, start=np.array([[200.0, 40.0]]), free=free, ties=(tie,)))
    expectation, jacobian = evaluate_reduced(model, result.values, free, [tie])
    np.testing.assert_allclose(
        result.covariance[0, 0, 0], 1.0 / np.sum(jacobian[0, 0] ** 2 / expectation[0]), rtol=1e-4
    )


# -------------------------------------------------------------------------------------------------- goodness of fit


@pytest.mark.parametrize("mu", [1e-8, 1e-6, 0.003, 0.0491, 0.7, 3.3, 20.0, 333.3, 999.0, 1001.0, 3e4])
def test_moments_of_the_deviance_are_the_sums(mu):
    k = np.arange(0.0, np.ceil(mu + 15.0 * np.sqrt(mu) + 40.0))
    p = stats.poisson.pmf(k, mu)
    p /= p.sum()
    d = 2.0 * (special.xlogy(k, k / mu) - k + mu)
    mean = np.sum(p * d)
    found = deviance_moments(mu)
    assert found.mean == pytest.approx(mean, rel=1e-6)
    assert found.variance == pytest.approx(np.sum(p * (d - mean) ** 2), rel=2e-6)
    assert found.covariance == pytest.approx(np.sum(p * d * (k - mu)), rel=2e-3, abs=1e-9)
    # Exact for Poisson counts: the mean changes by the covariance with the score.
    assert found.slope == pytest.approx(np.sum(p * d * (k - mu)) / mu, rel=1e-3, abs=1e-6)


def test_moments_of_nothing_and_of_many():
    nothing = deviance_moments([0.0, -3.0])
    for values in (nothing.mean, nothing.variance, nothing.covariance):
        np.testing.assert_allclose(values, 0.0, atol=1e-290)
    many = deviance_moments(np.full((2, 3), 1e9))
    assert many.mean.shape == (2, 3)
    np.testing.assert_allclose(many.mean, 1.0, rtol=1e-8)
    np.testing.assert_allclose(many.variance, 2.0, rtol=1e-8)
    with pytest.raises(ValueError, match="read_noise must be at least 0"):
        deviance_moments(1.0, -1.0)


@settings(max_examples=40, deadline=None)
@given(mu=st.floats(1e-3, 5e3), step=st.floats(1.0 + 1e-9, 1.0 + 1e-6))
def test_moments_have_no_jumps(mu, step):
    here, there = deviance_moments(mu), deviance_moments(mu * step)
    assert there.mean == pytest.approx(here.mean, rel=1e-5)
    assert there.variance == pytest.approx(here.variance, rel=1e-5)
    assert there.curvature == pytest.approx(here.curvature, rel=2e-2, abs=1e-6)


@pytest.mark.parametrize(("mu", "noise"), [(0.2, 1.0), (3.0, 2.5), (2000.0, 4.0)])
def test_moments_with_read_noise_are_those_of_drawn_counts(mu, noise, rng):
    y = rng.poisson(mu, 400_000) + rng.normal(0.0, noise, 400_000) + noise**2
    m = mu + noise**2
    d = 2.0 * (y * np.log(np.where(y > 0.0, y, 1.0) / m) - y + m)
    found = deviance_moments(mu, noise)
    assert found.mean == pytest.approx(d.mean(), abs=5.0 * d.std() / np.sqrt(d.size))
    assert found.variance == pytest.approx(d.var(), rel=0.03)
    moment = d * (y - m)
    assert found.covariance == pytest.approx(moment.mean(), abs=5.0 * moment.std() / np.sqrt(d.size))


def peak_on_a_level(level, channels):
    """A peak and a level that share the electrons, with the given mean per channel."""
    energy = np.linspace(0.0, 12.0, channels)
    model = SumModel([Term(VALENCE_BAND), Term(DARK_LEVEL)], energy, scale=12.0 / channels)
    each = [model.expectation(np.array([[a, 5.4, 1.8, b]])).mean() for a, b in ((1.0, 0.0), (0.0, 1.0))]
    return model, np.array([0.6 * level / each[0], 5.4, 1.8, 0.4 * level / each[1]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "channels", "noise"),
    [
        (0.05, 6000, 0.0),
        (0.5, 1500, 0.0),
        (0.5, 1500, 1.5),
        (5.0, 500, 0.0),
        (50.0, 500, 0.0),
        (50.0, 500, 1.5),
    ],
)
def test_p_values_of_true_models_are_uniform(level, channels, noise, rng):
    """Simulation with known truth: four parameters, two of them not linear, fitted to 2000 spectra."""
    model, truth = peak_on_a_level(level, channels)
    mean = model.expectation(truth[np.newaxis])[0]
    counts = rng.poisson(mean, (2000, channels)) + rng.normal(0.0, noise, (2000, channels))
    fit = fit_spectra(
        counts,
        FitProblem(model=model, start=np.tile(truth, (2000, 1))),
        detector=Detector(1.0, noise),
        options=SolverOptions(minimum_counts=1.0, covariance=False),
    )
    good = np.flatnonzero(fit.usable)
    assert good.size > 1980
    p = np.empty(good.size)
    for i in range(0, good.size, 200):
        rows = good[i : i + 200]
        expectation, jacobian = evaluate_reduced(model, fit.values[rows], fit.free)
        p[i : i + 200] = deviance_p_value(fit.deviance[rows], expectation, 4, jacobian=jacobian, read_noise=noise)
    assert stats.kstest(p, "uniform").pvalue > 1e-3, (stats.kstest(p, "uniform"), p.mean())
    if level < 1.0:  # what a chi-squared distribution would say
        assert stats.kstest(stats.chi2.sf(fit.deviance[good], fit.dof[good]), "uniform").statistic > 0.9


def test_a_wrong_model_has_small_p_values(rng):
    model, truth = peak_on_a_level(5.0, 500)
    counts = rng.poisson(model.expectation(truth[np.newaxis])[0], (50, 500)).astype(float)
    free = np.array([False, False, False, True])
    start = np.tile(truth * [0.0, 1.0, 1.0, 1.0], (50, 1))
    fit = fit_spectra(counts, FitProblem(model=model, start=start, free=free))
    assert np.all(deviance_p_value(fit.deviance, model.expectation(fit.values), 1) < 1e-6)


def test_p_values_where_there_are_many_electrons_are_those_of_chi_squared():
    expectation = np.full((3, 80), 1e7)
    deviance = np.array([50.0, 77.0, 110.0])
    mask = np.zeros(80, dtype=bool)
    mask[:10] = True
    expected = chi_squared_p_value(deviance, 67)
    # Exact but for rounding: mean 67 and variance 134 are those of chi-squared, which is a gamma distribution.
    found = deviance_p_value(deviance, expectation, 3, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    jacobian = np.broadcast_to(np.vander(np.linspace(-1.0, 1.0, 80), 3).T, (3, 3, 80))
    np.testing.assert_allclose(deviance_p_value(deviance, expectation, 3, mask, jacobian=jacobian), expected, rtol=1e-4)


def test_p_values_of_nothing_are_nan():
    found = deviance_p_value([np.nan, 3.0], np.array([[5.0, 5.0], [0.0, 0.0]]), 1)
    assert np.isnan(found).all()
    assert np.isnan(chi_squared_p_value([1.0, np.nan], [0, 3])).all()


def test_p_values_of_wrong_shapes():
    with pytest.raises(ValueError, match="one row for each of the 2 deviances"):
        deviance_p_value([1.0, 2.0], np.ones((3, 4)), 1)
    with pytest.raises(ValueError, match=r"mask must have the shape \(4,\)"):
        deviance_p_value([1.0], np.ones((1, 4)), 1, np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match=r"jacobian must have the shape \(S, F, E\) = \(1, F, 4\)"):
        deviance_p_value([1.0], np.ones((1, 4)), 1, jacobian=np.ones((1, 2, 3)))


def test_information_criteria_by_hand():
    found = information_criteria([10.0, 20.0], 3, [20, 4])
    np.testing.assert_allclose(found.aic, [16.0, 26.0])
    np.testing.assert_allclose(found.aicc, [16.0 + 24.0 / 16.0, np.inf])
    np.testing.assert_allclose(found.bic, [10.0 + 3.0 * np.log(20.0), 20.0 + 3.0 * np.log(4.0)])
