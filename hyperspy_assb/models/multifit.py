"""The batched fit of a HyperSpy model to every spectrum of its signal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbTypeError, AssbValueError, AssbWarning
from hyperspy_assb.fitting.solver.correlated_errors import CorrelatedErrors, correlated_errors
from hyperspy_assb.fitting.solver.map_fit import fit_blocks
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions
from hyperspy_assb.models.compile import Compiled, compile_model
from hyperspy_assb.models.recorded_noise import fit_noise
from hyperspy_assb.models.recorded_signal import recorded_data
from hyperspy_assb.models.results import Evidence, MapResult, store_result
from hyperspy_assb.progress import counting


@dataclass(frozen=True)
class FitOptions(SolverOptions):
    """How a batched fit is done; what else it has is in ``SolverOptions``.

    Parameters
    ----------
    store
        New folder to which all results are streamed, as a zarr group; the covariance is then read from there.
    progress
        Called with the number of spectra just finished, instead of the progress bar.

    Examples
    --------
    >>> FitOptions(covariance=False, workers=4).tolerance
    1e-10
    """

    store: str | PathLike[str] | None = None
    progress: Callable[[int], object] | None = None


def fit_model(
    model: Any,
    *,
    mask: Any = None,
    loss_function: str = "ML-poisson",
    bounded: bool = True,
    detector: Detector | str | None = None,
    options: FitOptions | None = None,
    show_progressbar: bool | None = None,
) -> Evidence:
    """What :func:`hyperspy_assb.multifit` does; the model keeps the values, and what is returned the rest.

    Parameters and exceptions are those of :func:`hyperspy_assb.multifit`.
    """
    if loss_function not in ("ML-poisson", "ls"):
        raise AssbValueError(f'loss_function must be "ML-poisson" or "ls" for the batched fit, not {loss_function!r}.')
    options = FitOptions() if options is None else options
    if not isinstance(options, FitOptions):
        raise AssbTypeError(f"options must be FitOptions, not {type(options).__name__}.")
    signal = model.signal
    counts = recorded_data(signal, unusable="keep")
    shape = signal.axes_manager._navigation_shape_in_array
    wanted = _wanted(mask, shape)
    compiled, problems = _plan(model, wanted, bounded)
    noise = _noise(model, problems, detector, likelihood=loss_function != "ls")
    variance = _noise_variance(signal) if loss_function == "ls" else None
    known = loss_function != "ls" or signal.get_noise_variance() is not None
    widened: list[CorrelatedErrors | None] = [None] * len(problems)
    with (
        MapResult.of(compiled, wanted.size, store=options.store, covariance=options.covariance) as collected,
        counting("fit", wanted.size, show_progressbar, options.progress) as advance,
    ):
        for positions, results in fit_blocks(
            counts,
            problems,
            detector=noise.detector,
            variance=variance,
            relative=not known,
            options=options,
            progress=advance,
        ):
            for k, (part, result, problem) in enumerate(zip(compiled, results, problems, strict=True)):
                widened[k] = widened[k] or _correlation_of(problem, result, noise)
                if widened[k] is not None:
                    widened[k].widen(result, np.flatnonzero(problem.free))
                collected.add(part, positions, result, problem.rows[positions])
    evidence = Evidence.of(
        model,
        problems,
        collected,
        [collected.columns(part) for part in compiled],
        loss_function=loss_function,
        known_variance=known,
        noise=noise,
        correlated=widened,
    )
    store_result(model, collected, shape, wanted)
    model._evidence = evidence
    return evidence


def _noise(model: Any, problems: list[FitProblem], detector: Detector | str | None, *, likelihood: bool) -> Noise:
    """Gain, read noise and correlation of channels that a fit goes by, and a warning where the metadata are wrong."""
    if isinstance(detector, Detector):
        return Noise(detector, NoiseSource.GIVEN, f"A gain of {detector.gain:.3g} counts per electron was given.")
    if detector not in (None, "estimate"):
        raise AssbValueError(f'detector must be a Detector or "estimate", not {detector!r}.')
    if not likelihood:
        return Noise(Detector(), NoiseSource.GIVEN, "Least squares go by the variance of the signal, or the residuals.")
    largest = max(problems, key=lambda problem: problem.rows.sum())
    if not largest.rows.any():
        return Noise(Detector(), NoiseSource.TRUSTED, "There is no spectrum to measure the noise by.")
    known: Detector | None = getattr(model, "detector", None)
    noise = fit_noise(model.signal, largest, known=known, trust=detector is None)
    if (noise.contradicted and known is None) or not noise.is_counting:
        warnings.warn(noise.sentence, AssbWarning, stacklevel=4)
    return noise


def _correlation_of(problem: FitProblem, result: FitResult, noise: Noise) -> CorrelatedErrors | None:
    """What correlated channels do to the errors of a fit; None without correlation, or before anything is fitted."""
    if not noise.correlation.size or not result.usable.any():
        return None
    return correlated_errors(problem, result.values[result.usable], noise.detector, noise.correlation)


def _wanted(mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which spectra to fit, on flattened navigation axes."""
    if mask is None:
        return np.ones(max(1, int(np.prod(shape))), dtype=bool)
    mask = np.asarray(getattr(mask, "data", mask), dtype=bool)
    if mask.shape != (shape or (1,)) and mask.shape != shape:
        raise AssbValueError(f"mask must have the shape {shape} of the navigation axes, not {mask.shape}.")
    return ~mask.ravel()


def _plan(model: Any, wanted: NDArray[np.bool_], bounded: bool) -> tuple[list[Compiled], list[FitProblem]]:
    """What to fit where: one compiled model for each set of components that are active together."""
    if not any(component.active_is_multidimensional for component in model):
        patterns, which = np.array([[c.active for c in model]], dtype=bool), np.zeros(wanted.size, dtype=int)
    else:
        active = np.stack([_active(component, wanted.size) for component in model], axis=1)
        patterns, which = np.unique(active, axis=0, return_inverse=True)
    compiled, problems = [], []
    for k, pattern in enumerate(patterns):
        rows = wanted & (which.ravel() == k)
        if not pattern.any() or (len(patterns) > 1 and not rows.any()):
            continue
        part = compile_model(model, [c for c, flag in zip(model, pattern, strict=True) if flag])
        free = np.full(part.free.size, np.inf)
        compiled.append(part)
        problems.append(
            FitProblem(
                model=part.model,
                start=part.start,
                free=part.free,
                lower=part.lower if bounded else -free,
                upper=part.upper if bounded else free,
                mask=part.mask,
                ties=part.ties,
                rows=rows,
            )
        )
    if not problems:
        raise AssbValueError("There is nothing to fit: no component of the model is active.")
    return compiled, problems


def _active(component: Any, count: int) -> NDArray[np.bool_]:
    if component.active_is_multidimensional:
        return np.ravel(component._active_array)
    return np.full(count, component.active)


def _noise_variance(signal: Any) -> Any:
    """Variance of the counts as HyperSpy has it: an array, a number, or 1 where there is none."""
    variance = signal.get_noise_variance()
    if variance is None or np.isscalar(variance):
        return 1.0 if variance is None else float(variance)
    data = variance.data
    return data if data.shape == signal.data.shape else np.asarray(data).reshape(-1)
