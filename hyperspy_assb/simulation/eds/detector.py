"""What a silicon drift detector makes of X-rays: efficiency, width, tail, escape peaks, pile-up."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, sparse, special

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.eds.conditions import MN_KA, XRayConditions, XRayDetector
from hyperspy_assb.simulation.eds.physics import mass_absorption

# g/cm^3 of what stands in the way.
_DENSITY = {"C": 1.4, "Al": 2.70, "Si": 2.33}
_NM, _MM = 1e-7, 0.1  # cm
# Silicon: fluorescence yield and jump at the K edge (W. T. Elam et al., Radiat. Phys. Chem. 63, 121 (2002)), edge in
# keV.
_SI_YIELD, _SI_JUMP, _SI_EDGE = 0.0429, 10.37, 1.839
_SI_KA = 1.7397  # keV
FWHM = float(np.sqrt(8 * np.log(2)))


def _transmission(layers: tuple[tuple[str, float], ...], energy: np.ndarray) -> np.ndarray:
    depth = np.zeros_like(energy)
    for element, thickness in layers:
        if element not in _DENSITY:
            raise AssbValueError(f"layers: no density for {element!r}; there are {', '.join(_DENSITY)}")
        depth += mass_absorption(element, energy) * _DENSITY[element] * thickness * _NM
    return np.exp(-depth)


def efficiency(energy: np.ndarray, detector: XRayDetector) -> np.ndarray:
    """
    Share of the photons towards the detector that are counted.

    Parameters
    ----------
    energy
        keV.
    detector
        Detector.

    Returns
    -------
    numpy.ndarray
        Transmission of the layers times absorption in the crystal.
    """
    energy = np.atleast_1d(np.asarray(energy, dtype=float))
    passed = _transmission(detector.layers, energy) * detector.open_share
    if np.isinf(detector.crystal):
        return passed
    stopped = -np.expm1(-mass_absorption("Si", energy) * _DENSITY["Si"] * detector.crystal * _MM)
    return passed * stopped


def peak_sigma(energy: np.ndarray, detector: XRayDetector) -> np.ndarray:
    """
    Standard deviation of a line.

    Parameters
    ----------
    energy
        keV.
    detector
        Detector.

    Returns
    -------
    numpy.ndarray
        keV.
    """
    energy = np.asarray(energy, dtype=float)
    squared = detector.energy_resolution**2 + detector.width_slope * 1e3 * (energy - MN_KA)
    # Noise alone is left at zero energy.
    return np.sqrt(np.maximum(squared, 25.0**2)) / 1e3 / FWHM


def charge_loss(energy: np.ndarray, detector: XRayDetector) -> np.ndarray:
    """
    Share of the counted photons that lose part of their charge.

    Parameters
    ----------
    energy
        keV.
    detector
        Detector.

    Returns
    -------
    numpy.ndarray
        Share that is absorbed in the layer of incomplete collection.
    """
    energy = np.atleast_1d(np.asarray(energy, dtype=float))
    return 1 - _transmission((("Si", detector.charge_loss_depth),), energy)


def escape_share(energy: np.ndarray, detector: XRayDetector) -> np.ndarray:
    """
    Share of the counted photons whose silicon fluorescence escapes.

    Parameters
    ----------
    energy
        keV.
    detector
        Detector.

    Returns
    -------
    numpy.ndarray
        0 below the K edge of silicon.
    """
    energy = np.atleast_1d(np.asarray(energy, dtype=float))
    ratio = mass_absorption("Si", _SI_KA)[0] / mass_absorption("Si", energy)
    share = 0.5 * _SI_YIELD * (1 - 1 / _SI_JUMP) * (1 - ratio * np.log1p(1 / ratio))
    return np.where(energy > _SI_EDGE, detector.escape * share, 0.0)


def _gaussian(edges: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    return np.diff(special.ndtr((edges - centre) / sigma))


def _tail(edges: np.ndarray, centre: float, sigma: float, length: float) -> np.ndarray:
    """Exponential below the centre, spread by the Gaussian, integrated over channels."""
    z = (edges - centre) / sigma
    ratio = sigma / length
    slope = np.exp(np.minimum(ratio**2 / 2 + z * ratio + special.log_ndtr(-z - ratio), 0.0))
    return np.diff(special.ndtr(z) + slope)


def line_shape(energy: float, conditions: XRayConditions) -> np.ndarray:
    """
    Counts that one photon towards the detector gives on average.

    Parameters
    ----------
    energy
        keV.
    conditions
        Axis, miscalibration and detector.

    Returns
    -------
    numpy.ndarray
        ``(n_channels,)``: full-energy peak, tail and escape peak; adds up to the efficiency where all lie in the range.
    """
    detector, edges = conditions.detector, conditions.channel_edges
    sigma = float(peak_sigma(energy, detector))
    lost, escaped = float(charge_loss(energy, detector)[0]), float(escape_share(energy, detector)[0])
    shape = (1 - lost - escaped) * _gaussian(edges, energy, sigma)
    if lost > 0:
        shape += lost * _tail(edges, energy, sigma, detector.tail_length * energy)
    if escaped > 0:
        left = energy - _SI_KA
        shape += escaped * _gaussian(edges, left, float(peak_sigma(left, detector)))
    return shape * efficiency(energy, detector)[0]


@lru_cache(maxsize=4)
def broadening(conditions: XRayConditions) -> sparse.csr_array:
    """
    Spread of a smooth spectrum by the resolution.

    Parameters
    ----------
    conditions
        Axis, miscalibration and detector.

    Returns
    -------
    scipy.sparse.csr_array
        ``(n_channels, n_channels)``, from true to recorded channels, cut at five standard deviations.
    """
    edges = conditions.channel_edges
    centres = (edges[1:] + edges[:-1]) / 2
    rows, columns, values = [], [], []
    for i, (centre, sigma) in enumerate(zip(centres, peak_sigma(centres, conditions.detector), strict=True)):
        first, last = np.searchsorted(edges, [centre - 5 * sigma, centre + 5 * sigma])
        part = slice(max(first - 1, 0), min(last + 1, len(edges)))
        spread = _gaussian(edges[part], centre, sigma)
        rows.append(np.arange(part.start, part.stop - 1))
        columns.append(np.full(len(spread), i))
        values.append(spread)
    index = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), index), shape=(len(centres), len(centres)))


def pile_up(expected: np.ndarray, conditions: XRayConditions, live_time: float) -> np.ndarray:
    """
    Add sum peaks: pairs of photons counted as one.

    Parameters
    ----------
    expected
        Expected counts, ``(pixels, n_channels)``.
    conditions
        Axis and detector.
    live_time
        s.

    Returns
    -------
    numpy.ndarray
        Expected counts; every pair is two counts less at their energies and one at the sum of both.
    """
    window = conditions.detector.resolving_time
    if window <= 0:
        return expected
    n = expected.shape[-1]
    transform = fft.rfft(expected, fft.next_fast_len(2 * n, real=True))
    pairs = fft.irfft(transform**2, fft.next_fast_len(2 * n, real=True))
    # Channel i + j is the sum of two energies less the offset of the axis.
    start = round((conditions.channel_edges[0] + conditions.channel_edges[1]) / 2 / conditions.dispersion)
    summed = np.zeros_like(expected)
    if start >= 0:
        summed[:, start:] = pairs[:, : n - start]
    else:
        summed[:] = pairs[:, -start : n - start]
    rate = expected.sum(axis=-1, keepdims=True) / live_time
    np.maximum(summed, 0, out=summed)
    # Pairs within the window: n_i n_j window / live_time, each pair of different photons once.
    return expected * np.exp(-2 * rate * window) + summed * (window / live_time)
