"""Spectra: dose, plural scattering, zero loss, noise."""

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.simulation import (
    Beam,
    Detector,
    EELSConditions,
    mean_free_path,
    relative_thickness,
    simulate_spectra,
)

# No tails and a long range, so that nothing is lost from the record.
CLEAN = EELSConditions(
    dispersion=0.5, n_channels=2600, offset=-20.0, detector=Detector(tail_strength=0.0), energy_resolution=1.0
)


def test_log_ratio_gives_t_over_lambda():
    columns = {"LiFePO4": [20.0, 60.0, 150.0], "carbon": [0.0, 20.0, 5.0]}
    spectra = simulate_spectra(columns, CLEAN, noise=False, dose=1.0)
    zero_loss = spectra[:, CLEAN.energy < 1.5].sum(axis=1)
    vacuum = simulate_spectra({}, CLEAN, noise=False, dose=1.0)
    zero_loss /= vacuum[CLEAN.energy < 1.5].sum() / vacuum.sum()
    measured = np.log(spectra.sum(axis=1) / zero_loss)
    np.testing.assert_allclose(measured, relative_thickness(columns, CLEAN), atol=5e-3)


def test_dose_is_the_sum_of_the_spectrum():
    spectra = simulate_spectra({"LAGP": [0.0, 50.0, 150.0]}, CLEAN, noise=False, dose=[1e3, 1e6, 1e6])
    np.testing.assert_allclose(spectra.sum(axis=1), [1e3, 1e6, 1e6], rtol=2e-3)
    assert spectra.min() > -1e-6 * 1e6


def test_channels_integrate_the_spectrum():
    # The same electrons on finer channels: integration over channels, not sampling.
    wide = EELSConditions(dispersion=0.4, n_channels=256, offset=-9.9)
    detector = Detector(core_spread=0.0, tail_strength=0.0)
    wide = replace(wide, detector=detector)
    fine = replace(wide, dispersion=0.1, n_channels=1024, offset=-9.9 - 0.15)
    columns = {"FePO4": 70.0}
    a = simulate_spectra(columns, wide, noise=False)
    b = simulate_spectra(columns, fine, noise=False).reshape(256, 4).sum(axis=1)
    np.testing.assert_allclose(a, b, rtol=3e-3, atol=1.0)


def test_mean_free_paths():
    for name in ("LiFePO4", "FePO4", "LAGP", "carbon"):
        assert 100 < mean_free_path(name) < 160
    assert mean_free_path("LAGP", Beam(collection_angle=5.0)) > mean_free_path("LAGP")


def test_zero_loss_is_centred_asymmetric_and_of_the_given_width():
    conditions = EELSConditions(
        dispersion=0.02, n_channels=800, offset=-8.0, detector=Detector(core_spread=0, tail_strength=0)
    )
    energy = conditions.energy
    y = simulate_spectra({}, conditions, noise=False, zero_loss_shift=0.137)
    assert energy[y.argmax()] == pytest.approx(0.137, abs=0.02)
    above = energy[y > y.max() / 2]
    assert np.ptp(above) == pytest.approx(0.8, abs=0.05)
    assert np.sum(energy * y) / y.sum() > 0.137 + 0.03


def test_vacuum_tail_is_weak_and_long():
    conditions = EELSConditions()
    y = simulate_spectra({}, conditions, noise=False, dose=1.0) / conditions.dispersion
    at = dict(zip(np.round(conditions.energy, 1), y, strict=True))
    assert 5e-5 < at[5.0] < 5e-4
    assert at[20.0] > 1e-7


def test_poisson_statistics():
    conditions = EELSConditions(n_channels=400, zero_loss_jitter=0.0)
    expected = simulate_spectra({"LiFePO4": 60.0}, conditions, noise=False, dose=1e5)
    counts = simulate_spectra({"LiFePO4": np.full(2000, 60.0)}, conditions, 3, dose=1e5)
    assert counts.dtype == np.float32
    assert np.all(counts == np.round(counts))
    z = (counts.mean(axis=0) - expected) / np.sqrt(expected / 2000)
    assert abs(z.mean()) < 4 / np.sqrt(400)
    assert np.mean(z**2) == pytest.approx(1, abs=0.3)
    strong = expected > 5
    assert np.mean(counts.var(axis=0)[strong] / expected[strong]) == pytest.approx(1, abs=0.02)


def test_jitter_moves_the_expectation_and_leaves_noise_white():
    conditions = EELSConditions(n_channels=400, zero_loss_jitter=0.3)
    shift = np.random.default_rng(0).normal(0, 0.3, 1500)
    columns = {"LAGP": np.full(1500, 60.0)}
    counts = simulate_spectra(columns, conditions, 1, dose=1e5, zero_loss_shift=shift)
    expected = simulate_spectra(columns, conditions, noise=False, dose=1e5, zero_loss_shift=shift)
    assert np.all(counts == np.round(counts))  # resampled counts would not be whole numbers
    z = ((counts - expected) / np.sqrt(expected))[:, expected.min(axis=0) > 5]
    assert np.mean(z**2) == pytest.approx(1, abs=0.01)
    assert np.mean(z[:, 1:] * z[:, :-1]) == pytest.approx(0, abs=0.01)


def test_scintillator_camera():
    conditions = EELSConditions(n_channels=300, zero_loss_jitter=0.0)
    plain = simulate_spectra({}, conditions, noise=False)
    camera = replace(Detector.scintillator(), core_spread=0.5, tail_strength=0.02, x_ray_spikes=0.0)
    real = replace(conditions, detector=camera)
    np.testing.assert_allclose(simulate_spectra({}, real, noise=False), 4 * plain + 20)
    counts = simulate_spectra({"carbon": np.zeros(500)}, real, 1)
    assert counts[:, -50:].mean() == pytest.approx(4 * plain[-50:].mean() + 20, abs=0.1)
    assert counts.min() < 20  # read noise
    spiky = replace(real, detector=replace(camera, x_ray_spikes=1.0))
    hits = simulate_spectra({"carbon": np.zeros(200)}, spiky, 1)[:, 150:]
    assert np.sum(hits > 200) > 20


def test_wide_range_at_low_dose():
    conditions = EELSConditions(dispersion=0.3, n_channels=2048, offset=-60.0)
    counts = simulate_spectra({"LiFePO4": 80.0}, conditions, 1, dose=2.7e5)
    assert counts.shape == (2048,)
    assert counts.sum() == pytest.approx(2.7e5, rel=0.01)


def test_wrong_columns_are_named():
    with pytest.raises(ValueError, match="LiFePO3"):
        simulate_spectra({"LiFePO3": 10.0})
    with pytest.raises(ValueError, match="not below 0"):
        simulate_spectra({"LAGP": -1.0})
