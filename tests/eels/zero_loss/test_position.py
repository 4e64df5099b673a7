"""Position and removal of the zero-loss peak: exact cases, invariants, Monte Carlo with known truth, real files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import exponnorm, norm

from hyperspy_assb.eels.zero_loss.position import ZeroLossStatus, estimate_centre
from hyperspy_assb.eels.zero_loss.removal import remove_zero_loss


def gaussian(energy, centre, sigma, total):
    """Counts of a Gaussian peak, integrated over the channels; a truth that shares no code with the package."""
    step = energy[1] - energy[0]
    edges = np.append(energy - step / 2, energy[-1] + step / 2)
    return total * np.diff(norm.cdf((edges - np.atleast_1d(centre)[:, None]) / sigma), axis=1)


def skewed(energy, mode, sigma, decay, total):
    """Counts of a Gaussian convolved with an exponential, with its mode at a given energy."""
    step = energy[1] - energy[0]
    edges = np.append(energy - step / 2, energy[-1] + step / 2)
    ratio = decay / sigma
    own_mode = minimize_scalar(lambda x: -exponnorm.logpdf(x, ratio), bounds=(-1, 3), options={"xatol": 1e-12}).x
    cdf = exponnorm.cdf((edges - np.atleast_1d(mode)[:, None]) / sigma + own_mode, ratio)
    return np.clip(total * np.diff(cdf, axis=1), 0, None)


# ------------------------------------------------------------------------------------------------ exact cases


@pytest.mark.parametrize("sigma", [0.7, 1.3, 3.0, 20.0])
@pytest.mark.parametrize("centre", [100.0, 100.25, 100.5])
def test_noise_free_gaussian(sigma, centre):
    energy = np.arange(300.0) - 100
    found = estimate_centre(gaussian(energy, centre - 100, sigma, 1e6), energy)
    assert found.status == ZeroLossStatus.OK
    np.testing.assert_allclose(found.centre, centre - 100, atol=1e-5)
    np.testing.assert_allclose(found.fwhm, 2.35482 * sigma, rtol=2e-3)
    np.testing.assert_allclose(found.intensity, 0.9875e6, rtol=2e-3)


@pytest.mark.parametrize("sigma", [1.5, 5.0, 20.0])
def test_noise_free_skewed_peak_gives_its_mode(sigma):
    energy = np.arange(400.0) - 150
    modes = np.linspace(-3, 3, 21)
    found = estimate_centre(skewed(energy, modes, sigma, 0.7 * sigma, 1e7), energy, search_range=(-100, 100))
    np.testing.assert_allclose(found.centre, modes, atol=max(1 / 50, 0.002 * sigma))


def test_shape_of_the_results():
    energy = np.arange(-10, 40, 0.2)
    counts = gaussian(energy, np.linspace(-1, 1, 6), 0.5, 1e5).reshape(2, 3, -1)
    found = estimate_centre(counts, energy)
    for name in ("centre", "centre_std", "fwhm", "intensity", "status"):
        assert getattr(found, name).shape == (2, 3)
    assert estimate_centre(counts[0, 0], energy).centre.shape == ()


def test_empty_pixels_and_noise_have_no_centre(rng):
    energy = np.arange(-10, 40, 0.2)
    counts = rng.poisson(gaussian(energy, np.zeros(4), 0.5, 1e5)).astype(float)
    counts[1] = 0
    counts[2] = rng.normal(0, 3, energy.size)
    counts[3] = 1e4 * np.exp(-(energy + 10) / 5)
    found = estimate_centre(counts, energy)
    assert found.status.tolist() == [0, ZeroLossStatus.EMPTY, ZeroLossStatus.NOT_FOUND, ZeroLossStatus.NOT_FOUND]
    np.testing.assert_array_equal(np.isnan(found.centre), [False, True, True, True])


def test_peak_cut_by_the_end_of_the_axis():
    energy = np.arange(0, 40, 0.2)
    found = estimate_centre(gaussian(energy, [0.6], 0.5, 1e5), energy)
    assert found.status[0] == ZeroLossStatus.AT_EDGE
    assert np.isnan(found.centre[0])


def test_saturated_top_is_left_out():
    energy = np.arange(-10, 40, 0.1)
    counts = gaussian(energy, [0.537], 0.5, 1e6)
    found = estimate_centre(np.minimum(counts, 0.7 * counts.max()), energy)
    assert found.status[0] == ZeroLossStatus.SATURATED
    np.testing.assert_allclose(found.centre, 0.537, atol=1e-3)


def test_the_first_peak_is_taken_not_the_tallest(rng):
    energy = np.arange(-10, 60, 0.3)
    mean = gaussian(energy, [1.23], 0.5, 2e3) + gaussian(energy, [24.0], 2.0, 2e4)
    found = estimate_centre(rng.poisson(mean).astype(float), energy)
    assert abs(found.centre[0] - 1.23) < 5 * found.centre_std[0]


@pytest.mark.parametrize("spike", [-30, -6, -1, 1, 5, 60])
@pytest.mark.parametrize("wide", [1, 2])
def test_spikes_are_not_the_zero_loss(rng, spike, wide):
    energy = np.arange(-10, 60, 0.1)
    counts = rng.poisson(gaussian(energy, np.full(9, 1.234), 0.4, 1e5)).astype(float)
    peak = int(np.argmax(counts[4]))
    counts[4, peak + spike : peak + spike + wide] += 1e6
    found = estimate_centre(counts, energy)
    assert abs(found.centre[4] - 1.234) < 0.01


# ------------------------------------------------------------------------------------------------ invariants


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-20, 20), stretch=st.floats(0.1, 10))
def test_centre_follows_the_axis(shift, stretch):
    energy = np.arange(-20, 30, 0.5)
    counts = np.random.default_rng(1).poisson(gaussian(energy, [0.3], 1.0, 1e4)).astype(float)
    plain = estimate_centre(counts, energy, search_range=(-np.inf, np.inf))
    moved = estimate_centre(counts, stretch * energy + shift, search_range=(-np.inf, np.inf))
    np.testing.assert_allclose(moved.centre, stretch * plain.centre + shift, atol=1e-6 * max(stretch, 1))
    np.testing.assert_allclose(moved.centre_std, stretch * plain.centre_std, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e6))
def test_centre_does_not_depend_on_the_unit_of_counts(factor):
    energy = np.arange(-20, 30, 0.5)
    counts = np.random.default_rng(1).poisson(gaussian(energy, [0.3], 1.0, 1e4)).astype(float)
    plain = estimate_centre(counts, energy)
    scaled = estimate_centre(factor * counts, energy, gain=factor)
    np.testing.assert_allclose(scaled.centre, plain.centre, atol=1e-6)
    np.testing.assert_allclose(scaled.centre_std, plain.centre_std, rtol=1e-4)
    np.testing.assert_allclose(scaled.intensity, factor * plain.intensity, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_mirror_image_has_the_mirrored_centre(seed):
    energy = np.arange(-25, 25.25, 0.25)
    counts = np.random.default_rng(seed).poisson(gaussian(energy, [1.1], 1.0, 1e4)).astype(float)
    plain, mirrored = estimate_centre(counts, energy), estimate_centre(counts[:, ::-1], energy)
    np.testing.assert_allclose(mirrored.centre, -plain.centre, atol=1e-6)


# ------------------------------------------------------------------------------------------------ Monte Carlo


@pytest.mark.parametrize("electrons", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("sigma", [0.7, 3.0, 20.0])
def test_error_of_symmetrical_peaks(rng, sigma, electrons):
    """RMS error at most 1.2 sigma / sqrt(N), bias under 1/50 channel, and a standard deviation that is true."""
    n = 400
    energy = np.arange(max(200, int(30 * sigma))) - 90.0 if sigma < 5 else np.arange(600.0) - 250
    centre = rng.uniform(-3, 3, n)
    found = estimate_centre(
        rng.poisson(gaussian(energy, centre, sigma, electrons)).astype(float), energy, search_range=(-150, 150)
    )
    error = found.centre - centre
    assert (found.status == ZeroLossStatus.OK).all()
    assert np.sqrt(np.mean(error**2)) < 1.2 * sigma / np.sqrt(electrons)
    assert abs(error.mean()) < 1 / 50 + 4 * sigma / np.sqrt(electrons * n)
    assert 0.88 < np.std(error / found.centre_std) < 1.12


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.3, 1.0])
@pytest.mark.parametrize(("sigma", "electrons"), [(0.7, 1e5), (3.0, 1e3), (3.0, 1e5), (3.0, 1e7), (20.0, 1e5)])
def test_error_of_skewed_peaks(rng, sigma, electrons, decay):
    """The same for the mode of a Gaussian convolved with an exponential, a shape that the model does not contain."""
    n = 400
    energy = np.arange(200) - 90.0 if sigma < 5 else np.arange(600.0) - 250
    mode = rng.uniform(-3, 3, n)
    counts = rng.poisson(skewed(energy, mode, sigma, decay * sigma, electrons)).astype(float)
    found = estimate_centre(counts, energy, search_range=(-150, 150))
    error = found.centre - mode
    width = sigma * np.hypot(1, decay)
    assert (found.status == ZeroLossStatus.OK).all()
    assert np.sqrt(np.mean((error - error.mean()) ** 2)) < 1.2 * width / np.sqrt(electrons)
    # What all pixels share is the error of the common shape, known from n electrons times the number of pixels.
    assert abs(error.mean()) < 1 / 50 + 0.7 * width / np.sqrt(electrons)


@pytest.mark.slow
def test_single_gaussian_spectra(rng):
    energy = np.arange(200) - 90.0
    centre = rng.uniform(-3, 3, 200)
    counts = rng.poisson(gaussian(energy, centre, 3.0, 1e5)).astype(float)
    error = np.array([float(estimate_centre(c, energy).centre) for c in counts]) - centre
    assert np.sqrt(np.mean(error**2)) < 1.25 * 3.0 / np.sqrt(1e5)


def test_jitter_shift_dark_noise_and_gain(rng):
    """Nine eV away, three eV of jitter, negative counts, a gain nobody told: all that real files have."""
    energy = np.arange(-20, 80, 0.3)
    centre = 9 + rng.uniform(-1.5, 1.5, 200)
    mean = gaussian(energy, centre, 0.55, 2e4) + gaussian(energy, centre + 22, 6.0, 6e4)
    counts = 6.5 * rng.poisson(mean) + rng.normal(0, 20, mean.shape)
    assert (counts < 0).mean() > 0.1
    found = estimate_centre(counts, energy, gain=None)
    error = found.centre - centre
    assert (found.status == ZeroLossStatus.OK).all()
    assert np.sqrt(np.mean(error**2)) < 1.2 * 0.55 / np.sqrt(2e4)
    assert 0.85 < np.std(error / found.centre_std) < 1.15
    assert found.gain == pytest.approx(6.5, rel=0.15)


# ------------------------------------------------------------------------------------------------ removal


def _pseudo_voigt(energy, centre, fwhm, lorentz, total):
    step = energy[1] - energy[0]
    fine = energy[:, None] + step * (np.arange(-10, 11) / 21)
    x = (fine - centre) / fwhm
    value = (1 - lorentz) * np.sqrt(4 * np.log(2) / np.pi) * np.exp(-4 * np.log(2) * x**2)
    value = value + lorentz * 2 / np.pi / (1 + 4 * x**2)
    return total * step / fwhm * value.mean(axis=1)


@pytest.fixture(scope="module")
def tailed():
    """Pseudo-Voigt zero losses with jitter, a band at 5 eV and a plasmon: counts, energy, what must remain."""
    rng = np.random.default_rng(5)
    energy = np.arange(-25, 60, 0.1)
    centre = rng.uniform(-0.5, 0.5, 60)
    loss = np.array([gaussian(energy, [c + 5.2], 0.6, 2e4)[0] + gaussian(energy, [c + 25], 4, 4e5)[0] for c in centre])
    peak = np.array([_pseudo_voigt(energy, c, 0.8, 0.3, 1e6) for c in centre])
    return rng.poisson(peak + loss).astype(float), energy, loss, centre


@pytest.mark.parametrize("method", ["fit", "mirror", "reference"])
def test_what_remains_is_the_loss(tailed, method, rng):
    counts, energy, loss, centre = tailed
    options = {}
    if method == "reference":
        options["reference"] = rng.poisson(_pseudo_voigt(energy, 0.123, 0.8, 0.3, 3e7)).astype(float)
    removed = remove_zero_loss(counts, energy, method=method, **options)
    distance = energy - centre[:, None]
    band = (distance > 3.5) & (distance < 7)
    kept = np.where(band, removed.spectrum, 0).sum(axis=1)
    true = np.where(band, loss, 0).sum(axis=1)
    std = np.sqrt(np.where(band, removed.variance, 0).sum(axis=1))
    assert np.isfinite(removed.spectrum).all()
    assert abs(np.mean(kept - true)) < 0.01 * true.mean()
    if method != "fit":
        return
    # Between its ends a fitted tail shares its error over the band: channel by channel the variance is true.
    pull = ((removed.spectrum - loss) / np.sqrt(removed.variance))[band]
    assert 0.9 < pull.std() < 1.15
    assert std.min() > 0


def test_variance_and_covariance_of_the_mirrored_tail(rng):
    """Over many repetitions the scatter of the remainder, and of sums over channels, is what is reported."""
    energy = np.arange(-20, 20, 0.2)
    mean = _pseudo_voigt(energy, 0.037, 1.0, 0.5, 2e5)
    removed = remove_zero_loss(rng.poisson(mean, (1500, energy.size)).astype(float), energy, method="mirror")
    band = slice(int(np.searchsorted(energy, 3)), int(np.searchsorted(energy, 6)))
    scatter = removed.spectrum[:, band].std(axis=0)
    np.testing.assert_allclose(scatter, np.sqrt(removed.variance[:, band].mean(axis=0)), rtol=0.12)
    variance = removed.variance[:, band].mean(axis=0).sum()
    shared = sum(removed.covariance[:, lag - 1, band][:, : -lag or None].mean(axis=0).sum() for lag in (1, 2, 3))
    total = removed.spectrum[:, band].sum(axis=1).std()
    assert total == pytest.approx(np.sqrt(variance + 2 * shared), rel=0.1)


def test_reference_on_its_own_axis(tailed):
    counts, energy, loss, centre = tailed
    axis = np.arange(-60, 20, 0.1)
    removed = remove_zero_loss(
        counts,
        energy,
        method="reference",
        reference=_pseudo_voigt(axis, -30.0, 0.8, 0.3, 1e8)[200:],
        reference_energy=axis[200:] + 30,
    )
    near = np.abs(energy - centre[:, None] - 2) < 0.5
    assert abs(np.where(near, removed.spectrum - loss, 0).sum(axis=1).mean()) < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "method is 'guess'"),
        ({"method": "reference"}, "needs reference="),
        ({"method": "fit", "reference": np.ones(850)}, "not used by method='fit'"),
        ({"method": "reference", "reference": np.ones((2, 850))}, "one spectrum"),
        ({"method": "reference", "reference": np.ones(850)}, "no zero-loss peak"),
        ({"method": "reference", "reference": np.ones(9), "reference_energy": np.arange(9.0)}, "1 eV wide"),
    ],
)
def test_bad_options(tailed, options, message):
    with pytest.raises(ValueError, match=message):
        remove_zero_loss(tailed[0][:2], tailed[1], **options)


def test_no_channel_in_the_search_range():
    with pytest.raises(ValueError, match="no zero-loss peak in range"):
        estimate_centre(np.ones(100), np.arange(100.0, 200.0))
