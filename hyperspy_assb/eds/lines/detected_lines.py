"""Lines as a silicon detector records them, many at a time: peaks with their natural widths, tails and escape peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import FloatArray, XRayLine
from hyperspy_assb.eds.lines.x_ray_lines import FWHM_PER_SIGMA, line_width
from hyperspy_assb.reference import LineComponent

# Silicon: K alpha line in keV, fluorescence yield and jump ratio of the K edge, W. T. Elam, B. D. Ravel and J. R.
# Sieber, Radiat. Phys. Chem. 63, 121 (2002), doi 10.1016/S0969-806X(01)00227-4.
SI_KA, SI_K_EDGE, SI_YIELD, SI_JUMP = 1.7397, 1.839, 0.0429, 10.37
SILICON_DENSITY = 2.33  # g/cm^3
_NM = 1e-7  # cm
_NARROW = 1e-5
"""keV: natural width below which a line is as wide as the detector makes it."""
_WIDE = 5.0
"""Standard deviations beyond which a line is nothing."""
_FALLS = 0.05
"""Standard deviations over which it falls to nothing."""
_TAIL_ENDS = 3.0
"""Lengths of its tail by which a line reaches further down."""
_FAR = 1e3
"""keV: an energy below zero, far from any channel."""
_ALONE = (LineComponent(0.0, 1.0, 0.0),)


def channel_edges(energy: FloatArray) -> FloatArray:
    """Edges in keV of channels whose centres are given, uniform."""
    step = (energy[-1] - energy[0]) / (energy.size - 1)
    return np.append(energy - step / 2.0, energy[-1] + step / 2.0)


@dataclass(frozen=True, eq=False)
class _Windows:
    """Channels near each of some lines, one line after the other.

    Parameters
    ----------
    edges
        Of all channels, keV.
    line, channel
        Which line and which channel each value belongs to.
    size
        Lines.
    """

    edges: FloatArray
    line: NDArray[np.int64]
    channel: NDArray[np.int64]
    size: int

    @classmethod
    def between(cls, edges: FloatArray, low: FloatArray, high: FloatArray) -> _Windows:
        """Channels between two energies of each line, at least in part."""
        channels = edges.size - 1
        first = np.maximum(np.searchsorted(edges, low) - 1, 0)
        last = np.clip(np.searchsorted(edges, high), 1, channels)
        number = np.maximum(last - first, 0)
        line = np.repeat(np.arange(number.size), number)
        channel = np.arange(line.size) - np.repeat(np.cumsum(number) - number - first, number)
        return cls(edges, line, channel, number.size)

    @property
    def below(self) -> FloatArray:
        """Lower edges."""
        return self.edges[self.channel]

    @property
    def above(self) -> FloatArray:
        """Upper edges."""
        return self.edges[self.channel + 1]

    def spread(
        self, values: FloatArray, owner: NDArray[np.int64] | None = None, owners: int | None = None
    ) -> FloatArray:
        """Values in all channels, shape (lines, channels); those of one owner are added up."""
        channels = self.edges.size - 1
        row = self.line if owner is None else owner[self.line]
        rows = self.size if owners is None else owners
        found = np.bincount(row * channels + self.channel, values, rows * channels)
        return np.asarray(found, dtype=float).reshape(rows, channels)


def _sigma(energy: FloatArray, resolution: float, slope: float) -> FloatArray:
    """Standard deviations in keV of lines at energies in keV."""
    return line_width(energy, resolution, slope) / FWHM_PER_SIGMA


def gaussians(edges: FloatArray, energy: FloatArray, sigma: FloatArray) -> FloatArray:
    """Counts of lines of one count in channels, shape (lines, channels); exactly 0 beyond five standard deviations.

    Parameters
    ----------
    edges
        Of the channels in keV.
    energy, sigma
        Of the lines in keV.
    """
    near = _Windows.between(edges, energy - _WIDE * sigma, energy + _WIDE * sigma)
    centre, width = energy[near.line], sigma[near.line]
    part = special.ndtr((near.above - centre) / width) - special.ndtr((near.below - centre) / width)
    return near.spread(_cut(near, part, centre, width))


def _cut(near: _Windows, values: FloatArray, centre: FloatArray, sigma: FloatArray) -> FloatArray:
    return without_tails(values, 0.5 * (near.above + near.below), centre, sigma)


def without_tails(
    values: FloatArray, energy: FloatArray, centre: FloatArray | float, sigma: FloatArray | float
) -> FloatArray:
    """A line, exactly 0 beyond five standard deviations from its centre; it falls to 0 there without a step."""
    # A step would be all that a small change of the axis shows of the line where natural widths are felt.
    return values * np.clip((_WIDE - np.abs(energy - centre) / sigma) / _FALLS, 0.0, 1.0)


def tails(edges: FloatArray, energy: FloatArray, resolution: float, detector: DetectorShape) -> FloatArray:
    """Counts of tails of one count, shape (lines, channels): exponentials below lines, spread by the resolution.

    Exactly 0 beyond five standard deviations above and, with three lengths more, below.

    Parameters
    ----------
    edges
        Of the channels in keV.
    energy
        Of the lines in keV.
    resolution, detector
        eV at Mn Kα; how it grows, and how long tails are.
    """
    sigma, length = _sigma(energy, resolution, detector.width_slope), 0.001 * detector.tail_length
    near = _Windows.between(edges, energy - _WIDE * sigma - _TAIL_ENDS * length, energy + _WIDE * sigma)
    centre, width = energy[near.line], sigma[near.line]
    ratio = width / length

    def up_to(edge: FloatArray) -> FloatArray:
        z = (edge - centre) / width
        below = np.exp(np.minimum(0.5 * ratio**2 + z * ratio + special.log_ndtr(-z - ratio), 0.0))
        return special.ndtr(z) + below

    return near.spread(np.maximum(up_to(near.above) - up_to(near.below), 0.0))


def peaks(
    edges: FloatArray,
    lines: Sequence[XRayLine],
    energy: FloatArray,
    resolution: float,
    slope: float = DetectorShape.width_slope,
) -> FloatArray:
    """Counts of lines of one count with the natural widths of their components, shape (lines, channels).

    0 beyond five standard deviations of what the detector adds, where 0.3 % of a line of 3 eV lie.

    Parameters
    ----------
    edges
        Of the channels in keV.
    lines
        With their components.
    energy
        Where they are in keV.
    resolution, slope
        As for :func:`.line_width`.
    """
    parts = [(k, part) for k, line in enumerate(lines) for part in line.components or _ALONE]
    owner = np.array([k for k, _ in parts], dtype=int)
    share, width = np.array([part.share for _, part in parts]), np.array([part.width for _, part in parts])
    at = energy[owner] + np.array([part.offset for _, part in parts])
    sigma = _sigma(at, resolution, slope)
    near = _Windows.between(edges, at - _WIDE * sigma, at + _WIDE * sigma)
    centre, spread = at[near.line], sigma[near.line]
    below, above = near.below - centre, near.above - centre
    values = np.empty(centre.size)
    narrow = width[near.line] < _NARROW
    values[narrow] = special.ndtr((above / spread)[narrow]) - special.ndtr((below / spread)[narrow])
    broad = np.flatnonzero(~narrow)
    low, high, of_detector, natural = below[broad], above[broad], spread[broad], 0.5 * width[near.line][broad]
    # Simpson's rule: channels are narrower than lines. A channel begins where the one before ends.
    first, middle = (special.voigt_profile(at, of_detector, natural) for at in (low, 0.5 * (low + high)))
    last = np.append(first[1:], 0.0)
    ends = np.flatnonzero(np.diff(near.line[broad], append=-1))
    last[ends] = special.voigt_profile(high[ends], of_detector[ends], natural[ends])
    values[broad] = (first + 4.0 * middle + last) / 6.0 * (high - low)
    return near.spread(share[near.line] * _cut(near, values, centre, spread), owner, len(lines))


def escape_share(absorption: FloatArray, absorption_at_ka: float, energy: FloatArray) -> FloatArray:
    """Share of the photons counted by a silicon detector whose silicon Kα photon leaves it again.

    Parameters
    ----------
    absorption
        Mass absorption coefficients of silicon at the energies.
    absorption_at_ka
        The same at its Kα line.
    energy
        keV.

    Returns
    -------
    share
        0 below the K edge. S. J. B. Reed and N. G. Ware, J. Phys. E 5, 582 (1972), doi 10.1088/0022-3735/5/6/029.
    """
    ratio = absorption_at_ka / absorption
    share = 0.5 * SI_YIELD * (1.0 - 1.0 / SI_JUMP) * (1.0 - ratio * np.log1p(1.0 / ratio))
    return np.where(np.asarray(energy) > SI_K_EDGE, share, 0.0)


def tail_share(absorption: FloatArray, depth: float) -> FloatArray:
    """Share of the photons counted that are absorbed in a layer of silicon, and counted in the tail of their line.

    Parameters
    ----------
    absorption
        Mass absorption coefficients of silicon at their energies in cm^2/g.
    depth
        nm of the layer.
    """
    return -np.expm1(-np.asarray(absorption) * SILICON_DENSITY * depth * _NM)


@dataclass(frozen=True, eq=False)
class LineShapes:
    """What L lines are made of, in E channels.

    Parameters
    ----------
    peak, tail, escape
        Of one count each, shape (L, E).
    lost, escaped
        Of :func:`tail_share` and :func:`escape_share`, shape (L,).
    """

    peak: FloatArray
    tail: FloatArray
    escape: FloatArray
    lost: FloatArray
    escaped: FloatArray

    @classmethod
    def of(
        cls,
        edges: FloatArray,
        lines: Sequence[XRayLine],
        energy: FloatArray,
        resolution: float,
        *,
        lost: FloatArray,
        escaped: FloatArray,
        detector: DetectorShape | None = None,
    ) -> LineShapes:
        """Shapes of lines at some energies (keV) by a detector of some resolution (eV at Mn Kα)."""
        detector = detector or DetectorShape()
        slope = detector.width_slope
        low = energy - SI_KA
        leaves = np.where(escaped > 0.0, low, -_FAR)
        return cls(
            peak=peaks(edges, lines, energy, resolution, slope),
            tail=tails(edges, energy, resolution, detector),
            escape=gaussians(edges, leaves, _sigma(low, resolution, slope)),
            lost=lost,
            escaped=escaped,
        )

    def only(self, which: Sequence[int]) -> LineShapes:
        """Some of the lines."""
        return LineShapes(self.peak[which], self.tail[which], self.escape[which], self.lost[which], self.escaped[which])

    def whole(self) -> FloatArray:
        """Lines with one count in their peaks and, beside these, tails and escape peaks, shape (L, E)."""
        peak = 1.0 - self.escaped - self.lost
        beside = (self.lost / peak)[:, np.newaxis] * self.tail + (self.escaped / peak)[:, np.newaxis] * self.escape
        return np.asarray(self.peak + beside)
