"""What no phase explains: the tests of a pixel and of a map under the null, and what they see."""

from __future__ import annotations

from dataclasses import replace

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
    judge_explanation,
    measure_misfit,
)
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

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
    monkeypatch.setattr(unexplained, "_candidates", lambda *_: ("LAGP",))
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
