"""Columns of phases whose spectra are known: expectation, derivatives, refinement, and what noise does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft, ndimage

from hyperspy_assb.eels.delithiation.mixture import MixtureModel, PhaseSpectra, refine_spectra
from hyperspy_assb.eels.lineshapes import ZERO_LOSS_PEAK
from hyperspy_assb.fitting.solver.spectra_fit import FitProblem, fit_spectra
from hyperspy_assb.fitting.spectra.line_shape import Term

ENERGY = -10.0 + 0.25 * np.arange(400)
SCALE = 0.25
LENGTH = fft.next_fast_len(2 * ENERGY.size, real=True)
LOSS = SCALE * np.arange(ENERGY.size)
ZERO_LOSS = np.array([1.0, 0.1, 0.8, 0.1, 0.05, 0.02, 5.0])


def line(centre, width):
    shape = np.exp(-0.5 * ((LOSS - centre) / width) ** 2)
    return shape / shape.sum()


DISTRIBUTIONS = np.array(
    [0.7 * line(23.0, 5.0) + 0.3 * line(40.0, 4.0), 0.6 * line(24.0, 6.0) + 0.4 * line(6.0, 1.5), line(26.0, 7.0)]
)


def spectra(offset=0.0, curve=0.0):
    """Three phases; what depends on thickness is a low and a broad line, the same for all."""
    parts = np.zeros((3, 3, LENGTH // 2 + 1), dtype=complex)
    parts[0] = fft.rfft(DISTRIBUTIONS, LENGTH)
    parts[1] = offset * fft.rfft(line(10.0, 4.0), LENGTH)
    parts[2] = curve * fft.rfft(line(12.0, 6.0), LENGTH)
    return PhaseSpectra(("A", "B", "C"), parts, LENGTH, (0.1, 1.5))


def model(**options):
    dark = options.pop("dark_level", False)
    return MixtureModel(Term(ZERO_LOSS_PEAK), ENERGY, spectra(**options), dark_level=dark)


def parameters(own, amounts, *, intensity=1e5, level=None):
    out = np.zeros((1, own.n_parameters))
    out[0, :7] = ZERO_LOSS
    out[0, 0] = intensity
    if level is not None:
        out[0, 7] = level
    out[0, own.amounts] = amounts
    return out


def test_the_expectation_is_the_poisson_series():
    """Zero, one, two ... events, each a convolution: Egerton (2011), eq. 4.8."""
    own, amounts = model(), np.array([0.3, 0.4, 0.2])
    found = own.evaluate(parameters(own, amounts), np.zeros(own.n_parameters, dtype=bool))[0][0]
    single = amounts @ DISTRIBUTIONS
    gradients = np.empty((7, ENERGY.size))
    peak = Term(ZERO_LOSS_PEAK).evaluate(ENERGY, parameters(own, amounts)[0, :7], gradients) * SCALE
    total, order, factorial = np.zeros(ENERGY.size), peak.copy(), 1.0
    for k in range(12):
        total += order / factorial
        order = np.convolve(order, single)[: ENERGY.size]
        factorial *= k + 1
    # Exact but for nine events and more, which come back at the beginning of the periodic axis.
    np.testing.assert_allclose(found, total, atol=5e-6 * total.max())


def test_amounts_are_t_over_lambda():
    own = model(offset=0.02)
    counts = own.evaluate(parameters(own, [0.5, 0.0, 0.0]), np.zeros(own.n_parameters, dtype=bool))[0][0]
    # Nearly all losses and none of the tails of the zero loss lie in the range.
    assert np.log(counts.sum() / 1e5) == pytest.approx(0.5 + 0.02, abs=0.01)


@pytest.mark.parametrize("amounts", [[0.3, 0.4, 0.2], [0.0, 0.9, 0.0], [0.05, -0.02, 0.01], [1.0, 0.5, 0.5]])
def test_derivatives(amounts):
    own = model(offset=0.03, curve=0.05, dark_level=True)
    theta = parameters(own, amounts, level=2.0)
    free = own.free()
    expectation, jacobian = own.evaluate(theta, free)
    for row, k in enumerate(np.flatnonzero(free)):
        step = 1e-5 * max(abs(theta[0, k]), 0.1)
        up, down = theta.copy(), theta.copy()
        up[0, k] += step
        down[0, k] -= step
        nothing = np.zeros_like(free)
        slope = (own.evaluate(up, nothing)[0] - own.evaluate(down, nothing)[0])[0] / (2 * step)
        np.testing.assert_allclose(jacobian[0, row], slope, atol=2e-5 * np.abs(slope).max())
    assert np.all(expectation[0, :10] > 2.0 - 1e-6)  # the dark level


@settings(max_examples=20, deadline=None)
@given(
    shift=st.floats(-3.0, 3.0),
    amounts=st.lists(st.floats(0.0, 0.8), min_size=3, max_size=3),
    intensity=st.floats(1e3, 1e8),
)
def test_a_fit_without_noise_finds_the_truth(shift, amounts, intensity):
    own = model(offset=0.02, curve=0.03)
    truth = parameters(own, amounts, intensity=intensity)
    truth[0, 1] = shift
    counts = own.evaluate(truth, np.zeros(own.n_parameters, dtype=bool))[0]
    # A tenth off, all phases alike, as `start_mixture` reads it off a spectrum.
    start = parameters(own, [max(0.3 * sum(amounts), 0.01)] * 3, intensity=0.8 * intensity)
    start[0, 1] = shift + 0.1
    found = fit_spectra(np.maximum(counts, 0.0), FitProblem(model=own, start=start, free=own.free(), lower=own.lower))
    assert found.usable.all()
    np.testing.assert_allclose(found.values[0, own.amounts], amounts, atol=1e-4)


def test_refinement_finds_what_the_spectra_miss(rng):
    """Spectra that lack a line and know nothing of thickness, corrected on pure pixels."""
    true = model(offset=0.02, curve=0.04)
    thickness = np.tile(np.linspace(0.2, 1.2, 60), 3)
    members = np.repeat(np.arange(3), 60)
    theta = np.repeat(parameters(true, [0.0, 0.0, 0.0], intensity=1e7), 180, axis=0)
    theta[np.arange(180), true.amounts.start + members] = thickness
    nothing = np.zeros(true.n_parameters, dtype=bool)
    counts = rng.poisson(np.maximum(true.evaluate(theta, nothing)[0], 0.0)).astype(float)
    wrong = spectra()
    wrong.parts[0, 1] = fft.rfft(line(24.0, 6.0), LENGTH)  # without the line at 6 eV
    own = true.with_spectra(replace(wrong, thickness=(0.2, 1.2)))
    before = own.evaluate(theta, nothing)[0]
    for _ in range(4):
        fitted = []
        for phase in range(3):
            rows = members == phase
            fitted.append(
                fit_spectra(
                    counts[rows], FitProblem(model=own, start=theta[rows], free=own.free([phase]), lower=own.lower)
                ).values
            )
        values = np.concatenate(fitted)
        good = np.isfinite(values).all(axis=1)
        assert good.mean() > 0.9
        refined = refine_spectra(own, values[good], counts[good], members[good], variance=counts[good].sum(axis=1))
        own = own.with_spectra(refined.spectra)
    for t in (0.3, 0.7, 1.1):
        # At the resolution of the zero loss; what is finer, no spectrum tells.
        found, known = (
            ndimage.gaussian_filter1d(m.spectra.distribution(ENERGY.size, t), 3.0, axis=1)[:, 12:-40]
            for m in (own, true)
        )
        # t/lambda is what the slope adds up to, so that a constant factor between them is a matter of the unit.
        factor = np.sum(found * known, axis=1) / np.sum(known**2, axis=1)
        assert np.abs(found / factor[:, np.newaxis] - known).max() < 0.04 * known.max()  # known truth
    assert np.abs(before - counts).max() > 5 * np.sqrt(counts.max())
    assert refined.covariance.shape == refined.noise.shape == (3, 3, 3, 3)


def test_four_times_the_pixels_are_a_quarter_of_the_variance():
    own = model(offset=0.02)
    nothing = np.zeros(own.n_parameters, dtype=bool)

    def noise(pixels):
        theta = np.repeat(parameters(own, [0.0, 0.0, 0.0], intensity=1e8), 3 * pixels, axis=0)
        members = np.repeat(np.arange(3), pixels)
        theta[np.arange(3 * pixels), own.amounts.start + members] = np.tile(np.linspace(0.3, 1.0, pixels), 3)
        counts = own.evaluate(theta, nothing)[0]
        return refine_spectra(own, theta, counts, members, variance=counts.sum(axis=1))

    one, two = noise(40), noise(160)
    slope = [r.covariance[0, 0, 0, 0] for r in (one, two)]
    assert slope[0] / slope[1] == pytest.approx(4.0, rel=0.1)
