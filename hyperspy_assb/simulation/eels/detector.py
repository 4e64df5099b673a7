"""Zero loss, spread by the detector, and the noise of counting."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage, optimize

from hyperspy_assb.simulation.conditions import Detector

# Energies of the tunnelling distribution as fractions of the full width of the zero loss.
_THERMAL = 0.10
_TUNNELLING = 0.28


def _emission(frequency: np.ndarray) -> np.ndarray:
    """Fourier transform of the loss distribution of an emitter for a zero loss of unit width, not centred."""
    # exp(x/d) / (1 + exp(x/kT)): energies x of tunnelling electrons; a slow electron shows as an energy loss.
    p = _THERMAL / _TUNNELLING
    return np.sin(np.pi * p) / np.sin(np.pi * (p + 1j * _THERMAL * frequency))


@cache
def _unit_zero_loss() -> tuple[float, float]:
    """Gaussian sigma that brings the full width to 1, and where the maximum then lies."""
    n, step = 4096, 0.005
    frequency = 2 * np.pi * np.fft.rfftfreq(n, step)
    x = (np.arange(n) - n // 2) * step

    def profile(sigma: float) -> np.ndarray:
        return np.fft.fftshift(np.fft.irfft(_emission(frequency) * np.exp(-((sigma * frequency) ** 2) / 2), n))

    def width(sigma: float) -> float:
        y = profile(sigma)
        top = int(y.argmax())
        half = y[top] / 2
        left = np.interp(half, y[top - 600 : top + 1], x[top - 600 : top + 1])
        right = np.interp(-half, -y[top : top + 600], x[top : top + 600])
        return right - left

    sigma = optimize.brentq(lambda s: width(s) - 1, 0.02, 0.6)
    y = profile(sigma)
    i = int(y.argmax())
    a, b, c = y[i - 1 : i + 2]
    return sigma, x[i] + step * 0.5 * (a - c) / (a - 2 * b + c)


def zero_loss_transform(frequency: np.ndarray, energy_resolution: float) -> np.ndarray:
    """
    Fourier transform of the zero-loss peak before the detector.

    Parameters
    ----------
    frequency
        Angular frequency in 1/eV.
    energy_resolution
        Full width at half maximum in eV.

    Returns
    -------
    numpy.ndarray
        Complex; 1 at frequency 0. The maximum of the peak lies at 0 eV, its mean at a small loss.
    """
    sigma, top = _unit_zero_loss()
    w = frequency * energy_resolution
    return _emission(w) * np.exp(-((sigma * w) ** 2) / 2 + 1j * w * top)


def detector_transform(frequency: np.ndarray, dispersion: float, detector: Detector) -> np.ndarray:
    """
    Fourier transform of the spread of single electrons in the detector, tails included.

    Parameters
    ----------
    frequency
        Angular frequency in 1/eV.
    dispersion
        Channel width in eV.
    detector
        Detector.

    Returns
    -------
    numpy.ndarray
        Real; 1 at frequency 0.
    """
    w = frequency * dispersion
    core = np.exp(-((detector.core_spread * w) ** 2) / 2)
    tails = 0.4 / (1 + (6 * w) ** 2) + 0.6 * np.exp(-4 * np.abs(w))
    return (1 - detector.tail_strength) * core + detector.tail_strength * tails


def record(expectation: np.ndarray, detector: Detector, rng: np.random.Generator) -> np.ndarray:
    """
    Draw what the camera records.

    Parameters
    ----------
    expectation
        Expected electrons in each channel, ``(..., channels)``.
    detector
        Detector.
    rng
        Source of the noise.

    Returns
    -------
    numpy.ndarray
        Counts as float32: gain times Poisson, then blur, read noise, dark offset and X-ray hits.
    """
    # The tails of a Fourier sum can be below zero by rounding.
    counts = rng.poisson(np.maximum(expectation, 0)).astype(float) * detector.gain
    if detector.light_spread > 0:
        counts = ndimage.gaussian_filter1d(counts, detector.light_spread, axis=-1, mode="nearest")
    if detector.read_noise > 0:
        counts += rng.normal(0, detector.read_noise, counts.shape)
    counts += detector.dark_offset
    if detector.x_ray_spikes > 0:
        spectra = counts.reshape(-1, counts.shape[-1])
        hit = np.repeat(np.arange(len(spectra)), rng.poisson(detector.x_ray_spikes, len(spectra)))
        channel = rng.integers(0, counts.shape[-1] - 1, len(hit))
        height = detector.gain * rng.exponential(500.0, len(hit))
        np.add.at(spectra, (hit, channel), height)
        np.add.at(spectra, (hit, channel + 1), height * rng.random(len(hit)) * 0.5)
        counts = spectra.reshape(counts.shape)
    return counts.astype(np.float32)
