from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss

CORE = core_loss_conditions(EELSConditions(dispersion=0.5))


def spectra(columns, **options):
    return simulate_core_loss(columns, CORE, 1, noise=False, **options)


def area(counts, low, high):
    return counts[(CORE.energy > low) & (CORE.energy < high)].sum()


def test_fepo4_has_the_pre_edge_and_fe_higher():
    lfp, fp, lagp = spectra({"LiFePO4": [60.0, 0, 0], "FePO4": [0, 60.0, 0], "LAGP": [0, 0, 60.0]})
    below = area(fp, 522.0, 528.0) / area(lfp, 522.0, 528.0)
    assert area(fp, 529.0, 533.0) > 1.15 * below * area(lfp, 529.0, 533.0)
    iron = (CORE.energy > 700.0) & (CORE.energy < 716.0)
    positions = [CORE.energy[iron][np.argmax(counts[iron])] for counts in (lfp, fp)]
    assert 1.0 < positions[1] - positions[0] < 2.5
    assert np.all(np.diff(lagp[iron]) < 0)


def test_counts_are_the_dose_and_a_shift_moves_them():
    one = spectra({"LiFePO4": 50.0})
    np.testing.assert_allclose(spectra({"LiFePO4": 50.0}, dose=4e8), 2.0 * one, rtol=1e-9)
    moved = spectra({"LiFePO4": 50.0}, zero_loss_shift=5.0)
    np.testing.assert_allclose(moved[30:-5], one[20:-15], rtol=1e-6)
    drawn = simulate_core_loss({"LiFePO4": np.full(400, 50.0)}, CORE, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), one, atol=6 * np.sqrt(one.max() / 400))


def test_thick_columns_hold_plural_scattering():
    thin, thick = spectra({"LiFePO4": [5.0, 150.0]})
    edge = [area(c, 534, 545) / area(c, 556, 580) for c in (thin, thick)]
    assert edge[1] < edge[0]


def test_materials_without_edges_are_named():
    with pytest.raises(ValueError, match=r"no core-loss edges are known of \['LiCoO2'\]"):
        simulate_core_loss({"LiCoO2": 30.0})
