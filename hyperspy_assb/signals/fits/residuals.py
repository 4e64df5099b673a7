"""What a batched fit leaves of the spectra, in units of their standard deviations."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hyperspy_assb.errors import AssbRuntimeError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.results import evidence_of
from hyperspy_assb.plotting.residuals import plot_residual_image


def standardised_residuals(model: Any, *, spectra: int = 256) -> tuple[FloatArray, FloatArray]:
    """Counts minus expectation over their standard deviation, for some of the spectra of a fitted map.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        Fitted by :func:`hyperspy_assb.multifit`.
    spectra : int
        Number of fitted spectra, evenly drawn; no others are read.

    Returns
    -------
    energy, residuals
        Shape (E,) of the fitted channels, and (S, E) in the order of the map.

    Raises
    ------
    RuntimeError
        If the model was not fitted, or no spectrum could be.
    """
    evidence = evidence_of(model)
    fitted = np.flatnonzero(evidence.result.usable)
    if not fitted.size:
        raise AssbRuntimeError("There are no residuals: no spectrum could be fitted.")
    rows = fitted[np.unique(np.linspace(0, fitted.size - 1, min(spectra, fitted.size)).astype(int))]
    variance = model.signal.get_noise_variance() if evidence.goodness.loss_function == "ls" else None
    if variance is not None and not np.isscalar(variance):
        variance = _rows(variance.data, rows)
    residuals = evidence.standardised_residuals(_rows(model.signal.data, rows), rows, variance)
    return evidence.energy[evidence.switches], residuals


def _rows(data: Any, rows: Any) -> FloatArray:
    flat = data.reshape(-1, data.shape[-1])
    return np.array(flat[rows if len(flat) > 1 else np.zeros_like(rows)], dtype=float)


def plot_residuals(model: Any, *, spectra: int = 256, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """Plot the residuals of a batched fit: an image of standardised residuals, and their mean over the spectra.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        Fitted by :func:`hyperspy_assb.multifit`.
    spectra
        Number of fitted spectra to show.
    axes
        For the image and the mean; new ones by default.

    Returns
    -------
    image, mean : matplotlib.axes.Axes
        Residuals of the spectra in standard deviations, and their mean over the spectra in each channel.

    Raises
    ------
    RuntimeError
        If the model was not fitted, or no spectrum could be.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel
    >>> model = hs.signals.Signal1D(np.random.default_rng(3).poisson(20.0, (2, 3, 60))).create_model()
    >>> model.append(DarkLevel(20.0))
    >>> _ = hyperspy_assb.multifit(model, show_progressbar=False)
    >>> image, mean = hyperspy_assb.plot_residuals(model)
    >>> image.get_ylabel()
    'spectrum'
    """
    energy, residuals = standardised_residuals(model, spectra=spectra)
    unit = model.axis.units
    return plot_residual_image(energy, residuals, unit=unit if isinstance(unit, str) else "", axes=axes)
