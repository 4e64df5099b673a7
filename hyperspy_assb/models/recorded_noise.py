"""The noise of a HyperSpy signal: what its metadata claim, against the scatter of its spectra.

Metadata are never written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.correlated_errors import whitened_directions
from hyperspy_assb.fitting.solver.detector import NoiseEstimate, estimate_noise
from hyperspy_assb.fitting.solver.map_fit import fit_map
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource, judge_noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem
from hyperspy_assb.fitting.spectra.line_shape import FloatArray

VARIANCE = "Signal.Noise_properties.Variance_linear_model"
"""Where HyperSpy keeps what it knows of the noise of a detector."""
_MOST = 1e12
"""Counts per electron, or counts squared, beyond which a claim is none; nor is NaN."""
_JUDGED = 192
"""Spectra, spread over a map, whose residuals tell the noise: to about a per cent with a hundred channels."""
_FEWEST_JUDGED, _JUDGED_CHANNELS = 96, 100_000
"""So many spectra at least, and where these have so many channels together, no more."""
_BLOCKS = 3
"""Blocks of lazy data that are read for them."""


def recorded_detector(metadata: Any) -> Detector | None:
    """Gain and read noise as HyperSpy's ``Variance_linear_model`` claims them; None where nobody measured them.

    Its variance is ``(gain_factor * counts + gain_offset) * correlation_factor``; an offset below 0 is taken as 0.
    Files hold a gain of 1 and no read noise where nobody measured them.
    """
    gain = metadata.get_item(f"{VARIANCE}.gain_factor", 1.0)
    offset = metadata.get_item(f"{VARIANCE}.gain_offset", 0.0)
    correlation = metadata.get_item(f"{VARIANCE}.correlation_factor", 1.0)
    claims = (gain, offset, correlation)
    if not all(isinstance(value, int | float | np.integer | np.floating) for value in claims):
        return None  # read noise as a signal: a variance for each channel is no claim about a detector
    if any(isinstance(value, bool) for value in claims):
        return None  # true and false are no numbers
    gain, offset = float(gain * correlation), float(offset * correlation)
    if not (0.0 < gain <= _MOST and abs(offset) <= _MOST):
        return None
    found = Detector(gain=gain, read_noise=float(np.sqrt(max(offset, 0.0))))
    return None if found == Detector() else found


def signal_noise(signal: Any) -> Noise:
    """Noise of the spectra of a signal by themselves, where no model tells what to expect.

    Parameters
    ----------
    signal : hyperspy.signals.Signal1D
        Some of its spectra are read.
    """
    data = signal.data
    rows = np.arange(int(np.prod(data.shape[:-1])) or 1)
    return judge_noise(spread_spectra(data, rows)[0], recorded_detector(signal.metadata))


def model_noise(model: Any) -> Noise:
    """Noise that a model goes by: that of its last batched fit, else of its start, else what its spectra tell.

    Parameters
    ----------
    model : hyperspy.models.model1d.Model1D
        Fitted or not.
    """
    evidence = getattr(model, "_evidence", None)
    if evidence is not None:
        fitted: Noise = evidence.noise
        return fitted
    started: Detector | None = getattr(model, "detector", None)
    if started is None:
        return signal_noise(model.signal)
    return Noise(started, NoiseSource.ESTIMATED, "Gain and read noise were estimated when the model was created.")


def detector_of_model(model: Any) -> Detector:
    """Gain and read noise by which a model's features, broader than the point spread, have their right errors."""
    return model_noise(model).broad


def fit_noise(signal: Any, problem: FitProblem, *, known: Detector | None = None, trust: bool = True) -> Noise:
    """Noise that the residuals of a fit tell, beside what was recorded.

    Parameters
    ----------
    signal : hyperspy.signals.Signal1D
        The spectra.
    problem
        The fit, of which some spectra are done.
    known
        What is known better than by what was recorded: what a model found in the spectra before.
    trust
        Whether what was recorded is used where the residuals agree with it.

    Raises
    ------
    ValueError
        Without trust, if the residuals do not tell.
    """
    claim = known or recorded_detector(signal.metadata)
    counts, rows = spread_spectra(signal.data, np.flatnonzero(problem.rows))
    counts = counts[:, : problem.mask.size]
    part = problem.part(rows)
    for detector in (claim, None):
        result = fit_map(counts, part, detector=detector)
        good = result.usable
        if good.any() or detector is None:
            break
    keep = ~problem.mask
    segments = tuple(np.ma.clump_unmasked(np.ma.array(keep, mask=~keep)))
    if not good.any():
        if trust:
            said = "No spectrum could be fitted, so the gain cannot be checked."
            return Noise(claim or Detector(), NoiseSource.TRUSTED, said)
        raise AssbValueError("The gain cannot be estimated: no spectrum could be fitted.")
    nothing = np.zeros(part.free.size, dtype=bool)
    expectation = part.model.evaluate(result.values[good], nothing)[0]
    directions = whitened_directions(part, result.values[good])
    if trust:
        noise = judge_noise(counts[good], claim, expectation, segments=segments, directions=directions)
        if known is None:
            return noise
        said = noise.sentence.replace("was recorded", "was found at the start")
        return replace(noise, sentence=said, contradicted=False)
    found = estimate_noise(counts[good], expectation, segments=segments, directions=directions)
    return Noise(found.detector, NoiseSource.ESTIMATED, _estimated(found), found.correlation)


def _estimated(found: NoiseEstimate) -> str:
    noise = f" and a read noise of {found.detector.read_noise:.3g} counts" if found.detector.read_noise > 0.0 else ""
    return f"By the scatter of the residuals the gain is {found.detector.gain:.3g} counts per electron{noise}."


def spread_spectra(data: Any, rows: NDArray[np.intp]) -> tuple[FloatArray, NDArray[np.intp]]:
    """Some of the spectra of an array, and their places on the flattened navigation axes.

    Parameters
    ----------
    data
        NumPy or dask array, shape (navigation..., E); of a dask array three blocks are read.
    rows
        Places to choose from, shape (R,).
    """
    shape, channels = data.shape[:-1], data.shape[-1]
    judged = int(np.clip(_JUDGED_CHANNELS // channels, _FEWEST_JUDGED, _JUDGED))
    if isinstance(data, np.ndarray):
        chosen = rows[np.linspace(0, rows.size - 1, min(rows.size, judged)).astype(int)]
        return np.asarray(data.reshape(-1, channels)[chosen], dtype=float), chosen
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    blocks = list(np.ndindex(data.numblocks[:-1]))
    wanted = np.zeros(numbers.size, dtype=bool)
    wanted[rows] = True
    found, places = [], []
    for k in np.linspace(0, len(blocks) - 1, min(len(blocks), _BLOCKS)).astype(int):
        where = tuple(
            slice(sum(sizes[:i]), sum(sizes[: i + 1])) for sizes, i in zip(data.chunks[:-1], blocks[k], strict=True)
        )
        own = np.ravel(numbers[where])
        inside = np.flatnonzero(wanted[own])
        inside = (
            inside[np.linspace(0, inside.size - 1, min(inside.size, judged // _BLOCKS)).astype(int)]
            if inside.size
            else inside
        )
        found.append(np.asarray(data[where]).reshape(-1, channels)[inside])
        places.append(own[inside])
    return np.concatenate(found).astype(float), np.concatenate(places)
