"""The predicted precision: exact cases, an independent Fisher information, and the scatter of real fits."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hyperspy_assb
from hyperspy_assb.components import DarkLevel, FePO4ValenceBand, VolumePlasmon, ZeroLossPeak
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.statistics.precision import DoseInformation
from hyperspy_assb.signals import ASSBEELSSpectrum
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.signals.fits.precision import predict_precision

BAND = ("FePO4ValenceBand", "intensity")
LEVEL = ("DarkLevel", "level")


def blank(shape=(), channels=100):
    """A signal of which only the axis means something."""
    signal = hs.signals.Signal1D(np.full((*shape, channels), np.nan))
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.units, axis.is_binned = 0.1, "eV", True
    return signal


def band_model(signal=None, *components):
    model = (blank() if signal is None else signal).create_model()
    model.extend([FePO4ValenceBand(300.0, 5.0, 1.5), DarkLevel(150.0), *components])
    return model


def level_model(level=7.0):
    model = blank().create_model()
    model.append(DarkLevel(level))
    return model


# ------------------------------------------------------------------------------------------------------ exact cases


@pytest.mark.parametrize("level", [1e-3, 7.0, 1e6])
def test_a_level_is_known_like_a_count(level):
    found = predict_precision(level_model(level), [1.0, 100.0, 1e6])
    # Exact: the relative standard error of a number of electrons.
    np.testing.assert_allclose(found.relative(*LEVEL), [1.0, 0.1, 1e-3], rtol=1e-12)
    np.testing.assert_allclose(found.std(*LEVEL), level * np.array([1.0, 0.1, 1e-3]), rtol=1e-12)
    assert found.dose_for(*LEVEL, relative=0.05) == pytest.approx(400.0, rel=1e-9)
    assert found.dose_for(*LEVEL, std=0.05 * level) == pytest.approx(400.0, rel=1e-9)
    np.testing.assert_allclose(found.detectable(*LEVEL), np.array([9.0, 0.09, 9e-6]), rtol=1e-8)


def test_read_noise_and_gain():
    dose, detector = 500.0, Detector(gain=4.0, read_noise=6.0)
    found = predict_precision(level_model(), dose, detector=detector)
    # Exact: 100 channels of 5 electrons each, with the variance 5 + (6 / 4)^2.
    assert found.relative(*LEVEL) == pytest.approx(np.sqrt(100.0 * (5.0 + 2.25)) / 500.0, rel=1e-12)
    assert found.relative(*LEVEL).shape == ()
    model = level_model()
    node = "Signal.Noise_properties.Variance_linear_model"
    model.signal.metadata.set_item(node, {"gain_factor": 4.0, "gain_offset": 36.0, "correlation_factor": 1.0})
    assert predict_precision(model, dose).relative(*LEVEL) == found.relative(*LEVEL)


def test_the_dose_is_that_of_the_signal_range():
    model = level_model()
    model.set_signal_range(0.0, 4.95)
    found = predict_precision(model, 100.0, detector=Detector(1.0, 2.0))
    channels = int(model._channel_switches.sum())
    assert channels < 60
    assert found.relative(*LEVEL) == pytest.approx(np.sqrt(100.0 + 4.0 * channels) / 100.0, rel=1e-12)


def test_the_table():
    found = predict_precision(band_model(), [1e4, 1e5])
    assert isinstance(found.table, pd.DataFrame)
    assert list(found.table) == ["component", "parameter", "units", "dose", "value", "std", "relative"]
    assert len(found.table) == 8
    row = found.table.query("component == 'FePO4ValenceBand' and parameter == 'centre' and dose == 1e5").iloc[0]
    assert (row["units"], row["value"]) == ("eV", 5.0)
    assert row["std"] == found.std("FePO4ValenceBand", "centre")[1]
    assert row["relative"] == row["std"] / 5.0
    assert found.undetermined == ()


def test_targets_are_reported_and_the_rest_is_still_unknown():
    every, one = predict_precision(band_model(), 1e4), predict_precision(band_model(), 1e4, target=BAND)
    assert one.names == (BAND,)
    assert len(one.table) == 1
    assert one.std(*BAND) == every.std(*BAND)
    assert predict_precision(band_model(), 1e4, target=[LEVEL, BAND]).names == (LEVEL, BAND)
    with pytest.raises(KeyError, match=r"FePO4ValenceBand\.width is not a free parameter"):
        predict_precision(band_model(), 1e4, target=("FePO4ValenceBand", "width"))


def test_current_values_are_the_truth_wherever_they_are():
    model = band_model(blank((3, 4)))
    for position, centre in (((0, 0), 5.0), ((2, 1), 6.5)):
        model.axes_manager.indices = position
        model["FePO4ValenceBand"].centre.value = centre
        model["FePO4ValenceBand"].centre.store_current_value_in_array()
    maps = [parameter.map for component in model for parameter in component.parameters]
    found = predict_precision(model, 1e4)
    assert found.table.set_index("parameter").loc["centre", "value"] == 6.5
    assert all(p.map is m for p, m in zip([p for c in model for p in c.parameters], maps, strict=True))
    other = band_model()
    other["FePO4ValenceBand"].centre.value = 6.5
    np.testing.assert_allclose(found.table["std"], predict_precision(other, 1e4).table["std"], rtol=1e-12)


def test_components_of_hyperspy_as_columns():
    """Exact: an offset and a pattern are linear, so the information is that of their columns."""
    signal = blank()
    pattern = hs.signals.Signal1D(np.linspace(1.0, 3.0, 100) ** 2)
    pattern.axes_manager[0].scale = 0.1
    model = signal.create_model()
    offset, fixed = hs.model.components1D.Offset(40.0), hs.model.components1D.ScalableFixedPattern(pattern)
    model.extend([offset, fixed])
    fixed.yscale.value = 20.0
    fixed.shift.free = fixed.xscale.free = False
    found = predict_precision(model, 1e5)
    columns = np.stack([np.ones(100), pattern.data])
    mean = 40.0 * columns[0] + 20.0 * columns[1]
    s = 1e5 / mean.sum()
    expected = np.sqrt(np.diag(np.linalg.inv((s * columns / mean) @ columns.T)))
    names = [("Offset", "offset"), ("ScalableFixedPattern", "yscale")]
    assert set(found.names) == set(names)
    np.testing.assert_allclose([found.std(*n) for n in names], expected, rtol=1e-9)


def test_twins_count_as_one_parameter():
    """Exact: two bands of which one follows are one band of the sum of the shapes."""
    second = FePO4ValenceBand(600.0, 7.0, 1.5)
    second.name = "second"
    model = band_model(None, second)
    second.intensity.twin = model["FePO4ValenceBand"].intensity
    second.intensity.twin_function_expr = "2*x"
    for component in model:
        for parameter in component.parameters:
            parameter.free = parameter.name in ("intensity", "level") and parameter.twin is None
    found = predict_precision(model, 1e4)
    assert set(found.names) == {BAND, LEVEL}
    energy = 0.1 * np.arange(100)
    unit = FePO4ValenceBand(1.0, 5.0, 1.5).function(energy) + 2.0 * FePO4ValenceBand(1.0, 7.0, 1.5).function(energy)
    columns = 0.1 * np.stack([unit, np.ones(100)])
    mean = 300.0 * columns[0] + 150.0 * columns[1]
    s = 1e4 / mean.sum()
    expected = np.sqrt(np.diag(np.linalg.inv((s * columns / mean) @ columns.T)))
    np.testing.assert_allclose([found.std(*BAND), found.std(*LEVEL)], expected, rtol=1e-9)


def test_what_no_dose_determines_is_named():
    twin = FePO4ValenceBand(300.0, 5.0, 1.5)
    twin.name = "same"
    model = band_model(None, twin)
    model.set_parameters_not_free(["FePO4ValenceBand", "same"], ["centre", "fwhm"])
    found = predict_precision(model, [1e3, 1e6])
    assert set(found.undetermined) == {BAND, ("same", "intensity")}
    assert np.isinf(found.std(*BAND)).all()
    assert np.isinf(found.dose_for(*BAND, relative=0.1))
    assert np.isinf(found.detectable(*BAND)).all()
    # What the two add up to is known, so the level is as well known as beside one of them.
    model["same"].active = False
    np.testing.assert_allclose(found.std(*LEVEL), predict_precision(model, [1e3, 1e6]).std(*LEVEL), rtol=0.2)
    assert np.isfinite(found.std(*LEVEL)).all()


def test_a_parameter_without_effect():
    model = band_model()
    model["FePO4ValenceBand"].intensity.value = 0.0
    found = predict_precision(model, 1e4)
    assert set(found.undetermined) == {("FePO4ValenceBand", "centre"), ("FePO4ValenceBand", "fwhm")}
    assert np.isfinite(found.std(*BAND))
    assert np.isinf(found.relative(*BAND))
    with pytest.raises(ValueError, match="is 0: set it to the amount"):
        found.detectable(*BAND)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("dose", [0.0, -1.0, np.nan, np.inf, [], [1.0, 0.0], [[1.0]]])
def test_impossible_doses(dose):
    with pytest.raises(ValueError, match="dose must be a number above 0"):
        predict_precision(level_model(), dose)


def test_impossible_models():
    with pytest.raises(ValueError, match="expects no counts"):
        predict_precision(level_model(0.0), 1e3)
    model = band_model()
    model["FePO4ValenceBand"].intensity.value = -600.0
    with pytest.raises(ValueError, match=r"negative counts in \d+ channels"):
        predict_precision(model, 1e3)
    model = level_model()
    model["DarkLevel"].level.free = False
    with pytest.raises(ValueError, match="No parameter of the model is free"):
        predict_precision(model, 1e3)


def test_impossible_questions():
    found = predict_precision(band_model(), 1e3)
    for wrong in ({}, {"relative": 0.1, "std": 1.0}):
        with pytest.raises(ValueError, match="either relative or std"):
            found.dose_for(*BAND, **wrong)
    with pytest.raises(ValueError, match="must be above 0"):
        found.dose_for(*BAND, relative=0.0)
    with pytest.raises(ValueError, match="is not an amount"):
        found.detectable("FePO4ValenceBand", "centre")
    with pytest.raises(ValueError, match="n_sigma must be above 0"):
        found.detectable(*BAND, n_sigma=0.0)
    with pytest.raises(KeyError, match=r"ZeroLossPeak\.fwhm is not a free parameter"):
        found.std("ZeroLossPeak", "fwhm")


# ------------------------------------------------------------------------------------------------------- properties


@settings(max_examples=40, deadline=None)
@given(
    noise=st.floats(0.0, 50.0),
    doses=st.tuples(st.floats(1e-2, 1e9), st.floats(1e-2, 1e9)),
    wanted=st.floats(1e-5, 10.0),
)
def test_more_electrons_are_never_worse(noise, doses, wanted):
    energy = np.linspace(-1.0, 1.0, 40)
    columns = np.stack([np.ones(40), np.exp(-8.0 * energy**2)])
    information = DoseInformation.of(3.0 * columns[0] + columns[1], columns, read_noise=noise)
    low, high = min(doses), max(doses)
    assert np.all(information.std(high) <= information.std(low) * (1.0 + 1e-9))
    # Exact: the dose for a precision has this precision.
    assert information.std(information.dose_for(1, wanted))[1] == pytest.approx(wanted, rel=1e-6)
    if noise == 0.0:
        ratio = information.std(low) / information.std(high)
        np.testing.assert_allclose(ratio, np.sqrt(high / low), rtol=1e-9)


def test_what_is_just_detectable_is_three_standard_errors():
    found = predict_precision(band_model(), 1e5, detector=Detector(1.0, 2.0))
    share = float(found.detectable(*BAND))
    model = band_model()
    whole = 300.0 + 0.1 * 150.0 * 100
    model["FePO4ValenceBand"].intensity.value = 300.0 * share
    # The level keeps its electrons: the dose is what is left with less of the band.
    dose = 1e5 * (300.0 * share + 0.1 * 150.0 * 100) / whole
    again = predict_precision(model, dose, detector=Detector(1.0, 2.0))
    assert again.relative(*BAND) == pytest.approx(1.0 / 3.0, rel=1e-3)


# ------------------------------------------------------------------------------------- independent, and simulation


def zero_loss_model(signal):
    model = ASSBEELSModel(signal, auto_background=False, auto_add_edges=False, plural_scattering=True)
    model.extend(
        [
            ZeroLossPeak(2e4, 0.1, 0.9, 0.0, 0.2, 0.05, 3.0),
            VolumePlasmon(0.4, 22.0, 8.0),
            FePO4ValenceBand(0.03, 5.4, 1.8),
            DarkLevel(8.0),
        ]
    )
    free = {"ZeroLossPeak": ("intensity", "centre", "fwhm"), "VolumePlasmon": ("intensity", "plasmon_energy", "fwhm")}
    free |= {"FePO4ValenceBand": ("intensity",), "DarkLevel": ("level",)}
    for component in model:
        for parameter in component.parameters:
            parameter.free = parameter.name in free[component.name]
    return model


def zero_loss_signal(data):
    signal = ASSBEELSSpectrum(data)
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units, axis.is_binned = -10.0, 0.25, "eV", True
    return signal


def numerical_information(model, dose, detector):
    """Fisher information by differences of what HyperSpy evaluates, with the dose put into the electrons."""
    parameters = [p for c in model for p in c.parameters if p.free]
    mean = model._get_current_data(onlyactive=True)
    s = dose / mean.sum()
    rows = []
    for parameter in parameters:
        value, step = parameter.value, 1e-4 * max(abs(parameter.value), 0.1)
        sides = []
        for k in (-2, -1, 1, 2):
            parameter.value = value + k * step
            sides.append(s * model._get_current_data(onlyactive=True))
        parameter.value = value
        rows.append((8.0 * (sides[2] - sides[1]) - (sides[3] - sides[0])) / (12.0 * step))
    gain, noise = detector.gain, detector.read_noise
    return np.array(rows) * gain / (gain**2 * s * mean + noise**2) @ (gain * np.array(rows)).T


@pytest.mark.parametrize("detector", [Detector(), Detector(3.0, 4.0)])
@pytest.mark.parametrize("dose", [2e3, 1e6])
def test_an_independent_numerical_information(detector, dose):
    model = zero_loss_model(zero_loss_signal(np.zeros(300)))
    found = predict_precision(model, dose, detector=detector)
    expected = np.sqrt(np.diag(np.linalg.inv(numerical_information(model, dose, detector))))
    np.testing.assert_allclose(found.table["std"], expected, rtol=1e-5)


@pytest.mark.parametrize("detector", [Detector(), Detector(3.0, 4.0)])
def test_the_scatter_of_fits_is_what_was_predicted(detector):
    """Simulation with known truth: 2500 spectra drawn after the prediction, and fitted."""
    dose, gain = 2.5e4, detector.gain
    model = zero_loss_model(zero_loss_signal(np.zeros(300)))
    predicted = predict_precision(model, dose, detector=detector)
    mean = model._get_current_data(onlyactive=True)
    s = dose / mean.sum()
    rng = np.random.default_rng(8)
    counts = gain * rng.poisson(s * mean, (50, 50, 300)) + rng.normal(0.0, detector.read_noise, (50, 50, 300))
    fitted = zero_loss_model(zero_loss_signal(counts))
    fitted["ZeroLossPeak"].intensity.value *= gain * s
    fitted["DarkLevel"].level.value *= gain * s
    result = fitted.multifit(detector=detector, show_progressbar=False)
    assert np.mean(result.usable) > 0.999
    good = result.usable.reshape(50, 50)
    ratios = []
    for component, parameter in predicted.names:
        values = getattr(fitted[component], parameter).map["values"][good]
        unit = gain * s if (component, parameter) in (("ZeroLossPeak", "intensity"), LEVEL) else 1.0
        ratios.append(values.std() / (unit * predicted.std(component, parameter)))
    # 2500 spectra give each ratio to 1.4 % (standard error).
    assert np.all(np.abs(np.array(ratios) - 1.0) < 0.05), ratios


# ---------------------------------------------------------------------------------------------------------- figure


def test_the_figure():
    found = predict_precision(band_model(), [1e3, 1e6], target=[BAND, LEVEL])
    ax = found.plot()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "dose (electrons in the fitted range)"
    assert ax.get_ylabel() == "relative standard error (%)"
    line = next(line for line in ax.lines if line.get_label() == "DarkLevel.level")
    np.testing.assert_allclose(line.get_ydata()[[0, -1]], 100.0 * found.relative(*LEVEL), rtol=1e-9)
    again = predict_precision(band_model(), 1e4).plot(ax=ax)
    assert again is ax
    assert ax.get_xlim() == pytest.approx((1e3, 1e5))


def test_it_is_a_public_name():
    assert hyperspy_assb.predict_precision is predict_precision
