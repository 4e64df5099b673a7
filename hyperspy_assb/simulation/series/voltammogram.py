"""A voltammogram whose resistance, capacitance, peaks and disturbances are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class VoltammogramConditions:
    """What is swept, what the cell does, and what disturbs.

    Parameters
    ----------
    low, high
        Potentials between which is swept, V.
    rate
        V/s.
    sweeps
        How many, the first upwards.
    points
        Of each sweep.
    resistance
        Ohm.
    capacitance
        F.
    bending
        Of the current: share by which a cubic departs from the line at the ends.
    white, flicker
        Standard deviation of the white and of the 1/f noise, A.
    drift
        A/s.
    peaks
        Potential (V), full width at half maximum (V) and height (A) in every anodic sweep.
    shorts
        How many, of up to three points.
    short_size
        A.
    full_scale
        Of the instrument, A; infinite: nothing is clipped.
    beam
        Times in s between which the beam is on.
    beam_step
        A that the beam adds.
    """

    low: float = 0.0
    high: float = 5.0
    rate: float = 0.01
    sweeps: int = 2
    points: int = 250
    resistance: float = 1e9
    capacitance: float = 2e-8
    bending: float = 0.0
    white: float = 5e-11
    flicker: float = 0.0
    drift: float = 0.0
    peaks: tuple[tuple[float, float, float], ...] = ()
    shorts: int = 0
    short_size: float = 5e-9
    full_scale: float = np.inf
    beam: tuple[tuple[float, float], ...] = field(default=())
    beam_step: float = 0.0


def voltammogram(conditions: VoltammogramConditions, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Time in s, potential in V and current in A of a simulated cell.

    Examples
    --------
    >>> time, potential, current = voltammogram(VoltammogramConditions(sweeps=2, points=100), seed=1)
    >>> time.shape, float(potential.max())
    ((200,), 5.0)
    """
    c = conditions
    rng = np.random.default_rng(seed)
    up = np.linspace(c.low, c.high, c.points)
    potential = np.concatenate([up if k % 2 == 0 else up[::-1] for k in range(c.sweeps)])
    step = (c.high - c.low) / (c.points - 1) / c.rate
    # A potentiostat samples at nearly even times.
    time = np.arange(potential.size) * step + rng.uniform(-0.05, 0.05, potential.size) * step
    rising = np.concatenate([np.full(c.points, k % 2 == 0) for k in range(c.sweeps)])
    middle, half = (c.high + c.low) / 2.0, (c.high - c.low) / 2.0
    reduced = (potential - middle) / half
    current = (potential - middle) / c.resistance * (1.0 + c.bending * reduced**2)
    current += np.where(rising, 1.0, -1.0) * c.rate * c.capacitance + c.drift * (time - time.mean())
    for place, width, height in c.peaks:
        current += np.where(rising, height, 0.0) * 0.5 ** ((2.0 * (potential - place) / width) ** 2)
    for first, last in c.beam:
        current += c.beam_step * ((time >= first) & (time < last))
    current += rng.normal(0.0, c.white, time.size) + c.flicker * flicker_noise(time.size, rng)
    for _ in range(c.shorts):
        first = int(rng.integers(10, time.size - 10))
        current[first : first + int(rng.integers(1, 4))] += c.short_size * rng.uniform(0.5, 2.0)
    return time, potential, np.clip(current, -c.full_scale, c.full_scale)


def flicker_noise(size: int, rng: np.random.Generator) -> FloatArray:
    """1/f noise by its spectrum, of the standard deviation 1 within eight times the length."""
    length = 8 * size
    frequency = np.fft.rfftfreq(length)
    amplitude = np.zeros(frequency.size)
    amplitude[1:] = frequency[1:] ** -0.5
    phase = rng.normal(size=frequency.size) + 1j * rng.normal(size=frequency.size)
    noise = np.fft.irfft(amplitude * phase, n=length)
    start = int(rng.integers(0, length - size))
    return noise[start : start + size] / np.sqrt(np.mean(noise**2))
