"""Spectra that are not as they should be: no zero loss, a cut-off top, a dark level, a tail above what was recorded."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb.eels.zero_loss.position import ZeroLossStatus, estimate_centre
from hyperspy_assb.eels.zero_loss.recorded_noise import checked_dark_level, dark_level, low_loss_noise
from hyperspy_assb.eels.zero_loss.removal import remove_zero_loss
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.noise_claim import NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector


def spectra(energy, *, peak=24.0, width=8.0, fwhm=0.8, thickness=0.4, lorentz=0.05, electrons=3e5, count=40, seed=0):
    """Poisson counts of a pseudo-Voigt zero loss (none for electrons of 0 or below) and Drude losses."""
    rng, scale = np.random.default_rng(seed), energy[1] - energy[0]
    loss = np.clip(energy, 1e-9, None)
    plasmon = loss * width / ((loss**2 - peak**2) ** 2 + (loss * width) ** 2)
    plasmon /= plasmon.sum()
    x = energy / fwhm
    zero = (1 - lorentz) * np.exp(-4 * np.log(2) * x**2) / 1.0645 + lorentz * 2 / np.pi / (1 + 4 * x**2)
    mean = abs(electrons) * thickness * plasmon + max(electrons, 0.0) * np.exp(-thickness) * zero * scale / fwhm
    return rng.poisson(mean, (count, energy.size)).astype(float)


@pytest.mark.parametrize(
    ("peak", "width", "start"),
    [(16.0, 4.0, 4.0), (16.0, 4.0, -15.0), (15.0, 0.6, 5.0), (7.1, 2.2, 3.5), (24.0, 8.0, 5.0), (19.0, 4.0, -5.0)],
)
def test_a_plasmon_is_no_zero_loss(peak, width, start):
    energy = np.arange(start, 60.0, 0.1 if width > 1 else 0.05)
    found = estimate_centre(spectra(energy, peak=peak, width=width, electrons=-3e5), energy)
    assert np.isnan(found.centre).all()
    assert set(found.status) <= {ZeroLossStatus.NOT_ZERO_LOSS, ZeroLossStatus.NOT_FOUND}


@pytest.mark.parametrize("lorentz", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("shift", [-9.0, 0.0, 9.0])
@pytest.mark.parametrize("electrons", [2e3, 3e5])
def test_a_zero_loss_far_from_0_is_one(lorentz, shift, electrons):
    """Null test: with Lorentzian tails, and on an axis that is off by 9 eV."""
    energy = np.arange(-10.0, 60.0, 0.1)
    found = estimate_centre(spectra(energy, lorentz=lorentz, electrons=electrons), energy + shift)
    assert (found.status == ZeroLossStatus.OK).mean() >= 0.97


@pytest.mark.parametrize("flat_field", [0.0, 0.01])
def test_a_cut_off_top_is_seen(flat_field, rng):
    energy = np.arange(-10.0, 60.0, 0.1)
    counts = spectra(energy)
    counts = np.minimum(counts, 0.7 * np.median(counts.max(axis=1))) * rng.normal(1.0, flat_field, energy.size)
    assert (estimate_centre(counts, energy).status == ZeroLossStatus.SATURATED).all()


def test_the_dark_level_is_what_does_not_fall():
    energy = np.arange(-25.0, 60.0, 0.1)
    counts = spectra(energy, lorentz=0.4, electrons=1e6)
    assert dark_level(counts, energy, np.zeros(40), 0.8) == pytest.approx(0.0, abs=4.0)
    assert dark_level(counts + 100.0, energy, np.zeros(40), 0.8) == pytest.approx(100.0, abs=4.0)
    assert dark_level(counts - 100.0, energy, np.zeros(40), 0.8) == pytest.approx(-60.0, abs=45.0)


@pytest.mark.parametrize(("level", "message"), [(100.0, "shows the dark level"), (-100.0, "too high a dark level")])
def test_a_dark_level_that_is_not_recorded_is_refused(level, message):
    energy = np.arange(-2.4, 75.0, 0.1)
    counts = spectra(energy)
    assert checked_dark_level(counts, energy, np.zeros(40), 0.8) == 0.0
    with pytest.raises(AssbValueError, match=message):
        checked_dark_level(counts + level, energy, np.zeros(40), 0.8)


@pytest.mark.parametrize("method", ["fit", "mirror", "reference"])
def test_no_more_is_taken_off_than_was_recorded(method, rng):
    """A true tail that is thinner on the side of losses than the shape that is fitted, or mirrored."""
    energy = np.arange(-25.0, 60.0, 0.1)
    counts = spectra(energy, lorentz=0.3)
    beyond = (energy > 1.0) & (energy < 12.0)
    counts[:, beyond] = rng.poisson(0.3 * counts.mean(axis=0)[beyond], (40, beyond.sum()))
    options = {"reference": spectra(energy, lorentz=0.3, thickness=1e-6, count=1)[0]} if method == "reference" else {}
    removed = remove_zero_loss(counts, energy, method=method, detector=Detector(), **options)
    band = (energy >= 1.5) & (energy <= 10.0)
    z = removed.spectrum[:, band] / np.sqrt(removed.variance[:, band])
    assert (z < -3.0).mean() < 0.0035
    assert z.min() > -6.0
    assert removed.lowered.mean() > 0.5


@pytest.mark.parametrize(("gain", "claim"), [(7.8, None), (7.8, 1 / 7.8), (0.3, 0.3), (1.0, None)])
def test_low_loss_spectra_tell_their_gain(gain, claim):
    energy = np.arange(-25.0, 60.0, 0.1)
    counts = gain * spectra(energy, lorentz=0.3, electrons=1e6)
    noise = low_loss_noise(counts, energy, np.zeros(40), 0.8, None if claim is None else Detector(claim))
    assert noise.broad.gain == pytest.approx(gain, rel=0.15)
    assert noise.contradicted == (claim == 1 / 7.8)
    assert (noise.source is NoiseSource.INVERSE) == (claim == 1 / 7.8)
