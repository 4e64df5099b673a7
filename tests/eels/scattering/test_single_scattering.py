"""Single scattering: exact cases, others' answers, and real aluminium."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eels.scattering.plasmon import drude, fit_plasmon
from hyperspy_assb.eels.scattering.single_scattering import (
    Grid,
    ZeroLossShape,
    align,
    estimate_single_scattering,
    fit_zero_loss_shape,
    measured_zero_loss_shape,
    sum_aligned,
)
from hyperspy_assb.eels.zero_loss.position import estimate_centre

ENERGY = -8 + 0.2 * np.arange(700)
GRID = Grid.of(ENERGY)
FWHM = 0.9


def gaussian(grid=GRID, fwhm=FWHM):
    values = np.exp(-4 * np.log(2) * (grid.loss / fwhm) ** 2)
    return ZeroLossShape(values / values.sum(), fwhm)


def known_scattering(t_over_lambda, energy=22.0, width=6.0):
    """A plasmon that ends inside of the range, on the losses of the grid."""
    loss = GRID.loss
    values = np.where((loss > 0) & (loss < 60), drude(np.maximum(loss, 1e-9), energy, width), 0.0)
    return t_over_lambda * values / values.sum()


def spectra(t_over_lambda, centre, dose=1e6, **plasmon):
    """Poisson sums of plural scattering, exactly, with the zero loss anywhere between channels."""
    rows = []
    for t, c in zip(np.atleast_1d(t_over_lambda), np.atleast_1d(centre), strict=True):
        transform = np.exp(np.fft.rfft(known_scattering(t, **plasmon)) - t) * np.fft.rfft(gaussian().values)
        shift = np.exp(-1j * GRID.frequency * (c - ENERGY[0]))
        rows.append(dose * np.fft.irfft(transform * shift, GRID.size)[: ENERGY.size])
    return np.array(rows)


@pytest.mark.parametrize("t_over_lambda", [0.05, 0.5, 1.5])
def test_a_known_distribution_is_recovered(t_over_lambda):
    centre = np.array([0.0, 0.07, -1.33])
    counts = spectra(np.full(3, t_over_lambda), centre)
    found = estimate_single_scattering(counts, ENERGY, centre, gaussian())
    truth = GRID.back(np.fft.rfft(known_scattering(t_over_lambda)) * np.fft.rfft(gaussian().values))
    above = found.loss > 3 * FWHM
    for row in found.distribution:
        np.testing.assert_allclose(row[above], truth[: found.loss.size][above], atol=2e-4 * truth.max())
    np.testing.assert_allclose(found.t_over_lambda, t_over_lambda, rtol=2e-3)
    np.testing.assert_allclose(found.intensity, 1e6 * np.exp(-t_over_lambda), rtol=2e-3)


@settings(max_examples=15, deadline=None)
@given(gain=st.floats(1e-3, 1e3), shift=st.floats(-1, 1))
def test_gain_and_shift_do_not_matter(gain, shift):
    one = estimate_single_scattering(spectra(0.6, 0.0), ENERGY, np.zeros(1), gaussian(), end=100.0)
    counts = gain * spectra(0.6, shift)
    two = estimate_single_scattering(counts, ENERGY, np.array([shift]), gaussian(), end=100.0)
    above = one.loss > 3 * FWHM
    np.testing.assert_allclose(one.distribution[0][above], two.distribution[0][above], atol=1e-6)
    np.testing.assert_allclose(one.t_over_lambda, two.t_over_lambda, atol=1e-3)


def test_an_error_of_the_position_stays_in_the_zero_loss():
    counts = spectra(0.6, 0.0)
    right, wrong = (
        estimate_single_scattering(counts, ENERGY, np.array([c]), gaussian(), end=100.0).distribution[0]
        for c in (0, 0.05)
    )
    far = GRID.step * np.arange(right.size) > 3 * FWHM
    np.testing.assert_allclose(wrong[far], right[far], atol=1e-6)


def test_the_zero_loss_is_fitted_to_the_sum(rng):
    centre = rng.normal(0, 0.2, 60)
    counts = rng.poisson(np.maximum(spectra(np.full(60, 0.4), centre), 0)).astype(float)
    known = estimate_centre(counts, ENERGY)
    total = sum_aligned(counts, ENERGY, known.centre, GRID)
    shape = fit_zero_loss_shape(total, GRID, fwhm=float(np.median(known.fwhm)), first=-7.0)
    assert shape.fwhm == pytest.approx(np.hypot(FWHM, 0.2), rel=0.05)
    assert shape.values.sum() == pytest.approx(1.0)
    found = estimate_single_scattering(counts, ENERGY, known.centre, shape)
    truth = known_scattering(0.4)[: found.loss.size]
    band = (found.loss > 15) & (found.loss < 30)
    assert found.distribution[:, band].sum(axis=1).mean() == pytest.approx(truth[band].sum(), rel=5e-3)


def test_no_peak_is_said():
    with pytest.raises(ValueError, match="give zero_loss="):
        fit_zero_loss_shape(np.zeros(GRID.size), GRID, fwhm=0.9, first=-7.0)
    with pytest.raises(ValueError, match="eV wide"):
        measured_zero_loss_shape(np.ones(100), np.arange(100.0) - 5, GRID)
    with pytest.raises(ValueError, match="one spectrum"):
        measured_zero_loss_shape(np.ones((2, 100)), ENERGY[:100], GRID)


def test_alignment_is_exact():
    counts = spectra(0.3, 0.07)
    aligned = GRID.back(align(counts, ENERGY, np.array([0.07]), GRID))[0]
    assert GRID.loss[np.argmax(aligned)] == 0.0
    assert aligned.sum() == pytest.approx(counts.sum())


def test_plasmon_of_a_known_distribution():
    broad = GRID.back(np.fft.rfft(known_scattering(0.5)) * np.fft.rfft(gaussian().values))[:600]
    loss = GRID.step * np.arange(600)
    found = fit_plasmon(broad, loss, gaussian())
    assert found.energy == pytest.approx(22.0, abs=1e-3)
    assert found.width == pytest.approx(6.0, abs=1e-2)
    # The weights are the derivatives: another plasmon, fitted whole, and by the weights.
    moved = GRID.back(np.fft.rfft(known_scattering(0.5, energy=22.05)) * np.fft.rfft(gaussian().values))[:600]
    assert found.weights[0] @ (moved - broad) == pytest.approx(0.05, rel=0.05)
    nothing = fit_plasmon(np.exp(-loss), loss, gaussian())
    assert np.isnan(nothing.energy)


def test_the_answer_of_others_is_recovered(shared_data):
    folder = shared_data / "eels" / "deconvolution_truth"
    measured, zero_loss, answer = (hs.load(str(folder / f"{n}.hspy")) for n in ("measured", "zlp", "ssd_ground_truth"))
    energy = np.array(measured.axes_manager.signal_axes[0].axis)[:2000]
    counts = np.asarray(measured.data, dtype=float)[None, :2000]
    grid = Grid.of(energy)
    shape = measured_zero_loss_shape(zero_loss.data[:2000], energy, grid)
    found = estimate_single_scattering(counts, energy, np.zeros(1), shape)
    known = np.asarray(answer.data)[100 : 100 + found.loss.size]
    shown = grid.back(np.fft.rfft(shape.values) * grid.transform(known))[: known.size]
    error = np.abs(found.distribution[0] * zero_loss.data.sum() - shown)[found.loss > 3 * shape.fwhm]
    assert error.max() < 0.02 * shown.max()


def test_the_plasmon_of_real_aluminium(shared_data):
    signal = hs.load(str(shared_data / "eels" / "aluminium" / "AL-DFoffset0.00.dm3"))
    energy = np.array(signal.axes_manager.signal_axes[0].axis)
    counts = np.asarray(signal.data, dtype=float)[None]
    known = estimate_centre(counts, energy, gain=None)
    grid = Grid.of(energy)
    total = sum_aligned(counts, energy, known.centre, grid)
    shape = fit_zero_loss_shape(total, grid, fwhm=float(known.fwhm[0]), first=-3.4, gain=known.gain)
    found = estimate_single_scattering(counts, energy, known.centre, shape)
    plasmon = fit_plasmon(found.distribution[0].astype(float), found.loss, shape)
    # Drude functions fitted to the tables of Rakic and of Hagemann: 14.94 and 15.10 eV, 0.48 and 0.86 eV wide.
    assert 14.9 < plasmon.energy < 15.2
    assert 0.45 < plasmon.width < 0.9
