"""The model with plural scattering: subsets, derivatives, HyperSpy's own fits and views."""

from __future__ import annotations

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.components import DarkLevel, FePO4ValenceBand, LiKEdge, VolumePlasmon, ZeroLossPeak
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.signals import ASSBEELSSpectrum, load_spectrum_image
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.simulation import micro_battery

ENERGY = -10.0 + 0.25 * np.arange(400)


def components():
    made = [
        ZeroLossPeak(5e4, 0.1, 0.9, 0.0, 0.2, 0.05, 3.0),
        VolumePlasmon(0.4, 22.0, 8.0),
        FePO4ValenceBand(0.03, 5.4, 1.8),
        LiKEdge(areal_density=800.0),
        DarkLevel(8.0),
    ]
    for name in ("asymmetry", "lorentz_fraction", "tail_fraction", "tail_length"):
        getattr(made[0], name).free = False
    made[2].centre.free = made[2].fwhm.free = False
    return made


def truth(made):
    return np.concatenate([c.current_values for c in made])


@pytest.fixture
def model(rng):
    """Poisson counts of a model that is right, in 2 x 3 pixels of growing thickness; not fitted."""
    made = components()
    theta = np.repeat(truth(made)[np.newaxis], 6, axis=0)
    theta[:, 7] = np.linspace(0.2, 0.7, 6)
    mean = SpectrumModel([c.term for c in made], ENERGY).expectation(theta)
    signal = ASSBEELSSpectrum(rng.poisson(mean).reshape(2, 3, -1).astype(float))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units, axis.is_binned = -10.0, 0.25, "eV", True
    out = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    out.extend(made)
    return out


# ------------------------------------------------------------------------------------------- current data, subsets


def test_the_current_data_are_the_forward_model(model):
    expected = SpectrumModel([c.term for c in model], ENERGY).expectation(truth(model))[0]
    np.testing.assert_allclose(model._get_current_data(), expected, rtol=1e-12)
    np.testing.assert_allclose(model._get_current_data(binned=False), expected / 0.25, rtol=1e-12)
    model.set_signal_range(0.0, 50.0)
    inside = (ENERGY >= 0.0) & (ENERGY <= 50.0)
    np.testing.assert_allclose(model._get_current_data(), expected[inside], rtol=1e-12)
    np.testing.assert_allclose(model._get_current_data(ignore_channel_switches=True), expected, rtol=1e-12)


def test_components_with_the_zero_loss_are_a_model_of_their_own(model):
    chosen = [model["ZeroLossPeak"], model["FePO4ValenceBand"]]
    expected = SpectrumModel([c.term for c in chosen], ENERGY).expectation(truth(chosen))[0]
    np.testing.assert_allclose(model._get_current_data(component_list=chosen), expected, rtol=1e-12)
    zero = model._get_current_data(component_list=[model["ZeroLossPeak"]])
    np.testing.assert_allclose(zero, model["ZeroLossPeak"].function(ENERGY) * 0.25, rtol=1e-9)
    assert not model._get_current_data(component_list=[]).any()


def test_components_without_the_zero_loss_are_what_they_add(model):
    whole = model._get_current_data()
    for name in ("FePO4ValenceBand", "Li_K", "DarkLevel"):
        rest = [c for c in model if c.name != name]
        added = model._get_current_data(component_list=[model[name]])
        np.testing.assert_allclose(added, whole - model._get_current_data(component_list=rest), atol=1e-9)
        assert added.sum() > 100.0
    np.testing.assert_allclose(model._get_current_data(component_list=[model["DarkLevel"]]), 2.0, atol=1e-7)


def test_inactive_components_do_not_count(model):
    model["Li_K"].active = False
    expected = SpectrumModel([c.term for c in model if c.active], ENERGY).expectation(
        truth([c for c in model if c.active])
    )[0]
    np.testing.assert_allclose(model._get_current_data(), expected, rtol=1e-12)


def test_without_plural_scattering_it_is_the_sum(model):
    model.plural_scattering = False
    expected = sum(c.function(ENERGY) for c in model) * 0.25
    np.testing.assert_allclose(model._get_current_data(), expected, rtol=1e-12)
    model.plural_scattering = True
    assert np.abs(model._get_current_data() - expected).max() > 100.0


# ------------------------------------------------------------------------------------------------ HyperSpy's own fits


def test_jacobian(model, differentiate):
    model.set_signal_range(-5.0, 80.0)
    model._set_p0()
    start = np.array(model.p0, dtype=float)
    jacobian = model._jacobian(start, None)
    free = [p for c in model for p in c.free_parameters]
    assert jacobian.shape == (len(free), model._channel_switches.sum())

    def values(theta):
        model.fetch_values_from_array(theta)
        return model._get_current_data()

    for k, parameter in enumerate(free):
        step = 1e-3 * max(abs(start[k]), 0.3)
        expected = differentiate(values, start, k, step)
        # Central differences of fourth order, good to about 1e-7 of the largest; the edge's table costs the rest.
        error = np.abs(jacobian[k] - expected).max() / np.abs(expected).max()
        assert error < 1e-6, f"{parameter.name}: {error}"


def test_jacobian_of_twins(model, differentiate):
    second = FePO4ValenceBand(0.03, 6.5, 2.5)
    second.name = "second"
    model.append(second)
    second.intensity.twin = model["FePO4ValenceBand"].intensity
    model._set_p0()
    start = np.array(model.p0, dtype=float)
    k = [p for c in model for p in c.free_parameters].index(model["FePO4ValenceBand"].intensity)

    def values(theta):
        model.fetch_values_from_array(theta)
        return model._get_current_data()

    expected = differentiate(values, start, k, 1e-3)
    np.testing.assert_allclose(model._jacobian(start, None)[k], expected, atol=1e-6 * np.abs(expected).max())


def fitted(model):
    values = np.array([p.value for c in model for p in c.free_parameters])
    std = np.array([p.std for c in model for p in c.free_parameters])
    return values, std


def test_least_squares_agrees(model):
    """Other program: HyperSpy's Levenberg-Marquardt, with weights from the fitted model instead of the counts."""
    model.multifit(show_progressbar=False)
    values, std = fitted(model)
    model.signal.set_noise_variance(model.as_signal(show_progressbar=False))
    model["VolumePlasmon"].fwhm.value *= 1.05
    model.fit(optimizer="lm")
    other, other_std = fitted(model)
    # Both have the same score at this point; what is left is the tolerance of the two.
    assert np.all(np.abs(other - values) < 0.2 * std)
    np.testing.assert_allclose(other_std, std, rtol=0.1)


@pytest.mark.parametrize("optimizer", ["L-BFGS-B", "TNC"])
def test_poisson_likelihood_agrees(model, optimizer):
    """Other program: scipy's optimisers behind HyperSpy, which want parameters of about one size."""
    for c in model:
        for p in c.parameters:
            p.free = (c.name, p.name) in {("VolumePlasmon", n) for n in ("intensity", "plasmon_energy", "fwhm")}
    model.multifit(show_progressbar=False)
    values, std = fitted(model)
    for p in model["VolumePlasmon"].parameters:
        p.bmin, p.bmax = 0.8 * p.value, 1.2 * p.value  # else their first step, a whole gradient, is lost
        p.value *= 1.02
    model.fit(optimizer=optimizer, loss_function="ML-poisson", grad="analytical", bounded=True)
    # Their tolerance, 1e-9 of a log-likelihood of 1e5, is a hundredth of a standard error.
    assert np.all(np.abs(fitted(model)[0] - values) < 0.2 * std)


@pytest.mark.parametrize("optimizer", ["lstsq", "ridge_regression"])
def test_linear_optimizers_say_that_they_cannot(model, optimizer):
    if optimizer == "ridge_regression":
        pytest.importorskip("sklearn", reason="HyperSpy needs it for ridge regression")
    with pytest.raises(NotImplementedError, match="Plural scattering is not linear"):
        model.fit(optimizer=optimizer)


# ------------------------------------------------------------------------------------------------------------ views


def test_as_signal_is_the_current_data_of_each_pixel(model):
    model.multifit(show_progressbar=False)
    model.set_signal_range(0.0, 60.0)
    for chosen in (None, ["ZeroLossPeak", "VolumePlasmon"], [model["FePO4ValenceBand"]]):
        signal = model.as_signal(component_list=chosen, show_progressbar=False)
        assert type(signal) is ASSBEELSSpectrum
        for index in np.ndindex(2, 3):
            model.axes_manager.indices = index[::-1]
            own = None if chosen is None else [model._get_component(c) for c in chosen]
            np.testing.assert_allclose(
                signal.data[index][model._channel_switches], model._get_current_data(component_list=own), atol=1e-7
            )
        assert np.isnan(signal.data[..., ~model._channel_switches]).all()
    everything = model.as_signal(out_of_range_to_nan=False, show_progressbar=False)
    assert np.isfinite(everything.data).all()


def test_pixels_without_a_fit_are_nan(model):
    mask = np.zeros((2, 3), dtype=bool)
    mask[0, 1] = True
    model.signal.data[1, 2] = 0.0
    model.multifit(mask=mask, show_progressbar=False)
    nothing = mask.copy()
    nothing[1, 2] = True
    data = model.as_signal(show_progressbar=False).data
    assert np.isnan(data[nothing]).all()
    assert np.isfinite(data[~nothing]).all()
    np.testing.assert_array_equal(np.isnan(model.t_over_lambda()), nothing)


def test_as_signal_into_another(model):
    model.multifit(show_progressbar=False)
    other = model.signal.deepcopy()
    assert model.as_signal(out=other, show_progressbar=False) is None
    np.testing.assert_array_equal(other.data, model.as_signal(show_progressbar=False).data)


def test_as_signal_names_what_it_cannot_evaluate(model):
    model.multifit(show_progressbar=False)
    model.append(hs.model.components1D.PowerLaw())
    with pytest.raises(NotImplementedError, match="PowerLaw"):
        model.as_signal(show_progressbar=False)


def test_the_model_plots(model):
    model.multifit(show_progressbar=False)
    model.plot(plot_components=True)
    assert plt.get_fignums()
    model.plural_scattering = False  # the plot follows
    model.axes_manager.indices = (1, 1)
    plt.close("all")


def test_plural_scattering_and_fit_survive_a_file(model, tmp_path):
    model.multifit(show_progressbar=False)
    model.store("fit")
    model.signal.save(tmp_path / "s.hspy")
    restored = hs.load(tmp_path / "s.hspy").models.restore("fit")
    assert type(restored) is ASSBEELSModel
    assert restored.plural_scattering is True
    np.testing.assert_array_equal(
        restored.as_signal(show_progressbar=False).data, model.as_signal(show_progressbar=False).data
    )


def test_t_over_lambda_of_known_columns(model):
    model.multifit(show_progressbar=False)
    theta = np.repeat(truth(components())[np.newaxis], 6, axis=0)
    theta[:, 7] = np.linspace(0.2, 0.7, 6)
    known = SpectrumModel([c.term for c in components()], ENERGY).scattering_probability(theta).reshape(2, 3)
    # Known truth: 5e4 electrons in the zero-loss peak give it to half a per cent.
    np.testing.assert_allclose(model.t_over_lambda(), known, atol=0.02)


def test_the_noise_that_a_model_finds_is_its_own(tmp_path):
    """The signal stays as it is; the detector goes where the model goes."""
    signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
    before = signal.metadata.as_dictionary()
    model = signal.create_low_loss_model(["Li", "Fe"])
    assert signal.metadata.as_dictionary() == before
    assert model.detector.gain == pytest.approx(1.0, abs=0.1)
    model.multifit(show_progressbar=False)
    assert model.fit_quality.found.detector == model.detector
    assert signal.metadata.as_dictionary() == before
    assert model.inav[0, 0].detector == model.detector
    model.store("fit")
    signal.save(tmp_path / "map.hspy")
    again = load_spectrum_image(tmp_path / "map.hspy").models.restore("fit")
    assert again.detector == model.detector
    again.detector = None
    assert hyperspy_assb.predict_precision(again, 1e5).detector == Detector()
    again.detector = Detector(2.0, 3.0)
    assert hyperspy_assb.predict_precision(again, 1e5).detector == Detector(2.0, 3.0)


def core_loss(shape=(2, 3)):
    energy = 400.0 + 0.5 * np.arange(800)
    signal = ASSBEELSSpectrum(np.random.default_rng(0).poisson(200.0 + 1e9 * energy**-2.6, (*shape, 800)).astype(float))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units = 400.0, 0.5, "eV"
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=20.0)
    signal.add_elements(("O", "Fe"))
    return signal


def test_a_stored_core_loss_model_is_restored_without_its_tables_being_fetched(monkeypatch):
    signal = core_loss()
    model = signal.create_model(GOS="hydrogenic")
    model["O_K"].intensity.value = 0.25
    model.store("core loss")

    def no_network(*args, **options):
        raise AssertionError("tables were fetched")

    monkeypatch.setattr("pooch.retrieve", no_network)
    monkeypatch.setattr("pooch.Pooch.fetch", no_network)
    restored = signal.models.restore("core loss")
    assert [c.name for c in restored] == [c.name for c in model]
    assert [e.name for e in restored.edges] == [e.name for e in model.edges]
    assert restored["O_K"].intensity.value == 0.25
    assert restored["O_K"].GOS._name == "hydrogenic"


def low_loss(scale, *, units="eV"):
    energy = -10.0 + scale * np.arange(round(60.0 / scale))
    signal = ASSBEELSSpectrum(
        1e5 * scale * (np.exp(-0.5 * (energy / 0.8) ** 2) + 0.1 * np.exp(-0.5 * ((energy - 20.0) / 3.0) ** 2))
    )
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units = -10.0, scale, units
    return signal


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.3])
def test_a_low_loss_of_another_dispersion_is_brought_to_that_of_the_spectra(scale):
    expected, values = None, []
    for width in (0.5, scale):
        model = core_loss(()).create_model(low_loss=low_loss(width), auto_background=False, auto_add_edges=False)
        model.append(hs.model.components1D.Gaussian(A=1.0, centre=600.0, sigma=4.0))
        values.append(model._get_current_data())
        assert model.low_loss.axes_manager.signal_axes[0].scale == 0.5
    expected, found = values
    assert np.abs(found - expected).max() < 2e-3 * expected.max()
    given = low_loss(scale)
    core_loss(()).create_model(low_loss=given, auto_background=False, auto_add_edges=False)
    assert given.axes_manager.signal_axes[0].scale == scale


def test_a_coarser_low_loss_is_said():
    with pytest.warns(AssbWarning, match=r"low_loss has channels of 1 eV, and the spectra of 0\.5 eV"):
        core_loss(()).create_model(low_loss=low_loss(1.0), auto_background=False, auto_add_edges=False)


def test_a_low_loss_without_zero_is_refused():
    with pytest.raises(AssbValueError, match="low_loss goes from"):
        core_loss(()).create_model(low_loss=core_loss(()), auto_background=False, auto_add_edges=False)
