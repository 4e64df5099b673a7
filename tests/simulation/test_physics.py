"""The virtual battery obeys the sum rules and limits that its spectra rest on."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.simulation import Beam, EELSConditions, mean_free_path, relative_thickness, simulate_spectra
from hyperspy_assb.simulation.dielectric import PLASMON_ENERGY_SQUARED, kramers_kronig, phase, phase_names
from hyperspy_assb.simulation.slab import aperture_integral, aperture_overlap, bulk_probability, kroger, surface_table

# Truth by construction: free-electron estimates from the cells and the valence electrons, in eV.
FREE_ELECTRON_PLASMON = {"LiFePO4": 26.8, "FePO4": 27.4, "LAGP": 25.5}


@pytest.mark.parametrize("name", phase_names())
def test_absorption_and_loss_count_the_same_electrons(name: str) -> None:
    p = phase(name)
    step = p.energy[1] - p.energy[0]
    unit = np.pi / 2 * PLASMON_ENERGY_SQUARED / p.volume
    assert np.sum(p.energy * p.eps.imag) * step / unit == pytest.approx(p.electrons, rel=1e-3)
    # The f-sum rule holds for the loss function as well only if eps is causal.
    assert np.sum(p.energy * p.loss_function) * step / unit == pytest.approx(p.electrons, rel=0.02)
    assert np.all(p.eps.imag >= 0)


@pytest.mark.parametrize("name", phase_names())
def test_static_screening_sum_rule(name: str) -> None:
    p = phase(name)
    step = p.energy[1] - p.energy[0]
    integral = 2 / np.pi * np.sum(p.loss_function[1:] / p.energy[1:]) * step
    assert integral == pytest.approx(1 - 1 / p.eps[0].real, rel=0.02)


def test_kramers_kronig_of_one_lorentz_oscillator() -> None:
    energy = np.arange(20000) * 0.02
    plasmon, position, width = 15.0, 10.0, 2.0
    eps = 1 + plasmon**2 / (position**2 - energy**2 - 1j * width * energy)
    inner = slice(0, 4000)
    assert np.abs(kramers_kronig(eps.imag) - eps.real)[inner].max() < 0.01 * np.abs(eps.real).max()


@pytest.mark.parametrize(("name", "estimate"), FREE_ELECTRON_PLASMON.items())
def test_plasmon_lies_near_the_free_electron_estimate(name: str, estimate: float) -> None:
    p = phase(name)
    assert p.energy[np.argmax(p.loss_function)] == pytest.approx(estimate, abs=2.0)


def test_five_ev_band_belongs_to_iron_phosphate_alone() -> None:
    share = {}
    for name in ("LiFePO4", "FePO4", "LAGP", "carbon"):
        p = phase(name)
        probability = bulk_probability(p.energy[1:], p.loss_function[1:], Beam())
        window = (p.energy[1:] > 4) & (p.energy[1:] < 7)
        share[name] = probability[window].sum() / probability.sum()
    assert share["FePO4"] > 5 * share["LiFePO4"]
    assert share["LAGP"] < 0.01
    assert 0.03 <= share["carbon"] <= 0.06
    carbon = phase("carbon")
    low = (carbon.energy > 3) & (carbon.energy < 10)
    assert 5.0 <= carbon.energy[low][np.argmax(carbon.loss_function[low])] <= 6.5


def test_aperture_of_a_parallel_beam_is_the_textbook_logarithm() -> None:
    beam = Beam(convergence_angle=0.0, collection_angle=12.0)
    energy = np.array([5.0, 25.0, 100.0])
    expected = np.log1p((12e-3 / beam.characteristic_angle(energy)) ** 2)  # Egerton (2011), eq. 4.26
    assert aperture_integral(energy, beam) == pytest.approx(expected, rel=5e-3)
    assert aperture_overlap(np.array([0.0, 1.0]), convergence=5e-3, collection=10e-3) == pytest.approx([1.0, 0.0])


def test_thick_slabs_approach_the_bulk() -> None:
    p, beam = phase("LAGP"), Beam()
    energy = np.arange(10.0, 40.0, 0.5)
    surface = surface_table(energy, p.at(energy), np.array([50.0, 400.0, 800.0]), beam)
    bulk = bulk_probability(energy, np.interp(energy, p.energy, p.loss_function), beam)
    share = np.abs(surface).sum(axis=1) / (np.array([50.0, 400.0, 800.0]) * bulk.sum())
    assert share[0] > share[1] > share[2]
    assert share[2] < 0.03


def test_slab_without_retardation_has_the_surface_plasmon() -> None:
    # A Drude metal of 15 eV: the surface plasmons of a thick slab lie at 15 / sqrt(2) eV (Ritchie 1957).
    energy = np.arange(5.0, 12.5, 0.05)  # the bulk plasmon lies outside
    eps = 1 - 15.0**2 / (energy * (energy + 0.3j))
    slow = Beam(beam_energy=10.0)
    angle = 20 * float(slow.characteristic_angle(10.0))
    loss = kroger(np.array(angle), energy, eps, np.array(20.0), slow)
    assert energy[np.argmax(loss)] == pytest.approx(15 / np.sqrt(2), abs=0.3)


@pytest.mark.parametrize("name", phase_names())
def test_mean_free_path_is_that_of_oxides_at_200_kv(name: str) -> None:
    assert 80 < mean_free_path(name) < 160  # nm


def test_log_ratio_of_the_expectation_is_the_thickness() -> None:
    conditions = EELSConditions(energy_resolution=0.4, n_channels=4096, offset=-10.0)
    columns = {"LiFePO4": np.array([0.0, 30.0, 100.0])}
    spectra = simulate_spectra(columns, conditions, dose=1e6, noise=False)
    top = spectra.max(axis=1)
    # The zero loss has one shape: its height falls by exp(-t/lambda), but for losses below the resolution.
    measured = np.log(top[0] / top)
    assert measured == pytest.approx(relative_thickness(columns, conditions), abs=0.01)
    assert spectra.sum(axis=1) == pytest.approx(1e6, rel=0.01)


def test_position_of_the_zero_loss_moves_the_expectation() -> None:
    conditions = EELSConditions()
    still, moved = simulate_spectra(
        {"LAGP": np.array([50.0, 50.0])}, conditions, zero_loss_shift=np.array([0.0, 1.0]), noise=False
    )
    # 1 eV is five whole channels: the same numbers, five channels on.
    assert moved[5:] == pytest.approx(still[:-5], rel=1e-6, abs=1e-6 * still.max())


def test_counts_are_poisson() -> None:
    conditions = EELSConditions(zero_loss_jitter=0.0)
    columns = {"FePO4": np.full(2000, 40.0)}
    expectation = simulate_spectra({"FePO4": np.array([40.0])}, conditions, dose=1e5, noise=False)[0]
    counts = simulate_spectra(columns, conditions, 7, dose=1e5)
    chosen = expectation > 20
    pull = (counts.mean(axis=0) - expectation) / np.sqrt(expectation / 2000)
    assert np.abs(pull[chosen].mean()) < 0.3
    assert pull[chosen].std() == pytest.approx(1, abs=0.15)
    assert np.mean(counts.var(axis=0)[chosen] / expectation[chosen]) == pytest.approx(1, abs=0.02)


def test_unknown_phase_and_negative_thickness_are_named() -> None:
    with pytest.raises(ValueError, match="unknown phases \\['steel'\\]"):
        simulate_spectra({"steel": np.array([1.0])})
    with pytest.raises(ValueError, match="thicknesses must be numbers not below 0"):
        simulate_spectra({"LAGP": np.array([-1.0])})
