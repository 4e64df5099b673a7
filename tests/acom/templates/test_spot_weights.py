"""One weighting of spots, for arrays and in compiled code."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.acom.crystals.crystal_phase import cell_axes, load_phase
from hyperspy_assb.acom.crystals.frames import matrices, upper
from hyperspy_assb.acom.crystals.kinematical import precession_average, reflections
from hyperspy_assb.acom.matching.refinement import lattices_of
from hyperspy_assb.acom.matching.refinement_kernels import Optics, desk_for, rotation_of, spots_of, strained
from hyperspy_assb.acom.templates.bank import SpotWeighting


def test_arrays_and_compiled_code_weigh_alike(rng):
    phase, weighting = load_phase("lfp"), SpotWeighting(0.3, 0.5)
    optics = Optics(39.87, 0.0122, 0.002, 0.01, *weighting, 0.1, 0.012, 80.0, 0.0, 0.0, 80.0)
    lattices = lattices_of([phase], 1.2, weighting)
    desk = desk_for(lattices)
    orientation = upper(rng.standard_normal((1, 4)))[0]
    strain = np.array([0.01, 0.0, -0.02])
    rotation = np.empty((3, 3))
    rotation_of(orientation, np.zeros(3), rotation)
    strained(lattices, np.arange(len(lattices.weight)), strain, desk.near)
    count = spots_of(rotation, desk.near, len(lattices.weight), optics, desk.spots)
    # All reflections, one after the other, by arrays.
    found = reflections(phase, max_radius=1.2)
    axes = cell_axes(phase)
    vectors = found.indices @ np.linalg.inv(axes * (1.0 + strain)[:, None]).T
    x, y, z = (vectors @ matrices(orientation[None])[0]).T
    radius = np.hypot(x, y)
    excitation = radius**2 / (optics.wavenumber + np.sqrt(optics.wavenumber**2 - radius**2)) - z
    spread = radius * optics.precession
    beyond = np.clip((np.abs(excitation) - spread) / optics.cut, 0.0, 1.0)
    shine = [precession_average(e, s, optics.width) for e, s in zip(excitation, spread, strict=True)]
    weight = weighting.of(found.intensity / found.intensity.max() * shine, radius) * (1.0 - beyond**2) ** 2
    lit = (beyond < 1.0) & (radius >= optics.min_radius)
    assert count == lit.sum() > 30
    np.testing.assert_allclose(desk.spots[:count, 0], x[lit], atol=1e-9)
    np.testing.assert_allclose(desk.spots[:count, 1], y[lit], atol=1e-9)
    # The unstrained length stands for the radius.
    np.testing.assert_allclose(desk.spots[:count, 2], weight[lit], rtol=0.02)
    assert weighting.of(np.zeros(1), np.ones(1)) == 0.0


def test_weights_of_an_unstrained_lattice_are_those_of_arrays(rng):
    phase, weighting = load_phase("lfp"), SpotWeighting(0.3, 0.5)
    lattices = lattices_of([phase], 1.2, weighting)
    found = reflections(phase, max_radius=1.2)
    length = np.linalg.norm(lattices.parts.sum(axis=1), axis=1)
    np.testing.assert_allclose(lattices.vectors[3], length, rtol=1e-6)
    np.testing.assert_allclose(lattices.weight, weighting.of(found.intensity / found.intensity.max(), length))
