"""What is added to the brightness of frames, told from a beam that changes by content of different brightness.

A beam that becomes stronger makes all content brighter by the same factor; carbon that builds up, or a dark level that
moves, adds the same to all. The brightness of many pieces of content (cells) in a frame against their mean over all
frames is a line: its slope is the beam, its intercept what was added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.series.frame_series import FloatArray

FEWEST_CELLS = 6
_HUBER = 1.345
"""Standard deviations from which on a cell has changed by itself, and counts less."""
_ITERATIONS = 15


@dataclass(frozen=True, eq=False)
class Brightness:
    """Brightness of frames against their mean; NaN of frames that cannot be told.

    Parameters
    ----------
    gain
        Factor of the beam, shape (T,).
    additive, additive_std
        What is added, as a share of the mean brightness, less its mean over all frames, shape (T,).
    """

    gain: FloatArray
    additive: FloatArray
    additive_std: FloatArray

    @property
    def known(self) -> bool:
        """Whether any frame could be told."""
        return bool(np.isfinite(self.additive).any())


def fit_brightness(levels: FloatArray, variance: FloatArray) -> Brightness:
    """Tell the beam from what is added.

    Cells that change by themselves (particles that brighten, a crack) are weighted down (Huber).

    Parameters
    ----------
    levels
        Brightness of each cell in each frame, shape (T, C); NaN where it is not seen.
    variance
        Of counting, shape (T, C).
    """
    count = levels.shape[0]
    gain, additive, std = (np.full(count, np.nan) for _ in range(3))
    scale = np.nanmedian(levels, axis=1, keepdims=True) if levels.size else np.ones((count, 1))
    seen = np.isfinite(levels) & (variance > 0.0)
    # The mean over frames at one strength of the beam: a cell that some frames lack is not brighter for it.
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(seen, levels / scale, np.nan)
    often = seen.sum(axis=0) >= max(2, int(0.5 * np.isfinite(scale).sum()))
    usual = np.full(levels.shape[1], np.nan)
    if often.any():
        usual[often] = np.nanmean(share[:, often], axis=0)
    for number in range(count):
        good = seen[number] & np.isfinite(usual)
        if good.sum() < FEWEST_CELLS:
            continue
        fitted = _robust_line(usual[good], share[number][good], np.sqrt(variance[number][good]) / scale[number, 0])
        if fitted is None:
            continue
        slope, level, error = fitted
        gain[number] = slope * scale[number, 0]
        middle = float(usual[good].mean())
        additive[number], std[number] = level / slope / middle, error / slope / middle
    known = np.isfinite(additive)
    if known.any():
        additive -= additive[known].mean()
    return Brightness(gain, additive, std)


def _robust_line(x: FloatArray, y: FloatArray, sigma: FloatArray) -> tuple[float, float, float] | None:
    """Slope, intercept and the standard error of intercept over slope; None if x is all one."""
    weight = 1.0 / np.square(sigma)
    shape = np.stack([x, np.ones(x.size)])
    solution = np.array([1.0, 0.0])
    spread = 1.0
    robust = np.ones(x.size)
    for _ in range(_ITERATIONS):
        normal = (shape * (weight * robust)) @ shape.T
        size = np.sqrt(np.diag(normal))
        if size.min() <= 0.0 or np.linalg.cond(normal / np.outer(size, size)) > 1e10:
            return None
        new = np.linalg.solve(normal, shape @ (weight * robust * y))
        left = np.abs(y - new @ shape) / sigma
        spread = max(1.0, 1.4826 * float(np.median(left)))
        robust = np.minimum(1.0, _HUBER * spread / np.maximum(left, 1e-12))
        done = bool(np.abs(new - solution).max() < 1e-7)
        solution = new
        if done:
            break
    slope, level = solution.tolist()
    if not slope > 0.0:
        return None
    left = (y - solution @ shape) / sigma
    # Sandwich of Huber's estimate: scores, and how fast they change with the solution.
    within = np.abs(left) < _HUBER * spread
    score = np.clip(left, -_HUBER * spread, _HUBER * spread)
    scale = max(1.0, float(np.square(score).sum()) / max(x.size - 2, 1)) / max(float(within.mean()), 0.1) ** 2
    covariance = np.linalg.inv((shape * weight) @ shape.T) * scale
    gradient = np.array([-level / slope**2, 1.0 / slope])
    return slope, level, float(np.sqrt(gradient @ covariance @ gradient)) * slope
