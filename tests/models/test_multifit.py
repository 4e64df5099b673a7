"""The batched fit of HyperSpy models: what it fills in, what it refuses, and whether its errors are true."""

from __future__ import annotations

import warnings

import dask.array as da
import exspy
import hyperspy.api as hs
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

import hyperspy_assb
from hyperspy_assb.components import DarkLevel, FePO4ValenceBand, VolumePlasmon, ZeroLossPeak
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.fitting.solver.noise_claim import NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector, Status
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.models.recorded_noise import VARIANCE, recorded_detector
from hyperspy_assb.signals import ASSBEELSSpectrum
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.signals.fits.multifit import multifit
from hyperspy_assb.signals.result import navigation_axes

ENERGY = -10.0 + 0.25 * np.arange(300)
TRUTH = np.array([2e4, 0.1, 0.9, 0.0, 0.2, 0.05, 3.0, 0.4, 22.0, 8.0, 0.03, 5.4, 1.8, 8.0])
FREE = [("ZeroLossPeak", n) for n in ("intensity", "centre", "fwhm")]
FREE += [("VolumePlasmon", n) for n in ("intensity", "plasmon_energy", "fwhm")]
FREE += [("FePO4ValenceBand", "intensity"), ("DarkLevel", "level")]


def make(shape=(3, 4), *, gain=1.0, read_noise=0.0, seed=5):
    """Counts of a model that is right, and the model, started at the truth."""
    made = [
        ZeroLossPeak(*TRUTH[:7]),
        VolumePlasmon(*TRUTH[7:10]),
        FePO4ValenceBand(*TRUTH[10:13]),
        DarkLevel(TRUTH[13]),
    ]
    rng = np.random.default_rng(seed)
    mean = SpectrumModel([c.term for c in made], ENERGY).expectation(TRUTH)[0]
    counts = gain * rng.poisson(mean / gain, (*shape, mean.size)) + rng.normal(0.0, read_noise, (*shape, mean.size))
    signal = ASSBEELSSpectrum(counts)
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units, axis.is_binned = -10.0, 0.25, "eV", True
    model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    model.extend(made)
    for component in model:
        for parameter in component.parameters:
            parameter.free = (component.name, parameter.name) in FREE
    return model


def free_maps(model, field="values"):
    return np.stack([getattr(model[c], n).map[field] for c, n in FREE], axis=-1)


TRUE = np.array([TRUTH[0], TRUTH[1], TRUTH[2], TRUTH[7], TRUTH[8], TRUTH[9], TRUTH[10], TRUTH[13]])


@pytest.mark.parametrize(("gain", "read_noise"), [(1.0, 0.0), (3.0, 4.0)])
def test_errors_are_true(gain, read_noise):
    """Simulation with known truth: 2000 spectra through the model, its maps, and its covariance."""
    model = make((40, 50), gain=gain, read_noise=read_noise)
    result = model.multifit(detector=Detector(gain, read_noise), show_progressbar=False)
    assert np.mean(result.usable) > 0.999
    good = result.usable.reshape(40, 50)
    error = (free_maps(model) - TRUE)[good]
    std = free_maps(model, "std")[good]
    ratio = error.std(axis=0) / np.sqrt(np.mean(std**2, axis=0))
    # 2000 spectra give the ratio to 1.6 % (standard error) and the bias to 0.022 standard errors.
    assert np.all((ratio > 0.95) & (ratio < 1.05)), ratio
    assert np.all(np.abs(error.mean(axis=0)) < 0.1 * error.std(axis=0))
    covariance = model.covariance()
    assert set(covariance.names) == set(FREE)
    order = [covariance.index(*name) for name in FREE]
    reported = covariance.values[good].mean(axis=0)[np.ix_(order, order)]
    correlation = reported / np.sqrt(np.outer(np.diag(reported), np.diag(reported)))
    np.testing.assert_allclose(np.corrcoef(error.T), correlation, atol=0.08)
    if gain == 1.0:  # with one electron a channel the deviance is no longer chi-squared distributed
        assert np.nanmean(model.fit_quality.deviance.data) == pytest.approx(
            model.fit_quality.dof.data.flat[0], rel=0.02
        )


def test_it_fills_what_hyperspy_has():
    model = make()
    model.signal.data[1, 2] = 0.0
    result = model.multifit(show_progressbar=False)
    good = np.ones((3, 4), dtype=bool)
    good[1, 2] = False
    for component in model:
        for parameter in component.parameters:
            assert parameter.map.shape == (3, 4)
            np.testing.assert_array_equal(parameter.map["is_set"], good)
            assert np.isfinite(parameter.map["values"][good]).all()
            if parameter.free:
                assert np.isnan(parameter.map["values"][~good]).all()
                assert np.isnan(parameter.map["std"][~good]).all()
                assert np.all(parameter.map["std"][good] > 0)
            else:
                assert np.isnan(parameter.map["std"][good]).all()
    np.testing.assert_array_equal(model.chisq.data, result.deviance.reshape(3, 4))
    assert np.all(model.dof.data == len(FREE))  # as HyperSpy counts: the free parameters
    quality = model.fit_quality
    np.testing.assert_array_equal(quality.status.data == Status.MASKED, ~good)
    np.testing.assert_array_equal(quality.dof.data, 300 - len(FREE))
    for signal in (quality.deviance, quality.dof, quality.status):
        assert navigation_axes(signal) == navigation_axes(model.signal)
    np.testing.assert_array_equal(model.red_chisq.data[good], (model.chisq.data / (300 - len(FREE) - 1))[good])
    np.testing.assert_array_equal(
        model["FePO4ValenceBand"].intensity.as_signal().data[good], free_maps(model)[good][:, 6]
    )
    # The current position shows the fitted values.
    model.axes_manager.indices = (3, 2)
    assert model["VolumePlasmon"].plasmon_energy.value == free_maps(model)[2, 3, 4]


def test_one_spectrum_without_navigation():
    model = make(())
    model.multifit(show_progressbar=False)
    assert model["VolumePlasmon"].plasmon_energy.value == pytest.approx(22.0, abs=1.0)
    assert model["VolumePlasmon"].plasmon_energy.std > 0
    assert model.covariance().values.shape == (len(FREE), len(FREE))
    assert model.as_signal(show_progressbar=False).data.shape == (300,)


def test_one_navigation_axis():
    model = make((5,))
    model.multifit(show_progressbar=False)
    assert model.covariance().values.shape == (5, len(FREE), len(FREE))
    assert np.all(model.fit_quality.status.data == Status.CONVERGED)


def test_the_function_and_the_method_are_one():
    model, other = make(), make()
    model.multifit(show_progressbar=False)
    hyperspy_assb.multifit(other, loss_function="ML-poisson", show_progressbar=False)
    np.testing.assert_array_equal(free_maps(model), free_maps(other))
    third = make()
    third.multifit(optimizer="batched", loss_function="ML-poisson", show_progressbar=False)
    np.testing.assert_array_equal(free_maps(model), free_maps(third))


def test_lazy_data():
    model, other = make(), make()
    model.multifit(show_progressbar=False)
    lazy = ASSBEELSModel(other.signal.as_lazy(), auto_background=False, auto_add_edges=False, plural_scattering=True)
    lazy.extend(list(make()))
    lazy.multifit(show_progressbar=False)
    np.testing.assert_array_equal(free_maps(lazy), free_maps(model))


def test_covariance_before_the_fit_and_of_fixed_parameters():
    model = make()
    assert model.fit_quality is None
    with pytest.raises(RuntimeError, match="no covariance yet"):
        model.covariance()
    model.multifit(show_progressbar=False)
    with pytest.raises(KeyError, match=r"ZeroLossPeak\.tail_length was not a free parameter"):
        model.covariance().index("ZeroLossPeak", "tail_length")
    k = model.covariance().index("DarkLevel", "level")
    np.testing.assert_allclose(np.sqrt(model.covariance().values[..., k, k]), model["DarkLevel"].level.map["std"])


def test_masked_pixels_are_left_out():
    model, other = make(), make()
    mask = np.zeros((3, 4), dtype=bool)
    mask[0] = True
    model.multifit(mask=mask, show_progressbar=False)
    other.multifit(show_progressbar=False)
    np.testing.assert_array_equal(model.fit_quality.status.data == Status.MASKED, mask)
    # The mean spectrum that the others start from is another one: they end within what the solver leaves.
    difference = (free_maps(model) - free_maps(other)) / free_maps(other, "std")
    assert np.abs(difference[~mask]).max() < 1e-4
    # What is left out keeps what it had.
    np.testing.assert_array_equal(free_maps(model)[mask], free_maps(make())[mask])
    for wrong in (mask.T, mask.ravel()):
        with pytest.raises(ValueError, match=r"shape \(3, 4\) of the navigation axes"):
            model.multifit(mask=wrong, show_progressbar=False)


def test_the_signal_is_not_changed():
    model = make()
    kept = model.signal.data.copy()
    mask = np.zeros((3, 4), dtype=bool)
    mask[0, 0] = True
    model.multifit(mask=mask, show_progressbar=False)
    np.testing.assert_array_equal(model.signal.data, kept)


def test_channels_out_of_range_do_not_matter():
    model, other = make(), make()
    for m in (model, other):
        m.set_signal_range(-5.0, 50.0)
        m.remove_signal_range(9.0, 11.0)
    other.signal.data[..., ENERGY > 51.0] = 1e9
    other.signal.data[..., ENERGY < -6.0] = np.nan
    other.signal.data[..., (ENERGY > 9.5) & (ENERGY < 10.5)] = -7.0
    model.multifit(show_progressbar=False)
    other.multifit(show_progressbar=False)
    np.testing.assert_array_equal(free_maps(other), free_maps(model))
    assert model.fit_quality.dof.data.flat[0] == model._channel_switches.sum() - len(FREE)


def test_values_fixed_in_each_pixel_stay():
    model = make()
    centre = model["ZeroLossPeak"].centre
    own = 0.1 + 1e-3 * np.arange(12).reshape(3, 4)
    centre.map["values"], centre.map["is_set"], centre.free = own, True, False
    model.multifit(show_progressbar=False)
    np.testing.assert_array_equal(centre.map["values"], own)


def test_bounds_of_the_parameters_hold():
    model = make()
    model["FePO4ValenceBand"].intensity.bmax = 0.02
    model.multifit(show_progressbar=False)
    np.testing.assert_array_equal(model["FePO4ValenceBand"].intensity.map["values"], 0.02)
    assert np.all(model.fit_quality.status.data == Status.AT_BOUND)


# ---------------------------------------------------------------------------------------------- what it cannot do


def test_what_cannot_be_compiled_is_named():
    model = make()
    model.append(exspy.components.Vignetting())
    with pytest.raises(NotImplementedError, match=r"Vignetting\.\w+ is free and not linear.*Vignetting has no expr"):
        model.multifit(show_progressbar=False)
    model["Vignetting"].active = False
    model.multifit(show_progressbar=False)  # what is switched off does not matter


@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares_agrees_with_the_likelihood(weighted):
    model = make()
    model.multifit(show_progressbar=False)
    likelihood, std = free_maps(model), free_maps(model, "std")
    if weighted:
        model.signal.estimate_poissonian_noise_variance(expected_value=model.as_signal())
    result = model.multifit(loss_function="ls", show_progressbar=False)
    assert result.usable.all()
    difference = np.abs(free_maps(model) - likelihood) / std
    # With the variances of the fit, weighted least squares has the estimating equations of the likelihood.
    assert np.median(difference) < (0.05 if weighted else 3.0)
    if weighted:
        assert free_maps(model, "std") == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("name", ["poisson", "huber"])
def test_unknown_loss_functions(name):
    with pytest.raises(ValueError, match=f'"ML-poisson" or "ls".*{name}'):
        make().multifit(loss_function=name, show_progressbar=False)


def test_a_non_uniform_axis_is_refused():
    signal = hs.signals.Signal1D(np.ones(50), axes=[{"axis": np.geomspace(1, 100, 50), "name": "Energy loss"}])
    model = signal.create_model()
    model.append(DarkLevel())
    with pytest.raises(NotImplementedError, match="'Energy loss' is not uniform"):
        multifit(model, show_progressbar=False)


def test_a_model_of_another_signal():
    """The engine knows no EELS: components of this package on a plain signal."""
    rng = np.random.default_rng(2)
    band = FePO4ValenceBand(900.0, 5.0, 1.5)
    energy = 0.1 * np.arange(100)
    signal = hs.signals.Signal1D(rng.poisson(band.function(energy) * 0.1 + 20.0, (6, 100)).astype(float))
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.is_binned = 0.1, True
    model = signal.create_model()
    model.extend([band, DarkLevel(150.0)])
    multifit(model, show_progressbar=False)
    std = band.intensity.map["std"]
    assert np.all(np.abs(band.intensity.map["values"] - 900.0) < 4.0 * std)  # known truth
    assert np.all((std > 20.0) & (std < 100.0))
    np.testing.assert_array_equal(model.fit_quality.status.data, Status.CONVERGED)
    assert model.covariance().values.shape == (6, 4, 4)


# ------------------------------------------------------------------------------------------------------- detector


def test_recorded_detector():
    signal = hs.signals.Signal1D(np.ones(10))
    assert recorded_detector(signal.metadata) is None
    signal.metadata.set_item(
        VARIANCE, {"gain_factor": 1.0, "gain_offset": 0.0}
    )  # what files hold where nobody measured
    assert recorded_detector(signal.metadata) is None
    signal.metadata.set_item(VARIANCE, {"gain_factor": 2.5, "gain_offset": 16.0, "correlation_factor": 1.0})
    assert recorded_detector(signal.metadata) == Detector(2.5, 4.0)
    signal.metadata.set_item(f"{VARIANCE}.gain_offset", True)
    assert recorded_detector(signal.metadata) is None  # no number
    signal.metadata.set_item(f"{VARIANCE}.gain_offset", -1.0)
    assert recorded_detector(signal.metadata) == Detector(2.5, 0.0)


def test_the_detector_sets_the_errors():
    model, other = make(gain=4.0), make(gain=4.0)
    model.multifit(detector=Detector(), show_progressbar=False)
    other.multifit(detector=Detector(4.0), show_progressbar=False)
    # Exact: four times the variance at the same values.
    np.testing.assert_allclose(free_maps(other), free_maps(model), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(free_maps(other, "std"), 2.0 * free_maps(model, "std"), rtol=1e-4)


# ------------------------------------------------------------------------------------------- noise as it is

LINE = 0.1 * np.arange(300)


def line_map(*, gain=1.0, blur=0.0, read_noise=0.0, recorded=None, shape=(12, 12), seed=0):
    """A map of a Gaussian on an exponential, counted by a camera of known gain and blur, with a started model."""
    rng = np.random.default_rng(seed)
    mean = 4000.0 * np.exp(-0.5 * ((LINE - 12.0) / 1.2) ** 2) + 3000.0 * np.exp(-LINE / 15.0)
    counts = gain * rng.poisson(np.tile(mean, (int(np.prod(shape)), 1))).astype(float)
    if blur:
        counts = gaussian_filter1d(counts, blur, axis=1, mode="reflect")
    counts += rng.normal(0.0, 1.0, counts.shape) * read_noise
    signal = hs.signals.Signal1D(counts.reshape(*shape, LINE.size))
    signal.axes_manager[-1].scale = 0.1
    if recorded is not None:
        signal.metadata.set_item(VARIANCE, {"gain_factor": recorded, "gain_offset": 0.0})
    model = signal.create_model()
    model.extend(
        [
            hs.model.components1D.GaussianHF(height=3900.0 * gain, centre=12.1, fwhm=2.7),
            hs.model.components1D.Exponential(A=3000.0 * gain, tau=15.0),
        ]
    )
    return model


@pytest.mark.parametrize("blur", [0.0, 1.0, 2.0])
@pytest.mark.parametrize(("gain", "claim"), [(0.1, None), (1.0, 1.0), (10.0, 10.0), (7.78, 1 / 7.78), (0.5, 3.0)])
def test_errors_are_right_whatever_was_recorded(gain, claim, blur):
    scatter, source = [], set()
    for seed in range(2):
        model = line_map(gain=gain, blur=blur, recorded=claim, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AssbWarning)
            multifit(model, show_progressbar=False)
        source.add(model.fit_quality.noise.source)
        pulls = [(p.map["values"] - p.map["values"].mean()) / p.map["std"] for c in model for p in c.free_parameters]
        scatter.append([np.std(pull) for pull in pulls])
    # 288 values tell a standard deviation to 4 %, and each of five parameters must do.
    assert np.sqrt(np.mean(np.square(scatter), axis=0)) == pytest.approx(1.0, abs=0.13)
    assert np.mean(scatter) == pytest.approx(1.0, abs=0.1)
    if claim == 1 / 7.78:
        assert source == {NoiseSource.INVERSE}


def test_a_wrong_gain_is_said_and_metadata_are_left_alone():
    model = line_map(gain=7.78, recorded=1 / 7.78)
    before = model.signal.metadata.as_dictionary()
    with pytest.warns(AssbWarning, match=r"0.129 counts per electron was recorded.* electrons per count"):
        multifit(model, show_progressbar=False)
    assert model.signal.metadata.as_dictionary() == before
    assert model.fit_quality.noise.detector.gain == pytest.approx(7.78, rel=0.05)


def test_a_single_spectrum_takes_its_gain_on_trust():
    model = line_map(gain=1.0, recorded=2.0, shape=(1,))
    multifit(model, show_progressbar=False)
    noise = model.fit_quality.noise
    assert noise.source is NoiseSource.TRUSTED
    assert noise.detector == Detector(2.0)
    assert "is assumed" in noise.sentence


@pytest.mark.slow
def test_a_right_claim_is_never_contradicted(rng):
    """Null test: of 60 right maps none is warned about, and p values are those of a right model."""
    found = []
    for seed in range(60):
        model = line_map(gain=(0.3, 1.0, 4.0)[seed % 3], recorded=(0.3, 1.0, 4.0)[seed % 3], shape=(10, 10), seed=seed)
        multifit(model, show_progressbar=False)  # a warning is an error here
        found.append(model.fit_quality.noise.correlation.size)
    assert np.count_nonzero(found) <= 1


def test_p_values_know_of_correlated_channels():
    model = line_map(blur=1.0, shape=(20, 20))
    multifit(model, show_progressbar=False)
    assert 0.01 < (model.fit_quality.p_value.data < 0.05).mean() < 0.1


def test_spectra_put_together_from_few_are_told():
    model = line_map(shape=(20, 20))
    model.signal.decomposition(algorithm="SVD", print_info=False)
    model.signal.data = model.signal.get_decomposition_model(8).data
    with pytest.warns(AssbWarning, match="sums of 8: their noise was removed"):
        multifit(model, show_progressbar=False)
    assert model.fit_quality.noise.source is NoiseSource.NOT_COUNTS


@pytest.mark.parametrize("lazy", [False, True])
def test_the_detector_is_estimated_from_the_residuals(lazy):
    model = make((8, 8), gain=4.0, read_noise=2.0)
    if lazy:
        model.signal.data = da.from_array(model.signal.data, chunks=(4, 4, -1))
    known = make((8, 8), gain=4.0, read_noise=2.0)
    known.multifit(detector=Detector(4.0, 2.0), show_progressbar=False)
    model.multifit(detector="estimate", show_progressbar=False)
    # 64 spectra of 300 channels tell the gain to a few per cent, errors go with its root.
    np.testing.assert_allclose(free_maps(model, "std"), free_maps(known, "std"), rtol=0.1)
    with pytest.raises(ValueError, match='detector must be a Detector or "estimate"'):
        model.multifit(detector="guess", show_progressbar=False)


# --------------------------------------------------------------------------------------------------- units of the data


def peak_model(unit, noise, seed=0):
    """Six Gaussians on a level, in some unit, without a known variance."""
    x = 0.1 * np.arange(200)
    rng = np.random.default_rng(seed)
    shape = np.exp(-0.5 * ((x - 9.0) / 1.5) ** 2) + 0.3
    signal = hs.signals.Signal1D(unit * (shape + noise * rng.standard_normal((6, x.size))))
    signal.axes_manager.signal_axes[0].scale = 0.1
    model = signal.create_model()
    peak = hs.model.components1D.GaussianHF(height=0.5 * unit, centre=9.6, fwhm=2.5)
    model.extend([peak, hs.model.components1D.Offset(offset=0.1 * unit)])
    peak.height.bmin = 0.0
    return model


@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.02])
def test_least_squares_is_the_same_in_any_unit(noise):
    """Data without a variance have no scale but their own: small ones must not pass for fitted where they start."""
    expected = None
    for unit in (1.0, 2.0**-60, 2.0**-30, 1e-3, 1e4, 2.0**43):
        model = peak_model(unit, noise)
        result = hyperspy_assb.multifit(model, loss_function="ls", bounded=True, show_progressbar=False)
        assert result.usable.all(), (unit, result.fitted)
        maps = [getattr(model[0], name).map for name in ("height", "centre", "fwhm")]
        size = np.array([[unit], [1.0], [1.0]])
        own, std = (np.stack([m[field] for m in maps]) / size for field in ("values", "std"))
        if expected is None:
            expected = own, std, result.deviance
        np.testing.assert_allclose(own, expected[0], rtol=1e-9)
        if noise > 0.0:
            np.testing.assert_allclose(std, expected[1], rtol=1e-5)
            np.testing.assert_allclose(result.deviance / unit**2, expected[2], rtol=1e-6)
