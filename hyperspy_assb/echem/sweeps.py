"""Sweeps of a voltammogram, and the points of it that are no measurement: clipped, shorted, flagged, after a gap."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.echem.current_log import CurrentLog, FloatArray
from hyperspy_assb.errors import AssbValueError

_TURN = 0.02
"""Share of the potential range by which the potential comes back at the end of a sweep."""
_SHORTEST = 0.05
"""Share of the potential range that a sweep covers at least."""
_FEWEST = 12
"""Points of a sweep: fewer cannot tell a slope from a baseline and noise."""
_HOLD = 0.2
"""Share of the rate of its sweep below which the potential is held."""
_NEIGHBOURS = 11
"""Points of the neighbourhood that a short stands out of; shorts of up to half of them are seen."""
_OUTLIER = 6.0
"""Robust standard deviations out of its neighbourhood at which a point is no part of a smooth curve."""
_SHARP = 0.4
"""Share of a short that its steepest step makes; a peak of many points rises in many steps."""
_SHARP_AT_END = 0.7
_OTHER_RATE = 1.3
"""Factor between rates that are not the same."""
_STEADY = 7
"""Points of the median of the rate."""
_SHORT = 5.0
"""Factor between neighbouring points that is called a short."""
_GAP = 5.0
"""Sampling intervals without a point that are called a gap."""
_CLIPPED = 0.998
"""Share of the full scale from which on a current is clipped: the last bits of the converter differ."""
_PLATEAU = 4
"""Equal extreme points in a row that mean clipping, where the full scale is not known."""


class PointStatus(IntEnum):
    """What a point of a voltammogram is."""

    MEASURED = 0
    """A measurement."""
    CLIPPED = 1
    """The current was at the end of the range of the instrument: its true value is larger."""
    SHORT = 2
    """The current jumped for a few points, by more than noise does: a short that healed, or a contact."""
    OVERLOAD = 3
    """The instrument itself flagged the point."""
    HELD = 4
    """Potential was not swept: held, stepped, or a rest too short for a sweep."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Points between two turns of the potential.

    Parameters
    ----------
    index
        Numbers of its points in the log.
    rate
        Of the potential in V/s; negative for cathodic sweeps.
    """

    index: NDArray[np.intp]
    rate: float

    @property
    def anodic(self) -> bool:
        """Whether the potential rises."""
        return self.rate > 0.0


@dataclass(frozen=True, eq=False)
class SweptLog:
    """A log with its sweeps and what each point is.

    Parameters
    ----------
    log
        As read.
    sweeps
        In order of time, at least one.
    status
        Of each point, see :class:`PointStatus`.
    gaps
        Beginning and end in s of each time without points.
    notes
        What a reader must know.
    """

    log: CurrentLog
    sweeps: tuple[Sweep, ...]
    status: NDArray[np.int8]
    gaps: FloatArray
    notes: tuple[str, ...]

    def measured(self, sweep: Sweep) -> NDArray[np.intp]:
        """Points of a sweep that are measurements."""
        return sweep.index[self.status[sweep.index] == PointStatus.MEASURED]


def find_sweeps(log: CurrentLog) -> SweptLog:
    """Find the sweeps of a log, and the points that are no measurement.

    Raises
    ------
    AssbValueError
        If there is no sweep.
    """
    status = np.zeros(log.time.size, dtype=np.int8)
    sweeps = _sweeps(log)
    if not sweeps:
        raise AssbValueError(
            f"{log.source or 'The log'} has no sweep: nowhere does the potential run over {_SHORTEST:.0%} of its range "
            f"({np.ptp(log.potential):.3g} V) in {_FEWEST} points and more."
        )
    swept = np.zeros(log.time.size, dtype=bool)
    for sweep in sweeps:
        swept[sweep.index] = True
    status[~swept] = PointStatus.HELD
    shorts: list[float] = []
    for sweep in sweeps:
        outliers, ratio = _shorts(log.current[sweep.index])
        status[sweep.index[outliers]] = PointStatus.SHORT
        shorts += ratio
    if log.overload is not None:
        status[log.overload] = PointStatus.OVERLOAD
    status[_clipped(log)] = PointStatus.CLIPPED
    gaps = _gaps(log.time)
    return SweptLog(log, sweeps, status, gaps, (*log.notes, *_notes(log, sweeps, status, gaps, shorts)))


def _sweeps(log: CurrentLog) -> tuple[Sweep, ...]:
    potential = log.commanded
    span = float(np.ptp(potential))
    if not span > 0.0:
        return ()
    found = []
    for first, last in pairwise(_turns(potential, _TURN * span)):
        index = np.arange(first, last + 1)
        if index.size < _FEWEST or abs(potential[last] - potential[first]) < _SHORTEST * span:
            continue
        steps = np.diff(potential[index]) / np.diff(log.time[index])
        # Held and jumped points leave: the rate is that of the points that move as the whole does, or faster.
        whole = (potential[last] - potential[first]) / (log.time[last] - log.time[first])
        usual = float(np.median(steps[steps / whole > _HOLD]))
        rate = usual * np.maximum(np.append(steps, 0.0) / usual, np.insert(steps, 0, 0.0) / usual)
        moving = (rate / usual > _HOLD) & (rate / usual < 1.0 / _HOLD)
        found += [
            Sweep(part, float(np.median(np.diff(potential[part]) / np.diff(log.time[part]))))
            for part in _of_one_rate(log.time, index[moving], rate[moving])
            if part.size >= _FEWEST and np.ptp(potential[part]) >= _SHORTEST * span
        ]
    return tuple(found)


def _turns(potential: FloatArray, least: float) -> list[int]:
    """First point, extremes that the potential comes back from by at least so much, last point."""
    turns, extreme, direction = [0], 0, 0
    low = high = 0
    for k, value in enumerate(potential.tolist()):
        if direction == 0:
            low, high = (k if value < potential[low] else low), (k if value > potential[high] else high)
            if value - potential[low] > least or potential[high] - value > least:
                direction = 1 if value - potential[low] > least else -1
                start = low if direction > 0 else high
                if start > 0:
                    turns.append(start)
                extreme = k
        elif direction * (value - potential[extreme]) > 0.0:
            extreme = k
        elif direction * (potential[extreme] - value) > least:
            turns.append(extreme)
            direction, extreme = -direction, k
    return [*turns, potential.size - 1]


def _of_one_rate(time: FloatArray, index: NDArray[np.intp], rate: FloatArray) -> list[NDArray[np.intp]]:
    """Points between which neither the rate changes nor a gap lies."""
    if index.size < _FEWEST:
        return []
    steady = np.log(np.abs(ndimage.median_filter(rate, _STEADY, mode="nearest")))
    step = np.diff(time[index])
    breaks = (np.abs(np.diff(steady)) > np.log(_OTHER_RATE)) | (step > _GAP * np.median(step))
    return np.split(index, np.flatnonzero(breaks) + 1)


def _shorts(current: FloatArray) -> tuple[NDArray[np.bool_], list[float]]:
    """Points that jump out of their neighbourhood, and by what factor those do that are shorts."""
    out = np.zeros(current.size, dtype=bool)
    if current.size < 4 * _NEIGHBOURS:
        return out, []
    # Medians of the points before and after, far enough that a short of a few points is in neither.
    far = _NEIGHBOURS // 2 + _NEIGHBOURS // 4
    median = ndimage.median_filter(current, _NEIGHBOURS // 2, mode="nearest")
    before, after = np.roll(median, far), np.roll(median, -far)
    # At the ends there are neighbours on one side.
    before[:far], after[-far:] = after[:far], before[-far:]
    low, high = np.minimum(before, after), np.maximum(before, after)
    departure = current - np.clip(current, low, high)
    curvature = current[1:-1] - (current[:-2] + current[2:]) / 2.0
    scale = 1.4826 * float(np.median(np.abs(curvature))) / np.sqrt(1.5)
    candidates = np.abs(departure) > _OUTLIER * scale
    # After a turn the current is that of the capacitance.
    candidates[:far] = False
    jump = np.abs(np.diff(current, prepend=current[0], append=current[-1]))
    labels, count = ndimage.label(candidates)
    for number, place in enumerate(ndimage.find_objects(labels, count), start=1):
        inside = labels[place] == number
        height = np.abs(departure[place][inside]).max()
        edges = jump[place[0].start : place[0].stop + 1].max()
        # What rises smoothly is a peak, however narrow, or the end of a steep curve.
        at_end = place[0].stop > current.size - far
        if edges >= (_SHARP_AT_END if at_end else _SHARP) * height:
            out[place] |= inside
    size = np.maximum(np.abs(current), 2.0 * scale)
    factor = np.exp(np.abs(np.diff(np.log(size + np.finfo(float).tiny))))
    named = [float(f) for f in factor[(out[:-1] | out[1:]) & (factor >= _SHORT)]]
    return ndimage.binary_dilation(out) if out.any() else out, named


def _clipped(log: CurrentLog) -> NDArray[np.bool_]:
    size = np.abs(log.current)
    if log.full_scale is not None and np.isfinite(log.full_scale).any():
        return size >= _CLIPPED * np.where(np.isfinite(log.full_scale), log.full_scale, np.inf)
    clipped = np.zeros(log.current.size, dtype=bool)
    for sign in (1.0, -1.0):
        extreme = float((sign * log.current).max())
        top = sign * log.current >= extreme - 1e-9 * abs(extreme)
        labels, count = ndimage.label(top)
        for number in range(1, count + 1):
            if extreme > 0.0 and (labels == number).sum() >= _PLATEAU:
                clipped |= labels == number
    return clipped


def _gaps(time: FloatArray) -> FloatArray:
    step = np.diff(time)
    at = np.flatnonzero(step > _GAP * np.median(step))
    return np.stack([time[at], time[at + 1]], axis=1) if at.size else np.empty((0, 2))


def _notes(
    log: CurrentLog, sweeps: tuple[Sweep, ...], status: NDArray[np.int8], gaps: FloatArray, shorts: list[float]
) -> list[str]:
    notes = []
    clipped = status == PointStatus.CLIPPED
    if clipped.any():
        reached = np.abs(log.current[clipped]).min()
        notes.append(
            f"{int(clipped.sum())} points are clipped at {reached:.3g} A, the end of the range of the instrument: the "
            "true currents are larger. They are left out; measure with a larger range."
        )
    if shorts:
        notes.append(
            f"The current jumps {len(shorts)} times by a factor of 5 and more between neighbouring points, at most by "
            f"{max(shorts):.0f}: soft shorts or a bad contact. These points are left out."
        )
    share = [float(np.mean(status[s.index] == PointStatus.SHORT)) for s in sweeps]
    unstable = [k + 1 for k, value in enumerate(share) if value > 0.1]
    if unstable:
        notes.append(
            f"More than a tenth of the points of sweep {', '.join(map(str, unstable))} jump: the cell is shorted "
            "for part of the time there, and its resistance or peaks are those of the short."
        )
    if (status == PointStatus.OVERLOAD).any():
        notes.append(f"The instrument flagged {int((status == PointStatus.OVERLOAD).sum())} points; they are left out.")
    if len(gaps):
        longest = float((gaps[:, 1] - gaps[:, 0]).max())
        notes.append(f"{len(gaps)} gaps without points, the longest of {longest:.3g} s.")
    if len(sweeps) == 1:
        notes.append("There is one sweep: drift of the current and capacitance cannot be separated from resistance.")
    return notes
