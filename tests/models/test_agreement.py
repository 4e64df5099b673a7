"""The batched fit against an exact one, for many models of HyperSpy's and eXSpy's components."""

from __future__ import annotations

from dataclasses import dataclass, field

import exspy
import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.models.multifit import FitOptions

C, X = hs.model.components1D, exspy.components


@dataclass
class Case:
    """A model with its true values and with mean counts per channel to be simulated.

    ``fixed`` are parameters that are not fitted; ``start`` are factors of what others start from, 1.03 by default and
    1.3 for those that are linear.
    """

    make: object
    axis: tuple[float, float, int] = (0.0, 0.1, 200)
    binned: bool = False
    signal: type = hs.signals.Signal1D
    levels: tuple[float, ...] = (3.0, 300.0, 1e5)
    fixed: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    bounds: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def pattern():
    energy = np.arange(-20, 220) * 0.1
    signal = hs.signals.Signal1D(1.0 + np.sin(energy) ** 2 + 0.1 * energy)
    signal.axes_manager[0].offset, signal.axes_manager[0].scale = -2.0, 0.1
    return C.ScalableFixedPattern(signal, interpolate=True)


def line(area, energy):
    out = C.Gaussian(A=area, sigma=0.06, centre=energy)
    out.sigma.free = out.centre.free = False
    return out


def edges(*names):
    return [X.EELSCLEdge(name, GOS="hydrogenic") for name in names]


def vignetting():
    out = X.Vignetting()
    out.height.value, out.optical_center.value, out.period.value = 1.0, 10.0, 3.0
    out.left.value, out.right.value = 0.0, 20.0
    return out


def pes_voigt():
    out = X.PESVoigt()
    out.centre.value, out.FWHM.value, out.gamma.value, out.area.value = 10.0, 1.0, 0.5, 10.0
    return out


COS = ("optical_center", "period", "left", "right", "left_slope", "right_slope", "sigma")
PES = ("centre", "FWHM", "gamma", "resolution", "shirley_background", "non_isochromaticity", "transmission_function")
EDS = exspy.signals.EDSTEMSpectrum
EELS = exspy.signals.EELSSpectrum
CASES = {
    "Gaussian, Offset": Case(lambda: [C.Gaussian(A=10.0, sigma=1.5, centre=9.0), C.Offset(offset=0.5)]),
    "Gaussian binned": Case(lambda: [C.Gaussian(A=10.0, sigma=1.5, centre=9.0), C.Offset(offset=0.5)], binned=True),
    "GaussianHF twice": Case(
        lambda: [
            C.GaussianHF(height=2.0, fwhm=2.0, centre=6.0),
            C.GaussianHF(height=1.0, fwhm=3.0, centre=13.0),
            C.Offset(offset=0.5),
        ]
    ),
    "Lorentzian, Polynomial 1": Case(
        lambda: [C.Lorentzian(A=8.0, gamma=0.8, centre=11.0), C.Polynomial(order=1, a0=1.0, a1=0.05)]
    ),
    "Voigt": Case(
        lambda: [C.Voigt(centre=10.0, area=10.0, gamma=0.7, sigma=0.8), C.Offset(offset=0.3)],
        levels=(100.0, 3e3, 1e5),
    ),
    "Voigt binned": Case(
        lambda: [C.Voigt(centre=10.0, area=10.0, gamma=0.7, sigma=0.8), C.Offset(offset=0.3)],
        binned=True,
        levels=(100.0, 1e5),
    ),
    "PowerLaw": Case(lambda: [C.PowerLaw(A=1e6, r=3.0)], axis=(100.0, 0.5, 300)),
    "PowerLaw EELS": Case(
        lambda: [C.PowerLaw(A=1e6, r=2.6), C.Gaussian(A=10.0, sigma=6.0, centre=180.0)],
        axis=(100.0, 0.5, 300),
        signal=EELS,
        binned=True,
        levels=(100.0, 1e4),
    ),
    "Exponential, Offset": Case(
        lambda: [C.Exponential(A=3.0, tau=5.0), C.Offset(offset=0.2)], levels=(10.0, 300.0, 1e5)
    ),
    "Polynomial 3": Case(lambda: [C.Polynomial(order=3, a0=1.0, a1=0.2, a2=-0.02, a3=0.001)]),
    "Polynomial 2, far from 0": Case(
        lambda: [C.Polynomial(order=2, a0=1.0, a1=1e-3, a2=1e-6)], axis=(500.0, 1.0, 200), levels=(100.0, 1e4)
    ),
    "X-rays": Case(
        lambda: [
            C.Polynomial(order=6, a0=1.0, a1=0.2, a2=-0.01, a3=1e-4, a4=-1e-6, a5=1e-8, a6=1e-9),
            *(line(a, c) for a, c in ((0.5, 3.31), (0.3, 6.4), (0.1, 7.06))),
        ],
        axis=(0.2, 0.05, 300),
        signal=EDS,
        binned=True,
        levels=(30.0, 1e4),
    ),
    "Erf, Offset": Case(lambda: [C.Erf(A=2.0, sigma=1.5, origin=9.0), C.Offset(offset=2.0)]),
    "Arctan, Offset": Case(
        lambda: [C.Arctan(A=1.0, k=1.5, x0=9.0), C.Offset(offset=3.0)],
        bounds={"k": (0.0, None)},
        levels=(30.0, 300.0, 1e5),
    ),
    "HeavisideStep, Offset": Case(lambda: [C.HeavisideStep(A=2.0, n=9.03), C.Offset(offset=1.0)], fixed=("n",)),
    "HeavisideStep on a channel": Case(lambda: [C.HeavisideStep(A=2.0, n=5.0), C.Offset(offset=1.0)], fixed=("n",)),
    "Doniach": Case(
        lambda: [C.Doniach(centre=10.0, A=3.0, sigma=0.8, alpha=0.2), C.Offset(offset=0.3)], levels=(300.0, 1e5)
    ),
    "SkewNormal": Case(
        lambda: [C.SkewNormal(x0=8.0, A=3.0, scale=3.0, shape=2.0), C.Offset(offset=0.3)], levels=(100.0, 1e5)
    ),
    "Logistic, Offset": Case(lambda: [C.Logistic(a=2.0, b=1.0, c=1.2, origin=9.0), C.Offset(offset=1.0)], fixed=("b",)),
    "RC": Case(lambda: [C.RC(Vmax=3.0, V0=1.0, tau=4.0)]),
    "Expression with substitutions": Case(
        lambda: [
            C.Expression("a * exp(-u**2) + b; u = (x - x0) / w", name="Own", a=3.0, b=0.5, x0=9.0, w=2.0),
        ]
    ),
    "Expression with where": Case(
        lambda: [
            C.Expression(
                "where(x < 10.03, a, a + s * (x - 10.03)**2)",
                name="Kink",
                a=1.0,
                s=0.1,
                compute_gradients=False,
                linear_parameter_list=["a", "s"],
                check_parameter_linearity=False,
            ),
            C.Gaussian(A=3.0, sigma=1.0, centre=5.0),
        ]
    ),
    "Expression with functions": Case(
        lambda: [
            C.Expression(
                "A * (1 + erf(k * (x - x0))) * exp(-tanh(x / t)) + B * Abs(x - 5.03)**1.5 + D * sqrt(c**2 + x)",
                name="Mixed",
                module="scipy",
                A=2.0,
                k=0.8,
                x0=9.0,
                t=4.0,
                B=0.05,
                D=1.0,
                c=1.0,
            )
        ],
        fixed=("t", "c"),
        levels=(100.0, 1e5),
    ),
    "ScalableFixedPattern": Case(
        lambda: [pattern(), C.Gaussian(A=3.0, sigma=1.0, centre=5.0)], fixed=("xscale", "shift")
    ),
    "VolumePlasmonDrude": Case(
        lambda: [X.VolumePlasmonDrude(intensity=2.0, plasmon_energy=18.0, fwhm=5.0), C.Offset(offset=0.1)],
        axis=(5.0, 0.2, 200),
        signal=EELS,
        binned=True,
    ),
    "DoublePowerLaw": Case(
        lambda: [X.DoublePowerLaw(A=1e5, r=2.7, shift=20.0, ratio=0.5)],
        axis=(120.0, 1.0, 200),
        fixed=("origin", "shift", "ratio", "left_cutoff"),
    ),
    "EELSArctan": Case(
        lambda: [X.EELSArctan(A=1.0, k=1.5, x0=9.0), C.Offset(offset=1.0)],
        bounds={"k": (0.0, None)},
        levels=(30.0, 300.0, 1e5),
    ),
    "SEE": Case(
        lambda: [X.SEE(A=200.0, Phi=-0.03, B=3.0), C.Offset(offset=0.1)], fixed=("Phi",), levels=(30.0, 300.0, 1e5)
    ),
    "Edges": Case(
        lambda: [C.PowerLaw(A=1e8, r=3.0), *edges("C_K", "O_K")],
        axis=(240.0, 2.0, 220),
        signal=EELS,
        binned=True,
        levels=(100.0, 1e4),
    ),
    "Li edge": Case(
        lambda: [C.PowerLaw(A=1e5, r=2.5), *edges("Li_K")], axis=(40.0, 0.5, 100), signal=EELS, levels=(100.0, 1e4)
    ),
    "Vignetting": Case(lambda: [vignetting(), C.Gaussian(A=3.0, sigma=1.0, centre=8.0)], fixed=COS, linear=("height",)),
    "PESVoigt": Case(lambda: [pes_voigt(), C.Offset(offset=0.3)], fixed=PES, linear=("area",)),
    "PESCoreLineShape": Case(
        lambda: [X.PESCoreLineShape(A=3.0, FWHM=2.0, origin=9.0), C.Lorentzian(A=3.0, gamma=0.8, centre=14.0)],
        fixed=("FWHM", "origin", "ab", "shirley"),
        linear=("A",),
        levels=(30.0, 1e5),
    ),
    "SplitVoigt": Case(
        lambda: [C.SplitVoigt(A=5.0, sigma1=1.0, sigma2=2.0, fraction=0.3, centre=9.0), C.Polynomial(order=1, a0=0.5)],
        fixed=("sigma1", "sigma2", "fraction", "centre"),
        linear=("A",),
    ),
}


def components_of(case):
    made = case.make()
    for component in made:
        for parameter in component.parameters:
            if parameter.name in case.fixed and component is made[0]:
                parameter.free = False
            if parameter.name in case.linear:
                parameter._linear = True  # which these components do not say
            if parameter.name in case.bounds:
                parameter.bmin, parameter.bmax = case.bounds[parameter.name]
    return made


def build(case, seed=3):
    """The model, started near the truth, with Poisson counts; and true values of its free parameters."""
    offset, scale, size = case.axis
    signal = case.signal(np.zeros((len(case.levels), size)))
    axis = signal.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.is_binned = offset, scale, case.binned
    if case.signal is EELS:
        signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=10.0, collection_angle=30.0)
        model = signal.create_model(auto_background=False, auto_add_edges=False)
    elif case.signal is EDS:
        signal.set_microscope_parameters(beam_energy=200.0)
        model = signal.create_model(auto_background=False, auto_add_lines=False)
    else:
        model = signal.create_model()
    made = components_of(case)
    kept = [(p, p.value) for c in made for p in c.parameters if p.name != "fine_structure_coeff"]
    model.extend(made)
    for p, value in kept:  # eXSpy estimates what stands below an edge
        if p.name != "effective_angle":
            p.value = value
            p.map["is_set"] = False
    if made[0].name == "PowerLaw":  # the edges are as high as the background where they begin
        for edge in made[1:]:
            if isinstance(edge, X.EELSCLEdge):
                onset = np.array([edge.onset_energy.value + 4.0])
                edge.intensity.value *= 0.5 * made[0].function(onset)[0] / edge.function(onset)[0]
    linear = [p for c in model for p in c.free_parameters if p._linear]
    others = [p for c in model for p in c.free_parameters if not p._linear]
    mean = sum(c.function(axis.axis) for c in model) * (scale if case.binned else 1.0)
    assert np.all(mean > 0)
    rng = np.random.default_rng(seed)
    factors = [level / mean.mean() for level in case.levels]
    signal.data[:] = [rng.poisson(mean * factor) for factor in factors]
    order = [p for c in model for p in c.parameters if p.free]
    truth = [[p.value * factor if p in linear else p.value for p in order] for factor in factors]
    for p in linear:
        p.value *= 1.3
    for p in others:
        p.value *= 1.03
    return model, truth


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ML-poisson", "ls", "ls weighted"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_exact_fit(name, loss, exact):
    model, truth = build(CASES[name])
    variance = None
    if loss == "ls weighted":
        variance = np.maximum(model.signal.data, 1.0)
        model.signal.set_noise_variance(hs.signals.Signal1D(variance))
    loss = loss.split()[0]
    hyperspy_assb.multifit(model, loss_function=loss, options=FitOptions(tolerance=1e-10), show_progressbar=False)
    exact.compare(model, loss, truth, variance=variance)
