"""What is added to the brightness of frames, told from a beam that changes by content of different brightness.

A beam that becomes stronger makes all content brighter by the same factor; carbon that builds up, or a dark level that
moves, adds the same to all. The brightness of many pieces of content (cells) in a frame against their mean over all
frames is a line: its slope is the beam, its intercept what was added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from hyperspy_assb.series.frame_series import FloatArray

FEWEST_CELLS = 6
_BIWEIGHT = 4.685
"""Standard deviations at which a cell that has changed by itself counts nothing more."""
_CHANGED = 1e-3
"""Probability at which a cell differs by more than noise over all frames, and is left out of all."""
_NO_LINE = 0.01
"""Probability at which what is added is no straight line."""
_ITERATIONS = 20


@dataclass(frozen=True, eq=False)
class Brightness:
    """Brightness of frames against their mean; NaN of frames that cannot be told.

    Parameters
    ----------
    gain
        Factor of the beam, shape (T,).
    additive
        What is added in each group of cells, as a share of the mean brightness, less its mean over all frames, shape
        (T, R).
    covariance
        Of the groups: the error of the beam is common to them, shape (T, R, R).
    """

    gain: FloatArray
    additive: FloatArray
    covariance: FloatArray

    @property
    def additive_std(self) -> FloatArray:
        """Standard errors of ``additive``."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    @property
    def known(self) -> bool:
        """Whether any frame could be told."""
        return bool(np.isfinite(self.gain).any())


def steady_course(additive: FloatArray, std: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What is added, as a straight line over the frames if it is one, with its covariance, shapes (T,) and (T, T).

    Single frames know it far worse than all of them together, and what they do not know would make depths wrong. Either
    nothing is added, or a line of unknown slope; the data say how likely each is (even odds before, and a prior of the
    slope that holds as much information as one frame: R. Kass and L. Wasserman, J. Am. Stat. Assoc. 90, 928 (1995), doi
    10.1080/01621459.1995.10476592), and the mean and the variance over both are returned. Where nothing is seen, most
    of the error of the line is no error of the area. What scatters by more than its error is kept as it is; frames
    that cannot be told are 0.
    """
    good = np.isfinite(additive) & (std > 0.0)
    count = np.arange(additive.size, dtype=np.float64)
    if good.sum() < 4:
        return np.nan_to_num(additive), np.diag(np.square(np.nan_to_num(std)))
    weight = 1.0 / np.square(std[good])
    # What is added is told against its mean over the frames: only its change is known, and has an error.
    x = count - np.average(count[good], weights=weight)
    information = float(weight @ np.square(x[good]))
    slope = float(weight @ (x[good] * additive[good])) / information
    level = float(np.average(additive[good], weights=weight))
    chi = float(np.square((additive[good] - level - slope * x[good]) / std[good]).sum())
    if stats.chi2.sf(chi, int(good.sum()) - 2) < _NO_LINE:
        return np.nan_to_num(additive), np.diag(np.square(np.nan_to_num(std)))
    some = float(special.expit(0.5 * (slope**2 * information - np.log(good.sum()))))
    variance = some / information + some * (1.0 - some) * slope**2
    return some * (level + slope * x), variance * np.outer(x, x)


def fit_brightness(levels: FloatArray, variance: FloatArray, groups: NDArray[np.intp] | None = None) -> Brightness:
    """Tell the beam from what is added.

    Cells that change by themselves (particles that brighten, a crack) are left out (Tukey).

    Parameters
    ----------
    levels
        Brightness of each cell in each frame, shape (T, C); NaN where it is not seen.
    variance
        Of counting, shape (T, C).
    groups
        Number of the group of each cell from 0, to which something of its own is added; None: there is one, shape (C,).
    """
    count, cells = levels.shape
    of = np.zeros(cells, dtype=np.intp) if groups is None else groups
    number_of_groups = int(of.max(initial=0)) + 1
    gain, additive = np.full(count, np.nan), np.full((count, number_of_groups), np.nan)
    covariance = np.full((count, number_of_groups, number_of_groups), np.nan)
    seen = np.isfinite(levels) & (variance > 0.0)
    framed = seen.any(axis=1)
    scale = np.ones((count, 1))
    scale[framed, 0] = [np.median(row[good]) for row, good in zip(levels[framed], seen[framed], strict=True)]
    # The mean over frames at one strength of the beam: a cell that some frames lack is not brighter for it.
    share = np.where(seen, levels / scale, 0.0)
    often = seen.sum(axis=0)
    usual = np.where(often >= max(2, 0.5 * framed.sum()), share.sum(axis=0) / np.maximum(often, 1), np.nan)
    member = (of[:, None] == np.arange(number_of_groups)).astype(float)
    sigma = np.sqrt(np.where(seen, variance, np.nan)) / scale
    steady = np.isfinite(usual)
    for last in (False, True):
        misfit = np.full((count, cells), np.nan)
        for number in np.flatnonzero(framed):
            good = seen[number] & steady
            if good.sum() < FEWEST_CELLS or member[good].sum(axis=0).min() < 1:
                continue
            shape = np.column_stack([usual[good], member[good]]).T
            fitted = _robust_fit(shape, share[number][good], sigma[number][good])
            if fitted is None:
                continue
            solution, of_solution = fitted
            misfit[number, good] = np.square((share[number][good] - solution @ shape) / sigma[number][good])
            slope, middle = float(solution[0]), float(usual[good].mean())
            gain[number] = slope * scale[number, 0]
            additive[number] = solution[1:] / slope / middle
            gradient = np.column_stack([-solution[1:] / slope, np.eye(number_of_groups)]) / slope / middle
            covariance[number] = gradient @ of_solution @ gradient.T
        if not last:
            steady = steady & _steady(misfit)
    known = np.isfinite(gain)
    if known.any():
        additive -= additive[known].mean(axis=0)
    return Brightness(gain, additive, covariance)


def _steady(misfit: FloatArray) -> NDArray[np.bool_]:
    """Cells that follow the frames as the others do; one that changed is far from them in many frames."""
    known = np.isfinite(misfit)
    frames = known.sum(axis=0)
    mean = np.where(known, misfit, 0.0).sum(axis=0) / np.maximum(frames, 1)
    told = frames > 0
    if not told.any():
        return np.ones(misfit.shape[1], dtype=bool)
    usual = max(1.0, float(np.median(mean[told])))
    limit = stats.chi2.isf(_CHANGED, np.maximum(frames, 1)) / np.maximum(frames, 1)
    return np.asarray(~told | (mean < usual * limit))


def _robust_fit(shape: FloatArray, y: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Coefficients of shapes and their covariance; None if the shapes are not different.

    Tukey's biweight, begun at the median of slopes between cells that differ much: cells that changed lie far out in
    brightness as well, and would draw a fit that begins with all.
    """
    weight = 1.0 / np.square(sigma)
    begun = _median_line(shape, y)
    if begun is None:
        return None
    solution: FloatArray = begun
    spread = 1.0
    for _ in range(_ITERATIONS):
        left = np.abs(y - solution @ shape) / sigma
        spread = max(1.0, 1.4826 * float(np.median(left)))
        robust = np.square(1.0 - np.square(np.minimum(left / (_BIWEIGHT * spread), 1.0)))
        normal = (shape * (weight * robust)) @ shape.T
        size = np.sqrt(np.diag(normal))
        if size.min() <= 0.0 or np.linalg.cond(normal / np.outer(size, size)) > 1e10:
            return None
        new: FloatArray = np.asarray(np.linalg.solve(normal, shape @ (weight * robust * y)), dtype=np.float64)
        moved = float(np.abs(new - solution).max())
        solution = new
        if moved < 1e-7:
            break
    if not solution[0] > 0.0:
        return None
    left = (y - solution @ shape) / sigma
    u = np.minimum(np.abs(left) / (_BIWEIGHT * spread), 1.0)
    # Scatter of the scores over the square of how fast they change with the solution.
    score, change = left * np.square(1.0 - u**2), (1.0 - u**2) * (1.0 - 5.0 * u**2)
    freedom = max(y.size - len(shape), 1)
    factor = max(1.0, float(np.square(score).sum()) / freedom / max(float(change.mean()), 0.1) ** 2)
    return solution, np.asarray(np.linalg.inv((shape * weight) @ shape.T) * factor)


def _median_line(shape: FloatArray, y: FloatArray) -> FloatArray | None:
    """Median of the slopes between cells half of all apart in brightness, and of what is left of each group."""
    x = shape[0]
    slopes = []
    for member in shape[1:] > 0.0:
        order = np.flatnonzero(member)[np.argsort(x[member], kind="stable")]
        half = order.size // 2
        low, high = order[: order.size - half], order[half:]
        apart = x[high] - x[low]
        slopes += [(y[high] - y[low])[apart > 0.0] / apart[apart > 0.0]]
    every = np.concatenate(slopes)
    if not every.size:
        return None
    slope = float(np.median(every))
    return np.array([slope, *(float(np.median((y - slope * x)[member])) for member in shape[1:] > 0.0)])
