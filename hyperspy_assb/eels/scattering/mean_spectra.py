"""Mean spectra of regions that can be laid over each other: aligned, and per zero loss and thickness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray


@dataclass(frozen=True)
class MeanSpectrum:
    """Mean spectrum of a region.

    Parameters
    ----------
    energy
        Energy loss in eV, shape (E,), with the zero loss at 0.
    density
        Share of the zero loss scattered into 1 eV, per t/lambda, shape (E,). In thin columns this is the
        single-scattering distribution of integral 1; the zero loss itself is still in it.
    std
        Its standard error, shape (E,).
    n_pixels
        Spectra in it.
    """

    energy: FloatArray
    density: FloatArray
    std: FloatArray
    n_pixels: int


def log_ratio(counts: FloatArray, zero_loss: FloatArray) -> FloatArray:
    """t/lambda from the logarithm of all counts, shape (S, E), over those of the zero loss, shape (S,)."""
    return np.log(np.maximum(counts.sum(axis=-1), 1e-300) / zero_loss)


def mean_spectrum(
    counts: FloatArray, energy: FloatArray, *, zero_loss: FloatArray, t_over_lambda: FloatArray
) -> MeanSpectrum:
    """Mean of spectra per zero loss and t/lambda.

    Parameters
    ----------
    counts
        Shape (S, E).
    energy
        Evenly spaced, in eV, shape (E,).
    zero_loss
        Energy of the zero loss in each spectrum in eV, shape (S,); spectra where it is NaN are left out.
    t_over_lambda
        Thickness over the inelastic mean free path, shape (S,); spectra where it is not above 0 are left out.

    Returns
    -------
    spectrum
        On the channels that all spectra have.

    Raises
    ------
    ValueError
        If no spectrum is left.

    Notes
    -----
    Spectra are moved by whole channels, so that the noise of neighbouring channels stays independent; what is left of
    the shift, at most half a channel, blurs the mean. The sum of all spectra over the sum of their zero loss times
    t/lambda is taken, not the mean of ratios, which would be biased at low dose. The standard error is that of a ratio
    of sums (Cochran, Sampling Techniques, 3rd ed. (1977), section 6.3): it follows from how the spectra differ from
    each other, whatever the gain of the detector; for a single spectrum, from its counts.
    """
    use = np.isfinite(zero_loss) & (t_over_lambda > 0.0) & np.isfinite(counts).all(axis=1)
    if not use.any():
        raise AssbValueError(
            f"None of the {use.size} spectra has a zero loss and a t/lambda above 0: choose a region with material."
        )
    counts, thickness = counts[use], t_over_lambda[use]
    step = float(energy[1] - energy[0])
    moved = np.rint((zero_loss[use] - zero_loss[use].mean()) / step).astype(int)
    first, last = moved.min(), moved.max()
    size = counts.shape[1] - (last - first)
    if size < 2:
        raise AssbValueError(f"The zero loss moves by {(last - first) * step:g} eV: no channel is in all spectra.")
    rows = np.arange(counts.shape[0])[:, np.newaxis]
    aligned = counts[rows, np.arange(size) + (moved - first)[:, np.newaxis]]
    centre = float(np.mean(zero_loss[use] - moved * step))
    # All counts are the zero loss times exp(t/lambda).
    scale = counts.sum(axis=1) * np.exp(-thickness) * thickness * step
    total, number = float(scale.sum()), counts.shape[0]
    density = aligned.sum(axis=0) / total
    if number > 1:
        squares = np.sum((aligned - scale[:, np.newaxis] * density) ** 2, axis=0)
        std = np.sqrt(squares * number / (number - 1)) / total
    else:
        std = np.sqrt(np.maximum(aligned[0], 1.0)) / total
    return MeanSpectrum(
        energy=energy[0] + step * (np.arange(size) - first) - centre,
        density=density,
        std=std,
        n_pixels=number,
    )


def spectrum_difference(after: MeanSpectrum, before: MeanSpectrum) -> MeanSpectrum:
    """Difference of two mean spectra, on the channels of the earlier one that both cover.

    Parameters
    ----------
    after, before
        Mean spectra of two states.

    Returns
    -------
    difference
        After less before; the later one is interpolated between its channels, and so are its variances.

    Raises
    ------
    ValueError
        If they have no energies in common.

    Notes
    -----
    Interpolation correlates neighbouring channels: the errors of single channels hold, sums over channels need the
    spectra themselves.
    """
    shared = (before.energy >= after.energy[0]) & (before.energy <= after.energy[-1])
    if not shared.any():
        raise AssbValueError(
            f"The spectra have no energies in common: {before.energy[0]:g} to {before.energy[-1]:g} eV before, "
            f"{after.energy[0]:g} to {after.energy[-1]:g} eV after."
        )
    energy = before.energy[shared]
    position = np.interp(energy, after.energy, np.arange(after.energy.size))
    left = np.minimum(position.astype(int), after.energy.size - 2)
    share = position - left
    density = (1.0 - share) * after.density[left] + share * after.density[left + 1]
    variance = ((1.0 - share) * after.std[left]) ** 2 + (share * after.std[left + 1]) ** 2
    return MeanSpectrum(
        energy=energy,
        density=density - before.density[shared],
        std=np.sqrt(variance + before.std[shared] ** 2),
        n_pixels=min(after.n_pixels, before.n_pixels),
    )
