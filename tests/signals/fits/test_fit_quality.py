"""Maps of the quality of fits, and which of two models the spectra ask for."""

from __future__ import annotations

import pickle

import hyperspy.api as hs
import numpy as np
import pytest
from scipy import stats

import hyperspy_assb
from hyperspy_assb.components import DarkLevel, FePO4ValenceBand
from hyperspy_assb.errors import AssbRuntimeError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.models.multifit import FitOptions
from hyperspy_assb.signals.fits.fit_comparison import PreferredModel, compare_fits
from hyperspy_assb.signals.fits.multifit import multifit
from hyperspy_assb.signals.result import navigation_axes

ENERGY = 0.1 * np.arange(100)


def expectation(amount=100.0, level=20.0):
    return 0.1 * (FePO4ValenceBand(amount, 5.0, 1.5).function(ENERGY) + 10.0 * level)


def make_signal(counts):
    signal = hs.signals.Signal1D(np.asarray(counts, dtype=float))
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.units, axis.is_binned = 0.1, "eV", True
    return signal


def make_models(signal, amount=100.0, level=20.0):
    """A level, and a level with a band of a known shape."""
    flat, peaked = signal.create_model(), signal.create_model()
    flat.append(DarkLevel(10.0 * level))
    peaked.extend([DarkLevel(10.0 * level), FePO4ValenceBand(amount, 5.0, 1.5)])
    for name in ("centre", "fwhm"):
        getattr(peaked["FePO4ValenceBand"], name).free = False
    peaked["FePO4ValenceBand"].intensity.bmin = None
    return flat, peaked


def drawn(shape, amount=100.0, level=20.0, *, gain=1.0, noise=0.0, seed=6):
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(expectation(amount, level), (*shape, 100))
    return make_signal(gain * electrons + rng.normal(0.0, noise, electrons.shape))


def fit(model, **kwargs):
    return multifit(model, show_progressbar=False, **kwargs)


def test_maps_by_hand():
    signal = drawn((3, 4))
    signal.data[1, 2] = 0.0
    flat, peaked = make_models(signal)
    for model, k in ((flat, 1), (peaked, 2)):
        result = fit(model)
        quality = model.fit_quality
        deviance = result.deviance.reshape(3, 4)
        np.testing.assert_allclose(quality.aic.data, deviance + 2.0 * k)
        np.testing.assert_allclose(quality.bic.data, deviance + k * np.log(100.0))
        np.testing.assert_allclose(quality.reduced_deviance.data, deviance / (100.0 - k))
        for name in ("aic", "bic", "reduced_deviance", "p_value"):
            made = getattr(quality, name)
            assert navigation_axes(made) == navigation_axes(signal)
            assert np.isnan(made.data[1, 2])
            assert np.isfinite(made.data).sum() == 11
            assert getattr(quality, name) is made  # evaluated once
    assert peaked.fit_quality.p_value.metadata.General.title == "p value"


@pytest.mark.parametrize(("gain", "noise", "level"), [(1.0, 0.0, 20.0), (4.0, 0.0, 0.5), (3.0, 4.0, 20.0)])
def test_p_values_of_true_models_are_uniform(gain, noise, level):
    """Simulation with known truth, through the model: 2000 spectra."""
    amount = 5.0 * level
    signal = drawn((40, 50), amount, level, gain=gain, noise=noise)
    _, peaked = make_models(signal, gain * amount, gain * level)
    options = FitOptions(minimum_counts=1.0)
    result = fit(peaked, detector=Detector(gain, noise), options=options)
    p = peaked.fit_quality.p_value.data.ravel()[result.usable]
    assert p.size > 1980
    assert stats.kstest(p, "uniform").pvalue > 1e-3, (stats.kstest(p, "uniform"), p.mean())


def test_a_wrong_model_is_found_out():
    flat, _ = make_models(drawn((3, 4), 1000.0))
    fit(flat)
    assert np.all(flat.fit_quality.p_value.data < 1e-6)


def test_parts_with_their_own_components():
    """Where a component is not active it is no parameter, and the expectation is that of the others."""
    signal = drawn((4, 5))
    flat, peaked = make_models(signal)
    band = peaked["FePO4ValenceBand"]
    band.active_is_multidimensional = True
    band._active_array[:2] = False
    fit(flat)
    fit(peaked)
    for name in ("p_value", "aic", "bic"):
        one, other = (getattr(m.fit_quality, name).data for m in (flat, peaked))
        np.testing.assert_allclose(one[:2], other[:2], rtol=1e-6)
        assert np.all(one[2:] != other[2:])


def test_convolved_models_take_the_response_of_each_spectrum():
    """Exact: with a response of one channel for each spectrum, the model is the plain one, scaled."""
    import exspy

    rng = np.random.default_rng(1)
    counts = rng.poisson(expectation(), (6, 100)).astype(float)
    response = np.zeros((6, 5))
    response[:, 2] = 1.0

    def eels(data, offset):
        signal = exspy.signals.EELSSpectrum(data)
        axis = signal.axes_manager.signal_axes[0]
        axis.scale, axis.offset, axis.units, axis.is_binned = 0.1, offset, "eV", True
        return signal

    plain = eels(counts, 0.0).create_model(auto_background=False, auto_add_edges=False)
    folded = eels(counts, 0.0).create_model(low_loss=eels(response, -0.2), auto_background=False, auto_add_edges=False)
    found = []
    for model in (plain, folded):
        model.extend([DarkLevel(200.0), FePO4ValenceBand(100.0, 5.0, 1.5)])
        model["FePO4ValenceBand"].centre.free = model["FePO4ValenceBand"].fwhm.free = False
        model["DarkLevel"].convolved = False
        fit(model)
        found.append(model.fit_quality.p_value.data)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_lazy_signals():
    signal = drawn((3, 4))
    _, peaked = make_models(signal)
    _, lazy = make_models(signal.as_lazy())
    fit(peaked)
    fit(lazy)
    np.testing.assert_allclose(lazy.fit_quality.p_value.data, peaked.fit_quality.p_value.data, rtol=1e-6)


def test_one_spectrum():
    flat, peaked = make_models(drawn(()))
    fit(flat)
    fit(peaked)
    assert 0.0 < peaked.fit_quality.p_value.data[0] < 1.0
    assert compare_fits(flat, peaked).delta_aic.data.shape == peaked.chisq.data.shape


def test_least_squares():
    signal = drawn((20, 25), level=200.0)
    _, unknown = make_models(signal, level=200.0)
    result = fit(unknown, loss_function="ls")
    with pytest.raises(ValueError, match="no p value of least squares without a known variance"):
        unknown.fit_quality.p_value  # noqa: B018
    # Exact: n log(RSS / n), and the variance is the third parameter.
    np.testing.assert_allclose(
        unknown.fit_quality.aic.data.ravel(), 100.0 * np.log(result.deviance / 100.0) + 6.0, rtol=1e-12
    )
    signal.set_noise_variance(make_signal(np.broadcast_to(expectation(level=200.0), (20, 25, 100))))
    _, known = make_models(signal, level=200.0)
    result = fit(known, loss_function="ls")
    p = known.fit_quality.p_value.data.ravel()
    np.testing.assert_allclose(p, stats.chi2.sf(result.deviance, 98), rtol=1e-12)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def same_maps(one, other, names):
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal(a.data, b.data)
        assert a.axes_manager.as_dictionary() == b.axes_manager.as_dictionary()


QUALITY = ("deviance", "dof", "status", "reduced_deviance", "aic", "bic")


@pytest.mark.parametrize("ending", [".hspy", ".zspy"])
def test_quality_and_covariance_come_back_from_files(tmp_path, ending):
    signal = drawn((3, 4))
    signal.data[1, 2] = 0.0
    _, peaked = make_models(signal)
    fit(peaked)
    peaked.fit_quality.save(tmp_path / f"quality{ending}")
    again = hyperspy_assb.load(tmp_path / f"quality{ending}")
    same_maps(again, peaked.fit_quality, (*QUALITY, "p_value"))
    assert again.summary() == peaked.fit_quality.summary()
    assert "11 of 12 spectra were fitted" in again.summary()
    assert again.provenance["parameters"]["components"] == ["DarkLevel", "FePO4ValenceBand"]
    covariance = peaked.covariance()
    covariance.save(tmp_path / f"covariance{ending}")
    other = hyperspy_assb.load(tmp_path / f"covariance{ending}")
    assert other.names == covariance.names
    np.testing.assert_array_equal(other.values, covariance.values)
    same_maps(other, covariance, ("status",))


def test_p_values_go_where_the_fit_cannot():
    _, peaked = make_models(drawn((3, 4)))
    fit(peaked)
    bare = pickle.loads(pickle.dumps(peaked.fit_quality))
    same_maps(bare, peaked.fit_quality, QUALITY)
    with pytest.raises(AssbRuntimeError, match="ask for p_value before pickling"):
        bare.p_value  # noqa: B018
    p = peaked.fit_quality.p_value.data
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(peaked.fit_quality)).p_value.data, p)


def test_what_cannot_be_judged_is_saved_without_a_p_value(tmp_path):
    _, peaked = make_models(drawn((3, 4)))
    fit(peaked, loss_function="ls")
    peaked.fit_quality.save(tmp_path / "quality.hspy")
    again = hyperspy_assb.load(tmp_path / "quality.hspy")
    same_maps(again, peaked.fit_quality, QUALITY)
    assert "p value" not in again.to_dataframe()


def test_tables_of_quality_and_covariance():
    signal = drawn((3, 4))
    signal.data[1, 2] = 0.0
    _, peaked = make_models(signal)
    fit(peaked)
    quality, covariance = peaked.fit_quality, peaked.covariance()
    table = quality.to_dataframe()
    np.testing.assert_array_equal(table["p value"], quality.p_value.data.ravel())
    assert table["status"].tolist().count("masked") == 1
    region = np.zeros((3, 4), dtype=bool)
    region[1] = True
    row = quality.to_dataframe(region=region).loc["region"]
    assert row["deviance"] == pytest.approx(np.nansum(quality.deviance.data[1]))
    assert row["degrees of freedom"] == 3 * 98
    assert (row["converged"], row["masked"]) == (3, 1)
    stds = covariance.to_dataframe()["FePO4ValenceBand.intensity std"]
    np.testing.assert_allclose(stds, peaked["FePO4ValenceBand"].intensity.map["std"].ravel())
    np.testing.assert_array_equal(covariance.std("FePO4ValenceBand", "intensity").data.ravel(), stds)
    mean = covariance.to_dataframe(region=region).loc["region", "FePO4ValenceBand.intensity std of the mean"]
    # Exact: the standard error of the mean of three independent values.
    assert mean == pytest.approx(np.sqrt(np.nansum(stds[4:8] ** 2)) / 3.0)
    pair = ("DarkLevel", "level"), ("FePO4ValenceBand", "intensity")
    c = covariance.values[0, 0]
    assert covariance.correlation(*pair).data[0, 0] == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]))
    assert np.isnan(covariance.correlation(*pair).data[1, 2])
    assert f"by {abs(covariance.median_correlation()[0, 1]):.2f}" in covariance.summary()
    for result in (quality, covariance):
        assert result.plot().figure is not None


def test_a_covariance_on_disk_is_saved_whole(tmp_path):
    _, peaked = make_models(drawn((3, 4)))
    fit(peaked, options=FitOptions(store=tmp_path / "fit.zarr"))
    covariance = peaked.covariance()
    assert not isinstance(covariance.values, np.ndarray)
    assert covariance.plot().figure is not None
    covariance.save(tmp_path / "covariance.hspy")
    again = hyperspy_assb.load(tmp_path / "covariance.hspy")
    assert isinstance(again.values, np.ndarray)
    np.testing.assert_array_equal(again.values, np.asarray(covariance.values))


# ------------------------------------------------------------------------------------------------------ comparison


def test_the_better_model_is_found():
    signal = drawn((4, 5), 200.0)
    signal.data[2:] = drawn((2, 5), 0.0).data
    flat, peaked = make_models(signal)
    fit(flat)
    fit(peaked)
    found = hyperspy_assb.compare_fits(flat, peaked)
    assert np.all(found.delta_aic.data[:2] > 10.0)
    assert np.all(found.delta_bic.data[2:] < 8.0)
    assert np.all(found.likelihood_ratio_p_value.data[:2] < 1e-4)
    np.testing.assert_allclose(
        found.delta_aic.data, flat.fit_quality.deviance.data - peaked.fit_quality.deviance.data - 2.0
    )
    other = compare_fits(peaked, flat)
    np.testing.assert_array_equal(other.delta_aic.data, -found.delta_aic.data)
    np.testing.assert_array_equal(other.likelihood_ratio_p_value.data, found.likelihood_ratio_p_value.data)
    same = compare_fits(peaked, peaked)
    assert np.all(same.delta_bic.data == 0.0)
    assert np.isnan(same.likelihood_ratio_p_value.data).all()


@pytest.mark.parametrize("loss_function", ["ML-poisson", "ls"])
def test_likelihood_ratios_without_the_component_are_uniform(loss_function):
    """Simulation with known truth: no band is there, in 2000 spectra."""
    flat, peaked = make_models(drawn((40, 50), 0.0))
    fit(flat, loss_function=loss_function)
    fit(peaked, loss_function=loss_function)
    found = compare_fits(flat, peaked)
    p = found.likelihood_ratio_p_value.data.ravel()
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    # Exact for chi-squared with one degree of freedom: AIC asks for the band where it is above 2, in 15.7 % of cases.
    assert np.mean(found.delta_aic.data > 0.0) == pytest.approx(stats.chi2.sf(2.0, 1), abs=4.0 * 0.0081)


def test_the_map_of_the_comparison():
    flat, peaked = make_models(drawn((4, 5)))
    fit(flat)
    fit(peaked)
    found = compare_fits(flat, peaked)
    ax = found.plot("bic")
    low, high = ax.images[0].get_clim()
    assert low == -high
    with pytest.raises(ValueError, match='"aic" or "bic"'):
        found.plot("dic")


@pytest.mark.slow
def test_the_comparison_comes_back_from_a_file(tmp_path):
    signal = drawn((4, 5), 300.0)
    signal.data[2:] = drawn((2, 5), 0.0).data
    signal.data[3, 4] = 0.0
    flat, peaked = make_models(signal)
    fit(flat)
    fit(peaked)
    found = compare_fits(flat, peaked)
    found.save(tmp_path / "comparison.hspy")
    again = hyperspy_assb.load(tmp_path / "comparison.hspy")
    same_maps(again, found, ("delta_aic", "delta_bic", "likelihood_ratio_p_value", "status"))
    assert np.all(again.status.data[:2] == PreferredModel.SECOND)
    assert again.status.data[3, 4] == PreferredModel.NOT_FITTED
    lines = again.summary().splitlines()
    assert lines[0].startswith("Of 20 spectra, 0 ask for the first model and 10 for the second")
    assert lines[1] == "1 were not fitted by both."
    row = again.to_dataframe(region=again.status.data == PreferredModel.SECOND).loc["region"]
    assert row["ΔAIC"] == pytest.approx(found.delta_aic.data[:2].sum())
    assert row["second"] == 10


def test_models_that_cannot_be_compared():
    signal = drawn((2, 3))
    flat, peaked = make_models(signal)
    fit(flat)
    with pytest.raises(RuntimeError, match="The second model is not fitted"):
        compare_fits(flat, peaked)
    with pytest.raises(RuntimeError, match="The first model is not fitted"):
        compare_fits(peaked, flat)
    fit(peaked, detector=Detector(2.0))
    with pytest.raises(ValueError, match="different detector"):
        compare_fits(flat, peaked)
    fit(peaked, loss_function="ls")
    with pytest.raises(ValueError, match="different loss_function, ML-poisson and ls"):
        compare_fits(flat, peaked)
    peaked.set_signal_range(2.0, 8.0)
    fit(peaked)
    with pytest.raises(ValueError, match=r"different channels, 100 and \d+"):
        compare_fits(flat, peaked)
    _, other = make_models(drawn((2, 2)))
    fit(other)
    with pytest.raises(ValueError, match=r"shapes are \(2, 3, 100\) and \(2, 2, 100\)"):
        compare_fits(flat, other)
    shifted = drawn((2, 3))
    shifted.axes_manager.signal_axes[0].offset = 1.0
    _, other = make_models(shifted)
    fit(other)
    with pytest.raises(ValueError, match="signal axes differ"):
        compare_fits(flat, other)
