"""Non-negative least squares with correlated errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, optimize

from hyperspy_assb.fitting.fixed_shapes.nonnegative import fit_correlated


def fit(data, covariance, columns):
    amounts, squares = np.empty((len(data), columns.shape[1])), np.empty(len(data))
    fit_correlated(data, covariance, columns, amounts, squares)
    return amounts, squares


def made_up(rng, n=40, m=6, k=4):
    columns = rng.uniform(0.0, 1.0, (m, k)) * 10.0 ** rng.uniform(-2.0, 2.0, k)
    root = rng.normal(size=(n, m, m)) * 10.0 ** rng.uniform(-1.0, 1.0, (1, m, 1))
    covariance = root @ root.transpose(0, 2, 1) + 1e-3 * np.eye(m)
    amounts = np.maximum(rng.normal(size=(n, k)), 0.0) / np.linalg.norm(columns, axis=0)
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.normal(size=(n, m)))
    return amounts @ columns.T + 0.1 * noise, covariance, columns


@pytest.mark.parametrize("seed", range(5))
def test_against_another_program(seed):
    """Lawson and Hanson's method in SciPy, on data and columns whose errors were made independent."""
    data, covariance, columns = made_up(np.random.default_rng(seed))
    amounts, squares = fit(data, covariance, columns)
    for b in range(len(data)):
        factor = np.linalg.cholesky(covariance[b])
        white = linalg.solve_triangular(factor, np.column_stack([data[b], columns]), lower=True)
        expected, distance = optimize.nnls(white[:, 1:], white[:, 0])
        np.testing.assert_allclose(amounts[b], expected, rtol=1e-6, atol=1e-9 * expected.max(initial=1e-9))
        np.testing.assert_allclose(squares[b], distance**2, rtol=1e-8)
        np.testing.assert_array_equal(amounts[b] > 0.0, expected > 0.0)


def test_mixtures_are_found_exactly():
    rng = np.random.default_rng(9)
    _, covariance, columns = made_up(rng, n=8)
    truth = rng.uniform(0.5, 2.0, (8, 4)) / np.linalg.norm(columns, axis=0)
    truth[::2, 1] = 0.0
    amounts, squares = fit(truth @ columns.T, covariance, columns)
    np.testing.assert_allclose(amounts, truth, rtol=1e-6, atol=1e-7 / np.linalg.norm(columns, axis=0).min())
    np.testing.assert_allclose(squares, 0.0, atol=1e-9)


def test_errors_that_cannot_be_leave_nothing():
    _, covariance, columns = made_up(np.random.default_rng(2), n=2)
    covariance[0] = 1.0
    amounts, squares = fit(np.ones((2, 6)), covariance, columns)
    assert np.isnan(amounts[0]).all()
    assert np.isnan(squares[0])
    assert np.isfinite(amounts[1]).all()
