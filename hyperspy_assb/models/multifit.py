"""The batched fit of a HyperSpy model to every spectrum of its signal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.solver.detector import estimate_detector
from hyperspy_assb.fitting.solver.map_fit import fit_blocks, fit_map
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, FitResult, SolverOptions
from hyperspy_assb.models.compile import Compiled, compile_model
from hyperspy_assb.models.results import Evidence, MapResult, store_result

VARIANCE = "Signal.Noise_properties.Variance_linear_model"
"""Where HyperSpy keeps what it knows of the noise of a detector."""


_JUDGED = 256
"""Spectra, spread over a map, whose residuals tell gain and read noise: to about a per cent with a hundred channels."""


def detector_from_metadata(signal: Any) -> Detector:
    """Gain and read noise of the detector of a signal; see :func:`read_detector`."""
    return read_detector(signal.metadata)


def read_detector(metadata: Any) -> Detector:
    """Gain and read noise from HyperSpy's ``Variance_linear_model``; a perfect counter where there is none.

    Its variance is ``(gain_factor * counts + gain_offset) * correlation_factor``; an offset below 0 is taken as 0.
    """
    gain = metadata.get_item(f"{VARIANCE}.gain_factor", 1.0)
    offset = metadata.get_item(f"{VARIANCE}.gain_offset", 0.0)
    correlation = metadata.get_item(f"{VARIANCE}.correlation_factor", 1.0)
    return Detector(gain=float(gain * correlation), read_noise=float(np.sqrt(max(offset * correlation, 0.0))))


def multifit(
    model: Any,
    *,
    mask: NDArray[np.bool_] | None = None,
    loss_function: str = "ML-poisson",
    bounded: bool = True,
    detector: Detector | str | None = None,
    options: SolverOptions | None = None,
    store: str | Path | None = None,
    show_progressbar: bool | None = None,
    progress: Callable[[int], object] | None = None,
) -> FitResult:
    """Fit a HyperSpy model to every spectrum of its signal at once.

    Fills ``parameter.map`` of every parameter, the chi-squared (the deviance) and degrees of freedom of the model, and
    its ``fit_quality`` and ``covariance()``. If the fit is interrupted, the model stays as it was.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        One-dimensional, of any signal. Components are compiled from their expression or kernel; others are evaluated
        once, if they are linear in what is free. Twins, bounds, fixed values, signal ranges, components that are
        active in some spectra only, and convolution with a low-loss signal are those of the model.
    mask : numpy.ndarray or hyperspy.signal.BaseSignal, optional
        True where not to fit, on the navigation axes.
    loss_function : str
        "ML-poisson", or "ls": least squares, weighted by the noise variance that the signal has, as in HyperSpy. Where
        it has none, standard errors are those that the residuals tell.
    bounded : bool
        Whether the bounds of the parameters hold.
    detector : Detector or "estimate", optional
        Gain and read noise, or that a first fit is to tell them by its residuals; by default from the metadata.
    options : SolverOptions, optional
        How far the solver goes, and in how many threads.
    store : str or Path, optional
        New folder to stream all results to, as a zarr group; the covariance is then read from there.
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
    FileExistsError
        If there is something at ``store``.
    ValueError
        If the loss function is not known, the mask has the wrong shape, a variance is not above 0, or there is too
        little to estimate a gain from.
    """
    from hyperspy.defaults_parser import preferences
    from tqdm.auto import tqdm

    if loss_function not in ("ML-poisson", "ls"):
        raise ValueError(f'loss_function must be "ML-poisson" or "ls" for the batched fit, not {loss_function!r}.')
    signal = model.signal
    if signal.data.dtype.kind not in "iufb":
        raise ValueError(f"The signal holds numbers of type {signal.data.dtype}, and not real ones.")
    shape = signal.axes_manager._navigation_shape_in_array
    wanted = _wanted(mask, shape)
    compiled, problems = _plan(model, wanted, bounded)
    if detector == "estimate":
        detector = _estimated_detector(signal, max(problems, key=lambda problem: problem.rows.sum()))
    elif detector is None:
        detector = detector_from_metadata(signal)
    elif not isinstance(detector, Detector):
        raise ValueError(f'detector must be a Detector or "estimate", not {detector!r}.')
    show = preferences.General.show_progressbar if show_progressbar is None else show_progressbar
    variance = _noise_variance(signal) if loss_function == "ls" else None
    known = loss_function != "ls" or signal.get_noise_variance() is not None
    options = SolverOptions() if options is None else options
    with (
        MapResult.of(compiled, wanted.size, store=store, covariance=options.covariance) as collected,
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
        [collected.columns(part) for part in compiled],
        collected.result,
        loss_function=loss_function,
        known_variance=known,
        detector=detector,
    )
    store_result(model, collected, shape, wanted, evidence)
    return collected.result


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
        raise ValueError("The gain cannot be estimated: none of the spectra could be fitted.")
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
        raise ValueError(f"mask must have the shape {shape} of the navigation axes, not {mask.shape}.")
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
        raise ValueError("There is nothing to fit: no component of the model is active.")
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
