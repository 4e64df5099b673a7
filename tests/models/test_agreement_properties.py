"""The batched fit under bounds, twins, masks, ranges, fixed values and flags, against exact fits."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hyperspy_assb
from hyperspy_assb.fitting.solver.spectra_fit import Detector, Status
from hyperspy_assb.models.multifit import FitOptions

C = hs.model.components1D
AXIS = 0.1 * np.arange(150)
TRUTH = {"A": (1500.0, 900.0), "sigma": (1.0, 1.4), "centre": (4.0, 9.5), "offset": 40.0}
QUICK = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def make(shape=(3,), *, seed=0, order=(0, 1, 2), gain=1.0, active=(True, True, True)):
    """Two peaks on a constant, with counts."""
    parts = [
        C.Gaussian(A=TRUTH["A"][0], sigma=TRUTH["sigma"][0], centre=TRUTH["centre"][0]),
        C.Gaussian(A=TRUTH["A"][1], sigma=TRUTH["sigma"][1], centre=TRUTH["centre"][1]),
        C.Offset(offset=TRUTH["offset"]),
    ]
    mean = sum(c.function(AXIS) for c, flag in zip(parts, active, strict=True) if flag)
    signal = hs.signals.Signal1D(gain * np.random.default_rng(seed).poisson(mean, (*shape, AXIS.size)).astype(float))
    signal.axes_manager.signal_axes[0].scale = 0.1
    model = signal.create_model()
    for name, part in zip(("first", "second", "level"), parts, strict=True):
        part.name = name
    model.extend([parts[k] for k in order])
    return model


def fit(model, loss="ML-poisson", **more):
    more.setdefault("options", FitOptions(tolerance=1e-13))
    return hyperspy_assb.multifit(model, loss_function=loss, show_progressbar=False, **more)


def values(model, field="values"):
    return {(c.name, p.name): p.map[field].copy() for c in model for p in c.parameters}


# ------------------------------------------------------------------------------------------------------------ bounds

around = st.floats(-4.0, 4.0)
PLACES = [("first", "A"), ("first", "sigma"), ("second", "centre"), ("second", "sigma"), ("level", "offset")]
ERRORS = {"A": 60.0, "sigma": 0.05, "centre": 0.06, "offset": 0.7}


@QUICK
@given(
    chosen=st.lists(st.tuples(st.sampled_from(PLACES), st.booleans(), around), min_size=1, max_size=4),
    loss=st.sampled_from(["ML-poisson", "ls"]),
    seed=st.integers(0, 1000),
)
def test_bounds(chosen, loss, seed, exact):
    model = make(seed=seed)
    for (component, name), above, distance in chosen:
        parameter = getattr(model[component], name)
        value = parameter.value + distance * ERRORS[name]
        # Only one side each: bounds that exclude each other are not what this is about.
        if above:
            parameter.bmin, parameter.bmax = None, value
        else:
            parameter.bmin, parameter.bmax = value, None
    fit(model, loss)
    exact.compare(model, loss)
    status = model.fit_quality.status.data
    assert np.isin(status, (Status.CONVERGED, Status.AT_BOUND)).all()
    for i in range(3):
        model.axes_manager.indices = (i,)
        reference = exact.Reference(model, loss)
        theta = reference.get()
        # Karush, Kuhn and Tucker: what is at a bound is pushed against it, and the rest is a stationary point.
        assert np.all((theta >= reference.lower) & (theta <= reference.upper))
        score, information = reference.normal(theta, 1e-4 * np.abs(theta))
        reference.put(theta)
        root = np.sqrt(np.diag(information))
        below, above = theta == reference.lower, theta == reference.upper
        slack = 1e-3 * np.sqrt(2 * reference.objective(theta) / 143) if loss == "ls" else 1e-3
        assert np.all(score[below] / root[below] < slack)
        assert np.all(score[above] / root[above] > -slack)
        assert np.all(np.abs(score / root)[~below & ~above] < slack)
        # The others are as in a fit where those at a bound are fixed.
        if not (below | above).any():
            assert status[i] == Status.CONVERGED
            continue
        assert status[i] == Status.AT_BOUND
        held = [p for (p, _), flag in zip(reference.slots, below | above, strict=True) if flag]
        kept = values(model)
        for parameter in held:
            parameter.free = False
        free = exact.Reference(model, loss)
        start = free.get()
        free.polish(start, bounds=False)
        assert free.converged
        assert np.all(np.abs(free.theta - start) < 1e-4 * free.std)
        for parameter in held:
            parameter.free = True
        free.put(start)
        for name, stored in values(model).items():
            np.testing.assert_array_equal(stored, kept[name])


def test_bounds_that_are_not_to_hold(exact):
    model = make()
    model["first"].sigma.bmax = 0.5
    fit(model, bounded=False)
    assert np.all(model["first"].sigma.map["values"] > 0.8)
    model["first"].sigma.bmax = None
    exact.compare(model, "ML-poisson")


# ------------------------------------------------------------------------------------------------------------- twins


def tie(parameter, source, expression=None):
    if expression is not None:
        parameter.twin_function_expr = expression
    parameter.twin = source


TWINS = {
    "identity": [("second.sigma", "first.sigma", None)],
    "linear": [("second.A", "first.A", "0.6 * x")],
    "affine": [("second.centre", "first.centre", "x + 5.5")],
    "non-linear": [("second.sigma", "first.sigma", "1.4 * x**2")],
    "root": [("second.A", "first.A", "sqrt(540 * x)")],
    "reciprocal": [("second.sigma", "first.sigma", "1.4 / x")],
    "across kinds": [("level.offset", "first.A", "x / 37.5")],
    "two": [("second.A", "first.A", "0.6 * x"), ("second.sigma", "first.sigma", "1.4 * x")],
    "chain": [("second.sigma", "first.sigma", "1.4 * x"), ("level.offset", "second.sigma", "20.4 * x**2")],
    "both ways": [("first.A", "second.A", "x / 0.6"), ("second.centre", "first.centre", "2.375 * x")],
}


def at(model, name):
    component, parameter = name.split(".")
    return getattr(model[component], parameter)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ML-poisson", "ls"])
@pytest.mark.parametrize("name", TWINS)
def test_twins(name, loss, exact):
    model = make()
    for target, source, expression in TWINS[name]:
        tie(at(model, target), at(model, source), expression)
    fit(model, loss)
    # HyperSpy itself puts the twins in the exact fit.
    exact.compare(model, loss)
    for target, source, expression in TWINS[name]:
        followed, leader = at(model, target).map, at(model, source).map

        def function(x, expression=expression):
            return x if expression is None else eval(expression, {"sqrt": np.sqrt, "exp": np.exp, "x": x})

        x = leader["values"]
        np.testing.assert_allclose(followed["values"], function(x), rtol=1e-12)
        slope = (function(x * (1 + 1e-5)) - function(x * (1 - 1e-5))) / (2e-5 * x)
        np.testing.assert_allclose(followed["std"], np.abs(slope) * leader["std"], rtol=1e-6)
        assert followed["is_set"].all()


@QUICK
@given(factor=st.floats(0.3, 3.0), power=st.sampled_from([1, 2]), seed=st.integers(0, 1000), weighted=st.booleans())
def test_twins_of_any_power(factor, power, seed, weighted, exact):
    model = make(seed=seed)
    tie(model["second"].sigma, model["first"].sigma, f"{factor} * x**{power}")
    variance = np.maximum(model.signal.data, 1.0) if weighted else None
    if weighted:
        model.signal.set_noise_variance(hs.signals.Signal1D(variance))
    fit(model, "ls" if weighted else "ML-poisson")
    exact.compare(model, "ls" if weighted else "ML-poisson", variance=variance)


# ------------------------------------------------------------------------------------- masks, ranges, fixed and active


@QUICK
@given(mask=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers(0, 1000))
def test_masks(mask, seed, exact):
    model = make((2, 3), seed=seed)
    mask = np.reshape(mask, (2, 3))
    kept = model.signal.data.copy()
    fit(model, mask=hs.signals.BaseSignal(mask).T)
    np.testing.assert_array_equal(model.signal.data, kept)
    for stored in values(model, "is_set").values():
        np.testing.assert_array_equal(stored, ~mask)
    np.testing.assert_array_equal(model.fit_quality.status.data == Status.MASKED, mask)
    assert np.isnan(model.chisq.data[mask]).all()
    exact.compare(model, "ML-poisson", at=[tuple(index) for index in np.argwhere(~mask)])


@QUICK
@given(
    first=st.floats(0.0, 3.0),
    last=st.floats(11.0, 14.9),
    hole=st.tuples(st.floats(5.0, 6.0), st.floats(6.5, 8.0)),
    loss=st.sampled_from(["ML-poisson", "ls"]),
)
def test_ranges(first, last, hole, loss, exact):
    model = make()
    model.set_signal_range(first, last)
    model.remove_signal_range(*hole)
    model.signal.data[:, ~model._channel_switches] = 1e7
    fit(model, loss)
    exact.compare(model, loss)
    used = int(model._channel_switches.sum())
    assert used < 150
    np.testing.assert_array_equal(model.fit_quality.dof.data, used - 7)


@QUICK
@given(names=st.sets(st.sampled_from(PLACES), min_size=1, max_size=4), seed=st.integers(0, 1000), each=st.booleans())
def test_fixed_parameters(names, seed, each, exact):
    model = make(seed=seed)
    rng = np.random.default_rng(seed)
    for component, name in names:
        parameter = getattr(model[component], name)
        parameter.free = False
        if each:
            parameter.map["values"] = parameter.value * rng.uniform(0.9, 1.1, 3)
            parameter.map["is_set"] = True
    before = values(model)
    fit(model)
    exact.compare(model, "ML-poisson")
    for component, name in names:
        parameter = getattr(model[component], name)
        expected = before[component, name] if each else np.full(3, parameter.value)
        np.testing.assert_array_equal(parameter.map["values"], expected)
        assert np.isnan(parameter.map["std"]).all()
        assert parameter.map["is_set"].all()


@QUICK
@given(flags=st.lists(st.booleans(), min_size=4, max_size=4), loss=st.sampled_from(["ML-poisson", "ls"]))
def test_components_that_are_active_in_some_spectra(flags, loss, exact):
    model, without = make((4,)), make((4,), seed=1, active=(True, False, True))
    flags = np.array(flags)
    model.signal.data[~flags] = without.signal.data[~flags]
    model["second"].active_is_multidimensional = True
    model["second"]._active_array[:] = flags
    fit(model, loss)
    exact.compare(model, loss)
    for parameter in model["second"].parameters:
        np.testing.assert_array_equal(parameter.map["is_set"], flags)
        assert np.isfinite(parameter.map["std"][flags]).all()
    np.testing.assert_array_equal(model.fit_quality.dof.data, np.where(flags, 143, 146))
    np.testing.assert_array_equal(model["second"]._active_array, flags)


def test_twins_of_components_that_are_active_in_some_spectra(exact):
    model = make((4,))
    tie(model["second"].sigma, model["first"].sigma, "1.4 * x")
    model["level"].active_is_multidimensional = True
    model["level"]._active_array[:] = [True, False, True, False]
    fit(model, "ls")
    exact.compare(model, "ls")


# -------------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_the_order_of_components_does_not_matter(order):
    model, other = make(), make(order=order)
    fit(model)
    fit(other)
    for name, stored in values(model).items():
        std = model[name[0]].map["std"] if name[0] == "" else getattr(model[name[0]], name[1]).map["std"]
        assert np.all(np.abs(values(other)[name] - stored) < 1e-4 * std)
        np.testing.assert_allclose(values(other, "std")[name], std, rtol=1e-4)
    np.testing.assert_allclose(other.chisq.data, model.chisq.data, rtol=1e-7)


@pytest.mark.slow
@QUICK
@given(gain=st.floats(0.05, 500.0), noise=st.floats(0.0, 5.0))
def test_counts_that_are_scaled(gain, noise, exact):
    model, other = make(seed=4), make(seed=4, gain=gain)
    for m, factor in ((model, 1.0), (other, gain)):
        for parameter in (m["first"].A, m["second"].A, m["level"].offset):
            parameter.value *= 1.1 * factor
        fit(m, detector=Detector(factor, noise * factor))
    for (component, name), stored in values(model).items():
        factor = gain if name in ("A", "offset") else 1.0
        std = getattr(model[component], name).map["std"]
        assert np.all(np.abs(values(other)[component, name] / factor - stored) < 1e-5 * std)
        np.testing.assert_allclose(values(other, "std")[component, name], factor * std, rtol=1e-5)
    exact.compare(other, "ML-poisson", gain=gain, read_noise=noise * gain)
