"""Fisher information and variance inflation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.fitting.solvers import Detector, SolverOptions, fit_spectra
from hyperspy_assb.fitting.statistics import SEPARABLE, fisher_information, variance_inflation

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


def test_the_inverse_of_the_information_is_the_covariance_of_a_fit(rng):
    energy = np.linspace(0.0, 4.0, 50)
    model, detector = Line(energy), Detector(gain=3.0, read_noise=2.0)
    free, mask = np.ones(2, dtype=bool), energy > 3.5
    truth = np.array([200.0, 40.0])
    counts = 3.0 * rng.poisson(model.evaluate(truth, free)[0] / 3.0) + rng.normal(0.0, 2.0, (1, 50))
    # The covariance is that of the last but one step.
    options = SolverOptions(tolerance=1e-20)
    result = fit_spectra(model, counts, truth, detector=detector, mask=mask, options=options)
    information = fisher_information(model, result.values, free, detector=detector, mask=mask)
    np.testing.assert_allclose(result.covariance[0], np.linalg.inv(information[0]), rtol=1e-6)
