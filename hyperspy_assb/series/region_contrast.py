"""Brightness of regions against the rest of the field, and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.flicker_noise import (
    RATIOS,
    contrasts,
    estimate,
    ratio_posterior,
    strongest_shape,
)
from hyperspy_assb.series.drift.mean_alignment import Drift, FrameStatus
from hyperspy_assb.series.frame_series import BoolArray, FloatArray, FrameSeries

_FEWEST = 10
"""Frames in which a step can be told from a drift of the brightness and noise."""
_EDGE = 2
"""Frames on either side of a step, at least."""
_SURROGATES = 999
_MOST_STEPS = 3
_SEED = 20240229
_FEWEST_EVENTS = 3
"""Steps before cracks from which on their lead is tested."""


@dataclass(frozen=True)
class Step:
    """A step of the contrast of a region.

    Parameters
    ----------
    region
        Name.
    frame
        First frame after the step.
    time
        Between the frames before and after it, s.
    height, height_std
        Change of the contrast, as a share of the brightness of the rest.
    p
        That noise, white plus 1/f beside a steady change, makes as strong a step anywhere in any region (Holm).
    """

    region: str
    frame: int
    time: float
    height: float
    height_std: float
    p: float


@dataclass(frozen=True)
class Lead:
    """How long before cracks the steps come.

    Parameters
    ----------
    time
        Mean of the times from a step to the next crack, s.
    events
        How many pairs there are.
    p
        Share of circular shifts of the steps in time with as many pairs as close; NaN with fewer than three pairs: not
        testable.
    """

    time: float
    events: int
    p: float


def region_brightness(
    series: FrameSeries, drift: Drift, regions: Mapping[str, BoolArray]
) -> tuple[FloatArray, FloatArray]:
    """Contrast of each region in each frame: its brightness over that of the rest of the field, less 1.

    Regions follow the drift; of pixels that they share with the rest, a part counts.

    Returns
    -------
    contrast, std
        Shape (R, T); NaN of frames without a position. The errors are those of counting.

    Raises
    ------
    AssbValueError
        If a region takes the whole field.
    """
    covered = np.any(list(regions.values()), axis=0)
    if covered.all():
        raise AssbValueError("region: together the regions take the whole field; what should they be compared with?")
    masks = [*(mask.astype(float) for mask in regions.values()), (~covered).astype(float)]
    values, variances = (np.full((len(masks), series.count), np.nan) for _ in range(2))
    slope, level = drift.noise
    for number, frame in enumerate(series):
        if drift.status[number] != FrameStatus.PLACED:
            continue
        by = drift.shift[number] - drift.origin
        for k, mask in enumerate(masks):
            weight = ndimage.shift(mask, by, order=1, mode="constant", cval=0.0)
            total = weight.sum()
            if total <= 0.0:
                continue
            values[k, number] = (weight * frame).sum() / total
            variances[k, number] = (np.square(weight) * np.maximum(slope * frame + level, 0.0)).sum() / total**2
    rest = values[-1]
    ratio = values[:-1] / rest
    relative = variances[:-1] / np.square(values[:-1]) + variances[-1] / np.square(rest)
    return ratio - 1.0, np.abs(ratio) * np.sqrt(relative)


def find_steps(time: FloatArray, contrast: Mapping[str, FloatArray], alpha: float) -> tuple[Step, ...]:
    """Find the frames at which the contrast of a region changes at once.

    Parameters
    ----------
    time
        s, shape (T,).
    contrast
        By region, shape (T,) each; NaN where it is not known.
    alpha
        Share of series without a step in which one is found, over all regions.

    Raises
    ------
    AssbValueError
        If there are too few frames.
    """
    first: list[tuple[float, str, Step]] = []
    for number, (name, values) in enumerate(contrast.items()):
        step = _strongest_step(name, time, values, [], (_SEED, number))
        first.append((step.p, name, step))
    found: list[Step] = []
    corrected = 0.0
    for rank, (p, name, step) in enumerate(sorted(first, key=lambda item: item[0])):
        corrected = max(corrected, min(1.0, p * (len(first) - rank)))
        if corrected > alpha:
            break
        steps = [_with_p(step, corrected)]
        while len(steps) < _MOST_STEPS:
            known = [s.frame for s in steps]
            more = _strongest_step(name, time, contrast[name], known, (_SEED, rank, len(steps)))
            if more.p * len(first) > alpha:
                break
            steps.append(_with_p(more, min(1.0, more.p * len(first))))
        found += steps
    return tuple(sorted(found, key=lambda s: (s.time, s.region)))


def _with_p(step: Step, p: float) -> Step:
    return Step(step.region, step.frame, step.time, step.height, step.height_std, p)


def _strongest_step(
    name: str, time: FloatArray, values: FloatArray, known_frames: list[int], seed: tuple[int, ...]
) -> Step:
    good = np.flatnonzero(np.isfinite(values))
    if good.size < _FEWEST:
        raise AssbValueError(f"region {name!r}: its contrast is known in {good.size} frames; {_FEWEST} are needed.")
    t, y = time[good], values[good]
    baseline = [np.ones(t.size), t - t.mean()]
    baseline += [(good >= frame).astype(float) for frame in known_frames]
    known = contrasts(t, np.stack(baseline, axis=1))
    places = np.arange(_EDGE, t.size - _EDGE + 1)
    shapes = (np.arange(t.size)[:, None] >= places[None, :]).astype(float)
    turned = known.rotation @ y
    design = known.rotation @ shapes
    # A step that is known already is no other shape.
    free = np.square(design).sum(axis=0) > 1e-6
    design, places = design[:, free], places[free]
    statistic, best = strongest_shape(turned[None], known, design, two_sided=True)
    # The noise beside the strongest step: a true one passes for 1/f noise, of which steps are no surprise.
    beside = contrasts(t, np.column_stack([*baseline, np.arange(t.size) >= places[best[0]]]))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(RATIOS.size, size=_SURROGATES, p=ratio_posterior(beside.rotation @ y, beside))
    noise = rng.standard_normal((_SURROGATES, turned.size)) / np.sqrt(known.weights[drawn])
    null, _ = strongest_shape(noise, known, design, two_sided=True)
    place = int(places[best[0]])
    fit = estimate(y, known, (np.arange(t.size) >= place).astype(float)[:, None])
    return Step(
        region=name,
        frame=int(good[place]),
        time=float((t[place] + t[place - 1]) / 2.0),
        height=float(fit.value[0]),
        height_std=float(fit.std[0]),
        p=float((1.0 + np.sum(null >= statistic[0])) / (1.0 + _SURROGATES)),
    )


def lead_over(steps: FloatArray, cracks: FloatArray, span: tuple[float, float]) -> Lead:
    """Test whether steps come shortly before cracks, against circular shifts of the steps in time.

    Parameters
    ----------
    steps, cracks
        Times in s.
    span
        Beginning and end of the series.
    """
    if not len(steps) or not len(cracks):
        return Lead(float("nan"), 0, float("nan"))
    events = int(sum(np.any(cracks >= step) for step in steps))
    following = [float((cracks[cracks >= step]).min() - step) for step in steps if np.any(cracks >= step)]
    mean = float(np.mean(following)) if following else float("nan")
    if events < _FEWEST_EVENTS:
        return Lead(mean, events, float("nan"))
    length = span[1] - span[0]
    observed = _circular_lead(steps, cracks, length)
    shifts = (np.arange(_SURROGATES) + 0.5) / _SURROGATES * length
    reached = 1 + sum(_circular_lead(steps + shift, cracks, length) <= observed for shift in shifts)
    return Lead(mean, events, reached / (1.0 + _SURROGATES))


def _circular_lead(steps: FloatArray, cracks: FloatArray, length: float) -> float:
    """Mean time to the next crack, the series taken as a circle: then no shift has another number of pairs."""
    return float(np.mod(cracks[None, :] - steps[:, None], length).min(axis=1).mean())
