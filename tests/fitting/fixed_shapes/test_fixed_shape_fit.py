"""Poisson fits of sums of narrow templates."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.fitting.fixed_shapes.fixed_shape_fit import TemplateModel, fit_templates
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED, EMPTY

CHANNELS = 120


def peak(centre, width=3.0):
    x = np.arange(CHANNELS)
    shape = np.exp(-0.5 * ((x - centre) / width) ** 2)
    return np.where(shape > 1e-6, shape, 0.0)


def make_model(absorption=0.0):
    """Two overlapping peaks that are amounts of their own, a pair of peaks of one amount, and a flat background."""
    templates = np.array([peak(30), peak(36), peak(70), peak(95), np.full(CHANNELS, 0.05)])
    strength = np.zeros((5, 4))
    strength[[0, 1, 2, 3, 4], [0, 1, 2, 2, 3]] = [1.0, 1.0, 1.0, 0.4, 1.0]
    depth = np.zeros((5, 4))
    depth[2, 2] = absorption
    return TemplateModel(templates, strength, depth, np.array([0, 1, 2, 2, -1]), np.array([True, True, True, False]))


AMOUNTS = np.array([[40.0, 10.0, 25.0, 30.0], [5.0, 60.0, 1.0, 50.0], [100.0, 80.0, 200.0, 10.0]])


@pytest.mark.parametrize("absorption", [0.0, 0.004])
def test_expected_counts_give_the_amounts(absorption):
    model = make_model(absorption)
    fit = fit_templates(model.expectation(AMOUNTS), model, np.ones(4), tolerance=1e-12)
    assert (fit.status == CONVERGED).all()
    np.testing.assert_allclose(fit.amounts, AMOUNTS, rtol=1e-3)
    np.testing.assert_allclose(fit.unclipped, AMOUNTS, rtol=1e-3)
    assert np.abs(fit.mismatch).max() < 0.1


def test_weights_of_an_absorbing_layer():
    model = make_model(0.01)
    depth = 0.01 * AMOUNTS[:, 2]
    np.testing.assert_allclose(model.weights(AMOUNTS)[:, 2], AMOUNTS[:, 2] * (1 - np.exp(-depth)) / depth, rtol=1e-12)
    np.testing.assert_allclose(make_model(0.0).weights(AMOUNTS)[:, 2], AMOUNTS[:, 2])


def test_covariance_is_the_inverse_information():
    model = make_model()
    expected = model.expectation(AMOUNTS)
    fit = fit_templates(expected, model, np.ones(4), tolerance=1e-12)
    slopes = model.strength.T @ model.templates
    for b in range(len(AMOUNTS)):
        information = (slopes / expected[b]) @ slopes.T
        np.testing.assert_allclose(fit.covariance[b], np.linalg.inv(information), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("dose", [1.0, 0.1])
def test_scatter_is_at_the_bound_without_bias(rng, dose):
    model = make_model()
    truth = dose * np.tile(AMOUNTS[:1], (4000, 1))
    counts = rng.poisson(model.expectation(truth))
    fit = fit_templates(counts, model, np.ones(4))
    good = fit.status == CONVERGED
    assert good.mean() > 0.99
    expected = model.expectation(truth[:1])[0]
    slopes = model.strength.T @ model.templates
    bound = np.sqrt(np.diag(np.linalg.inv((slopes / expected) @ slopes.T)))
    error = fit.unclipped[good] - truth[good]
    assert (np.abs(error.mean(axis=0)) < 4.0 * bound / np.sqrt(good.sum()) + 0.02 * bound).all()
    assert (error.std(axis=0) < 1.1 * bound).all()
    covered = (np.abs(error) < fit.std[good]).mean(axis=0)
    assert (np.abs(covered - 0.683) < 0.04).all()


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(0.2, 50.0), seed=st.integers(0, 1000))
def test_longer_exposures_give_the_same_amounts(factor, seed):
    rng = np.random.default_rng(seed)
    model = make_model()
    amounts = rng.uniform(5.0, 50.0, (1, 4))
    expected = model.expectation(amounts) * factor
    fit = fit_templates(expected, model, np.ones(4), exposure=np.array([factor]), tolerance=1e-12)
    np.testing.assert_allclose(fit.amounts, amounts, rtol=2e-3)
    assert (fit.amounts >= 0.0)[:, model.bounded].all()


def test_amounts_stop_at_zero_and_means_do_not(rng):
    model = make_model()
    truth = np.tile([[5.0, 0.0, 5.0, 20.0]], (3000, 1))
    fit = fit_templates(rng.poisson(model.expectation(truth)), model, np.ones(4))
    assert fit.amounts[:, 1].min() == 0.0
    assert (fit.amounts[:, 1] == 0.0).mean() > 0.3
    spread = fit.unclipped[:, 1].std() / np.sqrt(len(truth))
    assert fit.unclipped[:, 1].min() < 0.0
    assert abs(fit.unclipped[:, 1].mean()) < 4.0 * spread


def test_empty_spectra_and_lazy_counts(rng):
    model = make_model()
    counts = rng.poisson(model.expectation(np.repeat(AMOUNTS, 4, axis=0)))
    counts[3] = 0
    fit = fit_templates(counts, model, np.ones(4))
    assert fit.status[3] == EMPTY
    assert np.isnan(fit.amounts[3]).all()
    lazy = fit_templates(da.from_array(counts, chunks=(5, -1)), model, np.ones(4))
    np.testing.assert_array_equal(lazy.amounts, fit.amounts)
    single = fit_templates(counts, model, np.ones(4), threads=1)
    np.testing.assert_array_equal(single.amounts, fit.amounts)


def test_misfit_is_told(rng):
    model = make_model()
    counts = rng.poisson(model.expectation(np.repeat(AMOUNTS[:1], 50, axis=0)) * 20)
    right = fit_templates(counts, model, np.ones(4))
    wrong = fit_templates(counts + rng.poisson(600.0 * peak(50), counts.shape), model, np.ones(4))
    assert np.abs(right.pearson).max() < 6.0
    assert wrong.pearson.min() > 6.0
    assert wrong.mismatch.min() > 10 * np.abs(right.mismatch).max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: np.where(c == c.max(), -1.0, c), "negative"),
        (lambda c: np.where(c == c.max(), np.nan, c), "finite"),
        (lambda c: c[:, :-1], "channels"),
    ],
)
def test_counts_that_cannot_be(change, message):
    model = make_model()
    with pytest.raises(ValueError, match=message):
        fit_templates(change(model.expectation(AMOUNTS)), model, np.ones(4))


def test_arguments_that_cannot_be():
    model = make_model()
    counts = model.expectation(AMOUNTS)
    with pytest.raises(ValueError, match="start"):
        fit_templates(counts, model, np.zeros(4))
    with pytest.raises(ValueError, match="exposure"):
        fit_templates(counts, model, np.ones(4), exposure=np.zeros(3))
