"""What was not named: whether a map of noise holds it, where it is found, and what x is beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eels.delithiation import unnamed_phases
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.material_guess import MaterialGuess
from hyperspy_assb.eels.delithiation.unexplained import Residuals
from hyperspy_assb.eels.delithiation.unnamed_phases import Unnamed, find_unnamed, see_through
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal
from hyperspy_assb.simulation.eels.dielectric import phase
from hyperspy_assb.simulation.eels.spectra import mean_free_path
from tests.eels.delithiation.residual_scenes import NAMED, K, Known, R, noise


def nothing_fitted(n):
    """Amounts of the phases and their covariance, of no matter."""
    return np.ones((n, R)), np.tile(1e-4 * np.eye(R), (n, 1, 1))


def test_maps_of_noise_hold_nothing_unnamed(rng):
    found = [bool(find_unnamed(Known(), noise(rng, n), *nothing_fitted(n))) for n in (40, 100, 400) for _ in range(100)]
    assert sum(found) <= 1
    assert not find_unnamed(Known(), noise(rng, 5), *nothing_fitted(5))


def test_a_direction_that_no_material_leaves_is_found_and_its_pixels_are_flagged(rng, monkeypatch):
    monkeypatch.setattr(unnamed_phases, "guess_materials", lambda *given: [])
    sample = noise(rng, 400)
    direction = np.linalg.cholesky(sample.covariance[0]) @ np.eye(K)[0]
    amount = np.where(rng.uniform(size=400) < 0.4, rng.uniform(4.0, 9.0, 400), 0.0)
    sample = replace(sample, values=sample.values + amount[:, np.newaxis] * direction)
    found = find_unnamed(Known(), sample, *nothing_fitted(400))
    assert len(found.directions) == 1
    assert found.passes is None
    seen = see_through(Known(), sample, found)
    assert seen.unexplained[amount > 0].mean() > 0.9
    assert seen.unexplained[amount == 0].mean() < 0.08
    assert not seen.amounts.any()


def a_map(rng, n, *, empty, share=0.5, passes=(0.008, -0.002, 0.0, 0.0)):
    """Residuals, amounts as fitted, what the unnamed passes for in them, and the guess, of n pixels.

    A unit of the unnamed is one standard error of residual in the first direction, and passes for some of the phases.
    Some pixels hold nothing of each end member, if ``empty``.
    """
    known = Known()
    thickness = rng.uniform(0.4, 0.9, n)
    held = np.where(rng.uniform(size=n) < share, rng.uniform(0.0, 60.0, n), 0.0)
    amounts = rng.uniform(0.2, 0.5, (n, R))
    if empty:
        pure = rng.integers(0, 4, n)
        amounts[pure == 0, 0] = amounts[pure == 1, 1] = 0.0
    values = rng.standard_normal((n, K)) * (np.arange(K) < K - R)
    values[:, 0] += held
    sample = Residuals(values, np.tile(np.eye(K), (n, 1, 1)), thickness, np.zeros(n))
    guise = np.outer(held, passes)
    error = 0.01
    fitted = amounts + guise + error * rng.standard_normal((n, R))
    parameters = np.zeros(K)
    parameters[0], parameters[K - R :] = 125.0, 125.0 * np.array(passes)
    guess = MaterialGuess("LAGP", parameters, np.full(K, 1e-4) + np.where(np.arange(K) < K - R, 0.0, 0.0625), 0.0)
    return known, sample, (fitted, np.tile(error**2 * np.eye(R), (n, 1, 1))), guise, guess


@pytest.mark.parametrize("empty", [True, False])
def test_what_it_passes_for_is_known_with_its_error(rng, monkeypatch, empty):
    """Pixels without one end member tell it exactly; without such pixels the guess does, with its error."""
    away, errors = [], []
    for _ in range(12):
        known, sample, fitted, guise, guess = a_map(rng, 300, empty=empty)
        wrong = guess.parameters + np.sqrt(unnamed_phases.UNSURE * guess.variance) * rng.standard_normal(K)
        monkeypatch.setattr(unnamed_phases, "guess_materials", lambda *_, w=wrong, g=guess: [replace(g, parameters=w)])
        found = find_unnamed(known, sample, *fitted)
        assert found.candidates == ("LAGP",)
        seen = see_through(known, sample, found)
        assert not seen.unexplained.mean() > 0.01
        away.append((seen.amounts - guise)[:, :2])
        errors.append(np.sqrt(np.einsum("srr->sr", seen.amounts_covariance))[:, :2])
    away, errors = np.concatenate(away), np.concatenate(errors)
    clear = errors > 0.01
    assert 0.55 < np.mean(np.abs(away)[clear] < errors[clear]) < 0.9
    assert np.sqrt(np.mean(away**2)) < (0.03 if empty else 0.12)


def test_residuals_of_both_signs_are_no_phase(rng, monkeypatch):
    known, sample, fitted, _, guess = a_map(rng, 300, empty=True)
    monkeypatch.setattr(unnamed_phases, "guess_materials", lambda *_: [guess])
    sample.values[:, 0] *= np.where(rng.uniform(size=300) < 0.5, 1.0, -1.0)
    found = find_unnamed(known, sample, *fitted)
    assert found
    assert found.passes is None


def test_a_pixel_does_not_depend_on_those_beside_it(rng):
    known, sample, _, _, _ = a_map(rng, 60, empty=True)
    found = Unnamed(
        np.eye(K)[:1], np.array([9.0]), vectors=np.eye(K)[:1], passes=np.array([[0.04], [-0.01], [0.0], [0.0]]),
        passes_covariance=np.full((R, 1, 1), 1e-4), share=0.5, spread=np.array([[40.0]]),
    )  # fmt: skip
    whole = see_through(known, sample, found)
    rows = slice(10, 14)
    names = ("values", "covariance", "t_over_lambda", "deviance")
    part = see_through(known, Residuals(*(getattr(sample, name)[rows] for name in names)), found)
    np.testing.assert_allclose(part.amounts, whole.amounts[rows], rtol=1e-12)
    np.testing.assert_allclose(part.parameters_covariance, whole.parameters_covariance[rows], rtol=1e-12, atol=1e-15)


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
    stated = np.hypot(found.x_std.data, found.x_systematic.data)
    silent = quantified & (error > 0.1) & (error > 3.0 * stated)
    assert silent.mean() <= 0.01
    said = [note for note in found.notes if "no reference explains" in note]
    if not unnamed:
        assert not said
        assert quantified.mean() > 0.9
        return
    assert len(said) == 1
    if like:
        assert like in said[0]
    # x is answered beside it, with errors that hold, and the map shows where it lies.
    assert quantified.mean() > 0.6  # the others hold so much of it that x is uncertain
    assert 0.5 < np.mean(error[quantified] < stated[quantified]) < 0.9
    holds = sum(shares[:, NAMED.index(name)] for name in unnamed) * found.t_over_lambda.data
    assert np.corrcoef(found.unnamed.data, holds)[0, 1] > 0.9
