"""Reference regions that are moved by code: masks, spectra and purity follow, without a screen."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest


@pytest.fixture
def signal():
    """Two materials side by side, of pixels of 10 nm; the right one has a loss at 20 eV."""
    energy = np.arange(-5.0, 45.0, 0.5)
    zero, loss = np.exp(-0.5 * energy**2), np.exp(-0.5 * ((energy - 20.0) / 3.0) ** 2)
    expected = np.empty((6, 8, energy.size))
    expected[:, :4] = 1e4 * zero + 50.0
    expected[:, 4:] = 1e4 * zero + 50.0 + 200.0 * loss
    made = hs.signals.Signal1D(np.random.default_rng(1).poisson(expected).astype(float))
    made.axes_manager.signal_axes[0].scale, made.axes_manager.signal_axes[0].offset = 0.5, -5.0
    made.axes_manager.signal_axes[0].units = "eV"
    for axis in made.axes_manager.navigation_axes:
        axis.scale, axis.units = 10.0, "nm"
    made.set_signal_type("EELS_ASSB")
    return made


def test_a_region_that_is_moved_takes_all_along(signal):
    picked = signal.pick_references()
    roi = picked.pick("LiFePO4", hs.roi.RectangularROI(0.0, 0.0, 30.0, 60.0))
    assert picked.references["LiFePO4"].sum() == 18
    pure = picked.table().loc["LiFePO4", "scatter over noise"]
    assert pure == pytest.approx(1.0, abs=0.1)
    roi.right = 60.0
    assert picked.references["LiFePO4"].sum() == 36
    assert picked.table().loc["LiFePO4", "scatter over noise"] > 1.5 * pure


def test_spectra_on_the_figure_follow(signal):
    picked = signal.pick_references()
    roi = picked.pick("FePO4", hs.roi.RectangularROI(0.0, 0.0, 30.0, 60.0))
    _, spectra = picked.plot()
    before = spectra.lines[0].get_ydata().copy()
    roi.x = 50.0
    assert spectra.lines[0].get_ydata()[50] > 2.0 * before[50]
    picked.pick("LiFePO4")
    assert len(spectra.lines) == 2
    plt.close("all")


def test_what_cannot_be_picked_is_named(signal):
    with pytest.raises(ValueError, match="image has the shape"):
        signal.pick_references(np.ones((3, 3)))
    with pytest.raises(ValueError, match="not 2"):
        signal.inav[0].pick_references()
    picked = signal.pick_references()
    with pytest.raises(KeyError, match="no region of 'LAGP'; there are none"):
        picked.mean_counts("LAGP")
    with pytest.raises(ValueError, match="No region was picked"):
        picked.quantify()
