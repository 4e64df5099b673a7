"""The figure of a comparison."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.eels.comparison.options import ComparisonOptions
from hyperspy_assb.plotting import plot_comparison
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal


def test_spectra_above_difference_below():
    conditions = EELSConditions(n_channels=512)
    rng = np.random.default_rng(0)
    states = []
    for share in (0.0, 0.6):
        columns = {"LAGP": np.full((6, 6), 70.0 * (1 - share)), "amorphous_LAGP": np.full((6, 6), 70.0 * share)}
        counts = simulate_spectra(columns, conditions, rng, dose=3e5)
        states.append(spectra_to_signal(counts, conditions, signal_type="EELS_ASSB"))
    result = states[0].compare_low_loss(states[1], options=ComparisonOptions(permutations=99))
    top, bottom = plot_comparison(result, energy_range=(3.0, 80.0))
    assert "eV" in bottom.get_xlabel()
    assert "per eV" in top.get_ylabel()
    assert "per eV" in bottom.get_ylabel()
    assert [t.get_text() for t in top.get_legend().get_texts()] == ["before", "after"]
    # Two confidence bands above, one below, and the names of the bands that changed.
    assert len(top.collections) == 2
    assert len(bottom.collections) == 1
    changed = set(result.bands.loc[result.bands["status"] == "changed", "band"]) - {
        "plasmon energy",
        "plasmon width",
    }
    assert {t.get_text() for t in top.texts} == changed
    assert top.get_xlim() == (3.0, 80.0)
    top.figure.canvas.draw()
