"""Energy and width of the volume plasmon in a single-scattering distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d
from scipy.optimize import least_squares

from hyperspy_assb.eels.scattering.single_scattering import ZeroLossShape

FloatArray = NDArray[np.float64]

SEARCH_RANGE = (8.0, 40.0)
"""Losses in eV between which the maximum is sought."""
_FEWEST_CHANNELS = 5
"""Channels between these without which no maximum can be told."""


@dataclass(frozen=True)
class Plasmon:
    """A plasmon, fitted from half of its maximum upwards.

    Parameters
    ----------
    energy
        Plasmon energy of the fitted Drude function in eV; NaN where there is no maximum in range.
    width
        Its full width at half maximum in eV, without the broadening of the zero loss.
    weights
        Weights by which a small change of the distribution changes energy and width, shape (2, E), in eV; the errors
        of both follow from any covariance of the distribution.
    """

    energy: float
    width: float
    weights: FloatArray


def drude(loss: FloatArray, energy: float, width: float) -> FloatArray:
    """Loss function Im(-1/eps) of free electrons, with the maximum near `energy`, any shape."""
    value: FloatArray = loss * width * energy**2 / ((loss**2 - energy**2) ** 2 + (loss * width) ** 2)
    return value


def fit_plasmon(
    distribution: FloatArray, loss: FloatArray, resolution: ZeroLossShape, *, start: float = SEARCH_RANGE[0]
) -> Plasmon:
    """Fit a Drude function, broadened by the zero loss, to the highest maximum of a distribution.

    Parameters
    ----------
    distribution
        Single scattering, shape (E,).
    loss
        Losses in eV, from 0 upwards, shape (E,).
    resolution
        The peak that the distribution is broadened by.
    start
        Loss in eV from which the maximum is sought, where that is above 8 eV.

    Returns
    -------
    Plasmon
        In a material whose plasmon is not that of free electrons, a description of the maximum.
    """
    step = float(loss[1] - loss[0])
    nothing = Plasmon(np.nan, np.nan, np.full((2, loss.size), np.nan))
    smooth = uniform_filter1d(distribution, max(round(resolution.fwhm / step), 1))
    inside = np.flatnonzero((loss >= max(SEARCH_RANGE[0], start)) & (loss <= SEARCH_RANGE[1]))
    if inside.size < _FEWEST_CHANNELS:
        return nothing
    top = int(inside[np.argmax(smooth[inside])])
    below = smooth < 0.5 * smooth[top]
    left = np.flatnonzero(below[:top])
    right = np.flatnonzero(below[top:])
    if smooth[top] <= 0 or left.size == 0 or right.size == 0 or top in (inside[0], inside[-1]):
        return nothing
    first, last = int(left[-1]), top + int(right[0])
    size = resolution.values.size
    broadening = np.asarray(fft.rfft(resolution.values))
    window = slice(first, last + 1)
    scale = float(smooth[top])

    def model(theta: FloatArray) -> FloatArray:
        fine = drude(loss, theta[1], abs(theta[2]))
        shown = np.asarray(fft.irfft(broadening * np.asarray(fft.rfft(fine, size)), size))[window]
        return theta[0] * shown

    width = max(float(loss[last] - loss[first]), 2 * step)
    guess = np.array([scale * width / loss[top], loss[top], width])
    fitted = least_squares(lambda theta: (model(theta) - distribution[window]) / scale, guess, x_scale=guess)
    if not fitted.success or not loss[first] <= fitted.x[1] <= loss[last]:
        return nothing
    weights = np.zeros((2, loss.size))
    weights[:, window] = np.linalg.pinv(fitted.jac)[1:] / scale
    weights[1] *= np.sign(fitted.x[2])
    return Plasmon(float(fitted.x[1]), float(abs(fitted.x[2])), weights)
