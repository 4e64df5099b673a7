"""Every registered component: its kernel, its gradients, and what survives a file."""

from __future__ import annotations

from importlib import resources

import exspy
import hyperspy.api as hs
import numpy as np
import pytest
import yaml
from hyperspy.extensions import ALL_EXTENSIONS

import hyperspy_assb
from hyperspy_assb import components as own
from hyperspy_assb.components.low_loss import IonisationEdge, KernelComponent
from hyperspy_assb.eels.edges.edge_terms import FIXED_AT_FIRST
from hyperspy_assb.signals import ASSBEELSSpectrum

REGISTERED = yaml.safe_load(resources.files(hyperspy_assb).joinpath("hyperspy_extension.yaml").read_text())[
    "components1D"
]
GEOMETRY = {"beam_energy": 120.0, "convergence_angle": 3.0, "collection_angle": 21.0}
# What a component is made with, none of it a default; every one of these must survive a file.
ARGUMENTS = {
    "L23Edge": [{"element": element, **GEOMETRY} for element in own.L23Edge.elements],
    "M23Edge": [{"element": element, **GEOMETRY} for element in own.M23Edge.elements],
    "M45Edge": [{"element": "Ge", **GEOMETRY}, {"element": "Sr", **GEOMETRY}],
    "N45Edge": [{"element": "La", **GEOMETRY}],
    "LiKEdge": [{"element": "Li", **GEOMETRY}],
    "ValenceContinuum": [{"breaks": [1.5, 6.0, 11.0, 19.0, 30.0, 80.0]}],
}
CASES = [(name, kwargs) for name in REGISTERED for kwargs in ARGUMENTS.get(name, [{}])]
IDS = [f"{name} {kwargs.get('element', '')}".strip() for name, kwargs in CASES]
ENERGY = -20.0 + 0.25 * np.arange(800) + 0.0123


@pytest.fixture(params=CASES, ids=IDS)
def component(request):
    """A component with values that are not its defaults."""
    name, kwargs = request.param
    made = getattr(own, name)(**kwargs)
    for k, parameter in enumerate(made.parameters):
        low = -np.inf if parameter.bmin is None else parameter.bmin
        high = np.inf if parameter.bmax is None else parameter.bmax
        value = parameter.value * 1.02 + 0.003 * (k + 1)
        parameter.value = float(np.clip(value, low, high))
    return made


def signal(shape=(2, 3)):
    s = ASSBEELSSpectrum(np.ones((*shape, ENERGY.size)))
    axis = s.axes_manager.signal_axes[0]
    axis.offset, axis.scale, axis.units = ENERGY[0], 0.25, "eV"
    s.set_microscope_parameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
    return s


def model_of(*components, shape=(2, 3)):
    model = signal(shape).create_model(auto_background=False, auto_add_edges=False)
    model.extend(components)
    return model


def arguments(component):
    """What the component keeps of the arguments it was made with."""
    return {
        name: value[1]
        for name, value in component._whitelist.items()
        if isinstance(value, tuple) and value[0] == "init"
    }


def energies(component):
    """An axis on which the component is not nothing: edges have onsets up to 708 eV."""
    onset = getattr(component, "onset_energy", None)
    return ENERGY if onset is None else ENERGY - ENERGY[0] + onset.value - 60.0 + 0.0123


def test_every_public_component_is_registered():
    public = {name for name in own.__all__ if name != "EDGE_CLASSES"}
    assert set(REGISTERED) == public
    for name, entry in REGISTERED.items():
        assert entry == {"module": "hyperspy_assb.components", "class": name}
        assert ALL_EXTENSIONS["components1D"][name] == entry


# --------------------------------------------------------------------------------------------- values and gradients


def test_the_function_is_the_kernel(component):
    energy = energies(component)
    expected = component.term.shape.evaluate(energy, component.current_values, component.term.constants)[0]
    assert np.any(expected != 0.0)
    np.testing.assert_array_equal(component.function(energy), expected)
    assert component.function(energy[600]).shape == ()
    assert component.function(energy[600]) == expected[600]
    np.testing.assert_array_equal(component.function(energy.reshape(2, -1)), expected.reshape(2, -1))


def test_function_nd_is_a_loop(component, rng):
    maps = [p.value * rng.uniform(0.95, 1.05, (2, 3)) for p in component.parameters]
    out = component.function_nd(ENERGY, maps)
    assert out.shape == (2, 3, ENERGY.size)
    for index in np.ndindex(2, 3):
        for parameter, values in zip(component.parameters, maps, strict=True):
            parameter.bmin = parameter.bmax = None
            parameter.value = float(values[index])
        np.testing.assert_array_equal(out[index], component.function(ENERGY))


def test_function_nd_takes_the_maps_of_a_model(component, rng):
    model = model_of(component)
    maps = []
    for parameter in component.parameters:
        values = parameter.value * rng.uniform(0.99, 1.01, (2, 3))
        parameter.map["values"], parameter.map["is_set"] = values, True
        maps.append(values)
    np.testing.assert_array_equal(model[0].function_nd(ENERGY), component.function_nd(ENERGY, maps))


def test_gradients(component, differentiate):
    start, energy, steps = component.current_values, energies(component), 1e-3
    if isinstance(component, IonisationEdge):  # the curvature of a table jumps at its knots
        count = int(component.term.constants[0])
        knots = component.onset_energy.value + component.term.constants[2 : 2 + count]
        distance = np.abs(energy[:, np.newaxis] - knots).min(axis=1)
        steps = 2e-4
        energy = energy[distance > 3.0 * 5.0 * steps]
        assert energy.size > 500

    def values(theta):
        for parameter, value in zip(component.parameters, theta, strict=True):
            parameter.bmin = parameter.bmax = None
            parameter.value = float(value)
        return component.function(energy)

    for k, parameter in enumerate(component.parameters):
        step = steps * min(max(abs(start[k]), 0.3), 5.0)
        expected = differentiate(values, start, k, step)
        values(start)
        # Central differences of fourth order, good to about 1e-8 of the largest.
        error = np.abs(parameter.grad(energy) - expected).max() / np.abs(expected).max()
        assert error < 1e-6, f"{parameter.name}: {error}"


def test_declared_bounds_units_and_linearity(component):
    for parameter, declared in zip(component.parameters, component.term.shape.parameters, strict=True):
        assert (parameter.bmin, parameter.bmax) == (declared.minimum, declared.maximum)
        assert parameter.units == declared.unit
        assert parameter._linear == declared.linear


# --------------------------------------------------------------------------------------------------------- storage


def test_everything_survives_a_file(component, tmp_path):
    model = model_of(component)
    first, second = component.parameters[0], component.parameters[-1]
    first.free = not first.free
    values = {}
    for k, parameter in enumerate(component.parameters):
        parameter.map["values"] = parameter.value + 1e-3 * (k + 1) * np.arange(6).reshape(2, 3)
        parameter.map["std"], parameter.map["is_set"] = 0.1 * (k + 1), True
        values[parameter.name] = parameter.map.copy()
    kept = arguments(component)
    free = {p.name: p.free for p in component.parameters}
    bounds = {p.name: (p.bmin, p.bmax) for p in component.parameters}
    model.store("fit")
    model.signal.save(tmp_path / "s.hspy")
    loaded = hs.load(tmp_path / "s.hspy")
    assert isinstance(loaded, ASSBEELSSpectrum)
    restored = loaded.models.restore("fit")[0]
    assert type(restored) is type(component)
    assert restored.name == component.name
    assert arguments(restored) == kept
    np.testing.assert_array_equal(restored.term.constants, component.term.constants)
    for parameter in restored.parameters:
        for field in ("values", "std", "is_set"):
            np.testing.assert_array_equal(parameter.map[field], values[parameter.name][field])
        assert parameter.free == free[parameter.name]
        assert (parameter.bmin, parameter.bmax) == bounds[parameter.name]
    np.testing.assert_array_equal(restored.function(ENERGY), component.function(ENERGY))
    assert second.name == restored.parameters[-1].name


def test_slicing_a_model_keeps_the_arguments(component):
    model = model_of(component)
    for parameter in component.parameters:
        parameter.map["values"], parameter.map["is_set"] = parameter.value, True
    sliced = model.inav[1:, 0]
    assert type(sliced[0]) is type(component)
    assert arguments(sliced[0]) == arguments(component)
    np.testing.assert_array_equal(sliced[0].term.constants, component.term.constants)
    assert sliced[0].function(ENERGY) == pytest.approx(component.function(ENERGY), rel=1e-12)


def test_twins_survive_a_file(tmp_path):
    one, two = own.FePO4ValenceBand(), own.FePO4ValenceBand()
    two.name = "second"
    model = model_of(one, two)
    two.fwhm.twin = one.fwhm
    two.fwhm.twin_function_expr = "2 * x"
    one.fwhm.value = 1.5
    assert two.fwhm.value == 3.0
    model.store("fit")
    model.signal.save(tmp_path / "s.hspy")
    restored = hs.load(tmp_path / "s.hspy").models.restore("fit")
    assert restored["second"].fwhm.twin is restored["FePO4ValenceBand"].fwhm
    restored["FePO4ValenceBand"].fwhm.value = 1.0
    assert restored["second"].fwhm.value == 2.0


# ----------------------------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize("cls", own.EDGE_CLASSES)
def test_edges_know_their_elements(cls):
    with pytest.raises(ValueError, match=f"{cls.__name__} knows the elements .*{cls.elements[0]}.*'Xx'"):
        cls("Xx")
    if cls.default is None:
        with pytest.raises(ValueError, match="not None"):
            cls()
    else:
        assert cls().element == cls.default
    edge = cls(cls.elements[-1])
    assert [p.name for p in edge.parameters if not p.free] == list(FIXED_AT_FIRST)
    assert edge.areal_density.free
    assert edge.name == f"{cls.elements[-1]}_{cls.shell.replace(',', '')}"


@pytest.mark.parametrize("wrong", [{"beam_energy": -200.0}, {"collection_angle": 0.0}, {"convergence_angle": -1.0}])
def test_impossible_geometry(wrong):
    with pytest.raises(ValueError, match=r"beam|angle"):
        own.LiKEdge(**wrong)


def test_unknown_parameters_are_named():
    with pytest.raises(ValueError, match=r"no parameter.*'width'"):
        own.LiKEdge(width=3.0)


@pytest.mark.parametrize(("shell", "element"), [("K", "Li"), ("M2,3", "Fe"), ("L2,3", "Al")])
def test_cross_sections_follow_beam_and_angles(shell, element):
    cls = next(c for c in own.EDGE_CLASSES if c.shell == shell)
    energy = np.arange(60.0, 110.0) + (40.0 if element == "Al" else 0.0)

    def mean(beam, convergence, collection):
        edge = cls(element, beam, convergence, collection, peak_ratio=0.0)
        return edge.function(energy).mean()

    # Physics: a larger entrance collects more; all of it is there by the Bethe ridge, 20 mrad and less here.
    small, middle, large = (mean(200.0, 0.1, beta) for beta in (2.0, 5.0, 20.0))
    assert middle / small > 1.2
    assert 1.0 < large / middle < middle / small
    # Small-angle limit: the dipole term ln(1 + (beta / theta_E)^2), theta_E = E / (gamma m0 v^2), Egerton eq. 3.151.
    theta = 80.0 if element != "Al" else 120.0
    theta_e = theta / (511e3 * (1 + 200 / 511) * (1 - (1 + 200 / 511) ** -2)) * 1e3
    dipole = [np.log1p((beta / theta_e) ** 2) for beta in (2.0, 5.0)]
    assert middle / small == pytest.approx(dipole[1] / dipole[0], rel=0.05)
    # A slower electron scatters more, about as 1 / v^2.
    assert mean(80.0, 0.1, 20.0) > 1.4 * mean(200.0, 0.1, 20.0)
    # A convergent beam loses some of it.
    assert mean(200.0, 4.5, 5.0) < mean(200.0, 0.1, 5.0)


def test_the_class_of_all_edges_is_a_kernel_component():
    assert all(issubclass(c, IonisationEdge) and issubclass(c, KernelComponent) for c in own.EDGE_CLASSES)


# ------------------------------------------------------------------------------------------------- against exspy


def test_values_are_those_of_exspy_and_its_gradient_is_wrong(differentiate):
    theirs = exspy.components.VolumePlasmonDrude(intensity=3.0, plasmon_energy=21.0, fwhm=6.0)
    ours = own.VolumePlasmon(intensity=3.0, plasmon_energy=21.0, fwhm=6.0)
    energy = np.linspace(0.5, 80.0, 300)
    # Other program, up to the factor that makes the area 1 in the narrow limit.
    np.testing.assert_allclose(ours.function(energy), 2.0 / (np.pi * 21.0) * theirs.function(energy), rtol=1e-10)
    expected = differentiate(
        lambda theta: own.VolumePlasmon(3.0, 21.0, theta[0]).function(energy), np.array([6.0]), 0, 1e-3
    )
    np.testing.assert_allclose(ours.fwhm.grad(energy), expected, atol=1e-8 * np.abs(expected).max())
    # exspy 0.3.2 lacks a factor of the plasmon energy here: when this fails, exspy has mended it.
    scaled = 2.0 / (np.pi * 21.0) * theirs.grad_fwhm(energy)
    assert np.abs(scaled).max() < 0.1 * np.abs(expected).max()
