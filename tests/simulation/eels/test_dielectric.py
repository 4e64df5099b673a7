"""Permittivities: truth by construction (sum rules, causality, analytic oscillator)."""

import numpy as np
import pytest

from hyperspy_assb.simulation.conditions import Beam
from hyperspy_assb.simulation.eels.dielectric import (
    GRID_STEP,
    PLASMON_ENERGY_SQUARED,
    known_phases,
    kramers_kronig,
    phase,
    phase_names,
)
from hyperspy_assb.simulation.eels.slab import bulk_probability


def _share(name, low, high):
    p = phase(name)
    probability = bulk_probability(p.energy[1:], p.loss_function[1:], Beam())
    inside = (p.energy[1:] >= low) & (p.energy[1:] < high)
    return probability[inside].sum() / probability.sum()


def test_kramers_kronig_reproduces_a_lorentz_oscillator():
    energy = np.arange(32768) * 0.1
    eps = 1 + 400 / (15**2 - energy**2 - 5j * energy)
    np.testing.assert_allclose(kramers_kronig(eps.imag), eps.real, atol=2e-5)


@pytest.mark.parametrize("name", known_phases())
def test_sum_rules_count_the_electrons(name):
    p = phase(name)
    unit = 2 / np.pi * p.volume / PLASMON_ENERGY_SQUARED * GRID_STEP
    assert unit * np.sum(p.energy * p.eps.imag) == pytest.approx(p.electrons, rel=1e-6)
    # The loss function obeys the same rule only if the permittivity is causal.
    assert unit * np.sum(p.energy * p.loss_function) == pytest.approx(p.electrons, rel=2e-3)
    assert p.electrons > p.valence
    assert np.all(p.bands[:, 3] > 0)
    assert p.eps.imag.min() >= 0


@pytest.mark.parametrize(
    ("name", "energy"),
    [("LiFePO4", 26.8), ("FePO4", 27.4), ("LAGP", 25.5), ("carbon", 24.0)],
)
def test_plasmon_lies_near_the_free_electron_estimate(name, energy):
    p = phase(name)
    valence = (p.energy > 15) & (p.energy < 40)
    assert p.energy[valence][p.loss_function[valence].argmax()] == pytest.approx(energy, abs=0.8)
    if name != "carbon":  # whose density is not from a unit cell
        assert np.sqrt(PLASMON_ENERGY_SQUARED * p.valence / p.volume) == pytest.approx(energy, abs=0.1)


def test_iron_phosphate_band_and_carbon_plasmon():
    assert 0.02 < _share("FePO4", 4, 7) < 0.04
    assert _share("LiFePO4", 4, 7) < 0.1 * _share("FePO4", 4, 7)
    assert 0.03 < _share("carbon", 4, 7) < 0.06
    for name, low, high in (("FePO4", 4.5, 5.7), ("carbon", 5.0, 6.0)):
        p = phase(name)
        window = (p.energy > 3) & (p.energy < 7.5)
        assert low < p.energy[window][p.loss_function[window].argmax()] < high


def test_edges_lie_where_they_should():
    def excess(name, low, high):
        """Loss above the straight line between two energies."""
        p = phase(name)
        e, y = p.energy, p.loss_function
        inside = (e >= low) & (e <= high)
        line = np.interp(e[inside], [low, high], np.interp([low, high], e, y))
        return e[inside], y[inside] - line

    energy, bump = excess("LiFePO4", 60.0, 66.0)
    assert energy[bump.argmax()] == pytest.approx(62, abs=0.8)
    energy, lfp = excess("LiFePO4", 53.5, 60.0)
    energy, fp = excess("FePO4", 53.5, 62.0)[0], excess("FePO4", 53.5, 62.0)[1]
    assert 0.8 < energy[fp.argmax()] - np.linspace(53.5, 60, len(lfp))[lfp.argmax()] < 2
    energy, phosphorus = excess("LAGP", 129.0, 145.0)
    assert 134 < energy[phosphorus.argmax()] < 141


@pytest.mark.parametrize("name", [name for name in known_phases() if name not in phase_names()])
def test_plasmon_of_other_electrodes_lies_within_a_tenth_of_the_free_electron_estimate(name):
    p = phase(name)
    valence = (p.energy > 15) & (p.energy < 40)
    free = np.sqrt(PLASMON_ENERGY_SQUARED * p.valence / p.volume)
    assert p.energy[valence][p.loss_function[valence].argmax()] == pytest.approx(free, rel=0.1)


@pytest.mark.parametrize(
    ("lithiated", "delithiated"),
    [("LiCoO2", "CoO2"), ("NMC811", "delithiated NMC811"), ("Na3V2(PO4)3", "NaV2(PO4)3")],
)
def test_other_electrodes_gain_transitions_below_6_ev(lithiated, delithiated):
    assert 0.002 < _share(delithiated, 1.5, 6) - _share(lithiated, 1.5, 6) < 0.06
