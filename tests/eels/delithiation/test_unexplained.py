"""What no phase explains: the tests of a pixel and of a map under the null, and what they see."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.eels.delithiation import unexplained
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.unexplained import (
    Residuals,
    Unnamed,
    find_unnamed,
    freedom,
    hidden_variance,
    judge_explanation,
    measure_misfit,
)
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal
from hyperspy_assb.simulation.eels.dielectric import phase
from hyperspy_assb.simulation.eels.spectra import mean_free_path

NAMED = ("LiFePO4", "FePO4", "LAGP", "carbon")
K, R = 12, 4


class Known:
    """As much of a standard as the tests need: K parameters, R phases, of which none is in the last directions."""

    names = tuple(f"parameter {k}" for k in range(K))
    residual_misfit = np.zeros((K, K))

    class spectra:
        phases = NAMED


def noise(rng, n, *, scale=1.0):
    """Residuals of n pixels whose covariance has the rank that phases leave, in random directions and sizes."""
    root = rng.standard_normal((K, K)) + 3.0 * np.eye(K)
    left = np.eye(K)
    left[K - R :] = 0.0  # what the phases take
    size = rng.uniform(0.5, 2.0, n)
    values = np.sqrt(scale) * size[:, np.newaxis] * (rng.standard_normal((n, K)) @ left.T @ root.T)
    return Residuals(values, size[:, np.newaxis, np.newaxis] ** 2 * (root @ root.T), rng.uniform(0.2, 1.0, n))


def test_p_values_of_noise_are_uniform(rng):
    sample = noise(rng, 4000)
    p_value, _ = judge_explanation(Known, sample, None)
    assert stats.kstest(p_value, "uniform").pvalue > 1e-3


def test_maps_of_noise_hold_nothing_unnamed(rng):
    found = [bool(find_unnamed(Known, noise(rng, n))) for n in (40, 100, 400) for _ in range(100)]
    assert sum(found) <= 1


def test_a_direction_is_found_and_its_pixels_are_flagged(rng, monkeypatch):
    monkeypatch.setattr(unexplained, "_guess_materials", lambda *given: replace(given[-1], candidates=("LAGP",)))
    sample = noise(rng, 400)
    direction = np.linalg.cholesky(sample.covariance[0]) @ np.eye(K)[0]
    amount = np.where(rng.uniform(size=400) < 0.4, rng.uniform(4.0, 9.0, 400), 0.0)
    sample = replace(sample, values=sample.values + amount[:, np.newaxis] * direction)
    found = find_unnamed(Known, sample)
    assert len(found.directions) == 1
    assert found.candidates == ("LAGP",)
    _, flagged = judge_explanation(Known, sample, found)
    assert flagged[amount > 0].mean() > 0.9
    assert flagged[amount == 0].mean() < 0.08


def test_noise_that_channels_share_is_a_scale_and_misfit_is_not(rng):
    scale, misfit = measure_misfit(noise(rng, 200), K - R)
    assert scale == 1.0
    assert not misfit.any()
    scale, misfit = measure_misfit(noise(rng, 200, scale=6.0), K - R)
    assert scale == pytest.approx(6.0, rel=0.15)
    assert not misfit.any()
    pure = noise(rng, 200)
    direction = np.linalg.cholesky(pure.covariance[0]) @ np.eye(K)[1]
    off = 8.0 * pure.t_over_lambda * rng.standard_normal(200)
    scale, misfit = measure_misfit(replace(pure, values=pure.values + off[:, np.newaxis] * direction), K - R)
    assert scale == 1.0
    assert np.trace(misfit) == pytest.approx(64.0 * direction @ direction, rel=0.5)


def test_pixels_without_residuals_are_not_judged(rng):
    sample = noise(rng, 30)
    sample.values[3] = np.nan
    p_value, flagged = judge_explanation(Known, sample, Unnamed(np.zeros((0, K)), np.zeros(0)))
    assert np.isnan(p_value[3])
    assert not flagged[3]
    assert not find_unnamed(Known, Residuals(sample.values[:5], sample.covariance[:5], sample.t_over_lambda[:5]))
    assert freedom(Known) == K - R


def test_what_is_hidden_widens_x_by_what_it_passes_for(rng):
    """A material that is one part residual and two parts of the first phase, of a known amount in each pixel."""
    n = 4000
    standard = SimpleNamespace(
        residual_misfit=np.zeros((K, K)),
        calibration=SimpleNamespace(
            hosts=np.ones(2), per_thickness=lambda t: np.broadcast_to(np.eye(R, K), (len(t), R, K))
        ),
    )
    own = np.zeros(K)
    own[R], own[0] = 1.0, 2.0
    prior = 3.0
    amount = prior * rng.standard_normal(n)
    values = np.zeros((n, K))
    values[:, R:] = rng.standard_normal((n, K - R))
    values[:, R] += amount
    sample = Residuals(values, np.broadcast_to(np.eye(K), (n, K, K)), np.ones(n))
    amounts = np.tile([50.0, 50.0, 0.0, 0.0], (n, 1))
    found = Unnamed(np.eye(K)[R : R + 1], np.array([1.0 + prior**2]), (), own[np.newaxis], np.zeros((1, K)), np.ones(1))
    assert not hidden_variance(standard, sample, None, amounts).any()
    variance = hidden_variance(standard, sample, found, amounts)
    error = 2.0 * amount * 0.5 / 100.0  # of x = 0.5 in 100 formula units
    near = np.abs(values[:, R]) < 2.0
    assert np.mean(variance[near]) == pytest.approx(np.mean(error[near] ** 2), rel=0.1)
    assert np.mean(variance[~near]) == pytest.approx(np.mean(error[~near] ** 2), rel=0.1)


def columns_of(t_over_lambda, rng):
    """Counts of columns of both end members and LAGP of some t/lambda, and x."""
    lambdas = {name: mean_free_path(name) for name in NAMED[:3]}
    shares = np.stack([x := rng.uniform(0.0, 1.0, t_over_lambda.size), 1.0 - x, rng.uniform(0.0, 0.5, x.size)])
    nm = t_over_lambda * shares / shares.sum(axis=0)
    columns = {name: nm[i] * lambdas[name] for i, name in enumerate(lambdas)}
    lithium, empty = (columns[name] / phase(name).volume for name in NAMED[:2])
    return simulate_spectra(columns, EELSConditions(), rng, dose=1e6), lithium / (lithium + empty)


@pytest.mark.slow
@pytest.mark.parametrize(("pure", "own"), [((0.15, 0.6), (0.75, 1.2)), ((0.6, 1.2), (0.1, 0.3))])
def test_columns_of_another_thickness_are_right_or_say_so(rng, pure, own):
    conditions, counts, labels = EELSConditions(), [], []
    for name in NAMED[:3]:
        nm = mean_free_path(name) * rng.uniform(*pure, 60)
        counts.append(simulate_spectra({name: nm}, conditions, rng, dose=1e6))
        labels += [name] * 60
    masks = {name: np.array([label == name for label in labels]) for name in NAMED[:3]}
    kind = {"signal_type": "EELS_ASSB"}
    standard = spectra_to_signal(np.concatenate(counts), conditions, **kind).quantify_delithiation(
        masks, show_progressbar=False
    )
    test, x = columns_of(rng.uniform(*own, 200), rng)
    found = spectra_to_signal(test, conditions, **kind).quantify_delithiation(standard, show_progressbar=False)
    status = found.status.data
    told = np.isin(status, (DelithiationStatus.QUANTIFIED, DelithiationStatus.THICK))
    error, stated = np.abs(found.x.data - x), np.hypot(found.x_std.data, found.x_systematic.data)
    assert np.mean(told & (error > 0.1) & (error > 3.0 * stated)) <= 0.01
    if own[0] > pure[1]:
        assert told.mean() > 0.8
        assert 0.6 < np.mean((error < stated)[told]) < 0.85
    outside = status == DelithiationStatus.OUTSIDE
    assert outside.any() == any("unlike the references" in note for note in found.notes)
    assert not (status == DelithiationStatus.UNEXPLAINED).any()
    assert not found.find_delithiated().found.data[outside].any()


@pytest.mark.slow
@pytest.mark.parametrize(("unnamed", "like"), [((), ()), (("LAGP",), "LAGP"), (("carbon",), None)])
def test_what_was_not_named_is_told(rng, unnamed, like):
    """Columns of mixed phases, of which some are not among the references."""
    conditions = EELSConditions()
    shares = rng.dirichlet(np.ones(4), 200)
    shares[::4, 2:] = 0.0
    columns = {name: 80.0 * shares[:, i] for i, name in enumerate(NAMED)}
    pure, labels = [], []
    for name in NAMED:
        pure.append(simulate_spectra({name: rng.uniform(20.0, 110.0, 50)}, conditions, rng, dose=1e6))
        labels += [name] * 50
    masks = {name: np.array([label == name for label in labels]) for name in NAMED if name not in unnamed}
    kind = {"signal_type": "EELS_ASSB"}
    standard = spectra_to_signal(np.concatenate(pure), conditions, **kind).quantify_delithiation(
        masks, show_progressbar=False
    )
    counts = simulate_spectra(columns, conditions, rng, dose=1e6)
    found = spectra_to_signal(counts, conditions, **kind).quantify_delithiation(standard, show_progressbar=False)
    truth = (columns["LiFePO4"] / 0.07287) / (columns["LiFePO4"] / 0.07287 + columns["FePO4"] / 0.06792)
    quantified = found.status.data == DelithiationStatus.QUANTIFIED
    error = np.abs(found.x.data - truth)
    silent = quantified & (error > 0.1) & (error > 3.0 * np.hypot(found.x_std.data, found.x_systematic.data))
    assert silent.mean() <= 0.01
    said = [note for note in found.notes if "none of the references explains" in note]
    if not unnamed:
        assert not said
        assert quantified.mean() > 0.9
        return
    assert len(said) == 1
    if like:
        assert like in said[0]
    holds = sum(shares[:, NAMED.index(name)] for name in unnamed)
    flagged = found.status.data == DelithiationStatus.UNEXPLAINED
    others = np.isin(found.status.data, (DelithiationStatus.NO_ELECTRODE, DelithiationStatus.NOT_FITTED))
    assert (flagged | ~quantified)[(holds > 0.15) & ~others].mean() > 0.95
