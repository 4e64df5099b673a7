"""The bridge to lmfit: the same numbers by another optimiser."""

from __future__ import annotations

import copy

import hyperspy.api as hs
import lmfit
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.components import DarkLevel, FePO4ValenceBand
from hyperspy_assb.models.lmfit_bridge import to_lmfit
from hyperspy_assb.models.multifit import FitOptions
from hyperspy_assb.signals.fits.multifit import multifit

ENERGY = 0.1 * np.arange(100)
TRUTH = FePO4ValenceBand(9000.0, 5.0, 1.5).function(ENERGY) * 0.1 + 150.0


def make(shape=(), *components, seed=4):
    rng = np.random.default_rng(seed)
    signal = hs.signals.Signal1D(rng.poisson(TRUTH, (*shape, 100)).astype(float))
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.units, axis.is_binned = 0.1, "eV", True
    model = signal.create_model()
    model.extend([FePO4ValenceBand(8000.0, 5.2, 1.7), DarkLevel(1400.0), *components])
    return model


def with_variance(model):
    model.signal.set_noise_variance(hs.signals.Signal1D(np.broadcast_to(TRUTH, model.signal.data.shape).copy()))
    return 1.0 / np.sqrt(TRUTH)


@pytest.mark.parametrize("tied", [False, True])
def test_the_engine_and_lmfit_agree(tied):
    components = []
    if tied:
        components.append(FePO4ValenceBand(10.0, 5.0, 1.5))
        components[0].name = "shoulder"
    model = make((), *components)
    if tied:
        for name, expression in (("intensity", "x/10"), ("centre", "x + 1.2"), ("fwhm", "")):
            own = getattr(model["shoulder"], name)
            own.twin = getattr(model["FePO4ValenceBand"], name)
            if expression:
                own.twin_function_expr = expression
    weights = with_variance(model)
    ready, parameters = to_lmfit(model)
    exact = {"fit_kws": {"ftol": 1e-14, "xtol": 1e-14}}
    fit = ready.fit(model.signal.data, parameters, x=ENERGY, weights=weights, scale_covar=False, **exact)
    multifit(model, loss_function="ls", options=FitOptions(tolerance=1e-12), show_progressbar=False)
    for component in model:
        for parameter in component.parameters:
            theirs = fit.params[f"{component.name}_{parameter.name}"]
            std = parameter.map["std"][0]
            assert abs(parameter.value - theirs.value) < 1e-4 * theirs.stderr, theirs
            assert std == pytest.approx(theirs.stderr, rel=1e-3)
    assert fit.chisqr == pytest.approx(float(model.chisq.data[0]), rel=1e-7)
    assert fit.nfree == int(model.fit_quality.dof.data[0])


def test_values_bounds_and_what_is_fixed():
    model = make()
    band = model["FePO4ValenceBand"]
    band.intensity.bmin, band.intensity.bmax = 0.0, 1e5
    band.fwhm.free = False
    _, parameters = to_lmfit(model)
    assert isinstance(parameters, lmfit.Parameters)
    assert set(parameters) == {
        "FePO4ValenceBand_intensity",
        "FePO4ValenceBand_centre",
        "FePO4ValenceBand_fwhm",
        "DarkLevel_level",
    }
    intensity = parameters["FePO4ValenceBand_intensity"]
    assert (intensity.value, intensity.min, intensity.max, intensity.vary) == (8000.0, 0.0, 1e5, True)
    assert (parameters["FePO4ValenceBand_fwhm"].value, parameters["FePO4ValenceBand_fwhm"].vary) == (1.7, False)


def test_twins_become_expressions():
    follower, last = FePO4ValenceBand(1.0, 5.0, 1.5), FePO4ValenceBand(1.0, 5.0, 1.5)
    follower.name, last.name = "follower", "last"
    model = make((), follower, last)
    follower.intensity.twin = model["FePO4ValenceBand"].intensity
    follower.intensity.twin_function_expr = "sqrt(x) + pi"
    follower.intensity.twin_inverse_function_expr = "(x - pi)**2"
    last.intensity.twin = follower.intensity
    _, parameters = to_lmfit(model)
    assert parameters["follower_intensity"].value == pytest.approx(np.sqrt(8000.0) + np.pi, rel=1e-12)
    assert parameters["last_intensity"].expr == "follower_intensity"
    parameters["FePO4ValenceBand_intensity"].value = 100.0
    parameters.update_constraints()
    assert parameters["last_intensity"].value == pytest.approx(10.0 + np.pi, rel=1e-12)


def test_names_are_valid_and_different():
    awkward = [DarkLevel(), DarkLevel(), DarkLevel(), DarkLevel()]
    for component, name in zip(awkward, ("Fe L3", "Fe_L3", "3d (Fe)", "µ"), strict=True):
        component.name = name
    ready, parameters = to_lmfit(make((), *awkward, hs.model.components1D.Offset()))
    names = list(parameters)
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in names)
    assert {"Fe_L3_level", "Fe_L3_level_2", "p_3d_Fe_level", "Offset_offset"} <= set(names)
    assert ready.eval(parameters, x=ENERGY).shape == (100,)


def test_it_evaluates_what_hyperspy_does():
    model = make((), hs.model.components1D.Offset(30.0))
    ready, parameters = to_lmfit(model)
    np.testing.assert_allclose(ready.eval(parameters, x=ENERGY), model._get_current_data(onlyactive=True), rtol=1e-12)
    model.set_signal_range(2.0, 7.0)
    ready, parameters = to_lmfit(model)
    x = ENERGY[model._channel_switches]
    np.testing.assert_allclose(ready.eval(parameters, x=x), model._get_current_data(onlyactive=True), rtol=1e-12)
    np.testing.assert_allclose(ready.eval(parameters, x=x[::3]), ready.eval(parameters, x=x)[::3], rtol=0)


@pytest.mark.parametrize("x", [ENERGY + 0.03, np.append(ENERGY, 10.0), np.array([-0.1]), np.array([np.nan])])
def test_energies_that_are_no_channels(x):
    ready, parameters = to_lmfit(make())
    with pytest.raises(ValueError, match=r"x must be energies of channels of the signal, from 0 to 9\.9 in steps"):
        ready.eval(parameters, x=x)


def test_the_current_position():
    model = make((3, 4))
    multifit(model, show_progressbar=False)
    model.axes_manager.indices = (3, 1)
    _, parameters = to_lmfit(model)
    assert parameters["DarkLevel_level"].value == model["DarkLevel"].level.map["values"][1, 3]


def test_a_bound_that_excludes_every_value():
    model = make()
    model["DarkLevel"].level.bmin = model["DarkLevel"].level.bmax = 3.0
    with pytest.raises(ValueError, match=r"DarkLevel\.level has no room between its bounds 3\.0 and 3\.0"):
        to_lmfit(model)


def test_confidence_intervals_and_copies():
    model = make()
    weights = with_variance(model)
    ready, parameters = copy.deepcopy(to_lmfit(model))
    fit = ready.fit(model.signal.data, parameters, x=ENERGY, weights=weights, scale_covar=False)
    interval = fit.conf_interval(p_names=["FePO4ValenceBand_centre"], sigmas=[1])["FePO4ValenceBand_centre"]
    centre = fit.params["FePO4ValenceBand_centre"]
    # Far from any bound the profile is a parabola; lmfit judges it by what the fit leaves.
    expected = 2.0 * centre.stderr * np.sqrt(fit.redchi)
    assert interval[2][1] - interval[0][1] == pytest.approx(expected, rel=0.03)


def test_it_is_a_public_name():
    assert hyperspy_assb.to_lmfit is to_lmfit
