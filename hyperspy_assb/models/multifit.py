"""The batched fit of a HyperSpy model to every spectrum of its signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.fitting.solver.detector import estimate_detector
from hyperspy_assb.fitting.solver.map_fit import fit_blocks, fit_map
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, SolverOptions
from hyperspy_assb.models.compile import Compiled, compile_model
from hyperspy_assb.models.results import Evidence, MapResult, store_result

VARIANCE = "Signal.Noise_properties.Variance_linear_model"
"""Where HyperSpy keeps what it knows of the noise of a detector."""


_JUDGED = 256
"""Spectra, spread over a map, whose residuals tell gain and read noise: to about a per cent with a hundred channels."""


def detector_of_model(model: Any) -> Detector:
    """Gain and read noise that a model has found in its spectra, or else of the metadata of its signal."""
    found: Detector | None = getattr(model, "detector", None)
    return read_detector(model.signal.metadata) if found is None else found


def read_detector(metadata: Any) -> Detector:
    """Gain and read noise from HyperSpy's ``Variance_linear_model``; a perfect counter where there is none.

    Its variance is ``(gain_factor * counts + gain_offset) * correlation_factor``; an offset below 0 is taken as 0.
    """
    gain = metadata.get_item(f"{VARIANCE}.gain_factor", 1.0)
    offset = metadata.get_item(f"{VARIANCE}.gain_offset", 0.0)
    correlation = metadata.get_item(f"{VARIANCE}.correlation_factor", 1.0)
    return Detector(gain=float(gain * correlation), read_noise=float(np.sqrt(max(offset * correlation, 0.0))))


@dataclass(frozen=True)
class FitOptions(SolverOptions):
    """How a batched fit is done; what else it has is in :class:`.SolverOptions`.

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
    from hyperspy.defaults_parser import preferences
    from tqdm.auto import tqdm

    if loss_function not in ("ML-poisson", "ls"):
        raise AssbValueError(f'loss_function must be "ML-poisson" or "ls" for the batched fit, not {loss_function!r}.')
    options = FitOptions() if options is None else options
    if not isinstance(options, FitOptions):
        raise AssbTypeError(f"options must be FitOptions, not {type(options).__name__}.")
    signal = model.signal
    if signal.data.dtype.kind not in "iufb":
        raise AssbValueError(f"The signal holds numbers of type {signal.data.dtype}, and not real ones.")
    shape = signal.axes_manager._navigation_shape_in_array
    wanted = _wanted(mask, shape)
    compiled, problems = _plan(model, wanted, bounded)
    if detector == "estimate":
        detector = _estimated_detector(signal, max(problems, key=lambda problem: problem.rows.sum()))
    elif detector is None:
        detector = detector_of_model(model)
    elif not isinstance(detector, Detector):
        raise AssbValueError(f'detector must be a Detector or "estimate", not {detector!r}.')
    show = preferences.General.show_progressbar if show_progressbar is None else show_progressbar
    variance = _noise_variance(signal) if loss_function == "ls" else None
    known = loss_function != "ls" or signal.get_noise_variance() is not None
    progress = options.progress
    with (
        MapResult.of(compiled, wanted.size, store=options.store, covariance=options.covariance) as collected,
        tqdm(total=wanted.size, disable=progress is not None or not show, unit="spectra", desc="Fit") as bar,
    ):
        for positions, results in fit_blocks(
            signal.data,
            problems,
            detector=detector,
            variance=variance,
            relative=not known,
            options=options,
            progress=bar.update if progress is None else progress,
        ):
            for part, result, problem in zip(compiled, results, problems, strict=True):
                collected.add(part, positions, result, problem.rows[positions])
    evidence = Evidence.of(
        model,
        problems,
        collected,
        [collected.columns(part) for part in compiled],
        loss_function=loss_function,
        known_variance=known,
        detector=detector,
    )
    store_result(model, collected, shape, wanted)
    model._evidence = evidence
    return evidence


def _estimated_detector(signal: Any, problem: FitProblem) -> Detector:
    """Gain and read noise from fits of some spectra of a map."""
    rows = np.flatnonzero(problem.rows)
    rows = rows[np.linspace(0, rows.size - 1, min(rows.size, _JUDGED)).astype(int)]
    flat = signal.data.reshape(-1, signal.data.shape[-1])[rows]
    counts = np.asarray(flat, dtype=float)[:, : problem.mask.size]
    part = problem.part(rows)
    result = fit_map(counts, part)
    good = result.usable
    if not good.any():
        raise AssbValueError("The gain cannot be estimated: none of the spectra could be fitted.")
    nothing = np.zeros(part.free.size, dtype=bool)
    expectation = part.model.evaluate(result.values[good], nothing)[0]
    keep = ~problem.mask
    return estimate_detector(counts[good][:, keep], expectation[:, keep], n_free=int(problem.free.sum()))


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
