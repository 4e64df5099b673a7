"""Noise and dark level that low-loss spectra tell, beside what was recorded."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

from hyperspy_assb.eels.low_loss_map import LowLossMap
from hyperspy_assb.eels.zero_loss.position import find_centre
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource, judge_noise
from hyperspy_assb.fitting.solver.spectra_fit import Detector

FloatArray = NDArray[np.float64]

SMOOTH, FAR, FEWEST_DARK = 4.0, 10.0, 8
"""Full widths from the zero-loss peak beyond which spectra are smooth, and before it beyond which there are no
electrons; channels that tell the dark level."""
_SAMPLE = 300
"""Spectra that tell the noise."""
_FOOT, _MOST_DARK = -2.0, 0.15
"""Full widths before the zero loss from which on its flank has gone, and the share of all counts that a dark level of
as many counts as there may have."""
_FOOT_PARTS = 12
"""Stretches of the foot, of which the lowest counts."""
_AVERAGED, _CLEARLY = 20, 6.0
"""Channels that are averaged to see whether counts are negative, and standard errors by which they must be."""
_DARK_PARTS = 12
"""Stretches of channels far before the zero loss whose medians tell the dark level."""
_FEWEST_SMOOTH = 20
"""Smooth channels without which nothing is told."""


def dark_level(counts: ArrayLike, energy: FloatArray, centre: ArrayLike, fwhm: float) -> float:
    """Counts per channel that no electron makes, from far before the zero loss; 0 where too few channels are recorded.

    There a zero loss has no more than its Lorentzian tail, which falls with the square of the distance: what does not
    fall is the dark level.

    Parameters
    ----------
    counts, energy, centre, fwhm
        As for :func:`low_loss_noise`.
    """
    counts, offset = np.asarray(counts, dtype=float), _offset(energy, centre)
    dark = offset < -FAR * fwhm
    if dark.sum() < FEWEST_DARK * len(counts):
        return 0.0
    distance, height = offset[dark], counts[dark]
    parts = np.array_split(np.argsort(distance, kind="stable"), min(_DARK_PARTS, dark.sum() // len(counts)))
    medians = np.array([np.median(height[part]) for part in parts])
    if medians.min() < 0.0:
        return float(np.median(height))
    tail = np.array([np.mean(1.0 / distance[part] ** 2) for part in parts])
    return float(nnls(np.stack([np.ones(tail.size), tail / tail.max()], axis=1), medians)[0][0])


def dark_level_error(counts: ArrayLike, energy: FloatArray, centre: ArrayLike, fwhm: float) -> float:
    """Standard error of the dark level, twice that of a mean for the tail that is fitted beside it; 0 where none shows.

    Parameters
    ----------
    counts, energy, centre, fwhm
        As for :func:`low_loss_noise`.
    """
    counts = np.asarray(counts, dtype=float)
    far = counts[_offset(energy, centre) < -FAR * fwhm]
    return 2.0 * float(far.std()) / np.sqrt(far.size) if far.size else 0.0


def checked_dark_level(counts: ArrayLike, energy: FloatArray, centre: ArrayLike, fwhm: float) -> float:
    """The dark level, or a refusal where it is not recorded and may spoil all that goes by sums of counts.

    Parameters
    ----------
    counts, energy, centre, fwhm
        As for :func:`low_loss_noise`.

    Raises
    ------
    AssbValueError
        If no channel shows the dark level, and the spectra are negative on the average of many channels, or the lowest
        counts before the zero loss, if all channels had as many, would be a seventh of all counts or more.
    """
    counts, offset = np.asarray(counts, dtype=float), _offset(energy, centre)
    if (offset < -FAR * fwhm).sum() >= FEWEST_DARK * len(counts):
        return dark_level(counts, energy, centre, fwhm)
    advice = f"Subtract the dark level, or record it from {FAR * fwhm:.3g} eV before the zero loss on."
    mean = counts.mean(axis=0)
    error = np.sqrt(np.mean((counts[:, 1:] - counts[:, :-1]) ** 2 / 2.0) / len(counts) / _AVERAGED)
    lowest = float(uniform_filter1d(mean, _AVERAGED).min())
    if lowest < -_CLEARLY * error:
        raise AssbValueError(
            f"The counts fall to {lowest:.3g} per channel: too high a dark level was subtracted. {advice}"
        )
    foot = offset < _FOOT * fwhm
    if foot.sum() < 3 * len(counts):
        return 0.0
    # A tail of the zero loss falls towards the first channels, a dark level does not.
    parts = min(_FOOT_PARTS, int(foot.sum()) // len(counts))
    outwards = np.array_split(counts[foot][np.argsort(offset[foot], kind="stable")], parts)
    lowest = min(float(part.mean()) for part in outwards)
    share = lowest * energy.size / max(float(mean.sum()), 1e-300)
    if share > _MOST_DARK:
        raise AssbValueError(
            f"No channel shows the dark level, and the {lowest:.3g} counts per channel just before the "
            f"zero-loss peak would be {share:.0%} of all counts, if all channels had as many: t/λ is unknown. {advice}"
        )
    return 0.0


def low_loss_noise(
    counts: ArrayLike, energy: FloatArray, centre: ArrayLike, fwhm: float, claim: Detector | None = None
) -> Noise:
    """Compare what was recorded of the noise with the scatter of the smooth stretches of low-loss spectra.

    Parameters
    ----------
    counts
        Shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    centre
        Zero-loss position in eV, shape (S,).
    fwhm
        Width of the zero loss in eV.
    claim
        Gain and read noise as they were recorded; None where nobody did.

    Returns
    -------
    noise
        What is used and why; see :func:`.noise_claim.judge_noise`. :attr:`.Noise.broad` is the detector whose noise
        gives features broader than the point spread of the camera their right errors.
    """
    rows, places = np.asarray(counts, dtype=float), np.asarray(centre, dtype=float)
    good = np.isfinite(rows).all(axis=1) & np.isfinite(places) & np.any(rows, axis=1)
    if not good.any():
        said = "No spectrum has a zero-loss peak to measure the noise by: the recorded noise is not checked."
        return Noise(claim or Detector(), NoiseSource.TRUSTED, said)
    rows, places = rows[good] - dark_level(rows[good], energy, places[good], fwhm), places[good]
    middle = float(np.median(places))
    # By whole channels, which leaves noise as it is: what spectra share is then shared.
    shifts = np.rint((places - middle) / (energy[1] - energy[0])).astype(int)
    aligned = np.stack([np.roll(row, -shift) for row, shift in zip(rows, shifts, strict=True)])
    # Channels at either end hold what was rolled in from the other.
    rolled, end = max(int(-shifts.min()), 0), energy.size - max(int(shifts.max()), 0)
    first = max(int(np.searchsorted(energy, middle + SMOOTH * fwhm)), rolled)
    last = min(int(np.searchsorted(energy, middle - FAR * fwhm)), end)
    segments = tuple(
        stretch
        for stretch, size in ((slice(first, end), end - first), (slice(rolled, last), last - rolled))
        if size >= _FEWEST_SMOOTH
    )
    return judge_noise(aligned, claim, segments=segments, counter=False)


def noise_of(spectra: LowLossMap, fwhm: float) -> Noise:
    """Noise of low-loss spectra, beside what was recorded.

    Parameters
    ----------
    spectra
        Low-loss spectra.
    fwhm
        Width of the zero-loss peak in eV.
    """
    count = len(spectra.counts)
    some = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int))
    counts = np.asarray(spectra.counts[some])
    counts = counts[np.isfinite(counts).all(axis=1) & np.any(counts, axis=1)]
    centre = find_centre(counts, spectra.energy).centre if len(counts) else np.zeros(0)
    return low_loss_noise(counts, spectra.energy, centre, fwhm, spectra.detector)


def _offset(energy: FloatArray, centre: ArrayLike) -> FloatArray:
    return np.asarray(energy - np.asarray(centre, dtype=float)[:, np.newaxis])
