"""What the fit engine is measured on: counts drawn without its kernels, and HyperSpy models that describe them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import voigt_profile

FloatArray = NDArray[np.float64]

FIRST, LAST = -5.0, 95.0
CHANNELS = 1000
LITHIUM, ALUMINIUM = 55.0, 75.0
"""Onsets in eV."""

NAMES = (
    "zero loss area",
    "zero loss centre",
    "zero loss sigma",
    "zero loss gamma",
    "plasmon intensity",
    "plasmon energy",
    "plasmon fwhm",
    "Gaussian A",
    "Gaussian centre",
    "Gaussian sigma",
    "Li K intensity",
    "Al L2,3 intensity",
)
TRUTH = np.array([5.5e5, 0.03, 0.25, 0.10, 1.05e4, 22.0, 4.5, 3.0e4, 5.0, 0.8, 5.0e4, 4.0e4])
"""One spectrum of 1e6 counts; amplitudes are counts, that of the plasmon is counts per eV."""
START = np.array([4.0e5, 0.0, 0.35, 0.16, 1.4e4, 20.8, 6.0, 2.0e4, 5.4, 1.1, 2.5e4, 2.0e4])
"""What one would type in: the same for all pixels and for all who fit."""
LOWER = np.array([0.0, -np.inf, 0.0, 0.0, -np.inf, -np.inf, -np.inf, 0.0, -np.inf, 0.0, 0.0, -np.inf])
"""Bounds that the HyperSpy components have by themselves."""
AMPLITUDES = [0, 4, 7, 10, 11]


def energy_axis(channels: int = CHANNELS, width: float | None = None) -> FloatArray:
    """Centres of the channels in eV; ``width`` is that of a channel, by default such that the range stays."""
    width = (LAST - FIRST) / channels if width is None else width
    return FIRST + width * (np.arange(channels) + 0.5)


def channel_width(energy: FloatArray) -> float:
    """Width of a channel in eV."""
    return float(energy[-1] - energy[0]) / (energy.size - 1)


# ---------------------------------------------------------------------------------------------------------------------
# Scene A: zero loss, plasmon, a Gaussian and two edges, 12 free parameters
# ---------------------------------------------------------------------------------------------------------------------
def _delayed_edge(energy: FloatArray) -> FloatArray:
    """An edge that rises within 8 eV, then falls with a power of the energy."""
    above = np.maximum(energy, ALUMINIUM)
    return (energy >= ALUMINIUM) * (1.0 - 0.7 * np.exp(-(above - ALUMINIUM) / 4.0)) * (above / ALUMINIUM) ** -3.0


@cache
def _delayed_edge_area() -> float:
    return float(_delayed_edge(np.arange(ALUMINIUM, LAST, 1e-3)).sum() * 1e-3)


def aluminium_edge(energy: FloatArray) -> FloatArray:
    """Delayed edge of unit area up to 95 eV."""
    return _delayed_edge(energy) / _delayed_edge_area()


def _lithium_component() -> Any:
    """exSpy's hydrogenic Li K edge, which needs no table from the network."""
    from exspy.components import EELSCLEdge

    return EELSCLEdge("Li_K", GOS="hydrogenic")


@cache
def _lithium_shape(first: float, width: float, channels: int) -> FloatArray:
    """Li K edge of exSpy with intensity 1 on an axis."""
    axis = first + width * np.arange(channels)
    signal = empty_spectrum(axis)
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    edge = _lithium_component()
    model.append(edge)
    return np.array(edge.function(axis), dtype=float)


def lithium_edge(energy: FloatArray) -> FloatArray:
    """Li K edge per unit of ``intensity`` of the component."""
    return _lithium_shape(float(energy[0]), channel_width(energy), energy.size)


@cache
def lithium_area() -> float:
    """Area of the Li K edge with intensity 1, up to 95 eV."""
    return float(lithium_edge(energy_axis(10_000)).sum() * (LAST - FIRST) / 10_000)


def drude(energy: FloatArray, position: Any, fwhm: Any) -> FloatArray:
    """Energy loss function of a Drude metal, as the component VolumePlasmonDrude has it."""
    e = np.maximum(energy, 0.0)
    return position**2 * e * fwhm / ((e**2 - position**2) ** 2 + (e * fwhm) ** 2)


def expectation(energy: FloatArray, parameters: FloatArray) -> FloatArray:
    """Expected counts per channel, shape (..., E), of parameters of shape (..., 12), with amplitudes in counts."""
    p = [column[..., np.newaxis] for column in np.moveaxis(np.asarray(parameters), -1, 0)]
    density = p[0] * voigt_profile(energy - p[1], p[2], p[3])
    density = density + p[4] * drude(energy, p[5], p[6])
    density += p[7] * np.exp(-0.5 * ((energy - p[8]) / p[9]) ** 2) / (np.sqrt(2 * np.pi) * p[9])
    density += p[10] * lithium_edge(energy) / lithium_area() + p[11] * aluminium_edge(energy)
    return density * channel_width(energy)


def varied_truth(count: int, rng: np.random.Generator, side: int = 64) -> FloatArray:
    """Parameters of ``count`` pixels: amplitudes vary smoothly within 30 %, the zero loss moves by 0.05 eV."""
    truth = np.tile(TRUTH, (count, 1))
    row, column = np.divmod(np.arange(count), side)
    for k, index in enumerate(AMPLITUDES):
        phase = rng.uniform(0, 2 * np.pi, 2)
        waves = np.sin(2 * np.pi * row / side * (1 + k / 3) + phase[0]) + np.cos(2 * np.pi * column / side + phase[1])
        truth[:, index] *= 1.0 + 0.15 * waves
    truth[:, 1] = rng.normal(0.0, 0.05, count)
    return truth


def draw(energy: FloatArray, truth: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Poisson counts of scene A, in parts to keep memory low."""
    out = np.empty((len(truth), energy.size), dtype=np.float32)
    for first in range(0, len(truth), 1024):
        part = slice(first, first + 1024)
        out[part] = rng.poisson(expectation(energy, truth[part]))
    return out


# ---------------------------------------------------------------------------------------------------------------------
# HyperSpy models
# ---------------------------------------------------------------------------------------------------------------------
def quiet() -> None:
    """Nothing of the deprecations and conversions inside HyperSpy and exSpy into the table."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _scale_axis(signal: Any, energy: FloatArray) -> None:
    axis = signal.axes_manager[-1]
    axis.offset, axis.scale = float(energy[0]), channel_width(energy)
    axis.name, axis.units = "Energy loss", "eV"


def empty_spectrum(energy: FloatArray, data: Any = None) -> Any:
    """An EELS signal at 200 kV; ones where there are no data."""
    import exspy

    signal = exspy.signals.EELSSpectrum(np.ones(energy.size) if data is None else data)
    _scale_axis(signal, energy)
    signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=10.0, collection_angle=20.0)
    return signal


def fixed_pattern(energy: FloatArray, density: FloatArray) -> Any:
    """A ScalableFixedPattern of which only the height is free."""
    import hyperspy.api as hs

    pattern = hs.signals.Signal1D(density)
    _scale_axis(pattern, energy)
    return hs.model.components1D.ScalableFixedPattern(pattern, interpolate=False)


def low_loss_model(signal: Any) -> Any:
    """Scene A's model of an EELS signal, at the common starting values in every pixel."""
    import hyperspy.api as hs
    from exspy.components import VolumePlasmonDrude

    energy = signal.axes_manager[-1].axis
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    components = hs.model.components1D
    zero_loss = components.Voigt()
    edge, pattern = _lithium_component(), fixed_pattern(energy, aluminium_edge(energy))
    for component, name in (
        (zero_loss, "zero_loss"),
        (VolumePlasmonDrude(), "plasmon"),
        (components.Gaussian(), "gaussian"),
        (edge, "lithium"),
        (pattern, "aluminium"),
    ):
        component.name = name
        model.append(component)
    set_values(model, START)
    return model


def parameters_of(model: Any) -> list[Any]:
    """Free parameters of scene A in the order of :data:`NAMES`."""
    z, p, g, li, al = model
    return [
        z.area, z.centre, z.sigma, z.gamma, p.intensity, p.plasmon_energy, p.fwhm, g.A, g.centre, g.sigma,
        li.intensity, al.yscale,
    ]  # fmt: skip


def units() -> FloatArray:
    """Counts per unit of each parameter of the model: the edge is an intensity there, and an area here."""
    out = np.ones(len(NAMES))
    out[10] = lithium_area()
    return out


def set_values(model: Any, values: FloatArray) -> None:
    """The same values in all pixels of scene A."""
    for parameter, value in zip(parameters_of(model), values / units(), strict=True):
        parameter.value = float(value)
    store_everywhere(model)


def store_everywhere(model: Any) -> None:
    """Make the current values those of all pixels, as starting values."""
    for component in model:
        for parameter in component.parameters:
            if parameter.map is not None and parameter._number_of_elements == 1:
                parameter.assign_current_value_to_all()


def free_values(model: Any, field: str = "values") -> FloatArray:
    """Values or standard errors of all free parameters of any model, shape (S, F)."""
    free = [p for component in model for p in component.parameters if p.free]
    return np.stack([np.ravel(p.map[field]) for p in free], axis=-1)


def fitted(model: Any, field: str = "values") -> FloatArray:
    """Values or standard errors of scene A's parameters in its own units, shape (S, 12)."""
    columns = [np.ravel(p.map[field]) for p in parameters_of(model)]
    return np.stack(columns, axis=-1) * units()


def add_poisson_variance(signal: Any) -> None:
    """HyperSpy's own estimate: the variance is the counts; at least one, for a weight must be finite."""

    signal.estimate_poissonian_noise_variance()
    variance = signal.get_noise_variance().deepcopy()
    variance.data = np.maximum(variance.data, 1.0).astype(np.float32)

    signal.set_noise_variance(variance)


# ---------------------------------------------------------------------------------------------------------------------
# Scenes B and C
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Scene:
    """Counts, how to make a HyperSpy model of a signal of them, and how to reset it to the starting values.

    Parameters
    ----------
    counts
        Shape (S, E).
    energy
        Shape (E,).
    build
        Model of a signal, at the starting values.
    reset
        Back to the starting values.
    make_signal
        Signal of energies and data.
    variance
        Of the counts, shape (S, E); Poisson where there is none.
    truth
        True parameters of scene A, shape (S, 12).
    """

    counts: NDArray[np.float32]
    energy: FloatArray
    build: Callable[[Any], Any]
    reset: Callable[[Any], None]
    make_signal: Callable[[FloatArray, Any], Any]
    variance: NDArray[np.float32] | None = None
    truth: FloatArray | None = None

    def model(self, count: int | None = None, *, weights: bool = False) -> Any:
        """Model of the first ``count`` spectra; ``weights`` adds their variance to the metadata."""
        import hyperspy.api as hs

        counts = self.counts[:count]
        side = int(np.sqrt(len(counts)))
        shape = (side, side) if side * side == len(counts) else (len(counts),)
        signal = self.make_signal(self.energy, counts.reshape(*shape, self.energy.size))
        if self.variance is not None:
            variance = hs.signals.Signal1D(self.variance[:count].reshape(signal.data.shape))
            _scale_axis(variance, self.energy)
            signal.set_noise_variance(variance)
        elif weights:
            add_poisson_variance(signal)
        return self.build(signal)


def scene_a(count: int = 4096, channels: int = CHANNELS, seed: int = 1) -> Scene:
    """12 free parameters, 8 of them not linear."""
    rng = np.random.default_rng(seed)
    energy = energy_axis(channels)
    truth = varied_truth(count, rng)
    counts = draw(energy, truth, rng)
    return Scene(counts, energy, low_loss_model, lambda model: set_values(model, START), empty_spectrum, truth=truth)


def plain_spectrum(energy: FloatArray, data: Any) -> Any:
    """A HyperSpy signal of no type."""
    import hyperspy.api as hs

    signal = hs.signals.Signal1D(data)
    _scale_axis(signal, energy)
    return signal


GAUSSIANS = {"A": (6.0, 1.0), "B": (10.0, 1.8), "C": (15.0, 2.5)}
FIXED_HEIGHT = 200.0


def _columns_b(energy: FloatArray) -> list[FloatArray]:
    """Four patterns: a plasmon, two edges and a constant, each of the order of one."""
    lithium, constant = lithium_edge(energy), np.full(energy.size, 0.1)
    return [drude(energy, 22.0, 4.5) / 5, lithium / lithium.max(), aluminium_edge(energy) * 20, constant]


def _gauss(energy: FloatArray, centre: Any, sigma: Any) -> FloatArray:
    return np.exp(-0.5 * ((energy - centre) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)


def model_b(signal: Any) -> Any:
    """A Gaussian zero loss of which all is free, three Gaussians of fixed shape and four patterns."""
    import hyperspy.api as hs

    energy = signal.axes_manager[-1].axis
    model = signal.create_model()
    zero_loss = hs.model.components1D.Gaussian(A=6e4, sigma=0.5, centre=0.0)
    zero_loss.name = "zero_loss"
    model.append(zero_loss)
    for name, (centre, sigma) in GAUSSIANS.items():
        model.append(fixed_gaussian(name, centre, sigma))
    for index, column in enumerate(_columns_b(energy)):
        pattern = fixed_pattern(energy, column)
        pattern.name = f"pattern_{index}"
        model.append(pattern)
    reset_b(model)
    return model


def fixed_gaussian(name: str, centre: float, sigma: float) -> Any:
    """A Gaussian of which only the area is free."""
    import hyperspy.api as hs

    component = hs.model.components1D.Gaussian(A=100.0, sigma=sigma, centre=centre)
    component.centre.free = component.sigma.free = False
    component.name = name
    return component


def reset_b(model: Any) -> None:
    """Starting values of scene B."""
    zero_loss = model["zero_loss"]
    zero_loss.A.value, zero_loss.centre.value, zero_loss.sigma.value = 6e4, 0.0, 0.5
    for component in list(model)[1:]:
        parameter = component.A if hasattr(component, "A") else component.yscale
        parameter.value = 100.0
    store_everywhere(model)


def scene_b(count: int = 20_000, seed: int = 2) -> Scene:
    """2 parameters that are not linear and 8 that are."""
    rng = np.random.default_rng(seed)
    energy = energy_axis()
    columns = [_gauss(energy, *shape) * 4.0 * shape[1] for shape in GAUSSIANS.values()] + _columns_b(energy)
    counts = np.empty((count, energy.size), dtype=np.float32)
    for first in range(0, count, 1024):
        part = counts[first : first + 1024]
        centre, sigma = rng.normal(0, 0.05, (len(part), 1)), rng.uniform(0.36, 0.44, (len(part), 1))
        heights = FIXED_HEIGHT * rng.uniform(0.7, 1.3, (len(part), len(columns)))
        area = 8e4 * rng.uniform(0.7, 1.3, (len(part), 1))
        part[...] = rng.poisson(area * _gauss(energy, centre, sigma) + heights @ np.array(columns))
    return Scene(counts, energy, model_b, reset_b, plain_spectrum)


LINES = {"A": (10.0, 3.0), "B": (25.0, 4.0), "C": (50.0, 6.0), "D": (75.0, 5.0)}


def columns_c(energy: FloatArray) -> FloatArray:
    """Columns of scene C, shape (5, E)."""
    return np.array([_gauss(energy, *shape) for shape in LINES.values()] + [np.ones(energy.size)])


def model_c(signal: Any) -> Any:
    """Four Gaussians of fixed shape and a constant."""
    import hyperspy.api as hs

    model = signal.create_model()
    model.extend([fixed_gaussian(name, *shape) for name, shape in LINES.items()])
    model.append(hs.model.components1D.Offset())
    reset_c(model)
    return model


def reset_c(model: Any) -> None:
    """Starting values of scene C; a linear fit does not need them."""
    for component in model:
        parameter = component.A if hasattr(component, "A") else component.offset
        parameter.value = 1.0
    store_everywhere(model)


def scene_c(count: int = 30_000, seed: int = 3) -> Scene:
    """5 linear parameters; the noise differs in every channel of every pixel."""
    rng = np.random.default_rng(seed)
    energy = energy_axis()
    columns = columns_c(energy)
    counts = np.empty((count, energy.size), dtype=np.float32)
    variance = np.empty_like(counts)
    for first in range(0, count, 1024):
        part = slice(first, first + 1024)
        size = len(counts[part])
        areas = np.array([2e3, 3e3, 4e3, 3e3, 50.0]) * rng.uniform(0.7, 1.3, (size, 5))
        mean = areas @ columns
        variance[part] = mean * rng.uniform(0.5, 2.0, mean.shape)
        counts[part] = mean + np.sqrt(variance[part]) * rng.standard_normal(mean.shape, dtype=np.float32)
    return Scene(counts, energy, model_c, reset_c, plain_spectrum, variance)
