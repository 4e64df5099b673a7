"""The batched fit of EELS models that are convolved with a low-loss signal, against HyperSpy's own values."""

from __future__ import annotations

import exspy
import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.fitting.solver.spectra_fit import Status
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.multifit import FitOptions

C = hs.model.components1D
COUNT = 3


def low_loss(each):
    """A zero-loss peak and a plasmon, of another thickness in each spectrum if there are several."""
    energy = -8.0 + 0.5 * np.arange(90)
    thickness = np.array([0.3, 0.5, 0.8]) if each else np.array([0.4])
    zero = np.exp(-0.5 * (energy / 0.8) ** 2)
    plasmon = np.exp(-0.5 * ((energy - 20.0) / 4.0) ** 2) * 0.1
    data = zero / zero.sum() + thickness[:, np.newaxis] * plasmon / plasmon.sum()
    signal = exspy.signals.EELSSpectrum(np.tile(data, (1 if each else COUNT, 1)))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale = -8.0, 0.5
    return signal


def make(each, *, kind="peak", binned=True, seed=1, prepare=None):
    """A model that is right, started away from the truth, and the truth."""
    signal = exspy.signals.EELSSpectrum(np.ones((COUNT, 160)))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.is_binned = 250.0, 0.5, binned
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=10.0, collection_angle=30.0)
    model = signal.create_model(low_loss=low_loss(each), auto_background=False, auto_add_edges=False)
    background = C.PowerLaw(A=1e11, r=2.6)
    if kind == "edge":
        others = [exspy.components.EELSCLEdge("C_K", GOS="hydrogenic")]
    elif kind == "edge and peak":
        others = [
            exspy.components.EELSCLEdge("C_K", GOS="hydrogenic"),
            C.Gaussian(A=9e4, sigma=2.0, centre=290.0),
        ]
    else:
        others = [C.Gaussian(A=4e5, sigma=3.0, centre=290.0), C.Lorentzian(A=3e5, gamma=2.0, centre=305.0)]
    model.extend([background, *others])
    background.A.value, background.r.value, background.r.free = 1e11, 2.6, False
    for c in model:
        if c.name == "C_K":
            c.intensity.value = 3.0 * 1e11 * 300.0**-2.6 / c.function(np.array([300.0]))[0] * 0.3
        for p in c.parameters:
            if p.map is not None:
                p.map["is_set"] = False
    assert model.convolved
    if prepare is not None:
        prepare(model)
    rng = np.random.default_rng(seed)
    for i in range(COUNT):
        model.axes_manager.indices = (i,)
        signal.data[i] = rng.poisson(model._get_current_data(onlyactive=True))
    model.axes_manager.indices = (0,)
    truth = [p.value for c in model for p in c.parameters if p.free]
    for c in model:
        for p in c.free_parameters:
            if p._number_of_elements == 1 and p.twin is None:
                p.value *= 1.2 if p._linear else 1.003
    return model, truth


def fit(model, loss="ML-poisson", **more):
    more.setdefault("options", FitOptions(tolerance=1e-10))
    return hyperspy_assb.multifit(model, loss_function=loss, show_progressbar=False, **more)


@pytest.mark.parametrize("loss", ["ML-poisson", "ls"])
@pytest.mark.parametrize("each", [False, True], ids=["one for all", "one for each"])
@pytest.mark.parametrize("kind", ["peak", "edge", "edge and peak"])
def test_it_is_the_exact_fit(kind, each, loss, exact):
    model, truth = make(each, kind=kind)
    fit(model, loss)
    assert np.all(model.fit_quality.status.data == Status.CONVERGED)
    exact.compare(model, loss, truth)


@pytest.mark.parametrize("binned", [False, True])
@pytest.mark.parametrize("each", [False, True])
def test_values_are_those_of_hyperspy(each, binned):
    model, _ = make(each, kind="edge and peak", binned=binned)
    compiled = compile_model(model)
    own = compiled.model.evaluate(compiled.start, np.zeros(compiled.free.size, dtype=bool))[0]
    for i in range(COUNT):
        model.axes_manager.indices = (i,)
        expected = model._get_current_data(onlyactive=True)
        np.testing.assert_allclose(own[i], expected, rtol=1e-10)
    fit(model)
    after = compile_model(model)
    own = after.model.evaluate(after.start, np.zeros(after.free.size, dtype=bool))[0]
    for i in range(COUNT):
        model.axes_manager.indices = (i,)
        np.testing.assert_allclose(model._get_current_data(onlyactive=True), own[i], rtol=1e-10)


@pytest.mark.parametrize("each", [False, True])
def test_derivatives_are_exact(each, differentiate):
    model, _ = make(each)
    compiled = compile_model(model)
    start, free = compiled.start, compiled.free
    jacobian = compiled.model.evaluate(start, free)[1]

    def values(parameters):
        return compiled.model.evaluate(parameters, np.zeros(free.size, dtype=bool))[0]

    for row, k in enumerate(np.flatnonzero(free)):
        expected = differentiate(values, start, k, 1e-4 * abs(start[0, k]))
        np.testing.assert_allclose(jacobian[:, row], expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())


def test_signal_ranges_and_masks(exact):
    model, truth = make(True)
    model.set_signal_range(260.0, 320.0)
    model.signal.data[:, ~model._channel_switches] = 1e11
    fit(model, mask=np.array([False, True, False]))
    exact.compare(model, "ML-poisson", truth, at=[(0,), (2,)])


def test_components_that_are_not_convolved(exact):
    def prepare(model):
        model["Gaussian"].convolved = False

    model, truth = make(True, prepare=prepare)
    fit(model, "ls")
    exact.compare(model, "ls", truth)


def test_twins_and_flags(exact):
    def prepare(model):
        model["Lorentzian"].centre.twin_function_expr = "x + 15"
        model["Lorentzian"].centre.twin = model["Gaussian"].centre
        model["Lorentzian"].active_is_multidimensional = True
        model["Lorentzian"]._active_array[:] = [True, False, True]

    model, _ = make(True, prepare=prepare)
    fit(model, "ls")
    exact.compare(model, "ls")


def fine_structure(model):
    edge = model["C_K"]
    edge.fine_structure_smoothing, edge.fine_structure_width = 0.05, 20.0
    edge.fine_structure_active = True
    number = edge.fine_structure_coeff._number_of_elements
    edge.fine_structure_coeff.value = tuple(40.0 + 10.0 * np.sin(np.arange(number)))
    edge.fine_structure_coeff.free = True


@pytest.mark.parametrize("loss", ["ML-poisson", "ls"])
def test_a_fine_structure(loss, exact):
    def prepare(model):
        fine_structure(model)
        model["C_K"].intensity.free = False
        model["PowerLaw"].r.free = False

    model, _ = make(True, kind="edge", prepare=prepare)
    fit(model, loss)
    exact.compare(model, loss)


def test_a_fine_structure_that_is_multiplied_by_a_free_intensity():
    model, _ = make(True, kind="edge", prepare=fine_structure)
    with pytest.raises(
        NotImplementedError, match=r"C_K is linear in each of intensity, fine_structure_coeff\[0\].*fix"
    ):
        fit(model)


@pytest.mark.parametrize("each", [False, True])
def test_lazy_data(each):
    model, _ = make(each)
    lazy, _ = make(each)
    fit(model, options=FitOptions(mean_first=False, tolerance=1e-10))
    lazy.signal.data = lazy.signal.as_lazy().data.rechunk((2, 50))
    lazy.signal._lazy = True
    lazy.signal._assign_subclass()
    fit(lazy, options=FitOptions(mean_first=False, tolerance=1e-10))
    for c, d in zip(model, lazy, strict=True):
        for p, q in zip(c.parameters, d.parameters, strict=True):
            np.testing.assert_allclose(q.map["values"], p.map["values"], rtol=1e-12)


def test_a_low_loss_that_is_not_finite():
    model, _ = make(False)
    model._low_loss.data[1, 5] = np.nan
    with pytest.raises(ValueError, match=r"low-loss signal.*not finite"):
        fit(model)
