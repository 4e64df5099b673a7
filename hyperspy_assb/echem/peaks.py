"""Peaks of a voltammogram above its noise.

A peak is a Gaussian on a smooth baseline. Whether it is more than noise is told by the likelihood ratio at its best
place and width, against the same search in surrogates: curves of the noise that was found, in each of which the noise
is estimated anew (parametric bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hyperspy_assb.echem.current_log import FloatArray
from hyperspy_assb.echem.peak_limit import FOUND, Noise, find_limit
from hyperspy_assb.echem.sweeps import Sweep, SweptLog
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.flicker_noise import (
    RATIOS,
    block_means,
    blocks,
    contrasts,
    estimate,
    log_likelihood,
    ratio_posterior,
    strongest_shape,
)

_WIDTHS = (0.015, 0.025, 0.04, 0.065, 0.1)
"""Standard deviations of the peaks that are looked for, as shares of the potential range of the sweep."""
_DEGREE = 3
"""Of the polynomial of the potential that is the baseline."""
_AFTER_TURN = 0.06
"""Share of a sweep after its turn in which the capacitance is still being charged."""
_LEAST_SURROGATES = 399
_PER_LEVEL = 6.0
"""Surrogates beyond the least p value that a sweep is judged by."""
_MOST_PEAKS = 4
CROWDED = 3
"""Peaks of one sweep from which on its baseline is said not to be smooth."""
_LEAST_ERRORS = 2.0
"""Standard errors that a peak is high beside the others that were found."""
_FEWEST = 24
_SEED = 20240229


@dataclass(frozen=True)
class Peak:
    """A peak of one sweep.

    Parameters
    ----------
    sweep
        Number of the sweep, from 1.
    potential, potential_std
        Of its middle, V.
    width
        Full width at half maximum, V.
    height, height_std
        Above the baseline, A; negative in cathodic sweeps.
    charge, charge_std
        C.
    p
        Share of surrogates with a peak that stands out as much, (b + 1)/(m + 1), for all sweeps together (Holm).
    """

    sweep: int
    potential: float
    potential_std: float
    width: float
    height: float
    height_std: float
    charge: float
    charge_std: float
    p: float


@dataclass(frozen=True)
class SweepSearch:
    """What the search for peaks in one sweep found.

    Parameters
    ----------
    sweep
        Number of the sweep, from 1.
    p
        Of the strongest peak, not corrected for the number of sweeps.
    limit
        Height in A that is found in 95 %, in the middle of the sweep and with a width of 0.1 of its range.
    limit_charge
        The same in C.
    white, flicker
        Standard deviation of the white noise of a point in A; variance of the 1/f noise over it.
    points
        Points that were used, of all of the sweep.
    """

    sweep: int
    p: float
    limit: float
    limit_charge: float
    white: float
    flicker: float
    points: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Curve:
    """One sweep, ready to be searched."""

    time: FloatArray
    potential: FloatArray
    current: FloatArray
    rate: float
    span: float

    @property
    def baseline(self) -> FloatArray:
        return np.polynomial.legendre.legvander(2.0 * (self.potential - self.potential.mean()) / self.span, _DEGREE)

    def shape(self, centre: float, sigma: float) -> FloatArray:
        return np.exp(-0.5 * np.square((self.potential - centre) / sigma))


def find_peaks(swept: SweptLog, alpha: float = 0.05) -> tuple[tuple[Peak, ...], tuple[SweepSearch, ...]]:
    """Find the peaks of all sweeps.

    Parameters
    ----------
    swept
        Log with its sweeps.
    alpha
        Share of voltammograms without a peak in which one is found.

    Raises
    ------
    AssbValueError
        If alpha is not between 0 and 1, or no sweep has enough points.
    """
    if not 0.0 < alpha < 1.0:
        raise AssbValueError(f"alpha must be between 0 and 1, not {alpha:g}.")
    curves = {}
    for number, sweep in enumerate(swept.sweeps):
        curve = _curve(swept, sweep)
        if curve is not None:
            curves[number] = curve
    if not curves:
        raise AssbValueError(f"No sweep has {_FEWEST} measured points: peaks cannot be distinguished from noise.")
    surrogates = max(_LEAST_SURROGATES, int(np.ceil(_PER_LEVEL * len(curves) / alpha)))
    searched = {
        n: _search(curve, curve.baseline, surrogates, alpha / len(curves), n, with_limit=True)
        for n, curve in curves.items()
    }
    order = sorted(curves, key=lambda n: searched[n].p)
    peaks: list[Peak] = []
    corrected = 0.0
    for rank, number in enumerate(order):
        corrected = max(corrected, min(1.0, (len(order) - rank) * searched[number].p))
        if corrected > alpha:
            break
        peaks += _peaks_of(number, curves[number], searched[number], corrected, alpha / len(curves), surrogates)
    searches = tuple(
        SweepSearch(
            n + 1,
            s.p,
            s.limit,
            s.limit * s.charge_per_height,
            s.white,
            s.ratio,
            (curves[n].time.size, swept.sweeps[n].index.size),
        )
        for n, s in searched.items()
    )
    return tuple(sorted(peaks, key=lambda peak: (peak.sweep, peak.potential))), searches


@dataclass(frozen=True)
class _Found:
    p: float
    centre: float
    sigma: float
    limit: float
    charge_per_height: float
    white: float
    ratio: float


def _peaks_of(number: int, curve: _Curve, found: _Found, p: float, level: float, surrogates: int) -> list[Peak]:
    """The first peak, and others while the rest of the sweep has one."""
    peaks: list[tuple[_Found, float]] = [(found, p)]
    while len(peaks) < _MOST_PEAKS:
        baseline = np.column_stack([curve.baseline, *(curve.shape(f.centre, f.sigma) for f, _ in peaks)])
        found = _search(curve, baseline, surrogates, level, number)
        if found.p > level:
            break
        peaks.append((found, max(p, found.p)))
    known = contrasts(curve.time, curve.baseline)
    fit = None
    while fit is None:
        shapes = []
        for f, _ in peaks:
            shape = curve.shape(f.centre, f.sigma)
            shapes += [shape, shape * (curve.potential - f.centre) / f.sigma**2]
        try:
            fit = estimate(curve.current, known, np.stack(shapes, axis=1))
        except np.linalg.LinAlgError:
            # The last one and those before it describe the same points: it is no peak of its own.
            peaks.pop()
            if not peaks:
                return []
    made = []
    for k, (f, p_value) in enumerate(peaks):
        height, std = float(fit.value[2 * k]), float(fit.std[2 * k])
        # Beside the others, it is no peak of the direction of the sweep any more: they describe a bent baseline.
        if height * curve.rate < 0.0 or abs(height) < _LEAST_ERRORS * std:
            continue
        per_height = np.sqrt(2.0 * np.pi) * f.sigma / abs(curve.rate)
        # To first order a shifted Gaussian is itself and its derivative.
        shift = float(fit.value[2 * k + 1]) / height
        made.append(
            Peak(
                sweep=number + 1,
                potential=f.centre + (shift if abs(shift) < f.sigma else 0.0),
                potential_std=float(fit.std[2 * k + 1] / abs(height)),
                width=2.3548 * f.sigma,
                height=height,
                height_std=std,
                charge=height * per_height,
                charge_std=std * per_height,
                p=p_value,
            )
        )
    return made


def _curve(swept: SweptLog, sweep: Sweep) -> _Curve | None:
    index = swept.measured(sweep)
    index = index[index >= sweep.index[0] + int(_AFTER_TURN * sweep.index.size)]
    if index.size < _FEWEST:
        return None
    parts = blocks(index)
    time, potential, current = (block_means(v, parts) for v in (swept.log.time, swept.log.potential, swept.log.current))
    return _Curve(time, potential, current, sweep.rate, float(np.ptp(potential)))


def _search(
    curve: _Curve, baseline: FloatArray, surrogates: int, level: float, seed: int, *, with_limit: bool = False
) -> _Found:
    known = contrasts(curve.time, baseline)
    sign = np.sign(curve.rate)
    centres, sigmas = _places(curve)
    shapes = known.rotation @ np.stack([curve.shape(c, s) for c, s in zip(centres, sigmas, strict=True)], axis=1)
    turned = sign * (known.rotation @ curve.current)
    statistic, best = strongest_shape(turned[None], known, shapes)
    # The noise beside the strongest peak, if that is one: with it among the noise, the noise is too large.
    beside = contrasts(curve.time, np.column_stack([baseline, curve.shape(centres[best[0]], sigmas[best[0]])]))
    rest = beside.rotation @ curve.current
    ratio_number = int(np.argmax(log_likelihood(rest, beside)))
    white = float(np.sqrt(np.square(rest) @ beside.weights[ratio_number] / rest.size))
    rng = np.random.default_rng((_SEED, seed))
    # Surrogates are of the noise without a peak, whose share of 1/f noise is known no better than it is.
    likely = ratio_posterior(turned, known)
    drawn = rng.choice(RATIOS.size, size=surrogates, p=likely)
    noise = rng.standard_normal((surrogates, turned.size)) / np.sqrt(known.weights[drawn])
    null, _ = strongest_shape(noise, known, shapes)
    p = float((1.0 + np.sum(null >= statistic[0])) / (1.0 + surrogates))
    usual = 0.1 * curve.span / 2.3548
    middle = known.rotation @ curve.shape(float(curve.potential.mean()), usual)
    noise_of = np.sqrt(beside.weights @ np.square(rest) / rest.size)
    chances = ratio_posterior(rest, beside)
    std = float(np.sqrt(chances @ (np.square(noise_of) / (known.weights @ np.square(middle)))))
    limit = float("nan")
    if with_limit:
        begin = (float(np.sqrt(np.quantile(null, 1.0 - level))) + stats.norm.ppf(FOUND)) * std
        limit = find_limit(known, shapes, middle, Noise(noise_of, chances), level, begin, rng)
    return _Found(
        p=p,
        centre=float(centres[best[0]]),
        sigma=float(sigmas[best[0]]),
        limit=limit,
        charge_per_height=float(np.sqrt(2.0 * np.pi) * usual / abs(curve.rate)),
        white=white,
        ratio=float(RATIOS[ratio_number]),
    )


def _places(curve: _Curve) -> tuple[FloatArray, FloatArray]:
    """Middles and standard deviations of the peaks that are looked for."""
    low, high = curve.potential.min(), curve.potential.max()
    step = curve.span / curve.potential.size
    centres, sigmas = [], []
    for sigma in np.array(_WIDTHS) * curve.span:
        if sigma < 1.5 * step:
            continue
        places = np.arange(low + 1.5 * sigma, high - 1.5 * sigma, 0.7 * sigma)
        centres.append(places)
        sigmas.append(np.full(places.size, sigma))
    return np.concatenate(centres), np.concatenate(sigmas)
