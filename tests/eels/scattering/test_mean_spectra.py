"""Mean spectra: aligned, normalised, and with the error that many draws have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperspy_assb.eels.scattering.mean_spectra import MeanSpectrum, mean_spectrum, spectrum_difference

ENERGY = np.arange(-10.0, 90.0, 0.5)


def columns(thickness, *, shift=0.0, dose=1e5):
    """Zero loss and single scattering in a box of 20 to 40 eV, both exact for thin columns."""
    thickness, shift = np.atleast_1d(thickness), np.atleast_1d(shift)
    relative = ENERGY - shift[:, np.newaxis]
    zero = np.isclose(relative, 0.0) * 1.0
    box = ((relative >= 20.0) & (relative < 40.0)) * 0.5 / 20.0
    return dose * np.exp(-thickness[:, np.newaxis]) * (zero + np.expm1(thickness)[:, np.newaxis] * box)


def test_density_is_that_of_single_scattering():
    thickness = np.array([1e-3, 2e-3, 3e-3])
    found = mean_spectrum(columns(thickness), ENERGY, zero_loss=np.zeros(3), t_over_lambda=thickness)
    np.testing.assert_allclose(found.energy, ENERGY)
    inside = (ENERGY > 21.0) & (ENERGY < 39.0)
    np.testing.assert_allclose(found.density[inside], 1.0 / 20.0, rtol=2e-3)  # truth: 1 over 20 eV
    assert found.n_pixels == 3


def test_shifts_are_taken_out():
    shift = np.array([-1.5, 0.0, 2.0])
    one = mean_spectrum(columns(np.full(3, 0.1)), ENERGY, zero_loss=np.zeros(3), t_over_lambda=np.full(3, 0.1))
    two = mean_spectrum(columns(np.full(3, 0.1), shift=shift), ENERGY, zero_loss=shift, t_over_lambda=np.full(3, 0.1))
    assert two.energy.size == ENERGY.size - 7
    np.testing.assert_allclose(np.interp(two.energy, one.energy, one.density), two.density, rtol=1e-9, atol=1e-12)
    assert two.energy[np.argmax(two.density)] == pytest.approx(0.0, abs=1e-9)


def test_what_has_no_zero_loss_or_nothing_to_scatter_is_left_out():
    thickness = np.array([0.1, np.nan, 0.0, 0.1, 0.1])
    zero_loss = np.array([0.0, 0.0, 0.0, np.nan, 0.0])
    counts = columns(np.full(5, 0.1))
    counts[4, 3] = np.nan
    assert mean_spectrum(counts, ENERGY, zero_loss=zero_loss, t_over_lambda=thickness).n_pixels == 1
    with pytest.raises(ValueError, match=r"None of the 2 spectra.*region with material"):
        mean_spectrum(counts[1:3], ENERGY, zero_loss=zero_loss[1:3], t_over_lambda=thickness[1:3])


def test_wild_zero_losses_leave_nothing():
    with pytest.raises(ValueError, match="moves by"):
        mean_spectrum(
            columns(np.full(2, 0.1)), ENERGY, zero_loss=np.array([-60.0, 60.0]), t_over_lambda=np.full(2, 0.1)
        )


@pytest.mark.parametrize(("pixels", "gain"), [(1, 1.0), (40, 1.0), (40, 4.0)])
def test_the_error_is_that_of_many_draws(rng, pixels, gain):
    expected = columns(np.full(pixels, 0.3), dose=1e4)
    draws = [
        mean_spectrum(
            gain * rng.poisson(expected), ENERGY, zero_loss=np.zeros(pixels), t_over_lambda=np.full(pixels, 0.3)
        )
        for _ in range(300)
    ]
    inside = (ENERGY > 21.0) & (ENERGY < 39.0)
    scatter = np.std([d.density[inside] for d in draws], axis=0)
    quoted = np.sqrt(np.mean([d.std[inside] ** 2 for d in draws], axis=0))
    assert np.mean(quoted / scatter) == pytest.approx(1.0, abs=0.05)


def test_difference_on_another_grid():
    one = MeanSpectrum(ENERGY, 0.1 + 0.001 * ENERGY, np.full(ENERGY.size, 3e-3), 7)
    two = MeanSpectrum(ENERGY[4:-2] + 0.2, 0.3 + 0.001 * (ENERGY[4:-2] + 0.2), np.full(ENERGY.size - 6, 4e-3), 5)
    found = spectrum_difference(two, one)
    assert found.n_pixels == 5
    assert (found.energy[0], found.energy[-1]) == (ENERGY[5], ENERGY[-3])
    np.testing.assert_allclose(found.density, 0.2)  # a straight line is interpolated exactly
    variance = (0.6**2 + 0.4**2) * 4e-3**2 + 3e-3**2
    np.testing.assert_allclose(found.std, np.sqrt(variance))
    same = spectrum_difference(one, one)
    np.testing.assert_allclose(same.density, 0.0, atol=1e-15)
    np.testing.assert_allclose(same.std, np.sqrt(2) * 3e-3)


def test_nothing_in_common():
    one = MeanSpectrum(ENERGY, ENERGY, ENERGY, 1)
    with pytest.raises(ValueError, match="no energies in common"):
        spectrum_difference(replace(one, energy=ENERGY + 500.0), one)
