"""The batched fit as users meet it: its values in the model, its quality and covariance as results."""

from __future__ import annotations

from types import MethodType
from typing import Any

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbRuntimeError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.models.multifit import FitOptions, fit_model
from hyperspy_assb.models.recorded_signal import recorded_text
from hyperspy_assb.models.results import Evidence
from hyperspy_assb.signals.fits.covariance import Covariance
from hyperspy_assb.signals.fits.fit_quality import FitQuality
from hyperspy_assb.signals.fits.model_fit import ModelFit
from hyperspy_assb.signals.result import axis_length, navigation_axes


def multifit(
    model: Any,
    *,
    mask: Any = None,
    loss_function: str = "ML-poisson",
    bounded: bool = True,
    detector: Detector | str | None = None,
    options: FitOptions | None = None,
    show_progressbar: bool | None = None,
) -> ModelFit:
    """Fit a HyperSpy model to every spectrum of its signal at once.

    Fills ``parameter.map`` of every parameter, the chi-squared (the deviance) and degrees of freedom of the model, and
    its ``fit_quality`` and ``covariance()``. If the fit is interrupted, the model stays as it was.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        One-dimensional, of any signal. Components are compiled from their expression or kernel; others are evaluated
        once, if they are linear in what is free. Twins, bounds, fixed values, signal ranges, components that are
        active in some spectra only, and convolution with a low-loss signal are those of the model.
    mask
        Boolean array or signal on the navigation axes; True where not to fit.
    loss_function
        "ML-poisson", or "ls": least squares, weighted by the noise variance that the signal has, as in HyperSpy. Where
        it has none, standard errors follow from the residuals.
    bounded
        Whether the bounds of the parameters hold.
    detector
        Gain and read noise, or "estimate": from the residuals of a first fit. None: those of the model,
        where it has found some, or of the metadata.
    options
        How far the solver goes, in how many threads, and where results go; see
        :class:`~hyperspy_assb.models.multifit.FitOptions`.
    show_progressbar
        HyperSpy's preference by default.

    Returns
    -------
    ModelFit
        Values, standard errors, deviance and status at every position; a result like any other, with ``save``.

    Raises
    ------
    NotImplementedError
        If something in the model cannot be compiled; it is named.
    FileExistsError
        If there is something at the place for the results.
    ValueError
        If the loss function is not known, the mask has the wrong shape, a variance is not above 0, or there is too
        little to estimate a gain from.
    TypeError
        If the detector or the options are of another kind.

    Notes
    -----
    Damped Fisher scoring: M. R. Osborne, Int. Stat. Rev. 60, 99 (1992). Likelihood: W. Cash, Astrophys. J. 228, 939
    (1979), doi:10.1086/156922; with read noise as in D. L. Snyder et al., J. Opt. Soc. Am. A 10, 1014 (1993).

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import numpy as np
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel, FePO4ValenceBand
    >>> model = hs.signals.Signal1D(np.zeros((3, 4, 100))).create_model()
    >>> axis = model.signal.axes_manager.signal_axes[0]
    >>> axis.scale, axis.is_binned = 0.1, True
    >>> model.extend([FePO4ValenceBand(900.0, 5.0, 1.5), DarkLevel(150.0)])
    >>> expected = model._get_current_data()
    >>> model.signal.data = np.random.default_rng(1).poisson(expected, (3, 4, 100))
    >>> result = hyperspy_assb.multifit(model, show_progressbar=False)
    >>> bool(result.usable.all()), result.values.shape
    (True, (12, 4))
    >>> print(model["FePO4ValenceBand"].centre.map["values"].mean().round(1))
    5.0
    """
    evidence = fit_model(
        model,
        mask=mask,
        loss_function=loss_function,
        bounded=bounded,
        detector=detector,
        options=options,
        show_progressbar=show_progressbar,
    )
    return dress(model, evidence)


def dress(model: Any, evidence: Evidence) -> ModelFit:
    """Give a model that was fitted its ``fit_quality`` and ``covariance()``; returns its values."""
    result, axes = evidence.result, navigation_axes(model.signal)
    parameters = {
        "loss function": evidence.goodness.loss_function,
        "detector": evidence.goodness.detector,
        "noise": evidence.goodness.noise,
        "components": [component.name for component in model if component.active],
        "channels": evidence.goodness.channels,
        "file": recorded_text(model.signal, "General.original_filename"),
    }
    record = provenance.record("multifit", parameters=parameters, methods=["poisson", "hyperspy", "numpy", "numba"])
    model.fit_quality = FitQuality(evidence.goodness, evidence=evidence, axes=axes, provenance=record)
    model._covariance = None
    if result.covariance is not None:
        shape, size = tuple(map(axis_length, axes)), len(evidence.free)
        values = result.covariance.reshape(*shape, size, size)
        model._covariance = Covariance(evidence.free, values, result.status, axes=axes, provenance=record)
    if not hasattr(type(model), "covariance"):
        model.covariance = MethodType(covariance, model)
    return ModelFit(
        names=evidence.names,
        units=evidence.units,
        free=result.free,
        values=result.values,
        values_std=result.std,
        deviance=result.deviance,
        dof=result.dof,
        fitted=result.status,
        axes=axes,
        provenance=record,
    )


def covariance(model: Any) -> Covariance:
    """Covariance of the free parameters at every position, from the last batched fit.

    Raises
    ------
    RuntimeError
        If there was no batched fit, or it did not keep the covariance.
    """
    kept: Covariance | None = getattr(model, "_covariance", None)
    if kept is None:
        raise AssbRuntimeError('There is no covariance yet: run m.multifit(optimizer="batched") first.')
    return kept
