"""Channels that are taken together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.eels.zero_loss.position import channels_together
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal


def make(dispersion, fwhm, size=600):
    energy = -10.0 + dispersion * np.arange(size)
    peak = np.exp(-4.0 * np.log(2.0) * ((energy - 0.03) / fwhm) ** 2)
    counts = np.tile(np.round(1e4 * peak), (3, 1)).astype(np.uint16)
    return LowLossMap(counts, energy, MicroscopeParameters(None, None, None))


@pytest.mark.parametrize(("dispersion", "fwhm", "count"), [(0.2, 0.8, 1), (0.1, 0.8, 2), (0.05, 0.8, 4), (0.1, 0.2, 1)])
def test_as_many_as_leave_the_zero_loss_resolved(dispersion, fwhm, count):
    spectra = make(dispersion, fwhm)
    assert channels_together(spectra.counts, spectra.energy) == count


def test_counts_and_energies_are_kept():
    spectra = replace(make(0.05, 0.8, size=602), detector=Detector(2.0, np.sqrt(2.0)))
    added = spectra.add_channels(4)
    assert added.energy.size == 150
    assert added.scale == pytest.approx(0.2)
    assert added.energy[0] == pytest.approx(-10.0 + 1.5 * 0.05)  # the middle of the first four
    np.testing.assert_array_equal(added.counts, spectra.counts[:, :600].astype(int).reshape(3, 150, 4).sum(axis=-1))
    assert added.counts.sum() > np.iinfo(np.uint16).max
    assert added.detector.gain == 2.0
    assert added.detector.read_noise == pytest.approx(np.sqrt(8.0))
    assert spectra.add_channels(1) is spectra


@pytest.mark.slow
def test_x_does_not_depend_on_the_channels(rng):
    """Half channels, twice as many: the same answer, within what the jitter of the zero-loss peak leaves."""
    fine = EELSConditions(dispersion=0.1, n_channels=1074, offset=-10.0)
    columns = {"LiFePO4": rng.uniform(20, 60, 90), "FePO4": rng.uniform(20, 60, 90)}
    columns["LiFePO4"][:30] = columns["FePO4"][30:60] = 0.0
    counts = simulate_spectra(columns, fine, 3, dose=1e6)
    masks = {"FePO4": np.arange(90) < 30, "LiFePO4": (np.arange(90) >= 30) & (np.arange(90) < 60)}
    signals = [
        spectra_to_signal(counts, fine, signal_type="EELS_ASSB"),
        spectra_to_signal(counts, fine, signal_type="EELS_ASSB").rebin(scale=[1, 2]),
    ]
    found = [s.quantify_delithiation(masks, "references", show_progressbar=False, ensemble=False) for s in signals]
    np.testing.assert_allclose(found[0].x.data, found[1].x.data, atol=1e-6)
    assert found[0].standard.dispersion == pytest.approx(0.2)
    again = signals[0].quantify_delithiation(found[0], "references", show_progressbar=False, ensemble=False)
    np.testing.assert_allclose(again.x.data, found[0].x.data, atol=1e-9)
