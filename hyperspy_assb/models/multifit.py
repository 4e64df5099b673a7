"""From a HyperSpy model to the batched fit, and its results back into the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.components.base import KernelComponent
from hyperspy_assb.fitting.forward import SpectrumModel
from hyperspy_assb.fitting.kernels import FloatArray
from hyperspy_assb.fitting.solvers import Detector, FitResult, SolverOptions, fit_spectra


@dataclass(frozen=True)
class FitQuality:
    """How good the fit is at every position: HyperSpy signals on the navigation axes.

    Parameters
    ----------
    deviance
        Poisson deviance.
    dof
        Degrees of freedom.
    status
        :class:`~hyperspy_assb.fitting.solvers.Status` as integers.
    """

    deviance: Any
    dof: Any
    status: Any


@dataclass(frozen=True)
class Covariance:
    """Covariance of the free parameters at every position.

    Parameters
    ----------
    names
        ``(component, parameter)`` of each row.
    values
        Shape (..., F, F) on the navigation axes; NaN where there is no fit.
    """

    names: tuple[tuple[str, str], ...]
    values: FloatArray

    def index(self, component: str, parameter: str) -> int:
        """Row of a parameter.

        Raises
        ------
        KeyError
            If it was not free.
        """
        try:
            return self.names.index((component, parameter))
        except ValueError:
            raise KeyError(f"{component}.{parameter} was not a free parameter; free were {list(self.names)}.") from None


@dataclass(frozen=True)
class Compiled:
    """A HyperSpy model as the solver takes it; parameters are those of all components, one after the other."""

    model: SpectrumModel
    components: tuple[KernelComponent, ...]
    free: NDArray[np.bool_]
    lower: FloatArray
    upper: FloatArray
    start: FloatArray
    mask: NDArray[np.bool_]

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """``(component, parameter)`` of every parameter."""
        return tuple((c.name, p.name) for c in self.components for p in c.parameters)


def compile_model(model: Any) -> Compiled:
    """Turn the active components of a HyperSpy model into a forward model with bounds and starting values.

    Raises
    ------
    NotImplementedError
        If a component gives no kernel, a parameter is twinned, or the energy axis is not uniform; it is named.
    """
    if not model.axis.is_uniform:
        raise NotImplementedError(f"The axis {model.axis.name!r} is not uniform: interpolate the signal first.")
    if _is_convolved(model):
        raise NotImplementedError("The batched fit takes plural scattering from the model itself, not from low_loss.")
    components = [c for c in model if c.active]
    for component in components:
        if not isinstance(component, KernelComponent):
            raise NotImplementedError(
                f'{component.name} ({type(component).__name__}) has no kernel for the batched fit: use optimizer="lm".'
            )
        twinned = [p.name for p in component.parameters if p.twin is not None]
        if twinned:
            raise NotImplementedError(
                f'{component.name}.{twinned[0]} is a twin: free it, fix it, or use optimizer="lm".'
            )
    parameters = [p for c in components for p in c.parameters]
    count = max(1, model.axes_manager.navigation_size)
    start = np.empty((count, len(parameters)))
    for column, parameter in enumerate(parameters):
        stored, known = np.ravel(parameter.map["values"]), np.ravel(parameter.map["is_set"])
        start[:, column] = np.where(known & np.isfinite(stored), stored, parameter.value)
    switches = model._channel_switches
    used = int(np.flatnonzero(switches)[-1]) + 1  # no channel depends on one of higher energy
    return Compiled(
        model=SpectrumModel(
            [c.term for c in components],
            model.axis.axis[:used],
            plural_scattering=getattr(model, "plural_scattering", False),
        ),
        components=tuple(components),
        free=np.array([p.free for p in parameters], dtype=bool),
        lower=np.array([-np.inf if p.bmin is None else p.bmin for p in parameters], dtype=float),
        upper=np.array([np.inf if p.bmax is None else p.bmax for p in parameters], dtype=float),
        start=start,
        mask=~switches[:used],
    )


def _is_convolved(model: Any) -> bool:
    """Whether components are convolved with a low-loss signal; models of other signals than EELS cannot be asked."""
    try:
        return bool(model.convolved)
    except NotImplementedError:
        return False


def detector_from_metadata(signal: Any) -> Detector:
    """Gain and read noise from HyperSpy's ``Variance_linear_model``; a perfect counter where there is none."""
    node = "Signal.Noise_properties.Variance_linear_model"
    gain = signal.metadata.get_item(f"{node}.gain_factor", 1.0)
    offset = signal.metadata.get_item(f"{node}.gain_offset", 0.0)
    return Detector(gain=float(gain), read_noise=float(np.sqrt(max(offset, 0.0))))


def _noise_variance(signal: Any, shape: tuple[int, int]) -> Any:
    """Variance of the counts as HyperSpy has it: a signal, a number, or 1 where there is none; shape (S, E)."""
    variance = signal.get_noise_variance()
    if variance is None or np.isscalar(variance):
        return 1.0 if variance is None else float(variance)
    data = variance.data.compute() if variance._lazy else variance.data
    return np.asarray(data, dtype=float).reshape(-1, data.shape[-1])[:, : shape[1]]


def multifit(
    model: Any,
    *,
    mask: NDArray[np.bool_] | None = None,
    loss_function: str = "ML-poisson",
    detector: Detector | None = None,
    options: SolverOptions | None = None,
    show_progressbar: bool | None = None,
    progress: Callable[[int], object] | None = None,
) -> FitResult:
    """Fit a HyperSpy model to every spectrum of its signal at once.

    Fills ``parameter.map`` of every parameter, the chi-squared and degrees of freedom of the model, and, where the
    model has them, ``fit_quality`` and ``covariance()``.

    Parameters
    ----------
    model : hyperspy.model.BaseModel
        One-dimensional, of components that hand a kernel to the fit.
    mask : numpy.ndarray, optional
        True where not to fit, on the navigation axes.
    loss_function : str
        "ML-poisson", or "ls": least squares, weighted by the noise variance that the signal has, as in HyperSpy.
    detector : Detector, optional
        Gain and read noise; from the metadata by default.
    options : SolverOptions, optional
        How far the solver goes.
    show_progressbar : bool, optional
        HyperSpy's preference by default.
    progress : callable, optional
        Called with the number of spectra just finished, instead of the progress bar.

    Returns
    -------
    result : FitResult
        Everything, on flattened navigation axes.

    Raises
    ------
    NotImplementedError
        If something in the model cannot be compiled; it is named.
    ValueError
        If the loss function is not known or the mask has the wrong shape.
    """
    from hyperspy.defaults_parser import preferences
    from tqdm.auto import tqdm

    if loss_function not in ("ML-poisson", "ls"):
        raise ValueError(f'loss_function must be "ML-poisson" or "ls" for the batched fit, not {loss_function!r}.')
    compiled = compile_model(model)
    signal = model.signal
    shape = signal.axes_manager._navigation_shape_in_array
    data = signal.data.compute() if signal._lazy else signal.data
    counts = np.array(data, dtype=float).reshape(-1, model.axis.size)[:, : compiled.mask.size]
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != shape:
            raise ValueError(f"mask must have the shape {shape} of the navigation axes, not {mask.shape}.")
        counts[mask.ravel()] = np.nan
    show = preferences.General.show_progressbar if show_progressbar is None else show_progressbar
    with tqdm(total=len(counts), disable=progress is not None or not show, unit="spectra", desc="Fit") as bar:
        result = fit_spectra(
            compiled.model,
            counts,
            compiled.start,
            free=compiled.free,
            lower=compiled.lower,
            upper=compiled.upper,
            mask=compiled.mask,
            detector=detector_from_metadata(signal) if detector is None else detector,
            variance=_noise_variance(signal, counts.shape) if loss_function == "ls" else None,
            options=options,
            progress=bar.update if progress is None else progress,
        )
    store_result(model, compiled, result, shape)
    return result


def store_result(model: Any, compiled: Compiled, result: FitResult, shape: tuple[int, ...]) -> None:
    """Write fitted values into the parameter maps and quality maps of a model."""
    map_shape = compiled.components[0].parameters[0].map.shape
    column = 0
    std = result.std
    for component in compiled.components:
        for parameter in component.parameters:
            parameter.map["values"] = result.values[:, column].reshape(map_shape)
            parameter.map["std"] = np.where(compiled.free[column], std[:, column], np.nan).reshape(map_shape)
            parameter.map["is_set"] = result.usable.reshape(map_shape)
            column += 1
    model.chisq.data[...] = result.deviance.reshape(model.chisq.data.shape)
    model.dof.data[...] = int(compiled.free.sum())
    model.fetch_stored_values()
    if not hasattr(model, "fit_quality"):
        return

    def as_map(values: NDArray[Any], title: str) -> Any:
        out = model.chisq._deepcopy_with_new_data(values.reshape(model.chisq.data.shape))
        out.metadata.General.title = title
        return out

    model.fit_quality = FitQuality(
        deviance=as_map(result.deviance, "Poisson deviance"),
        dof=as_map(np.full(result.status.shape, result.dof), "degrees of freedom"),
        status=as_map(result.status, "fit status"),
    )
    free = np.flatnonzero(compiled.free)
    model._covariance = Covariance(
        names=tuple(compiled.names[k] for k in free),
        values=result.covariance[:, free[:, np.newaxis], free].reshape(*shape, free.size, free.size),
    )
