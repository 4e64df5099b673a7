"""Where a batched fit meets its limits: it keeps what it was not asked to change, and says what it does not know."""

from __future__ import annotations

import exspy
import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.fitting.solver.spectra_fit import Detector, Status
from hyperspy_assb.models.multifit import FitOptions
from hyperspy_assb.models.recorded_noise import recorded_detector

C = hs.model.components1D
X = 0.1 * np.arange(300)


def peak(height=300.0, centre=12.0, fwhm=3.5, offset=5.0):
    return offset + height * np.exp(-4.0 * np.log(2.0) * ((X - centre) / fwhm) ** 2)


def make(counts, **values):
    signal = hs.signals.Signal1D(counts)
    signal.axes_manager[-1].scale = 0.1
    model = signal.create_model()
    start = {"height": 250.0, "centre": 11.8, "fwhm": 3.0} | values
    offset = start.pop("offset", 8.0)
    model.extend([C.GaussianHF(**start), C.Offset(offset)])
    return model


def fit(model, **options):
    return hyperspy_assb.multifit(model, show_progressbar=False, **options)


def test_fixed_values_of_each_pixel_outlive_masks_and_failures(rng):
    centres = np.array([9.0, 9.5, 10.0, 10.5, 11.0])
    counts = rng.poisson([peak(centre=c) for c in centres]).astype(float)
    counts[2, 7] = np.nan
    model = make(counts)
    centre = model["GaussianHF"].centre
    centre.free = False
    centre.map["values"], centre.map["is_set"] = centres, True
    fit(model, mask=np.array([True, False, False, False, True]))
    np.testing.assert_array_equal(centre.map["values"], centres)
    assert centre.map["is_set"].all()
    height = model["GaussianHF"].height.map
    kept = height["values"].copy()
    assert height["is_set"].tolist() == [False, True, False, True, False]
    model.signal.data[2, 7] = 5.0
    fit(model)
    assert np.all(np.abs(height["values"] - 300.0) < 5.0 * height["std"])
    fit(model, mask=np.ones(5, dtype=bool))
    assert height["is_set"].all()
    assert np.all(np.abs(height["values"] - kept)[[1, 3]] < 1e-3 * height["std"][[1, 3]])


def test_a_product_of_free_parameters_is_not_linear():
    signal = hs.signals.Signal1D(np.random.default_rng(0).poisson(100.0, (2, 600)))
    signal.set_signal_type("EELS")
    signal.axes_manager[-1].offset, signal.axes_manager[-1].scale = 500.0, 0.5
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=10.0, collection_angle=20.0)
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    edge = exspy.components.EELSCLEdge("O_K", GOS="hydrogenic")
    model.extend([C.PowerLaw(A=1e9, r=2.6), edge])
    edge.fine_structure_active = True
    edge.fine_structure_coeff.free = True
    with pytest.raises(NotImplementedError, match="not in all of them together"):
        fit(model)


def test_electrons_are_counted_as_the_metadata_say():
    signal = hs.signals.Signal1D(np.ones(10))
    node = "Signal.Noise_properties.Variance_linear_model"
    signal.metadata.set_item(node, {"gain_factor": 2.0, "gain_offset": 9.0, "correlation_factor": 4.0})
    assert recorded_detector(signal.metadata) == Detector(8.0, 6.0)


@pytest.mark.parametrize(("gain", "offset", "height"), [(1.0, 0.02, 50.0), (5.0, 0.1, 300.0), (20.0, 0.5, 3000.0)])
def test_the_gain_of_sparse_counts(rng, gain, offset, height):
    mean = peak(height=height, offset=offset)
    counts = gain * rng.poisson(mean / gain, (1500, 300))
    estimated = make(counts, height=height, offset=2 * offset)
    fit(estimated, detector="estimate")
    stated = np.nanmedian(estimated["GaussianHF"].height.map["std"])
    scatter = np.nanstd(estimated["GaussianHF"].height.map["values"])
    # Simulation with known truth: the gain from 256 spectra to a few per cent, errors with its root.
    assert stated == pytest.approx(scatter, rel=0.1)


@pytest.mark.parametrize("read_noise", [3.0, 10.0])
def test_p_values_where_there_is_nothing_but_read_noise(rng, read_noise):
    mean = peak(offset=0.0)
    counts = rng.poisson(mean, (600, 300)) + rng.normal(0.0, read_noise, (600, 300))
    model = make(counts, offset=1.0)
    model["Offset"].offset.bmin = None
    fit(model, detector=Detector(1.0, read_noise))
    p = model.fit_quality.p_value.data
    below = model["Offset"].offset.map["values"] < 0.0
    assert 0.3 < below.mean() < 0.7
    assert np.mean(p[below]) == pytest.approx(0.5, abs=0.12)
    assert np.mean(p[~below]) == pytest.approx(0.5, abs=0.12)


def test_a_twin_of_what_is_switched_off_has_its_value(rng):
    counts = rng.poisson(peak() + peak(centre=20.0, offset=0.0), (3, 300))
    model = make(counts)
    second = C.GaussianHF(height=250.0, centre=20.2, fwhm=3.0)
    model.append(second)
    second.fwhm.twin = model[0].fwhm
    fit(model)
    model[0].active = False
    model.signal.data = rng.poisson(peak(centre=20.0, fwhm=5.0), (3, 300))
    model[0].fwhm.value = 5.0
    model[0].fwhm.assign_current_value_to_all()
    fit(model)
    np.testing.assert_array_equal(second.fwhm.map["values"], 5.0)


def test_what_the_data_say_nothing_about_has_no_error(rng):
    model = make(rng.poisson(peak(), (4, 300)))
    model.append(C.Expression("k*where(x > 26, 1, 0)", name="beyond", k=7.0, compute_gradients=False))
    model.set_signal_range(0.0, 25.0)
    result = fit(model)
    assert np.isnan(model["beyond"].k.map["std"]).all()
    np.testing.assert_array_equal(model["beyond"].k.map["values"], 7.0)
    assert np.all(model["GaussianHF"].height.map["std"] > 0.0)
    assert result.usable.all()


def test_bounds_that_leave_no_room(rng):
    model = make(rng.poisson(peak(), (2, 300)))
    for low, high in ((3.0, 2.0), (np.nan, 4.0)):
        model[0].fwhm.bmin, model[0].fwhm.bmax = low, high
        with pytest.raises(ValueError, match=r"GaussianHF\.fwhm has no room between its bounds"):
            fit(model)


def test_free_parameters_are_counted_in_each_pixel(rng):
    model = make(rng.poisson(peak(), (5, 300)))
    model.append(C.GaussianHF(height=10.0, centre=20.0, fwhm=2.0))
    model[2].active_is_multidimensional = True
    model[2]._active_array[:] = [True, False, False, True, True]
    fit(model)
    np.testing.assert_array_equal(model.dof.data.ravel(), [7, 4, 4, 7, 7])


@pytest.mark.parametrize("height", [1e8, 1e10, 1e12])
def test_very_many_counts(rng, height):
    mean = peak(height=height, offset=height / 100.0)
    model = make(rng.poisson(mean, (200, 300)), height=0.9 * height, offset=0.02 * height)
    result = fit(model)
    np.testing.assert_array_equal(result.fitted, Status.CONVERGED)


def test_spectra_that_are_left_out_need_no_variance(rng):
    counts = rng.poisson(peak(), (3, 300)).astype(float)
    variance = np.maximum(counts, 1.0)
    variance[1] = 0.0
    model = make(counts)
    model.signal.set_noise_variance(hs.signals.Signal1D(variance))
    result = fit(model, loss_function="ls", mask=np.array([False, True, False]))
    assert result.usable.tolist() == [True, False, True]
    with pytest.raises(ValueError, match="not above 0 in 300 channels"):
        fit(model, loss_function="ls")


def test_a_reversed_axis_with_channels(rng):
    model = make(rng.poisson(peak(), (2, 300)))
    model.signal.axes_manager[-1].scale, model.signal.axes_manager[-1].is_binned = -0.1, True
    with pytest.raises(ValueError, match="runs backwards"):
        fit(model)


def test_complex_numbers(rng):
    model = make(rng.poisson(peak(), (2, 300)))
    model.signal.data = model.signal.data.astype(complex)
    with pytest.raises(ValueError, match="complex128 values: counts must be real numbers"):
        fit(model)


def test_models_of_different_data_are_not_compared(rng):
    models = [make(rng.poisson(peak(), (2, 300))) for _ in range(2)]
    for model in models:
        fit(model, options=FitOptions(workers=1))
    with pytest.raises(ValueError, match="their data differ"):
        hyperspy_assb.compare_fits(*models)
