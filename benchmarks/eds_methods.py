"""The analyses that the benchmark of X-rays judges: ours, and exspy's for comparison."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from hyperspy_assb.eds.composition.atoms import quantify_elements
from hyperspy_assb.eds.composition.scene import Scene, prepare_scene
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.interfaces.interface_changes import compare_interfaces
from hyperspy_assb.eds.interfaces.interface_width import InterfaceFit, fit_interface
from hyperspy_assb.eds.interfaces.profiles import bin_pixels, profile_of
from hyperspy_assb.eds.lines.column_spectra import Builder, make_builder
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS, FOREIGN_ELEMENTS
from hyperspy_assb.eds.phases.stoichiometry import PhaseOptions, quantify_phases
from hyperspy_assb.signals.eds.map_reading import read_map

LINES = [
    "Al_Ka",
    "Au_Ma",
    "C_Ka",
    "Cu_Ka",
    "Cu_La",
    "Fe_Ka",
    "Fe_La",
    "Ga_Ka",
    "Ga_La",
    "Ge_Ka",
    "Ge_La",
    "O_Ka",
    "P_Ka",
    "Pt_La",
    "Pt_Ma",
    "Si_Ka",
    "V_Ka",
    "V_La",
]
RANGE = (0.18, 15.0)  # keV
CARBON_DENSITY = 2.08  # g/cm^3, of the virtual battery
NAMES = {"LVP": "Li3V2(PO4)3"}


def model(signal):
    """exspy's own model of the lines of the battery: Gaussians of fixed energy and width, polynomial background."""
    signal = signal.deepcopy() if not signal._lazy else signal
    signal.set_signal_type("EDS_TEM")
    signal.set_lines(LINES)
    return signal.isig[RANGE[0] : RANGE[1]].create_model()


def _intensities(made) -> dict[str, np.ndarray]:
    return {s.metadata.Sample.xray_lines[0]: s.data.squeeze() for s in made.get_lines_intensity()}


def exspy_line_counts(signal, optimizer: str) -> tuple[dict[str, np.ndarray], float]:
    """Counts of every line by exspy's `multifit`, and seconds for a pixel."""
    made = model(signal)
    start = time.perf_counter()
    made.multifit(optimizer=optimizer, show_progressbar=False)
    seconds = (time.perf_counter() - start) / signal.axes_manager.navigation_size
    return _intensities(made), seconds


def _builder(signal, factors: dict[str, float] | None = None) -> Builder:
    """What the methods of the signal build their models from."""
    return make_builder(read_map(signal), EDSOptions(k_factors=factors, fit_range=RANGE))


def line_counts(signal) -> dict[str, np.ndarray]:
    """Counts of every line by our fit of the same lines, all free, with a continuum of free height at its nodes."""
    builder = _builder(signal)
    families = [line.full_name for line in builder.seen if line.name == line.family]
    built = builder.build({}, families)
    size = signal.axes_manager.navigation_size
    spectra = signal.data.reshape(size, -1)
    total = np.asarray(spectra.sum(axis=0), dtype=float)
    start = built.model.guess(total[builder.channels]) / size
    found = replace(built, typical=start).fit(spectra)
    shape = signal.data.shape[:-1]
    return {name: found.unclipped[:, i].reshape(shape) for i, name in enumerate(families)}


def _scene(signal, factors: dict[str, float] | None) -> tuple[Scene, np.ndarray]:
    builder = _builder(signal, factors)
    spectra = signal.data.reshape(signal.axes_manager.navigation_size, -1)
    total = np.asarray(spectra.sum(axis=0), dtype=float)
    return prepare_scene(builder, total, len(spectra), (*CELL_ELEMENTS, *FOREIGN_ELEMENTS)), spectra


Estimates = dict[str, tuple[np.ndarray, np.ndarray]]


def composition(signal, factors: dict[str, float] | None = None) -> Estimates:
    """Atomic per cent of the elements of the cell, and standard errors; not cut at 0."""
    found = quantify_elements(*_scene(signal, factors)).subset(CELL_ELEMENTS)
    percent, std, _ = found.atomic_percent(clipped=False)
    shape = signal.data.shape[:-1]
    return {el: (percent[:, i].reshape(shape), std[:, i].reshape(shape)) for i, el in enumerate(CELL_ELEMENTS)}


def phases(signal, factors: dict[str, float] | None = None) -> Estimates:
    """Volume fractions, and standard errors; not cut at 0. The density of carbon is told."""
    found = quantify_phases(*_scene(signal, factors), PhaseOptions(densities=(("carbon", CARBON_DENSITY),)))
    fraction, std, _ = found.fractions(clipped=False)
    shape = signal.data.shape[:-1]
    return {
        NAMES.get(name, name): (fraction[:, i].reshape(shape), std[:, i].reshape(shape))
        for i, name in enumerate(found.phases)
    }


def _interface(scene) -> InterfaceFit:
    """Profile along the known direction, bins of a pixel, elements of all pixels of a bin together."""
    options = scene.truth.options
    # Where the boundary lies is not told.
    distance = (scene.truth.distance + scene.truth.position).ravel()
    bins, members = bin_pixels(distance, options.pixel_size)
    spectra = scene.counts.reshape(distance.size, -1)
    summed = np.zeros((len(members), spectra.shape[1]))
    np.add.at(summed, bins, spectra)
    builder = _builder(scene.signal)
    common = prepare_scene(builder, summed.sum(axis=0), distance.size, (*CELL_ELEMENTS, *FOREIGN_ELEMENTS))
    found = quantify_elements(common, summed, exposure=np.array([float(m.size) for m in members]))
    return fit_interface(profile_of(found.subset(CELL_ELEMENTS), members), probe=options.probe)


def diffusion_width(scene) -> tuple[float, tuple[float, float]]:
    """10-90 % width of all elements together in nm, and its 68 % interval."""
    width = _interface(scene).common
    return width.value, (width.low, width.high)


def change(before, after) -> dict[str, float]:
    """p values of a growth: of the width, and of Fe and Ge beyond the boundary."""
    wanted = ("width", "Fe beyond the boundary", "Ge beyond the boundary")
    return {c.what: c.p_grew for c in compare_interfaces(_interface(before), _interface(after)) if c.what in wanted}
