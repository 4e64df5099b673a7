"""Real spectra with HyperSpy's own components: negative counts, zero-loss peaks that wander, wrong line shapes."""

from __future__ import annotations

import exspy
import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb

MAP = ("eels", "lowloss_map", "lowloss_16x16_0.3eV.dm3")
LINE = ("eels", "nmc_battery", "EELS_ZLP_EELS_Spectrum_Image.dm3")


def low_loss(signal, plasmon_energy):
    """A Voigt zero-loss peak where the mean spectrum has its maximum, a plasmon, and a background."""
    mean = np.asarray(signal.data, dtype=float).reshape(-1, signal.data.shape[-1]).mean(axis=0)
    axis = signal.axes_manager[-1]
    peak = axis.axis[np.argmax(mean)]
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    components = hs.model.components1D
    zero_loss = components.Voigt(area=mean.sum() * axis.scale, centre=peak, sigma=2 * axis.scale, gamma=axis.scale)
    zero_loss.gamma.bmin = 0.1 * axis.scale
    zero_loss.sigma.bmin = 0.2 * axis.scale
    plasmon = components.Gaussian(A=0.3 * mean.sum() * axis.scale, centre=peak + plasmon_energy, sigma=6.0)
    plasmon.sigma.bmin, plasmon.A.bmin = 1.0, 0.0
    model.extend([zero_loss, plasmon, components.Offset(max(float(np.median(mean[-50:])), 1e-3))])
    return model


# Its file holds electrons per count.
@pytest.mark.filterwarnings("ignore:.*was recorded, but the counts scatter:hyperspy_assb.errors.AssbWarning")
@pytest.mark.parametrize(("path", "plasmon_energy"), [(MAP, 20.0), (LINE, 24.0)])
@pytest.mark.parametrize("loss_function", ["ML-poisson", "ls"])
def test_low_loss_files_fit(shared_data, path, plasmon_energy, loss_function):
    signal = hs.load(shared_data.joinpath(*path))
    signal.set_signal_type("EELS")
    model = low_loss(signal, plasmon_energy)
    result = hyperspy_assb.multifit(model, loss_function=loss_function, show_progressbar=False)
    assert result.usable.mean() >= 0.95
    # A fitted zero-loss peak is where the counts have their maximum.
    axis = signal.axes_manager[-1]
    maximum = axis.axis[np.argmax(signal.data.reshape(-1, axis.size), axis=1)]
    centre = model[0].centre.map["values"].ravel()
    assert np.nanmax(np.abs(centre - maximum)[result.usable]) < 3.0 * axis.scale
    top, bottom = hyperspy_assb.plot_residuals(model)
    assert np.isfinite(top.get_images()[0].get_array()).all()
    assert bottom.get_xlabel() == "energy (eV)"
    plt.close("all")


def test_files_have_negative_counts(shared_data):
    counts = [int((hs.load(shared_data.joinpath(*path)).data < 0).sum()) for path in (MAP, LINE)]
    assert max(counts) > 0


def test_an_edge_of_exspy_over_a_power_law(shared_data):
    """Transition-metal M edges and Li K of the line scan, as core-loss edges over a power law, with fixed onsets."""
    signal = hs.load(shared_data.joinpath(*LINE))
    signal.set_signal_type("EELS")
    total = signal.data.reshape(-1, signal.data.shape[-1]).sum(axis=0)
    signal.axes_manager[-1].offset -= float(signal.axes_manager[-1].axis[np.argmax(total)])
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=20.0, collection_angle=30.0)
    signal = signal.isig[35.0:75.0]
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    edge = exspy.components.EELSCLEdge("Li_K", GOS="hydrogenic")
    model.extend([hs.model.components1D.PowerLaw(A=1e5, r=2.0), edge])
    model[0].left_cutoff.free = False
    result = hyperspy_assb.multifit(model, show_progressbar=False)
    assert result.usable.mean() >= 0.95
    assert np.all(edge.intensity.map["is_set"].ravel() == result.usable)
    assert np.isfinite(edge.onset_energy.map["values"][edge.onset_energy.map["is_set"]]).all()
