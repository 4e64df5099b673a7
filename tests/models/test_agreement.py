"""The batched fit against SciPy, for models of HyperSpy's and exspy's components.

The other side takes its values from ``component.function`` and its derivatives from differences of them; counts are
drawn from ``component.function`` at the true parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import exspy
import hyperspy.api as hs
import numpy as np
import pytest
from scipy.optimize import least_squares, root

import hyperspy_assb
from hyperspy_assb.fitting.solvers import SolverOptions

C = hs.model.components1D
E = exspy.components
AGREEMENT = 1e-4
"""Largest difference from SciPy, in standard errors."""


@dataclass(frozen=True)
class Case:
    """Components at the truth, an energy axis, how far off the start is, and what is fixed."""

    build: Callable[[], list]
    offset: float = 0.0
    scale: float = 0.1
    size: int = 300
    off: float = 0.05
    fixed: tuple[str, ...] = ()
    signal_type: str = ""
    binned: bool = False
    loss_functions: tuple[str, ...] = ("ML-poisson", "ls")
    settings: dict = field(default_factory=dict)


def pattern(name, values):
    """A fixed pattern on the axis of the case, of which only the height is free."""
    signal = hs.signals.Signal1D(values)
    signal.axes_manager[-1].scale = 0.1
    component = C.ScalableFixedPattern(signal)
    component.name = name
    component.yscale.value = 300.0
    component.shift.free = component.xscale.free = False
    return component


def edge(element, intensity):
    component = E.EELSCLEdge(element, GOS="hydrogenic")
    component.intensity.value = intensity
    return component


def ramp():
    """A saturating ramp above a fixed energy; HyperSpy finds neither its derivatives nor what it is linear in."""
    return C.Expression(
        "b + where(x > 12, a*(1 - exp(-(x - 12)/tau)), 0)",
        name="own",
        a=700.0,
        b=90.0,
        tau=3.0,
        compute_gradients=False,
        check_parameter_linearity=False,
    )


X = 0.1 * np.arange(300)
CASES = {
    "Gaussian on a constant": Case(lambda: [C.Gaussian(A=900, centre=14, sigma=1.5), C.Offset(20)]),
    "two GaussianHF, overlapping": Case(
        lambda: [
            C.GaussianHF(height=300, centre=12, fwhm=4),
            C.GaussianHF(height=200, centre=16.5, fwhm=3),
            C.Offset(9),
        ]
    ),
    "Lorentzian, binned": Case(lambda: [C.Lorentzian(A=9e3, centre=14, gamma=1.2), C.Offset(200)], binned=True),
    "Voigt": Case(lambda: [C.Voigt(area=3000, centre=15, gamma=0.8, sigma=0.6), C.Offset(15)]),
    "PowerLaw": Case(lambda: [C.PowerLaw(A=4e5, r=2.2)], offset=20.0, fixed=("origin", "left_cutoff")),
    "Exponential on a line": Case(lambda: [C.Exponential(A=800, tau=5), C.Polynomial(order=1, a0=30, a1=0.5)]),
    "Polynomial of order 3": Case(lambda: [C.Polynomial(order=3, a0=300, a1=20, a2=-2, a3=0.04)]),
    "error function": Case(lambda: [C.Erf(A=500, sigma=1.4, origin=13), C.Offset(400)]),
    "arctangent": Case(lambda: [C.Arctan(A=200, k=1.3, x0=14), C.Offset(500)]),
    "step at a fixed place": Case(lambda: [C.HeavisideStep(A=120, n=14.05), C.Offset(80)], fixed=("n",)),
    "Doniach": Case(lambda: [C.Doniach(centre=15, A=900, sigma=1.1, alpha=0.15), C.Offset(60)], off=0.02, fixed=()),
    "skew normal": Case(lambda: [C.SkewNormal(x0=11, A=4000, scale=4, shape=3), C.Offset(30)], off=0.02),
    "logistic": Case(lambda: [C.Logistic(a=600, b=20, c=1.1, origin=9), C.Offset(50)], off=0.02, fixed=("origin",)),
    "RC": Case(lambda: [C.RC(Vmax=700, V0=60, tau=6)]),
    "Expression with substitutions": Case(
        lambda: [
            C.Expression("a*u*exp(-u) + b; u = (x + 1)/tau", name="own", a=2000.0, b=50.0, tau=4.0),
        ]
    ),
    "Expression with where": Case(lambda: [ramp()]),
    "fixed patterns": Case(
        lambda: [
            pattern("one", np.exp(-0.5 * ((X - 9) / 2) ** 2)),
            pattern("two", np.exp(-0.5 * ((X - 13) / 3) ** 2)),
            C.Offset(40),
        ]
    ),
    "Drude plasmon under a Gaussian": Case(
        lambda: [
            E.VolumePlasmonDrude(intensity=9e3, plasmon_energy=15, fwhm=4),
            C.Gaussian(A=900, centre=6, sigma=1.2),
            C.Offset(20),
        ],
        offset=1.0,
        signal_type="EELS",
        binned=True,
    ),
    "DoublePowerLaw": Case(
        lambda: [E.DoublePowerLaw(A=3e5, r=1.6, shift=28, ratio=2.0)],
        offset=30.0,
        scale=0.5,
        fixed=("origin", "left_cutoff", "shift"),
        off=0.02,
    ),
    "EELS arctangent and Gaussian": Case(
        lambda: [E.EELSArctan(A=150, k=1.5, x0=11), C.Gaussian(A=700, centre=13, sigma=1), C.Offset(50)]
    ),
    "secondary electrons": Case(lambda: [E.SEE(A=9e4, Phi=-0.5, B=5), C.Offset(20)], fixed=("Phi",)),
    "core-loss edge on a power law": Case(
        lambda: [C.PowerLaw(A=3e9, r=2.9), edge("C_K", 60.0)],
        offset=220.0,
        scale=0.5,
        fixed=("origin", "left_cutoff", "onset_energy", "fine_structure_coeff", "effective_angle"),
        signal_type="EELS",
        binned=True,
    ),
    "lines of a spectrometer": Case(
        lambda: [
            C.Gaussian(A=60, centre=8, sigma=0.5),
            C.Gaussian(A=20, centre=9.2, sigma=0.5),
            C.Polynomial(order=2, a0=9, a1=-0.2, a2=0.005),
        ],
        fixed=(),
        loss_functions=("ML-poisson",),  # a few counts a channel
    ),
}


def make(case: Case, rng, spectra: int = 3):
    """A model at its starting values, and the counts and expectation of its signal."""
    signal = hs.signals.Signal1D(np.zeros((spectra, case.size)))
    axis = signal.axes_manager[-1]
    axis.offset, axis.scale, axis.is_binned, axis.units = case.offset, case.scale, case.binned, "eV"
    if case.signal_type:
        signal.set_signal_type(case.signal_type)
        signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=10.0, collection_angle=20.0)
    automatic = {"auto_background": False, "auto_add_edges": False} if case.signal_type == "EELS" else {}
    model = signal.create_model(**automatic)
    model.extend(case.build())
    width = axis.scale if case.binned else 1.0
    mean = width * sum(np.broadcast_to(c.function(axis.axis), axis.axis.shape) for c in model)
    assert mean.min() > 0
    signal.data[:] = rng.poisson(mean, (spectra, mean.size))
    for component in model:
        for parameter in component.parameters:
            if parameter.name in case.fixed:
                parameter.free = False
            elif parameter.free:
                parameter.value *= 1.0 + case.off * rng.choice([-1.0, 1.0])
    return model, mean


def free_parameters(model):
    return [p for c in model for p in c.parameters if p.free]


def expectation(model, parameters, values):
    """By HyperSpy's components."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.value = float(value)
    axis = model.axis
    width = axis.scale if axis.is_binned else 1.0
    return width * sum(np.broadcast_to(c.function(axis.axis), axis.axis.shape) for c in model)


def derivatives(model, parameters, values, std):
    """Differences of fourth order, with steps of a tenth of the standard error, extrapolated once."""

    def slope(k, h):
        step = h * std[k] * (np.arange(values.size) == k)
        f = [expectation(model, parameters, values + j * step) for j in (-2, -1, 1, 2)]
        return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h * std[k])

    return np.array([(16 * slope(k, 0.05) - slope(k, 0.1)) / 15 for k in range(values.size)])


def scipy_fit(model, counts, start, std, weights):
    """The minimum by SciPy: least squares, or the zero of the score of the Poisson likelihood."""
    parameters = free_parameters(model)

    def mean(u):
        return expectation(model, parameters, start + u * std)

    def jacobian(u):
        return derivatives(model, parameters, start + u * std, std) * std[:, np.newaxis]

    if weights is not None:
        found = least_squares(
            lambda u: (mean(u) - counts) * np.sqrt(weights),
            np.zeros(start.size),
            jac=lambda u: (jacobian(u) * np.sqrt(weights)).T,
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-12,
            max_nfev=200,
        )
        return start + found.x * std
    found = root(
        lambda u: jacobian(u) @ (counts / mean(u) - 1.0),
        np.zeros(start.size),
        jac=lambda u: -(jacobian(u) / mean(u)) @ jacobian(u).T,
        options={"xtol": 1e-13},
    )
    assert np.abs(found.fun).max() < 1e-7, "SciPy did not converge"
    return start + found.x * std


@pytest.mark.parametrize(("name", "loss_function"), [(n, f) for n, c in CASES.items() for f in c.loss_functions])
def test_agreement_with_scipy(name, loss_function, rng):
    case = CASES[name]
    model, mean = make(case, rng)
    if loss_function == "ls":
        model.signal.set_noise_variance(hs.signals.Signal1D(np.broadcast_to(mean, model.signal.data.shape).copy()))
    result = hyperspy_assb.multifit(
        model, loss_function=loss_function, show_progressbar=False, options=SolverOptions(workers=1)
    )
    assert result.usable.all()
    parameters = free_parameters(model)
    for row in range(len(result.status)):
        own = np.array([p.map["values"][row] for p in parameters])
        std = np.array([p.map["std"][row] for p in parameters])
        assert np.all(std > 0)
        weights = 1.0 / mean if loss_function == "ls" else None
        # SciPy starts half a standard error away.
        start = own + 0.5 * std * rng.choice([-1.0, 1.0], own.size) / np.sqrt(own.size)
        other = scipy_fit(model, model.signal.data[row], start, std, weights)
        np.testing.assert_array_less(np.abs(own - other) / std, AGREEMENT)
        # Standard errors from the expected information there.
        slopes = derivatives(model, parameters, other, std)
        known = 1.0 / expectation(model, parameters, other) if weights is None else weights
        information = (slopes * known) @ slopes.T
        scale = np.sqrt(np.diag(information))
        inverse = np.linalg.inv(information / np.outer(scale, scale)) / np.outer(scale, scale)
        np.testing.assert_allclose(std, np.sqrt(np.diag(inverse)), rtol=1e-3)
