"""The expected spectrum: plural scattering against its series, derivatives, conservation of counts."""

from __future__ import annotations

import tracemalloc
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperspy_assb.eels.edges.edge_terms import edge_constants
from hyperspy_assb.eels.lineshapes import (
    DARK_LEVEL,
    VALENCE_BAND,
    VOLUME_PLASMON,
    ZERO_LOSS_PEAK,
    ionisation_edge,
    spline_constants,
    valence_continuum,
)
from hyperspy_assb.fitting.spectra.forward import SpectrumModel
from hyperspy_assb.fitting.spectra.line_shape import Term

ENERGY = -12.0 + 0.25 * np.arange(640)
BREAKS = np.array([2.0, 8.0, 14.0, 20.0, 27.0, 40.0, 150.0])
EDGE = ionisation_edge("Test", onset_energy=55.0, onset_width=2.0, peak_ratio=0.3, peak_energy=62.0, peak_fwhm=5.0)
TABLE = np.linspace(0.0, 90.0, 40)

SOURCE = Term(ZERO_LOSS_PEAK)
PLASMON = Term(VOLUME_PLASMON)
BAND = Term(VALENCE_BAND)
DARK = Term(DARK_LEVEL)
CONTINUUM = Term(valence_continuum(BREAKS), spline_constants(BREAKS))
IONISATION = Term(EDGE, edge_constants(TABLE, 2e-6 * (1.0 + TABLE / 55.0) ** -3.0))

VALUES = {
    id(SOURCE): [2e5, 0.3, 0.9, 0.05, 0.2, 0.03, 4.0],
    id(PLASMON): [0.4, 23.0, 9.0],
    id(BAND): [0.03, 5.4, 1.8],
    id(DARK): [7.0],
    id(CONTINUUM): [0.001, 0.004, 0.012, 0.015, 0.006, 0.002],
    id(IONISATION): [400.0, 55.0, 2.0, 0.3, 62.0, 5.0],
}


def build(*terms, energy=ENERGY, **kwargs):
    model = SpectrumModel(terms, energy, **kwargs)
    return model, np.concatenate([VALUES[id(term)] for term in terms])


def density(term, axis, theta=None):
    return term.shape.evaluate(axis, VALUES[id(term)] if theta is None else theta, term.constants)[0]


# ------------------------------------------------------------------------------------------- plural scattering


@pytest.mark.parametrize("scattering", [(PLASMON,), (BAND,), (CONTINUUM, BAND), (PLASMON, IONISATION)])
def test_the_expectation_is_the_convolution_series(scattering):
    model, theta = build(SOURCE, *scattering, DARK)
    single = sum(density(term, model.loss) for term in scattering) * model.scale
    order = density(SOURCE, ENERGY) * model.scale
    expected = density(DARK, ENERGY) * model.scale + order
    for n in range(1, 7):
        order = np.convolve(order, single)[: ENERGY.size]
        expected = expected + order / factorial(n)
    # Exact up to the orders left out, of which the seventh is the largest.
    left_out = 2e5 * single.sum() ** 7 / factorial(7)
    np.testing.assert_allclose(model.expectation(theta)[0], expected, rtol=0, atol=left_out + 1e-6)
    assert left_out < 0.2  # of 2e5 counts: the comparison says something


def test_counts_are_conserved():
    # Exact: Poisson statistics. Narrow shapes on a long range leave nothing outside.
    energy = -40.0 + 0.1 * np.arange(4000)
    band = [0.7, 6.0, 2.0]
    model = SpectrumModel([SOURCE, BAND], energy)
    zero = [1e5, 0.2, 0.9, 0.0, 0.0, 0.0, 1.0]
    total = model.expectation(np.concatenate([zero, band]))[0].sum()
    # The Gaussian of 2 eV at 6 eV has 1e-12 of its area below 0 eV loss.
    assert total == pytest.approx(1e5 * np.exp(band[0]), rel=1e-9)
    assert model.scattering_probability(np.concatenate([zero, band]))[0] == pytest.approx(0.7, rel=1e-9)


def test_the_probability_of_a_map_needs_no_spectra_of_it():
    model, theta = build(SOURCE, BAND, IONISATION)
    many = np.repeat(theta[np.newaxis], 4000, axis=0)
    many[:, model.slices[1]] *= np.linspace(0.9, 1.1, len(many))[:, np.newaxis]  # no two have one shape
    tracemalloc.start()
    try:
        found = model.scattering_probability(many)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * len(many) * ENERGY.size * 8
    np.testing.assert_array_equal(found[::999], model.scattering_probability(many[::999]))


@pytest.mark.parametrize("shift", [-30.0, 9.0, 250.0])
def test_only_differences_of_energies_matter(shift):
    model, theta = build(SOURCE, CONTINUUM, IONISATION, DARK)
    moved = SpectrumModel(model.terms, ENERGY + shift)
    other = theta.copy()
    other[1] += shift
    np.testing.assert_allclose(moved.expectation(other), model.expectation(theta), rtol=1e-8, atol=1e-6)


def test_without_plural_scattering_the_terms_are_summed():
    model, theta = build(SOURCE, PLASMON, BAND, DARK, plural_scattering=False)
    expected = sum(density(term, ENERGY) for term in model.terms) * 0.25
    np.testing.assert_allclose(model.expectation(theta)[0], expected, rtol=1e-12)
    assert build(SOURCE, DARK)[0].plural_scattering is False  # nothing scatters


def test_many_spectra_are_as_one_at_a_time(rng):
    model, theta = build(SOURCE, CONTINUUM, BAND, IONISATION)
    many = theta * rng.uniform(0.9, 1.1, (5, theta.size))
    one_shape = np.repeat(theta[np.newaxis], 5, axis=0)
    one_shape[:, model.slices[1]] *= rng.uniform(0.5, 1.5, (5, 6))
    for parameters in (many, one_shape):
        together = model.expectation(parameters)
        for row, values in zip(together, parameters, strict=True):
            np.testing.assert_allclose(row, build(*model.terms)[0].expectation(values)[0], rtol=1e-9, atol=1e-6)


# ------------------------------------------------------------------------------------------------- derivatives

STEPS = {"intensity": 1e-3, "areal_density": 1e-1, "level": 1e-2, "peak_ratio": 1e-3}


@pytest.mark.parametrize("plural", [True, False])
@pytest.mark.parametrize("different", [False, True])
def test_derivatives(differentiate, plural, different):
    """``different``: spectra whose shapes differ take another path than those that share them."""
    terms = (SOURCE, CONTINUUM, PLASMON, BAND, IONISATION, DARK)
    model, theta = build(*terms, plural_scattering=plural)
    if not plural:
        theta[0] = 1.0  # else the rounding of 2e5 counts hides differences of 1e-3
    parameters = np.stack([theta, theta])
    if different:
        parameters[1] *= 1.01
    else:
        parameters[1, model.slices[1]] *= 1.3
    free = np.ones(model.n_parameters, dtype=bool)
    jacobian = model.evaluate(parameters, free)[1]
    names = [p.name for term in terms for p in term.shape.parameters]
    for k, name in enumerate(names):
        step = 1e-4 if name.startswith("c") and name[1:].isdigit() else STEPS.get(name, 2e-3)
        step = 1e-3 * theta[0] if k == 0 else step
        expected = differentiate(model.expectation, parameters, k, step)
        # Central differences of fourth order: their own error is below 1e-7 of the largest.
        tolerance = 1e-6 * np.abs(expected).max(axis=1, keepdims=True)
        worst = np.max(np.abs(jacobian[:, k] - expected) / tolerance)
        assert worst < 1.0, f"{name}: {worst} times the tolerance"


def test_only_free_parameters_are_differentiated():
    model, theta = build(SOURCE, CONTINUUM, BAND, DARK)
    full = model.evaluate(theta, np.ones(model.n_parameters, dtype=bool))
    free = np.zeros(model.n_parameters, dtype=bool)
    free[[1, 8, 13, 16]] = True
    some = model.evaluate(theta, free)
    np.testing.assert_array_equal(some[0], full[0])
    np.testing.assert_array_equal(some[1], full[1][:, free])


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(0.0, 1e3), t=st.floats(0.0, 3.0))
def test_the_zero_loss_area_scales_everything(factor, t):
    model, theta = build(SOURCE, BAND)
    theta[7] = t
    scaled = theta.copy()
    scaled[0] *= factor
    once = model.expectation(theta)
    np.testing.assert_allclose(model.expectation(scaled), factor * once, rtol=1e-9, atol=1e-9 * once.max())


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    "energy",
    [
        np.array([0.0, 1.0, 2.5]),
        np.array([2.0, 1.0, 0.0]),
        np.zeros(5),
        np.geomspace(1.0, 100.0, 50),
    ],
)
def test_other_axes_are_refused(energy):
    with pytest.raises(ValueError, match="uniform and increasing"):
        SpectrumModel([SOURCE], energy)


@pytest.mark.parametrize("energy", [np.array([1.0]), np.zeros((2, 3))])
def test_an_axis_has_channels(energy):
    with pytest.raises(ValueError, match="two channels"):
        SpectrumModel([SOURCE], energy)


def test_scattering_needs_something_to_scatter():
    with pytest.raises(ValueError, match="needs a zero-loss peak"):
        SpectrumModel([BAND, DARK], ENERGY)
    SpectrumModel([BAND, DARK], ENERGY, plural_scattering=False)
