"""Spikes: found where they are, nowhere else, and filled with what their neighbours have."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.eels.scattering import spikes
from hyperspy_assb.eels.scattering.spikes import contrast, fill_spikes
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.simulation import EELSConditions, simulate_spectra

CONDITIONS = EELSConditions(zero_loss_jitter=0.3)
FWHM = CONDITIONS.energy_resolution / CONDITIONS.dispersion


def phases(rng, dose):
    """Spectra of two phases, of which one alone has a band of 1.5 eV at 5 eV."""
    nm = rng.uniform(20.0, 100.0, 60)
    return {name: simulate_spectra({name: nm}, CONDITIONS, rng, dose=dose) for name in ("LiFePO4", "FePO4")}


@pytest.mark.parametrize("dose", [1e4, 1e6, 3e7])
def test_spikes_are_found_and_nothing_else(rng, dose):
    usual = np.max([contrast(counts, Detector()) for counts in phases(rng, dose).values()], axis=0)
    counts = np.concatenate(list(phases(rng, dose).values())).astype(float)
    filled, struck = fill_spikes(counts, usual, FWHM, Detector())
    assert struck.sum() <= 1
    rows, at = np.arange(0, 120, 3), rng.integers(120, 1000, 40)
    hit = counts.copy()
    hit[rows, at] += 3e4
    hit[rows, at + 1] += 3e3
    filled, struck = fill_spikes(hit, usual, FWHM, Detector())
    assert struck[rows].all()
    assert struck.sum() <= rows.size + 1
    left = filled[rows, at] - counts[rows, at]
    # What remains is noise of a channel and of its two neighbours.
    assert np.max(np.abs(left) / np.sqrt(2.0 * counts[rows, at] + 10.0)) < 6.0
    np.testing.assert_array_equal(
        np.delete(filled, rows, axis=0)[~np.delete(struck, rows)],
        np.delete(counts, rows, axis=0)[~np.delete(struck, rows)],
    )


def test_the_zero_loss_is_none_wherever_it_lies(rng):
    usual = np.max([contrast(counts, Detector()) for counts in phases(rng, 1e6).values()], axis=0)
    counts = np.roll(phases(rng, 1e6)["FePO4"], 45, axis=1)  # 9 eV away
    peak = counts.max(axis=1)
    filled, _ = fill_spikes(counts, usual, FWHM, Detector())
    np.testing.assert_array_equal(filled.max(axis=1), peak)


def test_no_spectrum_with_a_spike_is_passed_over(rng, monkeypatch):
    """Which spectra may have a spike is told without the medians; all that have one are among them."""
    counts = np.concatenate(list(phases(rng, 1e5).values())).astype(float)
    usual = np.max([contrast(own, Detector()) for own in phases(rng, 1e5).values()], axis=0)
    rows, at = rng.integers(0, len(counts), 90), rng.integers(0, counts.shape[1], 90)
    counts[rows, at] += rng.exponential(60.0, 90)  # about the limit
    counts[3, 200] = np.nan
    filled, struck = fill_spikes(counts, usual, FWHM, Detector())
    monkeypatch.setattr(spikes, "_may_have_spikes", lambda own, *_: np.ones(len(own), dtype=bool))
    every, of_all = fill_spikes(counts, usual, FWHM, Detector())
    assert 10 < struck.sum() < 80
    np.testing.assert_array_equal(struck, of_all)
    np.testing.assert_array_equal(filled, every)


def test_short_and_empty_spectra_are_left_alone():
    for shape in ((0, 100), (3, 8)):
        counts = np.ones(shape)
        filled, struck = fill_spikes(counts, np.ones(shape[1]), 2.0, Detector())
        assert filled is counts
        assert not struck.any()
