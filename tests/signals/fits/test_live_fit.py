"""A fit that follows a region, moved by code and without a screen."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from hyperspy_assb.components import VolumePlasmon, ZeroLossPeak
from hyperspy_assb.signals import ASSBEELSSpectrum
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel


def made(navigation=(6, 8), *, seed=1):
    """Two halves of 10 nm pixels, whose plasmons lie at 20 and 25 eV; starts are a little off."""
    signal = ASSBEELSSpectrum(np.zeros((*navigation, 240)))
    for axis in signal.axes_manager.navigation_axes:
        axis.scale, axis.units = 10.0, "nm"
    energy = signal.axes_manager.signal_axes[0]
    energy.offset, energy.scale, energy.units = -10.0, 0.25, "eV"
    energy.is_binned = True
    model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    peak, plasmon = ZeroLossPeak(1e5, fwhm=0.9), VolumePlasmon(0.5, 20.0, 8.0)
    model.extend([peak, plasmon])
    rng = np.random.default_rng(seed)
    for column in range(navigation[-1]):
        plasmon.parameters[1].value = 20.0 if column < navigation[-1] // 2 else 25.0
        signal.data[..., column, :] = rng.poisson(model._get_current_data(), (*navigation[:-1], 240))
    plasmon.parameters[1].value = 22.0
    return model


def energy_of(live):
    name = next(name for name in live.table().index if "plasmon" in name.lower() and "energy" in name.lower())
    return live.table().loc[name]


def test_values_follow_the_region_and_the_model_stays_as_it_is():
    model = made()
    values = [p.value for c in model for p in c.parameters]
    roi = hs.roi.RectangularROI(0.0, 0.0, 30.0, 60.0)
    live = model.fit_live(roi)
    left = energy_of(live)
    assert live.pixels == 18
    assert left["value"] == pytest.approx(20.0, abs=4 * left["std"])
    assert live.reduced_deviance == pytest.approx(1.0, abs=0.3)
    roi.x = 50.0
    right = energy_of(live)
    assert right["value"] == pytest.approx(25.0, abs=4 * right["std"])
    # Wherever it came from, a region has one answer.
    roi.x = 0.0
    assert energy_of(live)["value"] == left["value"]
    assert [p.value for c in model for p in c.parameters] == values
    assert not any(p.map["is_set"].any() for c in model for p in c.parameters)


def test_errors_are_those_of_the_mean_of_so_many_spectra():
    """Against the batched fit of single spectra: n of them have n times the information."""
    model = made()
    live = model.fit_live(hs.roi.RectangularROI(0.0, 0.0, 40.0, 60.0))
    fit = model.multifit(show_progressbar=False)
    component, parameter = energy_of(live).name.split(".")
    single = fit.std(component, parameter).data[:, :4]
    assert energy_of(live)["std"] == pytest.approx(np.median(single) / np.sqrt(24), rel=0.05)


def test_a_region_that_leaves_the_field_is_told_and_comes_back():
    live = made().fit_live()
    roi = live.roi
    roi.x = 500.0
    assert "does not fit the navigation axes" in live.message
    assert np.isnan(live.table()["value"]).all()
    assert np.isnan(live.counts).all()
    assert live.pixels == 0
    roi.x = 20.0
    assert not live.message
    assert live.pixels > 0


def test_lines_on_the_figure_follow():
    live = made().fit_live(hs.roi.RectangularROI(0.0, 0.0, 30.0, 60.0))
    _, spectrum = live.plot()
    before = [line.get_ydata().copy() for line in spectrum.lines]
    live.roi.x = 50.0
    assert all(not np.array_equal(a, line.get_ydata()) for a, line in zip(before, spectrum.lines, strict=True))
    assert np.nanmax(np.abs(spectrum.lines[1].get_ydata() / spectrum.lines[0].get_ydata() - 1.0)[30:60]) < 0.1
    live.close()
    live.close()
    live.roi.x = 0.0
    assert live.pixels == 18
    assert energy_of(live)["value"] > 24.0
    plt.close("all")


def test_spectra_along_a_line():
    live = made((8,)).fit_live()
    live.roi.left, live.roi.right = 40.0, 80.0
    assert live.pixels == 4
    assert energy_of(live)["value"] == pytest.approx(25.0, abs=0.3)
    live.plot()
    plt.close("all")


def test_pixels_that_are_not_finite_are_left_out():
    model = made()
    model.signal.data[0, 0] = np.nan
    assert model.fit_live(hs.roi.RectangularROI(0.0, 0.0, 30.0, 60.0)).pixels == 17


def test_what_cannot_be_followed_is_named():
    model = made((8,))
    model.signal = model.signal.inav[0]
    with pytest.raises(ValueError, match="0 navigation axes"):
        model.fit_live()
    lazy = made().signal.as_lazy()
    model = ASSBEELSModel(lazy, auto_background=False, auto_add_edges=False)
    with pytest.raises(NotImplementedError, match=r"s\.compute\(\)"):
        model.fit_live()
    with pytest.raises(ValueError, match="image has the shape"):
        made().fit_live().plot(np.ones((3, 3)))
