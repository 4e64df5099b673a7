"""A fitted spectrum: what is drawn is what was given, and the residuals are in standard deviations."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_assb.plotting import FitPlotOptions, plot_fit


@pytest.fixture
def spectrum(rng):
    energy = np.arange(-5.0, 100.0, 0.5)
    parts = {
        "zero loss": 1e5 * np.exp(-(energy**2) / 0.5),
        "plasmon": 800.0 * np.exp(-((energy - 24.0) ** 2) / 100.0),
    }
    model = sum(parts.values()) + 20.0
    return energy, rng.poisson(model).astype(float), model, parts


def line(ax, label):
    (found,) = [entry for entry in ax.get_lines() if entry.get_label() == label]
    return found.get_xydata().T


def residuals(ax):
    (found,) = [entry for entry in ax.get_lines() if entry.get_marker() == "."]
    return found.get_ydata()


def test_lines_are_what_was_given(spectrum):
    energy, counts, model, parts = spectrum
    top, _ = plot_fit(energy, counts, model, parts)
    for label, values in {"measured": counts, "model": model, **parts}.items():
        np.testing.assert_array_equal(line(top, label), [energy, values])


def test_residuals_are_in_standard_deviations_of_the_model(spectrum):
    energy, counts, model, _ = spectrum
    _, bottom = plot_fit(energy, counts, model)
    np.testing.assert_allclose(residuals(bottom), (counts - model) / np.sqrt(model))
    assert bottom.get_ylabel() == "residual (σ)"
    assert bottom.get_xlabel() == "energy loss (eV)"


def test_given_standard_deviation_is_used(spectrum):
    energy, counts, model, _ = spectrum
    _, bottom = plot_fit(energy, counts, model, options=FitPlotOptions(std=np.full(energy.size, 4.0)))
    np.testing.assert_allclose(residuals(bottom), (counts - model) / 4.0)


def test_range_cuts_and_scales_to_what_is_shown(spectrum):
    energy, counts, model, _ = spectrum
    top, bottom = plot_fit(energy, counts, model, energy_range=(40.0, 80.0))
    assert top.get_xlim() == bottom.get_xlim() == (40.0, 80.0)
    assert top.get_ylim()[1] < 200.0


@pytest.mark.parametrize("scale", ["linear", "sqrt", "log"])
def test_negative_counts_and_channels_without_a_model_can_be_drawn(spectrum, scale):
    energy, counts, model, parts = spectrum
    counts[-10:] = -3.0
    model[:5] = np.nan
    top, bottom = plot_fit(energy, counts, model, parts, scale=scale)
    top.figure.canvas.draw()
    assert np.all(np.isfinite([*top.get_ylim(), *bottom.get_ylim()]))
    if scale != "log":
        assert top.get_ylim()[0] < -3.0


def test_outlier_stays_in_sight(spectrum):
    energy, counts, model, _ = spectrum
    counts[100:104] += 30.0 * np.sqrt(model[100:104])
    _, bottom = plot_fit(energy, counts, model)
    assert bottom.get_ylim()[1] > 25.0


def test_nothing_fitted_can_be_drawn(spectrum):
    energy, counts, _, _ = spectrum
    top, _ = plot_fit(energy, counts, np.full(energy.size, np.nan))
    top.figure.canvas.draw()


def test_given_axes_are_used(spectrum):
    energy, counts, model, _ = spectrum
    _, axes = plt.subplots(2, 1)
    assert plot_fit(energy, counts, model, axes=tuple(axes), options=FitPlotOptions(legend=False)) == tuple(axes)
    assert axes[0].get_legend() is None
