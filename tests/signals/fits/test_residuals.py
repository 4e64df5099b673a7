"""Standardised residuals of a batched fit, and their picture."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.signals.fits.residuals import standardised_residuals


def make(rng, *, shape=(8, 8), gain=1.0, read_noise=0.0, extra=0.0, variance=None):
    """A peak on a constant, and a model of it."""
    x = 0.1 * np.arange(200)
    mean = 40.0 + 300.0 * np.exp(-0.5 * ((x - 9.0) / 0.8) ** 2) + extra * np.exp(-0.5 * ((x - 15.0) / 0.5) ** 2)
    counts = gain * rng.poisson(mean / gain, (*shape, x.size)) + rng.normal(0.0, read_noise, (*shape, x.size))
    signal = hs.signals.Signal1D(counts)
    signal.axes_manager[-1].scale = 0.1
    signal.axes_manager[-1].units = "eV"
    if variance is not None:
        signal.set_noise_variance(variance)
    model = signal.create_model()
    components = hs.model.components1D
    model.extend([components.Gaussian(A=500.0, centre=9.2, sigma=1.0), components.Offset(30.0)])
    return model


@pytest.mark.parametrize(
    ("simulated", "fit"),
    [
        ({}, {}),
        ({"gain": 4.0, "read_noise": 3.0}, {"detector": Detector(4.0, 3.0)}),
        ({}, {"loss_function": "ls"}),
        ({"variance": 90.0}, {"loss_function": "ls"}),
    ],
)
def test_they_scatter_by_one(rng, simulated, fit):
    model = make(rng, **simulated)
    result = hyperspy_assb.multifit(model, show_progressbar=False, **fit)
    energy, residuals = standardised_residuals(model)
    assert residuals.shape == (64, 200)
    np.testing.assert_allclose(energy, 0.1 * np.arange(200))
    if "variance" in simulated:
        # Exact, up to what the last step is expected to change: their squares add up to what was minimised.
        np.testing.assert_allclose((residuals**2).sum(axis=1), result.deviance, rtol=1e-7)
    else:
        # Known truth: 12,800 normal deviates, less four parameters a spectrum.
        assert np.sum(residuals**2) / (64 * 196) == pytest.approx(1.0, abs=0.05)


def test_what_the_model_misses_stands_out(rng):
    model = make(rng, extra=30.0)
    hyperspy_assb.multifit(model, show_progressbar=False)
    energy, residuals = standardised_residuals(model, spectra=30)
    mean = residuals.mean(axis=0)
    assert residuals.shape == (30, 200)
    assert abs(energy[np.argmax(mean)] - 15.0) < 0.5
    assert mean.max() > 1.0


def test_only_fitted_channels_and_spectra(rng):
    model = make(rng)
    model.signal.data[0, 0, 50] = np.nan
    model.set_signal_range(2.0, 18.0)
    hyperspy_assb.multifit(model, show_progressbar=False)
    energy, residuals = standardised_residuals(model)
    assert energy[0] == pytest.approx(2.0)
    assert energy[-1] == pytest.approx(18.0)
    assert residuals.shape == (63, energy.size)
    assert np.isfinite(residuals).all()


def test_the_picture(rng):
    model = make(rng)
    with pytest.raises(RuntimeError, match="is not fitted"):
        hyperspy_assb.plot_residuals(model)
    hyperspy_assb.multifit(model, show_progressbar=False)
    image, mean = hyperspy_assb.plot_residuals(model)
    assert mean.get_xlabel() == "energy (eV)"
    assert image.get_images()[0].get_array().shape == (64, 200)
    plt.close("all")
