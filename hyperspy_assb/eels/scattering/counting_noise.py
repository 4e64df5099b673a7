"""Counting noise of single-scattering distributions: for small errors the deconvolution is a linear map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hyperspy_assb.eels.scattering.single_scattering import Grid, ZeroLossShape
from hyperspy_assb.fitting.solver.noise_claim import Noise

FloatArray = NDArray[np.float64]
Counts = NDArray[np.floating]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Averaging:
    """How the distributions of P spectra are averaged, and what is wanted of their mean.

    Parameters
    ----------
    mean
        Sum of the distributions over the sum of `thickness`, shape (E,).
    thickness
        What the distributions are divided by, shape (P,).
    normaliser
        Weights of the channels whose sum is the thickness, shape (E,), where it is an area; an empty array where there
        is no normalisation; None where it is the log-ratio.
    weights
        Weights of the channels in F sums, shape (F, E).
    group
        Spectra of like thickness: a group for each, shape (P,), from 0 upwards.
    """

    mean: FloatArray
    thickness: FloatArray
    normaliser: FloatArray | None
    weights: FloatArray
    group: IntArray


@dataclass(frozen=True)
class ZeroLosses:
    """The zero-loss peaks of P spectra.

    Parameters
    ----------
    centre
        Positions in eV, shape (P,).
    intensity
        Counts, shape (P,).
    shape
        The form of all of them.
    """

    centre: FloatArray
    intensity: FloatArray
    shape: ZeroLossShape


@dataclass(frozen=True)
class CountingVariance:
    """Variances of a mean distribution from counting.

    Parameters
    ----------
    channels
        Of each channel, shape (E,).
    functionals
        Of each weighted sum over channels, shape (F,).
    """

    channels: FloatArray
    functionals: FloatArray


def propagate_counting(
    blocks: Iterable[tuple[slice, Counts, NDArray[np.float32]]],
    energy: FloatArray,
    zero_losses: ZeroLosses,
    t_over_lambda: FloatArray,
    averaging: Averaging,
    noise: Noise,
) -> CountingVariance:
    """Variance from counting of a mean distribution and of weighted sums of it.

    For small errors the Fourier logarithm turns the error of the counts into its convolution with the inverse of the
    plural scattering, exp(-S): this is done for each group of pixels with its own mean thickness. A shift in Fourier
    space leaves the correlation of neighbouring channels as it is where their variance changes slowly; sums over many
    channels have the noise of their mean.

    Parameters
    ----------
    blocks
        Places of spectra among the P, their counts and their distributions, shape (B, E) and (B, L).
    energy
        Centres of the channels in eV, shape (E,).
    zero_losses
        Peaks of all spectra.
    t_over_lambda
        Of all spectra, shape (P,).
    averaging
        How they are averaged.
    noise
        Gain, read noise and correlation of neighbouring channels.

    Returns
    -------
    CountingVariance
        In the units of the mean, squared.
    """
    weights, mean, group = averaging.weights, averaging.mean, averaging.group
    grid = Grid.of(energy)
    size = mean.size
    window = max(zero_losses.shape.fwhm, grid.step)
    in_window = np.abs(grid.loss) <= window
    share = float(zero_losses.shape.values[in_window].sum())
    sums = weights @ mean
    channels, functionals = np.zeros(size), np.zeros(weights.shape[0])
    towards = np.conj(grid.transform(weights))
    # Single channels have this share of the variance that sums of many go by.
    single, detector = 1.0 / noise.inflation, noise.broad
    recorded = grid.loss <= energy[-1] - zero_losses.centre.max()
    nearest = np.rint((energy[0] - zero_losses.centre) / grid.step).astype(int)
    in_group = np.bincount(group)
    variances, averages = np.zeros((in_group.size, grid.size)), np.zeros((in_group.size, size))
    for part, counts, distribution in blocks:
        for own, of, intensity, shift in zip(
            counts, group[part], zero_losses.intensity[part], nearest[part], strict=True
        ):
            noisy = (detector.gain * own + detector.read_noise**2) / intensity**2
            variances[of] += np.roll(np.concatenate([noisy, np.zeros(grid.size - noisy.size)]), shift)
        for of in np.unique(group[part]):
            averages[of] += distribution[group[part] == of].sum(axis=0, dtype=np.float64)
    for number, (variance, average) in enumerate(zip(variances, averages, strict=True)):
        variance = np.maximum(variance, 0.0)
        average = average / in_group[number]
        average[: np.searchsorted(grid.step * np.arange(size), window)] = 0.0
        inverse = np.exp(-grid.transform(average))
        thickness = float(t_over_lambda[group == number].mean())
        # What an electron in a channel adds to each sum, and to the thickness.
        reached = grid.back(np.conj(towards * inverse))
        moved = _thickness_weights(grid, inverse, averaging.normaliser, in_window / share, recorded, thickness)
        functionals += ((reached - sums[:, None] * moved) ** 2) @ variance
        kernel = grid.back(inverse)
        at = np.asarray(fft.rfft(variance))
        own = grid.back(np.asarray(fft.rfft(kernel**2)) * at)[:size]
        shared = grid.back(inverse * np.asarray(fft.rfft(variance * moved)))[:size]
        channels += single * own - 2 * mean * shared + mean**2 * float(moved**2 @ variance)
    total = float(averaging.thickness.sum()) ** 2
    return CountingVariance(np.maximum(channels, 0.0) / total, functionals / total)


def _thickness_weights(
    grid: Grid,
    inverse: NDArray[np.complex128],
    normaliser: FloatArray | None,
    window: FloatArray,
    recorded: NDArray[np.bool_],
    t_over_lambda: float,
) -> FloatArray:
    """What an electron in each sample adds to the thickness of its pixel, times the zero-loss intensity."""
    if normaliser is None:
        return np.exp(-t_over_lambda) * recorded - window
    if normaliser.size == 0:
        return np.zeros(grid.size)
    return grid.back(np.conj(np.conj(grid.transform(normaliser)) * inverse))
