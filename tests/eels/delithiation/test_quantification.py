"""x of many pixels: the combination, the ensemble of windows, predictions, and what signatures allow."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy import stats

from hyperspy_assb.eels.delithiation.end_members import METHODS
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, Estimate, combine
from hyperspy_assb.eels.delithiation.pixels import Pixels
from hyperspy_assb.eels.delithiation.prediction import dose_to_find, predict_estimate
from hyperspy_assb.eels.delithiation.quantification import Window, measure_choices, quantify, systematic_of
from hyperspy_assb.eels.scattering.joint_model import Features
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

PHASES = ("LiFePO4", "FePO4", "LAGP", "carbon")
CONDITIONS = EELSConditions()
ENERGY = CONDITIONS.energy


def estimate(x, variance, systematic=0.0, direction=None):
    x = np.asarray(x, dtype=float)
    full = [np.broadcast_to(np.asarray(v, dtype=float), x.shape).copy() for v in (variance, systematic, variance)]
    return Estimate(x, *full, direction)


# ------------------------------------------------------------------------------------------------- the combination


def draw(rng, n=20000, *, systematic=(0.0, 0.0, 0.0), bias=0.0):
    """An efficient estimate, and two others that are it plus independent noise: Hausman's case, exactly."""
    whole = 0.03 * rng.standard_normal(n)
    extra = rng.multivariate_normal([0.0, 0.0], [[1e-3, 2e-4], [2e-4, 4e-3]], n)
    between = np.array([[1e-3, 2e-4], [2e-4, 4e-3]]) + 9e-4
    features = Features(("a", "b"), np.zeros((n, 2)), np.broadcast_to(between, (n, 2, 2)), np.ones(n))
    unit = [np.broadcast_to(row, (n, 2)) for row in np.eye(2)]
    return {
        "references": estimate(whole, 9e-4, systematic[0]),
        "valence": estimate(whole + extra[:, 0] + bias, between[0, 0], systematic[1], unit[0]),
        "lithium": estimate(whole + extra[:, 1], between[1, 1], systematic[2], unit[1]),
    }, features


def test_an_efficient_estimate_is_not_improved(rng):
    estimates, features = draw(rng, 50)
    found, _ = combine(estimates, features)
    np.testing.assert_allclose(found.fraction, estimates["references"].fraction, atol=1e-12)  # exact
    np.testing.assert_allclose(found.variance, 9e-4, rtol=1e-9)


def test_the_agreement_is_uniform(rng):
    _, agreement = combine(*draw(rng))
    assert stats.kstest(agreement, "uniform").pvalue > 1e-3


def test_disagreement_is_seen(rng):
    _, agreement = combine(*draw(rng, bias=0.2))
    assert np.mean(agreement < 1e-3) > 0.95


def test_systematic_errors_give_weight_to_the_others(rng):
    estimates, features = draw(rng, 50, systematic=(1.0, 0.0, 0.0))
    found, _ = combine(estimates, features)
    weights = np.linalg.inv(features.covariance[0]).sum(axis=0)
    both = weights @ [estimates["valence"].fraction, estimates["lithium"].fraction] / weights.sum()
    np.testing.assert_allclose(found.fraction, both, atol=2e-3)  # exact but for the weight of a standard error of 1


def test_where_a_signature_is_missing_the_whole_answers(rng):
    estimates, features = draw(rng, 4)
    estimates["lithium"].fraction[1] = estimates["lithium"].variance[1] = np.nan
    found, agreement = combine(estimates, features)
    assert found.fraction[1] == estimates["references"].fraction[1]
    assert np.isnan(agreement[1])
    assert np.isfinite(agreement[[0, 2, 3]]).all()


@pytest.mark.parametrize("left", ["valence", "lithium"])
def test_one_signature_is_combined_with_one_degree_of_freedom(rng, left):
    estimates, features = draw(rng)
    del estimates[left]
    found, agreement = combine(estimates, features)
    assert stats.kstest(agreement, "uniform").pvalue > 1e-3
    np.testing.assert_allclose(found.fraction, estimates["references"].fraction, atol=1e-12)  # exact


def test_without_a_signature_the_whole_spectrum_answers(rng):
    estimates, features = draw(rng, 20)
    found, agreement = combine({"references": estimates["references"]}, features)
    assert found is estimates["references"]
    assert np.isnan(agreement).all()


# --------------------------------------------------------------------------------------------- a standard, and pixels


@pytest.fixture(scope="module")
def standard():
    rng = np.random.default_rng(3)
    counts, labels = [], []
    for phase in PHASES:
        columns = {phase: rng.uniform(25.0, 140.0, 40), "carbon": np.full(40, 2.0)}
        if phase == "carbon":
            columns = {phase: rng.uniform(25.0, 140.0, 40)}
        counts.append(simulate_spectra(columns, CONDITIONS, rng, dose=2e6))
        labels += [phase] * 40
    signal = spectra_to_signal(np.concatenate(counts), CONDITIONS, signal_type="EELS_ASSB")
    masks = {phase: np.array([label == phase for label in labels]) for phase in PHASES}
    return signal.quantify_delithiation(masks, show_progressbar=False).standard


def olivine(x, nm, rng, *, dose=1e6, **others):
    x = np.asarray(x, dtype=float)
    volume = 0.07287 * x + 0.06792 * (1 - x)
    columns = {"LiFePO4": nm * 0.07287 * x / volume, "FePO4": nm * 0.06792 * (1 - x) / volume, "carbon": 2.0 + 0 * x}
    return simulate_spectra(columns | others, CONDITIONS, rng, dose=dose)


def test_every_method_finds_the_truth(standard, rng):
    x = np.repeat([0.0, 0.5, 1.0], 40)
    found = quantify(standard, olivine(x, 60.0, rng), ENERGY)
    for method, limit in zip(METHODS, (0.03, 0.05, 0.02, 0.02), strict=True):
        content = found.contents[method]
        for value in (0.0, 0.5, 1.0):
            rows = x == value
            error = np.mean(content.fraction[rows]) - value
            assert abs(error) < limit, (method, value)  # known truth
    combined = found.contents["combined"]
    assert np.mean(combined.status == DelithiationStatus.QUANTIFIED) > 0.95
    assert (
        np.mean(np.abs(combined.fraction - x) < 1.96 * np.hypot(combined.fraction_std, combined.fraction_systematic))
        > 0.88
    )


def test_bad_pixels_spoil_nothing_but_themselves(standard, rng):
    counts = olivine(np.full(6, 0.5), 60.0, rng)
    alone = quantify(standard, counts, ENERGY, ensemble=False).contents["combined"]
    counts[1], counts[3] = np.nan, 0.0
    counts[4] = simulate_spectra({"LAGP": 60.0}, CONDITIONS, rng, dose=1e6)
    found = quantify(standard, counts, ENERGY, ensemble=False)
    status = found.contents["combined"].status
    assert [DelithiationStatus(s).name for s in status[[1, 3, 4]]] == ["NOT_FITTED", "NOT_FITTED", "NO_ELECTRODE"]
    assert np.isnan(found.contents["combined"].fraction[[1, 3, 4]]).all()
    rest = [0, 2, 5]
    np.testing.assert_allclose(found.contents["combined"].fraction[rest], alone.fraction[rest], atol=1e-3)


def test_vacuum_has_no_electrode(standard, rng):
    found = quantify(standard, simulate_spectra({"LiFePO4": np.zeros(20)}, CONDITIONS, rng, dose=1e6), ENERGY)
    assert np.all(found.contents["combined"].status == DelithiationStatus.NO_ELECTRODE)
    assert np.all(found.t_over_lambda < 0.1)


def test_gain_and_read_noise(standard, rng):
    x = np.repeat([0.0, 1.0], 60)
    counts = 5.0 * olivine(x, 60.0, rng) + rng.normal(0.0, 3.0, (120, ENERGY.size))
    content = quantify(standard, counts, ENERGY, detector=Detector(gain=5.0, read_noise=3.0)).contents["combined"]
    error = (content.fraction - x) / np.hypot(content.fraction_std, content.fraction_systematic)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(1.0, abs=0.25)


def test_other_axes_are_refused(standard):
    with pytest.raises(ValueError, match="same energy axis"):
        quantify(standard, np.ones((1, 1024)), 2.0 * ENERGY)
    with pytest.raises(ValueError, match="1000"):
        quantify(standard, np.ones((1, 1000)), ENERGY[:1000])


def test_blocks_and_order_do_not_matter(standard, rng):
    counts = olivine(rng.uniform(0, 1, 12), 60.0, rng)
    order = rng.permutation(12)
    one = quantify(standard, counts, ENERGY, ensemble=False).contents["combined"].fraction
    two = quantify(standard, counts[order], ENERGY, ensemble=False).contents["combined"].fraction
    np.testing.assert_allclose(two, one[order], atol=1e-3)


# ---------------------------------------------------------------------------------------------------- the ensemble


def test_windows_that_agree_add_nothing(standard, rng):
    pixels = Pixels.of(standard, olivine(rng.uniform(0, 1, 150), 60.0, rng), ENERGY, Detector(), workers=1)
    changes = measure_choices(pixels, np.zeros(150, dtype=bool))
    assert max(np.abs(change).max() for change in changes.values()) < 0.05
    assert np.all(systematic_of({}, np.array([0.0, 1.0])) == 0.0)


def test_a_band_that_is_not_that_of_the_references_is_noticed(standard, rng):
    """A line on the 5 eV band that no phase has."""
    counts = olivine(np.full(150, 0.5), 60.0, rng).astype(float)
    counts += rng.poisson(4e2 * np.exp(-0.5 * ((ENERGY - 5.0) / 0.7) ** 2), counts.shape)
    found = quantify(standard, counts, ENERGY)
    plain = quantify(standard, counts, ENERGY, ensemble=False)
    wrong = abs(np.mean(plain.contents["references"].fraction) - 0.5)
    assert wrong > 0.03
    assert np.mean(found.contents["references"].fraction_systematic) > wrong / 2
    assert np.mean(found.contents["references"].fraction_systematic) > np.mean(
        plain.contents["references"].fraction_systematic
    )


def test_nothing_of_a_block_is_kept(standard, rng):
    """What only the search for circles of references would free adds up to the memory of the machine."""
    gc.collect()
    gc.disable()
    try:
        quantify(standard, olivine(np.full(30, 0.5), 60.0, rng), ENERGY)
        # By `type`: `isinstance` would look through the dead weak proxies of other tests.
        assert not [one for one in gc.get_objects() if type(one) in (Pixels, Estimate)]
    finally:
        gc.enable()


def test_windows_are_what_they_say():
    window = Window("tail", None, 3.0).mask(ENERGY, 1.0)
    assert ENERGY[window].min() > 1.5
    assert ENERGY[window].max() < 3.0


# ------------------------------------------------------------------------------------------------------- predictions


def test_the_prediction_is_what_a_fit_states(standard, rng):
    found = quantify(standard, olivine(np.ones(80), 60.0, rng), ENERGY, ensemble=False)
    t = float(np.median(found.t_over_lambda))
    # The dose of the simulation counts what lies beyond the last channel as well.
    predicted = predict_estimate(standard, 1e6, fraction=1.0, t_over_lambda=t)
    stated = np.median(found.contents["references"].fraction_std)
    # Other phases in the column are not known to be absent; carbon is on the surfaces.
    assert np.sqrt(predicted.variance[0]) == pytest.approx(stated, rel=0.15)


def test_four_times_the_dose_is_half_the_error(standard):
    one, four = np.sqrt(predict_estimate(standard, [1e5, 4e5]).variance)
    assert one / four == pytest.approx(2.0, rel=1e-6)  # exact without read noise


def test_less_is_found_with_more_electrons(standard):
    doses = [dose_to_find(standard, share) for share in (0.4, 0.2, 0.1)]
    assert doses[0] < doses[1] < doses[2]
    assert dose_to_find(standard, 1e-5) == np.inf  # below what pure pixels scatter
    assert dose_to_find(standard, 0.2, others={"LAGP": 0.5}) > doses[1]


def test_wrong_predictions_are_refused(standard):
    with pytest.raises(ValueError, match="LVP"):
        predict_estimate(standard, 1e6, others={"LVP": 0.1})
    with pytest.raises(ValueError, match="leave room"):
        predict_estimate(standard, 1e6, others={"LAGP": 1.0})
    with pytest.raises(ValueError, match="share"):
        dose_to_find(standard, 0.0)


@pytest.mark.slow
def test_a_signature_has_no_x_where_the_edge_that_counts_the_host_is_in_the_noise(rng):
    """With the end members alone named, one edge counts formula units: of a thin column, too few to tell."""
    x, nm = np.repeat([1.0, 0.0], 40), np.tile(np.linspace(20.0, 120.0, 40), 2)
    signal = spectra_to_signal(
        simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, CONDITIONS, rng, dose=1e6),
        CONDITIONS,
        signal_type="EELS_ASSB",
    )
    found = signal.quantify_delithiation({"LiFePO4": x == 1.0, "FePO4": x == 0.0}, show_progressbar=False)
    for method in ("valence", "lithium"):
        own = found.with_method(method)
        error = np.abs(own.x.data - x)
        told = np.isfinite(error)
        assert told.mean() > 0.6
        assert error[told].max() < 2.0
        assert (own.status.data[~told] == DelithiationStatus.NO_ELECTRODE).all()
    assert np.isfinite(found.x.data).all()
    assert np.sqrt(np.mean((found.x.data - x) ** 2)) < 0.05
